//! Where a NaN or an infinity came from.

use crate::float::Float;
use crate::module::{Module, Path, Visitor};
use crate::observe::Observer;
use crate::op::NodeOp;
use crate::param::{Param, ParamId};
use crate::plan::Event;
use crate::tape::{Counters, Graph, NO_ORIGIN, Node, Tape};
use std::fmt;
use std::panic::Location;
use wengert_tensor::{Real, Tensor};

/// Shape and extremes of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Extent {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Smallest finite element (∞ if there is none).
    pub min: f64,
    /// Largest finite element (-∞ if there is none).
    pub max: f64,
    /// Number of elements that are NaN or infinite.
    pub not_finite: usize,
    /// Number of elements.
    pub numel: usize,
}

impl Extent {
    fn of<T: Real>(t: &Tensor<T>) -> Self {
        let mut e = Extent {
            shape: t.shape().to_vec(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            not_finite: 0,
            numel: t.numel(),
        };
        for x in t.iter() {
            if x.is_finite() {
                e.min = e.min.min(x.as_f64());
                e.max = e.max.max(x.as_f64());
            } else {
                e.not_finite += 1;
            }
        }
        e
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shape {:?}, minimum {:e}, maximum {:e}, {} of {} not finite",
            self.shape, self.min, self.max, self.not_finite, self.numel
        )
    }
}

/// The first operation whose output is not finite while its inputs are.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// Name of the operation.
    pub op: &'static str,
    /// For an operation of the backward pass: the forward operation whose rule recorded it.
    pub backward_of: Option<&'static str>,
    /// Index on the tape.
    pub node: u32,
    /// Names of the enclosing scopes.
    pub scope: String,
    /// Path of the parameter that the operation reads, or of the last one before it: the layer.
    pub parameter: Option<String>,
    /// The source line that recorded the (forward) operation.
    pub location: &'static Location<'static>,
    /// The output.
    pub output: Extent,
    /// The floating-point inputs.
    pub inputs: Vec<Extent>,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backward_of {
            Some(of) => write!(
                f,
                "anomaly: the backward pass of {of} made non-finite values (in {})",
                self.op
            )?,
            None => write!(f, "anomaly: {} made non-finite values", self.op)?,
        }
        if !self.scope.is_empty() {
            write!(f, " in {}", self.scope)?;
        }
        if let Some(p) = &self.parameter {
            write!(f, " near parameter {p}")?;
        }
        write!(
            f,
            ", recorded at {}:{}\n  output: {}",
            self.location.file(),
            self.location.line(),
            self.output
        )?;
        for (k, x) in self.inputs.iter().enumerate() {
            write!(f, "\n  input {k}: {x}")?;
        }
        Ok(())
    }
}

fn describe<'a, T: Float>(
    nodes: &[Node<T>],
    scopes: &[(u32, String)],
    id: u32,
    value: &impl Fn(u32) -> Option<&'a Tensor<T>>,
) -> Option<Anomaly> {
    let n = &nodes[id as usize];
    Some(Anomaly {
        op: n.op.name(),
        backward_of: (n.origin != NO_ORIGIN).then(|| nodes[n.origin as usize].op.name()),
        node: id,
        scope: scopes[n.scope as usize].1.clone(),
        parameter: None,
        location: n.loc,
        output: Extent::of(value(id)?),
        inputs: (n.args.iter())
            .filter_map(|&a| value(a).map(Extent::of))
            .collect(),
    })
}

/// The anomaly at a node whose inputs are at hand, if it is one.
pub(crate) fn of<'a, T: Float>(
    nodes: &[Node<T>],
    scopes: &[(u32, String)],
    id: u32,
    value: impl Fn(u32) -> Option<&'a Tensor<T>>,
) -> Option<Anomaly> {
    let bad = |t: &Tensor<T>| t.iter().any(|x| !x.is_finite());
    if !bad(value(id)?) {
        return None;
    }
    if (nodes[id as usize].args.iter()).any(|&a| value(a).is_some_and(bad)) {
        return None;
    }
    describe(nodes, scopes, id, &value)
}

/// The parameters of a model, in the order of their identities.
struct Values<T: Real>(Vec<(ParamId, String, Tensor<T>)>);

impl<T: Real> Values<T> {
    fn get(&self, id: &ParamId) -> Option<&(ParamId, String, Tensor<T>)> {
        let at = self.0.binary_search_by(|p| p.0.cmp(id)).ok()?;
        Some(&self.0[at])
    }
}

impl<T: Real> Visitor<T> for Values<T> {
    fn param(&mut self, path: &str, param: &Param<T>) {
        let at = self.0.partition_point(|p| p.0 <= param.id());
        let entry = (param.id(), path.to_string(), param.value().clone());
        self.0.insert(at, entry);
    }
}

