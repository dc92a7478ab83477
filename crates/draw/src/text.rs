//! Terminals: tables that fit the width, bars, sparklines, colour only where somebody sees it.

use super::escape::clean;
use super::number::{Range, percent, short};
use super::table::{Cell, Table};
use crate::Severity;
use std::io::IsTerminal;

/// What the output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    /// Whether colours are wanted.
    pub color: bool,
}

impl Terminal {
    /// No colour, `width` columns.
    pub fn plain(width: usize) -> Terminal {
        Terminal {
            width,
            color: false,
        }
    }

    /// Standard output: colour only if it is a terminal, `NO_COLOR` is unset or empty and `TERM` is not `dumb`; the
    /// width is that of the environment variable `COLUMNS`, else 80 on a terminal and 100 elsewhere.
    pub fn stdout() -> Terminal {
        Terminal::of(std::io::stdout().is_terminal())
    }

    /// Standard error, as [`Terminal::stdout`].
    pub fn stderr() -> Terminal {
        Terminal::of(std::io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Terminal {
        Terminal::decide(terminal, |k| std::env::var(k).ok())
    }

    fn decide(terminal: bool, var: impl Fn(&str) -> Option<String>) -> Terminal {
        let no_color = var("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = var("TERM").is_some_and(|v| v == "dumb");
        let width = var("COLUMNS").and_then(|v| v.trim().parse().ok());
        Terminal {
            width: width
                .filter(|w| (20..=1000).contains(w))
                .unwrap_or(if terminal { 80 } else { 100 }),
            color: terminal && !no_color && !dumb,
        }
    }

    /// `text` in the colour of the severity, or as it is.
    pub fn paint(&self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Healthy => "32",
            Severity::Note => "36",
            Severity::Warning => "33",
            Severity::Critical => "1;31",
        };
        self.code(code, text)
    }

    /// `text` in bold, or as it is.
    pub fn bold(&self, text: &str) -> String {
        self.code("1", text)
    }

    /// `text` dimmed, or as it is.
    pub fn dim(&self, text: &str) -> String {
        self.code("2", text)
    }

    fn code(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }

    /// `text` broken at blanks into lines that fit, each after `indent` blanks; what comes from outside must have been
    /// [`clean`]ed.
    pub fn wrap(&self, text: &str, indent: usize) -> String {
        let room = self.width.saturating_sub(indent).max(8);
        let pad = " ".repeat(indent);
        let (mut out, mut used) = (pad.clone(), 0);
        for mut word in text.split_whitespace() {
            loop {
                let w = width(word);
                if used > 0 && used + 1 + w > room {
                    out.push('\n');
                    out.push_str(&pad);
                    used = 0;
                } else if used > 0 {
                    out.push(' ');
                    used += 1;
                }
                // A word that is wider than a line is cut where the line ends.
                let cut = word
                    .char_indices()
                    .scan(0, |sum, (i, c)| {
                        *sum += width(c.encode_utf8(&mut [0; 4]));
                        Some((i, *sum))
                    })
                    .find(|(i, sum)| *i > 0 && *sum > room)
                    .map_or(word.len(), |(i, _)| i);
                out.push_str(&word[..cut]);
                used += width(&word[..cut]);
                word = &word[cut..];
                if word.is_empty() {
                    break;
                }
            }
        }
        out
    }
}

/// The sign of a severity, the same in every report, so that nothing is told by colour alone.
pub fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Healthy => "✓",
        Severity::Note => "i",
        Severity::Warning => "!",
        Severity::Critical => "✗",
    }
}

/// Columns that `text` takes in a terminal: 2 for wide East Asian characters and emoji, 0 for combining marks.
pub fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f => 0,
            0x1ab0..=0x1aff
            | 0x1dc0..=0x1dff
            | 0x20d0..=0x20ff
            | 0xfe00..=0xfe0f
            | 0xfe20..=0xfe2f => 0,
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
            0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff => 2,
            0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

/// A line of block characters, one per value, in `columns` columns at most (values are thinned out evenly).
///
/// Heights are relative to the values' own range; what is NaN or infinite shows as `×`.
///
/// ```
/// use wengert_draw::text::sparkline;
/// assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, f64::NAN], 10), "▁▃▆█×");
/// ```
pub fn sparkline(values: &[f64], columns: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let n = values.len().min(columns.max(1));
    let picked: Vec<f64> = (0..n)
        .map(|i| {
            let at = if n == 1 {
                values.len() - 1
            } else {
                i * (values.len() - 1) / (n - 1)
            };
            values[at]
        })
        .collect();
    let Range { lo, hi } = Range::of(&picked);
    picked
        .iter()
        .map(|&v| {
            if !v.is_finite() {
                '×'
            } else if hi > lo {
                // Halves first: the difference of two large values may overflow.
                let f = (v / 2.0 - lo / 2.0) / (hi / 2.0 - lo / 2.0);
                BLOCKS[(f * 7.0).round() as usize]
            } else {
                BLOCKS[3]
            }
        })
        .collect()
}

