//! Elements of a drawing, and how wide text is.

use crate::escape::{clean, xml};
use std::fmt::{self, Display, Write};

/// A growing list of elements. Text is escaped here and nowhere else.
pub(super) struct Canvas {
    pub width: f64,
    pub height: f64,
    body: String,
}

/// Which point of a text its position means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A coordinate with one decimal: enough on screens and in print, half the bytes.
pub(super) struct At(f64);

pub(super) fn at(x: f64) -> At {
    At(x)
}

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        match tenths % 10 {
            0 => write!(f, "{}", tenths / 10),
            _ => write!(f, "{:.1}", self.0),
        }
    }
}

/// Reference to the colour of a style.
pub(super) struct Color(pub usize);

impl Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "var(--s{})", self.0 % 8)
    }
}

impl Canvas {
    pub fn new(width: f64, height: f64) -> Canvas {
        Canvas {
            width,
            height,
            body: String::new(),
        }
    }

    /// Markup that is known to be safe.
    pub fn raw(&mut self, markup: &dyn Display) {
        write!(self.body, "{markup}").expect("a string takes all");
    }

    pub fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.path(
            class,
            &"",
            &format_args!("M{} {}L{} {}", at(x1), at(y1), at(x2), at(y2)),
        );
    }

    /// A path; `attributes` is safe markup.
    pub fn path(&mut self, class: &str, attributes: &dyn Display, d: &dyn Display) {
        write!(
            self.body,
            "<path class=\"{class}\" {attributes} d=\"{d}\"/>"
        )
        .expect("a string takes all");
    }

    pub fn rect(&mut self, class: &str, attributes: &dyn Display, x: f64, y: f64, w: f64, h: f64) {
        write!(
            self.body,
            "<rect class=\"{class}\" {attributes} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            at(x),
            at(y),
            at(w.max(0.0)),
            at(h.max(0.0))
        )
        .expect("a string takes all");
    }

    /// Text with its baseline at `y`.
    pub fn text(&mut self, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
        self.styled_text(class, &"", anchor, x, y, text);
    }

    /// Text with further, safe attributes.
    pub fn styled_text(
        &mut self,
        class: &str,
        attributes: &dyn Display,
        anchor: Anchor,
        x: f64,
        y: f64,
        text: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        write!(
            self.body,
            "<text class=\"{class}\"{anchor} {attributes} x=\"{}\" y=\"{}\">{}</text>",
            at(x),
            at(y),
            xml(text)
        )
        .expect("a string takes all");
    }

    /// Opens a group that the keyboard reaches and a screen reader reads.
    pub fn open_group(&mut self, class: &str, label: &str) {
        write!(
            self.body,
            "<g class=\"{class}\" tabindex=\"0\" role=\"img\" aria-label=\"{}\">",
            xml(label)
        )
        .expect("a string takes all");
    }

    pub fn close_group(&mut self) {
        self.body.push_str("</g>");
    }

    /// The whole element.
    pub fn finish(self, id: &str, title: &str, description: &str) -> String {
        format!(
            "<svg class=\"wg\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"group\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>{}</svg>",
            at(self.width),
            at(self.height),
            xml(title),
            xml(description),
            self.body
        )
    }
}

