//! The property suite over the table of structured operations.

mod dispatch;
mod registry;
#[path = "registry/vmap.rs"]
mod vmap;

use registry::{CASES, Case};
use wengert_autograd::{
    Float, GradCheckOptions, Param, Tape, Tensor, Var, gradcheck_with, vjp_many,
};

type Fun<T> = for<'t> fn(&[Var<'t, T>]) -> Var<'t, T>;

fn bits<T: Float>(v: &[T]) -> Vec<u64> {
    v.iter().map(|x| x.as_f64().to_bits()).collect()
}

/// Value and gradients (for fixed random cotangents) of a case.
fn run<T: Float>(tape: &Tape<T>, name: &str, f: Fun<T>, inputs: &[Tensor<T>]) -> Vec<Vec<T>> {
    let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
    let y = f(&vars);
    let c = registry::numbers(registry::hash(name) ^ 99, y.numel(), (-1.0, 1.0));
    let c = Tensor::from_vec(c.iter().map(|&x| T::from_f64(x)).collect(), y.shape());
    let g = vjp_many(&[y], &[tape.input(&c)], &vars);
    let mut all = vec![y.value().to_vec()];
    for (g, x) in g.iter().zip(inputs) {
        assert_eq!(g.value().shape(), x.shape(), "{name}: shape of a gradient");
        all.push(g.value().to_vec());
    }
    all
}

fn narrow(x: &Tensor<f64>) -> Tensor<f32> {
    x.map(|v| v as f32)
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = CASES.iter().map(|c| c.name).collect();
    names.sort_unstable();
    names.windows(2).for_each(|w| assert_ne!(w[0], w[1]));
}

