//! Horizontal bars with names and numbers.

use super::Figure;
use super::axis::{Axis, Layout, Scale};
use super::canvas::{Anchor, Canvas, fit_text, text_width};
use crate::Severity;
use crate::escape::{LONGEST, clean, xml};
use crate::number::{percent, pretty};
use crate::table::{Cell, Column, Table};

/// One bar.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    label: String,
    value: f64,
    style: usize,
    severity: Option<Severity>,
}

/// Bars from the left, one row each, with the number at the end: for a few values to compare.
///
/// A linear axis begins at zero. Zeros on a logarithmic axis and values that are not finite have no bar, only their
/// number.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    title: String,
    description: String,
    x: Axis,
    percent: bool,
    bars: Vec<Bar>,
    width: f64,
}

const SIZE: f64 = 13.0;
const ROW: f64 = 28.0;

impl BarChart {
    /// A chart without bars.
    pub fn new(title: impl Into<String>, x: Axis) -> BarChart {
        BarChart {
            title: title.into(),
            description: String::new(),
            x,
            percent: false,
            bars: Vec::new(),
            width: 760.0,
        }
    }

    /// What the picture shows, in words; made from the data when not given.
    pub fn describe(mut self, description: impl Into<String>) -> BarChart {
        self.description = description.into();
        self
    }

    /// Writes numbers as percent of one.
    pub fn percent(mut self) -> BarChart {
        self.percent = true;
        self
    }

    /// Appends a bar in the colour of a series.
    pub fn bar(mut self, label: impl Into<String>, value: f64, style: usize) -> BarChart {
        self.bars.push(Bar {
            label: label.into(),
            value,
            style,
            severity: None,
        });
        self
    }

    /// Appends a bar in the colour of a severity, with its sign before the name.
    pub fn judged(mut self, label: impl Into<String>, value: f64, severity: Severity) -> BarChart {
        self.bars.push(Bar {
            label: label.into(),
            value,
            style: 0,
            severity: Some(severity),
        });
        self
    }

    /// Width of the whole.
    pub fn width(mut self, width: f64) -> BarChart {
        self.width = width.clamp(240.0, 4000.0);
        self
    }

    fn number(&self, x: f64) -> String {
        if self.percent { percent(x) } else { pretty(x) }
    }
}

impl Figure for BarChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        if !self.description.is_empty() {
            return self.description.clone();
        }
        let mut d = format!("{}:", self.x.label);
        for (i, b) in self.bars.iter().take(20).enumerate() {
            let sep = if i > 0 { "," } else { "" };
            d += &format!(
                "{sep} {} {}",
                clean(&b.label, LONGEST),
                self.number(b.value)
            );
        }
        d + "."
    }

    fn draw(&self, id: &str) -> String {
        let room = self.width * 0.4;
        let labels: Vec<String> = self
            .bars
            .iter()
            .map(|b| {
                let sign = b
                    .severity
                    .map_or(String::new(), |s| format!("{} ", crate::text::mark(s)));
                fit_text(&format!("{sign}{}", b.label), SIZE, room)
            })
            .collect();
        let left = labels
            .iter()
            .map(|l| text_width(l, SIZE))
            .fold(0.0, f64::max)
            + 12.0;
        let numbers: Vec<String> = self.bars.iter().map(|b| self.number(b.value)).collect();
        let right = self.width
            - numbers
                .iter()
                .map(|n| text_width(n, SIZE) * 1.08)
                .fold(0.0, f64::max)
            - 14.0;
        let log = self.x.scale == Scale::Log;
        let mut values: Vec<f64> = self.bars.iter().map(|b| b.value).collect();
        if !log {
            values.push(0.0);
        }
        let x = Layout::new(&self.x, &values, left, right, 0.0);
        let bottom = 6.0 + ROW * self.bars.len() as f64;
        let mut c = Canvas::new(self.width, bottom + 44.0);
        for t in x.ticks(((right - left) / 80.0).clamp(2.0, 8.0) as usize) {
            let tx = x.at(t.value);
            c.line("grid", tx, 2.0, tx, bottom);
            c.text("soft", Anchor::Middle, tx, bottom + 17.0, &t.label);
        }
        let zero = if log { left } else { x.at(0.0) };
        for (i, b) in self.bars.iter().enumerate() {
            let y = 6.0 + ROW * i as f64;
            let mid = y + ROW / 2.0 + 4.5;
            let words = format!("{}: {}", clean(&b.label, LONGEST), numbers[i]);
            c.open_group("ridge", &words);
            c.raw(&format_args!("<title>{}</title>", xml(&words)));
            c.text("", Anchor::End, left - 7.0, mid, &labels[i]);
            let shown = b.value.is_finite() && (!log || b.value > 0.0);
            let end = if shown {
                x.at(b.value).clamp(left, right)
            } else {
                zero
            };
            let (class, paint) = match b.severity {
                None => ("bar", format!("fill=\"var(--s{})\"", b.style % 8)),
                Some(Severity::Healthy) => ("bar good", String::new()),
                Some(Severity::Note) => ("bar note", String::new()),
                Some(Severity::Warning) => ("bar warn", String::new()),
                Some(Severity::Critical) => ("bar bad", String::new()),
            };
            // A value at the very bottom of a logarithmic axis keeps a stub.
            let length = (end - zero).abs().max(if shown { 2.0 } else { 0.0 });
            c.rect(class, &paint, zero.min(end), y + 5.0, length, ROW - 10.0);
            let at_end = zero.max(end) + 7.0;
            c.text(
                if b.value.is_finite() {
                    "big halo"
                } else {
                    "bad big"
                },
                Anchor::Start,
                at_end,
                mid,
                &numbers[i],
            );
            c.close_group();
        }
        c.line("axis", zero, 2.0, zero, bottom);
        let label = fit_text(&self.x.label, SIZE, right - left);
        c.text(
            "big",
            Anchor::Middle,
            (left + right) / 2.0,
            bottom + 38.0,
            &label,
        );
        c.finish(id, &self.title, &self.description())
    }

    fn data(&self) -> Option<Table> {
        let mut t = Table::new([Column::new(""), Column::new(self.x.label.clone())]);
        for b in &self.bars {
            let value = if self.percent {
                Cell::Percent(b.value)
            } else {
                Cell::Number(b.value)
            };
            t.rows.push(vec![Cell::from(b.label.clone()), value]);
        }
        Some(t)
    }
}
