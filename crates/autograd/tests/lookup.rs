//! Products of looked-up rows go by way of their table: the same values and derivatives as without, and nothing is hidden
//! from those who ask for the looked-up rows.

mod dispatch;

use std::any::Any;
use wengert_autograd::ops::recurrent::Recurrence;
use wengert_autograd::{
    Float, GradCheckOptions, NodeInfo, Observer, Param, Seen, Tape, Tensor, Var, gradcheck_with,
    vjp_many, vmap_many,
};

const ROWS: usize = 3;
const COLUMNS: usize = 8;
const OUT: usize = 5;

fn numbers(seed: u64, shape: &[usize]) -> Tensor<f64> {
    let n = shape.iter().product::<usize>() as u64;
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        z = (z ^ (z >> 29)).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = z.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    Tensor::from_vec((0..n).map(|_| next()).collect(), [n as usize]).reshape(shape.to_vec())
}

fn index(batch: usize, steps: usize) -> Tensor<i64> {
    let all = (0..batch * steps).map(|k| (k * k % 7 % ROWS) as i64);
    Tensor::from_vec(all.collect(), [batch, steps])
}

/// How the rows come to the product.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Flat,
    Batches,
    /// Batch and time exchanged between, as a recurrent layer does it.
    Exchanged,
}
const WAYS: [Way; 3] = [Way::Flat, Way::Batches, Way::Exchanged];

/// Looked-up rows and their product; with `short` false past the shorter way.
fn rows_and_product<'t>(
    way: Way,
    table: Var<'t, f64>,
    weight: Var<'t, f64>,
    transposed: bool,
    short: bool,
) -> [Var<'t, f64>; 2] {
    let x = match way {
        Way::Flat => table.index_select(0, &index(2, 6).reshape([12])),
        _ => table.embedding(&index(2, 6)),
    };
    let seen = if short { x } else { -(-x) };
    let seen = match way {
        Way::Exchanged => seen.transpose(0, 1),
        _ => seen,
    };
    let y = if transposed {
        seen.linear(weight, None)
    } else {
        seen.matmul(weight)
    };
    [x, y]
}

fn inputs(transposed: bool) -> [Tensor<f64>; 2] {
    let w = if transposed {
        [OUT, COLUMNS]
    } else {
        [COLUMNS, OUT]
    };
    [numbers(1, &[ROWS, COLUMNS]), numbers(2, &w)]
}

#[track_caller]
fn close(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!(
            (a - b).abs() <= 1e-13 * (1.0 + b.abs()),
            "{what}: {a} and {b}"
        );
    }
}

#[test]
fn values_and_derivatives_are_those_of_the_plain_product() {
    for way in WAYS {
        for transposed in [false, true] {
            let found = |short: bool| -> Vec<Vec<f64>> {
                let tape = Tape::inference();
                let [table, weight] = inputs(transposed).map(|t| tape.input(&t));
                let [x, y] = rows_and_product(way, table, weight, transposed, short);
                let seed = tape.input(&numbers(3, &y.shape()));
                let first = vjp_many(&[y], &[seed], &[table, weight, x]);
                // Derivatives of the derivatives, by everything, the cotangent and the looked-up rows among it.
                let loss = (first.iter()).fold(tape.scalar(0.0), |l, g| l + g.powi(3).sum());
                let loss = loss + y.sin().sum();
                let one = tape.scalar(1.0);
                let second = vjp_many(&[loss], &[one], &[table, weight, x, seed]);
                let all = [y].into_iter().chain(first).chain(second);
                all.map(|v| v.value().to_vec()).collect()
            };
            for (k, (a, b)) in found(true).iter().zip(found(false)).enumerate() {
                close(
                    a,
                    &b,
                    &format!("{way:?}, transposed {transposed}, result {k}"),
                );
            }
        }
    }
}

