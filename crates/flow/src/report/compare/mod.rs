//! Several runs side by side: one page, one terminal report.
//!
//! [`page`] and [`text`] take what was measured and need no further instructions: they choose the plots for which there
//! is data, share scales and colours between runs, and put the findings first. Where a run has no findings yet,
//! [`assess`] words one from the numbers.
//!
//! ```
//! use wengert_flow::profile::{RunProfile, StepProfile};
//! use wengert_flow::report::{compare, text::Terminal};
//! let run = |name: &str, slope: f32| {
//!     let grads: Vec<Vec<f32>> = (0..10).map(|l| vec![slope.powi(9 - l); 8]).collect();
//!     let names: Vec<String> = (0..10).map(|l| format!("fc{l}")).collect();
//!     let named = names.iter().map(String::as_str).zip(grads.iter().map(Vec::as_slice));
//!     RunProfile::new(name).with_step(StepProfile::new(0).with_activation_grads(named))
//! };
//! let runs = [run("sigmoid", 0.1), run("ReLU", 1.0)];
//! println!("{}", compare::text(&runs, &Terminal::stdout()));
//! let html = compare::page("Two networks", &runs).render();
//! assert!(html.contains("1 billion times weaker") && html.contains("about as strong"));
//! ```

mod page;
mod plots;

pub use page::page;
pub use plots::{activation_plots, curve_plots, depth_plot, gradient_plot, heat_maps, time_plots};

use super::escape::{LONGEST, clean};
use super::number::{Range, list, pretty, times};
use super::table::{Cell, Column, Table};
use super::text::{Terminal, mark};
use crate::init_report::PREDICTED_GAIN;
use crate::probe::EFFECTIVE_RANK;
use crate::profile::{Finding, LayerProfile, RunProfile, Severity, StepProfile};

/// Share of the output layer's gradient below which a layer practically stands still: a millionth. With one learning
/// rate for all layers, it moves a million times less than the last one.
pub const STALLED: f64 = 1e-6;
/// Share of the output layer's gradient below which a layer falls behind: a hundredth. Within a factor of 100, good
/// initializers keep first and last layer of a 30-layer network.
pub const FADING: f64 = 1e-2;
/// Growth of the gradient on its way back from which on training is expected to diverge.
pub const EXPLODING: f64 = 1e3;

/// Gradient that shows whether the signal arrives: of the activations, else of the weights.
fn signal(l: &LayerProfile) -> Option<f64> {
    l.activation_grad_rms().or_else(|| l.weight_grad_rms())
}

/// The layers with a [`signal`], and what it is.
fn signals(step: &StepProfile) -> Vec<(&LayerProfile, f64)> {
    let mut out = Vec::with_capacity(step.layers.len());
    for l in &step.layers {
        out.extend(signal(l).map(|g| (l, g)));
    }
    out
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
        let measured = signals(step);
        match measured[..] {
            [(_, first), .., (_, last)] => Some(Journey {
                last,
                first,
                layers: measured.len(),
            }),
            _ => None,
        }
    }

    /// First over last: below 1 the gradient shrinks, 0 it is lost, NaN it is not a number.
    pub fn factor(&self) -> f64 {
        self.first / self.last
    }

    /// The change of the RMS in words: `3 million times weaker`, `lost (exactly 0)`, `about as strong`.
    pub fn words(&self) -> String {
        let f = self.factor();
        if !self.first.is_finite() || !self.last.is_finite() {
            "not a number".into()
        } else if self.last == 0.0 {
            "zero from the start".into()
        } else if self.first == 0.0 {
            "lost (exactly 0)".into()
        } else if f < 0.5 {
            format!("{} times weaker", times(1.0 / f))
        } else if f > 2.0 {
            format!("{} times stronger", times(f))
        } else {
            "about as strong".into()
        }
    }
}

