//! Convolution and its adjoints against plain loops, on every instruction set, in pools of several sizes.

use wengert_tensor::Real;
use wengert_tensor::conv::{self, Channels, Geometry, Tail};
use wengert_tensor::simd::{Level, level};

/// Calls `f(index of y, index of w, index of x)` for every term of the sum.
fn terms(g: &Geometry, c: &Channels, mut f: impl FnMut(usize, usize, usize)) {
    let (ci, co) = (c.input / g.groups, c.output / g.groups);
    let split = |i: usize, s: &[usize; 3]| [i / (s[1] * s[2]), i / s[2] % s[1], i % s[2]];
    let (xs, ys): (usize, usize) = (g.input.iter().product(), g.output.iter().product());
    for n in 0..c.batch {
        for o in 0..c.output {
            for q in 0..ys {
                for k in 0..ci {
                    for t in 0..g.taps() {
                        let (q3, t3) = (split(q, &g.output), split(t, &g.kernel));
                        let at = [0, 1, 2].map(|i| {
                            (q3[i] * g.stride[i] + t3[i] * g.dilation[i])
                                .checked_sub(g.padding[i])
                                .filter(|&x| x < g.input[i])
                        });
                        if let [Some(z), Some(y), Some(x)] = at {
                            f(
                                (n * c.output + o) * ys + q,
                                (o * ci + k) * g.taps() + t,
                                (n * c.input + o / co * ci + k) * xs
                                    + (z * g.input[1] + y) * g.input[2]
                                    + x,
                            );
                        }
                    }
                }
            }
        }
    }
}

struct Numbers(u64);
impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn fill<T: Real>(&mut self, n: usize) -> Vec<T> {
        (0..n)
            .map(|_| T::from_f64((self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0))
            .collect()
    }
}

/// The three results, with the kernels of `at`.
fn all<T: Real>(at: Level, g: &Geometry, c: &Channels, x: &[T], w: &[T], y: &[T]) -> [Vec<T>; 3] {
    let poison = |n: usize| vec![T::nan(); n];
    let [mut ry, mut rx, mut rw] = [poison(y.len()), poison(x.len()), poison(w.len())];
    conv::forward_at(at, g, c, x, w, &mut ry);
    conv::input_at(at, g, c, y, w, &mut rx);
    conv::weight_at(at, g, c, x, y, &mut rw);
    [ry, rx, rw]
}

/// The error of every element stays below `2 k ε Σ |a| |b|`.
fn check<T: Real>(at: Level, g: &Geometry, c: &Channels, numbers: &mut Numbers) {
    let lead = |a: usize, b: usize, s: [usize; 3]| a * b * s.iter().product::<usize>();
    let x: Vec<T> = numbers.fill(lead(c.batch, c.input, g.input));
    let w: Vec<T> = numbers.fill(lead(c.output, c.input / g.groups, g.kernel));
    let y: Vec<T> = numbers.fill(lead(c.batch, c.output, g.output));
    let found = all(at, g, c, &x, &w, &y);
    // A bias and a relu before the result is stored are those of a pass of their own, bit for bit.
    let bias: Vec<T> = numbers.fill(c.output);
    for (b, relu) in [
        (None, true),
        (Some(&bias[..]), false),
        (Some(&bias[..]), true),
    ] {
        let mut tailed = vec![T::nan(); y.len()];
        conv::forward_with_at(at, g, c, &x, &w, &mut tailed, Tail { bias: b, relu });
        let volume: usize = g.output.iter().product();
        for (i, (a, &plain)) in tailed.iter().zip(&found[0]).enumerate() {
            let sum = b.map_or(plain, |b| plain + b[i / volume % c.output]);
            let e = if relu && sum <= T::ZERO { T::ZERO } else { sum };
            assert!(
                a.as_f64().to_bits() == e.as_f64().to_bits(),
                "{at:?} with a tail, element {i}: {a} instead of {e} for {g:?} {c:?}"
            );
        }
    }
    // Sum, sum of magnitudes, terms.
    let zero = |n: usize| vec![(0.0f64, 0.0f64, 0u32); n];
    let mut expected = [zero(y.len()), zero(x.len()), zero(w.len())];
    terms(g, c, |i, j, k| {
        let (a, b, d) = (y[i].as_f64(), w[j].as_f64(), x[k].as_f64());
        for (e, at, p) in [(0, i, b * d), (1, k, a * b), (2, j, a * d)] {
            let e = &mut expected[e][at];
            *e = (e.0 + p, e.1 + p.abs(), e.2 + 1);
        }
    });
    for (which, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            let bound = 2.0 * f64::from(e.2) * T::epsilon().as_f64() * e.1;
            assert!(
                (f.as_f64() - e.0).abs() <= bound,
                "{at:?} result {which}, element {i}: {f} instead of {} (bound {bound:e}) for {g:?} {c:?}",
                e.0
            );
        }
    }
}

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&l| l <= level())
}

fn geometry(
    input: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
    groups: usize,
) -> Option<Geometry> {
    Geometry::forward(
        "conv",
        input,
        kernel,
        stride,
        padding.map(|p| (p, p)),
        dilation,
        groups,
    )
    .ok()
}

