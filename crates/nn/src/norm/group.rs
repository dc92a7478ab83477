//! Normalization of each sample over groups of channels.

use super::epsilon;
use crate::forward::Forward;
use crate::layers::{along, constant, positive, refuse, zeros};
use wengert_autograd::{Buffer, Dims, Float, Param, Result, Tensor, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

#[track_caller]
fn affine<'t, T: Float>(
    y: Var<'t, T>,
    weight: &Option<Param<T>>,
    bias: &Option<Param<T>>,
) -> Var<'t, T> {
    let (tape, rank) = (y.tape(), y.rank());
    let mut y = y;
    if let Some(w) = weight {
        y = y * along(tape.param(w), 1, rank);
    }
    if let Some(b) = bias {
        y = y + along(tape.param(b), 1, rank);
    }
    y
}

#[track_caller]
fn check_input<T: Float>(op: &str, x: &Var<'_, T>, channels: usize) {
    let shape = x.shape();
    assert!(
        shape.len() >= 2 && shape[1] == channels,
        "{op}: input of shape {:?} does not fit (expected {channels} channels at axis 1)",
        shape.as_slice()
    );
}

/// Group normalization (Wu & He 2018): the channels `[n, channels, ..]` are cut into groups, and each group of each sample
/// is centred and scaled: y = γ (x - mean) / √(var + ε) + β.
///
/// `weight` γ and `bias` β have one entry per channel and start at 1 and 0; ε = 1e-5, as in PyTorch.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, GroupNorm};
/// let norm: GroupNorm = GroupNorm::new(2, 4);
/// assert_eq!(norm.predict(&Tensor::ones([3, 4, 5, 5])).to_vec(), [0.0; 300]);
/// ```
///
/// # Panics
/// `forward` panics when the input has another number of channels.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct GroupNorm<T: Float = f32> {
    /// γ.
    pub weight: Option<Param<T>>,
    /// β.
    pub bias: Option<Param<T>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    channels: usize,
    #[module(skip)]
    eps: f64,
}

impl<T: Float> GroupNorm<T> {
    /// `channels` in `groups` groups.
    ///
    /// # Panics
    /// Where [`GroupNorm::try_new`] errs.
    #[track_caller]
    pub fn new(groups: usize, channels: usize) -> Self {
        Self::try_new(groups, channels).or_panic()
    }

    /// `channels` in `groups` groups.
    ///
    /// # Errors
    /// When a number is 0 or the groups do not divide the channels.
    pub fn try_new(groups: usize, channels: usize) -> Result<Self> {
        positive("group_norm", "a number of groups", groups)?;
        positive("group_norm", "a number of channels", channels)?;
        if !channels.is_multiple_of(groups) {
            return refuse(
                "group_norm",
                format!("{groups} groups do not divide {channels} channels"),
            );
        }
        Ok(GroupNorm {
            weight: Some(constant(&[channels], 1.0)?),
            bias: Some(zeros(&[channels])?),
            groups,
            channels,
            eps: 1e-5,
        })
    }

    /// Another ε.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon("group_norm", eps).or_panic();
        self.eps = eps;
        self
    }

    /// Without γ and β.
    #[must_use]
    pub fn without_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }
}

impl<T: Float> Forward<T> for GroupNorm<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        check_input("group_norm", &x, self.channels);
        let tape = x.tape();
        let weight = self.weight.as_ref().map(|w| tape.param(w));
        let bias = self.bias.as_ref().map(|b| tape.param(b));
        x.group_norm(self.groups, weight, bias, self.eps)
    }
}