/// The worst finding of a run that was judged; else one worded from the first observed step alone: not finite, lost,
/// vanishing (below [`STALLED`]), fading (below [`FADING`]), exploding (above [`EXPLODING`]), growing (above
/// 1 / [`FADING`]) or healthy.
pub fn assess(run: &RunProfile) -> Finding {
    // The first of the worst: findings come in order of importance.
    if let Some(worst) = run.severity() {
        return run
            .findings
            .iter()
            .find(|f| f.severity == worst)
            .cloned()
            .unwrap_or_default();
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
            format!(
                "Layer `{}` holds values that are not numbers.",
                clean(&l.path, LONGEST)
            ),
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
    let back = format!(
        "On its way back through {} layers the RMS of the gradient",
        j.layers
    );
    let arrives = j.words();
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
            format!(
                "{back} falls to **exactly zero**: the first layers get no signal and cannot learn."
            ),
        )
    } else if f < STALLED {
        (
            Severity::Critical,
            "vanishing",
            format!("{back} becomes **{arrives}**: the first layers stand still."),
        )
    } else if f < FADING {
        (
            Severity::Warning,
            "fading",
            format!(
                "{back} becomes **{arrives}**: the first layers learn far more slowly than the last."
            ),
        )
    } else if f > EXPLODING {
        (
            Severity::Critical,
            "exploding",
            format!("{back} becomes **{arrives}**: steps in the first layers are far too large."),
        )
    } else if f > 1.0 / FADING {
        (
            Severity::Warning,
            "growing",
            format!(
                "{back} becomes **{arrives}**: the first layers set the limit for the learning rate."
            ),
        )
    } else {
        (
            Severity::Healthy,
            "healthy",
            format!("{back} arrives **{arrives}** as it set out: every layer can learn."),
        )
    };
    Finding::new(severity, rule, message).evidence(format!(
        "gradient RMS {} at the output, {} in the first layer",
        pretty(j.last),
        pretty(j.first)
    ))
}

fn is_accuracy(name: &str) -> bool {
    name.to_lowercase().contains("accuracy")
}

/// Names of all curves in order of their first appearance.
fn curve_names(runs: &[RunProfile]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for c in runs.iter().flat_map(|r| &r.curves) {
        if !names.contains(&c.name) {
            names.push(c.name.clone());
        }
    }
    names
}

/// Seconds that a run took, if somebody measured them.
pub(crate) fn seconds(run: &RunProfile) -> Option<f64> {
    let measured = &run.last()?.metrics;
    measured.iter().find(|m| m.0 == "seconds").map(|m| m.1)
}

/// One row per run: verdict, last value of each curve, how long it took, how far the gradient gets.
pub fn overview(runs: &[RunProfile]) -> Table {
    let names = curve_names(runs);
    let mut columns = vec![Column::new("network"), Column::new("verdict")];
    for n in &names {
        let last = Column::new(n.clone()).priority(1);
        columns.push(last.hint("at the end of training"));
    }
    columns.push(
        Column::new("seconds")
            .priority(3)
            .hint("time of the whole run"),
    );
    let way = "RMS in the first layer against RMS in the last layer, before training";
    columns.push(Column::new("gradient RMS on its way back").hint(way));
    let mut t = Table::new(columns);
    for run in runs {
        let f = assess(run);
        let mut row = vec![
            Cell::from(run.name.clone()),
            Cell::Status(f.severity, f.rule),
        ];
        for n in &names {
            row.push(match run.curve(n).and_then(|c| c.last()) {
                Some(v) if is_accuracy(n) => Cell::Percent(v),
                other => Cell::from(other),
            });
        }
        row.push(Cell::from(seconds(run)));
        let journey = run.first().and_then(Journey::of);
        row.push(journey.map_or(Cell::Empty, |j| Cell::Text(j.words())));
        t.rows.push(row);
    }
    t.without_blank_columns()
}

