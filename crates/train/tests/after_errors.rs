//! A trainer after an error or a panic: it goes on with the next batch, with its own weights, and counts nothing twice.

mod common;
use common::{Batch, bits, digits, loader, model};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wengert_autograd::Tensor;
use wengert_data::{DataLoader, Dataset, Result};
use wengert_nn::Forward;
use wengert_nn::loss::CrossEntropy;
use wengert_optim::Sgd;
use wengert_optim::wrappers::{Ema, Swa};
use wengert_train::metric::{Accuracy, Named, TopK};
use wengert_train::{Error, Every, OnNonFinite, Trainer};

/// Fails at one `get`, counted over all epochs.
struct Failing {
    base: wengert_data::Labeled,
    calls: Arc<AtomicU64>,
    at: u64,
    panics: bool,
}

impl Dataset for Failing {
    type Sample = Batch;
    fn len(&self) -> usize {
        self.base.len()
    }
    fn get(&self, i: usize) -> Result<Batch> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            assert!(!self.panics, "a set that panics");
            return Err(wengert_data::Error::Index {
                op: "failing",
                index: i,
                len: 0,
            });
        }
        self.base.dataset().get(i)
    }
}

fn failing(n: usize, at: u64, panics: bool) -> Failing {
    Failing {
        base: digits(n),
        calls: Arc::default(),
        at,
        panics,
    }
}

fn trainer<'a>() -> Trainer<'a, wengert_nn::Sequential, Batch> {
    Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1)).metric(Accuracy::new())
}

#[test]
fn goes_on_with_the_next_batch_in_any_epoch() {
    for (epoch, panics) in [(0, false), (0, true), (1, false), (2, true)] {
        let set = failing(64, 64 * epoch + 20, panics);
        let batches = DataLoader::new(set, 16).shuffle(1);
        let mut t = trainer();
        let first = catch_unwind(AssertUnwindSafe(|| t.fit(&batches, None, 3)));
        assert!(!matches!(first, Ok(Ok(_))));
        assert_eq!(t.steps(), 4 * epoch + 1);
        let history = t.fit(&batches, None, 3).unwrap();
        // The batch at fault alone is left out.
        assert_eq!((history.steps, history.rows.len()), (11, 3));
    }
    // So does a state that is saved then.
    let batches = DataLoader::new(failing(64, 64 + 20, false), 16).shuffle(1);
    let mut t = trainer();
    t.fit(&batches, None, 3).unwrap_err();
    let mut next = trainer();
    next.restore(&t.to_checkpoint()).unwrap();
    let ended = next.fit(&batches, None, 3).unwrap();
    assert!(ended.rows == t.fit(&batches, None, 3).unwrap().rows);
    assert!(bits(&next.model) == bits(&t.model));
    // Not with other batches than those of the epoch that has begun.
    let batches = DataLoader::new(failing(64, 20, false), 16).shuffle(1);
    let mut t = trainer();
    t.fit(&batches, None, 3).unwrap_err();
    let other = DataLoader::new(digits(64).dataset(), 16).shuffle(2);
    assert!(matches!(t.fit(&other, None, 3), Err(Error::Resume { .. })));
}

#[test]
fn a_panic_while_judging_leaves_the_trained_weights() {
    let batches = loader(64, 16);
    let make = || trainer().ema(Ema::new(0.9)).validate_every(Every::Steps(3));
    let mut plain = make().max_steps(6);
    plain.fit(&batches, None, 3).unwrap();

    // The second validation panics.
    let valid = DataLoader::new(failing(32, 40, true), 16);
    let mut t = make();
    catch_unwind(AssertUnwindSafe(|| t.fit(&batches, Some(&valid), 3))).unwrap_err();
    assert_eq!(t.steps(), 6);
    assert!(bits(&t.model) == bits(&plain.model));
    let bad = DataLoader::new(failing(32, 3, true), 16);
    catch_unwind(AssertUnwindSafe(|| t.evaluate(&bad))).unwrap_err();
    assert!(bits(&t.model) == bits(&plain.model));

    // The metrics of the running epoch, too: the same rows as without the panic, but for the one that was lost.
    let ended = t.fit(&batches, Some(&valid), 3).unwrap();
    let mut whole = make();
    let whole = whole.fit(&batches, Some(&loader(32, 16)), 3).unwrap();
    let column = |h: &wengert_train::History| h.column("accuracy");
    let rest: Vec<_> = (column(&whole).into_iter())
        .enumerate()
        .filter(|(i, _)| *i != 2)
        .map(|(_, x)| x)
        .collect();
    assert_eq!(column(&ended), rest);
}

