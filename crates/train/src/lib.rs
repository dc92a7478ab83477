//! Training loops, metrics, callbacks and checkpoints for the wengert framework.
#![forbid(unsafe_code)]
