//! Profiles as JSON, for programs.
//!
//! [`runs`] gives one object; its layout is stable, and what changes it changes the number at the end of `schema`. New
//! keys may appear at any time; readers should skip what they do not know.
//!
//! | object | keys (`?`: absent when not measured) |
//! |---|---|
//! | document | `schema` = `"wengert.flow/1"`, `runs`: array of run |
//! | run | `name`, `config`: array of `{what, value}`, `findings`: array of finding, `curves`: array of curve, `steps`: array of step |
//! | finding | `severity` (`healthy`, `note`, `warning`, `critical`), `rule`, `message`, `layer`?, `evidence`?, `cause`?, `location`?, `remedy`?, `since`?: integer, updates made before it showed |
//! | curve | `name`, `x`: array of number, `y`: array of number |
//! | step | `step`: integer, `loss`?, `metrics`: array of `{name, value}`, `batch`?: integer, `along`?: `{slope, change, length, curvature, best?}`, `noise`?: `{signal, variance, scale}`, `layers`: array of layer, `time`: array of `{path, grad_rms: array of number, decay?, memory?}` |
//! | layer | `path`, `op`, `location`?, `activation`?, `activation_grad`?, `weights`?, `weight_grad`?: summary; `update_ratio`?, `saturation`?, `dead`?, `forward_gain`?, `backward_gain`?: number; `extra`: array of `{name, value}` |
//! | summary | `count`, `nan`, `infinite`, `zeros`: integers; `mean`, `std`, `rms`, `min`, `max`, `norm`: numbers over the finite values; `quantiles`?: `{p01, p05, p25, p50, p75, p95, p99}`; `histogram`?: histogram |
//! | histogram | `edges`: rising array of n + 1 numbers, `counts`: array of n integers, `below`, `above`: integers outside, `magnitude`: whether absolute values were counted |
//!
//! A **number** is a JSON number that reads back to the same `f64`, or one of the strings `"NaN"`, `"Infinity"`,
//! `"-Infinity"` (JSON has no such numbers; Python's `float()` and JavaScript's `Number()` read these strings). Names are
//! given in full; control and direction characters and `<` are written as `\u` escapes, so that the text can be shown
//! in a terminal and put into a page.
//!
//! ```
//! use wengert_flow::profile::{Curve, RunProfile};
//! use wengert_flow::report::json;
//! let run = RunProfile::new("mlp").with_curve(Curve::new("loss", [(0.0, 2.5), (1.0, f64::NAN)]));
//! assert_eq!(json::runs(&[run]), concat!(
//!     r#"{"schema":"wengert.flow/1","runs":[{"name":"mlp","config":[],"findings":[],"#,
//!     r#""curves":[{"name":"loss","x":[0,1],"y":[2.5,"NaN"]}],"steps":[]}]}"#, "\n"));
//! ```

use crate::profile::{
    Finding, Histogram, LayerProfile, RunProfile, StepProfile, Summary, TimeProfile,
};
use std::fmt::Write;
use std::path::Path;

/// Layout of the document, changed whenever readers would misunderstand.
pub const SCHEMA: &str = "wengert.flow/1";

/// A value under construction. Keys come from this file, never from outside.
struct Json(String);

impl Json {
    fn comma(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with(['{', '[', ':']) {
            self.0.push(',');
        }
    }

    fn key(&mut self, k: &str) -> &mut Json {
        self.comma();
        write!(self.0, "\"{k}\":").expect("a string takes all");
        self
    }

    fn object(&mut self, content: impl FnOnce(&mut Json)) {
        self.comma();
        self.0.push('{');
        content(self);
        self.0.push('}');
    }