impl<T: Float> Tape<T> {
    /// Runs the recorded step again, one operation at a time, and returns the first operation, forward or backward, that
    /// makes a NaN or an infinity of finite inputs; an input or a parameter that holds a NaN comes before all operations.
    /// `None` if everything is finite.
    ///
    /// This is anomaly mode after the fact: call it when a loss or a gradient turned out to be not finite, before the
    /// optimizer's step and before [`Tape::reset`]. The step is repeated bit for bit, masks included. The parameters come
    /// from `model`, whose paths the answer names; the tape is left as it was, also by a kernel that panics.
    ///
    /// ```
    /// use wengert_autograd::{Param, Tape, Tensor};
    /// let w = Param::new(Tensor::<f64>::from_vec(vec![1.0, 0.0], [2]));
    /// let tape = Tape::training(0);
    /// let grads = tape.param(&w).sqrt().sum().backward();
    /// assert!(!grads.get(&w).unwrap().get(&[1]).is_finite());
    /// let anomaly = tape.trace(&w).unwrap();
    /// assert_eq!(anomaly.backward_of, Some("sqrt"));
    /// assert_eq!((anomaly.output.not_finite, anomaly.inputs[1].min), (1, 0.0));
    /// ```
    ///
    /// # Panics
    /// When a parameter of the step is not in `model`.
    pub fn trace(&self, model: &dyn Module<T>) -> Option<Anomaly> {
        T::trace(self, model)
    }
}

/// What a trace puts aside, and the settings that it changes: put back when dropped, so also after a panic in a kernel.
struct Aside<'a, T: Float> {
    g: &'a mut Graph<T>,
    values: Vec<(usize, Option<Tensor<T>>)>,
    anomaly: bool,
    counters: Counters,
    observer: Option<Box<dyn Observer<T> + Send>>,
}

impl<'a, T: Float> Aside<'a, T> {
    fn new(g: &'a mut Graph<T>) -> Self {
        let (anomaly, counters, observer) = (g.anomaly, g.counters, g.observer.take());
        (g.anomaly, g.tracing, g.found) = (true, true, None);
        Aside {
            g,
            values: Vec::new(),
            anomaly,
            counters,
            observer,
        }
    }

    /// Sets or takes the value of a node until the end.
    fn replace(&mut self, node: usize, value: Option<Tensor<T>>) {
        self.values.push((node, self.g.values.replace(node, value)));
    }
}

impl<T: Float> Drop for Aside<'_, T> {
    fn drop(&mut self) {
        let g = &mut *self.g;
        for (i, value) in self.values.drain(..) {
            let now = g.values.replace(i, value);
            if let Some(t) = now
                && !g.nodes[i].op.is_leaf()
            {
                g.pool.give(t);
            }
        }
        (g.anomaly, g.tracing, g.counters) = (self.anomaly, false, self.counters);
        g.observer = self.observer.take();
    }
}

/// [`Tape::trace`], compiled in this crate.
pub(crate) fn trace<T: Float>(tape: &Tape<T>, model: &dyn Module<T>) -> Option<Anomaly> {
    let mut own = Values(Vec::new());
    model.visit(&mut Path::new(), &mut own);
    let g = &mut *tape.graph.borrow_mut();
    let mut targets: Vec<u32> = g
        .kept
        .iter()
        .copied()
        .chain(g.sides.iter().map(|s| s.1))
        .collect();
    for record in &g.events[..g.event] {
        match &record.event {
            Event::Value(id) => targets.push(*id),
            Event::Backward(loss) => {
                targets.push(*loss);
                let adjoints = g
                    .param_nodes
                    .iter()
                    .map(|&p| record.results.get(p as usize));
                targets.extend(adjoints.flatten().filter(|&&a| a != u32::MAX));
            }
            Event::Grad { .. } => {}
        }
    }
    targets.retain(|&t| !g.nodes[t as usize].op.is_leaf());
    // Everything is computed again: what is at hand is put aside.
    let mut aside = Aside::new(g);
    for i in 0..aside.g.len {
        let n = &aside.g.nodes[i];
        let value = match &n.op {
            NodeOp::Param(id) => {
                let Some((.., v)) = own.get(id) else {
                    panic!(
                        "trace: the parameter recorded at {}:{} is not in the model",
                        n.loc.file(),
                        n.loc.line()
                    )
                };
                Some(v.clone())
            }
            op if op.is_leaf() => continue,
            _ => None,
        };
        aside.replace(i, value);
    }
    let found = {
        let g = &mut *aside.g;
        let mut leaf = None;
        for i in 0..g.len {
            let nan = |t: &Tensor<T>| t.iter().any(|x| x.is_nan());
            if leaf.is_none() && g.nodes[i].op.is_leaf() && g.values.get(i).is_some_and(nan) {
                leaf = describe(&g.nodes, &g.scopes, i as u32, &|a| g.values.get(a as usize));
            }
        }
        if leaf.is_none() && !targets.is_empty() {
            let plan = crate::plan::traced(g, &targets);
            T::execute(g, &plan, &[]);
        }
        leaf.or_else(|| g.found.take())
    };
    drop(aside);
    let mut found = found?;
    // The layer: the parameter read here (for the backward pass, by the forward operation), or the last one before.
    let at = match g.nodes[found.node as usize].origin {
        NO_ORIGIN => found.node,
        o => o,
    };
    let of = |i: u32| match &g.nodes[i as usize].op {
        NodeOp::Param(id) => own.get(id).map(|p| p.1.clone()),
        _ => None,
    };
    let reads = (g.nodes[at as usize].args.iter()).find_map(|&a| of(a));
    found.parameter = of(at).or(reads).or_else(|| (0..at).rev().find_map(of));
    Some(found)
}
