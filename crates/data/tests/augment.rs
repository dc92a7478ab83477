//! Augmentation against its formulas, and against plain loops.

use std::collections::BTreeSet;
use wengert_data::augment::*;
use wengert_data::random::{Xoshiro256PlusPlus, stream, uniform_f64};
use wengert_data::{DataLoader, Digits, Error, TensorDataset};
use wengert_tensor::Tensor;

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    stream(seed, &[])
}

/// Every pixel has its own value, none is zero.
fn images(n: usize, c: usize, h: usize, w: usize) -> Tensor<f32> {
    Tensor::from_fn([n, c, h, w], |i| {
        (((i[0] * c + i[1]) * h + i[2]) * w + i[3] + 1) as f32
    })
}

fn run(a: &impl Augment, x: &Tensor<f32>, seed: u64) -> Tensor<f32> {
    let mut out = x.clone();
    a.apply(&mut out, &mut rng(seed)).unwrap();
    out
}

fn all() -> Vec<(&'static str, Box<dyn Augment>)> {
    vec![
        ("flip", Box::new(Flip::horizontal(0.5).unwrap())),
        ("upside down", Box::new(Flip::vertical(0.5).unwrap())),
        ("shift", Box::new(RandomCrop::padded(2))),
        ("crop", Box::new(RandomCrop::sized(3, 2))),
        (
            "affine",
            Box::new(
                RandomAffine::new()
                    .rotate(30.0)
                    .unwrap()
                    .shift(0.2)
                    .unwrap()
                    .scale(0.8, 1.2)
                    .unwrap(),
            ),
        ),
        ("shear", Box::new(RandomAffine::new().shear(20.0).unwrap())),
        ("noise", Box::new(GaussianNoise::new(0.1).unwrap())),
        ("jitter", Box::new(Jitter::new(0.4, 0.4).unwrap())),
        ("cutout", Box::new(Cutout::new(3))),
        (
            "erase",
            Box::new(RandomErasing::new(0.7).unwrap().fill(Fill::Noise)),
        ),
    ]
}

#[test]
fn the_same_generator_gives_the_same_batch_and_another_another() {
    let x = images(16, 2, 5, 6);
    for (name, a) in all() {
        let run = |seed| {
            let mut out = x.clone();
            a.apply(&mut out, &mut rng(seed)).unwrap();
            out.to_vec()
        };
        assert_eq!(run(1), run(1), "{name}");
        assert_ne!(run(1), run(2), "{name}");
        assert_eq!(
            x.to_vec(),
            images(16, 2, 5, 6).to_vec(),
            "{name} wrote into shared memory"
        );
        // Without channels, with no samples, without pixels; other ranks are refused where there must be images.
        for shape in [&[4, 5, 6][..], &[0, 2, 5, 6], &[0, 5, 6]] {
            let mut t = Tensor::zeros(shape);
            a.apply(&mut t, &mut rng(1)).unwrap();
            assert_eq!((t.rank(), t.shape()[0]), (shape.len(), shape[0]), "{name}");
        }
        let flat = a.apply(&mut Tensor::zeros([4, 30]), &mut rng(1));
        assert_eq!(flat.is_err(), name != "noise", "{name}");
        if name != "crop" {
            a.apply(&mut Tensor::zeros([2, 1, 0, 3]), &mut rng(1))
                .unwrap();
            a.apply(&mut Tensor::zeros([2, 1, 1, 1]), &mut rng(1))
                .unwrap();
        }
    }
}

#[test]
fn a_strided_batch_is_augmented_like_its_copy() {
    let x = images(4, 3, 6, 6).transpose(2, 3);
    for (name, a) in all() {
        let (mut view, mut copy) = (x.clone(), x.copy());
        a.apply(&mut view, &mut rng(3)).unwrap();
        a.apply(&mut copy, &mut rng(3)).unwrap();
        assert_eq!(view.to_vec(), copy.to_vec(), "{name}");
    }
}

