//! The whole comparison as a page.

use super::plots::{
    activation_plots, changing_plots, curve_plots, depth_plot, gradient_plot, heat_maps, time_plots,
};
use super::{assess, gradient_range, is_accuracy, layer_table, overview, signals, summary};
use crate::profile::{Finding, RunProfile};
use crate::report::html::{Card, Page};
use crate::report::number::percent;
use crate::report::svg::{Axis, Figure, LinePlot, Mood};
use crate::report::table::{Cell, Column, Table};

fn card(run: &RunProfile, style: usize, range: Option<(f64, f64)>) -> Card {
    let mut card = Card::of(&run.name, &assess(run)).style(style);
    let test = |n: &str| n.to_lowercase().contains("test") || n.to_lowercase().contains("valid");
    let accuracy = run
        .curves
        .iter()
        .filter(|c| is_accuracy(&c.name))
        .max_by_key(|c| test(&c.name));
    if let Some((c, a)) = accuracy.and_then(|c| Some((c, c.last()?))) {
        card = card.big(percent(a), c.name.clone());
    }
    if let (Some(step), Some((lo, hi))) = (run.first(), range) {
        let (lo, hi) = (lo.log10(), hi.log10().max(lo.log10() + 1.0));
        // In the direction the gradient travels: output on the left. What is lost lies on the floor.
        let mut logs = Vec::new();
        for (_, g) in signals(step).into_iter().rev() {
            logs.push(if g == 0.0 { lo } else { g.log10() });
        }
        if logs.len() > 2 {
            card = card
                .spark(logs, "gradient, output → input")
                .spark_range(lo, hi);
        }
    }
    card
}

fn refs<F: Figure>(plots: &[F]) -> impl Iterator<Item = &dyn Figure> {
    plots.iter().map(|p| p as &dyn Figure)
}

/// The whole report as a page; sections without data are left out.
pub fn page(title: &str, runs: &[RunProfile]) -> Page {
    let range = gradient_range(runs);
    let mut page = Page::new(title)
        .lead(&summary(runs))
        .cards(runs.iter().enumerate().map(|(i, r)| card(r, i, range)));
    let several = runs.len() > 1;

    let first = gradient_plot(runs, RunProfile::first);
    if !first.is_empty() {
        let caption = "A network learns by sending a signal, the **gradient**, from its output back through every layer. Each \
             layer changes its weights in proportion to what reaches it. **A flat line is good:** every layer hears the \
             signal equally well. **A line that falls** means that the signal fades on its way: the further down, the less \
             the layer learns. This is the **vanishing gradient**. **A line that rises** by a factor of a thousand and more \
             is the **exploding gradient**. Measured before the first training step.";
        page = page
            .section("Where the learning signal gets lost")
            .figure_with(&first, caption);
    }

    let ridges = activation_plots(runs, RunProfile::first);
    if !ridges.is_empty() {
        page = page
            .section("What the layers say")
            .text(
                "Each row is one layer, the input on top: how often its units put out which value, over all examples of a \
                 batch. **Wide hills are good:** the layer answers differently to different examples. **A needle** means \
                 that the layer says nearly the same whatever it is shown, so nothing about the input gets through.",
            )
            .figures(refs(&ridges));
    }

    let curves = curve_plots(runs);
    if !curves.is_empty() {
        page = page
            .section("What it does to training")
            .text("Measured while training goes on. A loss that stays where it began means that nothing was learnt.")
            .figures(refs(&curves));
    }

    let changing = changing_plots(runs);
    if !changing.is_empty() {
        page = page
            .section("How a layer's outputs change")
            .text(
                "One layer at the observed steps, the first on top. Outputs that gather in a needle, at zero or at the ends of a \
                 bounded function, show a layer that training has silenced.",
            )
            .figures(refs(&changing));
    }

    let details = detail_plots(runs);
    if !details.is_empty() {
        page = page
            .section("Activations, weights and updates")
            .text(
                "No single measurement tells the whole story: weight gradients can look even although the signal has died, \
                 because small activations and large gradients make up for each other.",
            )
            .figures(refs(&details));
    }

    let maps = heat_maps(runs);
    if !maps.is_empty() {
        page = page
            .section("The gradient during training")
            .text(
                "One column per observed step, one row per layer, the input on top. Bright is strong, dark is weak, on the same \
                 scale in all maps.",
            )
            .figures(refs(&maps));
    }

    let times = time_plots(runs);
    if let [first, later @ ..] = &times[..] {
        page = page.section("Back through time").figure_with(
            first,
            "A recurrent network repeats one layer for every step of a sequence, and the gradient passes it once per step. \
             **A flat line** remembers long; **a steep one** cannot learn from what lies more than a few steps back. Measured before the first training step.",
        );
        for plot in later {
            page = page.figure_with(
                plot,
                "The same at the last observed step: what training has made of it.",
            );
        }
    }

    if runs.iter().any(|r| !r.findings.is_empty()) {
        page = page.section("Findings");
        for run in runs.iter().filter(|r| !r.findings.is_empty()) {
            let cards = run
                .findings
                .iter()
                .map(|f: &Finding| Card::of(&run.name, f));
            page = page.cards(cards);
        }
    }

    page = page.section("The numbers");
    if several {
        page = page.table(&overview(runs));
    }
    let (same, setup) = setup(runs);
    if !setup.rows.is_empty() {
        page = page.table(&setup);
    }
    if !same.is_empty() {
        page = page.text(&format!("**The same in all of them:** {same}."));
    }
    for run in runs {
        if let Some(step) = run.first().filter(|s| !s.layers.is_empty()) {
            let title = format!("{}: layer by layer, at the first step", run.name);
            page = page.details(&title, !several, |p| p.table(&layer_table(step, range)));
        }
    }
    page.section("Words").glossary(WORDS)
}

