//! Attention, transformer layers, positional encodings.

use crate::common::{cases, check, rng, sample, stir, tape};
use wengert_autograd::{ModuleExt, Tensor, Var};
use wengert_nn::{
    Activation, AttentionMask, Forward, LearnedPositions, MultiHeadAttention, Rotary,
    SinusoidalPositions, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer, TransformerOptions, alibi,
};

const REFERENCE: &str = include_str!("../reference/attention.txt");

fn options(activation: Activation, norm_first: bool) -> TransformerOptions {
    TransformerOptions {
        feed_forward: 8,
        dropout: 0.0,
        activation,
        norm_first,
        ..TransformerOptions::new(6, 2)
    }
}

pub fn values_and_gradients_are_pytorchs() {
    let none = AttentionMask::none;
    let mut seen = 0;
    for c in cases(REFERENCE) {
        seen += 1;
        let r = &mut rng(1);
        let mut m = MultiHeadAttention::new(6, 2, r);
        let lengths = [3, 1];
        match c.name.as_str() {
            "self" => c.run(&mut m, true, |m, _, x| m.forward(x[0])),
            "cross" => c.run(&mut m, true, |m, _, x| m.attend(x[0], x[1], x[2], &none())),
            "causal" => {
                let mut m = MultiHeadAttention::builder(6, 2).causal(true).build(r);
                c.run(&mut m, true, |m, _, x| m.forward(x[0]));
            }
            "lengths" => c.run(&mut m, true, |m, _, x| {
                m.attend(x[0], x[1], x[1], &none().with_lengths(&lengths))
            }),
            "bias" => c.run(&mut m, true, |m, _, x| {
                m.attend(x[0], x[1], x[1], &none().with_bias(x[2]))
            }),
            "weights" => c.run(&mut m, true, |m, _, x| {
                m.attend_with_weights(x[0], x[1], x[1], &none()).1
            }),
            "sizes" => {
                let mut m = MultiHeadAttention::builder(6, 3)
                    .key_value_sizes(4, 5)
                    .build(r);
                c.run(&mut m, true, |m, _, x| m.attend(x[0], x[1], x[2], &none()));
            }
            "no bias" => {
                let mut m = MultiHeadAttention::builder(6, 2).bias(false).build(r);
                c.run(&mut m, true, |m, _, x| m.forward(x[0]));
            }
            "encoder no bias" => {
                let o = TransformerOptions {
                    bias: false,
                    eps: 1e-2,
                    ..options(Activation::Relu, false)
                };
                c.run(&mut TransformerEncoderLayer::new(o, r), true, |m, _, x| {
                    m.forward_masked(x[0], &AttentionMask::causal())
                });
            }
            name if name.starts_with("encoder ") => {
                let act = if name.contains("gelu") {
                    Activation::Gelu
                } else {
                    Activation::Relu
                };
                let o = options(act, name.ends_with("True"));
                c.run(&mut TransformerEncoderLayer::new(o, r), true, |m, _, x| {
                    m.forward(x[0])
                });
            }
            name if name.starts_with("decoder ") => {
                let o = options(Activation::Relu, name.ends_with("True"));
                c.run(&mut TransformerDecoderLayer::new(o, r), true, |m, _, x| {
                    let memory = none().with_lengths(&lengths);
                    m.forward(x[0], x[1], &AttentionMask::causal(), &memory)
                });
            }
            name => panic!("{name} is not tested"),
        }
    }
    assert_eq!(seen, 15);
}

pub fn derivatives() {
    let r = &mut rng(2);
    let (q, k) = (sample(&[2, 3, 4], 1), sample(&[2, 2, 4], 2));
    let mut m = MultiHeadAttention::builder(4, 2)
        .causal(true)
        .dropout(0.2)
        .build(r);
    stir(&mut m, 1);
    check("attention", &m, &[q.copy()], true, |m, _, x| {
        m.forward(x[0])
    });
    let mut m = MultiHeadAttention::builder(4, 2)
        .key_value_sizes(4, 4)
        .rotary(Rotary::new())
        .build(r);
    stir(&mut m, 2);
    check(
        "attention, rotary",
        &m,
        &[q.copy(), k.copy()],
        true,
        |m, t, x| {
            let mask = AttentionMask::none()
                .with_lengths(&[1, 2])
                .with_bias(alibi(t, 2, 3, 2));
            m.attend(x[0], x[1], x[1], &mask)
        },
    );
    let o = |norm_first| TransformerOptions {
        feed_forward: 3,
        dropout: 0.1,
        activation: Activation::Gelu,
        norm_first,
        ..TransformerOptions::new(4, 2)
    };
    for first in [false, true] {
        let mut e = TransformerEncoder::new(1, o(first), r);
        stir(&mut e, 3);
        check("encoder", &e, &[q.copy()], true, |m, _, x| m.forward(x[0]));
        let mut d = TransformerDecoder::new(1, o(first), r);
        stir(&mut d, 4);
        check("decoder", &d, &[q.copy(), k.copy()], true, |m, _, x| {
            m.forward(x[0], x[1], &AttentionMask::causal(), &AttentionMask::none())
        });
    }
    check(
        "learned positions",
        &LearnedPositions::new(4, 4, r),
        &[q.copy()],
        true,
        |m, _, x| m.forward(x[0]).tanh(),
    );
    check(
        "sinusoidal",
        &SinusoidalPositions::new(),
        &[q.copy()],
        true,
        |m, _, x| m.forward(x[0]).tanh(),
    );
    check("rotary", &Rotary::new(), &[q.copy()], true, |m, _, x| {
        m.forward(x[0]).tanh()
    });
}

