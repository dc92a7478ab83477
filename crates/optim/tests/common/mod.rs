//! What the test programs share.
#![allow(dead_code)]

use std::collections::BTreeMap;
use wengert_autograd::{Gradients, Module, Param, Path, Real, Tensor, Visitor, VisitorMut};
use wengert_optim::{Error, Optimizer, rule::Rule};

/// The generator of the reference script.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn tensor<T: Real>(&mut self, shape: &[usize], scale: f64) -> Tensor<T> {
        Tensor::from_fn(shape, |_| T::from_f64(self.next() * scale))
    }
}

/// A model of named parameters.
#[derive(Clone)]
pub struct Params<T: Real = f64>(pub Vec<(String, Param<T>)>);

impl<T: Real> Module<T> for Params<T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        for (name, p) in &self.0 {
            path.scoped(name, |path| p.visit(path, visitor));
        }
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        for (name, p) in &mut self.0 {
            path.scoped(name, |path| p.visit_mut(path, visitor));
        }
    }
}

impl<T: Real> Params<T> {
    pub fn values(&self) -> Vec<T> {
        self.0
            .iter()
            .flat_map(|(_, p)| p.value().to_vec())
            .collect()
    }
}

pub const SHAPES: [&[usize]; 4] = [&[3, 2], &[4], &[], &[0, 3]];
pub const NAMES: [&str; 4] = ["fc.weight", "fc.bias", "gain", "none"];
pub const STEPS: usize = 20;

/// The model of the reference script.
pub fn start<T: Real>() -> Params<T> {
    start_with(&SHAPES)
}

/// A model of other shapes.
pub fn start_with<T: Real>(shapes: &[&[usize]]) -> Params<T> {
    let mut r = Lcg(1);
    Params(
        shapes
            .iter()
            .zip(NAMES)
            .map(|(s, n)| (n.to_string(), Param::new(r.tensor(s, 1.0))))
            .collect(),
    )
}

/// The gradients of the reference script, for step 1 and on.
pub struct Grads {
    lcg: Lcg,
    t: usize,
    full: bool,
}

impl Grads {
    /// With `full`, every parameter has a gradient at every step.
    pub fn new(full: bool) -> Self {
        Grads {
            lcg: Lcg(2),
            t: 0,
            full,
        }
    }

    pub fn next<T: Real>(&mut self, model: &Params<T>) -> Gradients<T> {
        let t = self.t;
        self.t += 1;
        let scale = if t != 6 { 1.0 } else { 30.0 };
        let mut entries = Vec::new();
        for (k, (_, p)) in model.0.iter().enumerate() {
            let g = self.lcg.tensor(p.shape(), scale);
            if self.full || !(k == 1 && (t == 2 || t == 9)) {
                entries.push((p.id(), g));
            }
        }
        Gradients::from_parts(T::ZERO, entries, vec![])
    }
}

/// Cases of a reference file: name, then step, then values.
pub fn reference(text: &str) -> BTreeMap<String, BTreeMap<usize, Vec<f64>>> {
    let mut cases: BTreeMap<String, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_string();
        let step = words.next().unwrap().parse().unwrap();
        let values = words.map(|w| w.parse().unwrap()).collect();
        cases.entry(name).or_default().insert(step, values);
    }
    cases
}

/// Something that steps the reference model.
pub trait Steps<T: Real> {
    fn step_dyn(&mut self, model: &mut Params<T>, grads: &Gradients<T>) -> Result<(), Error>;
}

impl<R: Rule, T: Real> Steps<T> for Optimizer<R, T> {
    fn step_dyn(&mut self, model: &mut Params<T>, grads: &Gradients<T>) -> Result<(), Error> {
        self.try_step(model, grads).map(|_| ())
    }
}

/// Largest difference relative to `max(1, |b|)`.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let d = (a - b).abs() / b.abs().max(1.0);
            if d.is_nan() { f64::INFINITY } else { d }
        })
        .fold(0.0, f64::max)
}
