//! The GitHub runner's protocol: inputs, masks, outputs, annotations, step summary.
