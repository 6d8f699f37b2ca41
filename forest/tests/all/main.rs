//! What must hold of the evaluator, whatever model and row it is given.

mod agreement;
mod bundle;
mod explain;
mod generator;
mod image;
mod kernels;
mod math;
mod objectives;
mod parser;
mod shapes;
