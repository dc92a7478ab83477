//! The order of lines against a plain stable sort.

use wengert_tensor::sort::{Use, Wanted, in_order};
use wengert_tensor::{Real, Tensor};

/// Numbers that look random (xorshift).
struct Numbers(u64);
impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

const PATTERNS: &[&str] = &[
    "unit",
    "any",
    "rising",
    "falling",
    "few values",
    "equal",
    "special",
    "near",
    "two clusters",
    "mostly nan",
];

fn line(pattern: &str, n: usize, numbers: &mut Numbers) -> Vec<f64> {
    (0..n)
        .map(|i| {
            let r = numbers.next();
            let unit = (r >> 11) as f64 / (1u64 << 53) as f64;
            match pattern {
                "unit" => 0.5 + unit,
                // Of every magnitude that f32 has, subnormal ones too.
                "any" => f64::from(f32::from_bits(r as u32)) * (1.0 + unit * 1e-9),
                "rising" => i as f64 - 7.0,
                "falling" => 9.0 - i as f64,
                "few values" => (r % 5) as f64 - 2.0,
                "equal" => 1.0,
                "special" => {
                    let all = [
                        f64::NAN,
                        -f64::NAN,
                        0.0,
                        -0.0,
                        f64::INFINITY,
                        f64::NEG_INFINITY,
                    ];
                    *all.get((r % 12) as usize).unwrap_or(&(unit - 0.5))
                }
                "mostly nan" if !r.is_multiple_of(16) => f64::NAN,
                "mostly nan" => unit,
                // In double precision, the same upper halves.
                "near" => 1.0 + unit * 1e-7,
                _ => [1.0, -1e30][(r % 2) as usize] * (1.0 + unit * 1e-3),
            }
        })
        .collect()
}

/// Places of the sorted line.
fn plain<T: Real>(line: &[T], descending: bool) -> Vec<i64> {
    let mut places: Vec<i64> = (0..line.len() as i64).collect();
    places.sort_by(|&i, &j| {
        let (a, b) = (line[i as usize], line[j as usize]);
        let by = a.partial_cmp(&b).unwrap_or(a.is_nan().cmp(&b.is_nan()));
        if descending { by.reverse() } else { by }
    });
    places
}

fn places<T: Real>(x: &Tensor<T>, axis: usize, wanted: Wanted) -> Vec<i64> {
    let n = x.numel() / x.shape()[axis].max(1) * wanted.count();
    let mut out = vec![-1; n];
    in_order(x, axis, wanted, Use::Places(&mut out));
    out
}

/// Lines `[outer, n, inner]` against the plain sort of each: all of the order, the first ones, ranks, and what is taken and put.
fn check<T: Real>(pattern: &str, [outer, n, inner]: [usize; 3], numbers: &mut Numbers) {
    let data: Vec<T> = (line(pattern, outer * n * inner, numbers).into_iter())
        .map(T::from_f64)
        .collect();
    let x = Tensor::from_vec(data.clone(), [outer, n, inner]);
    let what = |w: Wanted| {
        format!(
            "{pattern}, {outer} x {n} x {inner}, {w:?}, {}",
            size_of::<T>()
        )
    };
    let lines: Vec<Vec<T>> = (0..outer * inner)
        .map(|l| {
            (0..n)
                .map(|i| data[(l / inner * n + i) * inner + l % inner])
                .collect()
        })
        .collect();
    for descending in [false, true] {
        let orders: Vec<Vec<i64>> = lines.iter().map(|l| plain(l, descending)).collect();
        let mut wanted: Vec<Wanted> = [n, 1, n / 9, n / 3]
            .iter()
            .filter(|&&count| count <= n)
            .map(|&count| Wanted::First { count, descending })
            .collect();
        if n > 0 && !descending {
            let (low, high) = (n / 3, (n / 3 + 1).min(n - 1));
            wanted.extend([Wanted::Ranks([low, high]), Wanted::RanksOrNan([low, high])]);
            wanted.push(Wanted::RanksOrNan([(n - 1) / 2; 2]));
        }
        for w in wanted {
            let k = w.count();
            let expected = |l: usize, j: usize| {
                let nan = || lines[l].iter().position(|v| v.is_nan()).map(|i| i as i64);
                match w {
                    Wanted::First { .. } => orders[l][j],
                    Wanted::Ranks(r) => orders[l][r[j]],
                    Wanted::RanksOrNan(r) => nan().unwrap_or(orders[l][r[j]]),
                }
            };
            let mut all = vec![0; outer * k * inner];
            for l in 0..outer * inner {
                for j in 0..k {
                    all[(l / inner * k + j) * inner + l % inner] = expected(l, j);
                }
            }
            let found = places(&x, 1, w);
            assert!(found == all, "{}", what(w));
            let at = |i: usize| (i / (k * inner) * n + all[i] as usize) * inner + i % inner;
            let mut taken = vec![T::one(); all.len()];
            in_order(&x, 1, w, Use::Take(&x, &mut taken));
            let same = |i: usize| taken[i].as_f64().to_bits() == data[at(i)].as_f64().to_bits();
            assert!((0..all.len()).all(same), "{}: taken", what(w));
            let g: Vec<T> = (0..all.len())
                .map(|i| T::from_f64(i as f64 + 1.0))
                .collect();
            let mut sums = vec![T::zero(); data.len()];
            (0..all.len()).for_each(|i| sums[at(i)] += g[i]);
            let mut put = vec![T::nan(); data.len()];
            let g = Tensor::from_vec(g, [outer, k, inner]);
            in_order(&x, 1, w, Use::Put(&g, &mut put));
            assert!(put == sums, "{}: put", what(w));
        }
    }
}

#[test]
fn short_lines_are_in_the_order_of_a_stable_sort() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for n in 0..300 {
        for (i, pattern) in PATTERNS.iter().enumerate() {
            if n > 40 && (n + i) % 3 > 0 {
                continue;
            }
            // Fewer lines than a network has lanes, and more.
            let shape = [[1, n, 1], [11, n, 1], [1, n, 3], [2, n, 9]][(n + i) % 4];
            check::<f32>(pattern, shape, &mut numbers);
            check::<f64>(pattern, shape, &mut numbers);
        }
    }
}

#[test]
fn long_lines_are_in_the_order_of_a_stable_sort_with_one_thread_and_two() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
            for shape in [
                [3, 1000, 1],
                [1, 1000, 5],
                [2, 5000, 1],
                [1, 40_000, 2],
                [1, 150_000, 1],
            ] {
                for pattern in PATTERNS {
                    check::<f32>(pattern, shape, &mut numbers);
                    check::<f64>(pattern, shape, &mut numbers);
                }
            }
        });
    }
}

#[test]
fn strided_lines_and_empty_ones() {
    let x = Tensor::from_vec((0..60).map(|i| (i * 37 % 60) as f32).collect(), [5, 12]);
    let descending = true;
    let wanted = |count| Wanted::First { count, descending };
    assert_eq!(
        places(&x.t(), 0, wanted(4)),
        places(&x.t().copy(), 0, wanted(4))
    );
    assert_eq!(places(&Tensor::<f32>::zeros([0, 4]), 1, wanted(4)), []);
    assert_eq!(places(&Tensor::<f32>::zeros([4, 0]), 1, wanted(0)), []);
}
