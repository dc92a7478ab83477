//! Tables of text: comma-separated values, read strictly (RFC 4180).
//!
//! | found | done |
//! |---|---|
//! | byte order mark, CRLF, no line end at the end, empty lines | read, skipped |
//! | rows of different lengths, an unclosed quote, a quote inside a bare field, text behind a closing quote, a lone carriage return, NUL, bytes that are not UTF-8, a field above the limit, a column name used twice, an empty file | [`Error::Format`] with line and column |
//! | a header without rows | a table of no rows |
//! | in numbers: blanks around | ignored |
//! | in numbers: empty field | an error, or the value of [`Reader::missing`] |
//! | in numbers: `nan`, `inf` | an error, unless [`Reader::non_finite`] allows them |
//! | in numbers: `1e999`, anything that overflows, `1_000`, `0x10`, `1,5` | an error |

mod labeled;

pub use labeled::LabelOptions;

use crate::dataset::Labeled;
use crate::error::{Error, Position, Result, shown};
use crate::file::{self, Limits};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wengert_tensor::order::{groups, repeated};
use wengert_tensor::{Real, Tensor};

/// How to read a table; begins with [`Reader::headed`] or [`Reader::bare`].
///
/// ```
/// use wengert_data::csv::Reader;
/// let text = "x,y,kind\n1,2.5,cat\n3,4.5,dog\n";
/// let table = Reader::headed().parse(text.as_bytes(), "pets.csv").unwrap();
/// assert_eq!(table.numbers::<f32>(&[0, 1]).unwrap().to_vec(), [1.0, 2.5, 3.0, 4.5]);
/// let (labels, names) = table.classes(table.column("kind").unwrap()).unwrap();
/// assert_eq!((labels.to_vec(), names), (vec![0, 1], vec!["cat".to_string(), "dog".to_string()]));
/// ```
#[derive(Debug, Clone)]
pub struct Reader {
    header: bool,
    delimiter: u8,
    max_field: usize,
    missing: Option<f64>,
    non_finite: bool,
    limits: Limits,
}

impl Reader {
    /// For files whose first row holds the names of the columns.
    pub fn headed() -> Self {
        Reader {
            header: true,
            delimiter: b',',
            max_field: 1 << 20,
            missing: None,
            non_finite: false,
            limits: Limits::default(),
        }
    }

    /// For files without a row of names.
    pub fn bare() -> Self {
        Reader {
            header: false,
            ..Reader::headed()
        }
    }

    /// What separates fields (default: comma).
    ///
    /// # Errors
    /// [`Error::Value`] for a quote, a line end, NUL, or anything that is not ASCII.
    pub fn delimiter(mut self, delimiter: u8) -> Result<Self> {
        if matches!(delimiter, b'"' | b'\n' | b'\r' | 0) || !delimiter.is_ascii() {
            return Err(Error::value(
                "csv",
                format!("byte {delimiter:#04x} cannot separate fields"),
            ));
        }
        self.delimiter = delimiter;
        Ok(self)
    }

    /// Longest field in bytes, as written, quotes included (default: 1 MiB).
    pub fn max_field(mut self, bytes: usize) -> Self {
        self.max_field = bytes;
        self
    }

    /// The number that stands for an empty field (default: empty fields are errors).
    pub fn missing(mut self, value: f64) -> Self {
        self.missing = Some(value);
        self
    }

    /// Whether `nan`, `inf`, `-inf` (in any case) are numbers (default: errors).
    pub fn non_finite(mut self, allow: bool) -> Self {
        self.non_finite = allow;
        self
    }

    /// How large a file may be (default: [`Limits::default`], and never above 4 GiB).
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Reads a file, unpacking it first if it is compressed by gzip (feature `gzip`).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], and [`Error::Format`] as the table of the module says.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let bytes = file::read(path, &self.limits)?;
        let bytes = if file::is_gzip(&bytes) {
            file::gunzip(path, &bytes, &self.limits, |_| Ok(None))?
        } else {
            bytes
        };
        self.table(bytes, path)
    }

    /// Reads the contents of a file; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn parse(&self, bytes: &[u8], name: impl AsRef<Path>) -> Result<Table> {
        self.table(bytes.to_vec(), name.as_ref())
    }

    fn table(&self, bytes: Vec<u8>, path: &Path) -> Result<Table> {
        if bytes.len() >= u32::MAX as usize {
            return Err(Error::TooLarge {
                path: path.to_path_buf(),
                what: "",
                limit: u64::from(u32::MAX),
            });
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let (line, column) = locate(&e.as_bytes()[..at], self.delimiter);
            let byte = e.as_bytes()[at];
            let message = format!("CSV: byte {byte:#04x} is not UTF-8 (offset {at})");
            Error::format(path, Position::Cell { line, column }, message)
        })?;
        let mut table = Table {
            path: path.to_path_buf(),
            text,
            names: None,
            starts: Vec::new(),
            columns: 0,
            reader: self.clone(),
        };
        table.scan()?;
        Ok(table)
    }
}

