//! A bias and a relu that the operation before them applies.

use super::*;

/// Values and gradients of a network of one operation, and the kernels that its forward pass took.
fn tailed<'a>(
    fuse: bool,
    shapes: [&'a [usize]; 3],
    f: impl for<'t> Fn(Var<'t, f32>, Var<'t, f32>, Var<'t, f32>) -> Var<'t, f32>,
) -> (Vec<Vec<u32>>, u64) {
    let mut tape = Tape::<f32>::training(0);
    tape.set_fusion(fuse);
    tape.set_poison(true);
    let mut numbers = Numbers(5);
    let params = shapes.map(|s| {
        let v: Vec<f32> = numbers.tensor(s).iter().map(|x| x as f32).collect();
        Param::new(Tensor::from_vec(v, s))
    });
    let forward = {
        let [x, w, b] = [0, 1, 2].map(|i| tape.param(&params[i]));
        f(x, w, b).value();
        tape.counters().kernels
    };
    tape.reset();
    let [x, w, b] = [0, 1, 2].map(|i| tape.param(&params[i]));
    let y = f(x, w, b).keep();
    let grads = y.square().sum().backward();
    let mut all: Vec<Vec<u32>> = vec![y.value().iter().map(f32::to_bits).collect()];
    for p in &params {
        all.push(
            grads
                .get(p)
                .expect("a gradient")
                .iter()
                .map(f32::to_bits)
                .collect(),
        );
    }
    (all, forward)
}

#[test]
fn a_bias_and_a_relu_are_part_of_the_operation_before_them() {
    use wengert_autograd::ops::conv::ConvOptions;
    type Net = for<'t> fn(Var<'t, f32>, Var<'t, f32>, Var<'t, f32>) -> Var<'t, f32>;
    let cases: [(&str, [&[usize]; 3], Net); 10] = [
        ("linear", [&[5, 7], &[3, 7], &[3]], |x, w, b| {
            x.linear(w, Some(b))
        }),
        ("linear relu", [&[70, 33], &[65, 33], &[65]], |x, w, b| {
            x.linear(w, Some(b)).relu()
        }),
        ("relu", [&[5, 7], &[7, 4], &[1]], |x, w, b| {
            x.matmul(w).relu() * b.sum()
        }),
        ("bias first", [&[5, 7], &[7, 4], &[1, 4]], |x, w, b| {
            (b + x.matmul(w)).relu()
        }),
        ("one row", [&[1, 64], &[64, 300], &[300]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("one column", [&[300, 64], &[64, 1], &[1]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("batched", [&[2, 3, 5, 7], &[3, 7, 4], &[4]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("conv", [&[2, 4, 9, 8], &[6, 4, 3, 3], &[6]], |x, w, b| {
            x.conv2d(w, Some(b), ConvOptions::new().padding(1)).relu()
        }),
        (
            "depthwise",
            [&[2, 4, 9, 8], &[4, 1, 3, 3], &[4]],
            |x, w, b| {
                x.conv2d(w, Some(b), ConvOptions::new().groups(4).stride(2))
                    .relu()
            },
        ),
        (
            "pointwise",
            [&[3, 4, 5, 5], &[6, 4, 1, 1], &[6]],
            |x, w, b| x.conv2d(w, Some(b), ConvOptions::new()).relu(),
        ),
    ];
    for (name, shapes, f) in cases {
        let (fused, kernels) = tailed(true, shapes, f);
        assert_eq!(fused, tailed(false, shapes, f).0, "{name}");
        let expected = if name == "relu" { 3 } else { 1 };
        assert_eq!(kernels, expected, "{name}: kernels");
    }
    // What another reader needs is made; a bias that is no bias, or is made later, is added apart.
    let others: [(&str, [&[usize]; 3], Net); 4] = [
        ("read twice", [&[5, 7], &[7, 4], &[4]], |x, w, b| {
            let h = x.matmul(w);
            (h + b).relu() * h
        }),
        ("a full bias", [&[5, 7], &[7, 4], &[5, 4]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("a column", [&[5, 7], &[7, 5], &[5, 1]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("made later", [&[5, 7], &[7, 4], &[3, 4]], |x, w, b| {
            let h = x.matmul(w);
            let late = b.cumsum(0).narrow(0, 2, 3);
            (h + late).relu()
        }),
    ];
    for (name, shapes, f) in others {
        let (fused, kernels) = tailed(true, shapes, f);
        assert_eq!(fused, tailed(false, shapes, f).0, "{name}");
        assert!(kernels > 1, "{name}: {kernels}");
    }
}
