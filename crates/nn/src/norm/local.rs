//! Local response normalization.

use crate::forward::Forward;
use crate::layers::{no_parameters, passed, positive, refuse};
use wengert_autograd::{Float, Result, Var};
use wengert_tensor::error::OrPanic;

/// Local response normalization (Krizhevsky et al. 2012) over neighbouring channels of `[n, channels, ..]`, as PyTorch
/// computes it: y = x / (k + α · mean of x² over `size` channels)^β, with zeros beyond the first and last channel.
///
/// Defaults are PyTorch's: α = 1e-4, β = 0.75, k = 1.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, LocalResponseNorm};
/// assert_eq!(LocalResponseNorm::new(5).predict(&Tensor::<f32>::ones([1, 8, 3])).shape(), [1, 8, 3]);
/// ```
///
/// # Panics
/// `forward` panics when the rank is below 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    size: usize,
    alpha: f64,
    beta: f64,
    k: f64,
}

impl LocalResponseNorm {
    /// Over `size` channels.
    ///
    /// # Panics
    /// When the size is 0.
    #[track_caller]
    pub fn new(size: usize) -> Self {
        Self::with(size, 1e-4, 0.75, 1.0)
    }

    /// With other constants.
    ///
    /// # Panics
    /// Where [`LocalResponseNorm::try_with`] errs.
    #[track_caller]
    pub fn with(size: usize, alpha: f64, beta: f64, k: f64) -> Self {
        Self::try_with(size, alpha, beta, k).or_panic()
    }

    /// With other constants.
    ///
    /// # Errors
    /// When the size is 0, or a constant is not finite.
    pub fn try_with(size: usize, alpha: f64, beta: f64, k: f64) -> Result<Self> {
        positive("local_response_norm", "a number of channels", size)?;
        if ![alpha, beta, k].iter().all(|v| v.is_finite()) {
            return refuse(
                "local_response_norm",
                format!("expected finite constants, found alpha {alpha}, beta {beta}, k {k}"),
            );
        }
        Ok(LocalResponseNorm {
            size,
            alpha,
            beta,
            k,
        })
    }
}

impl<T: Float> Forward<T> for LocalResponseNorm {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(
            self,
            x.local_response_norm(self.size, self.alpha, self.beta, self.k),
        )
    }
}

no_parameters!(LocalResponseNorm);
