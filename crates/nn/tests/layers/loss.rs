//! Losses against PyTorch, and their derivatives.

use crate::common::{Case, cases, sample, tape};
use wengert_autograd::{Tape, Tensor, Var, grad, gradcheck};
use wengert_nn::Reduction;
use wengert_nn::loss::*;

const REFERENCE: &str = include_str!("../reference/loss.txt");

const WEIGHTS: [f64; 3] = [0.5, 2.0, 3.0];

fn apply<'t>(name: &str, case: &Case, r: Reduction, x: &[Var<'t, f64>]) -> Var<'t, f64> {
    let tape = x[0].tape();
    let labels = || case.ints("labels");
    let answers = || tape.input(case.get("answers"));
    let w = Some(&WEIGHTS[..]);
    match name {
        "mse" => mse(x[0], x[1], r),
        "l1" => l1(x[0], x[1], r),
        "huber" => huber(x[0], x[1], 0.7, r),
        "smooth_l1" => smooth_l1(x[0], x[1], 0.7, r),
        "log_cosh" => log_cosh(x[0], x[1], r),
        "bce" => bce(x[0], x[1], r),
        "bce_with_logits" => bce_with_logits(x[0], x[1], None, r),
        "bce_with_logits_weight" => {
            let p = tape.input(&Tensor::from_vec(WEIGHTS.to_vec(), [3]));
            bce_with_logits(x[0], x[1], Some(p), r)
        }
        "hinge" => hinge(x[0], answers(), r),
        "hinge_embedding" => hinge_embedding(x[0], answers(), 0.8, r),
        "soft_margin" => soft_margin(x[0], answers(), r),
        "kl" => kl_divergence(x[0], x[1], false, r),
        "kl_log" => kl_divergence(x[0], x[1], true, r),
        "poisson" => poisson_nll(x[0], x[1], true, false, r),
        "poisson_full" => poisson_nll(x[0], x[1].detach(), false, true, r),
        "gaussian" => gaussian_nll(x[0], x[1], x[2], 1e-6, true, r),
        "gaussian_clamped" => gaussian_nll(x[0], x[1], x[2], 0.5, false, r),
        "nll" => nll(x[0], &labels(), None, None, r),
        "nll_weight" => nll(x[0], &labels(), w, Some(1), r),
        "ce" => cross_entropy(x[0], &labels(), None, None, 0.0, r),
        "ce_ignore" => cross_entropy(x[0], &labels(), None, Some(2), 0.0, r),
        "ce_weight" => cross_entropy(x[0], &labels(), w, None, 0.0, r),
        "ce_smooth" => cross_entropy(x[0], &labels(), None, None, 0.2, r),
        "ce_all" => cross_entropy(x[0], &labels(), w, Some(0), 0.2, r),
        "ce_space" => cross_entropy(x[0], &labels(), w, Some(0), 0.1, r),
        "ce_prob" => cross_entropy_probabilities(x[0], x[1], None, 0.0, r),
        "ce_prob_all" => cross_entropy_probabilities(x[0], x[1], w, 0.2, r),
        "multi_margin" => multi_margin(x[0], &labels(), 1, 0.8, None, r),
        "multi_margin_2" => multi_margin(x[0], &labels(), 2, 1.0, w, r),
        "margin_ranking" => margin_ranking(x[0], x[1], answers(), 0.3, r),
        "cosine" => cosine_embedding(x[0], x[1], answers(), -0.5, r),
        "triplet" => triplet_margin(x[0], x[1], x[2], 1.0, 2.0, false, r),
        "triplet_swap" => triplet_margin(x[0], x[1], x[2], 2.0, 3.0, true, r),
        "focal" => focal(x[0], x[1].detach(), Some(0.25), 1.5, r),
        "dice" => dice(x[0], x[1], 0.5, r),
        "ctc" => {
            let target = CtcTarget {
                labels: case.ints("ids"),
                steps: vec![6, 5, 4],
                lengths: vec![3, 2, 0],
            };
            let log_p = x[0].log_softmax(-1);
            let object = Ctc {
                blank: 3,
                zero_infinity: false,
                reduction: r,
            };
            object.loss(log_p, &target)
        }
        _ => panic!("{name} is not tested"),
    }
}

