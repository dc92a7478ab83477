//! One coloured cell per layer and step.

use super::Figure;
use super::axis::{Axis, Layout, Scale};
use super::canvas::{Anchor, Canvas, at, fit_text, text_width};
use crate::escape::{LONGEST, clean, xml};
use crate::number::pretty;
use crate::table::{Cell, Column, Table};

/// Values by row and column as colours, with a colour bar.
///
/// Colours are those of viridis (van der Walt and Smith 2015): even steps in lightness, the same order for every kind of
/// colour vision and in print. On a logarithmic scale, zeros are hatched; values that are not finite are crossed out.
/// Values outside of a given range have the colour of its end. More than 120 columns are thinned out evenly; more than 64 rows likewise.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    title: String,
    description: String,
    /// Label of the columns.
    x: String,
    color: Axis,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Option<f64>>)>,
    width: f64,
}

const SIZE: f64 = 13.0;
const SMALL: f64 = 11.5;
/// Most cells along each side.
const MOST: (usize, usize) = (120, 64);

/// Viridis at equal distances.
const VIRIDIS: [[u8; 3]; 11] = [
    [68, 1, 84],
    [72, 35, 116],
    [64, 67, 135],
    [52, 94, 141],
    [41, 120, 142],
    [32, 144, 140],
    [34, 167, 132],
    [68, 190, 112],
    [121, 209, 81],
    [189, 222, 38],
    [253, 231, 37],
];

/// Colour at `f` in `[0, 1]`, in 64 steps so that equal neighbours can be one rectangle.
fn viridis(f: f64) -> String {
    let f = (f.clamp(0.0, 1.0) * 63.0).round() / 63.0 * 10.0;
    let i = (f as usize).min(9);
    let t = f - i as f64;
    let mix = |k: usize| {
        let (a, b) = (f64::from(VIRIDIS[i][k]), f64::from(VIRIDIS[i + 1][k]));
        (a + (b - a) * t).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

/// Evenly chosen positions, first and last among them.
fn pick(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        (0..n).collect()
    } else {
        (0..most).map(|i| i * (n - 1) / (most - 1)).collect()
    }
}

impl HeatMap {
    /// An empty map; `color` is what the colours mean.
    pub fn new(title: impl Into<String>, x: impl Into<String>, color: Axis) -> HeatMap {
        HeatMap {
            title: title.into(),
            description: String::new(),
            x: x.into(),
            color,
            columns: Vec::new(),
            rows: Vec::new(),
            width: 540.0,
        }
    }

    /// What the picture shows, in words; made from the data when not given.
    pub fn describe(mut self, description: impl Into<String>) -> HeatMap {
        self.description = description.into();
        self
    }

    /// Names the columns.
    pub fn columns(mut self, names: impl IntoIterator<Item = String>) -> HeatMap {
        self.columns = names.into_iter().collect();
        self
    }

    /// Appends a row, from top to bottom; `None` stays blank.
    pub fn row(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = Option<f64>>,
    ) -> HeatMap {
        self.rows.push((name.into(), values.into_iter().collect()));
        self
    }

    /// Width of the whole.
    pub fn width(mut self, width: f64) -> HeatMap {
        self.width = width.clamp(240.0, 4000.0);
        self
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|r| r.1.is_empty())
    }
}

/// What a cell shows.
#[derive(Clone, PartialEq)]
enum Paint {
    Blank,
    Color(String),
    Zero,
    Wild,
}

impl HeatMap {
    fn values(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for (_, row) in &self.rows {
            for v in row.iter().flatten() {
                out.push(*v);
            }
        }
        out
    }
}

impl Figure for HeatMap {
    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> String {
        if !self.description.is_empty() {
            return self.description.clone();
        }
        let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in self.values().iter().filter(|v| v.is_finite()) {
            (lo, hi) = (lo.min(*v), hi.max(*v));
        }
        if lo > hi {
            return format!(
                "{} of {} rows; no values.",
                self.color.label,
                self.rows.len()
            );
        }
        format!(
            "{} for {} layers at {} steps, between {} and {}.",
            self.color.label,
            self.rows.len(),
            self.columns.len(),
            pretty(lo),
            pretty(hi)
        )
    }

