//! The stories' numbers.

use wengert_examples::stories::*;
use wengert_tests::assert_told;

#[test]
fn two_sigmoids_follow_their_formula() {
    let story = sigmoid_chain::story();
    assert_told("01-products.md", &story.to_string());
    let rows = story.rows;
    for r in &rows {
        for k in 0..2 {
            let error = (r.tape[k] - r.formula[k]).abs();
            assert!(error <= 1e-15 + 1e-12 * r.formula[k].abs(), "{r:?}");
        }
    }
    assert!((0.0..1e-4).contains(&rows[0].slope) && (0.0..1e-4).contains(&rows[1].slope));
    assert_eq!(rows[2].slope, 0.25);
    assert_eq!(rows[2].tape, [0.0, 0.0625]);
    assert!(rows[0].tape[0].abs() < 1e-6 && rows[1].tape[0].abs() < 1e-3);
}

#[test]
fn ten_layers_keep_what_their_initializer_keeps() {
    let story = ten_layers::story();
    assert_told("03-initialization.md", &story.to_string());
    let nets = story.nets;
    let std = |net: usize, layer: usize| nets[net].layers[layer].std;
    // 0.01 √500 = 0.2236 a layer, while tanh is a straight line.
    let per_layer = (std(0, 9) / std(0, 4)).powf(0.2);
    assert!((per_layer - 0.2236).abs() < 0.01, "{per_layer}");
    assert!(std(0, 9) < 1e-6);
    assert!(
        std(1, 9) > 0.95 && nets[1].flat > 0.9,
        "{} {}",
        std(1, 9),
        nets[1].flat
    );
    assert!(
        (0.2..0.5).contains(&std(2, 9)) && nets[2].flat < 0.05,
        "{}",
        std(2, 9)
    );
    // √(1/2) a layer: 22.6 in nine steps.
    let lost = nets[3].layers[0].rms / nets[3].layers[9].rms;
    assert!((15.0..33.0).contains(&lost), "{lost}");
    let kept = nets[4].layers[9].rms / nets[4].layers[0].rms;
    assert!((0.6..1.6).contains(&kept), "{kept}");
}

#[test]
fn equal_units_stay_equal() {
    let story = zero_initialization::story();
    assert_told("03-initialization.md", &story.to_string());
    let starts = story.starts;
    assert_eq!((starts[0].distinct, starts[0].moved), (1, 0.0));
    assert!(starts[0].accuracy < 0.2, "{}", starts[0].accuracy);
    assert_eq!(starts[1].distinct, 1);
    assert!(
        starts[1].moved > 0.01 && starts[1].accuracy < 0.5,
        "{:?}",
        starts[1]
    );
    assert_eq!(starts[2].distinct, 32);
    assert!(starts[2].accuracy > 0.9, "{}", starts[2].accuracy);
    let verdicts: Vec<&str> = starts.iter().map(|s| s.verdict.as_str()).collect();
    assert_eq!(verdicts, ["symmetric", "symmetric", "healthy"]);
}

#[test]
fn the_first_layer_is_the_slowest() {
    let story = layer_speeds::story();
    assert_told("01-products.md", &story.to_string());
    let start = &story.steps[0].2;
    assert!(start.windows(2).all(|w| w[0] < w[1]), "{start:?}");
    assert!(story.ratio(0) < 0.1, "{}", story.ratio(0));
    assert!(story.steps.len() >= 7);
}

#[test]
fn batch_norm_trains_what_small_weights_do_not() {
    let story = batch_norm_rescue::story();
    assert_told("05-normalization.md", &story.to_string());
    let c = story.comparison;
    let accuracy: Vec<f64> = (c.runs.iter())
        .map(|r| r.curve("accuracy").and_then(|c| c.last()).unwrap_or(0.0))
        .collect();
    assert!(accuracy[0] < 0.25, "{accuracy:?}");
    assert!(accuracy[1] > 0.75 && accuracy[2] > 0.75, "{accuracy:?}");
    assert_eq!(c.runs[0].findings[0].rule, "vanishing");
    assert!(c.any_healthy());
}

#[test]
fn fifty_layers_need_a_way_around() {
    let story = fifty_layers::story();
    assert_told("06-residual.md", &story.to_string());
    let ([plain, residual], [before, after]) = (story.journeys(), story.accuracies());
    assert!(!(0.01..=100.0).contains(&plain), "{plain}");
    assert!((0.01..100.0).contains(&residual), "{residual}");
    assert!(after > 0.75 && after > before + 0.25, "{before} {after}");
}

#[test]
fn dropout_and_decay_narrow_the_gap() {
    let story = overfitting::story();
    assert_told("10-regularization.md", &story.to_string());
    let ways = story.ways;
    let gap = |k: usize| ways[k].test_loss - ways[k].train_loss;
    assert!(ways.iter().all(|w| w.train_accuracy > 0.98), "{ways:?}");
    for k in 1..4 {
        assert!(
            ways[k].test_accuracy > ways[0].test_accuracy + 0.015,
            "{ways:?}"
        );
    }
    for k in 2..4 {
        assert!(gap(k) < 0.85 * gap(0), "{ways:?}");
    }
}

#[test]
fn a_frozen_backbone_serves_old_and_new_digits() {
    let s = transfer::story();
    assert_told("11-transfer.md", &s.to_string());
    assert!(s.pretrained > 0.97, "{}", s.pretrained);
    let [scratch, frozen, careful] = &s.ways[..] else {
        panic!("three ways")
    };
    assert_eq!((frozen.trained, scratch.trained), (128 * 3 + 3, 5_235));
    assert!(frozen.kept && !careful.kept && !scratch.kept);
    // A sum of equal numbers, rounded eight times.
    assert!((frozen.old_accuracy - s.pretrained).abs() < 1e-12, "{s:?}");
    assert!(scratch.old_accuracy < 0.5, "{s:?}");
    assert!(
        frozen.accuracy > 0.8 && frozen.accuracy > scratch.accuracy - 0.04,
        "{s:?}"
    );
    assert!(
        careful.accuracy > 0.8 && careful.accuracy > scratch.accuracy - 0.04,
        "{s:?}"
    );
}
