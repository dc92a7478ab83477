//! Several runs side by side: one page, one terminal report.
//!
//! [`page`] and [`text`] take what was measured and need no further instructions: they choose the plots for which there
//! is data, share scales and colours between runs, and put the findings first. Where a run has no findings yet,
//! [`assess`] words one from the numbers.

use super::html::{Card, Page};
use super::number::{percent, pretty, times};
use super::svg::{Axis, Figure, LinePlot, Mood, Series};
use super::table::{Cell, Column, Table};
use super::text::{Terminal, mark};
use crate::profile::{Finding, LayerProfile, RunProfile, Severity, StepProfile};

/// The part of the strongest layer's gradient below which a layer practically stands still: 1/1000. One step moves it
/// a thousand times less than the layer that moves most.
pub const STALLED: f64 = 1e-3;
/// Growth of the gradient on its way back from which on it counts as exploding.
pub const EXPLODED: f64 = 1e3;

/// Gradient that shows whether the signal arrives: of the activations, else of the weights.
fn signal(l: &LayerProfile) -> Option<f64> {
    l.activation_grad_rms().or_else(|| l.weight_grad_rms())
}

/// Layers with a measured gradient, as (number from 1, RMS).
fn depth_profile(step: &StepProfile) -> Vec<(f64, f64)> {
    step.layers
        .iter()
        .filter_map(signal)
        .enumerate()
        .map(|(i, g)| ((i + 1) as f64, g))
        .collect()
}

/// How the gradient changes from the last layer to the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Journey {
    /// RMS in the last layer, where it sets out.
    pub last: f64,
    /// RMS in the first layer, where it arrives.
    pub first: f64,
    /// Layers between.
    pub layers: usize,
}

impl Journey {
    /// The journey at this step; `None` with fewer than two layers measured.
    pub fn of(step: &StepProfile) -> Option<Journey> {
        let p = depth_profile(step);
        match (p.first(), p.last()) {
            (Some(a), Some(b)) if p.len() > 1 => Some(Journey {
                last: b.1,
                first: a.1,
                layers: p.len(),
            }),
            _ => None,
        }
    }

    /// First over last: below 1 the gradient shrinks, 0 it is lost, NaN it is not a number.
    pub fn factor(&self) -> f64 {
        self.first / self.last
    }

    /// In words: `3 million times weaker`, `lost on the way (exactly 0)`, `about the same`.
    pub fn words(&self) -> String {
        let f = self.factor();
        if !self.first.is_finite() || !self.last.is_finite() {
            "not a number any more".into()
        } else if self.last == 0.0 {
            "zero already at the output".into()
        } else if self.first == 0.0 {
            "lost on the way (exactly 0)".into()
        } else if f < 0.5 {
            format!("{} times weaker", times(1.0 / f))
        } else if f > 2.0 {
            format!("{} times stronger", times(f))
        } else {
            "about as strong".into()
        }
    }
}

/// A finding worded from the first observed step alone: not finite, lost, vanishing (below [`STALLED`]), exploding
/// (above [`EXPLODED`]) or healthy; a run that the doctor has judged keeps the worst of its own findings.
pub fn assess(run: &RunProfile) -> Finding {
    if let Some(worst) = run.findings.iter().max_by_key(|f| f.severity) {
        return worst.clone();
    }
    let Some(step) = run.first() else {
        return Finding::new(
            Severity::Note,
            "not measured",
            "No step of this run was observed.",
        );
    };
    if let Some(l) = step.layers.iter().find(|l| l.non_finite() > 0) {
        return Finding::new(
            Severity::Critical,
            "not finite",
            format!("Layer {} holds values that are not numbers.", l.path),
        )
        .at(l.path.clone());
    }
    let Some(j) = Journey::of(step) else {
        return Finding::new(
            Severity::Note,
            "not measured",
            "No gradients were measured.",
        );
    };
    let f = j.factor();
    let back = format!("On its way back through {} layers the gradient", j.layers);
    let (severity, rule, message) = if !f.is_finite() {
        (
            Severity::Critical,
            "no gradient",
            "The gradient at the output is zero or not a number.".to_string(),
        )
    } else if f == 0.0 {
        (
            Severity::Critical,
            "vanished",
            format!("{back} falls to **exactly zero**: the first layers get no signal at all."),
        )
    } else if f < STALLED {
        (
            Severity::Critical,
            "vanishing",
            format!(
                "{back} becomes **{}**: the first layers hardly learn.",
                j.words()
            ),
        )
    } else if f > EXPLODED {
        (
            Severity::Critical,
            "exploding",
            format!(
                "{back} becomes **{}**: steps in the first layers are far too large.",
                j.words()
            ),
        )
    } else if f < 0.1 {
        (
            Severity::Warning,
            "weakening",
            format!(
                "{back} becomes **{}**: the first layers learn slowly.",
                j.words()
            ),
        )
    } else {
        (
            Severity::Healthy,
            "healthy",
            format!("{back} stays **{}**: every layer learns.", j.words()),
        )
    };
    Finding::new(severity, rule, message).evidence(format!(
        "gradient RMS {} at the output, {} in the first layer",
        pretty(j.last),
        pretty(j.first)
    ))
}

