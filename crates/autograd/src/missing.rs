//! Why a parameter got no gradient.

use crate::float::Float;
use crate::module::{Module, Path, Visitor};
use crate::param::{Param, ParamId};
use crate::plan::Event;
use crate::var::Var;
use std::fmt;
use std::panic::Location;
use wengert_tensor::Real;

/// A parameter without a gradient, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingGradient {
    /// Path of the parameter in the model.
    pub path: String,
    /// The reason.
    pub why: WhyMissing,
}

/// Why a parameter got no gradient.
#[derive(Clone, Debug, PartialEq)]
pub enum WhyMissing {
    /// It is frozen: it entered the tape as a constant, on purpose.
    Frozen,
    /// It never entered the tape: the forward pass does not use it.
    NotOnTape,
    /// It is on the tape, but nothing that the loss depends on reads it.
    NoPath,
    /// Every path from the loss to it is cut: by `detach`, or by an operation inside a no-grad region.
    Cut {
        /// The operation where the path nearest to the loss ends.
        op: &'static str,
        /// Its source line.
        at: &'static Location<'static>,
    },
    /// Every path goes through an operation whose derivative is zero everywhere, such as rounding or a comparison.
    ZeroDerivative {
        /// The operation.
        op: &'static str,
        /// Its source line.
        at: &'static Location<'static>,
    },
}

impl fmt::Display for WhyMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyMissing::Frozen => f.write_str("frozen"),
            WhyMissing::NotOnTape => {
                f.write_str("not on the tape: the forward pass does not use it")
            }
            WhyMissing::NoPath => f.write_str("on the tape, but the loss does not depend on it"),
            WhyMissing::Cut { op, at } => {
                let how = if *op == "detach" {
                    "by"
                } else {
                    "by a no-grad region at"
                };
                write!(f, "cut off {how} {op} at {}:{}", at.file(), at.line())
            }
            WhyMissing::ZeroDerivative { op, at } => {
                write!(
                    f,
                    "the derivative of {op} at {}:{} is zero everywhere",
                    at.file(),
                    at.line()
                )
            }
        }
    }
}

impl fmt::Display for MissingGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

struct Params(Vec<(String, ParamId, bool)>);
impl<T: Real> Visitor<T> for Params {
    fn param(&mut self, path: &str, p: &Param<T>) {
        self.0.push((path.to_string(), p.id(), p.is_trainable()));
    }
}

impl<T: Float> Var<'_, T> {
    /// Parameters of a model that get no gradient from this loss, with the reason; empty if all get one.
    ///
    /// Call it before or after [`Var::backward`]; only after it are operations with a derivative that is zero everywhere
    /// found out.
    ///
    /// ```
    /// use wengert_autograd::{Param, Tape, Tensor};
    /// let model = [0, 1, 2].map(|_| Param::new(Tensor::<f64>::ones([2])));
    /// let tape = Tape::training(0);
    /// let [a, b] = [0, 1].map(|i| tape.param(&model[i]));
    /// let loss = (a * b.detach()).sum();
    /// drop(loss.backward());
    /// let missing = loss.missing_gradients(&model);
    /// assert_eq!(missing.len(), 2);
    /// assert!(missing[0].to_string().starts_with("1: cut off by detach at"));
    /// assert_eq!(missing[1].to_string(), "2: not on the tape: the forward pass does not use it");
    /// ```
    pub fn missing_gradients(self, model: &dyn Module<T>) -> Vec<MissingGradient> {
        let mut params = Params(Vec::new());
        model.visit(&mut Path::new(), &mut params);
        let g = self.tape().graph.borrow();
        let n = self.id as usize + 1;
        // What the loss depends on, and of this what gradients flow to.
        let (mut used, mut reached) = (vec![false; n], vec![false; n]);
        (used[n - 1], reached[n - 1]) = (true, true);
        for i in (0..n).rev() {
            for &a in &g.nodes[i].args {
                used[a as usize] |= used[i];
                reached[a as usize] |= reached[i] && !g.nodes[i].stop();
            }
        }
        let adjoints = g.events[..g.event]
            .iter()
            .rev()
            .find_map(|e| match e.event {
                Event::Backward(l) if l == self.id => Some(&e.results),
                _ => None,
            });
        let has = |i: usize| match adjoints {
            Some(r) => i == n - 1 || r.get(i).is_some_and(|&a| a != u32::MAX),
            None => reached[i],
        };
        let why = |id: &ParamId, trainable: bool| -> Option<WhyMissing> {
            if !trainable {
                return Some(WhyMissing::Frozen);
            }
            let Some(p) = g.param_node(*id).map(|p| p as usize).filter(|&p| p < g.len) else {
                return Some(WhyMissing::NotOnTape);
            };
            if p >= n || !used[p] {
                return Some(WhyMissing::NoPath);
            }
            if reached[p] && has(p) {
                return None;
            }
            let mut above = vec![false; n];
            above[p] = true;
            for i in p + 1..n {
                above[i] = g.nodes[i].args.iter().any(|&a| above[a as usize]);
            }
            let node = |i: usize| (g.nodes[i].op.name(), g.nodes[i].loc);
            if !reached[p] {
                let end = (p..n)
                    .rev()
                    .find(|&i| above[i] && reached[i] && g.nodes[i].stop());
                return end.map(|i| {
                    let (op, at) = node(i);
                    WhyMissing::Cut { op, at }
                });
            }
            // The last operation that has a cotangent and hands none on towards the parameter.
            let hands_on =
                |i: usize| (g.nodes[i].args.iter()).any(|&a| above[a as usize] && has(a as usize));
            let end = (p + 1..n).find(|&i| above[i] && reached[i] && has(i) && !hands_on(i));
            end.map(|i| {
                let (op, at) = node(i);
                WhyMissing::ZeroDerivative { op, at }
            })
        };
        (params.0.iter())
            .filter_map(|(path, id, trainable)| {
                Some(MissingGradient {
                    path: path.clone(),
                    why: why(id, *trainable)?,
                })
            })
            .collect()
    }
}
