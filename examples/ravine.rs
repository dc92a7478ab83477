//! Four ways down a ravine: plain descent, momentum, RMSProp, Adam.
//!
//! `cargo run --release --example ravine`
#![forbid(unsafe_code)]

fn main() {
    println!("{}", wengert_examples::stories::ravine::story());
}
