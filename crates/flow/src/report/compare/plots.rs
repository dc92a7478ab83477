//! The plots that a comparison is made of.

use super::{Journey, STALLED, curve_names, gradient_range, is_accuracy, see_signals, signals};
use crate::profile::{LayerProfile, RunProfile, StepProfile};
use crate::report::number::{Range, pretty};
use crate::report::svg::{Axis, HeatMap, LinePlot, Mood, RidgePlot, Series};
use wengert_tensor::order::groups;

/// A measurement against depth, all runs: layers with a value are numbered from 1 at the input.
///
/// With `backward`, the output layer stands on the left, so that reading goes the way the gradient goes.
pub fn depth_plot(
    runs: &[RunProfile],
    title: &str,
    y: Axis,
    backward: bool,
    pick: fn(&RunProfile) -> Option<&StepProfile>,
    value: fn(&LayerProfile) -> Option<f64>,
) -> LinePlot {
    let x = Axis::linear("layer").whole();
    let x = if backward {
        x.reversed().ends("output", "input")
    } else {
        x.ends("input", "output")
    };
    let mut plot = LinePlot::new(title).x(x).y(y).size(560.0, 240.0);
    for (i, run) in runs.iter().enumerate() {
        let Some(step) = pick(run) else { continue };
        let mut points = Vec::new();
        for v in step.layers.iter().filter_map(value) {
            points.push(((points.len() + 1) as f64, v));
        }
        if backward {
            points.reverse();
        }
        if !points.is_empty() {
            plot = plot.series(Series::new(run.name.clone(), points).style(i));
        }
    }
    plot
}

/// The central picture: RMS of the gradient against depth on a logarithmic axis, all runs, drawn in the direction the
/// gradient travels.
///
/// The gradient is that of the activations where it was measured, else that of the weights. The range below
/// [`STALLED`] times the largest gradient is shaded when something lies in it.
pub fn gradient_plot(
    runs: &[RunProfile],
    pick: fn(&RunProfile) -> Option<&StepProfile>,
) -> LinePlot {
    let (mut range, mut of_outputs) = (Range::default(), false);
    for step in runs.iter().filter_map(pick) {
        of_outputs |= step.layers.iter().any(|l| l.activation_grad.is_some());
        for (_, g) in signals(step) {
            range.see(g);
        }
    }
    let (low, top) = (range.lo, range.hi.max(0.0));
    let what = if of_outputs {
        "Strength of the gradient (RMS)"
    } else {
        "Strength of the weight gradient (RMS)"
    };
    let title = "How much of the learning signal reaches each layer";
    let mut plot = LinePlot::new(title)
        .x(Axis::linear("layer")
            .whole()
            .reversed()
            .ends("output", "input"))
        .y(Axis::log(what))
        .arrow("the gradient travels this way: from the output back to the first layer")
        .size(1040.0, 420.0);
    if low < top * STALLED {
        plot = plot.band(
            0.0,
            top * STALLED,
            "shaded: more than a million times weaker than at the start. Layers here stand still.",
            Mood::Bad,
        );
    }
    for (i, run) in runs.iter().enumerate() {
        let Some(step) = pick(run) else { continue };
        let mut points = Vec::new();
        for (_, g) in signals(step) {
            points.push(((points.len() + 1) as f64, g));
        }
        points.reverse();
        let note = Journey::of(step).map(|j| j.words()).unwrap_or_default();
        plot = plot.series(Series::new(run.name.clone(), points).note(note).style(i));
    }
    plot
}

/// One plot for each curve name that any run has, all runs in it.
pub fn curve_plots(runs: &[RunProfile]) -> Vec<LinePlot> {
    let mut plots = Vec::new();
    for name in curve_names(runs) {
        let mut letters = name.chars();
        let mut title: String = letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .collect();
        title.push_str(letters.as_str());
        let y = if is_accuracy(&name) {
            Axis::linear("").range(0.0, 1.0)
        } else if diverges(runs, &name) {
            Axis::log("")
        } else {
            Axis::linear("")
        };
        let steps = name.starts_with("step");
        let x = Axis::linear(if steps { "step" } else { "epoch" }).whole();
        let mut plot = LinePlot::new(title).x(x).y(y).size(560.0, 240.0);
        for (i, run) in runs.iter().enumerate() {
            if let Some(c) = run.curve(&name) {
                plot = plot.series(Series::new(run.name.clone(), c.points.clone()).style(i));
            }
        }
        plots.push(plot);
    }
    plots
}

