//! Recurrent layers and cells.

use crate::common::{Case, cases, check, rng, sample, stir, tape};
use wengert_autograd::{Module, ModuleExt, NodeInfo, Observer, Seen, Tape, Tensor, Var, grad_many};
use wengert_nn::init::{GateBias, Init, RecurrentInit};
use wengert_nn::{Forward, Gru, GruCell, Lstm, LstmCell, Memory, RecurrentState, Rnn, RnnCell};

const REFERENCE: &str = include_str!("../reference/recurrent.txt");

/// Outputs and states in one row, as the generator packs them.
pub fn pack<'t>((y, s): (Var<'t, f64>, RecurrentState<'t, f64>)) -> Var<'t, f64> {
    let mut parts = vec![y.flatten(0, -1), s.hidden.flatten(0, -1)];
    parts.extend(s.cell.map(|c| c.flatten(0, -1)));
    Var::cat(&parts, 0)
}

pub fn given<'t>(x: &[Var<'t, f64>]) -> Option<RecurrentState<'t, f64>> {
    x.get(1).map(|&hidden| RecurrentState {
        hidden,
        cell: x.get(2).copied(),
    })
}

macro_rules! layer_case {
    ($c:expr, $layer:ty, $cell:ty, $relu:ident, $option:expr, $lstm:literal) => {{
        let r = &mut rng(1);
        let b = <$layer>::builder(3, 4).batch_first(true);
        let b = if $relu { relu(b) } else { b };
        let b = match $option {
            "plain" | "cell" => b,
            "no_bias" => b.bias(false),
            "two" => b.layers(2),
            "both" => b.bidirectional(true),
            _ => b.layers(2).bidirectional(true),
        };
        match $option {
            "cell" => {
                let mut m: $cell = b.try_build_cell(r).unwrap();
                $c.run(&mut m, true, |m, _, x| {
                    let s = m.step(x[0], given(x));
                    match s.cell {
                        Some(c) => Var::cat(&[s.hidden, c], 1),
                        None => s.hidden,
                    }
                });
            }
            "lengths" => {
                let mut m = b.build(r);
                $c.run(&mut m, true, |m, _, x| {
                    pack(m.run_lengths(x[0], &[5, 2, 3], None))
                });
            }
            _ => {
                let mut m = b.build(r);
                $c.run(&mut m, true, |m, _, x| pack(m.run(x[0], given(x))));
            }
        }
    }};
}

/// The builders have no common trait; only a plain layer's knows ReLU.
trait Rectify: Sized {
    fn rectify(self) -> Self {
        self
    }
}
impl Rectify for wengert_nn::RnnBuilder<f64> {
    fn rectify(self) -> Self {
        self.relu()
    }
}
impl Rectify for wengert_nn::LstmBuilder<f64> {}
impl Rectify for wengert_nn::GruBuilder<f64> {}
fn relu<B: Rectify>(b: B) -> B {
    b.rectify()
}

pub fn values_and_gradients_are_pytorchs() {
    let all: Vec<Case> = cases(REFERENCE);
    assert_eq!(all.len(), 33);
    for c in all {
        let (kind, option) = c.name.split_once(' ').unwrap();
        let relu = kind == "relu";
        match (kind, option) {
            ("lstm", "projection") => {
                let mut m = Lstm::builder(3, 4)
                    .layers(2)
                    .bidirectional(true)
                    .projection(2)
                    .batch_first(true)
                    .build(&mut rng(1));
                c.run(&mut m, true, |m, _, x| pack(m.run(x[0], None)));
            }
            ("lstm", option) => layer_case!(c, Lstm<f64>, LstmCell<f64>, relu, option, true),
            ("gru", option) => layer_case!(c, Gru<f64>, GruCell<f64>, relu, option, false),
            (_, option) => layer_case!(c, Rnn<f64>, RnnCell<f64>, relu, option, false),
        }
    }
}

