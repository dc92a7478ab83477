//! Fused programs: what is computed in registers, or taken into a sum, has the bits of single instructions.

#[path = "../../autograd/tests/dispatch/mod.rs"]
mod dispatch;

use smallvec::SmallVec;
use wengert_tensor::fused::{Arith, ElemFn, Fun, Instr, Program, Reduce, Slot, block_fn};
use wengert_tensor::lane::Lane;
use wengert_tensor::{Real, Tensor};

macro_rules! functions {
    ($($Name:ident |$a:ident, $b:ident| $e:expr;)*) => {$(
        struct $Name;
        impl ElemFn for $Name {
            const ARITY: usize = 2;
            #[inline(always)]
            fn eval<V: Lane>($a: V, $b: V, _: V, _: [V; 2]) -> V {
                $e
            }
        }
    )*};
}
functions! {
    Add |a, b| a + b;
    Sub |a, b| a - b;
    Mul |a, b| a * b;
}

fn fun<T: Real>(arith: Arith, registers: bool) -> Fun<T> {
    let f = match arith {
        Arith::Add => block_fn::<Add, T>(),
        Arith::Sub => block_fn::<Sub, T>(),
        _ => block_fn::<Mul, T>(),
    };
    Fun::Elem(f, registers.then_some(arith))
}

/// SplitMix64.
struct Draw(u64);
impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
    fn tensor<T: Real>(&mut self, shape: [usize; 2]) -> Tensor<T> {
        let n = shape[0] * shape[1];
        let x = (0..n).map(|_| T::from_f64(self.below(4001) as f64 / 1000.0 - 2.0));
        Tensor::from_vec(x.collect(), shape)
    }
}

/// A program over nothing refuses what one over something refuses.
#[test]
fn operands_that_do_not_broadcast_are_refused() {
    for (rows, bad) in [(2, 5), (0, 5), (0, 0)] {
        let [x, y] = [0, 1].map(Slot::Input);
        let code = [Instr {
            fun: fun::<f64>(Arith::Add, true),
            imm: [0.0; 2],
            args: smallvec::smallvec![x, y],
            dst: Slot::Out(0),
        }];
        let p = Program::<f64>::new([rows, 3], 2, 0, 1, code, &[]).unwrap();
        let mut out = vec![0.0; rows * 3];
        let mut run = |shape: [usize; 2]| {
            let (a, b) = (Tensor::ones([rows, 3]), Tensor::ones(shape));
            let run = std::panic::AssertUnwindSafe(|| {
                p.run(&[&a, &b], &mut [&mut out], &mut [], &[]);
            });
            let error = std::panic::catch_unwind(run).err()?;
            Some(error.downcast_ref::<String>().expect("a message").clone())
        };
        assert_eq!(run([1, 3]), None);
        let message = run([rows, bad]).expect("an operand that does not broadcast");
        assert!(message.contains("broadcast"), "{message}");
    }
}

/// Instructions and reductions, all over the registers `0..REGISTERS` and one output.
type Code = (Vec<(Arith, Slot, [Slot; 2])>, Vec<(Slot, u64, Reduce)>);
const REGISTERS: u32 = 3;
const INPUTS: usize = 3;

fn program<T: Real>((code, reduces): &Code, shape: [usize; 2], registers: bool) -> Program<T> {
    let instrs = code.iter().map(|&(arith, dst, args)| Instr {
        fun: fun(arith, registers),
        imm: [T::ZERO; 2],
        dst,
        args: SmallVec::from_slice(&args),
    });
    Program::new(shape, INPUTS, REGISTERS as usize, 1, instrs, reduces).expect("a program")
}

