//! Elementwise square roots.

use super::functions::levels;
use wengert_tensor::Real;
use wengert_tensor::fused::{ElemFn, ROOTS, block_fns};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Level};

struct Sqrt;
impl ElemFn for Sqrt {
    const ARITY: usize = 1;
    #[inline(always)]
    fn eval<V: Lane>(x: V, _: V, _: V, _: [V; 2]) -> V {
        x.sqrt()
    }
    #[inline(always)]
    fn own_loop<T: Real, I: Isa>(dst: &mut [T], x: &[T]) -> bool {
        ROOTS.fill::<Self, T, I>(dst, x)
    }
}

/// Elementwise square roots of `x`, begun at three places that are a register of `lanes` elements apart, against `root`.
fn check_roots<T: Real>(x: &[T], lanes: usize, root: fn(T) -> T) {
    let loops = block_fns::<Sqrt, T>();
    for level in levels() {
        for from in [0, lanes, 2 * lanes] {
            let x = &x[from..];
            let mut y = vec![T::ZERO; x.len()];
            loops[level as usize - Level::Baseline as usize](&mut y, [x; 3], [T::ZERO; 2]);
            for (&x, y) in x.iter().zip(y) {
                // Conversion to f64 is exact.
                let [x, y, root] = [x, y, root(x)].map(|v| v.as_f64());
                let same = y.to_bits() == root.to_bits() || y.is_nan() && root.is_nan();
                assert!(same, "{x:e}: {y:e} in place of {root:e} on {level:?}");
            }
        }
    }
}

/// Every f32 of two binades (the others repeat them), the ends of the range of products, and what they do not take, at every
/// place of a group.
#[test]
fn roots_are_correctly_rounded() {
    let all = |from: f32, to: f32| (from.to_bits()..to.to_bits()).map(f32::from_bits);
    let least = 2.0f32.powi(-70);
    let mut x = vec![1.0; 32];
    x.extend(all(1.0, 4.0));
    x.extend(all(least / 2.0, 4.0 * least).step_by(7));
    x.extend(all(f32::MAX / 4.0, f32::INFINITY).step_by(7));
    for special in [0.0, -0.0, f32::INFINITY, f32::NAN, -1.0, 1e-40, -1e-40] {
        for at in 0..48 {
            x.extend(all(2.0, 2.1).take(at));
            x.push(special);
            x.extend(all(3.0, 3.1).take(47 - at));
        }
    }
    check_roots(&x, 16, |x| x.sqrt());
}

/// In double precision: numbers of all magnitudes, squares of numbers in the middle between two of f64 (their roots are the hardest
/// to round), the ends of the range of products, and what they do not take, at every place of a group.
#[test]
fn roots_are_correctly_rounded_in_double_precision() {
    let mut state = 7u64;
    let mut bits = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ state >> 29
    };
    let mut x = vec![1.0; 16];
    for i in 0..400_000 {
        x.push(f64::from_bits(bits() >> 1).abs());
        x.push(1.0 + (bits() >> 11) as f64 / (1u64 << 52) as f64 * 1.5);
        // (m + 1/2)² of a whole number m of 53 bits, rounded down and up, as numbers between 1 and 4. Those of m near the least
        // one are next to numbers of f64.
        let m = (1u64 << 52) | if i % 2 == 0 { bits() >> 12 } else { i };
        let square = u128::from(m) * u128::from(m + 1);
        let shift = 128 - 53 - square.leading_zeros();
        let scale = 2f64.powi(shift as i32 - 104);
        let whole = (square >> shift) as u64;
        x.extend([whole, whole + 1].map(|w| w as f64 * scale));
    }
    let least = 2f64.powi(-800);
    for i in 0..10_000u64 {
        for around in [least, f64::MAX, f64::MIN_POSITIVE, 1.0, 4.0] {
            x.push(f64::from_bits(around.to_bits() - 5_000 + i.min(5_000)));
        }
        x.push(f64::from_bits(least.to_bits() + i));
    }
    for special in [0.0, -0.0, f64::INFINITY, f64::NAN, -1.0, 1e-310, -1e-310] {
        for at in 0..24 {
            x.extend((0..24).map(|k| 2.0 + f64::from(k) * 0.37));
            let last = x.len() - 24;
            x[last + at] = special;
        }
    }
    check_roots(&x, 8, |x| x.sqrt());
}