pub fn derivatives() {
    let x = sample(&[3, 2, 2], 1);
    let r = &mut rng(3);
    let mut m: Lstm<f64> = Lstm::builder(2, 3)
        .layers(2)
        .bidirectional(true)
        .dropout(0.3)
        .projection(2)
        .build(r);
    stir(&mut m, 1);
    let state = [sample(&[4, 2, 2], 2), sample(&[4, 2, 3], 3)];
    let [h, c] = &state;
    check(
        "lstm",
        &m,
        &[x.copy(), h.copy(), c.copy()],
        true,
        |m, _, x| pack(m.run_lengths(x[0], &[3, 2], given(x))),
    );
    let mut m: Gru<f64> = Gru::builder(2, 2).layers(2).dropout(0.3).build(r);
    stir(&mut m, 2);
    check("gru", &m, &[x.copy()], true, |m, _, x| m.forward(x[0]));
    let mut m: Rnn<f64> = Rnn::builder(2, 2).bidirectional(true).bias(false).build(r);
    stir(&mut m, 3);
    check("rnn", &m, &[x.copy()], true, |m, _, x| {
        pack(m.run_lengths(x[0], &[1, 3], None))
    });
    let mut m: LstmCell<f64> = LstmCell::new(2, 2, r);
    stir(&mut m, 4);
    check("cell", &m, &[sample(&[2, 2], 5)], true, |m, _, x| {
        let s = m.step(x[0], None);
        let s = m.step(x[0], Some(s));
        Var::cat(&[s.hidden, s.cell.unwrap()], 1)
    });
    let mut m: GruCell<f64> = GruCell::new(2, 2, r);
    stir(&mut m, 5);
    check("gru cell", &m, &[sample(&[2, 2], 6)], true, |m, _, x| {
        m.step(x[0], Some(m.step(x[0], None))).hidden
    });
    let mut m: RnnCell<f64> = RnnCell::new(2, 2, r);
    stir(&mut m, 6);
    check("cell of rnn", &m, &[sample(&[2, 2], 7)], true, |m, _, x| {
        m.step(x[0], Some(m.step(x[0], None))).hidden
    });
    let mut m: Rnn<f64> = Rnn::builder(2, 3)
        .relu()
        .layers(2)
        .batch_first(true)
        .build(r);
    stir(&mut m, 7);
    check("rnn, relu", &m, &[x.copy()], true, |m, _, x| {
        m.forward(x[0]).tanh()
    });
}

#[test]
fn cells_in_a_loop_are_the_layer() {
    let lstm: Lstm<f64> = Lstm::new(3, 4, &mut rng(1));
    let mut cell: LstmCell<f64> = LstmCell::new(3, 4, &mut rng(2));
    let w = &lstm.weights()[0];
    for (to, from) in [
        (&mut cell.weight_ih, &w.weight_ih),
        (&mut cell.weight_hh, &w.weight_hh),
    ] {
        to.set(from.value().copy());
    }
    let bias = w.bias_ih.as_ref().unwrap();
    cell.bias_ih.as_mut().unwrap().set(bias.value().copy());
    let tape = tape(true);
    let x = tape.input(&sample(&[5, 2, 3], 1));
    let (y, end) = lstm.run(x, None);
    let mut state = None;
    for t in 0..5 {
        let s = cell.step(x.select(0, t), state);
        for (a, b) in s.hidden.value().iter().zip(y.select(0, t).value().iter()) {
            assert!((a - b).abs() < 1e-14);
        }
        state = Some(s);
    }
    let (a, b) = (state.unwrap().cell.unwrap(), end.cell.unwrap());
    assert!((a - b.select(0, 0)).abs().sum().item() < 1e-13);
}

#[test]
fn windows_keep_the_values_and_cut_the_gradient() {
    let m: Gru<f64> = Gru::builder(2, 3)
        .layers(2)
        .batch_first(true)
        .build(&mut rng(1));
    let x = sample(&[2, 7, 2], 1);
    let tape = Tape::inference();
    let input = tape.input(&x);
    let (whole, end) = m.run(input, None);
    let (parts, last) = m.run_windows(input, 3, None);
    assert!((whole - parts).abs().sum().item() < 1e-14);
    assert!((end.hidden - last.hidden).abs().sum().item() < 1e-14);
    // The last step stands in the third window: steps 6.., so nothing before has a part in its gradient.
    let g = grad_many(parts.select(1, 6).sum(), &[input])[0].value();
    let full = grad_many(whole.select(1, 6).sum(), &[input])[0].value();
    for t in 0..7 {
        assert_eq!(g.get(&[0, t, 0]) != 0.0, t == 6, "step {t}");
        assert!(full.get(&[0, t, 0]) != 0.0);
    }
    // Between recordings: the same as a constant state.
    let (_, mid) = m.run(input.narrow(1, 0, 3), None);
    let memory: Memory<f64> = mid.values();
    let other = Tape::inference();
    let rest = other.input(&x.narrow(1, 3, 7));
    let (y, _) = m.run(rest, Some(memory.on(&other)));
    for (a, b) in y.value().iter().zip(whole.narrow(1, 3, 7).value().iter()) {
        assert!((a - b).abs() < 1e-14);
    }
}

