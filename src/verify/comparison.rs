//! What a comparison found.

use crate::vault::proof::Compared;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What was compared.
    pub compared: Compared,
    /// What differs, one line per object.
    pub differences: Vec<String>,
    /// What could not be proven, and why.
    pub unproven: Vec<String>,
}
