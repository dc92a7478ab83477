//! What the walker promises: groups, schedules, frozen and new parameters, buffers, policies, threads, memory.

mod common;

use common::{Grads, Lcg, Params, start};
use wengert_autograd::{
    Buffer, Gradients, Module, ModuleExt, Param, Path, Real, Tensor, Visitor, VisitorMut,
};
use wengert_optim::rule::{Coefs, Hyper, Hyperparameters, Pass, Plan, Range, Rule, Slots, Sums};
use wengert_optim::schedule::{Exponential, Linear, from_fn};
use wengert_optim::*;

fn param<T: Real>(values: &[T]) -> Param<T> {
    Param::new(Tensor::from_slice(values, [values.len()]))
}

fn named(list: Vec<(&str, Param<f64>)>) -> Params<f64> {
    Params(list.into_iter().map(|(n, p)| (n.to_string(), p)).collect())
}

/// Gradients of ones for every parameter.
fn ones(model: &Params<f64>) -> Gradients<f64> {
    let each = |(_, p): &(String, Param<f64>)| (p.id(), Tensor::ones(p.shape()));
    Gradients::from_parts(0.0, model.0.iter().map(each).collect(), vec![])
}

#[test]
fn groups_overlay() {
    let mut m = named(vec![
        ("encoder.weight", Param::new(Tensor::ones([2, 2]))),
        ("encoder.bias", param(&[1.0, 1.0])),
        ("head.weight", Param::new(Tensor::ones([2, 2]))),
        ("head.bias", param(&[1.0])),
    ]);
    let mut sgd = Sgd::new(1.0)
        .weight_decay(0.5)
        .no_decay_on_biases_and_norms()
        .group(Group::matching("encoder.*").lr_scale(0.1))
        .group(Group::matching("head.bias").lr(0.25).lr_scale(2.0));
    assert_eq!(sgd.hypers_of("head.bias"), None);
    let g = ones(&m);
    sgd.step(&mut m, &g);
    let first: Vec<f64> = m.0.iter().map(|(_, p)| p.value().to_vec()[0]).collect();
    let expected = [1.0 - 0.1 * 1.5, 1.0 - 0.1, 1.0 - 1.5, 1.0 - 0.5];
    for (a, b) in first.iter().zip(expected) {
        assert!((a - b).abs() < 1e-15, "{first:?}");
    }
    let hypers = sgd.hypers_of("encoder.bias").unwrap();
    assert!(hypers.contains(&("lr", 0.1)) && hypers.contains(&("weight_decay", 0.0)));
}

#[test]
fn a_pattern_means_the_same_for_groups_and_for_freezing() {
    let names = [
        "backbone.0.weight",
        "backbone.0.bias",
        "backbone2.weight",
        "head.weight",
        "head.norm.bias",
    ];
    let patterns = [
        "backbone",
        "backbone.0",
        "backbone.*",
        "back*",
        "*.bias",
        "head",
        "head.?eight",
        "*",
        "weight",
        "h*d.norm",
        "backbone.0.weight",
        "?",
        "*.weight",
    ];
    for pattern in patterns {
        let model = || named(names.iter().map(|n| (*n, param(&[0.0]))).collect());
        let mut m = model();
        let g = ones(&m);
        let group = Group::matching(pattern).lr(0.5).optional();
        Sgd::new(1.0).group(group).step(&mut m, &g);
        let slowed: Vec<bool> = m.values().iter().map(|x| *x == -0.5).collect();
        let mut m = model();
        m.set_frozen(pattern, true);
        let frozen: Vec<bool> = m.0.iter().map(|(_, p)| !p.is_trainable()).collect();
        assert_eq!(slowed, frozen, "{pattern}");
    }
    let mut m = named(names.iter().map(|n| (*n, param(&[0.0]))).collect());
    let g = ones(&m);
    Sgd::new(1.0)
        .group(Group::matching("backbone").lr(0.5))
        .step(&mut m, &g);
    assert_eq!(m.values(), [-0.5, -0.5, -1.0, -1.0, -1.0]);
}

