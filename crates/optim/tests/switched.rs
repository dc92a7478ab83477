//! Hyperparameters that differ between groups or change between steps, where more than a number changes.

mod common;

use common::{Params, distance};
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::schedule::{Constant, Piecewise};
use wengert_optim::{Error, Group, Muon, Optimizer, Rprop, Sgd, Soap, Sophia, rule::Rule};

fn model(names: &[&str]) -> Params {
    let param = |n: &&str| (n.to_string(), Param::new(Tensor::zeros([1])));
    Params(names.iter().map(param).collect())
}

/// Gradients of the named parameters alone.
fn grads(m: &Params, values: &[(&str, f64)]) -> Gradients<f64> {
    let of = |name: &str| &m.0.iter().find(|p| p.0 == name).unwrap().1;
    let entries = values
        .iter()
        .map(|(n, g)| (of(n).id(), Tensor::full([1], *g)));
    Gradients::from_parts(0.0, entries.collect(), vec![])
}

fn step<R: Rule>(o: &mut Optimizer<R, f64>, m: &mut Params, values: &[(&str, f64)]) {
    let g = grads(m, values);
    o.step(m, &g);
}

#[test]
fn dampening_damps_momentum_only() {
    // As in PyTorch: where the momentum is 0, so is the dampening.
    let mut m = model(&["a", "b"]);
    let mut sgd = Sgd::new(0.1)
        .momentum(0.9)
        .dampening(0.5)
        .group(Group::matching("b").set("momentum", 0.0));
    let (mut a, mut buffer, mut b) = (0.0, 0.0, 0.0);
    for t in 0..5 {
        let g = 1.0 + f64::from(t);
        step(&mut sgd, &mut m, &[("a", g), ("b", g)]);
        buffer = if t == 0 { g } else { 0.9 * buffer + 0.5 * g };
        a -= 0.1 * buffer;
        b -= 0.1 * g;
        assert!(distance(&m.values(), &[a, b]) < 1e-15, "step {t}");
    }
    // A stretch without momentum forgets.
    sgd.set("momentum", 0.0).unwrap();
    step(&mut sgd, &mut m, &[("a", 7.0)]);
    sgd.set("momentum", 0.9).unwrap();
    step(&mut sgd, &mut m, &[("a", 3.0)]);
    a -= 0.1 * 7.0 + 0.1 * (0.9 * 7.0 + 0.5 * 3.0);
    assert!(distance(&m.values(), &[a, b]) < 1e-15);
}

#[test]
fn momentum_that_is_switched_on_begins_with_the_gradient() {
    let build = || Sgd::new(0.1).dampening(0.5);
    let mut m = model(&["a", "b"]);
    let mut sgd = build();
    for _ in 0..2 {
        step(&mut sgd, &mut m, &[("a", 1.0), ("b", 1.0)]);
    }
    sgd.set("momentum", 0.9).unwrap();
    let (mut a, mut b) = (-0.2, -0.2);
    step(&mut sgd, &mut m, &[("a", 2.0)]);
    a -= 0.1 * 2.0;
    assert!(distance(&m.values(), &[a, b]) < 1e-15);
    // `b` has had no gradient since, and yet its state is whole.
    let saved = sgd.state();
    let mut other = build().momentum(0.9);
    other.load_state(&m, &saved).unwrap();
    let mut copy = m.clone();
    step(&mut sgd, &mut m, &[("a", 4.0), ("b", 4.0)]);
    step(&mut other, &mut copy, &[("a", 4.0), ("b", 4.0)]);
    a -= 0.1 * (0.9 * 2.0 + 0.5 * 4.0);
    b -= 0.1 * 4.0;
    assert!(distance(&m.values(), &[a, b]) < 1e-15);
    assert_eq!(m.values(), copy.values());
    assert_eq!(sgd.state(), other.state());
}

