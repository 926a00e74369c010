mod attention;
mod determinism;
mod formulas;
mod gelu_grid;
mod rowwise;
mod splice;
mod vocabulary;
