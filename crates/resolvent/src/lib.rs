//! A portable analysis engine for Transformer Field Theory.
