//! Layers that disturb at random while training.
//!
//! Whether they do, and the random numbers, come from the tape: its mode, its seed and its step. Masks are recomputed in
//! the backward pass, not stored.

use super::{no_parameters, passed, probability, refuse};
use crate::forward::Forward;
use wengert_autograd::{Float, Result, Var};
use wengert_tensor::error::OrPanic;

macro_rules! dropout {
    ($(#[$doc:meta])* $name:ident, $op:literal, |$x:ident, $p:ident| $body:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name {
            p: f64,
        }

        impl $name {
            /// The layer with probability `p`.
            ///
            /// # Panics
            /// When `p` is not in [0, 1].
            #[track_caller]
            pub fn new(p: f64) -> Self {
                Self::try_new(p).or_panic()
            }

            /// The layer with probability `p`.
            ///
            /// # Errors
            /// When `p` is not in [0, 1].
            pub fn try_new(p: f64) -> Result<Self> {
                probability($op, p)?;
                Ok($name { p })
            }

            /// The probability.
            pub fn p(&self) -> f64 {
                self.p
            }
        }

        impl<T: Float> Forward<T> for $name {
            #[track_caller]
            fn forward<'t>(&self, $x: Var<'t, T>) -> Var<'t, T> {
                let $p = self.p;
                passed(self, $body)
            }
        }
    };
}

dropout! {
    /// Inverted dropout (Srivastava et al. 2014): while training each element is 0 with probability `p`, else divided by
    /// 1 - p; the identity in evaluation. `p = 1` gives zeros.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{Dropout, Forward};
    /// let tape = Tape::<f32>::training(1);
    /// let y = Dropout::new(0.5).forward(tape.ones([1000])).value();
    /// assert!(y.iter().all(|v| v == 0.0 || v == 2.0));
    /// assert_eq!(Dropout::new(0.5).predict(&Tensor::<f32>::ones([2])).to_vec(), [1.0, 1.0]);
    /// ```
    Dropout, "dropout", |x, p| x.dropout(p)
}

dropout! {
    /// Dropout that scales at test time (Hinton et al. 2012): while training each element is 0 with probability `p`, else
    /// unchanged; in evaluation everything is multiplied by 1 - p, the expectation.
    ///
    /// In expectation the same as [`Dropout`], which moves the factor into training so that evaluation costs nothing.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{ClassicDropout, Forward};
    /// let tape = Tape::<f32>::training(1);
    /// let y = ClassicDropout::new(0.5).forward(tape.ones([1000])).value();
    /// assert!(y.iter().all(|v| v == 0.0 || v == 1.0));
    /// assert_eq!(ClassicDropout::new(0.5).predict(&Tensor::<f32>::ones([2])).to_vec(), [0.5, 0.5]);
    /// ```
    ClassicDropout, "classic_dropout", |x, p| {
        if p == 0.0 {
            x
        } else if x.tape().is_training() {
            x.mask(x.tape().bernoulli(x.shape(), 1.0 - p))
        } else {
            x * (1.0 - p)
        }
    }
}

dropout! {
    /// Spatial dropout (Tompson et al. 2015): whole channels `[n, channel, ..]` are 0 with probability `p`, else divided by
    /// 1 - p; the identity in evaluation. PyTorch's `Dropout1d` to `Dropout3d` in one.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{Forward, SpatialDropout};
    /// let tape = Tape::<f32>::training(1);
    /// let y = SpatialDropout::new(0.5).forward(tape.ones([2, 3, 4])).value().to_vec();
    /// assert!(y.chunks(4).all(|channel| channel == [0.0; 4] || channel == [2.0; 4]));
    /// assert_eq!(SpatialDropout::new(0.5).predict(&Tensor::<f32>::ones([2])).to_vec(), [1.0, 1.0]);
    /// ```
    SpatialDropout, "spatial_dropout", |x, p| x.feature_dropout(p)
}

dropout! {
    /// Alpha dropout (Klambauer et al. 2017), for SELU: dropped elements take SELU's lower limit, and the whole is scaled and
    /// shifted so that mean 0 and variance 1 are kept; the identity in evaluation.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{AlphaDropout, Forward};
    /// let tape = Tape::<f32>::training(1);
    /// let y = AlphaDropout::new(0.1).forward(tape.normal([10_000], 0.0, 1.0)).value();
    /// let mean = y.iter().sum::<f32>() / 10_000.0;
    /// assert!(mean.abs() < 0.05);
    /// assert_eq!(AlphaDropout::new(0.1).predict(&Tensor::<f32>::ones([2])).to_vec(), [1.0, 1.0]);
    /// ```
    AlphaDropout, "alpha_dropout", |x, p| x.alpha_dropout(p)
}

