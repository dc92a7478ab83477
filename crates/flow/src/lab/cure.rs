//! From verdict to remedy to verdict, until healthy.

use super::remedy::{Remedy, propose};
use super::spec::{NetSpec, SpecError};
use super::train::{LabData, train};
use crate::judge::Judge;
use crate::profile::{RunProfile, Severity};

/// What [`cure`] did.
#[derive(Clone, Debug)]
pub struct Cure {
    /// Whether the last run is healthy.
    pub healthy: bool,
    /// Each change with the run after it; the first is the network as it was.
    pub steps: Vec<(Remedy, RunProfile)>,
    /// The network at the end.
    pub spec: NetSpec,
}

/// Most changes that are tried.
const ROUNDS: usize = 8;

/// Trains, judges, applies the first proposal of the most important finding, and repeats: at most eight changes, each
/// one kept. Where nothing is left to propose, it ends with [`Cure::healthy`] false.
///
/// # Errors
/// When a setting is out of range.
pub fn cure(spec: &NetSpec, data: &LabData, judge: &Judge) -> Result<Cure, SpecError> {
    let mut spec = spec.clone();
    let mut tried: Vec<Remedy> = Vec::new();
    let mut steps = vec![(Remedy::None, train("as it is", &spec, data, judge)?)];
    for _ in 0..ROUNDS {
        let run = &steps[steps.len() - 1].1;
        let sick = run
            .findings
            .iter()
            .filter(|f| f.severity >= Severity::Warning);
        let remedy = sick
            .flat_map(|f| propose(f, run, &spec))
            .find(|r| !tried.contains(r));
        let Some(remedy) = remedy else { break };
        spec = remedy.apply(&spec);
        tried.push(remedy.clone());
        let run = train(&remedy.to_string(), &spec, data, judge)?;
        steps.push((remedy, run));
    }
    let last = &steps[steps.len() - 1].1;
    Ok(Cure {
        healthy: last.severity().unwrap_or_default() <= Severity::Note,
        steps,
        spec,
    })
}

impl Cure {
    /// What was done, in words.
    pub fn summary(&self) -> String {
        let names: Vec<String> = self.steps.iter().skip(1).map(|s| s.0.to_string()).collect();
        match (self.healthy, names.is_empty()) {
            (true, true) => "Healthy as it is.".into(),
            (true, false) => format!("Healthy after: {}.", names.join("; ")),
            (false, true) => "Not cured: no remedy is known for this verdict.".into(),
            (false, false) => format!("Not cured. Tried: {}.", names.join("; ")),
        }
    }
}