    fn draw(&self, id: &str) -> String {
        let longest = self.rows.iter().map(|r| r.1.len()).max().unwrap_or(0);
        let (cols, rows) = (pick(longest, MOST.0), pick(self.rows.len(), MOST.1));
        let log = self.color.scale == Scale::Log;
        let values = self.values();
        let zero = log && values.iter().any(|v| *v <= 0.0 && v.is_finite());
        let wild = values.iter().any(|v| !v.is_finite());

        let step = (420.0 / rows.len().max(1) as f64).clamp(7.0, 30.0);
        let every = (15.0 / step).ceil().max(1.0) as usize;
        let labels: Vec<String> = rows
            .iter()
            .map(|&r| fit_text(&self.rows[r].0, SMALL, self.width * 0.3))
            .collect();
        let left = labels
            .iter()
            .map(|l| text_width(l, SMALL))
            .fold(0.0, f64::max)
            + 12.0;
        let top = 8.0;
        let bottom = top + step * rows.len() as f64;
        let bar = Layout::new(&self.color, &values, bottom, top, 0.0);
        let ticks = bar.ticks(((bottom - top) / 30.0).clamp(2.0, 8.0) as usize);
        let tick_width = ticks
            .iter()
            .map(|t| text_width(&t.label, SMALL))
            .fold(0.0, f64::max);
        let right = self.width - tick_width - 40.0;
        let cell = (right - left) / cols.len().max(1) as f64;
        // Under the map: column names, their label, what the colours mean, special cells.
        let height = bottom + 62.0 + if zero || wild { 22.0 } else { 0.0 };
        let mut c = Canvas::new(self.width, height);
        c.raw(&format_args!(
            "<defs><pattern id=\"{id}-z\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect class=\"back\" width=\"6\" height=\"6\"/>\
             <path class=\"axis\" d=\"M0 0V6\"/></pattern></defs>"
        ));
        let paint = |v: Option<f64>| match v {
            None => Paint::Blank,
            Some(v) if !v.is_finite() => Paint::Wild,
            Some(v) if log && v <= 0.0 => Paint::Zero,
            Some(v) => Paint::Color(viridis((bottom - bar.at(v)) / (bottom - top))),
        };
        let put = |c: &mut Canvas, p: &Paint, x: f64, y: f64, w: f64, h: f64| match p {
            Paint::Blank => {}
            // A hair wider, so that no seams show between neighbours.
            Paint::Color(k) => c.rect(
                "cell",
                &format_args!("fill=\"{k}\""),
                x,
                y,
                w + 0.3,
                h + 0.3,
            ),
            Paint::Zero => c.rect("cell", &format_args!("fill=\"url(#{id}-z)\""), x, y, w, h),
            Paint::Wild => {
                c.rect("cell back", &"", x, y, w, h);
                let (a, b) = (x + w / 2.0, y + h / 2.0);
                let r = (w.min(h) / 2.0 - 0.5).clamp(1.0, 5.0);
                c.path(
                    "cross",
                    &"",
                    &format_args!(
                        "M{} {}L{} {}M{} {}L{} {}",
                        at(a - r),
                        at(b - r),
                        at(a + r),
                        at(b + r),
                        at(a - r),
                        at(b + r),
                        at(a + r),
                        at(b - r)
                    ),
                );
            }
        };
        for (i, &r) in rows.iter().enumerate() {
            let (name, row) = &self.rows[r];
            let y = top + step * i as f64;
            let ends =
                |v: Option<&Option<f64>>| v.and_then(|v| *v).map_or("not measured".into(), pretty);
            let words = format!(
                "{}: {} first, {} last",
                clean(name, LONGEST),
                ends(row.first()),
                ends(row.last())
            );
            c.open_group("ridge", &words);
            c.raw(&format_args!("<title>{}</title>", xml(&words)));
            let mut k = 0;
            while k < cols.len() {
                let p = paint(row.get(cols[k]).copied().flatten());
                let from = k;
                k += 1;
                // Neighbours of the same colour are one rectangle; crosses stay one per cell.
                while k < cols.len()
                    && p != Paint::Wild
                    && paint(row.get(cols[k]).copied().flatten()) == p
                {
                    k += 1;
                }
                put(
                    &mut c,
                    &p,
                    left + cell * from as f64,
                    y,
                    cell * (k - from) as f64,
                    step,
                );
            }
            c.close_group();
            if i % every == 0 {
                c.text(
                    "soft small",
                    Anchor::End,
                    left - 7.0,
                    y + step / 2.0 + 4.0,
                    &labels[i],
                );
            }
        }
        c.rect("frame", &"", left, top, right - left, bottom - top);

        // Column names as dense as they fit.
        let names: Vec<String> = cols
            .iter()
            .map(|&k| fit_text(self.columns.get(k).map_or("", String::as_str), SMALL, 80.0))
            .collect();
        let widest = names
            .iter()
            .map(|n| text_width(n, SMALL))
            .fold(8.0, f64::max)
            + 12.0;
        let skip = (widest / cell).ceil().max(1.0) as usize;
        for (k, n) in names.iter().enumerate().step_by(skip) {
            let cx = left + cell * (k as f64 + 0.5);
            c.text("soft small", Anchor::Middle, cx, bottom + 15.0, n);
        }
        let label = fit_text(&self.x, SIZE, right - left);
        c.text(
            "big",
            Anchor::Middle,
            (left + right) / 2.0,
            bottom + 34.0,
            &label,
        );

        // The colour bar.
        let bx = right + 16.0;
        for k in 0..32 {
            let f = (f64::from(k) + 0.5) / 32.0;
            let h = (bottom - top) / 32.0;
            let y = bottom - h * f64::from(k + 1);
            c.rect(
                "cell",
                &format_args!("fill=\"{}\"", viridis(f)),
                bx,
                y,
                12.0,
                h + 0.3,
            );
        }
        for t in &ticks {
            let ty = bar.at(t.value);
            c.line("axis", bx + 12.0, ty, bx + 16.0, ty);
            c.text("soft small", Anchor::Start, bx + 19.0, ty + 4.0, &t.label);
        }
        let (lowest, highest) = bar.range();
        let mut words = format!("colour: {}", self.color.label);
        if log {
            words += ", log scale";
        }
        if values.iter().any(|v| *v < lowest && (*v > 0.0 || !log)) {
            words += &format!("; darkest: {} and less", pretty(lowest));
        }
        if values.iter().any(|v| *v > highest && v.is_finite()) {
            words += &format!("; brightest: {} and more", pretty(highest));
        }
        let words = fit_text(&words, SMALL, self.width - left);
        c.text("soft small", Anchor::Start, left, bottom + 54.0, &words);
        if zero || wild {
            let y = bottom + 66.0;
            let mut x = left;
            for (on, p, words) in [
                (zero, Paint::Zero, "exactly 0"),
                (wild, Paint::Wild, "not a number, or infinite"),
            ] {
                if on {
                    put(&mut c, &p, x, y, 14.0, 12.0);
                    c.rect("frame", &"", x, y, 14.0, 12.0);
                    c.text("soft small", Anchor::Start, x + 20.0, y + 10.5, words);
                    x += 20.0 + text_width(words, SMALL) + 18.0;
                }
            }
        }
        c.finish(id, &self.title, &self.description())
    }

