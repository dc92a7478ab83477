//! 100 steps against 50, saved, a new trainer, 50 more: the same bits, wherever the cut is.

mod common;
use common::{Dir, bits, digits, model};
use wengert_data::augment::{Compose, GaussianNoise, RandomCrop};
use wengert_data::{DataLoader, Digits};
use wengert_nn::loss::CrossEntropy;
use wengert_nn::state::Checkpoint;
use wengert_nn::{BatchNorm1d, Flatten, Sequential};
use wengert_optim::schedule::{Cosine, OneCycle, Plateau};
use wengert_optim::transform::Pipeline;
use wengert_optim::wrappers::{Ema, Lookahead, Swa};
use wengert_optim::{Adam, AdamW, Lion, Muon, RmsProp, Schedule, Sgd};
use wengert_train::metric::{Accuracy, ConfusionMatrix, Perplexity, TopK};
use wengert_train::{
    CsvLog, EarlyStopping, Error, Every, JsonLog, KeepBest, ReduceOnPlateau, Trainer,
};

type Net = (Flatten, BatchNorm1d, Sequential);
type T<'a> = Trainer<'a, Net, (wengert_autograd::Tensor, wengert_autograd::Tensor<i64>)>;

fn net(seed: u64) -> Net {
    (Flatten::default(), BatchNorm1d::new(64), model(seed))
}

/// Shuffled and augmented, with a short last batch: 9 batches of 12, then one of 4.
fn train() -> common::Loader {
    let images = Digits::load().as_images().train;
    let set = images.select(&(0..112).collect::<Vec<_>>()).unwrap();
    let recipe = Compose::new()
        .then(RandomCrop::padded(1))
        .then(GaussianNoise::new(0.1).unwrap());
    DataLoader::new(set.dataset(), 12)
        .shuffle(5)
        .augment(recipe)
}

fn valid() -> common::Loader {
    let images = Digits::load().as_images().test;
    let set = images.select(&(0..40).collect::<Vec<_>>()).unwrap();
    DataLoader::new(set.dataset(), 16)
}

fn run<'a>(kind: usize, seed: u64) -> T<'a> {
    let loss = CrossEntropy {
        smoothing: 0.1,
        ..Default::default()
    };
    let t = match kind {
        0 => T::new(
            net(seed),
            loss,
            Sgd::new(Cosine::new(0.1, 100).warmup(7)).momentum(0.9),
        ),
        1 => T::new(net(seed), loss, Adam::new(OneCycle::new(0.02, 100)))
            .ema(Ema::new(0.95).with_buffers()),
        2 => T::new(net(seed), loss, AdamW::new(1e-2))
            .accumulate(3)
            .clip_norm(0.5),
        3 => T::new(net(seed), loss, Lookahead::new(RmsProp::new(1e-3), 5, 0.5)).swa(Swa::new(), 2),
        4 => T::new(net(seed), loss, Muon::new(0.02))
            .gradients(Pipeline::new().zclip().noise(0.01, 3)),
        5 => T::new(net(seed), loss, Lion::new(1e-3)).sharpness_aware(0.05),
        _ => T::new(
            net(seed),
            loss,
            Sgd::new(0.1).reduce_on_plateau(Plateau::new().patience(0).factor(0.5)),
        )
        .callback(ReduceOnPlateau::new("val_loss")),
    };
    t.seed(11)
        .metric(Accuracy::new())
        .metric(TopK::new(3))
        .metric(ConfusionMatrix::new(10))
        .metric(Perplexity::new())
        .validate_every(Every::Steps(7))
        .callback(EarlyStopping::minimize("val_loss", 1000).restore_best())
}

/// Everything that a run leaves behind, as the bytes of a checkpoint.
fn end(mut t: T<'_>, steps: u64) -> (Vec<u8>, Vec<u32>) {
    t = t.max_steps(steps);
    t.fit(&train(), Some(&valid()), 1000).unwrap();
    (t.to_checkpoint().to_bytes().unwrap(), bits(&t.model))
}

#[test]
fn bit_for_bit() {
    let dir = Dir::new("resume");
    for kind in 0..7 {
        let total = 36;
        let whole = end(run(kind, 1), total);
        // In the middle of an epoch, at its end, and just before it.
        for cut in [13, 20, 3, 19] {
            let path = dir.join("cut");
            let mut first = run(kind, 1).max_steps(cut).checkpoint(&path);
            first.fit(&train(), Some(&valid()), 1000).unwrap();
            let rows = first.history().rows.len();
            drop(first);
            // Other weights: all of the state comes from the file.
            let mut second = run(kind, 2);
            second.resume(&path).unwrap();
            assert_eq!((second.steps(), second.history().rows.len()), (cut, rows));
            let resumed = end(second, total);
            assert!(resumed.1 == whole.1, "weights of kind {kind}, cut at {cut}");
            assert!(resumed.0 == whole.0, "state of kind {kind}, cut at {cut}");
        }
    }
}

