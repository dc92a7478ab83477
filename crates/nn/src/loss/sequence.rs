//! Losses between sequences.

use super::{Loss, Reduction};
use wengert_autograd::{Float, Tensor, Var};

/// Connectionist temporal classification (Graves et al. 2006): -ln of the probability of all paths through log-probabilities
/// `[steps, n, classes]` that give the labels `[n, most]` when repetitions are merged and blanks dropped.
///
/// Of the steps and labels of sample i the first `steps[i]` and `lengths[i]` count. The mean divides each sample's loss by
/// its number of labels first (at least 1), as PyTorch's. Where no path gives the labels the loss is infinite, or 0 with
/// `zero_infinity`.
///
/// # Panics
/// When the shapes do not fit, a label is the blank or out of range, or a length is larger than its axis.
#[track_caller]
pub fn ctc<'t, T: Float>(
    log_probabilities: Var<'t, T>,
    target: &CtcTarget,
    blank: usize,
    zero_infinity: bool,
    reduction: Reduction,
) -> Var<'t, T> {
    let CtcTarget {
        labels,
        steps,
        lengths,
    } = target;
    let losses = log_probabilities.ctc(labels, steps, lengths, blank, zero_infinity);
    if reduction != Reduction::Mean {
        return reduction.apply(losses);
    }
    let sizes = lengths.iter().map(|&l| T::from_f64(l.max(1) as f64));
    let sizes = Tensor::from_vec(sizes.collect(), [lengths.len()]);
    (losses / losses.tape().input(&sizes)).mean()
}

/// What [`ctc`] compares with.
#[derive(Clone)]
pub struct CtcTarget {
    /// `[n, most]`; what stands behind the length of a sample does not count.
    pub labels: Tensor<i64>,
    /// Steps of each sample.
    pub steps: Vec<usize>,
    /// Labels of each sample.
    pub lengths: Vec<usize>,
}

/// [`ctc`]; the prediction holds log-probabilities `[steps, n, classes]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ctc {
    /// The class that means no label (0 by default).
    pub blank: usize,
    /// Whether impossible samples count as 0 instead of infinity.
    pub zero_infinity: bool,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl<T: Float> Loss<T, CtcTarget> for Ctc {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &CtcTarget) -> Var<'t, T> {
        ctc(
            prediction,
            target,
            self.blank,
            self.zero_infinity,
            self.reduction,
        )
    }
}
