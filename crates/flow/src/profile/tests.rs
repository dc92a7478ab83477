use super::*;

/// A small generator, so that the data is random but the same everywhere.
fn noise(n: usize, mut seed: u64) -> Vec<f64> {
    (0..n)
        .map(|_| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let u = ((seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let v = ((seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        })
        .collect()
}

/// Two passes with compensated sums.
fn slow_moments(v: &[f64]) -> (f64, f64, f64) {
    let sum = |f: &dyn Fn(f64) -> f64| {
        let (mut s, mut c) = (0.0f64, 0.0f64);
        for &x in v {
            let y = f(x) - c;
            let t = s + y;
            c = (t - s) - y;
            s = t;
        }
        s
    };
    let n = v.len() as f64;
    let mean = sum(&|x| x) / n;
    // Deviations from a value of the data are exact; the mean far from zero is itself rounded.
    let shifted = sum(&|x| x - v[0]) / n;
    let std = (sum(&|x| (x - v[0] - shifted).powi(2)) / n).sqrt();
    (mean, std, (sum(&|x| x * x) / n).sqrt())
}

fn close(a: f64, b: f64, tol: f64) {
    assert!((a - b).abs() <= tol * b.abs().max(1e-300), "{a} is not {b}");
}

#[test]
fn moments_agree_with_two_passes() {
    for (n, shift, scale) in [
        (1, 0.0, 1.0),
        (15, 0.0, 1.0),
        (16, 1.0, 1e-9),
        (2049, 0.5, 0.01),
        (100_003, 0.0, 1e-12),
        (70_000, 1e8, 1.0),
        (5_000, -1e12, 3.0),
    ] {
        let v: Vec<f64> = noise(n, n as u64)
            .iter()
            .map(|x| x * scale + shift)
            .collect();
        let (mean, std, rms) = slow_moments(&v);
        let s = Summary::of(&v);
        let tol = 1e-11;
        assert_eq!(s.count, n as u64);
        if shift == 0.0 {
            assert!((s.mean - mean).abs() <= 1e-13 * rms, "{} {mean}", s.mean);
        } else {
            close(s.mean, mean, 1e-15 * 4.0);
        }
        close(s.std + scale * 1e-9, std + scale * 1e-9, tol);
        close(s.rms, rms, tol);
        close(s.norm, rms * (n as f64).sqrt(), tol);
        assert_eq!(s.min, v.iter().copied().fold(f64::INFINITY, f64::min));
        assert_eq!(s.max, v.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    }
}

#[test]
fn f32_equals_the_widened_values_bit_for_bit() {
    let v: Vec<f32> = noise(10_000, 7).iter().map(|x| *x as f32 * 1e-30).collect();
    let w: Vec<f64> = v.iter().map(|x| f64::from(*x)).collect();
    let d = Detail::histogram(Bins::Auto);
    assert_eq!(Summary::with(&v, d), Summary::with(&w, d));
    assert!(
        Summary::of(&v).rms > 0.0,
        "squares below the f32 range must not vanish"
    );
}

#[test]
fn extremes_of_the_f64_range() {
    let s = Summary::of(&[3e300, -4e300, 0.0, f64::INFINITY]);
    close(s.norm, 5e300, 1e-14);
    close(s.mean, -1e300 / 3.0, 1e-14);
    assert_eq!((s.infinite, s.zeros), (1, 1));
    let s = Summary::of(&[3e-300, -4e-300]);
    close(s.norm, 5e-300, 1e-14);
    close(s.std, 3.5e-300, 1e-14);
    let s = Summary::of(&[f64::MAX, f64::MAX, f64::MIN]);
    assert!(s.rms.is_finite() && s.std.is_finite(), "{s:?}");
    let s = Summary::of(&[5e-324, -5e-324]);
    assert_eq!(s.rms, 5e-324);
    assert_eq!(Summary::of(&[0.0f32; 100]).rms, 0.0);
}

#[test]
fn non_finite_values_are_counted_apart() {
    for at in [0, 5, 16, 2047, 2048, 4999] {
        let mut v: Vec<f32> = noise(5000, 3).iter().map(|x| *x as f32).collect();
        v[at] = f32::NAN;
        v[(at + 1) % 5000] = f32::INFINITY;
        v[(at + 2) % 5000] = f32::NEG_INFINITY;
        v[(at + 3) % 5000] = -0.0;
        let s = Summary::of(&v);
        assert_eq!((s.count, s.nan, s.infinite, s.zeros), (5000, 1, 2, 1));
        assert_eq!(s.finite(), 4997);
        let finite: Vec<f64> = v
            .iter()
            .map(|x| f64::from(*x))
            .filter(|x| x.is_finite())
            .collect();
        let (mean, std, _) = slow_moments(&finite);
        close(s.mean, mean, 1e-10);
        close(s.std, std, 1e-12);
    }
    let s = Summary::of(&[f32::NAN, f32::INFINITY]);
    assert!(s.mean.is_nan() && s.rms.is_nan() && s.min.is_nan() && s.norm == 0.0);
    assert!(s.quantiles.is_none());
    let s = Summary::of::<f32>(&[]);
    assert_eq!((s.count, s.norm), (0, 0.0));
    assert!(s.std.is_nan());
}

#[test]
fn quantiles_stay_within_the_stated_bound() {
    let relu: Vec<f64> = noise(20_000, 11).iter().map(|x| x.max(0.0)).collect();
    let normal = noise(20_000, 12);
    let near_half: Vec<f64> = normal.iter().map(|x| 0.5 + 1e-4 * x).collect();
    let heavy: Vec<f64> = normal.iter().map(|x| x * x * x).collect();
    let two: Vec<f64> = normal
        .iter()
        .map(|x| if *x > 0.0 { 1.0 } else { 0.0 })
        .collect();
    for v in [relu, normal.clone(), near_half, heavy, two, vec![0.25; 50]] {
        let s = Summary::with(
            &v,
            Detail {
                sample: 0,
                ..Detail::QUANTILES
            },
        );
        let q = s.quantiles.unwrap();
        let mut sorted = v.clone();
        sorted.sort_by(f64::total_cmp);
        for (p, got) in [
            (0.01, q.p01),
            (0.05, q.p05),
            (0.25, q.p25),
            (0.5, q.p50),
            (0.75, q.p75),
            (0.95, q.p95),
            (0.99, q.p99),
        ] {
            let want = sorted[((p * v.len() as f64).ceil() as usize).max(1) - 1];
            let allowed = s.std.max((want - s.mean).abs() + s.std) / 32.0;
            assert!(
                (got - want).abs() <= allowed + 1e-15,
                "p{p}: {got}, not {want} ± {allowed}"
            );
        }
    }
}

#[test]
fn merge_equals_one_summary_of_both() {
    let v: Vec<f64> = noise(30_000, 5).iter().map(|x| x + 3.0).collect();
    let d = Detail {
        sample: 0,
        ..Detail::histogram(Bins::Linear {
            lo: -2.0,
            hi: 8.0,
            count: 50,
        })
    };
    let whole = Summary::with(&v, d);
    let merged = v
        .chunks(7_001)
        .map(|c| Summary::with(c, d))
        .reduce(|a, b| a.merge(&b))
        .unwrap();
    close(merged.mean, whole.mean, 1e-13);
    close(merged.std, whole.std, 1e-12);
    close(merged.rms, whole.rms, 1e-12);
    close(merged.norm, whole.norm, 1e-12);
    assert_eq!((merged.min, merged.max), (whole.min, whole.max));
    assert_eq!(merged.histogram, whole.histogram);
    let (a, b) = (merged.quantiles.unwrap(), whole.quantiles.unwrap());
    assert!((a.p50 - b.p50).abs() < 0.2 && (a.p99 - b.p99).abs() < 0.2);

    let none = Summary::of::<f64>(&[]);
    assert_eq!(none.merge(&whole), whole);
    assert_eq!(whole.merge(&none), whole);
}

#[test]
fn histograms_count_every_value_once() {
    // Values of any kind; many on a border; a range whose edges are as far apart as numbers are; many zeros.
    let v = noise(10_000, 9);
    let near = |x: &f64| 1e8 + (x * 64.0).round() * 2f64.powi(-26);
    for v in [
        v.iter().map(|x| (x * 32.0).round() / 32.0).collect(),
        v.iter().map(near).collect(),
        v.iter().map(|x| x.max(0.0)).collect(),
        v,
    ] {
        count_every_value_once(&v);
    }
}

fn count_every_value_once(v: &[f64]) {
    for bins in [
        Bins::Auto,
        Bins::Linear {
            lo: -1.0,
            hi: 1.0,
            count: 7,
        },
        Bins::Linear {
            lo: -1.0,
            hi: 1.0,
            count: 16,
        },
        Bins::Magnitude {
            lo: 1e-3,
            hi: 1.0,
            count: 9,
        },
    ] {
        let h = Summary::with(v, Detail::histogram(bins)).histogram.unwrap();
        assert_eq!(h.total(), 10_000);
        for (i, &c) in h.counts.iter().enumerate() {
            let last = i + 1 == h.counts.len();
            let inside = |x: &&f64| {
                let x = if h.magnitude { x.abs() } else { **x };
                x >= h.edges[i] && (x < h.edges[i + 1] || (last && x == h.edges[i + 1]))
            };
            assert_eq!(
                v.iter().filter(inside).count() as u64,
                c,
                "{bins:?} bin {i}"
            );
        }
    }
}

#[test]
fn histograms_join_and_may_have_one_bin() {
    let v = noise(10_000, 9);
    let auto = |v: &[f64]| {
        Summary::with(v, Detail::histogram(Bins::Auto))
            .histogram
            .unwrap()
    };
    let (a, b) = (auto(&v[..5000]), auto(&[v[5000], 20.0]));
    let m = a.merge(&b).unwrap();
    assert_eq!(m.total(), 5002);
    assert_eq!(*m.edges.last().unwrap(), 20.0);
    assert_eq!(auto(&[2.0; 9]).counts, [9]);
    assert_eq!(auto(&[0.0; 9]).counts, [9]);
}

#[test]
fn nonsense_bins_are_no_histogram() {
    for bins in [
        Bins::Linear {
            lo: 1.0,
            hi: 1.0,
            count: 4,
        },
        Bins::Linear {
            lo: f64::NAN,
            hi: 1.0,
            count: 4,
        },
        Bins::Linear {
            lo: 0.0,
            hi: f64::INFINITY,
            count: 4,
        },
        Bins::Magnitude {
            lo: 0.0,
            hi: 1.0,
            count: 4,
        },
    ] {
        assert!(
            Summary::with(&[1.0f32], Detail::histogram(bins))
                .histogram
                .is_none()
        );
    }
    let many = Bins::Linear {
        lo: 0.0,
        hi: 1.0,
        count: usize::MAX,
    };
    let h = Summary::with(&[0.5f32], Detail::histogram(many))
        .histogram
        .unwrap();
    assert_eq!((h.counts.len(), h.total()), (1 << 16, 1));
}

#[test]
fn sampling_leaves_moments_exact() {
    let v = noise(100_000, 21);
    let all = Summary::with(
        &v,
        Detail {
            sample: 0,
            ..Detail::QUANTILES
        },
    );
    let some = Summary::with(
        &v,
        Detail {
            sample: 1000,
            ..Detail::QUANTILES
        },
    );
    assert_eq!(
        (all.mean, all.std, all.min),
        (some.mean, some.std, some.min)
    );
    assert_ne!(all.quantiles, some.quantiles);
    assert!((some.quantiles.unwrap().p50 - all.quantiles.unwrap().p50).abs() < 0.15);
}

#[test]
fn memory_of_a_recurrent_layer() {
    let t = |r: f64| TimeProfile {
        path: "rnn".into(),
        grad_rms: (0..50).map(|i| r.powi(49 - i)).collect(),
    };
    close(t(0.9).memory().unwrap(), -1.0 / 0.9f64.ln(), 1e-9);
    assert_eq!(t(1.1).memory(), Some(f64::INFINITY));
    assert_eq!(TimeProfile::default().decay(), None);
    let mut vanished = t(0.5);
    vanished.grad_rms[0] = 0.0;
    close(vanished.decay().unwrap(), 0.5, 1e-9);
}

#[test]
fn a_sample_sees_every_column_of_a_matrix() {
    // Only every sixteenth column is 0; steps of 16 would see no other.
    let v: Vec<f32> = (0..64 * 128)
        .map(|i| f32::from(u8::from(i % 16 != 0)))
        .collect();
    let detail = Detail {
        sample: 512,
        ..Detail::histogram(Bins::Auto)
    };
    let s = Summary::with(&v, detail);
    let h = s.histogram.unwrap();
    let share = h.counts[0] as f64 / h.total() as f64;
    assert!((share - 1.0 / 16.0).abs() < 0.02, "{share}");
    assert!(h.total() <= 512 && h.total() > 450, "{}", h.total());
    // Of few columns it would be 0.
    assert!(s.quantiles.unwrap().p50 > 0.99);
}
