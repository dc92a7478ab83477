//! What the tests of layers share: derivatives against finite differences for inputs and parameters, and cases that
//! PyTorch computed.
#![allow(dead_code)]

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use wengert_autograd::{Module, ModuleExt, Tape, Tensor, Var, grad_many, vjp_many};
use wengert_nn::Forward;

/// Kinds of modules whose derivatives were checked.
pub static CHECKED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
/// Kinds of modules that were compared with PyTorch.
pub static COMPARED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// Names of the cases of PyTorch that ran.
pub static RAN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The layer's output for the first input.
pub fn first<'t, M: Forward<f64>>(m: &M, _: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Var<'t, f64> {
    m.forward(x[0])
}

/// Puts a model's kinds into a set.
pub fn note<M: Module<f64> + ?Sized>(set: &Mutex<BTreeSet<&'static str>>, model: &M) {
    let mut set = set.lock().unwrap();
    set.insert(model.kind());
    set.extend(model.modules().iter().map(|m| m.kind));
}

pub fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// Deterministic numbers of magnitude ½ to 1 with random sign.
pub fn weights(seed: u64, n: usize) -> Vec<f64> {
    (0..n as u64)
        .map(|i| {
            let mut z = seed
                .wrapping_mul(0xD134_2543_DE82_EF95)
                .wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let u = (z >> 11) as f64 / 9_007_199_254_740_992.0;
            (0.5 + 0.5 * u) * if z & 1 == 0 { 1.0 } else { -1.0 }
        })
        .collect()
}

/// A tensor of such numbers.
pub fn sample(shape: &[usize], seed: u64) -> Tensor<f64> {
    Tensor::from_vec(weights(seed, shape.iter().product()), shape)
}

pub fn params<M: Module<f64> + ?Sized>(model: &M) -> Vec<Tensor<f64>> {
    let mut out = Vec::new();
    model.for_each_param(|_, p| out.push(p.value().copy()));
    out
}

pub fn set_params<M: Module<f64> + ?Sized>(model: &mut M, values: &[Tensor<f64>]) {
    let mut k = 0;
    model.for_each_param_mut(|_, p| {
        p.set(values[k].copy());
        k += 1;
    });
    assert_eq!(k, values.len());
}

/// Moves every parameter away from its first value, so that zeros and ones are not special.
pub fn stir<M: Module<f64> + ?Sized>(model: &mut M, seed: u64) {
    let mut k = seed;
    model.for_each_param_mut(|_, p| {
        k += 1;
        let noise = weights(k, p.value().numel());
        for (v, n) in p.value_mut().as_mut_slice().iter_mut().zip(noise) {
            *v += 0.3 * n;
        }
    });
}

/// Every operation of a layer stands at the line of the layer's caller, here a test: reports and messages show it.
fn stands_at_callers_line(kind: &str, tape: &Tape<f64>) {
    tape.for_each_node(|n| {
        let at = n.location;
        assert!(
            n.args.is_empty() || at.file().contains("/tests/"),
            "{kind}: {} is recorded at {}:{}",
            n.op,
            at.file(),
            at.line()
        );
    });
}

pub fn tape(training: bool) -> Tape<f64> {
    if training {
        Tape::training(7)
    } else {
        Tape::inference()
    }
}

fn contract<'t>(y: Var<'t, f64>, seed: u64) -> Var<'t, f64> {
    let w = Tensor::from_vec(weights(seed, y.numel()), y.shape());
    (y * y.tape().input(&w)).sum()
}

/// First and second derivatives of `f` by all inputs and all parameters against central differences of order 6, in f64:
/// 2e-9 and 2e-8 relative to the scale of the gradient.
pub fn check<M, F>(name: &str, model: &M, inputs: &[Tensor<f64>], training: bool, f: F)
where
    M: Module<f64> + Clone,
    F: for<'t> Fn(&M, &'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
{
    check_along(name, model, inputs, training, Along::Elements, f);
}

/// Directions in which a derivative is compared.
#[derive(Clone, Copy)]
enum Along {
    /// Every element of small tensors, two random directions of large ones.
    Elements,
    /// Random directions of each tensor, in which every element takes part.
    Random,
}

