//! Orthogonal, identity and sparse weights; gates and their biases.

use crate::rng;
use wengert_nn::init::{
    Fans, GateBias, Init, LsuvRule, Nonlinearity, RecurrentInit, fixup_scale, gru_bias, lstm_bias,
    sample_blocks,
};
use wengert_tensor::Tensor;

fn product(a: &[f64], rows: usize, cols: usize, left: bool) -> Vec<f64> {
    let n = if left { cols } else { rows };
    let at = |i: usize, k: usize| {
        if left {
            a[k * cols + i]
        } else {
            a[i * cols + k]
        }
    };
    let inner = if left { rows } else { cols };
    (0..n * n)
        .map(|p| (0..inner).map(|k| at(p / n, k) * at(p % n, k)).sum())
        .collect()
}

#[test]
fn orthogonal_matrices_are() {
    for shape in [
        vec![1, 1],
        vec![5, 3],
        vec![3, 5],
        vec![33, 32],
        vec![32, 33],
        vec![65, 65],
        vec![100, 70],
        vec![70, 130],
        vec![16, 8, 3, 3],
        vec![96, 2, 3],
    ] {
        let (rows, cols) = (shape[0], shape[1..].iter().product::<usize>());
        let init = Init::Orthogonal { gain: 1.5 };
        let w = init
            .sample::<f64>(&shape, Fans::new(1.0, 1.0), &mut rng(3))
            .to_vec();
        let small = rows.min(cols);
        for (p, x) in product(&w, rows, cols, rows >= cols)
            .into_iter()
            .enumerate()
        {
            let expected = if p / small == p % small { 2.25 } else { 0.0 };
            assert!((x - expected).abs() < 1e-13, "{shape:?}: {x} at {p}");
        }
        let rms = (w.iter().map(|x| x * x).sum::<f64>() / w.len() as f64).sqrt();
        assert!((rms - init.std(&shape, Fans::new(1.0, 1.0))).abs() < 1e-14);
    }
}

/// Uniform over the group: the trace of a Haar matrix has mean 0 and variance 1, its first entry variance 1/n,
/// and both signs of the determinant are equally likely.
#[test]
fn orthogonal_matrices_are_uniform() {
    let (n, draws) = (3, 20_000);
    let mut rng = rng(11);
    let (mut trace, mut trace2, mut corner2, mut last, mut positive) = (0.0, 0.0, 0.0, 0.0, 0usize);
    for _ in 0..draws {
        let q = Init::orthogonal()
            .sample::<f64>([n, n], Fans::new(1.0, 1.0), &mut rng)
            .to_vec();
        let t = q[0] + q[4] + q[8];
        trace += t;
        trace2 += t * t;
        corner2 += q[0] * q[0];
        last += q[8];
        let det = q[0] * (q[4] * q[8] - q[5] * q[7]) - q[1] * (q[3] * q[8] - q[5] * q[6])
            + q[2] * (q[3] * q[7] - q[4] * q[6]);
        positive += usize::from(det > 0.0);
    }
    let m = draws as f64;
    let se = 1.0 / m.sqrt();
    assert!((trace / m).abs() < 3.0 * se, "mean trace {}", trace / m);
    // The fourth moment of the trace on O(3) is 3, so the variance of its square is 2.
    assert!(
        (trace2 / m - 1.0).abs() < 3.0 * 2f64.sqrt() * se,
        "trace² {}",
        trace2 / m
    );
    assert!((corner2 / m - 1.0 / 3.0).abs() < 3.0 * 0.3 * se);
    assert!((last / m).abs() < 3.0 * 0.58 * se);
    assert!((positive as f64 / m - 0.5).abs() < 1.5 * se);
}

#[test]
fn delta_orthogonal_acts_at_the_centre() {
    let shape = [6, 4, 3, 5];
    let init = Init::DeltaOrthogonal { gain: 2.0 };
    let w = init.sample::<f64>(shape, Fans::new(1.0, 1.0), &mut rng(5));
    let centre = w.select(3, 2).select(2, 1);
    for (p, x) in product(&centre.to_vec(), 6, 4, true)
        .into_iter()
        .enumerate()
    {
        assert!((x - if p % 5 == 0 { 4.0 } else { 0.0 }).abs() < 1e-13);
    }
    let total: f64 = w.iter().map(|x| x * x).sum();
    assert!((total - 16.0).abs() < 1e-12, "zero off the centre");
    let rms = (total / w.numel() as f64).sqrt();
    assert!((rms - init.std(&shape, Fans::new(1.0, 1.0))).abs() < 1e-14);
}

fn ones_at(t: &Tensor<f64>) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    Tensor::<f64>::from_fn(t.shape(), |i| {
        let x = t.get(i);
        if x != 0.0 {
            assert_eq!(x, 1.0);
            found.push(i.to_vec());
        }
        x
    });
    found
}

