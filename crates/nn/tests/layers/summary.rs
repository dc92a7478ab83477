//! The table of a model.

use crate::common::rng;
use wengert_autograd::{ModuleExt, Param, Tensor, Var};
use wengert_derive::Module;
use wengert_nn::{
    Activation, BatchNorm2d, Conv2d, Dropout, Flatten, Forward, GlobalAvgPool, LayerNorm, Linear,
    ModelSummary, MultiHeadAttention, ResNet, Residual, Sequential,
};

#[test]
fn a_sequential_as_text() {
    let mut model: Sequential = Sequential::builder()
        .conv2d(1, 4, 3)
        .batch_norm2d(4)
        .relu()
        .max_pool2d(2)
        .flatten()
        .linear(36, 10)
        .named("head")
        .build(&mut rng(1));
    model.freeze("0");
    let s = ModelSummary::on(&model, &Tensor::zeros([7, 1, 8, 8]));
    assert_eq!(
        s.to_string(),
        "\
layer                   kind          output        parameters  initializer
(model)                 Sequential    [7, 10]              418  partly frozen
0                       Conv2d        [7, 4, 6, 6]          40  frozen
  .weight               [4, 1, 3, 3]                        36  he_normal(fan_in), fan_in 9, sigma 0.471, frozen
  .bias                 [4]                                  4  zeros, frozen
1                       BatchNorm2d   [7, 4, 6, 6]           8
  .weight               [4]                                  4  ones
  .bias                 [4]                                  4  zeros
  .running_mean         [4]                                  4  buffer
  .running_var          [4]                                  4  buffer
  .num_batches_tracked  []                                   1  buffer
2                       Relu          [7, 4, 6, 6]           0
3                       MaxPool2d     [7, 4, 3, 3]           0
4                       Flatten       [7, 36]                0
head                    Linear        [7, 10]              370
  .weight               [10, 36]                           360  glorot_uniform, fan_avg 23, sigma 0.209
  .bias                 [10]                                10  zeros
418 parameters, 378 trainable, 9 in buffers"

    );
    assert_eq!(ModelSummary::of(&model).row("head").unwrap().output, None);
}

#[derive(Module)]
#[module(crate = wengert_autograd, float = f32)]
struct Own {
    conv: Conv2d,
    bn: BatchNorm2d,
    blocks: Vec<Residual>,
    norm: LayerNorm,
    attention: MultiHeadAttention,
    head: (Linear, Activation, Linear),
    scale: Param,
    act: Activation,
    drop: Dropout,
    pool: GlobalAvgPool,
    flat: (Flatten, Flatten),
}

impl Forward for Own {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let h = self.act.forward(self.bn.forward(self.conv.forward(x)));
        let h = self.pool.forward(self.drop.forward(h));
        let h = self.flat.1.forward(self.flat.0.forward(h.unsqueeze(-1)));
        let h = self.blocks.forward(h.reshape([2, 6])).unsqueeze(1);
        let h = self.attention.forward(self.norm.forward(h));
        self.head.forward(h.squeeze(1)) * x.tape().param(&self.scale)
    }
}

/// Inside a struct shapes are read off the recorded program.
#[test]
fn a_struct_of_layers() {
    let r = &mut rng(1);
    let own = Own {
        conv: Conv2d::new(1, 6, 3, r),
        bn: BatchNorm2d::new(6),
        blocks: vec![
            Residual::new(Linear::new(6, 6, r)),
            Residual::new(Linear::new(6, 6, r)),
        ],
        norm: LayerNorm::new(6),
        attention: MultiHeadAttention::new(6, 2, r),
        head: (Linear::new(6, 5, r), Activation::Relu, Linear::new(5, 3, r)),
        scale: Param::new(Tensor::ones([1])),
        act: Activation::Relu,
        drop: Dropout::new(0.1),
        pool: GlobalAvgPool,
        flat: (Flatten { start: 0, end: 1 }, Flatten { start: 0, end: 1 }),
    };
    let s = ModelSummary::on(&own, &Tensor::zeros([2, 1, 5, 5]));
    let shape = |path: &str| {
        let row = s.row(path).unwrap_or_else(|| panic!("no row {path}"));
        row.output.clone().unwrap_or_default()
    };
    assert_eq!(shape(""), [2, 3]);
    assert_eq!(shape("conv"), [2, 6, 3, 3]);
    assert_eq!(shape("bn"), [2, 6, 3, 3]);
    assert_eq!(shape("blocks.1"), [2, 6]);
    assert_eq!(shape("blocks.1.body"), [2, 6]);
    assert_eq!(shape("norm"), [2, 1, 6]);
    assert_eq!(shape("attention"), [2, 1, 6]);
    assert_eq!(shape("head.0"), [2, 5]);
    assert_eq!(shape("head.2"), [2, 3]);
    // Layers without parameters say so themselves.
    assert_eq!(shape("act"), [2, 6, 3, 3]);
    assert_eq!(shape("drop"), [2, 6, 3, 3]);
    assert_eq!(shape("pool"), [2, 6]);
    assert_eq!(shape("flat.0"), [12, 1]);
    assert_eq!(shape("flat.1"), [12]);
    assert_eq!(shape("head.1"), [2, 5]);
    let root = s.row("").unwrap();
    assert_eq!(
        (root.params, s.params),
        (own.num_params(), own.num_params())
    );
    assert_eq!(root.own.last().unwrap().path, "scale");
    assert_eq!(root.kind, "Own");
    // Every parameter stands in one row.
    let listed: usize = s
        .rows
        .iter()
        .map(|r| r.own.iter().filter(|p| !p.buffer).count())
        .sum();
    assert_eq!(listed, own.named_params().len());
}

#[test]
fn a_residual_network() {
    let net: ResNet = ResNet::resnet20(3, 10, &mut rng(1));
    let s = ModelSummary::on(&net, &Tensor::zeros([1, 3, 32, 32]));
    let row = s.row("layer2.0").unwrap();
    assert_eq!(row.output.as_deref(), Some(&[1, 32, 16, 16][..]));
    assert_eq!(row.params, 14_528);
    assert_eq!(
        s.row("layer3.2.conv2").unwrap().output.as_deref(),
        Some(&[1, 64, 8, 8][..])
    );
    assert!(
        s.to_string()
            .ends_with("272,474 parameters, 272,474 trainable, 1,589 in buffers")
    );
}
