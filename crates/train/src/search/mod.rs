//! Search for hyperparameters: which numbers and choices train best.
//!
//! A [`Space`] says what may vary. A [`Search`] draws trials from it - a grid, or at random - and runs them over threads,
//! all for the full budget or by [successive halving](Search::halving) and [Hyperband](Search::hyperband), where the weak
//! ones end early. What a trial gets is a function of the seed and its number, so the table is the same for any number of
//! threads.
//!
//! ```
//! use wengert_train::search::{Search, Space};
//! let space = Space::new().log_uniform("lr", 1e-4, 1e0).choice("activation", ["relu", "tanh"]);
//! let results = Search::random(30).seed(1).threads(2).minimize(&space, |trial| {
//!     let penalty = if trial.text("activation") == "relu" { 0.0 } else { 1.0 };
//!     Ok((trial.number("lr").log10() + 2.0).powi(2) + penalty)
//! });
//! let best = results.best().unwrap();
//! assert!((1e-3..1e-1).contains(&best.trial.number("lr")));
//! assert_eq!(best.trial.text("activation"), "relu");
//! ```

mod halving;
mod results;
mod space;

pub use results::{Outcome, Results};
pub use space::{Setting, Space, Trial};

use crate::error::{Result, or_panic, positive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use wengert_tensor::parallel;

/// How trials are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Grid(usize),
    Random(usize),
    Halving { trials: usize, eta: u64 },
    Hyperband { eta: u64 },
}

/// A search over a [`Space`].
#[derive(Clone, Debug)]
pub struct Search {
    plan: Plan,
    seed: u64,
    threads: usize,
    budget: (u64, u64),
}

impl Search {
    fn new(plan: Plan) -> Self {
        Search {
            plan,
            seed: 0,
            threads: parallel::threads(),
            budget: (1, 1),
        }
    }

    /// Every combination, up to a million; a range of numbers contributes `points` values (both ends included).
    ///
    /// # Panics
    /// When `points` is 0. A search panics when there are more.
    #[track_caller]
    pub fn grid(points: usize) -> Self {
        or_panic(positive("grid", "the number of points", points as u64));
        Self::new(Plan::Grid(points))
    }

    /// `trials` independent draws (Bergstra and Bengio 2012).
    ///
    /// # Panics
    /// When `trials` is 0.
    #[track_caller]
    pub fn random(trials: usize) -> Self {
        or_panic(positive("random", "the number of trials", trials as u64));
        Self::new(Plan::Random(trials))
    }

    /// Successive halving (Jamieson and Talwalkar 2016): `trials` draws begin with the smallest budget; the best 1 / `eta`
    /// of each round get `eta` times as much, up to the largest. See [`Search::budget`].
    ///
    /// # Panics
    /// When `trials` is 0 or `eta` is less than 2.
    #[track_caller]
    pub fn halving(trials: usize, eta: u64) -> Self {
        or_panic(positive("halving", "the number of trials", trials as u64));
        assert!(eta >= 2, "halving: eta must be at least 2, found {eta}");
        Self::new(Plan::Halving { trials, eta })
    }

    /// Hyperband (Li et al. 2018, algorithm 1): several rounds of successive halving, from many trials with a small first
    /// budget to few trials with the whole, so that slow starters have their chance. See [`Search::budget`].
    ///
    /// # Panics
    /// When `eta` is less than 2.
    #[track_caller]
    pub fn hyperband(eta: u64) -> Self {
        assert!(eta >= 2, "hyperband: eta must be at least 2, found {eta}");
        Self::new(Plan::Hyperband { eta })
    }

