//! Bringing broadcast and strided inputs into blocks.

use crate::shape::{Layout, copy_line};
use crate::{Real, Tensor};
use smallvec::SmallVec;

/// How the elements of an input lie relative to the iteration order.
pub(super) enum Access {
    /// Element `i` at `offset + i`.
    Contiguous { offset: usize },
    /// One value for all.
    Scalar { offset: usize },
    /// Element `i` at `offset + i % period`.
    Period { offset: usize, period: usize },
    /// Anything else: collapsed axes, outermost first.
    Strided {
        offset: usize,
        axes: SmallVec<[(usize, isize); 6]>,
    },
}

impl Access {
    pub fn of<T: Real>(t: &Tensor<T>, shape: &[usize], numel: usize) -> Access {
        let offset = t.layout().offset;
        let contiguous = t.is_contiguous();
        if contiguous && t.numel() == numel {
            let same = t.shape() == shape || broadcasts_without_moving(t.shape(), shape);
            if same {
                return Access::Contiguous { offset };
            }
        }
        if t.numel() == 1 {
            assert!(t.rank() <= shape.len(), "fused: rank of an input");
            return Access::Scalar { offset };
        }
        let layout = match t.layout().broadcast_to("fused", shape) {
            Ok(l) => l,
            Err(e) => panic!("{e}"),
        };
        if contiguous && suffix(t.shape(), shape) {
            return Access::Period {
                offset,
                period: t.numel(),
            };
        }
        Access::Strided {
            offset,
            axes: collapse(&layout),
        }
    }
}

/// Whether the non-unit axes of `small`, which broadcasts to `shape`, are the last non-unit axes of `shape`: no axis is stretched below
/// one of them.
fn suffix(small: &[usize], shape: &[usize]) -> bool {
    let lead = shape.len() - small.len();
    let mut inner = true;
    for i in (0..small.len()).rev() {
        if small[i] == 1 && shape[lead + i] != 1 {
            inner = false;
        } else if small[i] != 1 && !inner {
            return false;
        }
    }
    true
}

fn broadcasts_without_moving(small: &[usize], shape: &[usize]) -> bool {
    small.len() <= shape.len() && {
        let lead = shape.len() - small.len();
        shape[..lead].iter().all(|&d| d == 1) && small == &shape[lead..]
    }
}

/// Merges neighbouring axes that one stride can walk.
fn collapse(l: &Layout) -> SmallVec<[(usize, isize); 6]> {
    let mut axes: SmallVec<[(usize, isize); 6]> = SmallVec::new();
    for (&d, &s) in l.shape.iter().zip(&l.strides) {
        if d == 1 {
            continue;
        }
        match axes.last_mut() {
            Some(last) if last.1 == s * d as isize => *last = (last.0 * d, s),
            _ => axes.push((d, s)),
        }
    }
    axes
}

/// Copies elements `start..start + out.len()` of a strided input into `out`.
pub(super) fn gather<T: Real>(
    data: &[T],
    offset: usize,
    axes: &[(usize, isize)],
    start: usize,
    out: &mut [T],
) {
    let Some((&(inner, step), outer)) = axes.split_last() else {
        out.fill(data[offset]);
        return;
    };
    let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
    let mut rest = start / inner;
    let mut at = offset as isize;
    for (k, &(d, s)) in outer.iter().enumerate().rev() {
        index[k] = rest % d;
        rest /= d;
        at += index[k] as isize * s;
    }
    let mut first = start % inner;
    let mut done = 0;
    while done < out.len() {
        let run = (inner - first).min(out.len() - done);
        let dst = &mut out[done..done + run];
        let p = at + first as isize * step;
        copy_line(data, p, step, dst);
        done += run;
        first = 0;
        for (k, &(d, s)) in outer.iter().enumerate().rev() {
            index[k] += 1;
            at += s;
            if index[k] < d {
                break;
            }
            at -= s * d as isize;
            index[k] = 0;
        }
    }
}
