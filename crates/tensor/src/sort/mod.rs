//! The order of lines along an axis: sorting, the first few, elements of given ranks.
//!
//! NaN counts as larger than everything, 0 and -0 are equal, and equal elements keep their order: an order that leaves no
//! choice, so that how a line is sorted, and by how many threads, does not show.
//!
//! Elements become keys of 64 bits: above a number that orders as they do, below their place. What f64 has more than 32 bits
//! for is looked at among equal keys only. So one sort serves both element types and both directions.

mod keys;
mod select;

use crate::parallel::{self, Parts};
use crate::{Real, Tensor};
use keys::{LANES, MANY};

/// Longest line that is sorted by a network.
const SHORT: usize = 256;

/// Elements of a task of short lines.
const TASK: usize = 1 << 13;

/// Which elements of a line's order.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Wanted {
    /// The first ones.
    First {
        /// How many.
        count: usize,
        /// From the largest on; then NaN comes first.
        descending: bool,
    },
    /// Those of two ranks in ascending order.
    Ranks([usize; 2]),
    /// As `Ranks`; where there is a NaN, the first one in place of both.
    RanksOrNan([usize; 2]),
}

impl Wanted {
    /// How many elements of each line.
    pub fn count(self) -> usize {
        match self {
            Wanted::First { count, .. } => count,
            _ => 2,
        }
    }

    /// Whether every element of a line of `n` is wanted, once.
    fn all(self, n: usize) -> bool {
        matches!(self, Wanted::First { count, .. } if count == n)
    }

    fn flip(self) -> u64 {
        match self {
            Wanted::First {
                descending: true, ..
            } => u64::MAX,
            _ => 0,
        }
    }
}

/// What is done with the places of the wanted elements.
pub enum Use<'a, T: Real> {
    /// They are written.
    Places(&'a mut [i64]),
    /// The elements of a tensor of the same shape at these places are written.
    Take(&'a Tensor<T>, &'a mut [T]),
    /// Zeros of the shape of the ordered tensor are written, and added to them at these places the elements of a tensor of the
    /// shape of the wanted ones: the adjoint of `Take`.
    Put(&'a Tensor<T>, &'a mut [T]),
}

/// A number that orders as `v` does, ascending with NaN last; equal values (so 0 and -0, or two NaN) have equal numbers. Of a
/// type of 32 bits, the lower half is 0.
#[inline(always)]
fn rank<T: Real>(v: T) -> u64 {
    if v.is_nan() {
        return if size_of::<T>() == 4 { !0 << 32 } else { !0 };
    }
    // Without the sign of zero. What is widened for nothing is narrowed again by the compiler.
    let v = v.as_f64() + 0.0;
    if size_of::<T>() == 4 {
        let bits = (v as f32).to_bits();
        u64::from(bits ^ ((bits as i32 >> 31) as u32 | 1 << 31)) << 32
    } else {
        let bits = v.to_bits();
        bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
    }
}

/// A line and the direction in which it is ordered.
#[derive(Clone, Copy)]
struct Line<'a, T: Real> {
    data: &'a [T],
    flip: u64,
}

impl<T: Real> Line<'_, T> {
    #[inline(always)]
    fn rank(&self, place: usize) -> u64 {
        rank(self.data[place]) ^ self.flip
    }

    #[inline(always)]
    fn key(&self, place: usize) -> u64 {
        self.rank(place) >> 32 << 32 | place as u64
    }

    /// The lower half of an element's rank.
    fn lower(&self, place: u32) -> u32 {
        self.rank(place as usize) as u32
    }

    /// The keys of all elements.
    fn fill(&self, keys: &mut [u64]) {
        parallel::chunks_mut(keys, MANY, |c, keys| {
            let first = c * MANY;
            let line = &self.data[first..first + keys.len()];
            for (i, (key, &v)) in keys.iter_mut().zip(line).enumerate() {
                *key = (rank(v) ^ self.flip) >> 32 << 32 | (first + i) as u64;
            }
        });
    }
}

/// Where results go.
enum Out<'a, T: Real> {
    Places(Parts<'a, i64>),
    /// From lines one after the other.
    Take(&'a [T], Parts<'a, T>),
    Put(&'a [T], Parts<'a, T>),
}

struct Job<'a, T: Real> {
    /// Lines one after the other.
    data: &'a [T],
    n: usize,
    count: usize,
    inner: usize,
    wanted: Wanted,
    out: Out<'a, T>,
}

