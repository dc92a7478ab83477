//! The rows of the table that are activations, and parts of losses and of recurrent cells.

/// The table of the given rows and of those of this file.
macro_rules! with_activations {
    ($($rows:tt)*) => { table! {
        $($rows)*

        // ---- activations ----

        /// max(x, 0); derivative 0 at 0; NaN stays NaN.
        Relu relu { kernel |x| V::select(x <= V::c(0.0), V::c(0.0), x); vjp |y, g| [Some(g.relu_grad(y))]; domain [0.1..2.0]; }
        /// g where y > 0 (or NaN), else 0.
        ReluGrad relu_grad {
            kernel |g, y| V::select(y <= V::c(0.0), V::c(0.0), g);
            vjp |z, c| [Some(c.relu_grad(y)), None];
            domain [-2.0..2.0, 0.1..2.0];
        }
        /// min(max(x, 0), 6); derivative 0 at both kinks.
        Relu6 relu6 {
            kernel |x| V::select(x <= V::c(0.0), V::c(0.0), V::select(x >= V::c(6.0), V::c(6.0), x));
            vjp |y, g| [Some(g.hardtanh_grad(x, 0.0, 6.0))];
            domain [0.1..2.0];
        }
        /// x limited to [lo, hi]; derivative 0 at and outside the limits (PyTorch's hardtanh). Refuses lo > hi; NaN for a limit
        /// that is NaN.
        Hardtanh hardtanh(lo = -1.0, hi = 1.0) {
            requires lo <= hi || lo.is_nan() || hi.is_nan(), "hardtanh: expected lo <= hi, found {lo} and {hi}";
            instead |x| lo.is_nan() || hi.is_nan() => x.tape().full(x.shape(), f64::NAN);
            kernel |x| {
                let y = V::select(x < lo, lo, x);
                V::select(y > hi, hi, y)
            };
            vjp |y, g| [Some(g.hardtanh_grad(x, lo, hi))];
            domain [-0.9..0.9];
        }
        /// g where lo < x < hi, else 0.
        HardtanhGrad hardtanh_grad(lo = -1.0, hi = 1.0) {
            kernel |g, x| V::select((x <= lo) | (x >= hi), V::c(0.0), g);
            vjp |z, c| [Some(c.hardtanh_grad(x, lo, hi)), None];
            domain [-2.0..2.0, -0.9..0.9];
        }
        /// x for x > 0, else slope · x; the derivative at 0 is the slope.
        LeakyRelu leaky_relu(slope = 0.01) {
            kernel |x| V::select(x > V::c(0.0), x, x * slope);
            vjp |y, g| [Some(g.leaky_relu_grad(x, slope))];
            domain [-2.0..-0.1];
        }
        /// g for x > 0, else slope · g.
        LeakyReluGrad leaky_relu_grad(slope = 0.01) {
            kernel |g, x| V::select(x > V::c(0.0), g, g * slope);
            vjp |z, c| [Some(c.leaky_relu_grad(x, slope)), None];
            domain [-2.0..2.0, -2.0..-0.1];
        }
        /// x for x > 0, else a · x with a learned slope `a` that broadcasts (He et al. 2015).
        Prelu prelu {
            kernel |x, a| V::select(x > V::c(0.0), x, x * a);
            vjp |y, g| [Some(g.prelu_grad(x, a)), Some(g * x.min_zero())];
            domain [-2.0..-0.1, 0.1..0.5];
        }
        /// g for x > 0, else a · g.
        PreluGrad prelu_grad {
            kernel |g, x, a| V::select(x > V::c(0.0), g, g * a);
            vjp |z, c| [Some(c.prelu_grad(x, a)), None, Some((c * g).mask_not(x.gt_scalar(0.0)))];
            domain [-2.0..2.0, -2.0..-0.1, 0.1..0.5];
        }
        /// min(x, 0); derivative 1 at 0.
        MinZero min_zero {
            kernel |x| V::select(x > V::c(0.0), V::c(0.0), x);
            vjp |y, g| [Some(g.mask_not(x.gt_scalar(0.0)))];
            domain [-2.0..-0.1];
        }
        /// x for x > 0, else α (eˣ - 1) (Clevert et al. 2016).
        Elu elu(alpha = 1.0) {
            kernel |x| V::select(x > V::c(0.0), x, alpha * x.expm1());
            vjp |y, g| [Some(g.elu_grad(x, alpha, 1.0))];
            domain [-2.0..-0.1];
        }
        /// g for x > 0, else g · α · b · e^(b x).
        EluGrad elu_grad(alpha = 1.0, b = 1.0) {
            kernel |g, x| V::select(x > V::c(0.0), g, g * alpha * b * (b * x).exp());
            vjp |z, c| [
                Some(c.elu_grad(x, alpha, b)),
                Some((c * g * (x * b).exp() * (alpha * b * b)).mask_not(x.gt_scalar(0.0)))
            ];
            domain [-2.0..2.0, -2.0..-0.1];
        }
        /// Scaled ELU: λ x for x > 0, else λ α (eˣ - 1), λ ≈ 1.0507, α ≈ 1.6733 (Klambauer et al. 2017).
        Selu selu {
            kernel |x| V::c(SELU_SCALE) * V::select(x > V::c(0.0), x, V::c(SELU_ALPHA) * x.expm1());
            vjp |y, g| [Some(g.elu_grad(x, SELU_ALPHA, 1.0) * SELU_SCALE)];
            domain [-2.0..-0.1];
        }
        /// x for x > 0, else α (e^(x/α) - 1) (Barron 2017). Refuses α = 0.
        Celu celu(alpha = 1.3) {
            requires alpha != 0.0, "celu: expected α other than 0, found {alpha}";
            kernel |x| V::select(x > V::c(0.0), x, alpha * (x / alpha).expm1());
            vjp |y, g| [Some(g.elu_grad(x, alpha, 1.0 / alpha))];
            domain [-2.0..-0.1];
        }
        /// Exact GELU: x Φ(x) with Φ the normal distribution function (Hendrycks, Gimpel 2016).
        Gelu gelu {
            kernel |x| x.gelu();
            within V::GELU_BOUND, |x| x.gelu_near();
            own_loop GELU, Doubles::Gelu;
            vjp |y, g| [Some(g.gelu_grad(x))];
            domain [-2.0..2.0];
        }
        /// g (Φ(x) + x φ(x)): the derivative of [`Var::gelu`].
        GeluGrad gelu_grad {
            kernel |g, x| {
                // From 9 on it is 1, and so it is at 9, where nothing that it is made of is subnormal.
                let x = V::select(x > V::c(9.0), V::c(9.0), x);
                let (cdf, e) = x.normal();
                let pdf = e * V::c(FRAC_1_SQRT_2PI);
                // x φ(x) is 0 at ±∞, where the product would be NaN.
                g * (cdf + V::select(pdf == V::c(0.0), V::c(0.0), x * pdf))
            };
            vjp |z, c| [
                Some(c.gelu_grad(x)),
                Some({
                    // Beyond it is 0, and a square of it may be infinite.
                    let x = x.clamp(-40.0, 40.0);
                    c * g * (2 - x.square()) * (x.square() * -0.5).exp() * FRAC_1_SQRT_2PI
                })
            ];
            domain [-2.0..2.0, -2.0..2.0];
        }
        /// GELU's tanh approximation: x/2 (1 + tanh(u)) with u = √(2/π) (x + 0.044715 x³), computed as x σ(2u).
        GeluTanh gelu_tanh {
            kernel |x| {
                let u = V::c(2.0 * SQRT_2_PI) * (x * x * x).mul_add(V::c(0.044715), x);
                let s = u.sigmoid();
                V::select(s == V::c(0.0), V::c(0.0), x * s)
            };
            vjp |y, g| [{
                // Beyond it is 0 or 1, and the polynomials may be infinite.
                let x = x.clamp(-40.0, 40.0);
                let s = ((x.powi(3) * 0.044715 + x) * (2.0 * SQRT_2_PI)).sigmoid();
                let du = (x.square() * (3.0 * 0.044715) + 1.0) * (2.0 * SQRT_2_PI);
                Some(g * (s + x * (s * (1 - s)) * du))
            }];
            domain [-2.0..2.0];
        }
        /// Logistic function 1 / (1 + e⁻ˣ).
        Sigmoid sigmoid {
            kernel |x| x.sigmoid();
            within V::EXP_BOUND, |x| x.sigmoid_near();
            vjp |y, g| [Some(g.sigmoid_grad(y))];
            domain [-2.0..2.0];
        }
        /// g y (1 - y): the derivative of [`Var::sigmoid`] from its output.
        SigmoidGrad sigmoid_grad {
            kernel |g, y| g * (V::c(1.0) - y) * y;
            vjp |z, c| [Some(c.sigmoid_grad(y)), Some(c * g * (1 - y * 2.0))];
            domain [-2.0..2.0, 0.1..0.9];
        }
        /// ln σ(x), stable.
        LogSigmoid logsigmoid {
            kernel |x| x.min(V::c(0.0)) - (-x.abs()).exp().log1p();
            vjp |y, g| [Some(g * (-x).sigmoid())];
            domain [-2.0..2.0];
        }
        /// ln(1 + e^(βx)) / β, stable (no threshold is needed).
        Softplus softplus_beta(beta = 1.3) {
            kernel |x| {
                let u = x * beta;
                // Where it is x, u may be infinite.
                V::select(u > V::c(1e30), x, u.softplus() / beta)
            };
            vjp |y, g| [Some(g * (x * beta).sigmoid())];
            domain [-2.0..2.0];
        }
        /// x σ(x), also called swish (Elfwing et al. 2018).
        Silu silu {
            kernel |x| x.silu();
            within V::EXP_BOUND, |x| x.silu_near();
            vjp |y, g| [Some(g.silu_grad(x))];
            domain [-2.0..2.0];
        }
        /// g σ(x) (1 + x (1 - σ(x))): the derivative of [`Var::silu`].
        SiluGrad silu_grad {
            kernel |g, x| {
                let s = x.sigmoid();
                let t = V::c(1.0) - s;
                g * s * (V::c(1.0) + V::select((s == V::c(0.0)) | (t == V::c(0.0)), V::c(0.0), x * t))
            };
            vjp |z, c| [
                Some(c.silu_grad(x)),
                Some({
                    let s = x.sigmoid();
                    c * g * s * (1 - s) * (x * (1 - s * 2.0) + 2.0)
                })
            ];
            domain [-2.0..2.0, -2.0..2.0];
        }
        /// x tanh(softplus(x)) (Misra 2019).
        Mish mish {
            kernel |x| x.mish();
            vjp |y, g| [{
                // Beyond it is 0 or 1.
                let x = x.clamp(-800.0, 50.0);
                let t = x.softplus().tanh();
                Some(g * (t + x * x.sigmoid() * (1 - t.square())))
            }];
            domain [-2.0..2.0];
        }
        /// x / (1 + |x|).
        Softsign softsign {
            kernel |x| V::select(x.abs() > V::c(1e30), V::c(1.0).copysign(x), x / (V::c(1.0) + x.abs()));
            vjp |y, g| [Some(g / (x.abs() + 1.0).square())];
            domain [0.2..2.0];
        }
        /// min(max(x/6 + ½, 0), 1); derivative 0 at the kinks.
        Hardsigmoid hardsigmoid {
            kernel |x| V::select(x <= V::c(-3.0), V::c(0.0), V::select(x >= V::c(3.0), V::c(1.0), (x + V::c(3.0)).over(6.0)));
            vjp |y, g| [Some(g.hardtanh_grad(x, -3.0, 3.0) / 6.0)];
            domain [-2.0..2.0];
        }
        /// x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019); derivative 0 at -3 and 1 at 3.
        Hardswish hardswish {
            kernel |x| V::select(x <= V::c(-3.0), V::c(0.0), V::select(x >= V::c(3.0), x, x * (x + V::c(3.0)) / V::c(6.0)));
            vjp |y, g| [Some(g.hardswish_grad(x))];
            domain [-2.0..2.0];
        }
        /// g times the derivative of [`Var::hardswish`].
        HardswishGrad hardswish_grad {
            kernel |g, x| V::select(
                x <= V::c(-3.0), V::c(0.0), V::select(x >= V::c(3.0), g, g * (x / V::c(3.0) + V::c(0.5))));
            vjp |z, c| [Some(c.hardswish_grad(x)), Some((c * g).hardtanh_grad(x, -3.0, 3.0) / 3.0)];
            domain [-2.0..2.0, -2.0..2.0];
        }
        /// x - tanh(x).
        Tanhshrink tanhshrink { kernel |x| x - x.tanh(); vjp |y, g| [Some(g * x.tanh().square())]; domain [-2.0..2.0]; }
        /// x ∓ λ outside [-λ, λ], else 0. Refuses λ < 0.
        Softshrink softshrink(lambda = 0.5) {
            requires lambda >= 0.0, "softshrink: expected λ >= 0, found {lambda}";
            kernel |x| V::select(x > lambda, x - lambda, V::select(x < -lambda, x + lambda, x * V::c(0.0)));
            vjp |y, g| [Some(g.outside(x, lambda))];
            domain [0.6..2.0];
        }
        /// x outside [-λ, λ], else 0.
        Hardshrink hardshrink(lambda = 0.5) {
            kernel |x| V::select((x >= -lambda) & (x <= lambda), V::c(0.0), x);
            vjp |y, g| [Some(g.outside(x, lambda))];
            domain [0.6..2.0];
        }
        /// g where |x| > λ, else 0.
        Outside outside(lambda = 0.5) {
            kernel |g, x| V::select((x >= -lambda) & (x <= lambda), V::c(0.0), g);
            vjp |z, c| [Some(c.outside(x, lambda)), None];
            domain [-2.0..2.0, 0.6..2.0];
        }
        /// x where x > threshold, else `value`; derivative 0 at the threshold.
        Threshold threshold(threshold = 0.1, value = 0.3) {
            kernel |x| V::select(x <= threshold, value, x);
            vjp |y, g| [Some(g.mask_not(x.le_scalar(threshold)))];
            domain [0.2..2.0];
        }
        /// (x + √(x² + b)) / 2 (Barron 2021).
        Squareplus squareplus(b = 4.0) {
            kernel |x| {
                let (half, square) = (V::c(0.5), x * x + b);
                let r = V::select(square == V::c(f64::INFINITY), x.abs(), square.sqrt());
                // The difference cancels for negative x: use b / (2 (r - x)) there.
                V::select(x < V::c(0.0), half * b / (r - x), half * x + half * r)
            };
            // y / √(x² + b), where the root is 2 y - x.
            vjp |y, g| [Some(g * y / (y - x + y))];
            domain [-2.0..2.0];
        }
        /// ln cosh x, stable.
        LogCosh log_cosh {
            kernel |x| {
                // ln(1 + sinh² a) / 2 near 0, where a + ln(1 + q) - ln 2 for q = e⁻²ᵃ would cancel.
                let (a, one) = (x.abs(), V::c(1.0));
                let e = (V::c(-2.0) * a).expm1();
                let (q, near) = (one + e, a < one);
                let r = V::select(near, V::c(0.25) * e * e / q, q).log1p();
                V::select(near, V::c(0.5) * r, a + r - V::c(LN_2))
            };
            vjp |y, g| [Some(g * x.tanh())];
            domain [0.2..2.0];
        }
        /// Huber: x²/2 for |x| ≤ δ, else δ (|x| - δ/2). Refuses δ ≤ 0.
        Huber huber(delta = 0.9) {
            requires delta > 0.0, "huber: expected δ > 0, found {delta}";
            kernel |x| {
                let a = x.abs();
                V::select(a <= delta, V::c(0.5) * x * x, delta * (a - V::c(0.5) * delta))
            };
            vjp |y, g| [Some(g * x.clamp(-delta, delta))];
            domain [-0.8..0.8];
        }
        /// Binary cross-entropy of logits x and targets t in [0, 1]: max(x, 0) - x t + ln(1 + e^(-|x|)), and its limit at
        /// infinite logits.
        BceWithLogits bce_with_logits_ {
            kernel |x, t| {
                let (zero, size) = (V::c(0.0), x.abs());
                // max(x, 0) - x t, without a difference of infinities.
                let w = V::select(x > zero, V::c(1.0) - t, t);
                V::select(w == zero, zero, w * size) + (-size).exp().log1p()
            };
            vjp |y, g| [Some(g * (x.sigmoid() - t)), Some(-g * x)];
            domain [-2.0..2.0, 0.1..0.9];
        }
        /// [`Var::bce_with_logits`] with a weight p of the positive part: (1 - t) softplus(x) + p t softplus(-x), and its limit
        /// at infinite logits.
        BceWithWeight bce_with_weight {
            kernel |x, t, p| {
                let (zero, one, size) = (V::c(0.0), V::c(1.0), x.abs());
                let w = V::select(x > zero, one - t, p * t);
                let rest = (-size).exp().log1p();
                V::select(w == zero, zero, w * size) + (one - t + p * t) * rest
            };
            vjp |y, g| [
                Some(g * ((1 - t) * x.sigmoid() - p * t * (-x).sigmoid())),
                Some(g * (weighed(p, (-x).softplus()) - x.softplus())),
                Some(g * weighed(t, (-x).softplus()))
            ];
            domain [-2.0..2.0, 0.1..0.9, 0.5..2.0];
        }
        /// Binary cross-entropy of probabilities p and targets t, both in [0, 1]: -(t ln p + (1 - t) ln(1 - p)), with
        /// logarithms of at least -100 and slopes of at most 10¹², as in PyTorch.
        Bce bce {
            kernel |p, t| {
                let low = V::c(-100.0);
                V::c(0.0) - (t * p.ln().max(low) + (V::c(1.0) - t) * (-p).log1p().max(low))
            };
            vjp |y, g| [
                Some(g * (p - t) / (p * (1 - p)).clamp(1e-12, f64::INFINITY)),
                Some(g * ((-p).log1p().clamp(-100.0, f64::INFINITY) - p.ln().clamp(-100.0, f64::INFINITY)))
            ];
            domain [0.1..0.9, 0.1..0.9];
        }
        /// ln(eᵃ + eᵇ), stable.
        Logaddexp logaddexp {
            kernel |a, b| {
                // Two equal infinities: their difference would be NaN.
                let d = V::select(a == b, V::c(0.0), -(a - b).abs());
                a.max(b) + d.exp().log1p()
            };
            vjp |y, g| [Some(g * (a - b).sigmoid()), Some(g * (b - a).sigmoid())];
            domain [-2.0..2.0, -2.0..2.0];
        }
        /// a ln b, and 0 where a = 0 (also for b = 0).
        Xlogy xlogy {
            kernel |a, b| V::select((a == V::c(0.0)) & !b.is_nan(), V::c(0.0), a * b.ln());
            vjp |y, g| [Some(g * b.ln()), Some(g * a / b)];
            domain [0.2..2.0, 0.5..2.0];
        }
    } };
}
pub(super) use with_activations;