const SIZES: [usize; 16] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70];

#[test]
fn channels_of_all_sizes() {
    let mut numbers = Numbers(1);
    for ci in SIZES {
        for co in SIZES {
            let g = geometry([1, 3, 4], [1, 2, 3], [1; 3], [0, 1, 1], [1; 3], 1).unwrap();
            let c = Channels {
                batch: 2,
                input: ci,
                output: co,
            };
            check::<f32>(level(), &g, &c, &mut numbers);
        }
    }
}

#[test]
fn images_of_all_sizes() {
    let mut numbers = Numbers(2);
    for width in SIZES {
        for (kernel, stride, padding) in [
            (1, 1, 0),
            (3, 1, 1),
            (3, 1, 0),
            (3, 2, 1),
            (2, 2, 0),
            (5, 3, 2),
        ] {
            for height in [1, 2, 9] {
                let s = |n| [1, n, n];
                let p = [0, padding, padding];
                if let Some(g) = geometry([1, height, width], s(kernel), s(stride), p, [1; 3], 1) {
                    for (co, ci, batch) in [(1, 1, 1), (9, 3, 2), (70, 2, 1)] {
                        let c = Channels {
                            batch,
                            input: ci,
                            output: co,
                        };
                        for at in levels() {
                            check::<f32>(at, &g, &c, &mut numbers);
                        }
                        check::<f64>(level(), &g, &c, &mut numbers);
                    }
                }
            }
        }
    }
}

/// Kernels of 3 x 3 with many channels, which are made of fewer multiplications.
#[test]
fn many_channels_under_three_by_three() {
    let mut numbers = Numbers(5);
    let channels = [(16, 16), (17, 40), (35, 23)];
    let mut which = channels.iter().cycle();
    for (size, groups, batch) in [
        ([4, 4], 1, 1),
        ([4, 5], 1, 13),
        ([8, 8], 1, 7),
        ([5, 33], 2, 2),
        ([17, 12], 1, 2),
        ([6, 97], 1, 1),
        ([40, 40], 1, 1),
        ([4, 6], 1, 3),
    ] {
        for padding in 0..3 {
            let &(ci, co) = which.next().expect("a cycle");
            let [height, width] = size.map(|n| n + 2 - 2 * padding.min(1));
            let p = [0, padding, padding];
            let (k, one) = ([1, 3, 3], [1; 3]);
            let g = geometry([1, height, width], k, one, p, one, groups).unwrap();
            let c = Channels {
                batch,
                input: ci * groups,
                output: co * groups,
            };
            for at in levels() {
                check::<f32>(at, &g, &c, &mut numbers);
            }
            check::<f64>(level(), &g, &c, &mut numbers);
        }
    }
}

/// As large convolutions are used: the error in the norm, against double precision.
#[test]
fn the_error_in_the_norm_is_that_of_single_precision() {
    let mut numbers = Numbers(6);
    let g = geometry([1, 24, 24], [1, 3, 3], [1; 3], [0, 1, 1], [1; 3], 1).unwrap();
    let c = Channels {
        batch: 2,
        input: 64,
        output: 64,
    };
    let x: Vec<f32> = numbers.fill(2 * 64 * 576);
    let w: Vec<f32> = numbers.fill(64 * 64 * 9);
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (mut y, mut exact) = (vec![0.0f32; x.len()], vec![0.0f64; x.len()]);
    conv::forward(&g, &c, &x, &w, &mut y);
    conv::forward(&g, &c, &wide(&x), &wide(&w), &mut exact);
    let square = |v: f64| v * v;
    let error: f64 = (y.iter().zip(&exact))
        .map(|(&a, &b)| square(f64::from(a) - b))
        .sum();
    let size: f64 = exact.iter().map(|&b| square(b)).sum();
    let relative = (error / size).sqrt() / f64::from(f32::EPSILON);
    println!("error in the norm: {relative:.2} epsilon");
    assert!(relative < 4.0, "{relative} epsilon");
}

/// Sums of pixels that overflow, of a product that does not.
#[test]
fn large_pixels_do_not_overflow() {
    let g = geometry([1, 6, 6], [1, 3, 3], [1; 3], [0, 1, 1], [1; 3], 1).unwrap();
    let c = Channels {
        batch: 1,
        input: 16,
        output: 16,
    };
    let x = vec![2e38f32; 16 * 36];
    let w = vec![1e-3f32; 16 * 16 * 9];
    let mut y = vec![0.0; 16 * 36];
    conv::forward(&g, &c, &x, &w, &mut y);
    for (i, y) in y.iter().enumerate() {
        let edges = [i / 6 % 6, i % 6].map(|p| if p % 5 == 0 { 2.0 } else { 3.0 });
        let expected = 16.0 * edges[0] * edges[1] * 2e35;
        assert!((f64::from(*y) / expected - 1.0).abs() < 1e-5, "{y}");
    }
}