#[test]
fn derivatives_of_order_one_and_two() {
    let mut failed = String::new();
    for case in CASES {
        let check = gradcheck_with(case.f64, &case.samples(), GradCheckOptions::default());
        if !check.is_ok() {
            failed += &format!(
                "{}: {:e} > {:e}: {}\n",
                case.name, check.worst, check.tolerance, check.at
            );
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn f32_agrees_with_f64() {
    for case in CASES {
        let narrowed: Vec<_> = case.samples().iter().map(narrow).collect();
        let widened: Vec<_> = narrowed.iter().map(|x| x.map(f64::from)).collect();
        let a = run(&Tape::inference(), case.name, case.f64, &widened);
        let b = run(&Tape::inference(), case.name, case.f32, &narrowed);
        for (k, (a, b)) in a.iter().zip(&b).enumerate() {
            let scale = a.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                assert!(
                    (x - f64::from(*y)).abs() <= 2e-4 * scale,
                    "{} result {k}, element {i}: f64 {x:e}, f32 {y:e}",
                    case.name
                );
            }
        }
    }
}

/// The same values under other strides.
fn layouts<T: Float>(x: &Tensor<T>) -> Vec<Tensor<T>> {
    let rank = x.rank() as isize;
    let back: Vec<isize> = (0..rank).rev().collect();
    let mut all = vec![x.permute(&back).copy().permute(&back)];
    if rank > 0 {
        // Every other element of a tensor twice as long, read backwards.
        let n = x.shape()[rank as usize - 1];
        let mut shape = x.layout().shape.clone();
        *shape.last_mut().unwrap() = 2 * n;
        let wide = Tensor::from_fn(shape, |i| {
            let mut j = i.to_vec();
            let last = j.last_mut().unwrap();
            if *last % 2 == 0 {
                return T::nan();
            }
            *last = n - 1 - *last / 2;
            x.get(&j)
        });
        if n > 0 {
            let layout = wide.layout().slice(rank as usize - 1, 2 * n - 1, n, -2);
            all.push(wide.with_layout(layout).unwrap());
        }
    }
    for y in &all {
        assert!(y.to_vec() == x.to_vec());
    }
    all
}

#[test]
fn strided_views_give_the_bits_of_contiguous_copies() {
    fn check<T: Float>(case: &Case, f: Fun<T>, inputs: &[Tensor<T>]) {
        let plain = run(&Tape::inference(), case.name, f, inputs);
        for which in 0..2 {
            let views: Vec<_> = inputs
                .iter()
                .map(|x| layouts(x).get(which).unwrap_or(x).clone())
                .collect();
            let other = run(&Tape::inference(), case.name, f, &views);
            for (k, (a, b)) in plain.iter().zip(&other).enumerate() {
                assert_eq!(bits(a), bits(b), "{} result {k}, layout {which}", case.name);
            }
        }
    }
    for case in CASES {
        let inputs = case.samples();
        check(case, case.f64, &inputs);
        let inputs: Vec<_> = inputs.iter().map(narrow).collect();
        check(case, case.f32, &inputs);
    }
}

#[test]
fn fused_equals_op_by_op_in_poisoned_memory() {
    for case in CASES {
        let inputs: Vec<_> = case.samples().iter().map(narrow).collect();
        let go = |fuse: bool| {
            let mut tape = Tape::<f32>::inference();
            tape.set_fusion(fuse);
            tape.set_poison(true);
            run(&tape, case.name, case.f32, &inputs)
        };
        for (k, (a, b)) in go(true).iter().zip(go(false)).enumerate() {
            assert_eq!(bits(a), bits(&b), "{} result {k}", case.name);
        }
    }
}

#[test]
fn a_repeated_step_gives_the_same_bits_with_the_same_plan() {
    // New random slopes at every step are the point of rrelu.
    for case in CASES.iter().filter(|c| c.name != "rrelu") {
        let inputs = case.samples();
        let mut tape = Tape::<f64>::training(1);
        tape.set_poison(true);
        let first = run(&tape, case.name, case.f64, &inputs);
        tape.reset();
        let plans = tape.counters().plans;
        let second = run(&tape, case.name, case.f64, &inputs);
        assert_eq!(tape.counters().plans, plans, "{}: planned again", case.name);
        for (a, b) in first.iter().zip(&second) {
            assert_eq!(bits(a), bits(b), "{}", case.name);
        }
    }
}

#[test]
fn derivatives_inside_a_no_grad_region() {
    // The gradient as a number does not depend on the region that records it.
    for case in CASES {
        let tape = Tape::<f64>::inference();
        let inputs = case.samples();
        let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
        let y = (case.f64)(&vars).square().sum();
        let g = wengert_autograd::grad_many(y, &vars);
        let gg = |v: &[Var<'_, f64>]| -> Vec<Vec<f64>> {
            v.iter().map(|v| v.value().to_vec()).collect()
        };
        let sums = g
            .iter()
            .map(|g| g.square().sum())
            .reduce(|a, b| a + b)
            .unwrap();
        let outside = gg(&wengert_autograd::grad_many(sums, &vars));
        let inside = tape.no_grad(|| wengert_autograd::grad_many(sums, &vars));
        assert_eq!(outside, gg(&inside), "{}", case.name);
    }
}

#[test]
fn forward_mode_is_the_adjoint_of_reverse_mode() {
    for case in CASES {
        let tape = Tape::<f64>::inference();
        let x: Vec<_> = case.samples().iter().map(|x| tape.input(x)).collect();
        let y = (case.f64)(&x);
        let random = |salt: u64, like: &Var<'_, f64>| {
            let v = registry::numbers(registry::hash(case.name) ^ salt, like.numel(), (-1.0, 1.0));
            tape.input(&Tensor::from_vec(v, like.shape()))
        };
        let u = random(5, &y);
        let v: Vec<_> = (x.iter().enumerate())
            .map(|(k, x)| random(6 + k as u64, x))
            .collect();
        let g = vjp_many(&[y], &[u], &x);
        let right = (g.iter().zip(&v))
            .map(|(&g, &v)| (g * v).sum().item())
            .sum::<f64>();
        let size = (g.iter().zip(&v))
            .map(|(&g, &v)| (g * v).abs().sum().item())
            .sum::<f64>();
        let left = (x.iter().zip(&v))
            .map(|(&x, &v)| (u * wengert_autograd::jvp(y, [x], [v])).sum().item())
            .sum::<f64>();
        assert!(
            (left - right).abs() <= 1e-12 * size.max(1.0),
            "{}: {left:e} against {right:e}",
            case.name
        );
    }
}

/// The same tests with the other instruction sets of this machine.
#[test]
fn other_instruction_sets() {
    dispatch::run_again();
}

/// Two random projections of a tensor, as the reference generator takes them.
fn project(name: &str, v: &[f64]) -> [f64; 2] {
    [0, 1].map(|k| {
        let seed = registry::hash(name).wrapping_add(1000 + k);
        let w = registry::numbers(seed, v.len(), (-1.0, 1.0));
        v.iter().zip(w).map(|(v, w)| v * w).sum()
    })
}

/// `tests/reference/structured.py` wrote the file, with PyTorch in f64.
#[test]
fn values_and_derivatives_agree_with_pytorch() {
    let text = include_str!("reference/structured.txt");
    let mut failed = String::new();
    let mut seen = 0;
    for line in text.lines() {
        let mut fields = line.split('|');
        let name = fields.next().unwrap();
        let Some(case) = CASES.iter().find(|c| c.name == name) else {
            panic!("no case {name}: run tests/reference/structured.py");
        };
        seen += 1;
        let dims: Vec<usize> = (fields.next().unwrap().split(','))
            .filter(|d| !d.is_empty())
            .map(|d| d.parse().unwrap())
            .collect();
        let tape = Tape::<f64>::inference();
        let inputs = case.samples();
        let vars: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
        let y = (case.f64)(&vars);
        assert_eq!(y.value().shape(), dims, "{name}");
        let h = registry::hash(name);
        let input = |seed: u64, like: &Var<'_, f64>| {
            let v = registry::numbers(seed, like.numel(), (-1.0, 1.0));
            tape.input(&Tensor::from_vec(v, like.shape()))
        };
        let g = vjp_many(&[y], &[input(h ^ 99, &y)], &vars);
        let w: Vec<_> = (g.iter().enumerate())
            .map(|(k, g)| input((h ^ 77).wrapping_add(k as u64), g))
            .collect();
        let s = vjp_many(&g, &w, &vars);
        let all: Vec<_> = std::iter::once(&y).chain(&g).chain(&s).collect();
        for (k, v) in all.iter().enumerate() {
            let v = v.value().to_vec();
            let scale = v.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            let found = project(name, &v);
            let expected = fields
                .next()
                .unwrap()
                .split(' ')
                .map(|x| x.parse::<f64>().unwrap());
            for (a, b) in found.iter().zip(expected) {
                let close = (a - b).abs() <= 1e-9 * scale;
                if !close {
                    failed += &format!("{name}, result {k}: {a:e}, PyTorch {b:e}\n");
                }
            }
        }
    }
    assert_eq!(seen, CASES.len(), "run tests/reference/structured.py");
    assert!(failed.is_empty(), "{failed}");
}