/// A horizontal bar of `columns` columns filled to `share`, with eighths of a block.
fn bar(share: f64, columns: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).round() as usize;
    let mut s = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        s.push(PARTS[eighths % 8]);
    }
    s
}

/// Narrowest and preferred width of the drawn part of a bar.
const BAR: (usize, usize) = (10, 24);
/// Narrowest, where a table has several columns of bars.
const NARROW_BAR: usize = 5;
/// Columns of this priority and above are there only where there is room to spare, and not missed elsewhere.
const LUXURY: u8 = 7;
/// Narrowest and widest text.
const TEXT: (usize, usize) = (8, 48);
/// Blanks between columns.
const GAP: usize = 2;

/// Cleaned text in at most `columns` columns.
fn cut(text: &str, columns: usize) -> String {
    let mut most = columns;
    loop {
        let s = clean(text, most);
        let w = width(&s);
        if w <= columns || most <= 1 {
            return s.into_owned();
        }
        most -= (w - columns).div_ceil(2).min(most - 1);
    }
}

/// A heading in two lines of a width, the first one empty when one is enough; broken at a blank or after a slash.
fn two_lines(head: &str, columns: usize) -> [String; 2] {
    let one = cut(head, columns);
    if !one.contains('…') {
        return [String::new(), one];
    }
    let head = clean(head, 200);
    let breaks = head
        .char_indices()
        .filter(|(i, c)| *i > 0 && matches!(c, ' ' | '/'));
    let mut best: Option<[String; 2]> = None;
    for (i, c) in breaks {
        let (a, b) = head.split_at(i + 1);
        let a = if c == ' ' { a.trim_end() } else { a };
        let lines = [cut(a, columns), cut(b.trim_start(), columns)];
        if lines.iter().all(|l| !l.contains('…')) {
            // The fullest first line.
            best = Some(lines);
        }
    }
    best.unwrap_or([String::new(), one])
}

struct Fit {
    /// Column of the table.
    at: usize,
    least: usize,
    width: usize,
    /// Width of the numbers beside bars, and of the bars.
    number: usize,
    bar: usize,
}

impl Table {
    /// The table in at most `terminal.width` columns, each line ended.
    ///
    /// Too wide a table shrinks its bars and texts first, then leaves columns out by [`priority`], and says so.
    ///
    /// [`priority`]: super::table::Column::priority
    pub fn text(&self, terminal: &Terminal) -> String {
        let (columns, left_out) = self.fit(terminal.width);
        let mut out = String::new();
        if !self.caption.is_empty() {
            let caption = clean(&self.caption, 4000);
            for line in terminal.wrap(&caption, 0).lines() {
                out.push_str(&terminal.bold(line));
                out.push('\n');
            }
        }
        let heads: Vec<[String; 2]> = columns
            .iter()
            .map(|f| two_lines(&self.columns[f.at].head, f.width))
            .collect();
        for k in 0..2 {
            let cells: Vec<String> = columns
                .iter()
                .zip(&heads)
                .map(|(f, h)| pad(&h[k], f.width, self.right_aligned(f.at)))
                .collect();
            let line = cells.join("  ");
            if !line.trim().is_empty() {
                push_line(&mut out, &terminal.bold(line.trim_end()));
            }
        }
        let rule: Vec<String> = columns.iter().map(|f| "─".repeat(f.width)).collect();
        push_line(&mut out, &terminal.dim(&rule.join("──")));
        for r in 0..self.rows.len() {
            let cells: Vec<String> = columns
                .iter()
                .map(|f| self.cell_text(r, f, terminal))
                .collect();
            push_line(&mut out, cells.join("  ").trim_end());
        }
        if left_out > 0 {
            let s = if left_out == 1 { "" } else { "s" };
            push_line(
                &mut out,
                &terminal.dim(&format!("({left_out} column{s} left out: too narrow)")),
            );
        }
        out
    }

    fn right_aligned(&self, c: usize) -> bool {
        (0..self.rows.len()).any(|r| matches!(self.cell(r, c), Cell::Number(_) | Cell::Percent(_)))
    }

    /// Whether neighbouring rows with different texts in the first column differ there in this width.
    fn tells_apart(&self, columns: usize) -> bool {
        let text = |r: usize| match self.cell(r, 0) {
            Cell::Text(t) => t.as_str(),
            _ => "",
        };
        (1..self.rows.len()).all(|r| {
            let (a, b) = (text(r - 1), text(r));
            a == b || cut(a, columns) != cut(b, columns)
        })
    }