#[test]
fn flips_mirror_about_half_of_the_images() {
    let x = images(400, 2, 3, 4);
    for upside_down in [false, true] {
        let a = if upside_down {
            Flip::vertical(0.25)
        } else {
            Flip::horizontal(0.25)
        }
        .unwrap();
        let y = run(&a, &x, 1);
        let mut flipped = 0;
        for i in 0..400 {
            let (from, to) = (x.select(0, i), y.select(0, i));
            let mirrored = Tensor::from_fn([2, 3, 4], |k| {
                if upside_down {
                    from.get(&[k[0], 2 - k[1], k[2]])
                } else {
                    from.get(&[k[0], k[1], 3 - k[2]])
                }
            });
            if to == mirrored {
                flipped += 1;
            } else {
                assert!(to == from);
            }
        }
        assert!((60..140).contains(&flipped), "{flipped} of 400");
    }
    assert!(run(&Flip::horizontal(0.0).unwrap(), &x, 1) == x);
    assert!(Flip::horizontal(1.5).is_err() && Flip::vertical(f64::NAN).is_err());
}

#[test]
fn crops_are_windows_of_the_padded_image() {
    let (n, c, h, w) = (300, 2, 4, 5);
    let x = images(n, c, h, w);
    for (crop, p, th, tw) in [
        (RandomCrop::padded(2), 2, 4, 5),
        (RandomCrop::sized(3, 2), 0, 3, 2),
        (RandomCrop::sized(6, 7).padding(1), 1, 6, 7),
        (RandomCrop::sized(1, 1).padding(3), 3, 1, 1),
        (RandomCrop::sized(2, 9).padding(4), 4, 2, 9),
    ] {
        let y = run(&crop.fill(-7.0), &x, 1);
        assert_eq!(y.shape(), [n, c, th, tw]);
        let padded = |i: usize, k: usize, r: usize, s: usize| {
            let inside = (p..p + h).contains(&r) && (p..p + w).contains(&s);
            if inside {
                x.get(&[i, k, r - p, s - p])
            } else {
                -7.0
            }
        };
        let mut places = BTreeSet::new();
        for i in 0..n {
            let fits = |top: usize, left: usize| {
                (0..c * th * tw).all(|m| {
                    let (k, r, s) = (m / (th * tw), m / tw % th, m % tw);
                    y.get(&[i, k, r, s]) == padded(i, k, top + r, left + s)
                })
            };
            let found: Vec<(usize, usize)> = (0..=h + 2 * p - th)
                .flat_map(|t| (0..=w + 2 * p - tw).map(move |l| (t, l)))
                .filter(|&(t, l)| fits(t, l))
                .collect();
            assert!(!found.is_empty(), "image {i}");
            places.insert(found[0]);
        }
        let possible = (h + 2 * p - th + 1) * (w + 2 * p - tw + 1);
        assert!(
            places.len() * 2 > possible.min(40),
            "{} places of {possible}",
            places.len()
        );
    }
    let mut t = x.clone();
    assert!(matches!(
        RandomCrop::sized(5, 5).apply(&mut t, &mut rng(1)),
        Err(Error::Value { .. })
    ));
    assert!(
        RandomCrop::padded(usize::MAX)
            .apply(&mut t, &mut rng(1))
            .is_err()
    );
    assert!(t == x);
    // A border far wider than the image.
    let mut t = images(50, 1, 2, 2);
    RandomCrop::padded(100).apply(&mut t, &mut rng(1)).unwrap();
    assert_eq!(t.shape(), [50, 1, 2, 2]);
}

