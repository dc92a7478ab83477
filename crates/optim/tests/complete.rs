//! A rule or schedule that lacks a test, a line in the documents or its sources does not pass: every list is held to the
//! public names.

mod common;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use table::{Lr, rules, schedules};
use wengert_autograd::Gradients;
use wengert_optim::schedule::{BatchSize, Schedule, from_fn};

/// The names of `pub use path::{…}` in a source file.
fn names<'a>(source: &'a str, path: &str) -> BTreeSet<&'a str> {
    let start = format!("pub use {path}::");
    let mut found = BTreeSet::new();
    for part in source.split(start.as_str()).skip(1) {
        let list = part.split(';').next().unwrap();
        let list = list.trim_start_matches('{').trim_end_matches('}');
        found.extend(list.split(',').map(str::trim).filter(|n| !n.is_empty()));
    }
    assert!(!found.is_empty(), "{path}");
    found
}

fn types() -> BTreeSet<&'static str> {
    let mut all = names(include_str!("../src/lib.rs"), "rules");
    assert!(all.remove("MuonScale"));
    all
}

#[test]
fn every_rule_is_in_every_list() {
    let table: BTreeSet<&str> = rules::<f64>().iter().map(|r| r.kind).collect();
    // What goes over the table: resuming with every schedule, refusals, sizes, digits.
    assert_eq!(table, types());
    let trajectories = include_str!("runs/mod.rs");
    let formulas = [
        include_str!("written/adam.rs"),
        include_str!("written/descent.rs"),
        include_str!("written/moments.rs"),
        include_str!("written/tensors.rs"),
        include_str!("matrices.rs"),
    ]
    .concat();
    for name in types() {
        let (new, typed) = (format!("{name}::new("), format!("{name}::<f64>::new("));
        let calls = |s: &str| {
            [new.as_str(), typed.as_str()].iter().any(|call| {
                s.match_indices(call)
                    .any(|(at, _)| !s[..at].ends_with(char::is_alphanumeric))
            })
        };
        assert!(calls(trajectories), "{name} has no trajectory");
        assert!(formulas.contains(name), "{name} is not held to its formula");
    }
}

#[test]
fn every_rule_tells_formula_source_and_defaults() {
    let files = [
        include_str!("../src/rules/adafactor.rs"),
        include_str!("../src/rules/adagrad.rs"),
        include_str!("../src/rules/adam.rs"),
        include_str!("../src/rules/averaging.rs"),
        include_str!("../src/rules/belief.rs"),
        include_str!("../src/rules/layerwise.rs"),
        include_str!("../src/rules/muon.rs"),
        include_str!("../src/rules/prodigy.rs"),
        include_str!("../src/rules/sgd.rs"),
        include_str!("../src/rules/sign.rs"),
        include_str!("../src/rules/soap.rs"),
        include_str!("../src/rules/sophia.rs"),
    ];
    let mut seen = BTreeSet::new();
    for part in files.iter().flat_map(|f| f.split("optimizer! {").skip(1)) {
        let doc: String = (part.lines().map(str::trim))
            .skip_while(|l| l.is_empty())
            .take_while(|l| l.starts_with("///"))
            .collect::<Vec<_>>()
            .join("\n");
        let line = part
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with("///"));
        let name = line.unwrap().split(':').next().unwrap();
        assert!(seen.insert(name), "{name} twice");
        assert!(doc.contains("```text"), "{name}: no formula");
        let paper = (1950..2030).any(|y| doc.contains(&y.to_string()));
        let library = ["PyTorch", "optax", "the authors"]
            .iter()
            .any(|l| doc.contains(l));
        assert!(paper || name == "Sgd", "{name}: no paper\n{doc}");
        assert!(library, "{name}: whose defaults\n{doc}");
    }
    assert_eq!(seen, types());
}

/// The numbers in a cell of a table.
fn numbers(cell: &str) -> Vec<f64> {
    let cell: String = cell
        .chars()
        .map(|c| if "₀₁₂₃".contains(c) { ' ' } else { c })
        .collect();
    cell.split([' ', ',', ';', '(', ')'])
        .filter_map(|w| w.parse().ok())
        .collect()
}

