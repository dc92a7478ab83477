//! What a run did, as values.

use crate::error::{Error, Result, Shown};
use crate::trainer::NonFiniteReport;
use std::fmt;
use std::ops::Index;

/// Names and values in order, such as the results of an evaluation.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Scores(pub Vec<(String, f64)>);

impl Scores {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(n, v)| (n.as_str(), *v))
    }
}

/// # Panics
/// When there is no such name.
impl Index<&str> for Scores {
    type Output = f64;
    #[track_caller]
    fn index(&self, name: &str) -> &f64 {
        match self.0.iter().find(|(n, _)| n == name) {
            Some((_, v)) => v,
            None => panic!("no score is named {name:?}; there are {self}"),
        }
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

/// One line of a [`History`]: at the end of an epoch, or where a validation took place.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Epochs begun so far: 1 in and at the end of the first.
    pub epoch: u64,
    /// Optimizer steps taken so far.
    pub step: u64,
    /// Learning rate of the next step.
    pub lr: f64,
    /// `loss` and the metrics over the epoch so far, and, where there was a validation, the same with `val_` before.
    pub scores: Scores,
}

impl Row {
    /// The value of a column: `epoch`, `step`, `lr`, or a score.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "epoch" => Some(self.epoch as f64),
            "step" => Some(self.step as f64),
            "lr" => Some(self.lr),
            _ => self.scores.get(name),
        }
    }
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Stop {
    /// It has the number of epochs that was asked for.
    #[default]
    Epochs,
    /// It has the number of steps that was allowed.
    Steps,
    /// The stop flag was raised.
    Requested,
    /// The time is up.
    Time,
    /// A callback ended it, for this reason.
    Callback(String),
}

/// What a run did: a table with one row per epoch and validation, and why it ended.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The table, over all calls of `fit` and all resumptions.
    pub rows: Vec<Row>,
    /// Why the last call of `fit` ended.
    pub stop: Stop,
    /// Optimizer steps taken.
    pub steps: u64,
    /// Batches left out because a loss or a gradient was not finite.
    pub skipped: u64,
    /// The first of them, at most 16.
    pub non_finite: Vec<NonFiniteReport>,
    /// Seconds that the last call of `fit` took.
    pub seconds: f64,
}

impl History {
    /// The last value of a column.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.rows.iter().rev().find_map(|r| r.get(name))
    }

    /// All values of a column, with the steps at which they were taken.
    pub fn column(&self, name: &str) -> Vec<(u64, f64)> {
        self.rows
            .iter()
            .filter_map(|r| Some((r.step, r.get(name)?)))
            .collect()
    }

    /// The row with the lowest value of a column; NaN is never the lowest.
    pub fn lowest(&self, name: &str) -> Option<&Row> {
        self.best(name, |x, best| x < best)
    }

    /// The row with the highest value of a column; NaN is never the highest.
    pub fn highest(&self, name: &str) -> Option<&Row> {
        self.best(name, |x, best| x > best)
    }

    fn best(&self, name: &str, better: impl Fn(f64, f64) -> bool) -> Option<&Row> {
        let mut best: Option<(f64, &Row)> = None;
        for row in &self.rows {
            if let Some(x) = row.get(name).filter(|x| !x.is_nan())
                && best.is_none_or(|(b, _)| better(x, b))
            {
                best = Some((x, row));
            }
        }
        best.map(|(_, row)| row)
    }

    /// Names of all columns, in order of appearance.
    pub fn columns(&self) -> Vec<&str> {
        let mut names = vec!["epoch", "step", "lr"];
        for row in &self.rows {
            for (name, _) in row.scores.iter() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The table as CSV, with a header.
    pub fn to_csv(&self) -> String {
        let names = self.columns();
        let mut out = csv_line(names.iter().map(|n| csv_field(n)));
        for row in &self.rows {
            out.push_str(&csv_row(row, &names));
        }
        out
    }

    pub(crate) fn check_column(name: &str, known: &[String]) -> Result<()> {
        if known.iter().any(|k| k == name) {
            return Ok(());
        }
        Err(Error::UnknownColumn {
            name: name.to_owned(),
            known: known.to_vec(),
        })
    }
}

/// One line of the table; nothing where the row has no value.
pub(crate) fn csv_row<S: AsRef<str>>(row: &Row, names: &[S]) -> String {
    csv_line(names.iter().map(|n| match n.as_ref() {
        "epoch" => row.epoch.to_string(),
        "step" => row.step.to_string(),
        name => row.get(name).map_or_else(String::new, |x| format!("{x:?}")),
    }))
}

pub(crate) fn csv_line(fields: impl Iterator<Item = String>) -> String {
    let mut line = fields.collect::<Vec<_>>().join(",");
    line.push('\n');
    line
}

/// A field of a CSV line, quoted where need be (RFC 4180); control characters become blanks.
pub(crate) fn csv_field(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if clean.contains([',', '"']) {
        format!("\"{}\"", clean.replace('"', "\"\""))
    } else {
        clean
    }
}

/// The table, aligned.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.columns();
        let cell = |row: &Row, name: &str| match (name, row.get(name)) {
            ("epoch" | "step", Some(x)) => format!("{x}"),
            ("lr", Some(x)) => format!("{x:.2e}"),
            (_, Some(x)) => format!("{x:.4}"),
            (_, None) => "-".to_owned(),
        };
        let lines: Vec<Vec<String>> = (self.rows.iter())
            .map(|r| names.iter().map(|n| cell(r, n)).collect())
            .collect();
        let header: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let width = |i: usize| {
            let of = |l: &Vec<String>| l[i].chars().count();
            lines.iter().map(of).max().unwrap_or(0).max(of(&header))
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        for line in std::iter::once(&header).chain(&lines) {
            for (i, text) in line.iter().enumerate() {
                let gap = if i > 0 { "  " } else { "" };
                write!(f, "{gap}{text:>0$}", widths[i])?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
