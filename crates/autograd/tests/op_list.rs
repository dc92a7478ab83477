//! The list of operations and of the calculus that the crate promises, name by name: every name of `PROMISED` has a row,
//! every row calls the public item behind the name. A name without a row fails, a row without an item does not compile.
//!
//! What the items compute is the matter of the other tests; here each runs once on a tiny input.

use wengert_autograd::ops::attention::Attention;
use wengert_autograd::ops::conv::{ConvOptions, ConvTransposeOptions, Padding};
use wengert_autograd::ops::fft::FftNorm;
use wengert_autograd::ops::interpolate::Interpolation;
use wengert_autograd::ops::pad::Pad;
use wengert_autograd::ops::pool::{Divisor, Pool};
use wengert_autograd::{
    Cotangents, Dims, Float, ForwardCtx, Op, Param, Tape, Tensor, Var, VjpCtx, WhyMissing,
};
use wengert_autograd::{
    custom_grad, grad, gradcheck, hessian, hvp, jacobian, jvp, value_and_grad, vjp, vmap,
};

/// Names as a PyTorch user knows them, by family.
const PROMISED: &[(&str, &str)] = &[
    (
        "elementwise",
        "add sub mul div rem pow pow_scalar neg abs sign sqrt rsqrt cbrt square reciprocal exp exp2 expm1 ln log2 log10 log1p \
         sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc erfinv lgamma digamma sigmoid logsigmoid \
         softplus floor ceil round trunc frac maximum minimum clamp lerp hypot addcmul where masked_fill \
         gt ge lt le eq ne and or xor not isnan isfinite nan_to_num",
    ),
    (
        "activations",
        "relu relu6 leaky_relu prelu rrelu elu selu celu gelu gelu_tanh silu mish softplus softsign hardtanh hardsigmoid \
         hardswish tanhshrink softshrink hardshrink threshold glu swiglu softmax log_softmax softmin sparsemax squareplus",
    ),
    (
        "reductions",
        "sum mean prod max min amax amin argmax argmin var std norm logsumexp all any count_nonzero sum_axes mean_axes \
         prod_axes max_axis min_axis amax_axes amin_axes var_axes std_axes norm_axes logsumexp_axes all_axes any_axes \
         count_nonzero_axes cumsum cumprod logcumsumexp median quantile topk sort argsort",
    ),
    (
        "linear algebra",
        "dot outer matmul matmul_batched einsum diag trace tril triu kron matrix_norm inverse solve triangular_solve cholesky \
         qr svd eigh det slogdet matrix_power",
    ),
    (
        "shape and index",
        "reshape view permute transpose squeeze unsqueeze expand repeat tile flip roll slice select narrow split chunk unbind \
         cat stack gather scatter scatter_add index_select index_add take masked_select pad_constant pad_reflect \
         pad_replicate pad_circular unfold fold one_hot embedding meshgrid",
    ),
    (
        "convolution",
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d stride padding same dilation groups depthwise \
         max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_max_pool adaptive_avg_pool lp_pool1d \
         lp_pool2d lp_pool3d ceil_mode pool_padding pool_dilation return_indices interpolate_nearest interpolate_linear \
         interpolate_bilinear interpolate_bicubic pixel_shuffle",
    ),
    (
        "normalization",
        "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm attention attention_mask \
         attention_causal attention_dropout",
    ),
    (
        "losses",
        "mse l1 huber smooth_l1 log_cosh bce bce_with_logits nll cross_entropy cross_entropy_probabilities \
         cross_entropy_weights ignore_index label_smoothing kl kl_log hinge multi_margin margin_ranking cosine_embedding \
         triplet poisson_nll gaussian_nll focal dice ctc reduction_none reduction_sum reduction_mean",
    ),
    ("Fourier", "fft ifft rfft irfft fftn ifftn rfftn irfftn"),
    (
        "random",
        "dropout feature_dropout alpha_dropout gaussian_noise bernoulli",
    ),
    (
        "calculus",
        "backward grad vjp jvp hvp jacobian hessian value_and_grad var_grad var_vjp var_jvp var_hvp var_jacobian var_hessian \
         detach no_grad grad_of_intermediate hook_read hook_replace accumulation several_roots custom_grad op_trait checkpoint \
         vmap truncated_bptt missing_report anomaly_mode trace gradcheck",
    ),
];

/// A result: computed when asked for its elements.
trait Out {
    fn numel(self) -> usize;
}
impl Out for Var<'_, f64> {
    fn numel(self) -> usize {
        self.value().to_vec().len()
    }
}
impl Out for Tensor<f64> {
    fn numel(self) -> usize {
        self.to_vec().len()
    }
}
impl Out for Tensor<i64> {
    fn numel(self) -> usize {
        self.to_vec().len()
    }
}
impl<A: Out, B: Out> Out for (A, B) {
    fn numel(self) -> usize {
        self.0.numel() + self.1.numel()
    }
}
impl<A: Out, B: Out, C: Out> Out for (A, B, C) {
    fn numel(self) -> usize {
        self.0.numel() + self.1.numel() + self.2.numel()
    }
}
impl<A: Out> Out for Vec<A> {
    fn numel(self) -> usize {
        self.into_iter().map(Out::numel).sum()
    }
}
impl<A: Out, const N: usize> Out for [A; N] {
    fn numel(self) -> usize {
        self.into_iter().map(Out::numel).sum()
    }
}

