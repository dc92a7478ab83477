use super::markup::check_markup;
use super::*;
use crate::profile::{Bins, Curve, Detail, Summary, TimeProfile};
use crate::report::svg::Figure;
use crate::report::text::width;

const EVIL: &str = "</td><script>x</script>\x1b[2J\u{202e}";

/// A run whose gradient changes by `factor` from layer to layer on its way back.
fn run(name: &str, factor: f64, layers: usize) -> RunProfile {
    let mut r = RunProfile::new(name)
        .with_curve(Curve::new("loss", [(0.0, 2.3), (1.0, 1.0)]))
        .with_curve(Curve::new("test accuracy", [(0.0, 0.1), (1.0, 0.9)]))
        .with_config("seed", "1");
    for step in 0..3 {
        let mut s = StepProfile::new(step * 10);
        for l in 0..layers {
            let mut p = LayerProfile::new(format!("fc{l}{EVIL}"), "relu");
            let g = factor.powi((layers - 1 - l) as i32);
            p.activation = Some(Summary::with(
                &[0.0f32, 0.5, 1.0],
                Detail::histogram(Bins::Auto),
            ));
            p.activation_grad = Some(Summary::of(&[g, -g]));
            p.weight_grad = Some(Summary::of(&[g / 2.0]));
            p.update_ratio = Some(g * 1e-3);
            p.location = Some("src/net.rs:7:9".into());
            s.layers.push(p);
        }
        s.time.push(TimeProfile {
            path: "rnn".into(),
            grad_rms: vec![0.25, 0.5, 1.0],
        });
        r = r.with_step(s);
    }
    r
}

#[test]
fn verdicts_follow_the_documented_thresholds() {
    let rule = |f: f64| assess(&run("r", f, 11)).rule;
    assert_eq!(rule(0.0), "vanished");
    assert_eq!(rule(0.2), "vanishing");
    assert_eq!(rule(0.5), "fading");
    assert_eq!(rule(0.9), "healthy");
    assert_eq!(rule(1.1), "healthy");
    assert_eq!(rule(1.7), "growing");
    assert_eq!(rule(3.0), "exploding");
    assert_eq!(rule(f64::NAN), "not finite");
    assert_eq!(assess(&RunProfile::new("x")).rule, "not measured");
    assert_eq!(assess(&run("x", 0.5, 1)).rule, "not measured");
    let judged = run("r", 1.0, 3)
        .with_finding(Finding::new(Severity::Note, "a", ""))
        .with_finding(Finding::new(Severity::Warning, "b", ""))
        .with_finding(Finding::new(Severity::Warning, "c", ""));
    assert_eq!(assess(&judged).rule, "b");
}

#[test]
fn journeys_in_words() {
    let words = |first, last| {
        Journey {
            first,
            last,
            layers: 2,
        }
        .words()
    };
    assert_eq!(words(1e-9, 1.0), "1 billion times weaker");
    assert_eq!(words(3.0, 1.0), "3.0 times stronger");
    assert_eq!(words(0.0, 1.0), "lost (exactly 0)");
    assert_eq!(words(0.0, 0.0), "zero from the start");
    assert_eq!(words(f64::NAN, 1.0), "not a number");
    assert_eq!(words(0.7, 1.0), "about as strong");
}

#[test]
fn the_page_holds_every_section_and_no_foreign_markup() {
    let runs = [
        run(EVIL, 0.1, 12),
        run("fine", 1.0, 12),
        run("lost", 0.0, 12),
        run("nan", f64::NAN, 12),
        RunProfile::new("empty"),
    ];
    let html = page(EVIL, &runs).render();
    check_markup(&html);
    assert!(!html.contains("<script") && !html.contains(['\x1b', '\u{202e}']));
    for section in [
        "Where the learning signal gets lost",
        "What the layers say",
        "What it does to training",
        "Activations, weights and updates",
        "The gradient during training",
        "Back through time",
        "The numbers",
    ] {
        assert!(html.contains(section), "{section}");
    }
    assert!(!html.contains(">Findings<"));
    check_markup(&page("nothing", &[]).render());
    check_markup(&page("empty", &[RunProfile::default()]).render());
}

#[test]
fn the_same_runs_give_the_same_bytes() {
    let runs = [run("a", 0.1, 5), run("b", 1.0, 5)];
    assert_eq!(page("t", &runs).render(), page("t", &runs).render());
}

#[test]
fn terminal_report_fits_and_is_clean() {
    let runs: Vec<RunProfile> = (0..5)
        .map(|i| run(&format!("run {i} {EVIL}"), 0.3, 6))
        .collect();
    for w in [40, 60, 80, 132] {
        let t = text(&runs, &Terminal::plain(w));
        assert!(!t.contains(['\x1b', '\u{202e}']));
        for line in t.lines() {
            assert!(width(line) <= w, "{w}: {line}");
        }
        assert!(t.contains("Gradient RMS against depth"), "{t}");
    }
}