#[test]
fn moments_of_soaps_vectors_go_on_while_the_rate_is_0() {
    let run = |lr: Piecewise| {
        let mut m = model(&["a"]);
        let mut soap = Soap::new(lr);
        for g in [1.0, 2.0, -3.0] {
            step(&mut soap, &mut m, &[("a", g)]);
        }
        soap.state().params["a"].tensors.clone()
    };
    let resting = run(Piecewise::new(0.1, [(1, 0.0), (2, 0.1)]));
    assert_eq!(resting, run(Piecewise::new(0.1, [])));
}

#[test]
fn vectors_of_muon_do_not_decay_if_told_so() {
    let mut m = model(&["a"]);
    m.0[0].1.set(Tensor::full([1], 2.0));
    let mut muon = Muon::new(0.1).no_decay_on_biases_and_norms();
    step(&mut muon, &mut m, &[("a", 0.0)]);
    assert_eq!(m.values(), [2.0]);
}

#[test]
fn sophias_curvature_decays_as_the_group_says() {
    let mut m = model(&["a", "b"]);
    let mut sophia = Sophia::new(0.1).group(Group::matching("b").set("beta2", 0.5));
    sophia.observe_hessian(&m, &grads(&m, &[("a", 8.0), ("b", 8.0)]));
    step(&mut sophia, &mut m, &[("a", 1.0), ("b", 1.0)]);
    let of = |name: &str| {
        sophia.state().params[name].tensors["hessian"]
            .get::<f64>()
            .unwrap()
            .to_vec()
    };
    let h = [of("a"), of("b")].concat();
    assert!(distance(&h, &[0.08, 4.0]) < 1e-15, "{h:?}");
}

#[test]
fn what_does_not_go_together_is_refused_in_groups_too() {
    fn group<R: Rule>(o: Optimizer<R, f64>, g: Group) {
        let e = o.try_group(g).err().expect("refused");
        assert!(matches!(e, Error::Configuration { .. }), "{e}");
    }
    let nesterov = || Sgd::new(0.1).momentum(0.9).nesterov();
    group(nesterov(), Group::matching("a").set("dampening", 0.5));
    group(Rprop::new(0.1), Group::matching("a").set("step_min", 100.0));
    // Legal in a group that takes both.
    let both = Group::matching("a")
        .set("step_min", 60.0)
        .set("step_max", Constant::new(70.0));
    assert!(Rprop::<f64>::new(0.1).try_group(both).is_ok());
}

#[test]
#[should_panic(expected = "layerwise_lr: decay must be >= 0")]
fn a_negative_layerwise_decay_is_refused_for_one_pattern_too() {
    let _ = Sgd::<f64>::new(0.1).layerwise_lr(-0.5, ["a"]);
}

#[test]
fn what_a_group_remembers_is_found_again() {
    // Muon takes AdamW, which remembers other things, where a group says so.
    let matrix = || Param::new(Tensor::from_fn([2, 3], |i| (1 + i[0] * 3 + i[1]) as f64));
    let names = ["head", "body"];
    let mut m = Params(names.map(|n| (n.to_string(), matrix())).to_vec());
    let build = || Muon::new(0.1).group(Group::matching("head").set("orthogonalize", 0.0));
    let again = |m: &Params| {
        let each = m.0.iter().map(|(_, p)| (p.id(), p.value().copy()));
        Gradients::from_parts(0.0, each.collect(), vec![])
    };
    let mut muon = build();
    for _ in 0..2 {
        let g = again(&m);
        muon.step(&mut m, &g);
    }
    let mut other = build();
    other.load_state(&m, &muon.state()).unwrap();
    assert_eq!(other.state(), muon.state());
    // A parameter that comes in the middle leaves the others what they remember.
    m.0.push(("more".to_string(), matrix()));
    let mut copy = m.clone();
    for _ in 0..2 {
        let (a, b) = (again(&m), again(&copy));
        muon.step(&mut m, &a);
        other.step(&mut copy, &b);
    }
    assert_eq!(m.values(), copy.values());
    assert_eq!(other.state(), muon.state());
    let head = &muon.state().params["head"];
    assert_eq!(
        head.tensors.keys().collect::<Vec<_>>(),
        ["exp_avg", "exp_avg_sq"]
    );
}
