//! Each layer learns at its own speed.
//!
//! `cargo run --release --example layer_speeds`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::layer_speeds::story());
}