/// Line and column (from 1) at the end of `before`, as far as they can be told from damaged text.
fn locate(before: &[u8], delimiter: u8) -> (u64, u64) {
    let (mut line, mut column, mut quoted) = (1, 1, false);
    for &b in before {
        match b {
            b'"' => quoted = !quoted,
            b'\n' => {
                line += 1;
                if !quoted {
                    column = 1;
                }
            }
            _ if b == delimiter && !quoted => column += 1,
            _ => {}
        }
    }
    (line, column)
}

/// A table of text fields, all rows of the same length: [`Reader::read`].
///
/// Keeps the text of the file and four bytes per field.
pub struct Table {
    path: PathBuf,
    text: String,
    names: Option<Vec<String>>,
    /// Where each field begins, row after row.
    starts: Vec<u32>,
    columns: usize,
    reader: Reader,
}

/// What ended a field.
enum End {
    Field,
    Row,
    File,
}

impl Table {
    fn scan(&mut self) -> Result<()> {
        let (text, delimiter) = (self.text.as_bytes(), self.reader.delimiter);
        let mut at = if text.starts_with("\u{feff}".as_bytes()) {
            3
        } else {
            0
        };
        let breaks = text
            .iter()
            .filter(|&&b| b == delimiter || b == b'\n')
            .count();
        let mut starts: Vec<u32> = Vec::new();
        let path = &self.path;
        starts
            .try_reserve_exact(breaks + 1)
            .map_err(|_| Error::io(path, "read", std::io::ErrorKind::OutOfMemory.into()))?;
        let (mut line, mut row_line, mut column) = (1u64, 1u64, 1u64);
        let mut row_begin = 0;
        let mut width = None;
        while at < text.len() {
            if column == 1 {
                row_line = line;
                // An empty line is no row.
                match (text[at], text.get(at + 1)) {
                    (b'\n', _) => {
                        (at, line) = (at + 1, line + 1);
                        continue;
                    }
                    (b'\r', Some(b'\n')) => {
                        (at, line) = (at + 2, line + 1);
                        continue;
                    }
                    _ => {}
                }
            }
            starts.push(at as u32);
            let fault = |line: u64, message: &str| {
                Error::format(
                    path,
                    Position::Cell { line, column },
                    format!("CSV: {message}"),
                )
            };
            let (stop, next, lines, end) =
                field_end(text, at, delimiter).map_err(|(l, m)| fault(line + l, m))?;
            if stop - at > self.reader.max_field {
                return Err(fault(
                    line,
                    &format!("a field of more than {} bytes", self.reader.max_field),
                ));
            }
            (at, line) = (next, line + lines);
            if let End::Field = end {
                column += 1;
                if at == text.len() {
                    // The file ends behind a delimiter: one more field, empty.
                    starts.push(at as u32);
                } else {
                    continue;
                }
            }
            let found = starts.len() - row_begin;
            let expected = *width.get_or_insert(found);
            if found != expected {
                return Err(Error::format(
                    path,
                    Position::Cell {
                        line: row_line,
                        column: found.min(expected) as u64 + 1,
                    },
                    format!("CSV: a row of {found} fields, the first row has {expected}"),
                ));
            }
            row_begin = starts.len();
            column = 1;
        }
        self.columns =
            width.ok_or_else(|| Error::format(path, Position::Whole, "CSV: the file is empty"))?;
        self.starts = starts;
        if self.reader.header {
            self.take_names()?;
        }
        Ok(())
    }

    fn take_names(&mut self) -> Result<()> {
        let names: Vec<String> = (0..self.columns)
            .map(|c| self.field(0, c).trim().to_string())
            .collect();
        if let Some(c) = repeated(names.len(), &|a, b| names[a].cmp(&names[b])) {
            let message = format!("CSV: the column name \"{}\" stands twice", shown(&names[c]));
            return Err(self.fault(0, c, message));
        }
        self.starts.drain(..self.columns);
        self.names = Some(names);
        Ok(())
    }

