//! One recorded function over a batch of examples, without a loop: `vmap`.
//!
//! Recording computes nothing, so the function is recorded once on stand-ins that have the shape of one example and no
//! value. Then every node that depends on a stand-in is recorded again with a leading batch axis: elementwise operations
//! and reductions by their shapes, an operation with a kernel of its own by [`Op::batch`], and one without such a rule by
//! running its kernel for one example after the other inside one node ([`Mapped`]). So every operation can be batched,
//! those of other crates too, and the number of nodes does not depend on the size of the batch.

use crate::float::Float;
use crate::op::{Cotangents, ForwardCtx, NodeOp, Op, Operand, VjpCtx, shape_error};
use crate::tape::{Region, Tape};
use crate::var::Var;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use wengert_tensor::list::Listed;
use wengert_tensor::{Dims, Result, Tensor, parallel};

/// What [`Op::batch`] gets: the operands, some of which carry a leading batch axis.
pub struct BatchCtx<'t, 'a, T: Float> {
    inputs: &'a [Var<'t, T>],
    batched: &'a [bool],
    size: usize,
}

impl<'t, T: Float> BatchCtx<'t, '_, T> {
    /// Operand `i`: with a leading batch axis if it is batched, else as the operation was recorded.
    pub fn input(&self, i: usize) -> Var<'t, T> {
        self.inputs[i]
    }

    /// Number of operands.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Whether operand `i` has a batch axis; at least one has.
    pub fn batched(&self, i: usize) -> bool {
        self.batched[i]
    }

    /// Size of the batch axis.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Operand `i` with a batch axis, stretched where it has none of its own.
    #[track_caller]
    pub fn lifted(&self, i: usize) -> Var<'t, T> {
        if self.batched[i] {
            self.inputs[i]
        } else {
            stretch(self.inputs[i], self.size)
        }
    }

    /// A shape with the batch axis before it.
    pub fn shape(&self, example: &[usize]) -> Dims {
        lead(self.size, example)
    }
}

fn lead(size: usize, example: &[usize]) -> Dims {
    let mut s = Dims::from_slice(&[size]);
    s.extend_from_slice(example);
    s
}

#[track_caller]
fn stretch<T: Float>(x: Var<'_, T>, size: usize) -> Var<'_, T> {
    x.broadcast_to(lead(size, &x.shape()))
}

/// Puts axes of size 1 behind the batch axis, so that the example has `rank` axes.
#[track_caller]
pub(crate) fn align<T: Float>(x: Var<'_, T>, rank: usize) -> Var<'_, T> {
    let s = x.shape();
    if s.len() == rank + 1 {
        return x;
    }
    let mut to = Dims::from_slice(&s[..1]);
    to.extend(std::iter::repeat_n(1, rank + 1 - s.len()));
    to.extend_from_slice(&s[1..]);
    x.reshape(to)
}

/// One example of a batch: a shape without a value.
#[derive(Debug, PartialEq)]
struct Example;

const NO_VALUE: &str = "vmap: an argument of the mapped function stands for every example of the batch and has no value \
                        of its own; return what is to be computed from the function";

impl<T: Float> Op<T> for Example {
    fn name(&self) -> &'static str {
        "vmap_example"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(&inputs[0][1..]))
    }
    fn forward(&self, _: &mut ForwardCtx<'_, T>) {
        panic!("{NO_VALUE}");
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let size = ctx.input(0).shape()[0];
        let back = ctx.cotangent().apply(ExampleAdjoint { size });
        [Some(back)].into_iter().listed()
    }
}

