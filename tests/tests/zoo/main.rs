//! A zoo of networks with planted faults, and of healthy ones: every fault is named in the right layer, healthy networks raise
//! no alarm, and the proposed remedy brings a network to the accuracy of its healthy twin.
//!
//! Thresholds were tuned on the networks of [`Part::Tuning`] and are tested on those of [`Part::Test`]: other seeds,
//! widths, depths, learning rates, other samples of the digits. Both parts and the confusion table, for `docs/zoo.md`:
//!
//! ```sh
//! WENGERT_ZOO=docs/zoo.md cargo test -p wengert-tests --test zoo
//! ```
//!
//! Whoever moves a threshold looks at the tuning part alone, with `WENGERT_ZOO=tuning`; the test part stays unseen.

mod lab;
mod net;
mod wired;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use wengert::data::Digits;
use wengert::flow::lab::{LabData, Samples};
use wengert::flow::profile::{Finding, Severity};
use wengert::prelude::*;

/// Which networks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Part {
    /// Those the thresholds were chosen by.
    Tuning,
    /// Those nobody looked at before.
    Test,
}

/// What came of one network.
pub struct Outcome {
    /// The most important finding.
    pub found: Finding,
    /// Accuracy on held-out samples after the proposed remedies.
    pub repaired: f64,
    /// Accuracy of the twin without the fault.
    pub twin: f64,
    /// What was done, in words.
    pub how: String,
}

/// One network.
pub struct Specimen {
    /// The rule that must name it; `healthy` for healthy ones.
    pub planted: &'static str,
    /// The layer that must be named; none where the fault is no layer's.
    pub layer: Option<String>,
    /// For people.
    pub name: String,
    /// Trains, judges, repairs.
    pub run: Box<dyn Fn() -> Outcome + Send + Sync>,
}

/// Digits for one part: 480 to train, 180 to test, disjoint between the parts.
pub fn digits(part: Part) -> &'static LabData {
    static DATA: OnceLock<[LabData; 2]> = OnceLock::new();
    let both = DATA.get_or_init(|| {
        let d = Digits::load().standardized();
        [0, 1].map(|k| {
            let cut = |l: &wengert::data::Labeled, n: usize| {
                let rows: Vec<usize> = (k * n..(k + 1) * n).collect();
                let l = l.select(&rows).expect("enough digits");
                Samples {
                    inputs: l.inputs,
                    labels: l.labels,
                }
            };
            LabData::new("digits", cut(&d.train, 480), cut(&d.test, 180), 10).expect("sound data")
        })
    });
    &both[usize::from(part == Part::Test)]
}

/// Runs everything on as many threads as there are, results in order.
fn run_all(zoo: &[Specimen]) -> Vec<Outcome> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(z) = zoo.get(i) else { break };
                    let outcome = (z.run)();
                    done.lock().expect("no panic").push((i, outcome));
                }
            });
        }
    });
    let mut done: Vec<(usize, Outcome)> = done.into_inner().expect("no panic");
    done.sort_by_key(|d| d.0);
    done.into_iter().map(|d| d.1).collect()
}

/// What is said about a part of the zoo.
struct Census {
    faults: usize,
    healthy: usize,
    confusion: BTreeMap<(String, String), usize>,
    wrong: Vec<String>,
    repaired: usize,
    lost: Vec<String>,
}

/// A repaired network may be this much worse than its twin: 9 of 180 test images, as much as another seed changes.
const TOLERANCE: f64 = 0.05;

