//! Reductions of few rows: each block of the result is made in place, row by row, without partial results.

use super::reduce::better;
use super::run::{Plan, asked};
use super::{CHUNK, Reduce, UNIT};
use crate::lane::Lane;
use crate::list::Listed;
use crate::parallel::Parts;
use crate::simd::{Isa, Kernel, dispatch};
use crate::{Real, parallel};
use smallvec::SmallVec;

/// Up to this many rows are added in their own type.
pub(super) const ROWS: usize = 8;

/// A stack of `outer` matrices, of whose `rows` rows of `inner` elements one is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FewRows {
    outer: usize,
    rows: usize,
    inner: usize,
}

impl FewRows {
    /// From axes that were joined: the size of each, and whether it is reduced.
    pub(super) fn of(axes: &[(usize, bool)]) -> Option<Self> {
        let (outer, rows, inner) = match *axes {
            [(rows, true), (inner, false)] => (1, rows, inner),
            [(outer, false), (rows, true), (inner, false)] => (outer, rows, inner),
            _ => return None,
        };
        (rows <= ROWS && inner >= UNIT).then_some(FewRows { outer, rows, inner })
    }
}

impl<T: Real> Plan<'_, T> {
    /// Runs the program over blocks of columns, and over all rows of a block before the next one.
    pub(super) fn few(&self, few: FewRows, reduced: &mut [&mut [T]]) {
        let FewRows { outer, rows, inner } = few;
        let blocks = inner.div_ceil(self.block);
        let some = CHUNK.div_ceil(self.block * rows);
        let all = outer * blocks;
        let results: SmallVec<[Parts<'_, T>; 4]> =
            reduced.iter_mut().map(|r| Parts::new(r)).listed();
        // Instructions ask for what comes next; without any the additions do.
        let ask = self.far && self.p.instrs.is_empty();
        let pieces = if ask {
            self.block.div_ceil(asked::<T>())
        } else {
            1
        };
        let column = |unit: usize| (unit / blocks, unit % blocks * self.block);
        parallel::tasks(all.div_ceil(some), |task| {
            self.with_frame(|frame| {
                for unit in task * some..all.min((task + 1) * some) {
                    let (matrix, first) = column(unit);
                    let len = self.block.min(inner - first);
                    for row in 0..rows {
                        let at = (matrix * rows + row) * inner + first;
                        let next = if row + 1 < rows {
                            at + inner
                        } else {
                            let (matrix, first) = column(unit + 1);
                            matrix * rows * inner + first
                        };
                        self.evaluate(frame, at, len, next);
                        for ((slot, plan), result) in self.p.reduces.iter().zip(&results) {
                            let x = frame.slot(*slot);
                            let to = matrix * inner + first;
                            // SAFETY: the block lies inside the result, and only this task has it.
                            let y = unsafe { result.part(to..to + len) };
                            for k in 0..pieces {
                                if ask {
                                    self.ahead(next, k, pieces);
                                }
                                let piece = len * k / pieces..len * (k + 1) / pieces;
                                dispatch(Row {
                                    kind: plan.kind,
                                    first: row == 0,
                                    x: &x[piece.clone()],
                                    y: &mut y[piece],
                                });
                            }
                        }
                    }
                }
            });
        });
    }
}

/// A row, added to what is there, or the first one.
struct Row<'a, T> {
    kind: Reduce,
    first: bool,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> Kernel for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Row { kind, first, x, y } = self;
        let n = x.len();
        let y = &mut y[..n];
        let places = T::Lane::<I>::places(n);
        match (first, kind) {
            // Sums begin at +0.
            (true, Reduce::Sum) => places.for_each(|i| y[i] = T::ZERO + x[i]),
            (true, _) => y.copy_from_slice(x),
            (_, Reduce::Sum) => places.for_each(|i| y[i] += x[i]),
            (_, Reduce::Max) => places.for_each(|i| y[i] = better(y[i], x[i], true)),
            (_, Reduce::Min) => places.for_each(|i| y[i] = better(y[i], x[i], false)),
        }
    }
}
