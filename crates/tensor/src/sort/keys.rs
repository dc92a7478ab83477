//! Sorting of keys: numbers of 64 bits whose upper half is what orders them, and whose lower half, their place, makes them
//! distinct. Nothing here knows of element types.

use super::select::Lower;
use crate::Storage;
use crate::error::OrPanic;
use crate::parallel::{self, Parts};
use crate::simd::{Level, best_level, level};

/// Lines that a network sorts at the same time: 64-bit lanes of the widest register.
pub(super) const LANES: usize = 8;

/// Below so many keys, each is moved to its place past the larger ones.
pub(super) const FEW: usize = 24;

/// Keys from which a line is split in buckets before it is sorted, by all threads.
pub(super) const MANY: usize = 1 << 15;

/// Memory of `n` keys: that of tensors, which comes in large pages where it is large.
pub(super) fn memory(n: usize) -> Storage<i64> {
    Storage::zeroed("sort", n).or_panic()
}

/// The keys in it.
pub(super) fn of(memory: &mut Storage<i64>) -> &mut [u64] {
    let all = memory.as_mut_slice();
    // SAFETY: the same elements, borrowed for as long, as numbers without a sign, of which every bit pattern is one.
    unsafe { std::slice::from_raw_parts_mut(all.as_mut_ptr().cast(), all.len()) }
}

/// What orders a key.
#[inline(always)]
pub(super) fn upper(key: u64) -> u32 {
    (key >> 32) as u32
}

/// Sorts keys of which equal upper halves come in the order of the lower ones (less than [`FEW`]: in any order). The result is in `a`, or in `b`, which has as
/// many elements and arbitrary contents, if that is said.
pub(super) fn sort(a: &mut [u64], b: &mut [u64], in_b: bool) {
    let b = &mut b[..a.len()];
    if a.len() < FEW {
        insert(a);
    } else if !a.is_sorted() {
        return match a.len() < MANY {
            true => radix(a, b, in_b),
            false => split(a, b, in_b),
        };
    }
    if in_b {
        b.copy_from_slice(a);
    }
}

fn insert(keys: &mut [u64]) {
    for i in 1..keys.len() {
        let key = keys[i];
        let mut to = i;
        while to > 0 && keys[to - 1] > key {
            keys[to] = keys[to - 1];
            to -= 1;
        }
        keys[to] = key;
    }
}

/// Smallest and largest upper half.
fn range(keys: &[u64]) -> (u32, u32) {
    keys.iter().fold((u32::MAX, 0), |(low, high), &k| {
        (low.min(upper(k)), high.max(upper(k)))
    })
}

/// Bits in which numbers of a range differ once the smallest is taken off.
fn bits((low, high): (u32, u32)) -> u32 {
    32 - (high - low).leading_zeros()
}

/// Sorts by one digit after the other, the lowest first, of the difference to the smallest key.
fn radix(a: &mut [u64], b: &mut [u64], in_b: bool) {
    let range = range(a);
    let bits = bits(range);
    let (mut from, mut to) = (a, b);
    let mut swapped = false;
    if bits > 0 {
        let passes = bits.div_ceil(8);
        let width = bits.div_ceil(passes);
        for pass in 0..passes {
            let digit = |key: u64| {
                ((upper(key) - range.0) >> (pass * width)) as usize & ((1 << width) - 1) & 255
            };
            let mut ends = [0u32; 256];
            from.iter().for_each(|&key| ends[digit(key)] += 1);
            let mut at = 0;
            for end in &mut ends {
                at += std::mem::replace(end, at);
            }
            for &key in &*from {
                let end = &mut ends[digit(key)];
                to[*end as usize] = key;
                *end += 1;
            }
            std::mem::swap(&mut from, &mut to);
            swapped = !swapped;
        }
    }
    if swapped != in_b {
        to.copy_from_slice(from);
    }
}