#[test]
fn the_table_of_the_document_holds_the_defaults() {
    let document = include_str!("../../../docs/optimizers.md");
    let mut defaults: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for rule in rules::<f64>() {
        let values = rule.defaults.iter().filter(|(h, _)| h.name != "lr");
        defaults.insert(rule.kind, values.map(|d| d.1).collect());
    }
    // What is not a hyperparameter that a schedule could drive.
    defaults.get_mut("Soap").unwrap().push(10.0);
    defaults.get_mut("Muon").unwrap().push(5.0);
    defaults.insert("Lbfgs", vec![20.0, 100.0]);
    let mut seen = BTreeSet::new();
    let rows = document.lines().filter(|l| l.starts_with("| `"));
    for row in rows.filter(|l| l.split('|').count() == 7) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split(',').map(|n| n.trim().trim_matches('`')) {
            let known = &defaults.get(name).unwrap_or_else(|| panic!("{name}"));
            let told = numbers(cells[3]);
            assert!(!told.is_empty(), "{name} tells no defaults");
            for x in told {
                // ScheduleFreeSgd and ScheduleFreeAdamW share a row.
                assert!(
                    known.contains(&x),
                    "{name}: {x} is no default, those are {known:?}"
                );
            }
            assert!(!cells[2].is_empty() && !cells[4].is_empty() && !cells[5].is_empty());
            seen.insert(name);
        }
    }
    assert!(seen.remove("Lbfgs"));
    assert_eq!(seen, types());
}

#[test]
fn every_schedule_is_in_every_list() {
    let source = include_str!("../src/schedule/mod.rs");
    let table = include_str!("table/mod.rs");
    // Made by a method of the schedule inside.
    let methods = BTreeMap::from([
        ("Clamped", ".clamp("),
        ("Delayed", ".delay("),
        ("Every", ".every("),
        ("FromFn", "from_fn("),
        ("Product", ".times("),
        ("Sequential", ".then("),
        ("Sum", ".plus("),
        ("Warmup", ".warmup("),
        ("from_fn", "from_fn("),
    ]);
    for path in ["combine", "cyclic", "decay"] {
        for name in names(source, path) {
            let new = format!("{name}::new(");
            let made = methods.get(name).copied().unwrap_or(new.as_str());
            assert!(table.contains(made), "{name} is not in the table");
            assert!(
                include_str!("schedules.rs").contains(made),
                "{name} has no test"
            );
        }
    }
}

#[test]
fn every_hyperparameter_of_every_rule_follows_every_schedule() {
    let mut pairs = 0;
    for rule in rules::<f64>() {
        for (h, default) in rule.hypers.iter().filter(|(h, _)| h.name != "lr") {
            let inside = |f: &dyn Fn(f64) -> f64| {
                let all = schedules(0.5);
                all.iter()
                    .all(|(_, s)| (0..100).all(|t| h.range.contains(f(s.at(t)))))
            };
            // About half the default, or where the range lies.
            let d = *default;
            let maps: [fn(f64, f64) -> f64; 6] = [
                |x, d| if d > 0.0 { x * d } else { x },
                |x, _| 1.0 + x,
                |x, _| -x,
                |x, _| x / 4.0,
                |x, _| 0.1 + x / 4.0,
                |x, _| 1.1 + x,
            ];
            let map = maps.into_iter().find(|f| inside(&|x| f(x, d)));
            let map = map.unwrap_or_else(|| panic!("{} {}", rule.name, h.name));
            for (name, s) in schedules(0.5) {
                let s: Lr = Arc::new(from_fn(move |t| map(s.at(t), d)));
                let what = format!("{}: {} on {name}", rule.name, h.name);
                let lr: Lr = Arc::new(rule.lr);
                let mut o = match (rule.watched)(lr, h.name, s.clone()) {
                    Ok(o) => o,
                    // Hyperparameters that exclude each other in this variant.
                    Err(e) => {
                        assert!(["dampening", "beta1"].contains(&h.name), "{what}: {e}");
                        continue;
                    }
                };
                let mut m = common::start::<f64>();
                let mut grads = common::Grads::new(true);
                for t in 0..4 {
                    assert_eq!(
                        o.now(h.name).map(f64::to_bits),
                        Some(s.at(t).to_bits()),
                        "{what}"
                    );
                    let g: Gradients<f64> = grads.next(&m);
                    o.try_step(&mut m, &g)
                        .unwrap_or_else(|e| panic!("{what}: {e}"));
                }
                assert!(m.values().iter().all(|x| x.is_finite()), "{what}");
                pairs += 1;
            }
        }
    }
    assert!(pairs > 4000, "{pairs}");
}

#[test]
fn batch_sizes_follow_every_schedule() {
    for (name, s) in schedules(64.0) {
        let b = BatchSize::new(from(&s)).multiple_of(8).at_most(60);
        for t in 0..100 {
            let expected = ((s.at(t) / 8.0).round() as usize).max(1) * 8;
            assert_eq!(b.at(t), expected.min(60), "{name} at {t}");
        }
        let grown = BatchSize::inverse_to(16, from(&s));
        for t in 0..100 {
            let expected = (16.0 * s.at(0) / s.at(t)).round().max(1.0);
            if expected < 1e9 {
                assert_eq!(grown.at(t) as f64, expected, "{name} at {t}");
            }
        }
    }
}

fn from(s: &Lr) -> impl Schedule + use<> {
    let s = s.clone();
    from_fn(move |t| s.at(t))
}
