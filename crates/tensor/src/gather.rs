//! Elements at places that an index names, and the adjoint.

use crate::error::OrPanic;
use crate::shape::{Dims, contiguous_strides};
use crate::{Real, Tensor, parallel};

/// Sizes before, along and behind an axis.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    let product = |s: &[usize]| s.iter().product();
    [
        product(&shape[..axis]),
        shape[axis],
        product(&shape[axis + 1..]),
    ]
}

/// Whether two shapes are the same but for an axis.
fn same_beside(a: &[usize], b: &[usize], axis: usize) -> bool {
    a.len() == b.len() && (0..a.len()).all(|k| k == axis || a[k] == b[k])
}

/// Elements of `x` along an axis at the places that an index of the shape of `out` names.
///
/// # Panics
/// When an index reaches outside of `x`, or the sizes do not fit.
pub fn gather<T: Real>(x: &Tensor<T>, index: &Tensor<i64>, out: &mut [T], axis: usize) {
    if out.is_empty() {
        return;
    }
    // A copy of operands that do not lie in order is made where most of it is read.
    let dense = x.is_contiguous() || 4 * index.numel() >= x.numel();
    if dense && same_beside(x.shape(), index.shape(), axis) {
        let (x, index) = (x.contiguous(), index.contiguous());
        let data = x.as_slice().expect("contiguous");
        let index = index.as_slice().expect("contiguous");
        return gather_dense(data, index, out, around(x.shape(), axis));
    }
    let data = x.storage().as_slice();
    let step = x.strides()[axis];
    // Walk the index tensor and, beside it, the corner of x that it covers, with the axis itself held at 0.
    let mut l = x.layout().clone();
    l.shape = Dims::from_slice(index.shape());
    l.strides[axis] = 0;
    let walk = x.with_layout(l).or_panic();
    for ((o, at), i) in out.iter_mut().zip(walk.offsets()).zip(index.iter()) {
        *o = data[(at as isize + i as isize * step) as usize];
    }
}

fn gather_dense<T: Real>(data: &[T], index: &[i64], out: &mut [T], [outer, n, inner]: [usize; 3]) {
    let count = index.len() / (outer * inner);
    let rows = (parallel::GRAIN / 2).div_ceil(inner);
    parallel::chunks_mut(out, rows * inner, |c, out| {
        let index = &index[c * rows * inner..][..out.len()];
        // The rows of one line, or of lines side by side, one after the other.
        let (mut line, mut at) = (c * rows / count, c * rows % count);
        let mut done = 0;
        while done < out.len() {
            let here = done..out.len().min(done + (count - at) * inner);
            let from = &data[line * n * inner..][..n * inner];
            let (out, index) = (&mut out[here.clone()], &index[here.clone()]);
            if inner == 1 {
                for (o, &i) in out.iter_mut().zip(index) {
                    *o = from[i as usize];
                }
            } else {
                for (out, index) in out.chunks_exact_mut(inner).zip(index.chunks_exact(inner)) {
                    for c in 0..inner {
                        out[c] = from[index[c] as usize * inner + c];
                    }
                }
            }
            (line, at, done) = (line + 1, 0, here.end);
        }
    });
}

/// Zeros of a shape, and added to them the elements of `g` at the places that an index of its shape names: the adjoint of
/// [`gather`].
///
/// # Panics
/// When an index reaches outside of `shape`, or the sizes do not fit.
pub fn scatter_add<T: Real>(
    g: &Tensor<T>,
    index: &Tensor<i64>,
    out: &mut [T],
    shape: &[usize],
    axis: usize,
) {
    if g.numel() > 0 && same_beside(shape, index.shape(), axis) {
        let (g, index) = (g.contiguous(), index.contiguous());
        let g = g.as_slice().expect("contiguous");
        let index = index.as_slice().expect("contiguous");
        return scatter_dense(g, index, out, around(shape, axis));
    }
    parallel::fill(out, T::zero());
    for (v, p) in g.iter().zip(scatter_places(index, shape, axis)) {
        out[p] += v;
    }
}

fn scatter_dense<T: Real>(g: &[T], index: &[i64], out: &mut [T], [outer, n, inner]: [usize; 3]) {
    let (block, given) = (n * inner, g.len() / outer);
    let some = (parallel::GRAIN / 2).div_ceil(block.max(given));
    parallel::chunks_mut(out, some * block, |c, out| {
        out.fill(T::zero());
        for (b, out) in out.chunks_exact_mut(block).enumerate() {
            let at = (c * some + b) * given;
            let (g, index) = (&g[at..at + given], &index[at..at + given]);
            if inner == 1 {
                for (&v, &i) in g.iter().zip(index) {
                    out[i as usize] += v;
                }
            } else {
                for (g, index) in g.chunks_exact(inner).zip(index.chunks_exact(inner)) {
                    for c in 0..inner {
                        out[index[c] as usize * inner + c] += g[c];
                    }
                }
            }
        }
    });
}

/// Where each element of `index` points to in a row-major array of shape `shape`.
pub fn scatter_places<'a>(
    index: &'a Tensor<i64>,
    shape: &'a [usize],
    axis: usize,
) -> impl Iterator<Item = usize> + 'a {
    let strides = contiguous_strides(shape);
    let mut at = Dims::from_elem(0, shape.len());
    let mut base = 0isize;
    index.iter().map(move |i| {
        let p = base + i as isize * strides[axis];
        for k in (0..at.len()).rev() {
            let step = if k == axis { 0 } else { strides[k] };
            at[k] += 1;
            base += step;
            if at[k] < index.shape()[k] {
                break;
            }
            base -= step * at[k] as isize;
            at[k] = 0;
        }
        p as usize
    })
}
