//! Units that start equal stay equal.
//!
//! `cargo run --release --example zero_initialization`
#![forbid(unsafe_code)]

fn main() {
    println!(
        "{}",
        wengert_examples::stories::zero_initialization::story()
    );
}
