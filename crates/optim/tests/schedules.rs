//! Schedules against PyTorch over 60 steps, and what holds of them in general.

mod common;

use common::{distance, reference};
use wengert_optim::Sgd;
use wengert_optim::schedule::*;

fn cases() -> Vec<(&'static str, Box<dyn Schedule>)> {
    let mut cases: Vec<(&'static str, Box<dyn Schedule>)> = Vec::new();
    macro_rules! case {
        ($name:literal, $make:expr) => {
            cases.push(($name, Box::new($make)));
        };
    }
    case!("step", StepDecay::new(0.1, 7, 0.5));
    case!("multi_step", MultiStep::new(0.1, [5, 20, 20, 45], 0.3));
    case!("exponential", Exponential::new(0.1, 0.93));
    case!("polynomial", Polynomial::new(0.1, 50, 1.7));
    case!("linear", Linear::new(0.02, 30).floor(0.09));
    case!("constant", Piecewise::new(0.025, [(9, 0.1)]));
    case!("cosine", Cosine::new(0.1, 60).floor(0.003));
    case!("restarts", CosineRestarts::new(0.1, 13).floor(0.01));
    let growing = CosineRestarts::new(0.1, 7).growing(2).floor(0.01);
    case!("restarts_growing", growing);
    let cyclic = Cyclic::new(0.01, 0.1, 6).down(9);
    case!("cyclic_triangular", cyclic.clone());
    case!("cyclic_triangular_momentum", cyclic.momentum(0.8, 0.9));
    let two = cyclic.clone().triangular2();
    case!("cyclic_triangular2", two.clone());
    case!("cyclic_triangular2_momentum", two.momentum(0.8, 0.9));
    let range = cyclic.exp_range(0.97);
    case!("cyclic_exp_range", range.clone());
    case!("cyclic_exp_range_momentum", range.momentum(0.8, 0.9));
    let one = OneCycle::new(0.1, 60);
    case!("one_cycle", one.clone());
    case!("one_cycle_momentum", one.momentum(0.85, 0.95));
    let linear = one.clone().linear().start(0.25).div(10.0, 100.0);
    case!("one_cycle_linear", linear.clone());
    case!("one_cycle_linear_momentum", linear.momentum(0.85, 0.95));
    let three = one.three_phase();
    case!("one_cycle_three", three.clone());
    case!("one_cycle_three_momentum", three.momentum(0.85, 0.95));
    case!("lambda", from_fn(|t| 0.1 / (1.0 + 0.1 * t as f64)));
    let factor = |t: u64| if t.is_multiple_of(3) { 1.05 } else { 0.9 };
    let product = move |t: u64| 0.1 * (1..=t).map(factor).product::<f64>();
    case!("multiplicative", from_fn(product));
    case!("swa_cos", Cosine::new(0.1, 25).floor(0.02));
    case!("swa_linear", Linear::new(0.1, 25).floor(0.02));
    let warmup = Linear::new(0.01, 10).floor(0.1);
    case!("warmup_cosine", warmup.then(10, Cosine::new(0.1, 50)));
    let factor = Piecewise::new(0.5, [(4, 1.0)]);
    case!("chained", factor.times(Exponential::new(0.1, 0.9)));
    cases
}

#[test]
fn sequences_are_those_of_pytorch() {
    let mut expected = reference(include_str!("reference/schedules.txt"));
    let mut wrong = Vec::new();
    for (name, schedule) in cases() {
        let values = &expected.remove(name).unwrap()[&0];
        let d = distance(&schedule.values(60), values);
        if d > 1e-14 {
            wrong.push(format!("{name}: {d:e}"));
        }
    }
    let bumpy = |t: u64| {
        if t < 9 {
            1.0 / (1.0 + t as f64)
        } else {
            0.1 + 0.01 * ((t * 7) % 5) as f64
        }
    };
    let plateaus = [
        ("plateau", Plateau::new().factor(0.5).patience(3)),
        (
            "plateau_max",
            Plateau::new()
                .maximize()
                .factor(0.3)
                .patience(2)
                .absolute_threshold(0.01)
                .cooldown(4)
                .min_lr(0.002),
        ),
    ];
    for (name, plateau) in plateaus {
        let mut sgd = Sgd::<f64>::new(0.1).reduce_on_plateau(plateau);
        let mut values = vec![];
        for t in 0..60 {
            values.push(sgd.lr());
            sgd.observe(bumpy(t));
        }
        let d = distance(&values, &expected.remove(name).unwrap()[&0]);
        if d > 1e-14 {
            wrong.push(format!("{name}: {d:e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(expected.is_empty(), "no case for {:?}", expected.keys());
}

#[test]
fn formulas() {
    assert_eq!(Constant::new(0.3).values(3), [0.3; 3]);
    let noam = InverseSqrt::new(1.0, 4);
    assert_eq!(noam.values(4), [0.25, 0.5, 0.75, 1.0]);
    assert_eq!(noam.at(15), 0.5);
    assert_eq!(InverseTime::new(1.0, 0.5, 10).at(20), 0.5);
    let warm = StepDecay::new(1.0, 2, 0.5).warmup(4);
    assert_eq!(warm.values(8), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]);
    assert_eq!(
        Exponential::new(8.0, 0.5).every(2).values(5),
        [8.0, 8.0, 4.0, 4.0, 2.0]
    );
    assert_eq!(
        Exponential::new(8.0, 0.5).delay(2).values(5),
        [8.0, 8.0, 8.0, 4.0, 2.0]
    );
    assert_eq!(
        Exponential::new(8.0, 0.5).clamp(3.0, 5.0).values(3),
        [5.0, 4.0, 3.0]
    );
    assert_eq!(Exponential::new(8.0, 0.5).plus(1.0).values(2), [9.0, 5.0]);
    assert!(from_fn(|_| f64::NAN).clamp(0.0, 1.0).at(0).is_nan());
    // After the end the last value stays.
    for s in [
        Cosine::new(1.0, 10).floor(0.2).at(99),
        Linear::new(1.0, 10).floor(0.2).at(99),
    ] {
        assert_eq!(s, 0.2);
    }
    assert_eq!(Polynomial::new(1.0, 10, 2.0).floor(0.2).at(99), 0.2);
    let one = OneCycle::new(1.0, 100);
    assert!((one.at(99) - 1.0 / 25e4).abs() < 1e-12 && one.at(99) == one.at(500));
    assert_eq!(one.values(100).iter().copied().fold(0.0, f64::max), 1.0);
    assert_eq!(OneCycle::new(1.0, 1).at(0), 1.0 / 25e4);
}

#[test]
fn batch_sizes() {
    let b = BatchSize::new(Exponential::new(10.0, 2.0))
        .multiple_of(8)
        .at_most(100);
    assert_eq!(
        [b.at(0), b.at(1), b.at(2), b.at(3), b.at(9)],
        [8, 24, 40, 80, 100]
    );
    assert_eq!(BatchSize::new(from_fn(|_| f64::NAN)).at(0), 1);
    assert_eq!(BatchSize::new(-3.0).at(0), 1);
    assert_eq!(BatchSize::new(1e300).at_most(7).at(0), 7);
}

#[test]
fn nonsense_is_refused() {
    let nan = f64::NAN;
    assert!(StepDecay::try_new(0.1, 0, 0.5).is_err());
    assert!(StepDecay::try_new(nan, 1, 0.5).is_err());
    assert!(StepDecay::try_new(0.1, 1, -0.5).is_err());
    assert!(MultiStep::try_new(0.1, [3, 2], 0.5).is_err());
    assert!(Piecewise::try_new(0.1, [(3, nan)]).is_err());
    assert!(Piecewise::try_new(0.1, [(3, 0.1), (1, 0.1)]).is_err());
    assert!(Exponential::try_new(0.1, nan).is_err());
    assert!(Polynomial::try_new(0.1, 10, 0.0, 0.0).is_err());
    assert!(Linear::try_new(0.1, 0, 0.0).is_err());
    assert!(Cosine::try_new(f64::INFINITY, 10, 0.0).is_err());
    assert!(CosineRestarts::try_new(0.1, 10, 0, 0.0).is_err());
    assert!(Cyclic::try_new(0.1, nan, 3).is_err());
    assert!(OneCycle::try_new(0.1, 0).is_err());
    assert!(InverseSqrt::try_new(0.1, 0).is_err());
    assert!(InverseTime::try_new(0.1, -1.0, 1).is_err());
    assert!(Clamped::try_new(0.1, 1.0, 0.0).is_err());
    assert!(Every::try_new(0.1, 0).is_err());
    assert!(Warmup::try_new(0.1, 0, 0.0).is_err());
    assert!(Constant::try_new(nan).is_err());
    assert!(Plateau::new().try_factor(1.0).is_err());
    assert!(BatchSize::new(1.0).try_multiple_of(0).is_err());
    let text = StepDecay::try_new(0.1, 1, -0.5).unwrap_err().to_string();
    assert_eq!(text, "StepDecay: gamma must be >= 0 and finite, found -0.5");
}

#[test]
#[should_panic(expected = "three phases need a start of at most 0.5, found 0.8")]
fn three_phases_need_room_whatever_is_said_first() {
    let _ = OneCycle::new(0.1, 10).three_phase().start(0.8);
}
