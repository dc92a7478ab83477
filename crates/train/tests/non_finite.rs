//! A loss that is NaN: where it began, what is done, what is never overwritten.

mod common;
use common::{Batch, Dir, bits, loader, model};
use wengert_autograd::{Tape, Tensor, Var};
use wengert_nn::{Forward, Sequential, StateExt};
use wengert_optim::{NonFinitePolicy, Sgd};
use wengert_train::{Error, KeepBest, OnNonFinite, Trainer};

/// Where the poison goes.
#[derive(Clone, Copy, PartialEq)]
enum Poison {
    Input,
    Log,
    Root,
}

/// A loss that goes wrong for batches whose first label is 4.
fn loss<'t>(m: &Sequential, tape: &'t Tape, (x, y): &Batch, poison: Poison) -> Var<'t> {
    let bad = y.get(&[0]) == 4 && tape.is_training();
    let x = if bad && poison == Poison::Input {
        let mut x = x.copy();
        x.as_mut_slice()[3] = f32::NAN;
        x
    } else {
        x.clone()
    };
    let scores = m.forward(tape.input(&x));
    let loss = scores.cross_entropy(y);
    match poison {
        _ if !bad => loss,
        Poison::Input => loss,
        Poison::Log => loss + (scores.square() * 0.0 - 1.0).ln().sum(),
        // The value is fine; the derivative of the root at 0 is not.
        Poison::Root => loss + (scores * 0.0).square().sum().sqrt() * 0.5,
    }
}

fn trainer<'a>(poison: Poison) -> Trainer<'a, Sequential, Batch> {
    Trainer::from_fn(
        model(1),
        move |m: &Sequential, tape, b: &Batch| loss(m, tape, b, poison),
        Sgd::new(0.1),
    )
}

#[test]
fn the_first_tensor_is_named() {
    for (poison, tensor, layer) in [
        (Poison::Input, "input", ""),
        (Poison::Log, "the value of `ln`", "3"),
        (Poison::Root, "the gradient of `sum`", "3"),
    ] {
        let set = loader(100, 10);
        let mut t = trainer(poison);
        let e = t.fit(&set, None, 9).unwrap_err();
        let Error::NonFinite(report) = &e else {
            panic!("{e}")
        };
        println!("{report}");
        assert_eq!(report.tensor, tensor, "{report}");
        assert_eq!(report.layer, layer, "{report}");
        assert_eq!(report.step, report.epoch * 10 + report.batch);
        assert!(report.nans + report.infinities > 0);
        assert_eq!(report.loss.is_nan(), poison != Poison::Root);
        let (file, line) = report.location.as_ref().unwrap();
        assert!(file.ends_with("non_finite.rs") && *line > 20, "{report}");
        // The weights are those of the steps before, and finite.
        assert_eq!(t.steps(), report.step);
        assert!(
            bits(&t.model)
                .iter()
                .all(|b| f32::from_bits(*b).is_finite())
        );
        assert_eq!((t.history().skipped, t.history().non_finite.len()), (1, 1));
    }
}

#[test]
fn bad_batches_are_left_out_if_so_configured() {
    let set = loader(100, 10);
    for poison in [Poison::Log, Poison::Root] {
        let bad: u64 = (0..3)
            .flat_map(|e| set.epoch(e))
            .map(|(_, y)| u64::from(y.get(&[0]) == 4))
            .sum();
        assert!(bad > 0);
        let mut t = trainer(poison).on_non_finite(OnNonFinite::Skip { in_a_row: 3 });
        let h = t.fit(&set, None, 3).unwrap();
        assert_eq!((h.steps, h.skipped), (30 - bad, bad));
        assert!(h.last("loss").unwrap().is_finite());
    }
    // A model that is broken does not skip for ever.
    let mut t = trainer(Poison::Log).on_non_finite(OnNonFinite::Skip { in_a_row: 3 });
    t.fit(&set, None, 1).unwrap();
    let before = t.history().skipped;
    poison_weights(&mut t.model);
    let e = t.fit(&set, None, 2).unwrap_err();
    assert!(
        e.to_string()
            .contains("parameter `0.weight` [16, 64] with 1 NaN"),
        "{e}"
    );
    assert_eq!(t.history().skipped, before + 4);
}

fn poison_weights(m: &mut Sequential) {
    use wengert_autograd::ModuleExt;
    m.for_each_param_mut(|path, p| {
        if path == "0.weight" {
            p.value_mut().as_mut_slice()[5] = f32::NAN;
        }
    });
}

/// With the optimizer told not to look, NaN reaches the weights: no file is overwritten by them.
#[test]
fn a_checkpoint_is_not_overwritten_by_nan() {
    let dir = Dir::new("nan");
    let (state, best) = (dir.join("state"), dir.join("best"));
    let optimizer = Sgd::new(0.1).non_finite(NonFinitePolicy::Ignore);
    let mut t = Trainer::from_fn(
        model(1),
        |m: &Sequential, tape, b: &Batch| loss(m, tape, b, Poison::Root),
        optimizer,
    )
    .checkpoint_every(&state, wengert_train::Every::Steps(1))
    .callback(KeepBest::minimize("loss", &best));
    let e = t.fit(&loader(100, 10), None, 9).unwrap_err();
    assert!(matches!(e, Error::NanWeights { .. }), "{e}");
    assert!(bits(&t.model).iter().any(|b| f32::from_bits(*b).is_nan()));
    let poisoned = t.steps();
    let mut again = trainer(Poison::Root).callback(KeepBest::minimize("loss", &best));
    again.resume(&state).unwrap();
    assert_eq!(again.steps(), poisoned - 1);
    assert!(
        bits(&again.model)
            .iter()
            .all(|b| f32::from_bits(*b).is_finite())
    );
    if best.exists() {
        let mut m = model(2);
        m.load(&best).unwrap();
    }
    assert!(t.save(dir.join("other")).is_err() && !dir.join("other").exists());
}

#[test]
fn masks_are_not_mistaken() {
    let set = loader(40, 10);
    let mut t = Trainer::from_fn(
        model(1),
        |m: &Sequential, tape, (x, y): &Batch| {
            let mask = tape.input(&Tensor::from_fn([10], |i| {
                if i[0] == 9 { f32::NEG_INFINITY } else { 0.0 }
            }));
            // Label 9 is impossible under the mask: the loss is infinite where it occurs.
            let scores = m.forward(tape.input(x)) + mask;
            scores.cross_entropy(y)
        },
        Sgd::new(0.1),
    );
    let e = t.fit(&set, None, 1).unwrap_err();
    let Error::NonFinite(report) = &e else {
        panic!("{e}")
    };
    assert!(report.loss.is_infinite());
    assert!(
        !report.tensor.contains("add") && report.tensor != "input",
        "{report}"
    );
}
