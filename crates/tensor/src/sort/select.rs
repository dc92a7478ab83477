//! The first elements of an order, and those of given ranks, without the order of all.

use super::keys::upper;
use super::{Line, rank};
use crate::Real;
use crate::simd::{Isa, Kernel, dispatch_narrow};

/// The lower half of the rank of the element at a place, for types of more than 32 bits.
pub(super) type Lower<'a> = dyn Fn(u32) -> u32 + Sync + 'a;

/// Elements that are looked at together.
const BLOCK: usize = 64;

/// Keys of the elements that have the upper half `half`, by the lower half of their rank, in `to`: their number, and that
/// of smaller ones.
fn equal(keys: &[u64], half: u32, lower: &Lower<'_>, to: &mut [u64]) -> (usize, usize) {
    let (mut found, mut less) = (0, 0);
    for &key in keys {
        less += usize::from(upper(key) < half);
        if upper(key) == half {
            to[found] = u64::from(lower(key as u32)) << 32 | u64::from(key as u32);
            found += 1;
        }
    }
    (found, less)
}

/// Place of the element of a rank. The keys get into another order; `spare` is as long.
pub(super) fn nth(
    keys: &mut [u64],
    spare: &mut [u64],
    rank: usize,
    lower: Option<&Lower<'_>>,
) -> u32 {
    let key = *keys.select_nth_unstable(rank).1;
    let Some(lower) = lower else {
        return key as u32;
    };
    let (found, less) = equal(keys, upper(key), lower, spare);
    *spare[..found].select_nth_unstable(rank - less).1 as u32
}

/// Moves the keys of the `count` first elements to the front, and leaves them in their order; returns the place of the last
/// one. `spare` is as long.
pub(super) fn first(
    keys: &mut [u64],
    spare: &mut [u64],
    count: usize,
    lower: Option<&Lower<'_>>,
) -> u32 {
    let spare = &mut spare[..keys.len()];
    spare.copy_from_slice(keys);
    let mut last = *spare.select_nth_unstable(count - 1).1;
    let half = upper(last);
    // Among keys of this upper half the lower half decides, where not all of them belong to the first.
    let mut among = None;
    if let Some(lower) = lower {
        let (found, less) = equal(keys, half, lower, spare);
        last = *spare[..found].select_nth_unstable(count - less - 1).1;
        among = Some((lower, last));
    }
    let mut to = 0;
    for i in 0..keys.len() {
        let key = keys[i];
        let keep = match among {
            Some((lower, last)) if upper(key) == half => {
                u64::from(lower(key as u32)) << 32 | u64::from(key as u32) <= last
            }
            Some(_) => upper(key) < half,
            None => key <= last,
        };
        keys[to] = key;
        to += usize::from(keep);
        if to == count {
            break;
        }
    }
    last as u32
}

/// Keys that [`few`] needs memory for.
pub(super) fn room(count: usize) -> usize {
    2 * count + 4 * BLOCK
}

/// The keys of the `count` first elements of a line, in the order of their places: only of what may be one of them, as far as is
/// known, a key is made.
pub(super) fn few<T: Real>(
    line: &Line<'_, T>,
    count: usize,
    keys: &mut [u64],
    spare: &mut [u64],
    lower: Option<&Lower<'_>>,
) {
    let mut found = 0;
    // Below this is what may be one of the first; at the beginning everything.
    let mut limit = None;
    let mut at = 0;
    let mut column = [T::zero(); BLOCK];
    while at < line.n {
        let mut end = line.n.min(at + BLOCK);
        if let Some(limit) = limit {
            let next = match line.step {
                1 => &line.data[at..line.n],
                step => {
                    for (to, i) in column.iter_mut().zip(at..end) {
                        *to = line.data[i * step];
                    }
                    &column[..end - at]
                }
            };
            at += dispatch_narrow(Below(next, limit, line.flip));
            end = line
                .n
                .min(at + BLOCK)
                .min(if line.step == 1 { line.n } else { end });
        }
        for i in at..end {
            let rank = line.rank(i);
            keys[found] = rank >> 32 << 32 | i as u64;
            found += usize::from(limit.is_none_or(|limit| rank < limit));
        }
        at = end;
        if found + BLOCK > keys.len() {
            let last = first(&mut keys[..found], spare, count, lower);
            limit = Some(line.rank(last as usize));
            found = count;
        }
    }
    if found > count {
        first(&mut keys[..found], spare, count, lower);
    }
}

/// Where the first block begins that has an element below a limit; the number of elements, if none has.
struct Below<'a, T: Real>(&'a [T], u64, u64);
impl<T: Real> Kernel for Below<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self) -> usize {
        let Below(x, limit, flip) = self;
        for (b, block) in x.chunks(BLOCK).enumerate() {
            let mut any = false;
            for &v in block {
                any |= (rank(v) ^ flip) < limit;
            }
            if any {
                return b * BLOCK;
            }
        }
        x.len()
    }
}
