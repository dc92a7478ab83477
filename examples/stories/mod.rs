//! The stories: each is a function that computes its numbers, and a text that tells them. The examples print the text, the
//! tests (`tests/tests/stories.rs`) hold the numbers to bounds.

pub mod adding_problem;
pub mod batch_norm_rescue;
pub mod char_model;
pub mod clipping;
pub mod fifty_layers;
pub mod layer_speeds;
pub mod overfitting;
pub mod ravine;
pub mod schedules;
pub mod sigmoid_chain;
pub mod ten_layers;
pub mod transfer;
pub mod zero_initialization;

use wengert::data::{Digits, Labeled};
use wengert::flow::lab::{LabData, Samples};
use wengert::flow::report::table::Table;
use wengert::flow::report::text::Terminal;

/// The first `train` and `test` digits for the laboratory, standardized.
///
/// # Panics
/// When there are fewer (1,437 and 360).
pub fn lab_digits(train: usize, test: usize) -> LabData {
    let d = Digits::load().standardized();
    let part = |l: &Labeled, n: usize| {
        let l = first(l, n);
        Samples {
            inputs: l.inputs,
            labels: l.labels,
        }
    };
    LabData::new(
        "UCI digits, 8x8",
        part(&d.train, train),
        part(&d.test, test),
        10,
    )
    .expect("digits are sound")
}

/// The first `n` samples.
fn first(l: &Labeled, n: usize) -> Labeled {
    l.select(&(0..n).collect::<Vec<_>>())
        .expect("enough digits")
}

/// A table for the terminal this runs in.
fn show(table: &Table) -> String {
    table.text(&Terminal::stdout())
}
