//! Where a token stands.

use crate::forward::Forward;
use crate::init::{Fans, Init};
use crate::layers::{draw, no_parameters, passed, positive, refuse};
use rand::Rng;
use wengert_autograd::{Float, Param, Result, Tape, Tensor, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Adds sines and cosines of the position (Vaswani et al. 2017, section 3.5) to `[.., length, features]`:
/// sin(p / 10000^(2i/features)) in feature 2i, the cosine in 2i + 1.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, SinusoidalPositions};
/// let y = SinusoidalPositions::new().predict(&Tensor::<f64>::zeros([1, 2, 4]));
/// assert_eq!(y.to_vec(), [0.0, 1.0, 0.0, 1.0, 1f64.sin(), 1f64.cos(), 0.01f64.sin(), 0.01f64.cos()]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SinusoidalPositions {
    base: f64,
}

impl SinusoidalPositions {
    /// With base 10000.
    pub const fn new() -> Self {
        SinusoidalPositions { base: 10_000.0 }
    }

    /// With another base.
    ///
    /// # Panics
    /// When it is not above 1 and finite.
    #[track_caller]
    pub fn with_base(base: f64) -> Self {
        check_base("sinusoidal_positions", base).or_panic();
        SinusoidalPositions { base }
    }

    /// The table `[length, features]`.
    pub fn table<T: Float>(&self, length: usize, features: usize) -> Tensor<T> {
        Tensor::from_fn([length, features], |i| {
            let pair = (i[1] / 2 * 2) as f64;
            let angle = i[0] as f64 * self.base.powf(-pair / features as f64);
            T::from_f64(if i[1] % 2 == 0 {
                angle.sin()
            } else {
                angle.cos()
            })
        })
    }
}

impl Default for SinusoidalPositions {
    fn default() -> Self {
        Self::new()
    }
}

fn check_base(op: &'static str, base: f64) -> Result<()> {
    if !(base > 1.0 && base.is_finite()) {
        return refuse(op, format!("expected a finite base above 1, found {base}"));
    }
    Ok(())
}

#[track_caller]
fn sequence<T: Float>(op: &str, x: &Var<'_, T>) -> (usize, usize) {
    let shape = x.shape();
    let [.., length, features] = *shape.as_slice() else {
        panic!(
            "{op}: expected [.., length, features], found shape {:?}",
            shape.as_slice()
        );
    };
    (length, features)
}

impl<T: Float> Forward<T> for SinusoidalPositions {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let (length, features) = sequence("sinusoidal_positions", &x);
        passed(self, x + x.tape().input(&self.table(length, features)))
    }
}

/// Adds a learned vector per position to `[.., length, features]`.
///
/// `weight` is `[longest, features]`, normal with deviation 0.02 at the start (as GPT-2 and BERT).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, LearnedPositions};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let positions: LearnedPositions = LearnedPositions::new(16, 4, &mut rng);
/// assert_eq!(positions.predict(&Tensor::zeros([2, 5, 4])).shape(), [2, 5, 4]);
/// ```
///
/// # Panics
/// `forward` panics when the sequence is longer than the table or has another number of features.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct LearnedPositions<T: Float = f32> {
    /// `[longest, features]`.
    pub weight: Param<T>,
}

impl<T: Float> LearnedPositions<T> {
    /// For sequences of up to `longest` positions.
    ///
    /// # Panics
    /// When a size is 0.
    #[track_caller]
    pub fn new(longest: usize, features: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        positive("learned_positions", "a length", longest).or_panic();
        positive("learned_positions", "a number of features", features).or_panic();
        let fans = Fans::embedding(features);
        LearnedPositions {
            weight: draw(Init::normal(0.02), &[longest, features], fans, rng).or_panic(),
        }
    }
}

impl<T: Float> Forward<T> for LearnedPositions<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let (length, features) = sequence("learned_positions", &x);
        let &[longest, own] = self.weight.shape() else {
            unreachable!("a table has two axes")
        };
        assert!(
            length <= longest && features == own,
            "learned_positions: a sequence of shape {:?} does not fit a table of {longest} positions and {own} features",
            x.shape().as_slice()
        );
        x + x.tape().param(&self.weight).narrow(0, 0, length)
    }
}

/// Rotary position embedding (Su et al. 2021): in `[.., length, size]` the pair of features (i, i + size/2) is turned by the
/// angle p · base^(-2i/size), so that inner products depend on distances of positions only.
///
/// Pairs are formed by halves, as in GPT-NeoX and LLaMA.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, Rotary};
/// let x = Tensor::<f64>::from_vec(vec![1.0, 0.0, 1.0, 0.0], [2, 2]);
/// // Position 0 stays, position 1 turns by one radian.
/// assert_eq!(Rotary::new().predict(&x).to_vec(), [1.0, 0.0, 1f64.cos(), 1f64.sin()]);
/// ```
///
/// # Panics
/// `forward` panics when the size is odd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    base: f64,
}

impl Rotary {
    /// With base 10000.
    pub const fn new() -> Self {
        Rotary { base: 10_000.0 }
    }

    /// With another base.
    ///
    /// # Panics
    /// When it is not above 1 and finite.
    #[track_caller]
    pub fn with_base(base: f64) -> Self {
        check_base("rotary", base).or_panic();
        Rotary { base }
    }

    /// Turns every position.
    ///
    /// # Panics
    /// When the last axis is odd.
    #[track_caller]
    pub fn rotate<'t, T: Float>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let (length, size) = sequence("rotary", &x);
        assert!(
            size.is_multiple_of(2),
            "rotary: expected an even number of features, found shape {:?}",
            x.shape().as_slice()
        );
        let half = size / 2;
        let table = |f: fn(f64) -> f64| {
            x.tape().input(&Tensor::from_fn([length, half], |i| {
                let angle = i[0] as f64 * self.base.powf(-2.0 * i[1] as f64 / size as f64);
                T::from_f64(f(angle))
            }))
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        let (a, b) = (x.narrow(-1, 0, half), x.narrow(-1, half, size));
        Var::cat(&[a * cos - b * sin, b * cos + a * sin], -1)
    }
}

impl Default for Rotary {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Forward<T> for Rotary {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, self.rotate(x))
    }
}

/// Attention with linear biases (Press et al. 2022): -m |i - j| for query i, key j and the slope m = 2^(-8h/heads) of head
/// h = 1, 2, …; shape `[heads, queries, keys]`, for [`AttentionMask::with_bias`](super::AttentionMask::with_bias).
///
/// # Panics
/// When there are no heads.
#[track_caller]
pub fn alibi<T: Float>(tape: &Tape<T>, heads: usize, queries: usize, keys: usize) -> Var<'_, T> {
    positive("alibi", "a number of heads", heads).or_panic();
    tape.input(&Tensor::from_fn([heads, queries, keys], |i| {
        let slope = (-8.0 * (i[0] as f64 + 1.0) / heads as f64).exp2();
        T::from_f64(-slope * i[1].abs_diff(i[2]) as f64)
    }))
}

no_parameters!(SinusoidalPositions, Rotary);
