//! Layers, initializers, losses, regularizers and state for the wengert framework.
#![forbid(unsafe_code)]

pub mod init;
