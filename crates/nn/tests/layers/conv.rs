//! Convolutions, pooling, resizing, residual blocks.

use crate::common::{cases, check, first, rng, sample, stir};
use wengert_autograd::ops::conv::Padding;
use wengert_autograd::ops::interpolate::Interpolation;
use wengert_autograd::ops::pool::Divisor;
use wengert_autograd::{Module, ModuleExt, Tape, Tensor, Var};
use wengert_nn::{
    Activation, AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, BasicBlock, Bottleneck, Conv, Conv2d,
    ConvTranspose, ConvTranspose2d, DenseSkip, Fixup, Flatten, Forward, GlobalAvgPool,
    GlobalMaxPool, Highway, LayerNorm, LayerScale, Linear, LocalResponseNorm, LpPool, MaxPool,
    MaxPool2d, Nonlinearity, PixelShuffle, PixelUnshuffle, ReZero, ResNet, ResNetConfig, Residual,
    SeparableConv, SeparableConv2d, Sequential, SkipInit, SqueezeExcite, Unflatten, Upsample,
    WeightNorm, WeightStandardization,
};

const CONV: &str = include_str!("../reference/conv.txt");
const BLOCK: &str = include_str!("../reference/block.txt");

/// The cases over one to three axes.
fn over_axes<const D: usize>(c: &crate::common::Case, name: &str) -> bool {
    let r = &mut rng(1);
    match name {
        "conv" => c.run(&mut Conv::<D, f64>::new(2, 3, 2, r), true, first),
        "conv stride groups" => {
            let b = Conv::<D, f64>::builder(4, 2, 3).stride(2).padding(1);
            c.run(&mut b.groups(2).bias(false).build(r), true, first);
        }
        "conv same" => {
            let b = Conv::<D, f64>::builder(2, 2, 3).padding(Padding::Same);
            c.run(&mut b.dilation(2).build(r), true, first);
        }
        "depthwise" => {
            let b = Conv::<D, f64>::depthwise(3, 2).padding(1);
            c.run(&mut b.build(r), true, first);
        }
        "separable" => {
            let b = SeparableConv::<D, f64>::builder(2, 3, 3).padding(1);
            c.run(&mut b.build(r), true, first);
        }
        "transpose" => c.run(&mut ConvTranspose::<D, f64>::new(2, 3, 2, r), true, first),
        "transpose options" => {
            let b = ConvTranspose::<D, f64>::builder(4, 2, 3)
                .stride(2)
                .padding(1);
            let b = b.output_padding(1).groups(2).dilation(2).bias(false);
            c.run(&mut b.build(r), true, first);
        }
        "max" => c.run(&mut MaxPool::<D>::new(2), true, first),
        "max options" => {
            let m = MaxPool::<D>::new(2).stride(1).padding(1).dilation(2).ceil();
            c.run(&mut { m }, true, first);
        }
        "avg" => c.run(&mut AvgPool::<D>::new(2), true, first),
        "avg options" => {
            let m = AvgPool::<D>::new(3).stride(2).padding(1).ceil();
            c.run(&mut m.divisor(Divisor::Inside), true, first);
        }
        "lp" => c.run(&mut LpPool::<D>::new(2.0, 2).stride(1), true, first),
        "adaptive max" => c.run(&mut AdaptiveMaxPool::<D>::new(3), true, first),
        "adaptive avg" => c.run(&mut AdaptiveAvgPool::<D>::new(3), true, first),
        "global avg" => c.run(&mut GlobalAvgPool, true, first),
        "global max" => c.run(&mut GlobalMaxPool, true, first),
        "upsample nearest" => {
            c.run(
                &mut Upsample::by([2.0; D], Interpolation::Nearest),
                true,
                first,
            );
        }
        "upsample linear" => {
            c.run(
                &mut Upsample::to([4; D], Interpolation::LINEAR),
                true,
                first,
            );
        }
        "upsample aligned" => {
            let mode = Interpolation::Linear {
                align_corners: true,
            };
            c.run(&mut Upsample::to([6; D], mode), true, first);
        }
        _ => return false,
    }
    true
}

