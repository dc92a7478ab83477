//! One call for everything: measure a model on a batch, judge, show.

use crate::judge::Judge;
use crate::probe::{Probe, ProbeOptions};
use crate::profile::{Finding, RunProfile, Severity, StepProfile};
use crate::report::{compare, html, json, text::Terminal};
use wengert_autograd::{Float, Module, Tape, Tensor, Var};

/// The state of a model on one batch: what was measured and what it means.
///
/// `Display` gives the terminal's table with bars and the findings; [`json`](FlowReport::json) and
/// [`html`](FlowReport::html) the same for programs and browsers.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_flow::FlowReport;
/// use wengert_nn::{Forward, Sequential};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let model: Sequential = Sequential::builder().linear(3, 16).relu().linear(16, 2).build(&mut rng);
/// let x = Tensor::from_vec((0..96).map(|i| (i as f32 * 0.7).sin() * 1.4).collect(), [32, 3]);
/// let y = Tensor::from_vec((0..32).map(|i| i % 2).collect(), [32]);
/// let report = FlowReport::of(&model, &x, |m, x| m.forward(x).cross_entropy(&y));
/// assert!(report.is_healthy(), "{report}");
/// ```
#[derive(Clone, Debug)]
pub struct FlowReport {
    run: RunProfile,
}

impl FlowReport {
    /// Measures `loss_fn(model, batch)` on a training tape of seed 0 and judges it by the default rules.
    ///
    /// A loss that no trainable parameter has a part in is a finding, not a panic.
    #[track_caller]
    pub fn of<T: Float, M: Module<T>>(
        model: &M,
        batch: &Tensor<T>,
        loss_fn: impl for<'t> Fn(&M, Var<'t, T>) -> Var<'t, T>,
    ) -> FlowReport {
        let tape = Tape::training(0);
        let loss = loss_fn(model, tape.input(batch));
        if !loss.is_tracked() {
            let f = Finding::new(
                Severity::Critical,
                "no gradient",
                "No trainable parameter has a part in the loss.",
            )
            .evidence("the loss is a constant as far as the parameters are concerned")
            .cause("everything is frozen, or `detach` or `no_grad` cuts the way")
            .remedy(
                "make parameters trainable (`model.set_frozen(\"*\", false)`), remove the `detach`",
            );
            return FlowReport {
                run: RunProfile::new("model").with_finding(f),
            };
        }
        let options = ProbeOptions {
            rank: true,
            ..ProbeOptions::default()
        };
        let (_, step) = Probe::new(options).backward(loss, model);
        FlowReport::judged(RunProfile::new("model").with_step(step), &Judge::default())
    }

    /// Judges what was measured before.
    pub fn judged(mut run: RunProfile, judge: &Judge) -> FlowReport {
        run.findings = judge.run(&run);
        FlowReport { run }
    }

    /// Findings, the most important first.
    pub fn findings(&self) -> &[Finding] {
        &self.run.findings
    }

    /// The most important finding.
    pub fn verdict(&self) -> &Finding {
        &self.run.findings[0]
    }

    /// Whether nothing worse than a note was found.
    pub fn is_healthy(&self) -> bool {
        self.run.severity().unwrap_or_default() <= Severity::Note
    }

    /// What was measured, if a gradient could be taken.
    pub fn step(&self) -> Option<&StepProfile> {
        self.run.first()
    }

    /// As a run, for [`crate::report`].
    pub fn run(&self) -> &RunProfile {
        &self.run
    }

    /// As JSON (see [`crate::report::json`]).
    pub fn json(&self) -> String {
        json::runs(std::slice::from_ref(&self.run))
    }

    /// As a page.
    pub fn html(&self) -> html::Page {
        compare::page("Gradient report", std::slice::from_ref(&self.run))
    }
}

impl std::fmt::Display for FlowReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&compare::text(
            std::slice::from_ref(&self.run),
            &Terminal::stdout(),
        ))
    }
}