/// Activation spread, weight gradient and update ratio against depth, where they were measured.
fn detail_plots(runs: &[RunProfile]) -> Vec<LinePlot> {
    let plots = [
        depth_plot(
            runs,
            "Spread of the activations",
            Axis::log("standard deviation of the outputs"),
            false,
            RunProfile::first,
            |l| l.activation.as_ref().map(|a| a.std),
        ),
        depth_plot(
            runs,
            "Strength of the weight gradient",
            Axis::log("RMS of the weight gradient"),
            true,
            RunProfile::first,
            |l| l.weight_grad_rms(),
        ),
        depth_plot(
            runs,
            "How much one step changes the weights",
            Axis::log("update / weight (RMS)"),
            true,
            RunProfile::first,
            |l| l.update_ratio,
        )
        .band(1e-4, 1e-2, "healthy pace", Mood::Good),
        depth_plot(
            runs,
            "Saturated or dead units",
            Axis::linear("share of units").range(0.0, 1.0),
            false,
            RunProfile::first,
            |l| match (l.saturation, l.dead) {
                (Some(s), Some(d)) => Some(s.max(d)),
                (s, d) => s.or(d),
            },
        ),
    ];
    plots.into_iter().filter(|p| !p.is_empty()).collect()
}

/// How the runs were set up: in words what all have in common, and one row per run with what differs; of a single run, one
/// row per setting.
fn setup(runs: &[RunProfile]) -> (String, Table) {
    let mut whats: Vec<&str> = Vec::new();
    for (what, _) in runs.iter().flat_map(|r| &r.config) {
        if !whats.contains(&what.as_str()) {
            whats.push(what);
        }
    }
    let of = |r: &RunProfile, what: &str| -> Option<String> {
        r.config
            .iter()
            .find(|(w, _)| w == what)
            .map(|(_, v)| v.clone())
    };
    let cell = |r: &RunProfile, what: &str| of(r, what).map_or(Cell::Empty, Cell::from);
    if let [run] = runs {
        let mut t = Table::new([Column::new("set-up"), Column::new(run.name.clone())]);
        t.rows = whats
            .iter()
            .map(|w| vec![Cell::from(*w), cell(run, w)])
            .collect();
        return (String::new(), t);
    }
    let common = |w: &&&str| runs.iter().all(|r| of(r, w) == of(&runs[0], w));
    let (same, differ): (Vec<&str>, Vec<&str>) = whats.iter().partition(|w| common(w));
    let words = |w: &&str| format!("{w}: {}", of(&runs[0], w).unwrap_or_default());
    let same: Vec<String> = same.iter().map(words).collect();
    let heads = std::iter::once("set-up").chain(differ.iter().copied());
    let mut t = Table::new(heads.map(Column::new));
    if !differ.is_empty() {
        let row = |r: &RunProfile| {
            let settings = differ.iter().map(|w| cell(r, w));
            std::iter::once(Cell::from(r.name.clone()))
                .chain(settings)
                .collect()
        };
        t.rows = runs.iter().map(row).collect();
    }
    (same.join("; "), t)
}

const WORDS: [(&str, &str); 8] = [
    (
        "Gradient",
        "For every weight, how much the error would change if that weight were changed a little. Training moves each weight \
         against its gradient; where the gradient is zero, nothing moves.",
    ),
    (
        "RMS",
        "Root mean square: the typical size of a set of numbers, whatever their sign.",
    ),
    (
        "Log scale",
        "Each line is the same number of times smaller than the one above, so that a millionth can be seen beside one.",
    ),
    (
        "Vanishing gradient",
        "Each layer multiplies the gradient by a factor on its way back. Thirty factors of 0.25 make 10⁻¹⁸: the first layers \
         get nothing.",
    ),
    (
        "Exploding gradient",
        "The same with factors above 1: steps become so large that training diverges.",
    ),
    (
        "Saturation",
        "An activation function such as the sigmoid is flat for large inputs; where it is flat, its derivative is nearly \
         zero and stops the gradient.",
    ),
    (
        "Dead unit",
        "A ReLU unit that puts out zero for every example: no gradient passes it, so it stays dead.",
    ),
    (
        "Update / weight",
        "How much one training step changes a layer's weights, relative to their size. About 10⁻³ is a healthy pace; 10⁻⁷ is \
         standing still.",
    ),
];