pub fn convolutions_against_pytorch() {
    let mut seen = 0;
    for c in cases(CONV) {
        seen += 1;
        let r = &mut rng(1);
        let (name, axes) = c.name.rsplit_once(' ').unwrap_or((&c.name, ""));
        let known = match axes {
            "1" => over_axes::<1>(&c, name),
            "2" => over_axes::<2>(&c, name),
            "3" => over_axes::<3>(&c, name),
            _ => false,
        };
        if known {
            continue;
        }
        match c.name.as_str() {
            "upsample cubic 2" => {
                c.run(
                    &mut Upsample::by([1.5, 2.0], Interpolation::CUBIC),
                    true,
                    first,
                );
            }
            "pixel_shuffle" => c.run(&mut PixelShuffle::new(2), true, first),
            "pixel_unshuffle" => c.run(&mut PixelUnshuffle::new(2), true, first),
            "local_response" => {
                c.run(&mut LocalResponseNorm::with(3, 0.5, 0.75, 2.0), true, first);
            }
            "weight_norm transpose" => {
                let inner = ConvTranspose2d::<f64>::new(2, 3, 2, r);
                c.run(&mut WeightNorm::new(inner), true, first);
            }
            "weight_standardization conv" => {
                let mut inner = Conv2d::<f64>::builder(2, 3, 2).bias(false).build(r);
                inner.weight.set(c.get("in.1").copy());
                let m = WeightStandardization::new(inner);
                let tape = Tape::training(0);
                let x = tape.input(c.get("in.0"));
                let y = m.forward(x);
                c.close("out", &y.value());
                let loss = (y * tape.input(c.get("cot"))).sum();
                let w = tape.param(&m.inner.weight);
                let [gx, gw] = wengert_autograd::grad(loss, [x, w]);
                c.close("grad.in.0", &gx.value());
                c.close("grad.in.1", &gw.value());
            }
            name => panic!("no test for case {name}"),
        }
    }
    assert_eq!(seen, 3 * 19 + 6);
}

pub fn blocks_against_pytorch() {
    let mut seen = 0;
    for c in cases(BLOCK) {
        seen += 1;
        let r = &mut rng(1);
        let linear = |i, o, r: &mut _| Linear::<f64>::new(i, o, r);
        let bare = |i, o, r: &mut _| Linear::<f64>::builder(i, o).bias(false).build(r);
        match c.name.as_str() {
            "basic" => c.run(&mut BasicBlock::new(2, 2, 1, r), true, first),
            "basic down" => c.run(&mut BasicBlock::new(2, 3, 2, r), true, first),
            "bottleneck" => c.run(&mut Bottleneck::new(4, 1, 1, r), true, first),
            "bottleneck down" => c.run(&mut Bottleneck::new(2, 1, 2, r), true, first),
            "resnet" => c.run(&mut ResNet::try_new(&tiny(), r).unwrap(), true, first),
            "fixup linear" => c.run(&mut Fixup::linear(4, 5, r), true, first),
            "fixup conv" => c.run(&mut Fixup::conv2d(2, 3, 2, 5, r), true, first),
            "highway" => c.run(&mut Highway::new(4, Activation::Tanh, r), true, first),
            "dense skip" => c.run(&mut DenseSkip::new(linear(4, 2, r)), true, first),
            "rezero" => c.run(&mut ReZero::new(linear(4, 4, r)), true, first),
            "skip init" => c.run(&mut SkipInit::new(), true, first),
            "layer scale" => c.run(&mut LayerScale::along(1, 3, 0.1), true, first),
            "squeeze excite" => c.run(&mut SqueezeExcite::new(4, 2, r), true, first),
            "residual" => {
                let m = Residual::new(linear(4, 3, r)).with_shortcut(bare(4, 3, r));
                c.run(&mut m.followed_by(Activation::Silu), true, first);
            }
            "residual pre" => {
                let m = Residual::new(linear(4, 3, r)).with_shortcut(bare(4, 3, r));
                c.run(&mut m.preceded_by(LayerNorm::new(4)), true, first);
            }
            "sequential" => {
                let b = Sequential::builder().linear(4, 3).tanh().linear(3, 2);
                c.run(&mut b.build(r), true, first);
            }
            "flatten" => c.run(&mut Flatten::new(), true, first),
            "unflatten" => c.run(&mut Unflatten::new(1, [3, 2]), true, first),
            name => panic!("no test for case {name}"),
        }
    }
    assert_eq!(seen, 18);
}