fn check_along<M, F>(
    name: &str,
    model: &M,
    inputs: &[Tensor<f64>],
    training: bool,
    along: Along,
    f: F,
) where
    M: Module<f64> + Clone,
    F: for<'t> Fn(&M, &'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
{
    note(&CHECKED, model);
    let point: Vec<Tensor<f64>> = inputs
        .iter()
        .map(Tensor::copy)
        .chain(params(model))
        .collect();
    let n = inputs.len();
    let run = |at: &[Tensor<f64>], order: u32| -> Vec<Tensor<f64>> {
        let mut m = model.clone();
        set_params(&mut m, &at[n..]);
        let tape = tape(training);
        let mut vars: Vec<Var<f64>> = at[..n].iter().map(|x| tape.input(x)).collect();
        let y = contract(f(&m, &tape, &vars), 11);
        if order == 1 {
            stands_at_callers_line(m.kind(), &tape);
        }
        if order == 0 {
            return vec![y.value()];
        }
        m.for_each_param(|_, p| vars.push(tape.param(p)));
        let g = grad_many(y, &vars);
        if order == 1 {
            return g.iter().map(Var::value).collect();
        }
        let c: Vec<Var<f64>> = (g.iter().enumerate())
            .map(|(k, g)| {
                tape.input(&Tensor::from_vec(
                    weights(70 + k as u64, g.numel()),
                    g.shape(),
                ))
            })
            .collect();
        vjp_many(&g, &c, &vars).iter().map(Var::value).collect()
    };
    let loss = |at: &[Tensor<f64>]| run(at, 0)[0].item();
    let slope = |at: &[Tensor<f64>]| -> f64 {
        (run(at, 1).iter().enumerate())
            .map(|(k, g)| {
                let w = weights(70 + k as u64, g.numel());
                g.iter().zip(w).map(|(g, w)| g * w).sum::<f64>()
            })
            .sum()
    };
    let first = run(&point, 1);
    let one = format!("{name}, order 1");
    compare(&one, &point, &first, &loss, 2e-9, along);
    let second = run(&point, 2);
    let two = format!("{name}, order 2");
    compare(&two, &point, &second, &slope, 2e-8, along);
}

fn compare(
    name: &str,
    point: &[Tensor<f64>],
    analytic: &[Tensor<f64>],
    f: &dyn Fn(&[Tensor<f64>]) -> f64,
    tolerance: f64,
    along: Along,
) {
    let scale = (analytic.iter().flat_map(|g| g.to_vec())).fold(1.0f64, |m, x| m.max(x.abs()));
    assert!(scale.is_finite(), "{name}: a derivative is not finite");
    for (k, g) in analytic.iter().enumerate() {
        let g = g.to_vec();
        let random = match along {
            Along::Elements => 2,
            Along::Random => 1 + usize::from(analytic.len() <= 8),
        };
        let elements = matches!(along, Along::Elements) && g.len() <= 6;
        let directions: Vec<Vec<f64>> = if elements {
            (0..g.len())
                .map(|i| (0..g.len()).map(|j| f64::from(u8::from(i == j))).collect())
                .collect()
        } else {
            (0..random)
                .map(|r| weights(900 + r as u64, g.len()))
                .collect()
        };
        for d in directions {
            let a: f64 = g.iter().zip(&d).map(|(g, d)| g * d).sum();
            let at = |h: f64| {
                let mut moved = point.to_vec();
                let mut t = moved[k].copy();
                for (x, d) in t.as_mut_slice().iter_mut().zip(&d) {
                    *x += h * d;
                }
                moved[k] = t;
                f(&moved)
            };
            let mut best = f64::INFINITY;
            let mut numeric = f64::NAN;
            for h in [1e-3, 3e-4, 1e-4, 1e-2, 1e-5, 1e-6] {
                let v = (45.0 * (at(h) - at(-h)) - 9.0 * (at(2.0 * h) - at(-2.0 * h))
                    + at(3.0 * h)
                    - at(-3.0 * h))
                    / (60.0 * h);
                if (v - a).abs() < best {
                    (best, numeric) = ((v - a).abs(), v);
                }
                if best <= 0.1 * tolerance * scale.max(a.abs()) {
                    break;
                }
            }
            let error = best / scale.max(a.abs());
            assert!(
                error <= tolerance,
                "{name}: tensor {k} (inputs first, then parameters): analytic {a:e}, numeric {numeric:e}, error {error:e}"
            );
        }
    }
}

/// One case of a reference file: named tensors.
pub struct Case {
    pub name: String,
    tensors: BTreeMap<String, Tensor<f64>>,
}

/// Reads `case NAME` lines, each followed by `NAME sizes.. : values..` lines.
pub fn cases(text: &str) -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    for line in text.lines().filter(|l| !l.is_empty()) {
        if let Some(name) = line.strip_prefix("case ") {
            out.push(Case {
                name: name.to_owned(),
                tensors: BTreeMap::new(),
            });
            continue;
        }
        let (head, values) = line.split_once(':').expect("a colon");
        let mut head = head.split_whitespace();
        let name = head.next().expect("a name").to_owned();
        let shape: Vec<usize> = head.map(|d| d.parse().expect("a size")).collect();
        let values: Vec<f64> = values
            .split_whitespace()
            .map(|v| v.parse().expect("a number"))
            .collect();
        let case = out.last_mut().expect("a case first");
        let old = case.tensors.insert(name, Tensor::from_vec(values, shape));
        assert!(old.is_none());
    }
    out
}

