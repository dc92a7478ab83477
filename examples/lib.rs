//! The examples of the wengert workspace.