/// The smallest net with everything: both kinds of stage, the stem for large images.
fn tiny() -> ResNetConfig {
    ResNetConfig {
        inputs: 1,
        classes: 3,
        width: 2,
        depths: vec![1, 1],
        bottleneck: false,
        small: false,
        zero_last_norm: false,
    }
}

/// A curved function behind, so that second derivatives are not all zero.
fn curved<'t, M: Forward<f64>>(m: &M, _: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Var<'t, f64> {
    m.forward(x[0]).tanh()
}

fn derivatives_over_axes<const D: usize>() {
    let r = &mut rng(2);
    let x = |c: usize, n: usize, seed: u64| {
        let mut shape = vec![1, c];
        shape.extend([n; D]);
        sample(&shape, seed)
    };
    let name = |s: &str| format!("{s} over {D} axes");
    let c = Conv::<D, f64>::builder(2, 2, 2)
        .stride(2)
        .padding(1)
        .build(r);
    check(&name("conv"), &c, &[x(2, 3, 1)], true, curved);
    let c = Conv::<D, f64>::builder(2, 4, 2)
        .groups(2)
        .dilation(2)
        .build(r);
    check(&name("conv groups"), &c, &[x(2, 3, 2)], true, curved);
    let c = Conv::<D, f64>::depthwise(2, 3)
        .padding(Padding::Same)
        .bias(false)
        .build(r);
    check(&name("depthwise"), &c, &[x(2, 3, 3)], true, curved);
    let c = SeparableConv::<D, f64>::builder(2, 2, 2)
        .stride(2)
        .dilation(1)
        .build(r);
    check(&name("separable"), &c, &[x(2, 4, 4)], true, curved);
    let c = ConvTranspose::<D, f64>::builder(2, 2, 2)
        .stride(2)
        .output_padding(1)
        .build(r);
    check(&name("transpose"), &c, &[x(2, 2, 5)], true, curved);
    let c = ConvTranspose::<D, f64>::builder(2, 2, 3)
        .groups(2)
        .padding(1)
        .bias(false)
        .build(r);
    check(&name("transpose groups"), &c, &[x(2, 3, 6)], true, curved);
    let m = MaxPool::<D>::new(2).stride(1).padding(1);
    check(&name("max"), &m, &[x(1, 3, 7)], true, curved);
    check(
        &name("max squares"),
        &MaxPool::<D>::new(2),
        &[x(1, 4, 8)],
        true,
        curved,
    );
    let m = AvgPool::<D>::new(2)
        .stride(1)
        .padding(1)
        .divisor(Divisor::Inside);
    check(&name("average"), &m, &[x(1, 3, 9)], true, curved);
    // Windows whose powers do not cancel to zero.
    let m = (Activation::Softplus(1.0), LpPool::<D>::new(3.0, 2));
    check(&name("power"), &m, &[x(1, 4, 10)], true, curved);
    let m = AdaptiveMaxPool::<D>::new(2);
    check(&name("adaptive max"), &m, &[x(1, 3, 11)], true, curved);
    let m = AdaptiveAvgPool::<D>::new(2);
    check(&name("adaptive average"), &m, &[x(1, 3, 12)], true, curved);
    for mode in [
        Interpolation::Nearest,
        Interpolation::NearestExact,
        Interpolation::LINEAR,
        Interpolation::Cubic {
            align_corners: true,
        },
    ] {
        let m = Upsample::to([4; D], mode);
        check(&name("upsample to"), &m, &[x(1, 3, 13)], true, curved);
        let m = Upsample::by([1.5; D], mode);
        check(&name("upsample by"), &m, &[x(1, 2, 14)], true, curved);
    }
    check(
        &name("global average"),
        &GlobalAvgPool,
        &[x(2, 2, 15)],
        true,
        curved,
    );
    check(
        &name("global max"),
        &GlobalMaxPool,
        &[x(2, 2, 16)],
        true,
        curved,
    );
}

