//! What was learned on some digits serves for the others.

use std::fmt;
use wengert::data::{DataLoader, Digits, Labeled};
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::nn::{BatchNorm2d, Conv2d, Unflatten};
use wengert::optim::Group;
use wengert::prelude::*;

/// Digits that the first network learns, from 0 on.
const OLD: usize = 7;
/// Digits that come later.
const NEW: usize = 3;

/// Images of each new digit to learn from.
const EACH: usize = 10;
/// How often the new digits are learned, from other images.
const DRAWS: usize = 8;

/// One way to learn the new digits: means over all draws.
#[derive(Clone, Debug)]
pub struct Way {
    /// What it is.
    pub name: &'static str,
    /// Parameters that are trained.
    pub trained: usize,
    /// Whether weights and running statistics of the backbone are those of before, to the last bit.
    pub kept: bool,
    /// Accuracy on test images of the new digits.
    pub accuracy: f64,
    /// Accuracy on test images of the old digits, with the old head on this backbone.
    pub old_accuracy: f64,
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Accuracy of the first network on test images of the digits it learned.
    pub pretrained: f64,
    /// From scratch, frozen, discriminative rates.
    pub ways: Vec<Way>,
}

/// A backbone of convolutions that makes 128 features, and a head.
#[derive(Module, Clone)]
struct Net {
    backbone: Sequential,
    head: Linear,
}

impl Net {
    fn new(classes: usize, rng: &mut Xoshiro256PlusPlus) -> Net {
        let conv = |i, o| Conv2d::builder(i, o, 3).padding(1).bias(false);
        Net {
            backbone: Sequential::builder()
                .layer(Unflatten::new(1, [1, 8, 8]))
                .then(conv(1, 16))
                .layer(BatchNorm2d::new(16))
                .relu()
                .max_pool2d(2)
                .then(conv(16, 32))
                .layer(BatchNorm2d::new(32))
                .relu()
                .max_pool2d(2)
                .flatten()
                .build(rng),
            head: Linear::new(128, classes, rng),
        }
    }
}

impl Forward for Net {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.head.forward(self.backbone.forward(x))
    }
}

/// The images of `n` digits from `low` on, with classes from 0 on.
fn some(l: &Labeled, low: usize, n: usize) -> Labeled {
    let low = low as i64;
    let keep: Vec<usize> = (l.labels.iter().enumerate())
        .filter(|(_, y)| (low..low + n as i64).contains(y))
        .map(|(i, _)| i)
        .collect();
    let mut part = l.select(&keep).expect("indices of the set");
    part.labels = part.labels.map(|y| y - low);
    part
}

fn train(net: &mut Net, mut adam: Adam, data: &Labeled, epochs: u64) {
    let loader = DataLoader::new(data.dataset(), 25).shuffle(2);
    let mut tape = Tape::training(3);
    for epoch in 0..epochs {
        for (x, y) in loader.epoch(epoch) {
            tape.reset();
            let grads = net.forward(tape.input(&x)).cross_entropy(&y).backward();
            adam.step(net, &grads);
        }
    }
}

fn judge(net: &Net, l: &Labeled) -> f64 {
    crate::accuracy(&net.predict(&l.inputs), &l.labels)
}

/// All values of the backbone: parameters, and running statistics.
fn values(net: &Net) -> (Vec<f32>, Vec<f32>) {
    let (mut weights, mut statistics) = (Vec::new(), Vec::new());
    net.backbone
        .for_each_param(|_, p| weights.extend(p.value().iter()));
    net.backbone
        .for_each_buffer(|_, b| statistics.extend(b.value().iter()));
    (weights, statistics)
}

/// `EACH` images of each digit, other ones for each draw.
fn few(l: &Labeled, draw: usize) -> Labeled {
    let mut seen = [0; NEW];
    let keep: Vec<usize> = (l.labels.iter().enumerate())
        .filter(|(_, y)| {
            let n = &mut seen[*y as usize];
            *n += 1;
            (draw * EACH + 1..=(draw + 1) * EACH).contains(n)
        })
        .map(|(i, _)| i)
        .collect();
    l.select(&keep).expect("indices of the set")
}

/// Learns 0 to 6 from a thousand images, then 7 to 9 from 30, three ways.
pub fn story() -> Story {
    let digits = Digits::load().standardized();
    let part = |l: &Labeled| (some(l, 0, OLD), some(l, OLD, NEW));
    let ((old, new), (old_test, new_test)) = (part(&digits.train), part(&digits.test));

    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
    let mut source = Net::new(OLD, rng);
    train(&mut source, Adam::new(3e-3), &old, 15);
    // What another program would read from a file.
    let file = source.to_bytes().expect("paths are unique");
    let backbone = LoadOptions::default()
        .any_kind(true)
        .from_prefix("backbone")
        .into_prefix("backbone");

    let mut ways = [
        "from scratch",
        "frozen backbone, new head",
        "backbone at a tenth of the rate",
    ]
    .map(|name| Way {
        name,
        trained: 0,
        kept: true,
        accuracy: 0.0,
        old_accuracy: 0.0,
    });
    for draw in 0..DRAWS {
        let data = few(&new, draw);
        let fresh = Net::new(NEW, rng);
        for (k, way) in ways.iter_mut().enumerate() {
            let mut net = fresh.clone();
            if k > 0 {
                net.load_bytes(&file, &backbone).expect("the same backbone");
            }
            let mut adam = Adam::new(1e-2);
            match k {
                1 => net.freeze("backbone"),
                2 => adam = adam.group(Group::matching("backbone.*").lr_scale(0.1)),
                _ => {}
            }
            train(&mut net, adam, &data, 30);
            way.trained = net.num_trainable();
            way.kept &= values(&net) == values(&source);
            way.accuracy += judge(&net, &new_test) / DRAWS as f64;
            let both = Net {
                backbone: net.backbone,
                head: source.head.clone(),
            };
            way.old_accuracy += judge(&both, &old_test) / DRAWS as f64;
        }
    }
    Story {
        pretrained: judge(&source, &old_test),
        ways: ways.into(),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [
            "learned",
            "parameters trained",
            "accuracy, 7 to 9",
            "accuracy, 0 to 6 with the old head",
        ];
        let mut t = Table::new(columns.map(Column::new));
        for w in &self.ways {
            t = t.row([
                Cell::from(w.name.to_string()),
                Cell::Number(w.trained as f64),
                Cell::Percent(w.accuracy),
                Cell::Percent(w.old_accuracy),
            ]);
        }
        write!(
            f,
            "A network learned the digits 0 to 6 ({:.1} % of the test images right); then 7 to 9 come, {} labelled images of each.\n\
             Means over {DRAWS} choices of these images.\n\n{}\n\
             With a frozen backbone the new head alone learns: a fourteenth of the parameters, a few points less. The backbone keeps its\n\
             weights and its running statistics to the last bit, so the old head works as before, and one backbone serves both heads. At a\n\
             tenth of the head's rate it moves a little, and nearly all of the old knowledge stays. Images as small as these can be learned\n\
             from scratch as well; what transfer saves here is training and memory, not errors.",
            100.0 * self.pretrained,
            EACH,
            super::show(&t)
        )
    }
}
