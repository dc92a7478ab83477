//! The doctor finds and names the layers of networks of every kind.

use wengert::flow::FlowReport;
use wengert::flow::profile::{Severity, StepProfile};
use wengert::nn::{BatchNorm2d, Conv2d, Gru, LayerNorm, Lstm, Rnn};
use wengert::prelude::*;

fn rng() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(3)
}

fn noise(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    let v = (0..n).map(|i| ((i as f32 * 12.9898).sin() * 43758.547).fract() * 1.7);
    Tensor::from_vec(v.collect(), shape)
}

fn named(step: &StepProfile) -> Vec<(&str, &str)> {
    (step.layers.iter())
        .map(|l| (l.path.as_str(), l.op.as_str()))
        .collect()
}

fn labels() -> Tensor<i64> {
    Tensor::from_vec((0..32).map(|i| i % 4).collect(), [32])
}

#[derive(Module)]
struct ConvNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    out: Linear,
}

impl Forward for ConvNet {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let h = self.bn1.forward(self.conv1.forward(x)).relu();
        let h = self.conv2.forward(h).relu();
        self.out.forward(h.mean_dim(-1, false).mean_dim(-1, false))
    }
}

#[test]
fn convolutions_with_batch_norm() {
    let mut rng = rng();
    let net = ConvNet {
        conv1: Conv2d::builder(1, 6, 3).padding(1).build(&mut rng),
        bn1: BatchNorm2d::new(6),
        conv2: Conv2d::builder(6, 8, 3).padding(1).build(&mut rng),
        out: Linear::new(8, 4, &mut rng),
    };
    let y = labels();
    let r = FlowReport::of(&net, &noise(&[32, 1, 8, 8]), |m, x| {
        m.forward(x).cross_entropy(&y)
    });
    let step = r.step().expect("measured");
    assert_eq!(
        named(step),
        [("conv1", "relu"), ("conv2", "relu"), ("out", "matmul")]
    );
    for l in &step.layers {
        assert!(
            l.activation.is_some() && l.activation_grad.is_some(),
            "{}",
            l.path
        );
        assert!(l.weight_grad_rms().is_some_and(|g| g > 0.0), "{}", l.path);
        assert!(l.location.as_ref().is_some_and(|at| at.contains(".rs:")));
    }
    assert_eq!(
        step.layers[0].activation.as_ref().map(|a| a.count),
        Some(32 * 6 * 64)
    );
    assert!(step.layers[0].dead.is_some());
    assert_eq!(r.verdict().severity, Severity::Healthy, "{r}");
}

/// Every layer stands at a line of this file, not of the library's.
fn at_own_lines(step: &StepProfile) {
    for l in &step.layers {
        let at = l.location.as_deref().unwrap_or_default();
        assert!(at.contains("flow_layers.rs:"), "{} at {at}", l.path);
    }
}

/// A layer of one's own in a box.
#[derive(Module, Clone)]
struct Own {
    inner: Linear,
}

const OWN_LINE: u32 = line!() + 5;

impl Forward for Own {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        // The line that a report should show.
        self.inner.forward(x).tanh()
    }
}

#[test]
fn layers_behind_trait_objects_stand_at_the_lines_of_their_callers() {
    let mut rng = rng();
    let own = Own {
        inner: Linear::new(8, 8, &mut rng),
    };
    let net = Sequential::builder()
        .linear(6, 8)
        .activation(Activation::Tanh)
        .layer(own)
        .linear(8, 4)
        .build(&mut rng);
    let y = labels();
    let line = line!() + 2;
    let r = FlowReport::of(&net, &noise(&[32, 6]), |m, x| {
        m.forward(x).cross_entropy(&y)
    });
    let step = r.step().expect("measured");
    at_own_lines(step);
    let lines: Vec<u32> = (step.layers.iter())
        .map(|l| l.location.as_deref().unwrap_or_default())
        .map(|at| {
            at.split(':')
                .nth(1)
                .and_then(|l| l.parse().ok())
                .unwrap_or(0)
        })
        .collect();
    assert_eq!(lines, [line, OWN_LINE, line], "{r}");
}

#[derive(Module)]
struct Sequence<L: Module> {
    layer: L,
    norm: LayerNorm,
    out: Linear,
}

fn sequence<L: Forward + Module>(layer: L) -> FlowReport {
    let net = Sequence {
        layer,
        norm: LayerNorm::new([10]),
        out: Linear::new(10, 4, &mut rng()),
    };
    let y = labels();
    FlowReport::of(&net, &noise(&[12, 32, 3]), |m, x| {
        let h = m.norm.forward(m.layer.forward(x).mean_dim(0, false));
        m.out.forward(h).cross_entropy(&y)
    })
}

#[test]
fn recurrent_layers_over_whole_sequences() {
    let mut rng = rng();
    let reports = [
        ("rnn_tanh", sequence(Rnn::new(3, 10, &mut rng))),
        ("lstm", sequence(Lstm::new(3, 10, &mut rng))),
        ("gru", sequence(Gru::new(3, 10, &mut rng))),
    ];
    for (op, r) in &reports {
        let step = r.step().expect("measured");
        let n = named(step);
        assert_eq!(n[1], ("layer.weight_hh_l0", *op), "{n:?}");
        assert_eq!(
            (n[0].0, n[2]),
            ("layer.weight_ih_l0", ("out", "matmul")),
            "{n:?}"
        );
        let outputs = step.layers[1].activation.as_ref().expect("seen");
        assert_eq!(outputs.count, 12 * 32 * 10);
        assert!(r.is_healthy(), "{r}");
        at_own_lines(step);
    }
}
