//! A small plot library: inline SVG without scripts.
//!
//! Plots carry their own title and description for screen readers, are reachable by keyboard (series and their points
//! tell their values when focused or pointed at), use colours that people with any colour vision can tell apart and,
//! besides, distinct markers and dashes, and follow the reader's light or dark setting.
//!
//! ```
//! use wengert_flow::report::svg::{Axis, Figure, LinePlot, Series};
//! let plot = LinePlot::new("Gradient by layer")
//!     .x(Axis::linear("layer").whole())
//!     .y(Axis::log("RMS of the gradient"))
//!     .series(Series::new("sigmoid", (1..=30).map(|l| (f64::from(l), 0.2f64.powi(30 - l)))));
//! let svg = plot.to_svg();
//! assert!(svg.starts_with("<svg") && svg.contains("sigmoid") && !svg.contains("<script"));
//! ```

mod axis;
mod canvas;
mod line;
mod palette;

pub use axis::{Axis, Scale};
pub use line::{Band, LinePlot, Mood, Series};
pub use palette::{DARK, DASHES, LIGHT, Theme};

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

    /// A file of its own: the element with its style.
    fn to_svg(&self) -> String {
        let svg = self.draw("plot");
        let style = format!("<style>{}\n{CSS}</style>", variables("svg.wg", "svg.wg"));
        // After the opening tag.
        match svg.find('>') {
            Some(i) => format!("{}{style}{}", &svg[..=i], &svg[i + 1..]),
            None => svg,
        }
    }

    /// Writes [`Figure::to_svg`] to a file, [atomically](super::write_atomic).
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    fn write(&self, path: &Path) -> super::Result<()> {
        super::write_atomic(path, self.to_svg().as_bytes())
    }
}
