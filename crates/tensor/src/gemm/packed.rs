//! A right operand that is packed once and multiplied many times: the recurrent weights of a sequence.

use super::blocks::tile_rows;
use super::driver::part;
use super::kernels::Kernels;
use super::pack::pack_panel;
use super::tile::{Job, Spot};
use super::{MatMut, MatRef, inside};
use crate::Real;
use crate::parallel::{self, Parts};
use crate::simd::level;
use std::ops::Range;

/// Elements below which packing is not worth a second thread.
const SERIAL: usize = 1 << 16;
/// Bytes of a row of one block of `k`.
const K_BYTES: usize = 2048;

fn blocks_of<T>(k: usize) -> usize {
    (k * size_of::<T>()).div_ceil(K_BYTES).max(1)
}

/// Elements that the packed form of a `k x n` operand takes.
///
/// # Panics
/// When there are more than memory could hold.
pub fn packed_len<T: Real>(k: usize, n: usize) -> usize {
    let lanes = T::kernels(level()).lanes;
    let width = n.checked_next_multiple_of(lanes);
    width
        .and_then(|w| w.checked_mul(k))
        .unwrap_or_else(|| panic!("packed_len: no memory could hold {k} x {n} elements"))
}

/// Packs a `k x n` operand into `out`, for [`gemm_packed`] in this process.
///
/// # Panics
/// When the operand does not lie inside its memory, or `out` has not [`packed_len`] elements.
#[track_caller]
pub fn pack<T: Real>(k: usize, n: usize, b: MatRef<'_, T>, out: &mut [T]) {
    inside("B", b.data.len(), b.offset, [(1, 0), (k, b.rs), (n, b.cs)]);
    assert!(
        out.len() == packed_len::<T>(k, n),
        "pack: room for {} elements, expected {}",
        out.len(),
        packed_len::<T>(k, n)
    );
    if out.is_empty() {
        return;
    }
    let kernels = T::kernels(level());
    let out = Parts::new(out);
    let count = panels(kernels, n);
    let one = |i: usize| {
        let cols = panel(kernels, n, i);
        let width = cols.len().div_ceil(kernels.lanes) * kernels.lanes;
        for kb in 0..blocks_of::<T>(k) {
            let ks = part(k, blocks_of::<T>(k), kb);
            let from = place(kernels, n, &ks, cols.start);
            // SAFETY: the panels of all blocks lie side by side in `out`, whose length was checked, and each is taken once.
            let to = unsafe { out.part(from..from + width * ks.len()) };
            let at = b.offset as isize + ks.start as isize * b.rs + cols.start as isize * b.cs;
            // SAFETY: `inside` was asserted for the operand, and `to` holds `ks.len()` rows of `width` elements.
            unsafe {
                let from = b.data.as_ptr().offset(at);
                let (to, of) = (to.as_mut_ptr(), (b.rs, b.cs));
                pack_panel(kernels, from, of, to, ks.len(), cols.len(), width);
            }
        }
    };
    if k * n < SERIAL {
        (0..count).for_each(one);
    } else {
        parallel::tasks(count, one);
    }
}

/// Where the panel of a block of `k` that starts at column `col` lies.
fn place<T>(kernels: &Kernels<T>, n: usize, ks: &Range<usize>, col: usize) -> usize {
    n.div_ceil(kernels.lanes) * kernels.lanes * ks.start + col * ks.len()
}

/// Number of panels.
fn panels<T>(kernels: &Kernels<T>, n: usize) -> usize {
    n.div_ceil(kernels.lanes).div_ceil(kernels.nv())
}

/// Columns of panel `i`: a few registers, shared out evenly.
fn panel<T>(kernels: &Kernels<T>, n: usize, i: usize) -> Range<usize> {
    let r = part(n.div_ceil(kernels.lanes), panels(kernels, n), i);
    r.start * kernels.lanes..(r.end * kernels.lanes).min(n)
}

/// `C = A B + beta * C` with `A` of shape `m x k` and a `B` of `k x n` that [`pack`] packed; on the calling thread.
///
/// Every element is one chain of multiply-adds over ascending `k` for each block of `k`, whatever `m` is: rows may be
/// computed together or apart, with the same bits.
///
/// # Panics
/// When a matrix does not lie inside its memory, `packed` has not [`packed_len`] elements, or the rows of `C` are not
/// contiguous and apart.
///
/// ```
/// use wengert_tensor::gemm::{MatMut, MatRef, gemm_packed, pack, packed_len};
/// let b = [5.0, 6.0, 7.0, 8.0]; // 2 x 2
/// let mut packed = vec![0.0_f32; packed_len::<f32>(2, 2)];
/// pack(2, 2, MatRef::row_major(&b, 2), &mut packed);
/// let mut c = [0.0_f32; 2];
/// gemm_packed(1, 2, 2, MatRef::row_major(&[1.0, 2.0], 2), &packed, 0.0, MatMut::row_major(&mut c, 2));
/// assert_eq!(c, [19.0, 22.0]);
/// ```
#[track_caller]
pub fn gemm_packed<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: MatRef<'_, T>,
    packed: &[T],
    beta: T,
    c: MatMut<'_, T>,
) {
    inside("A", a.data.len(), a.offset, [(1, 0), (m, a.rs), (k, a.cs)]);
    inside("C", c.data.len(), c.offset, [(1, 0), (m, c.rs), (n, c.cs)]);
    assert!(
        c.cs == 1 && (m <= 1 || c.rs >= n as isize),
        "gemm: the rows of C are not contiguous and apart: strides {}, {}",
        c.rs,
        c.cs
    );
    assert!(
        packed.len() == packed_len::<T>(k, n),
        "gemm: {} packed elements, expected {}",
        packed.len(),
        packed_len::<T>(k, n)
    );
    if m == 0 || n == 0 {
        return;
    }
    let kernels = T::kernels(level());
    let (lanes, mr) = (kernels.lanes, kernels.mr());
    let tiles = m.div_ceil(mr);
    let c_base = c.data.as_mut_ptr();
    for kb in 0..blocks_of::<T>(k) {
        let ks = part(k, blocks_of::<T>(k), kb);
        for cols in (0..panels(kernels, n)).map(|i| panel(kernels, n, i)) {
            let nv = cols.len().div_ceil(lanes);
            let job = Job {
                k: ks.len(),
                s_row: a.rs,
                s_k: a.cs,
                v_k: (nv * lanes) as isize,
                c_row: c.rs,
                beta: if kb == 0 { beta } else { T::ONE },
                ..Job::new(kernels.finish)
            };
            let v = packed[place(kernels, n, &ks, cols.start)..].as_ptr();
            for t in 0..tiles {
                let rows = tile_rows(m, mr, tiles, t);
                let first = rows.start as isize;
                let from = a.offset as isize + first * a.rs + ks.start as isize * a.cs;
                let to = c.offset as isize + first * c.rs + cols.start as isize;
                let spot = Spot::new(
                    a.data.as_ptr().wrapping_offset(from),
                    v,
                    c_base.wrapping_offset(to),
                    cols.len() - (nv - 1) * lanes,
                );
                // SAFETY: the operands and the result were checked above; `v` holds `ks.len()` rows of `nv`
                // registers; `level` says that this machine has the instruction set.
                unsafe { (kernels.tiles[nv - 1][rows.len() - 1])(&job, &spot) };
            }
        }
    }
}
