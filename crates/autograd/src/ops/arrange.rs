//! Rearrangements made of views and concatenations: repeating, rolling, splitting, moving axes.

use crate::float::Float;
use crate::op::NodeOp;
use crate::ops::shape::{Embed, Slice};
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;
use wengert_tensor::shape::{self, IntoAxes, checked_numel};
use wengert_tensor::{Dims, IntoDims};

/// The sum of two cotangents of one tensor. Those of neighbouring slices, such as the halves of an axis, are put side by side:
/// no zeros are made around them, and nothing is added.
pub(crate) fn sum<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    (neighbours(a, b).or_else(|| neighbours(b, a))).unwrap_or_else(|| a + b)
}

fn neighbours<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Option<Var<'t, T>> {
    let tape = a.tape();
    let (s, t, parts) = {
        let g = tape.graph.borrow();
        let embedded = |v: Var<'t, T>| {
            let node = &g.nodes[v.id as usize];
            let NodeOp::Op(op) = &node.op else {
                return None;
            };
            let embed = op.as_ref().as_any().downcast_ref::<Embed>()?;
            Some((embed.slice, node.args[0]))
        };
        let ((s, x), (t, y)) = (embedded(a)?, embedded(b)?);
        (s, t, [Var::new(tape, x), Var::new(tape, y)])
    };
    if (s.axis, s.step, t.step) != (t.axis, 1, 1) || s.start + s.len != t.start {
        return None;
    }
    let (both, shape) = (Var::cat(&parts, s.axis as isize), a.shape());
    if both.shape() == shape {
        return Some(both);
    }
    let len = s.len + t.len;
    let slice = Slice { len, ..s };
    Some(both.apply(Embed { slice, shape }))
}

impl<'t, T: Float> Var<'t, T> {
    /// Stretched to `shape` by broadcasting, where -1 keeps the size of an axis; a view.
    ///
    /// # Panics
    /// When the shape does not broadcast, or -1 stands for a new axis.
    #[track_caller]
    pub fn expand(self, shape: &[isize]) -> Self {
        let own = self.shape();
        let lead = shape.len().checked_sub(own.len());
        let mut to = Dims::new();
        for (i, &d) in shape.iter().enumerate() {
            to.push(match (d, lead) {
                (-1, Some(lead)) if i >= lead => own[i - lead],
                (d, _) if d >= 0 => d as usize,
                _ => panic!(
                    "expand: shape {:?} does not expand to {shape:?}",
                    own.as_slice()
                ),
            });
        }
        self.broadcast_to(to)
    }

