//! Matrix multiplication against naive loops: sizes, layouts, batches, epilogues, levels, threads.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use wengert_tensor::Real;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm, gemm_batched_at};
use wengert_tensor::simd::{Level, level};

const SIZES: [usize; 16] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70];

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&l| l <= level())
}

fn random<T: Real>(n: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<T> {
    (0..n)
        .map(|_| T::from_f64(rng.random::<f64>() * 2.0 - 1.0))
        .collect()
}

/// A matrix in memory of its own, in some layout.
#[derive(Clone)]
struct Mat<T> {
    data: Vec<T>,
    offset: usize,
    rs: isize,
    cs: isize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Lay {
    Row,
    Col,
    /// Rows further apart than they are long.
    RowPadded,
    ColPadded,
    /// No stride of one.
    Wide,
    RowsBackwards,
    BothBackwards,
    /// One row for all.
    RowBroadcast,
    ColBroadcast,
    /// One element for all.
    Scalar,
}

const READ: [Lay; 10] = [
    Lay::Row,
    Lay::Col,
    Lay::RowPadded,
    Lay::ColPadded,
    Lay::Wide,
    Lay::RowsBackwards,
    Lay::BothBackwards,
    Lay::RowBroadcast,
    Lay::ColBroadcast,
    Lay::Scalar,
];
const WRITE: [Lay; 7] = [
    Lay::Row,
    Lay::Col,
    Lay::RowPadded,
    Lay::ColPadded,
    Lay::Wide,
    Lay::RowsBackwards,
    Lay::BothBackwards,
];

impl<T: Real> Mat<T> {
    fn new(lay: Lay, rows: usize, cols: usize, rng: &mut Xoshiro256PlusPlus) -> Self {
        let (r, c) = (rows as isize, cols as isize);
        let (rs, cs) = match lay {
            Lay::Row => (c, 1),
            Lay::Col => (1, r),
            Lay::RowPadded => (c + 5, 1),
            Lay::ColPadded => (1, r + 3),
            Lay::Wide => (3 * c + 1, 3),
            Lay::RowsBackwards => (-c, 1),
            Lay::BothBackwards => (-2, -(2 * r + 1)),
            Lay::RowBroadcast => (0, 1),
            Lay::ColBroadcast => (1, 0),
            Lay::Scalar => (0, 0),
        };
        if rows == 0 || cols == 0 {
            return Mat {
                data: Vec::new(),
                offset: 0,
                rs,
                cs,
            };
        }
        let (dr, dc) = ((r - 1) * rs, (c - 1) * cs);
        let low = dr.min(0) + dc.min(0);
        let high = dr.max(0) + dc.max(0);
        // Exactly the elements spanned, plus an offset: whatever is read outside is outside of the allocation.
        let offset = (3 - low) as usize;
        Mat {
            data: random((high + 1) as usize + offset, rng),
            offset,
            rs,
            cs,
        }
    }
    fn get(&self, i: usize, j: usize) -> T {
        self.data[(self.offset as isize + i as isize * self.rs + j as isize * self.cs) as usize]
    }
    fn view(&self) -> MatRef<'_, T> {
        MatRef {
            data: &self.data,
            offset: self.offset,
            rs: self.rs,
            cs: self.cs,
        }
    }
    fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut {
            data: &mut self.data,
            offset: self.offset,
            rs: self.rs,
            cs: self.cs,
        }
    }
}

/// Whether element `at` of the memory belongs to the matrix.
fn belongs<T>(m: &Mat<T>, rows: usize, cols: usize, at: usize) -> bool {
    (0..rows).any(|i| {
        let first = m.offset as isize + i as isize * m.rs;
        let d = at as isize - first;
        if cols == 1 {
            d == 0
        } else {
            d % m.cs == 0 && (0..cols as isize).contains(&(d / m.cs))
        }
    })
}

