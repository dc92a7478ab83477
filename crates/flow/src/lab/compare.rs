//! One network under a list of remedies.

use super::remedy::Remedy;
use super::spec::{NetSpec, SpecError};
use super::train::{LabData, train};
use crate::judge::Judge;
use crate::profile::{RunProfile, Severity};
use crate::report::table::{Cell, Column, Table};
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The runs of [`compare`], the network as it is first.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One run per remedy, in order.
    pub runs: Vec<RunProfile>,
}

/// Memory that runs beside each other may take together.
const MEMORY: usize = 1 << 30;

fn memory(spec: &NetSpec, inputs: usize) -> usize {
    let weights = inputs * spec.width + spec.depth * spec.width * spec.width;
    // A recurrent layer has a weight for each of up to four gates.
    let weights = weights * if spec.cell.is_some() { 4 } else { 1 };
    // Weights, gradients, optimizer state, a snapshot; activations and their adjoints.
    4 * (5 * weights + 4 * spec.batch * spec.width * spec.depth)
}

/// Trains `spec` as it is and under each remedy, with equal seed, data and budget; as many at once as there are
/// processors and memory (1 GiB for all together).
///
/// # Errors
/// When a setting is out of range.
pub fn compare(
    spec: &NetSpec,
    remedies: &[Remedy],
    data: &LabData,
    judge: &Judge,
) -> Result<Comparison, SpecError> {
    let all: Vec<Remedy> = std::iter::once(Remedy::None)
        .chain(remedies.iter().cloned())
        .collect();
    // Before the first training, not after the last.
    (all.iter()).try_for_each(|r| r.apply(spec).check())?;
    let inputs = data.train.inputs.shape()[1];
    let largest = all
        .iter()
        .map(|r| memory(&r.apply(spec), inputs))
        .max()
        .unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MEMORY / largest.max(1)).clamp(1, all.len());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<RunProfile, SpecError>>>> =
        Mutex::new(all.iter().map(|_| None).collect());
    std::thread::scope(|s| {
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(r) = all.get(i) else { break };
                let run = train(&r.to_string(), &r.apply(spec), data, judge);
                done.lock().unwrap_or_else(|e| e.into_inner())[i] = Some(run);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| s.spawn(work)).collect();
        for w in workers {
            // With what it said, which the scope would replace by words of its own.
            w.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let mut runs = Vec::new();
    for run in done.into_inner().unwrap_or_else(|e| e.into_inner()) {
        runs.push(run.expect("every remedy is taken by one thread")?);
    }
    Ok(Comparison { runs })
}

/// Whether nothing worse than a note was found.
fn well(run: &RunProfile) -> bool {
    run.severity().unwrap_or_default() <= Severity::Note
}

impl Comparison {
    /// One row per remedy: verdict measured again, loss, accuracy, time.
    pub fn table(&self) -> Table {
        let mut t = Table::new([
            Column::new("remedy"),
            Column::new("verdict"),
            Column::new("loss").hint("mean of the last epoch"),
            Column::new("accuracy").hint("on the test part"),
            Column::new("seconds").priority(2),
        ]);
        for r in &self.runs {
            let f = crate::report::compare::assess(r);
            t.rows.push(vec![
                Cell::from(r.name.clone()),
                Cell::Status(f.severity, f.rule),
                Cell::from(r.curve("loss").and_then(|c| c.last())),
                r.curve("accuracy")
                    .and_then(|c| c.last())
                    .map_or(Cell::Empty, Cell::Percent),
                Cell::from(crate::report::compare::seconds(r)),
            ]);
        }
        t
    }

    /// Whether at least one remedy leads to a healthy network; without remedies, whether the network as it is is healthy.
    pub fn any_healthy(&self) -> bool {
        self.remedies().iter().any(well)
    }

    /// The runs with a remedy; without any, the only one.
    fn remedies(&self) -> &[RunProfile] {
        match &self.runs[..] {
            [_, remedies @ ..] if !remedies.is_empty() => remedies,
            all => all,
        }
    }

    /// How the network is as it is, and which remedies lead to a healthy one, in words.
    pub fn summary(&self) -> String {
        let Some(first) = self.runs.first() else {
            return "No runs.".into();
        };
        let rule = crate::report::compare::assess(first).rule;
        let named: Vec<&str> = (self.remedies().iter())
            .filter(|r| well(r))
            .map(|r| r.name.as_str())
            .collect();
        match (self.runs.len(), named.is_empty()) {
            (1, _) => format!("As it is: {rule}."),
            (_, true) => {
                format!("As it is: {rule}. None of the remedies leads to a healthy network.")
            }
            (_, false) => format!("As it is: {rule}. Healthy with: {}.", named.join("; ")),
        }
    }
}
