//! Made-up tasks obey their formulas.

use rand::SeedableRng;
use std::f64::consts::PI;
use wengert_data::random::Xoshiro256PlusPlus;
use wengert_data::{Dataset, Error, synthetic as s};

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn points(t: &wengert_tensor::Tensor<f32>) -> Vec<[f64; 2]> {
    t.to_vec()
        .chunks(2)
        .map(|p| [f64::from(p[0]), f64::from(p[1])])
        .collect()
}

#[test]
fn moons_lie_on_their_circles() {
    let d = s::two_moons(101, 0.0, &mut rng(1)).unwrap();
    let labels = d.labels.to_vec();
    assert_eq!(labels.iter().filter(|&&y| y == 0).count(), 50);
    for (p, y) in points(&d.inputs).iter().zip(&labels) {
        let (cx, cy, side) = if *y == 0 {
            (0.0, 0.0, 1.0)
        } else {
            (1.0, 0.5, -1.0)
        };
        assert!((f64::hypot(p[0] - cx, p[1] - cy) - 1.0).abs() < 1e-6);
        assert!((p[1] - cy) * side > -1e-6);
    }
    assert!(labels[..50].contains(&1), "in random order");
    assert_eq!(
        d.inputs.to_vec(),
        s::two_moons(101, 0.0, &mut rng(1)).unwrap().inputs.to_vec()
    );
    assert_ne!(
        d.inputs.to_vec(),
        s::two_moons(101, 0.0, &mut rng(2)).unwrap().inputs.to_vec()
    );
}

#[test]
fn rings_and_spirals_have_their_radius() {
    let d = s::rings(99, 3, 0.0, &mut rng(1)).unwrap();
    for (p, y) in points(&d.inputs).iter().zip(d.labels.iter()) {
        assert!((f64::hypot(p[0], p[1]) - (y + 1) as f64).abs() < 1e-6);
    }
    let d = s::spirals(200, 2, 1.5, 0.0, &mut rng(1)).unwrap();
    for (p, y) in points(&d.inputs).iter().zip(d.labels.iter()) {
        let r = f64::hypot(p[0], p[1]);
        let angle = 2.0 * PI * (1.5 * r + y as f64 / 2.0);
        assert!((p[0] - r * angle.cos()).abs() < 1e-5 && (p[1] - r * angle.sin()).abs() < 1e-5);
    }
}

#[test]
fn blobs_scatter_as_told() {
    let d = s::blobs(30_000, 3, 4, 0.5, &mut rng(1)).unwrap();
    assert_eq!((d.inputs.shape(), d.classes), (&[30_000, 4][..], 3));
    let x = d.inputs.to_vec();
    for class in 0..3 {
        let rows: Vec<&[f32]> = x
            .chunks(4)
            .zip(d.labels.iter())
            .filter(|&(_, y)| y == class)
            .map(|(r, _)| r)
            .collect();
        assert_eq!(rows.len(), 10_000);
        for k in 0..4 {
            let mean = rows.iter().map(|r| f64::from(r[k])).sum::<f64>() / 1e4;
            let var = rows
                .iter()
                .map(|r| (f64::from(r[k]) - mean).powi(2))
                .sum::<f64>()
                / 1e4;
            assert!(
                mean.abs() < 10.1 && (var.sqrt() - 0.5).abs() < 0.02,
                "{mean} {var}"
            );
        }
    }
}

#[test]
fn xor_is_the_truth_table() {
    let d = s::xor(4, 0.0, &mut rng(1)).unwrap();
    let mut table: Vec<(u8, u8, i64)> = points(&d.inputs)
        .iter()
        .zip(d.labels.iter())
        .map(|(p, y)| (p[0] as u8, p[1] as u8, y))
        .collect();
    table.sort_unstable();
    assert_eq!(table, [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]);
}

