//! Ten layers of 500 units: what the initializer does to the activations.
//!
//! `cargo run --release --example ten_layers`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::ten_layers::story());
}
