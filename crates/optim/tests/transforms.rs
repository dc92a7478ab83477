//! Transforms and wrappers against their formulas, written out slowly; clipping on the way against clipping before.

mod common;
mod table;

use common::{Lcg, Params, start};
use std::sync::Arc;
use table::rules;
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::schedule::Linear;
use wengert_optim::transform::*;
use wengert_optim::wrappers::{Accumulator, Ema, Lookahead, Sam, Swa};
use wengert_optim::*;

fn gradients(model: &Params<f64>, t: u64, scale: f64) -> Gradients<f64> {
    let mut r = Lcg(77 + t);
    let each = |(_, p): &(String, Param<f64>)| (p.id(), r.tensor(p.shape(), scale));
    Gradients::from_parts(0.0, model.0.iter().map(each).collect(), vec![])
}

fn values(g: &Gradients<f64>) -> Vec<f64> {
    g.iter().flat_map(|(_, g)| g.to_vec()).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn close(a: &[f64], b: &[f64]) {
    assert!(common::distance(a, b) < 1e-12, "{a:?}\n{b:?}");
}

#[test]
fn clipping_on_the_way_gives_the_bits_of_clipping_before() {
    for rule in rules::<f32>() {
        let lr = Arc::new(rule.lr);
        // Small tensors, matrices, one that is lent to the threads.
        let shapes: [&[usize]; 4] = [&[5, 7], &[4], &[], &[70_001]];
        let shapes = if rule.name == "soap" {
            &shapes[..3]
        } else {
            &shapes
        };
        let (mut a, mut b) = (
            common::start_with::<f32>(shapes),
            common::start_with::<f32>(shapes),
        );
        let mut folded = (rule.clipped)(lr.clone(), 0.5);
        let mut plain = (rule.make)(lr);
        for t in 0..4u64 {
            let of = |m: &Params<f32>| {
                let mut r = Lcg(t);
                let scale = if t == 2 { 1e-6 } else { 1.0 };
                let each = |(_, p): &(String, Param<f32>)| (p.id(), r.tensor(p.shape(), scale));
                Gradients::from_parts(0.0, m.0.iter().map(each).collect(), vec![])
            };
            let (x, mut y) = (of(&a), of(&b));
            let before: Vec<f32> = x.iter().flat_map(|(_, g)| g.to_vec()).collect();
            let report = folded.try_step(&mut a, &x).unwrap();
            let record = y.clip_norm(0.5);
            plain.try_step(&mut b, &y).unwrap();
            assert_eq!(report.clip, Some(record), "{}", rule.name);
            assert_eq!(record.clipped, t != 2);
            assert_eq!(report.grad_norm, Some(record.before));
            let after: Vec<f32> = x.iter().flat_map(|(_, g)| g.to_vec()).collect();
            assert_eq!(before, after, "the gradients stay");
        }
        assert!(a.values() == b.values(), "{}", rule.name);
        assert_eq!(folded.state(), plain.state(), "{}", rule.name);
    }
}

#[test]
fn norms_are_the_same_for_any_number_of_threads_and_layout() {
    let n = 1_000_003;
    let big: Tensor<f32> = Lcg(1).tensor(&[n], 1.0);
    let turned: Tensor<f32> = Lcg(2).tensor(&[300, 401], 1.0);
    let stretched = Tensor::<f32>::full([1], 2.0).broadcast_to([1000]);
    let expected: f64 = {
        let all = big.iter().chain(turned.iter()).chain(stretched.iter());
        all.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    let p = [0, 1, 2].map(|_| Param::new(Tensor::<f32>::zeros([1])).id());
    let of = |turned: Tensor<f32>| {
        let list = [big.clone(), turned, stretched.clone()];
        Gradients::from_parts(0.0, p.into_iter().zip(list).collect(), vec![])
    };
    let found = of(turned.clone()).global_norm();
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    // Other strides give the sum in another order.
    let other = of(turned.t().copy().t()).global_norm();
    assert!((other / expected - 1.0).abs() < 1e-12);
    assert_eq!(of(turned.clone()).global_norm().to_bits(), found.to_bits());
    // In f64 the square overflows and vanishes before the norm does.
    let p = Param::new(Tensor::<f64>::zeros([2]));
    for x in [1e200, 1e-200] {
        let g = Tensor::from_vec(vec![3.0 * x, 4.0 * x], [2]);
        let g = Gradients::from_parts(0.0, vec![(p.id(), g)], vec![]);
        assert!((g.global_norm() / (5.0 * x) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn clips() {
    let m = start::<f64>();
    let raw = values(&gradients(&m, 0, 3.0));
    let n = norm(&raw);

    let mut g = gradients(&m, 0, 3.0);
    let r = g.clip_norm(1.0);
    let factor = 1.0 / (n + 1e-6);
    close(
        &values(&g),
        &raw.iter().map(|x| x * factor).collect::<Vec<_>>(),
    );
    assert!(r.clipped && (r.before - n).abs() < 1e-12 && (r.after - n * factor).abs() < 1e-12);
    assert_eq!(r.count, 4);
    let r = g.clip_norm(2.0);
    assert!(!r.clipped && r.count == 0 && r.before == r.after);

    let mut g = gradients(&m, 0, 3.0);
    let r = g.clip_value(0.7);
    let clamped: Vec<f64> = raw.iter().map(|x| x.clamp(-0.7, 0.7)).collect();
    assert_eq!(values(&g), clamped);
    assert_eq!(r.count, raw.iter().filter(|x| x.abs() > 0.7).count());
    assert!((r.after - norm(&clamped)).abs() < 1e-12);

    let mut g = gradients(&m, 0, 3.0);
    let r = g.clip_each(1.0);
    let mut expected = Vec::new();
    let mut over = 0;
    for (_, t) in gradients(&m, 0, 3.0).iter() {
        let v = t.to_vec();
        let f = 1.0 / (norm(&v) + 1e-6);
        over += usize::from(f < 1.0);
        expected.extend(v.iter().map(|x| x * f.min(1.0)));
    }
    close(&values(&g), &expected);
    assert_eq!(r.count, over);
    // NaN passes every clip, for the policy to see.
    let mut g = gradients(&m, 0, 3.0);
    g.iter_mut().next().unwrap().1.as_mut_slice()[0] = f64::NAN;
    assert!(!g.clip_norm(0.1).clipped);
    g.clip_value(0.1);
    assert!(values(&g)[0].is_nan());
}

#[test]
fn agc_centralization_and_scaling() {
    let m = start::<f64>();
    let mut g = gradients(&m, 0, 0.5);
    let mut pipeline = Pipeline::new().then(Agc::try_new(0.3, 0.5).unwrap());
    let report = pipeline.apply(&m, &mut g).clone();
    let mut expected = Vec::new();
    let (mut changed, mut units) = (0, 0);
    for ((_, p), (_, t)) in m.0.iter().zip(gradients(&m, 0, 0.5).iter()) {
        let rows = if p.shape().len() > 1 { p.shape()[0] } else { 1 };
        let len = p.value().numel() / rows.max(1);
        let (w, v) = (p.value().to_vec(), t.to_vec());
        units += rows;
        for u in 0..rows {
            let (w, v) = (&w[u * len..(u + 1) * len], &v[u * len..(u + 1) * len]);
            let most = 0.3 * norm(w).max(0.5);
            let f = if norm(v) >= most {
                most / norm(v).max(1e-6)
            } else {
                1.0
            };
            changed += usize::from(norm(v) >= most);
            expected.extend(v.iter().map(|x| x * f));
        }
    }
    close(&values(&g), &expected);
    let r = &report.records[0];
    assert_eq!((r.changed, r.of), (changed, units));
    assert!(changed > 0 && changed < units && (r.after - norm(&expected)).abs() < 1e-12);

    let mut g = gradients(&m, 1, 1.0);
    Pipeline::new().centralize().apply(&m, &mut g);
    let raw = gradients(&m, 1, 1.0);
    let mut expected = Vec::new();
    for (_, t) in raw.iter() {
        let v = t.to_vec();
        match t.shape() {
            [rows, cols] if *rows > 0 => {
                for r in 0..*rows {
                    let row = &v[r * cols..(r + 1) * cols];
                    let mean = row.iter().sum::<f64>() / *cols as f64;
                    expected.extend(row.iter().map(|x| x - mean));
                }
            }
            _ => expected.extend(v),
        }
    }
    close(&values(&g), &expected);

    let mut pipeline = Pipeline::new().scale(Linear::new(1.0, 4));
    for t in 0..3u64 {
        let mut g = gradients(&m, t, 1.0);
        let raw = values(&g);
        pipeline.apply(&m, &mut g);
        let f = 1.0 - t as f64 / 4.0;
        close(&values(&g), &raw.iter().map(|x| x * f).collect::<Vec<_>>());
    }
}

#[test]
fn zclip_follows_its_formula() {
    let m = start::<f64>();
    let mut pipeline = Pipeline::new().then(ZClip::try_new(0.9, 1.5, 5).unwrap());
    let (mut warm, mut mean, mut variance) = (Vec::new(), 0.0, 0.0f64);
    let mut clips = 0;
    for t in 0..40u64 {
        let mut g = gradients(&m, t, if t % 8 == 7 { 6.0 } else { 1.0 });
        let n = norm(&values(&g));
        let report = pipeline.apply(&m, &mut g).clone();
        let mut target = n;
        if warm.len() < 5 {
            warm.push(n);
            if warm.len() == 5 {
                mean = warm.iter().sum::<f64>() / 5.0;
                variance = warm.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5.0;
            }
        } else {
            let z = (n - mean) / (variance.sqrt() + 1e-6);
            if z > 1.5 {
                target = mean + 1.5 * 1.5 * variance.sqrt() / z;
                clips += 1;
            }
            mean = 0.9 * mean + 0.1 * target;
            variance = 0.9 * variance + 0.1 * (target - mean).powi(2);
        }
        let found = norm(&values(&g));
        assert!(
            (found - target).abs() < 1e-9 * target,
            "step {t}: {found} {target}"
        );
        assert_eq!(report.records[0].changed > 0, target < n);
    }
    assert!(clips >= 4, "{clips}");
}

#[test]
fn noise_has_its_variance_and_is_a_function_of_seed_and_step() {
    let m = Params(vec![(
        "w".to_string(),
        Param::new(Tensor::<f64>::zeros([40_000])),
    )]);
    let draw = |seed: u64, steps: usize| {
        let mut p = Pipeline::new().then(Noise::try_new(0.25, 0.5, seed).unwrap());
        let mut last = Vec::new();
        for _ in 0..steps {
            let zero = (m.0[0].1.id(), Tensor::zeros([40_000]));
            let mut g = Gradients::from_parts(0.0, vec![zero], vec![]);
            p.apply(&m, &mut g);
            last = values(&g);
        }
        last
    };
    for steps in [1, 9] {
        let x = draw(1, steps);
        let mean = x.iter().sum::<f64>() / 4e4;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4e4;
        let expected = 0.25 / (steps as f64).sqrt();
        assert!(mean.abs() < 4.0 * (expected / 4e4).sqrt(), "{mean}");
        assert!(
            (variance / expected - 1.0).abs() < 0.03,
            "{variance} {expected}"
        );
        assert_eq!(x, draw(1, steps));
        assert_ne!(x, draw(2, steps));
    }
    let (a, b) = (draw(1, 1), draw(1, 2));
    let dot: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    assert!(
        (dot / norm(&a) / norm(&b)).abs() < 0.02,
        "steps are independent"
    );
}

#[test]
fn policies_in_a_pipeline() {
    let m = start::<f64>();
    let poisoned = || {
        let mut g = gradients(&m, 0, 1.0);
        g.iter_mut().nth(1).unwrap().1.as_mut_slice()[0] = f64::INFINITY;
        g
    };
    let mut g = poisoned();
    let mut p = Pipeline::new()
        .non_finite(NonFinitePolicy::Skip)
        .clip_norm(1.0);
    let report = p.apply(&m, &mut g);
    assert_eq!(
        report.skip.as_ref().map(|s| s.path.as_str()),
        Some("fc.bias")
    );
    assert_eq!(
        report.records.len(),
        1,
        "what stands behind a skip does not run"
    );
    let mut p = Pipeline::new().non_finite(NonFinitePolicy::Error);
    assert!(matches!(
        p.try_apply(&m, &mut poisoned()),
        Err(Error::NonFinite(_))
    ));
    let mut g = poisoned();
    let mut p = Pipeline::new()
        .non_finite(NonFinitePolicy::Zero)
        .clip_value(9.0);
    let report = p.apply(&m, &mut g).clone();
    assert!(report.skip.is_none() && report.records[0].changed == 1);
    assert!(values(&g).iter().all(|x| x.is_finite()));
    assert!(report.records[0].before.is_infinite() && report.records[0].after.is_finite());
}

#[test]
fn accumulation_is_the_mean() {
    let mut m = start::<f64>();
    let mut accumulator = Accumulator::new(3);
    let parts: Vec<Vec<f64>> = (0..3).map(|t| values(&gradients(&m, t, 1.0))).collect();
    for t in 0..2 {
        let g = gradients(&m, t, 1.0);
        assert!(accumulator.add(&mut m, g).is_none());
    }
    let g = gradients(&m, 2, 1.0);
    let mean = accumulator.add(&mut m, g).unwrap();
    let expected: Vec<f64> = (0..parts[0].len())
        .map(|i| (parts[0][i] + parts[1][i] + parts[2][i]) / 3.0)
        .collect();
    close(&values(&mean), &expected);
    assert_eq!(accumulator.pending(), 0);
    let g = gradients(&m, 0, 1.0);
    assert!(accumulator.add(&mut m, g).is_none());
    close(&values(&accumulator.flush().unwrap()), &parts[0]);
    assert!(accumulator.flush().is_none());
}

#[test]
fn slow_weights_and_averages() {
    let mut m = start::<f64>();
    let mut o = Lookahead::new(Sgd::<f64>::new(0.1), 3, 0.4);
    let (mut ema, mut swa, mut warm) = (Ema::new(0.9), Swa::new(), Ema::new(0.9).warmup());
    let mut fast = m.values();
    let mut slow = fast.clone();
    let (mut mean, mut average, mut warmed) = (vec![0.0; fast.len()], Vec::new(), Vec::new());
    for t in 0..7u64 {
        let g = gradients(&m, t, 1.0);
        fast.iter_mut()
            .zip(values(&g))
            .for_each(|(w, g)| *w -= 0.1 * g);
        if t % 3 == 2 {
            for (s, f) in slow.iter_mut().zip(&mut fast) {
                *s += 0.4 * (*f - *s);
                *f = *s;
            }
        }
        o.step(&mut m, &g);
        close(&m.values(), &fast);
        ema.update(&m);
        swa.update(&m);
        warm.update(&m);
        let n = t as f64;
        for (mean, f) in mean.iter_mut().zip(&fast) {
            *mean += (f - *mean) / (n + 1.0);
        }
        if t == 0 {
            (average, warmed) = (fast.clone(), fast.clone());
        } else {
            let d = 0.9f64.min((1.0 + n) / (10.0 + n));
            for i in 0..fast.len() {
                average[i] = 0.9 * average[i] + 0.1 * fast[i];
                warmed[i] = d * warmed[i] + (1.0 - d) * fast[i];
            }
        }
    }
    close(&ema.averaged(&m).values(), &average);
    close(&swa.averaged(&m).values(), &mean);
    close(&warm.averaged(&m).values(), &warmed);
    let before = m.values();
    ema.swap(&mut m);
    close(&m.values(), &average);
    ema.swap(&mut m);
    assert_eq!(m.values(), before);
}

#[test]
fn sharpness() {
    // f = Σ w⁴/4: the gradient is w³.
    let cube = |m: &Params<f64>| {
        let each = |(_, p): &(String, Param<f64>)| {
            let v: Vec<f64> = p.value().iter().map(|w| w.powi(3)).collect();
            (p.id(), Tensor::from_vec(v, p.shape()))
        };
        Gradients::from_parts(0.0, m.0.iter().map(each).collect(), vec![])
    };
    for adaptive in [false, true] {
        let mut m = start::<f64>();
        let w = m.values();
        let g: Vec<f64> = w.iter().map(|w| w.powi(3)).collect();
        let scaled: Vec<f64> = if adaptive {
            w.iter().zip(&g).map(|(w, g)| w * g).collect()
        } else {
            g.clone()
        };
        let n = norm(&scaled);
        let expected: Vec<f64> = w
            .iter()
            .zip(&g)
            .map(|(w, g)| {
                let up = if adaptive { w * w * g } else { *g };
                w - 0.1 * (w + 0.3 * up / (n + 1e-12)).powi(3)
            })
            .collect();
        let sam = Sam::new(Sgd::<f64>::new(0.1), 0.3);
        let mut sam = if adaptive { sam.adaptive() } else { sam };
        sam.step(&mut m, cube);
        close(&m.values(), &expected);
    }
}
