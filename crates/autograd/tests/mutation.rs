//! Does the suite notice a wrong rule? Every cotangent that a rule returns is sabotaged in turn (sign flipped, multiplied
//! by 1.001, left out, in the opposite order), and every value that a rule computes on the way (sign flipped, multiplied by
//! 1.001, a truth value turned round); the gradient checks of orders 1 and 2 must fail.
//!
//! ```sh
//! cargo test -p wengert-autograd --features mutation --test mutation -- --nocapture
//! ```
//!
//! With `ONLY=ctc_grad` in the environment it takes the rules alone whose names begin so, and prints each value that nothing
//! reads. Values that nothing compared reads stand in `UNREAD`, with a reason; a new one fails.
//!
//! Of what survives at most one in a hundred may be without excuse. An excuse stands in `EQUIVALENT`, with a reason, and is
//! held to it: the sabotaged rule has to give the same derivatives at other inputs, too.

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
    // Products of looked-up rows, by a table in order and by one turned, as a recurrent layer does it.
    let around = registry::AROUND;
    let looked: [(Function, [usize; 2]); 2] = [
        (Box::new(typed(rows_times_weight)), [8, 4]),
        (Box::new(typed(turned_rows_times_weight)), [4, 8]),
    ];
    for (f, weight) in looked {
        let shapes = [[3, 8], weight];
        let input = |k: usize| registry::numbers(11 + k as u64, shapes[k].iter().product(), around);
        all.push(Check {
            name: "lookup",
            f,
            inputs: (0..2)
                .map(|k| Tensor::from_vec(input(k), shapes[k]))
                .collect(),
            ranges: vec![around; 2],
        });
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

/// The rules of products of looked-up rows.
const LOOKUPS: &[&str] = &[
    "lookup",
    "lookup_rows_grad",
    "lookup_weight_grad",
    "lookup_table_grad",
];

fn rows_times_weight<'t>(x: &[Var<'t, f64>]) -> Var<'t, f64> {
    let index = registry::ints(&[0, 2, 1, 2, 0, 2], &[6]);
    x[0].index_select(0, &index).matmul(x[1])
}

fn turned_rows_times_weight<'t>(x: &[Var<'t, f64>]) -> Var<'t, f64> {
    let index = registry::ints(&[2, 0, 1, 1, 2, 0], &[2, 3]);
    x[0].embedding(&index).transpose(0, 1).linear(x[1], None)
}

fn typed<F: for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>>(f: F) -> F {
    f
}

fn elementwise(info: &'static ElemInfo) -> Function {
    Box::new(typed(move |v| info.op.apply(info.imm, v)))
}

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Noticed,
    /// Not even NaN is noticed: only derivatives of order 3, or operands without a derivative, would read the value.
    Unread,
    Survives,
    /// Survives, and gives the same derivatives of orders 1 and 2 at eight other inputs.
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

const TRUTH: &str = "of the mask only is asked whether it is 0";
const SHIFT: &str = "a shift that is taken off again, or a maximum that is only compared with -∞";
const FILL: &str = "0, or a stand-in for -∞";
const SIGN: &str = "only its sign is read, by the relu";
const EVEN: &str = "enters an even number of times, so that its sign cancels";
const INVERSE: &str = "enters beside its inverse";
const ONE_WAY: &str = "0: after one step no place is reached both with and without a skip, so that the share of either is 0 or 1";
const UNIT: &str = "a unit of measure, by which the result does not change";

