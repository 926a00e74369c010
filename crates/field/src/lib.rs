//! The theory: one analysis a file, each returning a labelled result.
