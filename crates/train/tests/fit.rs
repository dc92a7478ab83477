//! The loop: the same bits as by hand, short sets, cadence, reasons to stop.

mod common;
use common::{Batch, bits, digits, loader, model};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wengert_autograd::{Tape, Tensor};
use wengert_data::DataLoader;
use wengert_nn::loss::CrossEntropy;
use wengert_nn::{BatchNorm1d, Forward, Sequential};
use wengert_optim::wrappers::{Accumulator, Ema, Sam, Swa};
use wengert_optim::{Adam, ClipExt, Sgd};
use wengert_train::metric::Accuracy;
use wengert_train::{Error, Every, Source, Stop, Trainer};

#[test]
fn the_same_bits_as_the_loop_by_hand() {
    let set = loader(100, 32);
    let mut by_hand = model(1);
    let mut adam = Adam::new(1e-2);
    let mut tape = Tape::training(7);
    let mut losses = Vec::new();
    for epoch in 0..3 {
        let (mut sum, mut n) = (0.0, 0.0);
        for (x, y) in set.epoch(epoch) {
            tape.reset();
            let mut grads = by_hand.forward(tape.input(&x)).cross_entropy(&y).backward();
            grads.clip_norm(1.0);
            adam.step(&mut by_hand, &grads);
            sum += f64::from(grads.loss()) * x.shape()[0] as f64;
            n += x.shape()[0] as f64;
        }
        losses.push(sum / n);
    }
    let mut trainer = Trainer::new(model(1), CrossEntropy::default(), Adam::new(1e-2))
        .seed(7)
        .clip_norm(1.0)
        .metric(Accuracy::new());
    let history = trainer.fit(&set, Some(&loader(20, 20)), 3).unwrap();
    assert!(bits(&trainer.model) == bits(&by_hand));
    let column: Vec<f64> = history.column("loss").into_iter().map(|x| x.1).collect();
    assert_eq!(column, losses);
    assert_eq!((history.steps, history.stop), (12, Stop::Epochs));
    assert_eq!(
        history.rows[0]
            .scores
            .iter()
            .map(|s| s.0)
            .collect::<Vec<_>>(),
        ["loss", "accuracy", "val_loss", "val_accuracy"]
    );
}

#[test]
fn accumulation_by_hand() {
    // 100 samples in batches of 16: the last is short, and an epoch of 7 batches leaves one over from steps of 3.
    let set = loader(100, 16);
    let mut by_hand = model(1);
    let mut sgd = Sgd::new(0.1).momentum(0.9);
    let mut accumulator = Accumulator::new(3);
    let mut tape = Tape::training(0);
    for epoch in 0..2 {
        for (x, y) in set.epoch(epoch) {
            tape.reset();
            let grads = by_hand.forward(tape.input(&x)).cross_entropy(&y).backward();
            if let Some(mean) = accumulator.add(&mut by_hand, grads) {
                sgd.step(&mut by_hand, &mean);
            }
        }
        if let Some(mean) = accumulator.flush() {
            sgd.step(&mut by_hand, &mean);
        }
    }
    let mut trainer = Trainer::new(
        model(1),
        CrossEntropy::default(),
        Sgd::new(0.1).momentum(0.9),
    )
    .accumulate(3);
    let history = trainer.fit(&set, None, 2).unwrap();
    assert_eq!(history.steps, 6);
    assert!(bits(&trainer.model) == bits(&by_hand));
}

#[test]
fn sharpness_aware_steps_by_hand() {
    let set = loader(64, 32);
    let mut by_hand = model(1);
    let mut sam = Sam::new(Sgd::new(0.1), 0.05);
    let mut tape = Tape::training(0);
    let mut k = 0;
    for epoch in 0..2 {
        for (x, y) in set.epoch(epoch) {
            k += 1;
            sam.step(&mut by_hand, |m| {
                tape.reset();
                tape.set_step_index(k);
                m.forward(tape.input(&x)).cross_entropy(&y).backward()
            });
        }
    }
    let plain = {
        let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
        t.fit(&set, None, 2).unwrap();
        bits(&t.model)
    };
    let mut trainer =
        Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1)).sharpness_aware(0.05);
    trainer.fit(&set, None, 2).unwrap();
    assert!(bits(&trainer.model) == bits(&by_hand));
    assert!(bits(&trainer.model) != plain);
}

