//! A hundred steps against fifty, saving, loading into a new optimizer of a cloned model, and fifty more: bit for bit.

mod common;
mod table;

use common::{Lcg, Params};
use std::sync::Arc;
use table::{Lr, RuleCase, rules, schedules};
use wengert_autograd::{Gradients, Module, Param, Tensor};
use wengert_optim::schedule::{Cosine, Plateau, from_fn};
use wengert_optim::state::{FlatState, OptimizerState};
use wengert_optim::transform::{Agc, ClipEach, Pipeline, ZClip};
use wengert_optim::wrappers::{Accumulator, Ema, Lookahead, Sam, Swa};
use wengert_optim::*;

const HALF: u64 = 50;

/// A matrix, a vector, a number and nothing.
fn model() -> Params<f32> {
    let shapes: [&[usize]; 4] = [&[3, 2], &[4], &[], &[0, 3]];
    common::start_with(&shapes)
}

/// The gradient of a bowl around 0 with noise; depends on the step and the model alone.
fn gradients(model: &Params<f32>, t: u64) -> Gradients<f32> {
    let mut r = Lcg(1000 + t);
    let each = |(_, p): &(String, Param<f32>)| {
        let noise: Tensor<f32> = r.tensor(p.shape(), 0.5);
        let values: Vec<f32> = p
            .value()
            .iter()
            .zip(noise.iter())
            .map(|(w, n)| w + n)
            .collect();
        (p.id(), Tensor::from_vec(values, p.shape()))
    };
    Gradients::from_parts(0.0, model.0.iter().map(each).collect(), vec![])
}

fn bits(model: &Params<f32>) -> Vec<u32> {
    model.values().iter().map(|x| x.to_bits()).collect()
}

/// The state as a file would give it back.
fn through_file(state: &OptimizerState) -> OptimizerState {
    let FlatState { tensors, scalars } = state.to_flat();
    OptimizerState::from_flat(&FlatState { tensors, scalars }).unwrap()
}

/// Runs `step` from step 0 to 100 with what `make` makes; again with a break after 50 steps; compares.
fn compare<S>(
    name: &str,
    make: impl Fn() -> S,
    mut step: impl FnMut(&mut S, &mut Params<f32>, u64),
    save: impl Fn(&S, &Params<f32>) -> Vec<OptimizerState>,
    load: impl Fn(&mut S, &Params<f32>, &[OptimizerState]),
) {
    let (mut straight, mut a) = (make(), model());
    let before = bits(&a);
    for t in 0..2 * HALF {
        step(&mut straight, &mut a, t);
    }
    assert_ne!(before, bits(&a), "{name}: nothing moved");
    assert!(
        a.values().iter().all(|x| x.is_finite()),
        "{name}: {:?}",
        a.values()
    );
    let (mut first, mut b) = (make(), model());
    for t in 0..HALF {
        step(&mut first, &mut b, t);
    }
    let saved: Vec<_> = save(&first, &b).iter().map(through_file).collect();
    drop(first);
    // Other identities, the same paths and values.
    let mut b = b.clone();
    let mut second = make();
    load(&mut second, &b, &saved);
    assert_eq!(save(&second, &b), saved, "{name}: saved again");
    for t in HALF..2 * HALF {
        step(&mut second, &mut b, t);
    }
    assert_eq!(bits(&a), bits(&b), "{name}");
    assert_eq!(save(&straight, &a), save(&second, &b), "{name}: states");
}

type Boxed = Box<dyn Optimize<f32>>;

fn compare_rule(name: &str, make: impl Fn() -> Boxed) {
    compare(
        name,
        make,
        |o, m, t| {
            let g = gradients(m, t);
            assert!(o.try_step(m, &g).unwrap().applied);
            if t % 10 == 9 {
                o.observe((t as f64 / 20.0).cos());
            }
        },
        |o, _| vec![o.state()],
        |o, m, s| o.load_state(m, &s[0]).unwrap(),
    );
}

