//! Shapes, strides, axes and broadcasting.

use crate::error::{Error, OrPanic, Result};
use crate::list::Listed;
use smallvec::SmallVec;

/// Sizes of the axes of a tensor, outermost first.
pub type Dims = SmallVec<[usize; 6]>;
/// Steps between neighbours along each axis, in elements. Zero for a broadcast axis, negative for a flipped one.
pub type Strides = SmallVec<[isize; 6]>;

/// Anything that names a shape: `()`, `5`, `[2, 3]`, `&[usize]`, `&Vec<usize>`, `&Dims`.
pub trait IntoDims {
    /// The sizes.
    fn into_dims(self) -> Dims;
}
impl IntoDims for () {
    fn into_dims(self) -> Dims {
        Dims::new()
    }
}
impl IntoDims for usize {
    fn into_dims(self) -> Dims {
        SmallVec::from_slice(&[self])
    }
}
impl<const N: usize> IntoDims for [usize; N] {
    fn into_dims(self) -> Dims {
        self.as_slice().into_dims()
    }
}
impl<const N: usize> IntoDims for &[usize; N] {
    fn into_dims(self) -> Dims {
        self.as_slice().into_dims()
    }
}
impl IntoDims for &[usize] {
    fn into_dims(self) -> Dims {
        SmallVec::from_slice(self)
    }
}
impl IntoDims for Vec<usize> {
    fn into_dims(self) -> Dims {
        SmallVec::from_vec(self)
    }
}
impl IntoDims for &Vec<usize> {
    fn into_dims(self) -> Dims {
        SmallVec::from_slice(self)
    }
}
impl IntoDims for Dims {
    fn into_dims(self) -> Dims {
        self
    }
}
impl IntoDims for &Dims {
    fn into_dims(self) -> Dims {
        self.clone()
    }
}

/// Number of elements of a shape; an error instead of a wrapped product.
///
/// The product is taken over the non-zero sizes too, so `[0, usize::MAX, 2]` is refused: its strides could not be held.
pub fn checked_numel(op: &'static str, shape: &[usize]) -> Result<usize> {
    let overflow = || Error::ShapeOverflow {
        op,
        shape: SmallVec::from_slice(shape),
    };
    let mut n = 1usize;
    let mut zero = false;
    for &d in shape {
        if d == 0 {
            zero = true;
        } else {
            n = n.checked_mul(d).ok_or_else(overflow)?;
        }
    }
    if n > isize::MAX as usize / 16 {
        return Err(overflow());
    }
    Ok(if zero { 0 } else { n })
}

/// Row-major strides of a shape.
pub fn contiguous_strides(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for (s, &d) in strides.iter_mut().zip(shape).rev() {
        *s = step;
        step *= d.max(1) as isize;
    }
    strides
}

/// Shape that two shapes broadcast to by the rules of NumPy: aligned at the last axis, size 1 stretches.
pub fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Dims> {
    let rank = a.len().max(b.len());
    let mut out: Dims = SmallVec::from_elem(1, rank);
    for i in 0..rank {
        let da = if i < a.len() { a[a.len() - 1 - i] } else { 1 };
        let db = if i < b.len() { b[b.len() - 1 - i] } else { 1 };
        out[rank - 1 - i] = match (da, db) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => {
                return Err(Error::Shape {
                    op,
                    message: format!(
                        "shapes {a:?} and {b:?} do not broadcast: sizes {da} and {db} at axis -{} differ and neither is 1",
                        i + 1
                    ),
                });
            }
        };
    }
    checked_numel(op, &out)?;
    Ok(out)
}

/// Turns an axis that may count from the end into an index.
pub fn axis(op: &'static str, axis: isize, rank: usize) -> Result<usize> {
    let a = if axis < 0 { axis + rank as isize } else { axis };
    if a < 0 || a >= rank as isize {
        return Err(Error::Index {
            op,
            what: "axis",
            index: axis as i64,
            size: rank,
        });
    }
    Ok(a as usize)
}

