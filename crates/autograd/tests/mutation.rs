//! Does the suite notice a wrong rule? Every cotangent that a rule returns is sabotaged in turn (sign flipped, multiplied
//! by 1.001, left out, in the opposite order), and every value that a rule computes on the way (sign flipped, multiplied by
//! 1.001, a truth value turned round); the gradient checks of orders 1 and 2 must fail.
//!
//! ```sh
//! cargo test -p wengert-autograd --features mutation --test mutation -- --nocapture
//! ```
//!
//! What survives must be listed in `EQUIVALENT` with a reason, and is held to it: the sabotaged rule has to give the same
//! derivatives at other inputs, too.

mod registry;

use registry::CASES;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use wengert_autograd::mutation::{Mutation, Site, Target, with};
use wengert_autograd::ops::elementwise::{ELEMENTWISE, ElemInfo};
use wengert_autograd::{GradCheckOptions, Tape, Tensor, Var, gradcheck_with, vjp_many};

type Function = Box<dyn for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>>;

struct Check {
    name: &'static str,
    f: Function,
    inputs: Vec<Tensor<f64>>,
    /// The intervals that the inputs are from.
    ranges: Vec<(f64, f64)>,
}

impl Check {
    fn passes(&self) -> bool {
        let run = || gradcheck_with(&self.f, &self.inputs, GradCheckOptions::default()).is_ok();
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(false)
    }

    /// First and second derivatives in random directions, at other inputs.
    fn derivatives(&self, seed: u64) -> Vec<f64> {
        let numbers = |salt: u64, like: &[usize], range: (f64, f64)| {
            let n = like.iter().product();
            Tensor::from_vec(registry::numbers(seed * 1000 + salt, n, range), like)
        };
        let tape = Tape::<f64>::inference();
        let x: Vec<Var<'_, f64>> = (self.inputs.iter().zip(&self.ranges).enumerate())
            .map(|(k, (x, &range))| tape.input(&numbers(k as u64, x.shape(), range)))
            .collect();
        let y = (self.f)(&x);
        let direction = |salt: u64, v: Var<'_, f64>| numbers(salt, &v.shape(), (-1.0, 1.0));
        let c = tape.input(&direction(100, y));
        let first = vjp_many(&[y], &[c], &x);
        let c: Vec<Var<'_, f64>> = (first.iter().enumerate())
            .map(|(k, &g)| tape.input(&direction(200 + k as u64, g)))
            .collect();
        let second = vjp_many(&first, &c, &x);
        first
            .iter()
            .chain(&second)
            .flat_map(|g| g.value().to_vec())
            .collect()
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
                ranges: info.domain[..info.arity].to_vec(),
            });
        }
    }
    for case in CASES {
        let f = case.f64;
        all.push(Check {
            name: case.name,
            f: Box::new(f),
            inputs: case.samples(),
            ranges: case.inputs.iter().map(|i| i.1).collect(),
        });
    }
    all
}

fn elementwise(info: &'static ElemInfo) -> Function {
    fn typed<F: for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>>(f: F) -> F {
        f
    }
    Box::new(typed(move |v| info.op.apply(info.imm, v)))
}

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Noticed,
    /// Not even NaN is noticed: only derivatives of order 3, or operands without a derivative, would read the value.
    Unread,
    Survives,
    /// Survives, and gives the same derivatives everywhere.
    Same,
}

fn fate(target: Target, users: &[usize], checks: &[Check]) -> Fate {
    let noticed = |target| (users.iter()).any(|&i| !with(Some(target), || checks[i].passes()).0);
    if noticed(target) {
        return Fate::Noticed;
    }
    if let Target::Term(site, _) = target
        && !noticed(Target::Term(site, Mutation::Nan))
    {
        return Fate::Unread;
    }
    let same = users.iter().all(|&i| {
        (1..=8).all(|seed| {
            let right = checks[i].derivatives(seed);
            let wrong = with(Some(target), || checks[i].derivatives(seed)).0;
            let scale = right.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            (right.iter().zip(&wrong)).all(|(a, b)| (a - b).abs() <= 1e-9 * scale)
        })
    });
    if same { Fate::Same } else { Fate::Survives }
}

/// Mutants that change no derivative, and why.
const EQUIVALENT: &[(&str, usize, Mutation, &str)] = &[];

#[test]
fn wrong_rules_are_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let all = checks();
    let mut users: BTreeMap<(bool, Site), Vec<usize>> = BTreeMap::new();
    let mut ops: BTreeMap<Site, BTreeSet<&'static str>> = BTreeMap::new();
    for (i, check) in all.iter().enumerate() {
        let (fine, seen) = with(None, || check.passes());
        assert!(fine, "{} passes without sabotage", check.name);
        for site in seen.cotangents {
            users.entry((false, site)).or_default().push(i);
        }
        for (site, by) in seen.terms {
            users.entry((true, site)).or_default().push(i);
            ops.entry(site).or_default().extend(by);
        }
    }
    let mutants: Vec<(Target, &[usize])> = users
        .iter()
        .flat_map(|(&(term, site), users)| {
            use Mutation::{Drop, Reverse, Scale, Sign};
            let kinds: &[Mutation] = if term {
                &[Sign, Scale]
            } else {
                &[Sign, Scale, Drop, Reverse]
            };
            kinds.iter().map(move |&what| match term {
                true => (Target::Term(site, what), &users[..]),
                false => (Target::Cotangent(site, what), &users[..]),
            })
        })
        .collect();
    let fates = Mutex::new(vec![Fate::Noticed; mutants.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let checks = checks();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(target, users)) = mutants.get(i) else {
                        break;
                    };
                    let fate = fate(target, users, &checks);
                    fates.lock().expect("no thread panics")[i] = fate;
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let fates = fates.into_inner().expect("no thread panics");
    for (&(target, users), fate) in mutants.iter().zip(&fates) {
        if *fate == Fate::Noticed {
            continue;
        }
        if let Target::Term(site, what) = target {
            let names: Vec<_> = users.iter().map(|&i| all[i].name).collect();
            println!(
                "{fate:?} {} {} {what:?} by {:?} in {names:?}",
                site.0, site.1, ops[&site]
            );
        } else {
            println!("{fate:?} {target:?}")
        }
    }
    let _ = EQUIVALENT;
}
