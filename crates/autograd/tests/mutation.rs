//! Does the suite notice a wrong rule? Every cotangent that a rule returns is sabotaged in turn (sign flipped, multiplied
//! by 1.001, left out, in the opposite order), and every value that a rule computes on the way (sign flipped, multiplied by
//! 1.001, a truth value turned round); the gradient checks of orders 1 and 2 must fail.
//!
//! ```sh
//! cargo test -p wengert-autograd --features mutation --test mutation -- --nocapture
//! ```

mod registry;

use registry::CASES;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::mutation::{Mutation, Site, Target, with};
use wengert_autograd::ops::elementwise::ELEMENTWISE;
use wengert_autograd::{GradCheckOptions, Tensor, Var, gradcheck_with};

struct Check {
    name: &'static str,
    f: Box<dyn for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>>,
    inputs: Vec<Tensor<f64>>,
}

impl Check {
    fn passes(&self) -> bool {
        let run = || gradcheck_with(&self.f, &self.inputs, GradCheckOptions::default()).is_ok();
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(false)
    }
}

fn checks() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    for info in ELEMENTWISE {
        // As in `elementwise.rs`: the same shapes, and shapes that broadcast.
        let shapes: [[&[usize]; 3]; 2] = [[&[2, 3]; 3], [&[2, 1, 2], &[3, 1], &[2]]];
        for own in shapes {
            let inputs = (0..info.arity)
                .map(|k| {
                    let n = own[k].iter().product();
                    let v = registry::numbers(11 + k as u64, n, info.domain[k]);
                    Tensor::from_vec(v, own[k])
                })
                .collect();
            all.push(Check {
                name: info.name,
                f: elementwise(info),
                inputs,
            });
        }
    }
    for case in CASES {
        let f = case.f64;
        all.push(Check {
            name: case.name,
            f: Box::new(f),
            inputs: case.samples(),
        });
    }
    all
}

fn elementwise(
    info: &'static wengert_autograd::ops::elementwise::ElemInfo,
) -> Box<dyn for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>> {
    fn typed<F: for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>>(f: F) -> F {
        f
    }
    Box::new(typed(move |v| info.op.apply(info.imm, v)))
}

#[test]
fn wrong_rules_are_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let checks = checks();
    let mut by_site: BTreeMap<Site, Vec<usize>> = BTreeMap::new();
    for (i, check) in checks.iter().enumerate() {
        let (fine, seen) = with(None, || check.passes());
        assert!(fine, "{} passes without sabotage", check.name);
        for site in seen.cotangents {
            by_site.entry(site).or_default().push(i);
        }
    }
    let (mut mutants, mut survivors) = (0, Vec::new());
    for (&site, users) in &by_site {
        for what in [
            Mutation::Sign,
            Mutation::Scale,
            Mutation::Drop,
            Mutation::Reverse,
        ] {
            mutants += 1;
            let noticed = (users.iter())
                .any(|&i| !with(Some(Target::Cotangent(site, what)), || checks[i].passes()).0);
            if !noticed {
                survivors.push(format!("{} operand {}: {what:?}", site.0, site.1));
            }
        }
    }
    let _ = std::panic::take_hook();
    println!(
        "{} rules and operands, {mutants} mutants, {} survive:\n  {}",
        by_site.len(),
        survivors.len(),
        survivors.join("\n  ")
    );
    assert!(mutants > 800, "{mutants}");
    assert!(
        survivors.len() * 100 <= mutants,
        "{} of {mutants} survive",
        survivors.len()
    );
}

#[test]
fn wrong_terms_are_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let checks = checks();
    let mut by_site: BTreeMap<Site, Vec<usize>> = BTreeMap::new();
    for (i, check) in checks.iter().enumerate() {
        let (fine, seen) = with(None, || check.passes());
        assert!(fine, "{} passes without sabotage", check.name);
        for site in seen.terms {
            by_site.entry(site).or_default().push(i);
        }
    }
    let (mut mutants, mut unread, mut survivors) = (0, 0, Vec::new());
    for (&site, users) in &by_site {
        let noticed = |what| {
            (users.iter()).any(|&i| !with(Some(Target::Term(site, what)), || checks[i].passes()).0)
        };
        for what in [Mutation::Sign, Mutation::Scale] {
            if noticed(what) {
                mutants += 1;
            } else if !noticed(Mutation::Nan) {
                // Only derivatives of order 3, or operands without a derivative, would read it.
                unread += 1;
            } else {
                mutants += 1;
                survivors.push(format!("{} value {}: {what:?}", site.0, site.1));
            }
        }
    }
    let _ = std::panic::take_hook();
    println!(
        "{} values in rules, {mutants} mutants, {unread} of values that nothing compared reads, {} survive:\n  {}",
        by_site.len(),
        survivors.len(),
        survivors.join("\n  ")
    );
    assert!(mutants > 1900, "{mutants}");
    assert!(
        survivors.len() * 100 <= 4 * mutants,
        "{} of {mutants} survive",
        survivors.len()
    );
}
