//! Residual networks of convolutions.

use super::conv::Conv2d;
use super::{Activation, GlobalAvgPool, Linear, MaxPool2d, positive, refuse};
use crate::forward::{Forward, Layer};
use crate::norm::BatchNorm2d;
use rand::Rng;
use wengert_autograd::{Float, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// A convolution without bias, padded to keep the size at stride 1, with He's weights: norm and ReLU follow.
fn conv<T: Float>(
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Conv2d<T>> {
    Conv2d::builder(inputs, outputs, kernel)
        .stride(stride)
        .padding(kernel / 2)
        .bias(false)
        .followed_by(Activation::Relu)
        .try_build(rng)
}

/// The projection past a block that changes the shape.
type Downsample<T> = Option<(Conv2d<T>, BatchNorm2d<T>)>;

fn downsample<T: Float>(
    inputs: usize,
    outputs: usize,
    stride: usize,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Downsample<T>> {
    if inputs == outputs && stride == 1 {
        return Ok(None);
    }
    Ok(Some((
        conv(inputs, outputs, 1, stride, rng)?,
        BatchNorm2d::try_new(outputs)?,
    )))
}

fn zero<T: Float>(norm: &mut BatchNorm2d<T>) {
    if let Some(w) = &mut norm.weight {
        *w = super::zeros(w.shape()).or_panic();
    }
}

/// The basic block of residual networks (He et al. 2016): y = relu(bn₂(conv₂(relu(bn₁(conv₁(x))))) + s(x)), two 3 x 3
/// convolutions, the first with the stride; s is the identity, or a 1 x 1 convolution and a norm where the shape changes.
///
/// | | shape |
/// |---|---|
/// | input | `[n, inputs, height, width]` |
/// | output | `[n, outputs, ⌈height / stride⌉, ⌈width / stride⌉]` |
///
/// Names are those of torchvision: `conv1`, `bn1`, `conv2`, `bn2`, `downsample.0`, `downsample.1`. Convolutions start with
/// He's normal weights over fan_in (torchvision: fan_out).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{BasicBlock, Forward};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: BasicBlock = BasicBlock::new(4, 8, 2, &mut rng);
/// assert_eq!(block.predict(&Tensor::ones([2, 4, 8, 8])).shape(), [2, 8, 4, 4]);
/// ```
///
/// # Panics
/// `forward` panics when the input has another number of channels.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct BasicBlock<T: Float = f32> {
    /// 3 x 3 with the stride.
    pub conv1: Conv2d<T>,
    /// Before the activation inside.
    pub bn1: BatchNorm2d<T>,
    /// 3 x 3.
    pub conv2: Conv2d<T>,
    /// Before the sum.
    pub bn2: BatchNorm2d<T>,
    /// The projection past the block.
    pub downsample: Downsample<T>,
}

impl<T: Float> BasicBlock<T> {
    /// A block from `inputs` to `outputs` channels.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn new(
        inputs: usize,
        outputs: usize,
        stride: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        Self::try_new(inputs, outputs, stride, rng).or_panic()
    }

    /// A block from `inputs` to `outputs` channels.
    ///
    /// # Errors
    /// When a number is 0.
    pub fn try_new(
        inputs: usize,
        outputs: usize,
        stride: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self> {
        Ok(BasicBlock {
            conv1: conv(inputs, outputs, 3, stride, rng)?,
            bn1: BatchNorm2d::try_new(outputs)?,
            conv2: conv(outputs, outputs, 3, 1, rng)?,
            bn2: BatchNorm2d::try_new(outputs)?,
            downsample: downsample(inputs, outputs, stride, rng)?,
        })
    }

    /// The last norm starts with γ = 0: the block starts as the identity (Goyal et al. 2017).
    #[must_use]
    pub fn zero_last_norm(mut self) -> Self {
        zero(&mut self.bn2);
        self
    }
}

impl<T: Float> Forward<T> for BasicBlock<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let h = self.bn1.forward_relu(self.conv1.forward(x));
        let h = self.bn2.forward(self.conv2.forward(h));
        (h + self.downsample.forward(x)).relu()
    }
}

