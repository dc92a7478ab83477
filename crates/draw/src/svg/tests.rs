use super::canvas::text_width;
use super::*;
use crate::Severity;

/// Attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

/// All texts of a drawing as (left, top, right, bottom, words), as wide as the layout takes them to be.
fn texts(svg: &str) -> Vec<(f64, f64, f64, f64, String)> {
    let mut out = Vec::new();
    for part in svg.split("<text").skip(1) {
        let (tag, rest) = part.split_once('>').unwrap();
        let words = rest.split("</text>").next().unwrap();
        // The one text with a part in another size.
        let (own, span) = match words.split_once("<tspan") {
            Some((own, s)) => (own, s.split('>').nth(1).unwrap().split('<').next().unwrap()),
            None => (words, ""),
        };
        let unescape = |s: &str| {
            s.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&#39;", "'")
                .replace("&quot;", "\"")
                .replace("&amp;", "&")
        };
        let class = attribute(tag, "class").unwrap_or_default();
        let size = if class.contains("small") { 11.5 } else { 13.0 };
        let heavy = if class.contains("big") { 1.08 } else { 1.0 };
        let w = text_width(&unescape(own), size) * heavy + text_width(&unescape(span), 11.5);
        let x: f64 = attribute(tag, "x").unwrap().parse().unwrap();
        let y: f64 = attribute(tag, "y").unwrap().parse().unwrap();
        let left = match attribute(tag, "text-anchor") {
            Some("middle") => x - w / 2.0,
            Some("end") => x - w,
            _ => x,
        };
        // From the height of capitals to the baseline.
        out.push((left, y - size * 0.73, left + w, y, unescape(words)));
    }
    out
}

/// Values counted in equal bins.
struct Counted(Ridge);

impl Distribution for Counted {
    fn ridge(&self) -> Option<Ridge> {
        Some(self.0.clone())
    }
}

/// `values` in `n` bins from the smallest to the largest.
fn counted(values: &[f64], n: usize) -> Counted {
    let range = crate::number::Range::of(values);
    let width = (range.hi - range.lo) / n as f64;
    let mut counts = vec![0; n];
    for x in values {
        counts[(((x - range.lo) / width) as usize).min(n - 1)] += 1;
    }
    let all = values.len() as f64;
    let mean = values.iter().sum::<f64>() / all;
    let square = |x: &f64| (x - mean) * (x - mean);
    Counted(Ridge {
        edges: (0..=n).map(|i| range.lo + i as f64 * width).collect(),
        counts,
        total: values.len() as u64,
        magnitude: false,
        zeros: values.iter().filter(|x| **x == 0.0).count() as f64 / all,
        min: range.lo,
        max: range.hi,
        mean,
        std: (values.iter().map(square).sum::<f64>() / all).sqrt(),
    })
}

/// No two texts overlap, and none leaves the drawing.
pub(crate) fn check_texts(svg: &str) {
    let (_, view) = svg.split_once("viewBox=\"0 0 ").unwrap();
    let size: Vec<f64> = view
        .split('"')
        .next()
        .unwrap()
        .split(' ')
        .map(|n| n.parse().unwrap())
        .collect();
    let all = texts(svg);
    for (i, a) in all.iter().enumerate() {
        assert!(
            a.0 >= -1.0 && a.2 <= size[0] + 1.0 && a.1 >= -1.0 && a.3 <= size[1] + 1.0,
            "{a:?} leaves {size:?}"
        );
        for b in &all[..i] {
            let apart = a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1;
            assert!(apart, "{a:?}\n{b:?}");
        }
    }
}

fn curves(n: usize, names: impl Fn(usize) -> String, f: impl Fn(usize, f64) -> f64) -> Vec<Series> {
    (0..n)
        .map(|i| {
            Series::new(
                names(i),
                (0..30).map(|k| (f64::from(k), f(i, f64::from(k)))),
            )
            .note("about as strong as it was")
        })
        .collect()
}