/// Splits the keys in buckets by the highest digit of the difference to the smallest key, and sorts those.
#[inline(never)]
fn split(a: &mut [u64], b: &mut [u64], in_b: bool) {
    let n = a.len();
    let part = MANY.max(n.div_ceil(64));
    let parts = n.div_ceil(part);
    let mut ranges = vec![(0, 0); parts];
    parallel::chunks_mut(&mut ranges, 1, |p, r| r[0] = range(part_of(a, p, part)));
    let range = ranges.iter().fold((u32::MAX, 0), |r, &(low, high)| {
        (r.0.min(low), r.1.max(high))
    });
    let bits = bits(range);
    // About 500 keys in a bucket where they are spread evenly.
    let width = bits.min((n.ilog2() - 9).min(11));
    let digit = |key: u64| ((upper(key) - range.0) >> (bits - width)) as usize;
    let buckets = 1 << width;
    // Where the keys of each part begin in each bucket.
    let mut starts = vec![0u32; parts * buckets];
    parallel::chunks_mut(&mut starts, buckets, |p, counts| {
        part_of(a, p, part)
            .iter()
            .for_each(|&key| counts[digit(key)] += 1);
    });
    let mut borders = Vec::with_capacity(buckets + 1);
    let mut at = 0;
    for bucket in 0..buckets {
        borders.push(at as usize);
        for p in 0..parts {
            at += std::mem::replace(&mut starts[p * buckets + bucket], at);
        }
    }
    borders.push(n);
    let whole = &Parts::new(&mut *b);
    parallel::chunks_mut(&mut starts, buckets, |p, starts| {
        for &key in part_of(a, p, part) {
            let to = &mut starts[digit(key)];
            // SAFETY: the counts above are of the same keys, so every key has a place of its own in `b`.
            unsafe { *whole.at(*to as usize) = key };
            *to += 1;
        }
    });
    sort_buckets(&borders, b, a, !in_b);
}

#[inline(always)]
fn part_of(keys: &[u64], p: usize, part: usize) -> &[u64] {
    &keys[p * part..keys.len().min((p + 1) * part)]
}

/// Sorts the buckets of `a` between neighbours of `borders`, some of them on other threads.
fn sort_buckets(borders: &[usize], a: &mut [u64], b: &mut [u64], in_b: bool) {
    let buckets = borders.len() - 1;
    if buckets > 1 && a.len() > MANY / 4 {
        let middle = buckets / 2;
        let (low, high) = (&borders[..=middle], &borders[middle..]);
        let at = borders[middle] - borders[0];
        let ((a_low, a_high), (b_low, b_high)) = (a.split_at_mut(at), b.split_at_mut(at));
        parallel::join(
            || sort_buckets(low, a_low, b_low, in_b),
            || sort_buckets(high, a_high, b_high, in_b),
        );
        return;
    }
    for w in borders.windows(2) {
        let at = w[0] - borders[0]..w[1] - borders[0];
        sort(&mut a[at.clone()], &mut b[at], in_b);
    }
}

/// Puts sorted keys with equal upper halves in the order of `lower` of their places. Of the keys, the places are left.
pub(super) fn refine(keys: &mut [u64], spare: &mut [u64], lower: &Lower<'_>) {
    let n = keys.len();
    let spare = &mut spare[..n];
    if n > MANY {
        let middle = upper(keys[n / 2]);
        let from = keys.partition_point(|&k| upper(k) < middle);
        let to = keys.partition_point(|&k| upper(k) <= middle);
        let ((below, rest), (spare_below, spare)) =
            (keys.split_at_mut(from), spare.split_at_mut(from));
        let ((equal, above), (spare, spare_above)) =
            (rest.split_at_mut(to - from), spare.split_at_mut(to - from));
        parallel::join(
            || refine(below, spare_below, lower),
            || refine(above, spare_above, lower),
        );
        return by_lower(equal, spare, lower);
    }
    let mut at = 0;
    while at < n {
        let half = upper(keys[at]);
        let equal = keys[at..].iter().take_while(|&&k| upper(k) == half).count();
        if equal > 1 {
            by_lower(&mut keys[at..at + equal], &mut spare[at..at + equal], lower);
        }
        at += equal;
    }
}

fn by_lower(keys: &mut [u64], spare: &mut [u64], lower: &Lower<'_>) {
    parallel::chunks_mut(keys, MANY, |_, keys| {
        for key in keys {
            *key = u64::from(lower(*key as u32)) << 32 | u64::from(*key as u32);
        }
    });
    sort(keys, spare, false);
}