impl Case {
    #[track_caller]
    pub fn get(&self, name: &str) -> &Tensor<f64> {
        self.try_get(name)
            .unwrap_or_else(|| panic!("{}: no tensor {name}", self.name))
    }

    pub fn try_get(&self, name: &str) -> Option<&Tensor<f64>> {
        self.tensors.get(name)
    }

    pub fn ints(&self, name: &str) -> Tensor<i64> {
        self.get(name).map(|v| v as i64)
    }

    /// `in.0`, `in.1`, …
    pub fn inputs(&self) -> Vec<Tensor<f64>> {
        (0..)
            .map_while(|i| self.try_get(&format!("in.{i}")).map(Tensor::copy))
            .collect()
    }

    /// Gives the model the case's parameters and buffers; every one of both sides must have its partner.
    pub fn load<M: Module<f64> + ?Sized>(&self, model: &mut M) {
        let mut left: Vec<&String> = (self.tensors.keys())
            .filter(|k| k.starts_with("param.") || k.starts_with("buffer."))
            .collect();
        model.for_each_param_mut(|path, p| {
            p.set(self.get(&format!("param.{path}")).copy());
            left.retain(|k| **k != format!("param.{path}"));
        });
        model.for_each_buffer_mut(|path, b| {
            if let Some(v) = self.try_get(&format!("buffer.{path}")) {
                *b.value_mut() = v.copy();
            }
            left.retain(|k| **k != format!("buffer.{path}"));
        });
        assert!(left.is_empty(), "{}: {left:?} have no place", self.name);
    }

    /// Compares with the tensor of the same name: 1e-9 relative to its largest element.
    #[track_caller]
    pub fn close(&self, name: &str, found: &Tensor<f64>) {
        let expected = self.get(name);
        assert_eq!(
            expected.shape(),
            found.shape(),
            "{}: shape of {name}",
            self.name
        );
        let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (i, (e, f)) in expected.iter().zip(found.iter()).enumerate() {
            assert!(
                (e - f).abs() <= 1e-9 * scale,
                "{}: {name}[{i}] is {f:e}, PyTorch has {e:e}",
                self.name
            );
        }
    }

    /// As [`Case::run_values`], and checks the derivatives of orders 1 and 2 there against finite differences.
    pub fn run<M, F>(&self, model: &mut M, training: bool, f: F)
    where
        M: Module<f64> + Clone,
        F: for<'t> Fn(&M, &'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
    {
        self.run_values(model, training, &f);
        // A curved function behind, so that second derivatives are not all zero.
        let inputs = self.inputs();
        check_along(
            &self.name,
            model,
            &inputs,
            training,
            Along::Random,
            |m, t, x| f(m, t, x).sin(),
        );
    }

    /// Runs `f` on the case's inputs and compares output, gradients of inputs and parameters, and new buffers.
    pub fn run_values<M, F>(&self, model: &mut M, training: bool, f: F)
    where
        M: Module<f64>,
        F: for<'t> Fn(&M, &'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
    {
        RAN.lock().unwrap().insert(self.name.clone());
        note(&COMPARED, model);
        self.load(model);
        let tape = tape(training);
        let inputs = self.inputs();
        let mut vars: Vec<Var<f64>> = inputs.iter().map(|x| tape.input(x)).collect();
        let y = f(model, &tape, &vars);
        stands_at_callers_line(model.kind(), &tape);
        self.close("out", &y.value());
        let loss = (y * tape.input(self.get("cot"))).sum();
        let mut names: Vec<String> = (0..vars.len()).map(|i| format!("grad.in.{i}")).collect();
        model.for_each_param(|path, p| {
            names.push(format!("grad.param.{path}"));
            vars.push(tape.param(p));
        });
        let gradients = grad_many(loss, &vars);
        for (name, g) in names.iter().zip(&gradients) {
            self.close(name, &g.value());
        }
        if training
            && self.tensors.keys().any(|k| k.starts_with("after."))
            && model.num_trainable() > 0
        {
            let side = loss.backward();
            model.for_each_buffer(|path, b| {
                let new = side
                    .side_output(b.id())
                    .unwrap_or_else(|| panic!("{}: no new value for buffer {path}", self.name));
                self.close(&format!("after.{path}"), new);
            });
        }
    }
}
