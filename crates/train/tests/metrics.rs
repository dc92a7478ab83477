//! Metrics against values of numpy by the definitions of scikit-learn (`reference/metrics.py`) and against counting by hand.

mod common;
mod reference;
use common::sequence;
use reference::*;
use wengert_tensor::Tensor;
use wengert_train::metric::{
    Accuracy, BinaryCounts, ConfusionMatrix, MeanAbsoluteError, MeanSquaredError, Metric,
    Perplexity, R2, TopK,
};

const N: usize = 200;
const C: usize = 5;

fn scores() -> Tensor<f64> {
    Tensor::from_vec(sequence(N * C, 1), [N, C])
}

fn labels() -> Tensor<i64> {
    let y = sequence(N, 2)
        .iter()
        .map(|x| (x * x * C as f64) as i64)
        .collect();
    Tensor::from_vec(y, [N])
}

fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-14 * expected.abs().max(1.0),
        "{found} {expected}"
    );
}

type B = ((), Tensor<i64>);

/// The same whole numbers for every cut into batches, and sums to rounding; state and restore in the middle.
fn streamed<M: Metric<B, f64> + Clone>(metric: M, expected: &[(&str, f64)]) {
    for size in [1, 7, 64, N, 1000] {
        let mut m = metric.clone();
        for start in (0..N).step_by(size) {
            let end = (start + size).min(N);
            if start % 3 == 0 {
                let state = m.state();
                m = metric.clone();
                m.restore(&state).unwrap();
            }
            let y = labels().narrow(0, start, end);
            m.update(&scores().narrow(0, start, end), &((), y)).unwrap();
        }
        let values = m.values();
        assert_eq!(values.len(), expected.len());
        for ((name, found), (want, value)) in values.iter().zip(expected) {
            assert_eq!(name, want);
            close(*found, *value);
        }
        assert!(m.restore(&[1.0; 3]).is_err());
        m.reset();
        assert!(m.values().iter().all(|v| v.1.is_nan()));
    }
}

#[test]
fn classification() {
    streamed(Accuracy::new(), &[("accuracy", ACCURACY)]);
    streamed(TopK::new(3), &[("top3", TOP3)]);
    streamed(TopK::new(1), &[("top1", ACCURACY)]);
    streamed(Perplexity::new(), &[("perplexity", PERPLEXITY)]);
    streamed(
        ConfusionMatrix::new(C),
        &[("precision", PRECISION), ("recall", RECALL), ("f1", F1)],
    );
    let mut m = ConfusionMatrix::new(C);
    m.update(&scores(), &labels()).unwrap();
    for y in 0..C {
        for a in 0..C {
            assert_eq!(m.count(y, a), CONFUSION[y][a]);
        }
        close(m.precision(y), PRECISIONS[y]);
        close(m.recall(y), RECALLS[y]);
        close(m.f1(y), F1S[y]);
    }
    close(m.accuracy(), ACCURACY);
    assert_eq!(m.to_string().lines().count(), C + 1);

    let yes = Tensor::from_vec(
        sequence(N, 3).iter().map(|x| f64::from(*x > 0.6)).collect(),
        [N],
    );
    let logits = Tensor::from_vec(sequence(N, 4).iter().map(|x| x - 0.5).collect(), [N]);
    let mut b = BinaryCounts::new();
    b.update(&logits, &yes).unwrap();
    close(b.precision(), BINARY[0]);
    close(b.recall(), BINARY[1]);
    close(b.f1(), BINARY[2]);
    close(b.accuracy(), BINARY[3]);

    let x = Tensor::from_vec(sequence(N, 5).iter().map(|x| 1e6 + x).collect(), [N]);
    let y = Tensor::from_vec(sequence(N, 6).iter().map(|x| 1e6 + x).collect(), [N]);
    let (mut mse, mut mae, mut r2) = (MeanSquaredError::new(), MeanAbsoluteError::new(), R2::new());
    for (a, b) in [(0, 50), (50, 51), (51, N)] {
        let (x, y) = (x.narrow(0, a, b), y.narrow(0, a, b));
        mse.update(&x, &y).unwrap();
        mae.update(&x, &y).unwrap();
        r2.update(&x, &y).unwrap();
    }
    assert!((mse.value() - REGRESSION[0]).abs() < 1e-14);
    assert!((mae.value() - REGRESSION[1]).abs() < 1e-14);
    assert!((r2.value() - REGRESSION[2]).abs() < 1e-8, "{}", r2.value());
}