    fn array<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Json, T)) {
        self.comma();
        self.0.push('[');
        for i in items {
            each(self, i);
        }
        self.0.push(']');
    }

    fn number(&mut self, x: f64) {
        self.comma();
        let s = &mut self.0;
        if x.is_nan() {
            s.push_str("\"NaN\"");
        } else if x.is_infinite() {
            s.push_str(if x > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            });
        } else if x == 0.0 || (1e-5..1e16).contains(&x.abs()) {
            write!(s, "{x}").expect("a string takes all");
        } else {
            // Display would write 308 zeros.
            write!(s, "{x:e}").expect("a string takes all");
        }
    }

    fn integer(&mut self, n: u64) {
        self.comma();
        write!(self.0, "{n}").expect("a string takes all");
    }

    fn truth(&mut self, b: bool) {
        self.comma();
        self.0.push_str(if b { "true" } else { "false" });
    }

    fn text(&mut self, t: &str) {
        self.comma();
        let s = &mut self.0;
        s.push('"');
        for c in t.chars() {
            match c {
                '"' => s.push_str("\\\""),
                '\\' => s.push_str("\\\\"),
                '\n' => s.push_str("\\n"),
                '\r' => s.push_str("\\r"),
                '\t' => s.push_str("\\t"),
                '<' => s.push_str("\\u003c"),
                c if super::escape::hidden(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(s, "\\u{unit:04x}").expect("a string takes all");
                    }
                }
                c => s.push(c),
            }
        }
        s.push('"');
    }

    fn maybe_text(&mut self, k: &str, t: &Option<String>) {
        if let Some(t) = t {
            self.key(k).text(t);
        }
    }

    fn maybe_number(&mut self, k: &str, x: Option<f64>) {
        if let Some(x) = x {
            self.key(k).number(x);
        }
    }

    fn named(&mut self, list: &[(String, f64)]) {
        self.array(list, |j, (name, value)| {
            j.object(|j| {
                j.key("name").text(name);
                j.key("value").number(*value);
            });
        });
    }
}

/// The document: all runs.
pub fn runs(runs: &[RunProfile]) -> String {
    let mut j = Json(String::new());
    j.object(|j| {
        j.key("schema").text(SCHEMA);
        j.key("runs").array(runs, run);
    });
    j.0.push('\n');
    j.0
}

/// Writes [`runs`] to a file, [atomically](super::write_atomic).
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn write(path: impl AsRef<Path>, profiles: &[RunProfile]) -> super::Result<()> {
    super::write_atomic(path, runs(profiles).as_bytes())
}

fn run(j: &mut Json, r: &RunProfile) {
    j.object(|j| {
        j.key("name").text(&r.name);
        j.key("config").array(&r.config, |j, (what, value)| {
            j.object(|j| {
                j.key("what").text(what);
                j.key("value").text(value);
            });
        });
        j.key("findings").array(&r.findings, finding);
        j.key("curves").array(&r.curves, |j, c| {
            j.object(|j| {
                j.key("name").text(&c.name);
                j.key("x").array(&c.points, |j, p| j.number(p.0));
                j.key("y").array(&c.points, |j, p| j.number(p.1));
            });
        });
        j.key("steps").array(&r.steps, step);
    });
}

fn finding(j: &mut Json, f: &Finding) {
    j.object(|j| {
        j.key("severity").text(f.severity.word());
        j.key("rule").text(&f.rule);
        j.key("message").text(&f.message);
        j.maybe_text("layer", &f.layer);
        j.maybe_text("evidence", &f.evidence);
        j.maybe_text("cause", &f.cause);
        j.maybe_text("location", &f.location);
        j.maybe_text("remedy", &f.remedy);
        if let Some(n) = f.since {
            j.key("since").integer(n);
        }
    });
}