#[test]
fn every_rule_with_every_schedule() {
    let mut pairs = 0;
    for rule in rules::<f32>() {
        for (schedule, lr) in schedules(rule.lr) {
            let name = format!("{} with {schedule}", rule.name);
            compare_rule(&name, || (rule.make)(lr.clone()));
            pairs += 1;
        }
    }
    assert!(pairs >= 37 * 27, "{pairs}");
}

/// A legal value near the default.
fn beside(rule: &RuleCase<f32>, i: usize) -> Option<f64> {
    let (h, x) = &rule.hypers[i];
    let candidates = [x * 0.9, x * 1.1, x - 0.05, x + 0.05];
    candidates
        .into_iter()
        .find(|y| y != x && h.range.contains(*y))
}

#[test]
fn every_hyperparameter_of_every_rule_on_a_schedule() {
    for rule in rules::<f32>() {
        for (i, (h, x)) in rule.hypers.iter().enumerate() {
            if h.name == "lr" {
                continue;
            }
            let y = beside(&rule, i).unwrap_or_else(|| panic!("{} {}", rule.name, h.name));
            let x = *x;
            let to = from_fn(move |t| x + (y - x) * (t as f64 / 100.0));
            let value: Lr = Arc::new(to);
            if (rule.with)(Arc::new(rule.lr), h.name, value.clone()).is_err() {
                // Hyperparameters that exclude each other in this variant.
                assert!(h.name == "dampening", "{} {}", rule.name, h.name);
                continue;
            }
            compare_rule(&format!("{}, {} on a schedule", rule.name, h.name), || {
                (rule.with)(Arc::new(Cosine::new(rule.lr, 120)), h.name, value.clone()).unwrap()
            });
        }
    }
}

#[test]
fn plateaus() {
    for rule in rules::<f32>() {
        compare_rule(&format!("{} on a plateau", rule.name), || {
            let plateau = Plateau::new()
                .patience(1)
                .factor(0.5)
                .cooldown(1)
                .min_lr(1e-4);
            (rule.plateau)(Arc::new(rule.lr), plateau)
        });
    }
}

#[test]
fn groups() {
    for rule in rules::<f32>() {
        compare_rule(&format!("{} with a group", rule.name), || {
            let lr = rule.lr;
            let group = Group::when(|p| p.shape.len() < 2).lr(Cosine::new(lr / 2.0, 80));
            (rule.group)(Arc::new(lr), group.scale("lr", 0.5)).unwrap()
        });
    }
}

#[test]
fn frozen_and_new_parameters_and_skipped_steps() {
    for rule in rules::<f32>() {
        let name = format!("{} with changes", rule.name);
        compare(
            &name,
            || (rule.make)(Arc::new(rule.lr)),
            |o, m, t| {
                match t {
                    0 => m.0[0].1.set_trainable(false),
                    20 => {
                        m.0.insert(1, ("new".into(), Param::new(Tensor::ones([2, 2]))))
                    }
                    70 => m.0[0].1.set_trainable(true),
                    _ => {}
                }
                let mut g = gradients(m, t);
                if t % 9 == 5 {
                    let last = g.iter_mut().nth(2).unwrap().1;
                    last.as_mut_slice().fill(f32::NAN);
                }
                assert_eq!(o.try_step(m, &g).unwrap().applied, t % 9 != 5);
            },
            |o, _| vec![o.state()],
            |o, m, s| o.load_state(m, &s[0]).unwrap(),
        );
    }
}

#[test]
fn transforms() {
    for rule in rules::<f32>() {
        let name = format!("{} behind a pipeline", rule.name);
        let make = || {
            let pipeline = Pipeline::new()
                .non_finite(NonFinitePolicy::Zero)
                .then(ZClip::try_new(0.9, 1.0, 5).unwrap())
                .centralize()
                .noise(0.01, 7)
                .clip_value(3.0)
                .then(ClipEach::new(2.0))
                .clip_norm(2.5)
                .then(Agc::try_new(5.0, 1e-3).unwrap())
                .scale(Cosine::new(1.0, 150));
            (pipeline, (rule.make)(Arc::new(rule.lr)))
        };
        compare(
            &name,
            make,
            |(pipeline, o), m, t| {
                let mut g = gradients(m, t);
                if t % 13 == 7 {
                    g.scale(20.0);
                }
                pipeline.apply(m, &mut g);
                o.try_step(m, &g).unwrap();
            },
            |(pipeline, o), _| vec![pipeline.state(), o.state()],
            |(pipeline, o), m, s| {
                pipeline.load_state(&s[0]).unwrap();
                o.load_state(m, &s[1]).unwrap();
            },
        );
    }
}

