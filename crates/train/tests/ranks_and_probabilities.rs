//! Metrics of ranks and probabilities, and averages over classes, against values of scikit-learn (`reference/scikit.py`) and by what
//! must hold for any scores.

mod common;
#[path = "reference/scikit.rs"]
mod scikit;

use common::sequence;
use scikit::*;
use std::panic::catch_unwind;
use wengert_nn::loss::CrossEntropy;
use wengert_optim::Sgd;
use wengert_tensor::Tensor;
use wengert_train::Trainer;
use wengert_train::metric::{
    AveragePrecision, Averaging, BinaryAveragePrecision, BinaryBrierScore, BinaryCalibrationError,
    BinaryRocAuc, BrierScore, CalibrationError, ConfusionMatrix, Metric, Named, RocAuc,
};

const N: usize = 200;
const C: usize = 5;
const ALL: [Averaging; 3] = [Averaging::Macro, Averaging::Weighted, Averaging::Micro];

type Values = ((), Tensor<f64>);
type Labels = ((), Tensor<i64>);

fn vector<E: wengert_tensor::Element>(x: Vec<E>) -> Tensor<E> {
    let n = x.len();
    Tensor::from_vec(x, [n])
}

/// 16 different scores, so most are ties.
fn answers() -> Tensor<f64> {
    let s = sequence(N, 11);
    vector(s.iter().map(|x| (x * 16.0).floor() / 16.0).collect())
}

fn yes() -> Tensor<f64> {
    let (chance, s) = (sequence(N, 12), answers());
    let pairs = chance.iter().zip(s.iter());
    let said = pairs.map(|(x, s)| f64::from(u8::from(*x < 0.1 + 0.6 * s)));
    vector(said.collect())
}

/// Rows of 16 sixteenths.
fn ties() -> Tensor<f64> {
    let cuts = sequence(N * (C - 1), 13);
    let rows = cuts.chunks(C - 1).flat_map(|row| {
        let mut cuts: Vec<f64> = row.iter().map(|x| (x * 17.0).floor()).collect();
        cuts.extend([0.0, 16.0]);
        cuts.sort_by(f64::total_cmp);
        (0..C)
            .map(|i| (cuts[i + 1] - cuts[i]) / 16.0)
            .collect::<Vec<_>>()
    });
    Tensor::from_vec(rows.collect(), [N, C])
}

fn logits() -> Tensor<f64> {
    let x = sequence(N * C, 14);
    Tensor::from_vec(x.iter().map(|x| x * 6.0 - 3.0).collect(), [N, C])
}

fn labels() -> Tensor<i64> {
    let y = sequence(N, 15);
    vector(y.iter().map(|x| (x * x * C as f64) as i64).collect())
}

/// Three of the five classes.
fn few() -> Tensor<i64> {
    vector(labels().iter().map(|y| y % 3).collect())
}

/// The same labels, with half of the answers right.
fn half(scores: &Tensor<f64>) -> Tensor<i64> {
    let (chance, labels, data) = (sequence(N, 16), labels(), scores.to_vec());
    let all = chance.iter().zip(labels.iter().zip(data.chunks(C)));
    let made = all.map(|(x, (y, row))| {
        let first = |best, c| if row[c] > row[best] { c } else { best };
        if *x < 0.5 {
            (1..C).fold(0, first) as i64
        } else {
            y
        }
    });
    vector(made.collect())
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 4e-15 * expected.abs().max(1.0)
            || (found.is_nan() && expected.is_nan()),
        "{found} {expected}"
    );
}

/// The value of the only column.
fn value<B, M: Metric<B, f64>>(m: &M) -> f64 {
    let values = m.values();
    assert_eq!(values.len(), 1);
    values[0].1
}