fn step(j: &mut Json, s: &StepProfile) {
    j.object(|j| {
        j.key("step").integer(s.step);
        j.maybe_number("loss", s.loss);
        j.key("metrics").named(&s.metrics);
        if let Some(n) = s.facts.batch {
            j.key("batch").integer(n as u64);
        }
        if let Some(a) = &s.facts.along {
            j.key("along").object(|j| {
                j.key("slope").number(a.slope);
                j.key("change").number(a.change);
                j.key("length").number(a.length);
                j.key("curvature").number(a.curvature());
                j.maybe_number("best", a.best());
            });
        }
        if let Some(n) = &s.facts.noise {
            j.key("noise").object(|j| {
                j.key("signal").number(n.signal);
                j.key("variance").number(n.variance);
                j.key("scale").number(n.scale());
            });
        }
        j.key("layers").array(&s.layers, layer);
        j.key("time").array(&s.time, time);
    });
}

fn time(j: &mut Json, t: &TimeProfile) {
    j.object(|j| {
        j.key("path").text(&t.path);
        j.key("grad_rms").array(&t.grad_rms, |j, g| j.number(*g));
        j.maybe_number("decay", t.decay());
        j.maybe_number("memory", t.memory());
    });
}

fn layer(j: &mut Json, l: &LayerProfile) {
    j.object(|j| {
        j.key("path").text(&l.path);
        j.key("op").text(&l.op);
        j.maybe_text("location", &l.location);
        for (k, s) in [
            ("activation", &l.activation),
            ("activation_grad", &l.activation_grad),
            ("weights", &l.weights),
            ("weight_grad", &l.weight_grad),
        ] {
            if let Some(s) = s {
                summary(j.key(k), s);
            }
        }
        j.maybe_number("update_ratio", l.update_ratio);
        j.maybe_number("saturation", l.saturation);
        j.maybe_number("dead", l.dead);
        j.maybe_number("forward_gain", l.forward_gain);
        j.maybe_number("backward_gain", l.backward_gain);
        j.key("extra").named(&l.extra);
    });
}

fn summary(j: &mut Json, s: &Summary) {
    j.object(|j| {
        for (k, n) in [
            ("count", s.count),
            ("nan", s.nan),
            ("infinite", s.infinite),
            ("zeros", s.zeros),
        ] {
            j.key(k).integer(n);
        }
        for (k, x) in [
            ("mean", s.mean),
            ("std", s.std),
            ("rms", s.rms),
            ("min", s.min),
            ("max", s.max),
            ("norm", s.norm),
        ] {
            j.key(k).number(x);
        }
        if let Some(q) = &s.quantiles {
            j.key("quantiles").object(|j| {
                for (k, x) in [
                    ("p01", q.p01),
                    ("p05", q.p05),
                    ("p25", q.p25),
                    ("p50", q.p50),
                    ("p75", q.p75),
                    ("p95", q.p95),
                    ("p99", q.p99),
                ] {
                    j.key(k).number(x);
                }
            });
        }
        if let Some(h) = &s.histogram {
            histogram(j.key("histogram"), h);
        }
    });
}

