//! Whole training runs, from data to report. The tests stand in `tests/`.
#![forbid(unsafe_code)]
