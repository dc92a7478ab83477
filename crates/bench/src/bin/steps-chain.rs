//! The chains of tiny operations, started by `steps`.
#![forbid(unsafe_code)]

fn main() {
    wengert_bench::measure::main(wengert_bench::chain);
}
