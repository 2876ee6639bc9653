//! The local folder backend.
