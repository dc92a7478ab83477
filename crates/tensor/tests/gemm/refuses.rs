//! Matrices that do not fit.

use std::panic::catch_unwind;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm, packed_len};

/// A product of 2 x 4 by 4 x 3 that is right but for what a case changes.
#[derive(Clone, Copy)]
struct Case {
    a_len: usize,
    b_rs: isize,
    c_offset: usize,
    c_rs: isize,
    bias: usize,
}

const RIGHT: Case = Case {
    a_len: 8,
    b_rs: 3,
    c_offset: 0,
    c_rs: 3,
    bias: 3,
};

fn run(case: Case) {
    let (a, b, bias) = ([0.0_f32; 8], [0.0; 12], [0.0; 3]);
    let mut c = [0.0; 6];
    let a = MatRef::row_major(&a[..case.a_len], 4);
    let b = MatRef {
        rs: case.b_rs,
        ..MatRef::row_major(&b, 3)
    };
    let c = MatMut {
        data: &mut c,
        offset: case.c_offset,
        rs: case.c_rs,
        cs: 1,
    };
    let end = Epilogue::BiasRow(&bias[..case.bias]);
    gemm(2, 3, 4, 1.0, a, b, 0.0, c, end);
}

#[test]
fn what_does_not_fit_is_refused() {
    let huge = Case {
        c_offset: 1,
        c_rs: isize::MAX,
        ..RIGHT
    };
    let cases = [
        (
            Case { a_len: 7, ..RIGHT },
            "A reaches from element 0 to 7 of a slice of 7",
        ),
        (Case { b_rs: -1, ..RIGHT }, "B reaches from element -3 to"),
        (huge, "C reaches"),
        (Case { c_rs: 2, ..RIGHT }, "coincide"),
        (Case { c_rs: 0, ..RIGHT }, "coincide"),
        (
            Case { bias: 2, ..RIGHT },
            "a bias of 2 elements for 3 columns",
        ),
    ];
    run(RIGHT);
    for (case, expected) in cases {
        let panic = catch_unwind(|| run(case)).expect_err(expected);
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains(expected), "{message}, not: {expected}");
    }
}

#[test]
fn what_no_memory_could_hold_is_refused() {
    let one = [1.0_f32];
    let a = MatRef {
        data: &one,
        offset: 0,
        rs: 0,
        cs: 0,
    };
    for (m, k) in [(4, 1 << 61), (1, usize::MAX), (100, 1 << 50)] {
        let refused = catch_unwind(|| {
            let mut c = vec![0.0; 4 * m];
            gemm(
                m,
                4,
                k,
                1.0,
                a,
                a,
                0.0,
                MatMut::row_major(&mut c, 4),
                Epilogue::None,
            );
        });
        let message = *refused.expect_err("refused").downcast::<String>().unwrap();
        assert!(message.contains("no memory could hold"), "{message}");
    }
    let refused = catch_unwind(|| packed_len::<f32>(1 << 60, 16)).expect_err("refused");
    let message = *refused.downcast::<String>().unwrap();
    assert!(message.contains("no memory could hold"), "{message}");
}