/// Value and derivatives in f32 and f64 from operands under other strides: the bits of contiguous ones.
#[test]
fn strides_do_not_change_a_bit() {
    fn check<T: Float>(columns: usize, out: usize, transposed: bool) {
        let index = Tensor::from_vec(vec![0i64, 2, 1, 2, 0, 2], [6]);
        let w = if transposed {
            [out, columns]
        } else {
            [columns, out]
        };
        let plain = [
            numbers(1, &[ROWS, columns]),
            numbers(2, &w),
            numbers(3, &[6, out]),
        ]
        .map(|t| t.map(T::from_f64));
        let turned = plain
            .clone()
            .map(|t| t.permute([1, 0]).copy().permute([1, 0]));
        let stepped = plain.clone().map(|t| {
            let (rows, n) = (t.shape()[0], t.shape()[1]);
            let wide = Tensor::from_fn([rows, 2 * n], |i| t.get(&[i[0], n - 1 - i[1] / 2]));
            let back = wide.layout().slice(1, 2 * n - 1, n, -2);
            wide.with_layout(back).expect("a view")
        });
        let found = |inputs: &[Tensor<T>; 3]| -> Vec<Vec<u64>> {
            let tape = Tape::inference();
            let [table, weight, seed] = [0, 1, 2].map(|k| tape.input(&inputs[k]));
            let x = table.index_select(0, &index);
            let y = if transposed {
                x.linear(weight, None)
            } else {
                x.matmul(weight)
            };
            let first = vjp_many(&[y], &[seed], &[table, weight, x]);
            let all = [y].into_iter().chain(first);
            all.map(|v| v.value().iter().map(|x| x.as_f64().to_bits()).collect())
                .collect()
        };
        let want = found(&plain);
        for (name, other) in [("turned", &turned), ("stepped", &stepped)] {
            assert!(
                other
                    .iter()
                    .zip(&plain)
                    .all(|(a, b)| a.to_vec() == b.to_vec())
            );
            assert_eq!(
                found(other),
                want,
                "{name}, {columns} x {out}, {transposed}"
            );
        }
    }
    for columns in [8, 17, 70] {
        for out in [1, 4, 5, 33] {
            for transposed in [false, true] {
                check::<f32>(columns, out, transposed);
                check::<f64>(columns, out, transposed);
            }
        }
    }
}

/// The same tests with the other instruction sets of this machine.
#[test]
fn other_instruction_sets() {
    dispatch::run_again();
}

/// As where the table or the weight is frozen.
#[test]
fn each_derivative_alone() {
    for way in WAYS {
        for which in 0..3 {
            let found = |short: bool| {
                let tape = Tape::inference();
                let [table, weight] = inputs(true).map(|t| tape.input(&t));
                let [x, y] = rows_and_product(way, table, weight, true, short);
                let seed = tape.input(&numbers(3, &y.shape()));
                let [g] = vjp_many(&[y], &[seed], &[[table, weight, x][which]])[..] else {
                    panic!("one derivative was asked for")
                };
                g.value().to_vec()
            };
            close(&found(true), &found(false), &format!("{way:?}, {which}"));
        }
    }
}

#[test]
fn derivatives_agree_with_finite_differences() {
    for way in WAYS {
        for transposed in [false, true] {
            let check = gradcheck_with(
                |v| rows_and_product(way, v[0], v[1], transposed, true)[1].tanh(),
                &inputs(transposed),
                GradCheckOptions::default(),
            );
            assert!(check.is_ok(), "{way:?}, transposed {transposed}: {check:?}");
        }
    }
}

/// The shorter way is there at all: less work, and neither rows nor their cotangents in memory.
#[test]
fn work_and_memory_are_those_of_the_table() {
    let used = |short: bool| {
        let (table, weight) = (
            Param::new(numbers(1, &[4, 64])),
            Param::new(numbers(2, &[8, 64])),
        );
        let tape = Tape::training(0);
        let indices = Tensor::from_vec((0..512).map(|k| k * k % 4).collect(), [512]);
        let x = tape.param(&table).embedding(&indices);
        let x = if short { x } else { -(-x) };
        let y = x.linear(tape.param(&weight), None);
        let grads = (y * y).sum().backward();
        assert_eq!(grads.iter().count(), 2);
        let c = tape.counters();
        (c.flops, c.bytes, c.live)
    };
    let (short, plain) = (used(true), used(false));
    assert!(short.0 * 20 < plain.0, "{short:?} {plain:?}");
    assert!(short.1 * 4 < plain.1, "{short:?} {plain:?}");
    assert!(short.2 * 4 < plain.2, "{short:?} {plain:?}");
}