#[test]
fn averaged_weights_are_judged_and_the_others_trained() {
    let set = loader(96, 32);
    let test = DataLoader::new(digits(50).dataset(), 50);
    let mut plain = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
    plain.fit(&set, None, 3).unwrap();

    let mut ema = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1)).ema(Ema::new(0.9));
    ema.fit(&set, Some(&test), 3).unwrap();
    assert!(bits(&ema.model) == bits(&plain.model));
    let averaged = ema.averaged_model();
    assert!(bits(&averaged) != bits(&plain.model));
    let loss = |m: &Sequential| {
        let (x, y) = test.epoch(0).next().unwrap();
        let tape = Tape::inference();
        f64::from(m.forward(tape.input(&x)).cross_entropy(&y).item())
    };
    assert_eq!(ema.evaluate(&test).unwrap()["loss"], loss(&averaged));
    assert_eq!(ema.history().last("val_loss"), Some(loss(&averaged)));

    let mut swa = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1)).swa(Swa::new(), 1);
    swa.fit(&set, Some(&test), 3).unwrap();
    assert!(bits(&swa.model) == bits(&plain.model));
    // The mean of the weights after epochs 2 and 3.
    let mut two = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
    two.fit(&set, None, 2).unwrap();
    let mut mean = Swa::new();
    mean.update(&two.model);
    mean.update(&plain.model);
    let averaged = mean.averaged(&two.model);
    assert!(bits(&swa.averaged_model()) == bits(&averaged));
    assert_eq!(swa.evaluate(&test).unwrap()["loss"], loss(&averaged));
}

#[test]
fn statistics_are_refreshed_without_a_step() {
    let net = || (BatchNorm1d::<f32>::new(64), model(1));
    let set = loader(96, 32);
    let mut trainer = Trainer::new(net(), CrossEntropy::default(), Sgd::new(0.1));
    let weights = |m: &(BatchNorm1d, Sequential)| bits(&m.1);
    let (before, statistics) = (weights(&trainer.model), bits(&trainer.model.0));
    trainer.refresh_statistics(&set).unwrap();
    assert!(weights(&trainer.model) == before);
    assert!(bits(&trainer.model.0) != statistics);
}

#[test]
fn short_sets() {
    let fit = |n: usize, batch: usize| {
        let mut trainer = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
        let all = digits(n.max(1));
        let set = all.select(&(0..n).collect::<Vec<_>>()).unwrap();
        let set = DataLoader::new(set.dataset(), batch);
        trainer.fit(&set, None, 2).map(|h| h.steps)
    };
    let e = fit(0, 4).unwrap_err();
    assert!(matches!(e, Error::Empty { .. }));
    assert_eq!(e.to_string(), "training set: an epoch has no batches");
    assert_eq!(fit(1, 4).unwrap(), 2); // one sample
    assert_eq!(fit(3, 100).unwrap(), 2); // a batch larger than the set
    assert_eq!(fit(5, 4).unwrap(), 4); // a last batch of one
    let mut trainer = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
    let none: Vec<Batch> = Vec::new();
    let e = trainer.fit(&loader(4, 2), Some(&none), 1).unwrap_err();
    assert_eq!(e.to_string(), "validation set: an epoch has no batches");
    assert!(trainer.evaluate(&none).is_err());

    // Batch norm refuses a last batch of one, and says so; without it the run goes through.
    let net = || (BatchNorm1d::<f32>::new(64), model(1));
    let mut trainer = Trainer::new(net(), CrossEntropy::default(), Sgd::new(0.1));
    let panic = catch_unwind(AssertUnwindSafe(|| trainer.fit(&loader(5, 4), None, 1)));
    let text = panic.err().unwrap();
    let text = text.downcast_ref::<String>().unwrap();
    assert!(text.contains("more than one value per channel"), "{text}");
    let set = loader(5, 4).drop_last(true);
    let mut trainer = Trainer::new(net(), CrossEntropy::default(), Sgd::new(0.1));
    assert_eq!(trainer.fit(&set, None, 3).unwrap().steps, 3);
}