#[test]
fn padding_and_the_future_do_not_count() {
    let m: MultiHeadAttention<f64> = MultiHeadAttention::new(4, 2, &mut rng(1));
    let tape = tape(true);
    let x = sample(&[2, 4, 4], 1);
    let lengths = [4, 2];
    let mask = AttentionMask::causal().with_lengths(&lengths);
    let run = |x: &Tensor<f64>| {
        let v = tape.input(x);
        m.attend(v, v, v, &mask).value().to_vec()
    };
    let before = run(&x);
    // The last two tokens of the second sample are padding: changing them changes their own rows only.
    let mut changed = x.copy();
    for v in &mut changed.as_mut_slice()[16 + 8..] {
        *v += 1.0;
    }
    let after = run(&changed);
    assert_eq!(before[..16 + 8], after[..16 + 8]);
    // The last token of the first sample is the future of the others.
    let mut changed = x.copy();
    changed.as_mut_slice()[12] += 1.0;
    let after = run(&changed);
    assert_eq!(before[..12], after[..12]);
    assert_ne!(before[12..16], after[12..16]);
}

#[test]
fn rotary_scores_depend_on_the_distance() {
    let tape = tape(false);
    let v = sample(&[1, 1, 6], 1).broadcast_to([1, 5, 6]).contiguous();
    let x: Var<f64> = Rotary::new().rotate(tape.input(&v));
    let scores = x.matmul(x.t()).value();
    for i in 0..4 {
        let (a, b) = (scores.get(&[0, i, i + 1]), scores.get(&[0, 0, 1]));
        assert!((a - b).abs() < 1e-12);
    }
}

#[test]
fn sinusoidal_table() {
    let t: Tensor<f64> = SinusoidalPositions::new().table(3, 4);
    let want = [
        [0.0, 1.0, 0.0, 1.0],
        [1f64.sin(), 1f64.cos(), 0.01f64.sin(), 0.01f64.cos()],
        [2f64.sin(), 2f64.cos(), 0.02f64.sin(), 0.02f64.cos()],
    ];
    for (a, b) in t.iter().zip(want.concat()) {
        assert!((a - b).abs() < 1e-15);
    }
}

#[test]
fn names_are_pytorchs() {
    let o = TransformerOptions::new(8, 2);
    let m: TransformerEncoder = TransformerEncoder::new(1, o, &mut rng(1));
    let names: Vec<String> = m.named_params().into_iter().map(|p| p.path).collect();
    assert_eq!(
        names[..4],
        [
            "layers.0.self_attn.in_proj_weight",
            "layers.0.self_attn.in_proj_bias",
            "layers.0.self_attn.out_proj.weight",
            "layers.0.self_attn.out_proj.bias"
        ]
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let r = &mut rng(1);
    let e = MultiHeadAttention::<f32>::builder(6, 4)
        .try_build(r)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        e,
        "multi_head_attention: 4 heads do not divide an embedding of 6"
    );
    assert!(
        MultiHeadAttention::<f32>::builder(6, 0)
            .try_build(r)
            .is_err()
    );
    assert!(
        MultiHeadAttention::<f32>::builder(6, 2)
            .dropout(1.5)
            .try_build(r)
            .is_err()
    );
    assert!(
        MultiHeadAttention::<f32>::builder(6, 2)
            .rotary(Rotary::new())
            .try_build(r)
            .is_err()
    );
    let o = TransformerOptions::new(6, 2);
    let bad = [
        TransformerOptions {
            feed_forward: 0,
            ..o
        },
        TransformerOptions { dropout: -0.1, ..o },
        TransformerOptions { eps: -1.0, ..o },
        TransformerOptions { heads: 5, ..o },
    ];
    for o in bad {
        assert!(TransformerEncoderLayer::<f32>::try_new(o, r).is_err());
        assert!(TransformerDecoderLayer::<f32>::try_new(o, r).is_err());
    }
}

#[test]
#[should_panic(expected = "attention: expected 2 lengths from 1 to 3, found [3, 0]")]
fn a_sample_without_keys_is_refused() {
    let m: MultiHeadAttention = MultiHeadAttention::new(4, 2, &mut rng(1));
    let tape = wengert_autograd::Tape::inference();
    let x = tape.input(&Tensor::ones([2, 3, 4]));
    m.attend(x, x, x, &AttentionMask::none().with_lengths(&[3, 0]));
}

#[test]
fn a_query_that_sees_nothing_gives_zeros_either_way() {
    let m: MultiHeadAttention<f64> = MultiHeadAttention::new(4, 2, &mut rng(1));
    let hidden = |i: &[usize]| if i[0] == 1 { f64::NEG_INFINITY } else { 0.0 };
    let run = |with_weights: bool| {
        let tape = tape(true);
        let x = tape.input(&sample(&[1, 3, 4], 1));
        let bias = tape.input(&Tensor::from_fn([3, 3], hidden));
        let mask = AttentionMask::none().with_bias(bias);
        let (y, w) = if with_weights {
            let (y, w) = m.attend_with_weights(x, x, x, &mask);
            (y, Some(w.keep()))
        } else {
            (m.attend(x, x, x, &mask), None)
        };
        let y = y.keep();
        let grads = y.square().sum().backward();
        if let Some(w) = w {
            assert_eq!(w.value().to_vec()[3..6], [0.0; 3]);
        }
        let mut all = y.value().to_vec();
        grads.iter().for_each(|(_, g)| all.extend(g.to_vec()));
        all
    };
    let (plain, weighed) = (run(false), run(true));
    assert_eq!(plain.len(), weighed.len());
    for (a, b) in plain.iter().zip(&weighed) {
        assert!((a - b).abs() < 1e-12, "{a} and {b}");
    }
}
