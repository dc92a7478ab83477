//! The first elements of an order, and those of given ranks, without the order of all.

use super::keys::{FEW, upper};
use super::{Line, rank};
use crate::Real;
use crate::simd::{Isa, Kernel, dispatch_narrow};

/// The lower half of the rank of the element at a place, for types of more than 32 bits.
pub(super) type Lower<'a> = dyn Fn(u32) -> u32 + Sync + 'a;

/// Elements that are looked at together.
const BLOCK: usize = 16;

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

/// The keys of the `count` first elements of a line, in the order of their places, or, of less than [`FEW`], in any order: only
/// of what may be one of them, as far as is known, a key is made.
pub(super) fn few<T: Real>(
    line: &Line<'_, T>,
    count: usize,
    keys: &mut [u64],
    spare: &mut [u64],
    lower: Option<&Lower<'_>>,
) {
    if count < FEW {
        return fewest(line, count, keys);
    }
    let mut found = 0;
    // The last of the first ones of what was seen: what follows it, or equals it, is none of them.
    let mut last: Option<T> = None;
    let mut at = 0;
    while at < line.data.len() {
        if let Some(last) = last {
            at += dispatch_narrow(Before(&line.data[at..], last, line.flip > 0));
        }
        let end = line.data.len().min(at + BLOCK);
        for i in at..end {
            if last.is_none_or(|last| line.rank(i) < rank(last) ^ line.flip) {
                keys[found] = line.key(i);
                found += 1;
            }
        }
        at = end;
        if found + BLOCK > keys.len() {
            let place = first(&mut keys[..found], spare, count, lower);
            last = Some(line.data[place as usize]);
            found = count;
        }
    }
    if found > count {
        first(&mut keys[..found], spare, count, lower);
    }
}

/// As [`few`], for less than [`FEW`]: each is moved to its place among those found.
fn fewest<T: Real>(line: &Line<'_, T>, count: usize, keys: &mut [u64]) {
    let descending = line.flip > 0;
    let (mut ranks, mut places) = ([0; FEW], [0; FEW]);
    let mut found = 0;
    let mut at = 0;
    while at < line.data.len() {
        if found == count {
            let last = line.data[places[count - 1]];
            at += dispatch_narrow(Before(&line.data[at..], last, descending));
        }
        let end = line.data.len().min(at + BLOCK);
        for i in at..end {
            let rank = line.rank(i);
            let mut to = found;
            if found < count {
                found += 1;
            } else if rank < ranks[count - 1] {
                to -= 1;
            } else {
                continue;
            }
            while to > 0 && ranks[to - 1] > rank {
                (ranks[to], places[to]) = (ranks[to - 1], places[to - 1]);
                to -= 1;
            }
            (ranks[to], places[to]) = (rank, i);
        }
        at = end;
    }
    for (key, place) in keys.iter_mut().zip(&places[..count]) {
        *key = line.key(*place);
    }
}

/// Where the first block begins that has an element before `last`, or a NaN, or what is less than a block.
struct Before<'a, T: Real>(&'a [T], T, bool);
impl<T: Real> Kernel for Before<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self) -> usize {
        let Before(x, last, descending) = self;
        match descending {
            true => block(x, |v| before(v, last, true)),
            false => block(x, |v| before(v, last, false)),
        }
    }
}

/// Whether an element comes before `last`; true also for some NaN that do not. Before NaN comes everything when ascending, and
/// nothing when descending.
#[inline(always)]
fn before<T: Real>(v: T, last: T, descending: bool) -> bool {
    match descending {
        true => (v > last) | v.is_nan(),
        false => (v < last) | v.is_nan() | last.is_nan(),
    }
}

#[inline(always)]
fn block<T: Real>(x: &[T], hit: impl Fn(T) -> bool) -> usize {
    let blocks = x.chunks_exact(BLOCK);
    let rest = x.len() - blocks.remainder().len();
    for (b, block) in blocks.enumerate() {
        // Without an early end inside a block, so that it is one comparison per vector.
        if block.iter().fold(false, |any, &v| any | hit(v)) {
            return b * BLOCK;
        }
    }
    rest
}
