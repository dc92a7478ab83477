//! A small plot library: inline SVG without scripts.
//!
//! Plots carry their own title and description for screen readers, are reachable by keyboard (series and their points
//! tell their values when focused or pointed at), use colours that people with any colour vision can tell apart and,
//! besides, distinct markers and dashes, and follow the reader's light or dark setting.
//!
//! ```
//! use wengert_draw::svg::{Axis, Figure, LinePlot, Series};
//! let plot = LinePlot::new("Gradient by layer")
//!     .x(Axis::linear("layer").whole())
//!     .y(Axis::log("RMS of the gradient"))
//!     .series(Series::new("sigmoid", (1..=30).map(|l| (f64::from(l), 0.2f64.powi(30 - l)))));
//! let svg = plot.to_svg();
//! assert!(svg.starts_with("<svg") && svg.contains("sigmoid") && !svg.contains("<script"));
//! ```

mod axis;
mod bars;
mod canvas;
mod heat;
mod line;
mod palette;
mod ridge;

pub use axis::{Axis, Scale};
pub use bars::BarChart;
pub use heat::HeatMap;
pub use line::{Band, LinePlot, Mood, Series};
pub use palette::{DARK, DASHES, LIGHT, Theme};
pub use ridge::{Distribution, Ridge, RidgePlot};

pub(super) use palette::{CSS, variables};

use super::table::Table;
use std::path::Path;

/// Something that can be drawn: the plots of this module, or one's own.
pub trait Figure {
    /// Short heading.
    fn title(&self) -> &str;

    /// What the picture shows, in words, for those who cannot see it.
    fn description(&self) -> String;

    /// The `<svg>` element, without heading and style; `id` is unique in the page and begins every id inside.
    fn draw(&self, id: &str) -> String;

    /// The numbers behind the picture.
    fn data(&self) -> Option<Table> {
        None
    }

    /// A file of its own: the element with its style, on a page of its own colour, under its title.
    fn to_svg(&self) -> String {
        let svg = self.draw("plot");
        let style = format!("<style>{}\n{CSS}</style>", variables("svg", "svg"));
        // Nested one level down; where a size cannot be read, the drawing goes out as it is.
        let Some((w, h)) = size_of(&svg) else {
            return svg;
        };
        let title = canvas::fit_text(self.title(), 18.0, w);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-16 -44 {} {}\" width=\"{}\">{style}\
             <rect class=\"wg-page\" x=\"-16\" y=\"-44\" width=\"100%\" height=\"100%\" fill=\"var(--back)\"/>\
             <text y=\"-16\" font-size=\"18\" font-weight=\"600\" fill=\"var(--ink)\" \
             font-family=\"Helvetica Neue,Arial,Liberation Sans,sans-serif\">{}</text>{}</svg>\n",
            w + 32.0,
            h + 60.0,
            w + 32.0,
            super::escape::xml(&title),
            // A nested drawing has the size it was drawn at.
            svg.replacen(
                "<svg ",
                &format!("<svg width=\"{w}\" height=\"{h}\" style=\"width:{w}px;height:{h}px\" "),
                1
            )
        )
    }

    /// Writes [`Figure::to_svg`] to a file, [atomically](super::write_atomic).
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    fn write(&self, path: &Path) -> super::Result<()> {
        super::write_atomic(path, self.to_svg().as_bytes())
    }
}

/// Width and height of a drawing, from its view box.
pub(super) fn size_of(svg: &str) -> Option<(f64, f64)> {
    let (_, rest) = svg.split_once("viewBox=\"0 0 ")?;
    let (w, h) = rest.split_once('"')?.0.split_once(' ')?;
    Some((w.parse().ok()?, h.parse().ok()?))
}

#[cfg(test)]
pub(super) mod tests;
