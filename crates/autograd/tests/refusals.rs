//! Misuse panics with the operation and what was found, at the caller's line.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use wengert_autograd::ops::attention::Attention;
use wengert_autograd::ops::conv::{ConvOptions, ConvTransposeOptions, Padding};
use wengert_autograd::ops::fft::FftNorm;
use wengert_autograd::ops::pad::Pad;
use wengert_autograd::ops::windows::Window2d;
use wengert_autograd::{Tape, Tensor, Var};

thread_local!(static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) });

/// Message and file of the panic of `f`, if it panics.
fn panics(f: impl FnOnce()) -> Option<(String, String)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if LAST.with(|l| l.borrow().is_none()) {
                return before(info);
            }
            let payload = info.payload();
            let text = (payload.downcast_ref::<String>().cloned())
                .or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()))
                .unwrap_or_default();
            let file = info
                .location()
                .map(|l| l.file().to_string())
                .unwrap_or_default();
            LAST.with(|l| *l.borrow_mut() = Some((text, file)));
        }));
    });
    LAST.with(|l| *l.borrow_mut() = Some(Default::default()));
    let r = catch_unwind(AssertUnwindSafe(f));
    let last = LAST.with(|l| l.borrow_mut().take());
    r.is_err().then(|| last.unwrap_or_default())
}

fn ints(v: &[i64], shape: &[usize]) -> Tensor<i64> {
    Tensor::from_slice(v, shape)
}

macro_rules! refusals {
    ($($op:literal $($part:literal),* : |$t:ident, $x:ident| $body:expr;)*) => {
        /// Operation, parts of the message, misuse. `x` makes a tensor of ones.
        #[test]
        fn misuse_is_refused_with_op_and_shapes() {
            let mut failed = String::new();
            $({
                let $t = Tape::<f64>::inference();
                #[allow(unused_variables)]
                let $x = |shape: &[usize]| $t.ones(shape);
                match panics(|| { let _ = $body; }) {
                    None => failed += &format!("{}: not refused: {}\n", $op, stringify!($body)),
                    Some((text, file)) => {
                        for part in [concat!($op, ":"), $($part),*] {
                            if !text.contains(part) {
                                failed += &format!("{}: no {part:?} in {text:?} for {}\n", $op, stringify!($body));
                            }
                        }
                        if !file.ends_with("refusals.rs") {
                            failed += &format!("{}: panics in {file} for {}\n", $op, stringify!($body));
                        }
                    }
                }
                // The tape is usable for other graphs.
                assert_eq!($t.ones([2]).sum().item(), 2.0);
            })*
            assert!(failed.is_empty(), "{failed}");
        }
    };
}

