//! How far back a recurrent network can learn: RNN, LSTM and GRU on the adding problem, with the gradient over time.
//!
//! `cargo run --release --example adding_problem -- --steps 1500 --out adding_problem.html`
#![forbid(unsafe_code)]

use wengert::flow::report::compare;
use wengert_examples::{Options, fail, stories::adding_problem::story};

const HELP: &str = "The adding problem: RNN, LSTM and GRU, with the gradient over time.

  --steps N    training steps for each network        (1000)
  --out FILE   the report, with the gradient over time (adding_problem.html)";

fn main() {
    let options = Options::parse(HELP, &["steps", "out"]);
    let story = story(options.number("steps", 1000, 2, 1_000_000));
    println!("{story}");
    let out = options.text("out").unwrap_or("adding_problem.html");
    let page = compare::page("The adding problem", &story.profiles);
    if let Err(e) = page.write(out) {
        fail(&e.to_string());
    }
    println!("\nReport: {out}");
}
