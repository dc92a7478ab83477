//! Profiles as JSON, for programs.
//!
//! [`runs`] gives one object; its layout is stable, and what changes it changes the number at the end of `schema`. New
//! keys may appear at any time; readers should skip what they do not know.
//!
//! | object | keys (`?`: absent when not measured) |
//! |---|---|
//! | document | `schema` = `"wengert.flow/1"`, `runs`: array of run |
//! | run | `name`, `config`: array of `{what, value}`, `modules`: array of `{path, kind}`, `findings`: array of finding, `curves`: array of curve, `steps`: array of step |
//! | finding | `severity` (`healthy`, `note`, `warning`, `critical`), `rule`, `message`, `layer`?, `evidence`?, `cause`?, `location`?, `remedy`?, `since`?: integer, updates made before it showed |
//! | curve | `name`, `x`: array of number, `y`: array of number |
//! | step | `step`: integer, `loss`?, `metrics`: array of `{name, value}`, `batch`?: integer, `along`?: `{slope, change, length, curvature, best?}`, `noise`?: `{signal, variance, scale}`, `layers`: array of layer, `time`: array of `{path, grad_rms: array of number, decay?, memory?}`, `facts`: facts |
//! | facts | `training`?: whether the tape was a training tape; `inputs`?: summary of what entered the first layer; `feature_std`?: `{min, max}` over the input features that vary; `loss`?: loss; `non_finite`?: `{op, location, backward, parameter?}`, the first operation that made something that is not finite; `params`: array of parameter |
//! | loss | `kind` (`cross_entropy`, `bce_with_logits`, `mse`), `location`, `before`: array of the operations between the last weights and it, `classes`?: integer, `targets`?: summary |
//! | parameter | `path`, `shape`: array of integer, `link` (`gradient`, `frozen`, `unused`, `dangling`: used, but not by the loss, `cut`: by `detach` or `no_grad`), `grad_rms`?: number, for `gradient`; `location`?: line of the use or the cut |
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
//!     r#"{"schema":"wengert.flow/1","runs":[{"name":"mlp","config":[],"modules":[],"findings":[],"#,
//!     r#""curves":[{"name":"loss","x":[0,1],"y":[2.5,"NaN"]}],"steps":[]}]}"#, "\n"));
//! ```

use crate::profile::{
    AlongStep, Facts, Finding, GradientNoise, Histogram, LayerProfile, Link, LossFact, NonFinite,
    ParamFact, RunProfile, StepProfile, Summary, TimeProfile,
};
use std::fmt::Write;
use std::path::Path;

/// Layout of the document, changed whenever readers would misunderstand.
pub const SCHEMA: &str = "wengert.flow/1";

/// A value under construction. Keys come from this file, never from outside.
struct Json(String);

