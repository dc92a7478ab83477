//! Draws every schedule: `docs/schedules.svg`.
//!
//! `cargo run --release --example schedules > docs/schedules.svg`
#![forbid(unsafe_code)]

fn main() {
    print!("{}", wengert_examples::stories::schedules::svg());
}
