//! Copies of what a layout sees, on several threads where it is much: line by line, or by square tiles where neighbours in
//! the result are far apart in memory.

use crate::parallel::Parts;
use crate::shape::{Layout, advance, copy_line};
use crate::{Dims, Element, parallel};

/// Elements on the side of a tile: a line of the cache, of four bytes each.
const SIDE: usize = 16;

/// The elements that a layout sees, in row-major order; `out` has as many.
///
/// Only the size of an element matters: the loops are compiled for integers of each size, and in this crate only.
pub(crate) fn copy_strided<T: Element>(data: &[T], layout: &Layout, out: &mut [T]) {
    fn of_1(data: &[u8], layout: &Layout, out: &mut [u8]) {
        strided(data, layout, out);
    }
    fn of_4(data: &[i32], layout: &Layout, out: &mut [i32]) {
        strided(data, layout, out);
    }
    fn of_8(data: &[i64], layout: &Layout, out: &mut [i64]) {
        strided(data, layout, out);
    }
    // SAFETY: what is written are elements that were read.
    unsafe {
        match size_of::<T>() {
            1 => of_1(cast(data), layout, cast_mut(out)),
            4 => of_4(cast(data), layout, cast_mut(out)),
            _ => of_8(cast(data), layout, cast_mut(out)),
        }
    }
}

