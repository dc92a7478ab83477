//! Runs of sums and products pass through registers: the same bits as one operation at a time.

mod dispatch;

use wengert_autograd::{Float, Tape, Tensor, Var};

/// Pseudo-random numbers (SplitMix64).
struct Source(u64);
impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn number(&mut self) -> f64 {
        let special = [
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            1e-42,
            -3e38,
        ];
        match self.below(40) {
            0 => special[self.below(special.len())],
            _ => (self.next() >> 40) as f64 / (1u64 << 23) as f64 - 1.0,
        }
    }
    fn tensor<T: Float>(&mut self, shape: &[usize]) -> Tensor<T> {
        let n = shape.iter().product();
        Tensor::from_vec((0..n).map(|_| T::from_f64(self.number())).collect(), shape)
    }
}

/// A program of `len` operations on the inputs, mostly of the result before; some results are asked for.
fn program<'t, T: Float>(
    tape: &'t Tape<T>,
    inputs: &[Tensor<T>],
    len: usize,
    seed: u64,
) -> Vec<Var<'t, T>> {
    let mut s = Source(seed);
    let mut made: Vec<_> = inputs.iter().map(|x| tape.input(x)).collect();
    let mut asked = Vec::new();
    for _ in 0..len {
        let x = made[made.len() - 1];
        let near = s.below(made.len().min(4));
        let y = match s.below(3) {
            0 => x,
            1 => made[made.len() - 1 - near],
            _ => made[s.below(made.len())],
        };
        let z = match s.below(12) {
            0 | 1 => x + y,
            2 => y + x,
            3 => x - y,
            4 => y - x,
            5 | 6 => x * y,
            7 => x + s.number(),
            8 => x * s.number(),
            9 => x.relu(),
            10 => x.tanh(),
            _ => x / y,
        };
        made.push(z);
        if s.below(6) == 0 {
            asked.push(z.keep());
        }
    }
    asked.push(*made.last().expect("there is an input"));
    asked
}

fn bits<T: Float>(x: &Tensor<T>) -> Vec<u64> {
    // One of the two operands' NaNs comes out, which one is not said.
    let bit = |v: T| {
        if v.is_nan() {
            u64::MAX
        } else {
            v.as_f64().to_bits()
        }
    };
    x.to_vec().into_iter().map(bit).collect()
}

fn agree<T: Float>() {
    let mut seed = 1;
    for shape in [
        &[][..],
        &[1],
        &[3],
        &[8],
        &[16],
        &[17],
        &[63],
        &[64],
        &[65],
        &[100],
        &[7, 33],
        &[3, 1000],
        &[70_001],
    ] {
        for len in [1, 2, 5, 20, 60] {
            if len > 20 && shape == [70_001] {
                continue;
            }
            seed += 1;
            let mut s = Source(seed);
            let row = shape.last().copied().unwrap_or(1);
            let inputs = [
                s.tensor::<T>(shape),
                s.tensor(&[row][..shape.len().min(1)]),
                s.tensor(&[]),
                s.tensor(shape),
            ];
            let values = |fuse: bool| -> Vec<Tensor<T>> {
                let mut tape = Tape::<T>::inference();
                tape.set_fusion(fuse);
                tape.set_poison(true);
                let asked = program(&tape, &inputs, len, seed);
                // The last one first: the others are results of the same program.
                asked.iter().rev().map(Var::value).collect()
            };
            for (fused, single) in values(true).iter().zip(&values(false)) {
                assert_eq!(bits(fused), bits(single), "{shape:?}, {len} operations");
            }
        }
    }
}

#[test]
fn chains_have_the_bits_of_single_operations_in_f32() {
    agree::<f32>();
}

#[test]
fn chains_have_the_bits_of_single_operations_in_f64() {
    agree::<f64>();
}

/// Rows that are summed (or compared) one after the other, alone and behind a chain whose result is asked for, too.
fn few_rows<T: Float>() {
    for (shape, axis) in [
        (&[2, 1000][..], 0),
        (&[1, 300], 0),
        (&[8, 256], 0),
        (&[4, 40_000], 0),
        (&[3, 5, 700], 1),
        (&[40, 2, 1030], 1),
        (&[2, 3, 4, 300], 1),
        (&[5, 2, 3, 257], 2),
    ] {
        let mut s = Source(shape.iter().product::<usize>() as u64);
        let (x, y): (Tensor<T>, Tensor<T>) = (s.tensor(shape), s.tensor(shape));
        let values = |fuse: bool, alone: bool| -> Vec<Tensor<T>> {
            let mut tape = Tape::<T>::inference();
            tape.set_fusion(fuse);
            tape.set_poison(true);
            let (x, y) = (tape.input(&x), tape.input(&y));
            let z = (x * y + 0.5).keep();
            let along = [axis as isize];
            let made = [
                z.sum_dim(along, false),
                z.amax_dim(along, false),
                z.amin_dim(along, true),
                // Another reduction of the same chain.
                z.sum_dim([-1], false),
                z,
            ];
            let mut values: Vec<Option<Tensor<T>>> = made.iter().map(|_| None).collect();
            // The last one first: the others are results of the same program; or each in a program of its own.
            let order = if alone {
                [0, 1, 2, 3, 4]
            } else {
                [4, 3, 2, 1, 0]
            };
            for k in order {
                values[k] = Some(made[k].value());
            }
            values.into_iter().flatten().collect()
        };
        let fused = values(true, false);
        for other in [values(false, false), values(true, true)] {
            for (a, b) in fused.iter().zip(&other) {
                assert_eq!(bits(a), bits(b), "{shape:?}");
            }
        }
        // The sums, row by row in their own type.
        let (z, rows) = (fused[4].to_vec(), shape[axis]);
        let inner: usize = shape[axis + 1..].iter().product();
        let by_hand: Vec<T> = (0..z.len() / rows)
            .map(|k| {
                let at = |r: usize| z[(k / inner * rows + r) * inner + k % inner];
                (0..rows).fold(T::from_f64(0.0), |sum, r| sum + at(r))
            })
            .collect();
        let by_hand = Tensor::from_vec(by_hand, fused[0].shape());
        assert_eq!(bits(&fused[0]), bits(&by_hand), "{shape:?}");
    }
}

#[test]
fn few_rows_are_added_in_order() {
    few_rows::<f32>();
    few_rows::<f64>();
}

#[test]
fn on_every_instruction_set() {
    dispatch::run_again();
}
