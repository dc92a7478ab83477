//! Dropout and L2 against overfitting.
//!
//! `cargo run --release --example overfitting`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::overfitting::story());
}