/// What a key holds.
enum Value<'a> {
    /// Not measured: the key is left out, too.
    Nothing,
    Truth(bool),
    Integer(u64),
    Number(f64),
    Numbers(&'a [f64]),
    Text(&'a str),
    Summary(&'a Summary),
    /// Written by a function, if there is something to write.
    When(bool, &'a dyn Fn(&mut Json)),
    /// So many, each written by the function.
    List(usize, &'a dyn Fn(&mut Json, usize)),
}
use Value::{Integer, List, Nothing, Number, Numbers, Text, Truth, When};

fn number<'a>(x: Option<f64>) -> Value<'a> {
    x.map_or(Nothing, Number)
}

fn integer<'a>(n: Option<usize>) -> Value<'a> {
    n.map_or(Nothing, |n| Integer(n as u64))
}

fn text(t: &Option<String>) -> Value<'_> {
    t.as_ref().map_or(Nothing, |t| Text(t))
}

fn summarized(s: &Option<Summary>) -> Value<'_> {
    s.as_ref().map_or(Nothing, Value::Summary)
}

impl Json {
    fn comma(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with(['{', '[', ':']) {
            self.0.push(',');
        }
    }

    fn object(&mut self, fields: &[(&str, Value<'_>)]) {
        self.comma();
        self.0.push('{');
        for (key, value) in fields {
            if !matches!(value, Nothing | When(false, _)) {
                self.comma();
                write!(self.0, "\"{key}\":").expect("a string takes all");
                self.put(value);
            }
        }
        self.0.push('}');
    }

    fn put(&mut self, value: &Value<'_>) {
        match *value {
            Nothing | When(false, _) => {}
            Truth(b) => self.0.push_str(if b { "true" } else { "false" }),
            Integer(n) => self.integer(n),
            Number(x) => self.number(x),
            Numbers(x) => self.array(x.len(), &|j, i| j.number(x[i])),
            Text(t) => self.text(t),
            Value::Summary(s) => summary(self, s),
            When(true, write) => write(self),
            List(n, each) => self.array(n, each),
        }
    }

    fn array(&mut self, n: usize, each: &dyn Fn(&mut Json, usize)) {
        self.comma();
        self.0.push('[');
        for i in 0..n {
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

    fn named(&mut self, list: &[(String, f64)]) {
        self.array(list.len(), &|j, i| {
            let (name, value) = &list[i];
            j.object(&[("name", Text(name)), ("value", Number(*value))]);
        });
    }

    /// An array of pairs of words.
    fn pairs(&mut self, keys: [&str; 2], list: &[(String, String)]) {
        self.array(list.len(), &|j, i| {
            j.object(&[(keys[0], Text(&list[i].0)), (keys[1], Text(&list[i].1))]);
        });
    }
}

/// The document: all runs.
pub fn runs(runs: &[RunProfile]) -> String {
    let mut j = Json(String::new());
    let all = |j: &mut Json, i: usize| run(j, &runs[i]);
    j.object(&[("schema", Text(SCHEMA)), ("runs", List(runs.len(), &all))]);
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
    // The same in every step.
    let known = r.steps.iter().map(|s| &s.facts.modules[..]);
    let modules = known
        .into_iter()
        .find(|m| !m.is_empty())
        .unwrap_or_default();
    j.object(&[
        ("name", Text(&r.name)),
        (
            "config",
            When(true, &|j| j.pairs(["what", "value"], &r.config)),
        ),
        (
            "modules",
            When(true, &|j| j.pairs(["path", "kind"], modules)),
        ),
        (
            "findings",
            List(r.findings.len(), &|j, i| finding(j, &r.findings[i])),
        ),
        (
            "curves",
            List(r.curves.len(), &|j, i| {
                let c = &r.curves[i];
                j.object(&[
                    ("name", Text(&c.name)),
                    ("x", List(c.points.len(), &|j, i| j.number(c.points[i].0))),
                    ("y", List(c.points.len(), &|j, i| j.number(c.points[i].1))),
                ]);
            }),
        ),
        ("steps", List(r.steps.len(), &|j, i| step(j, &r.steps[i]))),
    ]);
}

fn finding(j: &mut Json, f: &Finding) {
    j.object(&[
        ("severity", Text(f.severity.word())),
        ("rule", Text(&f.rule)),
        ("message", Text(&f.message)),
        ("layer", text(&f.layer)),
        ("evidence", text(&f.evidence)),
        ("cause", text(&f.cause)),
        ("location", text(&f.location)),
        ("remedy", text(&f.remedy)),
        ("since", f.since.map_or(Nothing, Integer)),
    ]);
}

fn step(j: &mut Json, s: &StepProfile) {
    let f = &s.facts;
    j.object(&[
        ("step", Integer(s.step)),
        ("loss", number(s.loss)),
        ("metrics", When(true, &|j| j.named(&s.metrics))),
        ("batch", integer(f.batch)),
        (
            "along",
            When(f.along.is_some(), &|j| {
                f.along.iter().for_each(|a| along(j, a))
            }),
        ),
        (
            "noise",
            When(f.noise.is_some(), &|j| {
                f.noise.iter().for_each(|n| noise(j, n))
            }),
        ),
        (
            "layers",
            List(s.layers.len(), &|j, i| layer(j, &s.layers[i])),
        ),
        ("time", List(s.time.len(), &|j, i| time(j, &s.time[i]))),
        ("facts", When(true, &|j| facts(j, f))),
    ]);
}

fn along(j: &mut Json, a: &AlongStep) {
    j.object(&[
        ("slope", Number(a.slope)),
        ("change", Number(a.change)),
        ("length", Number(a.length)),
        ("curvature", Number(a.curvature())),
        ("best", number(a.best())),
    ]);
}

fn noise(j: &mut Json, n: &GradientNoise) {
    j.object(&[
        ("signal", Number(n.signal)),
        ("variance", Number(n.variance)),
        ("scale", Number(n.scale())),
    ]);
}

fn time(j: &mut Json, t: &TimeProfile) {
    j.object(&[
        ("path", Text(&t.path)),
        ("grad_rms", Numbers(&t.grad_rms)),
        ("decay", number(t.decay())),
        ("memory", number(t.memory())),
    ]);
}

fn facts(j: &mut Json, f: &Facts) {
    j.object(&[
        ("training", f.training.map_or(Nothing, Truth)),
        ("inputs", summarized(&f.inputs)),
        (
            "feature_std",
            When(f.feature_std.is_some(), &|j| {
                let (min, max) = f.feature_std.unwrap_or_default();
                j.object(&[("min", Number(min)), ("max", Number(max))]);
            }),
        ),
        (
            "loss",
            When(f.loss.is_some(), &|j| {
                f.loss.iter().for_each(|l| loss(j, l))
            }),
        ),
        (
            "non_finite",
            When(f.non_finite.is_some(), &|j| {
                f.non_finite.iter().for_each(|n| non_finite(j, n));
            }),
        ),
        (
            "params",
            List(f.params.len(), &|j, i| param(j, &f.params[i])),
        ),
    ]);
}

fn loss(j: &mut Json, l: &LossFact) {
    j.object(&[
        ("kind", Text(&l.kind)),
        ("location", Text(&l.location)),
        ("before", List(l.before.len(), &|j, i| j.text(&l.before[i]))),
        ("classes", integer(l.classes)),
        ("targets", summarized(&l.targets)),
    ]);
}

fn non_finite(j: &mut Json, n: &NonFinite) {
    j.object(&[
        ("op", Text(&n.op)),
        ("location", Text(&n.location)),
        ("backward", Truth(n.backward)),
        ("parameter", text(&n.parameter)),
    ]);
}

fn param(j: &mut Json, p: &ParamFact) {
    let (link, rms, location) = match &p.link {
        Link::Gradient(rms) => ("gradient", Some(*rms), None),
        Link::Frozen => ("frozen", None, None),
        Link::Unused => ("unused", None, None),
        Link::Dangling { location } => ("dangling", None, Some(location)),
        Link::Cut { location } => ("cut", None, Some(location)),
    };
    j.object(&[
        ("path", Text(&p.path)),
        (
            "shape",
            List(p.shape.len(), &|j, i| j.integer(p.shape[i] as u64)),
        ),
        ("link", Text(link)),
        ("grad_rms", number(rms)),
        ("location", location.map_or(Nothing, |l| Text(l))),
    ]);
}

fn layer(j: &mut Json, l: &LayerProfile) {
    j.object(&[
        ("path", Text(&l.path)),
        ("op", Text(&l.op)),
        ("location", text(&l.location)),
        ("activation", summarized(&l.activation)),
        ("activation_grad", summarized(&l.activation_grad)),
        ("weights", summarized(&l.weights)),
        ("weight_grad", summarized(&l.weight_grad)),
        ("update_ratio", number(l.update_ratio)),
        ("saturation", number(l.saturation)),
        ("dead", number(l.dead)),
        ("forward_gain", number(l.forward_gain)),
        ("backward_gain", number(l.backward_gain)),
        ("extra", When(true, &|j| j.named(&l.extra))),
    ]);
}

fn summary(j: &mut Json, s: &Summary) {
    j.object(&[
        ("count", Integer(s.count)),
        ("nan", Integer(s.nan)),
        ("infinite", Integer(s.infinite)),
        ("zeros", Integer(s.zeros)),
        ("mean", Number(s.mean)),
        ("std", Number(s.std)),
        ("rms", Number(s.rms)),
        ("min", Number(s.min)),
        ("max", Number(s.max)),
        ("norm", Number(s.norm)),
        (
            "quantiles",
            When(s.quantiles.is_some(), &|j| {
                let Some(q) = s.quantiles else { return };
                j.object(&[
                    ("p01", Number(q.p01)),
                    ("p05", Number(q.p05)),
                    ("p25", Number(q.p25)),
                    ("p50", Number(q.p50)),
                    ("p75", Number(q.p75)),
                    ("p95", Number(q.p95)),
                    ("p99", Number(q.p99)),
                ]);
            }),
        ),
        (
            "histogram",
            When(s.histogram.is_some(), &|j| {
                s.histogram.iter().for_each(|h| histogram(j, h));
            }),
        ),
    ]);
}

fn histogram(j: &mut Json, h: &Histogram) {
    j.object(&[
        ("edges", Numbers(&h.edges)),
        (
            "counts",
            List(h.counts.len(), &|j, i| j.integer(h.counts[i])),
        ),
        ("below", Integer(h.below)),
        ("above", Integer(h.above)),
        ("magnitude", Truth(h.magnitude)),
    ]);
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
        s.facts = known(evil);
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

    fn known(name: &str) -> Facts {
        let param = |link| ParamFact {
            path: name.into(),
            shape: vec![3, 2],
            link,
        };
        let location = || String::from("net.rs:7:5");
        Facts {
            batch: Some(4),
            training: Some(true),
            inputs: Some(Summary::with(&[0.5f32, f32::NAN], Detail::MOMENTS)),
            feature_std: Some((0.25, f64::INFINITY)),
            params: vec![
                param(Link::Gradient(1e-9)),
                param(Link::Frozen),
                param(Link::Unused),
                param(Link::Dangling {
                    location: location(),
                }),
                param(Link::Cut {
                    location: location(),
                }),
            ],
            loss: Some(LossFact {
                kind: "cross_entropy".into(),
                location: location(),
                before: vec!["softmax".into(), name.into()],
                classes: Some(10),
                targets: None,
            }),
            lines: std::sync::Arc::default(),
            modules: std::sync::Arc::new(vec![(name.into(), "Linear".into())]),
            non_finite: Some(NonFinite {
                op: "ln".into(),
                location: location(),
                backward: true,
                parameter: Some(name.into()),
            }),
            along: Some(AlongStep {
                slope: -1.0,
                change: -0.25,
                length: 2.0,
            }),
            noise: Some(GradientNoise {
                signal: 0.5,
                variance: 8.0,
            }),
        }
    }

    #[test]
    fn facts_are_told_in_full() {
        let mut s = StepProfile::new(3);
        s.facts = known("w");
        let doc = runs(&[RunProfile::new("r").with_step(s)]);
        let inputs = concat!(
            r#"{"count":2,"nan":1,"infinite":0,"zeros":0,"mean":0.5,"std":0,"rms":0.5,"#,
            r#""min":0.5,"max":0.5,"norm":0.5}"#
        );
        let expected = [
            r#""modules":[{"path":"w","kind":"Linear"}],"findings""#,
            r#""steps":[{"step":3,"metrics":[],"batch":4,"#,
            r#""along":{"slope":-1,"change":-0.25,"length":2,"curvature":0.375,"best":0.6666666666666666},"#,
            r#""noise":{"signal":0.5,"variance":8,"scale":16},"layers":[],"time":[],"#,
            &format!(r#""facts":{{"training":true,"inputs":{inputs},"#),
            r#""feature_std":{"min":0.25,"max":"Infinity"},"#,
            r#""loss":{"kind":"cross_entropy","location":"net.rs:7:5","before":["softmax","w"],"classes":10},"#,
            r#""non_finite":{"op":"ln","location":"net.rs:7:5","backward":true,"parameter":"w"},"#,
            r#""params":[{"path":"w","shape":[3,2],"link":"gradient","grad_rms":1e-9},"#,
            r#"{"path":"w","shape":[3,2],"link":"frozen"},{"path":"w","shape":[3,2],"link":"unused"},"#,
            r#"{"path":"w","shape":[3,2],"link":"dangling","location":"net.rs:7:5"},"#,
            r#"{"path":"w","shape":[3,2],"link":"cut","location":"net.rs:7:5"}]}}]}]}"#,
        ];
        let mut rest = &doc[..];
        for part in expected {
            let at = rest
                .find(part)
                .unwrap_or_else(|| panic!("{part} in {rest}"));
            rest = &rest[at + part.len()..];
        }
        assert_eq!(rest, "\n");
        // What is not known is left out.
        let empty = runs(&[RunProfile::new("r").with_step(StepProfile::new(0))]);
        assert!(empty.contains(r#""facts":{"params":[]}"#), "{empty}");
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
