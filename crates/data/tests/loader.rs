//! Order, resumption, workers, reuse of memory.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wengert_data::random::{normal, uniform_f32};
use wengert_data::{
    DataLoader, Dataset, Error, LoaderState, Result, Sampler, TensorDataset, Weighted,
};
use wengert_tensor::Tensor;

type Pair = TensorDataset<(Tensor<f32>, Tensor<i64>)>;

fn pairs(n: usize) -> Pair {
    let x = Tensor::from_fn([n, 3], |i| (i[0] * 10 + i[1]) as f32);
    let y = Tensor::from_fn([n], |i| i[0] as i64);
    TensorDataset::new((x, y)).unwrap()
}

fn labels<O>(batches: impl Iterator<Item = (O, Tensor<i64>)>) -> Vec<Vec<i64>> {
    batches.map(|(_, y)| y.to_vec()).collect()
}

#[test]
fn sequential_batches_cover_the_set() {
    let loader = DataLoader::new(pairs(10), 4);
    assert_eq!(loader.len(), 3);
    let got: Vec<_> = loader.iter().collect();
    assert_eq!(got[2].0.shape(), [2, 3]);
    assert_eq!(
        got[1].0.to_vec(),
        [40., 41., 42., 50., 51., 52., 60., 61., 62., 70., 71., 72.]
    );
    assert_eq!(
        labels(loader.iter()),
        [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]
    );
    let loader = loader.drop_last(true);
    assert_eq!((loader.len(), loader.iter().count()), (2, 2));
}

#[test]
fn empty_single_and_oversized() {
    assert_eq!(DataLoader::new(pairs(0), 4).iter().count(), 0);
    assert_eq!(
        DataLoader::new(pairs(0), 4)
            .shuffle(1)
            .workers(2)
            .iter()
            .count(),
        0
    );
    assert_eq!(labels(DataLoader::new(pairs(1), 4).iter()), [vec![0]]);
    assert_eq!(
        DataLoader::new(pairs(3), usize::MAX)
            .iter()
            .next()
            .unwrap()
            .1
            .shape(),
        [3]
    );
    assert_eq!(DataLoader::new(pairs(3), 4).drop_last(true).len(), 0);
    assert!(matches!(
        DataLoader::try_new(pairs(3), 0),
        Err(Error::Value { .. })
    ));
    assert!(catch_unwind(|| DataLoader::new(pairs(3), 0)).is_err());
}

#[test]
fn shuffling_depends_on_seed_and_epoch_only() {
    let a = DataLoader::new(pairs(50), 7).shuffle(3);
    let first = labels(a.epoch(0));
    assert_eq!(first, labels(a.epoch(0)));
    assert_ne!(first, labels(a.epoch(1)));
    assert_ne!(
        first,
        labels(DataLoader::new(pairs(50), 7).shuffle(4).epoch(0))
    );
    let seen: BTreeSet<i64> = first.concat().into_iter().collect();
    assert_eq!((seen.len(), first.concat().len()), (50, 50));
    // `for` walks through the epochs; an early break ends one.
    let b = DataLoader::new(pairs(50), 7).shuffle(3);
    assert_eq!(labels((&b).into_iter()), first);
    assert!((&b).into_iter().next().is_some());
    assert_eq!(b.state().epoch, 2);
    assert_eq!(labels(b.iter()), labels(a.epoch(2)));
}

#[test]
fn workers_do_not_change_the_stream() {
    let make = |workers, prefetch| {
        DataLoader::new(pairs(101), 8)
            .shuffle(5)
            .workers(workers)
            .prefetch(prefetch)
            .transform(|(mut x, y), rng| {
                for v in x.as_mut_slice() {
                    *v += uniform_f32(rng) + normal(rng) as f32;
                }
                Ok((x, y))
            })
    };
    let bits = |l: &DataLoader<Pair>| -> Vec<(Vec<u32>, Vec<i64>)> {
        (0..3)
            .flat_map(|k| l.epoch(k).collect::<Vec<_>>())
            .map(|(x, y)| (x.iter().map(f32::to_bits).collect(), y.to_vec()))
            .collect()
    };
    let serial = bits(&make(0, 0));
    for (workers, prefetch) in [(1, 0), (2, 1), (2, 0), (3, 5), (8, 100)] {
        assert_eq!(
            bits(&make(workers, prefetch)),
            serial,
            "{workers} workers, prefetch {prefetch}"
        );
    }
    // The noise differs from batch to batch and from epoch to epoch.
    let noise: BTreeSet<u32> = serial
        .iter()
        .map(|(x, y)| (f32::from_bits(x[0]) - y[0] as f32 * 10.0).to_bits())
        .collect();
    assert!(noise.len() > 30);
}

