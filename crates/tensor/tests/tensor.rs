//! Shapes, views, limits and text.

use wengert_tensor::shape::{broadcast, checked_numel};
use wengert_tensor::{Dims, Error, Layout, Storage, Tensor};

struct Numbers(u64);
impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// The reference: index arithmetic, one axis at a time.
fn naive(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| {
        if i + s.len() < rank {
            1
        } else {
            s[i + s.len() - rank]
        }
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

#[test]
fn broadcasting_agrees_with_index_arithmetic() {
    let mut r = Numbers(1);
    let (mut fit, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut shape = || -> Vec<usize> {
            (0..r.below(7))
                .map(|_| [0, 1, 1, 2, 3, 2][r.below(6) as usize])
                .collect()
        };
        let (a, b) = (shape(), shape());
        match (broadcast("test", &a, &b), naive(&a, &b)) {
            (Ok(x), Some(y)) => {
                assert_eq!(x.as_slice(), y);
                fit += 1;
                let t = Tensor::from_fn(a.as_slice(), |i| {
                    i.iter().fold(7i64, |h, &k| h * 31 + k as i64)
                });
                let v = t.broadcast_to(y.as_slice());
                let lead = y.len() - a.len();
                let expected = Tensor::from_fn(y.as_slice(), |i| {
                    let at: Vec<usize> = (0..a.len())
                        .map(|k| if a[k] == 1 { 0 } else { i[lead + k] })
                        .collect();
                    t.get(&at)
                });
                assert_eq!(v.to_vec(), expected.to_vec());
            }
            (Err(_), None) => refused += 1,
            (x, y) => panic!("{a:?} and {b:?}: {x:?} against {y:?}"),
        }
    }
    assert!(
        fit > 2000 && refused > 2000,
        "{fit} fit, {refused} were refused"
    );
}

#[test]
fn views_agree_with_copies() {
    let t = Tensor::from_fn([2, 3, 4], |i| (i[0] * 100 + i[1] * 10 + i[2]) as i32);
    let p = t.permute([2, 0, 1]);
    assert_eq!(p.get(&[3, 1, 2]), 123);
    assert_eq!(p.copy(), p);
    assert!(!p.is_contiguous() && p.copy().is_contiguous());
    let n = p.narrow(0, 1, 3).select(1, 1);
    assert_eq!(n.to_vec(), [101, 111, 121, 102, 112, 122]);
    assert_eq!(
        t.reshape([6, 4]).t().reshape([24]).to_vec(),
        t.reshape([6, 4]).t().copy().to_vec()
    );
    let mut m = t.narrow(1, 0, 2);
    m.as_mut_slice()[0] = -1;
    assert_eq!(
        (m.get(&[0, 0, 0]), t.get(&[0, 0, 0])),
        (-1, 0),
        "writing to a view copies it first"
    );
    let expanded = Tensor::from_vec(vec![1, 2], [2, 1]).broadcast_to([2, 3]);
    assert_eq!(expanded.reshape([6]).to_vec(), [1, 1, 1, 2, 2, 2]);
    for shape in [&[][..], &[0], &[0, 3], &[3, 0], &[1, 0, 2]] {
        let e = Tensor::<f32>::zeros(shape);
        assert_eq!(e.to_vec().len(), shape.iter().product::<usize>());
        assert_eq!(e.copy().shape(), shape);
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let big = 1usize << 32;
    for shape in [
        vec![big, big],
        vec![0, usize::MAX, 2],
        vec![3, 7, 29, 36_760_123, 823_996_703],
    ] {
        let e = Tensor::<f32>::try_zeros(&shape).err();
        assert!(
            matches!(e, Some(Error::ShapeOverflow { .. })),
            "{shape:?}: {e:?}"
        );
    }
    assert!(checked_numel("test", &[0, 5]).is_ok_and(|n| n == 0));
    // 1.6 TB: refused by the limit, with the size in the message; the next operation works.
    let e = Tensor::<f64>::try_zeros([200_000_000_000])
        .expect_err("too large")
        .to_string();
    assert!(e.contains("1600000000000"), "{e}");
    assert_eq!(Tensor::<f32>::zeros([3]).numel(), 3);
    let e = Tensor::try_from_vec(vec![1.0f32; 5], [2, 3])
        .expect_err("wrong count")
        .to_string();
    assert!(e.contains('5') && e.contains("[2, 3]"), "{e}");
    let storage = std::sync::Arc::new(Storage::<f32>::zeroed("test", 6).expect("24 bytes"));
    let mut outside = Layout::contiguous(Dims::from_slice(&[2, 3]));
    outside.strides[0] = 4;
    assert!(Tensor::from_storage(storage.clone(), outside).is_err());
    let mut below = Layout::contiguous(Dims::from_slice(&[2]));
    below.strides[0] = -1;
    assert!(Tensor::from_storage(storage, below).is_err());
}

#[test]
fn memory_is_aligned() {
    for n in [1, 3, 17, 1000] {
        let t = Tensor::<f32>::zeros([n]);
        assert_eq!(t.as_slice().expect("contiguous").as_ptr() as usize % 64, 0);
    }
}

#[test]
fn text_shows_values_and_leaves_out_the_middle() {
    let t = Tensor::from_vec(vec![1i64, -20, 300], [3]);
    assert_eq!(t.to_string(), "[  1, -20, 300]");
    assert_eq!(format!("{:.1}", Tensor::scalar(2.25f32)), "2.2");
    assert_eq!(Tensor::scalar(1e-9f32).to_string(), "1.0000e-9");
    assert_eq!(Tensor::<f32>::zeros([0]).to_string(), "[]");
    let long = Tensor::<f32>::zeros([2000]).to_string();
    assert!(long.contains("...") && long.len() < 100, "{long}");
    assert!(format!("{:?}", Tensor::<u8>::zeros([2])).starts_with("Tensor<u8>[2]"));
    assert_eq!(
        Tensor::from_vec(vec![true, false], [2])
            .cast::<f32>()
            .to_vec(),
        [1.0, 0.0]
    );
}

#[test]
fn callers_from_several_threads_share_the_pool_or_work_alone() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use wengert_tensor::parallel;
    let whole = |round: usize| {
        parallel::install(|| {
            let total = AtomicUsize::new(0);
            parallel::tasks(64, |i| {
                total.fetch_add(i * round, Ordering::Relaxed);
            });
            total.into_inner()
        })
    };
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for round in 0..200 {
                    assert_eq!(whole(round), 2016 * round);
                }
            });
        }
    });
    // A panic leaves the pool to the next caller.
    let refused = std::panic::catch_unwind(|| parallel::install(|| panic!("on purpose")));
    assert!(refused.is_err());
    assert_eq!(whole(3), 6048);
    assert_eq!(parallel::alone(parallel::threads), 1);
}

#[test]
fn full_keeps_the_sign_of_0() {
    assert!(
        Tensor::<f64>::full([2], -0.0)
            .iter()
            .all(f64::is_sign_negative)
    );
    assert!(Tensor::<f32>::scalar(-0.0).item().is_sign_negative());
    assert!(Tensor::<f32>::scalar(0.0).item().is_sign_positive());
}