#[test]
fn values_and_gradients_are_pytorchs() {
    let all = cases(REFERENCE);
    for case in &all {
        let (name, reduction) = case.name.rsplit_once(' ').expect("a reduction");
        let reduction = match reduction {
            "mean" => Reduction::Mean,
            "sum" => Reduction::Sum,
            "batchmean" => Reduction::BatchMean,
            _ => Reduction::None,
        };
        let mut nothing = ();
        case.run_values(&mut nothing, true, |_, _, x| {
            apply(name, case, reduction, x)
        });
    }
    assert_eq!(all.len(), 109);
}

#[test]
fn derivatives_of_both_orders() {
    let mut checked = 0;
    for case in cases(REFERENCE) {
        let Some(name) = case.name.strip_suffix(" none") else {
            continue;
        };
        // Straight-through and detached targets are not what finite differences see; l1 is piecewise linear.
        if ["gaussian_clamped", "poisson_full", "focal"].contains(&name) {
            continue;
        }
        checked += 1;
        let x = case.inputs();
        match x.len() {
            1 => gradcheck(|x| apply(name, &case, Reduction::None, &x), [x[0].copy()]),
            2 => gradcheck(
                |x| apply(name, &case, Reduction::None, &x),
                [x[0].copy(), x[1].copy()],
            ),
            _ => gradcheck(
                |x| apply(name, &case, Reduction::None, &x),
                [x[0].copy(), x[1].copy(), x[2].copy()],
            ),
        }
        .assert_ok();
    }
    assert_eq!(checked, 33);
    let x = sample(&[2, 3], 1);
    let y = Tensor::from_vec(vec![1.0, 0.0, 1.0, 1.0, 0.0, 0.0], [2, 3]);
    gradcheck(
        |[x]| focal(x, x.tape().input(&y), None, 2.0, Reduction::Mean),
        [x.copy()],
    )
    .assert_ok();
    gradcheck(
        |[x, y]| cosine_similarity(x, y, -1, 1e-8),
        [x.copy(), sample(&[2, 3], 2)],
    )
    .assert_ok();
    for p in [1.0, 2.0, 3.5, f64::INFINITY] {
        gradcheck(
            |[x, y]| pairwise_distance(x, y, p, 1e-6),
            [x.copy(), sample(&[2, 3], 2)],
        )
        .assert_ok();
    }
}

fn at<'t>(tape: &'t Tape<f64>, values: &[f64]) -> Var<'t, f64> {
    tape.input(&Tensor::from_vec(values.to_vec(), [values.len()]))
}

/// At ±1e3 and beyond, losses of scores stay finite, and so do their gradients.
#[test]
fn large_scores_give_finite_losses() {
    let tape = tape(true);
    let x = at(&tape, &[1e3, -1e3, 1e300, -1e300, 0.0]);
    let y = at(&tape, &[0.0, 1.0, 1.0, 0.0, 1.0]);
    for (name, l) in [
        ("bce", bce_with_logits(x, y, None, Reduction::None)),
        (
            "bce weighted",
            bce_with_logits(x, y, Some(at(&tape, &[2.0])), Reduction::None),
        ),
        (
            "soft margin",
            soft_margin(x, y * 2.0 - 1.0, Reduction::None),
        ),
        ("focal", focal(x, y, Some(0.25), 2.0, Reduction::None)),
        ("log cosh", log_cosh(x, y, Reduction::None)),
    ] {
        let [g] = grad(l.sum(), [x]);
        let (l, g) = (l.value().to_vec(), g.value().to_vec());
        assert!(
            l.iter().chain(&g).all(|v| v.is_finite()),
            "{name}: {l:?} {g:?}"
        );
    }
    let x = tape.input(&Tensor::from_vec(vec![1e3, -1e3, 1e300, -1e300], [2, 2]));
    let l = cross_entropy(
        x,
        &Tensor::from_vec(vec![1, 0], [2]),
        None,
        None,
        0.0,
        Reduction::None,
    );
    let [g] = grad(l.sum(), [x]);
    assert_eq!(l.value().to_vec()[0], 2000.0);
    assert!(g.value().iter().all(|v| v.is_finite()));
    // Probabilities of exactly 0 and 1.
    let p = at(&tape, &[0.0, 1.0, 0.0, 1.0]);
    let l = bce(p, at(&tape, &[0.0, 1.0, 1.0, 0.0]), Reduction::None);
    let [g] = grad(l.sum(), [p]);
    let l = l.value().to_vec();
    assert!(
        l[0] == 0.0 && l[1] == 0.0 && (l[2] - 100.0).abs() < 1e-9 && (l[3] - 100.0).abs() < 1e-9
    );
    assert!(g.value().iter().all(|v| v.is_finite()));
}

