//! What the trials gave.

use super::{Setting, Trial};
use crate::history::{csv_field, csv_line};
use std::fmt;
use wengert_tensor::order::order;

/// What one trial gave, at its largest budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The trial, with the budget that it had.
    pub trial: Trial,
    /// Its score; NaN if it failed.
    pub score: f64,
    /// What it said, if it failed.
    pub failure: Option<String>,
    /// Seconds, all budgets together.
    pub seconds: f64,
}

impl Outcome {
    pub(super) fn new<S>(
        trial: Trial,
        result: Result<(f64, S), String>,
        seconds: f64,
    ) -> (Self, Option<S>) {
        let (score, failure, state) = match result {
            Ok((x, s)) if !x.is_nan() => (x, None, Some(s)),
            Ok((_, s)) => (f64::NAN, Some("the score is NaN".to_owned()), Some(s)),
            Err(e) => (f64::NAN, Some(e), None),
        };
        let outcome = Outcome {
            trial,
            score,
            failure,
            seconds,
        };
        (outcome, state)
    }
}

/// The table of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// One line per trial, in the order of their numbers.
    pub outcomes: Vec<Outcome>,
    /// Whether a high score is good.
    pub maximize: bool,
}

impl Results {
    pub(super) fn new(maximize: bool) -> Self {
        Results {
            outcomes: Vec::new(),
            maximize,
        }
    }

    /// Adds outcomes; one with a larger budget takes the place of the trial's earlier one.
    pub(super) fn extend(&mut self, new: impl IntoIterator<Item = Outcome>) {
        for mut o in new {
            match self
                .outcomes
                .iter_mut()
                .find(|x| x.trial.index == o.trial.index)
            {
                Some(old) => {
                    o.seconds += old.seconds;
                    *old = o;
                }
                None => self.outcomes.push(o),
            }
        }
        self.outcomes.sort_by_key(|o| o.trial.index);
    }

    /// The best first: by score, then by number; failed trials last.
    pub(super) fn order(maximize: bool, a: &Outcome, b: &Outcome) -> std::cmp::Ordering {
        let scores = if maximize {
            b.score.total_cmp(&a.score)
        } else {
            a.score.total_cmp(&b.score)
        };
        let failed = |o: &Outcome| o.failure.is_some();
        failed(a)
            .cmp(&failed(b))
            .then(if failed(a) {
                std::cmp::Ordering::Equal
            } else {
                scores
            })
            .then(a.trial.index.cmp(&b.trial.index))
    }

    /// The outcomes, the largest budget first, within one budget the best first, failed trials last.
    pub fn ranked(&self) -> Vec<&Outcome> {
        let all = &self.outcomes;
        let order = order(all.len(), &|a, b| {
            let (a, b) = (&all[a], &all[b]);
            let failed = a.failure.is_some().cmp(&b.failure.is_some());
            failed
                .then(b.trial.budget.cmp(&a.trial.budget))
                .then(Self::order(self.maximize, a, b))
        });
        order.into_iter().map(|i| &all[i]).collect()
    }

    /// The best of the trials that had the largest budget of all; `None` if every trial failed.
    pub fn best(&self) -> Option<&Outcome> {
        self.ranked().into_iter().find(|o| o.failure.is_none())
    }

    /// The table as CSV: number, budget, score, the hyperparameters, what failed trials said. Without times: the same
    /// search gives the same text.
    pub fn to_csv(&self) -> String {
        let names = self.outcomes.first().map_or(Vec::new(), |o| {
            o.trial.settings.iter().map(|s| csv_field(&s.0)).collect()
        });
        let head = ["trial", "budget", "score"].map(str::to_owned).into_iter();
        let mut out = csv_line(head.chain(names).chain(["failure".to_owned()]));
        for o in &self.outcomes {
            let head = [
                o.trial.index.to_string(),
                o.trial.budget.to_string(),
                format!("{:?}", o.score),
            ];
            let settings = o.trial.settings.iter().map(|s| match &s.1 {
                // In full, so that the trial can be run again.
                Setting::Number(x) => format!("{x:?}"),
                other => csv_field(&other.to_string()),
            });
            let failure = csv_field(o.failure.as_deref().unwrap_or(""));
            out.push_str(&csv_line(head.into_iter().chain(settings).chain([failure])));
        }
        out
    }
}

/// The ten best.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>5}  {:>6}  {:>10}  settings",
            "trial", "budget", "score"
        )?;
        for o in self.ranked().into_iter().take(10) {
            let said = o.failure.as_ref().map(|e| format!("  ({})", csv_field(e)));
            writeln!(
                f,
                "{:>5}  {:>6}  {:>10.5}  {}{}",
                o.trial.index,
                o.trial.budget,
                o.score,
                o.trial,
                said.unwrap_or_default()
            )?;
        }
        Ok(())
    }
}
