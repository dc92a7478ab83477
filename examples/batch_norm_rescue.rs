//! Batch norm rescues a bad initializer.
//!
//! `cargo run --release --example batch_norm_rescue`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::batch_norm_rescue::story());
}
