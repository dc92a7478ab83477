//! The program of a fused group: which values are inputs, registers or results, in which order.

use super::{FusedStep, Group, LAZY, Planner};
use crate::float::Float;
use crate::op::NodeOp;
use crate::ops::elementwise::Elem;
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::fused::{Arith, Fun, Instr, Program, Slot};
use wengert_tensor::list::Listed;

/// What runs in registers. The kernels of these rows of the table are what [`Arith`] says, bit for bit.
fn arith(e: Elem) -> Option<Arith> {
    Some(match e {
        Elem::Add => Arith::Add,
        Elem::Sub => Arith::Sub,
        Elem::Mul => Arith::Mul,
        Elem::AddScalar => Arith::AddScalar,
        Elem::MulScalar => Arith::MulScalar,
        Elem::Relu => Arith::Relu,
        _ => return None,
    })
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

impl<T: Float> Planner<'_, T> {
    /// The program of a group.
    pub(super) fn compile_group(
        &self,
        s: usize,
        group: &Group,
        stored: &[bool],
        Scratch { slots, last }: &mut Scratch,
    ) -> FusedStep<T> {
        let g = self.g;
        let mut inputs: Vec<u32> = Vec::new();
        let mut outs: Vec<u32> = Vec::new();
        let mut streams: Vec<u32> = Vec::new();
        let mut touched: Vec<u32> = Vec::new();
        // Random operands become instructions of this group, before their first use.
        let mut order: Vec<u32> = Vec::with_capacity(group.members.len());
        let mut seen_random: Vec<u32> = Vec::new();
        for &m in &group.members {
            for &a in &g.nodes[m as usize].args {
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
            for &a in &g.nodes[m as usize].args {
                last[a as usize] = k;
            }
        }
        for &r in &group.reduces {
            last[g.nodes[r as usize].args[0] as usize] = u32::MAX;
        }
        let local = |a: u32| {
            (self.member[a as usize] && self.step_of[a as usize] == s as i32)
                || self.step_of[a as usize] == LAZY
        };
        let mut free: Vec<u32> = Vec::new();
        let mut n_regs = 0u32;
        let mut instrs: Vec<Instr<T>> = Vec::with_capacity(order.len());
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
            let n = &g.nodes[m as usize];
            let args: SmallVec<[Slot; 3]> = n
                .args
                .iter()
                .map(|&a| operand(a, &mut inputs, slots, &mut touched))
                .listed();
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
            let (fun, imm) = match &n.op {
                NodeOp::Elem(e, imm) => (Fun::Elem(T::block_fn(*e), arith(*e)), *imm),
                NodeOp::Random(r, imm, stream) => {
                    streams.push(*stream);
                    (Fun::Index(T::random_fn(*r), streams.len() as u32 - 1), *imm)
                }
                _ => unreachable!("only elementwise nodes are members"),
            };
            instrs.push(Instr {
                fun,
                imm,
                dst,
                args,
            });
            // Registers read for the last time here are free for the instructions after this one.
            let args = (n.args.iter().enumerate())
                .filter(|&(i, &a)| local(a) && !n.args[..i].contains(&a))
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
                let n = &g.nodes[r as usize];
                let NodeOp::Reduce(kind, set, _) = n.op else {
                    unreachable!("only reductions stand here")
                };
                (
                    operand(n.args[0], &mut inputs, slots, &mut touched),
                    set,
                    kind,
                )
            })
            .collect();
        let program = Program::new(
            group.domain.clone(),
            inputs.len(),
            n_regs as usize,
            outs.len(),
            instrs,
            &reduces,
        )
        .or_panic();
        for t in touched {
            slots[t as usize] = None;
            last[t as usize] = 0;
        }
        FusedStep {
            program,
            inputs,
            outs,
            reduced: group.reduces.clone(),
            streams,
        }
    }
}
