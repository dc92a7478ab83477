//! The property suite over the elementwise table: every row, by enumeration.

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
    // PyTorch computes these in f32 (hardsigmoid), or less well than the comparison asks (polygamma), or not at all.
    let without = [
        "digamma",
        "polygamma",
        "prefer",
        "copysign_grad",
        "hardsigmoid",
    ];
    let missing: Vec<_> = (ELEMENTWISE.iter().map(|i| i.name))
        .filter(|n| !seen.contains(n) && !without.contains(n))
        .collect();
    assert!(missing.is_empty(), "no reference for {missing:?}");
}
