//! Layers, initializers, losses, regularizers and state for the wengert framework.
//!
//! A layer is a plain struct with public, named parameters that implements [`Forward`] and derives `Module`. Mode and
//! randomness live on the tape, so `forward` takes `&self` and one code path serves training and evaluation.
//!
//! ```
//! use rand::SeedableRng;
//! use rand::rngs::Xoshiro256PlusPlus;
//! use wengert_autograd::{ModuleExt, Tape, Tensor};
//! use wengert_nn::{Forward, Sequential};
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let model: Sequential = Sequential::builder()
//!     .linear(784, 300)
//!     .relu() // the linear layer above starts with He's weights because of this
//!     .linear(300, 100)
//!     .relu()
//!     .linear(100, 10)
//!     .build(&mut rng);
//! assert_eq!(model.num_params(), 266_610);
//!
//! let tape = Tape::training(0);
//! let x = tape.input(&Tensor::zeros([2, 784]));
//! let loss = model.forward(x).cross_entropy(&Tensor::from_vec(vec![3, 7], [2]));
//! assert!((loss.backward().loss() - 10f32.ln()).abs() < 1e-6);
//! ```
#![forbid(unsafe_code)]

pub mod attention;
pub mod constraint;
mod forward;
pub mod init;
pub mod layers;
pub mod loss;
pub mod norm;
pub mod recurrent;
pub mod regularize;
pub mod state;
mod summary;

pub use attention::*;
pub use forward::{Forward, Layer};
pub use init::{Init, Nonlinearity};
pub use layers::*;
pub use loss::Reduction;
pub use norm::*;
pub use recurrent::*;
pub use state::{Checkpoint, LoadOptions, StateExt};
pub use summary::{ModelSummary, SummaryParam, SummaryRow};
