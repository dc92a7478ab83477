//! #[derive(Module)] for the wengert framework.
#![forbid(unsafe_code)]
