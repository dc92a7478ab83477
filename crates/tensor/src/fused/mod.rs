//! Fused elementwise programs: a chain of elementwise operations over one iteration shape, run block by block.
//!
//! A block of at most [`BLOCK`] elements passes through all instructions while it is in the first-level cache; each
//! instruction is one vectorised loop. Inputs may be broadcast, permuted or strided views. Results are stored, or
//! reduced over any set of axes in the same pass; a total sum takes in the squares, products or squared differences that it
//! adds up. Chunk borders depend on sizes only, and partial sums are combined in
//! index order, so the bits do not depend on the number of threads.

mod chain;
mod combine;
mod doubles;
mod few;
mod input;
mod kernel;
mod lines;
mod octaves;
mod pieces;
mod reduce;
mod roots;
mod run;
mod terms;

pub use chain::Arith;
pub use doubles::Doubles;
pub use few::FewRows;
pub use kernel::{
    BlockFn, BlockFns, ElemFn, IndexFn, IndexedFn, block_fn, block_fns, index_fn, pick,
};
pub use octaves::{ERFC, Octaves};
pub use pieces::{GELU, OddPieces, Pieces, TANH};
pub use reduce::{Reduce, extreme_of, few_rows, sum_of};
pub use roots::{ROOTS, Roots};

use crate::error::{Error, Result};
use crate::shape::{Dims, IntoDims, checked_numel};
use crate::{Real, Tensor};
use reduce::ReducePlan;
use smallvec::SmallVec;
use std::sync::Mutex;

/// Largest number of elements that pass through a program at a time.
pub const BLOCK: usize = 1024;

/// Bytes of registers that a program may keep in use; more registers make the blocks shorter.
const REGISTER_BYTES: usize = 32 << 10;

/// Reductions sum runs that end at multiples of this many elements, whatever the length of the blocks, so that a value
/// does not depend on what it is fused with.
const UNIT: usize = 256;

/// Elements of a unit of work for one thread.
const CHUNK: usize = 1 << 15;

/// A value inside a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Input tensor by number.
    Input(u32),
    /// Block register.
    Reg(u32),
    /// Stored output by number; also readable after it was written.
    Out(u32),
}

impl Slot {
    /// Its number among all, of so many inputs, registers and outputs.
    fn index(self, [n_inputs, n_regs, n_outs]: [usize; 3]) -> Result<usize> {
        let (i, n, base) = match self {
            Slot::Input(i) => (i as usize, n_inputs, 0),
            Slot::Reg(i) => (i as usize, n_regs, n_inputs),
            Slot::Out(i) => (i as usize, n_outs, n_inputs + n_regs),
        };
        if i < n {
            Ok(base + i)
        } else {
            Err(bad("slot out of range"))
        }
    }
}

fn bad(what: &str) -> Error {
    Error::Value {
        op: "fused",
        message: what.to_string(),
    }
}

/// What an instruction runs.
#[derive(Clone, Copy)]
pub enum Fun<T: Real> {
    /// A function of up to three values, and what it computes if that can be done in registers, with the same bits.
    Elem(BlockFn<T>, Option<Arith>),
    /// A function of the element's index and the key with this number.
    Index(IndexFn<T>, u32),
}

/// One elementwise instruction.
#[derive(Clone)]
pub struct Instr<T: Real> {
    /// The loop.
    pub fun: Fun<T>,
    /// Immediate operands.
    pub imm: [T; 2],
    /// Where the result goes: a register or an output.
    pub dst: Slot,
    /// Operands, as many as the function takes.
    pub args: SmallVec<[Slot; 3]>,
}

/// A checked program over one iteration shape.
pub struct Program<T: Real> {
    shape: Dims,
    numel: usize,
    n_inputs: usize,
    n_regs: usize,
    n_outs: usize,
    instrs: Vec<CInstr<T>>,
    parts: Vec<chain::Part<T>>,
    reduces: Vec<(usize, ReducePlan)>,
    /// The rows of all reductions, if there are few.
    few: Option<FewRows>,
    block: usize,
    chunk: usize,
    partials: Mutex<Vec<f64>>,
}

