//! Do the comparisons with the references and with the formulas notice a wrong rule? Every operation of every update, every
//! coefficient and every sum is spoiled, one at a time, and whatever passes it is run again.
//!
//! ```text
//! cargo test -p wengert-optim --features mutation --test mutation -- --nocapture
//! ```

mod common;
mod runs;
mod written;

use common::reference;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_optim::mutation::Mutation::{self, First, Other, Scale, Sign};
use wengert_optim::mutation::{Site, with};

/// Why a mutant changes nothing that could be seen, for those that do not.
fn equivalent(site: &Site, m: Mutation) -> Option<&'static str> {
    let of = site.of.rsplit("rules::").next().unwrap_or_default();
    let of = of.trim_end_matches('>');
    let measured = !site.of.contains("Plain<");
    let floor = "a floor under zero; the gradient above it is zero then";
    let squared = "only its square is used";
    let sign = "only its sign is used";
    Some(match (of, site.what, site.at, m) {
        ("prodigy", "coefficient", 4, Sign)
        | ("prodigy::Estimate", "constant", 12, Sign)
        | ("prodigy::Estimate", "mul", 13, Sign)
        | ("prodigy::Estimate", "mul_add", 14, Other) => {
            "all of s changes its sign; its norm is used"
        }
        ("radam", "coefficient", 7, _) => "a flag: whether it is 0",
        ("adafactor::Unfactored", "constant", 0, Scale) if !measured => floor,
        ("adafactor::Unfactored", "constant", 4, Sign | Scale) if measured => floor,
        ("adafactor::Unfactored", "max", 5, First) => {
            "NaN at zero, which the clipping of the step ignores"
        }
        ("adafactor::Unfactored", "sqrt", 6, Sign) | ("adafactor::Unfactored", "div", 7, Sign) => {
            squared
        }
        ("adagrad::Centered", "constant", 8, Sign)
        | ("adagrad::Centered", "mul", 9, Sign)
        | ("adagrad::Centered", "mul_add", 10, Other) => squared,
        ("belief::Belief", "sub", 4, Sign) | ("belief::Differences", "mul_add", 12, Sign) => {
            squared
        }
        ("layerwise::Moments", "mul_add", 19, Sign) | ("layerwise::Norms", "mul_add", 1, Sign) => {
            squared
        }
        ("adam::Cautious", "mul_add", 1, Scale) | ("adam::Cautious", "mul", 2, Scale) => sign,
        ("adam::Agreement", "mul_add", 12 | 13, Scale)
        | ("adam::Agreement", "mul", 13 | 14, Scale) => sign,
        ("belief::Additive", "sub", 5, Scale) => sign,
        ("belief::Additive", "constant", 7, Sign) => "copysign gives the sign",
        ("belief::Additive", "zero", 6, Other) | ("belief::Additive", "select", 11, First) => {
            "v = g² only where both are 0"
        }
        ("muon::Momentum", "constant", 1, Scale | Other)
        | ("muon::Momentum", "mul_add", 5, Scale) => "what is orthogonalized has no size",
        ("sign::Evolved", "mul_add", 3, Scale) | ("sign::Evolved", "mul", 10 | 12, Scale) => sign,
        ("sign::Evolved", "constant", 5, Sign) | ("sign::Resilient", "constant", 16, Sign) => {
            "copysign gives the sign"
        }
        ("sign::Resilient", "mul", 1, Scale) | ("sign::Resilient", "select", 14, Scale) => sign,
        // Of the direction only its sign is compared with that of the gradient, and it is 0 where the gradient is.
        ("sign::Agreement", "comparison", 7 | 8, _)
        | ("sign::Agreement", "zero", 4, Other)
        | ("sign::Agreement", "constant", 5, _)
        | ("sign::Agreement", "copysign", 6, Scale | Other)
        | ("sign::Agreement", "select", 9, Scale | First | Other)
        | ("sign::Agreement", "mul_add", 3, Scale)
        | ("sign::Agreement", "mul", 10, Scale) => sign,
        _ => return None,
    })
}

#[test]
fn every_spoiled_operation_is_noticed() {
    let expected = reference(include_str!("reference/trajectories.txt"));
    // The settings of the references first, then the formulas.
    let settings = runs::cases().len();
    let fails = |i: usize| {
        if i < settings {
            let case = runs::cases().swap_remove(i);
            let steps = &expected[case.name];
            !runs::differences(case, steps).is_empty()
        } else {
            (written::ALL[i - settings].1)();
            false
        }
    };
    let mut passed: BTreeMap<Site, Vec<usize>> = BTreeMap::new();
    for i in 0..settings + written::ALL.len() {
        let (wrong, seen) = with(None, || fails(i));
        assert!(!wrong);
        for site in seen {
            passed.entry(site).or_default().push(i);
        }
    }
    std::panic::set_hook(Box::new(|_| {}));
    let (mut mutants, mut excused, mut survivors) = (0, 0, Vec::new());
    for (site, where_passed) in &passed {
        let kinds: &[Mutation] = match site.what {
            "coefficient" | "sum" => &[Sign, Scale],
            "zero" => &[Other],
            "constant" => &[Sign, Scale, Other],
            "comparison" => &[First, Other],
            "neg" => &[Sign, Scale],
            _ => &[Sign, Scale, First, Other],
        };
        for m in kinds {
            mutants += 1;
            let noticed = where_passed.iter().any(|&i| {
                let run = || with(Some((site.clone(), *m)), || fails(i)).0;
                catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
            });
            let known = equivalent(site, *m).is_some();
            excused += usize::from(known);
            if noticed == known {
                let of = site.of.trim_start_matches("wengert_optim::rules::");
                let of = of.trim_start_matches("wengert_optim::rule::sweep::");
                survivors.push(format!(
                    "{of} {} {} {m:?}: noticed {noticed}",
                    site.what, site.at
                ));
            }
        }
    }
    drop(std::panic::take_hook());
    println!(
        "{} places, {mutants} mutants, {excused} of them equivalent, {} survive",
        passed.len(),
        survivors.len()
    );
    assert!(mutants > 2000, "{mutants}");
    assert!(survivors.is_empty(), "{survivors:#?}");
}