refusals! {
    "sum" "axis 2", "rank 2": |t, x| x(&[2, 3]).sum_dim(2, false);
    "sum" "twice", "[0, -2]": |t, x| x(&[2, 3]).sum_dim([0, -2], false);
    "mean" "axis -3": |t, x| x(&[2, 3]).mean_dim([-3], false);
    "var" "axis 1": |t, x| x(&[2]).var_dim([1], 1.0, false);
    "var" "axis 1": |t, x| x(&[2]).std_dim([1], 1.0, false);
    "amax" "[0, 3]": |t, x| x(&[0, 3]).amax();
    "amax" "[0, 3]": |t, x| x(&[0, 3]).amax_dim(0, false);
    "amin" "[0, 3]": |t, x| x(&[0, 3]).amin();
    "amin" "[0, 3]": |t, x| x(&[0, 3]).amin_dim(0, false);
    "amax" "[0]": |t, x| x(&[0]).max();
    "amin" "[0]": |t, x| x(&[0]).min();
    "prod" "axis 5": |t, x| x(&[2]).prod_dim(5, false);
    "logsumexp" "axis 5": |t, x| x(&[2]).logsumexp_dim(5, false);
    "hardtanh" "lo <= hi", "2 and 1": |t, x| x(&[2]).hardtanh(2.0, 1.0);
    "celu" "found 0": |t, x| x(&[2]).celu(0.0);
    "softshrink" "-0.5": |t, x| x(&[2]).softshrink(-0.5);
    "softshrink" "NaN": |t, x| x(&[2]).softshrink(f64::NAN);
    "polygamma" "found 1.5": |t, x| x(&[2]).polygamma(1.5);
    "polygamma" "found -1": |t, x| x(&[2]).polygamma(-1.0);
    "huber" "found 0": |t, x| x(&[2]).huber(0.0);
    "norm" "NaN": |t, x| x(&[2]).norm(f64::NAN);
    "norm" "axis 5": |t, x| x(&[2]).norm_dim(2.0, 5, false);
    "cumsum" "axis 2": |t, x| x(&[2, 3]).cumsum(2);
    "cumprod" "axis -3": |t, x| x(&[2, 3]).cumprod(-3);
    "logcumsumexp" "axis 2": |t, x| x(&[2, 3]).logcumsumexp(2);
    "linear_recurrence" "[]", "[1]": |t, x| x(&[]).linear_recurrence(x(&[1]), 0);
    "linear_recurrence" "[2, 3]", "[2, 4]": |t, x| x(&[2, 3]).linear_recurrence(x(&[2, 4]), 0);
    "argmax" "[2, 0]": |t, x| x(&[2, 0]).argmax(1, false);
    "argmin" "axis 1": |t, x| x(&[2]).argmin(1, false);
    "max" "[0]": |t, x| x(&[0]).max_dim(0, false);
    "min" "axis 4": |t, x| x(&[2]).min_dim(4, false);
    "argsort" "axis 1": |t, x| x(&[2]).argsort(1, false);
    "sort" "axis 1": |t, x| x(&[2]).sort(1, false);
    "topk" "k = 4", "[2, 3]": |t, x| x(&[2, 3]).topk(4, 1, true);
    "topk" "k = 4", "[2, 3]": |t, x| x(&[2, 3]).topk_values(4, 1, true);
    "sort_values" "axis 2": |t, x| x(&[2, 3]).sort_values(2, true);
    "l1" "[2]", "[3]": |t, x| x(&[2]).l1(x(&[3]));
    "reshape" "[2, 3]", "[4]": |t, x| x(&[2, 3]).view([4]);
    "kthvalue" "found 0", "[2, 3]": |t, x| x(&[2, 3]).kthvalue(0, 1, false);
    "median" "[0, 2]": |t, x| x(&[0, 2]).median_dim(0, false);
    "median" "[0]": |t, x| x(&[0, 2]).median();
    "quantile" "1.5": |t, x| x(&[2]).quantile(1.5);
    "quantile" "axis 3": |t, x| x(&[2]).quantile_dim(0.5, 3, false);
    "reshape" "[2, 3]", "[4]": |t, x| x(&[2, 3]).reshape([4]);
    "flatten" "[2, 3]": |t, x| x(&[2, 3]).flatten(1, 0);
    "permute" "[2, 3]": |t, x| x(&[2, 3]).permute([0]);
    "permute" "twice": |t, x| x(&[2, 3]).permute([0, 0]);
    "transpose" "axis 2": |t, x| x(&[2, 3]).transpose(0, 2);
    "transpose" "axis 2": |t, x| x(&[2, 3]).swapaxes(0, 2);
    "movedim" "twice": |t, x| x(&[2, 3]).movedim([0, 0], [0, 1]);
    "movedim" "[0]": |t, x| x(&[2, 3]).movedim(0, [0, 1]);
    "t" "[3]": |t, x| x(&[3]).t();
    "broadcast_to" "[2, 3]", "[4, 3]": |t, x| x(&[2, 3]).broadcast_to([4, 3]);
    "expand" "[3]", "[-1, 3]": |t, x| x(&[3]).expand(&[-1, 3]);
    "unsqueeze" "axis 3": |t, x| x(&[3]).unsqueeze(3);
    "squeeze" "[2, 3]": |t, x| x(&[2, 3]).squeeze(0);
    "slice" "1..5", "[4]": |t, x| x(&[4]).narrow(0, 1, 5);
    "slice" "step": |t, x| x(&[4]).slice(0, 1, 3, 0);
    "select" "index 4", "[4]": |t, x| x(&[4]).select(0, 4);
    "flip" "axis 1": |t, x| x(&[4]).flip(1);
    "cat" "[2, 3]", "[2, 4]": |t, x| Var::cat(&[x(&[2, 3]), x(&[2, 4])], 0);
    "cat" "[2, 3]", "[0, 3]": |t, x| Var::cat(&[x(&[0]), x(&[2, 3]), x(&[0, 3])], 1);
    "cat" "[2, 3]", "[0, 1]": |t, x| Var::cat(&[x(&[2, 3]), x(&[0]), x(&[0, 1])], 0);
    "cat" "axis 2", "rank 2": |t, x| Var::cat(&[x(&[0]), x(&[2, 3])], 2);
    "cat" "[2, 3]", "[1]": |t, x| Var::cat(&[x(&[2, 3]), x(&[1])], 0);
    "cat" "at least one": |t, x| Var::<f64>::cat(&[], 0);
    "stack" "at least one": |t, x| Var::<f64>::stack(&[], 0);
    "cat" "[1, 2]", "[1, 3]": |t, x| Var::stack(&[x(&[2]), x(&[3])], 0);
    "tile" "more elements": |t, x| x(&[1 << 32]).tile([1 << 32]);
    "repeat" "more elements": |t, x| x(&[1 << 32]).repeat([1 << 32]);
    "repeat" "[2, 3]", "[2]": |t, x| x(&[2, 3]).repeat([2]);
    "repeat" "more elements": |t, x| x(&[1]).repeat([3 * 7 * 29, 36_760_123, 823_996_703]);
    "repeat_interleave" "more elements": |t, x| x(&[1 << 32]).repeat_interleave(1 << 32, 0);
    "roll" "[1, 2]", "[0]": |t, x| x(&[2, 3]).roll([1, 2], 0);
    "split" "found 0": |t, x| x(&[2, 3]).split(0, 0);
    "split_sizes" "[1, 3]", "[2, 3]": |t, x| x(&[2, 3]).split_sizes(&[1, 3], 1);
    "chunk" "found 0": |t, x| x(&[2, 3]).chunk(0, 1);
    "size" "axis 2": |t, x| x(&[2, 3]).unbind(2);
    "meshgrid" "[2, 3]": |t, x| Var::meshgrid(&[x(&[2, 3])]);
    "tril" "[3]": |t, x| x(&[3]).tril(0);
    "triu" "[]": |t, x| x(&[]).triu(0);
    "triangle" "more elements": |t, x| t.tri(1 << 40, 1 << 40, 0);
    "diag_embed" "more elements": |t, x| t.eye(1 << 40);
    "diagonal" "[2, 3]", "twice": |t, x| x(&[2, 3]).diagonal(0, 1, -1);
    "diag_embed" "[]": |t, x| x(&[]).diag_embed(0);
    "diag" "[2, 2, 2]": |t, x| x(&[2, 2, 2]).diag(0);
    "trace" "[2]": |t, x| x(&[2]).trace();
    "pad" "[3]": |t, x| x(&[3]).pad(&[(0, 1), (0, 1)], Pad::Zeros);
    "pad" "[3]", "Reflect": |t, x| x(&[3]).pad(&[(3, 0)], Pad::Reflect);
    "pad" "[3]", "Circular": |t, x| x(&[3]).pad(&[(0, 4)], Pad::Circular);
    "pad" "[0]", "Replicate": |t, x| x(&[0]).pad(&[(1, 0)], Pad::Replicate);
    "pad" "[3]", "(-2, -2)": |t, x| x(&[3]).pad(&[(-2, -2)], Pad::Zeros);
    "pad" "more elements": |t, x| x(&[3]).pad(&[(isize::MAX, isize::MAX)], Pad::Zeros);
    "unfold" "[3]", "4 elements": |t, x| x(&[3]).unfold(0, 4, 1);
    "unfold" "step": |t, x| x(&[3]).unfold(0, 2, 0);
    "fold" "[3, 2]": |t, x| x(&[3, 2]).fold(0, 9, 1);
    "unfold2d" "[2, 3]": |t, x| x(&[2, 3]).unfold2d(Window2d::new([1, 1]));
    "unfold" "[1, 1, 2, 2]": |t, x| x(&[1, 1, 2, 2]).unfold2d(Window2d::new([3, 1]));
    "conv1d" "[2, 3, 4, 5]": |t, x| x(&[2, 3, 4, 5]).conv1d(x(&[2, 3, 2]), None, ConvOptions::new());
    "conv1d" "size 6", "size 4": |t, x| x(&[2, 3, 4]).conv1d(x(&[2, 3, 6]), None, ConvOptions::new().padding([0]));
    "conv2d" "[3, 4, 5]", "[2, 3, 1]": |t, x| x(&[3, 4, 5]).conv2d(x(&[2, 3, 1]), None, ConvOptions::new());
    "conv2d" "3 channels", "2 groups", "[2, 1, 1, 1]": |t, x| x(&[1, 3, 4, 4]).conv2d(x(&[2, 1, 1, 1]), None, ConvOptions::new().groups(2));
    "conv2d" "4 channels", "[3, 2, 1, 1]": |t, x| x(&[1, 4, 4, 4]).conv2d(x(&[3, 2, 1, 1]), None, ConvOptions::new().groups(2));
    "conv2d" "groups of at least 1": |t, x| x(&[1, 0, 4, 4]).conv2d(x(&[3, 2, 1, 1]), None, ConvOptions::new().groups(0));
    "conv2d" "strides of at least 1", "0": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 1, 1]), None, ConvOptions::new().stride([1, 0]));
    "conv2d" "dilations of at least 1": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 1, 1]), None, ConvOptions::new().dilation(0));
    "conv2d" "kernel sizes of at least 1": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 1, 0]), None, ConvOptions::new());
    "conv2d" "size 3 with dilation 2", "size 4 (0 + 4 + 0)": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 3, 1]), None, ConvOptions::new().dilation(2));
    "conv2d" "overflows": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 1, 1]), None, ConvOptions::new().padding(usize::MAX / 2));
    "conv2d" "more elements": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 1, 1]), None, ConvOptions::new().padding(1 << 33));
    "conv2d" "stride of 1", "[2, 1]": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[1, 1, 1, 1]), None, ConvOptions::new().padding(Padding::Same).stride([2, 1]));
    "conv2d" "[2]", "[1, 3]": |t, x| x(&[1, 1, 4, 4]).conv2d(x(&[2, 1, 1, 1]), Some(x(&[1, 3])), ConvOptions::new());
    "conv3d" "[1, 1, 4, 4]": |t, x| x(&[1, 1, 4, 4]).conv3d(x(&[1, 1, 1, 1]), None, ConvOptions::new());
    "conv_transpose1d" "3 channels", "[2, 1, 2]": |t, x| x(&[1, 3, 4]).conv_transpose1d(x(&[2, 1, 2]), None, ConvTransposeOptions::new());
    "conv_transpose1d" "no output": |t, x| x(&[1, 1, 1]).conv_transpose1d(x(&[1, 1, 2]), None, ConvTransposeOptions::new().padding(1));
    "conv_transpose1d" "no output": |t, x| x(&[1, 1, 1 << 20]).conv_transpose1d(x(&[1, 1, 2]), None, ConvTransposeOptions::new().stride(1 << 60));
    "conv_transpose2d" "output padding below", "2": |t, x| x(&[1, 1, 3, 3]).conv_transpose2d(x(&[1, 1, 2, 2]), None, ConvTransposeOptions::new().stride(2).output_padding(2));
    "conv_transpose3d" "[1, 1, 4, 4]": |t, x| x(&[1, 1, 4, 4]).conv_transpose3d(x(&[1, 1, 1, 1]), None, ConvTransposeOptions::new());
    "fold2d" "[1, 4, 9]": |t, x| x(&[1, 4, 9]).fold2d([3, 3], Window2d::new([2, 2]));
    "gather" "index 3", "size 3": |t, x| x(&[3]).gather(0, &ints(&[3], &[1]));
    "gather" "[2, 1]", "[3]": |t, x| x(&[3]).gather(0, &ints(&[0, 0], &[2, 1]));
    "scatter_add" "index -1": |t, x| x(&[3]).scatter_add(0, &ints(&[-1], &[1]), x(&[1]));
    "scatter_add" "[2]", "[1]": |t, x| x(&[3]).scatter_add(0, &ints(&[1], &[1]), x(&[2]));
    "scatter" "9223372036854775807": |t, x| x(&[3]).scatter(0, &ints(&[i64::MAX], &[1]), x(&[1]));
    "scatter" "[2]", "[1]", "[3]": |t, x| x(&[3]).scatter(0, &ints(&[1], &[1]), x(&[2]));
    "scatter" "index 5": |t, x| x(&[3]).scatter_value(0, &ints(&[5], &[1]), 1.0);
    "index_select" "index 3": |t, x| x(&[3]).index_select(0, &ints(&[3], &[1]));
    "index_select" "rank 1": |t, x| x(&[3]).index_select(0, &ints(&[0], &[1, 1]));
    "index_add" "index 3": |t, x| x(&[3]).index_add(0, &ints(&[3], &[1]), x(&[1]));
    "index_add" "[2]", "[3]": |t, x| x(&[3]).index_add(0, &ints(&[1], &[1]), x(&[2]));
    "embedding" "[3]": |t, x| x(&[3]).embedding(&ints(&[0], &[1]));
    "index_select" "index 3": |t, x| x(&[3, 2]).embedding(&ints(&[3], &[1]));
    "take" "index 6", "size 6": |t, x| x(&[2, 3]).take(&ints(&[6], &[1]));
    "masked_select" "[2, 3]", "[4]": |t, x| x(&[2, 3]).masked_select(&Tensor::ones([4]));
    "one_hot" "label 3": |t, x| t.one_hot(&ints(&[3], &[1]), 3);
    "matmul" "[2, 3]", "[2, 3]": |t, x| x(&[2, 3]).matmul(x(&[2, 3]));
    "matmul" "[]": |t, x| x(&[]).matmul(x(&[2, 3]));
    "dot" "[2]", "[3]": |t, x| x(&[2]).dot(x(&[3]));
    "outer" "[2, 2]": |t, x| x(&[2, 2]).outer(x(&[3]));
    "linear" "[2, 3]", "[4, 2]": |t, x| x(&[2, 3]).linear(x(&[4, 2]), None);
    "softmax" "axis 2": |t, x| x(&[2, 3]).softmax(2);
    "softmax" "axis 2": |t, x| x(&[2, 3]).softmin(2);
    "log_softmax" "axis 2": |t, x| x(&[2, 3]).log_softmax(2);
    "cross_entropy" "label 3": |t, x| x(&[1, 3]).cross_entropy(&ints(&[3], &[1]));
    "cross_entropy" "[2, 3]", "[1]": |t, x| x(&[2, 3]).cross_entropy_rows(&ints(&[0], &[1]), None);
    "cross_entropy" "smoothing", "1.5": |t, x| x(&[1, 3]).cross_entropy_weighted(&ints(&[0], &[1]), None, None, 1.5);
    "cross_entropy" "[3]", "[2]": |t, x| x(&[1, 3]).cross_entropy_weighted(&ints(&[0], &[1]), Some(x(&[2])), None, 0.0);
    "cross_entropy_probabilities" "[1, 3]", "[1, 2]": |t, x| x(&[1, 3]).cross_entropy_probabilities(x(&[1, 2]), None);
    "nll" "label -1": |t, x| x(&[1, 3]).nll(&ints(&[-1], &[1]), None, None);
    "mse" "[2]", "[3]": |t, x| x(&[2]).mse(x(&[3]));
    "bce_with_logits" "[2]", "[3]": |t, x| x(&[2]).bce_with_logits(x(&[3]), None);
    "kl_div" "[2]", "[3]": |t, x| x(&[2]).kl_div(x(&[3]));
    "kl_div_log" "[2]", "[3]": |t, x| x(&[2]).kl_div_log(x(&[3]));
    "smooth_l1" "[2]", "[3]": |t, x| x(&[2]).smooth_l1(x(&[3]), 1.0);
    "smooth_l1" "-1": |t, x| x(&[2]).smooth_l1(x(&[2]), -1.0);
    "poisson_nll" "[2]", "[3]": |t, x| x(&[2]).poisson_nll(x(&[3]), false);
    "gaussian_nll" "[2]", "[3]": |t, x| x(&[2]).gaussian_nll(x(&[3]), x(&[2]), false, 1e-6);
    "hinge" "[2]", "[3]": |t, x| x(&[2]).hinge(x(&[3]));
    "soft_margin" "[2]", "[3]": |t, x| x(&[2]).soft_margin(x(&[3]));
    "hinge_embedding" "[2]", "[3]": |t, x| x(&[2]).hinge_embedding(x(&[3]), 1.0);
    "multi_margin" "found 3": |t, x| x(&[1, 3]).multi_margin(&ints(&[0], &[1]), 3, 1.0, None);
    "sub" "[2]", "[3]": |t, x| x(&[2]).margin_ranking(x(&[3]), x(&[2]), 1.0);
    "norm" "axis 3": |t, x| x(&[2]).cosine_similarity(x(&[2]), 3, 1e-8);
    "norm" "axis 3": |t, x| x(&[2]).normalize(2.0, 3, 1e-8);
    "sub" "[2]", "[3]": |t, x| x(&[2]).pairwise_distance(x(&[3]), 2.0, 1e-6);
    "cosine_embedding" "[2]", "[3]": |t, x| x(&[2, 4]).cosine_embedding(x(&[2, 4]), x(&[3]), 0.0);
    "sub" "[2, 4]", "[2, 3]": |t, x| x(&[2, 4]).triplet(x(&[2, 3]), x(&[2, 4]), 1.0, 2.0, false);
    "focal" "[2]", "[3]": |t, x| x(&[2]).focal(x(&[3]), 2.0, None);
    "dice" "[2]", "[3]": |t, x| x(&[2]).dice(x(&[3]), 0, 1.0);
    "sparsemax" "axis 2": |t, x| x(&[2, 3]).sparsemax(2);
    "glu" "[2, 3]": |t, x| x(&[2, 3]).glu(1);
    "swiglu" "[2, 3]": |t, x| x(&[2, 3]).swiglu(1);
    "geglu" "[2, 3]": |t, x| x(&[2, 3]).geglu(1);
    "rrelu" "0.5": |t, x| x(&[2, 3]).rrelu(0.5, 0.1);
    "einsum" "ij,jk", "1 operands": |t, x| Var::einsum("ij,jk", &[x(&[2, 3])]);
    "einsum" "'j'", "3", "4": |t, x| Var::einsum("ij,jk", &[x(&[2, 3]), x(&[4, 2])]);
    "einsum" "'1'": |t, x| Var::einsum("i1", &[x(&[2, 3])]);
    "einsum" "[2, 3]": |t, x| Var::einsum("ijk", &[x(&[2, 3])]);
    "einsum" "twice": |t, x| Var::einsum("ij->ii", &[x(&[2, 3])]);
    "einsum" "no operand": |t, x| Var::einsum("ij->k", &[x(&[2, 3])]);
    "einsum" "'i'", "2 and 3": |t, x| Var::einsum("ii", &[x(&[2, 3])]);
    "einsum" "ellipses": |t, x| Var::einsum("......", &[x(&[2, 3])]);
    "einsum" "at least one": |t, x| Var::<f64>::try_einsum("", &[]);
    "kron" "more elements": |t, x| x(&[1 << 32]).kron(x(&[1 << 32]));
    "layer_norm" "[2, 3]", "found 3": |t, x| x(&[2, 3]).layer_norm(3, None, None, 1e-5);
    "layer_norm" "[2, 3]", "[2]": |t, x| x(&[2, 3]).layer_norm(1, Some(x(&[2])), None, 1e-5);
    "layer_norm" "-1": |t, x| x(&[2, 3]).layer_norm(1, None, None, -1.0);
    "rms_norm" "[2, 3]", "found 0": |t, x| x(&[2, 3]).rms_norm(0, None, 1e-5);
    "group_norm" "2 groups", "[2, 3]": |t, x| x(&[2, 3]).group_norm(2, None, None, 1e-5);
    "group_norm" "0 groups", "[2, 3]": |t, x| x(&[2, 3]).group_norm(0, None, None, 1e-5);
    "instance_norm" "[2, 3]": |t, x| x(&[2, 3]).instance_norm(None, None, 1e-5);
    "batch_statistics" "[2]": |t, x| x(&[2]).batch_statistics();
    "batch_normalized" "[2, 3, 4]", "[2]": |t, x| x(&[2, 3, 4]).batch_normalized(Some(x(&[2])), None, 1e-5, false);
    "batch_normalized" "[2]": |t, x| x(&[2]).batch_normalized(None, None, 1e-5, false);
    "batch_normalized" "-1": |t, x| x(&[2, 3]).batch_normalized(None, None, -1.0, true);
    "batch_norm" "[2, 3]", "[2]": |t, x| x(&[2, 3]).batch_norm(x(&[2]), x(&[3]), None, None, 1e-5);
    "local_response_norm" "[2]": |t, x| x(&[2]).local_response_norm(2, 1.0, 1.0, 1.0);
    "inverse" "[2, 3]": |t, x| x(&[2, 3]).inverse();
    "solve" "[2, 2]", "[3, 1]": |t, x| x(&[2, 2]).solve(x(&[3, 1]));
    "triangular_solve" "[2, 3]": |t, x| x(&[2, 3]).triangular_solve(x(&[2, 3]), false, false);
    "cholesky" "[3]": |t, x| x(&[3]).cholesky();
    "det" "[2, 3]": |t, x| x(&[2, 3]).det();
    "slogdet" "[2, 3]": |t, x| x(&[2, 3]).slogdet();
    "matrix_power" "[2, 3]": |t, x| x(&[2, 3]).matrix_power(2);
    "lstsq" "[3, 2]", "[2, 2]": |t, x| x(&[3, 2]).lstsq(x(&[2, 2]));
    "pinv" "[3]": |t, x| x(&[3]).pinv();
    "qr" "[3]": |t, x| x(&[3]).qr();
    "eigh" "[2, 3]": |t, x| x(&[2, 3]).eigh();
    "eigh" "[2, 3]": |t, x| x(&[2, 3]).eigvalsh();
    "svd" "[3]": |t, x| x(&[3]).svd();
    "svd" "[3]": |t, x| x(&[3]).svdvals();
    "scaled_dot_product_attention" "[2, 3]", "[2, 4]": |t, x| x(&[2, 3]).scaled_dot_product_attention(x(&[2, 4]), x(&[2, 4]), Attention::default());
    "scaled_dot_product_attention" "dropout", "2": |t, x| x(&[2, 3]).scaled_dot_product_attention(x(&[2, 3]), x(&[2, 3]), Attention { dropout: 2.0, ..Default::default() });
    "complex_mul" "[3]": |t, x| x(&[2]).complex_mul(x(&[3]));
    "complex_conj" "[3]": |t, x| x(&[3]).complex_conj();
    "complex_abs" "[3]": |t, x| x(&[3]).complex_abs();
    "fft" "[3]": |t, x| x(&[3]).fft(0, FftNorm::Inverse);
    "fft" "[0, 2]": |t, x| x(&[0, 2]).fft(0, FftNorm::Inverse);
    "ifft" "axis 1": |t, x| x(&[3, 2]).ifft(1, FftNorm::Inverse);
    "fftn" "twice": |t, x| x(&[3, 2]).fftn([0, 0], FftNorm::Inverse);
    "ifftn" "axis 3": |t, x| x(&[3, 2]).ifftn([3], FftNorm::Inverse);
    "rfft" "axis 1": |t, x| x(&[3]).rfft(1, FftNorm::Inverse);
    "irfft" "[0, 2]", "found 7": |t, x| x(&[0, 2]).irfft(7, 0, FftNorm::Inverse);
    "irfft" "found 0": |t, x| x(&[3, 2]).irfft(0, 0, FftNorm::Inverse);
    "rfftn" "at least one": |t, x| x(&[3]).rfftn([], FftNorm::Inverse);
    "irfftn" "at least one": |t, x| x(&[3, 2]).irfftn(4, [], FftNorm::Inverse);
    "size" "axis 4": |t, x| x(&[3, 2]).fftshift(4);
    "size" "axis 4": |t, x| x(&[3, 2]).ifftshift(4);
    "ctc" "[4, 1, 3]", "[2, 1]": |t, x| x(&[4, 1, 3]).ctc(&ints(&[1, 1], &[2, 1]), &[4], &[1], 0, false);
    "ctc" "label 3": |t, x| x(&[4, 1, 3]).ctc(&ints(&[3], &[1, 1]), &[4], &[1], 0, false);
    "ctc" "label -1": |t, x| x(&[4, 1, 3]).ctc(&ints(&[-1], &[1, 1]), &[4], &[1], 0, false);
    "ctc" "blank 0": |t, x| x(&[4, 1, 3]).ctc(&ints(&[0], &[1, 1]), &[4], &[1], 0, false);
    "ctc" "3 labels", "2 steps": |t, x| x(&[4, 1, 3]).ctc(&ints(&[1, 2, 1], &[1, 3]), &[2], &[3], 0, false);
    "ctc" "5 steps": |t, x| x(&[4, 1, 3]).ctc(&ints(&[1], &[1, 1]), &[5], &[1], 0, false);
    "dropout" "1.5": |t, x| x(&[3]).dropout(1.5);
    "feature_dropout" "-1": |t, x| x(&[3]).feature_dropout(-1.0);
    "drop_path" "NaN": |t, x| x(&[3]).drop_path(f64::NAN);
    "alpha_dropout" "2": |t, x| x(&[3]).alpha_dropout(2.0);
    "gaussian_noise" "-1": |t, x| x(&[3]).gaussian_noise(-1.0);
    "uniform" "2 and 1": |t, x| t.uniform([2], 2.0, 1.0);
    "normal" "-1": |t, x| t.normal([2], 0.0, -1.0);
    "bernoulli" "1.1": |t, x| t.bernoulli([2], 1.1);
}