#[test]
fn resuming_inside_an_epoch_is_exact() {
    for workers in [0, 2] {
        let make = || DataLoader::new(pairs(40), 6).shuffle(9).workers(workers);
        let whole: Vec<Vec<i64>> = (0..3).flat_map(|k| labels(make().epoch(k))).collect();
        for cut in 0..=whole.len() {
            let first = make();
            let mut got = Vec::new();
            let mut state = first.state();
            'epochs: for _ in 0..3 {
                for (_, y) in &first {
                    if got.len() == cut {
                        break 'epochs;
                    }
                    got.push(y.to_vec());
                    state = first.state();
                }
                if got.len() == cut {
                    break;
                }
            }
            let mut second = make().seed(12345);
            let state = LoaderState::from_words(state.to_words());
            second.restore(&state).unwrap();
            while second.state().epoch < 3 {
                got.extend(labels(second.iter()));
            }
            assert_eq!(got, whole, "cut at {cut}, {workers} workers");
        }
    }
}

#[test]
fn restoring_refuses_what_does_not_fit() {
    let state = DataLoader::new(pairs(40), 6).shuffle(9).state();
    let refused = |mut l: DataLoader<Pair>, s: LoaderState| {
        let before = l.state();
        let e = l.restore(&s).unwrap_err().to_string();
        assert_eq!(l.state(), before, "changed after: {e}");
        e
    };
    assert!(refused(DataLoader::new(pairs(40), 5).shuffle(9), state).contains("batch size"));
    assert!(refused(DataLoader::new(pairs(41), 6).shuffle(9), state).contains("order"));
    assert!(refused(DataLoader::new(pairs(40), 6), state).contains("order"));
    assert!(
        refused(
            DataLoader::new(pairs(40), 6).shuffle(9).drop_last(true),
            state
        )
        .contains("drop_last")
    );
    let past = LoaderState { batch: 8, ..state };
    assert!(refused(DataLoader::new(pairs(40), 6).shuffle(9), past).contains("batches"));
}

#[test]
fn an_iterator_that_was_never_asked_changes_nothing() {
    let mut l = DataLoader::new(pairs(40), 6).shuffle(9);
    let mut it = l.iter();
    it.next();
    it.next();
    let state = it.state();
    drop(it);
    l.restore(&state).unwrap();
    drop(l.iter());
    assert_eq!(l.state(), state);
    assert_eq!(l.iter().len(), 5);
}

/// Fails, panics or sleeps on demand.
struct Trouble {
    fail: usize,
    panic: usize,
    slow: bool,
}

impl Dataset for Trouble {
    type Sample = (f32, i64);
    fn len(&self) -> usize {
        30
    }
    fn get(&self, i: usize) -> Result<(f32, i64)> {
        assert!(i != self.panic, "sample {i} is cursed");
        if self.slow {
            std::thread::sleep(Duration::from_micros(((i * 7) % 5) as u64 * 300));
        }
        if i == self.fail {
            return Err(Error::Index {
                op: "get",
                index: i,
                len: 30,
            });
        }
        Ok((i as f32, i as i64))
    }
}

#[test]
fn errors_and_panics_of_a_set_reach_the_caller() {
    for workers in [0, 1, 3] {
        let loader = DataLoader::new(
            Trouble {
                fail: 11,
                panic: 99,
                slow: false,
            },
            4,
        )
        .workers(workers);
        let results: Vec<_> = loader.epoch(0).fallible().collect();
        assert_eq!(results.len(), 8);
        for (k, r) in results.iter().enumerate() {
            assert_eq!(r.is_err(), k == 2, "batch {k}");
        }
        let text = catch_unwind(AssertUnwindSafe(|| loader.epoch(0).count())).unwrap_err();
        assert!(text.downcast_ref::<String>().unwrap().contains("sample 11"));

        let loader = DataLoader::new(
            Trouble {
                fail: 99,
                panic: 13,
                slow: true,
            },
            4,
        )
        .workers(workers);
        for round in 0..3 {
            let seen = AtomicUsize::new(0);
            let payload = catch_unwind(AssertUnwindSafe(|| {
                for (_, y) in loader.epoch(round) {
                    seen.fetch_add(y.numel(), Ordering::Relaxed);
                }
            }))
            .unwrap_err();
            assert_eq!(
                payload.downcast_ref::<String>().unwrap(),
                "sample 13 is cursed"
            );
            assert_eq!(seen.into_inner(), 12);
        }
        // The loader is still usable, and goes on behind the batch at fault.
        let mut it = loader.epoch_from(0, 4);
        assert_eq!(it.next().unwrap().1.to_vec(), [16, 17, 18, 19]);
    }
}

#[test]
fn slow_samples_keep_their_order() {
    let loader = DataLoader::new(
        Trouble {
            fail: 99,
            panic: 99,
            slow: true,
        },
        2,
    )
    .workers(4);
    let got = labels(loader.iter()).concat();
    assert_eq!(got, (0..30).collect::<Vec<i64>>());
}

