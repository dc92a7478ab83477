//! How profiles are shown: [`text`] for terminals, [`svg`] plots, one self-contained [`html`] page, [`json`],
//! [`tensorboard`] event files, and [`compare`], which puts several runs side by side. What draws stands in `wengert-draw`,
//! which knows no tensors.
//!
//! Names that come from outside (layer paths, run names, metrics) may hold anything. Every renderer passes them
//! through [`escape`]: control and direction characters become visible, long names are shortened, markup is escaped.

pub mod compare;
pub mod json;
pub mod tensorboard;

pub use wengert_draw::{
    Error, Result, check_writable, escape, html, number, svg, table, text, write_atomic,
};
