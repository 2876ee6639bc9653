//! Temporary folders that say whose they are, so that the next run can sweep what a killed one left.
