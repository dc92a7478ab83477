//! Random steps, one after the other on one tape, give what each gives on a tape of its own.
//!
//! A tape that is reset keeps nodes, plans and events of the step before (docs/decisions/0001-repeated-steps.md). Here random
//! small programs run for several steps, between which one thing changes, or nothing, or the program is one of some steps ago.
//! Everything that can be seen of a step (values, gradients, missing gradients, what hooks and observers saw, side outputs,
//! panics, the listing) must be the same, bit for bit, as on a new tape at the same number of steps.
//!
//! `WENGERT_RANDOM_STEPS=n` runs n sequences instead of the few of the gate; `WENGERT_RANDOM_SEED` is the first seed.

mod ops;
mod program;
mod run;

use program::{Numbers, Step, smaller};
use run::{Entry, Set, Way, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::{Float, Tape};

const SEED: u64 = 5;

/// The first entry that differs, as text. Bits count; all NaN are one.
fn difference(a: &[Entry], b: &[Entry], tolerance: f64) -> Option<String> {
    let one = |a: f64, b: f64| {
        let near = (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()));
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (tolerance > 0.0 && near)
    };
    let exact = tolerance == 0.0;
    let mut a = a.iter().filter(|e| exact || !e.of_the_way());
    let mut b = b.iter().filter(|e| exact || !e.of_the_way());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (Some(Entry::Text(x)), Some(Entry::Text(y))) if x == y => {}
            (Some(Entry::Numbers(x, v)), Some(Entry::Numbers(y, w)))
                if x == y && v.len() == w.len() && v.iter().zip(w).all(|(&a, &b)| one(a, b)) => {}
            (Some(Entry::Text(x)), Some(Entry::Text(y)))
                if x.contains('\n') && y.contains('\n') =>
            {
                let at = x.lines().zip(y.lines()).find(|(x, y)| x != y);
                return Some(format!("listing: {at:?}"));
            }
            (x, y) => return Some(format!("{x:?}\n  expected {y:?}")),
        }
    }
}

/// Runs steps on one tape, and each on tapes of its own; says what differs first.
fn check<T: Float>(steps: &[Step], training: bool) -> Option<String> {
    let new = || match training {
        true => Tape::<T>::training(SEED),
        false => Tape::<T>::inference(),
    };
    let mut world = World::<T>::new();
    let (mut tape, mut set) = (new(), Set::default());
    tape.set_poison(true);
    for (k, s) in steps.iter().enumerate() {
        world.freeze(s.frozen);
        let found = run::step(&mut tape, &mut set, &world, s, Way::default(), |t| {
            t.reset();
            if s.again {
                t.reset();
            }
        });
        let at = tape.step_index();
        let alone = |way: Way| {
            let mut tape = new();
            run::step(&mut tape, &mut Set::default(), &world, s, way, |t| {
                t.set_step_index(at);
            })
        };
        let expected = alone(Way::default());
        if let Some(d) = difference(&found, &expected, 0.0) {
            return Some(format!("step {k}: {d}"));
        }
        let panicked = |e: &Entry| matches!(e, Entry::Text(t) if t.starts_with("panic"));
        let mut ways = Vec::new();
        if !expected.iter().any(panicked) {
            let way = Way::default();
            ways.push(("op by op", Way { ask: true, ..way }));
            let no_checkpoints = true;
            ways.push((
                "without checkpoints",
                Way {
                    no_checkpoints,
                    ..way
                },
            ));
            // A hook sees the gradient of a value, of which that of the identity behind it is a part only; and so is the
            // second derivative for a value that a rule speaks of.
            let hooked = s.count(&|i| i.op == "hook" || (i.op == "custom" && i.k % 8 == 6)) > 0;
            let orders = s.count(&|i| program::DERIVATIVES.contains(&i.op));
            if !hooked && orders < 2 {
                ways.push(("apart", Way { apart: true, ..way }));
            }
        }
        for (name, way) in ways {
            // Sums may be taken in another order.
            let tolerance = if size_of::<T>() == 8 { 1e-9 } else { 1e-3 };
            if let Some(d) = difference(&alone(way), &expected, tolerance) {
                return Some(format!("step {k}, {name}: {d}"));
            }
        }
        world.update(k, s.renew);
    }
    None
}