/// The last value of the first curve whose name contains `accuracy`, with its name.
fn accuracy(run: &RunProfile) -> Option<(String, f64)> {
    let named = |word: &str| {
        run.curves
            .iter()
            .find(|c| c.name.to_lowercase().contains(word))
    };
    let curve = named("test accuracy").or_else(|| named("accuracy"))?;
    Some((curve.name.clone(), curve.last()?))
}

fn card(run: &RunProfile, style: usize) -> Card {
    let f = assess(run);
    let mut card = Card::of(&run.name, &f).style(style);
    if let Some((name, a)) = accuracy(run) {
        card = card.big(percent(a), name);
    }
    if let Some(step) = run.first() {
        // Drawn in the direction the gradient travels: output on the left.
        let logs: Vec<f64> = depth_profile(step)
            .iter()
            .rev()
            .map(|p| p.1.log10())
            .collect();
        if logs.len() > 2 {
            card = card.spark(logs, "gradient, output → input");
        }
    }
    card
}

/// The central picture: RMS of the gradient against depth, on a logarithmic axis, all runs.
///
/// The gradient is that of the activations where it was measured, else that of the weights. Drawn in the direction it
/// travels: the output layer on the left, the first layer on the right.
pub fn gradient_plot(
    runs: &[RunProfile],
    pick: impl Fn(&RunProfile) -> Option<&StepProfile>,
) -> LinePlot {
    let profiles: Vec<Vec<(f64, f64)>> = runs
        .iter()
        .map(|r| pick(r).map(depth_profile).unwrap_or_default())
        .collect();
    let weights_only = runs
        .iter()
        .filter_map(&pick)
        .flat_map(|s| &s.layers)
        .all(|l| l.activation_grad.is_none());
    let what = if weights_only {
        "RMS of the weight gradient"
    } else {
        "RMS of the gradient"
    };
    let mut plot = LinePlot::new("How much of the gradient reaches each layer")
        .x(Axis::linear("layer")
            .whole()
            .reversed()
            .ends("output", "input"))
        .y(Axis::log(what))
        .arrow("the gradient travels this way: from the loss back to the first layer")
        .size(1040.0, 400.0);
    let top = profiles
        .iter()
        .flatten()
        .map(|p| p.1)
        .filter(|g| g.is_finite())
        .fold(0.0, f64::max);
    let low = profiles
        .iter()
        .flatten()
        .map(|p| p.1)
        .fold(f64::INFINITY, f64::min);
    if low < top * STALLED {
        plot = plot.band(
            0.0,
            top * STALLED,
            "in the shaded range the signal is at least 1000 times too weak: layers here stand still",
            Mood::Bad,
        );
    }
    for (i, (run, p)) in runs.iter().zip(&profiles).enumerate() {
        let note = pick(run)
            .and_then(Journey::of)
            .map(|j| j.words())
            .unwrap_or_default();
        let points = p.iter().rev().copied();
        plot = plot.series(Series::new(run.name.clone(), points).note(note).style(i));
    }
    plot
}

