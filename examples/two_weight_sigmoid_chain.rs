//! Two sigmoids in a row: the gradient as a formula, and where it goes to zero.
//!
//! `cargo run --release --example two_weight_sigmoid_chain`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::sigmoid_chain::story());
}
