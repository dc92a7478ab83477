//! The numbers that the trainer's stories print.

#[path = "../../examples/digits_trainer.rs"]
mod digits_trainer;
#[path = "../../examples/growing_network.rs"]
mod growing_network;
#[path = "../../examples/hyperparameter_search.rs"]
mod hyperparameter_search;

#[test]
fn digits() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let n = digits_trainer::story(100, 1, dir).expect("a run");
    assert!(n.test["accuracy"] >= 0.97, "{}", n.test);
    assert!(n.same, "the resumed run has the same bits");
    let h = &n.history;
    assert!(
        matches!(h.stop, wengert::train::Stop::Callback(_)),
        "{:?}",
        h.stop
    );
    assert!((10..100).contains(&h.rows.len()));
    let best = h.lowest("val_loss").expect("rows").epoch;
    assert_eq!(h.rows.len() as u64, best + 9, "patience 8");
}

#[test]
fn growing() {
    let n = growing_network::story(4, 1).expect("a run");
    assert!(
        n.changes[0] < 1e-5 && n.changes[1] == 0.0,
        "{:?}",
        n.changes
    );
    let l = &n.losses;
    assert!((l[0] - l[1]).abs() < 1e-5 && l[2] == l[3]);
    assert!(l[2] < 0.7 * l[0] && l[4] < 0.7 * l[2], "{l:?}");
    assert!(l[4] < l[5], "{l:?}");
}

#[test]
fn search() {
    let n = hyperparameter_search::story(24, 9, 2, 1).expect("a search");
    assert!((0.005..0.2).contains(&n.lr.expect("a suggestion")));
    assert!(n.spent[1] * 2 < n.spent[0], "{:?}", n.spent);
    assert!(
        n.best[1] > n.best[0] - 0.03 && n.test > 0.93,
        "{:?} {}",
        n.best,
        n.test
    );
}