#[test]
fn cadence() {
    let set = loader(100, 10);
    let test = loader(20, 20);
    let mut trainer = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1))
        .metric(Accuracy::new())
        .training_metrics(false)
        .validate_every(Every::Steps(4));
    let history = trainer.fit(&set, Some(&test), 2).unwrap();
    let at: Vec<(u64, u64)> = history.rows.iter().map(|r| (r.epoch, r.step)).collect();
    assert_eq!(
        at,
        [(1, 4), (1, 8), (1, 10), (2, 12), (2, 16), (2, 20), (2, 20)]
    );
    let judged: Vec<u64> = history
        .column("val_loss")
        .into_iter()
        .map(|x| x.0)
        .collect();
    assert_eq!(judged, [4, 8, 12, 16, 20]);
    assert_eq!(
        history.columns(),
        ["epoch", "step", "lr", "loss", "val_loss", "val_accuracy"]
    );

    let mut trainer = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1))
        .validate_every(Every::Epochs(2));
    let history = trainer.fit(&set, Some(&test), 5).unwrap();
    let judged: Vec<u64> = history
        .column("val_loss")
        .into_iter()
        .map(|x| x.0)
        .collect();
    assert_eq!(judged, [20, 40, 50]);
    // A second call goes on where the first ended.
    assert_eq!(trainer.fit(&set, Some(&test), 5).unwrap().steps, 50);
    assert_eq!(trainer.fit(&set, Some(&test), 6).unwrap().steps, 60);
}

#[test]
fn reasons_to_stop() {
    let set = loader(100, 10);
    let fresh = || Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
    let mut t = fresh().max_steps(13);
    let h = t.fit(&set, None, 9).unwrap();
    assert_eq!((h.steps, h.stop), (13, Stop::Steps));

    let flag = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&flag);
    let mut t = fresh().stop_flag(Arc::clone(&flag)).on_step(move |run, _| {
        raise.store(run.step == 5, Ordering::Relaxed);
        Ok(())
    });
    let h = t.fit(&set, None, 9).unwrap();
    assert_eq!((h.steps, h.stop), (5, Stop::Requested));

    let mut t = fresh().on_row(|run, row| {
        if row.epoch == 2 {
            run.stop("enough");
        }
        Ok(())
    });
    let h = t.fit(&set, None, 9).unwrap();
    assert_eq!((h.steps, h.stop), (20, Stop::Callback("enough".into())));

    let mut t = fresh().max_time(Duration::ZERO);
    let h = t.fit(&set, None, 9).unwrap();
    assert_eq!((h.steps, h.stop), (0, Stop::Time));

    // An interrupted run goes on to the same bits as one that was not.
    let mut t = fresh().max_steps(13);
    t.fit(&set, None, 2).unwrap();
    let mut t = t.max_steps(1000);
    let h = t.fit(&set, None, 2).unwrap();
    let mut whole = fresh();
    let w = whole.fit(&set, None, 2).unwrap();
    assert_eq!(h.rows, w.rows);
    assert!(bits(&t.model) == bits(&whole.model));
}