/// The bottleneck block of deep residual networks (He et al. 2016): 1 x 1 to `width` channels, 3 x 3 with the stride, 1 x 1 to
/// 4 · `width` channels, each with a norm, y = relu(branch + s(x)).
///
/// The stride stands at the 3 x 3 convolution, as in torchvision ("v1.5"); the paper has it at the first. Names are those of
/// torchvision.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Bottleneck, Forward};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: Bottleneck = Bottleneck::new(8, 4, 2, &mut rng);
/// assert_eq!(block.predict(&Tensor::ones([2, 8, 8, 8])).shape(), [2, 16, 4, 4]);
/// ```
///
/// # Panics
/// `forward` panics when the input has another number of channels.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Bottleneck<T: Float = f32> {
    /// 1 x 1 to the width.
    pub conv1: Conv2d<T>,
    /// After it.
    pub bn1: BatchNorm2d<T>,
    /// 3 x 3 with the stride.
    pub conv2: Conv2d<T>,
    /// After it.
    pub bn2: BatchNorm2d<T>,
    /// 1 x 1 to four times the width.
    pub conv3: Conv2d<T>,
    /// Before the sum.
    pub bn3: BatchNorm2d<T>,
    /// The projection past the block.
    pub downsample: Downsample<T>,
}

impl<T: Float> Bottleneck<T> {
    /// A block from `inputs` to 4 · `width` channels.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn new(inputs: usize, width: usize, stride: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::try_new(inputs, width, stride, rng).or_panic()
    }

    /// A block from `inputs` to 4 · `width` channels.
    ///
    /// # Errors
    /// When a number is 0.
    pub fn try_new(
        inputs: usize,
        width: usize,
        stride: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self> {
        Ok(Bottleneck {
            conv1: conv(inputs, width, 1, 1, rng)?,
            bn1: BatchNorm2d::try_new(width)?,
            conv2: conv(width, width, 3, stride, rng)?,
            bn2: BatchNorm2d::try_new(width)?,
            conv3: conv(width, 4 * width, 1, 1, rng)?,
            bn3: BatchNorm2d::try_new(4 * width)?,
            downsample: downsample(inputs, 4 * width, stride, rng)?,
        })
    }

    /// The last norm starts with γ = 0: the block starts as the identity (Goyal et al. 2017).
    #[must_use]
    pub fn zero_last_norm(mut self) -> Self {
        zero(&mut self.bn3);
        self
    }
}

impl<T: Float> Forward<T> for Bottleneck<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let h = self.bn1.forward_relu(self.conv1.forward(x));
        let h = self.bn2.forward_relu(self.conv2.forward(h));
        let h = self.bn3.forward(self.conv3.forward(h));
        (h + self.downsample.forward(x)).relu()
    }
}

/// A residual network (He et al. 2016): a stem, up to four stages of blocks, the mean of each channel, a linear classifier.
///
/// | | stem | stages | blocks |
/// |---|---|---|---|
/// | [`ResNet::resnet18`], [`ResNet::resnet34`] | 7 x 7, stride 2, max pool | 64, 128, 256, 512 | [`BasicBlock`] |
/// | [`ResNet::resnet50`] | the same | the same | [`Bottleneck`] |
/// | [`ResNet::resnet20`] | 3 x 3 | 16, 32, 64 | three [`BasicBlock`]s each |
///
/// Input `[n, channels, height, width]`, output `[n, classes]` (logits). Names are those of torchvision, so its weights
/// load as they are. The first block of every stage but the first halves height and width. ResNet-20 is the net of the
/// paper's CIFAR experiments with projections where the shape changes (the paper pads with zeros).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{ModuleExt, Tensor};
/// use wengert_nn::{Forward, ResNet};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let net: ResNet = ResNet::resnet20(1, 10, &mut rng);
/// assert_eq!(net.num_params(), 272_186);
/// assert_eq!(net.predict(&Tensor::zeros([2, 1, 8, 8])).shape(), [2, 10]);
/// ```
///
/// # Panics
/// `forward` panics when the input has another number of channels.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct ResNet<T: Float = f32> {
    /// The stem's convolution.
    pub conv1: Conv2d<T>,
    /// The stem's norm.
    pub bn1: BatchNorm2d<T>,
    /// The stem's pooling.
    #[module(skip)]
    pub maxpool: Option<MaxPool2d>,
    /// First stage.
    pub layer1: Vec<Box<dyn Layer<T>>>,
    /// Second stage.
    pub layer2: Vec<Box<dyn Layer<T>>>,
    /// Third stage.
    pub layer3: Vec<Box<dyn Layer<T>>>,
    /// Fourth stage.
    pub layer4: Vec<Box<dyn Layer<T>>>,
    /// The classifier.
    pub fc: Linear<T>,
}