fn histogram(j: &mut Json, h: &Histogram) {
    j.object(|j| {
        j.key("edges").array(&h.edges, |j, e| j.number(*e));
        j.key("counts").array(&h.counts, |j, c| j.integer(*c));
        j.key("below").integer(h.below);
        j.key("above").integer(h.above);
        j.key("magnitude").truth(h.magnitude);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Bins, Curve, Detail, Severity};

    /// A reader as strict as RFC 8259; returns what follows the value.
    fn value(s: &str) -> &str {
        match s.as_bytes().first().expect("a value") {
            b'{' => {
                let mut s = &s[1..];
                if let Some(r) = s.strip_prefix('}') {
                    return r;
                }
                loop {
                    assert!(s.starts_with('"'), "key at {:.40}", s);
                    s = value(s).strip_prefix(':').expect("colon");
                    s = value(s);
                    match s.as_bytes()[0] {
                        b',' => s = &s[1..],
                        b'}' => return &s[1..],
                        _ => panic!("object at {s:.40}"),
                    }
                }
            }
            b'[' => {
                let mut s = &s[1..];
                if let Some(r) = s.strip_prefix(']') {
                    return r;
                }
                loop {
                    s = value(s);
                    match s.as_bytes()[0] {
                        b',' => s = &s[1..],
                        b']' => return &s[1..],
                        _ => panic!("array at {s:.40}"),
                    }
                }
            }
            b'"' => {
                let mut it = s[1..].char_indices();
                while let Some((i, c)) = it.next() {
                    assert!(c >= ' ', "control character in a string");
                    match c {
                        '"' => return &s[i + 2..],
                        '\\' => match it.next().unwrap().1 {
                            '"' | '\\' | 'n' | 'r' | 't' => {}
                            'u' => (0..4)
                                .for_each(|_| assert!(it.next().unwrap().1.is_ascii_hexdigit())),
                            c => panic!("escape {c}"),
                        },
                        _ => {}
                    }
                }
                panic!("string without end")
            }
            b't' => s.strip_prefix("true").unwrap(),
            b'f' => s.strip_prefix("false").unwrap(),
            _ => {
                let end = s.find([',', '}', ']', '\n']).unwrap();
                let n = &s[..end];
                let digits = n.strip_prefix('-').unwrap_or(n);
                let first = digits.split(['.', 'e']).next().unwrap();
                assert!(
                    first == "0" || first.starts_with(|c: char| ('1'..='9').contains(&c)),
                    "{n}"
                );
                assert!(!n.contains("+") && !n.ends_with('.'), "{n}");
                let x: f64 = n.parse().unwrap();
                assert!(x.is_finite());
                &s[end..]
            }
        }
    }

    #[test]
    fn everything_is_valid_json() {
        let evil = "a\"b\\c\n\u{1b}[31m\u{202e}</script>\u{e0041}层\u{9b}";
        let mut layer = LayerProfile::new(evil, evil);
        layer.location = Some(evil.into());
        layer.activation = Some(Summary::with(
            &[1.0f32, f32::NAN, 0.0, -3.0],
            Detail::histogram(Bins::Auto),
        ));
        layer.weights = Some(Summary::of(&[f32::NAN]));
        layer.weight_grad = Some(Summary::of::<f32>(&[]));
        layer.update_ratio = Some(f64::NEG_INFINITY);
        layer.extra.push((evil.into(), 5e-324));
        let mut s = StepProfile::new(u64::MAX).with_loss(f64::MAX);
        s.metrics.push((evil.into(), -1.5e-300));
        s.layers = vec![layer, LayerProfile::default()];
        s.time.push(TimeProfile {
            path: evil.into(),
            grad_rms: vec![0.5, 1.0, 0.0],
        });
        let r = RunProfile::new(evil)
            .with_config(evil, evil)
            .with_curve(Curve::new(evil, [(0.0, f64::INFINITY), (1e20, 1e-7)]))
            .with_finding(
                Finding::new(Severity::Warning, evil, evil)
                    .at(evil)
                    .remedy(evil),
            )
            .with_step(s);
        let doc = runs(&[r, RunProfile::default()]);
        assert_eq!(value(&doc), "\n");
        assert!(!doc.contains(['<', '\u{1b}', '\u{202e}', '\u{9b}', '\u{e0041}']));
        assert!(
            doc.contains("\"Infinity\"") && doc.contains("\"-Infinity\"") && doc.contains("5e-324")
        );
        assert!(
            doc.contains("\\udb40\\udc41"),
            "beyond the basic plane: two units"
        );
        assert_eq!(value(&runs(&[])), "\n");
    }

    #[test]
    fn numbers_read_back_the_same() {
        for x in [
            0.1,
            -0.0,
            1e-5,
            9.999999e-6,
            1e15,
            1e16,
            1.0 / 3.0,
            f64::MAX,
            5e-324,
            -2.5e-9,
        ] {
            let mut j = Json(String::new());
            j.number(x);
            assert_eq!(
                j.0.parse::<f64>().unwrap().to_bits(),
                x.to_bits(),
                "{}",
                j.0
            );
        }
    }
}