pub fn derivatives() {
    derivatives_over_axes::<1>();
    derivatives_over_axes::<2>();
    derivatives_over_axes::<3>();
    let r = &mut rng(2);
    check(
        "shuffle",
        &PixelShuffle::new(2),
        &[sample(&[1, 4, 1, 2], 1)],
        true,
        curved,
    );
    check(
        "unshuffle",
        &PixelUnshuffle::new(2),
        &[sample(&[1, 1, 2, 4], 1)],
        true,
        curved,
    );
    check(
        "local response",
        &LocalResponseNorm::new(3),
        &[sample(&[1, 4, 2], 2)],
        true,
        curved,
    );
    let image = sample(&[2, 2, 4, 3], 3);
    let mut block = BasicBlock::new(2, 2, 1, r);
    stir(&mut block, 1);
    check("basic block", &block, &[image.copy()], true, curved);
    check(
        "basic block, evaluation",
        &block,
        &[image.copy()],
        false,
        curved,
    );
    let mut block = BasicBlock::new(2, 3, 2, r).zero_last_norm();
    stir(&mut block, 2);
    check("basic block down", &block, &[image.copy()], true, curved);
    let mut block = Bottleneck::new(2, 1, 2, r);
    stir(&mut block, 3);
    check("bottleneck", &block, &[image.copy()], true, curved);
    let mut net = ResNet::try_new(&tiny(), r).unwrap();
    stir(&mut net, 4);
    check("resnet", &net, &[sample(&[3, 1, 8, 8], 4)], true, curved);
    let mut block = Fixup::conv2d(2, 2, 2, 9, r).with_activation(Activation::Silu);
    stir(&mut block, 5);
    check("fixup", &block, &[image.copy()], true, curved);
    let mut block = Fixup::linear(3, 9, r);
    stir(&mut block, 6);
    check("fixup linear", &block, &[sample(&[2, 3], 5)], true, curved);
}

#[test]
fn initializers_see_fans_and_the_activation() {
    let net: Sequential = Sequential::builder()
        .conv2d(3, 8, 3)
        .batch_norm2d(8)
        .relu()
        .then(Conv2d::depthwise(8, 3).padding(1))
        .tanh()
        .then(SeparableConv2d::builder(8, 4, 3))
        .selu()
        .then(ConvTranspose2d::builder(4, 2, 4).stride(2))
        .max_pool2d(2)
        .leaky_relu(0.1)
        .global_avg_pool()
        .linear(2, 2)
        .build(&mut rng(1));
    let mut found = Vec::new();
    net.for_each_param(|path, p| {
        if path.ends_with("weight") && p.shape().len() > 1 {
            found.push(p.origin().expect("noted").to_owned());
        }
    });
    assert_eq!(
        found,
        [
            "he_normal(fan_in), fan_in 27, sigma 0.272",
            "glorot_uniform, fan_avg 9, sigma 0.333",
            "lecun_normal, fan_in 9, sigma 0.333",
            "lecun_normal, fan_in 8, sigma 0.354",
            "he_normal(fan_in, slope 0.1), fan_in 16, sigma 0.352",
            "glorot_uniform, fan_avg 2, sigma 0.707",
        ]
    );
    assert_eq!(net.predict(&Tensor::ones([1, 3, 12, 12])).shape(), [1, 2]);
}

