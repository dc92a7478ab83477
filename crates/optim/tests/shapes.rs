//! Every rule over sizes around every border: none, one, a chunk, several chunks; as one tensor and as a view.

mod common;
mod table;

use common::{Lcg, Params};
use std::sync::Arc;
use table::{RuleCase, rules};
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::Optimize;

fn make(rule: &RuleCase<f64>) -> Box<dyn Optimize<f64>> {
    (rule.make)(Arc::new(rule.lr))
}

#[test]
fn empty_and_scalar_parameters() {
    for rule in rules::<f64>() {
        let name = rule.name;
        let shapes: [&[usize]; 6] = [&[], &[0], &[0, 3], &[3, 0], &[1, 1], &[2, 1, 2]];
        let mut m = common::start_with::<f64>(&shapes[..4]);
        for (i, shape) in shapes[4..].iter().enumerate() {
            let p = Param::new(Lcg(i as u64).tensor(shape, 1.0));
            m.0.push((format!("extra{i}"), p));
        }
        let before = m.values();
        let mut o = make(&rule);
        for t in 0..3 {
            let mut r = Lcg(100 + t);
            let each = |(_, p): &(String, Param<f64>)| (p.id(), r.tensor(p.shape(), 1.0));
            let g = Gradients::from_parts(0.0, m.0.iter().map(each).collect(), vec![]);
            o.try_step(&mut m, &g).unwrap();
        }
        let after = m.values();
        assert!(after.iter().all(|x| x.is_finite()), "{name}: {after:?}");
        assert!(
            before.iter().zip(&after).all(|(a, b)| a != b),
            "{name}: {before:?} {after:?}"
        );
    }
}

#[test]
fn large_tensors_take_the_same_steps_as_small_ones() {
    // One tensor of several chunks against the same numbers cut into pieces below the threshold of lending; only
    // rules without sums over tensors can agree.
    let n = 70_001;
    let pieces = 1000;
    for rule in rules::<f64>() {
        let name = rule.name;
        let sums = ["Lamb", "Lars", "NovoGrad", "Adafactor", "Soap"];
        if sums.contains(&rule.kind) || name.starts_with("cautious") {
            continue;
        }
        let values: Tensor<f64> = Lcg(1).tensor(&[n], 1.0);
        let mut whole = Params(vec![("w".to_string(), Param::new(values.copy()))]);
        let cut = |t: &Tensor<f64>| -> Vec<Tensor<f64>> {
            (0..n)
                .step_by(pieces)
                .map(|i| t.narrow(0, i, (i + pieces).min(n)).copy())
                .collect()
        };
        let mut parts = Params(
            cut(&values)
                .into_iter()
                .enumerate()
                .map(|(i, t)| (i.to_string(), Param::new(t)))
                .collect(),
        );
        let (mut a, mut b) = (make(&rule), make(&rule));
        let mut r = Lcg(2);
        for _ in 0..3 {
            let g: Tensor<f64> = r.tensor(&[n], 1.0);
            let ids = parts.0.iter().map(|(_, p)| p.id());
            let split = ids.zip(cut(&g)).collect();
            let whole_grad = vec![(whole.0[0].1.id(), g)];
            a.try_step(&mut whole, &Gradients::from_parts(0.0, whole_grad, vec![]))
                .unwrap();
            b.try_step(&mut parts, &Gradients::from_parts(0.0, split, vec![]))
                .unwrap();
        }
        let d = common::distance(&whole.values(), &parts.values());
        // Prodigy sums over the model in another order.
        let allowed = if name == "prodigy" { 1e-9 } else { 0.0 };
        assert!(d <= allowed, "{name}: {d:e}");
    }
}

#[test]
fn views_are_as_good_as_copies() {
    for (shape, rule) in rules::<f64>()
        .iter()
        .flat_map(|r| [([5, 7], r), ([300, 201], r)])
    {
        let name = rule.name;
        if name == "soap" && shape[0] > 100 {
            continue;
        }
        let values: Tensor<f64> = Lcg(1).tensor(&shape, 1.0);
        let model = |t: Tensor<f64>| Params(vec![("w".to_string(), Param::new(t))]);
        let mut straight = model(values.copy());
        // The same numbers, stored transposed.
        let mut turned = model(values.t().copy().t());
        let (mut a, mut b) = (make(rule), make(rule));
        let mut r = Lcg(2);
        for _ in 0..2 {
            let g: Tensor<f64> = r.tensor(&shape, 1.0);
            let view = g.t().copy().t();
            assert!(!view.is_contiguous());
            let of =
                |m: &Params<f64>, g| Gradients::from_parts(0.0, vec![(m.0[0].1.id(), g)], vec![]);
            let (x, y) = (of(&straight, g), of(&turned, view));
            a.try_step(&mut straight, &x).unwrap();
            b.try_step(&mut turned, &y).unwrap();
        }
        assert_eq!(straight.values(), turned.values(), "{name}");
    }
}
