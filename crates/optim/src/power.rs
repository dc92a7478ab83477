//! Powers by a number of steps.

/// `base` to the power of `n`, `base` from 0 to 1: within one unit in the last place.
///
/// By squaring, in numbers of twice the precision. Not `powf`: it is the one thing for which a program that trains would load
/// the system's library of mathematics, a third of a megabyte.
pub(crate) fn power(base: f64, mut n: u64) -> f64 {
    let (mut square, mut product) = ((base, 0.0), (1.0, 0.0));
    while n > 0 {
        if n % 2 == 1 {
            product = times(product, square);
        }
        n /= 2;
        if n > 0 {
            square = times(square, square);
        }
    }
    product.0 + product.1
}

/// The product of two unevaluated sums (Dekker 1971).
fn times((a, a_low): (f64, f64), (b, b_low): (f64, f64)) -> (f64, f64) {
    let halves = |x: f64| {
        let c = x * 134_217_729.0;
        let high = c - (c - x);
        (high, x - high)
    };
    let ((a1, a2), (b1, b2)) = (halves(a), halves(b));
    let p = a * b;
    let rest = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2 + (a * b_low + a_low * b);
    let high = p + rest;
    (high, rest - (high - p))
}

#[cfg(test)]
mod tests {
    use super::power;

    #[test]
    fn powers_are_those_of_the_system() {
        let bases = [
            0.0,
            1e-3,
            0.1,
            0.5,
            0.8,
            0.9,
            0.95,
            0.99,
            0.999,
            0.9999,
            1.0 - 1e-9,
            1.0,
        ];
        for base in bases {
            for n in (0..200).chain([1_000, 4_567, 100_000, 7_654_321, 1 << 40]) {
                let (found, expected) = (power(base, n), base.powf(n as f64));
                let unit = (expected.next_up() - expected).max(f64::MIN_POSITIVE);
                assert!(
                    (found - expected).abs() <= unit,
                    "{base}^{n}: {found:e}, not {expected:e}"
                );
            }
        }
    }
}