/// Whether one run goes so far beyond where another began that on a linear axis the others would be a line at zero.
fn diverges(runs: &[RunProfile], name: &str) -> bool {
    const FAR: f64 = 100.0;
    let (mut start, mut all) = (f64::INFINITY, Range::default());
    for c in runs.iter().filter_map(|r| r.curve(name)) {
        if let Some(first) = c.points.iter().find(|p| p.1.is_finite()) {
            start = start.min(first.1);
        }
        c.points.iter().for_each(|p| all.see(p.1));
    }
    all.lo >= 0.0 && start > 0.0 && all.hi > FAR * start
}

/// Where the outputs of some layers lie, but for the outermost percent, which must not squeeze the rest; with 0.
fn span(layers: &[&LayerProfile]) -> Option<(f64, f64)> {
    let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
    for a in layers.iter().filter_map(|l| l.activation.as_ref()) {
        if let (Some(q), true) = (a.quantiles, a.histogram.is_some()) {
            (lo, hi) = (lo.min(q.p01.min(0.0)), hi.max(q.p99));
        }
    }
    (lo < hi).then_some((lo, hi))
}

/// How much further than all hidden layers the output layer must reach to stand on an axis of its own.
const FURTHER: f64 = 2.0;

/// How much wider a layer's outputs must lie than those of the first before each is shown in its own standard deviation: on
/// one axis the first would be needles, as if they said nothing.
const GROWN: f64 = 30.0;

/// Whether the outputs grow by so much on their way.
fn grows(layers: &[&LayerProfile]) -> bool {
    let std = |l: &&LayerProfile| l.activation.as_ref().map(|a| a.std).filter(|s| *s > 0.0);
    let first = layers.iter().find_map(std).unwrap_or(f64::INFINITY);
    layers.iter().filter_map(std).any(|s| s > GROWN * first)
}

/// Layers that share an axis, and the output layer if no function bounds it and it reaches much further than they do: on
/// its axis each of them would be a line.
fn apart(step: &StepProfile) -> (Vec<&LayerProfile>, Option<&LayerProfile>) {
    let measured = step.layers.iter().filter(|l| l.activation.is_some());
    let mut layers: Vec<&LayerProfile> = measured.collect();
    if let [hidden @ .., last] = &layers[..]
        && hidden.iter().all(|l| l.op != last.op)
        && let (Some(h), Some(l)) = (span(hidden), span(&[last]))
        && l.1 - l.0 > FURTHER * (h.1 - h.0)
    {
        let last = layers.pop();
        return (layers, last);
    }
    (layers, None)
}

