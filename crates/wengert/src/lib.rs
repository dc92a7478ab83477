//! Reverse-mode automatic differentiation, neural networks and a gradient doctor in pure Rust.
//!
//! | module | crate | what stands there |
//! |---|---|---|
//! | [`tensor`] | `wengert-tensor` | arrays, kernels, memory, threads |
//! | [`autograd`] | `wengert-autograd` | the tape, operations and their rules, gradient checks |
//! | [`nn`] | `wengert-nn` | layers, initializers, losses, state |
//! | [`optim`] | `wengert-optim` | optimizers, schedules, clipping |
//! | [`data`] | `wengert-data` | data sets, loaders, augmentation |
//! | [`train`] | `wengert-train` | training loops, metrics, checkpoints, search |
//! | [`flow`] | `wengert-flow` | the gradient doctor |
//!
//! # Features
//! - `gzip`: reading `.gz` files and `.npz` archives. Not a default, because the decompressor is built with it.
//! - `cli`: the program `wengert` (`cargo install wengert --features cli`).
#![forbid(unsafe_code)]

pub use wengert_autograd as autograd;
pub use wengert_data as data;
pub use wengert_flow as flow;
pub use wengert_nn as nn;
pub use wengert_optim as optim;
pub use wengert_tensor as tensor;
pub use wengert_train as train;

pub use wengert_autograd::{
    Buffer, Float, Gradients, Module, ModuleExt, Param, Tape, Tensor, Var, grad, gradcheck,
};
pub use wengert_derive::Module;

/// Everything a program that trains a network needs.
pub mod prelude {
    pub use crate::autograd::{
        Buffer, Float, Gradients, Module, ModuleExt, Param, Tape, Tensor, Var, grad, gradcheck,
    };
    pub use crate::flow::{FlowReport, init_report};
    pub use crate::nn::{
        Activation, AvgPool2d, BatchNorm1d, BatchNorm2d, Checkpoint, Conv1d, Conv2d, Dropout,
        Embedding, Flatten, Forward, GlobalAvgPool, Gru, Init, Layer, LayerNorm, Linear,
        LoadOptions, Lstm, MaxPool2d, ModelSummary, MultiHeadAttention, Nonlinearity, Residual,
        Rnn, Sequential, StateExt,
    };
    pub use crate::optim::{Adam, AdamW, ClipExt, Schedule, Sgd};
    pub use crate::train::{EarlyStopping, History, KeepBest, Trainer, metric::Accuracy};
    pub use rand::SeedableRng;
    pub use rand::rngs::Xoshiro256PlusPlus;
    pub use wengert_derive::Module;
}

#[doc(hidden)]
pub mod __private {
    pub use wengert_autograd::{Module, Path, Visitor, VisitorMut};
}

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