    /// The whole tensor repeated along each axis; missing leading axes count as 1 (PyTorch's `repeat` and `tile`).
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0], [2]));
    /// assert_eq!(x.tile([2]).value().to_vec(), [1.0, 2.0, 1.0, 2.0]);
    /// assert_eq!(x.tile([3, 1]).shape().as_slice(), [3, 2]);
    /// ```
    ///
    /// # Panics
    /// When the result has more elements than can be addressed.
    #[track_caller]
    pub fn tile(self, times: impl IntoDims) -> Self {
        self.tiled("tile", times.into_dims())
    }

    /// [`Var::tile`], under the name by which it was called.
    #[track_caller]
    fn tiled(self, name: &'static str, times: Dims) -> Self {
        let own = self.shape();
        let rank = own.len().max(times.len());
        let size = |i: usize| (i + own.len()).checked_sub(rank).map_or(1, |k| own[k]);
        let count = |i: usize| (i + times.len()).checked_sub(rank).map_or(1, |k| times[k]);
        let (mut apart, mut wide, mut out) = (Dims::new(), Dims::new(), Dims::new());
        for i in 0..rank {
            if count(i) != 1 {
                apart.push(1);
                wide.push(count(i));
            }
            apart.push(size(i));
            wide.push(size(i));
            out.push(count(i).saturating_mul(size(i)));
        }
        checked_numel(name, &out).or_panic();
        if (0..rank).all(|i| count(i) == 1) {
            return self.reshape(out);
        }
        self.reshape(apart).broadcast_to(wide).reshape(out)
    }

    /// The whole tensor repeated along each axis: [`Var::tile`], with at least one count per axis.
    ///
    /// # Panics
    /// When there are fewer counts than axes, or the result has more elements than can be addressed.
    #[track_caller]
    pub fn repeat(self, times: impl IntoDims) -> Self {
        let times = times.into_dims();
        assert!(
            times.len() >= self.rank(),
            "repeat: expected a count for each axis of shape {:?}, found {:?}",
            self.shape().as_slice(),
            times.as_slice()
        );
        self.tiled("repeat", times)
    }

    /// Each element repeated `times` times along an axis.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn repeat_interleave(self, times: usize, axis: isize) -> Self {
        let mut shape = self.shape();
        let a = shape::axis("repeat_interleave", axis, shape.len()).or_panic();
        let mut wide = shape.clone();
        wide.insert(a + 1, times);
        shape[a] = shape[a].saturating_mul(times);
        checked_numel("repeat_interleave", &shape).or_panic();
        self.unsqueeze(a as isize + 1)
            .broadcast_to(wide)
            .reshape(shape)
    }

    /// Rolled along axes: what leaves at one end enters at the other; one shift (towards the end if positive) per axis.
    ///
    /// # Panics
    /// When an axis is out of range, or there is not one shift per axis.
    #[track_caller]
    pub fn roll(self, shifts: impl IntoAxes, axes: impl IntoAxes) -> Self {
        let (shifts, axes) = (shifts.into_axes(), axes.into_axes());
        assert!(
            shifts.len() == axes.len(),
            "roll: expected one shift per axis, found shifts {:?} for axes {:?}",
            shifts.as_slice(),
            axes.as_slice()
        );
        let mut x = self;
        for (&shift, &axis) in shifts.iter().zip(&axes) {
            let a = shape::axis("roll", axis, x.rank()).or_panic() as isize;
            let n = x.size(a);
            if n == 0 || shift.rem_euclid(n as isize) == 0 {
                continue;
            }
            let cut = n - shift.rem_euclid(n as isize) as usize;
            x = Var::cat(&[x.narrow(a, cut, n), x.narrow(a, 0, cut)], a);
        }
        x
    }

    /// Views of `size` elements each along an axis; the last may be shorter.
    ///
    /// # Panics
    /// When the axis is out of range or the size is 0.
    #[track_caller]
    pub fn split(self, size: usize, axis: isize) -> Vec<Self> {
        assert!(size > 0, "split: expected a size of at least 1, found 0");
        let n = self.size(axis);
        let mut parts: Vec<Self> = (0..n)
            .step_by(size)
            .map(|at| self.narrow(axis, at, n.min(at.saturating_add(size))))
            .collect();
        if parts.is_empty() {
            parts.push(self);
        }
        parts
    }

    /// Views of the given sizes along an axis.
    ///
    /// # Panics
    /// When the axis is out of range or the sizes do not add up to its own.
    #[track_caller]
    pub fn split_sizes(self, sizes: &[usize], axis: isize) -> Vec<Self> {
        let n = self.size(axis);
        let sum = sizes.iter().try_fold(0usize, |s, &d| s.checked_add(d));
        assert!(
            sum == Some(n),
            "split_sizes: sizes {sizes:?} do not add up to axis {axis} of shape {:?}",
            self.shape().as_slice()
        );
        let mut at = 0;
        (sizes.iter())
            .map(|&d| {
                at += d;
                self.narrow(axis, at - d, at)
            })
            .collect()
    }

    /// At most `n` views of equal size along an axis; the last may be shorter (PyTorch's `chunk`).
    ///
    /// # Panics
    /// When the axis is out of range or `n` is 0.
    #[track_caller]
    pub fn chunk(self, n: usize, axis: isize) -> Vec<Self> {
        assert!(n > 0, "chunk: expected at least 1 chunk, found 0");
        self.split(self.size(axis).div_ceil(n).max(1), axis)
    }

    /// One view per index of an axis, without that axis.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn unbind(self, axis: isize) -> Vec<Self> {
        (0..self.size(axis)).map(|i| self.select(axis, i)).collect()
    }

    /// Axes moved to other places; the others keep their order. A view.
    ///
    /// # Panics
    /// When an axis is out of range or named twice, or there are not as many destinations as sources.
    #[track_caller]
    pub fn movedim(self, from: impl IntoAxes, to: impl IntoAxes) -> Self {
        let (from, to) = (from.into_axes(), to.into_axes());
        let rank = self.rank();
        assert!(
            from.len() == to.len(),
            "movedim: expected as many destinations as axes, found {:?} and {:?}",
            from.as_slice(),
            to.as_slice()
        );
        shape::axis_set("movedim", &from, rank.max(1)).or_panic();
        shape::axis_set("movedim", &to, rank.max(1)).or_panic();
        if rank == 0 {
            return self;
        }
        let at = |a: &isize| shape::axis("movedim", *a, rank).or_panic();
        let (from, to): (Dims, Dims) = (from.iter().map(at).listed(), to.iter().map(at).listed());
        let mut rest = (0..rank).filter(|a| !from.contains(a));
        let order: SmallVec<[isize; 6]> = (0..rank)
            .map(|i| match to.iter().position(|&t| t == i) {
                Some(k) => from[k],
                None => rest.next().expect("as many axes stay as places are left"),
            } as isize)
            .listed();
        self.permute(order)
    }

    /// Two axes exchanged: [`Var::transpose`] under NumPy's name.
    ///
    /// # Panics
    /// When an axis is out of range.
    #[track_caller]
    pub fn swapaxes(self, a: isize, b: isize) -> Self {
        self.transpose(a, b)
    }

    /// Coordinates of a grid: vectors of lengths n₁, n₂, … each spread to the shape `[n₁, n₂, …]` (`ij` indexing, as
    /// PyTorch's default); views.
    ///
    /// # Panics
    /// When there is none, or one is not of rank 0 or 1.
    #[track_caller]
    pub fn meshgrid(vectors: &[Self]) -> Vec<Self> {
        assert!(
            !vectors.is_empty(),
            "meshgrid: expected at least one vector"
        );
        let mut shape = Dims::new();
        for v in vectors {
            assert!(
                v.rank() <= 1,
                "meshgrid: expected vectors, found shape {:?}",
                v.shape().as_slice()
            );
            shape.push(v.numel());
        }
        (vectors.iter().enumerate())
            .map(|(i, v)| {
                let mut own = Dims::from_elem(1, shape.len());
                own[i] = shape[i];
                v.reshape(own).broadcast_to(&shape)
            })
            .collect()
    }
}