#[test]
fn affine_maps_known_places() {
    let x = images(2, 3, 5, 5);
    assert!(run(&RandomAffine::new(), &x, 1) == x, "no range, no change");
    // A quarter turn, by luck of no draw: rotate by exactly ±90 is one of two exact images.
    let ramp = Tensor::from_fn([1, 1, 9, 9], |i| i[3] as f32);
    let scaled = run(&RandomAffine::new().scale(2.0, 2.0).unwrap(), &ramp, 1);
    for j in 0..9 {
        // Twice as large about the centre: half the slope.
        assert!((scaled.get(&[0, 0, 4, j]) - (4.0 + (j as f32 - 4.0) / 2.0)).abs() < 1e-5);
    }
    let small = run(
        &RandomAffine::new().scale(0.5, 0.5).unwrap().fill(-1.0),
        &ramp,
        1,
    );
    assert_eq!(small.get(&[0, 0, 4, 0]), -1.0);
    assert!((small.get(&[0, 0, 4, 5]) - 6.0).abs() < 1e-5);
    // Every rotation of a plane is the plane turned: v = a·dx + b·dy keeps its gradient's length.
    let big = Tensor::from_fn([40, 1, 21, 21], |i| i[3] as f32 - 10.0);
    let turned = run(&RandomAffine::new().rotate(180.0).unwrap(), &big, 2);
    let mut angles = Vec::new();
    for i in 0..40 {
        let at = |r, s| turned.get(&[i, 0, r, s]);
        let (gx, gy) = (
            (at(10, 12) - at(10, 8)) / 4.0,
            (at(12, 10) - at(8, 10)) / 4.0,
        );
        assert!((gx.hypot(gy) - 1.0).abs() < 1e-4 && at(10, 10).abs() < 1e-4);
        angles.push(gy.atan2(gx).to_degrees());
    }
    assert!(angles.iter().any(|a| *a > 90.0) && angles.iter().any(|a| *a < -90.0));
    // A turn by θ, counter-clockwise to the eye: the place (x, y) from the centre, y down, shows what stood at
    // (x cos θ - y sin θ, x sin θ + y cos θ). θ, then shifts, scale, shear are one draw each.
    let draws = |seed: u64, n: usize| {
        let mut r = rng(seed);
        (0..n)
            .map(|_| [(); 5].map(|()| uniform_f64(&mut r) * 2.0 - 1.0))
            .collect::<Vec<_>>()
    };
    let place = Tensor::from_fn([40, 2, 21, 21], |i| i[3 - i[1]] as f32 - 10.0);
    let turned = run(&RandomAffine::new().rotate(180.0).unwrap(), &place, 5);
    for (i, draw) in draws(5, 40).iter().enumerate() {
        let (sin, cos) = (draw[0] * 180.0).to_radians().sin_cos();
        for (x, y) in [(5.0, 0.0), (0.0, 5.0), (-3.0, 4.0)] {
            let at = |k| f64::from(turned.get(&[i, k, (y + 10.0) as usize, (x + 10.0) as usize]));
            assert!((at(0) - (x * cos - y * sin)).abs() < 1e-4);
            assert!((at(1) - (x * sin + y * cos)).abs() < 1e-4);
        }
    }
    // A shift to the right and down shows what stood to the left and above.
    let moved = run(&RandomAffine::new().shift(0.2).unwrap(), &place, 6);
    for (i, draw) in draws(6, 40).iter().enumerate() {
        for (k, shift) in [(0, draw[1] * 0.2 * 21.0), (1, draw[2] * 0.2 * 21.0)] {
            let at = f64::from(moved.get(&[i, k, 10, 10]));
            assert!((at + shift).abs() < 1e-4, "{at} {shift}");
        }
    }
    // Shear moves rows against each other by tan(angle) per row.
    let sheared = run(&RandomAffine::new().shear(45.0).unwrap(), &big, 4);
    for i in 0..40 {
        let slope = (sheared.get(&[i, 0, 12, 10]) - sheared.get(&[i, 0, 8, 10])) / 4.0;
        let along = (sheared.get(&[i, 0, 10, 12]) - sheared.get(&[i, 0, 10, 8])) / 4.0;
        assert!(slope.abs() <= 1.0 + 1e-5 && (along - 1.0).abs() < 1e-4);
    }
    for bad in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(RandomAffine::new().rotate(bad).is_err());
        assert!(RandomAffine::new().shift(bad).is_err());
        assert!(RandomAffine::new().scale(bad, 1.0).is_err());
        assert!(RandomAffine::new().shear(bad).is_err());
    }
    assert!(
        RandomAffine::new().scale(2.0, 1.0).is_err() && RandomAffine::new().shear(90.0).is_err()
    );
    // So small that every place lies outside.
    let tiny = run(
        &RandomAffine::new().scale(1e-300, 1e-300).unwrap().fill(3.0),
        &images(1, 1, 4, 4),
        1,
    );
    assert_eq!(tiny.to_vec(), [3.0; 16]);
}