#[test]
fn later_groups_win_and_layers_get_their_rates() {
    let names = ["embed.w", "blocks.0.w", "blocks.1.w", "head.w"];
    let mut m = named(names.iter().map(|n| (*n, param(&[0.0]))).collect());
    let mut sgd =
        Sgd::new(1.0).layerwise_lr(0.5, ["embed.*", "blocks.0.*", "blocks.1.*", "head.*"]);
    let g = ones(&m);
    sgd.step(&mut m, &g);
    assert_eq!(m.values(), [-0.125, -0.25, -0.5, -1.0]);
    let mut sgd = Sgd::<f64>::new(1.0)
        .group(Group::matching("*").lr(0.5))
        .group(Group::when(|p| p.path.starts_with("head")).lr(0.25));
    sgd.step(&mut m, &g);
    assert_eq!(m.values(), [-0.625, -0.75, -1.0, -1.25]);
}

#[test]
fn patterns_that_match_nothing_and_unknown_names_are_errors() {
    let mut m = named(vec![("w", param(&[1.0]))]);
    let g = ones(&m);
    let mut sgd = Sgd::new(1.0).group(Group::matching("*.bias").lr(0.1));
    let text = sgd.try_step(&mut m, &g).unwrap_err().to_string();
    assert!(
        text.contains("`*.bias` matches none of the 1 parameters"),
        "{text}"
    );
    assert_eq!(m.values(), [1.0]);
    let mut sgd = Sgd::new(1.0).group(Group::matching("*.bias").lr(0.1).optional());
    sgd.step(&mut m, &g);
    assert_eq!(m.values(), [0.0]);
    let text = Sgd::<f64>::new(1.0).try_group(Group::matching("w").set("beta1", 0.1));
    let text = text.err().unwrap().to_string();
    assert!(
        text.contains("no hyperparameter `beta1`") && text.contains("momentum"),
        "{text}"
    );
    assert!(
        Sgd::<f64>::new(1.0)
            .try_group(Group::matching("w").lr(-1.0))
            .is_err()
    );
    assert!(
        Sgd::<f64>::new(1.0)
            .try_group(Group::matching("w").lr_scale(f64::NAN))
            .is_err()
    );
}

#[test]
fn nonsense_is_refused_at_construction() {
    for lr in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(Adam::<f32>::try_new(lr).is_err(), "{lr}");
        assert!(Sgd::<f32>::try_new(lr).is_err(), "{lr}");
        assert!(Muon::<f32>::try_new(lr).is_err(), "{lr}");
    }
    for (name, value) in [
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("eps", -1e-8),
        ("weight_decay", f64::NAN),
        ("nothing", 1.0),
    ] {
        let text = Adam::<f32>::new(0.1)
            .try_with(name, value)
            .err()
            .unwrap()
            .to_string();
        assert!(text.contains(name) && text.starts_with("adam"), "{text}");
    }
    assert!(Rprop::<f32>::new(0.1).try_with("step_min", 100.0).is_err());
    assert!(Adafactor::<f32>::new(0.1).try_with("d", 0.5).is_err());
    // Legal ends of the ranges.
    Adam::<f32>::new(0.0).betas(0.0, 0.0).eps(0.0);
    let text = Adam::<f32>::try_new(-1.0).err().unwrap().to_string();
    assert_eq!(text, "adam: lr must be >= 0 and finite, found -1");
}

#[test]
#[should_panic(expected = "Nesterov momentum needs momentum")]
fn nesterov_without_momentum() {
    let _ = Sgd::<f32>::new(0.1).nesterov();
}

#[test]
#[should_panic(expected = "dampening 0")]
fn nesterov_with_dampening() {
    let _ = Sgd::<f32>::new(0.1).momentum(0.9).nesterov().dampening(0.1);
}

#[test]
#[should_panic(expected = "the variant of the rule is fixed")]
fn variants_are_fixed_once_stepping() {
    let mut m = named(vec![("w", param(&[1.0]))]);
    let g = ones(&m);
    let mut adam = Adam::new(0.1);
    adam.step(&mut m, &g);
    let _ = adam.amsgrad();
}