#[test]
fn identity_and_dirac() {
    let none = Fans::new(1.0, 1.0);
    let eye = Init::Identity { gain: 0.5 }.sample::<f64>([2, 3], none, &mut rng(0));
    assert_eq!(eye.to_vec(), [0.5, 0.0, 0.0, 0.0, 0.5, 0.0]);
    let dirac =
        |shape: &[usize], groups| ones_at(&Init::Dirac { groups }.sample(shape, none, &mut rng(0)));
    // torch.nn.init.dirac_
    assert_eq!(
        dirac(&[8, 4, 3], 1),
        [[0, 0, 1], [1, 1, 1], [2, 2, 1], [3, 3, 1]]
    );
    assert_eq!(
        dirac(&[6, 2, 3, 3], 2),
        [[0, 0, 1, 1], [1, 1, 1, 1], [3, 0, 1, 1], [4, 1, 1, 1]]
    );
    assert_eq!(
        dirac(&[5, 4, 3, 3, 3], 1),
        [
            [0, 0, 1, 1, 1],
            [1, 1, 1, 1, 1],
            [2, 2, 1, 1, 1],
            [3, 3, 1, 1, 1]
        ]
    );
    for (init, shape) in [
        (Init::Identity { gain: 3.0 }, vec![4, 6]),
        (Init::Dirac { groups: 2 }, vec![6, 2, 3]),
    ] {
        let x = init.sample::<f64>(&shape, none, &mut rng(0)).to_vec();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let std = (x.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        assert!((std - init.std(&shape, none)).abs() < 1e-14, "{init}");
    }
}

#[test]
fn sparse_columns() {
    let init = Init::Sparse {
        sparsity: 0.25,
        std: 1.0,
    };
    let w = init.sample::<f64>([10, 200], Fans::new(1.0, 1.0), &mut rng(2));
    let mut rows = [0usize; 10];
    for c in 0..200 {
        let zeros: Vec<usize> = (0..10).filter(|&r| w.get(&[r, c]) == 0.0).collect();
        assert_eq!(zeros.len(), 3, "⌈0.25 · 10⌉ zeros in column {c}");
        zeros.iter().for_each(|&r| rows[r] += 1);
    }
    assert!(
        rows.iter().all(|&n| (30..=90).contains(&n)),
        "rows take turns: {rows:?}"
    );
}

#[test]
fn gates_are_drawn_one_by_one() {
    let (h, x) = (8, 5);
    let w = sample_blocks::<f64>(
        Init::orthogonal(),
        4,
        [4 * h, h],
        Fans::gate(h, h),
        &mut rng(4),
    );
    for gate in w.to_vec().chunks(h * h) {
        for (p, x) in product(gate, h, h, true).into_iter().enumerate() {
            assert!((x - f64::from(p / h == p % h)).abs() < 1e-13);
        }
    }
    let w = sample_blocks::<f64>(
        Init::glorot_uniform(),
        4,
        [4 * h, x],
        Fans::gate(x, h),
        &mut rng(4),
    );
    let limit = (6.0 / (h + x) as f64).sqrt();
    let largest = w.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(largest <= limit && largest > 0.95 * limit);
}

#[test]
fn forget_and_chrono_biases() {
    let h = 20_000;
    let b = lstm_bias::<f64>(h, GateBias::Forget(1.0), &mut rng(1))
        .unwrap()
        .to_vec();
    assert!(b[h..2 * h].iter().all(|&x| x == 1.0));
    assert_eq!(b.iter().filter(|&&x| x != 0.0).count(), h);

    let steps = 100;
    let b = lstm_bias::<f64>(h, GateBias::Chrono { steps }, &mut rng(1))
        .unwrap()
        .to_vec();
    let (input, forget, rest) = (&b[..h], &b[h..2 * h], &b[2 * h..]);
    assert!(rest.iter().all(|&x| x == 0.0));
    assert!(
        forget
            .iter()
            .zip(input)
            .all(|(f, i)| *f == -i && *f >= 0.0 && *f <= 99f64.ln())
    );
    let times: Vec<f64> = forget.iter().map(|f| f.exp()).collect();
    let mean = times.iter().sum::<f64>() / h as f64;
    assert!(
        (mean - 50.0).abs() < 3.0 * 98.0 / (12.0 * h as f64).sqrt(),
        "uniform in 1..99: {mean}"
    );

    let g = gru_bias::<f64>(h, GateBias::Chrono { steps }, &mut rng(1))
        .unwrap()
        .to_vec();
    assert_eq!(&g[h..2 * h], forget, "PyTorch's update gate keeps");
    assert!(g[..h].iter().chain(&g[2 * h..]).all(|&x| x == 0.0));

    assert_eq!(
        lstm_bias::<f32>(3, GateBias::Chrono { steps: 2 }, &mut rng(1))
            .unwrap()
            .to_vec(),
        [0.0; 12]
    );
    assert!(lstm_bias::<f32>(3, GateBias::Chrono { steps: 1 }, &mut rng(1)).is_err());
    assert!(gru_bias::<f32>(3, GateBias::Forget(f64::NAN), &mut rng(1)).is_err());
    assert!(lstm_bias::<f32>(usize::MAX / 2, GateBias::Zero, &mut rng(1)).is_err());

    assert_eq!(
        RecurrentInit::lstm().expecting(50).bias,
        GateBias::Chrono { steps: 50 }
    );
    assert_eq!(
        RecurrentInit::irnn().recurrent,
        Init::Identity { gain: 1.0 }
    );
    assert_eq!(
        RecurrentInit::rnn(Nonlinearity::Tanh).input,
        Init::glorot_uniform()
    );
}

#[test]
fn measured_and_depth_scales() {
    let rule = LsuvRule::default();
    assert_eq!(rule.factor(0.5), Ok(Some(2.0)));
    assert_eq!(rule.factor(1.04), Ok(None));
    assert_eq!(rule.factor(1.1).unwrap(), Some(1.0 / 1.1));
    for bad in [0.0, f64::NAN, f64::INFINITY, -1.0] {
        assert!(rule.factor(bad).is_err());
    }
    assert_eq!(fixup_scale(16, 2), 0.25);
    assert!((fixup_scale(16, 3) - 0.5).abs() < 1e-15);
}
