//! Lines over a common axis.

mod draw;
mod marks;

use super::Figure;
use super::axis::Axis;
use crate::number::{pretty, short};
use crate::table::{Cell, Column, Table};

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in legend and label.
    pub name: String,
    /// Points in drawing order. Zeros on a logarithmic axis and values that are not finite are shown in rows of their
    /// own, below and above.
    pub points: Vec<(f64, f64)>,
    /// A few words under the label at the end of the line.
    pub note: String,
    /// Colour, marker and dash pattern; the position among the series when not given.
    pub style: Option<usize>,
    /// Only a line, without markers: for fits and references.
    pub plain: bool,
}

impl Series {
    /// A line through the points.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
        Series {
            name: name.into(),
            points: points.into_iter().collect(),
            ..Series::default()
        }
    }

    /// Adds a few words under the label.
    pub fn note(mut self, note: impl Into<String>) -> Series {
        self.note = note.into();
        self
    }

    /// Fixes the style, so that a run looks the same in every plot.
    pub fn style(mut self, style: usize) -> Series {
        self.style = Some(style);
        self
    }

    /// Draws no markers.
    pub fn plain(mut self) -> Series {
        self.plain = true;
        self
    }
}

/// What a [`Band`] means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Values here are fine.
    Good,
    /// No judgement.
    #[default]
    Neutral,
    /// Values here are trouble.
    Bad,
}

/// A shaded range of the vertical axis with words in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Band {
    /// Lower end; the bottom of the plot if below it.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// What it means.
    pub label: String,
    /// Its colour.
    pub mood: Mood,
}

/// Lines, with linear or logarithmic axes.
///
/// A legend stands above, and each line carries its name at its end. Long lines are thinned to what the eye can see;
/// [`Figure::data`] has at most 200 rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePlot {
    title: String,
    description: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    bands: Vec<Band>,
    arrow: String,
    width: f64,
    height: f64,
}

impl LinePlot {
    /// An empty plot.
    pub fn new(title: impl Into<String>) -> LinePlot {
        LinePlot {
            title: title.into(),
            description: String::new(),
            x: Axis::linear(""),
            y: Axis::linear(""),
            series: Vec::new(),
            bands: Vec::new(),
            arrow: String::new(),
            width: 760.0,
            height: 300.0,
        }
    }

    /// What the picture shows, in words; made from the data when not given.
    pub fn describe(mut self, description: impl Into<String>) -> LinePlot {
        self.description = description.into();
        self
    }

    /// Sets the horizontal axis.
    pub fn x(mut self, axis: Axis) -> LinePlot {
        self.x = axis;
        self
    }

    /// Sets the vertical axis.
    pub fn y(mut self, axis: Axis) -> LinePlot {
        self.y = axis;
        self
    }

    /// Appends a line.
    pub fn series(mut self, series: Series) -> LinePlot {
        self.series.push(series);
        self
    }

    /// Shades a range of the vertical axis.
    pub fn band(mut self, lo: f64, hi: f64, label: impl Into<String>, mood: Mood) -> LinePlot {
        self.bands.push(Band {
            lo,
            hi,
            label: label.into(),
            mood,
        });
        self
    }

    /// Draws an arrow from left to right under the axis, with words on it.
    pub fn arrow(mut self, words: impl Into<String>) -> LinePlot {
        self.arrow = words.into();
        self
    }

    /// Width of the whole and height of the plotting area, in pixels at full size.
    pub fn size(mut self, width: f64, height: f64) -> LinePlot {
        self.width = width.clamp(240.0, 4000.0);
        self.height = height.clamp(80.0, 4000.0);
        self
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|s| s.points.is_empty())
    }

    fn coordinates(&self, of: fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let mut out = Vec::new();
        for s in &self.series {
            for p in &s.points {
                out.push(of(p));
            }
        }
        out
    }
}

impl Figure for LinePlot {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        if !self.description.is_empty() {
            return self.description.clone();
        }
        let what = if self.y.label.is_empty() {
            &self.title
        } else {
            &self.y.label
        };
        let mut d = format!("{what} by {}.", self.x.label);
        for s in self.series.iter().take(12) {
            d.push(' ');
            d.push_str(&self.tell(s));
        }
        d
    }

    fn draw(&self, id: &str) -> String {
        self.drawn(id)
    }

    fn data(&self) -> Option<Table> {
        let mut xs = self.coordinates(|p| p.0);
        xs.retain(|x| x.is_finite());
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let step = xs.len().div_ceil(200).max(1);
        let mut columns = vec![Column::new(self.x.label.clone())];
        for s in &self.series {
            columns.push(Column::new(s.name.clone()));
        }
        let mut t = Table::new(columns);
        for &x in xs.iter().step_by(step) {
            let mut row = vec![Cell::Text(if x == x.round() && x.abs() < 1e9 {
                format!("{x:.0}")
            } else {
                short(x)
            })];
            for s in &self.series {
                let point = s.points.iter().find(|p| p.0 == x);
                row.push(point.map_or(Cell::Empty, |p| Cell::Number(p.1)));
            }
            t.rows.push(row);
        }
        Some(t)
    }
}

impl LinePlot {
    /// One line in words.
    fn tell(&self, s: &Series) -> String {
        let who = crate::escape::clean(&s.name, crate::escape::LONGEST);
        match (s.points.first(), s.points.last()) {
            (Some(a), Some(b)) if s.points.len() > 1 => format!(
                "{who}: {} at {} {}, {} at {} {}.",
                pretty(a.1),
                self.x.label,
                pretty_x(a.0),
                pretty(b.1),
                self.x.label,
                pretty_x(b.0)
            ),
            (Some(a), _) => format!(
                "{who}: {} at {} {}.",
                pretty(a.1),
                self.x.label,
                pretty_x(a.0)
            ),
            _ => format!("{who}: no points."),
        }
    }
}

/// A position on the horizontal axis.
fn pretty_x(x: f64) -> String {
    if x == x.round() && x.abs() < 1e9 {
        format!("{x:.0}")
    } else {
        pretty(x)
    }
}