/// Columns of [`layer_table`]: heading, priority, hint.
const COLUMNS: [(&str, u8, &str); 15] = [
    ("layer", 0, ""),
    ("op", 7, ""),
    ("mean", 3, "mean of the layer's outputs"),
    ("std", 2, "standard deviation of the layer's outputs"),
    (
        "gain",
        9,
        "RMS of the layer's outputs over that of the layer before",
    ),
    ("predicted", 10, "the gain, from the weights alone"),
    (
        "saturated",
        5,
        "share of units whose activation function is nearly flat",
    ),
    ("dead", 5, "share of units that are zero for every sample"),
    (
        "rank",
        6,
        "number of directions in which the layer's outputs vary (effective rank)",
    ),
    (
        "gradient RMS",
        0,
        "RMS of the derivative of the loss with respect to the layer's outputs",
    ),
    (
        "gain back",
        9,
        "gradient in the layer before over the gradient in this one",
    ),
    (
        "weight gradient",
        1,
        "RMS of the derivative of the loss with respect to the layer's weights",
    ),
    (
        "update/weight",
        2,
        "RMS of one step's change of the weights over RMS of the weights",
    ),
    ("NaN, ∞", 1, "values that are not finite"),
    ("line", 8, "source line that recorded the layer"),
];

/// One row per layer: activations, their gradient, weight gradient, update-to-weight ratio.
///
/// The bars of all tables are comparable when the same `range` of gradients is given (see [`gradient_range`]).
pub fn layer_table(step: &StepProfile, range: Option<(f64, f64)>) -> Table {
    let mut columns = Vec::with_capacity(COLUMNS.len());
    for (head, priority, hint) in COLUMNS {
        let column = Column::new(head).priority(priority).hint(hint);
        columns.push(match head {
            "gradient RMS" => column.log_bars(1).range(range),
            _ => column,
        });
    }
    let mut t = Table::new(columns);
    let share = |x: Option<f64>| x.map_or(Cell::Empty, Cell::Percent);
    let words = |s: &str| match s {
        "" => Cell::Empty,
        s => Cell::from(s),
    };
    let extra = |l: &LayerProfile, name: &str| {
        Cell::from(l.extra.iter().find(|e| e.0 == name).map(|e| e.1))
    };
    for l in &step.layers {
        t.rows.push(vec![
            Cell::from(l.path.clone()),
            words(&l.op),
            Cell::from(l.activation.as_ref().map(|s| s.mean)),
            Cell::from(l.activation.as_ref().map(|s| s.std)),
            Cell::from(l.forward_gain),
            extra(l, PREDICTED_GAIN),
            share(l.saturation),
            share(l.dead),
            extra(l, EFFECTIVE_RANK),
            l.activation_grad_rms().map_or(Cell::Empty, Cell::Bar),
            Cell::from(l.backward_gain),
            Cell::from(l.weight_grad_rms()),
            Cell::from(l.update_ratio),
            match l.non_finite() {
                0 => Cell::Empty,
                n => Cell::Number(n as f64),
            },
            words(l.location.as_deref().unwrap_or_default()),
        ]);
    }
    t.without_blank_columns()
}

/// Smallest and largest gradient of all runs at their first step, for scales that they share.
pub fn gradient_range(runs: &[RunProfile]) -> Option<(f64, f64)> {
    let mut range = Range::default();
    for step in runs.iter().filter_map(RunProfile::first) {
        see_signals(&mut range, step);
    }
    (range.lo <= range.hi).then_some((range.lo, range.hi))
}

/// Widens a range by the gradients of a step, as far as they are positive.
fn see_signals(range: &mut Range, step: &StepProfile) {
    for (_, g) in signals(step) {
        if g > 0.0 {
            range.see(g);
        }
    }
}

/// One row per layer, one bar per run: the gradient against depth, for terminals.
pub fn depth_table(runs: &[RunProfile]) -> Table {
    let range = gradient_range(runs);
    let mut columns = vec![Column::new("layer")];
    let mut steps: Vec<Vec<(&LayerProfile, f64)>> = Vec::new();
    for run in runs {
        if let Some(step) = run.first() {
            columns.push(Column::new(run.name.clone()).log_bars(1).range(range));
            steps.push(signals(step));
        }
    }
    let mut t = Table::new(columns);
    let deepest = steps.iter().max_by_key(|s| s.len());
    for (i, (layer, _)) in deepest.into_iter().flatten().enumerate() {
        // A name holds for the row only where all runs agree on it.
        let same = |s: &Vec<(&LayerProfile, f64)>| s.get(i).is_none_or(|l| l.0.path == layer.path);
        let mut row = vec![Cell::Text(if steps.iter().all(same) {
            layer.path.clone()
        } else {
            (i + 1).to_string()
        })];
        for s in &steps {
            row.push(s.get(i).map_or(Cell::Empty, |l| Cell::Bar(l.1)));
        }
        t.rows.push(row);
    }
    t
}

