//! The distribution that samples are mixed by.

use crate::random::Xoshiro256PlusPlus;
use rand::RngExt;
use rand::distr::Open01;

/// A draw from Beta(α, α), for a finite α > 0: the algorithms BB and BC of Cheng 1978. The numbers are those of
/// `rand_distr::Beta`.
pub(super) fn symmetric(alpha: f64, rng: &mut Xoshiro256PlusPlus) -> f64 {
    let w = if alpha > 1.0 {
        concave(alpha, rng)
    } else {
        convex(alpha, rng)
    };
    if alpha > 1.0 {
        return alpha / (alpha + w);
    }
    if w == f64::INFINITY {
        return 1.0;
    }
    w / (alpha + w)
}

/// BB: a density with one hill.
fn concave(a: f64, rng: &mut Xoshiro256PlusPlus) -> f64 {
    let alpha = a + a;
    let beta = ((alpha - 2.0) / (2.0 * a * a - alpha)).sqrt();
    let gamma = a + 1.0 / beta;
    loop {
        let (u, t): (f64, f64) = (rng.sample(Open01), rng.sample(Open01));
        let v = beta * (u / (1.0 - u)).ln();
        let w = a * v.exp();
        let z = u * u * t;
        let r = gamma * v - 4f64.ln();
        let s = a + r - w;
        if s + 1.0 + 5f64.ln() >= 5.0 * z {
            return w;
        }
        let t = z.ln();
        // NaN ends the search, too.
        let refused = s < t && r + alpha * (alpha / (a + w)).ln() < t;
        if !refused {
            return w;
        }
    }
}

/// BC: a density that is flat or has its heights at the ends.
fn convex(a: f64, rng: &mut Xoshiro256PlusPlus) -> f64 {
    let alpha = a + a;
    let beta = 1.0 / a;
    let delta = 1.0 + a - a;
    let least = delta * (1.0 / 18.0 / 4.0 + 3.0 / 18.0 / 4.0 * a) / (a * beta - 14.0 / 18.0);
    let most = 0.25 + (0.5 + 0.25 / delta) * a;
    loop {
        let (u, t): (f64, f64) = (rng.sample(Open01), rng.sample(Open01));
        let weight = || {
            let v = beta * (u / (1.0 - u)).ln();
            (v, a * v.exp())
        };
        let z;
        if u < 0.5 {
            let y = u * t;
            z = u * y;
            if 0.25 * t + z - y >= least {
                continue;
            }
        } else {
            z = u * u * t;
            if z <= 0.25 {
                return weight().1;
            }
            if z >= most {
                continue;
            }
        }
        let (v, w) = weight();
        let refused = alpha * ((alpha / (a + w)).ln() + v) - 4f64.ln() < z.ln();
        if !refused {
            return w;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::symmetric;
    use crate::random::stream;
    use rand_distr::{Beta, Distribution};

    #[test]
    fn the_numbers_are_those_of_rand_distr() {
        for alpha in [1e-3, 0.1, 0.4, 1.0, 1.5, 2.0, 30.0] {
            let beta = Beta::new(alpha, alpha).unwrap();
            let (mut ours, mut theirs) = (stream(3, &[]), stream(3, &[]));
            for _ in 0..20_000 {
                let (x, y) = (symmetric(alpha, &mut ours), beta.sample(&mut theirs));
                assert_eq!(x.to_bits(), y.to_bits(), "alpha = {alpha}");
            }
        }
    }
}
