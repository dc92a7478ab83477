//! The tensor: shared storage seen through a layout.

use crate::error::{OrPanic, Result};
use crate::shape::{self, Dims, IntoAxes, IntoDims, Layout};
use crate::{Element, Storage, copy, parallel};
use smallvec::SmallVec;
use std::sync::Arc;

/// A dense array of any rank, shared on clone, copied on write.
///
/// Views (`permute`, `slice`, `broadcast_to`, …) share the storage and copy nothing. Writing goes through
/// [`Tensor::as_mut_slice`], which copies first if the storage is shared or the view is not contiguous.
///
/// ```
/// use wengert_tensor::Tensor;
/// let a = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
/// assert_eq!(a.t().shape(), [3, 2]);
/// assert_eq!(a.t().to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// ```
pub struct Tensor<T: Element = f32> {
    storage: Arc<Storage<T>>,
    layout: Layout,
}

impl<T: Element> Clone for Tensor<T> {
    #[inline]
    fn clone(&self) -> Self {
        Tensor {
            storage: Arc::clone(&self.storage),
            layout: self.layout.clone(),
        }
    }
}

impl<T: Element> Tensor<T> {
    // ---- constructors ----

    /// Zeros (`false` for bool).
    ///
    /// # Errors
    /// When the shape overflows or the memory is not to be had.
    pub fn try_zeros(shape: impl IntoDims) -> Result<Self> {
        T::zeros(shape.into_dims())
    }

    pub(crate) fn zeros_here(shape: Dims) -> Result<Self> {
        let n = shape::checked_numel("zeros", &shape)?;
        Ok(Tensor {
            storage: Arc::new(Storage::zeroed("zeros", n)?),
            layout: Layout::contiguous(shape),
        })
    }

    /// Zeros (`false` for bool).
    ///
    /// # Panics
    /// Where [`Tensor::try_zeros`] errs.
    #[track_caller]
    pub fn zeros(shape: impl IntoDims) -> Self {
        Self::try_zeros(shape).or_panic()
    }

    /// Ones (`true` for bool).
    #[track_caller]
    pub fn ones(shape: impl IntoDims) -> Self {
        Self::full(shape, T::ONE)
    }

    /// Every element `value`.
    #[track_caller]
    pub fn full(shape: impl IntoDims, value: T) -> Self {
        let mut t = Self::zeros(shape);
        if !value.is_all_zero() {
            t.as_mut_slice().fill(value);
        }
        t
    }

    /// A tensor of rank 0.
    #[track_caller]
    pub fn scalar(value: T) -> Self {
        Self::full((), value)
    }

    /// The values of `data` in row-major order.
    ///
    /// # Errors
    /// When the number of values is not that of the shape.
    pub fn try_from_slice(data: &[T], shape: impl IntoDims) -> Result<Self> {
        T::from_slice(data, shape.into_dims())
    }

    pub(crate) fn from_slice_here(data: &[T], shape: Dims) -> Result<Self> {
        let n = shape::checked_numel("from_slice", &shape)?;
        if n != data.len() {
            return Err(shape::not_the_number(data.len(), &shape, n));
        }
        let mut storage = Storage::zeroed("from_slice", n)?;
        storage.as_mut_slice().copy_from_slice(data);
        Ok(Tensor {
            storage: Arc::new(storage),
            layout: Layout::contiguous(shape),
        })
    }

    /// The values of `data` in row-major order.
    ///
    /// # Panics
    /// When the number of values is not that of the shape.
    #[track_caller]
    pub fn from_slice(data: &[T], shape: impl IntoDims) -> Self {
        Self::try_from_slice(data, shape).or_panic()
    }

    /// As [`Tensor::try_from_slice`].
    ///
    /// # Errors
    /// When the number of values is not that of the shape.
    pub fn try_from_vec(data: Vec<T>, shape: impl IntoDims) -> Result<Self> {
        Self::try_from_slice(&data, shape)
    }

