//! Successive halving and Hyperband: weak trials end early.

use super::{Outcome, Results, Search, Space, Trial};
use crate::error::Result;
use std::ops::Range;

/// One bracket: all trials of `range` with the budget `low`, then the best 1 / eta with eta times as much, and so on up to `high`.
pub(super) fn bracket<S: Send>(
    search: &Search,
    space: &Space,
    results: &mut Results,
    range: Range<usize>,
    (low, high, eta): (u64, u64, u64),
    f: &(impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync),
) {
    let mut budget = low;
    let mut trials: Vec<(Trial, Option<S>)> = range
        .map(|i| (space.draw(search.seed, i).with_budget(budget), None))
        .collect();
    loop {
        let mut done: Vec<(Outcome, Option<S>)> = search.round(trials, f);
        results.extend(done.iter().map(|d| d.0.clone()));
        if budget >= high {
            return;
        }
        budget = budget.saturating_mul(eta).min(high);
        // All of a round are judged before any goes on, so the order in which they end does not matter.
        let keep = (done.len() / eta as usize).max(1);
        done.sort_by(|a, b| Results::order(results.maximize, &a.0, &b.0));
        trials = done
            .into_iter()
            .take(keep)
            .filter(|d| d.0.failure.is_none())
            .map(|(o, state)| (o.trial.with_budget(budget), state))
            .collect();
        if trials.is_empty() {
            return;
        }
    }
}

/// Brackets s = s_max, …, 0 of n = ⌈(s_max + 1) / (s + 1) · ηˢ⌉ trials that begin with the budget R η⁻ˢ, where R is the largest
/// budget and s_max = ⌊log_η(R / r)⌋ for the smallest budget r.
pub(super) fn hyperband<S: Send>(
    search: &Search,
    space: &Space,
    results: &mut Results,
    eta: u64,
    f: &(impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync),
) {
    let (low, high) = search.budget;
    let mut begun = 0;
    for (n, first) in brackets(low, high, eta) {
        bracket(
            search,
            space,
            results,
            begun..begun + n,
            (first, high, eta),
            f,
        );
        begun += n;
    }
}

/// Trials and first budget of each bracket.
pub(super) fn brackets(low: u64, high: u64, eta: u64) -> Vec<(usize, u64)> {
    let mut most = 0u32;
    while eta.checked_pow(most + 1).is_some_and(|p| high / p >= low) {
        most += 1;
    }
    (0..=most)
        .rev()
        .map(|s| {
            let power = eta.pow(s);
            let n = (u64::from(most) + 1)
                .saturating_mul(power)
                .div_ceil(u64::from(s) + 1);
            (n as usize, (high / power).max(low))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::brackets;

    /// Table 1 of the paper: R = 81, η = 3.
    #[test]
    fn the_papers_table() {
        let paper = [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)];
        assert_eq!(brackets(1, 81, 3), paper);
        assert_eq!(brackets(3, 27, 3), [(9, 3), (5, 9), (3, 27)]);
        assert_eq!(brackets(5, 5, 2), [(1, 5)]);
    }
}