dropout! {
    /// Stochastic depth (Huang et al. 2016): whole samples of a residual branch are 0 with probability `p`, else divided by
    /// 1 - p; the identity in evaluation.
    ///
    /// It stands at the end of the branch, before the addition. Rates usually rise with depth: [`DropPath::rates`].
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{DropPath, Forward};
    /// let tape = Tape::<f32>::training(1);
    /// let y = DropPath::new(0.5).forward(tape.ones([8, 3])).value().to_vec();
    /// assert!(y.chunks(3).all(|sample| sample == [0.0; 3] || sample == [2.0; 3]));
    /// assert_eq!(DropPath::new(0.5).predict(&Tensor::<f32>::ones([2])).to_vec(), [1.0, 1.0]);
    /// ```
    DropPath, "drop_path", |x, p| x.drop_path(p)
}

impl DropPath {
    /// Rates that rise linearly from 0 for the first of `depth` blocks to `last` for the last one.
    pub fn rates(depth: usize, last: f64) -> Vec<f64> {
        let step = last / depth.saturating_sub(1).max(1) as f64;
        (0..depth).map(|i| step * i as f64).collect()
    }
}

/// Adds normal noise of a standard deviation while training; the identity in evaluation.
///
/// ```
/// use wengert_autograd::{Tape, Tensor};
/// use wengert_nn::{Forward, GaussianNoise};
/// let tape = Tape::<f32>::training(1);
/// let y = GaussianNoise::new(0.1).forward(tape.ones([1000])).value();
/// assert!(y.iter().all(|v| (v - 1.0).abs() < 1.0));
/// assert_eq!(GaussianNoise::new(0.1).predict(&Tensor::<f32>::ones([2])).to_vec(), [1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianNoise {
    std: f64,
}

impl GaussianNoise {
    /// Noise of standard deviation `std`.
    ///
    /// # Panics
    /// When `std` is negative or not finite.
    #[track_caller]
    pub fn new(std: f64) -> Self {
        Self::try_new(std).or_panic()
    }

    /// Noise of standard deviation `std`.
    ///
    /// # Errors
    /// When `std` is negative or not finite.
    pub fn try_new(std: f64) -> Result<Self> {
        if !(std >= 0.0 && std.is_finite()) {
            return refuse(
                "gaussian_noise",
                format!("expected a finite standard deviation >= 0, found {std}"),
            );
        }
        Ok(GaussianNoise { std })
    }

    /// The standard deviation.
    pub fn std(&self) -> f64 {
        self.std
    }
}

impl<T: Float> Forward<T> for GaussianNoise {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.gaussian_noise(self.std))
    }
}

dropout! {
    /// Gaussian dropout (Srivastava et al. 2014, section 10): while training each element is multiplied by a normal number of
    /// mean 1 and variance p / (1 - p), the moments of inverted dropout; the identity in evaluation.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{Forward, GaussianDropout};
    /// let tape = Tape::<f32>::training(1);
    /// let y = GaussianDropout::new(0.1).forward(tape.ones([10_000])).value();
    /// let mean = y.iter().sum::<f32>() / 10_000.0;
    /// assert!((mean - 1.0).abs() < 0.02);
    /// assert_eq!(GaussianDropout::new(0.1).predict(&Tensor::<f32>::ones([2])).to_vec(), [1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// `forward` panics for `p = 1`, where the variance is infinite.
    GaussianDropout, "gaussian_dropout", |x, p| {
        assert!(p < 1.0, "gaussian_dropout: the variance p / (1 - p) is infinite for p = 1");
        if p == 0.0 || !x.tape().is_training() {
            x
        } else {
            x * x.tape().normal(x.shape(), 1.0, (p / (1.0 - p)).sqrt())
        }
    }
}

no_parameters!(
    Dropout,
    ClassicDropout,
    SpatialDropout,
    AlphaDropout,
    DropPath,
    GaussianNoise,
    GaussianDropout,
);