#[test]
fn a_panicking_transform_reaches_the_caller() {
    let loader = DataLoader::new(pairs(10), 2)
        .workers(2)
        .transform(|(x, y), _| {
            assert!(y.get(&[0]) != 4, "no fours");
            Ok((x, y))
        });
    let payload = catch_unwind(AssertUnwindSafe(|| loader.iter().count())).unwrap_err();
    assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "no fours");
}

#[cfg(target_os = "linux")]
#[test]
fn early_breaks_leave_no_threads() {
    // Counts by name: other tests of this process have threads of their own at the same time.
    struct Named(Pair, Arc<AtomicUsize>);
    impl Drop for Named {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl Dataset for Named {
        type Sample = (Tensor<f32>, Tensor<i64>);
        fn len(&self) -> usize {
            self.0.len()
        }
        fn get(&self, i: usize) -> Result<Self::Sample> {
            self.0.get(i)
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let loader = DataLoader::new(Named(pairs(64), Arc::clone(&dropped)), 4)
        .shuffle(1)
        .workers(2);
    for epoch in 0..200u64 {
        let mut seen = BTreeSet::new();
        for (i, (_, y)) in loader.epoch(epoch).enumerate() {
            for v in y.iter() {
                assert!(seen.insert(v), "sample {v} twice");
            }
            if i as u64 == epoch % 17 {
                break;
            }
        }
        if epoch % 17 > 15 {
            assert_eq!(seen.len(), 64);
        }
    }
    // Every worker holds the set: were one alive, the set would be, too.
    drop(loader);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn memory_of_dropped_batches_is_used_again() {
    for workers in [0, 2] {
        let loader = DataLoader::new(pairs(64), 8).workers(workers);
        let address = |x: &Tensor<f32>| x.as_slice().unwrap().as_ptr() as usize;
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            for (x, _) in &loader {
                seen.insert(address(&x));
            }
        }
        assert!(
            seen.len() <= 9,
            "{} buffers for 40 batches, {workers} workers",
            seen.len()
        );
        // What the caller still holds is never overwritten, not even through a view.
        let kept: Vec<(Tensor<f32>, Tensor<i64>)> = loader
            .epoch(0)
            .map(|(x, y)| (x.narrow(0, 0, 4), y))
            .collect();
        for (k, (x, y)) in kept.iter().enumerate() {
            assert_eq!(x.get(&[0, 0]), k as f32 * 80.0);
            assert_eq!(y.get(&[7]), k as i64 * 8 + 7);
        }
    }
    let loader = DataLoader::new(pairs(64), 8).reuse(false);
    assert!(loader.iter().all(|(x, y)| x.is_unique() && y.is_unique()));
}

#[test]
fn map_changes_the_type() {
    let loader = DataLoader::new(pairs(6), 4)
        .map(|(x, y), _| Ok(x.numel() + y.numel()))
        .workers(1);
    assert_eq!(loader.iter().collect::<Vec<usize>>(), [16, 8]);
}

#[test]
fn regression_targets_and_combinators() {
    let set =
        TensorDataset::new((Tensor::<f32>::zeros([5, 2]), Tensor::<f32>::ones([5, 1]))).unwrap();
    let (x, y): (Tensor<f32>, Tensor<f32>) = DataLoader::new(set, 5).iter().next().unwrap();
    assert_eq!((x.shape(), y.shape()), (&[5, 2][..], &[5, 1][..]));

    let all = pairs(10);
    let some = all.clone().subset(vec![9, 1, 9]).unwrap();
    let both = some.concat(all.clone().map(|(x, y)| Ok((x, Tensor::scalar(-y.item())))));
    assert_eq!(both.len(), 13);
    assert_eq!(
        labels(DataLoader::new(both, 5).iter()).concat()[..6],
        [9, 1, 9, 0, -1, -2]
    );
    assert!(matches!(
        all.clone().subset(vec![10]),
        Err(Error::Index { index: 10, .. })
    ));
    assert!(matches!(
        all.batch(&[10], None),
        Err(Error::Index { index: 10, .. })
    ));
    assert!(all.get(10).is_err());

    let ragged = TensorDataset::new((Tensor::<f32>::zeros([3]), Tensor::<i64>::zeros([2])));
    assert!(matches!(ragged, Err(Error::Value { .. })));
    assert!(TensorDataset::new(Tensor::<f32>::scalar(1.0)).is_err());
    let shared: Arc<dyn Dataset<Sample = (Tensor<f32>, Tensor<i64>)>> = Arc::new(pairs(4));
    assert_eq!(
        labels(DataLoader::new(shared, 3).iter()),
        [vec![0, 1, 2], vec![3]]
    );
}

#[test]
fn strided_tensors_gather_like_their_copies() {
    let t = Tensor::from_fn([4, 6], |i| (i[0] * 6 + i[1]) as f32);
    let view = TensorDataset::new(t.t()).unwrap();
    let copy = TensorDataset::new(t.t().copy()).unwrap();
    let pick = [5, 0, 0, 3];
    assert_eq!(
        view.batch(&pick, None).unwrap().to_vec(),
        copy.batch(&pick, None).unwrap().to_vec()
    );
    let flipped = TensorDataset::new(Tensor::from_fn([3, 0], |_| 0.0f32)).unwrap();
    assert_eq!(flipped.batch(&[2, 2], None).unwrap().shape(), [2, 0]);
}

#[test]
fn samples_of_different_shapes_do_not_stack() {
    struct Growing;
    impl Dataset for Growing {
        type Sample = Tensor<f32>;
        fn len(&self) -> usize {
            3
        }
        fn get(&self, i: usize) -> Result<Tensor<f32>> {
            Ok(Tensor::zeros([i + 1]))
        }
    }
    let e = DataLoader::new(Growing, 3)
        .iter()
        .fallible()
        .next()
        .unwrap()
        .err()
        .unwrap();
    assert_eq!(
        e.to_string(),
        "stack: sample 0 of the batch has shape [1], sample 1 has [2]"
    );
}

#[test]
fn weighted_and_balanced_sampling() {
    let n = 60_000;
    let loader = DataLoader::new(pairs(3), n)
        .sampler(Weighted::new(vec![1.0, 0.0, 3.0], n).unwrap())
        .seed(2);
    let got = labels(loader.epoch(0)).concat();
    assert_eq!(got.len(), n);
    assert!(!got.contains(&1));
    let share = got.iter().filter(|&&y| y == 2).count() as f64 / n as f64;
    assert!(
        (share - 0.75).abs() < 4.0 * (0.75 * 0.25 / n as f64).sqrt(),
        "{share}"
    );

    let y = Tensor::from_fn([1000], |i| i64::from(i[0] >= 900));
    let set = TensorDataset::new(y.clone()).unwrap();
    let loader = DataLoader::new(set, 1000).sampler(Weighted::balanced(&y).unwrap());
    let ones: i64 = (0..20)
        .map(|k| loader.epoch(k).next().unwrap().iter().sum::<i64>())
        .sum();
    assert!(
        (ones as f64 / 20_000.0 - 0.5).abs() < 4.0 * (0.25f64 / 20_000.0).sqrt(),
        "{ones}"
    );

    let w = Weighted::without_replacement(vec![1.0, 0.0, 2.0, 5.0], 3).unwrap();
    let loader = DataLoader::new(pairs(4), 3).sampler(w);
    let mut first = [0; 4];
    for k in 0..2000 {
        let got = labels(loader.epoch(k)).concat();
        assert_eq!(
            got.iter().copied().collect::<BTreeSet<_>>(),
            BTreeSet::from([0, 2, 3])
        );
        first[got[0] as usize] += 1;
    }
    // The first draw has the plain probabilities 1/8, 2/8, 5/8.
    assert!(
        (first[3] as f64 / 2000.0 - 0.625).abs() < 0.044,
        "{first:?}"
    );
    assert!(
        (first[0] as f64 / 2000.0 - 0.125).abs() < 0.030,
        "{first:?}"
    );

    for bad in [
        vec![],
        vec![0.0],
        vec![-1.0, 2.0],
        vec![f64::NAN],
        vec![f64::INFINITY],
        vec![1e308; 3],
    ] {
        assert!(Weighted::new(bad.clone(), 1).is_err(), "{bad:?}");
    }
    assert!(Weighted::without_replacement(vec![1.0, 0.0], 2).is_err());
}

#[test]
fn weights_for_another_set_are_refused() {
    for n in [3, 5] {
        let loader = DataLoader::new(pairs(4), 2).sampler(Weighted::new(vec![1.0; n], 6).unwrap());
        let errors: Vec<String> = loader
            .iter()
            .fallible()
            .map(|r| r.err().unwrap().to_string())
            .collect();
        assert_eq!(
            errors,
            vec![format!("loader: weighted: {n} weights for 4 samples"); 3]
        );
    }
}

#[test]
fn a_sampler_that_lies_is_an_error() {
    struct Liar(usize);
    impl Sampler for Liar {
        fn count(&self, _: usize) -> usize {
            6
        }
        fn order(
            &self,
            len: usize,
            _: &mut wengert_data::random::Xoshiro256PlusPlus,
        ) -> Vec<usize> {
            vec![len; self.0]
        }
    }
    for n in [0, 3, 6] {
        let loader = DataLoader::new(pairs(4), 2).sampler(Liar(n)).workers(n % 2);
        assert!(loader.iter().fallible().all(|r| r.is_err()));
    }
}