/// Histograms of the activations by layer, one plot per run that has any, and one more for an output layer that reaches
/// much further than the others; runs with the same kinds of layers share the horizontal axis, which leaves out the
/// outermost percent of each layer. Where outputs grow from layer to layer until the first would be needles beside the last, each
/// row is measured in its own standard deviation.
pub fn activation_plots(
    runs: &[RunProfile],
    pick: fn(&RunProfile) -> Option<&StepProfile>,
) -> Vec<RidgePlot> {
    let parts: Vec<(Vec<&LayerProfile>, Option<&LayerProfile>)> = (runs.iter())
        .map(|r| pick(r).map_or((Vec::new(), None), apart))
        .collect();
    let ops = |layers: &[&LayerProfile]| -> Vec<String> {
        let groups = groups(layers.len(), &|a, b| layers[a].op.cmp(&layers[b].op));
        groups.iter().map(|g| layers[g[0]].op.clone()).collect()
    };
    let kinds: Vec<Vec<String>> = parts.iter().map(|p| ops(&p.0)).collect();
    // What stands in units of its own shares no axis.
    let own: Vec<bool> = parts.iter().map(|p| grows(&p.0)).collect();
    let spans: Vec<Option<(f64, f64)>> = (parts.iter().zip(&own))
        .map(|(p, own)| span(&p.0).filter(|_| !own))
        .collect();
    let axis = |span: Option<(f64, f64)>| {
        let x = Axis::linear("output of the units");
        // Outputs that fill much of the unit interval are shown on all of it, as those of a sigmoid.
        match span {
            Some((0.0..=1.0, 0.5..=1.0)) => x.range(0.0, 1.0),
            Some((-1.0..=-0.5, 0.5..=1.0)) => x.range(-1.0, 1.0),
            Some((lo, hi)) => x.range(lo, hi),
            None => x,
        }
    };
    let mut out = Vec::new();
    for (i, (run, (layers, last))) in runs.iter().zip(&parts).enumerate() {
        let mut shared = spans[i];
        for (s, k) in spans.iter().zip(&kinds) {
            if let (Some((a, b)), Some(s), true) = (shared, s, *k == kinds[i]) {
                shared = Some((a.min(s.0), b.max(s.1)));
            }
        }
        let plot = RidgePlot::new(run.name.clone()).style(i);
        let mut plot = if own[i] {
            let words = "output of the units, in standard deviations of the layer";
            plot.own_units().x(Axis::linear(words))
        } else {
            plot.x(axis(shared))
        };
        for l in layers {
            if let Some(a) = &l.activation {
                plot = plot.row(l.path.clone(), a);
            }
        }
        if !plot.is_empty() {
            out.push(plot);
        }
        if let Some((l, a)) = last.and_then(|l| Some((l, l.activation.as_ref()?))) {
            let title = format!("{}: output layer", run.name);
            let x = axis(span(&[l]));
            out.push(RidgePlot::new(title).x(x).style(i).row(l.path.clone(), a));
        }
    }
    out
}

/// Rows of a plot over time at most; of more steps, evenly spaced ones.
const TIMES: usize = 8;

/// Histograms of one layer's outputs at the observed steps, the first on top: one plot per run with at least two such
/// steps, of the layer that the main finding names, else of the last hidden one.
pub fn changing_plots(runs: &[RunProfile]) -> Vec<RidgePlot> {
    let shown = |l: &LayerProfile| l.activation.as_ref().is_some_and(|a| a.histogram.is_some());
    let plot = |(i, run): (usize, &RunProfile)| {
        let first = run.first()?;
        let named = run.findings.first().and_then(|f| f.layer.as_ref());
        let named = first
            .layers
            .iter()
            .find(|l| Some(&l.path) == named && shown(l));
        let all: Vec<&LayerProfile> = first.layers.iter().filter(|l| shown(l)).collect();
        let last_hidden = all.iter().rev().nth(1).or(all.last()).copied();
        let path = &named.or(last_hidden)?.path;
        let at = |s: &'_ StepProfile| {
            let l = s.layers.iter().find(|l| l.path == *path)?;
            l.activation.clone().filter(|_| shown(l))
        };
        let mut seen = Vec::new();
        for s in &run.steps {
            seen.extend(at(s).map(|a| (s.step, a)));
        }
        if seen.len() < 2 {
            return None;
        }
        let rows = seen.len().min(TIMES);
        let picked = |k: usize| &seen[k * (seen.len() - 1) / (rows - 1)];
        // The outermost percent must not squeeze the rest.
        let mut ends = Range::default();
        let mut plot = RidgePlot::new(format!("{}: {path}", run.name)).style(i);
        for k in 0..rows {
            let (step, a) = picked(k);
            let (lo, hi) = a
                .quantiles
                .map_or((a.min, a.max), |q| (q.p01.min(0.0), q.p99));
            ends.see(lo);
            ends.see(hi);
            plot = plot.row(format!("step {step}"), a);
        }
        let x = Axis::linear("output of the units");
        Some(plot.x(match ends {
            Range { lo, hi } if lo < hi => x.range(lo, hi),
            _ => x,
        }))
    };
    runs.iter().enumerate().filter_map(plot).collect()
}