#[test]
fn dropout_stands_between_layers_alone() {
    let run = |m: &Lstm<f64>, training: bool| {
        let tape = tape(training);
        m.forward(tape.input(&sample(&[4, 2, 3], 1)))
            .value()
            .to_vec()
    };
    let one = Lstm::builder(3, 4).dropout(0.5).build(&mut rng(1));
    assert_eq!(run(&one, true), run(&one, false));
    let two = Lstm::builder(3, 4)
        .layers(2)
        .dropout(0.5)
        .build(&mut rng(1));
    assert_ne!(run(&two, true), run(&two, false));
}

#[test]
fn names_and_defaults() {
    let m: Lstm<f64> = Lstm::builder(3, 4)
        .layers(2)
        .bidirectional(true)
        .projection(2)
        .build(&mut rng(1));
    let names: Vec<String> = m.named_params().into_iter().map(|p| p.path).collect();
    assert_eq!(
        names[..10],
        [
            "weight_ih_l0",
            "weight_hh_l0",
            "bias_ih_l0",
            "bias_hh_l0",
            "weight_hr_l0",
            "weight_ih_l0_reverse",
            "weight_hh_l0_reverse",
            "bias_ih_l0_reverse",
            "bias_hh_l0_reverse",
            "weight_hr_l0_reverse"
        ]
    );
    assert_eq!((names.len(), names[10].as_str()), (20, "weight_ih_l1"));
    assert_eq!(m.weights()[2].weight_ih.shape(), [16, 4]);
    assert_eq!((m.inputs(), m.hidden(), m.outputs()), (3, 4, 4));

    let m: Gru<f64> = Gru::new(3, 4, &mut rng(1));
    let w = &m.weights()[0];
    let bias = w.bias_ih.as_ref().unwrap();
    assert_eq!(bias.value().to_vec()[4..8], [1.0; 4]);
    assert_eq!(bias.origin(), Some("memory gate 1"));
    assert!(w.weight_hh.origin().unwrap().contains("orthogonal"));
    // Each gate's recurrent weight is orthogonal.
    let u = w.weight_hh.value();
    for gate in 0..3 {
        for (i, j) in [(0, 0), (0, 3), (2, 2)] {
            let dot: f64 = (0..4)
                .map(|k| u.get(&[4 * gate + i, k]) * u.get(&[4 * gate + j, k]))
                .sum();
            assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
        }
    }
    let m: Lstm<f64> = Lstm::builder(3, 64).expecting(50).build(&mut rng(1));
    let b = m.weights()[0].bias_ih.as_ref().unwrap().value().to_vec();
    assert!(
        b[64..128]
            .iter()
            .zip(&b[..64])
            .all(|(f, i)| *f == -i && *f >= 0.0)
    );
}