    fn fault(&self, row: usize, column: usize, message: impl Into<String>) -> Error {
        let at = self.starts[row * self.columns + column] as usize;
        let line = 1 + self.text.as_bytes()[..at]
            .iter()
            .filter(|&&b| b == b'\n')
            .count() as u64;
        Error::format(
            &self.path,
            Position::Cell {
                line,
                column: column as u64 + 1,
            },
            message,
        )
    }

    /// Number of rows, without the header.
    pub fn rows(&self) -> usize {
        self.starts.len() / self.columns
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The names of the columns, if the file has them, without blanks around.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The number of the column called `name`.
    ///
    /// # Errors
    /// [`Error::Value`] that lists some of the names there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        let names = self.names.as_deref().unwrap_or_default();
        names.iter().position(|n| n == name).ok_or_else(|| {
            let mut list: Vec<String> = names
                .iter()
                .take(10)
                .map(|n| format!("\"{}\"", shown(n)))
                .collect();
            if names.len() > 10 {
                list.push(format!("… ({} columns)", names.len()));
            }
            Error::value(
                "csv",
                format!("no column \"{}\" among {}", shown(name), list.join(", ")),
            )
        })
    }

    /// The text of a field, quotes removed.
    ///
    /// # Errors
    /// [`Error::Index`] when there is no such row or column.
    pub fn get(&self, row: usize, column: usize) -> Result<Cow<'_, str>> {
        if row >= self.rows() {
            return Err(Error::Index {
                op: "csv row",
                index: row,
                len: self.rows(),
            });
        }
        self.known(column)?;
        Ok(self.field(row, column))
    }

    fn known(&self, column: usize) -> Result<()> {
        if column >= self.columns {
            return Err(Error::value(
                "csv",
                format!("column {column} of a table of {} columns", self.columns),
            ));
        }
        Ok(())
    }

    fn field(&self, row: usize, column: usize) -> Cow<'_, str> {
        let begin = self.starts[row * self.columns + column] as usize;
        let text = self.text.as_bytes();
        if text.get(begin) == Some(&b'"') {
            let mut end = begin + 1;
            // The closing quote is the first that is not doubled.
            while text[end] != b'"' || text.get(end + 1) == Some(&b'"') {
                end += if text[end] == b'"' { 2 } else { 1 };
            }
            let inner = &self.text[begin + 1..end];
            return if inner.contains('"') {
                Cow::Owned(inner.replace("\"\"", "\""))
            } else {
                Cow::Borrowed(inner)
            };
        }
        let rest = &text[begin..];
        let end = rest
            .iter()
            .position(|&b| b == self.reader.delimiter || b == b'\n' || b == b'\r')
            .unwrap_or(rest.len());
        Cow::Borrowed(&self.text[begin..begin + end])
    }

    /// The columns as numbers, `[rows, columns.len()]`, each rounded to nearest.
    ///
    /// # Errors
    /// [`Error::Format`] with line and column for what is not a number, [`Error::Value`] for a column that is not there,
    /// [`Error::Tensor`] when memory is not to be had.
    pub fn numbers<T: Real + FromStr>(&self, columns: &[usize]) -> Result<Tensor<T>> {
        columns.iter().try_for_each(|&c| self.known(c))?;
        let mut out = Tensor::<T>::try_zeros([self.rows(), columns.len()])?;
        let mut to = out.as_mut_slice().iter_mut();
        for row in 0..self.rows() {
            for (&column, x) in columns.iter().zip(&mut to) {
                *x = self.number(row, column)?;
            }
        }
        Ok(out)
    }

    fn number<T: Real + FromStr>(&self, row: usize, column: usize) -> Result<T> {
        let field = self.field(row, column);
        let text = field.trim_matches([' ', '\t']);
        let digits = text
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        if text.is_empty() {
            return match self.reader.missing {
                Some(value) => Ok(T::from_f64(value)),
                None => Err(self.fault(
                    row,
                    column,
                    "CSV: an empty field where a number is expected",
                )),
            };
        }
        // Only letters can spell infinity or NaN, so the parser sees them only when they are wanted.
        let parsed = if digits || self.reader.non_finite {
            text.parse::<T>().ok()
        } else {
            None
        };
        let quoted = || format!("\"{}\"", shown(text));
        match parsed {
            Some(x) if digits && !x.is_finite() => Err(self.fault(
                row,
                column,
                format!("CSV: {} overflows {}", quoted(), T::DTYPE),
            )),
            Some(x) => Ok(x),
            None => Err(self.fault(row, column, format!("CSV: {} is not a number", quoted()))),
        }
    }

    /// A column of integers, `[rows]`.
    ///
    /// # Errors
    /// As [`Table::numbers`]; `1.0` and `1e3` are not integers.
    pub fn integers(&self, column: usize) -> Result<Tensor<i64>> {
        self.known(column)?;
        let mut out = Tensor::<i64>::try_zeros([self.rows()])?;
        for (row, x) in out.as_mut_slice().iter_mut().enumerate() {
            let field = self.field(row, column);
            let text = field.trim_matches([' ', '\t']);
            *x = text.parse().map_err(|_| {
                self.fault(
                    row,
                    column,
                    format!("CSV: \"{}\" is not an integer of 64 bits", shown(text)),
                )
            })?;
        }
        Ok(out)
    }

    /// A column of class names as labels `0..names.len()`, and the names in the order of the labels.
    ///
    /// Names are ordered as integers if all are integers, else by their characters; blanks around are ignored.
    ///
    /// # Errors
    /// [`Error::Value`] for a column that is not there, [`Error::Tensor`] when memory is not to be had.
    pub fn classes(&self, column: usize) -> Result<(Tensor<i64>, Vec<String>)> {
        self.known(column)?;
        let name = |row| match self.field(row, column) {
            Cow::Borrowed(s) => Cow::Borrowed(s.trim()),
            Cow::Owned(s) => Cow::Owned(s.trim().to_string()),
        };
        let cells: Vec<Cow<'_, str>> = (0..self.rows()).map(name).collect();
        let numbers: Option<Vec<i64>> = cells.iter().map(|n| n.parse().ok()).collect();
        let classes = groups(cells.len(), &|a, b| {
            let names = cells[a].cmp(&cells[b]);
            match &numbers {
                Some(numbers) => numbers[a].cmp(&numbers[b]).then(names),
                None => names,
            }
        });
        let mut out = Tensor::<i64>::try_zeros([self.rows()])?;
        let label = out.as_mut_slice();
        for (class, rows) in classes.iter().enumerate() {
            rows.iter().for_each(|&row| label[row] = class as i64);
        }
        let names = classes.iter().map(|rows| cells[rows[0]].to_string());
        Ok((out, names.collect()))
    }

    /// All columns but `label` as inputs, and the classes of `label`.
    ///
    /// # Errors
    /// As [`Table::numbers`] and [`Table::classes`].
    pub fn labeled(&self, label: usize) -> Result<Labeled> {
        let (labels, names) = self.classes(label)?;
        let inputs: Vec<usize> = (0..self.columns).filter(|&c| c != label).collect();
        Labeled::new(self.numbers(&inputs)?, labels, names.len())
    }
}

