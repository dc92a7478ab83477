//! Random numbers of the tape: a counter-based generator, so that a mask is recomputed, never stored.
//!
//! Element `i` of a stream with key `k` is a hash of `k` and `i` (SplitMix64's finalizer on `k + (i + 1) φ`), so the
//! numbers do not depend on threads, blocks or the order of evaluation.

use crate::float::Float;
use crate::op::NodeOp;
use crate::tape::Tape;
use crate::var::Var;
use wengert_tensor::IntoDims;
use wengert_tensor::fused::{IndexFn, IndexedFn, index_fn};
use wengert_tensor::lane::Lane;

/// Distribution of a random node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Random {
    /// Uniform on [a, b).
    Uniform,
    /// Normal with mean a and standard deviation b.
    Normal,
    /// b with probability 1 - a, else 0.
    Keep,
}

/// SplitMix64's output function.
#[inline(always)]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform on [0, 1): 24 bits for f32, 53 for f64.
#[inline(always)]
fn unit<V: Lane>(index: u64, key: u64) -> V {
    let z = mix(key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    if size_of::<V::Elem>() == 4 {
        V::c((z >> 40) as u32 as f64 * (1.0 / 16_777_216.0))
    } else {
        V::c((z >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0))
    }
}

struct UniformFn;
impl IndexedFn for UniformFn {
    #[inline(always)]
    fn eval<V: Lane>(index: u64, key: u64, imm: [V; 2]) -> V {
        unit::<V>(index, key) * (imm[1] - imm[0]) + imm[0]
    }
}

struct KeepFn;
impl IndexedFn for KeepFn {
    #[inline(always)]
    fn eval<V: Lane>(index: u64, key: u64, imm: [V; 2]) -> V {
        V::select(unit::<V>(index, key) >= imm[0], imm[1], V::c(0.0))
    }
}

struct NormalFn;
impl IndexedFn for NormalFn {
    /// Box and Muller 1958.
    #[inline(always)]
    fn eval<V: Lane>(index: u64, key: u64, imm: [V; 2]) -> V {
        let u = V::c(1.0) - unit::<V>(index, key);
        let v = unit::<V>(index, key ^ 0x5851_F42D_4C95_7F2D);
        let r = (V::c(-2.0) * u.ln()).sqrt();
        let z = r * (V::c(std::f64::consts::TAU) * v).cos();
        z * imm[1] + imm[0]
    }
}

impl Random {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Random::Uniform => "uniform",
            Random::Normal => "normal",
            Random::Keep => "dropout_mask",
        }
    }

    #[doc(hidden)]
    pub fn index_fn<T: Float>(self) -> IndexFn<T> {
        match self {
            Random::Uniform => index_fn::<UniformFn, T>(),
            Random::Normal => index_fn::<NormalFn, T>(),
            Random::Keep => index_fn::<KeepFn, T>(),
        }
    }
}

#[track_caller]
fn probability(op: &str, p: f64) {
    assert!(
        (0.0..=1.0).contains(&p),
        "{op}: expected a probability in [0, 1], found {p}"
    );
}

impl<T: Float> Tape<T> {
    /// Uniform random numbers on [low, high), new at every step, of the tape's seed.
    ///
    /// # Panics
    /// When the bounds are not finite or `low > high`.
    #[track_caller]
    pub fn uniform(&self, shape: impl IntoDims, low: f64, high: f64) -> Var<'_, T> {
        assert!(
            low.is_finite() && high.is_finite() && low <= high,
            "uniform: expected finite bounds in order, found {low} and {high}"
        );
        self.random(Random::Uniform, low, high, shape.into_dims())
    }

    /// Normal random numbers, new at every step, of the tape's seed.
    #[track_caller]
    pub fn normal(&self, shape: impl IntoDims, mean: f64, std: f64) -> Var<'_, T> {
        assert!(
            std >= 0.0,
            "normal: expected a standard deviation >= 0, found {std}"
        );
        self.random(Random::Normal, mean, std, shape.into_dims())
    }

    /// 1 with probability `p`, else 0; new at every step, of the tape's seed.
    #[track_caller]
    pub fn bernoulli(&self, shape: impl IntoDims, p: f64) -> Var<'_, T> {
        probability("bernoulli", p);
        self.random(Random::Keep, 1.0 - p, 1.0, shape.into_dims())
    }

    #[track_caller]
    fn random(&self, kind: Random, a: f64, b: f64, shape: wengert_tensor::Dims) -> Var<'_, T> {
        let imm = [T::from_f64(a), T::from_f64(b)];
        self.record_shaped(|stream| NodeOp::Random(kind, imm, stream), shape)
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Inverted dropout (Srivastava et al. 2014): each element is 0 with probability `p`, else divided by 1 - p.
    ///
    /// The identity on an inference tape. The mask is recomputed in the backward pass, not stored. `p = 1` gives zeros.
    ///
    /// # Panics
    /// When `p` is not in [0, 1].
    #[track_caller]
    pub fn dropout(self, p: f64) -> Self {
        probability("dropout", p);
        if p == 0.0 || !self.tape().is_training() {
            return self;
        }
        self.dropout_shaped(p, self.shape())
    }

    /// Dropout of whole channels (Tompson et al. 2015): one decision per index of the first two axes.
    #[track_caller]
    pub fn feature_dropout(self, p: f64) -> Self {
        probability("feature_dropout", p);
        if p == 0.0 || !self.tape().is_training() {
            return self;
        }
        let mut shape = self.shape();
        shape.iter_mut().skip(2).for_each(|d| *d = 1);
        self.dropout_shaped(p, shape)
    }

    /// Dropout with one decision per index of the first axis: the whole sample is dropped (stochastic depth).
    #[track_caller]
    pub fn drop_path(self, p: f64) -> Self {
        probability("drop_path", p);
        if p == 0.0 || !self.tape().is_training() {
            return self;
        }
        let mut shape = self.shape();
        shape.iter_mut().skip(1).for_each(|d| *d = 1);
        self.dropout_shaped(p, shape)
    }

    #[track_caller]
    fn dropout_shaped(self, p: f64, shape: wengert_tensor::Dims) -> Self {
        let scale = if p == 1.0 { 0.0 } else { 1.0 / (1.0 - p) };
        // A multiplication by zero would turn an infinite activation into NaN: select instead.
        let keep = self.tape().random(Random::Keep, p, 1.0, shape);
        self.mask(keep) * scale
    }

    /// Alpha dropout (Klambauer et al. 2017): dropped elements become -λα and the result is scaled and shifted so that
    /// mean 0 and variance 1 are kept. The identity on an inference tape.
    #[track_caller]
    pub fn alpha_dropout(self, p: f64) -> Self {
        probability("alpha_dropout", p);
        if p == 0.0 || !self.tape().is_training() {
            return self;
        }
        if p == 1.0 {
            return self.tape().zeros(self.shape());
        }
        let alpha = -1.758_099_340_847_376_6;
        let a = ((1.0 - p) * (1.0 + p * alpha * alpha)).powf(-0.5);
        let b = -a * alpha * p;
        let keep = self.tape().random(Random::Keep, p, 1.0, self.shape());
        (self.mask(keep) + (1 - keep) * alpha) * a + b
    }

    /// Adds normal noise of standard deviation `std`. The identity on an inference tape.
    #[track_caller]
    pub fn gaussian_noise(self, std: f64) -> Self {
        assert!(
            std >= 0.0,
            "gaussian_noise: expected a standard deviation >= 0, found {std}"
        );
        if std == 0.0 || !self.tape().is_training() {
            return self;
        }
        self + self.tape().normal(self.shape(), 0.0, std)
    }
}