fn census(part: Part) -> Census {
    let zoo: Vec<Specimen> = [lab::specimens(part), wired::specimens(part)]
        .into_iter()
        .flatten()
        .collect();
    let mut c = Census {
        faults: 0,
        healthy: 0,
        confusion: BTreeMap::new(),
        wrong: Vec::new(),
        repaired: 0,
        lost: Vec::new(),
    };
    for (z, o) in zoo.iter().zip(run_all(&zoo)) {
        let f = &o.found;
        *c.confusion
            .entry((z.planted.into(), f.rule.clone()))
            .or_default() += 1;
        let right = f.rule == z.planted && (z.layer.is_none() || z.layer == f.layer);
        if !right {
            c.wrong.push(format!(
                "{}: planted {} at {:?}, found {} at {:?}: {} ({})",
                z.name,
                z.planted,
                z.layer,
                f.rule,
                f.layer,
                f.message,
                f.evidence.as_deref().unwrap_or("")
            ));
        }
        if z.planted == "healthy" {
            c.healthy += 1;
            assert!(f.severity <= Severity::Healthy || !right);
            continue;
        }
        c.faults += 1;
        for (what, said) in [
            ("evidence", &f.evidence),
            ("cause", &f.cause),
            ("remedy", &f.remedy),
        ] {
            assert!(said.is_some(), "{}: {} without {what}", z.name, f.rule);
        }
        // What nothing uses stands at no line.
        let line = f.location.is_some() || f.rule == "no gradient";
        assert!(line, "{}: {} without a line", z.name, f.rule);
        if o.repaired >= o.twin - TOLERANCE {
            c.repaired += 1;
        } else {
            c.lost.push(format!(
                "{}: {}: {:.3} against {:.3}. {}",
                z.name, z.planted, o.repaired, o.twin, o.how
            ));
        }
    }
    c
}

impl Census {
    fn markdown(&self, title: &str) -> String {
        let mut s = format!(
            "## {title}\n\n{} planted faults, {} healthy networks. Repaired (within {:.0} points of the healthy twin): {} of {}.\n\n\
             | planted | found | networks |\n|---|---|---:|\n",
            self.faults,
            self.healthy,
            100.0 * TOLERANCE,
            self.repaired,
            self.faults
        );
        for ((planted, found), n) in &self.confusion {
            s += &format!("| {planted} | {found} | {n} |\n");
        }
        for (what, list) in [
            ("Named otherwise", &self.wrong),
            ("Not repaired", &self.lost),
        ] {
            if !list.is_empty() {
                s += &format!("\n{what}:\n");
                for l in list {
                    s += &format!("- {l}\n");
                }
            }
        }
        s
    }
}

#[test]
fn every_fault_is_named_and_cured_and_nothing_else_is() {
    let page = std::env::var("WENGERT_ZOO").ok();
    let tuning = page.as_deref() == Some("tuning");
    let test = census(if tuning { Part::Tuning } else { Part::Test });
    println!("{}", test.markdown(if tuning { "Tuning" } else { "Test" }));
    if let Some(path) = page.filter(|_| !tuning) {
        let page = format!(
            "# The zoo\n\n\
             Networks with planted faults and healthy ones, generated by `tests/tests/zoo`. Thresholds were chosen on the networks under\n\
             *Tuned on* and are tested on those under *Tested on*, which have other seeds, widths, depths, learning rates and samples of the digits. Each fault\n\
             must be named with its layer; then the proposed remedies are applied, and the network is trained again. The seeds of the\n\
             laboratory's half of the test part (`lab.rs`) are younger than every rule and threshold and were run once. Those of the other half\n\
             (`wired.rs`) were replaced when its rules last changed; cases were added on them later. The two samples of digits are older.\n\n\
             This page is written by `WENGERT_ZOO=docs/zoo.md cargo test -p wengert-tests --test zoo`.\n\n{}\n{}",
            test.markdown("Tested on"),
            census(Part::Tuning).markdown("Tuned on")
        );
        // Relative paths count from the workspace, not from this package.
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::write(root.join(path), page).expect("the page is written");
    }
    assert!(test.faults >= 60 && test.healthy >= 60);
    assert!(test.wrong.is_empty(), "{:#?}", test.wrong);
    let share = test.repaired as f64 / test.faults as f64;
    assert!(share >= 0.95, "repaired {share}: {:#?}", test.lost);
}

/// Share of rows whose largest score stands at the label; a row that is not finite is wrong.
pub fn accuracy(scores: &Tensor, labels: &Tensor<i64>) -> f64 {
    let classes = scores.shape()[1];
    let scores = scores.to_vec();
    let right = scores
        .chunks_exact(classes)
        .zip(labels.iter())
        .filter(|(row, y)| {
            let best = (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            row.iter().all(|v| v.is_finite()) && best == Some(*y as usize)
        });
    right.count() as f64 / labels.numel() as f64
}
