//! Differentiation: the adjoint program is appended to the same tape.

use crate::float::Float;
use crate::gradients::Gradients;
use crate::op::small;
use crate::op::{Cotangents, NodeOp, VjpCtx};
use crate::ops::{arrange, reduce};
use crate::plan::Event;
use crate::tape::{Node, Region, Tape, copy_of};
use crate::var::Var;
use smallvec::SmallVec;
use std::sync::Arc;
use wengert_tensor::list::Listed;
use wengert_tensor::order::order;

/// Appends the cotangents of everything that `roots` depend on and that `depends` marks. Returns the adjoint of every
/// node up to the last root.
pub(crate) fn differentiate<'t, T: Float>(
    tape: &'t Tape<T>,
    roots: &[(u32, u32)],
    depends: &[bool],
) -> Vec<Option<u32>> {
    let last = roots.iter().map(|r| r.0).max().unwrap_or(0) as usize;
    let mut adjoint: Vec<Option<u32>> = vec![None; last + 1];
    for &(root, seed) in roots {
        let slot = &mut adjoint[root as usize];
        *slot = Some(match *slot {
            Some(a) => (Var::new(tape, a) + Var::new(tape, seed)).id,
            None => seed,
        });
    }
    let has_hooks = !tape.graph.borrow().hooks.is_empty();
    let region = Region::enter(tape);
    let before = tape.graph.borrow().origin;
    // The checkpointed stretch whose values are at hand again, and the copies of its nodes.
    let mut stretch = 0;
    let mut copies = Vec::new();
    for i in (0..=last).rev() {
        let Some(mut cotangent) = adjoint[i] else {
            continue;
        };
        if !depends[i] {
            continue;
        }
        if has_hooks {
            let hooks = tape.graph.borrow().hooks.of(i as u32);
            for hook in hooks {
                cotangent = hook(Var::new(tape, cotangent)).id;
            }
            adjoint[i] = Some(cotangent);
        }
        let first = {
            let g = tape.graph.borrow();
            let n = &g.nodes[i];
            n.copy().then_some(n.origin)
        };
        if let Some(first) = first.filter(|&f| depends[f as usize]) {
            // The value is that of the node which it computes once more, and so is the derivative.
            let slot = &mut adjoint[first as usize];
            *slot = Some(match *slot {
                Some(a) => (Var::new(tape, a) + Var::new(tape, cotangent)).id,
                None => cotangent,
            });
            continue;
        }
        let (op, args, shapes, needs) = {
            let mut g = tape.graph.borrow_mut();
            let n = &g.nodes[i];
            if n.op.is_leaf() || n.stop() {
                continue;
            }
            let args: SmallVec<[u32; 4]> = n.args.clone();
            let needs: SmallVec<[bool; 4]> = n.args.iter().map(|&a| depends[a as usize]).listed();
            if !needs.contains(&true) {
                continue;
            }
            let shapes: SmallVec<[_; 3]> = n.args.iter().map(|&a| g.shape(a).clone()).listed();
            let op = n.op.clone();
            let (loc, own) = (n.loc, n.stretch);
            if own != stretch {
                stretch = own;
                copies = match own {
                    0 => Vec::new(),
                    s => g.record_again(s, i as u32),
                };
            }
            g.origin = Some((loc, i as u32));
            (op, args, shapes, needs)
        };
        let at_hand = |id: u32| Var::new(tape, copy_of(&copies, id));
        let vars: SmallVec<[Var<'t, T>; 12]> = args.iter().map(|&a| at_hand(a)).listed();
        let (out, ct) = (at_hand(i as u32), Var::new(tape, cotangent));
        #[cfg(not(feature = "mutation"))]
        let mut cts = vjp(&op, &vars, out, ct, &needs);
        #[cfg(feature = "mutation")]
        let mut cts = crate::mutation::rule(crate::mutation::name(&op), || {
            vjp(&op, &vars, out, ct, &needs)
        });
        assert!(
            cts.len() == args.len(),
            "{}: the rule returned {} cotangents for {} inputs (recorded at {})",
            op.name(),
            cts.len(),
            args.len(),
            place(tape, i)
        );
        #[cfg(feature = "mutation")]
        crate::mutation::disturb(crate::mutation::name(&op), &mut cts);
        for (k, ct) in cts.drain(..).enumerate() {
            let Some(mut ct) = ct else { continue };
            if !needs[k] {
                continue;
            }
            let shape = &shapes[k];
            if ct.shape() != *shape {
                if op.is_elementwise() {
                    ct = reduce::sum_to(ct, shape);
                } else {
                    panic!(
                        "{}: the rule returned a cotangent of shape {:?} for input {k} of shape {:?} (recorded at {})",
                        op.name(),
                        ct.shape().as_slice(),
                        shape.as_slice(),
                        place(tape, i)
                    );
                }
            }
            let slot = &mut adjoint[args[k] as usize];
            *slot = Some(match *slot {
                Some(a) => arrange::sum(Var::new(tape, a), ct).id,
                None => ct.id,
            });
        }
        tape.graph.borrow_mut().origin = before;
    }
    drop(region);
    adjoint
}

/// Source line of a node.
fn place<T: Float>(tape: &Tape<T>, node: usize) -> String {
    let g = tape.graph.borrow();
    let loc = g.nodes[node].loc;
    format!("{}:{}", loc.file(), loc.line())
}

fn vjp<'t, T: Float>(
    op: &NodeOp<T>,
    args: &[Var<'t, T>],
    out: Var<'t, T>,
    ct: Var<'t, T>,
    needs: &[bool],
) -> Cotangents<'t, T> {
    match op {
        NodeOp::Elem(e, imm) => e.vjp(*imm, args, out, ct, needs),
        NodeOp::Reduce(kind, set, keep) => {
            small![reduce::vjp(*kind, *set, *keep, args[0], out, ct)]
        }
        NodeOp::Op(o) => {
            let o = Arc::clone(o);
            o.vjp(&VjpCtx {
                inputs: args,
                output: out,
                cotangent: ct,
                needs,
            })
        }
        _ => Cotangents::new(),
    }
}