/// Mutants that change no derivative: the rule, the operation that records the value, what is done to it (`None`: either),
/// and why. Each is held to it, see [`Fate::Same`].
const EQUIVALENT: &[(&str, &str, Option<Mutation>, &str)] = &[
    ("atan2", "abs", None, UNIT),
    ("atan2", "clamp", None, UNIT),
    ("atan2", "div_no_nan", Some(Mutation::Sign), EVEN),
    ("atan2", "maximum", None, UNIT),
    ("batch_norm_grad_bias", "add", Some(Mutation::Scale), SIGN),
    (
        "batch_norm_grad_bias",
        "add_scalar",
        Some(Mutation::Scale),
        SIGN,
    ),
    ("batch_norm_grad_bias", "detach", None, SHIFT),
    (
        "batch_norm_grad_bias",
        "div_scalar",
        Some(Mutation::Scale),
        SIGN,
    ),
    ("batch_norm_grad_bias", "mul", Some(Mutation::Scale), SIGN),
    ("batch_norm_grad_bias", "mul_scalar", None, SHIFT),
    (
        "batch_norm_grad_bias",
        "reshape",
        Some(Mutation::Scale),
        SIGN,
    ),
    ("batch_norm_grad_bias", "rsqrt", Some(Mutation::Scale), SIGN),
    (
        "batch_norm_grad_bias",
        "square",
        Some(Mutation::Scale),
        SIGN,
    ),
    ("batch_norm_grad_bias", "sub", Some(Mutation::Scale), SIGN),
    ("batch_norm_grad_bias", "sum", None, SHIFT),
    ("batch_norm_grad_weight", "detach", None, SHIFT),
    ("batch_norm_grad_weight", "sum", None, SHIFT),
    (
        "batch_norm_grad_weight",
        "alias",
        Some(Mutation::Scale),
        SIGN,
    ),
    ("batch_var", "detach", None, SHIFT),
    ("batch_var", "sum", None, SHIFT),
    ("batch_var", "mul_scalar", None, SHIFT),
    ("bce_with_weight", "logical_not", None, TRUTH),
    ("bce_with_weight", "mul", None, TRUTH),
    ("cholesky", "triangle", None, TRUTH),
    ("ctc_grad", "add", None, ONE_WAY),
    ("ctc_grad", "broadcast_to", None, FILL),
    ("ctc_grad", "reshape", None, TRUTH),
    ("ctc_grad", "slice", None, TRUTH),
    ("eigh_values", "eigh_vectors", Some(Mutation::Sign), EVEN),
    ("eigh_vectors", "diagonal_embed", None, TRUTH),
    ("linear_recurrence", "broadcast_to", None, FILL),
    ("logcumsumexp", "broadcast_to", None, FILL),
    ("qr_q", "qr_q", Some(Mutation::Sign), EVEN),
    ("qr_q", "triangle", None, TRUTH),
    ("qr_r", "qr_r", None, INVERSE),
    ("qr_r", "triangle", None, TRUTH),
    ("scatter", "scatter_winners", None, TRUTH),
    ("softsign", "add_scalar", Some(Mutation::Sign), EVEN),
    ("svd_u", "diagonal_embed", None, TRUTH),
    ("svd_u", "svd_s", Some(Mutation::Sign), EVEN),
    ("svd_u", "svd_u", Some(Mutation::Sign), EVEN),
    ("svd_vt", "diagonal_embed", None, TRUTH),
    ("svd_vt", "permute", Some(Mutation::Sign), EVEN),
    ("svd_vt", "svd_s", Some(Mutation::Sign), EVEN),
    ("svd_vt", "svd_vt", Some(Mutation::Sign), EVEN),
    ("tanhshrink", "tanh", Some(Mutation::Sign), EVEN),
    ("triangular_solve", "triangle", None, TRUTH),
    ("var_grad", "detach", None, SHIFT),
    ("var_grad", "mul_scalar", None, SHIFT),
    ("var_grad", "sum", None, SHIFT),
];

const GUARD: &str = "keeps a cotangent beside the triangle out that is not finite; the half of the product that is used does not \
                     depend on finite ones";
const CHOSEN: &str = "a stand-in, and the choice never falls on it";
const LINEAR: &str =
    "chooses between 0 and a value that the loss is linear in: for a sample without steps";