/// Checks one call against naive sums in f64, and that nothing else was written.
fn check<T: Real>(
    at: Level,
    (m, n, k): (usize, usize, usize),
    (alpha, beta): (f64, f64),
    a: &Mat<T>,
    b: &Mat<T>,
    c: &Mat<T>,
    epilogue: Epilogue<'_, T>,
) {
    let mut out = c.clone();
    let (al, be) = (T::from_f64(alpha), T::from_f64(beta));
    gemm_batched_at(
        at,
        1,
        (0, 0, 0),
        m,
        n,
        k,
        al,
        a.view(),
        b.view(),
        be,
        out.view_mut(),
        epilogue,
    );
    let eps = T::epsilon().as_f64();
    for i in 0..m {
        for j in 0..n {
            let (mut sum, mut size) = (0.0, 0.0);
            for p in 0..k {
                let t = a.get(i, p).as_f64() * b.get(p, j).as_f64();
                sum += t;
                size += t.abs();
            }
            let mut want = alpha * sum;
            size *= alpha.abs();
            if beta != 0.0 {
                want += beta * c.get(i, j).as_f64();
                size += (beta * c.get(i, j).as_f64()).abs();
            }
            let (bias, relu) = match epilogue {
                Epilogue::None => (None, false),
                Epilogue::Relu => (None, true),
                Epilogue::BiasRow(v) => (Some(v[j]), false),
                Epilogue::BiasCol(v) => (Some(v[i]), false),
                Epilogue::BiasRowRelu(v) => (Some(v[j]), true),
                Epilogue::BiasColRelu(v) => (Some(v[i]), true),
            };
            if let Some(v) = bias {
                want += v.as_f64();
                size += v.as_f64().abs();
            }
            if relu {
                want = want.max(0.0);
            }
            // The N10 bound, and a few roundings for alpha, beta and bias.
            let extra = if alpha == 1.0 && beta == 0.0 && bias.is_none() {
                0.0
            } else {
                3.0
            };
            let bound = (2.0 * k as f64 + extra) * eps * size;
            let got = out.get(i, j).as_f64();
            assert!(
                (got - want).abs() <= bound,
                "{at:?} {m}x{n}x{k} at ({i}, {j}): {got} instead of {want}, bound {bound}, strides a {:?} b {:?} c {:?}",
                (a.rs, a.cs),
                (b.rs, b.cs),
                (c.rs, c.cs),
            );
        }
    }
    if m * n < 400 {
        for (x, (new, old)) in out.data.iter().zip(&c.data).enumerate() {
            let same = new.as_f64().to_bits() == old.as_f64().to_bits();
            assert!(
                same || belongs(c, m, n, x),
                "{at:?} {m}x{n}x{k}: wrote element {x} outside of C"
            );
        }
    }
}

fn all_sizes<T: Real>(a_lay: Lay, b_lay: Lay, c_lay: Lay) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(10);
    for at in levels() {
        for m in SIZES {
            for k in SIZES {
                let a = Mat::<T>::new(a_lay, m, k, &mut rng);
                for n in SIZES {
                    let b = Mat::new(b_lay, k, n, &mut rng);
                    let c = Mat::new(c_lay, m, n, &mut rng);
                    check(at, (m, n, k), (1.0, 0.0), &a, &b, &c, Epilogue::None);
                }
            }
        }
    }
}

#[test]
fn sizes_f32_nn() {
    all_sizes::<f32>(Lay::Row, Lay::Row, Lay::Row);
}
#[test]
fn sizes_f32_nt() {
    all_sizes::<f32>(Lay::Row, Lay::Col, Lay::Row);
}
#[test]
fn sizes_f32_tn() {
    all_sizes::<f32>(Lay::Col, Lay::Row, Lay::Row);
}
#[test]
fn sizes_f32_tt_into_columns() {
    all_sizes::<f32>(Lay::Col, Lay::Col, Lay::Col);
}
#[test]
fn sizes_f64_nn() {
    all_sizes::<f64>(Lay::Row, Lay::Row, Lay::Row);
}
#[test]
fn sizes_f64_nt() {
    all_sizes::<f64>(Lay::Row, Lay::Col, Lay::Row);
}
#[test]
fn sizes_f64_tn_into_columns() {
    all_sizes::<f64>(Lay::Col, Lay::Row, Lay::Col);
}

