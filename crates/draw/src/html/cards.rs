//! Verdict boxes.

use super::{badge, inline, mood};
use crate::escape::{name, xml};
use crate::number::Range;
use crate::{Finding, Severity};
use std::fmt::Write;

/// A box that says how something is, at a glance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// What it is about.
    pub who: String,
    /// How it is.
    pub severity: Severity,
    /// One or two words for it.
    pub word: String,
    /// A large number and what it is.
    pub big: Option<(String, String)>,
    /// One sentence; `**bold**` and `` `code` `` are understood.
    pub message: String,
    /// Further lines, as (what, text).
    pub facts: Vec<(String, String)>,
    /// Small curve along the top.
    pub spark: Vec<f64>,
    /// Lower and upper end of the small curve's scale, so that boxes can be compared; its own range when not given.
    pub spark_range: Option<(f64, f64)>,
    /// What the small curve shows.
    pub spark_label: String,
    /// Colour of the series this is about, as in the plots.
    pub style: Option<usize>,
}

impl Card {
    /// The box of one finding.
    pub fn of(who: &str, f: &Finding) -> Card {
        let mut facts = Vec::new();
        let mut add = |what: &str, text: &Option<String>| {
            if let Some(t) = text {
                facts.push((what.to_string(), t.clone()));
            }
        };
        add("Where", &f.layer);
        add("Evidence", &f.evidence);
        add("Cause", &f.cause);
        add("Line", &f.location);
        add("Remedy", &f.remedy);
        Card {
            who: who.into(),
            severity: f.severity,
            word: f.rule.clone(),
            message: f.message.clone(),
            facts,
            ..Card::default()
        }
    }

    /// Sets the large number and what it is.
    pub fn big(mut self, number: impl Into<String>, what: impl Into<String>) -> Card {
        self.big = Some((number.into(), what.into()));
        self
    }

    /// Sets the small curve and what it shows.
    pub fn spark(mut self, values: Vec<f64>, label: impl Into<String>) -> Card {
        self.spark = values;
        self.spark_label = label.into();
        self
    }

    /// Fixes the scale of the small curve.
    pub fn spark_range(mut self, lo: f64, hi: f64) -> Card {
        self.spark_range = Some((lo, hi));
        self
    }

    /// Marks the box with the colour of a series.
    pub fn style(mut self, style: usize) -> Card {
        self.style = Some(style);
        self
    }

    pub(super) fn html(&self) -> String {
        let key = self.style.map_or(String::new(), |s| {
            format!(
                "<span class=\"key\" style=\"background:var(--s{})\" aria-hidden=\"true\"></span>",
                s % 8
            )
        });
        let mut s = format!(
            "<article class=\"card {}\"><div class=\"top\"><h3>{key}{}</h3>{}</div>",
            mood(self.severity),
            name(&self.who),
            badge(self.severity, &self.word)
        );
        let mut put = |t: std::fmt::Arguments| s.write_fmt(t).expect("a string takes all");
        if self.big.is_some() || !self.spark.is_empty() {
            put(format_args!("<div class=\"glance\">"));
            if let Some((n, what)) = &self.big {
                put(format_args!(
                    "<p class=\"big\"><b>{}</b> <span>{}</span></p>",
                    name(n),
                    xml(what)
                ));
            }
            if !self.spark.is_empty() {
                put(format_args!(
                    "<div class=\"mini\">{}<span>{}</span></div>",
                    spark(&self.spark, 140.0, 44.0, self.style, self.spark_range),
                    xml(&self.spark_label)
                ));
            }
            put(format_args!("</div>"));
        }
        put(format_args!("<p>{}</p>", inline(&self.message)));
        if !self.facts.is_empty() {
            put(format_args!("<dl>"));
            for (what, text) in &self.facts {
                put(format_args!(
                    "<dt>{}</dt><dd>{}</dd>",
                    xml(what),
                    inline(text)
                ));
            }
            put(format_args!("</dl>"));
        }
        put(format_args!("</article>"));
        s
    }
}

/// A small line without axes; gaps where a value is not finite.
pub(super) fn spark(
    values: &[f64],
    w: f64,
    h: f64,
    style: Option<usize>,
    range: Option<(f64, f64)>,
) -> String {
    let own = || {
        let r = Range::of(values);
        (r.lo, r.hi)
    };
    let (lo, hi) = range.unwrap_or_else(own);
    let mut d = String::new();
    let mut pen = false;
    for (i, &v) in values.iter().enumerate() {
        if !v.is_finite() {
            pen = false;
            continue;
        }
        let x = 2.0 + (w - 4.0) * i as f64 / (values.len().max(2) - 1) as f64;
        let f = if hi > lo {
            (v / 2.0 - lo / 2.0) / (hi / 2.0 - lo / 2.0)
        } else {
            0.5
        };
        let y = h - 3.0 - (h - 6.0) * f.clamp(0.0, 1.0);
        write!(d, "{}{x:.1} {y:.1}", if pen { "L" } else { "M" }).expect("a string takes all");
        pen = true;
    }
    let color = style.map_or("currentColor".to_string(), |s| format!("var(--s{})", s % 8));
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" aria-hidden=\"true\">\
         <path d=\"{d}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/></svg>"
    )
}