#[test]
fn hooks_on_the_looked_up_rows_are_obeyed() {
    type Hook = for<'a> fn(Var<'a, f64>) -> Var<'a, f64>;
    let hooks: [(&str, Hook); 4] = [
        ("same", |g| g),
        ("tenfold", |g| g * 10.0),
        ("other rows", |g| g.flip([0])),
        // Nothing but views, and yet other rows.
        ("exchanged", |g| {
            let s = g.shape();
            let n = s.len() - 1;
            let rows: usize = s[..n].iter().product();
            let apart = g.reshape([4, rows / 4, s[n]]).transpose(0, 1);
            apart.reshape(s)
        }),
    ];
    for (name, hook) in hooks {
        for way in WAYS {
            let found = |short: bool| {
                let tape = Tape::inference();
                let [table, weight] = inputs(true).map(|t| tape.input(&t));
                let [x, y] = rows_and_product(way, table, weight, true, short);
                x.hook(hook);
                let seed = tape.input(&numbers(3, &y.shape()));
                let all = vjp_many(&[y], &[seed], &[table, weight, x]);
                all.iter()
                    .flat_map(|v| v.value().to_vec())
                    .collect::<Vec<_>>()
            };
            close(&found(true), &found(false), &format!("{name}, {way:?}"));
        }
    }
}

