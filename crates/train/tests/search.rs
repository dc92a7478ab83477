//! Search: the same table for any number of threads, early ends, failures; the range test.

mod common;
use common::{bits, loader, model};
use std::sync::atomic::{AtomicU64, Ordering};
use wengert_nn::Checkpoint;
use wengert_nn::loss::CrossEntropy;
use wengert_optim::{Adam, Sgd};
use wengert_train::search::{Search, Setting, Space};
use wengert_train::{Error, LrRangeTest, Trainer};

fn space() -> Space {
    Space::new()
        .log_uniform("lr", 1e-4, 1.0)
        .uniform("momentum", 0.0, 0.95)
        .whole("depth", 1, 4)
        .log_whole("width", 8, 64)
        .choice("activation", ["relu", "tanh", "gelu"])
        .values("decay", [0.0, 0.1])
}

#[test]
fn draws_cover_their_ranges_and_depend_on_the_seed_and_the_number_alone() {
    let n = 4000;
    let all: Vec<_> = (0..n).map(|i| space().draw(1, i)).collect();
    assert_eq!(all[7], space().draw(1, 7));
    assert_ne!(all[7].settings, space().draw(2, 7).settings);
    // One name more changes none of the others.
    let more = space().uniform("more", 0.0, 1.0).draw(1, 7);
    assert_eq!(more.settings[..6], all[7].settings[..]);
    let mean = |name: &str, f: fn(f64) -> f64| {
        all.iter().map(|t| f(t.number(name))).sum::<f64>() / n as f64
    };
    let near = |x: f64, y: f64, by: f64| assert!((x - y).abs() < by, "{x} {y}");
    near(mean("lr", f64::log10), -2.0, 0.08);
    near(mean("momentum", |x| x), 0.475, 0.02);
    near(mean("depth", |x| x), 2.5, 0.08);
    // Equal shares of the logarithm: as many below √(8 · 65) as above.
    near(mean("width", |x| f64::from(x < 22.5)), 0.5, 0.03);
    near(mean("decay", |x| x), 0.05, 0.005);
    for depth in 1..=4 {
        assert!(all.iter().any(|t| t.whole("depth") == depth));
    }
    let widths: Vec<usize> = all.iter().map(|t| t.whole("width")).collect();
    assert_eq!(
        (widths.iter().min(), widths.iter().max()),
        (Some(&8), Some(&64))
    );
    let seeds: std::collections::HashSet<u64> = all.iter().map(|t| t.seed).collect();
    assert_eq!(seeds.len(), n);
}

#[test]
fn a_grid_has_every_combination_once() {
    let space = Space::new()
        .log_uniform("lr", 1e-3, 1e-1)
        .whole("depth", 1, 2)
        .choice("activation", ["relu", "tanh"]);
    let trials = space.grid(3, 0);
    assert_eq!(trials.len(), 3 * 2 * 2);
    let text: Vec<String> = trials.iter().map(ToString::to_string).collect();
    assert_eq!(text[0], "lr 0.00100, depth 1, activation relu");
    assert_eq!(text[11], "lr 0.10000, depth 2, activation tanh");
    assert!((trials[4].number("lr") - 1e-2).abs() < 1e-15);
    let mut unique = text.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 12);
    let results = Search::grid(3).maximize(&space, |t| Ok(t.number("lr") * t.number("depth")));
    assert_eq!(results.outcomes.len(), 12);
    assert_eq!(results.best().unwrap().score, 0.2);
    assert!(matches!(trials[0].get("lr"), Ok(Setting::Number(_))));
    assert!(matches!(
        trials[0].get("none"),
        Err(Error::UnknownColumn { .. })
    ));
}

/// A curve that falls with the budget, to a level that only the hyperparameter decides.
fn curve(lr: f64, budget: u64) -> f64 {
    (lr.log10() + 2.0).powi(2) + 1.0 / budget as f64
}

#[test]
fn halving_and_hyperband_spend_where_it_pays() {
    let space = Space::new().log_uniform("lr", 1e-4, 1.0);
    let spent = AtomicU64::new(0);
    let results = Search::halving(27, 3)
        .seed(4)
        .budget(1, 27)
        .threads(2)
        .minimize_from(&space, |t, before: Option<u64>| {
            let done = before.unwrap_or(0);
            assert_eq!(done * 3, if t.budget == 1 { 0 } else { t.budget });
            spent.fetch_add(t.budget - done, Ordering::Relaxed);
            Ok((curve(t.number("lr"), t.budget), t.budget))
        });
    let budgets = |b: u64| {
        results
            .outcomes
            .iter()
            .filter(|o| o.trial.budget == b)
            .count()
    };
    assert_eq!([1, 3, 9, 27].map(budgets), [18, 6, 2, 1]);
    // 27 · 1 + 9 · 2 + 3 · 6 + 1 · 18 instead of 27 · 27.
    assert_eq!(spent.into_inner(), 81);
    // The winner is the one that a full search would find.
    let full = Search::random(27)
        .seed(4)
        .budget(1, 27)
        .minimize(&space, |t| Ok(curve(t.number("lr"), t.budget)));
    assert_eq!(results.best().unwrap().trial, full.best().unwrap().trial);

    let results = Search::hyperband(3)
        .seed(4)
        .budget(1, 27)
        .minimize(&space, |t| Ok(curve(t.number("lr"), t.budget)));
    assert_eq!(results.outcomes.len(), 27 + 12 + 6 + 4);
    assert_eq!(results.best().unwrap().trial.budget, 27);
    assert!(results.best().unwrap().score < 0.2);
}

