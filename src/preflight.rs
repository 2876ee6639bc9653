//! Questions that are asked before anything is written.
