//! Broadcasting against index loops.

use super::*;

/// Broadcasting by index loops: the shape, and for each output element the places of its operands.
fn reference(a: &[usize], b: &[usize]) -> Option<(Vec<usize>, Vec<[usize; 2]>)> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |k| s[k]);
    let mut shape = Vec::new();
    for i in 0..rank {
        shape.push(match (at(a, i), at(b, i)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return None,
        });
    }
    let n: usize = shape.iter().product();
    let places = (0..n).map(|flat| {
        [a, b].map(|s| {
            let (mut rest, mut place, mut step) = (flat, 0, 1);
            for i in (0..rank).rev() {
                let k = rest % shape[i];
                rest /= shape[i];
                let d = at(s, i);
                if d != 1 {
                    place += k * step;
                }
                step *= d;
            }
            place
        })
    });
    Some((shape.clone(), places.collect()))
}

#[test]
fn random_broadcast_pairs_against_index_loops() {
    let mut r = Numbers(1);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut refused = 0;
    let mut tape = Tape::<f64>::inference();
    for round in 0..20_000 {
        tape.reset();
        // Pairs that mostly fit: the second shape starts from the tail of the first.
        let rank = r.below(7) as usize;
        let a: Vec<usize> = (0..rank)
            .map(|_| [0, 1, 1, 2, 2, 3][r.below(6) as usize])
            .collect();
        let cut = r.below(rank as u64 + 1) as usize;
        let b: Vec<usize> = (a[cut..].iter())
            .map(|&d| {
                if r.below(3) == 0 {
                    1
                } else if r.below(25) == 0 {
                    3
                } else {
                    d
                }
            })
            .collect();
        let (a, b) = if r.below(2) == 0 { (a, b) } else { (b, a) };
        let (x, y) = (r.tensor(&a), r.tensor(&b));
        let (vx, vy) = (tape.input(&x), tape.input(&y));
        let sum = catch_unwind(AssertUnwindSafe(|| vx + vy));
        let Some((shape, places)) = reference(&a, &b) else {
            assert!(sum.is_err(), "{a:?} and {b:?} must be refused");
            refused += 1;
            continue;
        };
        let sum = sum.unwrap_or_else(|_| panic!("{a:?} and {b:?} fit"));
        assert_eq!(sum.shape().as_slice(), shape);
        let (x, y) = (x.to_vec(), y.to_vec());
        for (s, [i, k]) in sum.value().iter().zip(&places) {
            assert_eq!(s.to_bits(), (x[*i] + y[*k]).to_bits(), "{a:?} and {b:?}");
        }
        if round % 10 == 0 {
            // The gradient has the operand's shape: the cotangent summed over its uses.
            let c = r.tensor(&shape);
            let g = vjp_many(&[vx * vy], &[tape.input(&c)], &[vx, vy]);
            let mut expected = [vec![0.0; x.len()], vec![0.0; y.len()]];
            for (c, [i, k]) in c.iter().zip(&places) {
                expected[0][*i] += c * y[*k];
                expected[1][*k] += c * x[*i];
            }
            for (g, (e, s)) in g.iter().zip(expected.iter().zip([&a, &b])) {
                assert_eq!(g.shape().as_slice(), s.as_slice());
                for (g, e) in g.value().iter().zip(e) {
                    assert!((g - e).abs() <= 1e-13, "{a:?} and {b:?}");
                }
            }
        }
    }
    std::panic::set_hook(hook);
    assert!((200..15_000).contains(&refused), "{refused}");
}