/// The result in one or two sentences.
pub fn summary(runs: &[RunProfile]) -> String {
    let found: Vec<Finding> = runs.iter().map(assess).collect();
    let named = |want: Severity| {
        let mut names = Vec::new();
        for (r, f) in runs.iter().zip(&found) {
            if f.severity == want {
                names.push(format!("**{}**", clean(&r.name, 40)));
            }
        }
        names
    };
    let sick = named(Severity::Critical);
    let poor = named(Severity::Warning);
    let well = named(Severity::Healthy);
    let n = runs.len();
    if n == 0 {
        return "No runs.".into();
    }
    if n == 1 {
        return found[0].message.clone();
    }
    if well.len() == n {
        return format!("All {n} networks are healthy.");
    }
    let mut s = String::new();
    let verb = |v: &[String]| if v.len() == 1 { "is" } else { "are" };
    if !sick.is_empty() {
        s += &format!(
            "Of {n} networks, {} cannot train as set up: {}. ",
            sick.len(),
            list(&sick)
        );
    }
    if !poor.is_empty() {
        s += &format!("{} {} held back. ", list(&poor), verb(&poor));
    }
    if !well.is_empty() {
        s += &format!("{} {} healthy.", list(&well), verb(&well));
    }
    s.trim_end().into()
}

/// Text without the marks of [`html`](super::html) paragraphs.
fn plain(text: &str) -> String {
    clean(&text.replace("**", "").replace('`', ""), 4000).into_owned()
}

/// The whole report for a terminal: a table per run, the gradient against depth side by side, one row per run, and the
/// verdicts in words.
pub fn text(runs: &[RunProfile], terminal: &Terminal) -> String {
    let mut out = String::new();
    let mut line = |s: &str| {
        out.push_str(s);
        out.push('\n');
    };
    let range = gradient_range(runs);
    for run in runs {
        let Some(step) = run.first().filter(|s| !s.layers.is_empty()) else {
            continue;
        };
        line(&terminal.bold(&terminal.wrap(&clean(&run.name, 200), 0)));
        line(&layer_table(step, range).text(terminal));
    }
    if runs.len() > 1 {
        let depth = depth_table(runs);
        // As many runs beside each other as fit.
        let fit = ((terminal.width.saturating_sub(14)) / 17).max(1);
        for from in (1..depth.columns.len()).step_by(fit) {
            let caption = "Gradient RMS against depth, from the input (top) to the output (bottom); log scale";
            let mut t = Table::new(Vec::new()).caption(caption);
            t.rows = vec![Vec::new(); depth.rows.len()];
            for c in 0..depth.columns.len() {
                if c == 0 || (from..from + fit).contains(&c) {
                    t.columns.push(depth.columns[c].clone());
                    for (r, row) in t.rows.iter_mut().enumerate() {
                        row.push(depth.cell(r, c).clone());
                    }
                }
            }
            line(&t.text(terminal));
        }
        line(&overview(runs).text(terminal));
    }
    for run in runs {
        let shown: Vec<Finding> = if run.findings.is_empty() {
            vec![assess(run)]
        } else {
            run.findings.clone()
        };
        for f in shown {
            let who = clean(&run.name, LONGEST);
            let at = f
                .layer
                .as_ref()
                .map_or(String::new(), |l| format!(", {}", clean(l, LONGEST)));
            let head = format!("{} {who}{at}: {}", mark(f.severity), plain(&f.message));
            line(&terminal.paint(f.severity, &terminal.wrap(&head, 0)));
            for (what, t) in [
                ("evidence", &f.evidence),
                ("cause", &f.cause),
                ("line", &f.location),
                ("remedy", &f.remedy),
            ] {
                if let Some(t) = t {
                    line(&terminal.wrap(&format!("{what}: {}", plain(t)), 2));
                }
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "../../../../draw/src/html/markup.rs"]
mod markup;
#[cfg(test)]
mod tests;
