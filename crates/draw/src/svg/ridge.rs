//! Histograms by layer, one above the other.

use super::Figure;
use super::axis::{Axis, Layout};
use super::canvas::{Anchor, Canvas, Color, at, fit_text, text_width};
use crate::escape::{LONGEST, clean};
use crate::number::{percent, pretty};
use crate::table::{Cell, Column, Table};
use std::fmt::Write;

/// Values counted in bins, and what is known about them: what a row of a [`RidgePlot`] shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    /// Rising borders, one more than there are bins.
    pub edges: Vec<f64>,
    /// Values per bin.
    pub counts: Vec<u64>,
    /// All values that were counted, in bins and outside of them.
    pub total: u64,
    /// Whether magnitudes are counted, on edges of equal ratio.
    pub magnitude: bool,
    /// Share of exact zeros, drawn as a pin instead of a bin that dwarfs the rest.
    pub zeros: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// What a row of a [`RidgePlot`] can show.
pub trait Distribution {
    /// The row; `None` where nothing was counted.
    fn ridge(&self) -> Option<Ridge>;
}

/// One row: a histogram with its name.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    label: String,
    ridge: Ridge,
    /// Whether all values are one.
    constant: bool,
}

/// Histograms over a shared horizontal axis, one row each, every row as high as its highest bin.
///
/// Where rows differ by orders of magnitude, each is a line beside the widest: [`own_units`](RidgePlot::own_units) draws each
/// in units of its own standard deviation.
///
/// Exact zeros (half of all outputs of a ReLU layer) are taken out of their bin and drawn as a pin whose height is
/// their share. At the right stands the standard deviation of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct RidgePlot {
    title: String,
    description: String,
    x: Axis,
    rows: Vec<Row>,
    own_units: bool,
    style: usize,
    width: f64,
    step: f64,
}

const SIZE: f64 = 13.0;
const SMALL: f64 = 11.5;

impl RidgePlot {
    /// A plot without rows.
    pub fn new(title: impl Into<String>) -> RidgePlot {
        RidgePlot {
            title: title.into(),
            description: String::new(),
            x: Axis::linear("value"),
            rows: Vec::new(),
            own_units: false,
            style: 0,
            width: 540.0,
            step: 0.0,
        }
    }

    /// What the picture shows, in words; made from the data when not given.
    pub fn describe(mut self, description: impl Into<String>) -> RidgePlot {
        self.description = description.into();
        self
    }

    /// Sets the horizontal axis.
    pub fn x(mut self, axis: Axis) -> RidgePlot {
        self.x = axis;
        self
    }

    /// Measures each row in its own standard deviation, as far as four of them from zero or the mean.
    pub fn own_units(mut self) -> RidgePlot {
        self.own_units = true;
        self
    }

    /// Colour of the rows, as that of a series.
    pub fn style(mut self, style: usize) -> RidgePlot {
        self.style = style;
        self
    }

    /// Width of the whole, and height of one row (0: chosen by the number of rows).
    pub fn size(mut self, width: f64, row: f64) -> RidgePlot {
        self.width = width.clamp(240.0, 4000.0);
        self.step = row.clamp(0.0, 200.0);
        self
    }

