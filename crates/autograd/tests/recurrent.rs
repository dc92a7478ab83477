//! Recurrent sequences: derivatives for every combination of settings, and the same bits for any number of threads.

mod dispatch;
mod registry;

use wengert_autograd::ops::recurrent::Recurrence;
use wengert_autograd::{
    Float, GradCheckOptions, NodeInfo, Observer, Param, Seen, Tape, Tensor, Var, gradcheck_with,
    vjp_many,
};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Tanh,
    Relu,
    Lstm,
    LstmCell,
    LstmProjection,
    Gru,
}
const KINDS: [Kind; 6] = [
    Kind::Tanh,
    Kind::Relu,
    Kind::Lstm,
    Kind::LstmCell,
    Kind::LstmProjection,
    Kind::Gru,
];

#[derive(Clone, Copy, Debug)]
struct Setup {
    kind: Kind,
    steps: usize,
    batch: usize,
    hidden: usize,
    bias: bool,
    state: bool,
    reverse: bool,
    lengths: Option<&'static [f64]>,
}

impl Setup {
    fn gates(&self) -> usize {
        match self.kind {
            Kind::Tanh | Kind::Relu => 1,
            Kind::Gru => 3,
            _ => 4,
        }
    }

    fn out(&self) -> usize {
        if self.kind == Kind::LstmProjection {
            self.hidden.div_ceil(2)
        } else {
            self.hidden
        }
    }

    fn shapes(&self) -> Vec<Vec<usize>> {
        let (sums, out) = (self.gates() * self.hidden, self.out());
        let lstm = self.gates() == 4;
        let mut s = vec![vec![self.steps, self.batch, sums], vec![sums, out]];
        if self.bias {
            s.push(vec![sums]);
            if self.kind == Kind::Gru {
                s.push(vec![sums]);
            }
        }
        if self.state {
            s.push(vec![self.batch, out]);
            if lstm {
                s.push(vec![self.batch, self.hidden]);
            }
        }
        if self.kind == Kind::LstmProjection {
            s.push(vec![out, self.hidden]);
        }
        s
    }

    fn samples<T: Float>(&self, scale: f64) -> Vec<Tensor<T>> {
        let mut k = 0u64;
        let mut next = || {
            k += 1;
            let mut z = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            T::from_f64(scale * ((z >> 11) as f64 / 4_503_599_627_370_496.0 - 1.0))
        };
        (self.shapes().iter())
            .map(|s| Tensor::from_fn(s.as_slice(), |_| next()))
            .collect()
    }

    fn run<'t, T: Float>(&self, v: &[Var<'t, T>]) -> Var<'t, T> {
        let mut rest = v[1..].iter().copied();
        let mut next = || rest.next().expect("as many as shapes");
        let lstm = self.gates() == 4;
        let mut r = Recurrence::new(next());
        r.reverse = self.reverse;
        if self.bias {
            r.bias = Some(next());
            r.hidden_bias = (self.kind == Kind::Gru).then(&mut next);
        }
        if self.state {
            r.state = Some(next());
            r.cell = lstm.then(&mut next);
        }
        r.projection = (self.kind == Kind::LstmProjection).then(&mut next);
        r.lengths = self.lengths.map(|l| {
            let l: Vec<T> = l.iter().map(|&x| T::from_f64(x)).collect();
            v[0].tape().input(&Tensor::from_vec(l, [self.batch]))
        });
        match self.kind {
            Kind::Tanh => v[0].rnn(false, &r),
            Kind::Relu => v[0].rnn(true, &r),
            Kind::Gru => v[0].gru(&r),
            Kind::Lstm | Kind::LstmProjection => v[0].lstm(&r),
            Kind::LstmCell => {
                let (y, c) = v[0].lstm_with_cell(&r);
                Var::cat(&[y.flatten(0, -1), c.flatten(0, -1)], 0)
            }
        }
    }
}

fn setups() -> Vec<Setup> {
    let mut all = Vec::new();
    for kind in KINDS {
        for k in 0..6 {
            all.push(Setup {
                kind,
                steps: 4,
                batch: 3,
                hidden: 2,
                bias: k % 2 == 1,
                state: k >= 2,
                reverse: k % 3 == 2 || k == 1,
                lengths: [None, Some(&[4.0, 1.0, 2.0][..])][usize::from(k >= 3 || k == 1)],
            });
        }
    }
    all
}

#[test]
fn derivatives_of_order_one_and_two() {
    for s in setups() {
        let options = GradCheckOptions {
            dense: 6,
            ..Default::default()
        };
        let check = gradcheck_with(|v| s.run(v), &s.samples::<f64>(1.2), options);
        assert!(
            check.is_ok(),
            "{s:?}: {:e} > {:e}: {}",
            check.worst,
            check.tolerance,
            check.at
        );
    }
}

