//! Layers that disturb at random while training.
//!
//! Whether they do, and the random numbers, come from the tape: its mode, its seed and its step. Masks are recomputed in
//! the backward pass, not stored.

use super::{no_parameters, probability, refuse};
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
                $body
            }
        }
    };
}

dropout! {
    /// Inverted dropout (Srivastava et al. 2014): while training each element is 0 with probability `p`, else divided by
    /// 1 - p; the identity in evaluation. `p = 1` gives zeros.
    Dropout, "dropout", |x, p| x.dropout(p)
}

dropout! {
    /// Dropout that scales at test time (Hinton et al. 2012): while training each element is 0 with probability `p`, else
    /// unchanged; in evaluation everything is multiplied by 1 - p, the expectation.
    ///
    /// In expectation the same as [`Dropout`], which moves the factor into training so that evaluation costs nothing.
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
    SpatialDropout, "spatial_dropout", |x, p| x.feature_dropout(p)
}

dropout! {
    /// Alpha dropout (Klambauer et al. 2017), for SELU: dropped elements take SELU's lower limit, and the whole is scaled and
    /// shifted so that mean 0 and variance 1 are kept; the identity in evaluation.
    AlphaDropout, "alpha_dropout", |x, p| x.alpha_dropout(p)
}

dropout! {
    /// Stochastic depth (Huang et al. 2016): whole samples of a residual branch are 0 with probability `p`, else divided by
    /// 1 - p; the identity in evaluation.
    ///
    /// It stands at the end of the branch, before the addition. Rates usually rise with depth: [`DropPath::rates`].
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
        x.gaussian_noise(self.std)
    }
}

dropout! {
    /// Gaussian dropout (Srivastava et al. 2014, section 10): while training each element is multiplied by a normal number of
    /// mean 1 and variance p / (1 - p), the moments of inverted dropout; the identity in evaluation.
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