/// Values that no derivative of order 1 or 2 reads, not even if they are NaN: the rule, the operations that record them, how many
/// mutants they make (two each), and why.
const UNREAD: &[(&str, &str, usize, &str)] = &[
    (
        "bce_with_weight",
        "isfinite",
        4,
        "read where a weight is 0 only: tests/edges.rs",
    ),
    ("cholesky", "triangle", 2, GUARD),
    ("ctc_grad", "broadcast_to", 6, CHOSEN),
    ("ctc_grad", "reshape", 4, LINEAR),
    ("ctc_grad", "slice", 2, LINEAR),
    ("eigh_vectors", "broadcast_to", 2, CHOSEN),
    (
        "logcumsumexp",
        "eq",
        2,
        "read where the sum is infinite only: tests/edges.rs",
    ),
    (
        "nan_to_num",
        "mul_scalar",
        2,
        "the derivative where the input is not finite: tests/kinks.rs",
    ),
    (
        "pow_grad_base",
        "add_scalar",
        2,
        "asked for its sign only, and only where the base is 0: tests/kinks.rs",
    ),
    ("qr_r", "triangle", 2, GUARD),
    ("svd_u", "broadcast_to", 2, CHOSEN),
    ("svd_vt", "broadcast_to", 2, CHOSEN),
];

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
    for rule in LOOKUPS {
        let reached = users.keys().any(|(term, site)| !term && site.0 == *rule);
        assert!(reached, "no check reaches the rule of {rule}");
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    users.retain(|(_, site), _| site.0.starts_with(&only));
    use Mutation::{Drop, Reverse, Scale, Sign};
    let mutants: Vec<(Target, &[usize])> = (users.iter())
        .flat_map(|(&(term, site), users)| {
            let of = move |what| match term {
                true => Target::Term(site, what),
                false => Target::Cotangent(site, what),
            };
            let kinds = if term {
                &[Sign, Scale][..]
            } else {
                &[Sign, Scale, Drop, Reverse]
            };
            kinds.iter().map(move |&what| (of(what), &users[..]))
        })
        .collect();
    let fates = judged(&mutants);
    let _ = std::panic::take_hook();
    let mut excused = BTreeSet::new();
    for (cotangents, least) in [(true, 1000), (false, 1950)] {
        let (mut count, mut same, mut survivors) = (0, BTreeMap::new(), Vec::new());
        // By rule and the operations that recorded the values.
        let mut unread: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (&(target, _), fate) in mutants.iter().zip(&fates) {
            let (site, what) = match target {
                Target::Cotangent(site, what) if cotangents => (site, what),
                Target::Term(site, what) if !cotangents => (site, what),
                _ => continue,
            };
            let by = ops.get(&site).filter(|_| !cotangents);
            let excuse = EQUIVALENT.iter().find(|(rule, op, kind, _)| {
                let fits = by.is_some_and(|by| by.contains(op));
                *rule == site.0 && fits && kind.is_none_or(|k| k == what)
            });
            match (fate, excuse) {
                (Fate::Unread, _) => {
                    let by: Vec<_> = by.into_iter().flatten().copied().collect();
                    if !only.is_empty() {
                        println!("unread: {}, value {}, {what:?}, {by:?}", site.0, site.1);
                    }
                    *unread.entry((site.0, by.join(" "))).or_default() += 1;
                }
                (Fate::Same, Some(e)) => {
                    *same.entry(e.3).or_insert(0) += 1;
                    excused.insert((e.0, e.1));
                }
                (fate, _) => {
                    count += 1;
                    if *fate != Fate::Noticed {
                        survivors.push(format!(
                            "{} {}: {what:?} by {by:?}, {fate:?}",
                            site.0, site.1
                        ));
                    }
                }
            }
        }
        println!(
            "{}: {count} mutants, {} survive: {survivors:#?}; without effect on any derivative: {same:#?}; values that nothing \
             compared reads: {unread:#?}",
            if cotangents {
                "cotangents"
            } else {
                "values in rules"
            },
            survivors.len(),
        );
        assert!(count > least || !only.is_empty(), "{count}");
        let expected: BTreeMap<(&str, String), usize> = (UNREAD.iter())
            .filter(|u| !cotangents && u.0.starts_with(&only))
            .map(|u| ((u.0, u.1.to_string()), u.2))
            .collect();
        assert_eq!(
            unread, expected,
            "values that nothing reads, found and expected"
        );
        assert!(
            survivors.len() * 100 <= count,
            "{} of {count} survive",
            survivors.len()
        );
    }
    let stale: Vec<_> = (EQUIVALENT.iter())
        .filter(|e| e.0.starts_with(&only) && !excused.contains(&(e.0, e.1)))
        .collect();
    assert!(stale.is_empty(), "excuses without a mutant: {stale:?}");
}

/// What becomes of each mutant, on two threads.
fn judged(mutants: &[(Target, &[usize])]) -> Vec<Fate> {
    let fates = Mutex::new(vec![Fate::Noticed; mutants.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let checks = checks();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(target, users)) = mutants.get(at) else {
                        break;
                    };
                    let fate = fate(target, users, &checks);
                    fates.lock().expect("no thread panics")[at] = fate;
                }
            });
        }
    });
    fates.into_inner().expect("no thread panics")
}