/// Every result of a program, in bits.
fn results<T: Real>(p: &Program<T>, code: &Code, inputs: &[&Tensor<T>]) -> Vec<u64> {
    let [rows, columns] = [p.shape()[0], p.shape()[1]];
    let mut out = vec![T::ZERO; rows * columns];
    let mut reduced: Vec<Vec<T>> = (code.1.iter())
        .map(|&(_, axes, _)| {
            let n = [rows, columns, 1, 1][match axes {
                1 => 1,
                2 => 0,
                _ => 2,
            }];
            vec![T::ZERO; n]
        })
        .collect();
    let mut refs: Vec<&mut [T]> = reduced.iter_mut().map(|r| &mut r[..]).collect();
    p.run(inputs, &mut [&mut out], &mut refs, &[]);
    (reduced.iter().flatten().chain(&out))
        .map(|x| x.as_f64().to_bits())
        .collect()
}

fn draw_code(d: &mut Draw) -> Code {
    let mut written: Vec<Slot> = (0..INPUTS as u32).map(Slot::Input).collect();
    let mut code = Vec::new();
    let n = 1 + d.below(6);
    for k in 0..n {
        let arith = [Arith::Add, Arith::Sub, Arith::Mul, Arith::Mul][d.below(4)];
        // The output is written once, last or before.
        let out = k + 1 == n || d.below(4) == 0;
        let dst = match out && !written.contains(&Slot::Out(0)) {
            true if k + 1 == n || d.below(2) == 0 => Slot::Out(0),
            _ => Slot::Reg(d.below(REGISTERS as usize) as u32),
        };
        let others: Vec<Slot> = written.iter().copied().filter(|&s| s != dst).collect();
        let a = others[d.below(others.len())];
        // Squares are half of the products.
        let b = match arith == Arith::Mul && d.below(2) == 0 {
            true => a,
            false => others[d.below(others.len())],
        };
        code.push((arith, dst, [a, b]));
        if !written.contains(&dst) {
            written.push(dst);
        }
    }
    let reduces = (0..1 + d.below(3))
        .map(|_| {
            let kind = [Reduce::Sum, Reduce::Sum, Reduce::Sum, Reduce::Max][d.below(4)];
            let axes = [3, 3, 3, 1, 2][d.below(5)];
            (written[d.below(written.len())], axes, kind)
        })
        .collect();
    (code, reduces)
}

/// A product, and its product with something else: what one sum adds up is an operand of the other's.
fn of_a_sum_that_takes_in_another() -> Code {
    let [x, y, z] = [0, 1, 2].map(Slot::Input);
    let [r, s] = [0, 1].map(Slot::Reg);
    let code = vec![
        (Arith::Mul, r, [x, y]),
        (Arith::Mul, s, [z, r]),
        (Arith::Add, Slot::Out(0), [x, y]),
    ];
    (code, vec![(s, 3, Reduce::Sum), (r, 3, Reduce::Sum)])
}

fn same_bits<T: Real>(seed: u64) {
    let mut d = Draw(seed);
    for round in 0..3000 {
        let shape = [
            [1, 1],
            [1, 7],
            [3, 85],
            [1, 256],
            [16, 100],
            [9, 333],
            [41, 1000],
        ][d.below(if round % 20 == 0 { 7 } else { 6 })];
        let code = match round {
            0 => of_a_sum_that_takes_in_another(),
            _ => draw_code(&mut d),
        };
        let inputs: Vec<Tensor<T>> = (0..INPUTS)
            .map(|_| match d.below(6) {
                0 => d.tensor([1, 1]),
                1 => d.tensor([1, shape[1]]),
                2 => d.tensor([shape[1], shape[0]]).transpose(0, 1),
                _ => d.tensor(shape),
            })
            .collect();
        let inputs: Vec<&Tensor<T>> = inputs.iter().collect();
        let one_by_one = program::<T>(&code, shape, false);
        let fused = program::<T>(&code, shape, true);
        assert!(
            results(&fused, &code, &inputs) == results(&one_by_one, &code, &inputs),
            "{shape:?} {code:?}"
        );
    }
}

#[test]
fn registers_and_sums_have_the_bits_of_single_instructions() {
    same_bits::<f32>(1);
    same_bits::<f64>(2);
}

#[test]
fn all_of_it_on_lower_instruction_sets() {
    dispatch::run_again();
}