#[test]
fn objects_do_what_functions_do() {
    let tape = tape(true);
    let x = tape.input(&sample(&[4, 3], 1));
    let y = sample(&[4, 3], 2);
    let yv = tape.input(&y);
    let labels = Tensor::from_vec(vec![2, 0, 1, 2], [4]);
    let r = Reduction::Mean;
    let same = |a: Var<'_, f64>, b: Var<'_, f64>| assert_eq!(a.item(), b.item());
    same(Mse::default().loss(x, &y), mse(x, yv, r));
    same(L1::default().loss(x, &y), l1(x, yv, r));
    same(Huber::default().loss(x, &y), huber(x, yv, 1.0, r));
    same(SmoothL1::default().loss(x, &y), smooth_l1(x, yv, 1.0, r));
    same(LogCosh::default().loss(x, &y), log_cosh(x, yv, r));
    same(Hinge::default().loss(x, &y), hinge(x, yv, r));
    same(
        Focal::default().loss(x, &y),
        focal(x, yv, Some(0.25), 2.0, r),
    );
    same(Dice::default().loss(x, &y), dice(x, yv, 1.0, r));
    let p = x.sigmoid();
    let py = y.map(|v| 1.0 / (1.0 + (-v).exp()));
    let pyv = tape.input(&py);
    same(Bce::default().loss(p, &py), bce(p, pyv, r));
    same(
        KlDivergence::default().loss(x, &py),
        kl_divergence(x, pyv, false, r),
    );
    same(
        PoissonNll::default().loss(x, &py),
        poisson_nll(x, pyv, true, false, r),
    );
    let b = BceWithLogits {
        positive_weight: Some(WEIGHTS.to_vec()),
        ..Default::default()
    };
    let w = at(&tape, &WEIGHTS);
    same(b.loss(x, &py), bce_with_logits(x, pyv, Some(w), r));
    let c = CrossEntropy {
        weights: Some(WEIGHTS.to_vec()),
        ignore: Some(1),
        smoothing: 0.1,
        reduction: r,
    };
    same(
        c.loss(x, &labels),
        cross_entropy(x, &labels, Some(&WEIGHTS), Some(1), 0.1, r),
    );
    same(
        CrossEntropy::default().loss(x, &py),
        cross_entropy_probabilities(x, pyv, None, 0.0, r),
    );
    same(
        Nll::default().loss(x, &labels),
        nll(x, &labels, None, None, r),
    );
    same(
        MultiMargin::default().loss(x, &labels),
        multi_margin(x, &labels, 1, 1.0, None, r),
    );
    let z = sample(&[4, 3], 3);
    same(
        TripletMargin::default().loss(x, yv, tape.input(&z)),
        triplet_margin(x, yv, tape.input(&z), 1.0, 2.0, false, r),
    );
    same(
        MarginRanking::default().loss(x, yv, &z),
        margin_ranking(x, yv, tape.input(&z), 0.0, r),
    );
    let a = Tensor::from_vec(vec![1.0, -1.0, 1.0, -1.0], [4]);
    same(
        CosineEmbedding::default().loss(x, yv, &a),
        cosine_embedding(x, yv, tape.input(&a), 0.0, r),
    );
    let both = Var::cat(&[x, p], -1);
    same(
        GaussianNll::default().loss(both, &y),
        gaussian_nll(x, yv, p, 1e-6, false, r),
    );
}

#[test]
fn a_step_with_other_ignored_labels_is_not_planned_anew() {
    let mut tape = Tape::<f64>::training(0);
    let w = wengert_autograd::Param::new(sample(&[4, 3], 1));
    let loss = CrossEntropy {
        ignore: Some(-100),
        ..Default::default()
    };
    let mut plans = 0;
    for (step, labels) in [[0, 1, 2, -100], [0, -100, -100, 1], [-100, 1, 1, 0]]
        .iter()
        .enumerate()
    {
        tape.reset();
        let labels = Tensor::from_vec(labels.to_vec(), [4]);
        loss.loss(tape.param(&w), &labels).backward();
        if step == 0 {
            plans = tape.counters().plans;
        }
    }
    assert_eq!(tape.counters().plans, plans);
}

