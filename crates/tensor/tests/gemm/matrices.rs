//! Matrices of all layouts, and a product checked against naive sums.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use wengert_tensor::Real;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm_batched_at};
use wengert_tensor::simd::{Level, level};

pub fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&l| l <= level())
}

pub fn random<T: Real>(n: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<T> {
    (0..n)
        .map(|_| T::from_f64(rng.random::<f64>() * 2.0 - 1.0))
        .collect()
}

/// A matrix in memory of its own, in some layout.
#[derive(Clone)]
pub struct Mat<T> {
    pub data: Vec<T>,
    pub offset: usize,
    pub rs: isize,
    pub cs: isize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Lay {
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

pub const WRITE: [Lay; 7] = [
    Lay::Row,
    Lay::Col,
    Lay::RowPadded,
    Lay::ColPadded,
    Lay::Wide,
    Lay::RowsBackwards,
    Lay::BothBackwards,
];
/// Layouts for what is only read: of these some elements may coincide.
pub fn read() -> impl Iterator<Item = Lay> {
    let broadcast = [Lay::RowBroadcast, Lay::ColBroadcast, Lay::Scalar];
    WRITE.into_iter().chain(broadcast)
}

impl<T: Real> Mat<T> {
    pub fn new(lay: Lay, rows: usize, cols: usize, rng: &mut Xoshiro256PlusPlus) -> Self {
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
    pub fn get(&self, i: usize, j: usize) -> T {
        self.data[(self.offset as isize + i as isize * self.rs + j as isize * self.cs) as usize]
    }
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef {
            data: &self.data,
            offset: self.offset,
            rs: self.rs,
            cs: self.cs,
        }
    }
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut {
            data: &mut self.data,
            offset: self.offset,
            rs: self.rs,
            cs: self.cs,
        }
    }
}

/// Whether element `at` of the memory belongs to the matrix.
pub fn belongs<T>(m: &Mat<T>, rows: usize, cols: usize, at: usize) -> bool {
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
pub fn check<T: Real>(
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
