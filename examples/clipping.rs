//! Exploding gradients, with and without clipping: by value, by norm.
//!
//! `cargo run --release --example clipping`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::clipping::story());
}
