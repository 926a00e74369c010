//! The truth: a naive GPT-2 from the formulas, generic over the scalar.
