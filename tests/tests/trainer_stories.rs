//! The numbers that the trainer's stories print.

use wengert::flow::profile::RunProfile;
use wengert::flow::report::compare;
use wengert::flow::report::text::Terminal;
use wengert_tests::assert_told;

#[path = "../../examples/deep_sigmoid_vs_relu.rs"]
mod deep_sigmoid_vs_relu;
#[path = "../../examples/digits_trainer.rs"]
mod digits_trainer;
#[path = "../../examples/growing_network.rs"]
mod growing_network;
#[path = "../../examples/hyperparameter_search.rs"]
mod hyperparameter_search;

#[test]
fn digits() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let n = digits_trainer::story(100, 1, dir).expect("a run");
    assert!(n.test["accuracy"] >= 0.97, "{}", n.test);
    assert!(n.same, "the resumed run has the same bits");
    let h = &n.history;
    assert!(
        matches!(h.stop, wengert::train::Stop::Callback(_)),
        "{:?}",
        h.stop
    );
    assert!((10..100).contains(&h.rows.len()));
    let best = h.lowest("val_loss").expect("rows").epoch;
    assert_eq!(h.rows.len() as u64, best + 9, "patience 8");
}

#[test]
fn growing() {
    let n = growing_network::story(4, 1).expect("a run");
    assert_told("14-growing.md", &n.table);
    assert!(
        n.changes[0] < 1e-5 && n.changes[1] == 0.0,
        "{:?}",
        n.changes
    );
    let l = &n.losses;
    assert!((l[0] - l[1]).abs() < 1e-5 && l[2] == l[3]);
    assert!(l[2] < 0.7 * l[0] && l[4] < 0.7 * l[2], "{l:?}");
    assert!(l[4] < l[5], "{l:?}");
}

#[test]
fn search() {
    let n = hyperparameter_search::story(24, 9, 2, 1).expect("a search");
    let told = |name: &str, k: usize| {
        let (spent, best) = (n.spent[k], n.best[k]);
        format!("{name}, {spent} epochs in all: best validation accuracy {best:.5}\n")
    };
    assert_told(
        "13-search.md",
        &(told("Random search", 0) + &told("Hyperband", 1)),
    );
    assert!((0.005..0.2).contains(&n.lr.expect("a suggestion")));
    assert!(n.spent[1] * 2 < n.spent[0], "{:?}", n.spent);
    assert!(
        n.best[1] > n.best[0] - 0.03 && n.test > 0.93,
        "{:?} {}",
        n.best,
        n.test
    );
}

/// Chapters 2 and 4: one network four ways.
#[test]
fn four_ways() {
    let runs = deep_sigmoid_vs_relu::story(&deep_sigmoid_vs_relu::Plan::default());
    let first = |name: &str| {
        let run: &RunProfile = runs.iter().find(|r| r.name == name).expect("a network");
        &run.first().expect("a measured step").layers
    };
    let number = |x: f64| format!("{x:.3e}");
    let rms = |s: Option<f64>| number(s.expect("measured"));
    let mut table = compare::text(&runs, &Terminal::plain(120));
    for l in first("ReLU, Glorot") {
        let std = l.activation.as_ref().expect("measured").std;
        let (g, w) = (rms(l.activation_grad_rms()), rms(l.weight_grad_rms()));
        table += &format!("{} {} {g} {w}\n", l.path, number(std));
    }
    assert_told("02-measuring.md", &table);
    let mut table = String::new();
    for name in ["sigmoid, Glorot", "ReLU, Glorot", "ReLU, He"] {
        let layers = first(name);
        let hidden = &layers[..layers.len() - 1];
        let most = |of: fn(&wengert::flow::profile::LayerProfile) -> Option<f64>| {
            let most = hidden.iter().filter_map(of).fold(0.0, f64::max);
            format!("{:.1} %", 100.0 * most)
        };
        table += &format!(
            "{name} {} {} {} {}\n",
            rms(layers[0].activation_grad_rms()),
            rms(layers[layers.len() - 1].activation_grad_rms()),
            most(|l| l.saturation),
            most(|l| l.dead),
        );
    }
    assert_told("04-activations.md", &table);
}