#[test]
#[should_panic(expected = "mse: shapes [3, 1] and [3] differ (nothing is broadcast)")]
fn a_target_of_another_shape_is_refused() {
    let tape = tape(true);
    mse(tape.zeros([3, 1]), tape.zeros([3]), Reduction::Mean);
}

#[test]
#[should_panic(expected = "cross_entropy: label 3 is out of range for size 3")]
fn a_label_out_of_range_is_refused() {
    let tape = tape(true);
    let labels = Tensor::from_vec(vec![0, 3], [2]);
    cross_entropy(
        tape.zeros([2, 3]),
        &labels,
        None,
        None,
        0.1,
        Reduction::Mean,
    );
}

#[test]
#[should_panic(expected = "nll: label -1 is out of range for size 3")]
fn a_negative_label_is_refused() {
    let tape = tape(true);
    nll(
        tape.zeros([2, 3]),
        &Tensor::from_vec(vec![0, -1], [2]),
        None,
        None,
        Reduction::Mean,
    );
}

#[test]
#[should_panic(
    expected = "expected one weight of at least 0 for each of 3 classes, found [1.0, 2.0]"
)]
fn a_wrong_number_of_weights_is_refused() {
    let tape = tape(true);
    let labels = Tensor::from_vec(vec![0, 1], [2]);
    cross_entropy(
        tape.zeros([2, 3]),
        &labels,
        Some(&[1.0, 2.0]),
        None,
        0.0,
        Reduction::Mean,
    );
}

#[test]
fn a_variance_below_its_limit_counts_as_the_limit() {
    let limit = 1e-6f32;
    for v in [-100.0, -1.0, 0.0, 1e-9, limit] {
        let tape = Tape::<f32>::inference();
        let one = |x: f32| tape.input(&Tensor::full([1], x));
        let variance = one(v);
        let loss = gaussian_nll(one(0.5), one(0.5), variance, 1e-6, false, Reduction::Sum);
        assert_eq!(loss.item(), 0.5 * one(limit).ln().item(), "variance {v}");
        // It can recover: d/dv (ln v) / 2 at the limit.
        let [g] = grad(loss, [variance]);
        assert!((g.value().to_vec()[0] * 2.0 * limit - 1.0).abs() < 1e-6);
    }
}

#[test]
fn losses_of_certain_answers_are_finite_and_flat() {
    // -100 in single precision, too, where e^-100 is not a normal number.
    let tape = Tape::<f32>::inference();
    let x = tape.input(&Tensor::from_vec(vec![0.0, 1.0], [2]));
    let losses = bce(
        x,
        tape.input(&Tensor::from_vec(vec![1.0, 0.0], [2])),
        Reduction::None,
    );
    assert_eq!(losses.value().to_vec(), [100.0; 2]);
    let [g] = grad(losses.sum(), [x]);
    assert_eq!(g.value().to_vec(), [0.0; 2]);
    // A power below 1 of what is missed: nothing is.
    for gamma in [0.5, 0.9, 1.0, 2.0] {
        let tape = Tape::<f64>::inference();
        let x = tape.input(&Tensor::from_vec(vec![1000.0, -1000.0], [2]));
        let y = tape.input(&Tensor::from_vec(vec![1.0, 0.0], [2]));
        let losses = focal(x, y, None, gamma, Reduction::None);
        let [g] = grad(losses.sum(), [x]);
        let all = [losses.value().to_vec(), g.value().to_vec()].concat();
        assert_eq!(all, [0.0; 4], "gamma {gamma}");
    }
    // An infinite variance says nothing, at infinite cost.
    let tape = Tape::<f64>::inference();
    let (x, v) = (tape.ones([1]), tape.full([1], f64::INFINITY));
    assert_eq!(
        gaussian_nll(x, x, v, 1e-6, false, Reduction::Sum).item(),
        f64::INFINITY
    );
}