/// One plot for each curve name that any run has, all runs in it.
pub fn curve_plots(runs: &[RunProfile]) -> Vec<LinePlot> {
    let mut names: Vec<&str> = Vec::new();
    for c in runs.iter().flat_map(|r| &r.curves) {
        if !names.contains(&c.name.as_str()) {
            names.push(&c.name);
        }
    }
    names
        .into_iter()
        .map(|name| {
            let mut title = name.to_string();
            if let Some(c) = title.get(..1) {
                title = c.to_uppercase() + &title[1..];
            }
            let y = if name.to_lowercase().contains("accuracy") {
                Axis::linear(name).range(0.0, 1.0)
            } else {
                Axis::linear(name)
            };
            let mut plot = LinePlot::new(title)
                .x(Axis::linear("epoch").whole())
                .y(y)
                .size(560.0, 240.0);
            for (i, run) in runs.iter().enumerate() {
                if let Some(c) = run.curve(name) {
                    plot = plot
                        .series(Series::new(run.name.clone(), c.points.iter().copied()).style(i));
                }
            }
            plot
        })
        .collect()
}

/// One row per run: findings, final numbers, how far the gradient gets.
pub fn overview(runs: &[RunProfile]) -> Table {
    let mut names: Vec<String> = Vec::new();
    for c in runs.iter().flat_map(|r| &r.curves) {
        if !names.contains(&c.name) {
            names.push(c.name.clone());
        }
    }
    let mut t = Table::new(
        [Column::new("network"), Column::new("verdict")]
            .into_iter()
            .chain(
                names
                    .iter()
                    .map(|n| Column::new(format!("final {n}")).priority(1)),
            )
            .chain([Column::new("gradient, last layer → first")
                .hint("how the gradient changes on its way from the output to the first layer")]),
    );
    for run in runs {
        let f = assess(run);
        let mut row = vec![
            Cell::from(run.name.clone()),
            Cell::Status(f.severity, f.rule),
        ];
        row.extend(
            names
                .iter()
                .map(|n| match run.curve(n).and_then(|c| c.last()) {
                    Some(v) if n.to_lowercase().contains("accuracy") => Cell::Percent(v),
                    other => Cell::from(other),
                }),
        );
        row.push(
            run.first()
                .and_then(Journey::of)
                .map_or(Cell::Empty, |j| Cell::Text(j.words())),
        );
        t.rows.push(row);
    }
    t.without_blank_columns()
}

/// One row per layer: what the notes of the field ask for.
pub fn layer_table(step: &StepProfile) -> Table {
    let mut t = Table::new([
        Column::new("layer"),
        Column::new("op").priority(6),
        Column::new("mean")
            .priority(3)
            .hint("mean of the layer's outputs"),
        Column::new("std")
            .priority(2)
            .hint("standard deviation of the layer's outputs"),
        Column::new("saturated")
            .priority(4)
            .hint("share of units whose activation function is nearly flat"),
        Column::new("dead")
            .priority(4)
            .hint("share of units that are zero for every sample"),
        Column::new("gradient")
            .log_bars(1)
            .hint("RMS of the derivative of the loss with respect to the layer's outputs"),
        Column::new("weight gradient")
            .priority(1)
            .hint("RMS of the derivative of the loss with respect to the layer's weights"),
        Column::new("update/weight")
            .priority(2)
            .hint("RMS of one step's change of the weights over RMS of the weights"),
        Column::new("NaN, ∞")
            .priority(1)
            .hint("values that are not finite"),
    ]);
    for l in &step.layers {
        let share = |x: Option<f64>| x.map_or(Cell::Empty, Cell::Percent);
        t.rows.push(vec![
            Cell::from(l.path.clone()),
            if l.op.is_empty() {
                Cell::Empty
            } else {
                Cell::from(l.op.clone())
            },
            Cell::from(l.activation.as_ref().map(|s| s.mean)),
            Cell::from(l.activation.as_ref().map(|s| s.std)),
            share(l.saturation),
            share(l.dead),
            l.activation_grad_rms().map_or(Cell::Empty, Cell::Bar),
            Cell::from(l.weight_grad_rms()),
            Cell::from(l.update_ratio),
            match l.non_finite() {
                0 => Cell::Empty,
                n => Cell::Number(n as f64),
            },
        ]);
    }
    t.without_blank_columns()
}