#[test]
fn residual_networks_have_the_sizes_of_the_papers() {
    let r = &mut rng(1);
    assert_eq!(ResNet::<f32>::resnet18(3, 1000, r).num_params(), 11_689_512);
    let b: Bottleneck = Bottleneck::new(256, 64, 1, r);
    assert_eq!(b.num_params(), 70_400);
    let net: ResNet = ResNet::try_new(
        &ResNetConfig {
            bottleneck: true,
            ..tiny()
        },
        r,
    )
    .unwrap();
    let paths: Vec<String> = net.named_params().into_iter().map(|p| p.path).collect();
    for path in [
        "conv1.weight",
        "layer1.0.conv3.weight",
        "layer2.0.downsample.1.bias",
        "fc.bias",
    ] {
        assert!(paths.iter().any(|p| p == path), "{path}");
    }
    // Blocks whose last norm starts at zero: the net is its shortcuts.
    let c = ResNetConfig {
        zero_last_norm: true,
        small: true,
        ..tiny()
    };
    let net: ResNet = ResNet::try_new(&c, r).unwrap();
    let x = Tensor::from_vec((0..64).map(|i| (i as f32).sin()).collect(), [1, 1, 8, 8]);
    let tape = Tape::inference();
    let h = net.layer1[0].forward(tape.input(&x).broadcast_to([1, 2, 8, 8]));
    let kept = tape.input(&x).relu().broadcast_to([1, 2, 8, 8]);
    assert_eq!(h.value().to_vec(), kept.value().to_vec());
    for depths in [vec![], vec![1; 5], vec![2, 0]] {
        let e = ResNet::<f32>::try_new(&ResNetConfig { depths, ..tiny() }, r);
        assert!(e.err().unwrap().to_string().starts_with("resnet: expected"));
    }
}

#[test]
fn fixup_starts_as_the_identity_with_scaled_weights() {
    let block: Fixup<f64> = Fixup::linear(200, 16, &mut rng(1));
    let w = block.first.as_ref();
    let mut std = 0.0;
    w.visit(&mut wengert_autograd::Path::new(), &mut Deviation(&mut std));
    // He's deviation times 16^(-1/2).
    assert!(
        (std / ((2.0f64 / 200.0).sqrt() / 4.0) - 1.0).abs() < 0.02,
        "{std}"
    );
    let x = Tensor::ones([3, 200]);
    assert_eq!(block.predict(&x).to_vec(), x.to_vec());
}

struct Deviation<'a>(&'a mut f64);
impl wengert_autograd::Visitor<f64> for Deviation<'_> {
    fn param(&mut self, _: &str, p: &wengert_autograd::Param<f64>) {
        let n = p.value().numel() as f64;
        *self.0 = (p.value().iter().map(|v| v * v).sum::<f64>() / n).sqrt();
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let r = &mut rng(1);
    let text = |e: Option<wengert_autograd::Error>| e.expect("refused").to_string();
    let b = Conv2d::<f32>::builder(3, 4, 3);
    assert_eq!(
        text(b.groups(2).try_build(r).err()),
        "conv2d: 2 groups do not divide 3 input and 4 output channels"
    );
    assert_eq!(
        text(Conv2d::<f32>::builder(0, 4, 3).try_build(r).err()),
        "conv2d: expected a number of input channels of at least 1, found 0"
    );
    for e in [
        Conv2d::<f32>::builder(3, 4, [3, 0]).try_build(r).err(),
        b.stride(0).try_build(r).err(),
        b.dilation([1, 0]).try_build(r).err(),
        b.groups(0).try_build(r).err(),
    ] {
        assert!(text(e).starts_with("conv2d: expected a"));
    }
    let b = ConvTranspose2d::<f32>::builder(3, 4, 3).stride(2);
    assert!(b.output_padding(1).try_build(r).is_ok());
    assert!(
        text(b.output_padding(2).try_build(r).err())
            .starts_with("conv_transpose2d: expected an output padding below the stride")
    );
    assert!(
        SeparableConv2d::<f32>::builder(0, 4, 3)
            .try_build(r)
            .is_err()
    );
}

#[test]
#[should_panic(expected = "max_pool: axis 0 of the pooled axes has 1 elements, too few")]
fn an_image_below_the_window_is_refused() {
    MaxPool2d::new(2).predict(&Tensor::<f32>::ones([1, 1, 1, 4]));
}

#[test]
fn kinds_carry_the_number_of_axes() {
    let kind = |m: &dyn Module<f32>| m.kind();
    assert_eq!(kind(&MaxPool2d::new(2)), "MaxPool2d");
    assert_eq!(kind(&Conv2d::<f32>::new(1, 1, 1, &mut rng(1))), "Conv2d");
    let up = Upsample::by([2.0], Interpolation::Nearest);
    assert_eq!(kind(&up), "Upsample1d");
    assert_eq!(Nonlinearity::default(), Nonlinearity::Linear);
}