/// Instruction with resolved slot numbers: inputs, then registers, then outputs.
struct CInstr<T: Real> {
    fun: Fun<T>,
    imm: [T; 2],
    dst: u32,
    args: [u32; 3],
}

impl<T: Real> CInstr<T> {
    /// What the function computes, if it can run in registers.
    fn arith(&self) -> Option<Arith> {
        match self.fun {
            Fun::Elem(_, arith) => arith,
            Fun::Index(..) => None,
        }
    }

    /// The slots that it reads; some twice.
    fn operands(&self) -> impl Iterator<Item = u32> {
        self.args.into_iter().filter(|&a| a != u32::MAX)
    }
}

impl<T: Real> Program<T> {
    /// Checks and compiles a program.
    ///
    /// `reduces` lists the values to reduce, with the set of axes (bit `i` for axis `i` of `shape`) and the kind.
    ///
    /// # Errors
    /// When a slot is out of range, read or reduced before it is written, or written while it is read; when an input is written
    /// or an output is not; when a function has no operand or more than three.
    pub fn new(
        shape: impl IntoDims,
        n_inputs: usize,
        n_regs: usize,
        n_outs: usize,
        instrs: impl IntoIterator<Item = Instr<T>>,
        reduces: &[(Slot, u64, Reduce)],
    ) -> Result<Self> {
        let shape = shape.into_dims();
        let sizes = [n_inputs, n_regs, n_outs];
        // What instructions come from is gone before more is made of them: of a long program both take memory.
        let resolved = Self::resolve(sizes, &mut instrs.into_iter())?;
        Self::compile(shape, sizes, resolved, reduces)
    }

    /// Instructions with the numbers of their slots, and which slots are written.
    fn resolve(
        sizes: [usize; 3],
        instrs: &mut dyn Iterator<Item = Instr<T>>,
    ) -> Result<(Vec<CInstr<T>>, Vec<bool>)> {
        let [n_inputs, n_regs, n_outs] = sizes;
        let index = |s: Slot| s.index(sizes);
        let mut written = vec![false; n_inputs + n_regs + n_outs];
        written[..n_inputs].fill(true);
        let mut code = Vec::with_capacity(instrs.size_hint().0);
        for ins in instrs {
            let dst = index(ins.dst)?;
            let mut args = [dst as u32; 3];
            let least = usize::from(matches!(ins.fun, Fun::Elem(..)));
            if ins.args.len() < least || ins.args.len() > 3 {
                return Err(bad("a function has one to three operands"));
            }
            for (k, &a) in ins.args.iter().enumerate() {
                let a = index(a)?;
                if !written[a] {
                    return Err(bad("slot is read before it is written"));
                }
                if a == dst {
                    return Err(bad("slot is written while it is read"));
                }
                args[k] = a as u32;
            }
            // Operands that a function does not take repeat its first one, so that no slice aliases the destination.
            for k in ins.args.len()..3 {
                args[k] = if ins.args.is_empty() {
                    u32::MAX
                } else {
                    args[0]
                };
            }
            if dst < n_inputs {
                return Err(bad("an input is written"));
            }
            written[dst] = true;
            code.push(CInstr {
                fun: ins.fun,
                imm: ins.imm,
                dst: dst as u32,
                args,
            });
        }
        if let Some(k) = written[n_inputs + n_regs..].iter().position(|w| !w) {
            return Err(bad(&format!("output {k} is never written")));
        }
        Ok((code, written))
    }

