//! The tests of the wengert workspace.
