//! What the bits of a product do not depend on: threads, strides, what else is computed in the same call.

use crate::matrices::{levels, random};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use wengert_tensor::Real;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm, gemm_batched_at};
use wengert_tensor::simd::{Level, level};

fn bits<T: Real>(
    threads: usize,
    batch: usize,
    (m, n, k): (usize, usize, usize),
    nt: bool,
) -> Vec<u64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(15);
    let a = random::<T>(batch * m * k, &mut rng);
    let b = random::<T>(batch * k * n, &mut rng);
    let bias = random::<T>(n, &mut rng);
    let mut c = random::<T>(batch * m * n, &mut rng);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let bv = if nt {
        MatRef::row_major(&b, k).t()
    } else {
        MatRef::row_major(&b, n)
    };
    let strides = ((m * k) as isize, (k * n) as isize, m * n);
    pool.install(|| {
        gemm_batched_at(
            level(),
            batch,
            strides,
            m,
            n,
            k,
            T::from_f64(0.7),
            MatRef::row_major(&a, k),
            bv,
            T::from_f64(0.3),
            MatMut::row_major(&mut c, n),
            Epilogue::BiasRow(&bias),
        );
    });
    c.iter().map(|x| x.as_f64().to_bits()).collect()
}

#[test]
fn bits_do_not_depend_on_threads() {
    let shapes = [
        (1, (64, 300, 784)),
        (1, (300, 784, 64)),
        (1, (64, 10, 3000)),
        (1, (1, 3000, 2000)),
        (1, (3000, 1, 2000)),
        (1, (3, 2000, 999)),
        (1, (517, 523, 541)),
        (1, (16, 16, 70_000)),
        (9, (33, 65, 70)),
        (2, (100, 200, 300)),
        (100, (20, 20, 20)),
        (50, (1, 130, 65)),
    ];
    for (batch, shape) in shapes {
        for nt in [false, true] {
            let one = bits::<f32>(1, batch, shape, nt);
            let one64 = bits::<f64>(1, batch, shape, nt);
            for threads in [2, 3, 4] {
                assert!(
                    one == bits::<f32>(threads, batch, shape, nt),
                    "f32 {batch} x {shape:?} {nt} on {threads}"
                );
                assert!(
                    one64 == bits::<f64>(threads, batch, shape, nt),
                    "f64 {batch} x {shape:?} {nt} on {threads}"
                );
            }
        }
    }
}

/// One product under all layouts of the operands and the result, alone and as a batch of two, the second operand its own or
/// shared.
fn bits_of_layouts<T: Real>(
    at: Level,
    (m, n, k): (usize, usize, usize),
    (alpha, beta): (f64, f64),
) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(17);
    let batch = 2;
    let a = random::<T>(batch * m * k, &mut rng);
    let b = random::<T>(k * n, &mut rng);
    let old = random::<T>(batch * m * n, &mut rng);
    let bias = random::<T>(n, &mut rng);
    // Rows in order, columns in order, neither; the matrices of a batch apart or not.
    let strides = |rows: usize, cols: usize, lay: usize| -> (isize, isize, usize) {
        let (r, c) = (rows as isize, cols as isize);
        match lay {
            0 => (c, 1, rows * cols),
            1 => (1, r, rows * cols + 3),
            _ => (2 * c + 1, 2, rows * (2 * cols + 1)),
        }
    };
    let put = |from: &[T], rows: usize, cols: usize, lay: usize| {
        let (rs, cs, step) = strides(rows, cols, lay);
        let count = from.len() / (rows * cols);
        let mut data = vec![T::from_f64(f64::NAN); count * step];
        for (i, &x) in from.iter().enumerate() {
            let (s, r, c) = (i / (rows * cols), i / cols % rows, i % cols);
            data[s * step + r * rs as usize + c * cs as usize] = x;
        }
        (data, rs, cs, step)
    };
    let mut want: Option<Vec<u64>> = None;
    for (la, lb, lc, own) in (0..3)
        .flat_map(|a| (0..3).flat_map(move |b| (0..3).map(move |c| (a, b, c))))
        .flat_map(|(a, b, c)| [(a, b, c, false), (a, b, c, true)])
    {
        if m * n * k > 100_000 && lc > 0 {
            continue;
        }
        let (av, rs, cs, sa) = put(&a, m, k, la);
        let am = MatRef {
            data: &av,
            offset: 0,
            rs,
            cs,
        };
        let twice = [&b[..], &b[..]].concat();
        let (bv, rs, cs, sb) = put(if own { &twice } else { &b }, k, n, lb);
        let bm = MatRef {
            data: &bv,
            offset: 0,
            rs,
            cs,
        };
        let sb = if own { sb } else { 0 };
        let (mut cv, rs, cs, sc) = put(&old, m, n, lc);
        let cm = MatMut {
            data: &mut cv,
            offset: 0,
            rs,
            cs,
        };
        let steps = (sa as isize, sb as isize, sc);
        let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
        let end = Epilogue::BiasRow(&bias);
        gemm_batched_at(at, batch, steps, m, n, k, alpha, am, bm, beta, cm, end);
        let got: Vec<u64> = (0..batch * m * n)
            .map(|i| (i / (m * n), i / n % m, i % n))
            .map(|(s, r, c)| cv[s * sc + r * rs as usize + c * cs as usize])
            .map(|x| x.as_f64().to_bits())
            .collect();
        let want = want.get_or_insert_with(|| got.clone());
        assert!(
            got == *want,
            "{at:?} {m}x{n}x{k}, layouts {la} {lb} {lc}, own {own}, {alpha:?} {beta:?}"
        );
    }
}

