//! The table of elementwise operations.
//!
//! One row is everything about an operation: doc line, name, kernel (on one [`Lane`] value), derivative rule (on `Var`s,
//! one entry per operand, `None` where the derivative is zero almost everywhere), and the interval that the property
//! suite samples operands from. Adding an operation is adding a row.
//!
//! `near |x| condition => kernel` is a faster form of the kernel for blocks all of whose elements meet the condition; it
//! gives the same bits. `within bound, |x| kernel` is the same for arguments up to a magnitude, which is found out faster. With
//! `shared` in place of `near` half of a block takes that form and half the kernel, side by side.
//!
//! `narrow = true` spares the copy for AVX-512, where wider vectors are not faster (divisions, roots, comparisons) or the code is
//! large and seldom run.
//!
//! `requires condition, "message";` refuses other configurations; `instead |x| condition => y;`
//! records something else for some.
//!
//! The rows of activations and losses stand in `elementwise/activations.rs`, behind those of this file.
//!
//! In a rule `y` is the output and `g` its cotangent. Conventions at kinks stand in `docs/conventions.md`.

mod activations;
mod table;

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, NodeOp};
use crate::var::Var;
use activations::with_activations;
use table::{imm, is_common, is_none, pad, pad_bool, pad_imm, table};
use wengert_tensor::Real;
use wengert_tensor::fused::{BlockFn, Doubles, ERFC, ElemFn, GELU, ROOTS, TANH, block_fns, pick};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::Isa;

/// A row of the table, for tests, docs and reports.
#[derive(Clone, Copy, Debug)]
pub struct ElemInfo {
    /// The operation.
    pub op: Elem,
    /// Name of the method on [`Var`].
    pub name: &'static str,
    /// Number of operands.
    pub arity: usize,
    /// Interval that samples of each operand are drawn from.
    pub domain: [(f64, f64); 3],
    /// Sample configuration.
    pub imm: [f64; 2],
    /// Whether each operand has a derivative rule that is not identically zero.
    pub differentiable: [bool; 3],
}

const FRAC_2_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;
/// 1/√(2π)
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
/// √(2/π)
const SQRT_2_PI: f64 = 0.797_884_560_802_865_4;
const LN_2: f64 = std::f64::consts::LN_2;
const LN_10: f64 = std::f64::consts::LN_10;
/// SELU's scale and alpha (Klambauer et al. 2017).
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// g c / (a² + b²) for c one of a and b: 0 at the origin, and without squares that leave the range of numbers.
fn over_squares<'t, T: Float>(g: Var<'t, T>, c: Var<'t, T>, [a, b]: [Var<'t, T>; 2]) -> Var<'t, T> {
    // A unit of measure, by which the result does not change; finite, so that an infinite operand has the derivative 0.
    let most = T::max_value().as_f64();
    let unit = g
        .tape()
        .no_grad(|| a.abs().maximum(b.abs()).clamp_max(most));
    let [a, b, c] = [a, b, c].map(|v| v.div_no_nan(unit));
    ((g * c).div_no_nan(a.square() + b.square())).div_no_nan(unit)
}

/// a · b, and 0 where a is 0 and b infinite or NaN: a weight of 0 ends a loss. The derivative for a is b where b is finite.
#[track_caller]
pub(crate) fn weighed<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    a * b.mask_not(a.logical_not() * b.isfinite().logical_not())
}