/// Which nodes depend on `wrt`, up to and including `last`.
pub(crate) fn dependents<T: Float>(tape: &Tape<T>, wrt: &[u32], last: u32) -> Vec<bool> {
    let g = tape.graph.borrow();
    let mut depends = vec![false; g.len.max(last as usize + 1)];
    for &w in wrt {
        depends[w as usize] = true;
    }
    for i in 0..=last as usize {
        let n = &g.nodes[i];
        if depends[i] {
            continue;
        }
        depends[i] = match n.copy() {
            true => depends[n.origin as usize],
            false => !n.stop() && n.args.iter().any(|&a| depends[a as usize]),
        };
    }
    depends
}

/// Vector-Jacobian product: for `outputs` with `cotangents`, the cotangent of each of `wrt`, as `Var`s that can be
/// differentiated again. Zeros where an output does not depend on an input.
///
/// # Panics
/// When a cotangent has another shape than its output.
#[track_caller]
pub fn vjp_many<'t, T: Float>(
    outputs: &[Var<'t, T>],
    cotangents: &[Var<'t, T>],
    wrt: &[Var<'t, T>],
) -> Vec<Var<'t, T>> {
    T::vjp(outputs, cotangents, wrt)
}

/// See [`vjp_many`].
#[track_caller]
pub(crate) fn differentiate_outputs<'t, T: Float>(
    outputs: &[Var<'t, T>],
    cotangents: &[Var<'t, T>],
    wrt: &[Var<'t, T>],
) -> Vec<Var<'t, T>> {
    assert!(
        outputs.len() == cotangents.len() && !outputs.is_empty(),
        "vjp: expected as many cotangents as outputs and at least one, found {} and {}",
        cotangents.len(),
        outputs.len()
    );
    let tape = outputs[0].tape();
    for v in outputs.iter().chain(cotangents).chain(wrt) {
        tape.check_tape(v, "grad");
    }
    for (y, c) in outputs.iter().zip(cotangents) {
        assert!(
            y.shape() == c.shape(),
            "vjp: expected a cotangent of shape {:?}, found {:?}",
            y.shape().as_slice(),
            c.shape().as_slice()
        );
    }
    let event = {
        let g = tape.graph.borrow();
        Event::Grad {
            roots: outputs.iter().chain(cotangents).map(|v| v.id).listed(),
            wrt: wrt.iter().map(|v| v.id).listed(),
            no_grad: g.no_grad > 0,
            stretch: g.stretch,
            scope: g.scope,
            origin: g.origin,
        }
    };
    {
        let mut g = tape.graph.borrow_mut();
        g.refuse_if_spent("grad");
        if g.repeats(&event) {
            let at = g.event;
            g.step_over(at);
            g.event += 1;
            return g.events[at]
                .results
                .iter()
                .map(|&id| Var::new(tape, id))
                .collect();
        }
        if g.replaying {
            g.diverge();
        }
    }
    let before = tape.len();
    let ids: SmallVec<[u32; 4]> = wrt.iter().map(|v| v.id).listed();
    let last = outputs.iter().map(|v| v.id).max().unwrap_or(0);
    let depends = dependents(tape, &ids, last);
    let roots: Vec<_> = outputs
        .iter()
        .zip(cotangents)
        .map(|(y, c)| (y.id, c.id))
        .collect();
    let mut adjoint = T::differentiate(tape, &roots, &depends);
    separate(tape, &mut adjoint, &ids);
    let mut results: Vec<Var<'t, T>> = Vec::with_capacity(wrt.len());
    for w in wrt {
        results.push(match adjoint.get(w.id as usize).copied().flatten() {
            Some(a) => Var::new(tape, a),
            None => tape.zeros(w.shape()),
        });
    }
    let mut g = tape.graph.borrow_mut();
    let ids = results.iter().map(|v| v.id).collect();
    g.record_event(event, before, ids);
    results
}

/// Several inputs may have one adjoint, as those of a sum: each gets a variable of its own.
#[track_caller]
fn separate<T: Float>(tape: &Tape<T>, adjoint: &mut [Option<u32>], wrt: &[u32]) {
    let of = |w: u32| Some((adjoint.get(w as usize).copied()??, w));
    let pairs: Vec<(u32, u32)> = wrt.iter().filter_map(|&w| of(w)).collect();
    let order = order(pairs.len(), &|a, b| pairs[a].cmp(&pairs[b]));
    let mut pairs: Vec<(u32, u32)> = order.into_iter().map(|i| pairs[i]).collect();
    pairs.dedup();
    for shared in pairs.chunk_by(|x, y| x.0 == y.0).filter(|s| s.len() > 1) {
        for &(a, w) in shared {
            adjoint[w as usize] = Some(Var::new(tape, a).apart().id);
        }
    }
}

/// Gradient of a scalar with respect to each of `wrt`, as `Var`s on the same tape, to be differentiated again at will.
/// Spends nothing. Zeros where the loss does not depend on an input. The gradients for two inputs are two variables, also where
/// they are one value.
///
/// ```
/// use wengert_autograd::{Tape, Tensor, grad};
/// let tape = Tape::<f64>::inference();
/// let x = tape.input(&Tensor::scalar(2.0));
/// let [g] = grad(x.powi(3), [x]); // 3 x²
/// let [h] = grad(g, [x]); // 6 x
/// let [t] = grad(h, [x]);
/// assert_eq!((g.item(), h.item(), t.item()), (12.0, 12.0, 6.0));
/// ```
///
/// # Panics
/// When `loss` has more than one element (use [`vjp`](crate::vjp) with a cotangent).
#[track_caller]
pub fn grad<'t, T: Float, const N: usize>(
    loss: Var<'t, T>,
    wrt: [Var<'t, T>; N],
) -> [Var<'t, T>; N] {
    let g = grad_many(loss, &wrt);
    std::array::from_fn(|i| g[i])
}

/// As [`grad`], for any number of inputs.
#[track_caller]
pub fn grad_many<'t, T: Float>(loss: Var<'t, T>, wrt: &[Var<'t, T>]) -> Vec<Var<'t, T>> {
    require_scalar(&loss, "grad");
    let seed = loss.tape().ones(loss.shape());
    vjp_many(&[loss], &[seed], wrt)
}

#[track_caller]
fn require_scalar<T: Float>(loss: &Var<'_, T>, op: &str) {
    assert!(
        loss.numel() == 1,
        "{op}: expected a loss of one element, found shape {:?}; reduce it with `.sum()` or `.mean()`, or pass a \
         cotangent with `vjp`",
        loss.shape().as_slice()
    );
}

impl<T: Float> Var<'_, T> {
    /// Evaluates the loss and the gradients of all trainable parameters as one program, and spends the tape: values are
    /// released at their last use, and the parameters are let go, so that the optimizer updates them in place.
    ///
    /// A parameter without a part in the loss has no entry in the result.
    ///
    /// # Panics
    /// When the loss has more than one element, no parameter has a part in it, or the tape is spent.
    #[track_caller]
    pub fn backward(self) -> Gradients<T> {
        T::backward(self)
    }
}

/// See [`Var::backward`].
#[track_caller]
pub(crate) fn backward<T: Float>(loss: Var<'_, T>) -> Gradients<T> {
    require_scalar(&loss, "backward");
    let tape = loss.tape();
    let event = Event::Backward(loss.id);
    let repeats = {
        let g = tape.graph.borrow();
        g.refuse_if_spent("backward");
        assert!(
            g.no_grad == 0,
            "backward: called inside a no_grad region, where no gradient flows"
        );
        assert!(
            g.nodes[loss.id as usize].tracked(),
            "backward: no trainable parameter has a part in this loss (recorded at {}:{}); parameters enter with \
                 `tape.param`, and `grad` differentiates with respect to any value",
            g.nodes[loss.id as usize].loc.file(),
            g.nodes[loss.id as usize].loc.line()
        );
        g.repeats(&event)
    };
    if !repeats {
        let before = {
            let mut g = tape.graph.borrow_mut();
            if g.replaying {
                g.diverge();
            }
            g.len
        };
        let depends: Vec<bool> = {
            let g = tape.graph.borrow();
            g.nodes[..g.len].iter().map(Node::tracked).collect()
        };
        let seed = tape.ones(loss.shape());
        let adjoint = T::differentiate(tape, &[(loss.id, seed.id)], &depends);
        let mut g = tape.graph.borrow_mut();
        let results = adjoint.iter().map(|a| a.unwrap_or(u32::MAX)).collect();
        g.record_event(event.clone(), before, results);
        g.event -= 1;
    }
    tape.graph.borrow_mut().run_backward(&event)
}
