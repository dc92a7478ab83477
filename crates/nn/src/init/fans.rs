//! How many inputs a unit has, and how many units an input feeds.

use std::fmt;

/// Number of connections on both sides of a weight, the measure of its scale.
///
/// `fan_in` is the number of terms that one output sums, `fan_out` the number of outputs that one input reaches. They
/// belong to the kind of layer, not to the shape of the weight: a transposed convolution stores its axes the other way
/// round, the gates of an LSTM stand below each other but never see each other. They may be fractional (a stride that
/// does not divide the kernel).
///
/// ```
/// use wengert_nn::init::Fans;
/// let f = Fans::conv(64, 128, &[3, 3], 1);
/// assert_eq!((f.fan_in, f.fan_out), (576.0, 1152.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fans {
    /// Terms summed by one output.
    pub fan_in: f64,
    /// Outputs reached by one input.
    pub fan_out: f64,
}

fn product(kernel: &[usize]) -> f64 {
    kernel.iter().map(|&k| k as f64).product()
}

impl Fans {
    /// Fans given by hand.
    pub const fn new(fan_in: f64, fan_out: f64) -> Self {
        Fans { fan_in, fan_out }
    }

    /// A linear layer, weight `[outputs, inputs]`.
    pub fn linear(inputs: usize, outputs: usize) -> Self {
        Fans::new(inputs as f64, outputs as f64)
    }

    /// A bilinear layer, weight `[outputs, inputs1, inputs2]`: each output sums `inputs1 * inputs2` products.
    pub fn bilinear(inputs1: usize, inputs2: usize, outputs: usize) -> Self {
        Fans::new(
            inputs1 as f64 * inputs2 as f64,
            outputs as f64 * inputs2 as f64,
        )
    }

    /// A convolution, weight `[outputs, inputs / groups, kernel…]`.
    ///
    /// `fan_in = inputs / groups * Π kernel`, `fan_out = outputs / groups * Π kernel`. PyTorch forgets the groups in
    /// `fan_out`: an input channel reaches the output channels of its own group only. A depthwise convolution has
    /// `groups = inputs`. The stride does not count, as in the papers.
    ///
    /// # Panics
    /// When `groups` is 0.
    #[track_caller]
    pub fn conv(inputs: usize, outputs: usize, kernel: &[usize], groups: usize) -> Self {
        assert!(groups > 0, "Fans::conv: expected at least 1 group, found 0");
        let k = product(kernel) / groups as f64;
        Fans::new(inputs as f64 * k, outputs as f64 * k)
    }

    /// A transposed convolution, weight `[inputs, outputs / groups, kernel…]`.
    ///
    /// With stride `s` an output position is met by every `s`-th tap of the kernel only, so
    /// `fan_in = inputs / groups * Π kernel / s`, and `fan_out = outputs / groups * Π kernel`. PyTorch reads the fans off
    /// the shape as if the axes stood the other way round.
    ///
    /// # Panics
    /// When `groups` is 0, a stride is 0, or there is not one stride per kernel axis.
    #[track_caller]
    pub fn conv_transpose(
        inputs: usize,
        outputs: usize,
        kernel: &[usize],
        stride: &[usize],
        groups: usize,
    ) -> Self {
        assert!(
            groups > 0,
            "Fans::conv_transpose: expected at least 1 group, found 0"
        );
        assert!(
            kernel.len() == stride.len() && stride.iter().all(|&s| s > 0),
            "Fans::conv_transpose: expected one positive stride per kernel axis, found kernel {kernel:?} and stride {stride:?}"
        );
        let k = product(kernel) / groups as f64;
        // A stride beyond the kernel leaves some outputs empty; those that are met see one tap.
        let taps: f64 = kernel
            .iter()
            .zip(stride)
            .map(|(&k, &s)| (k as f64 / s as f64).max((k as f64).min(1.0)))
            .product();
        Fans::new(inputs as f64 / groups as f64 * taps, outputs as f64 * k)
    }

    /// One gate of a recurrent layer. The weight of all gates, `[gates * hidden, inputs]`, is a stack of such blocks, each
    /// with the fans of a linear layer of its own.
    pub fn gate(inputs: usize, hidden: usize) -> Self {
        Fans::linear(inputs, hidden)
    }

    /// An embedding, weight `[entries, features]`: exactly one row is looked up, so `fan_in = 1`.
    pub fn embedding(features: usize) -> Self {
        Fans::new(1.0, features as f64)
    }

    /// What PyTorch reads off a shape `[outputs, inputs, kernel…]`, whatever the layer is.
    ///
    /// `None` below rank 2, where PyTorch refuses.
    pub fn of_shape(shape: &[usize]) -> Option<Self> {
        let [outputs, inputs, kernel @ ..] = shape else {
            return None;
        };
        Some(Fans::conv(*inputs, *outputs, kernel, 1))
    }

    /// The fan that a scaling rule asks for.
    pub fn get(&self, mode: FanMode) -> f64 {
        match mode {
            FanMode::FanIn => self.fan_in,
            FanMode::FanOut => self.fan_out,
            FanMode::FanAvg => 0.5 * (self.fan_in + self.fan_out),
        }
    }
}

/// Which fan a scaling rule divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FanMode {
    /// Keeps the size of the activations on the way forward.
    #[default]
    FanIn,
    /// Keeps the size of the gradients on the way back.
    FanOut,
    /// The mean of both, a compromise.
    FanAvg,
}

impl fmt::Display for FanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FanMode::FanIn => "fan_in",
            FanMode::FanOut => "fan_out",
            FanMode::FanAvg => "fan_avg",
        })
    }
}