/// Long sums, which memory holds, of what a sum takes in: against sums in f64.
#[test]
fn sums_of_squares_and_squared_differences_are_right() {
    let shape = [700, 1003];
    let mut d = Draw(3);
    let (a, b) = (d.tensor::<f32>(shape), d.tensor::<f32>(shape));
    let [x, y, r] = [Slot::Input(0), Slot::Input(1), Slot::Reg(0)];
    let pairs = || a.iter().zip(b.iter());
    let square = |x: f32| x as f64 * x as f64;
    for (code, expected) in [
        (
            vec![(Arith::Mul, r, [x, x])],
            a.iter().map(square).sum::<f64>(),
        ),
        (
            vec![(Arith::Mul, r, [x, y])],
            pairs().map(|(x, y)| x as f64 * y as f64).sum(),
        ),
        (
            vec![
                (Arith::Sub, Slot::Reg(1), [x, y]),
                (Arith::Mul, r, [Slot::Reg(1); 2]),
            ],
            pairs().map(|(x, y)| square(x - y)).sum(),
        ),
    ] {
        let mut code = (code, vec![(r, 3, Reduce::Sum)]);
        code.0.push((Arith::Add, Slot::Out(0), [x, y]));
        let p = program::<f32>(&code, shape, true);
        let found = f64::from_bits(results(&p, &code, &[&a, &b, &a])[0]);
        let size: f64 = a.iter().chain(b.iter()).map(square).sum();
        assert!((found - expected).abs() < 1e-7 * size, "{found} {expected}");
    }
}

#[test]
fn a_function_needs_an_operand() {
    let no_operands = |registers| {
        let instr = |dst, args: &[Slot]| Instr {
            fun: fun::<f32>(Arith::Add, registers),
            imm: [0.0; 2],
            dst,
            args: SmallVec::from_slice(args),
        };
        let r = Slot::Reg(0);
        Program::new(
            [8],
            0,
            1,
            1,
            [instr(r, &[]), instr(Slot::Out(0), &[r, r])],
            &[],
        )
    };
    for registers in [false, true] {
        let error = no_operands(registers).err().expect("an error").to_string();
        assert!(error.contains("one to three operands"), "{error}");
    }
}

/// A thread that waits for the others' part of a program may take up another task that runs the same program.
#[test]
fn tasks_of_a_pool_share_a_program() {
    let shape = [300, 1000];
    let x: Tensor<f32> = Draw(4).tensor(shape);
    let [a, r] = [Slot::Input(0), Slot::Reg(0)];
    let code = (
        vec![(Arith::Mul, r, [a, a]), (Arith::Add, Slot::Out(0), [a, a])],
        vec![(r, 3, Reduce::Sum), (a, 1, Reduce::Max)],
    );
    let p = program::<f32>(&code, shape, true);
    let inputs = [&x, &x, &x];
    let alone = results(&p, &code, &inputs);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(4)
        .build()
        .expect("threads");
    pool.scope(|s| {
        for _ in 0..400 {
            s.spawn(|_| assert!(results(&p, &code, &inputs) == alone));
        }
    });
}

#[test]
fn the_largest_and_the_smallest_keep_the_sign_of_0() {
    let out = (Arith::Add, Slot::Out(0), [Slot::Input(0); 2]);
    for (shape, axes) in [
        ([1, 1], 3),
        ([1, 2], 3),
        ([2, 1], 2),
        ([4, 300], 1),
        ([300, 300], 3),
    ] {
        let x = Tensor::from_vec(vec![-0.0_f32; shape[0] * shape[1]], shape);
        for kind in [Reduce::Max, Reduce::Min] {
            let code = (vec![out], vec![(Slot::Input(0), axes, kind)]);
            let p = program::<f32>(&code, shape, true);
            let found = f64::from_bits(results(&p, &code, &[&x, &x, &x])[0]);
            assert!(
                found == 0.0 && found.is_sign_negative(),
                "{kind:?} {shape:?}"
            );
        }
    }
}
