mod formulas;
mod rowwise;