/// The cotangent of a batch from that of one of its examples: zero for all others.
#[derive(Debug, PartialEq)]
struct ExampleAdjoint {
    size: usize,
}
impl<T: Float> Op<T> for ExampleAdjoint {
    fn name(&self) -> &'static str {
        "vmap_example_adjoint"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(lead(self.size, inputs[0]))
    }
    fn forward(&self, _: &mut ForwardCtx<'_, T>) {
        panic!("{NO_VALUE}");
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        [Some(ctx.cotangent().apply(Example))].into_iter().listed()
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        // Row i of the batch of batches holds example i's cotangent at place i.
        let c = ctx.input(0);
        if self.size != ctx.size() {
            panic!(
                "vmap: a gradient with respect to a batch of {} inside a batch of {}",
                self.size,
                ctx.size()
            );
        }
        let mut one = Dims::from_slice(&[self.size, self.size]);
        one.extend(std::iter::repeat_n(1, c.rank() - 1));
        Some(c.unsqueeze(1).mask(c.tape().eye(self.size).reshape(one)))
    }
}

/// An operation without a batching rule, run for one example after the other.
struct Mapped<T: Float> {
    op: Arc<dyn Op<T>>,
    batched: SmallVec<[bool; 4]>,
    size: usize,
}

impl<T: Float> fmt::Debug for Mapped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({:?})", self.op)
    }
}

impl<T: Float> PartialEq for Mapped<T> {
    fn eq(&self, other: &Self) -> bool {
        self.batched == other.batched
            && self.size == other.size
            && self.op.dyn_eq((*other.op).as_any())
    }
}

impl<T: Float> Mapped<T> {
    fn examples<'a>(&self, inputs: &[&'a [usize]]) -> SmallVec<[&'a [usize]; 4]> {
        (inputs.iter().zip(&self.batched))
            .map(|(s, &b)| if b { &s[1..] } else { s })
            .listed()
    }
}

impl<T: Float> Op<T> for Mapped<T> {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(lead(self.size, &self.op.shape(&self.examples(inputs))?))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let shape = &ctx.shape()[1..];
        let (key, inputs) = (ctx.key, ctx.inputs);
        let numel: usize = shape.iter().product();
        if numel == 0 {
            return;
        }
        parallel::chunks_mut(ctx.output(), numel, |i, output| {
            let own: SmallVec<[Option<Tensor<T>>; 4]> = (inputs.iter().zip(&self.batched))
                .map(|(x, &b)| match x {
                    Operand::Float(t) if b => {
                        let mut layout = t.layout().slice(0, i, 1, 1);
                        layout.shape.remove(0);
                        layout.strides.remove(0);
                        t.with_layout(layout).ok()
                    }
                    _ => None,
                })
                .listed();
            let inputs: SmallVec<[Operand<'_, T>; 4]> = (inputs.iter().zip(&own))
                .map(|(x, o)| o.as_ref().map_or(*x, Operand::Float))
                .listed();
            self.op.forward(&mut ForwardCtx {
                tail: Default::default(),
                watched: false,
                finite: false,
                inputs: &inputs,
                output,
                shape,
                key,
            });
        });
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        // The operation's own rule, recorded for one example and batched.
        let tape = ctx.cotangent().tape();
        let mut batch = Batch::new(tape, self.size);
        let inputs: SmallVec<[Var<'t, T>; 12]> = (ctx.inputs().iter().zip(&self.batched))
            .map(|(&x, &b)| if b { batch.example(x) } else { x })
            .listed();
        let (output, cotangent) = (batch.example(ctx.output()), batch.example(ctx.cotangent()));
        let cts = self.op.vjp(&VjpCtx {
            inputs: &inputs,
            output,
            cotangent,
            needs: ctx.needs,
        });
        assert!(
            cts.len() == inputs.len(),
            "{}: the rule returned {} cotangents for {} inputs",
            self.op.name(),
            cts.len(),
            inputs.len()
        );
        let wanted: SmallVec<[Var<'t, T>; 12]> = cts.iter().flatten().copied().listed();
        let mut done = batch.run(&wanted).into_iter();
        (cts.iter().zip(&self.batched))
            .map(|(ct, &b)| {
                let ct = ct.and_then(|_| done.next())?;
                Some(if b { ct } else { ct.sum_dim([0], false) })
            })
            .listed()
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        self.size as u64 * self.op.flops(&self.examples(inputs), &output[1..])
    }
}

/// The stretch of a recording that is being batched.
pub(crate) struct Batch<'t, T: Float> {
    tape: &'t Tape<T>,
    size: usize,
    /// Nodes before this one do not depend on a stand-in.
    first: usize,
    /// Nodes of one example and their batched ones, in order.
    nodes: Vec<(u32, u32)>,
}

impl<'t, T: Float> Batch<'t, T> {
    pub fn new(tape: &'t Tape<T>, size: usize) -> Self {
        Batch {
            tape,
            size,
            first: tape.len(),
            nodes: Vec::new(),
        }
    }

