//! The line search (Nocedal and Wright 2006, algorithms 3.5 and 3.6).

use wengert_tensor::Real;

/// A point on the line that is searched.
#[derive(Clone)]
pub(super) struct Trial<T> {
    pub t: f64,
    pub f: f64,
    pub slope: f64,
    pub g: Vec<T>,
}

/// Where the cubic through two points with their slopes is least (Nocedal and Wright 2006, equation 3.59), kept within
/// bounds; the middle of them where there is no such point.
fn cubic<T>(a: &Trial<T>, b: &Trial<T>, low: f64, high: f64) -> f64 {
    let (a, b) = if a.t <= b.t { (a, b) } else { (b, a) };
    let d1 = a.slope + b.slope - 3.0 * (a.f - b.f) / (a.t - b.t);
    let square = d1 * d1 - a.slope * b.slope;
    let d2 = square.sqrt();
    let t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2));
    if t.is_nan() {
        (low + high) / 2.0
    } else {
        t.max(low).min(high)
    }
}

const ARMIJO: f64 = 1e-4;
const WOLFE: f64 = 0.9;

/// A step that satisfies the strong Wolfe conditions, or the best one found with `limit` trials after the first.
pub(super) fn strong_wolfe<T: Real>(
    evaluate: &mut impl FnMut(f64) -> Trial<T>,
    start: Trial<T>,
    first: f64,
    scale: f64,
    tolerance: f64,
    limit: usize,
) -> (Trial<T>, usize) {
    // A loss that is not a number counts as too high: the search turns back from it.
    let mut trial = |t: f64| {
        let mut x = evaluate(t);
        if x.f.is_nan() || x.slope.is_nan() {
            x.f = f64::INFINITY;
        }
        x
    };
    let (f0, slope0) = (start.f, start.slope);
    let too_high = |x: &Trial<T>| x.f > f0 + ARMIJO * x.t * slope0;
    let flat = |x: &Trial<T>| x.slope.abs() <= -WOLFE * slope0;
    // Go outwards until an acceptable step lies between two trials.
    let mut used = 0;
    let mut before = start.clone();
    let mut now = trial(first);
    let mut bracket = loop {
        if used >= limit {
            break [start, now];
        }
        if too_high(&now) || (used > 1 && now.f >= before.f) {
            break [before, now];
        }
        if flat(&now) {
            return (now, used + 1);
        }
        if now.slope >= 0.0 {
            break [before, now];
        }
        let (near, far) = (now.t + 0.01 * (now.t - before.t), now.t * 10.0);
        let next = cubic(&before, &now, near, far);
        before = std::mem::replace(&mut now, trial(next));
        used += 1;
    };
    // Close in on it.
    let mut stuck = false;
    let lowest = |b: &[Trial<T>; 2]| usize::from(b[0].f > b[1].f);
    let mut low = lowest(&bracket);
    while used < limit {
        let (left, right) = (
            bracket[0].t.min(bracket[1].t),
            bracket[0].t.max(bracket[1].t),
        );
        if (right - left) * scale < tolerance {
            break;
        }
        let mut t = cubic(&bracket[0], &bracket[1], left, right);
        // Trials that crowd one end make no progress: the second time, step away from it.
        let margin = 0.1 * (right - left);
        if (right - t).min(t - left) < margin {
            if stuck || t >= right || t <= left {
                t = if (t - right).abs() < (t - left).abs() {
                    right - margin
                } else {
                    left + margin
                };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let x = trial(t);
        used += 1;
        let high = 1 - low;
        if too_high(&x) || x.f >= bracket[low].f {
            bracket[high] = x;
            low = lowest(&bracket);
            continue;
        }
        let done = flat(&x);
        if !done && x.slope * (bracket[high].t - bracket[low].t) >= 0.0 {
            // The low end becomes the high one.
            bracket[high] = bracket[low].clone();
        }
        bracket[low] = x;
        if done {
            break;
        }
    }
    let [a, b] = bracket;
    (if low == 0 { a } else { b }, used + 1)
}
