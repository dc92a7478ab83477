//! Linear maps, convolutions, activations, blocks.

use crate::common::{Case, cases, first, rng, sample};
use wengert_autograd::ops::conv::Padding;
use wengert_nn::{
    Activation, BasicBlock, Bilinear, Bottleneck, Conv, ConvTranspose, DenseSkip, Embedding, Fixup,
    Highway, LayerNorm, LayerScale, Linear, ResNet, ResNetConfig, Residual, SeparableConv,
    SqueezeExcite,
};

const MAPS: &str = include_str!("../../reference/option_maps.txt");
const BLOCKS: &str = include_str!("../../reference/option_blocks.txt");

/// The first `D` of three sizes.
fn axes<const D: usize>(all: [usize; 3]) -> [usize; D] {
    std::array::from_fn(|i| all[i])
}

fn over_axes<const D: usize>(c: &Case, name: &str) -> bool {
    let r = &mut rng(1);
    let a = axes::<D>;
    let k = a([2, 3, 2]);
    let conv = |i, o| Conv::<D, f64>::builder(i, o, k);
    let up = |i, o| ConvTranspose::<D, f64>::builder(i, o, k);
    let mut conv_of = |b: wengert_nn::ConvBuilder<D, f64>| c.run(&mut b.build(r), true, first);
    let r = &mut rng(1);
    let mut up_of =
        |b: wengert_nn::ConvTransposeBuilder<D, f64>| c.run(&mut b.build(r), true, first);
    let r = &mut rng(1);
    match name {
        "conv stride" => conv_of(conv(2, 3).stride(a([2, 1, 2]))),
        "conv padding" => conv_of(conv(2, 1).padding(Padding::Zeros(a([1, 2, 0])))),
        "conv valid" => conv_of(conv(2, 3).padding(Padding::Valid)),
        "conv same_even" => {
            conv_of(Conv::builder(2, 1, 2).padding(Padding::Same));
        }
        "conv dilation" => conv_of(conv(2, 3).dilation(a([2, 1, 1]))),
        "conv groups" => conv_of(conv(2, 4).groups(2)),
        "conv all" => conv_of(
            conv(2, 4)
                .stride(a([1, 2, 1]))
                .padding(Padding::Zeros(a([2, 1, 1])))
                .dilation(a([2, 1, 2]))
                .groups(2)
                .bias(false),
        ),
        "conv one_sample" => conv_of(conv(2, 1)),
        "depthwise no_bias" => conv_of(Conv::depthwise(3, k).bias(false)),
        "separable stride" => {
            let b = SeparableConv::<D, f64>::builder(2, 3, k).stride(2);
            c.run(&mut b.build(r), true, first);
        }
        "separable dilation" => {
            let b = SeparableConv::<D, f64>::builder(2, 3, k);
            let b = b.padding(2).dilation(2).bias(false);
            c.run(&mut b.build(r), true, first);
        }
        "transpose stride" => up_of(up(2, 1).stride(a([2, 1, 2]))),
        "transpose padding" => up_of(up(2, 2).padding(a([1, 2, 1]))),
        "transpose output_padding" => up_of(up(1, 1).stride(3).output_padding(a([2, 1, 0]))),
        "transpose dilation" => up_of(up(2, 1).dilation(a([2, 1, 2]))),
        "transpose groups" => up_of(up(2, 4).groups(2)),
        "transpose one_sample" => up_of(up(2, 1)),
        _ => return false,
    }
    true
}

fn activation(name: &str) -> Activation {
    use Activation::*;
    match name {
        "leaky 0" => LeakyRelu(0.0),
        "leaky 1.5" => LeakyRelu(1.5),
        "elu 2" => Elu(2.0),
        "celu 0.5" => Celu(0.5),
        "softplus 0.5" => Softplus(0.5),
        "squareplus 1" => Squareplus(1.0),
        "softmax 0" => Softmax(0),
        "log_softmax 0" => LogSoftmax(0),
        "glu 1" => Glu(1),
        "softshrink 1" => Softshrink(1.0),
        "hardshrink 1" => Hardshrink(1.0),
        "threshold" => Threshold {
            threshold: -0.3,
            value: 2.0,
        },
        _ => panic!("no activation {name}"),
    }
}