#[test]
fn the_result_does_not_depend_on_threads() {
    let x = images(500, 1, 28, 28);
    let a = RandomAffine::new()
        .rotate(15.0)
        .unwrap()
        .shear(5.0)
        .unwrap();
    let bits = |t: Tensor<f32>| t.iter().map(f32::to_bits).collect::<Vec<_>>();
    let here = bits(run(&a, &x, 1));
    // In pieces, each with its own share of the same draws.
    let mut r = rng(1);
    let mut pieces = Vec::new();
    for k in 0..5 {
        let mut part = x.narrow(0, k * 100, k * 100 + 100).copy();
        a.apply(&mut part, &mut r).unwrap();
        pieces.extend(bits(part));
    }
    assert!(here == pieces);
}

#[test]
fn noise_and_jitter_have_their_moments() {
    let zero = Tensor::<f32>::zeros([100, 20, 20]);
    let noisy = run(&GaussianNoise::new(0.5).unwrap(), &zero, 1).to_vec();
    let n = noisy.len() as f64;
    let mean = noisy.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let var = noisy.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
    assert!(
        mean.abs() < 0.01 && (var.sqrt() - 0.5).abs() < 0.01,
        "{mean} {var}"
    );
    assert!(GaussianNoise::new(-0.1).is_err());

    let x = images(200, 1, 2, 2);
    let y = run(&Jitter::new(0.5, 0.25).unwrap(), &x, 1);
    let (mut low, mut high) = (f32::MAX, f32::MIN);
    for i in 0..200 {
        let (from, to) = (x.select(0, i).to_vec(), y.select(0, i).to_vec());
        let b = to.iter().sum::<f32>() / from.iter().sum::<f32>();
        let g = (to[3] - to[0]) / (from[3] - from[0]) / b;
        assert!(
            (0.499..1.501).contains(&b) && (0.74..1.26).contains(&g),
            "{b} {g}"
        );
        (low, high) = (low.min(b), high.max(b));
    }
    assert!(low < 0.6 && high > 1.4);
    assert!(run(&Jitter::new(0.0, 0.0).unwrap(), &x, 1) == x);
    assert!(Jitter::new(0.1, f64::INFINITY).is_err());
}

/// The rectangle of changed pixels of each image, if any; asserts that it is one, and the same in all channels.
fn patches(x: &Tensor<f32>, y: &Tensor<f32>) -> Vec<Option<[usize; 4]>> {
    let s = x.shape();
    let (n, c, h, w) = (s[0], s[1], s[2], s[3]);
    (0..n)
        .map(|i| {
            let at = |k, r, q| x.get(&[i, k, r, q]) != y.get(&[i, k, r, q]);
            let changed: Vec<(usize, usize)> = (0..h)
                .flat_map(|r| (0..w).map(move |q| (r, q)))
                .filter(|&(r, q)| at(0, r, q))
                .collect();
            let top = changed.iter().map(|p| p.0).min()?;
            let bottom = changed.iter().map(|p| p.0).max()? + 1;
            let left = changed.iter().map(|p| p.1).min()?;
            let right = changed.iter().map(|p| p.1).max()? + 1;
            for k in 0..c {
                for r in 0..h {
                    for q in 0..w {
                        let inside = (top..bottom).contains(&r) && (left..right).contains(&q);
                        assert_eq!(at(k, r, q), inside);
                    }
                }
            }
            Some([top, bottom, left, right])
        })
        .collect()
}