/// The value for one batch, after the same was found for other cuts, with state and restore in the middle: of ranks to the bit.
#[track_caller]
fn streamed<Y, M>(metric: &M, name: &str, x: &Tensor<f64>, y: &Tensor<Y>, exact: bool) -> f64
where
    Y: wengert_tensor::Element,
    M: Metric<((), Tensor<Y>), f64> + Clone,
{
    let whole = {
        let mut m = metric.clone();
        m.update(x, &((), y.clone())).unwrap();
        value(&m)
    };
    for size in [1, 7, 64, 1000] {
        let mut m = metric.clone();
        for start in (0..N).step_by(size) {
            let end = (start + size).min(N);
            if start % 3 == 0 {
                let state = m.state();
                m = metric.clone();
                m.restore(&state).unwrap();
                assert_eq!(m.state(), state);
            }
            let part = y.narrow(0, start, end);
            m.update(&x.narrow(0, start, end), &((), part)).unwrap();
        }
        match exact {
            true => assert_eq!(value(&m).to_bits(), whole.to_bits()),
            false => close(value(&m), whole),
        }
        assert_eq!(m.values()[0].0, name);
        assert!(m.restore(&[0.5; 7]).is_err());
        assert!(m.restore(&[0.25; 37]).is_err());
        m.reset();
        assert!(value(&m).is_nan());
        assert!(metric.values()[0].1.is_nan());
    }
    whole
}

#[test]
fn ranks_of_yes_and_no() {
    let (s, y) = (answers(), yes());
    close(
        streamed(&BinaryRocAuc::new(), "roc_auc", &s, &y, true),
        BINARY_AUC,
    );
    let name = "average_precision";
    close(
        streamed(&BinaryAveragePrecision::new(), name, &s, &y, true),
        BINARY_AP,
    );

    // One target alone.
    let s = vector(vec![0.1, 0.5, 0.3]);
    for (i, y) in [Tensor::zeros([3]), Tensor::ones([3])].iter().enumerate() {
        let (mut auc, mut ap) = (BinaryRocAuc::new(), BinaryAveragePrecision::new());
        auc.update(&s, y).unwrap();
        ap.update(&s, y).unwrap();
        close(auc.value(), ONE_TARGET[i]);
        close(ap.value(), ONE_TARGET[i + 2]);
    }
}

fn auc_of(s: &[f64], y: &Tensor<f64>) -> f64 {
    let mut m = BinaryRocAuc::new();
    m.update(&vector(s.to_vec()), y).unwrap();
    assert_eq!(m.seen(), s.len() as u64);
    m.value()
}

fn ap_of(s: &[f64], y: &Tensor<f64>) -> f64 {
    let mut m = BinaryAveragePrecision::new();
    m.update(&vector(s.to_vec()), y).unwrap();
    m.value()
}