pub fn run() {
    for c in cases(MAPS) {
        let r = &mut rng(1);
        let (name, d) = c.name.rsplit_once(' ').unwrap_or((&c.name, ""));
        let known = match d {
            "1" => over_axes::<1>(&c, name),
            "2" => over_axes::<2>(&c, name),
            "3" => over_axes::<3>(&c, name),
            _ => false,
        };
        if known {
            continue;
        }
        match c.name.as_str() {
            "bilinear no_bias" => {
                let mut m = Bilinear::builder(3, 2, 4).bias(false).build(r);
                c.run(&mut m, true, |m, _, x| m.forward(x[0], x[1]));
            }
            "embedding padding_first" => {
                let mut m = Embedding::builder(4, 2).padding(0).build(r);
                let ids = c.ints("ids");
                // PyTorch gives the row no gradient, finite differences see it.
                c.run_values(&mut m, true, |m, t, _| m.lookup(t, &ids));
            }
            "embedding scalar" => {
                let ids = c.ints("ids");
                let mut m = Embedding::from_rows(sample(&[4, 2], 1)).unwrap();
                c.run(&mut m, true, |m, t, _| m.lookup(t, &ids));
            }
            name => {
                let name = name.strip_prefix("act ").expect("an activation");
                c.run(&mut activation(name), true, first);
            }
        }
    }
}

pub fn blocks() {
    for c in cases(BLOCKS) {
        let r = &mut rng(1);
        let linear = |i, o, r: &mut _| Linear::<f64>::new(i, o, r);
        match c.name.as_str() {
            "basic eval" => c.run(&mut BasicBlock::new(2, 2, 1, r), false, first),
            "basic_down eval" => c.run(&mut BasicBlock::new(2, 3, 2, r), false, first),
            "bottleneck_down eval" => c.run(&mut Bottleneck::new(2, 1, 2, r), false, first),
            "fixup activation" => {
                let m = Fixup::linear(4, 5, r).with_activation(Activation::Silu);
                c.run(&mut { m }, true, first);
            }
            "highway relu" => {
                let m = Highway::try_with(4, Activation::Relu, -2.0, r).unwrap();
                c.run(&mut { m }, true, first);
            }
            "dense along" => {
                c.run(&mut DenseSkip::along(-1, linear(4, 2, r)), true, first);
            }
            "scale last" => c.run(&mut LayerScale::new(4, 0.1), true, first),
            "squeeze line" => c.run(&mut SqueezeExcite::new(4, 4, r), true, first),
            "residual plain" => c.run(&mut Residual::new(linear(4, 4, r)), true, first),
            "residual pre_post" => {
                let m = Residual::new(linear(4, 4, r)).preceded_by(Activation::Relu);
                c.run(&mut m.followed_by(Activation::Tanh), true, first);
            }
            "residual everything" => {
                let m = Residual::new(linear(4, 3, r))
                    .with_shortcut(linear(4, 3, r))
                    .preceded_by(LayerNorm::new(4))
                    .followed_by(Activation::Relu);
                c.run(&mut { m }, true, first);
            }
            name => {
                let mut words = name.split(' ').skip(1);
                let mut yes = || words.next() == Some("True");
                let config = ResNetConfig {
                    inputs: 1,
                    classes: 3,
                    width: 2,
                    depths: vec![2, 1],
                    bottleneck: yes(),
                    small: yes(),
                    zero_last_norm: false,
                };
                c.run(&mut ResNet::try_new(&config, r).unwrap(), true, first);
            }
        }
    }
}

/// The initializer that the first weight of a model noted.
fn origin(m: &dyn wengert_autograd::Module<f64>) -> String {
    struct First(Option<String>);
    impl wengert_autograd::Visitor<f64> for First {
        fn param(&mut self, path: &str, p: &wengert_autograd::Param<f64>) {
            if path.contains("weight") && self.0.is_none() {
                self.0 = p.origin().map(str::to_owned);
            }
        }
    }
    let mut v = First(None);
    m.visit(&mut wengert_autograd::Path::new(), &mut v);
    let origin = v.0.expect("noted");
    origin.split(',').next().unwrap().to_owned()
}

