//! A language model of characters with truncated backpropagation through time.
//!
//! `cargo run --release --example char_model -- --data FILE --epochs 60`
#![forbid(unsafe_code)]

use std::path::Path;
use wengert_examples::stories::char_model::{Settings, read_text, sample_text, story};
use wengert_examples::{Options, fail};

const HELP: &str =
    "A language model of characters: an LSTM, truncated backpropagation through time.

  --data FILE    a text to learn, UTF-8        (a text of its own: counting)
  --epochs N     times that the text is read   (60)
  --window N     steps the gradient goes back  (16)
  --batch N      rows of text side by side     (8)
  --units N      units of the LSTM             (96)
  --write N      characters written at the end (200)";

fn main() {
    let names = ["data", "epochs", "window", "batch", "units", "write"];
    let options = Options::parse(HELP, &names);
    let d = Settings::default();
    let settings = Settings {
        epochs: options.number("epochs", d.epochs, 1, 100_000),
        window: options.number("window", d.window, 1, 10_000),
        batch: options.number("batch", d.batch, 1, 10_000),
        units: options.number("units", d.units, 1, 10_000),
        write: options.number("write", d.write, 0, 1_000_000),
    };
    let text = match options.text("data") {
        None => sample_text(),
        Some(path) => read_text(Path::new(path)).unwrap_or_else(|e| fail(&e)),
    };
    match story(&text, &settings) {
        Ok(story) => println!("{story}"),
        Err(e) => fail(&e),
    }
}