/// Tiny operands: numbers in (0.2, 0.9) of any shape.
struct Given<'t>(&'t Tape<f64>);
impl<'t> Given<'t> {
    fn of(&self, shape: &[usize]) -> Var<'t, f64> {
        let n: usize = shape.iter().product();
        let v = (0..n).map(|i| 0.2 + 0.7 * (i as f64 * 0.618_033_988_749).fract());
        self.0.input(&Tensor::from_vec(v.collect(), shape))
    }
    /// A symmetric positive matrix.
    fn positive(&self) -> Var<'t, f64> {
        let a = self.of(&[3, 3]);
        a.matmul(a.t()) + self.0.eye(3)
    }
}

fn ints(v: &[i64], shape: &[usize]) -> Tensor<i64> {
    Tensor::from_slice(v, shape)
}

type Row = (&'static str, fn(&Tape<f64>) -> usize);

macro_rules! rows {
    ($($name:literal |$x:ident, $y:ident, $g:ident| $body:expr;)*) => {
        /// Name, and a call that says how many elements came out. `x` and `y` are matrices 2 x 3, `g` makes others.
        const ROWS: &[Row] = &[$(($name, |tape| {
            let $g = Given(tape);
            let ($x, $y) = ($g.of(&[2, 3]), $g.of(&[2, 3]).flip([0, 1]));
            let _ = (&$x, &$y);
            Out::numel($body)
        }),)*];
    };
}

rows! {
    "add" |x, y, g| x + y;
    "sub" |x, y, g| x - y;
    "mul" |x, y, g| x * y;
    "div" |x, y, g| x / y;
    "rem" |x, y, g| x % y;
    "pow" |x, y, g| x.pow(y);
    "pow_scalar" |x, y, g| (x.powf(2.5), x.powi(-3), x.rpow(2.0));
    "neg" |x, y, g| -x;
    "abs" |x, y, g| x.abs();
    "sign" |x, y, g| x.sign();
    "sqrt" |x, y, g| x.sqrt();
    "rsqrt" |x, y, g| x.rsqrt();
    "cbrt" |x, y, g| x.cbrt();
    "square" |x, y, g| x.square();
    "reciprocal" |x, y, g| x.reciprocal();
    "exp" |x, y, g| x.exp();
    "exp2" |x, y, g| x.exp2();
    "expm1" |x, y, g| x.expm1();
    "ln" |x, y, g| x.ln();
    "log2" |x, y, g| x.log2();
    "log10" |x, y, g| x.log10();
    "log1p" |x, y, g| x.log1p();
    "sin" |x, y, g| x.sin();
    "cos" |x, y, g| x.cos();
    "tan" |x, y, g| x.tan();
    "asin" |x, y, g| x.asin();
    "acos" |x, y, g| x.acos();
    "atan" |x, y, g| x.atan();
    "atan2" |x, y, g| x.atan2(y);
    "sinh" |x, y, g| x.sinh();
    "cosh" |x, y, g| x.cosh();
    "tanh" |x, y, g| x.tanh();
    "asinh" |x, y, g| x.asinh();
    "acosh" |x, y, g| (x + 1.0).acosh();
    "atanh" |x, y, g| x.atanh();
    "erf" |x, y, g| x.erf();
    "erfc" |x, y, g| x.erfc();
    "erfinv" |x, y, g| x.erfinv();
    "lgamma" |x, y, g| x.lgamma();
    "digamma" |x, y, g| x.digamma();
    "sigmoid" |x, y, g| x.sigmoid();
    "logsigmoid" |x, y, g| x.logsigmoid();
    "softplus" |x, y, g| x.softplus();
    "floor" |x, y, g| x.floor();
    "ceil" |x, y, g| x.ceil();
    "round" |x, y, g| x.round();
    "trunc" |x, y, g| x.trunc();
    "frac" |x, y, g| x.frac();
    "maximum" |x, y, g| x.maximum(y);
    "minimum" |x, y, g| x.minimum(y);
    "clamp" |x, y, g| (x.clamp(0.3, 0.6), x.clamp_min(0.3), x.clamp_max(0.6));
    "lerp" |x, y, g| x.lerp(y, x);
    "hypot" |x, y, g| x.hypot(y);
    "addcmul" |x, y, g| x.addcmul(y, y, 0.5);
    "where" |x, y, g| x.gt(y).where_(x, y);
    "masked_fill" |x, y, g| x.masked_fill(x.gt(y), 0.0);
    "gt" |x, y, g| (x.gt(y), x.gt_scalar(0.5));
    "ge" |x, y, g| (x.ge(y), x.ge_scalar(0.5));
    "lt" |x, y, g| (x.lt(y), x.lt_scalar(0.5));
    "le" |x, y, g| (x.le(y), x.le_scalar(0.5));
    "eq" |x, y, g| (x.eq(y), x.eq_scalar(0.5));
    "ne" |x, y, g| (x.ne(y), x.ne_scalar(0.5));
    "and" |x, y, g| x.logical_and(y);
    "or" |x, y, g| x.logical_or(y);
    "xor" |x, y, g| x.logical_xor(y);
    "not" |x, y, g| {
        // As a tensor of bools, and back.
        let bools: Tensor<bool> = x.gt(y).truths();
        x.mask(g.0.truth(&bools)) + x.logical_not()
    };
    "isnan" |x, y, g| x.isnan();
    "isfinite" |x, y, g| x.isfinite();
    "nan_to_num" |x, y, g| x.nan_to_num(0.0, 1.0);

    "relu" |x, y, g| x.relu();
    "relu6" |x, y, g| x.relu6();
    "leaky_relu" |x, y, g| x.leaky_relu(0.01);
    "prelu" |x, y, g| x.prelu(y);
    "rrelu" |x, y, g| x.rrelu(0.125, 0.375);
    "elu" |x, y, g| x.elu(1.0);
    "selu" |x, y, g| x.selu();
    "celu" |x, y, g| x.celu(1.0);
    "gelu" |x, y, g| x.gelu();
    "gelu_tanh" |x, y, g| x.gelu_tanh();
    "silu" |x, y, g| x.silu();
    "mish" |x, y, g| x.mish();
    "softsign" |x, y, g| x.softsign();
    "hardtanh" |x, y, g| x.hardtanh(-1.0, 1.0);
    "hardsigmoid" |x, y, g| x.hardsigmoid();
    "hardswish" |x, y, g| x.hardswish();
    "tanhshrink" |x, y, g| x.tanhshrink();
    "softshrink" |x, y, g| x.softshrink(0.5);
    "hardshrink" |x, y, g| x.hardshrink(0.5);
    "threshold" |x, y, g| x.threshold(0.5, 0.0);
    "glu" |x, y, g| g.of(&[2, 4]).glu(1);
    "swiglu" |x, y, g| g.of(&[2, 4]).swiglu(1);
    "softmax" |x, y, g| x.softmax(1);
    "log_softmax" |x, y, g| x.log_softmax(0);
    "softmin" |x, y, g| x.softmin(-1);
    "sparsemax" |x, y, g| x.sparsemax(1);
    "squareplus" |x, y, g| x.squareplus(4.0);

    "sum" |x, y, g| x.sum();
    "mean" |x, y, g| x.mean();
    "prod" |x, y, g| x.prod();
    "max" |x, y, g| x.max();
    "min" |x, y, g| x.min();
    "amax" |x, y, g| x.amax();
    "amin" |x, y, g| x.amin();
    "argmax" |x, y, g| (x.argmax(1, false), x.flatten(0, -1).argmax(0, true));
    "argmin" |x, y, g| x.argmin(0, true);
    "var" |x, y, g| x.var(1.0);
    "std" |x, y, g| x.std(0.0);
    "norm" |x, y, g| [0.0, 0.5, 1.0, 2.0, 3.0, f64::INFINITY, f64::NEG_INFINITY].map(|p| x.norm(p));
    "logsumexp" |x, y, g| x.logsumexp();
    "all" |x, y, g| x.all();
    "any" |x, y, g| x.any();
    "count_nonzero" |x, y, g| x.count_nonzero();
    "sum_axes" |x, y, g| (x.sum_dim([0, 1], false), x.sum_dim([1], true));
    "mean_axes" |x, y, g| (x.mean_dim([0, 1], false), x.mean_dim([1], true));
    "prod_axes" |x, y, g| (x.prod_dim([0, 1], false), x.prod_dim([1], true));
    "max_axis" |x, y, g| (x.max_dim(0, false), x.max_dim(1, true));
    "min_axis" |x, y, g| (x.min_dim(0, false), x.min_dim(1, true));
    "amax_axes" |x, y, g| (x.amax_dim([0, 1], false), x.amax_dim([1], true));
    "amin_axes" |x, y, g| (x.amin_dim([0, 1], false), x.amin_dim([1], true));
    "var_axes" |x, y, g| (x.var_dim([0, 1], 1.0, false), x.var_dim([1], 0.0, true));
    "std_axes" |x, y, g| (x.std_dim([0, 1], 1.0, false), x.std_dim([1], 0.0, true));
    "norm_axes" |x, y, g| (x.norm_dim(2.0, [0, 1], false), x.norm_dim(1.5, [1], true));
    "logsumexp_axes" |x, y, g| (x.logsumexp_dim([0, 1], false), x.logsumexp_dim([1], true));
    "all_axes" |x, y, g| (x.all_dim([0, 1], false), x.all_dim([1], true));
    "any_axes" |x, y, g| (x.any_dim([0, 1], false), x.any_dim([1], true));
    "count_nonzero_axes" |x, y, g| (x.count_nonzero_dim([0, 1], false), x.count_nonzero_dim([1], true));
    "cumsum" |x, y, g| x.cumsum(1);
    "cumprod" |x, y, g| x.cumprod(0);
    "logcumsumexp" |x, y, g| x.logcumsumexp(1);
    "median" |x, y, g| (x.median(), x.median_dim(1, false));
    "quantile" |x, y, g| (x.quantile(0.3), x.quantile_dim(0.3, 1, true));
    "topk" |x, y, g| x.topk(2, 1, true);
    "sort" |x, y, g| x.sort(1, true);
    "argsort" |x, y, g| x.argsort(1, false);

    "dot" |x, y, g| g.of(&[3]).dot(g.of(&[3]));
    "outer" |x, y, g| g.of(&[3]).outer(g.of(&[2]));
    "matmul" |x, y, g| [x.matmul(y.t()), g.of(&[3]).matmul(g.of(&[3])), x.matmul(g.of(&[3])), g.of(&[2]).matmul(x)];
    "matmul_batched" |x, y, g| g.of(&[2, 1, 2, 3]).matmul(g.of(&[4, 3, 2]));
    "einsum" |x, y, g| Var::einsum("ij,kj,kl->il", &[x, y, x]);
    "diag" |x, y, g| (g.of(&[3]).diag(0), g.of(&[3, 3]).diag(1));
    "trace" |x, y, g| x.trace();
    "tril" |x, y, g| x.tril(0);
    "triu" |x, y, g| x.triu(1);
    "kron" |x, y, g| x.kron(y);
    "matrix_norm" |x, y, g| (x.norm(2.0), x.svdvals().max());
    "inverse" |x, y, g| g.positive().inverse();
    "solve" |x, y, g| g.positive().solve(g.of(&[3, 2]));
    "triangular_solve" |x, y, g| g.positive().triangular_solve(g.of(&[3, 2]), true, false);
    "cholesky" |x, y, g| g.positive().cholesky();
    "qr" |x, y, g| x.qr();
    "svd" |x, y, g| x.svd();
    "eigh" |x, y, g| g.positive().eigh();
    "det" |x, y, g| g.positive().det();
    "slogdet" |x, y, g| g.positive().slogdet();
    "matrix_power" |x, y, g| (g.positive().matrix_power(3), g.positive().matrix_power(-2));

    "reshape" |x, y, g| x.reshape([3, 2]);
    "view" |x, y, g| x.view([6]);
    "permute" |x, y, g| x.permute([1, 0]);
    "transpose" |x, y, g| x.transpose(0, -1);
    "squeeze" |x, y, g| g.of(&[2, 1]).squeeze(1);
    "unsqueeze" |x, y, g| x.unsqueeze(0);
    "expand" |x, y, g| g.of(&[2, 1]).expand(&[-1, 3]);
    "repeat" |x, y, g| x.repeat([2, 1]);
    "tile" |x, y, g| x.tile([2, 1, 1]);
    "flip" |x, y, g| x.flip([0, 1]);
    "roll" |x, y, g| x.roll([1], [1]);
    "slice" |x, y, g| x.slice(1, 0, 3, 2);
    "select" |x, y, g| x.select(0, 1);
    "narrow" |x, y, g| x.narrow(1, 1, 3);
    "split" |x, y, g| (x.split(2, 1), x.split_sizes(&[1, 2], 1));
    "chunk" |x, y, g| x.chunk(2, 0);
    "unbind" |x, y, g| x.unbind(0);
    "cat" |x, y, g| Var::cat(&[x, y], 0);
    "stack" |x, y, g| Var::stack(&[x, y], 0);
    "gather" |x, y, g| x.gather(1, &ints(&[2, 0], &[2, 1]));
    "scatter" |x, y, g| (x.scatter(1, &ints(&[2, 0, 1, 1, 2, 0], &[2, 3]), y), x.scatter_value(1, &ints(&[2, 0, 1, 1, 2, 0], &[2, 3]), 0.5));
    "scatter_add" |x, y, g| x.scatter_add(1, &ints(&[2, 0, 1, 1, 2, 0], &[2, 3]), y);
    "index_select" |x, y, g| x.index_select(1, &ints(&[2, 0], &[2]));
    "index_add" |x, y, g| x.index_add(0, &ints(&[1, 1], &[2]), y);
    "take" |x, y, g| x.take(&ints(&[5, 0], &[2]));
    "masked_select" |x, y, g| x.masked_select(&x.gt(y).truths());
    "pad_constant" |x, y, g| x.pad(&[(1, 2)], Pad::Constant(1.0));
    "pad_reflect" |x, y, g| x.pad(&[(1, 2)], Pad::Reflect);
    "pad_replicate" |x, y, g| x.pad(&[(1, 2)], Pad::Replicate);
    "pad_circular" |x, y, g| x.pad(&[(1, 2)], Pad::Circular);
    "unfold" |x, y, g| (x.unfold(1, 2, 1), g.of(&[1, 1, 3, 3]).unfold2d(wengert_autograd::ops::windows::Window2d::new([2, 2])));
    "fold" |x, y, g| (g.of(&[2, 2, 2]).fold(0, 3, 1), g.of(&[1, 4, 4]).fold2d([3, 3], wengert_autograd::ops::windows::Window2d::new([2, 2])));
    "one_hot" |x, y, g| g.0.one_hot(&ints(&[1, 0], &[2]), 3);
    "embedding" |x, y, g| x.embedding(&ints(&[1, 0, 1], &[3]));
    "meshgrid" |x, y, g| Var::meshgrid(&[g.of(&[2]), g.of(&[3])]);

    "conv1d" |x, y, g| g.of(&[1, 2, 5]).conv1d(g.of(&[3, 2, 2]), Some(g.of(&[3])), ConvOptions::new());
    "conv2d" |x, y, g| g.of(&[1, 2, 4, 4]).conv2d(g.of(&[3, 2, 2, 2]), None, ConvOptions::new());
    "conv3d" |x, y, g| g.of(&[1, 1, 3, 3, 3]).conv3d(g.of(&[2, 1, 2, 2, 2]), None, ConvOptions::new());
    "conv_transpose1d" |x, y, g| g.of(&[1, 2, 3]).conv_transpose1d(g.of(&[2, 1, 2]), None, ConvTransposeOptions::new().stride(2).output_padding(1));
    "conv_transpose2d" |x, y, g| g.of(&[1, 2, 2, 2]).conv_transpose2d(g.of(&[2, 1, 2, 2]), None, ConvTransposeOptions::new().dilation(2));
    "conv_transpose3d" |x, y, g| g.of(&[1, 1, 2, 2, 2]).conv_transpose3d(g.of(&[1, 1, 2, 2, 2]), None, ConvTransposeOptions::new().padding(1));
    "stride" |x, y, g| g.of(&[1, 1, 5]).conv1d(g.of(&[1, 1, 2]), None, ConvOptions::new().stride(2));
    "padding" |x, y, g| g.of(&[1, 1, 5]).conv1d(g.of(&[1, 1, 2]), None, ConvOptions::new().padding(1));
    "same" |x, y, g| g.of(&[1, 1, 5]).conv1d(g.of(&[1, 1, 2]), None, ConvOptions::new().padding(Padding::Same));
    "dilation" |x, y, g| g.of(&[1, 1, 5]).conv1d(g.of(&[1, 1, 2]), None, ConvOptions::new().dilation(2));
    "groups" |x, y, g| g.of(&[1, 4, 5]).conv1d(g.of(&[2, 2, 2]), None, ConvOptions::new().groups(2));
    "depthwise" |x, y, g| g.of(&[1, 4, 5]).conv1d(g.of(&[8, 1, 2]), None, ConvOptions::new().groups(4));
    "max_pool1d" |x, y, g| g.of(&[1, 4]).max_pool([2]);
    "max_pool2d" |x, y, g| g.of(&[1, 4, 4]).max_pool([2, 2]);
    "max_pool3d" |x, y, g| g.of(&[1, 2, 2, 2]).max_pool([2, 2, 2]);
    "avg_pool1d" |x, y, g| g.of(&[1, 4]).avg_pool([2], Divisor::Window);
    "avg_pool2d" |x, y, g| g.of(&[1, 4, 4]).avg_pool([2, 2], Divisor::Inside);
    "avg_pool3d" |x, y, g| g.of(&[1, 2, 2, 2]).avg_pool([2, 2, 2], Divisor::Fixed(3.0));
    "adaptive_max_pool" |x, y, g| (g.of(&[1, 5]).adaptive_max_pool([2]), g.of(&[1, 5, 4]).adaptive_max_pool([2, 3]), g.of(&[1, 3, 2, 2]).adaptive_max_pool([2, 1, 1]));
    "adaptive_avg_pool" |x, y, g| (g.of(&[1, 5]).adaptive_avg_pool([2]), g.of(&[1, 5, 4]).adaptive_avg_pool([2, 3]), g.of(&[1, 3, 2, 2]).adaptive_avg_pool([2, 1, 1]));
    "lp_pool1d" |x, y, g| g.of(&[1, 4]).lp_pool(2.0, [2]);
    "lp_pool2d" |x, y, g| g.of(&[1, 4, 4]).lp_pool(3.0, [2, 2]);
    "lp_pool3d" |x, y, g| g.of(&[1, 2, 2, 2]).lp_pool(1.0, [2, 2, 2]);
    "ceil_mode" |x, y, g| (g.of(&[1, 5]).max_pool(Pool::new([2]).ceil()), g.of(&[1, 5]).avg_pool(Pool::new([2]).ceil(), Divisor::Window), g.of(&[1, 5]).lp_pool(2.0, Pool::new([2]).ceil()));
    "pool_padding" |x, y, g| (g.of(&[1, 5]).max_pool(Pool::new([2]).padding([1])), g.of(&[1, 5]).avg_pool(Pool::new([2]).padding([1]), Divisor::Inside));
    "pool_dilation" |x, y, g| g.of(&[1, 5]).max_pool(Pool::new([2]).dilation([2]));
    "return_indices" |x, y, g| (g.of(&[1, 5]).max_pool_places([2]), g.of(&[1, 5]).adaptive_max_pool_places([2]));
    "interpolate_nearest" |x, y, g| g.of(&[1, 1, 3]).interpolate([5], Interpolation::Nearest);
    "interpolate_linear" |x, y, g| g.of(&[1, 1, 3]).interpolate([5], Interpolation::LINEAR);
    "interpolate_bilinear" |x, y, g| g.of(&[1, 1, 3, 3]).interpolate([5, 2], Interpolation::LINEAR);
    "interpolate_bicubic" |x, y, g| g.of(&[1, 1, 3, 3]).interpolate_by([2.0, 2.0], Interpolation::CUBIC);
    "pixel_shuffle" |x, y, g| (g.of(&[1, 4, 2, 2]).pixel_shuffle(2), g.of(&[1, 1, 2, 2]).pixel_unshuffle(2));

    "batch_norm" |x, y, g| (x.batch_normalized(None, None, 1e-5, false), x.batch_norm(g.of(&[3]), g.of(&[3]), None, None, 1e-5));
    "layer_norm" |x, y, g| x.layer_norm(1, Some(g.of(&[3])), Some(g.of(&[3])), 1e-5);
    "group_norm" |x, y, g| g.of(&[2, 4, 3]).group_norm(2, None, None, 1e-5);
    "instance_norm" |x, y, g| g.of(&[2, 4, 3]).instance_norm(None, None, 1e-5);
    "rms_norm" |x, y, g| x.rms_norm(1, None, 1e-5);
    "local_response_norm" |x, y, g| g.of(&[2, 4, 3]).local_response_norm(3, 1e-4, 0.75, 1.0);
    "attention" |x, y, g| x.scaled_dot_product_attention(y, x, Attention::default());
    "attention_mask" |x, y, g| x.scaled_dot_product_attention(y, x, Attention { mask: Some(g.of(&[2, 2])), ..Default::default() });
    "attention_causal" |x, y, g| x.scaled_dot_product_attention(y, x, Attention { causal: true, ..Default::default() });
    "attention_dropout" |x, y, g| x.scaled_dot_product_attention(y, x, Attention { dropout: 0.5, ..Default::default() });

    "mse" |x, y, g| x.mse(y);
    "l1" |x, y, g| x.l1(y);
    "huber" |x, y, g| (x - y).huber(1.0);
    "smooth_l1" |x, y, g| x.smooth_l1(y, 1.0);
    "log_cosh" |x, y, g| (x - y).log_cosh();
    "bce" |x, y, g| x.bce(y);
    "bce_with_logits" |x, y, g| x.bce_with_logits(y, Some(g.of(&[3])));
    "nll" |x, y, g| x.log_softmax(1).nll(&ints(&[1, 2], &[2]), Some(g.of(&[3])), Some(-1));
    "cross_entropy" |x, y, g| x.cross_entropy(&ints(&[1, 2], &[2]));
    "cross_entropy_probabilities" |x, y, g| x.cross_entropy_probabilities(y.softmax(1), Some(g.of(&[3])));
    "cross_entropy_weights" |x, y, g| x.cross_entropy_weighted(&ints(&[1, 2], &[2]), Some(g.of(&[3])), None, 0.0);
    "ignore_index" |x, y, g| x.cross_entropy_rows(&ints(&[1, -100], &[2]), Some(-100));
    "label_smoothing" |x, y, g| x.cross_entropy_weighted(&ints(&[1, 2], &[2]), None, None, 0.1);
    "kl" |x, y, g| x.ln().kl_div(y);
    "kl_log" |x, y, g| x.ln().kl_div_log(y.ln());
    "hinge" |x, y, g| x.hinge(y.sign());
    "multi_margin" |x, y, g| x.multi_margin(&ints(&[1, 2], &[2]), 1, 1.0, None);
    "margin_ranking" |x, y, g| x.margin_ranking(y, y.sign(), 0.1);
    "cosine_embedding" |x, y, g| x.cosine_embedding(y, g.of(&[2]).sign(), 0.1);
    "triplet" |x, y, g| x.triplet(y, x * 2.0, 1.0, 2.0, true);
    "poisson_nll" |x, y, g| x.poisson_nll(y, true);
    "gaussian_nll" |x, y, g| x.gaussian_nll(y, x, true, 1e-6);
    "focal" |x, y, g| x.focal(y, 2.0, Some(0.25));
    "dice" |x, y, g| x.dice(y, [1], 1.0);
    "ctc" |x, y, g| g.of(&[3, 1, 3]).log_softmax(2).ctc(&ints(&[1, 2], &[1, 2]), &[3], &[2], 0, false);
    // Losses without a mean of their own are one number per element or row; mean and sum are the reductions.
    "reduction_none" |x, y, g| x.smooth_l1(y, 1.0);
    "reduction_sum" |x, y, g| x.smooth_l1(y, 1.0).sum();
    "reduction_mean" |x, y, g| x.smooth_l1(y, 1.0).mean();

    "fft" |x, y, g| x.to_complex().fft(1, FftNorm::Inverse);
    "ifft" |x, y, g| x.to_complex().ifft(1, FftNorm::Inverse);
    "rfft" |x, y, g| x.rfft(1, FftNorm::Inverse);
    "irfft" |x, y, g| x.rfft(1, FftNorm::Inverse).irfft(3, 1, FftNorm::Inverse);
    "fftn" |x, y, g| x.to_complex().fftn([0, 1], FftNorm::Both);
    "ifftn" |x, y, g| x.to_complex().ifftn([0, 1], FftNorm::Both);
    "rfftn" |x, y, g| x.rfftn([0, 1], FftNorm::Forward);
    "irfftn" |x, y, g| x.rfftn([0, 1], FftNorm::Inverse).irfftn(3, [0, 1], FftNorm::Inverse);

    "dropout" |x, y, g| x.dropout(0.5);
    "feature_dropout" |x, y, g| g.of(&[2, 3, 2]).feature_dropout(0.5);
    "alpha_dropout" |x, y, g| x.alpha_dropout(0.5);
    "gaussian_noise" |x, y, g| x.gaussian_noise(0.1);
    "bernoulli" |x, y, g| g.0.bernoulli([4], 0.5);

    "backward" |x, y, g| {
        let p = Param::new(Tensor::<f64>::ones([2]));
        let tape = Tape::training(1);
        let grads = tape.param(&p).square().sum().backward();
        grads.get(&p).expect("a gradient").clone()
    };
    "grad" |x, y, g| {
        let [first] = grad((x * x * x).sum(), [x]);
        grad(first.sum(), [x])
    };
    "vjp" |x, y, g| vjp(x * y, y, [x]);
    "jvp" |x, y, g| jvp(x * y, [x], [y]);
    "hvp" |x, y, g| hvp((x * x * y).sum(), [x], [y]);
    "jacobian" |x, y, g| jacobian(|v| v.square(), &x.value());
    "hessian" |x, y, g| hessian(|v| v.square().sum(), &x.value());
    "value_and_grad" |x, y, g| {
        let (value, [slope]) = value_and_grad(|[v]: [Var<'_, f64>; 1]| v.square().sum(), [&x.value()]);
        assert!(value > 0.0);
        slope
    };
    "var_grad" |x, y, g| (x * y).sum().grad([x, y]);
    "var_vjp" |x, y, g| (x * y).vjp(y, [x]);
    "var_jvp" |x, y, g| (x * y).jvp([x], [y]);
    "var_hvp" |x, y, g| (x * x * y).sum().hvp([x], [y]);
    "var_jacobian" |x, y, g| (x * y).jacobian(x);
    "var_hessian" |x, y, g| (x * x * y).sum().hessian(x);
    "detach" |x, y, g| x.detach();
    "no_grad" |x, y, g| g.0.no_grad(|| x * y);
    "grad_of_intermediate" |x, y, g| {
        let h = x * y;
        grad(h.exp().sum(), [h])
    };
    "hook_read" |x, y, g| {
        let h = x * y;
        let seen = std::rc::Rc::new(std::cell::Cell::new(0));
        let at = seen.clone();
        h.hook(move |ct| {
            at.set(ct.numel());
            ct
        });
        let r = grad(h.sum(), [x]);
        assert_eq!(seen.get(), 6);
        r
    };
    "hook_replace" |x, y, g| {
        let h = x * 1.0;
        h.hook(|ct| ct * 0.0);
        let [r] = grad(h.sum(), [x]);
        assert!(r.value().iter().all(|v| v == 0.0));
        r
    };
    "accumulation" |x, y, g| {
        let p = Param::new(Tensor::<f64>::ones([2]));
        let mut tape = Tape::training(1);
        let mut total = tape.param(&p).sum().backward();
        tape.reset();
        total.accumulate(&tape.param(&p).sum().backward(), 2.0);
        let sum = total.get(&p).expect("a gradient").clone();
        assert_eq!(sum.to_vec(), [3.0, 3.0]);
        sum
    };
    "several_roots" |x, y, g| wengert_autograd::vjp_many(&[x * y, x.sum()], &[y, g.0.ones(())], &[x]);
    "custom_grad" |x, y, g| custom_grad([x], |[x]| x.square(), |ctx| {
        [Some(ctx.cotangent() * 2.0 * ctx.input(0))].into_iter().collect()
    });
    "op_trait" |x, y, g| x.apply(Twice);
    "checkpoint" |x, y, g| {
        let h = g.0.checkpoint(|| x.exp().sin());
        grad(h.sum(), [x])
    };
    "vmap" |x, y, g| vmap(|[a, b]| a.dot(b), [x, y]);
    "truncated_bptt" |x, y, g| {
        // The state goes on, its history does not.
        let first = (x * y).tanh();
        let second = (first.detach() * y).tanh();
        let [cut] = grad(second.sum(), [x]);
        assert!(cut.value().iter().all(|v| v == 0.0));
        second
    };
    "missing_report" |x, y, g| {
        let p = Param::new(Tensor::<f64>::ones([2]));
        let tape = Tape::training(1);
        let loss = tape.param(&p).detach().sum() + tape.ones(()).square();
        let missing = loss.missing_gradients(&p);
        assert!(matches!(missing[0].why, WhyMissing::Cut { op: "detach", .. }), "{missing:?}");
        x
    };
    "anomaly_mode" |x, y, g| {
        let mut tape = Tape::<f64>::inference();
        tape.detect_anomaly(true);
        let zero = tape.zeros(());
        let bad = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| zero.ln().item()));
        assert!(bad.is_err());
        x
    };
    "trace" |x, y, g| {
        let p = Param::new(Tensor::<f64>::zeros([2]));
        let tape = Tape::training(1);
        let _ = tape.param(&p).ln().sum().backward();
        assert_eq!(tape.trace(&p).expect("an infinity").op, "ln");
        x
    };
    "gradcheck" |x, y, g| {
        gradcheck(|[v]| v.square().sum(), [x.value()]).assert_ok();
        x
    };
}

/// An operation of another crate.
#[derive(Debug, PartialEq)]
struct Twice;
impl<T: Float> Op<T> for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn shape(&self, inputs: &[&[usize]]) -> wengert_autograd::Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        for (y, x) in ctx.output().iter_mut().zip(x.iter()) {
            *y = x + x;
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        [Some(ctx.cotangent() * 2.0)].into_iter().collect()
    }
}