/// Which two of `n` keys are exchanged, one pair after the other, where the first is larger, so that they are sorted: Batcher's
/// merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2 M).
pub(super) fn network(n: usize) -> Vec<[u16; 2]> {
    let mut pairs = Vec::new();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            pairs.extend(
                (0..n - d)
                    .filter(|i| i & p == r)
                    .map(|i| [i as u16, (i + d) as u16]),
            );
            if q == p {
                break;
            }
            (d, r) = (q - p, p);
            q /= 2;
        }
        p /= 2;
    }
    pairs
}

/// Sorts each lane by itself, by the pairs of [`network`]. The compiler makes no vector code of it.
pub(super) fn exchange(pairs: &[[u16; 2]], keys: &mut [[u64; LANES]]) {
    exchange_at(level(), pairs, keys);
}

fn exchange_at(level: Level, pairs: &[[u16; 2]], keys: &mut [[u64; LANES]]) {
    #[cfg(target_arch = "x86_64")]
    match level.min(best_level()) {
        // SAFETY: `best_level` says that this machine has the feature.
        Level::Avx512 => return unsafe { exchange_512(pairs, keys) },
        // SAFETY: as above, for AVX2.
        Level::Avx2 => return unsafe { exchange_256(pairs, keys) },
        Level::Baseline => {}
    }
    let _ = level;
    for &[i, j] in pairs {
        let (a, b) = (keys[i as usize], keys[j as usize]);
        for k in 0..LANES {
            keys[i as usize][k] = a[k].min(b[k]);
            keys[j as usize][k] = a[k].max(b[k]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn exchange_512(pairs: &[[u16; 2]], keys: &mut [[u64; LANES]]) {
    use std::arch::x86_64::*;
    for &[i, j] in pairs {
        let (i, j) = (i as usize, j as usize);
        // SAFETY: eight numbers of 64 bits are read and written, all of those in an array.
        unsafe {
            let a = _mm512_loadu_si512(keys[i].as_ptr().cast());
            let b = _mm512_loadu_si512(keys[j].as_ptr().cast());
            _mm512_storeu_si512(keys[i].as_mut_ptr().cast(), _mm512_min_epu64(a, b));
            _mm512_storeu_si512(keys[j].as_mut_ptr().cast(), _mm512_max_epu64(a, b));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn exchange_256(pairs: &[[u16; 2]], keys: &mut [[u64; LANES]]) {
    use std::arch::x86_64::*;
    // Comparisons are of signed numbers.
    let sign = _mm256_set1_epi64x(i64::MIN);
    for &[i, j] in pairs {
        let (i, j) = (i as usize, j as usize);
        for half in [0, LANES / 2] {
            let (low, high) = (&raw mut keys[i][half], &raw mut keys[j][half]);
            // SAFETY: four numbers of 64 bits are read and written, one half of those in an array.
            unsafe {
                let a = _mm256_loadu_si256(low.cast());
                let b = _mm256_loadu_si256(high.cast());
                let more = _mm256_cmpgt_epi64(_mm256_xor_si256(a, sign), _mm256_xor_si256(b, sign));
                _mm256_storeu_si256(low.cast(), _mm256_blendv_epi8(a, b, more));
                _mm256_storeu_si256(high.cast(), _mm256_blendv_epi8(b, a, more));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_sort_every_lane_with_every_instruction_set() {
        for n in 0..=256 {
            let key = |i: usize, lane: usize| {
                let x = (i * 8 + lane + 1) as u64;
                x.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            };
            let keys: Vec<[u64; LANES]> =
                (0..n).map(|i| std::array::from_fn(|l| key(i, l))).collect();
            for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
                let mut found = keys.clone();
                exchange_at(level, &network(n), &mut found);
                for lane in 0..LANES {
                    let mut sorted: Vec<u64> = keys.iter().map(|k| k[lane]).collect();
                    sorted.sort_unstable();
                    assert!(
                        found.iter().map(|k| k[lane]).eq(sorted),
                        "{n} keys, {level:?}"
                    );
                }
            }
        }
    }
}