#[test]
fn schedules_drive_any_hyperparameter() {
    let mut m = named(vec![("w", param(&[1.0]))]);
    let g = ones(&m);
    let mut sgd = Sgd::new(Exponential::new(1.0, 0.5)).weight_decay(Linear::new(1.0, 2));
    let mut w = 1.0;
    for t in 0..4 {
        let (lr, decay) = (0.5f64.powi(t), [1.0, 0.5, 0.0, 0.0][t as usize]);
        assert_eq!(sgd.lr(), lr);
        assert_eq!(sgd.hyper("weight_decay"), Some(decay));
        let report = sgd.step(&mut m, &g);
        assert_eq!((report.step, report.lr), (t as u64, lr));
        w -= lr * (1.0 + decay * w);
        assert_eq!(m.values(), [w]);
    }
    // A schedule that leaves the range is an error, and nothing is written.
    let mut sgd = Sgd::new(from_fn(|t| if t < 1 { 0.1 } else { f64::NAN }));
    sgd.step(&mut m, &g);
    let before = m.values();
    let text = sgd.try_step(&mut m, &g).unwrap_err().to_string();
    assert!(text.contains("lr must be"), "{text}");
    assert_eq!(m.values(), before);
    assert_eq!(sgd.steps(), 1);
}

#[test]
fn momentum_that_starts_at_zero_by_schedule_has_a_buffer() {
    let mut m = named(vec![("w", param(&[0.0]))]);
    let g = ones(&m);
    let mut sgd = Sgd::new(1.0).momentum(from_fn(|t| if t < 2 { 0.0 } else { 0.5 }));
    for expected in [-1.0, -2.0, -3.5] {
        sgd.step(&mut m, &g);
        assert_eq!(m.values(), [expected]);
    }
    let mut grouped = Sgd::new(1.0).group(Group::matching("w").set("momentum", 0.5));
    grouped.step(&mut m, &g);
    grouped.step(&mut m, &g);
    assert_eq!(m.values(), [-3.5 - 1.0 - 1.5]);
}

#[test]
fn hyperparameters_can_change_in_the_middle() {
    let mut m = named(vec![("w", param(&[0.0]))]);
    let g = ones(&m);
    let mut sgd = Sgd::new(1.0).momentum(0.5);
    sgd.step(&mut m, &g);
    sgd.set_lr(0.1);
    sgd.step(&mut m, &g);
    assert!((m.values()[0] - (-1.0 - 0.15)).abs() < 1e-15);
    assert!(sgd.set("lr", -1.0).is_err());
    assert_eq!(sgd.lr(), 0.1);
}

#[test]
fn momentum_can_be_switched_on_in_the_middle() {
    // With what other groups and slots there are kept, for small and for lent parameters.
    let large = Param::new(Tensor::zeros([70_000]));
    let mut m = named(vec![("w", param(&[0.0])), ("large", large)]);
    let g = ones(&m);
    let mut sgd = Sgd::new(1.0);
    sgd.step(&mut m, &g);
    sgd.set("momentum", 0.5).unwrap();
    for expected in [-2.0, -3.5, -5.25] {
        sgd.step(&mut m, &g);
        assert_eq!(m.values(), vec![expected; 70_001]);
    }
    let mut rms = RmsProp::new(0.1).alpha(0.5);
    rms.step(&mut m, &g);
    let before = rms.state().params["w"].tensors["square_avg"].clone();
    rms.set("momentum", 0.5).unwrap();
    rms.step(&mut m, &g);
    let after = rms.state();
    let w = &after.params["w"].tensors;
    let value = |t: &wengert_optim::state::StateTensor| t.get::<f64>().unwrap().to_vec()[0];
    assert_eq!((value(&before), value(&w["square_avg"])), (0.5, 0.75));
    assert!(w.contains_key("momentum_buffer"));
}

