//! What the instructions record.

use crate::program::Inst;
use crate::run::{FAIL, Run, data, numbers, text};
use std::sync::atomic::Ordering;
use wengert_autograd::ops::attention::Attention;
use wengert_autograd::ops::conv::ConvOptions;
use wengert_autograd::ops::pad::Pad;
use wengert_autograd::ops::pool::Divisor;
use wengert_autograd::ops::recurrent::Recurrence;
use wengert_autograd::{
    Cotangents, Dims, Float, ForwardCtx, Op, Result, Tensor, Var, VjpCtx, custom_grad,
    custom_grad_with, grad,
};

/// The identity, or a panic.
#[derive(Debug, PartialEq)]
pub struct Flaky;
impl<T: Float> Op<T> for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        assert!(!FAIL.load(Ordering::SeqCst), "as told");
        ctx.input(0).copy_into(ctx.output());
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        [Some(ctx.cotangent())].into_iter().collect()
    }
}

/// The operand times a number, with rules that record all kinds of things.
#[derive(Debug, PartialEq)]
struct Own {
    factor: u64,
    rule: u8,
}
impl<T: Float> Op<T> for Own {
    fn name(&self) -> &'static str {
        "own"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let c = T::from_f64(f64::from_bits(self.factor));
        for (y, x) in ctx.output().iter_mut().zip(x.iter()) {
            *y = x * c;
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (g, tape) = (ctx.cotangent(), ctx.cotangent().tape());
        let c = f64::from_bits(self.factor);
        let g = match self.rule {
            0 => g * c,
            1 => g * tape.input(&Tensor::full(g.shape(), T::from_f64(c))),
            2 => g * c + tape.uniform(g.shape(), 0.0, 0.1),
            _ => tape.checkpoint(|| (g * c).tanh()),
        };
        [Some(g)].into_iter().collect()
    }
}

fn custom<'t, T: Float>(i: &Inst, x: Var<'t, T>) -> Var<'t, T> {
    fn list<'t, T: Float>(v: Var<'t, T>) -> Cotangents<'t, T> {
        [Some(v)].into_iter().collect()
    }
    let c = i.c;
    let forward = |[x]: [Var<'t, T>; 1]| x.square();
    match i.k % 8 {
        0 => custom_grad_with(c.to_bits(), [x], forward, |c, ctx| {
            list(ctx.cotangent() * ctx.input(0) * f64::from_bits(*c))
        }),
        1 => custom_grad([x], forward, |ctx| {
            let g = ctx.cotangent();
            list(g + g.tape().normal(g.shape(), 0.0, 0.1))
        }),
        2 => custom_grad([x], forward, |ctx| {
            let g = ctx.cotangent();
            list(g * g.tape().input(&Tensor::ones(g.shape())))
        }),
        3 => custom_grad([x], forward, |ctx| {
            let g = ctx.cotangent();
            list(g.tape().checkpoint(|| (g * 0.5).tanh()))
        }),
        4 => custom_grad([x], forward, |ctx| {
            let x = ctx.input(0);
            let g = grad((x.sin() * ctx.cotangent().detach()).sum(), [x]);
            list(g[0])
        }),
        5 => custom_grad([x], forward, move |ctx| list(ctx.cotangent() * c)),
        6 => custom_grad([x], forward, |ctx| {
            let m = ctx.cotangent() * 0.5;
            m.hook(|g| g * 3.0);
            list(m)
        }),
        _ => custom_grad([x], forward, |ctx| {
            let flat = ctx.cotangent().flatten(0, -1);
            let places = Tensor::from_vec((0..flat.numel() as i64).rev().collect(), [flat.numel()]);
            list(
                flat.index_select(0, &places)
                    .reshape(ctx.cotangent().shape()),
            )
        }),
    }
}

/// The first elements, as a value of another shape; from an input where there are too few.
fn cut<'t, T: Float>(run: &Run<'t, '_, T>, x: Var<'t, T>, shape: &[usize]) -> Var<'t, T> {
    let n: usize = shape.iter().product();
    match x.numel() >= n {
        true => x.flatten(0, -1).narrow(0, 0, n).reshape(shape),
        false => run.tape.input(&data(shape, run.data + 5)),
    }
}

fn hook<T: Float>(run: &Run<'_, '_, T>, i: &Inst, x: Var<'_, T>) {
    let (log, c) = (run.log.clone(), i.c);
    match i.k % 7 {
        0 => x.hook(move |g| {
            text(&log, format!("hook {:?}", g.shape()));
            g
        }),
        1 => x.hook(move |g| g * c),
        2 if !run.mapped => x.hook(move |g| {
            // Inside of `vmap` there is no value to see.
            let seen = std::panic::AssertUnwindSafe(|| g.value());
            match std::panic::catch_unwind(seen) {
                Ok(t) => numbers(&log, "hook saw", &t),
                Err(_) => text(&log, "hook saw nothing"),
            }
            g
        }),
        2 | 3 => x.hook(|g| g.tape().zeros(g.shape())),
        4 => x.hook(|g| g + g.tape().normal(g.shape(), 0.0, 0.1)),
        5 => x.hook(|g| g.tanh()),
        _ => x.hook(|g| g * g.tape().input(&Tensor::full(g.shape(), T::from_f64(0.5)))),
    }
}

