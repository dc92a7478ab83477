//! Parts: disjoint, complete, stratified, reproducible.

use wengert_data::split::{self, Split};
use wengert_data::{Digits, Error};
use wengert_tensor::Tensor;

fn together(parts: &[&[usize]]) -> Vec<usize> {
    let mut all = parts.concat();
    all.sort_unstable();
    all
}

#[test]
fn shares_cover_everything() {
    for n in [0, 1, 2, 7, 100, 101] {
        for shares in [
            &[1.0][..],
            &[0.5, 0.5],
            &[0.8, 0.1, 0.1],
            &[0.0, 1.0],
            &[1.0 / 3.0; 3],
        ] {
            let parts = split::shares(n, shares, 4).unwrap();
            assert_eq!(parts.len(), shares.len());
            let all = together(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert_eq!(all, (0..n).collect::<Vec<_>>());
            for (p, s) in parts.iter().zip(shares) {
                assert!((p.len() as f64 - s * n as f64).abs() <= 1.0);
                assert!(p.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }
    let a = split::train_test(50, 0.2, 1).unwrap();
    assert_eq!((a.train.len(), a.test.len()), (40, 10));
    assert_eq!(a, split::train_test(50, 0.2, 1).unwrap());
    assert_ne!(a, split::train_test(50, 0.2, 2).unwrap());
    for bad in [&[0.5][..], &[0.5, 0.6], &[-0.5, 1.5], &[f64::NAN, 1.0], &[]] {
        assert!(
            matches!(split::shares(10, bad, 0), Err(Error::Value { .. })),
            "{bad:?}"
        );
    }
    assert!(split::train_test(10, 1.5, 0).is_err());
}

fn count(labels: &Tensor<i64>, part: &[usize], class: i64) -> usize {
    part.iter().filter(|&&i| labels.get(&[i]) == class).count()
}

#[test]
fn classes_keep_their_share() {
    let labels = Tensor::from_fn([1000], |i| [0, 0, 0, 0, 0, 0, 7, 7, 7, -3][i[0] % 10]);
    for test in [0.0, 0.1, 0.25, 0.333, 1.0] {
        let Split { train, test: held } = split::stratified(&labels, test, 3).unwrap();
        assert_eq!(together(&[&train, &held]), (0..1000).collect::<Vec<_>>());
        assert_eq!(held.len(), (1000.0 * test).round() as usize);
        for (class, n) in [(0, 600.0), (7, 300.0), (-3, 100.0)] {
            assert!((count(&labels, &held, class) as f64 - n * test).abs() < 1.0);
        }
    }
    // 11 and 19 samples: shares of 1.1 and 1.9, of which 3 in all; the larger remainder gets the third.
    let uneven = Tensor::from_fn([30], |i| i64::from(i[0] >= 11));
    let held = split::stratified(&uneven, 0.1, 3).unwrap().test;
    assert_eq!((count(&uneven, &held, 0), count(&uneven, &held, 1)), (1, 2));
    assert!(split::stratified(&labels, f64::NAN, 3).is_err());
    assert!(split::stratified(&Tensor::zeros([2, 2]), 0.5, 3).is_err());
    let (a, b) = Digits::load().train.split(0.1, 5).unwrap();
    assert_eq!((a.len(), b.len()), (1293, 144));
}

#[test]
fn folds_test_each_sample_once() {
    let labels = Tensor::from_fn([53], |i| (i[0] % 3) as i64);
    for k in [2, 5, 53] {
        for (kind, folds) in [
            (
                "plain",
                split::k_fold(53, k, 9).unwrap().collect::<Vec<_>>(),
            ),
            (
                "stratified",
                split::stratified_k_fold(&labels, k, 9).unwrap().collect(),
            ),
        ] {
            assert_eq!(folds.len(), k);
            let tests: Vec<&[usize]> = folds.iter().map(|f| f.test.as_slice()).collect();
            assert_eq!(together(&tests), (0..53).collect::<Vec<_>>(), "{kind}");
            for f in &folds {
                assert_eq!(together(&[&f.train, &f.test]), (0..53).collect::<Vec<_>>());
                assert!(
                    f.test.len() == 53 / k || f.test.len() == 53 / k + 1,
                    "{kind}"
                );
                if kind == "stratified" {
                    for class in 0..3 {
                        let expected =
                            count(&labels, &(0..53).collect::<Vec<_>>(), class) as f64 / k as f64;
                        assert!(
                            (count(&labels, &f.test, class) as f64 - expected).abs() < 1.0 + 1e-9
                        );
                    }
                }
            }
        }
    }
    for k in [0, 1, 54] {
        assert!(split::k_fold(53, k, 0).is_err());
        assert!(split::stratified_k_fold(&labels, k, 0).is_err());
    }
}