/// The second pass of a sharpness-aware step is taken at other weights.
#[test]
fn a_panic_in_a_second_pass_leaves_the_trained_weights() {
    let batches = loader(64, 16);
    let calls = std::cell::Cell::new(0);
    let mut t = Trainer::from_fn(
        model(1),
        |m: &wengert_nn::Sequential, tape: &wengert_autograd::Tape, (x, y): &Batch| {
            calls.set(calls.get() + 1);
            assert_ne!(calls.get(), 6, "a loss that panics");
            m.forward(tape.input(x)).cross_entropy(y)
        },
        Sgd::new(0.1),
    )
    .sharpness_aware(0.5);
    catch_unwind(AssertUnwindSafe(|| t.fit(&batches, None, 1))).unwrap_err();
    assert_eq!(t.steps(), 2);
    let mut plain = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1))
        .sharpness_aware(0.5)
        .max_steps(2);
    plain.fit(&batches, None, 1).unwrap();
    assert!(bits(&t.model) == bits(&plain.model));
}

#[test]
fn an_epoch_is_told_and_averaged_once() {
    let batches = loader(64, 16);
    let make = || trainer().swa(Swa::new(), 0);
    let mut whole = make();
    let whole_rows = whole.fit(&batches, None, 3).unwrap().rows;
    for panics in [false, true] {
        let mut open = true;
        let mut t = make().on_row(move |_, row| {
            if row.epoch == 2 && std::mem::take(&mut open) {
                assert!(!panics, "a callback that panics");
                return Err(Error::other("a callback that errs"));
            }
            Ok(())
        });
        let first = catch_unwind(AssertUnwindSafe(|| t.fit(&batches, None, 3)));
        assert!(!matches!(first, Ok(Ok(_))));
        let rows = t.fit(&batches, None, 3).unwrap().rows;
        assert!(rows == whole_rows);
        assert!(bits(&t.averaged_model()) == bits(&whole.averaged_model()));
    }
    // A validation that errs is repeated, without a second mean.
    let valid = DataLoader::new(failing(32, 40, false), 16);
    let mut t = make();
    t.fit(&batches, Some(&valid), 3).unwrap_err();
    let rows = t.fit(&batches, Some(&valid), 3).unwrap().rows;
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|r| r.get("val_loss").is_some()));
    assert!(bits(&t.averaged_model()) == bits(&whole.averaged_model()));
}

#[test]
fn two_columns_have_two_names() {
    let batches = loader(64, 16);
    let mut t = trainer().metric(Accuracy::new().ignore(3));
    let refused = |e: Error| {
        let text = e.to_string();
        assert!(
            text.contains("`accuracy`") && text.contains("Named"),
            "{text}"
        );
    };
    refused(t.fit(&batches, None, 1).unwrap_err());
    refused(t.evaluate(&batches).unwrap_err());
    let mut t = trainer().metric(Named::new("most", Accuracy::new().ignore(3)));
    let scores = t.evaluate(&batches).unwrap();
    assert_ne!(scores["accuracy"], scores["most_accuracy"]);
}

#[test]
fn another_metric_is_another_trainer() {
    let batches = loader(64, 16);
    let mut t = trainer();
    t.fit(&batches, None, 1).unwrap();
    let state = t.to_checkpoint();
    let mut other =
        Trainer::new(model(2), CrossEntropy::default(), Sgd::new(0.1)).metric(TopK::new(2));
    let before = bits(&other.model);
    let e = other.restore(&state).unwrap_err().to_string();
    assert!(e.contains("accuracy") && e.contains("top2"), "{e}");
    assert!(bits(&other.model) == before);
}

/// What was noted of bad batches stays when a state is refused half way.
#[test]
fn a_refused_state_forgets_nothing() {
    let nan = (Tensor::full([4, 64], f32::NAN), Tensor::zeros([4]));
    let mut t = trainer().on_non_finite(OnNonFinite::Skip { in_a_row: 9 });
    t.fit(&vec![nan], None, 1).unwrap();
    let noted = t.history().non_finite.len();
    assert_eq!(noted, 1);
    let adam = wengert_optim::Adam::new(0.1);
    let other = Trainer::<_, Batch>::new(model(1), CrossEntropy::default(), adam);
    let state = other.metric(Accuracy::new()).to_checkpoint();
    t.restore(&state).unwrap_err();
    assert_eq!(t.history().non_finite.len(), noted);
}

/// Numbers that contradict each other or cannot be counted on from are refused.
#[test]
fn a_place_that_is_none_is_refused() {
    use wengert_nn::state::Value;
    let batches = loader(64, 16);
    let mut t = trainer().max_steps(6);
    t.fit(&batches, None, 9).unwrap();
    let whole = t.to_checkpoint();
    for name in ["epoch", "batch", "step", "tape_step", "bad"] {
        for n in [u64::MAX, 3] {
            // Any number is possible but for the place in the data, which stands twice.
            if n == 3 && !["epoch", "batch"].contains(&name) {
                continue;
            }
            let mut state = whole.clone();
            let old = state.value("trainer").and_then(Value::as_map).unwrap();
            let new: Vec<(String, Value)> = (old.iter())
                .map(|(k, v)| match k == name {
                    true => (k.clone(), Value::from(n)),
                    false => (k.clone(), v.clone()),
                })
                .collect();
            state.put_value("trainer", Value::map(new));
            let e = trainer().restore(&state).unwrap_err();
            assert!(matches!(e, Error::Resume { .. }), "{name}: {e}");
        }
    }
}
