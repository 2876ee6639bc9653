//! `toc.dat`: read, edit, write.