/// RMS of the loss's derivative by the state after each step.
struct Steps(Vec<f64>);
impl Observer<f64> for Steps {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        node.op == "recurrent_state"
    }
    fn see(&mut self, _: &NodeInfo<'_>, what: Seen, t: &Tensor<f64>) {
        if what == Seen::Adjoint {
            let n = t.numel() / t.shape()[0];
            let rms = |s: &[f64]| (s.iter().map(|x| x * x).sum::<f64>() / n as f64).sqrt();
            self.0 = t.to_vec().chunks(n).map(rms).collect();
        }
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

/// Share of the gradient by the last state that is left at the first one, 100 steps before.
fn left(m: &Lstm<f64>) -> f64 {
    let tape = tape(true);
    tape.set_observer(Box::new(Steps(Vec::new())));
    let x = wengert_nn::init::Init::normal(1.0).sample(
        [100, 8, 16],
        wengert_nn::init::Fans::linear(1, 1),
        &mut rng(9),
    );
    let y = m.forward(tape.input(&x));
    let w = tape.input(&sample(&[8, 64], 4));
    let _ = (y.select(0, 99) * w).sum().backward();
    let seen = tape.take_observer().unwrap().into_any();
    let g = seen.downcast::<Steps>().unwrap().0;
    assert_eq!(g.len(), 100);
    g[0] / g[99]
}

#[test]
fn an_lstm_told_to_expect_100_steps_keeps_its_gradient() {
    let with =
        |init: RecurrentInit| -> Lstm<f64> { Lstm::builder(16, 64).init(init).build(&mut rng(5)) };
    let forget = |b: f64| {
        with(RecurrentInit {
            bias: GateBias::Forget(b),
            ..RecurrentInit::lstm()
        })
    };
    let expecting: Lstm<f64> = Lstm::builder(16, 64).expecting(100).build(&mut rng(5));
    let mut torch = with(RecurrentInit::lstm());
    let bound = 1.0 / 8.0;
    torch.for_each_param_mut(|_, p| {
        let shape = p.shape().to_vec();
        let fans = wengert_nn::init::Fans::linear(1, 1);
        p.set(
            Init::Uniform {
                low: -bound,
                high: bound,
            }
            .sample(shape, fans, &mut rng(6)),
        );
    });
    let (told, torch) = (left(&expecting), left(&torch));
    let (one, two) = (left(&forget(1.0)), left(&forget(2.0)));
    println!(
        "gradient left after 100 steps: told to expect them {told:.1e}, forget bias 1 {one:.1e}, 2 {two:.1e}, PyTorch's \
         default {torch:.1e}"
    );
    assert!(told >= 1e-3, "{told:e}");
    assert!(torch < 1e-12, "{torch:e}");
    assert!(torch < one && one < two);
}

#[test]
fn refusals() {
    fn refuses(what: &str, f: impl FnOnce() + std::panic::UnwindSafe) {
        let error = std::panic::catch_unwind(f).expect_err(what);
        let text = error
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| (*error.downcast_ref::<&str>().unwrap()).to_owned());
        assert!(text.contains(what), "{text}");
    }
    let lstm = || -> Lstm<f64> { Lstm::new(3, 4, &mut rng(1)) };
    let x = || sample(&[5, 2, 3], 1);
    refuses("expected an input [steps, batch, 3], found [5, 2]", || {
        let t = tape(true);
        lstm().forward(t.input(&sample(&[5, 2], 1)));
    });
    refuses(
        "expected a state of shape [1, 2, 4], found [1, 3, 4]",
        || {
            let t = tape(true);
            let s = t.zeros([1, 3, 4]);
            lstm().run(t.input(&x()), Some(RecurrentState::with_cell(s, s)));
        },
    );
    refuses("expected a state with a cell", || {
        let t = tape(true);
        lstm().run(t.input(&x()), Some(RecurrentState::new(t.zeros([1, 2, 4]))));
    });
    refuses("expected 2 lengths from 1 to 5, found [5, 0]", || {
        let t = tape(true);
        lstm().run_lengths(t.input(&x()), &[5, 0], None);
    });
    refuses("a window of at least 1 step", || {
        let t = tape(true);
        lstm().run_windows(t.input(&x()), 0, None);
    });
    refuses("both directions has no windows", || {
        let t = tape(true);
        let m: Lstm<f64> = Lstm::builder(3, 4).bidirectional(true).build(&mut rng(1));
        m.run_windows(t.input(&x()), 2, None);
    });
    let refused = |b: wengert_nn::LstmBuilder<f64>| b.try_build(&mut rng(1)).is_err();
    assert!(refused(Lstm::builder(0, 4)) && refused(Lstm::builder(3, 0)));
    assert!(refused(Lstm::builder(3, 4).layers(0)));
    assert!(refused(Lstm::builder(3, 4).dropout(1.5)));
    assert!(refused(Lstm::builder(3, 4).projection(4)));
    assert!(refused(Lstm::builder(3, 4).expecting(1)));
    let forget = RecurrentInit::lstm();
    assert!(
        Rnn::<f64>::builder(3, 4)
            .init(forget)
            .try_build(&mut rng(1))
            .is_err()
    );
}

#[test]
fn kinds_have_their_names() {
    let kind = |m: &dyn Module<f64>| m.kind();
    assert_eq!(kind(&Lstm::<f64>::new(1, 1, &mut rng(1))), "Lstm");
    assert_eq!(kind(&GruCell::<f64>::new(1, 1, &mut rng(1))), "GruCell");
}
