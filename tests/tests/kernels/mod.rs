mod attention;
mod determinism;
mod formulas;
mod gelu_grid;
mod jets;
mod rowwise;
mod splice;
mod vocabulary;
