//! The property suite over the elementwise table: every row, by enumeration.

mod dispatch;
mod registry;

use wengert_autograd::ops::elementwise::{ELEMENTWISE, ElemInfo};
use wengert_autograd::{Float, GradCheckOptions, Tape, Tensor, Var, gradcheck_with, vjp_many};

fn random(seed: u64, n: usize, (lo, hi): (f64, f64)) -> Vec<f64> {
    (0..n as u64)
        .map(|i| {
            let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            lo + (hi - lo) * ((z >> 11) as f64 / 9_007_199_254_740_992.0)
        })
        .collect()
}

fn apply<'t, T: Float>(info: &ElemInfo, args: &[Var<'t, T>]) -> Var<'t, T> {
    info.op.apply(info.imm, args)
}

fn samples(info: &ElemInfo, seed: u64, n: usize) -> Vec<Vec<f64>> {
    (0..info.arity)
        .map(|k| random(seed + k as u64, n, info.domain[k]))
        .collect()
}

#[test]
fn derivatives_of_order_one_and_two() {
    for info in ELEMENTWISE {
        let inputs: Vec<Tensor<f64>> = samples(info, 11, 6)
            .into_iter()
            .map(|v| Tensor::from_vec(v, [2, 3]))
            .collect();
        let check = gradcheck_with(|v| apply(info, v), &inputs, GradCheckOptions::default());
        assert!(
            check.is_ok(),
            "{}: {:e} > {:e}: {}",
            info.name,
            check.worst,
            check.tolerance,
            check.at
        );
    }
}

#[test]
fn derivatives_with_broadcast_operands() {
    for info in ELEMENTWISE.iter().filter(|i| i.arity > 1) {
        let shapes: [&[usize]; 3] = [&[2, 1, 2], &[3, 1], &[2]];
        let inputs: Vec<Tensor<f64>> = (0..info.arity)
            .map(|k| {
                let n = shapes[k].iter().product();
                Tensor::from_vec(random(5 + k as u64, n, info.domain[k]), shapes[k])
            })
            .collect();
        let check = gradcheck_with(|v| apply(info, v), &inputs, GradCheckOptions::default());
        assert!(
            check.is_ok(),
            "{}: {:e} > {:e}: {}",
            info.name,
            check.worst,
            check.tolerance,
            check.at
        );
    }
}

#[test]
fn declared_derivatives_are_not_zero_and_others_are() {
    for info in ELEMENTWISE {
        let tape = Tape::<f64>::inference();
        let args: Vec<_> = samples(info, 3, 4)
            .iter()
            .map(|v| tape.input(&Tensor::from_slice(v, [4])))
            .collect();
        let g = wengert_autograd::grad_many(apply(info, &args).sum(), &args);
        for (k, g) in g.iter().enumerate() {
            let any = g.value().iter().any(|x| x != 0.0);
            // A mask or a saturated branch may be flat at the sample; a declared zero must be zero.
            assert!(info.differentiable[k] || !any, "{} operand {k}", info.name);
        }
    }
}

