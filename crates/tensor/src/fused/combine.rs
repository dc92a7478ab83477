//! Partial results of all chunks, put together in the order of the chunks.

use super::reduce::{ReducePlan, combine_total};
use super::{Program, Reduce};
use crate::simd::{Isa, Kernel, dispatch_narrow};
use crate::{Real, parallel};
use smallvec::SmallVec;

/// Outputs that are combined at a time.
const COLUMNS: usize = 256;

/// Partial results from which on threads share their combination.
const SHARED: usize = 1 << 14;

/// Combines the results of all chunks for some outputs, chunk by chunk. `parts` begins at the first of these outputs, in the first
/// chunk.
struct Combine<'a, T> {
    kind: Reduce,
    out: &'a mut [T],
    parts: &'a [f64],
    stride: usize,
}

impl<T: Real> Kernel for Combine<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        #[inline(always)]
        fn each(v: &mut [f64], p: &[f64], kind: Reduce) {
            for (v, &p) in v.iter_mut().zip(p) {
                *v = combine_total(kind, *v, p);
            }
        }
        let mut room = [0.0; COLUMNS];
        let v = &mut room[..self.out.len()];
        let (first, rest) = self.parts.split_at(self.stride.min(self.parts.len()));
        v.copy_from_slice(&first[..v.len()]);
        match self.kind {
            Reduce::Sum => (rest.chunks(self.stride)).for_each(|p| each(v, p, Reduce::Sum)),
            Reduce::Max => (rest.chunks(self.stride)).for_each(|p| each(v, p, Reduce::Max)),
            Reduce::Min => (rest.chunks(self.stride)).for_each(|p| each(v, p, Reduce::Min)),
        }
        for (o, &v) in self.out.iter_mut().zip(&*v) {
            *o = T::from_f64(v);
        }
    }
}

/// Combines partial outputs that overlap between chunks, in chunk order, in f64. Returns whether all are finite, if it is
/// to `look` at them.
pub(super) fn combine_rows<T: Real>(
    p: &Program<T>,
    r: &ReducePlan,
    out: &mut [T],
    partials: &[f64],
    base: usize,
    stride: usize,
    width: usize,
    chunks: usize,
    look: bool,
) -> bool {
    let mut finite = look;
    let range = |c: usize| r.range(c * p.chunk, ((c + 1) * p.chunk).min(p.numel));
    if r.range(0, 1) == r.range(p.numel - 1, p.numel) && width == r.out_numel {
        let some = |at: usize, out: &mut [T]| {
            dispatch_narrow(Combine {
                kind: r.kind,
                out,
                parts: &partials[base + at * COLUMNS..],
                stride,
            });
        };
        if chunks * width < SHARED {
            (out.chunks_mut(COLUMNS).enumerate()).for_each(|(at, out)| some(at, out));
        } else {
            parallel::chunks_mut(out, COLUMNS, some);
        }
        return look && T::largest_magnitude(out).is_finite();
    }
    // Kept axis outermost: only the last rows of a chunk can be shared with the chunks after it.
    let mut carry: SmallVec<[f64; 8]> = SmallVec::new();
    let mut carry_low = 0;
    for c in 0..chunks {
        let (low, high) = range(c);
        let part = &partials[c * stride + base..c * stride + base + high - low];
        let next_low = if c + 1 < chunks { range(c + 1).0 } else { high };
        let mut next: SmallVec<[f64; 8]> = SmallVec::new();
        for (k, &v) in part.iter().enumerate() {
            let j = low + k;
            let v = match j.checked_sub(carry_low).and_then(|i| carry.get(i)) {
                Some(&before) => combine_total(r.kind, before, v),
                None => v,
            };
            if j >= next_low {
                next.push(v);
            } else {
                out[j] = T::from_f64(v);
                finite &= out[j].is_finite();
            }
        }
        carry = next;
        carry_low = next_low;
    }
    finite
}
