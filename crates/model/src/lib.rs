//! GPT-2 as a list of operations: configuration, weights, tokenizer, sites, edits, runs and linearisations.