/// Names of the public methods of `Var` and `Tape` in a source file.
fn methods(source: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in source.lines() {
        if line.starts_with("impl") {
            inside = line.contains("Var<") && !line.contains(" for ") || line.contains("Tape<T> {");
        }
        if line.starts_with('}') {
            inside = false;
        }
        if inside && let Some(rest) = line.trim_start().strip_prefix("pub fn ") {
            names.push(&rest[..rest.find(['(', '<']).unwrap()]);
        }
    }
    names
}

#[test]
fn every_public_operation_has_a_case() {
    fn read(dir: &std::path::Path, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut files = Vec::new();
    read(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"),
        &mut files,
    );
    assert!(files.len() > 30, "{}", files.len());
    // Tables of their own: random numbers, and recurrences with their many options.
    let others = [include_str!("random.rs"), include_str!("recurrent.rs")];
    let elsewhere = [
        // Ends the flow of gradients: tests/tape.rs.
        "detach",
    ];
    let table = include_str!("registry/mod.rs");
    let missing: Vec<_> = (files.iter().flat_map(|f| methods(f)))
        .filter(|name| {
            let called = |text: &str| {
                text.contains(&format!(".{name}(")) || text.contains(&format!("Var::{name}("))
            };
            !elsewhere.contains(name) && !called(table) && !others.iter().any(|t| called(t))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "no case in tests/registry for {missing:?}"
    );
    // The search sees the operations of folders, too.
    let all: Vec<_> = files.iter().flat_map(|f| methods(f)).collect();
    for name in ["lstm", "gru", "rnn", "svd", "max_pool", "dropout", "sum"] {
        assert!(all.contains(&name), "{name} was not seen");
    }
}

#[test]
fn notes_about_finite_gradients_never_lie() {
    for case in CASES {
        for bad in [0.5, f64::NAN, f64::INFINITY, 1e308, 0.0] {
            let params: Vec<Param<f64>> = (case.samples().into_iter().enumerate())
                .map(|(k, mut t)| {
                    if k == 0 && t.numel() > 0 {
                        t.as_mut_slice()[0] = bad;
                    }
                    Param::new(t)
                })
                .collect();
            let tape = Tape::training(1);
            let vars: Vec<Var<'_, f64>> = params.iter().map(|p| tape.param(p)).collect();
            let y = (case.f64)(&vars);
            let g = y.square().sum().backward();
            let finite: Vec<bool> = (g.iter())
                .map(|(_, t)| t.iter().all(|x| x.is_finite()))
                .collect();
            for (at, &finite) in finite.iter().enumerate() {
                assert!(finite || !g.known_finite(at), "{}: {at}, {bad}", case.name);
            }
            // Where nothing is wrong, that is known of whatever is small.
            for at in 0..g.len() {
                let fine = finite.iter().all(|f| *f);
                assert!(!fine || g.known_finite(at), "{}: {at}, {bad}", case.name);
            }
        }
    }
}