#[test]
fn sine_and_teacher() {
    let d = s::sine(500, 0.0, &mut rng(1)).unwrap();
    for (x, y) in d.inputs.iter().zip(d.targets.iter()) {
        assert!(x.abs() <= PI as f32 && (y - x.sin()).abs() < 1e-6);
    }
    let noisy = s::sine(20_000, 0.3, &mut rng(1)).unwrap();
    let square: f32 = noisy
        .inputs
        .iter()
        .zip(noisy.targets.iter())
        .map(|(x, y)| (y - x.sin()).powi(2))
        .sum();
    assert!(((square / 20_000.0).sqrt() - 0.3).abs() < 0.006);

    let t = s::teacher(5000, 6, 20, 3, 0.0, &mut rng(1)).unwrap();
    assert_eq!(
        (t.inputs.shape(), t.targets.shape()),
        (&[5000, 6][..], &[5000, 3][..])
    );
    let short = s::teacher(10, 6, 20, 3, 0.0, &mut rng(1)).unwrap();
    assert_eq!(short.targets.to_vec(), t.targets.to_vec()[..30]);
    // Each output is a sum of 20 tanh of size about 0.7, with weights of variance 1/20.
    let mean_square = t.targets.iter().map(|y| y * y).sum::<f32>() / 15_000.0;
    assert!((0.05..3.0).contains(&mean_square), "{mean_square}");
    assert_eq!(t.dataset().len(), 5000);
}

#[test]
fn adding_sums_the_marked() {
    let d = s::adding(4000, 11, &mut rng(1)).unwrap();
    assert_eq!(d.inputs.shape(), [4000, 11, 2]);
    let x = d.inputs.to_vec();
    let mut square = 0.0;
    let mut places = [0; 11];
    for (seq, y) in x.chunks(22).zip(d.targets.iter()) {
        let marked: Vec<usize> = (0..11).filter(|&t| seq[2 * t + 1] == 1.0).collect();
        assert!(marked.len() == 2 && marked[0] < 5 && marked[1] >= 5);
        assert!(seq.iter().skip(1).step_by(2).all(|&m| m == 0.0 || m == 1.0));
        assert_eq!(y, seq[2 * marked[0]] + seq[2 * marked[1]]);
        marked.iter().for_each(|&m| places[m] += 1);
        square += (y - 1.0).powi(2);
    }
    assert!((square / 4000.0 - 1.0 / 6.0).abs() < 0.015);
    assert!(places.iter().all(|&n| n > 500), "{places:?}");
}

#[test]
fn copy_task_repeats_the_pattern() {
    let d = s::copy_task(200, 8, 10, 5, &mut rng(1)).unwrap();
    let (x, y) = d.data();
    assert_eq!((x.shape(), y.shape()), (&[200, 25][..], &[200, 25][..]));
    let mut seen = [0; 10];
    for (x, y) in x.to_vec().chunks(25).zip(y.to_vec().chunks(25)) {
        assert_eq!(x[..10], y[15..]);
        assert!(x[..10].iter().all(|t| (1..=8).contains(t)));
        assert!(
            y[..15]
                .iter()
                .chain(&x[10..14])
                .chain(&x[15..])
                .all(|&t| t == 0)
        );
        assert_eq!(x[14], 9);
        x[..10].iter().for_each(|&t| seen[t as usize] += 1);
    }
    assert!(seen[1..9].iter().all(|&n| n > 150), "{seen:?}");
}

#[test]
fn nonsense_is_refused() {
    for noise in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            s::two_moons(4, noise, &mut rng(1)),
            Err(Error::Value { .. })
        ));
        assert!(s::sine(4, noise, &mut rng(1)).is_err());
    }
    assert!(s::rings(4, 0, 0.0, &mut rng(1)).is_err());
    assert!(s::spirals(4, 2, f64::NAN, 0.0, &mut rng(1)).is_err());
    assert!(s::blobs(4, usize::MAX, 2, 1.0, &mut rng(1)).is_err());
    assert!(s::adding(4, 1, &mut rng(1)).is_err());
    assert!(s::copy_task(4, 8, usize::MAX, 5, &mut rng(1)).is_err());
    assert!(s::teacher(4, 0, 2, 2, 0.0, &mut rng(1)).is_err());
    assert!(matches!(
        s::sine(usize::MAX, 0.0, &mut rng(1)),
        Err(Error::Tensor(_))
    ));
    for n in [0, 1, 2, 3] {
        assert_eq!(s::two_moons(n, 0.1, &mut rng(1)).unwrap().len(), n);
        assert_eq!(s::spirals(n, 2, 1.0, 0.1, &mut rng(1)).unwrap().len(), n);
        assert_eq!(s::adding(n, 2, &mut rng(1)).unwrap().inputs.shape()[0], n);
    }
}