#[test]
fn wrappers() {
    for rule in rules::<f32>() {
        let lr: Lr = Arc::new(Cosine::new(rule.lr, 120));
        compare_rule(&format!("lookahead around {}", rule.name), || {
            // 50 is not a multiple of 7: the break comes between two synchronizations.
            Box::new(Lookahead::new((rule.make)(lr.clone()), 7, 0.5))
        });
        compare(
            &format!("sam around {}", rule.name),
            || Sam::new((rule.make)(lr.clone()), 0.05).adaptive(),
            |o, m, t| {
                o.step(m, |m| gradients(m, t));
            },
            |o, _| vec![o.state()],
            |o, m, s| o.load_state(m, &s[0]).unwrap(),
        );
        compare(
            &format!("accumulation before {}", rule.name),
            // 50 is not a multiple of 3: the break comes in the middle of a batch.
            || (Accumulator::new(3), (rule.make)(lr.clone())),
            |(accumulator, o), m, t| {
                if let Some(mean) = accumulator.add(m, gradients(m, t)) {
                    o.try_step(m, &mean).unwrap();
                }
            },
            |(accumulator, o), m| vec![accumulator.state(m), o.state()],
            |(accumulator, o), m, s| {
                accumulator.load_state(m, &s[0]).unwrap();
                o.load_state(m, &s[1]).unwrap();
            },
        );
        compare(
            &format!("averages behind {}", rule.name),
            || {
                let ema = Ema::new(0.9).warmup();
                (ema, Swa::new().with_buffers(), (rule.make)(lr.clone()))
            },
            |(ema, swa, o), m, t| {
                let g = gradients(m, t);
                o.try_step(m, &g).unwrap();
                ema.update(m);
                if t % 4 == 3 {
                    swa.update(m);
                }
            },
            |(ema, swa, o), _| vec![ema.state(), swa.state(), o.state()],
            |(ema, swa, o), m, s| {
                ema.load_state(m, &s[0]).unwrap();
                swa.load_state(m, &s[1]).unwrap();
                o.load_state(m, &s[2]).unwrap();
            },
        );
    }
}

#[test]
fn curvature_and_line_search() {
    compare(
        "sophia with observations",
        || Sophia::new(0.01),
        |o, m, t| {
            let g = gradients(m, t);
            o.step(m, &g);
            if t % 4 == 0 {
                o.observe_gauss_newton(m, &g, 8);
            }
        },
        |o, _| vec![o.state()],
        |o, m, s| o.load_state(m, &s[0]).unwrap(),
    );
    compare(
        "l-bfgs",
        || {
            Lbfgs::new(0.5)
                .max_iterations(1)
                .history(4)
                .tolerances(0.0, 0.0)
        },
        |o, m, t| {
            // A loss that goes with `gradients`: a bowl around a place that wanders.
            o.step(m, |m| {
                let g = gradients(m, t / 10);
                let loss = g
                    .iter()
                    .flat_map(|(_, g)| g.to_vec())
                    .map(|x| x * x / 2.0)
                    .sum();
                let (_, entries, _) = g.into_parts();
                Gradients::from_parts(loss, entries, vec![])
            });
        },
        |o, _| vec![o.state()],
        |o, m, s| o.load_state(m, &s[0]).unwrap(),
    );
}