#[test]
fn edges() {
    let nan = Tensor::from_vec(vec![0.5, f64::NAN, 0.2, 0.8], [2, 2]);
    let y = Tensor::from_vec(vec![0, 1], [2]);
    let mut a = Accuracy::new();
    a.update(&nan, &y).unwrap();
    assert_eq!(a.value(), 0.5);
    let mut m = ConfusionMatrix::new(2);
    m.update(&nan, &y).unwrap();
    assert_eq!((m.recall(0), m.recall(1), m.accuracy()), (0.0, 1.0, 0.5));
    let mut p = Perplexity::new();
    p.update(&nan, &y).unwrap();
    assert!(p.value().is_nan());

    // Ties: the first of equal scores is the answer; order decides who is among the k.
    let tie = Tensor::from_vec(vec![1.0f32; 4], [1, 4]);
    let top = |k, y| {
        let mut t = TopK::new(k);
        t.update(&tie, &Tensor::from_vec(vec![y], [1])).unwrap();
        t.value()
    };
    assert_eq!(
        (top(1, 0), top(1, 1), top(2, 1), top(9, 3)),
        (1.0, 0.0, 1.0, 1.0)
    );

    // Labels outside, padding, shapes.
    let s = Tensor::from_vec(vec![1.0, 0.0, 0.0, 1.0], [2, 2]);
    for bad in [2, -1, i64::MAX] {
        let e = Accuracy::new().update(&s, &Tensor::from_vec(vec![0, bad], [2]));
        let text = format!("accuracy: label {bad} of sample 1 is not in 0..2");
        assert_eq!(e.unwrap_err().to_string(), text);
    }
    let mut a = Accuracy::new().ignore(-100);
    a.update(&s, &Tensor::from_vec(vec![0, -100], [2])).unwrap();
    assert_eq!((a.value(), a.seen()), (1.0, 1));
    assert!(
        Accuracy::new()
            .update(&s, &Tensor::from_vec(vec![0], [1]))
            .is_err()
    );
    assert!(ConfusionMatrix::new(3).update(&s, &y).is_err());
    // Sequences: scores [n, t, classes], labels [n, t].
    let mut a = Accuracy::new();
    a.update(&s.reshape([1, 2, 2]), &y.reshape([1, 2])).unwrap();
    assert_eq!(a.value(), 1.0);
    // Transposed scores.
    let mut a = Accuracy::new();
    a.update(&Tensor::from_vec(vec![1.0, 2.0, 5.0, 1.0], [2, 2]).t(), &y)
        .unwrap();
    assert_eq!(a.value(), 0.0);
    let mut b = BinaryCounts::new().threshold(0.5);
    assert!(
        b.update(&Tensor::full([1], 1.0), &Tensor::full([1], 0.5))
            .is_err()
    );
    assert_eq!((b.counts(), b.precision()), ([0; 4], 0.0));
    assert!(
        MeanSquaredError::new()
            .update(&s, &Tensor::<f64>::zeros([4]))
            .is_err()
    );
    let mut r2 = R2::new();
    r2.update(&s, &Tensor::ones([2, 2])).unwrap();
    assert!(r2.value().is_nan());
    // Numbers do not lose digits at large counts: exact up to 2^53.
    let mut a = Accuracy::new();
    Metric::<B, f64>::restore(&mut a, &[4503599627370497.0, 4503599627370498.0]).unwrap();
    assert_eq!(
        Metric::<B, f64>::state(&a),
        [4503599627370497.0, 4503599627370498.0]
    );
}
