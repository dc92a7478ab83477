//! Data sets, loaders and augmentation for the wengert framework.
#![forbid(unsafe_code)]
