//! The table of structured operations: every public method of `Var` and `Tape` that is not a row of the elementwise
//! table appears here with sample inputs. `structured.rs` runs the property suite over it and checks that none is missing.
#![allow(dead_code)]

use wengert_autograd::ops::attention::Attention;
use wengert_autograd::ops::conv::{ConvOptions, ConvTransposeOptions, Padding};
use wengert_autograd::ops::fft::FftNorm;
use wengert_autograd::ops::interpolate::Interpolation;
use wengert_autograd::ops::pad::Pad;
use wengert_autograd::ops::pool::{Divisor, Pool};
use wengert_autograd::ops::windows::Window2d;
use wengert_autograd::{Tensor, Var};

/// Shape and interval of a sample input.
pub type Input = (&'static [usize], (f64, f64));

/// An operation on sample inputs, for both element types.
pub struct Case {
    /// Unique; also the seed of the inputs and the key into the reference values.
    pub name: &'static str,
    pub inputs: &'static [Input],
    pub f64: for<'t> fn(&[Var<'t, f64>]) -> Var<'t, f64>,
    pub f32: for<'t> fn(&[Var<'t, f32>]) -> Var<'t, f32>,
}

/// Inputs around zero.
pub const AROUND: (f64, f64) = (-2.0, 2.0);
/// Positive inputs.
pub const POSITIVE: (f64, f64) = (0.5, 2.0);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a.
pub fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// `n` numbers of an interval; the reference generator makes the same ones.
pub fn numbers(seed: u64, n: usize, (lo, hi): (f64, f64)) -> Vec<f64> {
    (0..n as u64)
        .map(|i| {
            let z = mix(seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            lo + (hi - lo) * ((z >> 11) as f64 / 9_007_199_254_740_992.0)
        })
        .collect()
}

impl Case {
    /// The sample inputs.
    pub fn samples(&self) -> Vec<Tensor<f64>> {
        (self.inputs.iter().enumerate())
            .map(|(k, &(shape, range))| {
                let n = shape.iter().product();
                let seed = hash(self.name).wrapping_add(k as u64);
                Tensor::from_vec(numbers(seed, n, range), shape)
            })
            .collect()
    }
}

/// An integer tensor.
pub fn ints(values: &[i64], shape: &[usize]) -> Tensor<i64> {
    Tensor::from_slice(values, shape)
}

/// Several results as one, so that each has a part in the derivative.
fn join<'t, T: wengert_autograd::Float>(parts: Vec<Var<'t, T>>) -> Var<'t, T> {
    let flat: Vec<_> = parts.iter().map(|p| p.flatten(0, -1)).collect();
    Var::cat(&flat, 0)
}

/// 1, -1, 1, …
fn signs<'t, T: wengert_autograd::Float>(like: Var<'t, T>, shape: &[usize]) -> Var<'t, T> {
    let n: usize = shape.iter().product();
    let v = (0..n).map(|i| T::from_f64(if i % 2 == 0 { 1.0 } else { -1.0 }));
    like.tape().input(&Tensor::from_vec(v.collect(), shape))
}

macro_rules! cases {
    ($($name:literal [$(($shape:expr, $range:expr)),*] |$x:ident| $body:expr;)*) => {
        /// The table.
        pub const CASES: &[Case] = &[$(Case {
            name: $name,
            inputs: &[$((&$shape, $range)),*],
            f64: |$x| $body,
            f32: |$x| $body,
        },)*];
    };
}