/// Every way to spoil a state that a file can hold.
fn spoiled(good: &OptimizerState) -> Vec<(&'static str, OptimizerState)> {
    let flat = good.to_flat();
    let mut bad = Vec::new();
    let mut add = |what, f: &dyn Fn(&mut FlatState)| {
        let mut flat = flat.clone();
        f(&mut flat);
        if let Ok(state) = OptimizerState::from_flat(&flat)
            && state != *good
        {
            bad.push((what, state));
        }
    };
    use wengert_optim::state::{StateScalar, StateTensor};
    for key in flat.scalars.keys() {
        add("a number is missing", &|f| drop(f.scalars.remove(key)));
        add("a word for a number", &|f| {
            f.scalars.insert(key.clone(), StateScalar::Text("x".into()));
        });
        if matches!(flat.scalars[key], StateScalar::Number(_)) {
            add("NaN", &|f| {
                f.scalars.insert(key.clone(), StateScalar::Number(f64::NAN));
            });
        }
    }
    for (key, tensor) in &flat.tensors {
        add("a tensor is missing", &|f| drop(f.tensors.remove(key)));
        add("another shape", &|f| {
            let t = StateTensor::from_tensor(&Tensor::<f32>::ones([9, 1]));
            f.tensors.insert(key.clone(), t);
        });
        add("another type", &|f| {
            let t = StateTensor::from_tensor(&Tensor::<f64>::ones(tensor.shape()));
            f.tensors.insert(key.clone(), t);
        });
        if !tensor.shape().contains(&0) {
            add("NaN in a tensor", &|f| {
                let t = Tensor::<f32>::full(tensor.shape(), f32::NAN);
                f.tensors.insert(key.clone(), StateTensor::from_tensor(&t));
            });
        }
        add("an unknown path", &|f| {
            let t = f.tensors.remove(key).unwrap();
            f.tensors.insert(format!("{key}x"), t);
        });
    }
    add("an unknown number", &|f| {
        f.scalars
            .insert("scalar/more".into(), StateScalar::Count(1));
    });
    add("an unknown part", &|f| {
        f.scalars
            .insert("part/more/kind".into(), StateScalar::Text("sgd".into()));
    });
    bad
}

/// `o` has stepped on `m`; what does not fit is refused whole, and the run goes on as if nothing had been asked.
fn refuses<S>(
    name: &str,
    make: impl Fn() -> S,
    mut step: impl FnMut(&mut S, &mut Params<f32>, u64),
    save: impl Fn(&S, &Params<f32>) -> OptimizerState,
    load: impl Fn(&mut S, &Params<f32>, &OptimizerState) -> Result<()>,
) {
    let (mut o, mut m) = (make(), model());
    let (mut undisturbed, mut n) = (make(), model());
    for t in 0..4 {
        step(&mut o, &mut m, t);
        step(&mut undisturbed, &mut n, t);
    }
    let good = save(&o, &m);
    // A sum over micro-batches may be anything; the step's policy looks at it.
    let takes_nan = name == "accumulation";
    let all = || {
        spoiled(&good)
            .into_iter()
            .filter(|s| !(takes_nan && s.0.starts_with("NaN")))
    };
    assert!(all().count() > 0, "{name}");
    for (what, bad) in all() {
        let error = load(&mut o, &m, &bad);
        assert!(
            matches!(error, Err(Error::State(_))),
            "{name}: {what}: {error:?}"
        );
        assert_eq!(save(&o, &m), good, "{name}: {what} has left traces");
    }
    // A new object refuses, too, and is as new afterwards.
    let mut fresh = make();
    let new = save(&fresh, &m);
    for (what, bad) in all() {
        assert!(load(&mut fresh, &m, &bad).is_err(), "{name}: {what}");
        assert_eq!(
            save(&fresh, &m),
            new,
            "{name}: {what} has left traces in a new object"
        );
    }
    for t in 4..8 {
        step(&mut o, &mut m, t);
        step(&mut undisturbed, &mut n, t);
    }
    assert_eq!(bits(&m), bits(&n), "{name}: the run goes on");
    // The refused object is none the worse: it takes the good state.
    load(&mut fresh, &m, &good).unwrap();
    assert_eq!(save(&fresh, &m), good, "{name}");
}

fn one(o: &mut Boxed, m: &mut Params<f32>, t: u64) {
    let g = gradients(m, t);
    o.try_step(m, &g).unwrap();
}