#[test]
fn einsum_equations_from_outside_never_panic() {
    let tape = Tape::<f64>::inference();
    let pieces = [
        "i", "j", "k", "...", ",", "->", " ", "I", "é", "-", ">", ".", "1", "ii", "",
    ];
    let mut state = 7u64;
    let mut good = 0;
    for _ in 0..20_000 {
        let mut draw = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let equation: String = (0..1 + draw(8))
            .map(|_| pieces[draw(pieces.len())])
            .collect();
        let operands: Vec<_> = (0..1 + draw(2))
            .map(|_| {
                let shape: Vec<usize> = (0..draw(4)).map(|_| draw(3)).collect();
                tape.ones(shape)
            })
            .collect();
        good += usize::from(Var::try_einsum(&equation, &operands).is_ok());
    }
    assert!(good > 200, "{good} equations were legal");
}

#[test]
fn indices_at_the_ends_of_their_type_are_refused() {
    type F = for<'t> fn(Var<'t, f64>, i64) -> Var<'t, f64>;
    let takes: [(&str, F); 13] = [
        ("gather", |x, i| x.gather(1, &ints(&[0, i], &[2, 1]))),
        ("scatter", |x, i| {
            x.scatter(1, &ints(&[0, i], &[2, 1]), x.narrow(1, 0, 1))
        }),
        ("scatter", |x, i| {
            x.scatter_value(1, &ints(&[0, i], &[2, 1]), 1.0)
        }),
        ("scatter_add", |x, i| {
            x.scatter_add(1, &ints(&[0, i], &[2, 1]), x.narrow(1, 0, 1))
        }),
        ("index_select", |x, i| {
            x.index_select(1, &ints(&[0, i], &[2]))
        }),
        ("index_add", |x, i| x.index_add(0, &ints(&[0, i], &[2]), x)),
        ("index_select", |x, i| x.embedding(&ints(&[0, i], &[2]))),
        ("take", |x, i| x.take(&ints(&[0, i], &[2]))),
        ("one_hot", |x, i| x.tape().one_hot(&ints(&[0, i], &[2]), 3)),
        ("cross_entropy", |x, i| {
            x.cross_entropy(&ints(&[0, i], &[2]))
        }),
        ("nll", |x, i| x.nll(&ints(&[0, i], &[2]), None, None).0),
        ("multi_margin", |x, i| {
            x.multi_margin(&ints(&[0, i], &[2]), 1, 1.0, None)
        }),
        ("ctc", |x, i| {
            x.unsqueeze(1)
                .ctc(&ints(&[i], &[1, 1]), &[2], &[1], 0, false)
        }),
    ];
    for (op, f) in takes {
        // The size of the axis is 3; of the flat tensor that `take` sees, and counts from the end of, too, 6.
        for bad in [
            if op == "take" { -7 } else { -1 },
            6,
            i64::from(u32::MAX) + 1,
            i64::MAX,
            i64::MIN,
            i64::MIN + 1,
        ] {
            let tape = Tape::<f64>::inference();
            let x = tape.ones([2, 3]);
            let found = panics(|| drop(f(x, bad).value()));
            let Some((text, _)) = found else {
                panic!("{op}: index {bad} was taken");
            };
            assert!(
                text.contains(op) && text.contains(&bad.to_string()),
                "{text}"
            );
        }
    }
    // A cast saturates, and NaN becomes 0, as `as` in Rust.
    let x = Tensor::from_slice(&[f64::NAN, f64::INFINITY, -f64::INFINITY, 1e300, -1.9], [5]);
    let whole = x.map(|v| v as i64);
    assert_eq!(whole.to_vec(), [0, i64::MAX, i64::MIN, i64::MAX, -1]);
    // Views of integers and truth values, backwards and in steps, as indices and masks.
    let wide = ints(&[2, 9, 1, 9, 0, 9], &[6]);
    let layout = wide.layout().slice(0, 4, 3, -2);
    let back = wide.with_layout(layout).unwrap();
    assert_eq!(back.to_vec(), [0, 1, 2]);
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_slice(&[1.0, 2.0, 3.0], [3]));
    assert_eq!(x.index_select(0, &back).value().to_vec(), [1.0, 2.0, 3.0]);
    assert_eq!(x.take(&back).value().to_vec(), [1.0, 2.0, 3.0]);
    let ends = ints(&[-1, 0, -3, 2], &[2, 2]);
    assert_eq!(x.take(&ends).value().to_vec(), [3.0, 1.0, 1.0, 3.0]);
    let truth = Tensor::from_slice(&[true, true, false, false, true, false], [6]);
    let layout = truth.layout().slice(0, 4, 3, -2);
    let back = truth.with_layout(layout).unwrap();
    assert_eq!(x.masked_select(&back).value().to_vec(), [1.0, 3.0]);
}

/// Public methods of a source file that document panics.
fn documented(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut inside, mut panics) = (false, false);
    for line in source.lines() {
        let text = line.trim_start();
        if line.starts_with("impl") {
            inside = line.contains("Var<") && !line.contains(" for ") || line.contains("Tape<T> {");
        }
        if text == "/// # Panics" {
            panics = true;
        }
        if let Some(rest) = text.strip_prefix("pub fn ") {
            if inside && panics {
                names.push(&rest[..rest.find(['(', '<']).unwrap()]);
            }
            panics = false;
        }
        if text.starts_with("fn ") || text.starts_with("pub(crate) fn ") {
            panics = false;
        }
    }
    names
}

#[test]
fn every_documented_panic_is_tested() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let own = include_str!("refusals.rs");
    let mut missing = Vec::new();
    for folder in [dir.clone(), dir.join("linalg")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_string();
            // Pooling has tests of its own.
            if !file.ends_with(".rs") || ["pool", "interp"].iter().any(|p| file.starts_with(p)) {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            for name in documented(&source) {
                let found = [".", "::"]
                    .iter()
                    .any(|p| own.contains(&format!("{p}{name}(")));
                if !found {
                    missing.push(format!("{file}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no refusal tested for {missing:#?}");
}