#[test]
fn failures_stand_in_the_table() {
    let space = Space::new().uniform("x", 0.0, 1.0);
    let results = Search::random(8)
        .threads(3)
        .minimize(&space, |t| match t.index {
            1 => Err(Error::other("no disk")),
            2 => panic!("index {}", 2),
            3 => Ok(f64::NAN),
            4 => Ok(f64::NEG_INFINITY),
            _ => Ok(t.number("x")),
        });
    let said: Vec<_> = results
        .outcomes
        .iter()
        .map(|o| o.failure.as_deref())
        .collect();
    assert_eq!(
        said,
        [
            None,
            Some("no disk"),
            Some("panic: index 2"),
            Some("the score is NaN"),
            None,
            None,
            None,
            None
        ]
    );
    assert_eq!(results.best().unwrap().trial.index, 4);
    assert!(results.ranked()[5].failure.is_some());
    assert!(results.to_csv().contains("1,1,NaN,") && results.to_csv().contains(",no disk\n"));
    let none = Search::random(2).minimize(&space, |_| Err(Error::other("x")));
    assert!(none.best().is_none());
    // All fail in the first round: there is no second.
    let none = Search::halving(9, 3)
        .budget(1, 9)
        .minimize(&space, |_| Err(Error::other("x")));
    assert!(none.outcomes.iter().all(|o| o.trial.budget == 1));
    assert!(none.to_string().lines().count() == 10);
}

/// Training trials that go on from a checkpoint in memory: the same table and bits at any number of threads, and the same
/// weights as without an interruption.
#[test]
fn training_is_the_same_for_any_number_of_threads() {
    let space = Space::new().log_uniform("lr", 1e-3, 1e-1);
    let run = |threads: usize, from: bool| {
        Search::halving(4, 2)
            .seed(1)
            .budget(1, 4)
            .threads(threads)
            .maximize_from(&space, |t, state: Option<Checkpoint>| {
                let mut trainer = Trainer::new(
                    model(t.seed),
                    CrossEntropy::default(),
                    Adam::new(t.number("lr")),
                )
                .seed(t.seed);
                if let Some(state) = state.filter(|_| from) {
                    trainer.restore(&state)?;
                }
                let set = loader(200, 50);
                let h = trainer.fit(&set, None, t.budget)?;
                Ok((-h.last("loss").unwrap_or(f64::NAN), trainer.to_checkpoint()))
            })
    };
    let one = run(1, true).to_csv();
    for threads in [2, 3] {
        assert_eq!(run(threads, true).to_csv(), one);
    }
    assert_eq!(run(2, false).to_csv(), one);
}

/// Sizes whose product no number holds are no grid of nothing.
#[test]
fn a_grid_without_end_is_refused() {
    let space = (0..64).fold(Space::new(), |s, i| s.uniform(&format!("x{i}"), 0.0, 1.0));
    let run = || Search::grid(2).minimize(&space, |_| Ok(0.0));
    let panic = std::panic::catch_unwind(run).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("more than a million"), "{text}");
}

/// Numbers of the table give the trial again, to the last bit.
#[test]
fn the_table_holds_numbers_in_full() {
    let space = Space::new()
        .uniform("rate", 0.0012345, 0.0012349)
        .uniform("size", 12345.6, 12345.7);
    let results = Search::random(5)
        .seed(2)
        .minimize(&space, |t| Ok(t.number("rate")));
    let table = results.to_csv();
    for (line, o) in table.lines().skip(1).zip(&results.outcomes) {
        let cells: Vec<f64> = line.split(',').filter_map(|c| c.parse().ok()).collect();
        assert_eq!(
            cells[3..5],
            [o.trial.number("rate"), o.trial.number("size")]
        );
    }
}

#[test]
fn the_range_test_finds_where_training_works() {
    let set = loader(600, 50);
    let mut net = model(1);
    let before = bits(&net);
    let test = LrRangeTest::new(1e-5, 100.0, 120);
    let curve = test
        .run(&mut net, CrossEntropy::default(), |lr| Sgd::new(lr), &set)
        .unwrap();
    assert!(bits(&net) == before, "the model comes out as it went in");
    assert_eq!(
        curve,
        test.run(&mut net, CrossEntropy::default(), |lr| Sgd::new(lr), &set)
            .unwrap()
    );
    assert!(curve.diverged && curve.rates.len() < 120);
    let (lr, low) = (curve.suggestion().unwrap(), curve.lowest().unwrap());
    assert!((1e-2..1.0).contains(&lr) && lr < low, "{lr} {low}\n{curve}");
    let after = |lr: f64| {
        let mut t = Trainer::new(model(1), CrossEntropy::default(), Sgd::new(lr));
        t.fit(&set, None, 3).unwrap().last("loss").unwrap()
    };
    // What the test suggests trains better than a hundredth of it.
    assert!(after(lr) < 0.7 * after(lr / 100.0));
    assert!(LrRangeTest::try_new(0.0, 1.0, 10).is_err());
    assert!(LrRangeTest::try_new(1.0, 0.1, 10).is_err());
    assert!(LrRangeTest::try_new(0.1, 1.0, 1).is_err());
    assert!(
        test.run(
            &mut net,
            CrossEntropy::default(),
            |lr| Sgd::new(lr),
            &Vec::<common::Batch>::new()
        )
        .is_err()
    );
}
