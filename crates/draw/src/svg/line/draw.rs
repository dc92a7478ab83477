//! Drawing of the lines.

use super::marks::{Stroke, marker, step};
use super::{LinePlot, Mood, pretty_x};
use crate::escape::name;
use crate::number::pretty;
use crate::svg::Figure;
use crate::svg::axis::{Layout, Scale};
use crate::svg::canvas::{Anchor, Canvas, Color, at, fit_text, spread, text_width, wrap_text};

/// Heights and widths of the parts, in user units (pixels at full width).
const SIZE: f64 = 13.0;
const SMALL: f64 = 11.5;
const ROW: f64 = 20.0;
const STRIP: f64 = 30.0;

/// Where a point ends up.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Plot,
    /// In the row for zeros, or the one for values that are not finite.
    Row,
}

struct Mapped {
    x: f64,
    y: f64,
    place: Place,
    source: (f64, f64),
}

/// Keeps first, last, lowest and highest of the points that share a column of pixels.
fn thin(points: Vec<Mapped>) -> Vec<Mapped> {
    if points.len() <= 1500 {
        return points;
    }
    let mut keep = vec![false; points.len()];
    let mut start = 0;
    for i in 0..points.len() {
        let ends = i + 1 == points.len() || points[i + 1].x.round() != points[start].x.round();
        if ends {
            let range = start..=i;
            keep[start] = true;
            keep[i] = true;
            let by = |a: &usize, b: &usize| points[*a].y.total_cmp(&points[*b].y);
            if let (Some(a), Some(b)) = (range.clone().min_by(by), range.max_by(by)) {
                keep[a] = true;
                keep[b] = true;
            }
            start = i + 1;
        }
    }
    let mut kept = keep.iter();
    let mut points = points;
    points.retain(|_| kept.next().is_some_and(|k| *k));
    points
}