    fn fit(&self, room: usize) -> (Vec<Fit>, usize) {
        let bars = (0..self.columns.len())
            .filter(|&c| (0..self.rows.len()).any(|r| matches!(self.cell(r, c), Cell::Bar(_))))
            .count();
        let least_bar = if bars > 1 { NARROW_BAR } else { BAR.0 };
        let mut fits: Vec<Fit> = (0..self.columns.len())
            .map(|at| {
                // A heading may take two lines.
                let head = clean(&self.columns[at].head, TEXT.1);
                let long = width(&head);
                let want = (1..=long)
                    .find(|w| two_lines(&head, *w).iter().all(|l| !l.contains('…')))
                    .unwrap_or(long);
                let (mut least, mut want) = (want.min(TEXT.0), want);
                let number = (0..self.rows.len())
                    .filter_map(|r| match self.cell(r, at) {
                        Cell::Bar(x) => Some(width(&short(*x))),
                        _ => None,
                    })
                    .max()
                    .unwrap_or(0);
                for r in 0..self.rows.len() {
                    let (l, w) = match self.cell(r, at) {
                        Cell::Empty => (1, 1),
                        Cell::Text(t) => {
                            let w = width(&clean(t, TEXT.1));
                            (w.min(TEXT.0), w)
                        }
                        Cell::Number(x) => (width(&short(*x)), width(&short(*x))),
                        Cell::Percent(x) => (width(&percent(*x)), width(&percent(*x))),
                        Cell::Bar(_) => (number + 1 + least_bar, number + 1 + BAR.1),
                        Cell::Spark(v) => (v.len().min(8), v.len().min(32)),
                        Cell::Status(_, t) => {
                            let w = 2 + width(&clean(t, TEXT.1));
                            (w.min(TEXT.0), w)
                        }
                    };
                    least = least.max(l);
                    want = want.max(w);
                }
                // What names the rows must tell them apart, within a third of the line.
                if at == 0 {
                    let most = want.min(room / 3).max(least);
                    let told = (least..=most).find(|w| self.tells_apart(*w));
                    least = told.unwrap_or(least);
                }
                Fit {
                    at,
                    least: least.min(want),
                    width: want,
                    number,
                    bar: 0,
                }
            })
            .collect();
        let total = |f: &[Fit], least: bool| {
            f.iter()
                .map(|f| if least { f.least } else { f.width })
                .sum::<usize>()
                + GAP * f.len().saturating_sub(1)
        };
        let all = fits.len();
        let mut luxuries = 0;
        let least_important = |fits: &[Fit], from: u8| {
            (0..fits.len())
                .filter(|&i| self.columns[fits[i].at].priority >= from)
                .max_by_key(|&i| (self.columns[fits[i].at].priority, i))
        };
        // Luxuries only where everything else has the width it wants, the rest as long as it fits at all.
        for (from, least) in [(LUXURY, false), (1, true)] {
            while total(&fits, least) > room {
                let Some(drop) = least_important(&fits, from) else {
                    break;
                };
                fits.remove(drop);
            }
            if !least {
                luxuries = all - fits.len();
            }
        }
        // Take single columns from whichever has most to give.
        while total(&fits, false) > room {
            let Some(f) = fits
                .iter_mut()
                .filter(|f| f.width > f.least)
                .max_by_key(|f| f.width - f.least)
            else {
                break;
            };
            f.width -= 1;
        }
        // Bars that share a scale share a length.
        let drawn = |f: &Fit| f.width.saturating_sub(f.number + 1);
        let groups: Vec<(usize, usize)> = fits
            .iter()
            .filter(|f| f.number > 0)
            .map(|f| (self.columns[f.at].group, drawn(f)))
            .collect();
        for f in fits.iter_mut().filter(|f| f.number > 0) {
            let group = self.columns[f.at].group;
            if let Some(shortest) = groups.iter().filter(|g| g.0 == group).map(|g| g.1).min() {
                f.bar = shortest;
            }
        }
        let left_out = all - fits.len() - luxuries;
        (fits, left_out)
    }

    fn cell_text(&self, r: usize, fit: &Fit, terminal: &Terminal) -> String {
        let (c, w) = (fit.at, fit.width);
        let right = self.right_aligned(c);
        match self.cell(r, c) {
            Cell::Empty => pad("–", w, right),
            Cell::Text(t) => pad(&cut(t, w), w, right),
            Cell::Number(x) => unusual(terminal, *x, &pad(&short(*x), w, true)),
            Cell::Percent(x) => unusual(terminal, *x, &pad(&percent(*x), w, true)),
            Cell::Bar(x) => {
                let number = pad(&short(*x), fit.number, true);
                let drawn = bar(self.bars(c).length(*x), fit.bar);
                unusual(terminal, *x, &pad(&format!("{number} {drawn}"), w, false))
            }
            Cell::Spark(v) => pad(&sparkline(v, w), w, false),
            Cell::Status(s, t) => {
                let text = cut(&format!("{} {t}", mark(*s)), w);
                terminal.paint(*s, &pad(&text, w, false))
            }
        }
    }
}