#[test]
fn the_gradient_is_told_from_the_output_on() {
    let told = gradient_plot(&[run("net", 0.1, 5)], RunProfile::first).description();
    assert!(
        told.contains("net: 1.00 at layer 5, 1.00×10⁻⁴ at layer 1."),
        "{told}"
    );
}

#[test]
fn standalone_drawings_are_well_formed() {
    let runs = [run("a", 0.1, 5), run("b", 0.0, 5)];
    let mut all: Vec<Box<dyn Figure>> = vec![
        Box::new(gradient_plot(&runs, RunProfile::first)),
        Box::new(time_plots(&runs).remove(0)),
    ];
    all.extend(
        curve_plots(&runs)
            .into_iter()
            .map(|p| Box::new(p) as Box<dyn Figure>),
    );
    all.extend(
        heat_maps(&runs)
            .into_iter()
            .map(|p| Box::new(p) as Box<dyn Figure>),
    );
    all.extend(
        activation_plots(&runs, RunProfile::first)
            .into_iter()
            .map(|p| Box::new(p) as Box<dyn Figure>),
    );
    for f in all {
        let svg = f.to_svg();
        check_markup(&svg);
        assert!(!svg.contains("NaN\"") && !svg.contains("inf\""), "{svg}");
        assert!(!f.description().is_empty());
    }
}

#[test]
fn outputs_that_grow_from_layer_to_layer_are_shown_in_their_own_deviations() {
    let run = |growth: f64| {
        let mut s = StepProfile::new(0);
        for l in 0..6 {
            let scale = growth.powi(l);
            let values: Vec<f64> = (0..99)
                .map(|i| scale * f64::from(i).sin().max(0.0))
                .collect();
            let mut p = LayerProfile::new(format!("fc{l}"), "relu");
            p.activation = Some(Summary::with(&values, Detail::histogram(Bins::Auto)));
            s.layers.push(p);
        }
        RunProfile::new("r").with_step(s)
    };
    let plots = |runs: &[RunProfile]| activation_plots(runs, RunProfile::first);
    let with = |growth: f64| plots(&[run(growth)])[0].draw("p");
    let words = "in standard deviations of the layer";
    assert!(with(4.0).contains(words));
    assert!(!with(1.2).contains(words) && !with(0.1).contains(words));
    // A healthy run beside it keeps the axis that it has alone.
    assert_eq!(plots(&[run(1.2), run(4.0)])[0].draw("p"), with(1.2));
}

#[test]
fn a_run_that_diverges_does_not_hide_the_others() {
    let with_loss = |values: [f64; 3]| {
        let points = values.iter().enumerate().map(|(i, v)| (i as f64, *v));
        RunProfile::new("r").with_curve(Curve::new("loss", points))
    };
    let (well, wild) = (with_loss([2.3, 1.0, 0.1]), with_loss([2.5, 9e9, f64::NAN]));
    let decades = |runs: &[RunProfile]| curve_plots(runs)[0].draw("p").contains("10⁶");
    assert!(decades(&[well.clone(), wild]));
    assert!(!decades(&[well.clone(), well]));
    // Gradients of 1 before training; those of one run then grow.
    let with_gradients = |later: f32| {
        let step = |at: u64, g: f32| {
            let named = [("a", [g, -g]), ("b", [g, g])];
            StepProfile::new(at).with_activation_grads(named.iter().map(|(n, v)| (*n, &v[..])))
        };
        RunProfile::new("r")
            .with_step(step(0, 1.0))
            .with_step(step(1, later))
    };
    let maps = heat_maps(&[with_gradients(1e14), with_gradients(0.5)]);
    let (wild, well) = (maps[0].draw("p"), maps[1].draw("p"));
    assert!(wild.contains("brightest: 10.0 and more"), "{wild}");
    assert!(!well.contains("and more"));
}

#[test]
fn the_curve_over_time_is_that_of_the_verdict() {
    let step = |at: u64, decay: f64| {
        let mut s = StepProfile::new(at);
        s.time.push(TimeProfile {
            path: "rnn".into(),
            grad_rms: (0..9).rev().map(|k| decay.powi(k)).collect(),
        });
        s
    };
    // 0.1 to the power of each step back falls to 1/e in 1 / ln 10 steps; after training nothing falls.
    let run = RunProfile::new("r")
        .with_step(step(0, 0.1))
        .with_step(step(9, 1.0));
    let plots = time_plots(&[run]);
    let drawn: Vec<String> = plots.iter().map(|p| p.draw("p")).collect();
    assert!(
        drawn[0].contains("falls to 1/e in 0.434 steps"),
        "{}",
        drawn[0]
    );
    assert!(
        drawn[1].contains("does not fall") && drawn.len() == 2,
        "{}",
        drawn[1]
    );
    let once = RunProfile::new("r").with_step(step(0, 0.1));
    assert_eq!(time_plots(&[once]).len(), 1);
    assert!(time_plots(&[RunProfile::new("r")]).is_empty());
}