    /// A stand-in for one example of `x`, which carries the batch axis.
    #[track_caller]
    pub fn example(&mut self, x: Var<'t, T>) -> Var<'t, T> {
        // It has no value that could be computed again: never part of a checkpointed stretch.
        let region = Region::enter(self.tape);
        self.tape.graph.borrow_mut().stretch = 0;
        let one = x.apply(Example);
        drop(region);
        self.nodes.push((one.id, x.id));
        one
    }

    /// The batched node of a node of one example.
    fn batched(&self, id: u32) -> Option<u32> {
        let at = self.nodes.binary_search_by(|n| n.0.cmp(&id)).ok()?;
        Some(self.nodes[at].1)
    }

    /// Records all that `outputs` need of the examples with a batch axis, and returns the outputs with one.
    #[track_caller]
    pub fn run(mut self, outputs: &[Var<'t, T>]) -> Vec<Var<'t, T>> {
        let (first, tape) = (self.first, self.tape);
        // What depends on a stand-in, and of this what the outputs need.
        let order: Vec<u32> = {
            let g = tape.graph.borrow();
            let last = outputs.iter().map(|y| y.id as usize + 1).max().unwrap_or(0);
            let mut batched = vec![false; last.saturating_sub(first)];
            let at = |id: u32| (id as usize).checked_sub(first);
            for i in first..last {
                batched[i - first] = self.batched(i as u32).is_some()
                    || (g.nodes[i].args.iter()).any(|&a| at(a).is_some_and(|a| batched[a]));
            }
            let mut needed = vec![false; batched.len()];
            for y in outputs {
                if let Some(i) = at(y.id) {
                    needed[i] = true;
                }
            }
            for i in (first..last).rev() {
                if needed[i - first] && self.batched(i as u32).is_none() {
                    for &a in &g.nodes[i].args {
                        if let Some(a) = at(a) {
                            needed[a] = true;
                        }
                    }
                }
            }
            (first..last)
                .filter(|&i| needed[i - first] && batched[i - first])
                .map(|i| i as u32)
                .filter(|&i| self.batched(i).is_none())
                .collect()
        };
        for i in order {
            self.node(i);
        }
        {
            let mut g = tape.graph.borrow_mut();
            for &(one, batched) in &self.nodes {
                g.hooks.batch(one, batched);
            }
        }
        (outputs.iter())
            .map(|y| match self.batched(y.id) {
                Some(b) => Var::new(tape, b),
                None => stretch(*y, self.size),
            })
            .collect()
    }

    /// Records node `i` with a batch axis, under its own name, line and region.
    #[track_caller]
    fn node(&mut self, i: u32) {
        let tape = self.tape;
        let region = Region::enter(tape);
        let (op, args, shape) = {
            let mut g = tape.graph.borrow_mut();
            let n = &g.nodes[i as usize];
            let (op, args, shape) = (n.op.clone(), n.args.clone(), g.shape(i).clone());
            let (place, scope, stop) = ((n.loc, n.origin), n.scope, n.stop());
            g.origin = Some(place);
            (g.scope, g.no_grad) = (scope, g.no_grad + u32::from(stop));
            (op, args, shape)
        };
        let batched: SmallVec<[bool; 4]> =
            (args.iter()).map(|&a| self.batched(a).is_some()).listed();
        let inputs: SmallVec<[Var<'t, T>; 12]> = (args.iter())
            .map(|&a| Var::new(tape, self.batched(a).unwrap_or(a)))
            .listed();
        let y = match op {
            NodeOp::Elem(..) => {
                let aligned: SmallVec<[Var<'t, T>; 12]> = (inputs.iter().zip(&batched))
                    .map(|(&x, &b)| if b { align(x, shape.len()) } else { x })
                    .listed();
                tape.record(&op, &aligned)
            }
            NodeOp::Reduce(kind, set, keep) => inputs[0].reduce(kind, set << 1, keep),
            NodeOp::Op(op) => {
                let ctx = BatchCtx {
                    inputs: &inputs,
                    batched: &batched,
                    size: self.size,
                };
                op.batch(&ctx).unwrap_or_else(|| {
                    let mapped = Mapped {
                        op: Arc::clone(&op),
                        batched: batched.clone(),
                        size: self.size,
                    };
                    tape.apply(mapped, &inputs)
                })
            }
            _ => unreachable!("a node without operands depends on no example"),
        };
        drop(region);
        {
            let g = tape.graph.borrow();
            let (found, name) = (g.shape(y.id), g.nodes[i as usize].op.name());
            assert!(
                *found == lead(self.size, &shape),
                "{name}: the batching rule gave shape {:?} for a batch of {} of shape {:?}",
                found.as_slice(),
                self.size,
                shape.as_slice()
            );
        }
        self.nodes.push((i, y.id));
    }
}

/// A function of one example, over a batch: every input and the result have the batch as axis 0.
///
/// The function is recorded once, and the recording is given a batch axis; there is no loop over examples, and the
/// number of nodes does not depend on their number. What the function reads from outside is the same for all examples.
/// Every operation can be batched, [`custom_grad`](crate::custom_grad) and operations of other crates included, and so
/// can differentiation: `vmap` of `grad` gives gradients by example. Random numbers that the function draws are the same
/// for all examples. To map over another axis, bring it to the front with `movedim`.
///
/// ```
/// use wengert_autograd::{Tape, Tensor, grad, vmap};
/// let tape = Tape::<f64>::inference();
/// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]));
/// let w = tape.input(&Tensor::from_vec(vec![0.5, -1.0], [2]));
/// // The gradient of (w·x)² for w, for each row x: 2 (w·x) x.
/// let g = vmap(|[x]| grad((w * x).sum().square(), [w])[0], [x]);
/// assert_eq!(g.value().to_vec(), [-3.0, -6.0, -15.0, -20.0]);
/// ```
///
/// # Panics
/// When there is no input, an input has rank 0, or their first axes differ in size; and when the function asks for a value
/// of its arguments.
#[track_caller]
pub fn vmap<'t, T: Float, const N: usize>(
    f: impl FnOnce([Var<'t, T>; N]) -> Var<'t, T>,
    inputs: [Var<'t, T>; N],
) -> Var<'t, T> {
    vmap_many(|v| vec![f(std::array::from_fn(|i| v[i]))], &inputs)[0]
}

/// As [`vmap`], for any number of inputs and results.
#[track_caller]
pub fn vmap_many<'t, T: Float>(
    f: impl FnOnce(&[Var<'t, T>]) -> Vec<Var<'t, T>>,
    inputs: &[Var<'t, T>],
) -> Vec<Var<'t, T>> {
    let size = match batch_size(inputs) {
        Ok(n) => n,
        Err(e) => panic!("{e}"),
    };
    let mut batch = Batch::new(inputs[0].tape(), size);
    let examples: Vec<_> = inputs.iter().map(|&x| batch.example(x)).collect();
    let outputs = f(&examples);
    batch.run(&outputs)
}

fn batch_size<T: Float>(inputs: &[Var<'_, T>]) -> Result<usize> {
    let shapes: Vec<Dims> = inputs.iter().map(Var::shape).collect();
    match shapes.first().and_then(|s| s.first()) {
        Some(&n) if shapes.iter().all(|s| s.first() == Some(&n)) => Ok(n),
        _ => Err(shape_error(
            "vmap",
            format!(
                "expected inputs with a common first axis, found shapes {:?}",
                shapes.iter().map(|s| s.as_slice()).collect::<Vec<_>>()
            ),
        )),
    }
}