/// Values and gradients, those of a training tape.
fn results<T: Float>(s: &Setup, tape: &Tape<T>, inputs: &[Tensor<T>]) -> Vec<Vec<T>> {
    let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
    let y = s.run(&vars);
    let g = vjp_many(&[y], &[(y * 0.7).cos()], &vars);
    std::iter::once(&y)
        .chain(&g)
        .map(|v| v.value().to_vec())
        .collect()
}

/// `tests/reference/recurrent.py` wrote the file, with PyTorch in f64.
#[test]
fn values_and_derivatives_agree_with_pytorch() {
    let text = include_str!("reference/recurrent.txt");
    let all = setups();
    assert_eq!(text.lines().count(), all.len());
    for (i, (line, s)) in text.lines().zip(&all).enumerate() {
        let mut fields = line.split('|');
        let name = format!("{:?} {}", s.kind, i % 6);
        assert_eq!(fields.next().unwrap(), name);
        let h = registry::hash(&name);
        let tape = Tape::<f64>::inference();
        let draw = |seed: u64, like: &Var<'_, f64>| {
            let v = registry::numbers(seed, like.numel(), (-1.0, 1.0));
            tape.input(&Tensor::from_vec(v, like.shape()))
        };
        let inputs = s.samples::<f64>(1.0);
        let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
        let y = s.run(&vars);
        let g = vjp_many(&[y], &[draw(h ^ 99, &y)], &vars);
        let w: Vec<_> = (g.iter().enumerate())
            .map(|(k, g)| draw((h ^ 77).wrapping_add(k as u64), g))
            .collect();
        let second = vjp_many(&g, &w, &vars);
        for (k, v) in std::iter::once(&y).chain(&g).chain(&second).enumerate() {
            let v = v.value().to_vec();
            let scale = v.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (p, e) in fields.next().unwrap().split(' ').enumerate() {
                let w = registry::numbers(h.wrapping_add(1000 + p as u64), v.len(), (-1.0, 1.0));
                let found: f64 = v.iter().zip(w).map(|(v, w)| v * w).sum();
                let e: f64 = e.parse().unwrap();
                assert!(
                    (found - e).abs() <= 1e-9 * scale,
                    "{name}, result {k}: {found:e}, PyTorch {e:e}"
                );
            }
        }
    }
}