#[test]
fn erased_patches_are_rectangles_of_the_right_size() {
    let x = images(400, 2, 12, 10);
    let mut corners = BTreeSet::new();
    for p in patches(&x, &run(&Cutout::new(4), &x, 1)) {
        let [t, b, l, r] = p.unwrap();
        assert!(b - t <= 4 && r - l <= 4 && b - t >= 2 && r - l >= 2);
        if b - t < 4 {
            assert!(t == 0 || b == 12);
        }
        corners.insert((t, l));
    }
    assert!(corners.len() > 60);
    assert!(run(&Cutout::new(0), &x, 1) == x);
    assert!(
        run(&Cutout::new(usize::MAX).fill(Fill::Value(5.0)), &x, 1)
            .iter()
            .all(|v| v == 5.0)
    );

    let erase = RandomErasing::new(0.5)
        .unwrap()
        .area(0.1, 0.3)
        .unwrap()
        .ratio(0.5, 2.0)
        .unwrap();
    for fill in [Fill::Value(-1.0), Fill::Noise] {
        let y = run(&erase.fill(fill), &x, 2);
        let found: Vec<[usize; 4]> = patches(&x, &y).into_iter().flatten().collect();
        assert!((150..250).contains(&found.len()), "{}", found.len());
        for [t, b, l, r] in found {
            let (rows, columns) = ((b - t) as f64, (r - l) as f64);
            // Sides are rounded to whole pixels.
            assert!(
                (rows + 0.5) * (columns + 0.5) >= 12.0 && (rows - 0.5) * (columns - 0.5) <= 36.0
            );
            assert!((rows + 0.5) / (columns - 0.5) >= 0.5 && (rows - 0.5) / (columns + 0.5) <= 2.0);
        }
    }
    assert!(RandomErasing::new(-0.1).is_err());
    assert!(erase.area(0.5, 0.2).is_err() && erase.area(0.0, 1.1).is_err());
    assert!(erase.ratio(0.0, 1.0).is_err() && erase.ratio(1.0, f64::INFINITY).is_err());
}

