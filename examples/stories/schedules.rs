//! The schedules, drawn: `docs/schedules.svg`.

use std::fmt::Write;
use wengert::optim::schedule::*;

/// Steps that are drawn.
pub const STEPS: u64 = 100;

/// Every schedule with the call that makes it.
pub fn all() -> Vec<(&'static str, Box<dyn Schedule>)> {
    let mut list: Vec<(&'static str, Box<dyn Schedule>)> = Vec::new();
    macro_rules! draw {
        ($($make:expr;)*) => {$(list.push((stringify!($make), Box::new($make)));)*};
    }
    draw! {
        Constant::new(0.1);
        StepDecay::new(0.1, 25, 0.5);
        MultiStep::new(0.1, [30, 60, 80], 0.4);
        Piecewise::new(0.1, [(40, 0.03), (70, 0.06)]);
        Exponential::new(0.1, 0.97);
        Polynomial::new(0.1, 90, 2.0);
        Linear::new(0.1, 90);
        InverseSqrt::new(0.1, 20);
        InverseTime::new(0.1, 0.5, 10);
        Cosine::new(0.1, 90);
        CosineRestarts::new(0.1, 14).growing(2);
        Cyclic::new(0.01, 0.1, 12);
        Cyclic::new(0.01, 0.1, 12).triangular2();
        Cyclic::new(0.01, 0.1, 12).exp_range(0.98);
        Cyclic::new(0.01, 0.1, 12).momentum(0.85, 0.95);
        OneCycle::new(0.1, 100);
        OneCycle::new(0.1, 100).linear().three_phase();
        OneCycle::new(0.1, 100).momentum(0.85, 0.95);
        Cosine::new(0.1, 80).warmup(20);
        Linear::new(0.02, 30).floor(0.1).then(30, Exponential::new(0.1, 0.96));
        StepDecay::new(0.1, 25, 0.5).times(Exponential::new(1.0, 0.99));
        Exponential::new(0.1, 0.95).clamp(0.02, 0.08);
        Exponential::new(0.1, 0.96).delay(30);
        Exponential::new(0.1, 0.7).every(15);
    }
    list
}

/// The drawing: one small plot per schedule, from 0 (or, where a momentum is cycled, from its lowest value) to its highest.
pub fn svg() -> String {
    let plots = all();
    let (columns, width, height) = (4, 250, 120);
    let rows = plots.len().div_ceil(columns);
    let mut s = String::new();
    let (w, h) = (columns * width, rows * height);
    let _ = writeln!(
        s,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" font-family=\"sans-serif\" font-size=\"9\">"
    );
    let _ = writeln!(s, "<title>Schedules over {STEPS} steps</title>");
    let _ = writeln!(s, "<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>");
    for (i, (name, schedule)) in plots.iter().enumerate() {
        let (left, top) = (i % columns * width + 10, i / columns * height + 10);
        let values = schedule.values(STEPS);
        let high = values.iter().copied().fold(f64::MIN, f64::max);
        let low = values.iter().copied().fold(f64::MAX, f64::min);
        let low = if low > 0.5 * high && low < high {
            low
        } else {
            0.0
        };
        let _ = write!(
            s,
            "<g transform=\"translate({left} {top})\"><rect width=\"230\" height=\"70\" fill=\"#f4f4f6\"/>\
             <polyline fill=\"none\" stroke=\"#2458a6\" stroke-width=\"1.5\" points=\""
        );
        for (t, x) in values.iter().enumerate() {
            let px = t as f64 * 230.0 / (STEPS - 1) as f64;
            let py = 68.0 - 66.0 * (x - low) / (high - low);
            let _ = write!(s, "{px:.1},{py:.1} ");
        }
        let name: String = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            s,
            "\"/><text x=\"0\" y=\"82\">{name}</text><text x=\"0\" y=\"94\" fill=\"#666\">{low} to {high:.3}</text></g>"
        );
    }
    s.push_str("</svg>\n");
    s
}
