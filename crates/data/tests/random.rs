//! The random streams are pinned: these numbers change with a major version only. Integers, uniform numbers and permutations
//! were computed by an independent program (Python), from the definitions of xoshiro256++, SplitMix64 and this crate.

use rand::{Rng, SeedableRng};
use wengert_data::random::{
    Xoshiro256PlusPlus, below, normal, permutation, shuffle, stream, uniform_f32, uniform_f64,
};
use wengert_data::{DataLoader, TensorDataset};
use wengert_tensor::Tensor;

const ZERO: [u64; 16] = [
    0x53175d61490b23df,
    0x61da6f3dc380d507,
    0x5c0fdf91ec9a7bfc,
    0x02eebf8c3bbe5e1a,
    0x7eca04ebaf4a5eea,
    0x0543c37757f08d9a,
    0xdb7490c75ab5026e,
    0xd87343e6464bc959,
    0x4b7da0a02389f0ff,
    0x1300fc58c0424c16,
    0x5084843206c19968,
    0x10ea073de9aa4dfc,
    0x1aae554343960cc1,
    0x1804139f10fae720,
    0x10d790e7b8ac10fa,
    0x667d2bffdd1496f7,
];
const FORTY_TWO: [u64; 16] = [
    0xd0764d4f4476689f,
    0x519e4174576f3791,
    0xfbe07cfb0c24ed8c,
    0xb37d9f600cd835b8,
    0xcb231c3874846a73,
    0x968d9f004e50de7d,
    0x201718ff221a3556,
    0x9ae94e070ed8cb46,
    0x352cf3daf095ccc7,
    0xeeefd63219b4a0d4,
    0x8f3dfa98020e7942,
    0xd99b8e00792f360d,
    0xae14e77054359b98,
    0x11ccbfbb36590dbd,
    0x672fcfd4efd0e0bd,
    0x8bc6e858d0501168,
];

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    stream(seed, &[])
}

#[test]
fn integers() {
    for (seed, expected) in [(0, ZERO), (42, FORTY_TWO)] {
        let mut r = rng(seed);
        assert_eq!([(); 16].map(|()| r.next_u64()), expected);
        assert_eq!(rng(seed), Xoshiro256PlusPlus::seed_from_u64(seed));
    }
    assert_eq!(stream(0, &[0, 3]).next_u64(), 0xdf1da20bc052770a);
    assert_eq!(stream(42, &[0, 3]).next_u64(), 0x2e1fc1c7971ed390);
}

#[test]
fn uniform() {
    for (seed, expected) in [(0, ZERO), (42, FORTY_TWO)] {
        let (mut a, mut b) = (rng(seed), rng(seed));
        for bits in expected {
            assert_eq!(uniform_f32(&mut a), (bits >> 40) as f32 / 16_777_216.0);
            assert_eq!(
                uniform_f64(&mut b),
                (bits >> 11) as f64 / 9_007_199_254_740_992.0
            );
        }
    }
}

#[test]
fn normals() {
    for (seed, expected) in [
        (
            0,
            [
                -0.29280329860470816,
                -0.7131206168144315,
                -0.1053211603531886,
                -2.43645251565255,
                -0.00674689024551789,
                -1.3049728444939166,
                1.1858761840114587,
                1.2539918619246462,
            ],
        ),
        (
            42,
            [
                0.8343975468437959,
                -0.514962928147295,
                1.40772757311975,
                0.46445486122523566,
                0.9536668702127304,
                0.27411555634974205,
                -1.3773172567668162,
                0.4144533898735936,
            ],
        ),
    ] {
        let mut r = rng(seed);
        let got = [(); 8].map(|()| normal(&mut r));
        assert_eq!(got.map(f64::to_bits), expected.map(f64::to_bits), "{got:?}");
    }
}

#[test]
fn permutations() {
    assert_eq!(permutation(10, &mut rng(0)), [1, 4, 5, 8, 6, 7, 0, 2, 9, 3]);
    assert_eq!(
        permutation(10, &mut rng(42)),
        [5, 3, 1, 0, 9, 6, 4, 7, 2, 8]
    );
    let mut letters = ['a', 'b', 'c'];
    shuffle(&mut letters, &mut rng(0));
    letters.sort_unstable();
    assert_eq!(letters, ['a', 'b', 'c']);
    assert!(permutation(0, &mut rng(0)).is_empty());
}

#[test]
fn the_order_of_a_loader() {
    let set = TensorDataset::new(Tensor::from_fn([10], |i| i[0] as i64)).unwrap();
    let order = |seed, epoch, workers| {
        let loader = DataLoader::new(set.clone(), 3)
            .shuffle(seed)
            .workers(workers);
        loader
            .epoch(epoch)
            .flat_map(|b| b.to_vec())
            .collect::<Vec<i64>>()
    };
    for workers in 0..3 {
        let expected: Vec<i64> = permutation(10, &mut stream(42, &[0, 3]))
            .iter()
            .map(|&i| i as i64)
            .collect();
        assert_eq!(order(42, 3, workers), expected);
        assert_eq!(order(0, 0, workers), [4, 0, 7, 9, 2, 6, 3, 5, 8, 1]);
        assert_eq!(order(42, 3, workers), [4, 9, 2, 0, 6, 8, 3, 7, 5, 1]);
    }
}

#[test]
fn moments_and_bounds() {
    let mut r = rng(1);
    let n = 200_000;
    let mut counts = [0u32; 7];
    let (mut sum, mut square) = (0.0, 0.0);
    for _ in 0..n {
        counts[below(&mut r, 7) as usize] += 1;
        let z = normal(&mut r);
        sum += z;
        square += z * z;
        let u = uniform_f32(&mut r);
        assert!((0.0..1.0).contains(&u));
    }
    let expected = n as f64 / 7.0;
    let chi: f64 = counts
        .iter()
        .map(|&c| (f64::from(c) - expected).powi(2) / expected)
        .sum();
    assert!(chi < 22.5, "chi-squared with 6 degrees of freedom: {chi}");
    assert!((sum / n as f64).abs() < 0.01 && (square / n as f64 - 1.0).abs() < 0.015);
    // The largest ranges do not overflow and do not reject for ever.
    assert!(below(&mut r, u64::MAX) < u64::MAX);
    assert!(below(&mut r, (1 << 63) + 1) <= 1 << 63);
    assert_eq!(below(&mut r, 1), 0);
    // Where 2^64 is no multiple of the range, rejection keeps the residues equally likely.
    let mut residues = [0u32; 3];
    for _ in 0..30_000 {
        residues[(below(&mut r, 3 << 62) % 3) as usize] += 1;
    }
    assert!(
        residues.iter().all(|&n| (9_600..10_400).contains(&n)),
        "{residues:?}"
    );
    // All orders of four things are equally likely.
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..24_000 {
        *seen.entry(permutation(4, &mut r)).or_insert(0u32) += 1;
    }
    let chi: f64 = seen
        .values()
        .map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0)
        .sum();
    assert!(seen.len() == 24 && chi < 49.7, "{chi}");
}