/// The whole report as a page.
pub fn page(title: &str, runs: &[RunProfile]) -> Page {
    let mut page = Page::new(title);
    page = page.lead(&summary(runs));
    page = page.cards(runs.iter().enumerate().map(|(i, r)| card(r, i)));
    let first = gradient_plot(runs, RunProfile::first);
    if !first.is_empty() {
        page = page.section("Where the learning signal gets lost").figure_with(
            &first,
            "A network learns by sending a signal, the **gradient**, from its output back through every layer; each layer \
             changes its weights in proportion to what reaches it. **A flat line is good**: every layer hears the same. A \
             line that falls to the right means the signal dies on the way, and the layers on the right do not learn.",
        );
    }
    let curves = curve_plots(runs);
    if !curves.is_empty() {
        let refs: Vec<&dyn Figure> = curves.iter().map(|p| p as &dyn Figure).collect();
        page = page.section("What it does to training").figures(refs);
    }
    page = page.section("Layer by layer").text(
        "Before training, from the input (top) to the output. Bars are on a logarithmic scale.",
    );
    for run in runs {
        if let Some(step) = run.first() {
            page = page.details(&run.name, false, |p| p.table(&layer_table(step)));
        }
    }
    page.section("Words").glossary(WORDS)
}

const WORDS: [(&str, &str); 6] = [
    (
        "Gradient",
        "For every weight, how much the error would change if that weight were changed a little. Training moves each weight against its gradient; where the gradient is zero, nothing moves.",
    ),
    (
        "RMS",
        "Root mean square: the typical size of the numbers in a layer, whatever their sign.",
    ),
    (
        "Vanishing gradient",
        "Each layer multiplies the gradient by a factor on its way back. Thirty factors of 0.25 make 10⁻¹⁸: the first layers get nothing.",
    ),
    (
        "Exploding gradient",
        "The same with factors above 1: steps become so large that training diverges.",
    ),
    (
        "Saturation",
        "An activation function such as the sigmoid is flat for large inputs; where it is flat, its derivative is nearly zero and stops the gradient.",
    ),
    (
        "Update/weight",
        "How much one training step changes a layer's weights, relative to their size. About 10⁻³ is a healthy pace; 10⁻⁷ is standing still.",
    ),
];

/// The result in one or two sentences.
pub fn summary(runs: &[RunProfile]) -> String {
    let found: Vec<(usize, Finding)> = runs.iter().map(assess).enumerate().collect();
    let sick = found
        .iter()
        .filter(|f| f.1.severity >= Severity::Critical)
        .count();
    let well = found
        .iter()
        .filter(|f| f.1.severity == Severity::Healthy)
        .count();
    match (runs.len(), sick, well) {
        (0, _, _) => "No runs.".into(),
        (1, _, _) => found[0].1.message.clone(),
        (n, 0, w) if w == n => format!("In all {n} networks the gradient reaches every layer."),
        (n, s, _) if s == n => {
            format!("In none of the {n} networks does the gradient reach the first layers.")
        }
        (n, s, w) => format!(
            "Of {n} networks, {s} cannot train in the first layers because the gradient does not reach them; {w} {} healthy.",
            if w == 1 { "is" } else { "are" }
        ),
    }
}

/// The whole report for a terminal.
pub fn text(runs: &[RunProfile], terminal: &Terminal) -> String {
    let mut out = String::new();
    let mut line = |s: &str| {
        out.push_str(s);
        out.push('\n');
    };
    for run in runs {
        let Some(step) = run.first() else { continue };
        let name = super::escape::clean(&run.name, 200);
        line(&terminal.bold(&terminal.wrap(&name, 0)));
        line(&layer_table(step).text(terminal));
    }
    line(&overview(runs).text(terminal));
    for run in runs {
        let f = assess(run);
        let message = f.message.replace("**", "").replace('`', "");
        let words = format!(
            "{} {}: {message}",
            mark(f.severity),
            super::escape::clean(&run.name, super::escape::LONGEST)
        );
        let words = super::escape::clean(&words, 4000);
        line(&terminal.paint(f.severity, &terminal.wrap(&words, 0)));
    }
    out
}