#[test]
fn normalization_fits_applies_and_inverts() {
    let x = Tensor::from_fn([50, 3, 4, 5], |i| {
        (i[1] * 100) as f32 + ((i[0] * 7 + i[2] * 3 + i[3] * 11) % 13) as f32
    });
    for per in [Per::Batch, Per::Channel, Per::Feature] {
        let norm = Normalize::fit(&x, per).unwrap();
        let y = norm.normalized(&x).unwrap();
        assert!(run(&norm, &x, 1) == y);
        let group = |i: &[usize]| match per {
            Per::Batch => 0,
            Per::Channel => i[1],
            Per::Feature => (i[1] * 4 + i[2]) * 5 + i[3],
        };
        let groups = norm.mean().len();
        assert_eq!(groups, [1, 3, 60][per as usize]);
        let (mut n, mut sum, mut square) =
            (vec![0.0; groups], vec![0.0; groups], vec![0.0; groups]);
        Tensor::from_fn([50, 3, 4, 5], |i| {
            let v = f64::from(y.get(i));
            n[group(i)] += 1.0;
            sum[group(i)] += v;
            square[group(i)] += v * v;
            0.0f32
        });
        for g in 0..groups {
            assert!(
                (sum[g] / n[g]).abs() < 1e-5 && (square[g] / n[g] - 1.0).abs() < 1e-4,
                "{per:?} {g}"
            );
        }
        let back = norm.restored(&y).unwrap();
        assert!(back.iter().zip(x.iter()).all(|(a, b)| (a - b).abs() < 1e-4));
    }
    // A constant is centred, whatever rounding does to its deviation.
    let constant = Tensor::full([1000, 2], 0.1f32);
    let norm = Normalize::fit(&constant, Per::Feature).unwrap();
    assert_eq!(norm.std(), [1.0, 1.0]);
    assert!(norm.normalized(&constant).unwrap().iter().all(|v| v == 0.0));
    // Large mean, small deviation.
    let far = Tensor::from_fn([1000, 1], |i| 1e6 + (i[0] % 2) as f32);
    assert!((Normalize::fit(&far, Per::Batch).unwrap().std()[0] - 0.5).abs() < 1e-6);

    let mnist = Normalize::new(vec![0.1307], vec![0.3081], Per::Batch).unwrap();
    assert_eq!(
        mnist.normalized(&Tensor::scalar(1.0)).unwrap().item(),
        (1.0 - 0.1307) / 0.3081
    );
    for (mean, std, per) in [
        (vec![], vec![], Per::Batch),
        (vec![0.0], vec![0.0], Per::Batch),
        (vec![0.0], vec![-1.0], Per::Batch),
        (vec![f32::NAN], vec![1.0], Per::Batch),
        (vec![0.0, 0.0], vec![1.0], Per::Channel),
        (vec![0.0; 2], vec![1.0; 2], Per::Batch),
    ] {
        assert!(Normalize::new(mean, std, per).is_err());
    }
    assert!(Normalize::fit(&Tensor::zeros([0, 3]), Per::Feature).is_err());
    assert!(Normalize::fit(&Tensor::zeros([3]), Per::Channel).is_err());
    let nan = Normalize::fit(&Tensor::from_vec(vec![1.0, f32::NAN], [2]), Per::Batch);
    let text = nan.unwrap_err().to_string();
    assert_eq!(
        text,
        "normalize: element 1 of shape [2] is NaN, expected finite values"
    );
    let rgb = Normalize::new(vec![0.0; 3], vec![1.0; 3], Per::Channel).unwrap();
    assert!(rgb.normalized(&Tensor::zeros([2, 4, 5, 5])).is_err());
}

#[test]
fn mixup_mixes_inputs_and_labels_alike() {
    let (n, classes) = (64, 64);
    // Sample i is the unit vector e_i, so the mixed input is its own target.
    let x = Tensor::from_fn([n, classes], |i| if i[0] == i[1] { 1.0f32 } else { 0.0 });
    let labels = Tensor::from_fn([n], |i| i[0] as i64);
    let mut lambdas = Vec::new();
    for seed in 0..200 {
        let (mixed, targets) = mixup(x.clone(), &labels, classes, 0.4, &mut rng(seed)).unwrap();
        for (a, b) in mixed.iter().zip(targets.iter()) {
            assert!((a - b).abs() < 1e-6);
        }
        for row in targets.to_vec().chunks(classes) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        lambdas.push(f64::from(
            (0..n)
                .map(|i| targets.get(&[i, i]))
                .fold(f32::MAX, f32::min),
        ));
    }
    // Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    let mean = lambdas.iter().sum::<f64>() / 200.0;
    let var = lambdas.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 200.0;
    assert!(
        (mean - 0.5).abs() < 0.11 && (var - 1.0 / 7.2).abs() < 0.03,
        "{mean} {var}"
    );
    // Nothing of the partner, whatever it holds; and a share for every weight, however large.
    let two = Tensor::from_vec(vec![1.0, f32::INFINITY], [2, 1]);
    let y = Tensor::from_vec(vec![0, 1], [2]);
    for seed in 0..9 {
        let (same, _) = mixup(two.clone(), &y, 2, 0.0, &mut rng(seed)).unwrap();
        assert_eq!(same.to_vec(), two.to_vec());
        let (half, _) = mixup(x.clone(), &labels, classes, f64::MAX, &mut rng(seed)).unwrap();
        assert!(half.iter().all(f32::is_finite));
    }
    let (same, hard) = mixup(x.clone(), &labels, classes, 0.0, &mut rng(1)).unwrap();
    assert!(same == x && hard == x);
    for (bad, classes) in [(-1, 5), (5, 5), (i64::MAX, 5), (0, 0)] {
        let y = Tensor::from_vec(vec![bad], [1]);
        assert!(matches!(
            mixup(Tensor::zeros([1, 2]), &y, classes, 0.2, &mut rng(1)),
            Err(Error::Value { .. })
        ));
    }
    for alpha in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(
            mixup(x.clone(), &labels, classes, alpha, &mut rng(1)).is_err(),
            "{alpha}"
        );
    }
    assert!(mixup(x.narrow(0, 0, 3), &labels, classes, 0.2, &mut rng(1)).is_err());
    let none = mixup(
        Tensor::zeros([0, 2]),
        &Tensor::zeros([0]),
        3,
        0.2,
        &mut rng(1),
    )
    .unwrap();
    assert_eq!((none.0.shape(), none.1.shape()), (&[0, 2][..], &[0, 3][..]));
}