/// Instance normalization (Ulyanov et al. 2016): each channel of each sample `[n, channels, ..]` is centred and scaled over
/// its space. PyTorch's `InstanceNorm1d` to `InstanceNorm3d` in one.
///
/// Defaults are PyTorch's: ε = 1e-5, neither γ and β nor running statistics. With running statistics, those normalize in
/// evaluation; they move by the mean over the batch of the instances' statistics, as in PyTorch.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, InstanceNorm};
/// let norm: InstanceNorm = InstanceNorm::new(4).with_affine();
/// assert_eq!(norm.predict(&Tensor::ones([3, 4, 5, 5])).to_vec(), [0.0; 300]);
/// ```
///
/// # Panics
/// `forward` panics when the input has another number of channels or no space, and when it has only one value per channel
/// and no running statistics are in use.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct InstanceNorm<T: Float = f32> {
    /// γ.
    pub weight: Option<Param<T>>,
    /// β.
    pub bias: Option<Param<T>>,
    /// Mean of past instances.
    pub running_mean: Option<Buffer<T>>,
    /// Variance of past instances.
    pub running_var: Option<Buffer<T>>,
    #[module(skip)]
    channels: usize,
    #[module(skip)]
    eps: f64,
    #[module(skip)]
    momentum: f64,
}

impl<T: Float> InstanceNorm<T> {
    /// The layer with PyTorch's defaults.
    ///
    /// # Panics
    /// When there are no channels.
    #[track_caller]
    pub fn new(channels: usize) -> Self {
        Self::try_new(channels).or_panic()
    }

    /// The layer with PyTorch's defaults.
    ///
    /// # Errors
    /// When there are no channels.
    pub fn try_new(channels: usize) -> Result<Self> {
        positive("instance_norm", "a number of channels", channels)?;
        Ok(InstanceNorm {
            weight: None,
            bias: None,
            running_mean: None,
            running_var: None,
            channels,
            eps: 1e-5,
            momentum: 0.1,
        })
    }

    /// With γ and β.
    #[must_use]
    pub fn with_affine(mut self) -> Self {
        self.weight = Some(constant(&[self.channels], 1.0).or_panic());
        self.bias = Some(zeros(&[self.channels]).or_panic());
        self
    }

    /// With running statistics that take `momentum` of each batch.
    ///
    /// # Panics
    /// When the momentum is not in [0, 1].
    #[track_caller]
    #[must_use]
    pub fn with_running_statistics(mut self, momentum: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&momentum),
            "instance_norm: expected a momentum in [0, 1], found {momentum}"
        );
        self.momentum = momentum;
        self.running_mean = Some(Buffer::new(Tensor::zeros([self.channels])));
        self.running_var = Some(Buffer::new(Tensor::ones([self.channels])));
        self
    }

    /// Another ε.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon("instance_norm", eps).or_panic();
        self.eps = eps;
        self
    }
}

impl<T: Float> Forward<T> for InstanceNorm<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        check_input("instance_norm", &x, self.channels);
        let (tape, shape) = (x.tape(), x.shape());
        let rank = shape.len();
        assert!(
            rank > 2,
            "instance_norm: expected [n, channels, space..], found shape {:?}",
            shape.as_slice()
        );
        let running = self.running_mean.as_ref().zip(self.running_var.as_ref());
        let fixed =
            running.filter(|(m, v)| !tape.is_training() || (m.is_frozen() && v.is_frozen()));
        if let Some((mean, var)) = fixed {
            let scale = (tape.buffer(var) + self.eps).rsqrt();
            let y = (x - along(tape.buffer(mean), 1, rank)) * along(scale, 1, rank);
            return affine(y, &self.weight, &self.bias);
        }
        let space: usize = shape[2..].iter().product();
        assert!(
            space > 1,
            "instance_norm: expected more than one value per channel, found shape {:?}",
            shape.as_slice()
        );
        let y = x.group_norm(self.channels, None, None, self.eps);
        // A batch of no samples has no statistics.
        if let Some((running_mean, running_var)) = running.filter(|_| shape[0] > 0) {
            let (n, m) = (space as f64, self.momentum);
            let flat = Dims::from_slice(&[self.channels]);
            let follow = || {
                let rows = x.reshape([shape[0], self.channels, space]);
                let mean = rows.mean_dim(-1, true);
                let var = (rows - mean).square().mean_dim(-1, true);
                let var = var * (n / (n - 1.0));
                for (buffer, new) in [(running_mean, mean), (running_var, var)] {
                    let new = new.mean_dim(0, true).reshape(&flat);
                    tape.side_output(buffer, tape.buffer(buffer) * (1.0 - m) + new * m);
                }
            };
            tape.at_caller(|| tape.no_grad(follow));
        }
        affine(y, &self.weight, &self.bias)
    }
}
