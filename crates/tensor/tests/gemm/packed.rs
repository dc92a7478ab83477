//! Products with a right operand that was packed before.

use crate::matrices::{Lay, Mat, random};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use wengert_tensor::Real;
use wengert_tensor::gemm::{MatMut, MatRef, gemm_packed, pack, packed_len};

/// Against sums in f64; and rows together against each alone, bit by bit.
fn check<T: Real>((m, n, k): (usize, usize, usize), a_lay: Lay, b_lay: Lay, beta: f64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(19);
    let a = Mat::<T>::new(a_lay, m, k, &mut rng);
    let b = Mat::<T>::new(b_lay, k, n, &mut rng);
    let old = Mat::<T>::new(Lay::RowPadded, m, n, &mut rng);
    let mut packed = vec![T::from_f64(f64::NAN); packed_len::<T>(k, n)];
    pack(k, n, b.view(), &mut packed);
    let mut c = old.clone();
    gemm_packed(m, n, k, a.view(), &packed, T::from_f64(beta), c.view_mut());
    for i in 0..m {
        let mut alone = random::<T>(n, &mut rng);
        (0..n).for_each(|j| alone[j] = old.get(i, j));
        let mut row = a.view();
        row.offset = (row.offset as isize + i as isize * row.rs) as usize;
        let to = MatMut::row_major(&mut alone, n);
        gemm_packed(1, n, k, row, &packed, T::from_f64(beta), to);
        for j in 0..n {
            let (mut want, mut size) = (0.0, 0.0);
            for p in 0..k {
                let t = a.get(i, p).as_f64() * b.get(p, j).as_f64();
                (want, size) = (want + t, size + t.abs());
            }
            let before = beta * old.get(i, j).as_f64();
            let bound = (2.0 * k as f64 + 3.0) * T::epsilon().as_f64() * (size + before.abs());
            let got = c.get(i, j).as_f64();
            let place = format!("{m}x{n}x{k} at ({i}, {j})");
            assert!((got - want - before).abs() <= bound, "{place}: {got}");
            assert!(got.to_bits() == alone[j].as_f64().to_bits(), "{place}");
        }
    }
}

#[test]
fn packed_products() {
    for size in [
        (1, 1, 1),
        (3, 17, 5),
        (8, 48, 64),
        (13, 100, 33),
        (20, 130, 700),
        (5, 60, 1300),
    ] {
        for b_lay in [
            Lay::Row,
            Lay::Col,
            Lay::RowPadded,
            Lay::Wide,
            Lay::RowBroadcast,
        ] {
            for (a_lay, beta) in [(Lay::Row, 0.0), (Lay::Col, 1.0), (Lay::Wide, -0.5)] {
                check::<f32>(size, a_lay, b_lay, beta);
                check::<f64>(size, a_lay, b_lay, beta);
            }
        }
    }
}

#[test]
fn packed_products_of_no_terms_or_columns() {
    check::<f32>((3, 5, 0), Lay::Row, Lay::Row, 2.0);
    check::<f64>((3, 0, 5), Lay::Row, Lay::Row, 0.0);
}

#[test]
#[should_panic(expected = "room for 3 elements")]
fn packing_into_a_slice_that_is_too_short_is_refused() {
    let b = [0.0_f32; 6];
    pack(2, 3, MatRef::row_major(&b, 3), &mut [0.0; 3]);
}