impl LinePlot {
    pub(super) fn drawn(&self, id: &str) -> String {
        // Names at the ends of the lines, unless there are too many for the height.
        let label_room = (self.width * 0.3).min(230.0);
        let labels: Vec<(String, Vec<String>)> = self
            .series
            .iter()
            .map(|s| {
                let notes = if s.note.is_empty() {
                    Vec::new()
                } else {
                    let mut n = wrap_text(&s.note, SMALL, label_room);
                    n.truncate(2);
                    n
                };
                (fit_text(&s.name, SIZE, label_room), notes)
            })
            .collect();
        let heights: Vec<f64> = labels
            .iter()
            .map(|l| 18.0 + 14.0 * l.1.len() as f64)
            .collect();
        let direct = heights.iter().sum::<f64>() <= self.height && self.series.len() <= 12;
        let legend = self.legend();
        // Names at the lines carry their own key; where there is room, a legend besides.
        let has_legend = self.series.len() > 1 && (!direct || self.width >= 900.0);
        let mut top = 4.0;
        if !self.y.label.is_empty() {
            top += ROW;
        }
        let legend_top = top;
        if has_legend {
            top += ROW * legend.len() as f64 + 4.0;
        }
        top += 6.0;
        let wild = self.needs_wild_row();
        let zero = self.needs_zero_row();
        let zero_name = if self.values().iter().any(|y| *y < 0.0) {
            "≤ 0"
        } else {
            "0"
        };
        let plot_top = top + if wild { STRIP } else { 0.0 };
        let plot_bottom = plot_top + self.height;
        let floor = plot_bottom + if zero { STRIP } else { 0.0 };

        let y = Layout::new(&self.y, &self.values(), plot_bottom, plot_top, 0.05);
        let most_y = (self.height / 42.0).clamp(3.0, 9.0) as usize;
        let y_ticks = y.ticks(most_y);
        let mut left = 0f64;
        for t in &y_ticks {
            left = left.max(text_width(&t.label, SIZE));
        }
        if zero {
            left = left.max(text_width(zero_name, SIZE));
        }
        if wild {
            left = left.max(text_width("NaN, ∞", SIZE));
        }
        left += 12.0;

        let mut label_width = 0f64;
        for (name, notes) in &labels {
            // Names are set in a heavier weight, hence wider.
            label_width = label_width.max(text_width(name, SIZE) * 1.08 + 14.0);
            for n in notes {
                label_width = label_width.max(text_width(n, SMALL));
            }
        }
        let right = self.width - if direct { label_width + 22.0 } else { 12.0 };

        let xs = self.coordinates(|p| p.0);
        let inset = 8.0;
        let x = Layout::new(&self.x, &xs, left + inset, right - inset, 0.0);
        let below = floor + 18.0;
        let has_x_words = !self.x.label.is_empty() || self.x.ends.is_some();
        let mut bottom = below + 4.0;
        let x_label_y = below + 19.0;
        if has_x_words {
            bottom = x_label_y + 5.0;
        }
        let arrow_y = bottom + 14.0;
        if !self.arrow.is_empty() {
            bottom = arrow_y + 8.0;
        }

        let mut c = Canvas::new(self.width, bottom + 2.0);
        if !self.y.label.is_empty() {
            let stride = y.stride(most_y);
            let log_words = match (self.y.scale, stride) {
                (Scale::Linear, _) => String::new(),
                (Scale::Log, 1) => " (log scale: 10 times less per line)".into(),
                (Scale::Log, n) => format!(
                    " (log scale: 10{} times less per labelled line)",
                    &crate::number::decade(n)[2..]
                ),
            };
            let label = fit_text(&self.y.label, SIZE, self.width);
            let words =
                if text_width(&label, SIZE) * 1.08 + text_width(&log_words, SMALL) < self.width {
                    log_words
                } else {
                    String::new()
                };
            c.raw(&"<text class=\"big\" x=\"0\" y=\"14\">");
            c.raw(&name(&label));
            c.raw(&"<tspan class=\"soft small\" font-weight=\"400\">");
            c.raw(&name(&words));
            c.raw(&"</tspan></text>");
        }
        if has_legend {
            for (r, row) in legend.iter().enumerate() {
                let ly = legend_top + ROW * r as f64 + 14.0;
                for (i, lx, text) in row {
                    let st = self.style(*i);
                    c.path(
                        "line",
                        &Stroke(st),
                        &format_args!("M{} {}h26", at(lx + 1.0), at(ly - 4.5)),
                    );
                    if !self.series[*i].plain {
                        marker(&mut c, st, lx + 14.0, ly - 4.5, false);
                    }
                    c.text("", Anchor::Start, lx + 34.0, ly, text);
                }
            }
        }

        // Bands under everything.
        let mut band_words = Vec::new();
        for b in &self.bands {
            let (lo, hi) = y.range();
            if b.lo >= hi || b.hi <= lo {
                continue;
            }
            let (y0, y1) = (y.at(b.hi.min(hi)), y.at(b.lo.max(lo)));
            // The row of zeros continues a band that reaches down to them.
            let y1 = if b.lo <= 0.0 && zero { floor } else { y1 };
            let class = match b.mood {
                Mood::Good => "band good",
                Mood::Neutral => "band soft",
                Mood::Bad => "band bad",
            };
            c.rect(class, &"", left, y0, right - left, y1 - y0);
            band_words.push((b, y0, y1.min(plot_bottom)));
        }

        // Grid and ticks.
        let mut last = f64::INFINITY;
        for v in y.minor(most_y) {
            let my = y.at(v);
            if (last - my).abs() >= 4.0 {
                c.line("faint", left, my, right, my);
                last = my;
            }
        }
        for t in &y_ticks {
            let ty = y.at(t.value);
            c.line("grid", left, ty, right, ty);
            c.text("soft", Anchor::End, left - 7.0, ty + 4.5, &t.label);
        }
        let widest = x
            .ticks(8)
            .iter()
            .map(|t| text_width(&t.label, SIZE))
            .fold(10.0, f64::max);
        let most_x = ((right - left) / (widest + 26.0)).clamp(2.0, 12.0) as usize;
        for v in x.minor(most_x) {
            c.line("faint", x.at(v), plot_top, x.at(v), floor);
        }
        for t in x.ticks(most_x) {
            let tx = x.at(t.value);
            c.line("axis", tx, floor, tx, floor + 4.0);
            c.text("soft", Anchor::Middle, tx, below, &t.label);
        }
        c.line("axis", left, floor, right, floor);
        let zero_y = floor - STRIP / 2.0;
        let wild_y = top + STRIP / 2.0;
        if zero {
            c.line("axis", left, plot_bottom, right, plot_bottom);
            c.text("soft", Anchor::End, left - 7.0, zero_y + 4.5, zero_name);
        }
        if wild {
            c.line("axis", left, plot_top, right, plot_top);
            c.text("bad", Anchor::End, left - 7.0, wild_y + 4.5, "NaN, ∞");
        }
        if has_x_words {
            let (first, last) = self.x.ends.clone().unwrap_or_default();
            let third = (right - left) / 3.2;
            let first = mostly(&first, SIZE, third);
            c.text("soft", Anchor::Start, left, x_label_y, &first);
            let last = mostly(&last, SIZE, third);
            c.text("soft", Anchor::End, right, x_label_y, &last);
            let label = fit_text(&self.x.label, SIZE, third);
            let middle = (left + right) / 2.0;
            c.text("big", Anchor::Middle, middle, x_label_y, &label);
        }
        if !self.arrow.is_empty() {
            let words = mostly(&self.arrow, SMALL, right - left - 80.0);
            let half = text_width(&words, SMALL) / 2.0 + 10.0;
            let mid = (left + right) / 2.0;
            c.line("axis", left, arrow_y - 4.0, mid - half, arrow_y - 4.0);
            c.line("axis", mid + half, arrow_y - 4.0, right, arrow_y - 4.0);
            let head = format!("M{} {}l-8 -4v8Z", at(right), at(arrow_y - 4.0));
            c.path("soft", &"", &head);
            c.text("soft small", Anchor::Middle, mid, arrow_y, &words);
        }

        // The lines.
        c.raw(&format_args!(
            "<clipPath id=\"{id}-c\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>",
            at(left),
            at(top - 5.0),
            at(right - left + 6.0),
            at(floor - top + 10.0)
        ));
        let mapped: Vec<Vec<Mapped>> = self
            .series
            .iter()
            .map(|s| {
                let all = s
                    .points
                    .iter()
                    .filter(|p| p.0.is_finite())
                    .map(|&(px, py)| {
                        let (sy, place) = if !py.is_finite() {
                            (wild_y, Place::Row)
                        } else if py <= 0.0 && self.y.scale == Scale::Log {
                            (zero_y, Place::Row)
                        } else {
                            (y.at(py), Place::Plot)
                        };
                        Mapped {
                            x: x.at(px),
                            y: sy,
                            place,
                            source: (px, py),
                        }
                    });
                thin(all.collect())
            })
            .collect();
        // Words of the bands where they cover the fewest points.
        for (b, y0, y1) in &band_words {
            let text = fit_text(&b.label, SMALL, right - left - 16.0);
            let w = text_width(&text, SMALL);
            if y1 - y0 < 18.0 || text.is_empty() {
                continue;
            }
            let free = |(bx, by): &(f64, f64)| {
                mapped
                    .iter()
                    .flatten()
                    .filter(|p| {
                        p.x > bx - 6.0 && p.x < bx + w + 6.0 && p.y > by - 16.0 && p.y < by + 8.0
                    })
                    .count()
            };
            let spots = [
                (left + 8.0, y1 - 7.0),
                (left + 8.0, y0 + 14.0),
                (right - w - 8.0, y1 - 7.0),
                (right - w - 8.0, y0 + 14.0),
                ((left + right - w) / 2.0, y1 - 7.0),
                ((left + right - w) / 2.0, y0 + 14.0),
                (left + 8.0, (y0 + y1) / 2.0 + 4.0),
                (right - w - 8.0, (y0 + y1) / 2.0 + 4.0),
            ];
            let class = match b.mood {
                Mood::Good => "good small halo",
                Mood::Neutral => "soft small halo",
                Mood::Bad => "bad small halo",
            };
            if let Some((bx, by)) = spots.iter().min_by_key(|s| free(s)) {
                c.text(class, Anchor::Start, *bx, *by, &text);
            }
        }
        for (i, points) in mapped.iter().enumerate() {
            let s = &self.series[i];
            c.open_group("series", &self.tell(s));
            c.raw(&format_args!("<g clip-path=\"url(#{id}-c)\">"));
            self.draw_series(&mut c, i, points);
            c.raw(&"</g>");
            c.close_group();
        }

        // Their names.
        if direct {
            let mut who = Vec::new();
            let mut want = Vec::new();
            let mut tall = Vec::new();
            for (i, points) in mapped.iter().enumerate() {
                if let Some(p) = points.iter().max_by(|a, b| a.x.total_cmp(&b.x)) {
                    who.push((i, p.x, p.y.clamp(top, floor)));
                    want.push(p.y.clamp(top, floor));
                    tall.push(heights[i]);
                }
            }
            let places = spread(&want, &tall, top - 4.0, floor + 4.0);
            for (&(i, px, py), &ly) in who.iter().zip(&places) {
                let st = self.style(i);
                let tx = right + 16.0;
                c.path(
                    "lead",
                    &format_args!("stroke=\"{}\"", Color(st)),
                    &format_args!(
                        "M{} {}L{} {}L{} {}",
                        at(px + 5.0),
                        at(py),
                        at(right + 4.0),
                        at(py),
                        at(tx - 3.0),
                        at(ly)
                    ),
                );
                let (text, notes) = &labels[i];
                let first = ly - heights[i] / 2.0 + 13.5;
                if !self.series[i].plain {
                    marker(&mut c, st, tx + 4.0, first - 4.5, false);
                }
                let name_x = if self.series[i].plain { tx } else { tx + 13.0 };
                c.styled_text(
                    "big",
                    &format_args!("style=\"fill:{}\"", Color(st)),
                    Anchor::Start,
                    name_x,
                    first,
                    text,
                );
                for (k, n) in notes.iter().enumerate() {
                    c.text(
                        "soft small",
                        Anchor::Start,
                        tx,
                        first + 14.0 * (k + 1) as f64,
                        n,
                    );
                }
            }
        }
        c.finish(id, &self.title, &self.description())
    }

