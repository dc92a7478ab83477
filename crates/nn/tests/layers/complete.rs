//! No public layer without derivatives checked, values compared with PyTorch, and a line in `docs/layers.md`.

use crate::common::{CHECKED, COMPARED};
use crate::{attention, basic, conv, norm, option, recurrent};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, Once};

/// What the modules of layers export and is no layer.
const NO_LAYERS: &[&str] = &[
    "Blueprint",
    "Weighted",
    "Resolution",
    "AttentionMask",
    "TransformerOptions",
    "RecurrentWeights",
    // Its kinds are the names of the functions.
    "Activation",
];

/// Layers without a partner in PyTorch that draws the same numbers: `option/random.rs` compares them given what was
/// drawn.
const NOT_COMPARED: &[&str] = &[
    "Dropout",
    "ClassicDropout",
    "SpatialDropout",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "DropPath",
];

/// Names that the modules of layers export.
fn layers() -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    for module in ["layers", "norm", "attention", "recurrent"] {
        let text = std::fs::read_to_string(src.join(module).join("mod.rs")).unwrap();
        for part in text.split("\npub use ").skip(1) {
            let part = &part[..part.find(';').unwrap()];
            let list = part.rsplit("::").next().unwrap();
            for name in list.split(|c: char| !c.is_alphanumeric()) {
                let upper = name.starts_with(|c: char| c.is_uppercase());
                let setting = ["Builder", "Config"].iter().any(|e| name.ends_with(e));
                if upper && !setting && !NO_LAYERS.contains(&name) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    // Of a layer over any number of axes the three that have names count.
    let over_axes: Vec<String> = (names.iter())
        .filter(|n| names.contains(&format!("{n}1d")))
        .cloned()
        .collect();
    names.retain(|n| !over_axes.contains(n));
    // No short names of its own: one per number of axes.
    if names.remove("Upsample") {
        names.extend((1..=3).map(|d| format!("Upsample{d}d")));
    }
    names
}

fn side_by_side(tests: &[fn()]) {
    std::thread::scope(|s| {
        for t in tests {
            s.spawn(t);
        }
    });
}

/// Looks for layers that no test met.
fn all(met: &Mutex<BTreeSet<&str>>, without: &[&str]) {
    let met: BTreeSet<&str> = met.lock().unwrap().clone();
    let missing: Vec<String> = (layers().into_iter())
        .filter(|n| !met.contains(n.as_str()) && !without.contains(&n.as_str()))
        .collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

#[test]
fn derivatives_of_every_layer() {
    side_by_side(&[
        basic::derivatives,
        norm::derivatives,
        attention::derivatives,
        conv::derivatives,
        recurrent::derivatives,
    ]);
    all(&CHECKED, &[]);
}

/// Every case of PyTorch, once.
pub fn against_pytorch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        side_by_side(&[
            basic::values_and_gradients_are_pytorchs,
            norm::values_gradients_and_running_statistics_are_pytorchs,
            attention::values_and_gradients_are_pytorchs,
            conv::convolutions_against_pytorch,
            conv::blocks_against_pytorch,
            recurrent::values_and_gradients_are_pytorchs,
            option::all,
        ]);
    });
}

#[test]
fn values_and_gradients_of_every_layer_are_pytorchs() {
    against_pytorch();
    all(&COMPARED, NOT_COMPARED);
}

#[test]
fn every_layer_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/layers.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let names = layers();
    assert!(names.len() > 70, "{names:?}");
    let missing: Vec<&String> = (names.iter())
        .filter(|n| !text.contains(&format!("`{n}`")))
        .collect();
    assert!(missing.is_empty(), "docs/layers.md has no {missing:?}");
    // Nothing there that is gone here.
    let rows = text.lines().filter(|l| l.starts_with("| `"));
    for row in rows {
        let cell = row.split('|').nth(1).unwrap();
        for name in cell.split('`').skip(1).step_by(2) {
            let known = names.contains(name) || basic::is_activation(name);
            assert!(known, "docs/layers.md names {name}, which does not exist");
        }
    }
    assert!(basic::all_activations_in(&text));
}

/// The doc comment of every public layer has an example that runs.
#[test]
fn every_layer_has_an_example() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut shown = BTreeSet::new();
    for module in ["layers", "norm", "attention", "recurrent"] {
        for file in std::fs::read_dir(src.join(module)).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let mut docs = String::new();
            for line in text.lines().map(str::trim) {
                if let Some(d) = line.strip_prefix("///") {
                    docs += d;
                } else if !line.starts_with("#[") {
                    // A struct, an enum, or the name that a macro gives to one.
                    let heads = ["pub struct ", "pub enum "];
                    let line = heads
                        .iter()
                        .find_map(|h| line.strip_prefix(h))
                        .unwrap_or(line);
                    let word = line.split(|c: char| !c.is_alphanumeric()).next();
                    if docs.contains("```") {
                        shown.insert(word.unwrap_or_default().to_owned());
                    }
                    docs.clear();
                }
            }
        }
    }
    let without: Vec<String> = (layers().into_iter())
        .filter(|n| {
            let base = ["1d", "2d", "3d"].iter().find_map(|d| n.strip_suffix(d));
            !shown.contains(base.unwrap_or(n))
        })
        .collect();
    assert!(without.is_empty(), "no example: {without:?}");
}