    fn compile(
        shape: Dims,
        sizes: [usize; 3],
        (mut code, written): (Vec<CInstr<T>>, Vec<bool>),
        reduces: &[(Slot, u64, Reduce)],
    ) -> Result<Self> {
        let [n_inputs, n_regs, n_outs] = sizes;
        let numel = checked_numel("fused", &shape)?;
        let mut plans = Vec::new();
        let mut chunk = CHUNK;
        for &(s, axes, kind) in reduces {
            let s = s.index(sizes)?;
            if !written[s] {
                return Err(bad("slot is reduced before it is written"));
            }
            let plan = ReducePlan::new(&shape, axes, kind);
            chunk = chunk.max(plan.least_chunk());
            plans.push((s, plan));
        }
        let slots = n_inputs + n_regs + n_outs;
        terms::absorb(&mut code, &mut plans, n_inputs..n_inputs + n_regs);
        let read = (plans.iter()).flat_map(|(s, plan)| [Some(*s), plan.term.other()]);
        let read = read.flatten();
        let parts = chain::parts(&code, slots, read.chain(n_inputs + n_regs..slots));
        let fit = REGISTER_BYTES / (n_regs.max(1) * size_of::<T>());
        let block = (1 << fit.clamp(UNIT, BLOCK).ilog2()).min(numel.max(1));
        // As long as each other, and an even number of them. Multiples of the longest block, so that chunks do not depend
        // on the registers in use.
        let count = match numel.div_ceil(chunk) {
            0 | 1 => 1,
            n => n.next_multiple_of(2),
        };
        let chunk = numel.div_ceil(count).max(1).div_ceil(BLOCK) * BLOCK;
        Ok(Program {
            shape,
            numel,
            n_inputs,
            n_regs,
            n_outs,
            instrs: code,
            parts,
            few: (plans.first())
                .and_then(|(_, first)| first.few)
                .filter(|few| plans.iter().all(|(_, r)| r.few == Some(*few))),
            reduces: plans,
            block,
            chunk,
            partials: Mutex::new(Vec::new()),
        })
    }

    /// The iteration shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.instrs.len()
    }

    /// Whether there are no instructions.
    pub fn is_empty(&self) -> bool {
        self.instrs.is_empty()
    }

    /// Bytes that a run reads and writes, for reports.
    pub fn bytes(&self) -> usize {
        (self.n_inputs + self.n_outs) * self.numel * size_of::<T>()
    }

    /// Runs the program.
    ///
    /// `inputs` broadcast to the iteration shape. `outs` are contiguous and of the iteration shape's size; `reduced`
    /// are contiguous and of the sizes that the reductions leave. `keys` seed the index functions.
    ///
    /// # Panics
    /// When the number or the sizes of the tensors do not fit the program.
    pub fn run(
        &self,
        inputs: &[&Tensor<T>],
        outs: &mut [&mut [T]],
        reduced: &mut [&mut [T]],
        keys: &[u64],
    ) {
        self.run_watching(inputs, outs, reduced, keys, 0);
    }

    /// As [`Program::run`]; looks at some results, while they are in the cache, for what is not finite.
    ///
    /// `watch` is a set of outputs and, behind them, reductions: bit `i` for result `i`, up to 64 of them. Returns the set
    /// of those that are finite.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub fn run_watching(
        &self,
        inputs: &[&Tensor<T>],
        outs: &mut [&mut [T]],
        reduced: &mut [&mut [T]],
        keys: &[u64],
        watch: u64,
    ) -> u64 {
        assert_eq!(inputs.len(), self.n_inputs, "fused: number of inputs");
        assert_eq!(outs.len(), self.n_outs, "fused: number of outputs");
        assert_eq!(
            reduced.len(),
            self.reduces.len(),
            "fused: number of reductions"
        );
        for o in outs.iter() {
            assert_eq!(o.len(), self.numel, "fused: size of an output");
        }
        for (r, (_, plan)) in reduced.iter().zip(&self.reduces) {
            assert_eq!(r.len(), plan.out_numel, "fused: size of a reduction");
        }
        run::run(self, inputs, outs, reduced, keys, watch)
    }
}
