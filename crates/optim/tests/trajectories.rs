//! 20 steps with given gradients against PyTorch and optax in double precision.

mod common;
mod runs;

use common::reference;

#[test]
fn trajectories_agree_with_the_references() {
    let mut expected = reference(include_str!("reference/trajectories.txt"));
    let mut wrong = Vec::new();
    for case in runs::cases() {
        let name = case.name;
        let Some(steps) = expected.remove(name) else {
            panic!("no reference for {name}");
        };
        for (t, d) in runs::differences(case, &steps) {
            wrong.push(format!("{name} step {t}: {d:e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        expected.is_empty(),
        "references without a case: {:?}",
        expected.keys()
    );
}
