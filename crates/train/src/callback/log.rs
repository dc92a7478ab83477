//! Logs: the history as files.

use super::{Callback, Run, Step};
use crate::error::{Error, Result};
use crate::history::{Row, csv_field, csv_line, csv_row};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use wengert_autograd::Float;
use wengert_nn::state::Value;

/// Appends to a file that was begun anew.
fn append(path: &Path, file: &mut Option<File>, text: &str) -> Result<()> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let out = match file {
        Some(f) => f,
        None => file.insert(
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(io)?,
        ),
    };
    out.write_all(text.as_bytes()).map_err(io)
}

fn begin(path: &Path, file: &mut Option<File>, text: &str) -> Result<()> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut out = File::create(path).map_err(io)?;
    out.write_all(text.as_bytes()).map_err(io)?;
    *file = Some(out);
    Ok(())
}

/// One line of comma-separated values per row of the history, under a header.
///
/// The file is begun anew when `fit` starts, with the rows that the history already has, so after a resumption it holds
/// every row once.
#[derive(Debug)]
pub struct CsvLog {
    path: PathBuf,
    file: Option<File>,
    columns: Vec<String>,
}

impl CsvLog {
    /// Into this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        CsvLog {
            path: path.into(),
            file: None,
            columns: Vec::new(),
        }
    }
}

impl<M, T: Float> Callback<M, T> for CsvLog {
    fn start(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        self.columns = run.columns.to_vec();
        let mut text = csv_line(self.columns.iter().map(|c| csv_field(c)));
        for row in &run.history.rows {
            text.push_str(&csv_row(row, &self.columns));
        }
        begin(&self.path, &mut self.file, &text)
    }

    fn row(&mut self, _: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        append(&self.path, &mut self.file, &csv_row(row, &self.columns))
    }
}

/// One JSON object per line: a `row` for every row of the history, and a `step` every so many steps if asked for.
///
/// Numbers that JSON cannot write are strings (`"NaN"`, `"inf"`, `"-inf"`). The file is begun anew when `fit` starts, with
/// the rows that the history already has; lines of steps before a resumption are not repeated.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: Option<File>,
    every: u64,
}

impl JsonLog {
    /// Into this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        JsonLog {
            path: path.into(),
            file: None,
            every: 0,
        }
    }

    /// Also a line with loss and learning rate every `n` optimizer steps (0: none).
    pub fn every_steps(mut self, n: u64) -> Self {
        self.every = n;
        self
    }
}

fn json_number(x: f64) -> Value {
    if x.is_finite() {
        Value::from(x)
    } else {
        Value::from(format!("{x}"))
    }
}

fn json_line(kind: &str, members: Vec<(String, Value)>) -> String {
    let mut all = vec![("kind".to_owned(), Value::from(kind))];
    for (name, v) in members {
        // A name that occurs twice or is reserved would not be JSON that reads back.
        let name = name.trim_start_matches('$').to_owned();
        if !all.iter().any(|(n, _)| *n == name) {
            all.push((name, v));
        }
    }
    let mut text = Value::map(all).to_json().unwrap_or_default();
    text.push('\n');
    text
}

fn json_row(row: &Row) -> String {
    let mut members = vec![
        ("epoch".to_owned(), Value::from(row.epoch)),
        ("step".to_owned(), Value::from(row.step)),
        ("lr".to_owned(), json_number(row.lr)),
    ];
    let scores = row.scores.iter();
    members.extend(scores.map(|(n, x)| (n.to_owned(), json_number(x))));
    json_line("row", members)
}

impl<M, T: Float> Callback<M, T> for JsonLog {
    fn start(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        let text: String = run.history.rows.iter().map(json_row).collect();
        begin(&self.path, &mut self.file, &text)
    }

    fn step(&mut self, run: &mut Run<'_, M, T>, step: &Step<'_, T>) -> Result<()> {
        if self.every == 0 || !run.step.is_multiple_of(self.every) {
            return Ok(());
        }
        let members = vec![
            ("epoch".to_owned(), Value::from(run.epoch + 1)),
            ("step".to_owned(), Value::from(run.step)),
            ("lr".to_owned(), json_number(step.lr)),
            ("loss".to_owned(), json_number(step.loss)),
        ];
        append(&self.path, &mut self.file, &json_line("step", members))
    }

    fn row(&mut self, _: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        append(&self.path, &mut self.file, &json_row(row))
    }
}
