//! Tables of numbers beside a column of classes, read as they come.

use super::{Reader, Table};
use crate::dataset::Labeled;
use crate::error::{Error, Position, Result, shown};
use std::path::Path;

/// Which column of a table holds the classes, and whether its first row is a heading: for [`Reader::read_labeled`]. The
/// default finds both out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelOptions {
    /// A name in the heading, or else the number of a column from 1; the last column if nothing is given.
    pub column: Option<String>,
    /// Whether the first row holds the names of the columns. If nothing is given it does, unless all of it are numbers: all
    /// inputs, and the class too or a class that comes again further down.
    pub heading: Option<bool>,
}

impl Reader {
    /// Reads a file as inputs, all columns but one, and the classes of that one. Whether the first row is a heading is said by
    /// the options, not by the reader.
    ///
    /// # Errors
    /// As [`Reader::read`] and [`Table::labeled`]; [`Error::Value`] for a column that is not there; [`Error::Format`] where
    /// there is one column only, and where the column does not hold classes: a broken number, an empty field, one class
    /// alone, fewer than two rows a class.
    pub fn read_labeled(&self, path: impl AsRef<Path>, options: &LabelOptions) -> Result<Labeled> {
        self.without_heading().read(path)?.take_labeled(options)
    }

    /// As [`Reader::read_labeled`] for the contents of a file; `name` stands in messages.
    ///
    /// ```
    /// use wengert_data::csv::{LabelOptions, Reader};
    /// let by = LabelOptions { column: Some("kind".into()), ..LabelOptions::default() };
    /// let headed = "kind,x,y\ncat,1,2\ndog,3,4\ncat,5,6\ndog,7,8\n";
    /// let pets = Reader::bare().parse_labeled(headed.as_bytes(), "pets.csv", &by).unwrap();
    /// assert_eq!((pets.inputs.shape(), pets.labels.to_vec()), (&[4, 2][..], vec![0, 1, 0, 1]));
    ///
    /// // Without a heading: the last column holds the classes.
    /// let bare = "1,2,cat\n3,4,dog\n5,6,cat\n7,8,dog\n";
    /// let same = Reader::bare().parse_labeled(bare.as_bytes(), "pets.csv", &LabelOptions::default()).unwrap();
    /// assert_eq!(same.inputs.to_vec(), pets.inputs.to_vec());
    /// ```
    ///
    /// # Errors
    /// As [`Reader::read_labeled`].
    pub fn parse_labeled(
        &self,
        bytes: &[u8],
        name: impl AsRef<Path>,
        options: &LabelOptions,
    ) -> Result<Labeled> {
        self.without_heading()
            .parse(bytes, name)?
            .take_labeled(options)
    }

    fn without_heading(&self) -> Reader {
        Reader {
            header: false,
            ..self.clone()
        }
    }
}

impl Table {
    fn take_labeled(mut self, options: &LabelOptions) -> Result<Labeled> {
        let first: Vec<String> = (0..self.columns).map(|c| self.cell(0, c)).collect();
        if first.len() < 2 {
            return Err(self.one_column(&first));
        }
        let (label, headed) = self.label_column(options, &first)?;
        if headed {
            self.take_names()?;
        }
        self.check_classes(label)?;
        self.labeled(label)
    }

    /// A field without blanks around.
    fn cell(&self, row: usize, column: usize) -> String {
        self.field(row, column).trim().to_string()
    }

    fn whole(&self, message: String) -> Error {
        Error::format(&self.path, Position::Whole, message)
    }

    fn one_column(&self, first: &[String]) -> Error {
        let name = |delimiter| match delimiter {
            b',' => "commas",
            b';' => "semicolons",
            b'\t' => "tabs",
            _ => "delimiters",
        };
        let own = self.reader.delimiter;
        let other = [b',', b';', b'\t']
            .into_iter()
            .find(|&d| d != own && first.iter().any(|f| f.contains(char::from(d))));
        let other = other.map_or(String::new(), |d| format!(" (it has {})", name(d)));
        self.whole(format!(
            "one column, expected at least two with {} between them{other}",
            name(own)
        ))
    }

    /// Whether the first row is no row of numbers; a class that comes again is as good as a number.
    fn is_headed(&self, first: &[String], label: usize) -> bool {
        let number = |s: &String| s.parse::<f64>().is_ok();
        let inputs = (first.iter().enumerate()).all(|(c, s)| c == label || number(s));
        let class = &first[label];
        let again = || (1..self.rows()).any(|r| self.cell(r, label) == *class);
        !(inputs && (number(class) || again()))
    }

    /// The column that is asked for, and whether the first row is a heading. A cell of a first row that is none is no name.
    fn label_column(&self, options: &LabelOptions, first: &[String]) -> Result<(usize, bool)> {
        let n = first.len();
        let headed = |c| options.heading.unwrap_or_else(|| self.is_headed(first, c));
        let Some(asked) = options.column.as_deref() else {
            return Ok((n - 1, headed(n - 1)));
        };
        let named = first.iter().position(|c| c == asked);
        match (named.filter(|&c| headed(c)), asked.parse()) {
            (Some(c), _) => Ok((c, true)),
            (None, Ok(c)) if (1..=n).contains(&c) => Ok((c - 1, headed(c - 1))),
            _ => {
                let quoted = |c: &str| format!("\"{}\"", shown(c));
                let names: Vec<String> = first.iter().take(10).map(|c| quoted(c)).collect();
                let more = if n > names.len() { ", …" } else { "" };
                Err(self.whole(format!(
                    "no column {}, expected 1 to {n} or one of [{}{more}]",
                    quoted(asked),
                    names.join(", ")
                )))
            }
        }
    }

    /// Refuses a column that holds something else than classes.
    fn check_classes(&self, label: usize) -> Result<()> {
        let rows = self.rows();
        let (_, classes) = self.classes(label)?;
        let here = format!("column {}", label + 1);
        let other = "the classes may stand in another column";
        let broken = |c: &&String| c.parse::<f64>().is_ok_and(|x| x.fract() != 0.0);
        if let Some(c) = classes.iter().find(broken) {
            return Err(self.whole(format!(
                "{here} holds {c}, expected classes: names or whole numbers; {other}"
            )));
        }
        if let Some(row) = (0..rows).find(|&r| self.cell(r, label).is_empty()) {
            return Err(self.whole(format!("{here}, row {}: no class", row + 1)));
        }
        if rows > 0 && classes.len() < 2 {
            return Err(self.whole(format!(
                "{here} holds one class, {:?}, expected at least two; {other}",
                classes[0]
            )));
        }
        if 2 * classes.len() > rows {
            return Err(self.whole(format!(
                "{here} has {} different values in {rows} rows, expected classes of several rows each; {other}",
                classes.len()
            )));
        }
        Ok(())
    }
}