    fn values(&self) -> Vec<f64> {
        self.coordinates(|p| p.1)
    }

    fn needs_zero_row(&self) -> bool {
        self.y.scale == Scale::Log && self.values().iter().any(|y| *y <= 0.0 && y.is_finite())
    }

    fn needs_wild_row(&self) -> bool {
        self.values().iter().any(|y| !y.is_finite())
    }

    /// Legend entries by row: series index and x.
    fn legend(&self) -> Vec<Vec<(usize, f64, String)>> {
        let mut rows: Vec<Vec<(usize, f64, String)>> = vec![Vec::new()];
        let mut x = 0.0;
        for (i, s) in self.series.iter().enumerate() {
            let text = fit_text(&s.name, SIZE, self.width * 0.45);
            let w = 34.0 + text_width(&text, SIZE) + 18.0;
            if x + w > self.width && x > 0.0 {
                rows.push(Vec::new());
                x = 0.0;
            }
            rows.last_mut().expect("never empty").push((i, x, text));
            x += w;
        }
        rows
    }

    fn style(&self, i: usize) -> usize {
        self.series[i].style.unwrap_or(i)
    }

    fn draw_series(&self, c: &mut Canvas, i: usize, points: &[Mapped]) {
        let st = self.style(i);
        let mut solid = String::new();
        let mut lost = String::new();
        let (mut pen, mut straying) = ('M', false);
        for (k, p) in points.iter().enumerate() {
            if p.place == Place::Plot {
                step(&mut solid, pen, p.x, p.y);
            }
            pen = if p.place == Place::Plot { 'L' } else { 'M' };
            let before = k.checked_sub(1).map(|k| &points[k]);
            let strays = |q: &Mapped| p.place == Place::Row || q.place == Place::Row;
            let from = before.filter(|q| strays(q));
            if let Some(q) = from {
                if !straying {
                    step(&mut lost, 'M', q.x, q.y);
                }
                step(&mut lost, 'L', p.x, p.y);
            }
            straying = from.is_some();
        }
        if !lost.is_empty() {
            c.path("lost", &format_args!("stroke=\"{}\"", Color(st)), &lost);
        }
        if !solid.is_empty() {
            c.path("line", &Stroke(st), &solid);
        }
        if self.series[i].plain {
            return;
        }
        let every = if points.len() <= 40 {
            1
        } else {
            points.len().div_ceil(16)
        };
        for (k, p) in points.iter().enumerate() {
            if k % every == 0 || k + 1 == points.len() {
                marker(c, st, p.x, p.y, p.place == Place::Row);
            }
        }
        if points.len() <= 120 {
            for p in points {
                let words = format!(
                    "{}, {} {}: {}",
                    crate::escape::clean(&self.series[i].name, 80),
                    self.x.label,
                    pretty_x(p.source.0),
                    pretty(p.source.1)
                );
                c.raw(&format_args!(
                    "<circle class=\"hit\" cx=\"{}\" cy=\"{}\" r=\"7\"><title>{}</title></circle>",
                    at(p.x),
                    at(p.y),
                    crate::escape::xml(&words)
                ));
            }
        }
    }
}

/// Text cut to a width, or nothing where less than half of it would be left.
fn mostly(text: &str, size: f64, room: f64) -> String {
    let s = fit_text(text, size, room);
    if s.chars().count() * 2 < text.chars().count() {
        String::new()
    } else {
        s
    }
}
