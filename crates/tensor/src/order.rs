//! Orders of what is counted in names, classes and files, not in elements of tensors.
//!
//! Sorting in the standard library is compiled again for every comparison; these functions are compiled once, for all
//! crates.

use std::cmp::Ordering;

/// The numbers `0..n` in the order of `compare`; equal ones stay in sequence.
pub fn order(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..n).collect();
    let mut merged = vec![0; n];
    let mut run = 1;
    // Merging runs twice as long each time: a twentieth of the code that the standard library has for a sort.
    while run < n {
        for start in (0..n).step_by(2 * run) {
            let (middle, end) = ((start + run).min(n), (start + 2 * run).min(n));
            let (mut left, mut right) = (start, middle);
            for to in &mut merged[start..end] {
                let second =
                    left == middle || right < end && compare(numbers[right], numbers[left]).is_lt();
                let from = if second { &mut right } else { &mut left };
                *to = numbers[*from];
                *from += 1;
            }
        }
        std::mem::swap(&mut numbers, &mut merged);
        run *= 2;
    }
    numbers
}

/// The numbers `0..n` in groups of equal ones, the groups in the order of `compare`, each group in sequence.
pub fn groups(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<Vec<usize>> {
    let mut groups = Vec::<Vec<usize>>::new();
    for i in order(n, compare) {
        match groups.last_mut() {
            Some(group) if compare(group[0], i) == Ordering::Equal => group.push(i),
            _ => groups.push(vec![i]),
        }
    }
    groups
}

/// The first of the numbers `0..n` that is equal to one before it.
pub fn repeated(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Option<usize> {
    (groups(n, compare).iter())
        .filter_map(|group| group.get(1).copied())
        .min()
}

/// `numbers` in ascending order.
pub fn ascending(numbers: &mut [usize]) {
    by_key(numbers, &|n| n as u64, &|key| key as usize);
}

/// `numbers` in the total order of [`f64::total_cmp`].
pub fn ascending_floats(numbers: &mut [f64]) {
    const SIGN: u64 = 1 << 63;
    let key = |x: f64| match x.to_bits() {
        bits if bits & SIGN == 0 => bits | SIGN,
        bits => !bits,
    };
    let number = |key: u64| f64::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN });
    by_key(numbers, &key, &number);
}

/// `keys` in ascending order.
pub fn ascending_keys(keys: &mut [u64]) {
    keys.sort_unstable();
}

fn by_key<N: Copy>(numbers: &mut [N], key: &dyn Fn(N) -> u64, number: &dyn Fn(u64) -> N) {
    let mut keys: Vec<u64> = numbers.iter().map(|&n| key(n)).collect();
    ascending_keys(&mut keys);
    for (n, &k) in numbers.iter_mut().zip(&keys) {
        *n = number(k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_stay_in_sequence() {
        let names = ["b", "a", "c", "a", "b", "a"];
        let compare = |i: usize, j: usize| names[i].cmp(names[j]);
        assert_eq!(order(6, &compare), [1, 3, 5, 0, 4, 2]);
        assert_eq!(groups(6, &compare), [vec![1, 3, 5], vec![0, 4], vec![2]]);
        assert_eq!(repeated(6, &compare), Some(3));
        assert_eq!(repeated(3, &compare), None);
        assert_eq!(groups(0, &compare), Vec::<Vec<usize>>::new());
        for n in 0..70 {
            let key = |i: usize| i * 37 % 11;
            let mut sorted: Vec<usize> = (0..n).collect();
            sorted.sort_by_key(|&i| key(i));
            assert_eq!(order(n, &|i, j| key(i).cmp(&key(j))), sorted);
        }
        let mut numbers = [3, 1, 2];
        ascending(&mut numbers);
        assert_eq!(numbers, [1, 2, 3]);
        let nan = f64::NAN;
        let mut floats = [
            2.0,
            -0.0,
            nan,
            f64::NEG_INFINITY,
            0.0,
            -nan,
            -1e-300,
            f64::INFINITY,
        ];
        let mut sorted = floats;
        sorted.sort_by(f64::total_cmp);
        ascending_floats(&mut floats);
        assert_eq!(floats.map(f64::to_bits), sorted.map(f64::to_bits));
    }
}
