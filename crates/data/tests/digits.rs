//! The embedded digits are the published ones, and the split is the documented one.

use wengert_data::Digits;

#[test]
fn contents_are_those_of_the_published_file() {
    let all = Digits::all();
    assert_eq!(all.inputs.shape(), [1797, 64]);
    let labels = all.labels.to_vec();
    let per_class: Vec<usize> = (0..10)
        .map(|c| labels.iter().filter(|&&y| y == c).count())
        .collect();
    assert_eq!(
        per_class,
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    );
    let pixels: Vec<u64> = all.inputs.iter().map(|x| (x * 16.0) as u64).collect();
    assert!(
        all.inputs
            .iter()
            .all(|x| (0.0..=1.0).contains(&x) && (x * 16.0).fract() == 0.0)
    );
    assert_eq!(
        pixels[..16],
        [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    );
    // Sum, and a sum weighted by place, of all pixels of the original file.
    assert_eq!(pixels.iter().sum::<u64>(), 561_718);
    let weighted = pixels
        .iter()
        .zip(1u64..)
        .map(|(x, i)| x * (i % 1009))
        .sum::<u64>();
    assert_eq!(weighted, 283_185_523);
    assert_eq!(labels[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    assert_eq!(
        labels.iter().zip(1i64..).map(|(y, i)| y * i).sum::<i64>(),
        7_272_861
    );
}

#[test]
fn the_split_is_fixed_stratified_and_disjoint() {
    let all = Digits::all();
    let d = Digits::load();
    assert_eq!((d.train.len(), d.test.len()), (1437, 360));
    for c in 0..10 {
        let n = all.labels.iter().filter(|&y| y == c).count();
        let t = d.test.labels.iter().filter(|&y| y == c).count();
        assert!(t == n / 5 || t == n / 5 + 1, "class {c}: {t} of {n}");
    }
    // Both parts keep the order of the file, and together they are the file.
    let row = |x: &wengert_tensor::Tensor<f32>, i: usize| x.select(0, i).to_vec();
    let (mut a, mut b, mut test_sum) = (0, 0, 0usize);
    for i in 0..1797 {
        let image = row(&all.inputs, i);
        if b < 360 && image == row(&d.test.inputs, b) {
            assert_eq!(d.test.labels.get(&[b]), all.labels.get(&[i]));
            b += 1;
            test_sum += i;
        } else {
            assert_eq!(image, row(&d.train.inputs, a), "image {i}");
            assert_eq!(d.train.labels.get(&[a]), all.labels.get(&[i]));
            a += 1;
        }
    }
    assert_eq!((a, b), (1437, 360));
    // np.argsort(y, kind="stable")[::5].sum() of the published labels.
    assert_eq!(test_sum, 322_701);
}

#[test]
fn standardized_and_images() {
    let d = Digits::load().standardized();
    let x = d.train.inputs.to_vec();
    for p in 0..64 {
        let column: Vec<f64> = x
            .iter()
            .skip(p)
            .step_by(64)
            .map(|&v| f64::from(v))
            .collect();
        let mean = column.iter().sum::<f64>() / 1437.0;
        let var = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1437.0;
        assert!(mean.abs() < 1e-6, "pixel {p}: mean {mean}");
        assert!(
            (var - 1.0).abs() < 1e-5 || var == 0.0,
            "pixel {p}: variance {var}"
        );
    }
    assert!(x.iter().all(|v| v.is_finite()));
    let images = d.as_images();
    assert_eq!(images.train.inputs.shape(), [1437, 1, 8, 8]);
    assert_eq!(images.test.inputs.shape(), [360, 1, 8, 8]);
    assert_eq!(images.test.inputs.to_vec(), d.test.inputs.to_vec());
}