#[test]
fn cutmix_mixes_in_proportion_to_the_area() {
    let n = 8;
    let x = Tensor::from_fn([n, 2, 6, 7], |i| i[0] as f32);
    let labels = Tensor::from_fn([n], |i| i[0] as i64);
    let mut areas = BTreeSet::new();
    for seed in 0..100 {
        let (mixed, targets) = cutmix(x.clone(), &labels, n, 1.0, &mut rng(seed)).unwrap();
        for i in 0..n {
            let mut share = vec![0.0f32; n];
            mixed
                .select(0, i)
                .iter()
                .for_each(|v| share[v as usize] += 1.0 / 84.0);
            for (k, s) in share.iter().enumerate() {
                assert!((targets.get(&[i, k]) - s).abs() < 1e-5, "seed {seed}");
            }
            areas.insert((share[i] * 84.0).round() as u32);
        }
    }
    assert!(areas.len() > 10, "{areas:?}");
    assert!(cutmix(x.clone(), &labels, n, 0.0, &mut rng(1)).unwrap().0 == x);
    assert!(cutmix(Tensor::zeros([8, 4]), &labels, n, 1.0, &mut rng(1)).is_err());
}

#[test]
fn a_loader_augments_reproducibly_and_reuses_memory() {
    let set = Digits::load().as_images().train.dataset();
    let make = |workers| {
        let recipe = Compose::new()
            .then(RandomCrop::padded(1))
            .then(RandomAffine::new().rotate(10.0).unwrap())
            .then(GaussianNoise::new(0.02).unwrap());
        DataLoader::new(set.clone(), 100)
            .shuffle(4)
            .workers(workers)
            .augment(recipe)
    };
    let bits = |workers| -> Vec<u32> {
        make(workers)
            .epoch(1)
            .flat_map(|(x, _)| x.iter().map(f32::to_bits).collect::<Vec<_>>())
            .collect()
    };
    assert!(bits(0) == bits(2));
    let loader = make(0);
    let mut buffers = BTreeSet::new();
    for (x, _) in loader.epoch(0).chain(loader.epoch(1)) {
        buffers.insert(x.as_slice().unwrap().as_ptr() as usize);
    }
    assert!(buffers.len() <= 4, "{}", buffers.len());
    let plain = TensorDataset::new(Tensor::<f32>::zeros([8, 4, 4])).unwrap();
    let loader = DataLoader::new(plain, 8).augment(RandomCrop::padded(1).fill(1.0));
    assert!(loader.iter().next().unwrap().iter().any(|v| v == 1.0));
}