/// Gradient RMS by layer and observed step, one map per run with at least two observed steps, on one scale: up to ten times
/// the largest gradient before training, and nine decades down.
pub fn heat_maps(runs: &[RunProfile]) -> Vec<HeatMap> {
    let mut range = Range::default();
    for run in runs {
        for step in &run.steps {
            see_signals(&mut range, step);
        }
    }
    // What a run that diverges reaches must not darken the others.
    let first = gradient_range(runs).map_or(f64::INFINITY, |r| r.1);
    let (lo, hi) = (range.lo, range.hi.min(10.0 * first));
    // Nine decades: what lies a billion times below the strongest is as dark as nothing.
    let lo = lo.max(hi * 1e-9);
    let axis = if lo < hi {
        Axis::log("RMS of the gradient").range(lo, hi)
    } else {
        Axis::log("RMS of the gradient")
    };
    let mut maps = Vec::new();
    for run in runs.iter().filter(|r| r.steps.len() > 1) {
        let steps: Vec<_> = run.steps.iter().map(signals).collect();
        let mut paths: Vec<&str> = Vec::new();
        for (l, _) in steps.iter().flatten() {
            if !paths.contains(&l.path.as_str()) {
                paths.push(&l.path);
            }
        }
        let mut map = HeatMap::new(run.name.clone(), "training step", axis.clone())
            .columns(run.steps.iter().map(|s| s.step.to_string()));
        for p in paths {
            let cell = |s: &Vec<(&LayerProfile, f64)>| Some(s.iter().find(|l| l.0.path == p)?.1);
            map = map.row(p, steps.iter().map(cell));
        }
        if !map.is_empty() {
            maps.push(map);
        }
    }
    maps
}

/// The gradient of recurrent layers against time, with the fitted decay, all runs in one plot; steps back from the end run
/// to the right, as the gradient does. One plot for the first observed step that has any, which the verdict looks at, and
/// one for the last, if there is a later one.
pub fn time_plots(runs: &[RunProfile]) -> Vec<LinePlot> {
    let timed = |run: &RunProfile| -> Vec<usize> {
        let all = run.steps.iter().enumerate();
        all.filter(|(_, s)| !s.time.is_empty())
            .map(|(i, _)| i)
            .collect()
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for run in runs {
        let at = timed(run);
        first.extend(at.first().map(|i| (run, &run.steps[*i])));
        last.extend(at.last().map(|i| (run, &run.steps[*i])));
    }
    let later = first.iter().zip(&last).any(|(a, b)| a.1.step != b.1.step);
    let title = "How far back in time the learning signal reaches";
    let mut plots = vec![time_plot(title.into(), &first)];
    if later {
        plots.push(time_plot(format!("{title} at the end"), &last));
    }
    plots.retain(|p| !p.is_empty());
    plots
}

fn time_plot(title: String, steps: &[(&RunProfile, &StepProfile)]) -> LinePlot {
    let mut plot = LinePlot::new(title)
        .x(Axis::linear("steps back in time")
            .whole()
            .ends("end of the sequence", "beginning"))
        .y(Axis::log("Strength of the gradient (RMS)"))
        .arrow("the gradient travels this way: back through time")
        .size(1040.0, 320.0);
    let layers =
        (steps.iter()).flat_map(|(run, step)| step.time.iter().map(move |t| (run, step, t)));
    for (style, (run, step, t)) in layers.enumerate() {
        let n = t.grad_rms.len();
        let points = (0..n).map(|k| (k as f64, t.grad_rms[n - 1 - k]));
        let name = if step.time.len() == 1 {
            run.name.clone()
        } else {
            format!("{}: {}", run.name, t.path)
        };
        let note = match t.memory() {
            Some(m) if m.is_finite() => format!("falls to 1/e in {} steps", pretty(m)),
            Some(_) => "does not fall".into(),
            None => String::new(),
        };
        plot = plot.series(Series::new(name, points).note(note).style(style));
    }
    plot
}
