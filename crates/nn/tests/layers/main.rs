//! Layers and losses: values and gradients against PyTorch, derivatives of orders 1 and 2 against finite differences by
//! inputs and parameters, modes, refusals.

mod attention;
mod basic;
mod common;
mod complete;
mod conv;
mod depth;
mod files;
mod loss;
mod norm;
mod option;
mod recurrent;
mod regularize;
mod summary;
