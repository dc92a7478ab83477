//! One self-contained page: no scripts, nothing loaded from anywhere, readable in light and dark mode, on a phone, on
//! paper, by keyboard and by screen reader.
//!
//! ```
//! use wengert_draw::{Finding, Severity};
//! use wengert_draw::html::Page;
//! use wengert_draw::svg::{Axis, LinePlot, Series};
//! let plot = LinePlot::new("Loss").x(Axis::linear("epoch").whole()).y(Axis::linear("loss"))
//!     .series(Series::new("training", [(0.0, 2.3), (1.0, 0.7)]));
//! let html = Page::new("A run")
//!     .verdict("mlp", &Finding::new(Severity::Healthy, "healthy", "The gradient reaches every layer."))
//!     .section("How it went")
//!     .text("The loss fell in **one** epoch.")
//!     .figure(&plot)
//!     .render();
//! assert!(html.starts_with("<!DOCTYPE html>") && !html.contains("<script"));
//! ```

mod cards;

pub use cards::Card;

use super::escape::{name, xml};
use super::number::{percent, pretty};
use super::svg::{CSS, Figure, size_of, variables};
use super::table::{Cell, Table};
use super::text::mark;
use crate::{Finding, Severity};
use std::fmt::Write;
use std::path::Path;

/// A page under construction. All text is escaped; in paragraphs, `**bold**` and `` `code` `` are understood.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
    sections: Vec<String>,
    figures: usize,
    /// Whether a `<section>` is open.
    open: bool,
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Page {
        Page {
            title: title.into(),
            body: String::new(),
            sections: Vec::new(),
            figures: 0,
            open: false,
        }
    }

    /// A large paragraph, for what matters most.
    pub fn lead(mut self, text: &str) -> Page {
        self.push(&format!("<p class=\"lead\">{}</p>", inline(text)));
        self
    }

    /// Begins a section; it ends where the next one begins.
    pub fn section(mut self, heading: &str) -> Page {
        self.close();
        let n = self.sections.len() + 1;
        self.sections.push(heading.into());
        self.push(&format!(
            "<section id=\"s{n}\" aria-labelledby=\"h{n}\"><h2 id=\"h{n}\">{}</h2>",
            xml(heading)
        ));
        self.open = true;
        self
    }

    /// A paragraph.
    pub fn text(mut self, text: &str) -> Page {
        self.push(&format!("<p>{}</p>", inline(text)));
        self
    }

    /// A box with one finding about `who`.
    pub fn verdict(self, who: &str, finding: &Finding) -> Page {
        self.cards([Card::of(who, finding)])
    }

    /// Boxes side by side.
    pub fn cards(mut self, cards: impl IntoIterator<Item = Card>) -> Page {
        let mut s = String::from("<div class=\"cards\">");
        for c in cards {
            s.push_str(&c.html());
        }
        s.push_str("</div>");
        self.push(&s);
        self
    }

    /// A plot with its heading, and the numbers behind it to unfold.
    pub fn figure(mut self, figure: &dyn Figure) -> Page {
        let s = self.figure_html(figure, "");
        self.push(&s);
        self
    }

    /// A plot with a few sentences that say how to read it.
    pub fn figure_with(mut self, figure: &dyn Figure, caption: &str) -> Page {
        let s = self.figure_html(figure, caption);
        self.push(&s);
        self
    }

    /// Plots side by side where there is room.
    pub fn figures<'a>(mut self, figures: impl IntoIterator<Item = &'a dyn Figure>) -> Page {
        let mut s = String::from("<div class=\"row\">");
        for f in figures {
            s.push_str(&self.figure_html(f, ""));
        }
        s.push_str("</div>");
        self.push(&s);
        self
    }

    fn figure_html(&mut self, figure: &dyn Figure, caption: &str) -> String {
        self.figures += 1;
        let id = format!("f{}", self.figures);
        let mut s = format!("<figure><h3>{}</h3>", xml(figure.title()));
        if !caption.is_empty() {
            write!(s, "<p class=\"caption\">{}</p>", inline(caption)).expect("a string takes all");
        }
        let drawing = figure.draw(&id);
        let width = size_of(&drawing).map_or(560.0, |d| d.0);
        write!(
            s,
            "<div class=\"scroll plot\" style=\"--w:{width:.0}px\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">{drawing}</div>",
            xml(figure.title()),
        )
        .expect("a string takes all");
        if let Some(t) = figure.data() {
            write!(
                s,
                "<details class=\"numbers\"><summary>The numbers</summary>{}</details>",
                table_html(&t)
            )
            .expect("a string takes all");
        }
        s.push_str("</figure>");
        s
    }

    /// A table.
    pub fn table(mut self, table: &Table) -> Page {
        self.push(&table_html(table));
        self
    }

    /// Something to unfold: what `content` puts on the page stands under the summary line.
    pub fn details(
        mut self,
        summary: &str,
        open: bool,
        content: impl FnOnce(Page) -> Page,
    ) -> Page {
        let open = if open { " open" } else { "" };
        self.push(&format!(
            "<details class=\"fold\"{open}><summary>{}</summary>",
            xml(summary)
        ));
        let mut page = content(self);
        page.push("</details>");
        page
    }

    /// Words and what they mean.
    pub fn glossary<'a>(mut self, words: impl IntoIterator<Item = (&'a str, &'a str)>) -> Page {
        let mut s = String::from("<dl class=\"glossary\">");
        for (word, meaning) in words {
            write!(
                s,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                xml(word),
                inline(meaning)
            )
            .expect("a string takes all");
        }
        s.push_str("</dl>");
        self.push(&s);
        self
    }

    fn push(&mut self, html: &str) {
        self.body.push_str(html);
        self.body.push('\n');
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.push("</section>");
        }
    }

    /// The page as a string.
    pub fn render(mut self) -> String {
        self.close();
        let mut nav = String::new();
        if self.sections.len() > 2 {
            nav.push_str("<nav aria-label=\"Contents\"><ul>");
            for (i, s) in self.sections.iter().enumerate() {
                write!(nav, "<li><a href=\"#s{}\">{}</a></li>", i + 1, xml(s))
                    .expect("a string takes all");
            }
            nav.push_str("</ul></nav>");
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>{vars}\n{page}\n{CSS}</style></head>\n<body><header><h1>{title}</h1>{nav}</header>\n<main>\n{body}</main>\n\
             <footer>Made with wengert. This page is complete in itself: no scripts, nothing loaded from elsewhere.</footer>\
             </body></html>\n",
            title = xml(&self.title),
            vars = variables(":root", ":root"),
            page = include_str!("page.css"),
            body = self.body,
        )
    }

    /// Writes the page, [atomically](super::write_atomic).
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn write(self, path: impl AsRef<Path>) -> super::Result<()> {
        super::write_atomic(path, self.render().as_bytes())
    }
}