#[test]
fn every_layer_takes_its_first_weights_from_what_follows() {
    use Activation::{Elu, LeakyRelu, Relu, Selu, Tanh};
    let r = &mut rng(1);
    for (next, wanted) in [
        (Activation::Identity, "glorot_uniform"),
        (Tanh, "glorot_uniform"),
        (Relu, "he_normal(fan_in)"),
        (LeakyRelu(0.2), "he_normal(fan_in"),
        (Selu, "lecun_normal"),
        (Elu(1.0), "variance_scaling(1.55"),
    ] {
        let separable = SeparableConv::<1, f64>::builder(2, 2, 2).followed_by(next);
        let found = [
            origin(&Linear::builder(2, 2).followed_by(next).build(r)),
            origin(&Bilinear::builder(2, 2, 2).followed_by(next).build(r)),
            origin(&Conv::<1, f64>::builder(2, 2, 2).followed_by(next).build(r)),
            origin(&Conv::<2, f64>::depthwise(2, 2).followed_by(next).build(r)),
            origin(
                &ConvTranspose::<3, f64>::builder(2, 2, 2)
                    .followed_by(next)
                    .build(r),
            ),
            origin(&separable.build(r).pointwise),
        ];
        assert!(found.iter().all(|f| f == wanted), "{next:?}: {found:?}");
    }
    // Layers whose activation is their own.
    let found = [
        origin(&wengert_nn::Rnn::new(2, 2, r)),
        origin(&wengert_nn::Rnn::builder(2, 2).relu().build(r)),
        origin(&wengert_nn::Lstm::new(2, 2, r)),
        origin(&wengert_nn::GruCell::new(2, 2, r)),
        origin(&wengert_nn::MultiHeadAttention::new(2, 1, r)),
        origin(&Embedding::new(2, 2, r)),
        origin(&wengert_nn::LearnedPositions::new(2, 2, r)),
        origin(&SqueezeExcite::new(2, 1, r)),
        origin(&BasicBlock::new(2, 2, 1, r)),
    ];
    let he = "he_normal(fan_in)";
    let glorot = "glorot_uniform";
    assert_eq!(
        found,
        [
            glorot, he, glorot, glorot, glorot, "normal(0", "normal(0", he, he
        ]
    );
}

#[test]
fn one_argument_overrides_the_first_weights() {
    use wengert_nn::Init;
    use wengert_nn::init::RecurrentInit;
    let r = &mut rng(1);
    let own = Init::Uniform {
        low: -0.5,
        high: 0.5,
    };
    let recurrent = RecurrentInit {
        input: own,
        ..RecurrentInit::lstm()
    };
    let plain = RecurrentInit {
        input: own,
        ..RecurrentInit::irnn()
    };
    let next = Activation::Relu;
    let separable = SeparableConv::<2, f64>::builder(2, 2, 2).init(own).build(r);
    let found = [
        origin(&Linear::builder(2, 2).followed_by(next).init(own).build(r)),
        origin(
            &Bilinear::builder(2, 2, 2)
                .followed_by(next)
                .init(own)
                .build(r),
        ),
        origin(
            &Conv::<2, f64>::builder(2, 2, 2)
                .followed_by(next)
                .init(own)
                .build(r),
        ),
        origin(&ConvTranspose::<1, f64>::builder(2, 2, 2).init(own).build(r)),
        origin(&separable.depthwise),
        origin(&separable.pointwise),
        origin(&Embedding::builder(2, 2).init(own).build(r)),
        origin(
            &wengert_nn::MultiHeadAttention::builder(2, 1)
                .init(own)
                .build(r),
        ),
        origin(&wengert_nn::Rnn::builder(2, 2).init(plain).build(r)),
        origin(&wengert_nn::Lstm::builder(2, 2).init(recurrent).build(r)),
        origin(&wengert_nn::Gru::builder(2, 2).init(recurrent).build(r)),
        origin(
            &wengert_nn::Lstm::builder(2, 2)
                .init(recurrent)
                .try_build_cell(r)
                .unwrap(),
        ),
    ];
    assert!(found.iter().all(|f| f == "uniform(-0.5"), "{found:?}");
}
