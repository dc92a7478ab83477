//! Colours, dashes, style.

use std::fmt::Write;

/// Colours of one mode, as `#rrggbb`.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Page.
    pub back: &'static str,
    /// Boxes on the page.
    pub box_back: &'static str,
    /// Text.
    pub ink: &'static str,
    /// Secondary text.
    pub soft: &'static str,
    /// Grid lines and borders.
    pub grid: &'static str,
    /// Series, in the order they are given out.
    pub series: [&'static str; 8],
    /// Healthy, note, warning, critical.
    pub moods: [&'static str; 4],
}

/// Light mode. Series after Okabe and Ito (2008), shifted until every colour has 3:1 contrast to the page and the first
/// four stay apart for every kind of colour vision (both are tested).
pub const LIGHT: Theme = Theme {
    back: "#ffffff",
    box_back: "#f6f7f9",
    ink: "#16191d",
    soft: "#545b64",
    grid: "#dfe2e7",
    series: [
        "#c44f00", "#00407a", "#c060c0", "#008f6c", "#7a5c00", "#3f4650", "#1f8fc9", "#6a3fb0",
    ],
    moods: ["#00734f", "#0065a0", "#8a5a00", "#b3261e"],
};

/// Dark mode.
pub const DARK: Theme = Theme {
    back: "#14171b",
    box_back: "#1d2126",
    ink: "#eceff3",
    soft: "#a9b2bd",
    grid: "#343a42",
    series: [
        "#ff8a45", "#3d8bff", "#b873ad", "#7df0cf", "#e6d24a", "#c3cad3", "#8ad4ff", "#b79cff",
    ],
    moods: ["#4fd6a4", "#6cbcff", "#f2b84b", "#ff8a80"],
};

/// Dash patterns of the series; a line without gaps is empty.
pub const DASHES: [&str; 8] = [
    "",
    "7 3",
    "2 3",
    "9 3 2 3",
    "5 5",
    "12 4",
    "2 6",
    "9 3 2 3 2 3",
];

/// The colour variables for both modes: `root` is given the light ones, and the dark ones where the reader prefers
/// them; printed pages are light.
pub(crate) fn variables(root: &str, dark_root: &str) -> String {
    let vars = |t: &Theme| {
        let mut s = format!(
            "--back:{};--box:{};--ink:{};--soft:{};--grid:{};",
            t.back, t.box_back, t.ink, t.soft, t.grid
        );
        for (i, c) in t.series.iter().enumerate() {
            write!(s, "--s{i}:{c};").expect("a string takes all");
        }
        for (name, c) in ["good", "note", "warn", "bad"].iter().zip(t.moods) {
            write!(s, "--{name}:{c};").expect("a string takes all");
        }
        s
    };
    format!(
        "{root}{{color-scheme:light dark;{}}}\n@media screen and (prefers-color-scheme:dark){{{dark_root}{{{}}}}}",
        vars(&LIGHT),
        vars(&DARK)
    )
}

/// Rules for what is inside a plot.
pub(crate) const CSS: &str = include_str!("plot.css");

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(hex: &str) -> [f64; 3] {
        [1, 3, 5].map(|i| {
            let c = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        })
    }

    fn luminance(c: [f64; 3]) -> f64 {
        0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]
    }

    /// WCAG 2.1 contrast ratio.
    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(linear(a)), luminance(linear(b)));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn lab(rgb: [f64; 3]) -> [f64; 3] {
        let xyz = [
            (0.4124 * rgb[0] + 0.3576 * rgb[1] + 0.1805 * rgb[2]) / 0.9505,
            0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2],
            (0.0193 * rgb[0] + 0.1192 * rgb[1] + 0.9505 * rgb[2]) / 1.089,
        ];
        let f = xyz.map(|t| {
            if t > 0.008856 {
                t.cbrt()
            } else {
                7.787 * t + 16.0 / 116.0
            }
        });
        [
            116.0 * f[1] - 16.0,
            500.0 * (f[0] - f[1]),
            200.0 * (f[1] - f[2]),
        ]
    }

    #[test]
    fn everything_stands_out_from_the_page() {
        for t in [LIGHT, DARK] {
            for back in [t.back, t.box_back] {
                for c in t.series {
                    assert!(contrast(c, back) >= 3.0, "{c} on {back}");
                }
                for c in [t.ink, t.soft].iter().chain(&t.moods) {
                    assert!(contrast(c, back) >= 4.5, "{c} on {back}");
                }
            }
        }
    }

    /// The first four series, which most plots stay within, as seen with each kind of colour blindness
    /// (matrices of Machado, Oliveira and Fernandes 2009 for full severity, applied to linear light).
    #[test]
    fn the_first_four_colours_differ_for_everyone() {
        let eyes = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ];
        for t in [LIGHT, DARK] {
            for eye in eyes {
                let seen = |hex: &str| {
                    let c = linear(hex);
                    lab(eye
                        .map(|row| (row[0] * c[0] + row[1] * c[1] + row[2] * c[2]).clamp(0.0, 1.0)))
                };
                for i in 0..4 {
                    for j in 0..i {
                        let (a, b) = (seen(t.series[i]), seen(t.series[j]));
                        let d = (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f64>().sqrt();
                        assert!(d >= 15.0, "{} and {}: {d}", t.series[i], t.series[j]);
                    }
                }
            }
        }
    }
}