/// Where the field that begins at `at` ends, where the next begins, line ends passed, what ended it; or how many lines
/// on the fault is, and what it is.
fn field_end(
    text: &[u8],
    at: usize,
    delimiter: u8,
) -> Result<(usize, usize, u64, End), (u64, &'static str)> {
    let mut p = at;
    let mut lines = 0;
    if text[p] == b'"' {
        p += 1;
        loop {
            match (text.get(p), text.get(p + 1)) {
                (None, _) => return Err((0, "the quote that opens this field is never closed")),
                (Some(0), _) => return Err((lines, "a NUL byte")),
                (Some(b'"'), Some(b'"')) => p += 2,
                (Some(b'"'), _) => break,
                (Some(&b), _) => {
                    lines += u64::from(b == b'\n');
                    p += 1;
                }
            }
        }
        p += 1;
        match text.get(p) {
            Some(&b) if b != delimiter && b != b'\n' && b != b'\r' => {
                return Err((lines, "text behind a closing quote"));
            }
            _ => {}
        }
    }
    loop {
        match (text.get(p), text.get(p + 1)) {
            (None, _) => return Ok((p, p, lines, End::File)),
            (Some(b'\n'), _) => return Ok((p, p + 1, lines + 1, End::Row)),
            (Some(b'\r'), Some(b'\n')) => return Ok((p, p + 2, lines + 1, End::Row)),
            (Some(b'\r'), _) => return Err((lines, "a carriage return without a line feed")),
            (Some(0), _) => return Err((lines, "a NUL byte")),
            (Some(b'"'), _) => {
                return Err((lines, "a quote inside a field that does not begin with one"));
            }
            (Some(&b), _) if b == delimiter => return Ok((p, p + 1, lines, End::Field)),
            _ => p += 1,
        }
    }
}
