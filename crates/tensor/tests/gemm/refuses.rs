//! Matrices that do not fit.

use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};

fn run(a: MatRef<'_, f32>, b: MatRef<'_, f32>, c: MatMut<'_, f32>, epilogue: Epilogue<'_, f32>) {
    gemm(2, 3, 4, 1.0, a, b, 0.0, c, epilogue);
}
const A: [f32; 8] = [0.0; 8];
const B: [f32; 12] = [0.0; 12];

#[test]
#[should_panic(expected = "A reaches from element 0 to 7 of a slice of 7")]
fn short_a() {
    let mut c = [0.0; 6];
    run(
        MatRef::row_major(&A[..7], 4),
        MatRef::row_major(&B, 3),
        MatMut::row_major(&mut c, 3),
        Epilogue::None,
    );
}
#[test]
#[should_panic(expected = "B reaches from element -3 to")]
fn negative_reach() {
    let mut c = [0.0; 6];
    let b = MatRef {
        data: &B,
        offset: 0,
        rs: 3,
        cs: 1,
    };
    let b = MatRef { rs: -1, ..b };
    run(
        MatRef::row_major(&A, 4),
        b,
        MatMut::row_major(&mut c, 3),
        Epilogue::None,
    );
}
#[test]
#[should_panic(expected = "C reaches")]
fn huge_stride() {
    let mut c = [0.0; 6];
    let c = MatMut {
        data: &mut c,
        offset: 1,
        rs: isize::MAX,
        cs: 1,
    };
    run(
        MatRef::row_major(&A, 4),
        MatRef::row_major(&B, 3),
        c,
        Epilogue::None,
    );
}
#[test]
#[should_panic(expected = "coincide")]
fn overlapping_c() {
    let mut c = [0.0; 6];
    let c = MatMut {
        data: &mut c,
        offset: 0,
        rs: 2,
        cs: 1,
    };
    run(
        MatRef::row_major(&A, 4),
        MatRef::row_major(&B, 3),
        c,
        Epilogue::None,
    );
}
#[test]
#[should_panic(expected = "coincide")]
fn broadcast_c() {
    let mut c = [0.0; 6];
    let c = MatMut {
        data: &mut c,
        offset: 0,
        rs: 0,
        cs: 1,
    };
    run(
        MatRef::row_major(&A, 4),
        MatRef::row_major(&B, 3),
        c,
        Epilogue::None,
    );
}
#[test]
#[should_panic(expected = "a bias of 2 elements for 3 columns")]
fn short_bias() {
    let mut c = [0.0; 6];
    run(
        MatRef::row_major(&A, 4),
        MatRef::row_major(&B, 3),
        MatMut::row_major(&mut c, 3),
        Epilogue::BiasRow(&[0.0; 2]),
    );
}