/// A batch that makes the data set, the loss or a callback panic.
#[test]
fn panics_come_out_and_the_trainer_lives() {
    struct Bad(AtomicU64);
    impl wengert_data::Dataset for Bad {
        type Sample = (Tensor<f32>, i64);
        fn len(&self) -> usize {
            40
        }
        fn get(&self, i: usize) -> wengert_data::Result<Self::Sample> {
            if i == 17 && self.0.fetch_add(1, Ordering::Relaxed) == 0 {
                panic!("sample 17");
            }
            Ok((Tensor::full([64], i as f32 / 40.0), (i % 10) as i64))
        }
    }
    let begun = Instant::now();
    for workers in [0, 2] {
        let set = DataLoader::new(Bad(AtomicU64::new(0)), 8).workers(workers);
        let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
        let p = catch_unwind(AssertUnwindSafe(|| t.fit(&set, None, 1))).err();
        assert_eq!(*p.unwrap().downcast_ref::<&str>().unwrap(), "sample 17");
        assert_eq!(t.steps(), 2);
        // The batch at fault is passed over.
        assert_eq!(t.fit(&set, None, 1).unwrap().steps, 4);
        assert_eq!(t.fit(&set, None, 2).unwrap().steps, 9);
    }
    let set = loader(40, 8);
    let calls = AtomicU64::new(0);
    let mut t = Trainer::from_fn(
        model(1),
        |m: &Sequential, tape, (x, y): &Batch| {
            let scores = m.forward(tape.input(x));
            assert!(
                calls.fetch_add(1, Ordering::Relaxed) != 2,
                "loss of batch 2"
            );
            scores.cross_entropy(y)
        },
        Adam::new(1e-2),
    );
    let p = catch_unwind(AssertUnwindSafe(|| t.fit(&set, None, 1))).err();
    assert_eq!(
        *p.unwrap().downcast_ref::<&str>().unwrap(),
        "loss of batch 2"
    );
    assert_eq!(t.fit(&set, None, 1).unwrap().steps, 4);

    let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1)).on_step(|run, _| {
        if run.step == 3 {
            panic!("callback")
        } else {
            Ok(())
        }
    });
    assert!(catch_unwind(AssertUnwindSafe(|| t.fit(&set, None, 1))).is_err());
    assert_eq!(t.fit(&set, None, 1).unwrap().steps, 5);

    let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1))
        .on_step(|_, _| Err(Error::other("no")));
    assert_eq!(t.fit(&set, None, 1).unwrap_err().to_string(), "no");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn errors_of_the_data_name_the_batch() {
    let set = loader(40, 8).transform(|batch, _| {
        if batch.1.get(&[0]) == 4 {
            return Err(wengert_data::Error::Value {
                op: "look",
                message: "a four".into(),
            });
        }
        Ok(batch)
    });
    let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1));
    let e = t.fit(&set, None, 50).unwrap_err();
    let Error::Data { epoch, batch, .. } = &e else {
        panic!("{e}")
    };
    assert_eq!((t.epochs(), t.steps()), (*epoch, epoch * 5 + batch));
    assert!(e.to_string().ends_with("look: a four"), "{e}");
}

#[test]
fn a_step_that_cannot_get_its_memory_is_an_error() {
    let set = loader(40, 8);
    let mut t = Trainer::from_fn(
        model(1),
        |m: &Sequential, tape, (x, y): &Batch| {
            // Ones cost nothing; what is computed from them does.
            let rows = tape.ones([1 << 22, 1 << 20]);
            m.forward(tape.input(x)).cross_entropy(y) + rows.cumsum(0).sum() * 0.0
        },
        Sgd::new(0.1),
    );
    let e = t.fit(&set, None, 1).unwrap_err();
    assert!(matches!(e, Error::Memory { step: 0, .. }), "{e}");
    let set: &dyn Source<Batch> = &set;
    assert_eq!(set.batches(), 5);
}

#[test]
fn a_backward_pass_of_ones_own() {
    let set = loader(32, 8);
    let mut seen = Vec::new();
    {
        let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1)).backward_with(
            |loss, model: &Sequential| {
                let grads = loss.backward();
                seen.push((model.len(), f64::from(grads.loss())));
                grads
            },
        );
        t.fit(&set, None, 1).unwrap();
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|s| s.0 == 4 && s.1 > 0.0));
}

/// Models that are only borrowed, and types of their own.
#[test]
fn borrowed_models() {
    let mut net = model(1);
    let mut t = Trainer::from_fn(
        &mut net,
        |m: &&mut Sequential, tape, (x, y): &Batch| m.forward(tape.input(x)).cross_entropy(y),
        Sgd::new(0.1),
    );
    t.fit(&loader(32, 8), None, 1).unwrap();
    drop(t);
    let before = bits(&model(1));
    assert!(bits(&net) != before);
}

#[test]
fn a_margin_that_decides_nothing_is_refused() {
    use wengert_train::EarlyStopping;
    for margin in [f64::NAN, f64::INFINITY, -1e-3] {
        let made = || EarlyStopping::minimize("loss", 1).min_delta(margin);
        assert!(catch_unwind(made).is_err(), "{margin}");
    }
}