    /// As [`Tensor::from_slice`].
    #[track_caller]
    pub fn from_vec(data: Vec<T>, shape: impl IntoDims) -> Self {
        Self::try_from_slice(&data, shape).or_panic()
    }

    /// The value of `f` at every index, in row-major order.
    ///
    /// ```
    /// # use wengert_tensor::Tensor;
    /// let eye = Tensor::from_fn([2, 2], |i| if i[0] == i[1] { 1.0f32 } else { 0.0 });
    /// assert_eq!(eye.to_vec(), [1.0, 0.0, 0.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn from_fn(shape: impl IntoDims, mut f: impl FnMut(&[usize]) -> T) -> Self {
        let mut t = Self::zeros(shape);
        let shape = t.layout.shape.clone();
        let mut index: Dims = SmallVec::from_elem(0, shape.len());
        for x in t.as_mut_slice() {
            *x = f(&index);
            for a in (0..shape.len()).rev() {
                index[a] += 1;
                if index[a] < shape[a] {
                    break;
                }
                index[a] = 0;
            }
        }
        t
    }

    /// A tensor over existing storage.
    ///
    /// # Errors
    /// When the layout reaches outside the storage.
    pub fn from_storage(storage: Arc<Storage<T>>, layout: Layout) -> Result<Self> {
        layout.check_inside(storage.len())?;
        Ok(Tensor { storage, layout })
    }

    // ---- inspection ----

    /// Sizes, outermost first.
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Steps in elements.
    #[inline]
    pub fn strides(&self) -> &[isize] {
        &self.layout.strides
    }

    /// Where the elements stand in the storage.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The shared memory.
    #[inline]
    pub fn storage(&self) -> &Arc<Storage<T>> {
        &self.storage
    }

    /// Gives the storage away (to a pool, say).
    #[inline]
    pub fn into_storage(self) -> Arc<Storage<T>> {
        self.storage
    }

    /// Number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.layout.shape.len()
    }

    /// Number of elements.
    #[inline]
    pub fn numel(&self) -> usize {
        self.layout.numel()
    }

    /// Whether the elements lie side by side in row-major order.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// The elements in row-major order, if they lie so in memory.
    #[inline]
    pub fn as_slice(&self) -> Option<&[T]> {
        if self.is_contiguous() {
            let n = self.numel();
            Some(if n == 0 {
                &[]
            } else {
                &self.storage.as_slice()[self.layout.offset..self.layout.offset + n]
            })
        } else {
            None
        }
    }

    /// The elements in row-major order, writable; copies first if the storage is shared or the view not contiguous.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        T::as_mut_slice(self)
    }

    pub(crate) fn as_mut_slice_here(&mut self) -> &mut [T] {
        if !self.is_contiguous() || Arc::get_mut(&mut self.storage).is_none() {
            *self = self.copy();
        }
        let n = self.numel();
        let offset = if n == 0 { 0 } else { self.layout.offset };
        let storage = Arc::get_mut(&mut self.storage).expect("storage was made unique above");
        &mut storage.as_mut_slice()[offset..offset + n]
    }

    /// Whether [`Tensor::as_mut_slice`] would write in place, without a copy.
    pub fn is_unique(&self) -> bool {
        self.is_contiguous() && Arc::strong_count(&self.storage) == 1
    }

    /// The element at an index.
    ///
    /// # Errors
    /// When the index has the wrong rank or is out of range.
    pub fn try_get(&self, index: &[usize]) -> Result<T> {
        Ok(self.storage.as_slice()[self.layout.at(index)?])
    }

    /// The element at an index.
    ///
    /// # Panics
    /// Where [`Tensor::try_get`] errs.
    #[track_caller]
    pub fn get(&self, index: &[usize]) -> T {
        self.try_get(index).or_panic()
    }

    /// The only element.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[track_caller]
    pub fn item(&self) -> T {
        assert!(
            self.numel() == 1,
            "item: expected exactly one element, found shape {:?}",
            self.shape()
        );
        self.storage.as_slice()[self.layout.offset]
    }

    /// The elements in row-major order.
    pub fn to_vec(&self) -> Vec<T> {
        T::to_vec(self)
    }

    pub(crate) fn to_vec_here(&self) -> Vec<T> {
        match self.as_slice() {
            Some(s) => s.to_vec(),
            None => {
                let mut values = vec![T::ZERO; self.numel()];
                self.copy_into(&mut values);
                values
            }
        }
    }

    /// Iterates over the elements in row-major order.
    pub fn iter(&self) -> Elements<'_, T> {
        Elements {
            data: self.storage.as_slice(),
            layout: &self.layout,
            index: SmallVec::from_elem(0, self.rank()),
            at: self.layout.offset as isize,
            left: self.numel(),
        }
    }

    /// Storage index of every element in row-major order.
    pub fn offsets(&self) -> impl Iterator<Item = usize> + '_ {
        let it = self.iter();
        Offsets(it)
    }

    /// An own, contiguous copy.
    pub fn copy(&self) -> Self {
        T::copy(self)
    }

    pub(crate) fn copy_here(&self) -> Self {
        let n = self.numel();
        let mut storage = Storage::zeroed("copy", n).or_panic();
        self.copy_into(storage.as_mut_slice());
        Tensor {
            storage: Arc::new(storage),
            layout: Layout::contiguous(self.layout.shape.clone()),
        }
    }

    /// Writes the elements in row-major order into `out`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn copy_into(&self, out: &mut [T]) {
        T::copy_into(self, out);
    }

    pub(crate) fn copy_into_here(&self, out: &mut [T]) {
        assert_eq!(out.len(), self.numel(), "copy_into: lengths differ");
        if let Some(s) = self.as_slice() {
            return parallel::copy(s, out);
        }
        copy::copy_strided(self.storage.as_slice(), &self.layout, out);
    }

    /// Writes the elements at index `part` (row-major) of the first `lead` axes into `out`, in row-major order.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let x = Tensor::from_vec(vec![1, 2, 3, 4, 5, 6], [2, 3]);
    /// let mut column = [0; 2];
    /// x.t().copy_part_into(1, 2, &mut column);
    /// assert_eq!(column, [3, 6]);
    /// ```
    ///
    /// # Panics
    /// When there is no such part, or the lengths differ.
    pub fn copy_part_into(&self, lead: usize, part: usize, out: &mut [T]) {
        let (before, rest) = self.shape().split_at(lead);
        let (parts, len): (usize, usize) = (before.iter().product(), rest.iter().product());
        assert!(
            part < parts && out.len() == len,
            "copy_part_into: expected {len} elements and one of {parts} parts, found {} and part {part}",
            out.len()
        );
        copy::copy_part(self.storage.as_slice(), &self.layout, lead, part, out);
    }

    /// This tensor if contiguous, else a contiguous copy.
    pub fn contiguous(&self) -> Self {
        if self.is_contiguous() {
            self.clone()
        } else {
            self.copy()
        }
    }

    // ---- views ----

    fn view(&self, layout: Layout) -> Self {
        Tensor {
            storage: Arc::clone(&self.storage),
            layout,
        }
    }

    /// The same elements under another shape; shares storage where the strides allow, else copies.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn try_reshape(&self, shape: impl IntoDims) -> Result<Self> {
        T::reshape(self, shape.into_dims())
    }

    pub(crate) fn reshape_here(&self, shape: Dims) -> Result<Self> {
        let n = shape::checked_numel("reshape", &shape)?;
        if n != self.numel() {
            return Err(shape::does_not_go(self.shape(), self.numel(), &shape, n));
        }
        Ok(match self.layout.reshape(&shape) {
            Some(l) => self.view(l),
            None => {
                let mut t = self.copy();
                t.layout = Layout::contiguous(shape);
                t
            }
        })
    }

    /// As [`Tensor::try_reshape`].
    ///
    /// # Panics
    /// When the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoDims) -> Self {
        self.try_reshape(shape).or_panic()
    }

    /// The axes in another order.
    #[track_caller]
    pub fn permute(&self, order: impl IntoAxes) -> Self {
        self.permuted(&order.into_axes())
    }

    /// [`Tensor::permute`] without a copy of the order.
    #[doc(hidden)]
    #[track_caller]
    pub fn permuted(&self, order: &[isize]) -> Self {
        self.view(self.layout.permute("permute", order).or_panic())
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Self {
        self.view(self.layout.transpose(a, b).or_panic())
    }

    /// The last two axes exchanged.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn t(&self) -> Self {
        assert!(
            self.rank() >= 2,
            "t: expected at least 2 axes, found shape {:?}",
            self.shape()
        );
        self.transpose(-1, -2)
    }

    /// Seen as `shape`, stretching axes of size 1.
    ///
    /// # Errors
    /// When the shape does not broadcast.
    pub fn try_broadcast_to(&self, shape: impl IntoDims) -> Result<Self> {
        Ok(self.view(
            self.layout
                .broadcast_to("broadcast_to", &shape.into_dims())?,
        ))
    }

    /// Seen as `shape`, stretching axes of size 1.
    ///
    /// # Panics
    /// When the shape does not broadcast.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl IntoDims) -> Self {
        self.try_broadcast_to(shape).or_panic()
    }

    /// Elements `start..end` along an axis.
    ///
    /// # Errors
    /// When the range is outside the axis.
    pub fn try_narrow(&self, axis: isize, start: usize, end: usize) -> Result<Self> {
        Ok(self.view(self.layout.narrow(axis, start, end)?))
    }

    /// Elements `start..end` along an axis.
    ///
    /// # Panics
    /// When the range is outside the axis.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, end: usize) -> Self {
        self.try_narrow(axis, start, end).or_panic()
    }

    /// The elements at index `i` of an axis; the axis goes.
    #[track_caller]
    pub fn select(&self, axis: isize, i: usize) -> Self {
        self.view(self.layout.select(axis, i))
    }

    /// A new axis of size 1 at `axis`.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Self {
        self.view(self.layout.unsqueeze(axis).or_panic())
    }

    /// The same data under a layout that was derived from this tensor's own.
    ///
    /// # Errors
    /// When the layout reaches outside the storage.
    pub fn with_layout(&self, layout: Layout) -> Result<Self> {
        Self::from_storage(Arc::clone(&self.storage), layout)
    }

    /// Each element through `f`.
    pub fn map<U: Element>(&self, mut f: impl FnMut(T) -> U) -> Tensor<U> {
        let mut out = Tensor::<U>::zeros(&self.layout.shape);
        let dst = out.as_mut_slice();
        match self.as_slice() {
            Some(s) => dst.iter_mut().zip(s).for_each(|(d, &x)| *d = f(x)),
            None => dst.iter_mut().zip(self.iter()).for_each(|(d, x)| *d = f(x)),
        }
        out
    }
}

/// Iterator of [`Tensor::iter`].
pub struct Elements<'a, T: Element> {
    data: &'a [T],
    layout: &'a Layout,
    index: Dims,
    at: isize,
    left: usize,
}

impl<T: Element> Elements<'_, T> {
    #[inline]
    fn next_offset(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let at = self.at as usize;
        let rank = self.layout.shape.len();
        shape::advance(self.layout, &mut self.index, &mut self.at, rank);
        Some(at)
    }
}

impl<T: Element> Iterator for Elements<'_, T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        let at = self.next_offset()?;
        Some(self.data[at])
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Element> ExactSizeIterator for Elements<'_, T> {}

struct Offsets<'a, T: Element>(Elements<'a, T>);

impl<T: Element> Iterator for Offsets<'_, T> {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        self.0.next_offset()
    }
}

/// Same shape and equal elements (so NaN differs from itself).
impl<T: Element> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape() == other.shape() && self.iter().zip(other.iter()).all(|(a, b)| a == b)
    }
}
