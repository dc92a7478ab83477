//! State dicts of PyTorch, kind by kind (`reference/torch_kinds.py`): loaded strictly, and the layer computes what PyTorch's
//! did.

use crate::common::rng;
use std::collections::BTreeSet;
use wengert_autograd::{Module, Tape, Tensor, Var};
use wengert_nn::state::{Checkpoint, LoadOptions, StateExt};
use wengert_nn::*;

const FILE: &[u8] = include_bytes!("../data/torch_kinds.safetensors");

struct Kinds {
    file: Checkpoint,
    done: BTreeSet<String>,
}

impl Kinds {
    fn tensor(&self, name: &str) -> Option<Tensor<f32>> {
        self.file.tensor("", name)?.get::<f32>().map(Tensor::copy)
    }

    /// Loads a model without any leave to miss or to skip, and compares `f` of the inputs.
    fn run<M: Module<f32>>(
        &mut self,
        kind: &str,
        mut model: M,
        renames: &[(&str, &str)],
        f: impl for<'t> Fn(&M, &[Var<'t>], &'t Tape) -> Var<'t>,
    ) {
        let mut options = LoadOptions::pytorch().from_prefix(format!("{kind}.state"));
        for (from, to) in renames {
            options = options.rename(*from, *to);
        }
        let report = model
            .load_bytes(FILE, &options)
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(report.missing.is_empty() && report.extra.is_empty());
        let tape = Tape::inference();
        let inputs: Vec<Var> = (0..)
            .map_while(|i| self.tensor(&format!("{kind}.in.{i}")))
            .map(|x| tape.input(&x))
            .collect();
        let y = f(&model, &inputs, &tape).value();
        let want = self.tensor(&format!("{kind}.out")).unwrap();
        assert_eq!(y.shape(), want.shape(), "{kind}");
        for (a, b) in y.iter().zip(want.iter()) {
            let error = (a - b).abs();
            assert!(error <= 3e-6 * (1.0 + b.abs()), "{kind}: {a}, PyTorch {b}");
        }
        self.done.insert(kind.to_owned());
    }

    fn layer<M: Module<f32> + Forward>(&mut self, kind: &str, model: M) {
        self.run(kind, model, &[], |m, x, _| m.forward(x[0]));
    }
}

fn over_axes<const D: usize>(k: &mut Kinds) {
    let r = &mut rng(1);
    let conv = Conv::<D>::builder(2, 4, 2).groups(2).padding(1).build(r);
    k.layer(&format!("conv{D}"), conv);
    let b = ConvTranspose::<D>::builder(2, 2, 2).groups(2).stride(2);
    k.layer(&format!("transpose{D}"), b.build(r));
    k.layer(&format!("batch{D}"), norm::BatchNorm::<D>::new(2));
    let m = InstanceNorm::new(2)
        .with_affine()
        .with_running_statistics(0.1);
    k.layer(&format!("instance{D}"), m);
}

#[test]
fn every_kind_of_layer_loads_from_pytorch_strictly() {
    let r = &mut rng(1);
    let mut k = Kinds {
        file: Checkpoint::from_bytes(FILE).unwrap(),
        done: BTreeSet::new(),
    };
    k.layer("linear", Linear::new(3, 2, r));
    k.run("bilinear", Bilinear::new(3, 2, 2, r), &[], |m, x, _| {
        m.forward(x[0], x[1])
    });
    let table = Embedding::builder(4, 2).padding(1).build(r);
    let ids = k.file.tensor("", "embedding.in.0").unwrap();
    let ids = ids.get::<i64>().unwrap().copy();
    k.run("embedding", table, &[], |m, _, tape| m.lookup(tape, &ids));
    k.layer("prelu", Prelu::with(3, 0.25));
    over_axes::<1>(&mut k);
    over_axes::<2>(&mut k);
    over_axes::<3>(&mut k);
    k.layer("layer", LayerNorm::new([2, 3]));
    k.layer("rms", RmsNorm::new(3));
    k.layer("group", GroupNorm::new(2, 4));
    let names = [
        ("parametrizations.weight.original0", "g"),
        ("parametrizations.weight.original1", "inner.weight"),
        ("bias", "inner.bias"),
    ];
    let m = WeightNorm::new(Conv1d::new(2, 3, 2, r));
    k.run("weight", m, &names, |m, x, _| m.forward(x[0]));
    let names = [
        ("parametrizations.weight.original", "inner.weight"),
        ("parametrizations.weight.0._*", "*"),
        ("bias", "inner.bias"),
    ];
    let m = SpectralNorm::new(Linear::new(3, 4, r));
    k.run("spectral", m, &names, |m, x, _| m.forward(x[0]));
    k.layer(
        "rnn",
        Rnn::builder(2, 3).layers(2).batch_first(true).build(r),
    );
    let b = Lstm::builder(2, 3).layers(2).bidirectional(true);
    k.layer("lstm", b.projection(2).batch_first(true).build(r));
    let b = Gru::builder(2, 3).bidirectional(true).batch_first(true);
    k.layer("gru", b.build(r));
    k.run("rnn_cell", RnnCell::new(2, 3, r), &[], |m, x, _| {
        m.step(x[0], None).hidden
    });
    k.run("lstm_cell", LstmCell::new(2, 3, r), &[], |m, x, _| {
        m.step(x[0], None).hidden
    });
    k.run("gru_cell", GruCell::new(2, 3, r), &[], |m, x, _| {
        m.step(x[0], None).hidden
    });
    let none = AttentionMask::none;
    k.run(
        "attention",
        MultiHeadAttention::new(4, 2, r),
        &[],
        |m, x, _| m.attend(x[0], x[1], x[2], &none()),
    );
    let b = MultiHeadAttention::builder(4, 2).key_value_sizes(3, 2);
    k.run("attention_sizes", b.build(r), &[], |m, x, _| {
        m.attend(x[0], x[1], x[2], &none())
    });
    let o = TransformerOptions {
        feed_forward: 6,
        norm_first: true,
        ..TransformerOptions::new(4, 2)
    };
    k.layer("encoder", TransformerEncoder::new(2, o, r));
    let o = TransformerOptions {
        norm_first: false,
        ..o
    };
    k.run(
        "decoder",
        TransformerDecoder::new(2, o, r),
        &[],
        |m, x, _| m.forward(x[0], x[1], &none(), &none()),
    );
    let b = Sequential::builder().conv2d(1, 2, 2).batch_norm2d(2).relu();
    k.layer("sequential", b.flatten().linear(8, 2).build(r));
    let config = ResNetConfig {
        inputs: 1,
        classes: 3,
        width: 2,
        depths: vec![1, 1],
        bottleneck: false,
        small: false,
        zero_last_norm: false,
    };
    k.layer("resnet", ResNet::try_new(&config, r).unwrap());
    // Nothing in the file was left out.
    let kinds: BTreeSet<String> = (k.file.tensors(""))
        .map(|(name, _)| name.split('.').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, k.done);
}

/// A strict load lists what does not fit, and changes nothing.
#[test]
fn a_pytorch_file_of_another_layer_is_refused_whole() {
    let mut m: BatchNorm2d = BatchNorm2d::new(3);
    let options = LoadOptions::pytorch().from_prefix("batch2.state");
    let e = m.load_bytes(FILE, &options).unwrap_err().to_string();
    for name in ["weight", "bias", "running_mean", "running_var"] {
        assert!(e.contains(name), "{e}");
    }
    assert_eq!(m.num_batches_tracked.unwrap().value().item(), 0.0);
}
