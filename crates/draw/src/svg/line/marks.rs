//! Markers and dashes: what tells lines apart besides their colour.

use crate::svg::canvas::{Canvas, Color, at};
use crate::svg::palette::DASHES;
use std::fmt::{self, Display, Write};

/// Attributes of a line in a style.
pub(super) struct Stroke(pub(super) usize);

impl Display for Stroke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stroke=\"{}\"", Color(self.0))?;
        // The second round of colours gets other dashes than the first.
        match DASHES[(self.0 + self.0 / 8 * 3) % DASHES.len()] {
            "" => Ok(()),
            dash => write!(f, " stroke-dasharray=\"{dash}\""),
        }
    }
}

/// Radius of a marker.
const R: f64 = 3.6;

/// Corners of the markers, in radii: a disc, square, triangle, diamond, triangle upside down, cross, plus, bar. The two
/// that have no inside are two strokes each.
const MARKERS: [&[(f64, f64)]; 8] = [
    &[(-1.0, 0.0)],
    &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    &[(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)],
    &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
    &[(0.0, 1.2), (1.1, -0.9), (-1.1, -0.9)],
    &[(-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)],
    &[(-1.2, 0.0), (1.2, 0.0), (0.0, -1.2), (0.0, 1.2)],
    &[(-0.6, -1.2), (0.6, -1.2), (0.6, 1.2), (-0.6, 1.2)],
];

/// Draws a marker: filled, or hollow for what lies in a row of its own.
pub(super) fn marker(c: &mut Canvas, style: usize, x: f64, y: f64, hollow: bool) {
    let k = style % 8;
    let open = k == 5 || k == 6;
    let mut d = String::new();
    for (i, (dx, dy)) in MARKERS[k].iter().enumerate() {
        let pen = if i == 0 || (open && i == 2) { 'M' } else { 'L' };
        step(&mut d, pen, x + dx * R, y + dy * R);
    }
    d += match k {
        0 => "a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0Z",
        _ if open => "",
        _ => "Z",
    };
    let (class, paint) = match (open, hollow) {
        (true, _) => ("stroke", "stroke"),
        (_, true) => ("hollow", "stroke"),
        _ => ("dot", "fill"),
    };
    c.path(class, &format_args!("{paint}=\"{}\"", Color(style)), &d);
}

/// Appends a point to a path.
pub(super) fn step(d: &mut String, pen: char, x: f64, y: f64) {
    write!(d, "{pen}{} {}", at(x), at(y)).expect("a string takes all");
}
