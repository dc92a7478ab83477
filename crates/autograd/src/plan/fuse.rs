//! The program of a fused group: which values are inputs, registers or results, in which order.

use super::nodes::Kind;
use super::{FusedStep, Group, LAZY, Planner};
use crate::float::Float;
use crate::op::NodeOp;
use crate::ops::elementwise::Elem;
use crate::tape::Graph;
use wengert_tensor::Dims;
use wengert_tensor::error::OrPanic;
use wengert_tensor::fused::{Arith, Fun, Instr, Program, Reduce, Slot};
use wengert_tensor::list::Listed;

/// What runs in registers. The kernels of these rows of the table are what [`Arith`] says, bit for bit.
fn arith(e: Elem) -> Option<Arith> {
    Some(match e {
        Elem::Add => Arith::Add,
        Elem::Sub => Arith::Sub,
        // A square reads its operand twice: instructions repeat the first operand in place of those that they have not.
        Elem::Mul | Elem::Square => Arith::Mul,
        Elem::AddScalar => Arith::AddScalar,
        Elem::MulScalar => Arith::MulScalar,
        Elem::Relu => Arith::Relu,
        _ => return None,
    })
}

/// What a fused step runs, without its loops.
#[derive(Default)]
pub(crate) struct Body {
    domain: Dims,
    inputs: usize,
    registers: usize,
    outs: usize,
    /// The node of each instruction.
    nodes: Vec<u32>,
    /// Where the result of each instruction goes, then its operands.
    slots: Vec<Slot>,
    reduces: Vec<(Slot, u64, Reduce)>,
}

impl Body {
    /// The program, with the loops for the element type of the tape.
    pub fn program<T: Float>(self, g: &Graph<T>) -> Program<T> {
        let mut streams = 0;
        let mut slots = self.slots.into_iter();
        let mut next = || slots.next().expect("a slot for each operand");
        let instrs = self.nodes.into_iter().map(|node| {
            let node = &g.nodes[node as usize];
            let (fun, imm) = match &node.op {
                NodeOp::Elem(e, imm) => (Fun::Elem(T::block_fn(*e), arith(*e)), *imm),
                NodeOp::Random(r, imm, _) => {
                    streams += 1;
                    (Fun::Index(T::random_fn(*r), streams - 1), *imm)
                }
                _ => unreachable!("only elementwise nodes are members"),
            };
            Instr {
                fun,
                imm,
                dst: next(),
                args: node.args.iter().map(|_| next()).listed(),
            }
        });
        Program::new(
            self.domain,
            self.inputs,
            self.registers,
            self.outs,
            instrs,
            &self.reduces,
        )
        .or_panic()
    }
}

/// What compiling a group notes by node; as it was, afterwards.
pub(super) struct Scratch {
    slots: Vec<Option<Slot>>,
    /// Last use of a value of the group: the number of the instruction, from 1.
    last: Vec<u32>,
}

impl Scratch {
    pub fn new(nodes: usize) -> Self {
        Scratch {
            slots: vec![None; nodes],
            last: vec![0; nodes],
        }
    }
}

impl Planner<'_> {
    /// The step of a group, which is number `program` of the fused ones, and what it runs.
    pub(super) fn compile_group(
        &self,
        s: usize,
        group: &Group,
        stored: &[bool],
        program: usize,
        Scratch { slots, last }: &mut Scratch,
    ) -> (FusedStep, Body) {
        let g = self.g;
        let mut inputs: Vec<u32> = Vec::new();
        let mut outs: Vec<u32> = Vec::new();
        let mut streams: Vec<u32> = Vec::new();
        let mut touched: Vec<u32> = Vec::new();
        // Random operands become instructions of this group, before their first use.
        let mut order: Vec<u32> = Vec::with_capacity(group.members.len());
        let mut seen_random: Vec<u32> = Vec::new();
        for &m in &group.members {
            for &a in g.args(m as usize) {
                if self.step_of[a as usize] == LAZY && !seen_random.contains(&a) {
                    seen_random.push(a);
                    order.push(a);
                }
            }
            order.push(m);
        }
        // Reductions read at the end.
        for (k, &m) in (1..).zip(&order) {
            last[m as usize] = k;
            for &a in g.args(m as usize) {
                last[a as usize] = k;
            }
        }
        for &r in &group.reduces {
            last[g.args(r as usize)[0] as usize] = u32::MAX;
        }
        let local = |a: u32| {
            (self.member[a as usize] && self.step_of[a as usize] == s as i32)
                || self.step_of[a as usize] == LAZY
        };
        let mut free: Vec<u32> = Vec::new();
        let mut n_regs = 0u32;
        let count = order.iter().map(|&m| 1 + g.args(m as usize).len()).sum();
        let mut places: Vec<Slot> = Vec::with_capacity(count);
        let operand =
            |a: u32, inputs: &mut Vec<u32>, slots: &mut [Option<Slot>], touched: &mut Vec<u32>| {
                if slots[a as usize].is_none() {
                    slots[a as usize] = Some(Slot::Input(inputs.len() as u32));
                    inputs.push(a);
                    touched.push(a);
                }
                slots[a as usize].expect("set above")
            };
        for (k, &m) in (1..).zip(&order) {
            let read = g.args(m as usize);
            let at = places.len();
            // The result's place, which is known when those of the operands are.
            places.push(Slot::Reg(0));
            for &a in read {
                places.push(operand(a, &mut inputs, slots, &mut touched));
            }
            let own_store = stored[m as usize] && self.step_of[m as usize] == s as i32;
            let dst = if own_store {
                outs.push(m);
                Slot::Out(outs.len() as u32 - 1)
            } else {
                Slot::Reg(free.pop().unwrap_or_else(|| {
                    n_regs += 1;
                    n_regs - 1
                }))
            };
            slots[m as usize] = Some(dst);
            touched.push(m);
            if let Kind::Random(stream) = g.kind(m as usize) {
                streams.push(stream);
            }
            places[at] = dst;
            // Registers read for the last time here are free for the instructions after this one.
            let args = (read.iter().enumerate())
                .filter(|&(i, &a)| local(a) && !read[..i].contains(&a))
                .map(|(_, &a)| a);
            for a in args.chain([m]) {
                if last[a as usize] == k
                    && let Some(Slot::Reg(r)) = slots[a as usize]
                {
                    free.push(r);
                }
            }
        }
        let reduces: Vec<_> = (group.reduces.iter())
            .map(|&r| {
                let Kind::Reduce(kind, set) = g.kind(r as usize) else {
                    unreachable!("only reductions stand here")
                };
                let read = g.args(r as usize)[0];
                (operand(read, &mut inputs, slots, &mut touched), set, kind)
            })
            .collect();
        let body = Body {
            domain: group.domain.clone(),
            inputs: inputs.len(),
            registers: n_regs as usize,
            outs: outs.len(),
            nodes: order,
            slots: places,
            reduces,
        };
        for t in touched {
            slots[t as usize] = None;
            last[t as usize] = 0;
        }
        let step = FusedStep {
            program,
            inputs,
            outs,
            reduced: group.reduces.clone(),
            streams,
        };
        (step, body)
    }
}