#[test]
fn f32_agrees_with_f64() {
    for info in ELEMENTWISE {
        let s = samples(info, 29, 1000);
        let wide = Tape::<f64>::inference();
        let narrow = Tape::<f32>::inference();
        // Sample in f32, so that both see the same numbers.
        let s32: Vec<Vec<f32>> = s
            .iter()
            .map(|v| v.iter().map(|&x| x as f32).collect())
            .collect();
        let a: Vec<_> = s32
            .iter()
            .map(|v| {
                wide.input(&Tensor::from_vec(
                    v.iter().map(|&x| f64::from(x)).collect(),
                    [1000],
                ))
            })
            .collect();
        let b: Vec<_> = s32
            .iter()
            .map(|v| narrow.input(&Tensor::from_slice(v, [1000])))
            .collect();
        let (y, z) = (apply(info, &a).value(), apply(info, &b).value());
        for (i, (y, z)) in y.iter().zip(z.iter()).enumerate() {
            let error = (y - f64::from(z)).abs();
            assert!(
                error <= 2e-5 * y.abs().max(0.05),
                "{} at {:?}: f64 {y:e}, f32 {z:e}",
                info.name,
                s32.iter().map(|v| v[i]).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn nan_goes_through() {
    // Comparisons, selections and counts answer with a number by design.
    let answers = [
        "gt",
        "ge",
        "lt",
        "le",
        "eq",
        "ne",
        "logical_and",
        "logical_or",
        "logical_xor",
        "logical_not",
        "isnan",
        "isfinite",
        "isinf",
        "nan_to_num",
        "where_",
        "mask",
        "mask_not",
        "masked_fill",
        "copysign",
        "copysign_grad",
    ];
    for info in ELEMENTWISE.iter().filter(|i| !answers.contains(&i.name)) {
        for k in 0..info.arity {
            // The second operand of a `_grad` row only selects; NaN there is checked by the activation itself.
            if k > 0 && (info.name.ends_with("_grad") || info.name == "outside") {
                continue;
            }
            let tape = Tape::<f64>::inference();
            let mut s = samples(info, 7, 1);
            s[k][0] = f64::NAN;
            let args: Vec<_> = s
                .iter()
                .map(|v| tape.input(&Tensor::from_slice(v, [1])))
                .collect();
            let y = apply(info, &args).item();
            let base = matches!(info.name, "pow_grad_exponent");
            assert!(y.is_nan() || base, "{} operand {k}: {y}", info.name);
        }
    }
}

#[test]
fn fused_equals_op_by_op_for_any_layout() {
    for info in ELEMENTWISE {
        let s = samples(info, 41, 6000);
        let run = |fuse: bool| {
            let mut tape = Tape::<f32>::inference();
            tape.set_fusion(fuse);
            tape.set_poison(true);
            let args: Vec<_> = s
                .iter()
                .map(|v| {
                    let t = Tensor::from_vec(v.iter().map(|&x| x as f32).collect(), [60, 100]);
                    (tape.input(&t).t() * 1.0).slice(0, 1, 99, 2)
                })
                .collect();
            let y = apply(info, &args);
            let z = (y * 0.5 + y).sum_dim([0], false);
            (y.value().to_vec(), z.value().to_vec())
        };
        let (a, b) = (run(true), run(false));
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a.0), bits(&b.0), "{}", info.name);
        assert_eq!(bits(&a.1), bits(&b.1), "{} reduced", info.name);
    }
}

#[test]
fn empty_and_rank_zero() {
    for info in ELEMENTWISE {
        for shape in [&[][..], &[0], &[0, 3], &[3, 0], &[1, 0, 2]] {
            let n: usize = shape.iter().product();
            let tape = Tape::<f64>::inference();
            let args: Vec<_> = samples(info, 3, n)
                .iter()
                .map(|v| tape.input(&Tensor::from_slice(v, shape)))
                .collect();
            let y = apply(info, &args);
            assert_eq!(y.value().shape(), shape, "{}", info.name);
            for (k, g) in wengert_autograd::grad_many(y.sum(), &args)
                .iter()
                .enumerate()
            {
                assert_eq!(g.value().shape(), shape, "{} operand {k}", info.name);
            }
        }
    }
}

/// `tests/reference/elementwise.py` wrote the file, with PyTorch in f64.
#[test]
fn values_and_derivatives_agree_with_pytorch() {
    let shapes: [&[usize]; 3] = [&[2, 1, 3], &[4, 1], &[3]];
    let mut failed = String::new();
    let mut seen = Vec::new();
    for line in include_str!("reference/elementwise.txt").lines() {
        let mut fields = line.split('|');
        let name = fields.next().unwrap();
        let plain = name.trim_end_matches(" wide");
        let Some(info) = ELEMENTWISE.iter().find(|i| i.name == plain) else {
            panic!("no row {plain}: run tests/reference/elementwise.py");
        };
        seen.push(plain);
        let h = registry::hash(name);
        let tape = Tape::<f64>::inference();
        let input = |seed: u64, shape: &[usize], range| {
            let n = shape.iter().product();
            tape.input(&Tensor::from_vec(registry::numbers(seed, n, range), shape))
        };
        let x: Vec<_> = (0..info.arity)
            .map(|k| {
                let range = if plain == name {
                    info.domain[k]
                } else {
                    (-3.0, 3.0)
                };
                input(h.wrapping_add(k as u64), shapes[k], range)
            })
            .collect();
        let unit = (-1.0, 1.0);
        let y = apply(info, &x);
        let g = vjp_many(&[y], &[input(h ^ 99, &y.shape(), unit)], &x);
        let w: Vec<_> = (g.iter().enumerate())
            .map(|(k, g)| input((h ^ 77).wrapping_add(k as u64), &g.shape(), unit))
            .collect();
        let s = vjp_many(&g, &w, &x);
        let dims: Vec<String> = y.shape().iter().map(ToString::to_string).collect();
        assert_eq!(fields.next().unwrap(), dims.join(","), "{name}");
        for (k, v) in std::iter::once(&y).chain(&g).chain(&s).enumerate() {
            let v = v.value().to_vec();
            let scale = v.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (p, e) in fields.next().unwrap().split(' ').enumerate() {
                let w = registry::numbers(h.wrapping_add(1000 + p as u64), v.len(), unit);
                let found: f64 = v.iter().zip(w).map(|(v, w)| v * w).sum();
                let e: f64 = e.parse().unwrap();
                let close = (found - e).abs() <= 1e-9 * scale;
                if !close {
                    failed += &format!("{name}, result {k}: {found:e}, PyTorch {e:e}\n");
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    // Parts of rules that PyTorch has no function for.
    let without = ["prefer", "copysign_grad"];
    let missing: Vec<_> = (ELEMENTWISE.iter().map(|i| i.name))
        .filter(|n| !seen.contains(n) && !without.contains(n))
        .collect();
    assert!(missing.is_empty(), "no reference for {missing:?}");
}

/// Row, result (`y`, or `g` and the operand), operands at which it differs, and why.
type Difference = (
    &'static str,
    &'static str,
    fn(f64, f64) -> bool,
    &'static str,
);

const LIMIT: &str = "PyTorch multiplies 0 by infinity on the way; this is the limit";
const THROUGH: &str = "NaN goes through derivatives, too";
const TIE: &str = "a NaN operand: the derivative is NaN, not 1 for both";
const POLE: &str = "negative integers, and so all huge negative numbers, are poles";
const OWN: &str = "not a function of PyTorch, the composition it is compared with differs";

/// Where the table differs from PyTorch at ±0, ±∞, NaN and huge numbers: at these operands, and at no others.
const DIFFERENT: &[Difference] = &[
    ("abs", "g0", |x, _| x.is_nan(), THROUGH),
    ("sign", "y", |x, _| x.is_nan(), THROUGH),
    ("div_no_nan", "y", |_, b| b == 0.0, OWN),
    ("div_no_nan", "g0", |_, b| b == 0.0, OWN),
    ("div_no_nan", "g1", |_, b| b == 0.0, OWN),
    (
        "cbrt",
        "y",
        |x, _| x < 0.0,
        "PyTorch has no cube root of negative numbers",
    ),
    (
        "cbrt",
        "g0",
        |x, _| x < 0.0 && x.is_finite(),
        "PyTorch has no cube root of negative numbers",
    ),
    ("maximum", "g0", |a, b| a.is_nan() || b.is_nan(), TIE),
    ("maximum", "g1", |a, b| a.is_nan() || b.is_nan(), TIE),
    ("minimum", "g0", |a, b| a.is_nan() || b.is_nan(), TIE),
    ("minimum", "g1", |a, b| a.is_nan() || b.is_nan(), TIE),
    (
        "clamp",
        "g0",
        |x, _| x.is_nan(),
        "NaN is not outside of the limits",
    ),
    ("copysign", "g0", |a, _| !a.is_finite(), LIMIT),
    ("prelu", "g0", |x, a| x > 0.0 && !a.is_finite(), OWN),
    ("prelu", "g1", |x, _| x == f64::INFINITY, OWN),
    (
        "min_zero",
        "g0",
        |x, _| x == 0.0 || x.is_nan(),
        "derivative 1 at 0 and where it is not known, as prelu needs it",
    ),
    ("elu", "g0", |x, _| x.is_nan(), THROUGH),
    ("selu", "g0", |x, _| x.is_nan(), THROUGH),
    ("celu", "g0", |x, _| x > 2.0, OWN),
    ("gelu", "y", |x, _| x == -f64::INFINITY, LIMIT),
    ("gelu", "g0", |x, _| x.is_infinite(), LIMIT),
    ("silu", "y", |x, _| x == -f64::INFINITY, LIMIT),
    ("silu", "g0", |x, _| x.is_infinite(), LIMIT),
    ("gelu_tanh", "y", |x, _| x == -f64::INFINITY, LIMIT),
    ("gelu_tanh", "g0", |x, _| x.abs() >= 1e300, LIMIT),
    ("mish", "y", |x, _| x == -f64::INFINITY, LIMIT),
    ("mish", "g0", |x, _| x.is_infinite(), LIMIT),
    ("softsign", "y", |x, _| x.is_infinite(), LIMIT),
    ("softsign", "g0", |x, _| x.is_infinite(), LIMIT),
    ("hardswish", "y", |x, _| x == -f64::INFINITY, LIMIT),
    ("hardswish", "g0", |x, _| x.is_nan(), THROUGH),
    (
        "outside",
        "y",
        |g, x| x.is_nan() && g != 0.0 && !g.is_nan() || !g.is_finite() && x.abs() <= 0.5,
        OWN,
    ),
    ("outside", "g0", |_, x| x.is_nan(), OWN),
    ("squareplus", "y", |x, _| x <= -1e300 || x == 1e300, OWN),
    ("squareplus", "g0", |x, _| x <= -1e300 || x == 1e300, OWN),
    (
        "bce_with_logits_",
        "y",
        |x, t| x == -f64::INFINITY && t == 0.0 || x == f64::INFINITY && t >= 0.0,
        LIMIT,
    ),
    ("log_cosh", "y", |x, _| x.abs() == 1e300, OWN),
    ("log_cosh", "g0", |x, _| x.abs() > 2.0, OWN),
    (
        "xlogy",
        "g0",
        |a, b| a == 0.0 && b <= 0.0,
        "the logarithm where the first factor is 0, see the conventions",
    ),
    (
        "sqrt_zero",
        "g0",
        |x, _| x == 0.0,
        "derivative 0 at 0 is its purpose",
    ),
    ("digamma", "g0", |x, _| x == -1e300, POLE),
    ("polygamma", "y", |x, _| x == -1e300, POLE),
    (
        "polygamma",
        "g0",
        |x, _| x.is_infinite(),
        "0 is the limit at infinity; at the other end is none",
    ),
    (
        "hardsigmoid",
        "g0",
        |x, _| x.is_nan(),
        "NaN is not outside of the limits",
    ),
    (
        "rsqrt",
        "g0",
        |x, _| x == 0.0 && x.is_sign_negative(),
        "the sign of an infinite derivative at -0",
    ),
];

/// `tests/reference/special.py` wrote the file.
#[test]
fn infinities_zeros_and_nan_agree_with_pytorch() {
    const INF: f64 = f64::INFINITY;
    let one = [-INF, -1e300, -1.5, -0.0, 0.0, 1.5, 1e300, INF, f64::NAN];
    let two = [-INF, -2.0, -0.0, 0.0, 0.5, 3.0, INF, f64::NAN];
    let (mut failed, mut used) = (String::new(), vec![Vec::new(); DIFFERENT.len()]);
    let mut rows = 0;
    for line in include_str!("reference/special.txt").lines() {
        let mut fields = line.split('|');
        let name = fields.next().unwrap();
        let Some(info) = ELEMENTWISE.iter().find(|i| i.name == name) else {
            panic!("no row {name}: run tests/reference/special.py");
        };
        rows += 1;
        let columns: Vec<Vec<f64>> = if info.arity == 1 {
            vec![one.to_vec()]
        } else {
            let pairs = || two.iter().flat_map(|&a| two.iter().map(move |&b| (a, b)));
            vec![
                pairs().map(|p| p.0).collect(),
                pairs().map(|p| p.1).collect(),
            ]
        };
        let tape = Tape::<f64>::inference();
        let x: Vec<_> = (columns.iter())
            .map(|c| tape.input(&Tensor::from_slice(c, [c.len()])))
            .collect();
        let y = apply(info, &x);
        let g = wengert_autograd::grad_many(y.sum(), &x);
        let labels = ["y", "g0", "g1"];
        for ((v, label), expected) in std::iter::once(&y).chain(&g).zip(labels).zip(fields) {
            let expected = expected.split(' ').map(|e| e.parse::<f64>().unwrap());
            for (i, (found, e)) in v.value().iter().zip(expected).enumerate() {
                let same = found.is_nan() && e.is_nan()
                    || found == e
                    || e.is_finite() && (found - e).abs() <= 1e-9 * e.abs();
                let at = |k: usize| columns.get(k).map_or(0.0, |c| c[i]);
                let known = (DIFFERENT.iter())
                    .position(|d| d.0 == name && d.1 == label && d.2(at(0), at(1)));
                match known {
                    Some(k) => used[k].push(same),
                    None if !same => {
                        let at: Vec<f64> = columns.iter().map(|c| c[i]).collect();
                        failed += &format!("{name} {label} at {at:?}: {found:e}, PyTorch {e:e}\n");
                    }
                    None => {}
                }
            }
        }
    }
    assert!(rows > 90, "{rows}");
    assert!(failed.is_empty(), "{failed}");
    for (d, same) in DIFFERENT.iter().zip(&used) {
        let idle = same.is_empty() || same.contains(&true);
        assert!(!idle, "{} {}: no difference where one is listed", d.0, d.1);
    }
}

#[test]
fn views_give_the_bits_of_contiguous_copies() {
    fn check<T: Float>(info: &ElemInfo) {
        let make = |k: usize, n: usize| -> Vec<T> {
            random(17 + k as u64, n, info.domain[k])
                .into_iter()
                .map(T::from_f64)
                .collect()
        };
        let tape = Tape::<T>::inference();
        let views: Vec<_> = (0..info.arity)
            .map(|k| {
                let whole = tape.input(&Tensor::from_vec(make(k, 61 * 90), [61, 90]));
                match k {
                    // Permuted and stepped, expanded, sliced.
                    0 => whole.t().slice(0, 1, 90, 2).narrow(1, 3, 60),
                    1 => whole
                        .narrow(0, 5, 6)
                        .narrow(1, 0, 57)
                        .broadcast_to([45, 57]),
                    _ => whole.narrow(0, 7, 52).narrow(1, 9, 66),
                }
            })
            .collect();
        let views: Vec<_> = (views.iter().enumerate())
            .map(|(k, v)| match k {
                1 => v.narrow(0, 0, 1).broadcast_to([45, 57]),
                _ => *v,
            })
            .collect();
        let copies: Vec<_> = views
            .iter()
            .map(|v| tape.input(&v.value().copy()))
            .collect();
        let bits = |v: Var<'_, T>| -> Vec<u64> {
            v.value().iter().map(|x| x.as_f64().to_bits()).collect()
        };
        let run = |args: &[Var<'_, T>]| {
            let y = apply(info, args);
            let g = wengert_autograd::grad_many(y.sum(), args);
            std::iter::once(bits(y))
                .chain(g.into_iter().map(bits))
                .collect::<Vec<_>>()
        };
        assert!(run(&views) == run(&copies), "{}", info.name);
    }
    for info in ELEMENTWISE {
        check::<f64>(info);
        check::<f32>(info);
    }
}

/// A block of ordinary arguments may take a faster form of a function; the bits must be those of the other form.
#[test]
fn bits_do_not_depend_on_the_neighbours() {
    fn check<T: Float>(info: &ElemInfo) {
        // A block and more for the bounds of each function.
        let plain: Vec<T> = (random(3, 6000, (0.001, 60.0)).into_iter())
            .chain(random(5, 6000, (-3.0, 3.0)))
            .chain(random(6, 6000, (-40.0, 40.0)))
            .chain(random(7, 6000, (3.3, 3.6)))
            .chain(random(8, 6000, (-3.8, -3.5)))
            .chain(random(4, 500, (1e3, 3e4)))
            .map(T::from_f64)
            .collect();
        let run = |v: &[T]| -> Vec<u64> {
            let tape = Tape::<T>::inference();
            let x = tape.input(&Tensor::from_slice(v, [v.len()]));
            apply(info, &[x])
                .value()
                .iter()
                .map(|x| x.as_f64().to_bits())
                .collect()
        };
        let alone = run(&plain);
        for strange in [-1e30, f64::INFINITY, f64::NAN, 1e-40] {
            let mixed: Vec<T> = (plain.chunks(100))
                .flat_map(|c| c.iter().copied().chain([T::from_f64(strange)]))
                .collect();
            let mut found = run(&mixed);
            let mut at = 0;
            found.retain(|_| {
                at += 1;
                at % 101 != 0
            });
            assert!(found == alone, "{} beside {strange}", info.name);
        }
    }
    for info in ELEMENTWISE.iter().filter(|i| i.arity == 1) {
        check::<f32>(info);
        check::<f64>(info);
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for info in ELEMENTWISE {
        let inputs: Vec<Tensor<f32>> = (0..info.arity)
            .map(|k| {
                // More than one chunk of work, and an operand that is broadcast.
                let shape = if k == 1 { [1, 997] } else { [101, 997] };
                let n = shape[0] * shape[1];
                let v = random(23 + k as u64, n, info.domain[k]);
                Tensor::from_vec(v.into_iter().map(|x| x as f32).collect(), shape)
            })
            .collect();
        let run = || {
            let tape = Tape::<f32>::inference();
            let x: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
            let y = apply(info, &x);
            let g = wengert_autograd::grad_many((y * y).sum(), &x);
            std::iter::once(&y)
                .chain(&g)
                .map(|v| v.value().iter().map(f32::to_bits).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let mut first = None;
        for threads in 1..=4 {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let now = pool.install(run);
            match &first {
                None => first = Some(now),
                Some(one) => assert!(*one == now, "{}: {threads} threads", info.name),
            }
        }
    }
}

/// The whole suite of this file with the other instruction sets of this machine.
#[test]
fn other_instruction_sets() {
    dispatch::run_again();
}