fn layouts<T: Real>() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
    let sizes = [
        (1, 1, 1),
        (1, 9, 5),
        (9, 1, 5),
        (3, 5, 1),
        (5, 3, 7),
        (9, 20, 17),
        (35, 18, 33),
        (20, 67, 40),
    ];
    for at in levels() {
        for size @ (m, n, k) in sizes {
            for a_lay in READ {
                for b_lay in READ {
                    for c_lay in WRITE {
                        let a = Mat::<T>::new(a_lay, m, k, &mut rng);
                        let b = Mat::new(b_lay, k, n, &mut rng);
                        let c = Mat::new(c_lay, m, n, &mut rng);
                        check(at, size, (1.0, 0.0), &a, &b, &c, Epilogue::None);
                    }
                }
            }
        }
    }
}

#[test]
fn layouts_f32() {
    layouts::<f32>();
}
#[test]
fn layouts_f64() {
    layouts::<f64>();
}

fn factors_and_epilogues<T: Real>() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(12);
    for at in levels() {
        for size @ (m, n, k) in [
            (1, 1, 0),
            (5, 3, 0),
            (4, 37, 9),
            (37, 4, 9),
            (17, 33, 1),
            (33, 50, 70),
            (10, 20, 1100),
        ] {
            let row = random::<T>(n, &mut rng);
            let col = random::<T>(m, &mut rng);
            let epilogues = [
                Epilogue::None,
                Epilogue::Relu,
                Epilogue::BiasRow(&row),
                Epilogue::BiasCol(&col),
                Epilogue::BiasRowRelu(&row),
                Epilogue::BiasColRelu(&col),
            ];
            for (a_lay, b_lay, c_lay) in [
                (Lay::Row, Lay::Row, Lay::Row),
                (Lay::Row, Lay::Col, Lay::Row),
                (Lay::Col, Lay::Row, Lay::ColPadded),
                (Lay::Row, Lay::Row, Lay::Wide),
            ] {
                let a = Mat::new(a_lay, m, k, &mut rng);
                let b = Mat::new(b_lay, k, n, &mut rng);
                let c = Mat::new(c_lay, m, n, &mut rng);
                for epilogue in epilogues {
                    for factors in [
                        (1.0, 0.0),
                        (1.0, 1.0),
                        (-0.75, 0.0),
                        (2.5, -1.5),
                        (0.0, 2.0),
                    ] {
                        check(at, size, factors, &a, &b, &c, epilogue);
                    }
                }
            }
        }
    }
}

#[test]
fn factors_and_epilogues_f32() {
    factors_and_epilogues::<f32>();
}
#[test]
fn factors_and_epilogues_f64() {
    factors_and_epilogues::<f64>();
}

#[test]
fn nan_in_c_is_not_read_and_nan_in_operands_is_kept() {
    for at in levels() {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 40, 3),
            (40, 1, 3),
            (5, 7, 0),
            (13, 50, 20),
            (50, 50, 600),
        ] {
            for nt in [false, true] {
                let a = vec![1.0_f32; m * k];
                let mut b = vec![1.0_f32; k * n];
                let run = |b: &[f32], c: &mut [f32]| {
                    let bv = if nt {
                        MatRef::row_major(b, k).t()
                    } else {
                        MatRef::row_major(b, n)
                    };
                    gemm_batched_at(
                        at,
                        1,
                        (0, 0, 0),
                        m,
                        n,
                        k,
                        1.0,
                        MatRef::row_major(&a, k),
                        bv,
                        0.0,
                        MatMut::row_major(c, n),
                        Epilogue::Relu,
                    );
                };
                let mut c = vec![f32::NAN; m * n];
                run(&b, &mut c);
                assert!(c.iter().all(|&x| x == k as f32), "{at:?} {m}x{n}x{k}");
                if k == 0 {
                    continue;
                }
                // A NaN in one column of B reaches exactly this column, through zeros of A too.
                let (p, j) = (k / 2, n - 1);
                b[if nt { j * k + p } else { p * n + j }] = f32::NAN;
                run(&b, &mut c);
                for i in 0..m {
                    for jj in 0..n {
                        assert_eq!(
                            c[i * n + jj].is_nan(),
                            jj == j,
                            "{at:?} {m}x{n}x{k} ({i}, {jj})"
                        );
                    }
                }
            }
        }
        let mut c = [0.0_f32];
        let (zero, inf) = ([0.0], [f32::INFINITY]);
        gemm_batched_at(
            at,
            1,
            (0, 0, 0),
            1,
            1,
            1,
            1.0,
            MatRef::row_major(&zero, 1),
            MatRef::row_major(&inf, 1),
            0.0,
            MatMut::row_major(&mut c, 1),
            Epilogue::None,
        );
        assert!(c[0].is_nan(), "0 * inf");
    }
}

