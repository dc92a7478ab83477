//! Successive halving and Hyperband: weak trials end early.

use super::{Outcome, Results, Search, Space, Trial};
use crate::error::Result;
use std::ops::Range;

/// One bracket: all trials of `range` with the first budget, then the best 1 / eta with the next, and so on.
pub(super) fn bracket<S: Send>(
    search: &Search,
    space: &Space,
    results: &mut Results,
    range: Range<usize>,
    budgets: &[u64],
    eta: u64,
    f: &(impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync),
) {
    let mut trials: Vec<(Trial, Option<S>)> =
        range.map(|i| (space.draw(search.seed, i), None)).collect();
    for &budget in budgets {
        let given = |(t, state): (Trial, Option<S>)| (t.with_budget(budget), state);
        let round = trials.drain(..).map(given).collect();
        let mut done: Vec<(Outcome, Option<S>)> = search.round(round, f);
        results.extend(done.iter().map(|d| d.0.clone()));
        // All of a round are judged before any goes on, so the order in which they end does not matter.
        let keep = (done.len() / eta as usize).max(1);
        done.sort_by(|a, b| Results::order(results.maximize, &a.0, &b.0));
        trials = done
            .into_iter()
            .take(keep)
            .filter(|d| d.0.failure.is_none())
            .map(|(o, state)| (o.trial, state))
            .collect();
        if trials.is_empty() {
            return;
        }
    }
}

/// Budgets from `low` on, each `eta` times the one before, up to `high`.
pub(super) fn ladder(low: u64, high: u64, eta: u64) -> Vec<u64> {
    let next = |b: &u64| (*b < high).then(|| b.saturating_mul(eta).min(high));
    std::iter::successors(Some(low), next).collect()
}

/// Brackets s = s_max, …, 0 of n = ⌈(s_max + 1) / (s + 1) · ηˢ⌉ trials that begin with the budget R η⁻ˢ and
/// go on with R η⁻ˢ⁺¹, … R, where R is the largest budget and s_max = ⌊log_η(R / r)⌋ for the smallest budget r.
pub(super) fn hyperband<S: Send>(
    search: &Search,
    space: &Space,
    results: &mut Results,
    eta: u64,
    f: &(impl Fn(&Trial, Option<S>) -> Result<(f64, S)> + Sync),
) {
    let (low, high) = search.budget;
    let mut begun = 0;
    for (n, budgets) in brackets(low, high, eta) {
        let trials = begun..begun + n;
        bracket(search, space, results, trials, &budgets, eta, f);
        begun += n;
    }
}

/// Trials and budgets of each bracket.
fn brackets(low: u64, high: u64, eta: u64) -> Vec<(usize, Vec<u64>)> {
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
            // From the largest down, so that a remainder makes no round of its own.
            let budgets = (0..=s).rev().map(|k| (high / eta.pow(k)).max(low));
            (n as usize, budgets.collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{brackets, ladder};

    /// Table 1 of the paper: R = 81, η = 3.
    #[test]
    fn the_papers_table() {
        let first = |low, high, eta| -> Vec<(usize, u64)> {
            let all = brackets(low, high, eta).into_iter();
            all.map(|(n, budgets)| (n, budgets[0])).collect()
        };
        let paper = [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)];
        assert_eq!(first(1, 81, 3), paper);
        assert_eq!(first(3, 27, 3), [(9, 3), (5, 9), (3, 27)]);
        assert_eq!(first(5, 5, 2), [(1, 5)]);
        assert_eq!(brackets(1, 81, 3)[1].1, [3, 9, 27, 81]);
    }

    /// A largest budget that is no power gets no round for what is left over.
    #[test]
    fn as_many_rounds_as_the_paper_has() {
        let budgets: Vec<_> = brackets(1, 80, 3).into_iter().map(|b| b.1).collect();
        let rounds = [&[2, 8, 26, 80][..], &[8, 26, 80], &[26, 80], &[80]];
        assert_eq!(budgets, rounds);
        assert_eq!(ladder(2, 100, 3), [2, 6, 18, 54, 100]);
        assert_eq!(ladder(1, 27, 3), [1, 3, 9, 27]);
        assert_eq!(ladder(7, 7, 2), [7]);
    }
}