/// Elements as elements of another type of their size.
#[inline]
fn cast<T: Element, U: Element>(x: &[T]) -> &[U] {
    assert!(size_of::<T>() == size_of::<U>() && align_of::<T>() == align_of::<U>());
    // SAFETY: elements are plain bytes, and those of one are a number of its size and alignment.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

/// As [`cast`].
///
/// # Safety
/// Only elements of T may be written there: not every byte is a `bool`.
#[inline]
unsafe fn cast_mut<T: Element, U: Element>(x: &mut [T]) -> &mut [U] {
    assert!(size_of::<T>() == size_of::<U>() && align_of::<T>() == align_of::<U>());
    // SAFETY: as above, and the caller vouches for what is written.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}

fn strided<T: Element>(data: &[T], layout: &Layout, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let layout = &joined(layout);
    let last = layout.shape.len() - 1;
    let (width, step) = (layout.shape[last], layout.strides[last]);
    let unit = (0..last).rfind(|&a| layout.strides[a] == 1 && layout.shape[a] > 1);
    if let (true, Some(unit)) = (step != 0 && step != 1 && width > 1, unit) {
        return transpose(data, layout, unit, out);
    }
    let some = (2 * parallel::GRAIN).div_ceil(width);
    parallel::chunks_mut(out, some * width, |i, out| {
        let (mut index, mut at) = place(layout, i * some, last);
        for row in out.chunks_exact_mut(width) {
            copy_line(data, at, step, row);
            advance(layout, &mut index, &mut at, last);
        }
    });
}

/// The elements that a layout sees at index `part` of its first `lead` axes, in row-major order; `out` has as many.
pub(crate) fn copy_part<T: Element>(
    data: &[T],
    layout: &Layout,
    lead: usize,
    part: usize,
    out: &mut [T],
) {
    let (_, offset) = place(layout, part, lead);
    let rest = Layout {
        shape: layout.shape[lead..].iter().copied().collect(),
        strides: layout.strides[lead..].iter().copied().collect(),
        offset: offset as usize,
    };
    copy_strided(data, &rest, out);
}

/// The same elements over fewer axes: those of one element are left out, and neighbours that are passed in one step are
/// one axis.
fn joined(layout: &Layout) -> Layout {
    let (mut shape, mut strides) = (Dims::new(), layout.strides.clone());
    strides.clear();
    for (&n, &step) in layout.shape.iter().zip(&layout.strides) {
        if n == 1 {
            continue;
        }
        match (shape.last_mut(), strides.last_mut()) {
            (Some(before), Some(far)) if *far == step * n as isize => {
                *before *= n;
                *far = step;
            }
            _ => {
                shape.push(n);
                strides.push(step);
            }
        }
    }
    if shape.is_empty() {
        shape.push(1);
        strides.push(1);
    }
    Layout {
        shape,
        strides,
        offset: layout.offset,
    }
}

/// Index and place of row `row` over the first `rank` axes.
fn place(layout: &Layout, mut row: usize, rank: usize) -> (Dims, isize) {
    let mut index = Dims::from_elem(0, layout.shape.len());
    let mut at = layout.offset as isize;
    for a in (0..rank).rev() {
        index[a] = row % layout.shape[a];
        row /= layout.shape[a];
        at += index[a] as isize * layout.strides[a];
    }
    (index, at)
}

/// As [`strided`], where elements side by side lie along axis `unit` and not along the last one.
///
/// The axes between them, if there are any, are part of the rows that are copied one after the other: a row of the result
/// is made of `SIDE` lines at a time, so that every line is read and written as a whole.
fn transpose<T: Element>(data: &[T], layout: &Layout, unit: usize, out: &mut [T]) {
    let last = layout.shape.len() - 1;
    let (n, step) = (layout.shape[last], layout.strides[last]);
    let m = layout.shape[unit];
    // Elements of the result from one element along `unit` to the next, and of all of them.
    let inner: usize = layout.shape[unit + 1..].iter().product();
    let block = m * inner;
    // What lies between the two axes, as a layout of its own.
    let between = Layout {
        shape: layout.shape[unit + 1..last].iter().copied().collect(),
        strides: layout.strides[unit + 1..last].iter().copied().collect(),
        offset: 0,
    };
    // A task takes some lines along `unit` of one block: a run of the result.
    let lines = (parallel::GRAIN.div_ceil(inner).div_ceil(SIDE) * SIDE).min(m);
    let per_block = m.div_ceil(lines);
    let outer = out.len() / block;
    let whole = &Parts::new(out);
    parallel::tasks(outer * per_block, |task| {
        let (b, part) = (task / per_block, task % per_block);
        let (from, to) = (part * lines, ((part + 1) * lines).min(m));
        let start = b * block + from * inner;
        // SAFETY: tasks take runs of the result that do not overlap: lines `from..to` of block `b`.
        let out = unsafe { whole.part(start..start + (to - from) * inner) };
        let (_, mut base) = place(layout, b, unit);
        base += from as isize;
        let mut index = Dims::from_elem(0, between.shape.len());
        let mut at = base;
        for k in 0..inner / n {
            tiles(data, at, step, (to - from, n), &mut out[k * n..], inner);
            advance(&between, &mut index, &mut at, between.shape.len());
        }
    });
}

/// `out[i * far + j] = data[at + i + j * step]` for `i < m`, `j < n`.
fn tiles<T: Element>(
    data: &[T],
    at: isize,
    step: isize,
    (m, n): (usize, usize),
    out: &mut [T],
    far: usize,
) {
    for i in (0..m).step_by(SIDE) {
        let high = SIDE.min(m - i);
        for j in (0..n).step_by(SIDE) {
            let wide = SIDE.min(n - j);
            let first = at + i as isize + j as isize * step;
            if high == SIDE && wide == SIDE {
                let mut tile = [[T::ZERO; SIDE]; SIDE];
                for (k, line) in tile.iter_mut().enumerate() {
                    let from = (first + k as isize * step) as usize;
                    line.copy_from_slice(&data[from..from + SIDE]);
                }
                for r in 0..SIDE {
                    let to: &mut [T; SIDE] = (&mut out[(i + r) * far + j..][..SIDE])
                        .try_into()
                        .expect("a line");
                    for k in 0..SIDE {
                        to[k] = tile[k][r];
                    }
                }
                continue;
            }
            for k in 0..wide {
                let from = (first + k as isize * step) as usize;
                for (r, &x) in data[from..from + high].iter().enumerate() {
                    out[(i + r) * far + j + k] = x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Layout, Tensor};

    fn reversed(x: &Tensor<i64>, axis: usize) -> Tensor<i64> {
        let Layout {
            shape,
            mut strides,
            mut offset,
        } = x.layout().clone();
        offset = (offset as isize + strides[axis] * (shape[axis] as isize - 1)) as usize;
        strides[axis] *= -1;
        x.with_layout(Layout {
            shape,
            strides,
            offset,
        })
        .expect("inside")
    }

    /// Permutations, steps, reversed and stretched axes, tiles that are not whole, and more than a task takes.
    #[test]
    fn copies_see_what_the_layout_sees() {
        for shape in [
            vec![3],
            vec![40, 33],
            vec![2, 17, 5],
            vec![3, 20, 1, 18],
            vec![300, 16, 40],
            vec![1, 700, 600],
        ] {
            let n: usize = shape.iter().product();
            let x = Tensor::from_vec((0..n as i64).collect(), shape.clone());
            let rank = shape.len();
            let mut views = vec![x.clone()];
            for turn in 1..rank {
                let order: Vec<isize> = (0..rank).map(|a| ((a + turn) % rank) as isize).collect();
                views.push(x.permute(&order[..]));
            }
            if rank > 1 {
                views.push(x.transpose(0, -1));
                views.push(x.transpose(-2, -1));
                views.push(reversed(&x.transpose(-2, -1), 0));
                views.push(reversed(&x, rank - 1).transpose(0, -1));
                views.push(x.transpose(0, -1).narrow(0, 1, shape[rank - 1]));
            }
            for v in views {
                let one_by_one: Vec<i64> = v.iter().collect();
                let mut found = vec![-1; v.numel()];
                v.copy_into(&mut found);
                assert!(found == one_by_one, "{:?} {:?}", v.shape(), v.strides());
            }
        }
    }
}