    /// Seed of the draws and of the trials' own seeds; 0 unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Trials at a time, each on one thread; as many as the pool has unless set.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn threads(mut self, n: usize) -> Self {
        or_panic(positive("threads", "the number", n as u64));
        self.threads = n;
        self
    }

    /// The smallest and the largest budget of a trial, usually in epochs; both 1 unless set. A grid and a random search
    /// give every trial the largest.
    ///
    /// # Panics
    /// Unless `1 <= low <= high`.
    #[track_caller]
    pub fn budget(mut self, low: u64, high: u64) -> Self {
        assert!(
            low >= 1 && low <= high,
            "budget: 1 <= low <= high expected, found {low} and {high}"
        );
        self.budget = (low, high);
        self
    }

    /// Runs the search for the lowest score. A trial trains for [`Trial::budget`] from its beginning and returns its score.
    ///
    /// A trial that errs or panics, or whose score is NaN, has failed: it stands in the table with what it said, and the
    /// others go on.
    pub fn minimize(&self, space: &Space, f: impl Fn(&Trial) -> Result<f64> + Sync) -> Results {
        self.run(space, false, &|trial: &Trial, _: Option<()>| {
            Ok((f(trial)?, ()))
        })
    }

    /// As [`Search::minimize`], for the highest score.
    pub fn maximize(&self, space: &Space, f: impl Fn(&Trial) -> Result<f64> + Sync) -> Results {
        self.run(space, true, &|trial: &Trial, _: Option<()>| {
            Ok((f(trial)?, ()))
        })
    }

    /// As [`Search::minimize`], for trials that go on where they stopped: `f` gets what it returned for the smaller budget, such as
    /// a [`Checkpoint`](wengert_nn::Checkpoint) of [`Trainer::to_checkpoint`](crate::Trainer::to_checkpoint).
    pub fn minimize_from<S: Send>(
        &self,
        space: &Space,
        f: impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync,
    ) -> Results {
        self.run(space, false, &f)
    }

    /// As [`Search::minimize_from`], for the highest score.
    pub fn maximize_from<S: Send>(
        &self,
        space: &Space,
        f: impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync,
    ) -> Results {
        self.run(space, true, &f)
    }

    fn run<S: Send>(
        &self,
        space: &Space,
        maximize: bool,
        f: &(impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync),
    ) -> Results {
        let high = self.budget.1;
        let mut results = Results::new(maximize);
        match self.plan {
            Plan::Grid(points) => {
                let all = space.grid(points, self.seed);
                let trials = all
                    .into_iter()
                    .map(|t| (t.with_budget(high), None))
                    .collect();
                results.extend(self.round(trials, f).into_iter().map(|r| r.0));
            }
            Plan::Random(n) => {
                let draw = |i| (space.draw(self.seed, i).with_budget(high), None);
                results.extend(
                    self.round((0..n).map(draw).collect(), f)
                        .into_iter()
                        .map(|r| r.0),
                );
            }
            Plan::Halving { trials, eta } => {
                let (low, high) = self.budget;
                let budgets = halving::ladder(low, high, eta);
                halving::bracket(self, space, &mut results, 0..trials, &budgets, eta, f);
            }
            Plan::Hyperband { eta } => halving::hyperband(self, space, &mut results, eta, f),
        }
        results
    }

    /// Runs trials over the threads; results in the order of the trials.
    fn round<S: Send>(
        &self,
        trials: Vec<(Trial, Option<S>)>,
        f: &(impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync),
    ) -> Vec<(Outcome, Option<S>)> {
        type Slot<S> = Mutex<(Option<(Trial, Option<S>)>, Option<(Outcome, Option<S>)>)>;
        let slots: Vec<Slot<S>> = trials
            .into_iter()
            .map(|t| Mutex::new((Some(t), None)))
            .collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                // No foreign code runs under the lock.
                let lock = || slot.lock().unwrap_or_else(|e| e.into_inner());
                let Some((trial, state)) = lock().0.take() else {
                    continue;
                };
                let begun = Instant::now();
                let result = catch_unwind(AssertUnwindSafe(|| f(&trial, state)));
                let result = match result {
                    Ok(Ok((score, state))) => Ok((score, state)),
                    Ok(Err(e)) => Err(e.to_string()),
                    Err(panic) => Err(said(&*panic)),
                };
                let seconds = begun.elapsed().as_secs_f64();
                lock().1 = Some(Outcome::new(trial, result, seconds));
            }
        };
        let threads = self.threads.min(slots.len());
        std::thread::scope(|s| {
            for _ in 1..threads {
                // Where the system refuses a thread, fewer do the same work.
                let started = std::thread::Builder::new().spawn_scoped(s, || parallel::alone(work));
                if started.is_err() {
                    break;
                }
            }
            parallel::alone(work);
        });
        let taken = slots
            .into_iter()
            .map(|s| s.into_inner().unwrap_or_else(|e| e.into_inner()));
        taken.filter_map(|(_, done)| done).collect()
    }
}

/// The text of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("(no text)"))
}
