//! Dropout and L2 against overfitting.

use super::first;
use std::fmt;
use wengert::data::{DataLoader, Digits};
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::prelude::*;

/// One way to train.
#[derive(Clone, Debug)]
pub struct Way {
    /// What it is.
    pub name: &'static str,
    /// Loss on the training digits, without dropout.
    pub train_loss: f64,
    /// Loss on the test digits.
    pub test_loss: f64,
    /// Accuracy on the training digits.
    pub train_accuracy: f64,
    /// Accuracy on the test digits.
    pub test_accuracy: f64,
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Plain, dropout, L2, both.
    pub ways: Vec<Way>,
}

/// 100 digits, two hidden layers of 128 units, 120 epochs: far more weights than samples.
pub fn story() -> Story {
    let digits = Digits::load().standardized();
    let train = first(&digits.train, 100);
    let run = |(name, dropout, l2): (&'static str, f64, f64)| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut net: Sequential = Sequential::builder()
            .linear(64, 128)
            .relu()
            .dropout(dropout)
            .linear(128, 128)
            .relu()
            .dropout(dropout)
            .linear(128, 10)
            .build(&mut rng);
        let mut sgd = Sgd::new(0.02).momentum(0.9).weight_decay(l2);
        let mut tape = Tape::training(1);
        let loader = DataLoader::new(train.dataset(), 25).shuffle(1);
        for epoch in 0..120 {
            for (x, y) in loader.epoch(epoch) {
                tape.reset();
                let grads = net.forward(tape.input(&x)).cross_entropy(&y).backward();
                sgd.step(&mut net, &grads);
            }
        }
        let judge = |l: &wengert::data::Labeled| {
            let tape = Tape::inference();
            let scores = net.forward(tape.input(&l.inputs));
            let loss = f64::from(scores.cross_entropy(&l.labels).item());
            (loss, crate::accuracy(&scores.value(), &l.labels))
        };
        let ((train_loss, train_accuracy), (test_loss, test_accuracy)) =
            (judge(&train), judge(&digits.test));
        Way {
            name,
            train_loss,
            test_loss,
            train_accuracy,
            test_accuracy,
        }
    };
    let ways = [
        ("plain", 0.0, 0.0),
        ("dropout 0.5", 0.5, 0.0),
        ("L2 0.02", 0.0, 0.02),
        ("both", 0.5, 0.02),
    ];
    Story {
        ways: ways.map(run).into(),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut t = Table::new(
            [
                "trained",
                "loss, training",
                "loss, test",
                "accuracy, training",
                "accuracy, test",
            ]
            .map(Column::new),
        );
        for w in &self.ways {
            t = t.row([
                Cell::from(w.name.to_string()),
                Cell::Number(w.train_loss),
                Cell::Number(w.test_loss),
                Cell::Percent(w.train_accuracy),
                Cell::Percent(w.test_accuracy),
            ]);
        }
        let gap = |w: &Way| w.test_loss - w.train_loss;
        write!(
            f,
            "100 digits to learn from, 26,000 weights, 120 epochs\n\n{}\n\
             All learn the 100 digits by heart. Of the digits they have not seen, dropout, L2 and both get more right. The loss on the\n\
             test digits exceeds the one on the training digits by {:.2} plain, {:.2} with dropout, {:.2} with L2, {:.2} with both: small\n\
             weights keep the network from being sure of its errors; dropout alone does not.",
            super::show(&t),
            gap(&self.ways[0]),
            gap(&self.ways[1]),
            gap(&self.ways[2]),
            gap(&self.ways[3])
        )
    }
}