/// The steps of a seed.
fn steps(n: &mut Numbers) -> Vec<Step> {
    let mut list = vec![Step::random(n)];
    for _ in 0..3 + n.below(5) {
        let last = list[list.len() - 1].clone();
        let next = match n.below(10) {
            0 | 1 => last,
            2..8 => {
                let mut next = last;
                for _ in 0..1 + n.below(2) {
                    next.change(n);
                }
                next
            }
            8 => n.of(&list).clone(),
            _ => Step::random(n),
        };
        list.push(next);
    }
    list
}

/// Fewer and smaller steps that differ still.
fn shrink<T: Float>(mut list: Vec<Step>, training: bool) -> Vec<Step> {
    let fails = |l: &[Step]| check::<T>(l, training).is_some();
    loop {
        let mut better = None;
        'search: for at in 0..list.len() {
            let mut without = list.clone();
            without.remove(at);
            let mut tries = vec![without];
            // The same is left out everywhere, or at one step.
            for part in 0..2 {
                for (i, small) in smaller(&list[at].parts[part]).into_iter().enumerate() {
                    let mut everywhere = list.clone();
                    for s in &mut everywhere {
                        if let Some(p) = smaller(&s.parts[part]).into_iter().nth(i) {
                            s.parts[part] = p;
                        }
                    }
                    tries.push(everywhere);
                    let mut here = list.clone();
                    here[at].parts[part] = small;
                    tries.push(here);
                }
            }
            let plain = |f: fn(&mut Step)| {
                let mut l = list.clone();
                f(&mut l[at]);
                l
            };
            tries.extend([
                plain(|s| s.frozen = 0),
                plain(|s| s.observer = None),
                plain(|s| s.trace = false),
                plain(|s| s.again = false),
                plain(|s| s.renew = 0),
                plain(|s| s.anomaly = false),
                plain(|s| s.fuse = true),
                plain(|s| s.between = 0),
                plain(|s| s.data = 0),
                plain(|s| s.batch = 4),
            ]);
            for t in tries {
                if t != list && fails(&t) {
                    better = Some(t);
                    break 'search;
                }
            }
        }
        match better {
            Some(b) => list = b,
            None => return list,
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |n| n.parse().expect("a number"))
}

#[test]
fn repeated_steps_are_as_new_ones() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let first = number("WENGERT_RANDOM_SEED", 1);
    let count = number("WENGERT_RANDOM_STEPS", 150);
    let most = number("WENGERT_RANDOM_FAULTS", 1);
    let mut faults = Vec::new();
    let done = catch_unwind(AssertUnwindSafe(|| {
        for seed in first..first + count {
            let list = steps(&mut Numbers(seed.wrapping_mul(0x5851_F42D)));
            let training = seed % 4 != 0;
            let single = seed % 2 == 0;
            let differs = match single {
                true => check::<f32>(&list, training),
                false => check::<f64>(&list, training),
            };
            if differs.is_none() {
                continue;
            }
            let small = match single {
                true => shrink::<f32>(list, training),
                false => shrink::<f64>(list, training),
            };
            let what = match single {
                true => check::<f32>(&small, training),
                false => check::<f64>(&small, training),
            };
            faults.push(format!(
                "seed {seed}, training {training}: {}\n{small:#?}",
                what.unwrap_or_default()
            ));
            if faults.len() as u64 >= most {
                break;
            }
        }
    }));
    std::panic::set_hook(quiet);
    assert!(
        faults.is_empty(),
        "{} faults: {}",
        faults.len(),
        faults.join("\n")
    );
    assert!(done.is_ok(), "the test itself panicked");
}