    /// Appends a row; what was not counted is left out.
    pub fn row(mut self, label: impl Into<String>, values: &dyn Distribution) -> RidgePlot {
        if let Some(mut ridge) = values.ridge() {
            let (x, half) = (ridge.min, ridge.min.abs() / 200.0);
            let constant = x == ridge.max && ridge.counts.len() == 1 && x - half < x + half;
            if constant {
                // The bin of a constant has some width; what is meant is a needle.
                ridge.edges = vec![x - half, x + half];
            }
            if !ridge.magnitude {
                let (n, edges) = (ridge.counts.len(), &ridge.edges);
                let taken = (ridge.zeros * ridge.total as f64).round() as u64;
                let bin = (0..n).find(|&i| {
                    edges[i] <= 0.0 && (edges[i + 1] > 0.0 || (i + 1 == n && edges[n] == 0.0))
                });
                if let Some(i) = bin {
                    ridge.counts[i] = ridge.counts[i].saturating_sub(taken);
                }
            }
            self.rows.push(Row {
                label: label.into(),
                ridge,
                constant,
            });
        }
        self
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What a row's values are divided by.
    fn unit(&self, r: &Row) -> f64 {
        match self.own_units && r.ridge.std > 0.0 && r.ridge.std.is_finite() {
            true => r.ridge.std,
            false => 1.0,
        }
    }

    /// The range that holds all bins with something in them.
    fn extent(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for r in &self.rows {
            let (h, unit) = (&r.ridge, self.unit(r));
            let (lo, hi) = match self.own_units {
                true => (
                    (r.ridge.mean / unit).min(0.0) - 4.0,
                    (r.ridge.mean / unit).max(0.0) + 4.0,
                ),
                false => (f64::MIN, f64::MAX),
            };
            for (i, c) in h.counts.iter().enumerate() {
                if *c > 0 {
                    out.push((h.edges[i] / unit).clamp(lo, hi));
                    out.push((h.edges[i + 1] / unit).clamp(lo, hi));
                }
            }
            if r.ridge.zeros > 0.0 || r.constant {
                out.push(0.0);
            }
        }
        out
    }
}

impl Figure for RidgePlot {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        if !self.description.is_empty() {
            return self.description.clone();
        }
        let tell = |r: &Row| {
            let zeros = if r.ridge.zeros > 0.0 {
                format!(", {} exactly zero", percent(r.ridge.zeros))
            } else {
                String::new()
            };
            format!(
                "{}: mean {}, standard deviation {}{zeros}",
                clean(&r.label, LONGEST),
                pretty(r.ridge.mean),
                pretty(r.ridge.std)
            )
        };
        match &self.rows[..] {
            [] => "No histograms.".into(),
            [one] => format!("Histogram of {}.", tell(one)),
            [first, .., last] => format!(
                "Histograms of {} layers, from {} to {}.",
                self.rows.len(),
                tell(first),
                tell(last)
            ),
        }
    }

