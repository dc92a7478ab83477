//! Fifty layers with and without a way around them.
//!
//! `cargo run --release --example fifty_layers`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::fifty_layers::story());
}
