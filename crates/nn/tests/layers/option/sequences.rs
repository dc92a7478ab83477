//! Attention, positions, recurrent layers.

use crate::common::{cases, first, rng};
use crate::recurrent::{given, pack};
use wengert_nn::{
    Activation, AttentionMask, Gru, LearnedPositions, Lstm, MultiHeadAttention, Rnn, Rotary,
    SinusoidalPositions, TransformerDecoder, TransformerEncoder, TransformerOptions, alibi,
};

const ATTENTION: &str = include_str!("../../reference/option_attention.txt");
const RECURRENT: &str = include_str!("../../reference/option_recurrent.txt");

pub fn attention() {
    let none = AttentionMask::none;
    let lengths = [3, 2];
    for c in cases(ATTENTION) {
        let r = &mut rng(1);
        let words: Vec<&str> = c.name.split(' ').collect();
        let mut plain = MultiHeadAttention::<f64>::new(4, 2, r);
        match words[..] {
            ["sinusoidal"] => c.run(&mut SinusoidalPositions::new(), true, first),
            ["sinusoidal", _] => c.run(&mut SinusoidalPositions::with_base(50.0), true, first),
            ["rotary"] => c.run(&mut Rotary::new(), true, first),
            ["rotary", _] => c.run(&mut Rotary::with_base(50.0), true, |m, _, x| m.rotate(x[0])),
            ["learned"] => c.run(&mut LearnedPositions::new(6, 4, r), true, first),
            ["mha", "rotary"] => {
                let b = MultiHeadAttention::builder(4, 2).rotary(Rotary::new());
                c.run(&mut b.build(r), true, first);
            }
            ["mha", "rotary_base"] => {
                let b = MultiHeadAttention::builder(4, 2).rotary(Rotary::with_base(50.0));
                c.run(&mut b.build(r), true, |m, _, x| {
                    m.attend(x[0], x[1], x[1], &none())
                });
            }
            ["mha", "alibi"] => c.run(&mut plain, true, |m, t, x| {
                let mask = none().with_bias(alibi(t, 2, 3, 2));
                m.attend(x[0], x[1], x[1], &mask)
            }),
            ["mha", "dropout_eval"] => {
                let b = MultiHeadAttention::builder(4, 2).dropout(0.5);
                c.run(&mut b.build(r), false, first);
            }
            ["mha", "sizes_no_bias"] => {
                let b = MultiHeadAttention::builder(4, 4).key_value_sizes(3, 5);
                c.run(&mut b.bias(false).build(r), true, |m, _, x| {
                    m.attend(x[0], x[1], x[2], &none())
                });
            }
            ["mha", "one_head"] => {
                let b = MultiHeadAttention::builder(4, 1).key_value_sizes(3, 4);
                c.run(&mut b.build(r), true, |m, _, x| {
                    m.attend(x[0], x[1], x[2], &none())
                });
            }
            ["mha", "all_masks"] => c.run(&mut plain, true, |m, _, x| {
                let mask = AttentionMask::causal().with_lengths(&lengths);
                m.attend(x[0], x[1], x[1], &mask.with_bias(x[2]))
            }),
            ["mha", "weights_masked"] => c.run(&mut plain, true, |m, _, x| {
                let mask = AttentionMask::causal().with_lengths(&lengths);
                m.attend_with_weights(x[0], x[1], x[1], &mask).1
            }),
            [kind, depth, first, act, bias, eps] => {
                let options = TransformerOptions {
                    feed_forward: 3,
                    dropout: 0.3,
                    activation: if act == "silu" {
                        Activation::Silu
                    } else {
                        Activation::Tanh
                    },
                    norm_first: first == "True",
                    bias: bias == "True",
                    eps: eps.parse().unwrap(),
                    ..TransformerOptions::new(4, 2)
                };
                let depth = depth.parse().unwrap();
                let mask = AttentionMask::causal();
                if kind == "encoder" {
                    let mut m = TransformerEncoder::new(depth, options, r);
                    c.run(&mut m, false, |m, _, x| {
                        let mask = AttentionMask::causal().with_lengths(&lengths);
                        m.forward_masked(x[0], &mask)
                    });
                } else {
                    let mut m = TransformerDecoder::new(depth, options, r);
                    c.run(&mut m, false, |m, _, x| {
                        m.forward(x[0], x[1], &mask, &none().with_lengths(&lengths))
                    });
                }
            }
            _ => panic!("no test for case {}", c.name),
        }
    }
}

macro_rules! layer {
    ($c:expr, $layer:ident, $builder:expr, $option:expr) => {{
        let r = &mut rng(1);
        let b = $builder;
        match $option {
            "steps_first" => {
                $c.run(&mut b.batch_first(false).build(r), true, |m, _, x| {
                    pack(m.run(x[0], None))
                });
            }
            "no_bias_both" => {
                let b = b.layers(2).bidirectional(true).bias(false);
                $c.run(&mut b.build(r), true, |m, _, x| pack(m.run(x[0], None)));
            }
            "dropout_eval" => {
                let b = b.layers(3).dropout(0.5);
                $c.run(&mut b.build(r), false, |m, _, x| pack(m.run(x[0], None)));
            }
            "state_lengths" => {
                let b = b.layers(2).bidirectional(true);
                $c.run(&mut b.build(r), true, |m, _, x| {
                    pack(m.run_lengths(x[0], &[2, 4], given(x)))
                });
            }
            "windows" => {
                let b = b.layers(2).batch_first(true);
                // The gradient is cut on purpose: no finite differences.
                $c.run_values(&mut b.build(r), true, |m, _, x| {
                    pack(m.run_windows(x[0], 2, None))
                });
            }
            "cell_no_bias" => {
                let mut m = b.bias(false).try_build_cell(r).unwrap();
                $c.run(&mut m, true, |m, _, x| {
                    let s = m.step(x[0], None);
                    match s.cell {
                        Some(c) => wengert_autograd::Var::cat(&[s.hidden, c], 1),
                        None => s.hidden,
                    }
                });
            }
            _ => panic!("no test for case {}", $c.name),
        }
    }};
}

pub fn recurrent() {
    for c in cases(RECURRENT) {
        let (kind, option) = c.name.split_once(' ').unwrap();
        match (kind, option) {
            ("lstm", "projection") => {
                let b = Lstm::<f64>::builder(2, 3).projection(1).bias(false);
                c.run(&mut b.build(&mut rng(1)), true, |m, _, x| {
                    pack(m.run(x[0], None))
                });
            }
            ("lstm", "projection_state") => {
                let b = Lstm::<f64>::builder(2, 3).layers(2).projection(2);
                c.run(&mut b.build(&mut rng(1)), true, |m, _, x| {
                    pack(m.run(x[0], given(x)))
                });
            }
            ("lstm", o) => layer!(c, Lstm, Lstm::<f64>::builder(2, 3), o),
            ("gru", o) => layer!(c, Gru, Gru::<f64>::builder(2, 3), o),
            ("relu", o) => layer!(c, Rnn, Rnn::<f64>::builder(2, 3).relu(), o),
            (_, o) => layer!(c, Rnn, Rnn::<f64>::builder(2, 3), o),
        }
    }
}
