//! Verdicts: rules with documented thresholds turn measurements into findings.
//!
//! A [`Rule`] is data: a name, what it says, its thresholds with their reasons, and a function from a run to findings.
//! [`Judge::default`] holds the rules below; [`Judge::with`] adds one, [`Judge::set`] moves a threshold.
//!
//! | rule | finds |
//! |---|---|
//! | `not finite` | NaN or infinity in values or gradients |
//! | `no gradient` | trainable parameters that the loss does not reach, and why |
//! | `frozen by accident` | frozen layers behind trainable ones; weights that do not move although they have a gradient |
//! | `symmetric` | units that are and stay identical |
//! | `double softmax`, `loss and output` | an output function that does not fit the loss |
//! | `unscaled inputs` | inputs far from mean 0 and deviation 1 |
//! | `batch norm` | a batch of one, or running statistics while training |
//! | `saturated`, `dead` | activation functions that pass no gradient |
//! | `vanishing`, `exploding` | gradients that shrink or grow on their way back |
//! | `vanishing over time`, `exploding over time` | the same on their way back through the steps of a sequence |
//! | `learning rate too high`, `learning rate too low` | steps that overshoot or do not move |
//!
//! A cause hides its effects: where a rule explains others (unscaled inputs saturate units, saturated units make
//! gradients vanish), their findings stay as notes that point to the cause. A cause never shows later than its effect:
//! a gradient that explodes before the first update was not made by the learning rate, and units that die after it do
//! not explain what was there before ([`Finding::since`]).
//!
//! ```
//! use wengert_flow::judge::Judge;
//! use wengert_flow::profile::StepProfile;
//! let fading: Vec<[f32; 2]> = (0..10).map(|l| [10f32.powi(l - 9); 2]).collect();
//! let names: Vec<String> = (0..10).map(|l| format!("fc{l}")).collect();
//! let named = names.iter().map(String::as_str).zip(fading.iter().map(|v| &v[..]));
//! let findings = Judge::default().step(&StepProfile::new(0).with_activation_grads(named));
//! assert_eq!(findings[0].rule, "vanishing");
//! ```

mod signal;
mod time;
pub(crate) mod training;
mod wiring;

use crate::profile::{Finding, LayerProfile, RunProfile, Severity, StepProfile, Summary};
use std::sync::Arc;
use wengert_tensor::order::order;

/// A number that a rule compares with.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Why this value.
    pub why: &'static str,
}

/// The function of a rule.
pub type Check = Arc<dyn Fn(&RunProfile, &Rule) -> Vec<Finding> + Send + Sync>;

/// One rule of a [`Judge`].
#[derive(Clone)]
pub struct Rule {
    /// Short name, which its findings carry.
    pub name: &'static str,
    /// What it finds, in one sentence.
    pub says: &'static str,
    /// Its thresholds.
    pub thresholds: Vec<Threshold>,
    /// Rules whose findings are effects when this one finds something that is at least a warning.
    pub explains: &'static [&'static str],
    check: Check,
}

impl Rule {
    /// A rule without thresholds that explains no other.
    ///
    /// ```
    /// use wengert_flow::judge::{Judge, Rule};
    /// use wengert_flow::profile::{Finding, RunProfile, Severity};
    /// let loss = Rule::new("lost", "the loss is above 100", |run: &RunProfile, _: &Rule| {
    ///     let high = run.last().and_then(|s| s.loss).is_some_and(|l| l > 100.0);
    ///     high.then(|| Finding::new(Severity::Critical, "lost", "The loss is above 100.")).into_iter().collect()
    /// });
    /// let judge = Judge::default().with(loss);
    /// # let _ = judge;
    /// ```
    pub fn new(
        name: &'static str,
        says: &'static str,
        check: impl Fn(&RunProfile, &Rule) -> Vec<Finding> + Send + Sync + 'static,
    ) -> Rule {
        Rule {
            name,
            says,
            thresholds: Vec::new(),
            explains: &[],
            check: Arc::new(check),
        }
    }

    /// Adds a threshold.
    pub fn threshold(mut self, name: &'static str, value: f64, why: &'static str) -> Rule {
        self.thresholds.push(Threshold { name, value, why });
        self
    }