/// Escaped text with `**bold**` and `` `code` ``. A mark without its partner stays as it is.
fn inline(text: &str) -> String {
    let text = xml(text);
    let text = pairs(&text, "**", "<strong>", "</strong>");
    pairs(&text, "`", "<code>", "</code>")
}

fn pairs(text: &str, mark: &str, open: &str, close: &str) -> String {
    let mut parts = text.split(mark);
    let mut out = parts.next().unwrap_or_default().to_string();
    let rest: Vec<&str> = parts.collect();
    for pair in rest.chunks(2) {
        match pair {
            [inside, after] => {
                out.push_str(open);
                out.push_str(inside);
                out.push_str(close);
                out.push_str(after);
            }
            [last] => {
                out.push_str(mark);
                out.push_str(last);
            }
            _ => {}
        }
    }
    out
}

/// Class of a severity.
fn mood(s: Severity) -> &'static str {
    match s {
        Severity::Healthy => "good",
        Severity::Note => "note",
        Severity::Warning => "warn",
        Severity::Critical => "bad",
    }
}

/// Mark and word of a severity.
fn badge(s: Severity, words: &str) -> String {
    format!(
        "<span class=\"badge {}\"><span aria-hidden=\"true\">{}</span> {}</span>",
        mood(s),
        mark(s),
        name(words)
    )
}