#[test]
fn states_that_do_not_fit_change_nothing() {
    for rule in rules::<f32>() {
        let lr: Lr = Arc::new(rule.lr);
        let save = |o: &Boxed, _: &Params<f32>| o.state();
        let load = |o: &mut Boxed, m: &Params<f32>, s: &OptimizerState| o.load_state(m, s);
        refuses(rule.name, || (rule.make)(lr.clone()), one, save, load);
        let plateau = || (rule.plateau)(lr.clone(), Plateau::new());
        refuses("on a plateau", plateau, one, save, load);
        let around = || -> Boxed {
            let inner = Lookahead::new((rule.make)(lr.clone()), 2, 0.5);
            Box::new(Lookahead::new(inner, 3, 0.5))
        };
        refuses(
            &format!("lookahead around {}", rule.name),
            around,
            one,
            save,
            load,
        );
    }
    refuses(
        "accumulation",
        || Accumulator::new(100),
        |a, m, t| drop(a.add(m, gradients(m, t))),
        |a, m| a.state(m),
        |a, m, s| a.load_state(m, s),
    );
    let walk = |m: &mut Params<f32>, t| {
        let g = gradients(m, t);
        Sgd::new(0.1).step(m, &g);
    };
    refuses(
        "ema",
        || Ema::new(0.9),
        |e, m, t| {
            walk(m, t);
            e.update(m);
        },
        |e, _| e.state(),
        |e, m, s| e.load_state(m, s),
    );
    refuses(
        "swa",
        Swa::new,
        |e, m, t| {
            walk(m, t);
            e.update(m);
        },
        |e, _| e.state(),
        |e, m, s| e.load_state(m, s),
    );
    refuses(
        "pipeline",
        || Pipeline::new().zclip().clip_norm(1.0),
        |p, m, t| {
            let mut g = gradients(m, t);
            p.apply(m, &mut g);
            Sgd::new(0.1).step(m, &g);
        },
        |p, _| p.state(),
        |p, _, s| p.load_state(s),
    );
}

#[test]
fn a_state_of_another_model_is_refused_whole() {
    for rule in rules::<f32>() {
        let mut o = Lookahead::new((rule.make)(Arc::new(rule.lr)), 2, 0.5);
        let mut m = model();
        for t in 0..3 {
            let g = gradients(&m, t);
            o.try_step(&mut m, &g).unwrap();
        }
        let good = o.state();
        // The model has grown, and lost a parameter: neither the state nor the run may suffer from the attempt.
        let mut other = m.clone();
        other.0.remove(1);
        other.0.push(("more".into(), Param::new(Tensor::ones([2]))));
        let text = o.load_state(&other, &good).unwrap_err().to_string();
        for part in ["`fc.bias`", "`more`", "slow", "inner"] {
            let known = text.contains(part) || part == "slow";
            assert!(known, "{}: {part} not in {text}", rule.name);
        }
        assert_eq!(o.state(), good, "{}", rule.name);
        let before: &dyn Module<f32> = &m;
        o.load_state(before, &good).unwrap();
        assert_eq!(o.state(), good);
    }
}

#[test]
fn a_state_from_before_the_first_step() {
    for rule in rules::<f32>() {
        let make = || (rule.make)(Arc::new(rule.lr));
        let saved = through_file(&make().state());
        let run = |o: &mut Boxed, m: &mut Params<f32>| {
            for t in 0..10 {
                let g = gradients(m, t);
                o.try_step(m, &g).unwrap();
            }
        };
        let (mut fresh, mut a) = (make(), model());
        run(&mut fresh, &mut a);
        // Into one that has not stepped, and into one that has: both begin anew, bit for bit.
        let (mut new, mut used) = (make(), make());
        run(&mut used, &mut model());
        for o in [&mut new, &mut used] {
            let mut b = model();
            o.load_state(&b, &saved).unwrap();
            assert_eq!(o.state(), saved, "{}", rule.name);
            run(o, &mut b);
            assert_eq!(bits(&a), bits(&b), "{}", rule.name);
            assert_eq!(o.state(), fresh.state(), "{}", rule.name);
        }
    }
}