pub fn one<'t, T: Float>(run: &mut Run<'t, '_, T>, i: &Inst, x: Var<'t, T>, y: Var<'t, T>) {
    let Some(v) = made(run, i, x, y) else { return };
    match i.op {
        "param" => run.values.push(v),
        _ => run.push(v),
    }
}

fn made<'t, T: Float>(
    run: &mut Run<'t, '_, T>,
    i: &Inst,
    x: Var<'t, T>,
    y: Var<'t, T>,
) -> Option<Var<'t, T>> {
    let (tape, k, c) = (run.tape, i.k as usize, i.c);
    let (rank, n) = (x.rank(), run.batch);
    let axis = if rank > 0 { k / 8 % rank } else { 0 };
    let (ax, size) = (axis as isize, x.shape().get(axis).copied().unwrap_or(1));
    let shapes: [&[usize]; 7] = [&[n, 3], &[3], &[3, 4], &[n, 4], &[], &[1], &[n, 2, 3]];
    let shape = shapes[k % 7];
    let params = &run.world.params;
    let param = |k: usize| tape.param(&params[k]);
    Some(match i.op {
        "input" => {
            let t = data(shape, run.data * 100 + u64::from(i.b));
            match i.line {
                true => tape.input(&t),
                false => tape.input(&t),
            }
        }
        "param" => match i.line {
            true => param(k % 6),
            false => tape.param(&params[k % 6]),
        },
        "scalar" if i.line => tape.scalar(c),
        "scalar" => tape.scalar(c),
        "full" => tape.full(shape, c),
        "buffer" => tape.buffer(&run.world.buffers[k % 2]),
        "random" => match (k / 8 % 3, i.line) {
            (0, true) => tape.uniform(shape, 0.0, 1.0 + c.abs()),
            (0, false) => tape.uniform(shape, 0.0, 1.0 + c.abs()),
            (1, _) => tape.normal(shape, c, 0.5),
            _ => tape.bernoulli(shape, c.abs() / 2.0),
        },
        "unary" => match k % 14 {
            0 if i.line => x.tanh(),
            0 => x.tanh(),
            1 => x.sigmoid(),
            2 | 3 => x.relu(),
            4 => x.sin(),
            5 => x.tanh().exp(),
            6 => x.square(),
            7 => x.abs(),
            8 => x.softplus(),
            9 => x.gelu(),
            10 => -x,
            11 => x.round(),
            12 => x.contiguous(),
            _ => (x.square() + 1.0).sqrt(),
        },
        "constant" => match k % 10 {
            0 | 1 => x * c,
            2 => x + c,
            3 => c - x,
            4 => c / (x.square() + 1.0),
            5 => x.clamp(-c.abs(), c.abs()),
            6 => x.leaky_relu(c),
            7 => x.tanh().powi((c * 2.0) as i32 + 3),
            8 => (x.square() + 0.5).powf(c),
            _ => x.masked_fill(x.gt_scalar(0.1), c),
        },
        "binary" => {
            let same = |s: &Dims, t: &Dims| s == t || s.is_empty() || t.is_empty();
            let y = match same(&x.shape(), &y.shape()) || x.shape().ends_with(&y.shape()) {
                true => y,
                false => y.mean(),
            };
            match k % 7 {
                0 | 1 => x + y,
                2 => x - y,
                3 => x * y,
                4 => x / (y.square() + 1.0),
                5 => x.maximum(y),
                _ => x.gt(y).where_(x, y * 0.5),
            }
        }
        "dropout" => {
            let p = c.abs() / 2.0;
            match k % 7 {
                0..3 => x.dropout(p),
                3 if rank > 1 => x.feature_dropout(p),
                4 => x.alpha_dropout(p),
                5 if rank > 0 => x.drop_path(p),
                _ => x.gaussian_noise(0.25),
            }
        }
        "detach" => x.detach(),
        "view" if rank == 0 => x.unsqueeze(0),
        "view" if size == 0 => x,
        "view" => match k % 8 {
            0 => x.transpose(0, -1),
            1 => x.flatten(0, -1),
            2 => x.slice(ax, 0, size, 2),
            3 => x.narrow(ax, usize::from(size > 1), size),
            4 => x.flip([ax]),
            5 => x.unsqueeze(ax),
            6 => x.select(ax, size - 1),
            _ => {
                let mut s = Dims::from_slice(&[2]);
                s.extend_from_slice(&x.shape());
                x.broadcast_to(s)
            }
        },
        "pad" if rank > 0 => match k % 3 {
            0 if size > 1 => x.pad(&[(1, 0)], Pad::Replicate),
            _ => x.pad(&[(1, (k % 2) as isize)], Pad::Constant(c)),
        },
        "cat" if rank > 0 => match x.shape() == y.shape() {
            true if k % 2 == 0 => Var::cat(&[x, y], ax),
            true => Var::stack(&[x, y], ax),
            false => Var::cat(&[x, x * 0.5], ax),
        },
        "reduce" => match k % 5 {
            0 => x.sum(),
            1 => x.mean(),
            2 => x.logsumexp(),
            3 => x.norm(2.0),
            _ => x.amax(),
        },
        "along" if rank > 0 => match k % 8 {
            0 => x.sum_dim([ax], i.line),
            1 => x.mean_dim([ax], i.line),
            2 => x.amax_dim([ax], i.line),
            3 => x.var_dim([ax], 0.0, i.line),
            4 => x.softmax(ax),
            5 => x.log_softmax(ax),
            6 => x.cumsum(ax),
            _ => x.layer_norm(1, None, None, 1e-3),
        },
        "sorted" if rank > 0 && size > 0 => match k % 3 {
            0 => x.sort_values(ax, i.line),
            1 if !run.mapped => x.max_dim(ax, i.line).0,
            _ => x.topk_values(1 + k % size, ax, i.line),
        },
        "index" if rank > 0 && size > 0 => {
            let last = size as i64 - 1;
            let places = Tensor::from_vec(vec![last, 0, i64::from(i.b) % (last + 1)], [3]);
            match k % 3 {
                0 => x.index_select(ax, &places),
                1 => param(0).embedding(&Tensor::from_vec(vec![i64::from(i.b) % 3, 0], [2])),
                _ => x.take(&places.map(|p| p.min(last))),
            }
        }
        "matmul" if rank > 1 => {
            let (s, t) = (x.shape(), y.shape());
            match t.len() == 2 && s[rank - 1] == t[0] {
                true => x.matmul(y),
                false => x.matmul(x.transpose(-1, -2)),
            }
        }
        "linear" if rank > 0 && x.size(-1) > 2 && x.size(-1) < 5 => {
            let four = x.size(-1) == 4;
            let (w, b) = if four { (0, 2) } else { (1, 3) };
            let y = x.linear(param(w), (k % 2 == 0).then(|| param(b)));
            if k / 2 % 2 == 0 { y.relu() } else { y }
        }
        "window" if x.numel() > 2 => {
            let line = x.flatten(0, -1).unsqueeze(0);
            match k % 4 {
                0 => line.max_pool([2]),
                1 => line.avg_pool([2], Divisor::Window),
                _ => {
                    let line = line.unsqueeze(0);
                    let y = line.conv1d(param(4), None, ConvOptions::new().padding(k / 4 % 2));
                    if k % 2 == 0 { y.relu() } else { y }
                }
            }
        }
        "batch_norm" if x.numel().is_multiple_of(3) && x.numel() > 0 => {
            let x = x.reshape([x.numel() / 3, 3]);
            let w = (k % 2 == 0).then(|| param(2));
            let (y, mean, _) = x.batch_normalized(w, None, 1e-2, k / 2 % 2 == 0);
            if !run.mapped {
                let b = &run.world.buffers[k % 2];
                tape.side_output(b, tape.buffer(b) * 0.9 + mean.detach() * 0.1);
            }
            y
        }
        "recurrent" => match k % 2 {
            0 => cut(run, x, &[2, 1, 6]).gru(&Recurrence::new(param(0).reshape([6, 2]))),
            _ => {
                let w = param(1).narrow(0, 0, 3);
                cut(run, x, &[3, 1, 3]).rnn(k / 2 % 2 == 0, &Recurrence::new(w))
            }
        },
        "attention" => {
            let x = cut(run, x, &[3, 2]);
            let settings = Attention {
                dropout: c.abs() / 2.0,
                causal: k % 2 == 0,
                ..Default::default()
            };
            x.scaled_dot_product_attention(x.tanh(), x, settings)
        }
        "loss" if rank > 1 && x.size(-1) > 0 => {
            let x = x.reshape([x.numel() / x.size(-1), x.size(-1)]);
            let classes = x.size(1) as i64;
            let labels = (0..x.size(0) as i64).map(|r| (r + i64::from(i.b)) % classes);
            let labels = Tensor::from_vec(labels.collect(), [x.size(0)]);
            match k % 2 {
                0 => x.cross_entropy(&labels),
                _ => x.mse(tape.one_hot(&labels, classes as usize)),
            }
        }
        "custom" => custom(i, x),
        "own" => x.apply(Own {
            factor: c.to_bits(),
            rule: i.k % 4,
        }),
        "flaky" => x.apply(Flaky),
        "hook" => {
            hook(run, i, x);
            return None;
        }
        _ => return None,
    })
}