#[test]
fn frozen_parameters_hold_no_state_and_do_not_move() {
    let mut m = named(vec![("a", param(&[1.0])), ("b", param(&[1.0]))]);
    m.0[0].1.set_trainable(false);
    let g = ones(&m);
    let mut adam = Adam::new(0.1);
    adam.step(&mut m, &g);
    assert_eq!(m.values()[0], 1.0);
    assert_eq!(adam.state().params.keys().collect::<Vec<_>>(), ["b"]);
    // Thawed, it begins with fresh state; the other keeps its own.
    m.0[0].1.set_trainable(true);
    adam.step(&mut m, &g);
    let state = adam.state();
    let t = |p: &str| state.params[p].scalars["t"].clone();
    assert_eq!(t("a"), wengert_optim::state::StateScalar::Count(1));
    assert_eq!(t("b"), wengert_optim::state::StateScalar::Count(2));
    m.0[1].1.set_trainable(false);
    adam.step(&mut m, &g);
    assert_eq!(adam.state().params.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn growing_keeps_the_state_of_the_others() {
    let mut grown = named(vec![("a", param(&[1.0, 2.0])), ("b", param(&[3.0]))]);
    let mut plain = grown.clone();
    let (mut x, mut y) = (Adam::new(0.1), Adam::new(0.1));
    for _ in 0..3 {
        let (g, h) = (ones(&grown), ones(&plain));
        x.step(&mut grown, &g);
        y.step(&mut plain, &h);
    }
    // A new parameter between the old ones, and one that changes its shape.
    grown.0.insert(1, ("new".into(), param(&[5.0])));
    let before = grown.0[0].1.value().to_vec();
    for _ in 0..2 {
        let (g, h) = (ones(&grown), ones(&plain));
        x.step(&mut grown, &g);
        y.step(&mut plain, &h);
    }
    assert_ne!(before, grown.0[0].1.value().to_vec());
    assert_eq!(grown.0[0].1.value().to_vec(), plain.0[0].1.value().to_vec());
    assert_eq!(grown.0[2].1.value().to_vec(), plain.0[1].1.value().to_vec());
    // The new one was updated like any parameter at its first steps.
    assert!((grown.0[1].1.value().item() - 4.8).abs() < 1e-6);
    grown.0[2] = ("b".into(), param(&[1.0, 1.0]));
    let g = ones(&grown);
    x.step(&mut grown, &g);
    let state = x.state();
    assert_eq!(state.params["b"].tensors["exp_avg"].shape(), [2]);
    // One that goes takes its state with it.
    grown.0.remove(1);
    let g = ones(&grown);
    x.step(&mut grown, &g);
    assert_eq!(x.state().params.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn state_follows_the_path_into_a_clone() {
    let mut m = start::<f64>();
    let mut adam = Adam::new(0.1);
    let mut grads = Grads::new(true);
    let g = grads.next(&m);
    adam.step(&mut m, &g);
    // A clone has other identities and the same paths.
    let mut copy = m.clone();
    let g = grads.next(&copy);
    adam.step(&mut copy, &g);
    assert_eq!(
        adam.state().params["fc.weight"].scalars["t"],
        wengert_optim::state::StateScalar::Count(2)
    );
}

#[test]
fn the_same_path_or_parameter_twice_is_an_error() {
    let mut m = named(vec![("w", param(&[1.0])), ("w", param(&[1.0]))]);
    let g = ones(&m);
    let text = Sgd::new(0.1).try_step(&mut m, &g).unwrap_err().to_string();
    assert!(text.contains("`w` twice"), "{text}");
    assert_eq!(m.values(), [1.0, 1.0]);

    struct Twice(Param<f64>);
    impl Module<f64> for Twice {
        fn visit(&self, path: &mut Path, v: &mut dyn Visitor<f64>) {
            path.scoped("a", |p| self.0.visit(p, v));
            path.scoped("b", |p| self.0.visit(p, v));
        }
        fn visit_mut(&mut self, path: &mut Path, v: &mut dyn VisitorMut<f64>) {
            path.scoped("a", |p| self.0.visit_mut(p, v));
            path.scoped("b", |p| self.0.visit_mut(p, v));
        }
    }
    let mut m = Twice(param(&[1.0]));
    let g = Gradients::from_parts(0.0, vec![(m.0.id(), Tensor::ones([1]))], vec![]);
    assert!(Sgd::new(0.1).try_step(&mut m, &g).is_err());
}

#[test]
fn a_gradient_of_another_shape_is_an_error() {
    let mut m = named(vec![("w", param(&[1.0, 2.0]))]);
    let g = Gradients::from_parts(0.0, vec![(m.0[0].1.id(), Tensor::ones([2, 1]))], vec![]);
    let text = Adam::new(0.1).try_step(&mut m, &g).unwrap_err().to_string();
    assert_eq!(
        text,
        "adam: the gradient of `w` has shape [2, 1], the parameter has shape [2]"
    );
}

struct Norm {
    gain: Param<f64>,
    mean: Buffer<f64>,
    fixed: Buffer<f64>,
}

impl Module<f64> for Norm {
    fn visit(&self, path: &mut Path, v: &mut dyn Visitor<f64>) {
        path.scoped("gain", |p| self.gain.visit(p, v));
        path.scoped("mean", |p| self.mean.visit(p, v));
        path.scoped("fixed", |p| self.fixed.visit(p, v));
    }
    fn visit_mut(&mut self, path: &mut Path, v: &mut dyn VisitorMut<f64>) {
        path.scoped("gain", |p| self.gain.visit_mut(p, v));
        path.scoped("mean", |p| self.mean.visit_mut(p, v));
        path.scoped("fixed", |p| self.fixed.visit_mut(p, v));
    }
}

#[test]
fn side_outputs_reach_the_buffers() {
    let mut m = Norm {
        gain: param(&[1.0]),
        mean: Buffer::new(Tensor::zeros([2])),
        fixed: Buffer::new(Tensor::zeros([2])),
    };
    m.fixed.set_frozen(true);
    let side = |m: &Norm, x: f64| {
        Gradients::from_parts(
            0.0,
            vec![(m.gain.id(), Tensor::ones([1]))],
            vec![
                (m.mean.id(), Tensor::full([2], x)),
                (m.fixed.id(), Tensor::full([2], x)),
            ],
        )
    };
    let g = side(&m, 7.0);
    let mut sgd = Sgd::new(0.5);
    sgd.step(&mut m, &g);
    assert_eq!(m.gain.value().item(), 0.5);
    assert_eq!(m.mean.value().to_vec(), [7.0, 7.0]);
    assert_eq!(m.fixed.value().to_vec(), [0.0, 0.0]);
    // A statistic that is not finite stops the step as a gradient does.
    let g = side(&m, f64::NAN);
    let report = sgd.step(&mut m, &g);
    assert!(!report.applied);
    assert_eq!(report.non_finite.unwrap().path, "mean");
    assert_eq!(m.mean.value().to_vec(), [7.0, 7.0]);
    assert_eq!(m.gain.value().item(), 0.5);
}

#[test]
fn one_infinity_never_reaches_the_weights() {
    let make = || named(vec![("a", param(&[1.0, 2.0])), ("b", param(&[3.0, 4.0]))]);
    let poisoned = |m: &Params<f64>| {
        Gradients::from_parts(
            0.0,
            vec![
                (m.0[0].1.id(), Tensor::ones([2])),
                (
                    m.0[1].1.id(),
                    Tensor::from_vec(vec![1.0, f64::INFINITY], [2]),
                ),
            ],
            vec![],
        )
    };
    let mut m = make();
    let g = poisoned(&m);
    let mut adam = Adam::new(0.1);
    let report = adam.step(&mut m, &g);
    assert!(!report.applied && adam.steps() == 0 && adam.skipped_steps() == 1);
    let found = report.non_finite.unwrap();
    assert_eq!(
        (
            found.path.as_str(),
            found.nans,
            found.infinities,
            found.tensors
        ),
        ("b", 0, 1, 1)
    );
    assert_eq!(m.values(), [1.0, 2.0, 3.0, 4.0]);
    assert!(adam.state().params.values().all(|p| p.tensors.is_empty()));

    let mut adam = Adam::new(0.1).non_finite(NonFinitePolicy::Error);
    let text = adam.try_step(&mut m, &g).unwrap_err().to_string();
    assert_eq!(
        text,
        "the gradient of `b` is not finite (0 NaN, 1 infinite)"
    );
    assert_eq!(m.values(), [1.0, 2.0, 3.0, 4.0]);

    let mut sgd = Sgd::new(1.0).non_finite(NonFinitePolicy::Zero);
    let report = sgd.step(&mut m, &g);
    assert!(report.applied && report.non_finite.is_some());
    assert_eq!(m.values(), [0.0, 1.0, 2.0, 4.0]);

    let mut m = make();
    let g = poisoned(&m);
    let mut sgd = Sgd::new(1.0).non_finite(NonFinitePolicy::Ignore);
    assert!(sgd.step(&mut m, &g).non_finite.is_none());
    assert_eq!(m.values()[3], f64::NEG_INFINITY);
}

#[test]
fn weights_are_updated_where_they_are() {
    let mut m = Params(vec![
        ("small".to_string(), Param::new(Tensor::<f64>::ones([10]))),
        ("large".to_string(), Param::new(Tensor::ones([100_000]))),
    ]);
    let place = |m: &Params<f64>| -> Vec<*const f64> {
        m.0.iter()
            .map(|(_, p)| p.value().as_slice().unwrap().as_ptr())
            .collect()
    };
    let before = place(&m);
    let mut adam = Adam::new(0.1);
    for _ in 0..3 {
        let g = ones(&m);
        adam.step(&mut m, &g);
    }
    assert_eq!(before, place(&m));
    assert!(m.0.iter().all(|(_, p)| p.value().is_unique()));
}

/// A rule that panics in the middle.
#[derive(Debug, Clone)]
struct Faulty(f64);

impl Hyperparameters for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn hypers(&self) -> &'static [Hyper] {
        const H: &[Hyper] = &[Hyper {
            name: "lr",
            range: Range::NON_NEGATIVE,
        }];
        H
    }
    fn get(&self, _: usize) -> f64 {
        self.0
    }
    fn put(&mut self, _: usize, x: f64) {
        self.0 = x;
    }
}

impl Rule for Faulty {
    fn boxed(&self) -> Box<dyn Rule> {
        Box::new(self.clone())
    }
    fn slots(&self, _: &[usize]) -> Slots {
        Slots::new()
    }
    fn plan(&self, _: Plan<'_>) -> Coefs {
        Coefs::default()
    }
    fn pass_f32(&self, _: Pass<'_, f32>) -> Sums {
        panic!("a fault")
    }
    fn pass_f64(&self, x: Pass<'_, f64>) -> Sums {
        assert!(x.grad[0] < 2.0, "a fault");
        Sums::default()
    }
}

#[test]
fn a_panic_in_a_rule_leaves_the_model_whole() {
    let mut m = Params(vec![
        ("a".to_string(), Param::new(Tensor::<f64>::ones([100_000]))),
        ("b".to_string(), Param::new(Tensor::ones([50_000]))),
    ]);
    let grads = |m: &Params<f64>, x: f64| {
        let a = (m.0[0].1.id(), Tensor::ones([100_000]));
        let b = (m.0[1].1.id(), Tensor::full([50_000], x));
        Gradients::from_parts(0.0, vec![a, b], vec![])
    };
    let mut o = Optimizer::with_rule(Faulty(0.1));
    let g = grads(&m, 3.0);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        o.step(&mut m, &g);
    }));
    assert!(caught.is_err());
    assert_eq!(m.values().len(), 150_000);
    let g = grads(&m, 1.0);
    o.step(&mut m, &g);
    assert_eq!(m.values(), vec![1.0; 150_000]);
}

#[test]
fn gradients_in_any_order_and_of_others() {
    let mut m = start::<f64>();
    let mut n = m.clone();
    let stranger = Param::new(Tensor::<f64>::ones([3]));
    let (mut a, mut b) = (Adam::new(0.1), Adam::new(0.1));
    for t in 0..4 {
        let mut r = Lcg(t);
        let g: Vec<Tensor<f64>> = m.0.iter().map(|(_, p)| r.tensor(p.shape(), 1.0)).collect();
        let of = |m: &Params<f64>| -> Vec<_> {
            m.0.iter()
                .zip(&g)
                .map(|((_, p), g)| (p.id(), g.clone()))
                .collect()
        };
        let straight = of(&m);
        let mut mixed = of(&n);
        mixed.reverse();
        mixed.insert(1, (stranger.id(), Tensor::ones([3])));
        mixed.rotate_left(t as usize % 3);
        a.step(&mut m, &Gradients::from_parts(0.0, straight, vec![]));
        b.step(&mut n, &Gradients::from_parts(0.0, mixed, vec![]));
    }
    assert_eq!(m.values(), n.values());
}