#[test]
fn every_promised_name_has_an_item() {
    let mut missing = Vec::new();
    for (family, names) in PROMISED {
        for name in names.split_whitespace() {
            if !ROWS.iter().any(|r| r.0 == name) {
                missing.push(format!("{family}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    for (name, run) in ROWS {
        let promised = |p: &(&str, &str)| p.1.split_whitespace().any(|n| n == *name);
        assert!(PROMISED.iter().any(promised), "{name} is not promised");
        // On a training tape: what is random draws.
        assert!(run(&Tape::training(3)) > 0, "{name}");
    }
}

/// Promised names whose values of PyTorch stand under another name in `tests/reference`: as a rule the axes, dimensions or
/// settings that the name stands for.
const REFERENCE: &[(&str, &str)] = &[
    ("pow_scalar", "powf"),
    ("where", "where_"),
    ("and", "logical_and"),
    ("or", "logical_or"),
    ("xor", "logical_xor"),
    ("not", "logical_not"),
    ("sum_axes", "sum_dim"),
    ("mean_axes", "mean_dim"),
    ("prod_axes", "prod_dim"),
    ("max_axis", "max_dim"),
    ("min_axis", "min_dim"),
    ("amax_axes", "amax_dim"),
    ("amin_axes", "amin_dim"),
    ("var_axes", "var_dim"),
    ("std_axes", "std_dim"),
    ("norm", "norm 3"),
    ("norm_axes", "norm_dim p"),
    ("logsumexp_axes", "logsumexp_dim"),
    ("all_axes", "all_dim"),
    ("any_axes", "any_dim"),
    ("count_nonzero_axes", "count_nonzero_dim"),
    ("matmul_batched", "matmul batched"),
    ("einsum", "einsum chain"),
    ("matrix_norm", "svdvals"),
    ("diag", "diag matrix"),
    ("pad_constant", "pad"),
    ("pad_reflect", "pad reflect"),
    ("pad_replicate", "pad replicate"),
    ("pad_circular", "pad circular"),
    ("stride", "conv2d stride"),
    ("padding", "conv2d padding"),
    ("same", "conv2d same"),
    ("dilation", "conv2d uneven"),
    ("groups", "conv2d groups"),
    ("depthwise", "conv2d depthwise"),
    ("max_pool1d", "max_pool dilated"),
    ("max_pool2d", "max_pool"),
    ("max_pool3d", "max_pool volume"),
    ("avg_pool1d", "avg_pool line"),
    ("avg_pool2d", "avg_pool"),
    ("avg_pool3d", "avg_pool divisor"),
    ("lp_pool1d", "lp_pool cubes"),
    ("lp_pool2d", "lp_pool"),
    ("lp_pool3d", "lp_pool volume"),
    ("ceil_mode", "max_pool ceil"),
    ("pool_padding", "max_pool overlap"),
    ("pool_dilation", "max_pool dilated"),
    ("return_indices", "max_pool_places"),
    ("interpolate_nearest", "interpolate nearest"),
    ("interpolate_linear", "interpolate line"),
    ("interpolate_bilinear", "interpolate bilinear"),
    ("interpolate_bicubic", "interpolate bicubic"),
    ("attention", "scaled_dot_product_attention"),
    ("attention_mask", "attention mask"),
    ("attention_causal", "attention causal"),
    ("attention_dropout", "attention dropout"),
    ("cross_entropy_weights", "cross_entropy_weighted"),
    ("ignore_index", "nll"),
    ("label_smoothing", "cross_entropy_weighted"),
    ("kl", "kl_div"),
    ("kl_log", "kl_div_log"),
    ("reduction_none", "smooth_l1"),
    ("reduction_sum", "sum"),
    ("reduction_mean", "mse"),
    ("var_jacobian", "jacobian"),
    ("var_hessian", "hessian"),
    ("hook_read", "hook read"),
    ("hook_replace", "hook replaced x"),
    ("truncated_bptt", "truncated u"),
];

/// Calculus that gradients of every line of the references go through, or that computes nothing of its own: other tests.
const ELSEWHERE: &str = "backward grad vjp jvp hvp value_and_grad var_grad var_vjp var_jvp var_hvp detach no_grad \
     grad_of_intermediate accumulation several_roots custom_grad op_trait missing_report anomaly_mode trace gradcheck";

/// Every promised name has values and derivatives of PyTorch, and with them a row of the table whose derivatives of orders 1 and 2
/// are checked: the tests that read these files take each line for a row, and check every row.
#[test]
fn every_promised_name_has_values_of_pytorch() {
    let files = [
        include_str!("reference/elementwise.txt"),
        include_str!("reference/structured.txt"),
        include_str!("reference/random_numbers.txt"),
        include_str!("reference/calculus.txt"),
    ];
    let lines: Vec<&str> = (files.iter().flat_map(|f| f.lines()))
        .filter_map(|line| line.split('|').next())
        .collect();
    let mut without = Vec::new();
    for name in PROMISED.iter().flat_map(|p| p.1.split_whitespace()) {
        if ELSEWHERE.split_whitespace().any(|n| n == name) {
            continue;
        }
        let other = REFERENCE.iter().find(|r| r.0 == name);
        let known = other.map_or(name, |r| r.1);
        if !lines.contains(&known) {
            without.push((name, known));
        }
    }
    assert!(without.is_empty(), "no values of PyTorch for {without:?}");
}