/// Orders each line along an axis, and uses the places of the wanted elements.
///
/// # Panics
/// When an operand or a result has not the size it must have, or a rank is not below the length of the lines.
pub fn in_order<T: Real>(x: &Tensor<T>, axis: usize, wanted: Wanted, to: Use<'_, T>) {
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    let count = wanted.count();
    let (all, results) = (x.numel(), outer * count * inner);
    match wanted {
        Wanted::First { count, .. } => assert!(count <= n, "in_order: more than there are"),
        Wanted::Ranks(r) | Wanted::RanksOrNan(r) => {
            assert!(r[0] < n && r[1] < n, "in_order: no such rank");
        }
    }
    assert!(n <= u32::MAX as usize, "in_order: a line of {n} elements");
    let lines = |t: &Tensor<T>| match inner {
        1 => t.contiguous(),
        _ => t.reshape([outer, n, inner]).transpose(1, 2).contiguous(),
    };
    let data = lines(x);
    let y;
    let out = match to {
        Use::Places(p) => {
            assert_eq!(p.len(), results, "in_order: places");
            Out::Places(Parts::new(p))
        }
        Use::Take(from, p) => {
            assert_eq!((from.numel(), p.len()), (all, results), "in_order: taken");
            y = match std::ptr::eq(from, x) {
                true => data.clone(),
                false => lines(from),
            };
            Out::Take(y.as_slice().expect("contiguous"), Parts::new(p))
        }
        Use::Put(from, p) => {
            assert_eq!((from.numel(), p.len()), (results, all), "in_order: put");
            if !wanted.all(n) {
                parallel::fill(p, T::zero());
            }
            y = from.contiguous();
            Out::Put(y.as_slice().expect("contiguous"), Parts::new(p))
        }
    };
    if results == 0 {
        return;
    }
    let job = &Job {
        data: data.as_slice().expect("contiguous"),
        n,
        count,
        inner,
        wanted,
        out,
    };
    let lines = outer * inner;
    if n <= SHORT && (lines > 2 || n <= SHORT / 8) {
        let pairs = &keys::network(n);
        let some = TASK.div_ceil(n * LANES) * LANES;
        parallel::tasks(lines.div_ceil(some), |task| {
            let (mut keys, mut line) = (vec![[0; LANES]; n], vec![0; 2 * n]);
            for first in (task * some..lines.min((task + 1) * some)).step_by(LANES) {
                job.short(first, LANES.min(lines - first), pairs, &mut keys, &mut line);
            }
        });
    } else {
        let some = TASK.div_ceil(n);
        let room = job.room();
        parallel::tasks(lines.div_ceil(some), |task| {
            let (mut a, mut b) = (keys::memory(room), keys::memory(room));
            let (a, b) = (keys::of(&mut a), keys::of(&mut b));
            for line in task * some..lines.min((task + 1) * some) {
                job.long(line, a, b);
            }
        });
    }
}

impl<'a, T: Real> Job<'a, T> {
    /// Where line `line` begins in an array that has `n` elements along the axis.
    #[inline(always)]
    fn start(&self, line: usize, n: usize) -> usize {
        if self.inner == 1 {
            line * n
        } else {
            line / self.inner * n * self.inner + line % self.inner
        }
    }

