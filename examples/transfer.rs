//! Transfer: a backbone trained on some digits, frozen by pattern, and a new head for the others.
//!
//! `cargo run --release --example transfer`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::transfer::story());
}