#[test]
fn bits_do_not_depend_on_strides() {
    let narrow =
        [1, 2, 4, 5].map(|m| [7, 8, 16, 33, 64, 67, 130].map(|k| [(m, 60, k), (19, m, k)]));
    let shapes = narrow.into_iter().flatten().flatten().chain([
        (1, 1, 300),
        (3, 4, 200),
        (40, 33, 64),
        (9, 21, 1500),
        (140, 30, 1030),
        (3, 7, 1000),
        // Long operands that no cache holds, of many short lines and of few long ones, beside one to four columns.
        (1, 4500, 66),
        (4, 1100, 131),
        (2, 100, 4000),
        (1100, 3, 515),
        (270, 1, 1601),
        // Very large operands beside few rows or columns.
        (16, 1024, 600),
        (700, 100, 620),
        // A right operand that is read where it lies, beside one that is packed.
        (30, 100, 140),
        (100, 50, 70),
    ]);
    for shape in shapes {
        for at in levels() {
            for factors in [(1.0, 0.0), (0.7, 0.3)] {
                if shape.0 * shape.1 * shape.2 > 100_000 && factors.1 > 0.0 {
                    continue;
                }
                bits_of_layouts::<f32>(at, shape, factors);
                bits_of_layouts::<f64>(at, shape, factors);
            }
        }
    }
}

/// Products of a batch that shares an operand against each of them alone, on one thread and on two.
fn shared<T: Real>(at: Level, batch: usize, (m, n, k): (usize, usize, usize), left: bool) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(18);
    let (steps_a, steps_b) = if left { (0, k * n) } else { (m * k, 0) };
    let a = random::<T>(if left { m * k } else { batch * m * k }, &mut rng);
    let b = random::<T>(if left { batch * k * n } else { k * n }, &mut rng);
    let bias = random::<T>(if left { m } else { n }, &mut rng);
    let ends = [
        Epilogue::None,
        if left {
            Epilogue::BiasCol(&bias)
        } else {
            Epilogue::BiasRowRelu(&bias)
        },
    ];
    for (transposed, end) in [false, true].into_iter().flat_map(|t| ends.map(|e| (t, e))) {
        let run = |c: &mut [T], first: usize, batch: usize| {
            let mut av = MatRef::row_major(&a, k);
            let mut bv = MatRef::row_major(&b, n);
            if transposed {
                (bv.rs, bv.cs) = (1, k as isize);
                (av.rs, av.cs) = if left {
                    (1, m as isize)
                } else {
                    (av.rs, av.cs)
                };
            }
            (av.offset, bv.offset) = (first * steps_a, first * steps_b);
            let strides = (steps_a as isize, steps_b as isize, m * n);
            let c = MatMut::row_major(c, n);
            gemm_batched_at(at, batch, strides, m, n, k, T::ONE, av, bv, T::ZERO, c, end);
        };
        let mut want = vec![T::ZERO; batch * m * n];
        for (i, c) in want.chunks_mut(m * n).enumerate() {
            run(c, i, 1);
        }
        for threads in [1, 2] {
            let mut got = vec![T::ZERO; batch * m * n];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| run(&mut got, 0, batch));
            let same = got
                .iter()
                .zip(&want)
                .all(|(x, y)| x.as_f64().to_bits() == y.as_f64().to_bits());
            assert!(
                same,
                "{at:?} {batch} x {m}x{n}x{k}, left {left}, transposed {transposed}, {threads} threads"
            );
        }
    }
}

#[test]
fn a_shared_operand_changes_no_bits() {
    for at in levels() {
        for (batch, shape) in [
            (2, (3, 50, 64)),
            (9, (1, 70, 130)),
            (30, (1, 100, 1100)),
            (11, (2, 33, 1029)),
            (5, (4, 100, 2049)),
            (140, (1, 20, 70)),
            (3, (1, 17, 5000)),
            (20, (1, 40, 30)),
        ] {
            let (m, n, k) = shape;
            shared::<f32>(at, batch, shape, false);
            shared::<f64>(at, batch, shape, false);
            shared::<f32>(at, batch, (n, m, k), true);
            shared::<f64>(at, batch, (n, m, k), true);
        }
    }
}

#[test]
fn calls_from_many_threads_at_once() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(16);
    let a = random::<f32>(200 * 300, &mut rng);
    let b = random::<f32>(300 * 250, &mut rng);
    let run = || {
        let mut c = vec![0.0; 200 * 250];
        gemm(
            200,
            250,
            300,
            1.0,
            MatRef::row_major(&a, 300),
            MatRef::row_major(&b, 250),
            0.0,
            MatMut::row_major(&mut c, 250),
            Epilogue::None,
        );
        c
    };
    let want = run();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..10).for_each(|_| assert!(run() == want)));
        }
    });
}