    fn data(&self) -> Option<Table> {
        let longest = self.rows.iter().map(|r| r.1.len()).max().unwrap_or(0);
        let cols = pick(longest, 12);
        let mut columns = vec![Column::new("layer")];
        for k in &cols {
            columns.push(Column::new(
                self.columns.get(*k).cloned().unwrap_or_default(),
            ));
        }
        let mut t = Table::new(columns);
        for (label, row) in &self.rows {
            let mut cells = vec![Cell::from(label.clone())];
            for &k in &cols {
                cells.push(Cell::from(row.get(k).copied().flatten()));
            }
            t.rows.push(cells);
        }
        Some(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_gaps_and_wild_values_look_different() {
        let map = HeatMap::new("t", "step", Axis::log("g"))
            .columns((0..5).map(|i| i.to_string()))
            .row(
                "a",
                [Some(1.0), Some(0.0), Some(f64::NAN), None, Some(1e-6)],
            );
        let svg = map.draw("m");
        assert_eq!(svg.matches("url(#m-z)").count(), 2, "one cell and its key");
        assert_eq!(svg.matches("class=\"cross\"").count(), 2);
        assert!(svg.contains("exactly 0") && svg.contains("not a number"));
        assert!(svg.contains(&viridis(1.0)) && svg.contains(&viridis(0.0)));
        crate::html::check_markup(&svg);
        let calm = HeatMap::new("t", "step", Axis::log("g"))
            .row("a", [Some(1.0)])
            .draw("m");
        assert!(!calm.contains("exactly 0"));
    }

    #[test]
    fn large_maps_stay_small() {
        let mut map = HeatMap::new("t", "step", Axis::log("g"));
        for r in 0..1000 {
            map = map.row(
                format!("layer {r}"),
                (0..1000).map(|k| Some(f64::from(k * r + 1))),
            );
        }
        assert!(map.draw("m").len() < 1_000_000);
        assert_eq!(pick(1000, 120).len(), 120);
        assert_eq!(pick(1000, 120).last(), Some(&999));
    }
}