/// Anything that names axes: `1`, `-1`, `[0, 2]`, `&[isize]`. Negative axes count from the end.
pub trait IntoAxes {
    /// The axes as written.
    fn into_axes(self) -> SmallVec<[isize; 6]>;
}
impl IntoAxes for isize {
    fn into_axes(self) -> SmallVec<[isize; 6]> {
        SmallVec::from_slice(&[self])
    }
}
impl<const N: usize> IntoAxes for [isize; N] {
    fn into_axes(self) -> SmallVec<[isize; 6]> {
        self.as_slice().into_axes()
    }
}
impl IntoAxes for &[isize] {
    fn into_axes(self) -> SmallVec<[isize; 6]> {
        SmallVec::from_slice(self)
    }
}
impl IntoAxes for &Vec<isize> {
    fn into_axes(self) -> SmallVec<[isize; 6]> {
        SmallVec::from_slice(self)
    }
}
impl IntoAxes for SmallVec<[isize; 6]> {
    fn into_axes(self) -> SmallVec<[isize; 6]> {
        self
    }
}

/// Checked axes as a bit set (bit `i` for axis `i`); duplicates and ranks above 64 are refused.
pub fn axis_set(op: &'static str, axes: &[isize], rank: usize) -> Result<u64> {
    let mut set = 0u64;
    for &a in axes {
        let i = axis(op, a, rank)?;
        add_axis(op, &mut set, i, a, axes)?;
    }
    Ok(set)
}

/// Adds axis `i`, called `named` in `axes`, to a set that it is not in yet.
#[inline]
fn add_axis(op: &'static str, set: &mut u64, i: usize, named: isize, axes: &[isize]) -> Result<()> {
    if i >= 64 || *set & (1 << i) != 0 {
        return Err(Error::Shape {
            op,
            message: format!("axis {named} is named twice in {axes:?}"),
        });
    }
    *set |= 1 << i;
    Ok(())
}

/// Where the elements of a tensor stand in its storage.
#[derive(PartialEq, Eq, Debug)]
pub struct Layout {
    /// Sizes, outermost first.
    pub shape: Dims,
    /// Steps in elements.
    pub strides: Strides,
    /// Index of the element at the origin.
    pub offset: usize,
}

/// Not derived: that would be compiled again in every crate.
impl Clone for Layout {
    fn clone(&self) -> Self {
        Layout {
            shape: Dims::from_slice(&self.shape),
            strides: Strides::from_slice(&self.strides),
            offset: self.offset,
        }
    }
}

/// What is generic in tensors calls these, so that they are compiled in this crate only.
impl Layout {
    /// That the layout stays inside `len` elements, whatever its numbers.
    pub(crate) fn check_inside(&self, len: usize) -> Result<()> {
        checked_numel("from_storage", &self.shape)?;
        let inside = self.strides.len() == self.shape.len()
            && checked_extent(self).is_some_and(|high| high.is_none_or(|h| h < len));
        if inside {
            return Ok(());
        }
        Err(Error::Shape {
            op: "from_storage",
            message: format!("layout {self:?} reaches outside {len} elements"),
        })
    }

    /// Where the element of an index lies.
    pub(crate) fn at(&self, index: &[usize]) -> Result<usize> {
        if index.len() != self.shape.len() {
            return Err(Error::Shape {
                op: "get",
                message: format!(
                    "{} indices given for shape {:?}",
                    index.len(),
                    &self.shape[..]
                ),
            });
        }
        let mut at = self.offset as isize;
        for (i, &k) in index.iter().enumerate() {
            let (size, stride) = (self.shape[i], self.strides[i]);
            if k >= size {
                let axes = ["index at axis 0", "index at axis 1", "index at axis 2"];
                return Err(Error::Index {
                    op: "get",
                    what: axes.get(i).unwrap_or(&"index"),
                    index: k as i64,
                    size,
                });
            }
            at += k as isize * stride;
        }
        Ok(at as usize)
    }

    pub(crate) fn transpose(&self, a: isize, b: isize) -> Result<Layout> {
        let rank = self.shape.len();
        let (i, j) = (axis("transpose", a, rank)?, axis("transpose", b, rank)?);
        let mut l = self.clone();
        l.shape.swap(i, j);
        l.strides.swap(i, j);
        Ok(l)
    }