cases! {
    // ---- reductions ----
    "sum" [([2, 3], AROUND)] |x| x[0].sum();
    "sum_dim" [([2, 3, 4], AROUND)] |x| x[0].sum_dim([0, -1], false);
    "sum_dim keep" [([2, 3, 4], AROUND)] |x| x[0].sum_dim([1], true);
    "mean" [([2, 3], AROUND)] |x| x[0].mean();
    "mean_dim" [([2, 3, 4], AROUND)] |x| x[0].mean_dim([0, 2], true);
    "var" [([2, 3], AROUND)] |x| x[0].var(1.0);
    "var_dim" [([2, 3, 4], AROUND)] |x| x[0].var_dim([1, 2], 0.0, false);
    "var_dim columns" [([4, 3], AROUND)] |x| x[0].var_dim([0], 1.0, true);
    "std" [([2, 3], AROUND)] |x| x[0].std(1.0);
    "std_dim" [([2, 3, 4], AROUND)] |x| x[0].std_dim([-1], 1.0, true);
    "amax" [([2, 3], AROUND)] |x| x[0].amax();
    "amax_dim" [([2, 3, 4], AROUND)] |x| x[0].amax_dim([0, 2], false);
    "amin" [([2, 3], AROUND)] |x| x[0].amin();
    "amin_dim" [([2, 3, 4], AROUND)] |x| x[0].amin_dim([1], true);
    "max" [([2, 3], AROUND)] |x| x[0].max();
    "min" [([2, 3], AROUND)] |x| x[0].min();
    "prod" [([2, 3], AROUND)] |x| x[0].prod();
    "prod_dim" [([2, 3, 5], AROUND)] |x| x[0].prod_dim([0, 2], false);
    "prod_dim keep" [([2, 5], AROUND)] |x| x[0].prod_dim(-1, true);
    "prod_dim columns" [([5, 9], AROUND)] |x| x[0].prod_dim(0, false);
    "prod_dim planes" [([2, 6, 8], AROUND)] |x| x[0].prod_dim(1, true);
    "logsumexp" [([2, 3], AROUND)] |x| x[0].logsumexp();
    "logsumexp_dim" [([2, 3, 4], AROUND)] |x| x[0].logsumexp_dim([0, 2], false);
    "norm 2" [([2, 3], AROUND)] |x| x[0].norm(2.0);
    "norm 1" [([2, 3], AROUND)] |x| x[0].norm(1.0);
    "norm 3" [([2, 3], AROUND)] |x| x[0].norm(3.0);
    "norm half" [([2, 3], POSITIVE)] |x| x[0].norm(0.5);
    "norm negative" [([2, 3], AROUND)] |x| x[0].norm(-1.5);
    "norm infinity" [([2, 3], AROUND)] |x| x[0].norm(f64::INFINITY);
    "norm minus infinity" [([2, 3], AROUND)] |x| x[0].norm(f64::NEG_INFINITY);
    "norm 0" [([2, 3], AROUND)] |x| x[0].norm(0.0);
    "norm_dim" [([2, 3, 4], AROUND)] |x| x[0].norm_dim(2.0, [0, 2], false);
    "norm_dim p" [([2, 3, 4], AROUND)] |x| x[0].norm_dim(2.5, [1], true);
    "count_nonzero" [([2, 3], AROUND)] |x| x[0].relu().count_nonzero();
    "count_nonzero_dim" [([2, 3], AROUND)] |x| x[0].relu().count_nonzero_dim([1], false);
    "all" [([2, 3], AROUND)] |x| x[0].relu().all();
    "all_dim" [([3, 2], AROUND)] |x| x[0].relu().all_dim([1], true);
    "any" [([2, 3], AROUND)] |x| x[0].relu().any();
    "any_dim" [([5, 2], AROUND)] |x| x[0].relu().any_dim([1], false);

    // ---- scans ----
    "cumsum" [([2, 3, 4], AROUND)] |x| x[0].cumsum(1);
    "cumsum last" [([3, 5], AROUND)] |x| x[0].cumsum(-1);
    "cumprod" [([2, 4, 3], AROUND)] |x| x[0].cumprod(1);
    "cumprod last" [([2, 5], AROUND)] |x| x[0].cumprod(-1);
    "logcumsumexp" [([2, 4, 3], AROUND)] |x| x[0].logcumsumexp(1);
    "logcumsumexp last" [([2, 5], AROUND)] |x| x[0].logcumsumexp(-1);
    "linear_recurrence" [([2, 4, 3], AROUND), ([2, 4, 3], AROUND)] |x| x[0].linear_recurrence(x[1], 1);

    // ---- order ----
    "max_dim" [([2, 3, 4], AROUND)] |x| x[0].max_dim(1, false).0;
    "min_dim" [([2, 3, 4], AROUND)] |x| x[0].min_dim(-1, true).0;
    "argmax" [([2, 3], AROUND)] |x| x[0].gather(1, &x[0].argmax(1, true));
    "argmin" [([2, 3], AROUND)] |x| x[0].gather(0, &x[0].argmin(0, true));
    "sort" [([2, 4, 3], AROUND)] |x| x[0].sort(1, false).0;
    "sort descending" [([2, 5], AROUND)] |x| x[0].sort(-1, true).0;
    "argsort" [([2, 5], AROUND)] |x| x[0].gather(1, &x[0].argsort(1, true));
    "topk" [([2, 6], AROUND)] |x| x[0].topk(3, 1, true).0;
    "sort_values squared" [([2, 4], AROUND)] |x| x[0].sort_values(1, false).square();
    "maximum both" [([3, 4], AROUND), ([3, 4], AROUND)] |x| x[0].maximum(x[1]);
    "rem both" [([3, 4], AROUND), ([3, 4], POSITIVE)] |x| x[0] % x[1];
    "masked_fill both" [([3, 4], AROUND), ([3, 4], AROUND)] |x| x[0].masked_fill(x[1].gt_scalar(0.0), 0.7);
    "sort_values" [([2, 4, 3], AROUND)] |x| x[0].sort_values(1, true);
    "topk_values" [([2, 6], AROUND)] |x| x[0].topk_values(3, 1, true);
    "topk smallest" [([5, 2], AROUND)] |x| x[0].topk(2, 0, false).0;
    "kthvalue" [([2, 5], AROUND)] |x| x[0].kthvalue(2, 1, false).0;
    "median" [([2, 3], AROUND)] |x| x[0].median();
    "median_dim" [([2, 5], AROUND)] |x| x[0].median_dim(1, true).0;
    "quantile" [([2, 4], AROUND)] |x| x[0].quantile(0.3);
    "quantile_dim" [([4, 3], AROUND)] |x| x[0].quantile_dim(0.6, 0, false);

    // ---- shape ----
    "reshape" [([2, 6], AROUND)] |x| x[0].reshape([3, 4]);
    "flatten" [([2, 3, 2], AROUND)] |x| x[0].flatten(1, 2);
    "permute" [([2, 3, 4], AROUND)] |x| x[0].permute([2, 0, 1]);
    "transpose" [([2, 3, 4], AROUND)] |x| x[0].transpose(0, -1);
    "swapaxes" [([2, 3, 4], AROUND)] |x| x[0].swapaxes(0, 1);
    "movedim" [([2, 3, 4, 2], AROUND)] |x| x[0].movedim([0, 1], [-1, 0]);
    "t" [([2, 3], AROUND)] |x| x[0].t();
    "broadcast_to" [([3, 1], AROUND)] |x| x[0].broadcast_to([2, 3, 4]);
    "expand" [([3, 1], AROUND)] |x| x[0].expand(&[2, -1, 4]);
    "unsqueeze" [([2, 3], AROUND)] |x| x[0].unsqueeze(-1);
    "squeeze" [([2, 1, 3], AROUND)] |x| x[0].squeeze(1);
    "narrow" [([2, 5], AROUND)] |x| x[0].narrow(1, 1, 4);
    "slice" [([7, 2], AROUND)] |x| x[0].slice(0, 1, 6, 2);
    "select" [([3, 4], AROUND)] |x| x[0].select(0, 1);
    "flip" [([2, 3, 4], AROUND)] |x| x[0].flip([0, 2]);
    "cat" [([2, 3], AROUND), ([2, 2], AROUND)] |x| Var::cat(&[x[0], x[1], x[0]], 1);
    "stack" [([2, 3], AROUND), ([2, 3], AROUND)] |x| Var::stack(&[x[0], x[1]], 1);
    "contiguous" [([2, 3], AROUND)] |x| x[0].t().contiguous();
    "tile" [([2, 3], AROUND)] |x| x[0].tile([2, 1, 2]);
    "repeat" [([2, 3], AROUND)] |x| x[0].repeat([2, 3]);
    "repeat_interleave" [([2, 3], AROUND)] |x| x[0].repeat_interleave(2, 1);
    "roll" [([3, 4], AROUND)] |x| x[0].roll([1, -6], [0, 1]);
    "split" [([5, 2], AROUND)] |x| join(x[0].split(2, 0));
    "split_sizes" [([2, 5], AROUND)] |x| join(x[0].split_sizes(&[1, 4], 1));
    "chunk" [([5, 2], AROUND)] |x| join(x[0].chunk(3, 0));
    "unbind" [([2, 3], AROUND)] |x| join(x[0].unbind(1));
    "meshgrid" [([2], AROUND), ([3], AROUND)] |x| join(Var::meshgrid(x));
    "tril" [([2, 3, 4], AROUND)] |x| x[0].tril(0);
    "tril below" [([4, 3], AROUND)] |x| x[0].tril(-1);
    "triu" [([2, 3, 4], AROUND)] |x| x[0].triu(1);
    "tri" [([4, 3], AROUND)] |x| x[0] * x[0].tape().tri(4, 3, -1);
    "eye" [([3, 3], AROUND)] |x| x[0] * x[0].tape().eye(3);
    "diagonal" [([2, 3, 4], AROUND)] |x| x[0].diagonal(1, 0, 2);
    "diagonal below" [([4, 3], AROUND)] |x| x[0].diagonal(-2, 0, 1);
    "diag_embed" [([2, 3], AROUND)] |x| x[0].diag_embed(-1);
    "diag vector" [([3], AROUND)] |x| x[0].diag(1);
    "diag matrix" [([3, 4], AROUND)] |x| x[0].diag(0);
    "trace" [([2, 3, 4], AROUND)] |x| x[0].trace();
    "pad" [([2, 3], AROUND)] |x| x[0].pad(&[(1, 0), (2, 1)], Pad::Constant(0.5));
    "pad crop" [([3, 4], AROUND)] |x| x[0].pad(&[(-1, 2), (1, -2)], Pad::Zeros);
    "pad reflect" [([2, 3, 4], AROUND)] |x| x[0].pad(&[(2, 1), (1, 3)], Pad::Reflect);
    "pad replicate" [([2, 3], AROUND)] |x| x[0].pad(&[(2, 5)], Pad::Replicate);
    "pad circular" [([2, 3], AROUND)] |x| x[0].pad(&[(2, 3)], Pad::Circular);
    "unfold" [([2, 7], AROUND)] |x| x[0].unfold(1, 3, 2);
    "fold" [([3, 2, 4], AROUND)] |x| x[0].fold(0, 8, 2);
    "unfold2d" [([2, 2, 4, 5], AROUND)] |x| x[0].unfold2d(Window2d { kernel: [2, 3], stride: [2, 1], padding: [1, 0], dilation: [1, 2] });
    "fold2d" [([1, 8, 6], AROUND)] |x| x[0].fold2d([4, 3], Window2d { padding: [1, 0], stride: [2, 1], ..Window2d::new([2, 2]) });

    // ---- pooling ----
    "max_pool" [([2, 2, 4, 6], AROUND)] |x| x[0].max_pool([2, 2]);
    "max_pool odd" [([2, 5, 7], AROUND)] |x| x[0].max_pool([2, 2]);
    "max_pool overlap" [([2, 1, 5, 6], AROUND)] |x| x[0].max_pool(Pool::new([3, 2]).stride([2, 1]).padding([1, 1]));
    "max_pool dilated" [([2, 3, 9], AROUND)] |x| x[0].max_pool(Pool::new([3]).stride([2]).padding([1]).dilation([2]));
    "max_pool ceil" [([1, 2, 5, 4], AROUND)] |x| x[0].max_pool(Pool::new([2, 3]).stride([2, 2]).padding([1, 1]).ceil());
    "max_pool volume" [([1, 2, 4, 3, 5], AROUND)] |x| x[0].max_pool(Pool::new([2, 3, 2]).stride([2, 1, 2]).padding([1, 1, 0]));
    "max_pool planes" [([1, 3, 4, 4], AROUND)] |x| x[0].max_pool(Pool::new([1, 2, 2]));
    "max_pool_places" [([2, 1, 5, 4], AROUND)] |x| {
        let (y, places) = x[0].max_pool_places(Pool::new([3, 3]).stride([2, 1]).padding([1, 0]));
        let flat = x[0].reshape([2, 20]).gather(1, &places.reshape([2, 6]));
        y + flat.reshape([2, 1, 3, 2]) * 0.5
    };
    "adaptive_max_pool" [([2, 5, 7], AROUND)] |x| x[0].adaptive_max_pool([3, 4]);
    "adaptive_max_pool volume" [([1, 4, 5, 3], AROUND)] |x| x[0].adaptive_max_pool([2, 2, 2]);
    "adaptive_max_pool_places" [([2, 7], AROUND)] |x| {
        let (y, places) = x[0].adaptive_max_pool_places([3]);
        y * x[0].gather(1, &places)
    };
    "max_unpool" [([1, 2, 2, 2], AROUND)] |x| x[0].max_unpool(&ints(&[0, 3, 8, 15, 1, 2, 12, 11], &[1, 2, 2, 2]), [4, 4]);
    "avg_pool" [([2, 2, 4, 7], AROUND)] |x| x[0].avg_pool([2, 2], Divisor::Window);
    "avg_pool overlap" [([2, 1, 5, 6], AROUND)] |x| x[0].avg_pool(Pool::new([3, 2]).stride([2, 1]).padding([1, 1]), Divisor::Window);
    "avg_pool inside" [([2, 5, 4], AROUND)] |x| x[0].avg_pool(Pool::new([2, 3]).stride([2, 2]).padding([1, 1]).ceil(), Divisor::Inside);
    "avg_pool ceil" [([2, 5, 4], AROUND)] |x| x[0].avg_pool(Pool::new([2, 3]).stride([2, 2]).padding([1, 1]).ceil(), Divisor::Window);
    "avg_pool divisor" [([1, 2, 3, 4, 3], AROUND)] |x| x[0].avg_pool(Pool::new([2, 2, 2]).stride([1, 2, 1]).padding([0, 1, 1]), Divisor::Fixed(3.0));
    "avg_pool line" [([2, 9], AROUND)] |x| x[0].avg_pool(Pool::new([4]).stride([3]).padding([2]), Divisor::Window);
    "adaptive_avg_pool" [([2, 5, 7], AROUND)] |x| x[0].adaptive_avg_pool([3, 4]);
    "adaptive_avg_pool volume" [([2, 4, 5, 3], AROUND)] |x| x[0].adaptive_avg_pool([2, 3, 1]);
    "adaptive_avg_pool up" [([2, 3], AROUND)] |x| x[0].adaptive_avg_pool([5]);
    "lp_pool" [([2, 1, 4, 5], AROUND)] |x| x[0].lp_pool(2.0, Pool::new([2, 3]).stride([2, 1]));
    "lp_pool cubes" [([2, 1, 6], POSITIVE)] |x| x[0].lp_pool(3.0, Pool::new([2]).stride([1]));
    "lp_pool volume" [([1, 2, 3, 3, 4], AROUND)] |x| x[0].lp_pool(2.0, Pool::new([2, 2, 3]).stride([1, 1, 1]));
    "lp_pool infinity" [([2, 1, 6], AROUND)] |x| x[0].lp_pool(f64::INFINITY, [2]);

    // ---- interpolation ----
    "interpolate nearest" [([1, 2, 3, 4], AROUND)] |x| x[0].interpolate([7, 3], Interpolation::Nearest);
    "interpolate nearest exact" [([1, 2, 3, 4], AROUND)] |x| x[0].interpolate([7, 3], Interpolation::NearestExact);
    "interpolate line" [([2, 2, 5], AROUND)] |x| x[0].interpolate([8], Interpolation::LINEAR);
    "interpolate bilinear" [([1, 2, 3, 5], AROUND)] |x| x[0].interpolate([5, 4], Interpolation::LINEAR);
    "interpolate aligned" [([1, 2, 3, 5], AROUND)] |x| x[0].interpolate([6, 1], Interpolation::Linear { align_corners: true });
    "interpolate trilinear" [([1, 1, 2, 3, 2], AROUND)] |x| x[0].interpolate([3, 2, 4], Interpolation::LINEAR);
    "interpolate bicubic" [([1, 2, 3, 5], AROUND)] |x| x[0].interpolate([6, 4], Interpolation::CUBIC);
    "interpolate bicubic aligned" [([1, 2, 4, 3], AROUND)] |x| x[0].interpolate([3, 7], Interpolation::Cubic { align_corners: true });
    "interpolate_by" [([1, 2, 3, 5], AROUND)] |x| x[0].interpolate_by([1.5, 0.7], Interpolation::LINEAR);
    "interpolate_by nearest" [([1, 2, 3, 5], AROUND)] |x| x[0].interpolate_by([2.5, 0.7], Interpolation::Nearest);
    "interpolate_by cubic" [([1, 2, 3, 5], AROUND)] |x| x[0].interpolate_by([1.5, 1.0], Interpolation::CUBIC);
    "pixel_shuffle" [([2, 8, 2, 3], AROUND)] |x| x[0].pixel_shuffle(2);
    "pixel_unshuffle" [([2, 1, 4, 6], AROUND)] |x| x[0].pixel_unshuffle(2);

    // ---- indices ----
    "gather" [([3, 4], AROUND)] |x| x[0].gather(0, &ints(&[2, 0, 1, 1, 2, 2], &[2, 3]));
    "scatter_add" [([3, 4], AROUND), ([2, 3], AROUND)] |x| x[0].scatter_add(0, &ints(&[2, 0, 1, 2, 2, 0], &[2, 3]), x[1]);
    "scatter" [([3, 4], AROUND), ([2, 3], AROUND)] |x| x[0].scatter(0, &ints(&[2, 0, 1, 1, 2, 0], &[2, 3]), x[1]);
    "scatter_value" [([3, 4], AROUND)] |x| x[0].scatter_value(1, &ints(&[2, 0, 1], &[3, 1]), 0.5);
    "index_select" [([3, 4], AROUND)] |x| x[0].index_select(1, &ints(&[3, 0, 3, 1, 3], &[5]));
    "index_add" [([3, 4], AROUND), ([3, 3], AROUND)] |x| x[0].index_add(1, &ints(&[3, 0, 3], &[3]), x[1]);
    "embedding" [([4, 3], AROUND)] |x| x[0].embedding(&ints(&[3, 0, 3, 1], &[2, 2]));
    "take" [([3, 4], AROUND)] |x| x[0].take(&ints(&[11, 0, -7, 5], &[2, 2]));
    "masked_select" [([2, 3], AROUND)] |x| x[0].masked_select(&Tensor::from_slice(&[true, false, true], [3]));
    "one_hot" [([2, 3], AROUND)] |x| x[0] * x[0].tape().one_hot(&ints(&[2, 0], &[2]), 3);
    "truth" [([2, 3], AROUND)] |x| x[0].mask(x[0].tape().truth(&Tensor::from_slice(&[true, false, true], [3])));

    // ---- products ----
    "matmul" [([2, 3], AROUND), ([3, 4], AROUND)] |x| x[0].matmul(x[1]);
    "matmul batched" [([2, 1, 2, 3], AROUND), ([3, 3, 2], AROUND)] |x| x[0].matmul(x[1]);
    "matmul vector" [([3], AROUND), ([2, 3, 2], AROUND)] |x| x[0].matmul(x[1]);
    "matmul rows" [([2, 2, 3], AROUND), ([3], AROUND)] |x| x[0].matmul(x[1]);
    "matmul shared" [([2, 2, 3], AROUND), ([3, 2], AROUND)] |x| x[0].matmul(x[1]);
    "dot" [([3], AROUND), ([3], AROUND)] |x| x[0].dot(x[1]);
    "outer" [([3], AROUND), ([2], AROUND)] |x| x[0].outer(x[1]);
    "linear" [([2, 3], AROUND), ([4, 3], AROUND), ([4], AROUND)] |x| x[0].linear(x[1], Some(x[2]));

    // ---- softmax and losses ----
    "softmax" [([2, 3, 2], AROUND)] |x| x[0].softmax(1);
    "softmax last" [([2, 5], AROUND)] |x| x[0].softmax(-1);
    "log_softmax" [([2, 3, 2], AROUND)] |x| x[0].log_softmax(1);
    "log_softmax last" [([2, 5], AROUND)] |x| x[0].log_softmax(-1);
    "cross_entropy" [([3, 4], AROUND)] |x| x[0].cross_entropy(&ints(&[2, 0, 3], &[3]));
    "cross_entropy_rows" [([2, 3, 2], AROUND)] |x| x[0].cross_entropy_rows(&ints(&[2, 0, -1, 1], &[2, 2]), Some(-1));
    "mse" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].mse(x[1]);
    "cross_entropy_weighted" [([3, 4], AROUND), ([4], POSITIVE)] |x| {
        let (l, w) = x[0].cross_entropy_weighted(&ints(&[2, -1, 3], &[3]), Some(x[1]), Some(-1), 0.1);
        l.sum() / w.sum()
    };
    "cross_entropy_weighted images" [([2, 3, 2], AROUND)] |x| x[0].cross_entropy_weighted(&ints(&[2, 0, 1, 1], &[2, 2]), None, None, 0.2).0;
    "cross_entropy_probabilities" [([3, 4, 2], AROUND), ([3, 4, 2], (0.1, 0.9)), ([4], POSITIVE)] |x| x[0].cross_entropy_probabilities(x[1], Some(x[2]));
    "nll" [([3, 4], AROUND), ([4], POSITIVE)] |x| x[0].nll(&ints(&[2, -1, 3], &[3]), Some(x[1]), Some(-1)).0;
    "bce_with_logits" [([2, 3], AROUND), ([2, 3], (0.1, 0.9)), ([3], POSITIVE)] |x| x[0].bce_with_logits(x[1], Some(x[2]));
    "kl_div" [([2, 3], AROUND), ([2, 3], (0.1, 0.9))] |x| x[0].kl_div(x[1]);
    "kl_div_log" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].kl_div_log(x[1]);
    "smooth_l1" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].smooth_l1(x[1], 0.7);
    "poisson_nll" [([2, 3], AROUND), ([2, 3], (0.1, 3.0))] |x| x[0].poisson_nll(x[1], true);
    "gaussian_nll" [([2, 3], AROUND), ([2, 3], AROUND), ([2, 3], POSITIVE)] |x| x[0].gaussian_nll(x[1], x[2], true, 1e-6);
    "hinge" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].hinge(x[1]);
    "soft_margin" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].soft_margin(x[1]);
    "hinge_embedding" [([2, 3], AROUND)] |x| x[0].hinge_embedding(signs(x[0], &[2, 3]), 1.0);
    "multi_margin" [([3, 4], AROUND), ([4], POSITIVE)] |x| x[0].multi_margin(&ints(&[2, 0, 3], &[3]), 1, 1.0, Some(x[1]));
    "multi_margin 2" [([3, 4], AROUND)] |x| x[0].multi_margin(&ints(&[2, 0, 3], &[3]), 2, 0.5, None);
    "margin_ranking" [([4], AROUND), ([4], AROUND), ([4], AROUND)] |x| x[0].margin_ranking(x[1], x[2], 0.3);
    "cosine_similarity" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].cosine_similarity(x[1], 1, 1e-8);
    "normalize" [([2, 3], AROUND)] |x| x[0].normalize(3.0, 0, 1e-8);
    "pairwise_distance" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].pairwise_distance(x[1], 2.0, 1e-6);
    "cosine_embedding" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].cosine_embedding(x[1], signs(x[0], &[2]), 0.1);
    "triplet" [([2, 3], AROUND), ([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].triplet(x[1], x[2], 1.0, 2.0, false);
    "triplet swap" [([2, 3], AROUND), ([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].triplet(x[1], x[2], 1.0, 3.0, true);
    "focal" [([2, 3], AROUND), ([2, 3], (0.1, 0.9))] |x| x[0].focal(x[1], 2.0, Some(0.25));
    "dice" [([2, 3], (0.1, 0.9)), ([2, 3], (0.1, 0.9))] |x| x[0].dice(x[1], 1, 1.0);

    // ---- activations ----
    "softmin" [([2, 3], AROUND)] |x| x[0].softmin(1);
    "sparsemax" [([3, 5], AROUND)] |x| x[0].sparsemax(1);
    "sparsemax first" [([4, 3], AROUND)] |x| x[0].sparsemax(0);
    "glu" [([2, 4], AROUND)] |x| x[0].glu(1);
    "swiglu" [([4, 2], AROUND)] |x| x[0].swiglu(0);
    "geglu" [([2, 4], AROUND)] |x| x[0].geglu(-1);
    "rrelu" [([2, 4], AROUND)] |x| x[0].rrelu(0.125, 0.375);
    "powi" [([2, 3], AROUND)] |x| x[0].powi(3) + x[0].powi(5);
    "softplus" [([2, 3], AROUND)] |x| x[0].softplus();
    "swish" [([2, 3], AROUND)] |x| x[0].swish(1.5);

    // ---- with numbers ----
    "clamp_min" [([2, 5], AROUND)] |x| x[0].clamp_min(0.1);
    "clamp_max" [([2, 5], AROUND)] |x| x[0].clamp_max(0.1);
    "comparisons with numbers" [([2, 5], AROUND)] |x| x[0] * (x[0].gt_scalar(0.1) + x[0].ge_scalar(0.2) * 2.0 + x[0].lt_scalar(-0.3) * 3.0 + x[0].le_scalar(-0.4) * 5.0 + x[0].eq_scalar(0.0) * 7.0 + x[0].ne_scalar(0.0) * 11.0);
    "rpow" [([2, 3], AROUND)] |x| x[0].rpow(1.7);
    "rem number" [([2, 3], POSITIVE)] |x| x[0] % 0.3;
    "floor_div" [([2, 3], AROUND), ([2, 3], POSITIVE)] |x| x[0].floor_div(x[1]) * x[0];
    "logit" [([2, 3], (0.1, 0.9))] |x| x[0].logit();
    "sinc" [([2, 3], AROUND)] |x| x[0].sinc();
    "l1" [([2, 3], AROUND), ([2, 3], AROUND)] |x| x[0].l1(x[1]);
    "view" [([2, 6], AROUND)] |x| x[0].view([3, 4]);
    "truths" [([2, 3], AROUND)] |x| x[0].mask(x[0].tape().truth(&x[0].gt_scalar(0.0).truths()));

    // ---- einsum ----
    "einsum product" [([2, 3], AROUND), ([3, 4], AROUND)] |x| Var::einsum("ij,jk->ik", x);
    "einsum implicit" [([2, 3], AROUND), ([4, 3], AROUND)] |x| Var::einsum("bj, aj", x);
    "einsum batched" [([2, 3, 4], AROUND), ([2, 5, 4], AROUND)] |x| Var::einsum("bqd,bkd->bqk", x);
    "einsum ellipsis" [([2, 1, 3, 4], AROUND), ([5, 4, 2], AROUND)] |x| Var::einsum("...ij,...jk->...ki", x);
    "einsum diagonal" [([3, 3, 2], AROUND)] |x| Var::einsum("iij->ji", x);
    "einsum trace" [([3, 3, 3], AROUND)] |x| Var::einsum("iii->", x);
    "einsum outer" [([2], AROUND), ([3], AROUND), ([2], AROUND)] |x| Var::einsum("i,j,k->kij", x);
    "einsum chain" [([2, 3], AROUND), ([3, 4], AROUND), ([4, 2], AROUND), ([2], AROUND)] |x| Var::einsum("ij,jk,kl,l->i", x);
    "einsum sums" [([2, 3], AROUND), ([4, 5], AROUND)] |x| Var::einsum("ij,kl->jk", x);
    "einsum stretch" [([2, 1], AROUND), ([3, 4], AROUND)] |x| Var::einsum("ij,jk->ik", x);
    "try_einsum" [([2, 3], AROUND)] |x| Var::try_einsum("ij->ji", x).unwrap();
    "kron" [([2, 3], AROUND), ([3, 2], AROUND)] |x| x[0].kron(x[1]);
    "kron vector" [([2], AROUND), ([3, 2], AROUND)] |x| x[0].kron(x[1]);

    // ---- normalization ----
    "layer_norm" [([3, 5], AROUND), ([5], AROUND), ([5], AROUND)] |x| x[0].layer_norm(1, Some(x[1]), Some(x[2]), 1e-5);
    "layer_norm squared" [([3, 5], AROUND), ([5], AROUND), ([5], AROUND)] |x| x[0].layer_norm(1, Some(x[1]), Some(x[2]), 0.1).square();
    "layer_norm bare" [([2, 3, 2], AROUND)] |x| x[0].layer_norm(2, None, None, 1e-5);
    "layer_norm weight" [([2, 3, 4], AROUND), ([3, 4], AROUND)] |x| x[0].layer_norm(2, Some(x[1]), None, 0.1);
    "layer_norm bias" [([2, 18], AROUND), ([18], AROUND)] |x| x[0].layer_norm(1, None, Some(x[1]), 1e-5);
    "rms_norm" [([3, 17], AROUND), ([17], AROUND)] |x| x[0].rms_norm(1, Some(x[1]), 1e-5);
    "rms_norm bare" [([3, 4], AROUND)] |x| x[0].rms_norm(1, None, 1e-5);
    "group_norm" [([2, 4, 3], AROUND), ([4], AROUND), ([4], AROUND)] |x| x[0].group_norm(2, Some(x[1]), Some(x[2]), 1e-5);
    "instance_norm" [([2, 3, 4], AROUND), ([3], AROUND), ([3], AROUND)] |x| x[0].instance_norm(Some(x[1]), Some(x[2]), 1e-5);
    "batch_norm" [([4, 3, 2], AROUND), ([3], AROUND), ([3], AROUND)] |x| {
        let (mean, var) = x[0].batch_statistics();
        x[0].batch_norm(mean, var, Some(x[1]), Some(x[2]), 1e-5)
    };
    "batch_normalized" [([3, 2, 9], AROUND), ([2], AROUND), ([2], AROUND)] |x| {
        let (y, mean, var) = x[0].batch_normalized(Some(x[1]), Some(x[2]), 1e-5, false);
        join(vec![y, mean, var])
    };
    "batch_normalized relu" [([2, 2, 3, 3], AROUND), ([2], POSITIVE), ([2], AROUND)] |x| x[0].batch_normalized(Some(x[1]), Some(x[2]), 0.1, true).0;
    "batch_normalized squared" [([3, 2, 9], AROUND), ([2], POSITIVE), ([2], AROUND)] |x| x[0].batch_normalized(Some(x[1]), Some(x[2]), 0.1, true).0.square();
    "batch_normalized times" [([3, 2, 9], AROUND), ([2], POSITIVE), ([2], AROUND)] |x| x[0].batch_normalized(Some(x[1]), Some(x[2]), 0.1, true).0 * x[0];
    "batch_normalized bare" [([2, 2, 8], AROUND)] |x| x[0].batch_normalized(None, None, 0.1, false).0;
    "batch_normalized bias" [([1, 2, 33], AROUND), ([2], AROUND)] |x| x[0].batch_normalized(None, Some(x[1]), 0.1, true).0;
    "batch_normalized vectors" [([4, 3], AROUND), ([3], AROUND)] |x| x[0].batch_normalized(Some(x[1]), None, 0.1, true).0;
    "batch_norm given" [([4, 3], AROUND), ([3], AROUND), ([3], POSITIVE)] |x| x[0].batch_norm(x[1], x[2], None, None, 1e-5);
    "local_response_norm" [([2, 5, 3], AROUND)] |x| x[0].local_response_norm(3, 0.5, 0.75, 1.0);

    // ---- linear algebra ----
    "inverse" [([2, 3, 3], AROUND)] |x| x[0].inverse();
    "solve" [([3, 3], AROUND), ([3, 2], AROUND)] |x| x[0].solve(x[1]);
    "solve vector" [([2, 3, 3], AROUND), ([2, 3], AROUND)] |x| x[0].solve(x[1]);
    "solve broadcast" [([3, 3], AROUND), ([2, 3, 1], AROUND)] |x| x[0].solve(x[1]);
    "triangular_solve" [([3, 3], POSITIVE), ([3, 2], AROUND)] |x| x[0].triangular_solve(x[1], false, false);
    "triangular_solve upper unit" [([2, 3, 3], POSITIVE), ([2, 3, 2], AROUND)] |x| x[0].triangular_solve(x[1], true, true);
    "cholesky" [([2, 3, 3], (-0.5, 0.5))] |x| (x[0] + x[0].tape().eye(3) * 2.0).cholesky();
    "det" [([2, 3, 3], AROUND)] |x| x[0].det();
    "slogdet" [([2, 3, 3], AROUND)] |x| { let (s, l) = x[0].slogdet(); s * l };
    "matrix_power" [([3, 3], AROUND)] |x| x[0].matrix_power(5);
    "matrix_power negative" [([2, 2], POSITIVE)] |x| x[0].matrix_power(-3);
    "lstsq" [([4, 2], AROUND), ([4, 2], AROUND)] |x| x[0].lstsq(x[1]);
    "lstsq wide" [([2, 4], AROUND), ([2], AROUND)] |x| x[0].lstsq(x[1]);
    "pinv" [([3, 2], AROUND)] |x| x[0].pinv();
    "qr" [([2, 4, 3], AROUND)] |x| { let (q, r) = x[0].qr(); join(vec![q, r]) };
    "qr wide" [([2, 4], AROUND)] |x| { let (q, r) = x[0].qr(); join(vec![q, r]) };
    "eigh" [([2, 3, 3], AROUND)] |x| { let (w, v) = x[0].eigh(); join(vec![w, v]) };
    "eigvalsh" [([4, 4], AROUND)] |x| x[0].eigvalsh();
    "svd" [([2, 4, 3], AROUND)] |x| { let (u, s, v) = x[0].svd(); join(vec![u, s, v]) };
    "svd wide" [([2, 4], AROUND)] |x| { let (u, s, v) = x[0].svd(); join(vec![u, s, v]) };
    "svdvals" [([3, 4], AROUND)] |x| x[0].svdvals();

    // ---- attention ----
    "scaled_dot_product_attention" [([2, 3, 4], AROUND), ([2, 5, 4], AROUND), ([2, 5, 2], AROUND)] |x| x[0].scaled_dot_product_attention(x[1], x[2], Attention::default());
    "attention causal" [([1, 2, 4, 3], AROUND), ([2, 1, 4, 3], AROUND), ([4, 2], AROUND)] |x| x[0].scaled_dot_product_attention(x[1], x[2], Attention { causal: true, scale: Some(0.7), ..Default::default() });
    "attention mask" [([2, 3, 4], AROUND), ([2, 3, 4], AROUND), ([2, 3, 4], AROUND), ([3, 3], AROUND)] |x| x[0].scaled_dot_product_attention(x[1], x[2], Attention { mask: Some(x[3]), ..Default::default() });

    "attention mask stretched" [([2, 2, 3, 4], AROUND), ([2, 1, 5, 4], AROUND), ([2, 1, 5, 2], AROUND), ([2, 1, 5], AROUND)] |x| x[0].scaled_dot_product_attention(x[1], x[2], Attention { mask: Some(x[3]), ..Default::default() });
    "attention mask rows" [([2, 3, 4], AROUND), ([2, 3, 4], AROUND), ([2, 3, 2], AROUND), ([2, 3, 1], AROUND)] |x| x[0].scaled_dot_product_attention(x[1], x[2], Attention { mask: Some(x[3]), causal: true, ..Default::default() });

    // ---- Fourier ----
    "to_complex" [([2, 3], AROUND)] |x| x[0].to_complex();
    "complex_mul" [([2, 3, 2], AROUND), ([3, 2], AROUND)] |x| x[0].complex_mul(x[1]);
    "complex_conj" [([2, 3, 2], AROUND)] |x| x[0].complex_conj();
    "complex_abs" [([2, 3, 2], AROUND)] |x| x[0].complex_abs();
    "fft" [([2, 6, 2], AROUND)] |x| x[0].fft(1, FftNorm::Inverse);
    "fft first" [([5, 3, 2], AROUND)] |x| x[0].fft(0, FftNorm::Both);
    "ifft" [([2, 7, 2], AROUND)] |x| x[0].ifft(-1, FftNorm::Inverse);
    "fftn" [([3, 4, 2], AROUND)] |x| x[0].fftn([0, 1], FftNorm::Forward);
    "ifftn" [([3, 4, 2], AROUND)] |x| x[0].ifftn([0, 1], FftNorm::Both);
    "rfft" [([2, 7], AROUND)] |x| x[0].rfft(1, FftNorm::Inverse);
    "rfft even" [([6, 2], AROUND)] |x| x[0].rfft(0, FftNorm::Both);
    "irfft" [([2, 4, 2], AROUND)] |x| x[0].irfft(7, 1, FftNorm::Inverse);
    "irfft even" [([2, 4, 2], AROUND)] |x| x[0].irfft(6, 1, FftNorm::Inverse);
    "irfft fewer" [([2, 3, 2], AROUND)] |x| x[0].irfft(8, 1, FftNorm::Inverse);
    "irfft more" [([2, 6, 2], AROUND)] |x| x[0].irfft(7, 1, FftNorm::Both);
    "irfft cut in the middle" [([6, 2], AROUND)] |x| x[0].irfft(4, 0, FftNorm::Inverse);
    "rfftn" [([3, 4], AROUND)] |x| x[0].rfftn([0, 1], FftNorm::Inverse);
    "irfftn" [([3, 3, 2], AROUND)] |x| x[0].irfftn(4, [0, 1], FftNorm::Inverse);
    "fftshift" [([5, 4], AROUND)] |x| x[0].fftshift([0, 1]);
    "ifftshift" [([5, 4], AROUND)] |x| x[0].ifftshift([0, 1]);

    // ---- connectionist temporal classification ----
    "ctc" [([5, 3, 4], AROUND)] |x| x[0].log_softmax(-1).ctc(&ints(&[1, 2, 3, 3, 1, 0], &[3, 2]), &[5, 4, 3], &[2, 2, 0], 0, false);
    "ctc short" [([4, 4, 3], AROUND)] |x| x[0].log_softmax(-1).ctc(&ints(&[1, 2, 1, 1, 2, 0, 0, 0], &[4, 2]), &[3, 2, 1, 0], &[2, 1, 1, 0], 0, false);
    "ctc free" [([4, 2, 3], AROUND)] |x| x[0].ctc(&ints(&[1, 1, 0, 1], &[2, 2]), &[4, 4], &[2, 1], 2, true);

    // ---- convolution ----
    "conv1d" [([2, 2, 6], AROUND), ([3, 2, 3], AROUND)] |x| x[0].conv1d(x[1], None, ConvOptions::new());
    "conv1d bias" [([2, 2, 5], AROUND), ([3, 2, 2], AROUND), ([3], AROUND)] |x| x[0].conv1d(x[1], Some(x[2]), ConvOptions::new().stride(2).padding(1));
    "conv1d same" [([1, 2, 5], AROUND), ([2, 2, 4], AROUND)] |x| x[0].conv1d(x[1], None, ConvOptions::new().padding(Padding::Same));
    "conv1d single" [([2, 7], AROUND), ([2, 2, 3], AROUND)] |x| x[0].conv1d(x[1], None, ConvOptions::new().dilation(2).padding(1));
    "conv1d depthwise" [([1, 3, 6], AROUND), ([3, 1, 3], AROUND)] |x| x[0].conv1d(x[1], None, ConvOptions::new().groups(3).padding(2).stride(2));
    "conv1d zeros only" [([1, 1, 1], AROUND), ([1, 1, 2], AROUND)] |x| x[0].conv1d(x[1], None, ConvOptions::new().padding(3));
    "conv2d" [([2, 2, 4, 4], AROUND), ([3, 2, 3, 3], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new());
    "conv2d padding" [([1, 2, 3, 4], AROUND), ([2, 2, 3, 3], AROUND), ([2], AROUND)] |x| x[0].conv2d(x[1], Some(x[2]), ConvOptions::new().padding(1));
    "conv2d stride" [([1, 2, 5, 5], AROUND), ([2, 2, 3, 3], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().stride(2).padding(1));
    "conv2d uneven" [([1, 1, 6, 7], AROUND), ([2, 1, 2, 3], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().stride([2, 1]).padding([0, 2]).dilation([3, 2]));
    "conv2d point" [([2, 3, 2, 3], AROUND), ([2, 3, 1, 1], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new());
    "conv2d point stride" [([1, 2, 3, 5], AROUND), ([2, 2, 1, 1], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().stride(2));
    "conv2d same" [([1, 1, 4, 3], AROUND), ([2, 1, 2, 3], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().padding(Padding::Same).dilation([1, 2]));
    "conv2d groups" [([1, 4, 3, 3], AROUND), ([4, 2, 2, 2], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().groups(2).padding(Padding::Valid));
    "conv2d depthwise" [([1, 2, 4, 4], AROUND), ([2, 1, 3, 3], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().groups(2).padding(1));
    "conv2d depthwise two" [([1, 2, 4, 3], AROUND), ([4, 1, 2, 2], AROUND)] |x| x[0].conv2d(x[1], None, ConvOptions::new().groups(2).stride(2).padding(1));
    "conv2d single" [([2, 3, 4], AROUND), ([2, 2, 2, 2], AROUND), ([2], AROUND)] |x| x[0].conv2d(x[1], Some(x[2]), ConvOptions::new());
    "conv3d" [([1, 2, 3, 3, 3], AROUND), ([2, 2, 2, 2, 2], AROUND)] |x| x[0].conv3d(x[1], None, ConvOptions::new());
    "conv3d uneven" [([1, 1, 3, 4, 2], AROUND), ([2, 1, 2, 3, 1], AROUND), ([2], AROUND)] |x| x[0].conv3d(x[1], Some(x[2]), ConvOptions::new().stride([2, 1, 1]).padding([1, 0, 1]).dilation([2, 1, 1]));
    "conv3d depthwise" [([1, 2, 2, 3, 3], AROUND), ([2, 1, 2, 2, 2], AROUND)] |x| x[0].conv3d(x[1], None, ConvOptions::new().groups(2).padding(1).stride(2));
    "conv_transpose1d" [([2, 2, 4], AROUND), ([2, 3, 3], AROUND), ([3], AROUND)] |x| x[0].conv_transpose1d(x[1], Some(x[2]), ConvTransposeOptions::new().stride(2));
    "conv_transpose1d single" [([2, 3], AROUND), ([2, 1, 4], AROUND)] |x| x[0].conv_transpose1d(x[1], None, ConvTransposeOptions::new().stride(3).padding(2).output_padding(2));
    "conv_transpose1d dilation" [([1, 2, 3], AROUND), ([2, 1, 3], AROUND)] |x| x[0].conv_transpose1d(x[1], None, ConvTransposeOptions::new().dilation(3).output_padding(2).stride(2).padding(1));
    "conv_transpose2d" [([1, 2, 3, 3], AROUND), ([2, 2, 3, 3], AROUND)] |x| x[0].conv_transpose2d(x[1], None, ConvTransposeOptions::new());
    "conv_transpose2d stride" [([1, 2, 3, 2], AROUND), ([2, 1, 3, 3], AROUND)] |x| x[0].conv_transpose2d(x[1], None, ConvTransposeOptions::new().stride(2).padding(1).output_padding(1));
    "conv_transpose2d groups" [([1, 4, 2, 3], AROUND), ([4, 1, 2, 3], AROUND)] |x| x[0].conv_transpose2d(x[1], None, ConvTransposeOptions::new().stride([1, 3]).groups(2).padding([1, 0]));
    "conv_transpose2d depthwise" [([2, 2, 2, 2], AROUND), ([2, 1, 2, 2], AROUND), ([2], AROUND)] |x| x[0].conv_transpose2d(x[1], Some(x[2]), ConvTransposeOptions::new().stride(2).groups(2));
    "conv_transpose3d" [([1, 2, 2, 2, 2], AROUND), ([2, 1, 2, 3, 2], AROUND)] |x| x[0].conv_transpose3d(x[1], None, ConvTransposeOptions::new().stride([2, 1, 2]).padding([0, 1, 1]).output_padding([1, 0, 0]));
}