/// Settings of a [`ResNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct ResNetConfig {
    /// Channels of the input.
    pub inputs: usize,
    /// Classes.
    pub classes: usize,
    /// Channels of the first stage; each later one has twice as many.
    pub width: usize,
    /// Blocks of each of one to four stages.
    pub depths: Vec<usize>,
    /// [`Bottleneck`]s instead of [`BasicBlock`]s.
    pub bottleneck: bool,
    /// A stem for small images: 3 x 3 without stride and pooling instead of 7 x 7 with both.
    pub small: bool,
    /// The last norm of each block starts with γ = 0, so that blocks start as the identity.
    pub zero_last_norm: bool,
}

impl<T: Float> ResNet<T> {
    /// A net with settings.
    ///
    /// # Errors
    /// When a number is 0 or there are not one to four stages.
    pub fn try_new(c: &ResNetConfig, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        if !(1..=4).contains(&c.depths.len()) {
            return refuse(
                "resnet",
                format!("expected one to four stages, found depths {:?}", c.depths),
            );
        }
        for &d in &c.depths {
            positive("resnet", "a number of blocks", d)?;
        }
        let stem = if c.small { 3 } else { 7 };
        let conv1 = conv(c.inputs, c.width, stem, if c.small { 1 } else { 2 }, rng)?;
        let mut at = c.width;
        let mut stages: Vec<Vec<Box<dyn Layer<T>>>> = Vec::new();
        for i in 0..4 {
            let mut stage: Vec<Box<dyn Layer<T>>> = Vec::new();
            let width = c.width << i;
            for k in 0..c.depths.get(i).copied().unwrap_or(0) {
                let stride = if k == 0 && i > 0 { 2 } else { 1 };
                let zero = c.zero_last_norm;
                stage.push(if c.bottleneck {
                    let b = Bottleneck::try_new(at, width, stride, rng)?;
                    at = 4 * width;
                    Box::new(if zero { b.zero_last_norm() } else { b })
                } else {
                    let b = BasicBlock::try_new(at, width, stride, rng)?;
                    at = width;
                    Box::new(if zero { b.zero_last_norm() } else { b })
                });
            }
            stages.push(stage);
        }
        let mut stages = stages.into_iter();
        let mut stage = || stages.next().unwrap_or_default();
        Ok(ResNet {
            conv1,
            bn1: BatchNorm2d::try_new(c.width)?,
            maxpool: (!c.small).then(|| MaxPool2d::new(3).stride(2).padding(1)),
            layer1: stage(),
            layer2: stage(),
            layer3: stage(),
            layer4: stage(),
            fc: Linear::builder(at, c.classes).try_build(rng)?,
        })
    }

    #[track_caller]
    fn standard(
        inputs: usize,
        classes: usize,
        depths: &[usize],
        bottleneck: bool,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        let small = depths.len() == 3;
        let c = ResNetConfig {
            inputs,
            classes,
            width: if small { 16 } else { 64 },
            depths: depths.to_vec(),
            bottleneck,
            small,
            zero_last_norm: false,
        };
        Self::try_new(&c, rng).or_panic()
    }

    /// ResNet-20 for small images: 0.27 million parameters.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn resnet20(inputs: usize, classes: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::standard(inputs, classes, &[3, 3, 3], false, rng)
    }

    /// ResNet-18: 11.7 million parameters for 3 channels and 1000 classes.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn resnet18(inputs: usize, classes: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::standard(inputs, classes, &[2, 2, 2, 2], false, rng)
    }

    /// ResNet-34: 21.8 million parameters for 3 channels and 1000 classes.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn resnet34(inputs: usize, classes: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::standard(inputs, classes, &[3, 4, 6, 3], false, rng)
    }

    /// ResNet-50: 25.6 million parameters for 3 channels and 1000 classes.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn resnet50(inputs: usize, classes: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::standard(inputs, classes, &[3, 4, 6, 3], true, rng)
    }

    /// The mean of each channel before the classifier: `[n, features]`.
    #[track_caller]
    pub fn features<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let mut h = self.bn1.forward_relu(self.conv1.forward(x));
        h = self.maxpool.forward(h);
        for stage in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            h = stage.forward(h);
        }
        GlobalAvgPool.forward(h)
    }
}

impl<T: Float> Forward<T> for ResNet<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.fc.forward(self.features(x))
    }
}