#[test]
fn rows_that_nobody_looks_up_have_no_part_in_it() {
    for transposed in [false, true] {
        let tape = Tape::inference();
        let [table, weight] = inputs(transposed);
        let bad = Tensor::from_vec(
            vec![f64::NAN, f64::INFINITY, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [1, COLUMNS],
        );
        let weight = tape.input(&weight);
        let more = Var::cat(&[tape.input(&table), tape.input(&bad)], 0);
        let [x, y] = rows_and_product(Way::Batches, more, weight, transposed, true);
        let seed = tape.input(&numbers(3, &y.shape()));
        for v in [y]
            .into_iter()
            .chain(vjp_many(&[y], &[seed], &[more, weight, x]))
        {
            assert!(v.value().iter().all(f64::is_finite), "{:?}", v.value());
        }
        let g = vjp_many(&[y], &[seed], &[more])[0].value();
        assert!(g.narrow(0, 3, 4).iter().all(|v| v == 0.0));
    }
    // Nor where the weight is infinite.
    let tape = Tape::inference();
    let table = tape.input(&numbers(1, &[4, COLUMNS]));
    let weight = tape.input(&Tensor::full([OUT, COLUMNS], f64::INFINITY));
    let [_, y] = rows_and_product(Way::Flat, table, weight, true, true);
    let seed = tape.input(&numbers(3, &y.shape()));
    let g = vjp_many(&[y], &[seed], &[table])[0].value();
    assert!(g.narrow(0, 3, 4).iter().all(|v| v == 0.0), "{g:?}");
}

#[test]
fn a_checkpointed_stretch_and_a_repeated_step_give_the_same_gradients() {
    let [table, weight] = inputs(true).map(Param::new);
    let mut tape = Tape::training(0);
    let mut all: Vec<Vec<f64>> = Vec::new();
    for again in [false, false, true, true, false] {
        tape.reset();
        let record = || {
            let (table, weight) = (tape.param(&table), tape.param(&weight));
            rows_and_product(Way::Exchanged, table, weight, true, true)[1]
        };
        let y = if again {
            tape.checkpoint(record)
        } else {
            record()
        };
        let grads = y.tanh().sum().backward();
        let of = |p: &Param<f64>| grads.get(p).expect("a gradient").to_vec();
        all.push([of(&table), of(&weight)].concat());
    }
    assert!(all.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn examples_of_a_batch_may_have_their_own_weights() {
    for way in WAYS {
        let tape = Tape::inference();
        let table = tape.input(&numbers(1, &[ROWS, COLUMNS]));
        let weights = tape.input(&numbers(2, &[4, OUT, COLUMNS]));
        let both = vmap_many(
            |v| {
                let [_, y] = rows_and_product(way, table, v[0], true, true);
                let g = vjp_many(&[y.sin()], &[tape.ones(y.shape())], &[table, v[0]]);
                vec![y, g[0], g[1]]
            },
            &[weights],
        );
        for k in 0..4 {
            let w = weights.select(0, k);
            let [_, y] = rows_and_product(way, table, w, true, false);
            let g = vjp_many(&[y.sin()], &[tape.ones(y.shape())], &[table, w]);
            for (b, o) in both.iter().zip([y, g[0], g[1]]) {
                let found = b.select(0, k).value().to_vec();
                close(
                    &found,
                    &o.value().to_vec(),
                    &format!("{way:?}, example {k}"),
                );
            }
        }
    }
}

/// A recurrent layer takes its rows right from the table's products.
#[test]
fn recurrent_sequences_over_looked_up_rows() {
    let hidden = 5;
    for (gates, reverse, lengths, state) in [
        (4, false, false, false),
        (4, true, true, true),
        (3, false, true, true),
        (3, true, false, false),
        (1, true, true, false),
    ] {
        let found = |short: bool| {
            let tape = Tape::inference();
            let sums = gates * hidden;
            let table = tape.input(&numbers(1, &[ROWS, COLUMNS]));
            let weight = tape.input(&numbers(2, &[sums, COLUMNS]));
            let u = tape.input(&numbers(4, &[sums, hidden]));
            let bias = tape.input(&numbers(5, &[sums]));
            let start = tape.input(&numbers(6, &[3, hidden]));
            let mut r = Recurrence::new(u);
            (r.bias, r.reverse) = (Some(bias), reverse);
            r.lengths = lengths.then(|| tape.input(&Tensor::from_vec(vec![4.0, 1.0, 3.0], [3])));
            r.state = state.then_some(start);
            let x = table.embedding(&index(3, 4));
            let seen = if short { x } else { -(-x) };
            let s = seen.transpose(0, 1).linear(weight, None);
            let y = match gates {
                4 => s.lstm(&r),
                3 => s.gru(&r),
                _ => s.rnn(false, &r),
            };
            let seed = tape.input(&numbers(3, &y.shape()));
            let first = vjp_many(&[y], &[seed], &[table, weight, u, bias, x, s]);
            let loss = first
                .iter()
                .fold(tape.scalar(0.0), |l, g| l + g.powi(2).sum());
            let second = vjp_many(&[loss], &[tape.scalar(1.0)], &[table, weight, u, bias, x]);
            let all = [y].into_iter().chain(first).chain(second);
            all.map(|v| v.value().to_vec()).collect::<Vec<_>>()
        };
        for (k, (a, b)) in found(true).iter().zip(found(false)).enumerate() {
            close(
                a,
                &b,
                &format!("{gates} gates, reverse {reverse}, result {k}"),
            );
        }
    }
}

/// What was seen: operation, kind, value.
struct Watch(Vec<(&'static str, Seen, Vec<f64>)>);
impl Observer<f64> for Watch {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        ["index_select", "matmul"].contains(&node.op)
    }
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<f64>) {
        // Both name the line of this file that recorded them.
        assert!(
            node.location.file().ends_with("lookup.rs"),
            "{}",
            node.location
        );
        assert!(node.location.file().contains("tests"), "{}", node.location);
        self.0.push((node.op, what, tensor.to_vec()));
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[test]
fn an_observer_sees_rows_and_products_and_their_derivatives() {
    let [table, weight] = inputs(true).map(Param::new);
    let found = |short: bool| {
        let tape = Tape::training(0);
        tape.set_observer(Box::new(Watch(Vec::new())));
        let (t, w) = (tape.param(&table), tape.param(&weight));
        let [_, y] = rows_and_product(Way::Exchanged, t, w, true, short);
        let _ = y.tanh().sum().backward();
        let watch = tape.take_observer().expect("set above").into_any();
        let mut seen = watch.downcast::<Watch>().expect("the observer set above").0;
        seen.sort_by_key(|(op, what, v)| (*op, *what == Seen::Adjoint, v.len()));
        seen
    };
    let (short, plain) = (found(true), found(false));
    for (op, what, value) in &plain {
        let same = short.iter().any(|(o, k, v)| {
            o == op && k == what && v.len() == value.len() && {
                v.iter().zip(value).all(|(a, b)| (a - b).abs() < 1e-13)
            }
        });
        assert!(same, "{op} {what:?} was not seen");
    }
    assert_eq!(plain.len(), 4);
}