    pub(crate) fn narrow(&self, along: isize, start: usize, end: usize) -> Result<Layout> {
        let a = axis("narrow", along, self.shape.len())?;
        if start > end || end > self.shape[a] {
            return Err(Error::Shape {
                op: "narrow",
                message: format!(
                    "range {start}..{end} does not lie in axis {along} of shape {:?}",
                    &self.shape[..]
                ),
            });
        }
        Ok(self.slice(a, start, end - start, 1))
    }

    #[track_caller]
    pub(crate) fn select(&self, along: isize, i: usize) -> Layout {
        let a = axis("select", along, self.shape.len()).or_panic();
        assert!(
            i < self.shape[a],
            "select: index {i} is out of range for axis {along} of shape {:?}",
            &self.shape[..]
        );
        let mut l = self.slice(a, i, 1, 1);
        l.shape.remove(a);
        l.strides.remove(a);
        l
    }

    pub(crate) fn unsqueeze(&self, along: isize) -> Result<Layout> {
        let a = axis("unsqueeze", along, self.shape.len() + 1)?;
        let mut l = self.clone();
        l.shape.insert(a, 1);
        l.strides.insert(a, 0);
        Ok(l)
    }
}

pub(crate) fn not_the_number(given: usize, shape: &[usize], n: usize) -> Error {
    Error::Shape {
        op: "from_slice",
        message: format!("{given} values given for shape {shape:?} of {n} elements"),
    }
}

pub(crate) fn does_not_go(from: &[usize], have: usize, shape: &[usize], n: usize) -> Error {
    Error::Shape {
        op: "reshape",
        message: format!("shape {from:?} of {have} elements does not go into {shape:?} of {n}"),
    }
}

/// Highest storage index of a layout whose numbers may come from outside: `None` on overflow or below zero,
/// `Some(None)` for no elements.
fn checked_extent(layout: &Layout) -> Option<Option<usize>> {
    let (mut low, mut high) = (
        isize::try_from(layout.offset).ok()?,
        isize::try_from(layout.offset).ok()?,
    );
    for (&d, &s) in layout.shape.iter().zip(&layout.strides) {
        if d == 0 {
            return Some(None);
        }
        let reach = isize::try_from(d - 1).ok()?.checked_mul(s)?;
        if reach < 0 {
            low = low.checked_add(reach)?;
        } else {
            high = high.checked_add(reach)?;
        }
    }
    (low >= 0).then_some(Some(high as usize))
}

/// One index further in row-major order, over the first `rank` axes: `at` moves by the strides with it.
#[inline]
pub fn advance(layout: &Layout, index: &mut Dims, at: &mut isize, rank: usize) {
    for a in (0..rank).rev() {
        index[a] += 1;
        *at += layout.strides[a];
        if index[a] < layout.shape[a] {
            return;
        }
        *at -= layout.strides[a] * layout.shape[a] as isize;
        index[a] = 0;
    }
}

/// Elements `step` apart, from `at` on.
#[inline(always)]
pub(crate) fn copy_line<T: Copy>(data: &[T], mut at: isize, step: isize, out: &mut [T]) {
    match step {
        1 => out.copy_from_slice(&data[at as usize..at as usize + out.len()]),
        0 => out.fill(data[at as usize]),
        -1 => {
            let from = &data[(at + 1) as usize - out.len()..=at as usize];
            (out.iter_mut().zip(from.iter().rev())).for_each(|(x, &v)| *x = v);
        }
        _ => {
            for x in out {
                *x = data[at as usize];
                at += step;
            }
        }
    }
}

impl Layout {
    /// Row-major layout of a shape that was checked by [`checked_numel`].
    pub fn contiguous(shape: Dims) -> Self {
        let strides = contiguous_strides(&shape);
        Layout {
            shape,
            strides,
            offset: 0,
        }
    }