/// A table as HTML.
fn table_html(t: &Table) -> String {
    let label = if t.caption.is_empty() {
        "Table"
    } else {
        &t.caption
    };
    let mut s = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>",
        xml(label)
    );
    if !t.caption.is_empty() {
        write!(s, "<caption>{}</caption>", inline(&t.caption)).expect("a string takes all");
    }
    s.push_str("<thead><tr>");
    let numeric: Vec<bool> = (0..t.columns.len())
        .map(|c| {
            (0..t.rows.len()).any(|r| matches!(t.cell(r, c), Cell::Number(_) | Cell::Percent(_)))
        })
        .collect();
    for (c, column) in t.columns.iter().enumerate() {
        let class = if numeric[c] { " class=\"n\"" } else { "" };
        write!(s, "<th scope=\"col\"{class}>{}</th>", name(&column.head))
            .expect("a string takes all");
    }
    s.push_str("</tr></thead><tbody>");
    for r in 0..t.rows.len() {
        s.push_str("<tr>");
        for c in 0..t.columns.len() {
            let n = if numeric[c] { " class=\"n\"" } else { "" };
            match t.cell(r, c) {
                Cell::Empty => write!(s, "<td{n}><span class=\"none\" title=\"not measured\">–</span></td>"),
                Cell::Text(x) if c == 0 => write!(s, "<th scope=\"row\">{}</th>", name(x)),
                Cell::Text(x) => write!(s, "<td{n}>{}</td>", name(x)),
                Cell::Number(x) => write!(s, "<td{n}>{}</td>", number(*x, &pretty(*x))),
                Cell::Percent(x) => write!(s, "<td{n}>{}</td>", number(*x, &percent(*x))),
                Cell::Bar(x) => write!(
                    s,
                    "<td class=\"bar\"><span class=\"n\">{}</span><span class=\"track\" aria-hidden=\"true\"><i style=\"width:{:.1}%\"></i></span></td>",
                    number(*x, &pretty(*x)),
                    t.bars(c).length(*x).clamp(0.0, 1.0) * 100.0
                ),
                Cell::Spark(v) => write!(s, "<td>{}</td>", cards::spark(v, 90.0, 22.0, None, None)),
                Cell::Status(sev, x) => write!(s, "<td>{}</td>", badge(*sev, x)),
            }
            .expect("a string takes all");
        }
        s.push_str("</tr>");
    }
    s.push_str("</tbody></table></div>");
    s.push_str(&hints(t));
    s
}

/// What the headings mean, in sight of everybody: a tooltip is out of reach of keyboards, fingers and paper.
fn hints(t: &Table) -> String {
    let mut told: Vec<(String, &str)> = Vec::new();
    for c in t.columns.iter().filter(|c| !c.hint.is_empty()) {
        match told.iter_mut().find(|h| h.1 == c.hint) {
            Some((heads, _)) => *heads += &format!(", {}", name(&c.head)),
            None => told.push((name(&c.head), &c.hint)),
        }
    }
    let told: String = (told.iter())
        .map(|(heads, hint)| format!("<div><dt>{heads}</dt><dd>{}</dd></div>", xml(hint)))
        .collect();
    match told.is_empty() {
        true => told,
        false => format!("<dl class=\"hints\">{told}</dl>"),
    }
}

/// A number, marked when it is not one.
fn number(x: f64, text: &str) -> String {
    // A share below a tenth of a percent begins with `<`.
    let text = xml(text);
    if x.is_finite() {
        text
    } else {
        format!("<strong class=\"bad\">{text}</strong>")
    }
}

#[cfg(test)]
mod markup;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use markup::check_markup;
