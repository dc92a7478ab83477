//! The block loop.

use super::chain::Part;
use super::combine::combine_rows;
use super::input::{Access, gather};
use super::reduce::{Partial, ReducePlan, add_total, combine_total, lost, with_lost};
use super::{CInstr, Fun, Program, UNIT};
use crate::list::Listed;
use crate::parallel::Parts;
use crate::{Real, Storage, Tensor, parallel, stream};
use smallvec::SmallVec;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Up to this many instructions memory is what a program waits for, so that large results are stored past the cache (with one
/// operand two threads gain nothing by it). Its blocks are short, so that the stores of one block and the loads of the
/// next one overlap.
const STREAMED: usize = 2;

/// Bytes of operands and results, for each thread, up to which they may be in the second level of its cache, from where asking
/// ahead takes longer than it saves.
const FAR: usize = 2 << 20;

/// Elements that are asked for at a time. A processor has sixteen lines of the cache on their way; while it waits for a place for the
/// next one it does not get to the arithmetic behind.
pub(super) const fn asked<T>() -> usize {
    if size_of::<T>() > 4 { 64 } else { 256 }
}

thread_local! {
    /// Register memory of this thread, reused by every run.
    static SCRATCH: Cell<Option<Storage<f64>>> = const { Cell::new(None) };
}

/// Lends `bytes` of 64-byte aligned scratch memory.
fn with_scratch<R>(bytes: usize, f: impl FnOnce(*mut u8) -> R) -> R {
    let need = bytes.div_ceil(8);
    let mut s = SCRATCH.take().filter(|s| s.len() >= need);
    if s.is_none() {
        let want = need.next_power_of_two().max(1 << 9);
        s = Some(match Storage::zeroed("fused", want) {
            Ok(s) => s,
            Err(e) => panic!("{e}"),
        });
    }
    let mut s = s.expect("made above");
    let r = f(s.as_mut_slice().as_mut_ptr().cast());
    SCRATCH.set(Some(s));
    r
}

pub(super) struct Plan<'a, T: Real> {
    pub p: &'a Program<T>,
    /// Elements of a block.
    pub block: usize,
    inputs: SmallVec<[(&'a [T], Access); 8]>,
    outs: SmallVec<[Parts<'a, T>; 4]>,
    keys: &'a [u64],
    /// Whether to ask ahead for operands and results: they are more than the second level of the cache holds.
    pub far: bool,
    /// The set of outputs to look at, and of those that were seen not to be finite.
    watch: u64,
    infinite: AtomicU64,
    /// Byte size of the scratch memory and where each input's part begins, in elements.
    scratch: usize,
    input_at: SmallVec<[usize; 6]>,
    /// Where the parts of outputs begin that are made in scratch memory and then stored past the cache.
    stream_at: Option<usize>,
    table_at: usize,
}

/// Runs a program; returns the set of those outputs and reductions of the set `watch` that are finite.
pub(super) fn run<T: Real>(
    p: &Program<T>,
    inputs: &[&Tensor<T>],
    outs: &mut [&mut [T]],
    reduced: &mut [&mut [T]],
    keys: &[u64],
    watch: u64,
) -> u64 {
    if p.numel == 0 {
        // What does not broadcast is refused here too.
        for t in inputs {
            Access::of(t, &p.shape, 0);
        }
        for (r, (_, plan)) in reduced.iter_mut().zip(&p.reduces) {
            r.fill(T::from_f64(plan.kind.identity()));
        }
        // Reductions over nothing may be infinite; nobody has looked.
        return watch & low_bits(p.n_outs);
    }
    // Views with gaps are gathered before they are used, which short blocks would make slower.
    let whole = (inputs.iter()).filter(|t| t.numel() == p.numel && t.is_contiguous());
    let stream = p.n_outs > 0
        && p.instrs.len() <= STREAMED
        && whole.count() >= 2
        && stream::pays(p.numel * size_of::<T>());
    let block = if stream { p.block.min(UNIT) } else { p.block };
    let mut at = p.n_regs * block;
    let mut input_at = SmallVec::new();
    let accesses: SmallVec<[(&[T], Access); 8]> = (inputs.iter())
        .map(|t| {
            let access = Access::of(t, &p.shape, p.numel);
            input_at.push(at);
            at += match access {
                Access::Contiguous { .. } => 0,
                Access::Scalar { .. } | Access::Strided { .. } => block,
                Access::Period { period, .. } if period <= block => block + period,
                Access::Period { .. } => block,
            };
            at = at.div_ceil(16) * 16;
            (t.storage().as_slice(), access)
        })
        .listed();
    let stream_at = stream.then_some(at);
    if stream {
        at += p.n_outs * block.next_multiple_of(16);
    }
    let table_at = (at * size_of::<T>()).div_ceil(64) * 64;
    let slots = p.n_inputs + p.n_regs + p.n_outs;
    let plan = Plan {
        p,
        block,
        far: p.bytes() > FAR && p.bytes() > FAR * parallel::threads(),
        inputs: accesses,
        outs: outs.iter_mut().map(|o| Parts::new(o)).listed(),
        keys,
        watch: watch & low_bits(p.n_outs),
        infinite: AtomicU64::new(0),
        scratch: table_at + slots * size_of::<*mut T>(),
        input_at,
        stream_at,
        table_at,
    };
    if let Some(few) = p.few {
        plan.few(few, reduced);
        let mut finite = plan.finite();
        for (k, out) in reduced.iter().enumerate() {
            let bit = 1u64.checked_shl((p.n_outs + k) as u32).unwrap_or(0) & watch;
            if bit != 0 && T::largest_magnitude(out).is_finite() {
                finite |= bit;
            }
        }
        return finite;
    }
    let chunks = p.numel.div_ceil(p.chunk);
    let widths: SmallVec<[usize; 6]> = p
        .reduces
        .iter()
        .map(|(_, r)| r.width(p.chunk.min(p.numel)))
        .listed();
    let open: usize = p.reduces.iter().map(|(_, r)| open_at::<T>(r)).sum();
    // Whole cache lines.
    let stride = (widths.iter().sum::<usize>() + open).next_multiple_of(8);
    if p.reduces.is_empty() {
        parallel::tasks(chunks, |c| plan.chunk(c, &mut []));
        return plan.finite();
    }
    let mut finite = 0;
    // Taken, not held: while this thread waits for others it may run the same program for somebody else.
    let kept = || p.partials.lock().unwrap_or_else(|e| e.into_inner());
    let mut memory = std::mem::take(&mut *kept());
    let partials = &mut memory;
    partials.resize(stride * chunks + 7, 0.0);
    let aligned = partials.as_ptr().align_offset(64).min(7);
    let partials = &mut partials[aligned..][..stride * chunks];
    if chunks == 1 {
        plan.chunk(0, partials);
    } else {
        parallel::chunks_mut(partials, stride, |c, part| plan.chunk(c, part));
    }
    // Combine the chunks in index order; totals keep the rounding errors of the additions aside.
    let mut base = 0;
    for (k, ((_, r), (out, &w))) in (p.reduces.iter())
        .zip(reduced.iter_mut().zip(&widths))
        .enumerate()
    {
        let bit = 1u64.checked_shl((p.n_outs + k) as u32).unwrap_or(0) & watch;
        if chunks == 1 {
            let (low, high) = r.range(0, p.numel);
            for (o, &v) in out[low..high]
                .iter_mut()
                .zip(&partials[base..base + high - low])
            {
                *o = T::from_f64(v);
            }
            if bit != 0 && T::largest_magnitude(out).is_finite() {
                finite |= bit;
            }
        } else if r.all {
            let (mut sum, mut err) = (r.kind.identity(), 0.0);
            for c in 0..chunks {
                let v = partials[c * stride + base];
                let t = combine_total(r.kind, sum, v);
                err += lost(r.kind, sum, v, t);
                sum = t;
            }
            out[0] = T::from_f64(with_lost(r.kind, sum, err));
            if out[0].is_finite() {
                finite |= bit;
            }
        } else if combine_rows(p, r, out, partials, base, stride, w, chunks, bit != 0) {
            finite |= bit;
        }
        base += w;
    }
    *kept() = memory;
    finite | plan.finite()
}

/// Places of partial results, which are f64, that hold [`ReducePlan::open`].
fn open_at<T: Real>(r: &ReducePlan) -> usize {
    (r.open::<T>() * size_of::<T>()).div_ceil(size_of::<f64>())
}

/// The set of the first `n` of 64 things.
fn low_bits(n: usize) -> u64 {
    1u64.checked_shl(n as u32).unwrap_or(0).wrapping_sub(1)
}

/// Where the values of a block lie.
pub(super) struct Frame<'m, T> {
    regs: *mut T,
    /// The elements of each slot.
    table: &'m mut [*mut T],
    /// Elements of the block.
    len: usize,
    /// Elements in which an instruction or a chain takes a block, and how many such pieces of a block all of them take.
    piece: usize,
    turns: usize,
}

impl<T> Frame<'_, T> {
    /// What is in a slot, of the block that was evaluated last.
    pub(super) fn slot(&self, slot: usize) -> &[T] {
        // SAFETY: every slot pointer is valid for the elements of the block, and nobody writes there before the next block.
        unsafe { std::slice::from_raw_parts(self.table[slot].cast_const(), self.len) }
    }
}

impl<T: Real> Plan<'_, T> {
    fn chunk(&self, c: usize, partials: &mut [f64]) {
        let p = self.p;
        let start = c * p.chunk;
        let end = (start + p.chunk).min(p.numel);
        let mut rest = &mut partials[..];
        let mut accs: SmallVec<[Partial<'_, T>; 4]> = SmallVec::new();
        let mut all: SmallVec<[(f64, f64); 4]> = SmallVec::new();
        for (_, r) in &p.reduces {
            let (acc, tail) = std::mem::take(&mut rest).split_at_mut(r.width(p.chunk.min(p.numel)));
            rest = tail;
            acc.fill(r.kind.identity());
            accs.push((r.range(start, end).0, acc, &mut [][..]));
            all.push((r.kind.identity(), 0.0));
        }
        for ((_, r), (.., open)) in p.reduces.iter().zip(&mut accs) {
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(open_at::<T>(r));
            rest = tail;
            own.fill(0.0);
            // SAFETY: `open_at` makes room for as many elements of T, a type of at most the alignment of f64, and zeros
            // are elements of T.
            *open =
                unsafe { std::slice::from_raw_parts_mut(own.as_mut_ptr().cast(), r.open::<T>()) };
        }
        // An input that lies in order is reduced chunk by chunk, not block by block.
        let whole = |slot: usize| match self.inputs.get(slot) {
            Some((data, Access::Contiguous { offset })) => {
                Some(&data[offset + start..offset + end])
            }
            _ => None,
        };
        let operands = |slot: usize, r: &ReducePlan| {
            let other = r.term.other().unwrap_or(slot);
            Some([whole(slot)?, whole(other)?])
        };
        let mut blocks = !p.instrs.is_empty();
        for (k, (slot, r)) in p.reduces.iter().enumerate() {
            match operands(*slot, r) {
                Some(xy) if r.all => all[k] = add_total(xy, start, r, self.far, all[k]),
                Some(xy) => r.add_block(xy, start, start..end, self.far, &mut accs[k]),
                None => blocks = true,
            }
        }
        if blocks {
            self.blocks(
                start,
                end,
                |slot, r| operands(slot, r).is_some(),
                &mut accs,
                &mut all,
            );
        }
        for (k, (_, r)) in p.reduces.iter().enumerate() {
            if r.all {
                accs[k].1[0] = with_lost(r.kind, all[k].0, all[k].1);
            }
        }
    }

    /// Runs the instructions block by block, and the reductions that are not `done`.
    fn blocks(
        &self,
        start: usize,
        end: usize,
        done: impl Fn(usize, &ReducePlan) -> bool,
        accs: &mut [Partial<'_, T>],
        all: &mut [(f64, f64)],
    ) {
        self.with_frame(|frame| {
            for at in (start..end).step_by(self.block) {
                let len = self.block.min(end - at);
                self.evaluate(frame, at, len, at + self.block);
                for (k, (slot, r)) in self.p.reduces.iter().enumerate() {
                    if done(*slot, r) {
                        continue;
                    }
                    let xy = [*slot, r.term.other().unwrap_or(*slot)].map(|s| frame.slot(s));
                    if r.all {
                        all[k] = add_total(xy, at, r, false, all[k]);
                    } else {
                        r.add_block(xy, at, start..end, false, &mut accs[k]);
                    }
                }
            }
        });
    }

    /// Lends the registers of this thread, with what is the same in all blocks in place.
    pub(super) fn with_frame(&self, f: impl FnOnce(&mut Frame<'_, T>)) {
        let p = self.p;
        with_scratch(self.scratch, |memory| {
            let regs = memory.cast::<T>();
            // SAFETY: the scratch memory holds `scratch` bytes; the table of slot pointers lies behind the registers,
            // aligned to 64 bytes.
            let table = unsafe {
                let n = p.n_inputs + p.n_regs + p.n_outs;
                let table = memory.add(self.table_at).cast::<*mut T>();
                for i in 0..n {
                    table.add(i).write(regs);
                }
                std::slice::from_raw_parts_mut(table, n)
            };
            for r in 0..p.n_regs {
                // SAFETY: registers lie at the beginning of the scratch memory.
                table[p.n_inputs + r] = unsafe { regs.add(r * self.block) };
            }
            self.prepare(regs, table);
            let passes: usize = (p.parts.iter())
                .map(|part| match part {
                    Part::Chain(_) => 1,
                    Part::Steps(from, to) => to - from,
                })
                .sum();
            // Few passes take a long block in pieces, so that asking ahead and computing take turns.
            let pieces = match self.far {
                true => (self.block / asked::<T>()).div_ceil(passes.max(1)).max(1),
                false => 1,
            };
            let piece = self.block.div_ceil(pieces).next_multiple_of(64);
            f(&mut Frame {
                regs,
                table,
                len: 0,
                piece,
                turns: passes * self.block.div_ceil(piece),
            });
            if self.stream_at.is_some() {
                stream::finish();
            }
        });
    }

    /// Runs the instructions on the block of `len` elements that begins at `at`, and asks for the one at `next` meanwhile.
    pub(super) fn evaluate(&self, frame: &mut Frame<'_, T>, at: usize, len: usize, next: usize) {
        let p = self.p;
        frame.len = len;
        let Frame {
            regs,
            table,
            piece,
            turns,
            ..
        } = frame;
        self.load(*regs, table, at, len);
        let mut turn = 0;
        let mut ask = || {
            if self.far {
                self.ahead(next, turn, *turns);
            }
            turn += 1;
        };
        let pieces = || {
            (0..len)
                .step_by(*piece)
                .map(|from| from..len.min(from + *piece))
        };
        for part in &p.parts {
            match part {
                Part::Chain(chain) => {
                    for piece in pieces() {
                        ask();
                        // SAFETY: every slot pointer is valid for `len` elements of this block, and `Program::new` has
                        // checked that the destination is not among the operands and is no input.
                        unsafe { chain.run(table, piece) }
                    }
                }
                Part::Steps(from, to) => {
                    for ins in &p.instrs[*from..*to] {
                        for piece in pieces() {
                            ask();
                            // SAFETY: as above.
                            unsafe { step(ins, table, piece, at, self.keys) };
                        }
                    }
                }
            }
        }
        let made = &table[p.n_inputs + p.n_regs..];
        if self.watch != 0 {
            // SAFETY: as above.
            unsafe { self.look(made, len) };
        }
        if self.stream_at.is_some() {
            for (o, &made) in self.outs.iter().zip(made) {
                // SAFETY: both are valid for `len` elements; scratch memory is no output.
                unsafe { stream::copy(made.cast_const(), o.at(at), len) };
            }
        }
    }

    /// Asks for a part of what the block that begins at `at` reads and writes, in turn `turn` of `turns`: the processor does not
    /// foresee which lines are written, and stops at the end of a page.
    #[inline(always)]
    pub(super) fn ahead(&self, at: usize, turn: usize, turns: usize) {
        let at = at.min(self.p.numel);
        let len = self.block.min(self.p.numel - at);
        let part = at + len * turn / turns..at + len * (turn + 1) / turns;
        for (data, access) in &self.inputs {
            if let Access::Contiguous { offset } = access {
                stream::ahead(&data[offset + part.start..offset + part.end]);
            }
        }
        if self.stream_at.is_none() {
            for o in &self.outs {
                stream::ahead_at(o.at(part.start).cast_const(), part.len());
            }
        }
    }

    /// Looks at a block of the outputs while it is in the first-level cache.
    ///
    /// # Safety
    /// The pointers of the watched outputs are valid for reading `len` elements.
    #[inline(never)]
    unsafe fn look(&self, outs: &[*mut T], len: usize) {
        let mut rest = self.watch;
        while rest != 0 {
            let k = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            // SAFETY: by the contract of this function.
            let x = unsafe { std::slice::from_raw_parts(outs[k].cast_const(), len) };
            if !T::largest_magnitude(x).is_finite() {
                self.infinite.fetch_or(1 << k, Ordering::Relaxed);
            }
        }
    }

    /// The set of watched outputs that are finite.
    fn finite(&self) -> u64 {
        self.watch & !self.infinite.load(Ordering::Relaxed)
    }

    /// Fills what stays the same for all blocks of a chunk.
    fn prepare(&self, regs: *mut T, table: &mut [*mut T]) {
        for (i, (data, access)) in self.inputs.iter().enumerate() {
            // SAFETY: every input's part of the scratch memory was sized by `run`.
            let own = unsafe { regs.add(self.input_at[i]) };
            match *access {
                Access::Scalar { offset } => {
                    // SAFETY: a scalar's part holds one block.
                    unsafe { std::slice::from_raw_parts_mut(own, self.block) }.fill(data[offset]);
                    table[i] = own;
                }
                Access::Period { offset, period } if period <= self.block => {
                    // SAFETY: the part holds a block and a period.
                    let tile = unsafe { std::slice::from_raw_parts_mut(own, self.block + period) };
                    let row = &data[offset..offset + period];
                    for part in tile.chunks_mut(period) {
                        part.copy_from_slice(&row[..part.len()]);
                    }
                }
                _ => {}
            }
        }
    }

    /// Brings the operands of one block into place.
    fn load(&self, regs: *mut T, table: &mut [*mut T], at: usize, len: usize) {
        let p = self.p;
        for (i, (data, access)) in self.inputs.iter().enumerate() {
            // SAFETY: as in `prepare`.
            let own = unsafe { regs.add(self.input_at[i]) };
            match access {
                Access::Contiguous { offset } => {
                    table[i] = data[offset + at..offset + at + len].as_ptr().cast_mut();
                }
                Access::Scalar { .. } => {}
                Access::Period { period, .. } if *period <= self.block => {
                    // SAFETY: the tile repeats the row, so a block can start anywhere in the first period.
                    table[i] = unsafe { own.add(at % period) };
                }
                Access::Period { offset, period } => {
                    let first = at % period;
                    if first + len <= *period {
                        table[i] = data[offset + first..offset + first + len]
                            .as_ptr()
                            .cast_mut();
                    } else {
                        // SAFETY: the part holds one block.
                        let dst = unsafe { std::slice::from_raw_parts_mut(own, len) };
                        let head = period - first;
                        dst[..head].copy_from_slice(&data[offset + first..offset + period]);
                        dst[head..].copy_from_slice(&data[*offset..offset + len - head]);
                        table[i] = own;
                    }
                }
                Access::Strided { offset, axes } => {
                    // SAFETY: the part holds one block.
                    let dst = unsafe { std::slice::from_raw_parts_mut(own, len) };
                    gather(data, *offset, axes, at, dst);
                    table[i] = own;
                }
            }
        }
        for (k, o) in self.outs.iter().enumerate() {
            table[p.n_inputs + p.n_regs + k] = match self.stream_at {
                // SAFETY: the scratch memory has a block for each output.
                Some(own) => unsafe { regs.add(own + k * self.block.next_multiple_of(16)) },
                None => o.at(at),
            };
        }
    }
}

/// Runs one instruction on a part of a block, which begins at `at`.
///
/// # Safety
/// Every pointer of `table` that the instruction names is valid for `part.end` elements, the destination for writing, and
/// the destination overlaps no operand.
#[inline]
unsafe fn step<T: Real>(
    ins: &CInstr<T>,
    table: &[*mut T],
    part: Range<usize>,
    at: usize,
    keys: &[u64],
) {
    // SAFETY: by the contract of this function.
    unsafe {
        let dst = table[ins.dst as usize].add(part.start);
        let dst = std::slice::from_raw_parts_mut(dst, part.len());
        match ins.fun {
            Fun::Elem(f, _) => {
                let arg = |k: usize| {
                    let from = table[ins.args[k] as usize].add(part.start);
                    std::slice::from_raw_parts(from.cast_const(), part.len())
                };
                f(dst, [arg(0), arg(1), arg(2)], ins.imm);
            }
            Fun::Index(f, key) => f(dst, at + part.start, keys[key as usize], ins.imm),
        }
    }
}