    /// Number of elements.
    #[inline]
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the elements lie side by side in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&d, &s) in self.shape.iter().zip(&self.strides).rev() {
            if d == 0 {
                return true;
            }
            if d != 1 {
                if s != step {
                    return false;
                }
                step *= d as isize;
            }
        }
        true
    }

    /// Lowest and highest storage index touched, or `None` for no elements.
    pub fn extent(&self) -> Option<(usize, usize)> {
        let (mut low, mut high) = (self.offset as isize, self.offset as isize);
        for (&d, &s) in self.shape.iter().zip(&self.strides) {
            if d == 0 {
                return None;
            }
            let reach = (d as isize - 1) * s;
            if reach < 0 {
                low += reach;
            } else {
                high += reach;
            }
        }
        Some((low as usize, high as usize))
    }

    /// The layout seen through a broadcast to `shape`.
    pub fn broadcast_to(&self, op: &'static str, shape: &[usize]) -> Result<Layout> {
        let fail = || Error::Shape {
            op,
            message: format!(
                "shape {:?} does not broadcast to {shape:?}",
                self.shape.as_slice()
            ),
        };
        checked_numel(op, shape)?;
        if shape.len() < self.shape.len() {
            return Err(fail());
        }
        let lead = shape.len() - self.shape.len();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        for i in 0..self.shape.len() {
            let (from, to) = (self.shape[i], shape[lead + i]);
            if from == to {
                strides[lead + i] = self.strides[i];
            } else if from != 1 {
                return Err(fail());
            }
        }
        Ok(Layout {
            shape: SmallVec::from_slice(shape),
            strides,
            offset: self.offset,
        })
    }

    /// The layout with axes in the order `order` (each axis once).
    pub fn permute(&self, op: &'static str, order: &[isize]) -> Result<Layout> {
        let rank = self.shape.len();
        if order.len() != rank {
            return Err(Error::Shape {
                op,
                message: format!(
                    "{} axes given for a tensor of shape {:?}",
                    order.len(),
                    self.shape.as_slice()
                ),
            });
        }
        let mut out = self.clone();
        let mut set = 0u64;
        let to = out.shape.iter_mut().zip(out.strides.iter_mut());
        for (&named, (d, s)) in order.iter().zip(to) {
            let a = axis(op, named, rank)?;
            add_axis(op, &mut set, a, named, order)?;
            (*d, *s) = (self.shape[a], self.strides[a]);
        }
        Ok(out)
    }

    /// The layout under another shape of as many elements, or `None` where that needs a copy.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() {
            let mut l = Layout::contiguous(SmallVec::from_slice(shape));
            l.offset = self.offset;
            return Some(l);
        }
        // Walk both shapes in runs of equal products; a run must be evenly strided in the old layout.
        let old: SmallVec<[(usize, isize); 6]> =
            (self.shape.iter().copied().zip(self.strides.iter().copied()))
                .filter(|&(d, _)| d != 1)
                .listed();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let (mut i, mut j) = (0, 0);
        while i < old.len() && j < shape.len() {
            let (mut po, mut pn) = (old[i].0, shape[j]);
            let (i0, j0) = (i, j);
            while po != pn {
                if po < pn {
                    i += 1;
                    po *= old.get(i)?.0;
                } else {
                    j += 1;
                    pn *= *shape.get(j)?;
                }
            }
            for k in i0..i {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                    return None;
                }
            }
            let mut step = old[i].1;
            for k in (j0..=j).rev() {
                strides[k] = step;
                step *= shape[k] as isize;
            }
            i += 1;
            j += 1;
        }
        Some(Layout {
            shape: SmallVec::from_slice(shape),
            strides,
            offset: self.offset,
        })
    }

    /// The layout of `start`, `start + step`, … (`len` of them) along one axis. The caller has checked the range.
    pub fn slice(&self, axis: usize, start: usize, len: usize, step: isize) -> Layout {
        let mut out = self.clone();
        if len > 0 {
            out.offset = (self.offset as isize + start as isize * self.strides[axis]) as usize;
        }
        out.shape[axis] = len;
        out.strides[axis] = self.strides[axis] * step;
        out
    }
}