/// Width of `text` in user units at a font size, on the safe side: the advance widths of a wide sans-serif face
/// (DejaVu, Verdana), so that what fits here fits in whatever face the reader's system has.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '\'' | '|' => 0.28,
            ' ' | '.' | ',' | ':' | ';' | '!' | 'I' | '/' | '\\' => 0.34,
            'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '`' | 'J' => 0.42,
            '⁰'..='⁹' | '⁻' | '¹' | '²' | '³' => 0.42,
            's' | 'c' | 'z' | 'k' | 'x' | 'v' | 'y' | '_' | '"' => 0.58,
            'm' | 'w' | 'M' | 'W' | '@' | '%' | '—' => 0.98,
            '+' | '=' | '<' | '>' | '−' | '×' | '~' | '#' | 'O' | 'Q' | 'G' | 'D' | 'N' | 'H'
            | 'U' => 0.84,
            'a'..='z' | '0'..='9' => 0.64,
            'A'..='Z' => 0.7,
            c if u32::from(c) >= 0x2e80 => 1.05,
            _ => 0.7,
        })
        .sum();
    em * size
}

/// `text` cut to a width.
pub(super) fn fit_text(text: &str, size: f64, room: f64) -> String {
    let cut = |most: usize| clean(text, most).into_owned();
    // No face is so narrow that more characters fit.
    let (mut fits, mut most) = (1, ((room / size / 0.2) as usize).clamp(1, 400));
    let whole = cut(most);
    if text_width(&whole, size) <= room {
        return whole;
    }
    while most - fits > 1 {
        let middle = (fits + most) / 2;
        if text_width(&cut(middle), size) <= room {
            fits = middle;
        } else {
            most = middle;
        }
    }
    cut(fits)
}

/// `text` in lines of a width.
pub(super) fn wrap_text(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in clean(text, 4000).split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            *line = fit_text(word, size, room);
        } else if text_width(line, size) + text_width(" ", size) + text_width(word, size) <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(fit_text(word, size, room));
        }
    }
    lines
}

/// Moves positions apart until neighbours are `gap(i, j)` apart, staying within `[lo, hi]` as long as there is room,
/// and as near as can be to where they were. Returns them in the order given.
pub(super) fn spread(want: &[f64], height: &[f64], lo: f64, hi: f64) -> Vec<f64> {
    // Groups of touching labels, each centred on the mean of what its members want (pool adjacent violators).
    let mut order: Vec<usize> = (0..want.len()).collect();
    order.sort_by(|&a, &b| want[a].total_cmp(&want[b]));
    struct Group {
        members: Vec<usize>,
        height: f64,
        /// Top edge.
        top: f64,
    }
    let mut groups: Vec<Group> = Vec::new();
    for i in order {
        let mut g = Group {
            members: vec![i],
            height: height[i],
            top: 0.0,
        };
        loop {
            let mut offset = 0.0;
            let mut sum = 0.0;
            for &m in &g.members {
                sum += want[m] - (offset + height[m] / 2.0);
                offset += height[m];
            }
            g.top = (sum / g.members.len() as f64).min(hi - g.height).max(lo);
            match groups.last() {
                Some(p) if p.top + p.height > g.top => {
                    let mut p = groups.pop().expect("just seen");
                    p.members.append(&mut g.members);
                    p.height += g.height;
                    g = p;
                }
                _ => break,
            }
        }
        groups.push(g);
    }
    let mut out = vec![0.0; want.len()];
    for g in groups {
        let mut y = g.top;
        for m in g.members {
            out[m] = y + height[m] / 2.0;
            y += height[m];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pushed_apart_and_stay_inside() {
        let h = [14.0; 4];
        let y = spread(&[50.0, 51.0, 200.0, 52.0], &h, 0.0, 210.0);
        assert_eq!(y[2], 200.0);
        let mut s = [y[0], y[1], y[3]];
        s.sort_unstable_by(f64::total_cmp);
        assert_eq!(s, [37.0, 51.0, 65.0]);
        let y = spread(&[0.0, 0.0, 0.0, 0.0], &h, 0.0, 100.0);
        assert_eq!(y, [7.0, 21.0, 35.0, 49.0]);
        let y = spread(&[100.0; 4], &h, 0.0, 100.0);
        assert_eq!(y, [51.0, 65.0, 79.0, 93.0]);
        assert_eq!(
            spread(&[5.0, 5.0], &[10.0, 30.0], -100.0, 100.0),
            [-5.0, 15.0]
        );
    }

    #[test]
    fn text_is_cut_and_wrapped() {
        assert!(text_width(&fit_text(&"m".repeat(200), 13.0, 100.0), 13.0) <= 100.0);
        assert_eq!(fit_text("fc1", 13.0, 100.0), "fc1");
        for line in wrap_text(
            "some words that need several lines to be shown in full",
            13.0,
            120.0,
        ) {
            assert!(text_width(&line, 13.0) <= 120.0, "{line}");
        }
        assert_eq!(at(-0.04).to_string(), "0");
        assert_eq!(at(7.96).to_string(), "8");
        assert_eq!(at(-12.5).to_string(), "-12.5");
        assert_eq!(at(12.34).to_string(), "12.3");
    }
}