/// NaN and infinities in the colour of trouble.
fn unusual(terminal: &Terminal, x: f64, text: &str) -> String {
    if x.is_finite() {
        text.into()
    } else {
        terminal.paint(Severity::Critical, text)
    }
}

fn pad(text: &str, w: usize, right: bool) -> String {
    let blanks = " ".repeat(w.saturating_sub(width(text)));
    if right {
        blanks + text
    } else {
        text.to_string() + &blanks
    }
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    fn table() -> Table {
        Table::new([
            Column::new("layer"),
            Column::new("mean").priority(2),
            Column::new("gradient").log_bars(0),
            Column::new("over time").priority(3),
            Column::new("state").priority(1),
        ])
        .row([
            Cell::from("encoder.blocks.0.attention.query\x1b[31m"),
            Cell::Number(1.0),
            Cell::Bar(1e-9),
            Cell::Spark(vec![1.0, 2.0, 3.0]),
            Cell::Status(Severity::Critical, "vanished".into()),
        ])
        .row([
            Cell::from("层".repeat(30)),
            Cell::Number(f64::NAN),
            Cell::Bar(1.0),
        ])
        .row([Cell::from("z"), Cell::Empty, Cell::Bar(0.0)])
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for w in 36..150 {
            let text = table().text(&Terminal::plain(w));
            assert!(!text.contains('\x1b'));
            for line in text.lines() {
                assert!(width(line) <= w, "{w}: {line:?}");
            }
        }
        let narrow = table().text(&Terminal::plain(36));
        assert!(
            narrow.contains("left out") && narrow.contains("gradient"),
            "{narrow}"
        );
        assert!(!table().text(&Terminal::plain(140)).contains("left out"));
    }

    #[test]
    fn rows_stay_apart_in_narrow_terminals() {
        let heads = ["layer", "std", "gradient", "weight"].map(Column::new);
        let [layer, std, gradient, weight] = heads;
        let mut t = Table::new([layer, std, gradient.log_bars(1), weight]);
        for i in 0..12 {
            let name = Cell::Text(format!("hidden.{i}.linear"));
            t = t.row([
                name,
                Cell::Number(0.0123),
                Cell::Bar(0.1),
                Cell::Number(0.0456),
            ]);
        }
        for w in [48, 50, 60] {
            let text = t.text(&Terminal::plain(w));
            for i in 0..12 {
                assert!(text.contains(&format!("hidden.{i}.linear")), "{w}: {text}");
            }
        }
    }

    #[test]
    fn bars_are_logarithmic_and_zero_has_none() {
        let t = Table::new([Column::new("g").log_bars(0)])
            .row([Cell::Bar(1e-8)])
            .row([Cell::Bar(1e-4)])
            .row([Cell::Bar(1.0)])
            .row([Cell::Bar(0.0)]);
        let text = t.text(&Terminal::plain(80));
        let blocks: Vec<usize> = text
            .lines()
            .skip(2)
            .map(|l| l.matches('█').count())
            .collect();
        assert_eq!((blocks[2], blocks[3]), (24, 0), "{text}");
        assert!((11..=13).contains(&blocks[1]), "{text}");
        assert!(
            text.lines()
                .nth(2)
                .unwrap()
                .ends_with(['▏', '▎', '▍', '▌', '▋', '▊', '▉']),
            "{text}"
        );
    }

    #[test]
    fn colour_needs_a_terminal_that_wants_it() {
        let with = |terminal, vars: &[(&str, &str)]| {
            Terminal::decide(terminal, |k| {
                vars.iter().find(|v| v.0 == k).map(|v| v.1.to_string())
            })
        };
        assert!(with(true, &[]).color);
        assert!(with(true, &[("NO_COLOR", "")]).color);
        assert!(!with(true, &[("NO_COLOR", "1")]).color);
        assert!(!with(true, &[("TERM", "dumb")]).color);
        assert!(!with(false, &[("TERM", "xterm-256color")]).color);
        assert_eq!(with(true, &[("COLUMNS", "132")]).width, 132);
        assert_eq!(with(true, &[("COLUMNS", "many")]).width, 80);
        assert_eq!(with(false, &[]).width, 100);
        let t = Terminal {
            width: 80,
            color: true,
        };
        assert_eq!(t.paint(Severity::Critical, "x"), "\x1b[1;31mx\x1b[0m");
        assert!(table().text(&t).contains("\x1b[1;31m"));
    }

    #[test]
    fn sparklines_of_any_length() {
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[5.0], 8), "▄");
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(sparkline(&long, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[f64::MAX, f64::MIN], 2), "█▁");
    }
}