#[test]
fn texts_never_overlap() {
    let long = |i: usize| {
        format!("a network with a name that is much longer than any plot has room for, number {i}")
    };
    let short = |i: usize| format!("net {i}");
    for width in [240.0, 420.0, 560.0, 1040.0] {
        for n in [1, 2, 4, 9, 20] {
            for names in [&long as &dyn Fn(usize) -> String, &short] {
                for f in [
                    (&|i: usize, k: f64| 0.5f64.powf(k * i as f64)) as &dyn Fn(usize, f64) -> f64,
                    &|_, _| 1.0,
                    &|i, k| {
                        if k > 20.0 {
                            0.0
                        } else {
                            1e-30 * (i as f64 + k)
                        }
                    },
                    &|i, k| {
                        if k > 10.0 {
                            f64::NAN
                        } else {
                            1e30 * (i as f64 - k)
                        }
                    },
                ] {
                    for y in [
                        Axis::log("strength of something"),
                        Axis::linear("strength of something"),
                    ] {
                        let mut p = LinePlot::new("t")
                            .x(Axis::linear("layer")
                                .whole()
                                .ends("the very first layer", "the very last layer"))
                            .y(y)
                            .band(
                                0.0,
                                1e-6,
                                "a range with a long explanation that has to be cut somewhere",
                                Mood::Bad,
                            )
                            .arrow("the gradient travels this way: from the output to the input")
                            .size(width, 240.0);
                        for s in curves(n, names, f) {
                            p = p.series(s);
                        }
                        let svg = p.draw("p");
                        check_texts(&svg);
                        crate::html::check_markup(&svg);
                        for d in svg.split(" d=\"").skip(1) {
                            let d = d.split('"').next().unwrap();
                            assert!(!d.contains("NaN") && !d.contains("inf"), "{d}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn texts_of_the_other_plots_never_overlap() {
    for width in [240.0, 540.0, 1040.0] {
        for n in [1, 2, 12, 40, 100] {
            for scale in [1e-9, 1.0, 1e9] {
                let values: Vec<f64> = (0..50)
                    .map(|i| f64::from(i - 20).max(0.0) * scale)
                    .collect();
                let s = counted(&values, 64);
                let mut ridge = RidgePlot::new("t")
                    .x(Axis::linear("output of the units"))
                    .size(width, 0.0);
                let mut heat = HeatMap::new("t", "training step", Axis::log("RMS of the gradient"))
                    .columns((0..200).map(|i| (i * 1000).to_string()))
                    .width(width);
                let mut bars = BarChart::new("t", Axis::log("accuracy")).width(width);
                for i in 0..n {
                    let name = format!("encoder.blocks.{i}.attention.query");
                    ridge = ridge.row(name.clone(), &s);
                    heat = heat.row(
                        name.clone(),
                        values.iter().map(|v| (*v > 0.0).then_some(*v)),
                    );
                    bars = if i % 2 == 0 {
                        bars.bar(name, scale * i as f64, i)
                    } else {
                        bars.judged(name, f64::NAN, Severity::Warning)
                    };
                }
                for svg in [ridge.draw("p"), heat.draw("p"), bars.draw("p")] {
                    check_texts(&svg);
                    crate::html::check_markup(&svg);
                }
            }
        }
    }
}

#[test]
fn zeros_and_wild_values_have_rows_of_their_own() {
    let plot = |y: &[f64]| {
        LinePlot::new("t")
            .y(Axis::log("g"))
            .series(Series::new(
                "a",
                y.iter().enumerate().map(|(i, v)| (i as f64, *v)),
            ))
            .draw("p")
    };
    let calm = plot(&[1.0, 0.1]);
    assert!(!calm.contains("class=\"hollow\"") && !calm.contains("NaN, ∞"));
    let zero = plot(&[1.0, 0.1, 0.0]);
    assert_eq!(zero.matches("class=\"hollow\"").count(), 1);
    assert!(!zero.contains("NaN, ∞") && zero.contains("class=\"lost\""));
    let wild = plot(&[1.0, f64::NAN, f64::INFINITY, 0.1]);
    assert_eq!(wild.matches("class=\"hollow\"").count(), 2);
    assert!(wild.contains("NaN, ∞"));
}

#[test]
fn long_lines_are_thinned_but_keep_their_peaks() {
    let n = 200_000;
    let spike = 123_457;
    let points = (0..n).map(|i| {
        (
            f64::from(i),
            if i == spike {
                50.0
            } else {
                (f64::from(i) * 0.01).sin()
            },
        )
    });
    let plot = LinePlot::new("t").series(Series::new("a", points));
    let svg = plot.draw("p");
    assert!(svg.len() < 150_000, "{}", svg.len());
    let lowest = svg
        .split(['M', 'L', 'V'])
        .filter_map(|p| p.split(' ').nth(1)?.split('"').next()?.parse::<f64>().ok())
        .fold(f64::INFINITY, f64::min);
    assert!(lowest < 40.0, "the spike reaches the top: {lowest}");
    assert!(plot.data().unwrap().rows.len() <= 200);
}

#[test]
fn exact_zeros_are_taken_out_of_their_bin() {
    let values: Vec<f64> = (0..100).map(|i| (f64::from(i) - 50.0).max(0.0)).collect();
    let s = counted(&values, 7);
    let svg = RidgePlot::new("t").row("relu", &s).draw("p");
    assert!(svg.contains("51 % exactly zero") && svg.contains("class=\"pin\""));
    // Six values in the first bin without the zeros, seven in the others, eight in the last: no bin dwarfs the rest.
    let heights: Vec<f64> = svg
        .split("class=\"area\"")
        .nth(1)
        .unwrap()
        .split('V')
        .skip(1)
        .take(7)
        .map(|v| v.split('H').next().unwrap().parse().unwrap())
        .collect();
    let (lo, hi) = heights
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(a, b), h| (a.min(*h), b.max(*h)));
    assert!(hi - lo < 25.0, "{heights:?}");
}

#[test]
fn rows_that_differ_only_in_scale_are_alike_in_their_own_units() {
    let v: Vec<f64> = (0..400).map(|i| (f64::from(i) * 0.7).sin()).collect();
    let large: Vec<f64> = v.iter().map(|x| x * f64::from(1 << 20)).collect();
    let plot = RidgePlot::new("t")
        .row("a", &counted(&v, 64))
        .row("b", &counted(&large, 64));
    // Where the bins of each row end.
    let ends = |svg: &str| -> Vec<String> {
        let of_row = |area: &str| {
            let d = attribute(area, "d").unwrap();
            let ends = d.split('H').skip(1);
            let ends: Vec<&str> = ends.map(|h| h.split('V').next().unwrap()).collect();
            ends.join(" ")
        };
        svg.split("class=\"area\"").skip(1).map(of_row).collect()
    };
    let shared = ends(&plot.draw("p"));
    assert_ne!(shared[0], shared[1]);
    let own = ends(&plot.own_units().draw("p"));
    assert_eq!(own[0], own[1]);
}

/// Units that say the same to everything are a needle, as the page explains, and no hill.
#[test]
fn a_constant_is_a_needle() {
    for x in [-100.0, 1e-30, 3e38, 0.0, f64::from(f32::from_bits(1))] {
        // As `flow` counts a constant.
        let half = f64::max(f64::abs(x) / 2.0, f64::MIN_POSITIVE);
        let s = Counted(Ridge {
            edges: vec![x - half, x + half],
            counts: vec![64],
            total: 64,
            magnitude: false,
            zeros: f64::from(u8::from(x == 0.0)),
            min: x,
            max: x,
            mean: x,
            std: 0.0,
        });
        let svg = RidgePlot::new("t").row("out", &s).draw("p");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let Some((_, area)) = svg.split_once("class=\"area\"") else {
            assert_eq!(x, 0.0);
            continue;
        };
        let d = attribute(area, "d").unwrap();
        let (_, from) = d.split_once('M').unwrap();
        let begin: f64 = from.split(' ').next().unwrap().parse().unwrap();
        let (_, to) = d.split_once('H').unwrap();
        let end: f64 = to.split('V').next().unwrap().parse().unwrap();
        assert!((end - begin).abs() < 20.0, "{x}: {d}");
    }
}