with_activations! {
    // ---- arithmetic ----

    /// a + b.
    Add add { kernel |a, b| a + b; vjp |y, g| [Some(g), Some(g)]; domain [-2.0..2.0, -2.0..2.0]; }
    /// a - b.
    Sub sub { kernel |a, b| a - b; vjp |y, g| [Some(g), Some(-g)]; domain [-2.0..2.0, -2.0..2.0]; }
    /// a · b.
    Mul mul { kernel |a, b| a * b; vjp |y, g| [Some(g * b), Some(g * a)]; domain [-2.0..2.0, -2.0..2.0]; }
    /// a / b.
    Div div { kernel |a, b| a / b; vjp |y, g| [Some(g / b), Some(-g * y / b)]; domain [-2.0..2.0, 0.5..2.0]; }
    /// Remainder of a / b with the sign of `b` (as PyTorch and Python): a - b ⌊a / b⌋.
    Rem rem {
        kernel |a, b| {
            let r = a % b;
            V::select((r != V::c(0.0)) & ((r < V::c(0.0)) != (b < V::c(0.0))), r + b, r)
        };
        narrow = true;
        vjp |y, g| [Some(g), Some(-g * a.floor_div(b))];
        domain [0.1..0.9, 1.0..2.0];
    }
    /// ⌊a / b⌋ of the exact quotient (as PyTorch and Python), -1 for an infinite divisor of the other sign; derivative 0.
    FloorDiv floor_div {
        kernel |a, b| {
            let (zero, one) = (V::c(0.0), V::c(1.0));
            let r = a % b;
            let q = (a - r) / b;
            let q = V::select((r != zero) & ((r < zero) != (b < zero)), q - one, q);
            // Whole but for rounding.
            let whole = q.floor();
            let whole = V::select(q - whole > V::c(0.5), whole + one, whole);
            let whole = V::select(q == zero, zero.copysign(a / b), whole);
            V::select(b == zero, a / b, whole)
        };
        narrow = true;
        vjp |y, g| [None, None];
        domain [0.1..0.9, 1.0..2.0];
    }
    /// x + c with a constant.
    AddScalar add_scalar(c = 0.7) { kernel |x| x + c; vjp |y, g| [Some(g)]; domain [-2.0..2.0]; }
    /// c - x with a constant.
    RsubScalar rsub_scalar(c = 0.7) { kernel |x| c - x; vjp |y, g| [Some(-g)]; domain [-2.0..2.0]; }
    /// x · c with a constant.
    MulScalar mul_scalar(c = 0.7) { kernel |x| x * c; vjp |y, g| [Some(g.mul_scalar(c))]; domain [-2.0..2.0]; }
    /// c / x with a constant.
    RdivScalar rdiv_scalar(c = 0.7) { kernel |x| c / x; narrow = true; vjp |y, g| [Some(-g * y / x)]; domain [0.5..2.0]; }
    /// x / c with a constant.
    DivScalar div_scalar(c = 0.7) { kernel |x| x / c; narrow = true; vjp |y, g| [Some(g.div_scalar(c))]; domain [-2.0..2.0]; }
    /// -x.
    Neg neg { kernel |x| -x; vjp |y, g| [Some(-g)]; domain [-2.0..2.0]; }
    /// a · b + c.
    MulAdd mul_add {
        kernel |a, b, c| a.mul_add(b, c);
        vjp |y, g| [Some(g * b), Some(g * a), Some(g)];
        domain [-2.0..2.0, -2.0..2.0, -2.0..2.0];
    }
    /// x + value · a · b (PyTorch's `addcmul`).
    AddCMul addcmul(value = 0.7) {
        kernel |x, a, b| (value * a).mul_add(b, x);
        vjp |y, g| [Some(g), Some(g * b * value), Some(g * a * value)];
        domain [-2.0..2.0, -2.0..2.0, -2.0..2.0];
    }
    /// x + value · a / b (PyTorch's `addcdiv`).
    AddCDiv addcdiv(value = 0.7) {
        kernel |x, a, b| x + value * a / b;
        narrow = true;
        vjp |y, g| [Some(g), Some(g * value / b), Some(-(g * a * value / b) / b)];
        domain [-2.0..2.0, -2.0..2.0, 0.5..2.0];
    }
    /// a + w · (b - a): linear interpolation.
    Lerp lerp {
        kernel |a, b, w| V::select(w.abs() < V::c(0.5), w.mul_add(b - a, a), b - (b - a) * (V::c(1.0) - w));
        vjp |y, g| [Some(g * (1 - w)), Some(g * w), Some(g * (b - a))];
        domain [-2.0..2.0, -2.0..2.0, 0.6..0.9];
    }
    /// |x|; derivative 0 at 0.
    Abs abs { kernel |x| x.abs(); vjp |y, g| [Some(g * x.sign())]; domain [0.3..2.0]; }
    /// Sign: -1, 0 or 1; NaN stays NaN.
    Sign sign {
        kernel |x| V::select(x.abs() > V::c(0.0), V::c(1.0).copysign(x), x * V::c(0.0));
        vjp |y, g| [None];
        domain [0.3..2.0];
    }
    /// x².
    Square square { kernel |x| x * x; vjp |y, g| [Some(g * x * 2.0)]; domain [-2.0..2.0]; }
    /// √x; derivative ∞ at 0.
    Sqrt sqrt {
        kernel |x| x.sqrt();
        own_loop ROOTS;
        vjp |y, g| [Some(g / y * 0.5)];
        domain [0.5..2.0];
    }
    /// √x with derivative 0 at 0: the subgradient that norms and standard deviations use.
    Sqrt0 sqrt_zero { kernel |x| x.sqrt(); narrow = true; vjp |y, g| [Some(g.div_no_nan(y) * 0.5)]; domain [0.5..2.0]; }
    /// a / b, and 0 where b = 0.
    DivNoNan div_no_nan {
        kernel |a, b| V::select(b == V::c(0.0), V::c(0.0), a / b);
        narrow = true;
        vjp |y, g| [Some(g.div_no_nan(b)), Some(-(g * y).div_no_nan(b))];
        domain [-2.0..2.0, 0.5..2.0];
    }
    /// 1 / √x.
    Rsqrt rsqrt { kernel |x| V::c(1.0) / x.sqrt(); narrow = true; vjp |y, g| [Some(g * y / x * -0.5)]; domain [0.5..2.0]; }
    /// ∛x.
    Cbrt cbrt { kernel |x| x.cbrt(); vjp |y, g| [Some(g / y.square() / 3.0)]; domain [0.5..2.0]; }
    /// 1 / x.
    Reciprocal reciprocal { kernel |x| V::c(1.0) / x; narrow = true; vjp |y, g| [Some(-g * y.square())]; domain [0.5..2.0]; }
    /// aᵇ. pow(0, 0) = 1; the derivative for the base is 0 where b = 0, for the exponent 0 where a = 0 and b ≥ 0.
    Pow pow {
        kernel |a, b| a.pow(b);
        vjp |y, g| [
            Some(g * a.pow_grad_base(b)),
            Some(g * y.pow_grad_exponent(a, b))
        ];
        domain [0.5..2.0, -2.0..2.0];
    }
    /// b aᵇ⁻¹, and 0 where b = 0: derivative of [`Var::pow`] for its base.
    PowGradBase pow_grad_base {
        kernel |a, b| V::select(b == V::c(0.0), V::c(0.0), b * a.pow(b - V::c(1.0)));
        narrow = true;
        vjp |y, g| [
            Some(g * b * a.pow_grad_base(b - 1.0)),
            Some(g * (a.pow(b - 1.0) + b * a.pow(b - 1.0).pow_grad_exponent(a, b - 1.0)))
        ];
        domain [0.5..2.0, 0.3..2.0];
    }
    /// y ln a, and 0 where a = 0 and b ≥ 0: derivative of [`Var::pow`] for its exponent, from its output.
    PowGradExponent pow_grad_exponent {
        kernel |y, a, b| V::select((a == V::c(0.0)) & (b >= V::c(0.0)), V::c(0.0), y * a.ln());
        narrow = true;
        vjp |z, g| [
            Some(g.pow_grad_exponent(a, b)),
            Some(g * y / a),
            None
        ];
        domain [0.5..2.0, 0.5..2.0, -2.0..2.0];
    }
    /// xᵖ with a constant exponent. powf(0) = 1 everywhere, with derivative 0.
    Powf powf(p = 2.5) {
        kernel |x| x.pow(p);
        vjp |y, g| [if p == 0.0 { None } else { Some(g * x.powf(p - 1.0) * p) }];
        domain [0.5..2.0];
    }
    /// √(a² + b²) without overflow on the way.
    Hypot hypot { kernel |a, b| a.hypot(b); narrow = true; vjp |y, g| [Some(g * a / y), Some(g * b / y)]; domain [0.5..2.0, -2.0..2.0]; }

    // ---- exponentials and logarithms ----

    /// eˣ.
    Exp exp { kernel |x| x.exp(); within V::EXP_BOUND, |x| x.exp_near(); own_loop Doubles::Exp; vjp |y, g| [Some(g * y)]; domain [-2.0..2.0]; }
    /// 2ˣ.
    Exp2 exp2 { kernel |x| x.exp2(); vjp |y, g| [Some(g * y * LN_2)]; domain [-2.0..2.0]; }
    /// eˣ - 1, accurate near 0.
    Expm1 expm1 { kernel |x| x.expm1(); vjp |y, g| [Some(g * (y + 1.0))]; domain [-2.0..2.0]; }
    /// Natural logarithm.
    Ln ln { kernel |x| x.ln(); near |x| x.is_normal() => x.ln_normal(); own_loop Doubles::Ln; vjp |y, g| [Some(g / x)]; domain [0.5..2.0]; }
    /// Logarithm to base 2.
    Log2 log2 { kernel |x| x.log2(); near |x| x.is_normal() => x.log2_normal(); own_loop Doubles::Log2; vjp |y, g| [Some(g / x / LN_2)]; domain [0.5..2.0]; }
    /// Logarithm to base 10.
    Log10 log10 { kernel |x| x.log10(); near |x| x.is_normal() => x.log10_normal(); own_loop Doubles::Log10; vjp |y, g| [Some(g / x / LN_10)]; domain [0.5..2.0]; }
    /// ln(1 + x), accurate near 0.
    Log1p log1p { kernel |x| x.log1p(); vjp |y, g| [Some(g / (x + 1.0))]; domain [-0.5..2.0]; }

    // ---- trigonometric and hyperbolic ----

    /// Sine.
    Sin sin { kernel |x| x.sin(); within V::TRIG_BOUND, |x| x.sin_bounded(); own_loop Doubles::Sin; vjp |y, g| [Some(g * x.cos())]; domain [-2.0..2.0]; }
    /// Cosine.
    Cos cos { kernel |x| x.cos(); within V::TRIG_BOUND, |x| x.cos_bounded(); own_loop Doubles::Cos; vjp |y, g| [Some(-g * x.sin())]; domain [-2.0..2.0]; }
    /// Tangent.
    Tan tan { kernel |x| x.tan(); within V::TRIG_BOUND, |x| x.tan_bounded(); vjp |y, g| [Some(g * (y.square() + 1.0))]; domain [-1.0..1.0]; }
    /// Inverse sine.
    Asin asin { kernel |x| x.asin(); own_loop Doubles::Asin; vjp |y, g| [Some(g * (1 - x.square()).rsqrt())]; domain [-0.8..0.8]; }
    /// Inverse cosine.
    Acos acos { kernel |x| x.acos(); own_loop Doubles::Acos; vjp |y, g| [Some(-g * (1 - x.square()).rsqrt())]; domain [-0.8..0.8]; }
    /// Inverse tangent.
    Atan atan { kernel |x| x.atan(); vjp |y, g| [Some(g / (x.square() + 1.0))]; domain [-2.0..2.0]; }
    /// Angle of the point (b, a), in (-π, π]; derivative 0 at the origin.
    Atan2 atan2 {
        kernel |a, b| a.atan2(b);
        vjp |y, g| [
            Some(over_squares(g, b, [a, b])),
            Some(-over_squares(g, a, [a, b]))
        ];
        domain [0.5..2.0, -2.0..2.0];
    }
    /// Hyperbolic sine.
    Sinh sinh { kernel |x| x.sinh(); vjp |y, g| [Some(g * x.cosh())]; domain [-2.0..2.0]; }
    /// Hyperbolic cosine.
    Cosh cosh { kernel |x| x.cosh(); vjp |y, g| [Some(g * x.sinh())]; domain [-2.0..2.0]; }
    /// Hyperbolic tangent.
    Tanh tanh { kernel |x| x.tanh(); own_loop TANH; vjp |y, g| [Some(g.tanh_grad(y))]; domain [-2.0..2.0]; }
    /// g (1 - y²): the derivative of [`Var::tanh`] from its output.
    TanhGrad tanh_grad {
        kernel |g, y| g * (V::c(1.0) - y * y);
        vjp |z, c| [Some(c.tanh_grad(y)), Some(c * g * y * -2.0)];
        domain [-2.0..2.0, -0.9..0.9];
    }
    /// Inverse hyperbolic sine.
    Asinh asinh { kernel |x| x.asinh(); vjp |y, g| [Some(g * (x.square() + 1.0).rsqrt())]; domain [-2.0..2.0]; }
    /// Inverse hyperbolic cosine.
    Acosh acosh { kernel |x| x.acosh(); vjp |y, g| [Some(g * (x.square() - 1.0).rsqrt())]; domain [1.5..3.0]; }
    /// Inverse hyperbolic tangent.
    Atanh atanh { kernel |x| x.atanh(); vjp |y, g| [Some(g / (1 - x.square()))]; domain [-0.8..0.8]; }

    // ---- special functions ----

    /// Error function.
    Erf erf { kernel |x| x.erf(); vjp |y, g| [Some(g * (-x.square()).exp() * FRAC_2_SQRT_PI)]; domain [-2.0..2.0]; }
    /// 1 - erf(x), accurate in the tail.
    Erfc erfc { kernel |x| x.erfc(); own_loop ERFC, Doubles::Erfc; vjp |y, g| [Some(g * (-x.square()).exp() * -FRAC_2_SQRT_PI)]; domain [-2.0..2.0]; }
    /// Inverse of erf.
    Erfinv erfinv { kernel |x| x.erfinv(); near |x| x.abs() <= V::c(V::ERFINV_BOUND) => x.erfinv_near(); own_loop Doubles::Erfinv; vjp |y, g| [Some(g * y.square().exp() / FRAC_2_SQRT_PI)]; domain [-0.8..0.8]; }
    /// ln |Γ(x)|.
    Lgamma lgamma { kernel |x| x.lgamma(); vjp |y, g| [Some(g * x.digamma())]; domain [0.5..4.0]; }
    /// Derivative of lgamma.
    Digamma digamma { kernel |x| x.digamma(); vjp |y, g| [Some(g * x.polygamma(1.0))]; domain [0.5..4.0]; }
    /// Derivative of order n of digamma; polygamma(1) is trigamma. Its own derivative is the next order. Refuses orders that are
    /// negative or not whole.
    Polygamma polygamma(n = 1.0) {
        requires n >= 0.0 && n == n.trunc(), "polygamma: expected a whole order of at least 0, found {n}";
        kernel |x| x.polygamma(n.get().as_f64() as u32);
        narrow = true;
        vjp |y, g| [Some(g * x.polygamma(n + 1.0))];
        domain [0.5..4.0];
    }

    // ---- rounding, comparison, selection ----

    /// Round towards -∞; derivative 0.
    Floor floor { kernel |x| x.floor(); vjp |y, g| [None]; domain [0.1..0.9]; }
    /// Round towards +∞; derivative 0.
    Ceil ceil { kernel |x| x.ceil(); vjp |y, g| [None]; domain [0.1..0.9]; }
    /// Round to nearest, ties to even; derivative 0.
    Round round { kernel |x| x.round(); vjp |y, g| [None]; domain [0.6..0.9]; }
    /// Round towards zero; derivative 0.
    Trunc trunc { kernel |x| x.trunc(); vjp |y, g| [None]; domain [0.1..0.9]; }
    /// x - trunc(x).
    Frac frac { kernel |x| x - x.trunc(); vjp |y, g| [Some(g)]; domain [0.1..0.9]; }
    /// Larger of two; NaN if either is; a tie shares the gradient equally.
    Maximum maximum {
        kernel |a, b| a.max(b);
        vjp |y, g| [Some(g * a.prefer(b)), Some(g * b.prefer(a))];
        domain [-2.0..0.0, 0.1..2.0];
    }
    /// Smaller of two; NaN if either is; a tie shares the gradient equally.
    Minimum minimum {
        kernel |a, b| a.min(b);
        vjp |y, g| [Some(g * b.prefer(a)), Some(g * a.prefer(b))];
        domain [-2.0..0.0, 0.1..2.0];
    }
    /// 1 where a > b, ½ where equal, 0 elsewhere; NaN if either is. The weight of `a` in [`Var::maximum`].
    Prefer prefer {
        kernel |a, b| V::select(a > b, V::c(1.0), V::select(a < b, V::c(0.0), V::select(a == b, V::c(0.5), a + b)));
        vjp |y, g| [None, None];
        domain [-2.0..0.0, 0.1..2.0];
    }
    /// x limited to lo ≤ y ≤ hi, `hi` everywhere where lo > hi; NaN stays NaN; derivative 1 at the limits, 0 outside. NaN for a
    /// limit that is NaN.
    Clamp clamp(lo = -0.5, hi = 0.6) {
        instead |x| lo.is_nan() || hi.is_nan() => x.tape().full(x.shape(), f64::NAN);
        kernel |x| {
            let y = V::select(x < lo, lo, x);
            V::select(y > hi, hi, y)
        };
        vjp |y, g| [Some(g.clamp_grad(x, lo, hi))];
        domain [-0.4..0.5];
    }
    /// g where lo ≤ x ≤ hi, else 0.
    ClampGrad clamp_grad(lo = -0.5, hi = 0.6) {
        kernel |g, x| V::select((x < lo) | (x > hi), V::c(0.0), g);
        vjp |z, c| [Some(c.clamp_grad(x, lo, hi)), None];
        domain [-2.0..2.0, -0.4..0.5];
    }
    /// 1 where a > b, else 0.
    Gt gt { kernel |a, b| V::select(a > b, V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None, None]; domain [-2.0..0.0, 0.1..2.0]; }
    /// 1 where a ≥ b, else 0.
    Ge ge { kernel |a, b| V::select(a >= b, V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None, None]; domain [-2.0..0.0, 0.1..2.0]; }
    /// 1 where a < b, else 0.
    Lt lt { kernel |a, b| V::select(a < b, V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None, None]; domain [-2.0..0.0, 0.1..2.0]; }
    /// 1 where a ≤ b, else 0.
    Le le { kernel |a, b| V::select(a <= b, V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None, None]; domain [-2.0..0.0, 0.1..2.0]; }
    /// 1 where a = b, else 0.
    Eq eq { kernel |a, b| V::select(a == b, V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None, None]; domain [-2.0..0.0, 0.1..2.0]; }
    /// 1 where a ≠ b, else 0.
    Ne ne { kernel |a, b| V::select(a != b, V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None, None]; domain [-2.0..0.0, 0.1..2.0]; }
    /// 1 where both are not 0.
    LogicalAnd logical_and {
        kernel |a, b| V::select((a != V::c(0.0)) & (b != V::c(0.0)), V::c(1.0), V::c(0.0));
        narrow = true;
        vjp |y, g| [None, None];
        domain [0.5..2.0, 0.5..2.0];
    }
    /// 1 where at least one is not 0.
    LogicalOr logical_or {
        kernel |a, b| V::select((a != V::c(0.0)) | (b != V::c(0.0)), V::c(1.0), V::c(0.0));
        narrow = true;
        vjp |y, g| [None, None];
        domain [0.5..2.0, 0.5..2.0];
    }
    /// 1 where exactly one is not 0.
    LogicalXor logical_xor {
        kernel |a, b| V::select((a != V::c(0.0)) != (b != V::c(0.0)), V::c(1.0), V::c(0.0));
        narrow = true;
        vjp |y, g| [None, None];
        domain [0.5..2.0, 0.5..2.0];
    }
    /// 1 where x is 0, else 0.
    LogicalNot logical_not {
        kernel |x| V::select(x == V::c(0.0), V::c(1.0), V::c(0.0));
        narrow = true;
        vjp |y, g| [None];
        domain [0.5..2.0];
    }
    /// 1 where x is NaN, else 0.
    IsNan isnan { kernel |x| V::select(x.is_nan(), V::c(1.0), V::c(0.0)); narrow = true; vjp |y, g| [None]; domain [-2.0..2.0]; }
    /// 1 where x is +∞ or -∞, else 0.
    IsInf isinf {
        kernel |x| V::select(x.abs() == V::c(f64::INFINITY), V::c(1.0), V::c(0.0));
        narrow = true;
        vjp |y, g| [None];
        domain [-2.0..2.0];
    }
    /// 1 where x is finite, else 0.
    IsFinite isfinite {
        kernel |x| V::select((x * V::c(0.0)) == V::c(0.0), V::c(1.0), V::c(0.0));
        narrow = true;
        vjp |y, g| [None];
        domain [-2.0..2.0];
    }
    /// NaN replaced by `nan`, ±∞ by ±`inf`; derivative 1 where x is finite, else 0.
    NanToNum nan_to_num(nan = 0.0, inf = 1e30) {
        kernel |x| V::select(x.is_nan(), nan, V::select((x * V::c(0.0)) == V::c(0.0), x, inf.copysign(x)));
        vjp |y, g| [Some(x.isfinite().where_(g, g * 0.0))];
        domain [-2.0..2.0];
    }
    /// `a` where the condition (self) is not 0, else `b`. The branch not taken gets a zero gradient, never NaN.
    Where where_ {
        kernel |cond, a, b| V::select(cond != V::c(0.0), a, b);
        vjp |y, g| [None, Some(g.mask(cond)), Some(g.mask_not(cond))];
        domain [0.5..2.0, -2.0..2.0, -2.0..2.0];
    }
    /// x where the mask is not 0, else 0 (also where x is NaN or infinite).
    Mask mask {
        kernel |x, m| V::select(m != V::c(0.0), x, V::c(0.0));
        vjp |y, g| [Some(g.mask(m)), None];
        domain [-2.0..2.0, 0.5..2.0];
    }
    /// x where the mask is 0, else 0 (also where x is NaN or infinite).
    MaskNot mask_not {
        kernel |x, m| V::select(m != V::c(0.0), V::c(0.0), x);
        vjp |y, g| [Some(g.mask_not(m)), None];
        domain [-2.0..2.0, 0.5..2.0];
    }
    /// `value` where the mask is not 0, else x.
    MaskedFill masked_fill(value = 0.7) {
        kernel |x, m| V::select(m != V::c(0.0), value, x);
        vjp |y, g| [Some(g.mask_not(m)), None];
        domain [-2.0..2.0, 0.5..2.0];
    }
    /// Magnitude of a, sign of b.
    Copysign copysign {
        kernel |a, b| a.copysign(b);
        vjp |y, g| [Some(g.copysign_grad(a, b)), None];
        domain [0.5..2.0, 0.5..2.0];
    }
    /// g times the sign that relates a to copysign(a, b); 0 where a is 0.
    CopysignGrad copysign_grad {
        kernel |g, a, b| V::select(a == V::c(0.0), V::c(0.0), g * V::c(1.0).copysign(a) * V::c(1.0).copysign(b));
        vjp |y, c| [Some(c.copysign_grad(a, b)), None, None];
        domain [-2.0..2.0, 0.5..2.0, 0.5..2.0];
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// ln(1 + eˣ), stable: [`Var::softplus_beta`] with β = 1.
    #[track_caller]
    pub fn softplus(self) -> Self {
        self.softplus_beta(1.0)
    }

    /// Integer power; exact products for 1, 2 and 3.
    #[track_caller]
    pub fn powi(self, n: i32) -> Self {
        match n {
            1 => self,
            2 => self.square(),
            3 => self.square() * self,
            _ => self.powf(f64::from(n)),
        }
    }

    /// e^(β x) style gate: x · σ(β x) with a constant β.
    #[track_caller]
    pub fn swish(self, beta: f64) -> Self {
        self * (self * beta).sigmoid()
    }
}
