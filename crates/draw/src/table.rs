//! A table of mixed content that [`text`](super::text) and [`html`](super::html) both render.

use crate::Severity;

/// Content of one cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing was measured.
    Empty,
    /// Text; may come from outside.
    Text(String),
    /// A number, three significant digits.
    Number(f64),
    /// A share in `[0, 1]`, shown as percent.
    Percent(f64),
    /// A number drawn as a bar on the scale of its column, with the number beside it.
    Bar(f64),
    /// A small line over several values.
    Spark(Vec<f64>),
    /// A coloured mark with a word.
    Status(Severity, String),
}

impl From<&str> for Cell {
    fn from(s: &str) -> Cell {
        Cell::Text(s.into())
    }
}

impl From<String> for Cell {
    fn from(s: String) -> Cell {
        Cell::Text(s)
    }
}

impl From<f64> for Cell {
    fn from(x: f64) -> Cell {
        Cell::Number(x)
    }
}

impl From<Option<f64>> for Cell {
    fn from(x: Option<f64>) -> Cell {
        x.map_or(Cell::Empty, Cell::Number)
    }
}

/// How a column's bars are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BarScale {
    /// From zero.
    #[default]
    Linear,
    /// By the logarithm: one decade has the same length everywhere.
    Log,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Heading.
    pub head: String,
    /// What the heading means, for those who do not know.
    pub hint: String,
    /// Columns of the highest number are left out first where a terminal is too narrow; 0 is never left out. From 7 on
    /// they are left out as soon as another column would have to shrink.
    pub priority: u8,
    /// Scale of the bars in this column.
    pub scale: BarScale,
    /// Bars of columns with the same group share one scale.
    pub group: usize,
    /// Smallest and largest magnitude of the bars' scale; those of the group when not given.
    pub range: Option<(f64, f64)>,
}

impl Column {
    /// A column that is never left out.
    pub fn new(head: impl Into<String>) -> Column {
        Column {
            head: head.into(),
            hint: String::new(),
            priority: 0,
            scale: BarScale::Linear,
            group: 0,
            range: None,
        }
    }

    /// Says what the heading means.
    pub fn hint(mut self, hint: impl Into<String>) -> Column {
        self.hint = hint.into();
        self
    }

    /// Lets a narrow terminal leave the column out.
    pub fn priority(mut self, priority: u8) -> Column {
        self.priority = priority;
        self
    }

    /// Fixes the scale of the bars, so that several tables can be compared.
    pub fn range(mut self, range: Option<(f64, f64)>) -> Column {
        self.range = range;
        self
    }

    /// Draws bars on a logarithmic scale shared by all columns of `group`.
    pub fn log_bars(mut self, group: usize) -> Column {
        self.scale = BarScale::Log;
        self.group = group;
        self
    }
}

/// Columns and rows.
///
/// ```
/// use wengert_draw::table::{Cell, Column, Table};
/// use wengert_draw::text::Terminal;
/// let t = Table::new([Column::new("layer"), Column::new("gradient").log_bars(0)])
///     .row([Cell::from("fc1"), Cell::Bar(1e-6)])
///     .row([Cell::from("fc2"), Cell::Bar(1.0)]);
/// println!("{}", t.text(&Terminal::plain(60)));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Line above the table.
    pub caption: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows; missing cells at the end count as [`Cell::Empty`].
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Table {
        Table {
            columns: columns.into_iter().collect(),
            ..Table::default()
        }
    }

    /// Sets the line above the table.
    pub fn caption(mut self, caption: impl Into<String>) -> Table {
        self.caption = caption.into();
        self
    }

    /// Appends a row.
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Table {
        self.rows.push(cells.into_iter().collect());
        self
    }

    /// The cell, [`Cell::Empty`] where the row is short.
    pub fn cell(&self, row: usize, column: usize) -> &Cell {
        self.rows
            .get(row)
            .and_then(|r| r.get(column))
            .unwrap_or(&Cell::Empty)
    }

    /// Whether every cell of the column is empty.
    pub(super) fn is_blank(&self, column: usize) -> bool {
        (0..self.rows.len()).all(|r| *self.cell(r, column) == Cell::Empty)
    }

    /// The table without columns that have no measurement in any row.
    pub fn without_blank_columns(mut self) -> Table {
        let keep: Vec<bool> = (0..self.columns.len()).map(|c| !self.is_blank(c)).collect();
        // From the right, so that the columns before keep their place.
        for c in (0..keep.len()).rev().filter(|c| !keep[*c]) {
            self.columns.remove(c);
            for row in self.rows.iter_mut().filter(|r| c < r.len()) {
                row.remove(c);
            }
        }
        self
    }

    /// How long the bars of column `c` are.
    pub(super) fn bars(&self, c: usize) -> Bars {
        let column = &self.columns[c];
        let (mut lo, mut hi) = (f64::INFINITY, 0.0f64);
        for (k, other) in self.columns.iter().enumerate() {
            if other.group == column.group && other.scale == column.scale {
                for r in 0..self.rows.len() {
                    if let Cell::Bar(x) = self.cell(r, k)
                        && x.is_finite()
                        && *x != 0.0
                    {
                        (lo, hi) = (lo.min(x.abs()), hi.max(x.abs()));
                    }
                }
            }
        }
        let (lo, hi) = column.range.unwrap_or((lo, hi));
        let log = column.scale == BarScale::Log;
        Bars { lo, hi, log }
    }
}

/// The scale of a column's bars.
pub(super) struct Bars {
    lo: f64,
    hi: f64,
    log: bool,
}

impl Bars {
    /// Where the bar of a value ends, in `[0, 1]`. Zero and values that are not finite are at 0; on a logarithmic scale the
    /// smallest value of the group keeps a stub.
    pub(super) fn length(&self, x: f64) -> f64 {
        let x = x.abs();
        if !x.is_finite() || x == 0.0 {
            0.0
        } else if self.log {
            // At least one decade, so that nearly equal values do not look far apart.
            let top = self.hi.log10();
            let bottom = self.lo.log10().min(top - 1.0);
            (0.03 + 0.97 * (x.log10() - bottom) / (top - bottom)).clamp(0.0, 1.0)
        } else {
            (x / self.hi).min(1.0)
        }
    }
}