    fn draw(&self, id: &str) -> String {
        let n = self.rows.len().max(1);
        let step = if self.step > 0.0 {
            self.step
        } else {
            (420.0 / n as f64).clamp(8.0, 34.0)
        };
        // A row reaches into the one above.
        let tall = step * 1.7;
        // Labels only as dense as text can be.
        let every = (15.0 / step).ceil().max(1.0) as usize;
        // The last row always; the one that would touch it gives way.
        let shown = |i: usize| i + 1 == n || (i.is_multiple_of(every) && i + every < n);
        let label_room = self.width * 0.3;
        let labels: Vec<String> = self
            .rows
            .iter()
            .map(|r| fit_text(&r.label, SMALL, label_room))
            .collect();
        let widest = |it: &mut dyn Iterator<Item = f64>| it.fold(0.0, f64::max);
        let left = widest(&mut labels.iter().map(|l| text_width(l, SMALL))) + 12.0;
        let notes: Vec<String> = self
            .rows
            .iter()
            .map(|r| format!("± {}", pretty(r.ridge.std)))
            .collect();
        let right =
            self.width - widest(&mut notes.iter().map(|t| text_width(t, SMALL))).max(40.0) - 12.0;
        let any_zeros = self.rows.iter().any(|r| r.ridge.zeros > 0.001);
        let head = 18.0;
        let top = head + tall - step + 8.0;
        let bottom = top + step * n as f64;
        let x = Layout::new(&self.x, &self.extent(), left + 8.0, right - 8.0, 0.0);
        let mut c = Canvas::new(
            self.width,
            bottom + 46.0 + if any_zeros { 20.0 } else { 0.0 },
        );
        c.text("soft small", Anchor::Start, right + 8.0, 12.0, "spread");
        let ticks = x.ticks(((right - left) / 70.0).clamp(2.0, 9.0) as usize);
        for t in &ticks {
            let tx = x.at(t.value);
            c.line("grid", tx, head, tx, bottom);
            c.text("soft", Anchor::Middle, tx, bottom + 17.0, &t.label);
        }
        let color = Color(self.style);
        for (i, r) in self.rows.iter().enumerate() {
            let base = top + step * (i + 1) as f64;
            let (h, unit) = (&r.ridge, self.unit(r));
            let density = |k: usize| h.counts[k] as f64 / (h.edges[k + 1] - h.edges[k]);
            let peak = (0..h.counts.len()).map(density).fold(0.0, f64::max);
            c.line("faint", left, base, right, base);
            let mut words = format!(
                "{}: mean {}, standard deviation {}",
                clean(&r.label, LONGEST),
                pretty(r.ridge.mean),
                pretty(r.ridge.std)
            );
            if r.ridge.zeros > 0.0 {
                words += &format!(", {} exactly zero", percent(r.ridge.zeros));
            }
            c.open_group("ridge", &words);
            c.raw(&format_args!(
                "<title>{}</title>",
                crate::escape::xml(&words)
            ));
            if peak > 0.0 {
                let full = if any_zeros { tall * 0.9 } else { tall };
                let mut d = String::new();
                let mut from = None;
                for k in 0..h.counts.len() {
                    let v = density(k);
                    if v <= 0.0 {
                        if from.take().is_some() {
                            write!(d, "V{}", at(base)).expect("a string takes all");
                        }
                        continue;
                    }
                    let (x0, x1) = (x.at(h.edges[k] / unit), x.at(h.edges[k + 1] / unit));
                    // What lies beyond a given range ends at its border.
                    if x0.max(x1) <= left + 7.9 || x0.min(x1) >= right - 7.9 {
                        if from.take().is_some() {
                            write!(d, "V{}", at(base)).expect("a string takes all");
                        }
                        continue;
                    }
                    let inside = |p: f64| p.clamp(left + 8.0, right - 8.0);
                    let (x0, x1) = (inside(x0), inside(x1));
                    let y = base - full * v / peak;
                    if from.is_none() {
                        write!(d, "M{} {}", at(x0), at(base)).expect("a string takes all");
                        from = Some(x0);
                    }
                    // A bin narrower than a pixel still shows.
                    let x1 = if (x1 - x0).abs() < 1.2 { x0 + 1.2 } else { x1 };
                    write!(d, "V{}H{}", at(y), at(x1)).expect("a string takes all");
                }
                if from.is_some() {
                    write!(d, "V{}", at(base)).expect("a string takes all");
                }
                c.path(
                    "area",
                    &format_args!("fill=\"{color}\" stroke=\"{color}\""),
                    &d,
                );
            }
            if r.ridge.zeros > 0.001 && x.contains(0.0) {
                let zx = x.at(0.0);
                let zy = base - tall * r.ridge.zeros.min(1.0);
                c.path(
                    "pin",
                    &"",
                    &format_args!("M{} {}V{}", at(zx), at(base), at(zy)),
                );
                c.raw(&format_args!(
                    "<circle class=\"pinhead\" cx=\"{}\" cy=\"{}\" r=\"2.6\"/>",
                    at(zx),
                    at(zy)
                ));
            }
            c.close_group();
            if shown(i) {
                c.text(
                    "soft small",
                    Anchor::End,
                    left - 7.0,
                    base - 1.0,
                    &labels[i],
                );
                c.text(
                    "soft small",
                    Anchor::Start,
                    right + 8.0,
                    base - 1.0,
                    &notes[i],
                );
            }
        }
        c.line("axis", left, bottom, right, bottom);
        let label = fit_text(&self.x.label, SIZE, right - left);
        c.text(
            "big",
            Anchor::Middle,
            (left + right) / 2.0,
            bottom + 37.0,
            &label,
        );
        if any_zeros {
            let zx = left + 8.0;
            let y = bottom + 57.0;
            c.path("pin", &"", &format_args!("M{} {}v-11", at(zx), at(y)));
            c.raw(&format_args!(
                "<circle class=\"pinhead\" cx=\"{}\" cy=\"{}\" r=\"2.6\"/>",
                at(zx),
                at(y - 11.0)
            ));
            let words = "pin: share of outputs that are exactly 0";
            let words = fit_text(words, SMALL, self.width - zx - 9.0);
            c.text("soft small", Anchor::Start, zx + 9.0, y - 1.0, &words);
        }
        c.finish(id, &self.title, &self.description())
    }

    fn data(&self) -> Option<Table> {
        let mut t = Table::new(["layer", "mean", "std", "exactly zero"].map(Column::new));
        for r in &self.rows {
            t.rows.push(vec![
                Cell::from(r.label.clone()),
                Cell::Number(r.ridge.mean),
                Cell::Number(r.ridge.std),
                Cell::Percent(r.ridge.zeros),
            ]);
        }
        Some(t)
    }
}