/// `fit` of an interrupted run brings the best weights back; the state that was saved is that of the last step.
#[test]
fn a_saved_state_is_saved_again_byte_for_byte() {
    let dir = Dir::new("again");
    let path = dir.join("a");
    let mut t = run(1, 1).max_steps(25).checkpoint(&path);
    t.fit(&train(), Some(&valid()), 9).unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut other = run(1, 4);
    assert!(!other.resume_if_exists(dir.join("none")).unwrap());
    assert!(other.resume_if_exists(&path).unwrap());
    other.save(dir.join("b")).unwrap();
    assert!(std::fs::read(dir.join("b")).unwrap() == before);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut t = run(0, 1).max_steps(13);
    t.fit(&train(), Some(&valid()), 9).unwrap();
    let state = t.to_checkpoint();
    let refused = |other: T<'_>, what: &str| {
        let mut other = other.max_steps(2);
        other.fit(&train(), Some(&valid()), 9).unwrap();
        let before = other.to_checkpoint().to_bytes().unwrap();
        let e = other.restore(&state).unwrap_err().to_string();
        assert!(e.contains(what), "{e}");
        assert!(
            other.to_checkpoint().to_bytes().unwrap() == before,
            "{what}"
        );
    };
    refused(run(0, 1).seed(12), "`seed` is 12 here and 11 there");
    refused(run(0, 1).accumulate(2), "`accumulate`");
    refused(
        run(0, 1).metric(TopK::new(2)),
        "`metrics` is 5 here and 4 there",
    );
    refused(
        run(0, 1).ema(Ema::new(0.5)),
        "the average is `ema` here and `none` there",
    );
    refused(run(0, 1).sharpness_aware(0.1), "sharpness-aware");
    refused(run(0, 1).clip_norm(1.0), "the saved state does not fit");
    // Found out only when model and optimizer were read: they go back.
    refused(run(2, 3).accumulate(1), "the state is one of `sgd`");
    let e = run(0, 1).restore(&Checkpoint::new()).unwrap_err();
    assert!(e.to_string().contains("not written by a trainer"), "{e}");

    // Another loader in the middle of an epoch is refused when the run goes on.
    let mut other = run(0, 1);
    other.restore(&state).unwrap();
    let set = digits(112).reshaped(&[1, 8, 8]).unwrap();
    let e = other
        .fit(&DataLoader::new(set.dataset(), 12).shuffle(6), None, 9)
        .unwrap_err();
    assert!(
        matches!(&e, Error::Resume { .. }) && e.to_string().contains("other batches"),
        "{e}"
    );
    other.max_steps(14).fit(&train(), None, 9).unwrap_err(); // `val_loss` is no column without validation
}

#[test]
fn logs_hold_every_row_once() {
    let dir = Dir::new("logs");
    let path = |n: &str| dir.join(n);
    let logged = |seed, name: &str| {
        run(0, seed)
            .callback(CsvLog::new(path(&format!("{name}.csv"))))
            .callback(JsonLog::new(path(&format!("{name}.jsonl"))))
            .callback(KeepBest::maximize(
                "val_accuracy",
                path(&format!("{name}.best")),
            ))
    };
    let mut whole = logged(1, "whole");
    whole.fit(&train(), Some(&valid()), 3).unwrap();
    let mut first = logged(1, "cut").max_steps(17).checkpoint(path("state"));
    first.fit(&train(), Some(&valid()), 3).unwrap();
    // Lines of a run that was killed after its last checkpoint.
    std::fs::write(path("cut.csv"), "rubbish").unwrap();
    let mut second = logged(1, "cut");
    second.resume(path("state")).unwrap();
    second.fit(&train(), Some(&valid()), 3).unwrap();
    for kind in ["csv", "jsonl", "best"] {
        let read = |name: &str| std::fs::read(path(&format!("{name}.{kind}"))).unwrap();
        assert!(read("whole") == read("cut"), "{kind}");
    }
    let csv = std::fs::read_to_string(path("whole.csv")).unwrap();
    assert_eq!(csv, whole.history().to_csv());
    let head =
        "epoch,step,lr,loss,accuracy,top3,precision,recall,f1,perplexity,val_loss,val_accuracy,";
    assert!(csv.starts_with(head), "{csv}");
    let json = std::fs::read_to_string(path("whole.jsonl")).unwrap();
    assert_eq!(json.lines().count(), whole.history().rows.len());
    assert!(
        json.starts_with("{\"kind\":\"row\",\"epoch\":1,\"step\":7,\"lr\":"),
        "{json}"
    );
    let mut best = net(9);
    wengert_nn::StateExt::load(&mut best, path("whole.best")).unwrap();
}