#[test]
fn settings_at_random() {
    let mut numbers = Numbers(3);
    let mut seen = 0;
    while seen < 1500 {
        let n = &mut numbers;
        let axes = 1 + n.below(3);
        let axis = |most: usize, missing: usize, n: &mut Numbers| -> [usize; 3] {
            [0, 1, 2].map(|i| {
                if i + axes < 3 {
                    missing
                } else {
                    1 + n.below(most)
                }
            })
        };
        let (input, kernel) = (
            axis([40, 12, 6][axes - 1], 1, n),
            axis([7, 4, 3][axes - 1], 1, n),
        );
        let (stride, dilation) = (axis(4, 1, n), axis(3, 1, n));
        let padding = axis(5, 1, n).map(|p| p - 1);
        let groups = [1, 1, 2, 3, 5][n.below(5)];
        let Some(g) = geometry(input, kernel, stride, padding, dilation, groups) else {
            continue;
        };
        // A transposed convolution's longer output: positions that no place reads.
        let mut g = g;
        if n.below(3) == 0 {
            g.input[2] += n.below(stride[2].max(dilation[2]));
        }
        let c = Channels {
            batch: n.below(4),
            input: groups * (1 + n.below(5)),
            output: groups * (1 + n.below(9)),
        };
        seen += 1;
        let at = [Level::Baseline, Level::Avx2, Level::Avx512][n.below(3)].min(level());
        if n.below(2) == 0 {
            check::<f32>(at, &g, &c, n);
        } else {
            check::<f64>(at, &g, &c, n);
        }
    }
}

#[test]
fn one_to_four_threads_give_the_same_bits() {
    let mut numbers = Numbers(4);
    for (input, kernel, stride, batch, ci, co, groups) in [
        ([1, 24, 24], 3, 1, 5, 16, 24, 1),
        ([1, 8, 8], 3, 1, 9, 40, 33, 1),
        ([1, 57, 31], 3, 2, 2, 16, 32, 1),
        ([5, 12, 16], 3, 1, 1, 8, 16, 2),
        ([1, 32, 32], 3, 1, 4, 32, 32, 32),
        ([1, 1, 3000], 9, 1, 1, 4, 64, 1),
    ] {
        let axes = input.map(|n| if n == 1 { 1 } else { kernel });
        let g = geometry(
            input,
            axes,
            axes.map(|k| if k == 1 { 1 } else { stride }),
            axes.map(|k| k / 2),
            [1; 3],
            groups,
        )
        .unwrap();
        let c = Channels {
            batch,
            input: ci,
            output: co,
        };
        let x: Vec<f32> = numbers.fill(batch * ci * input.iter().product::<usize>());
        let w: Vec<f32> = numbers.fill(co * ci / groups * g.taps());
        let y: Vec<f32> = numbers.fill(batch * co * g.output.iter().product::<usize>());
        let mut first: Option<[Vec<f32>; 3]> = None;
        for threads in 1..=4 {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let found = pool.install(|| all(level(), &g, &c, &x, &w, &y));
            let first = first.get_or_insert_with(|| found.clone());
            for (a, b) in first.iter().zip(&found) {
                assert!(
                    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{threads} threads, {g:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_finite_reaches_what_reads_it_and_nothing_else() {
    // Outside the image counts as zero, but nothing is multiplied by it in the result of the plain sum.
    let mut numbers = Numbers(5);
    for (width, stride, padding, input) in [
        (8, 1, 1, 3),
        (5, 1, 0, 3),
        (20, 2, 1, 3),
        (33, 1, 1, 3),
        (33, 1, 1, 17),
        (8, 1, 0, 20),
    ] {
        let g = geometry(
            [1, 6, width],
            [1, 3, 3],
            [1, stride, stride],
            [0, padding, padding],
            [1; 3],
            1,
        )
        .unwrap();
        let c = Channels {
            batch: 2,
            input,
            output: 20,
        };
        let mut x: Vec<f32> = numbers.fill(2 * input * 6 * width);
        let w: Vec<f32> = numbers.fill(20 * input * 9);
        let y: Vec<f32> = numbers.fill(40 * g.output[1] * g.output[2]);
        x[6 * width + 2 * width + 3] = f32::NAN;
        let [fy, fx, fw] = all(level(), &g, &c, &x, &w, &y);
        let mut touched = [vec![false; y.len()], vec![false; w.len()]];
        terms(&g, &c, |i, j, k| {
            if x[k].is_nan() {
                touched[0][i] = true;
                touched[1][j] = true;
            }
        });
        for (found, touched) in [fy, fw].iter().zip(&touched) {
            assert!(found.iter().zip(touched).all(|(f, &t)| f.is_nan() == t));
        }
        assert!(fx.iter().all(|f| !f.is_nan()));
    }
}

#[test]
#[should_panic(expected = "elements of w")]
fn slices_of_the_wrong_size_are_refused() {
    let g = geometry([1, 4, 4], [1, 3, 3], [1; 3], [0; 3], [1; 3], 1).unwrap();
    let c = Channels {
        batch: 1,
        input: 1,
        output: 1,
    };
    conv::forward(&g, &c, &[0.0f32; 16], &[0.0; 8], &mut [0.0; 4]);
}
