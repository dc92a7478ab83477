//! Sizes, layouts, factors, epilogues, what is not finite, batches.

use crate::matrices::{Lay, Mat, WRITE, check, levels, random, read};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use wengert_tensor::Real;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm_batched_at};

const SIZES: [usize; 16] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70];

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
            for a_lay in read() {
                for b_lay in read() {
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