    fn line(&self, line: usize) -> Line<'a, T> {
        Line {
            data: &self.data[line * self.n..][..self.n],
            flip: self.wanted.flip(),
        }
    }

    /// Whether the first ones are so few that most elements need no key.
    fn few(&self) -> bool {
        matches!(self.wanted, Wanted::First { count, .. } if count <= self.n / 8)
    }

    /// Keys that [`Job::long`] needs memory for.
    fn room(&self) -> usize {
        if self.few() {
            select::room(self.count)
        } else {
            self.n
        }
    }

    /// Up to [`LANES`] lines side by side.
    fn short(
        &self,
        first: usize,
        lanes: usize,
        pairs: &[[u16; 2]],
        keys: &mut [[u64; LANES]],
        memory: &mut [u64],
    ) {
        for lane in 0..lanes {
            let line = self.line(first + lane);
            for (place, key) in keys.iter_mut().enumerate() {
                key[lane] = line.key(place);
            }
        }
        keys::exchange(pairs, keys);
        let (sorted, spare) = memory.split_at_mut(self.n);
        for lane in 0..lanes {
            for (to, key) in sorted.iter_mut().zip(&*keys) {
                *to = key[lane];
            }
            self.sorted(first + lane, sorted, spare);
        }
    }

    /// Of a whole line in the order of the keys.
    fn sorted(&self, at: usize, keys: &mut [u64], spare: &mut [u64]) {
        let line = self.line(at);
        let nan = match self.wanted {
            Wanted::RanksOrNan(_) => keys.partition_point(|&k| keys::upper(k) < u32::MAX),
            _ => self.n,
        };
        if size_of::<T>() == 8 {
            keys::refine(keys, spare, &|place| line.lower(place));
        }
        match self.wanted {
            Wanted::First { count, .. } => self.results(at, &keys[..count]),
            _ if nan < self.n => self.results(at, &[keys[nan]; 2]),
            Wanted::RanksOrNan([i, j]) | Wanted::Ranks([i, j]) => {
                self.results(at, &[keys[i], keys[j]]);
            }
        }
    }

    /// A line for itself.
    fn long(&self, at: usize, a: &mut [u64], b: &mut [u64]) {
        let line = self.line(at);
        let lower: Option<&select::Lower<'_>> = match size_of::<T>() {
            8 => Some(&|place| line.lower(place)),
            _ => None,
        };
        match self.wanted {
            Wanted::First { count, .. } => {
                if self.few() {
                    select::few(&line, count, a, b, lower);
                } else {
                    line.fill(a);
                    if count < self.n {
                        select::first(a, b, count, lower);
                    }
                }
                let (a, b) = (&mut a[..count], &mut b[..count]);
                keys::sort(a, b, false);
                if let Some(lower) = lower {
                    keys::refine(a, b, lower);
                }
                let a = &*a;
                parallel::tasks(count.div_ceil(MANY), |i| {
                    self.some(at, i * MANY, &a[i * MANY..count.min((i + 1) * MANY)]);
                });
            }
            Wanted::Ranks(ranks) | Wanted::RanksOrNan(ranks) => {
                line.fill(a);
                if let Wanted::RanksOrNan(_) = self.wanted
                    && a.iter().fold(0, |most, &k| most.max(k)) >> 32 == u64::from(u32::MAX)
                {
                    let nan = a.iter().position(|&k| keys::upper(k) == u32::MAX);
                    return self.results(at, &[nan.expect("the largest key is one") as u64; 2]);
                }
                let low = select::nth(a, b, ranks[0], lower);
                let high = match ranks[1].wrapping_sub(ranks[0]) {
                    0 => low,
                    // What is above an element of a rank has been put behind it.
                    1 if lower.is_none() => {
                        let above = a[ranks[1]..].iter().min();
                        *above.expect("there is such a rank") as u32
                    }
                    _ => select::nth(a, b, ranks[1], lower),
                };
                self.results(at, &[low, high].map(u64::from));
            }
        }
    }

    fn results(&self, line: usize, keys: &[u64]) {
        self.some(line, 0, keys);
    }

    /// Uses the wanted elements from number `first` on.
    fn some(&self, line: usize, first: usize, keys: &[u64]) {
        let step = self.inner;
        let wanted = self.start(line, self.count) + first * step;
        let place = |key: u64| key as u32 as usize;
        // SAFETY, below: lines do not overlap, and a line is the work of one task, or of several that write to different
        // places; `in_order` has checked the sizes, and places are below the length of the line.
        match &self.out {
            Out::Places(out) => {
                for (i, &key) in keys.iter().enumerate() {
                    // SAFETY: see above.
                    unsafe { *out.at(wanted + i * step) = place(key) as i64 };
                }
            }
            Out::Take(from, out) => {
                let from = &from[line * self.n..][..self.n];
                for (i, &key) in keys.iter().enumerate() {
                    // SAFETY: see above.
                    unsafe { *out.at(wanted + i * step) = from[place(key)] };
                }
            }
            Out::Put(from, out) => {
                let (from, whole) = (&from[wanted..], self.start(line, self.n));
                for (i, &key) in keys.iter().enumerate() {
                    let v = from[i * step];
                    let to = out.at(whole + place(key) * step);
                    if self.wanted.all(self.n) {
                        // SAFETY: see above.
                        unsafe { *to = v };
                    } else {
                        // SAFETY: see above.
                        unsafe { *to += v };
                    }
                }
            }
        }
    }
}