#[test]
fn one_operation_equals_the_loop_over_single_steps() {
    for s in setups().iter().filter(|s| s.lengths.is_none()) {
        let inputs = s.samples::<f64>(1.0);
        let tape = Tape::<f64>::training(0);
        tape.set_poison(true);
        let whole = results(s, &tape, &inputs);
        let tape = Tape::<f64>::inference();
        assert!(whole == results(s, &tape, &inputs), "{s:?}: kept and again");
        // Step by step through the operation of one step.
        let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
        if matches!(s.kind, Kind::Lstm | Kind::LstmProjection | Kind::LstmCell) || s.reverse {
            continue;
        }
        let mut h = s.state.then(|| vars[vars.len() - 1]);
        let one = Setup {
            steps: 1,
            state: true,
            ..*s
        };
        let mut ys = Vec::new();
        for t in 0..s.steps {
            let mut v = vars.clone();
            if s.state {
                v.pop();
            }
            v[0] = vars[0].narrow(0, t, t + 1);
            v.push(h.unwrap_or_else(|| tape.zeros([s.batch, s.out()])));
            let y = one.run(&v).select(0, 0);
            ys.push(y);
            h = Some(y);
        }
        let y = Var::stack(&ys, 0);
        let g = vjp_many(&[y], &[(y * 0.7).cos()], &vars);
        for (k, (a, b)) in std::iter::once(&y).chain(&g).zip(&whole).enumerate() {
            for (a, b) in a.value().iter().zip(b) {
                assert!((a - b).abs() < 1e-12, "{s:?}: result {k}: {a:e}, {b:e}");
            }
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_any_width() {
    for kind in KINDS {
        for (batch, hidden) in [(9, 40), (13, 33)] {
            let s = Setup {
                kind,
                steps: 12,
                batch,
                hidden,
                bias: true,
                state: true,
                reverse: hidden == 33,
                lengths: None,
            };
            let inputs = s.samples::<f32>(0.5);
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let tape = Tape::training(0);
                    results(&s, &tape, &inputs)
                })
            };
            let bits =
                |v: Vec<Vec<f32>>| -> Vec<u32> { v.concat().iter().map(|x| x.to_bits()).collect() };
            let one = bits(with(1));
            assert_eq!(one, bits(with(2)), "{s:?}");
            assert_eq!(one, bits(with(3)), "{s:?}");
            // f32 against f64.
            let wide: Vec<Tensor<f64>> = inputs.iter().map(|x| x.map(f64::from)).collect();
            let exact = results(&s, &Tape::training(0), &wide).concat();
            let scale = exact.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (a, b) in one.iter().zip(exact) {
                let a = f64::from(f32::from_bits(*a));
                assert!((a - b).abs() <= 1e-5 * scale, "{s:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn nothing_to_compute() {
    for kind in KINDS {
        for (steps, batch, hidden) in [(0, 2, 3), (3, 0, 3), (1, 1, 1), (0, 0, 1)] {
            for state in [false, true] {
                let s = Setup {
                    kind,
                    steps,
                    batch,
                    hidden,
                    bias: true,
                    state,
                    reverse: state,
                    lengths: (batch == 2).then_some(&[0.0, 0.0]),
                };
                let check =
                    gradcheck_with(|v| s.run(v), &s.samples::<f64>(1.0), Default::default());
                assert!(check.is_ok(), "{s:?}: {check:?}");
            }
        }
    }
}

#[test]
fn a_sequence_of_no_steps_stands_still() {
    let s = Setup {
        kind: Kind::LstmCell,
        steps: 3,
        batch: 2,
        hidden: 2,
        bias: false,
        state: true,
        reverse: false,
        lengths: Some(&[0.0, 2.0]),
    };
    let inputs = s.samples::<f64>(1.0);
    let tape = Tape::inference();
    let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
    let all = s.run(&vars).value().to_vec();
    let cell = &inputs[3].to_vec()[..2];
    assert_eq!(&all[3 * 2 * 2..][..2], cell, "the cell of sequence 0");
    for t in 0..3 {
        assert_eq!(&all[t * 4..][..2], [0.0, 0.0]);
        assert_eq!(all[t * 4 + 2] == 0.0, t == 2);
    }
}

#[test]
fn nan_stays_in_its_sequence() {
    for kind in KINDS {
        let s = Setup {
            kind,
            steps: 5,
            batch: 3,
            hidden: 4,
            bias: true,
            state: false,
            reverse: false,
            lengths: None,
        };
        let mut inputs = s.samples::<f64>(1.0);
        let width = inputs[0].shape()[2];
        // Time 2 of sequence 1.
        inputs[0].as_mut_slice()[(2 * 3 + 1) * width..][..width].fill(f64::NAN);
        let tape = Tape::inference();
        let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
        let y = s.run(&vars).value().to_vec();
        for (i, y) in y[..5 * 3 * s.out()].iter().enumerate() {
            let (t, b) = (i / s.out() / 3, i / s.out() % 3);
            assert_eq!(y.is_nan(), b == 1 && t >= 2, "{kind:?} at {t}, {b}");
        }
    }
}

/// Adjoints of the states, as an observer sees them.
struct Watch(Vec<Vec<f64>>);
impl Observer<f64> for Watch {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        node.op == "recurrent_state"
    }
    fn see(&mut self, _: &NodeInfo<'_>, what: Seen, tensor: &Tensor<f64>) {
        if what == Seen::Adjoint {
            self.0.push(tensor.to_vec());
        }
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

#[test]
fn an_observer_sees_the_derivative_by_every_state() {
    for kind in KINDS {
        for lengths in [None, Some(&[4.0, 2.0, 3.0][..])] {
            let s = Setup {
                kind,
                steps: 4,
                batch: 3,
                hidden: 3,
                bias: true,
                state: false,
                reverse: false,
                lengths,
            };
            let inputs = s.samples::<f64>(1.0);
            let x = Param::new(inputs[0].copy());
            let tape = Tape::training(0);
            tape.set_observer(Box::new(Watch(Vec::new())));
            let mut vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
            vars[0] = tape.param(&x);
            let y = s.run(&vars);
            let _ = (y * y).sum().backward();
            let seen = tape
                .take_observer()
                .unwrap()
                .into_any()
                .downcast::<Watch>()
                .unwrap();
            assert_eq!(seen.0.len(), 1);
            // The state after step t is the state before step t + 1: cut there, and differentiate the rest.
            if kind == Kind::LstmCell || lengths.is_some() {
                continue;
            }
            let n = 3 * s.out();
            let last = &seen.0[0][3 * n..];
            let y = {
                let tape = Tape::inference();
                let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
                s.run(&vars).value().to_vec()
            };
            for (a, y) in last.iter().zip(&y[3 * n..]) {
                assert!((a - 2.0 * y).abs() < 1e-12);
            }
            if s.gates() == 4 {
                continue;
            }
            for cut in 1..4 {
                let rest = Setup {
                    steps: 4 - cut,
                    state: true,
                    ..s
                };
                let tape = Tape::inference();
                let mut vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
                vars[0] = vars[0].narrow(0, cut, 4);
                let h = Tensor::from_vec(y[(cut - 1) * n..cut * n].to_vec(), [3, s.out()]);
                let h = tape.input(&h);
                vars.push(h);
                let y = rest.run(&vars);
                let [g] = wengert_autograd::grad((y * y).sum() + (h * h).sum(), [h]);
                for (a, b) in g.value().iter().zip(&seen.0[0][(cut - 1) * n..]) {
                    assert!((a - b).abs() < 1e-12, "{kind:?} at {cut}: {a} {b}");
                }
            }
        }
    }
}

/// The same tests with the other instruction sets of this machine.
#[test]
fn other_instruction_sets() {
    dispatch::run_again();
}