#[test]
fn only_the_order_of_scores_counts() {
    let (s, y) = (answers().to_vec(), yes());
    let (auc, ap) = (auc_of(&s, &y), ap_of(&s, &y));
    let maps: [fn(f64) -> f64; 4] = [
        |x| 3.0 * x - 1.0,
        f64::exp,
        |x| (x / (1.0625 - x)).ln(),
        |x| x * x * x,
    ];
    for f in maps {
        let moved: Vec<f64> = s.iter().map(|x| f(*x)).collect();
        assert_eq!((auc_of(&moved, &y), ap_of(&moved, &y)), (auc, ap));
    }
    // The other way round, and the targets exchanged.
    let turned: Vec<f64> = s.iter().map(|x| -x).collect();
    let other = vector(y.iter().map(|y| 1.0 - y).collect());
    close(auc_of(&turned, &y), 1.0 - auc);
    close(auc_of(&s, &other), 1.0 - auc);
    close(auc_of(&turned, &other), auc);
    // By counting all pairs.
    let (mut won, mut pairs) = (0.0, 0.0);
    for (a, ya) in s.iter().zip(y.iter()) {
        for (b, yb) in s.iter().zip(y.iter()) {
            if ya > yb {
                pairs += 1.0;
                won += match a.partial_cmp(b).unwrap() {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
    }
    assert_eq!(auc, won / pairs);
    // All equal, also as 0 and -0: chance, and the share of yes. Infinite scores have their place.
    let y4 = vector(vec![1.0, 0.0, 0.0, 0.0]);
    let zeros = [0.0, -0.0, 0.0, -0.0];
    assert_eq!((auc_of(&zeros, &y4), ap_of(&zeros, &y4)), (0.5, 0.25));
    let ends = [f64::INFINITY, f64::NEG_INFINITY, 0.0, f64::INFINITY];
    assert_eq!((auc_of(&ends, &y4), ap_of(&ends, &y4)), (2.5 / 3.0, 0.5));
}

/// Macro, weighted, micro, and each class.
fn of_classes<M>(make: fn() -> M, of: fn(&M, Averaging) -> f64, class: fn(&M, usize) -> f64)
where
    M: Metric<Labels, f64>,
{
    let auc = make().values()[0].0 == "roc_auc";
    let (all, some) = if auc {
        (TIES_AUC, FEW_AUC)
    } else {
        (TIES_AP, FEW_AP)
    };
    for (labels, expected) in [(labels(), all), (few(), some)] {
        let mut m = make();
        m.update(&ties(), &((), labels)).unwrap();
        for (i, by) in ALL.into_iter().enumerate() {
            close(of(&m, by), expected[i]);
        }
        for c in 0..C {
            close(class(&m, c), expected[3 + c]);
        }
    }
}

#[test]
fn ranks_of_several_classes() {
    of_classes(
        || RocAuc::new(C).probabilities(),
        RocAuc::average,
        RocAuc::class,
    );
    of_classes(
        || AveragePrecision::new(C).probabilities(),
        AveragePrecision::average,
        AveragePrecision::class,
    );
    for (i, by) in ALL.into_iter().enumerate() {
        let (auc, ap) = (RocAuc::new(C), AveragePrecision::new(C));
        let (auc, ap) = (auc.averaging(by), ap.averaging(by));
        let (x, y) = (logits(), labels());
        close(streamed(&auc, "roc_auc", &x, &y, true), LOGITS_AUC[i]);
        let name = "average_precision";
        close(streamed(&ap, name, &x, &y, true), LOGITS_AP[i]);
        // Softmax does not see what all logits of a row have in common.
        let mut shifted = x.to_vec();
        for (row, shift) in shifted.chunks_mut(C).zip(sequence(N, 17)) {
            row.iter_mut().for_each(|x| *x += shift);
        }
        let mut moved = RocAuc::new(C).averaging(by);
        moved
            .update(&Tensor::from_vec(shifted, [N, C]), &y)
            .unwrap();
        assert!((moved.value() - LOGITS_AUC[i]).abs() < 1e-12);
    }
    // Two classes: each against the other is yes and no.
    let two: Vec<f64> = answers().iter().flat_map(|p| [1.0 - p, p]).collect();
    let y = vector(yes().iter().map(|y| y as i64).collect());
    let mut m = RocAuc::new(2).probabilities();
    m.update(&Tensor::from_vec(two, [N, 2]), &y).unwrap();
    assert_eq!(
        (m.class(0), m.value()),
        (m.class(1), auc_of(&answers().to_vec(), &yes()))
    );
}

#[test]
fn averages_of_precision_recall_and_f1() {
    for (labels, expected) in [
        (labels(), [ALL_MACRO, ALL_WEIGHTED, ALL_MICRO]),
        (few(), [FEW_MACRO, FEW_WEIGHTED, FEW_MICRO]),
    ] {
        for (by, expected) in ALL.into_iter().zip(expected) {
            let mut m = ConfusionMatrix::new(C).averaging(by);
            Metric::<Labels, f64>::update(&mut m, &ties(), &((), labels.clone())).unwrap();
            let columns = Metric::<Labels, f64>::values(&m);
            let found = [m.mean_precision(by), m.mean_recall(by), m.mean_f1(by)];
            for i in 0..3 {
                close(found[i], expected[i]);
                assert_eq!(columns[i].1, found[i]);
            }
        }
        let mut m = ConfusionMatrix::new(C);
        m.update(&ties(), &labels).unwrap();
        assert_eq!(
            m.mean_f1(Averaging::Macro),
            m.mean(ConfusionMatrix::f1),
            "unless set"
        );
    }
    for by in ALL {
        let mut m = ConfusionMatrix::new(3).averaging(by);
        assert!(m.mean_f1(by).is_nan() && m.mean_recall(by).is_nan());
        // A row of NaN is no answer: all answers are right, half of the labels found.
        let x = Tensor::from_vec(vec![1.0, 0.0, 0.0, f64::NAN, 0.0, 0.0], [2, 3]);
        m.update(&x, &vector(vec![0, 0])).unwrap();
        let found = (m.mean_precision(by), m.mean_recall(by), m.mean_f1(by));
        assert_eq!(found, (1.0, 0.5, 2.0 / 3.0));
    }
}

#[test]
fn brier_scores() {
    let (s, y) = (answers(), yes());
    let binary = BinaryBrierScore::new().probabilities();
    close(streamed(&binary, "brier", &s, &y, false), BINARY_BRIER);
    let b = BrierScore::new();
    close(
        streamed(
            &b.clone().probabilities(),
            "brier",
            &ties(),
            &labels(),
            false,
        ),
        TIES_BRIER,
    );
    close(
        streamed(&b, "brier", &logits(), &labels(), false),
        LOGITS_BRIER,
    );
    // Two classes, as probabilities and as logits (0, ln p / (1 - p)), which is the sigmoid of the second.
    let inside = s.iter().map(|p| p.max(1.0 / 32.0));
    let rows: Vec<f64> = s.iter().flat_map(|p| [1.0 - p, p]).collect();
    let labels = vector(y.iter().map(|y| y as i64).collect());
    let mut two = BrierScore::new().probabilities();
    two.update(&Tensor::from_vec(rows, [N, 2]), &labels)
        .unwrap();
    close(two.value(), TWO_BRIER);
    let odds: Vec<f64> = inside.map(|p| (p / (1.0 - p)).ln()).collect();
    let rows: Vec<f64> = odds.iter().flat_map(|x| [0.0, *x]).collect();
    let (mut two, mut one) = (BrierScore::new(), BinaryBrierScore::new());
    two.update(&Tensor::from_vec(rows, [N, 2]), &labels)
        .unwrap();
    one.update(&vector(odds), &y).unwrap();
    close(two.value(), one.value());
    assert_eq!((two.seen(), one.seen()), (N as u64, N as u64));
    // Infinite logits are certain.
    let mut one = BinaryBrierScore::new();
    let ends = vector(vec![f64::INFINITY, f64::NEG_INFINITY]);
    one.update(&ends, &vector(vec![1.0, 1.0])).unwrap();
    assert_eq!(one.value(), 0.5);
}

#[test]
fn calibration_errors() {
    let (s, y) = (answers(), yes());
    let b = || BinaryCalibrationError::new().probabilities();
    for (bins, expected) in [10, 16, 8].into_iter().zip(BINARY_ECE) {
        close(streamed(&b().bins(bins), "ece", &s, &y, false), expected);
    }
    let x = vector(s.iter().map(|s| 6.0 * s - 3.0).collect());
    let m = BinaryCalibrationError::new();
    close(streamed(&m, "ece", &x, &y, false), BINARY_ECE[3]);

    let m = CalibrationError::new();
    let (p, x) = (ties(), logits());
    for (m, x, expected) in [
        (m.clone().probabilities(), &p, ECE[0]),
        (m.clone().probabilities().bins(16), &p, ECE[1]),
        (m.clone().bins(8).probabilities(), &p, ECE[2]),
        (m.clone(), &x, ECE[3]),
        (m.clone().bins(10), &x, ECE[4]),
    ] {
        close(streamed(&m, "ece", x, &half(x), false), expected);
    }
    // Every edge belongs to the bin below it, whatever the number of bins; 0 to the first.
    for bins in 1..200 {
        let edges: Vec<f64> = (0..=bins).map(|i| i as f64 / bins as f64).collect();
        let mut m = b().bins(bins);
        m.update(&vector(edges.clone()), &Tensor::ones([bins + 1]))
            .unwrap();
        let counts: Vec<u64> = m.diagram().iter().map(|b| b.count).collect();
        let mut expected = vec![1; bins];
        expected[0] = 2;
        assert_eq!(counts, expected);
        let last = m.diagram()[bins - 1];
        assert_eq!(last.accuracy(), 1.0);
        if bins > 1 {
            assert_eq!(last.confidence(), 1.0);
        }
        // What is just above an edge belongs to the next.
        let mut m = b().bins(bins);
        let above: Vec<f64> = edges[..bins].iter().map(|e| e.next_up()).collect();
        m.update(&vector(above), &Tensor::ones([bins])).unwrap();
        assert!(m.diagram().iter().all(|b| b.count == 1));
    }
}

/// The text of an error, after which nothing was taken in.
#[track_caller]
fn refused<Y, M>(metric: M, x: Vec<f64>, shape: &[usize], y: Vec<Y>) -> String
where
    Y: wengert_tensor::Element,
    M: Metric<((), Tensor<Y>), f64>,
{
    let mut m = metric;
    let x = Tensor::from_vec(x, [shape.iter().product()]).reshape(shape);
    let e = m.update(&x, &((), vector(y))).unwrap_err();
    assert!(value(&m).is_nan() && !m.state().iter().any(|x| *x != 0.0));
    e.to_string()
}

#[test]
fn bad_input_is_refused() {
    let nan = || vec![0.5, f64::NAN];
    let (one, ok) = (|| vec![1.0, 0.0], || vec![0.25, 0.75]);
    let text = "roc_auc: score 1 is NaN, which has no rank";
    assert_eq!(refused(BinaryRocAuc::new(), nan(), &[2], one()), text);
    let text = "average_precision: score 1 is NaN, which has no rank";
    let ap = BinaryAveragePrecision::new;
    assert_eq!(refused(ap(), nan(), &[2], one()), text);
    let text = "average_precision: a target is 0 or 1, found 0.5";
    assert_eq!(refused(ap(), ok(), &[2], vec![1.0, 0.5]), text);
    let text = "roc_auc: the output has shape [2], the target [1]";
    assert_eq!(refused(BinaryRocAuc::new(), ok(), &[2], vec![1.0]), text);

    let text = "brier: score 1 is NaN, a logit expected";
    assert_eq!(refused(BinaryBrierScore::new(), nan(), &[2], one()), text);
    let text = "ece: score 0 is 1.5, a probability from 0 to 1 expected";
    let p = BinaryCalibrationError::new().probabilities();
    assert_eq!(refused(p, vec![1.5, 0.0], &[2], one()), text);
    let text = "ece: a target is 0 or 1, found 2";
    let ece = BinaryCalibrationError::new();
    assert_eq!(refused(ece, ok(), &[2], vec![1.0, 2.0]), text);

    // Rows: the sample is named. The first is good, and not taken in either.
    let rows = |bad: [f64; 2]| [&[0.5, 0.5], &bad[..]].concat();
    let inf = f64::INFINITY;
    for bad in [[f64::NAN, 0.0], [inf, 0.0], [-inf, -inf]] {
        let found = format!(
            "logits without NaN and +∞, not all of them -∞, expected, found {bad:?} in sample 1"
        );
        let y = || vec![0, 1];
        let x = || rows(bad);
        assert_eq!(
            refused(RocAuc::new(2), x(), &[2, 2], y()),
            format!("roc_auc: {found}")
        );
        assert_eq!(
            refused(AveragePrecision::new(2), x(), &[2, 2], y()),
            format!("average_precision: {found}")
        );
        assert_eq!(
            refused(BrierScore::new(), x(), &[2, 2], y()),
            format!("brier: {found}")
        );
        assert_eq!(
            refused(CalibrationError::new(), x(), &[2, 2], y()),
            format!("ece: {found}")
        );
    }
    // A class that is masked by -∞ has probability 0.
    let mut m = BrierScore::new();
    m.update(&Tensor::from_vec(vec![3.0, -inf], [1, 2]), &vector(vec![0]))
        .unwrap();
    assert_eq!(m.value(), 0.0);
    for bad in [[0.5, 0.4], [1.5, -0.5], [f64::NAN, 0.5]] {
        let found =
            format!("probabilities from 0 to 1 with the sum 1 expected, found {bad:?} in sample 1");
        let m = RocAuc::new(2).probabilities();
        assert_eq!(
            refused(m, rows(bad), &[2, 2], vec![0, 1]),
            format!("roc_auc: {found}")
        );
    }
    // Probabilities of single precision are near enough to 1.
    let mut m = BrierScore::new().probabilities();
    m.update(&Tensor::full([1, 1000], 1e-3f32), &vector(vec![999]))
        .unwrap();
    for bad in [2, -1] {
        let text = format!("roc_auc: label {bad} of sample 1 is not in 0..2");
        let m = RocAuc::new(2);
        assert_eq!(refused(m, vec![0.5; 4], &[2, 2], vec![0, bad]), text);
    }
    let text = "roc_auc: 3 classes expected, found scores of shape [2, 2]";
    let m = RocAuc::new(3);
    assert_eq!(refused(m, vec![0.5; 4], &[2, 2], vec![0, 1]), text);
    // What is passed over may be anything.
    let mut m = RocAuc::new(2).ignore(-100);
    let x = Tensor::from_vec(vec![0.0, 1.0, f64::NAN, 0.0, 1.0, 0.0], [3, 2]);
    m.update(&x, &vector(vec![1, -100, 0])).unwrap();
    assert_eq!((m.value(), m.seen()), (1.0, 2));

    // States of another metric.
    let mut m = RocAuc::new(2);
    for bad in [&[0.5, 0.5, 2.0][..], &[0.5, 1.5, 1.0], &[0.5, 0.5, 0.5]] {
        assert!(Metric::<Labels, f64>::restore(&mut m, bad).is_err());
    }
    for bad in [[f64::NAN, 1.0], [0.5, 2.0]] {
        let mut m = BinaryRocAuc::new();
        assert!(Metric::<Values, f64>::restore(&mut m, &bad).is_err());
    }
    let panics = |f: fn()| {
        let text = catch_unwind(f).unwrap_err();
        text.downcast_ref::<String>().cloned().unwrap()
    };
    assert_eq!(
        panics(|| drop(RocAuc::new(0))),
        "RocAuc: the number of classes must be at least 1, found 0"
    );
    assert_eq!(
        panics(|| drop(CalibrationError::new().bins(0))),
        "CalibrationError: the number of bins must be at least 1, found 0"
    );
    assert_eq!(
        panics(|| assert!(AveragePrecision::new(2).class(2).is_nan())),
        "AveragePrecision: class 2 is not in 0..2"
    );
}

/// In a trainer: columns of training and validation, and a run that goes on in the middle of an epoch, where states have any length.
#[test]
fn in_a_run_that_is_interrupted() {
    let dir = common::Dir::new("ranks");
    let path = dir.join("state");
    let make = || {
        Trainer::new(common::model(1), CrossEntropy::default(), Sgd::new(0.1))
            .metric(RocAuc::new(10).averaging(Averaging::Weighted))
            .metric(AveragePrecision::new(10))
            .metric(BrierScore::new())
            .metric(CalibrationError::new())
            .metric(ConfusionMatrix::new(10).averaging(Averaging::Weighted))
            .metric(Named::new(
                "all",
                RocAuc::new(10).averaging(Averaging::Micro),
            ))
    };
    let (train, valid) = (common::loader(100, 16), common::loader(60, 20));
    let mut whole = make();
    let rows = whole.fit(&train, Some(&valid), 2).unwrap().rows;
    for steps in [0, 3, 7] {
        let mut first = make().max_steps(steps);
        first.fit(&train, Some(&valid), 2).unwrap();
        first.save(&path).unwrap();
        let mut second = make();
        second.resume(&path).unwrap();
        let resumed = second.fit(&train, Some(&valid), 2).unwrap();
        assert!(resumed.rows == rows, "cut at {steps}");
    }
    let scores = whole.evaluate(&valid).unwrap();
    assert!(scores["roc_auc"] > 0.5 && scores["all_roc_auc"] > 0.5);
    assert!(scores["brier"] > 0.0 && scores["ece"] < 1.0);
    assert_eq!(Some(scores["roc_auc"]), rows[1].get("val_roc_auc"));
}