    /// Names the rules whose findings follow from this one's.
    pub fn explains(mut self, rules: &'static [&'static str]) -> Rule {
        self.explains = rules;
        self
    }

    /// Value of a threshold.
    ///
    /// # Panics
    /// When the rule has no threshold of this name.
    #[track_caller]
    pub fn at(&self, threshold: &str) -> f64 {
        match self.thresholds.iter().find(|t| t.name == threshold) {
            Some(t) => t.value,
            None => panic!("rule {:?} has no threshold {threshold:?}", self.name),
        }
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("thresholds", &self.thresholds)
            .finish_non_exhaustive()
    }
}

/// A set of rules, in order of importance.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Vec<Rule>,
}

impl Default for Judge {
    fn default() -> Self {
        let rules = [
            wiring::rules(),
            training::rules(),
            time::rules(),
            signal::rules(),
        ]
        .concat();
        Judge { rules }
    }
}

impl Judge {
    /// A judge without rules.
    pub fn empty() -> Judge {
        Judge { rules: Vec::new() }
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a rule.
    pub fn with(mut self, rule: Rule) -> Judge {
        self.rules.push(rule);
        self
    }

    /// Takes a rule out.
    pub fn without(mut self, name: &str) -> Judge {
        self.rules.retain(|r| r.name != name);
        self
    }

    /// Moves a threshold.
    ///
    /// # Panics
    /// When there is no such rule or threshold.
    #[track_caller]
    pub fn set(mut self, rule: &str, threshold: &str, value: f64) -> Judge {
        let found = (self.rules.iter_mut().filter(|r| r.name == rule))
            .flat_map(|r| r.thresholds.iter_mut())
            .find(|t| t.name == threshold);
        match found {
            Some(t) => t.value = value,
            None => panic!("no rule {rule:?} with a threshold {threshold:?}"),
        }
        self
    }

    /// Findings about one step, the most important first; one `healthy` finding when there is nothing to say.
    pub fn step(&self, step: &StepProfile) -> Vec<Finding> {
        self.run(&RunProfile::new("").with_step(step.clone()))
    }

    /// Findings about a run, the most important first; one `healthy` finding when there is nothing worse than a note.
    ///
    /// A finding without a source line of its own gets that of its layer; one about no layer, that of the loss.
    pub fn run(&self, run: &RunProfile) -> Vec<Finding> {
        if !run.steps.is_empty() && run.steps.iter().all(empty) {
            return vec![nothing()];
        }
        let found: Vec<(&Rule, Vec<Finding>)> = (self.rules.iter())
            .map(|r| (r, (r.check)(run, r)))
            .collect();
        let cause_of = causes(&found);
        let mut out: Vec<Finding> = Vec::new();
        for ((_, findings), cause) in found.iter().zip(cause_of) {
            for f in findings {
                let mut f = f.clone();
                f.location = f.location.or_else(|| line_of(run, f.layer.as_deref()));
                if let Some(c) = cause {
                    f.severity = f.severity.min(Severity::Note);
                    f.cause = Some(format!("follows from: {}", found[c].0.name));
                    f.remedy = None;
                }
                out.push(f);
            }
        }
        // Rules stand in order of importance, so a stable sort keeps causes before effects.
        let order = order(out.len(), &|a, b| out[b].severity.cmp(&out[a].severity));
        let mut out: Vec<Option<Finding>> = out.into_iter().map(Some).collect();
        let mut out: Vec<Finding> = order.iter().filter_map(|i| out[*i].take()).collect();
        if out.iter().all(|f| f.severity < Severity::Warning) {
            out.insert(0, healthy(run));
        }
        out
    }
}

/// Updates made before the first finding of at least a warning; facts of the network itself hold from the beginning.
fn since(findings: &[Finding]) -> u64 {
    let sick = findings.iter().filter(|f| f.severity >= Severity::Warning);
    sick.map(|f| f.since.unwrap_or(0)).min().unwrap_or(0)
}

/// For each rule, the rule whose finding its own follows from.
///
/// A rule explains another one's findings when it names it and its own do not show later.
/// Roots are rules that no other one explains; what a root explains, directly or through others, is its effect. Where
/// rules explain each other in a circle, the earliest, then the first in order of importance is the root.
fn causes(found: &[(&Rule, Vec<Finding>)]) -> Vec<Option<usize>> {
    let mut cause = vec![None; found.len()];
    let fires = |f: &[Finding]| f.iter().any(|f| f.severity >= Severity::Warning);
    let mut open: Vec<usize> = (0..found.len()).filter(|&i| fires(&found[i].1)).collect();
    let times: Vec<u64> = found.iter().map(|f| since(&f.1)).collect();
    let explains = |a: usize, b: usize| {
        a != b && times[a] <= times[b] && found[a].0.explains.contains(&found[b].0.name)
    };
    while let Some(&first) = open.first() {
        let free = |&&i: &&usize| open.iter().all(|&j| !explains(j, i));
        let earliest = open.iter().copied().min_by_key(|&i| (times[i], i));
        let root = open
            .iter()
            .find(free)
            .copied()
            .or(earliest)
            .unwrap_or(first);
        open.retain(|&i| i != root);
        let mut front = vec![root];
        while let Some(at) = front.pop() {
            let (effects, rest): (Vec<usize>, Vec<usize>) =
                open.iter().copied().partition(|&i| explains(at, i));
            for e in &effects {
                cause[*e] = Some(root);
            }
            open = rest;
            front.extend(effects);
        }
    }
    cause
}

/// Line of a layer, or of the loss, as far as they are known.
fn line_of(run: &RunProfile, layer: Option<&str>) -> Option<String> {
    let step = run.first()?;
    let line = match layer {
        Some(path) => (step.layers.iter().find(|l| l.path == path))?
            .location
            .as_ref(),
        None => step.facts.loss.as_ref().map(|l| &l.location),
    };
    line.filter(|l| !l.is_empty()).cloned()
}

/// Whether a step saw no value at all.
fn empty(step: &StepProfile) -> bool {
    let none = |s: &Option<Summary>| s.as_ref().is_some_and(|s| s.count == 0);
    let outputs = |l: &LayerProfile| none(&l.activation) || none(&l.activation_grad);
    !step.layers.is_empty() && step.layers.iter().all(outputs)
}

fn nothing() -> Finding {
    Finding::new(
        Severity::Warning,
        "not measured",
        "There is nothing to judge: the batches are empty.",
    )
    .evidence("no value in the outputs of any layer")
    .cause("a batch of 0 samples, or names that were fed without values")
    .remedy("look at what makes the batches, such as a filter that lets nothing pass")
}

fn healthy(run: &RunProfile) -> Finding {
    match run.last() {
        None => Finding::new(
            Severity::Note,
            "not measured",
            "No step of this run was observed.",
        ),
        Some(s) if s.layers.is_empty() => Finding::new(
            Severity::Note,
            "not measured",
            "No layer was found: none of the parameters in use is a weight of rank 2 or more.",
        ),
        Some(s) => {
            let gradient =
                |l: &LayerProfile| l.activation_grad.is_some() || l.weight_grad.is_some();
            let (alive, them) = match s.layers.len() {
                1 => ("The layer is alive".to_string(), "it"),
                n => (format!("All {n} layers are alive"), "each of them"),
            };
            let reached = match s.layers.iter().any(gradient) {
                true => format!(", and the gradient reaches {them}."),
                false => "; no gradient was measured.".into(),
            };
            Finding::new(Severity::Healthy, "healthy", alive + &reached)
        }
    }
}

/// A finding about a layer, with its source line.
fn about(severity: Severity, rule: &Rule, layer: &LayerProfile, message: String) -> Finding {
    let f = Finding::new(severity, rule.name, message).at(layer.path.clone());
    match &layer.location {
        Some(l) => f.location(l.clone()),
        None => f,
    }
}

/// `Critical` from the threshold `critical` on, `Warning` from `warning` on.
fn graded(rule: &Rule, value: f64) -> Option<Severity> {
    if value >= rule.at("critical") {
        Some(Severity::Critical)
    } else if value >= rule.at("warning") {
        Some(Severity::Warning)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