#[test]
fn batches() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(13);
    for at in levels() {
        for (batch, m, n, k) in [
            (0, 3, 3, 3),
            (1, 4, 5, 6),
            (3, 2, 16, 16),
            (5, 17, 9, 33),
            (7, 64, 64, 64),
            (2, 1, 50, 8),
        ] {
            for (broadcast_a, broadcast_b) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                for interleaved in [false, true] {
                    let a = random::<f32>(batch * m * k, &mut rng);
                    let b = random::<f32>(batch * k * n, &mut rng);
                    let mut c = random::<f32>(batch * m * n, &mut rng);
                    let (sa, sb) = (
                        if broadcast_a { 0 } else { m * k },
                        if broadcast_b { 0 } else { k * n },
                    );
                    // Interleaved: C has shape [m, batch, n].
                    let (rs, sc) = if interleaved {
                        (batch * n, n)
                    } else {
                        (n, m * n)
                    };
                    let cv = MatMut {
                        data: &mut c,
                        offset: 0,
                        rs: rs as isize,
                        cs: 1,
                    };
                    gemm_batched_at(
                        at,
                        batch,
                        (sa as isize, sb as isize, sc),
                        m,
                        n,
                        k,
                        1.0,
                        MatRef::row_major(&a, k),
                        MatRef::row_major(&b, n),
                        0.0,
                        cv,
                        Epilogue::None,
                    );
                    for s in 0..batch {
                        for i in 0..m {
                            for j in 0..n {
                                let want: f64 = (0..k)
                                    .map(|p| {
                                        f64::from(a[s * sa + i * k + p])
                                            * f64::from(b[s * sb + p * n + j])
                                    })
                                    .sum();
                                let got = f64::from(c[s * sc + i * rs + j]);
                                assert!(
                                    (want - got).abs() < 1e-5,
                                    "{at:?} {s} {i} {j}: {got} instead of {want}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Sizes that cross the borders of all blocks, as a function of few sums: A and B of rank two.
fn large<T: Real>(m: usize, n: usize, k: usize, a_lay: Lay, b_lay: Lay, c_lay: Lay) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(14);
    for at in levels() {
        let a = Mat::<T>::new(a_lay, m, k, &mut rng);
        let b = Mat::new(b_lay, k, n, &mut rng);
        let c = Mat::new(c_lay, m, n, &mut rng);
        let mut out = c.clone();
        gemm_batched_at(
            at,
            1,
            (0, 0, 0),
            m,
            n,
            k,
            T::ONE,
            a.view(),
            b.view(),
            T::ONE,
            out.view_mut(),
            Epilogue::None,
        );
        // Freivalds: C x = A (B x) for a random x finds any wrong element; and some elements exactly.
        let x = random::<f64>(n, &mut rng);
        let bx: Vec<f64> = (0..k)
            .map(|p| (0..n).map(|j| b.get(p, j).as_f64() * x[j]).sum())
            .collect();
        for i in 0..m {
            let want: f64 = (0..k).map(|p| a.get(i, p).as_f64() * bx[p]).sum();
            let got: f64 = (0..n)
                .map(|j| (out.get(i, j).as_f64() - c.get(i, j).as_f64()) * x[j])
                .sum();
            // Rounding errors are random: this many standard deviations are never reached, one lost term is far more.
            let bound = 8.0 * T::epsilon().as_f64() * k as f64 * (n as f64).sqrt();
            assert!(
                (want - got).abs() < bound.min(0.2),
                "{at:?} row {i}: {got} instead of {want}, bound {bound}"
            );
        }
    }
}

#[test]
fn large_result_of_no_terms() {
    for at in levels() {
        let (m, n) = (700, 600);
        let mut c = vec![3.0_f32; m * n];
        let (a, b) = (MatRef::row_major(&[], 0), MatRef::row_major(&[], n));
        let to = MatMut::row_major(&mut c, n);
        gemm_batched_at(
            at,
            1,
            (0, 0, 0),
            m,
            n,
            0,
            1.0,
            a,
            b,
            0.5,
            to,
            Epilogue::None,
        );
        assert!(c.iter().all(|&x| x == 1.5), "{at:?}");
    }
}

#[test]
fn large_f32() {
    large::<f32>(130, 1100, 1300, Lay::Row, Lay::Row, Lay::Row);
    large::<f32>(130, 1100, 1300, Lay::Row, Lay::Col, Lay::Row);
    large::<f32>(1100, 130, 1300, Lay::Col, Lay::RowPadded, Lay::Row);
    large::<f32>(1100, 130, 1300, Lay::Wide, Lay::Wide, Lay::Wide);
}
#[test]
fn large_f64() {
    large::<f64>(130, 1100, 700, Lay::Row, Lay::Row, Lay::Row);
    large::<f64>(130, 1100, 700, Lay::Row, Lay::Col, Lay::Col);
    large::<f64>(1100, 130, 700, Lay::Col, Lay::Row, Lay::RowPadded);
}

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

mod refuses {
    use super::*;

    fn run(
        a: MatRef<'_, f32>,
        b: MatRef<'_, f32>,
        c: MatMut<'_, f32>,
        epilogue: Epilogue<'_, f32>,
    ) {
        gemm(2, 3, 4, 1.0, a, b, 0.0, c, epilogue);
    }
    const A: [f32; 8] = [0.0; 8];
    const B: [f32; 12] = [0.0; 12];

    #[test]
    #[should_panic(expected = "A reaches from element 0 to 7 of a slice of 7")]
    fn short_a() {
        let mut c = [0.0; 6];
        run(
            MatRef::row_major(&A[..7], 4),
            MatRef::row_major(&B, 3),
            MatMut::row_major(&mut c, 3),
            Epilogue::None,
        );
    }
    #[test]
    #[should_panic(expected = "B reaches from element -3 to")]
    fn negative_reach() {
        let mut c = [0.0; 6];
        let b = MatRef {
            data: &B,
            offset: 0,
            rs: 3,
            cs: 1,
        };
        let b = MatRef { rs: -1, ..b };
        run(
            MatRef::row_major(&A, 4),
            b,
            MatMut::row_major(&mut c, 3),
            Epilogue::None,
        );
    }
    #[test]
    #[should_panic(expected = "C reaches")]
    fn huge_stride() {
        let mut c = [0.0; 6];
        let c = MatMut {
            data: &mut c,
            offset: 1,
            rs: isize::MAX,
            cs: 1,
        };
        run(
            MatRef::row_major(&A, 4),
            MatRef::row_major(&B, 3),
            c,
            Epilogue::None,
        );
    }
    #[test]
    #[should_panic(expected = "coincide")]
    fn overlapping_c() {
        let mut c = [0.0; 6];
        let c = MatMut {
            data: &mut c,
            offset: 0,
            rs: 2,
            cs: 1,
        };
        run(
            MatRef::row_major(&A, 4),
            MatRef::row_major(&B, 3),
            c,
            Epilogue::None,
        );
    }
    #[test]
    #[should_panic(expected = "coincide")]
    fn broadcast_c() {
        let mut c = [0.0; 6];
        let c = MatMut {
            data: &mut c,
            offset: 0,
            rs: 0,
            cs: 1,
        };
        run(
            MatRef::row_major(&A, 4),
            MatRef::row_major(&B, 3),
            c,
            Epilogue::None,
        );
    }
    #[test]
    #[should_panic(expected = "a bias of 2 elements for 3 columns")]
    fn short_bias() {
        let mut c = [0.0; 6];
        run(
            MatRef::row_major(&A, 4),
            MatRef::row_major(&B, 3),
            MatMut::row_major(&mut c, 3),
            Epilogue::BiasRow(&[0.0; 2]),
        );
    }
}
