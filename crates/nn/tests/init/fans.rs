//! Fans and gains against the formulae of PyTorch.

use crate::normal_mean;
use wengert_nn::init::{FanMode, Fans, Init, Nonlinearity};

#[test]
fn fans_of_every_kind_of_layer() {
    let f = Fans::new;
    assert_eq!(Fans::linear(784, 300), f(784.0, 300.0));
    assert_eq!(Fans::bilinear(3, 4, 5), f(12.0, 20.0));
    assert_eq!(Fans::conv(64, 128, &[3, 3], 1), f(576.0, 1152.0));
    assert_eq!(Fans::conv(64, 128, &[3, 3], 2), f(288.0, 576.0));
    assert_eq!(Fans::conv(32, 32, &[5], 32), f(5.0, 5.0), "depthwise");
    assert_eq!(
        Fans::conv_transpose(64, 32, &[4, 4], &[1, 1], 1),
        f(1024.0, 512.0)
    );
    assert_eq!(
        Fans::conv_transpose(64, 32, &[4, 4], &[2, 2], 1),
        f(256.0, 512.0)
    );
    assert_eq!(Fans::conv_transpose(64, 32, &[3], &[2], 4), f(24.0, 24.0));
    assert_eq!(Fans::conv_transpose(8, 8, &[2], &[4], 1), f(8.0, 16.0));
    assert_eq!(Fans::gate(10, 20), f(10.0, 20.0));
    assert_eq!(Fans::embedding(64), f(1.0, 64.0));
    // torch.nn.init._calculate_fan_in_and_fan_out
    assert_eq!(Fans::of_shape(&[3, 2]), Some(f(2.0, 3.0)));
    assert_eq!(Fans::of_shape(&[8, 4, 3]), Some(f(12.0, 24.0)));
    assert_eq!(Fans::of_shape(&[8, 4, 3, 5]), Some(f(60.0, 120.0)));
    assert_eq!(Fans::of_shape(&[6, 2, 3, 3, 3]), Some(f(54.0, 162.0)));
    assert_eq!(Fans::of_shape(&[6]), None);
    assert_eq!(Fans::linear(2, 6).get(FanMode::FanAvg), 4.0);
}

/// The fan of a transposed convolution is the number of terms of an output, averaged over the inside of the picture.
#[test]
fn fan_in_of_a_transposed_convolution_counts_terms() {
    for (kernel, stride) in [(3usize, 1usize), (4, 2), (3, 2), (5, 3), (2, 4)] {
        let positions = 60;
        let mut terms = vec![0usize; positions * stride + kernel];
        for i in 0..positions {
            (0..kernel).for_each(|k| terms[i * stride + k] += 1);
        }
        let inside = &terms[kernel..positions * stride];
        let met: Vec<usize> = inside.iter().copied().filter(|&n| n > 0).collect();
        let mean = met.iter().sum::<usize>() as f64 / met.len() as f64;
        let fan = Fans::conv_transpose(1, 1, &[kernel], &[stride], 1).fan_in;
        assert!(
            (fan - mean).abs() < 0.02,
            "kernel {kernel}, stride {stride}: {fan}, counted {mean}"
        );
    }
}

#[test]
fn gains_are_those_of_pytorch() {
    use Nonlinearity as N;
    for (n, gain) in [
        (N::Linear, 1.0),
        (N::Sigmoid, 1.0),
        (N::Tanh, 1.666_666_666_666_666_7),
        (N::Relu, std::f64::consts::SQRT_2),
        (N::LeakyRelu { slope: 0.2 }, 1.386_750_490_563_072_8),
        (N::LeakyRelu { slope: 0.01 }, 1.414_142_856_997_834_5),
        (N::Selu, 0.75),
    ] {
        assert!((n.gain() - gain).abs() < 1e-15, "{n}: {}", n.gain());
    }
}

/// `1 / √(E f(z)²)` by quadrature.
#[test]
fn other_gains_keep_the_second_moment() {
    use Nonlinearity as N;
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    // Φ by its Taylor series, good on [-8, 8]; beyond it is 0 or 1.
    let phi = |z: f64| {
        if z.abs() > 8.0 {
            return f64::from(z > 0.0);
        }
        let (mut term, mut sum, mut k) = (z, z, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            k += 2.0;
            term *= z * z / k;
            sum += term;
        }
        0.5 + sum * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
    };
    let elu = |alpha: f64| move |z: f64| if z > 0.0 { z } else { alpha * z.exp_m1() };
    let cases: [(N, Box<dyn Fn(f64) -> f64>); 8] = [
        (N::Relu, Box::new(|z: f64| z.max(0.0))),
        (
            N::LeakyRelu { slope: 0.3 },
            Box::new(|z: f64| if z > 0.0 { z } else { 0.3 * z }),
        ),
        (N::Elu { alpha: 1.0 }, Box::new(elu(1.0))),
        (N::Elu { alpha: 0.5 }, Box::new(elu(0.5))),
        (N::Gelu, Box::new(move |z| z * phi(z))),
        (N::Silu, Box::new(move |z| z * sigmoid(z))),
        (N::Mish, Box::new(|z: f64| z * z.exp().ln_1p().tanh())),
        (
            N::HardSwish,
            Box::new(|z: f64| z * (z + 3.0).clamp(0.0, 6.0) / 6.0),
        ),
    ];
    for (n, f) in cases {
        let gain = normal_mean(-12.0, 12.0, |z| f(z).powi(2)).sqrt().recip();
        assert!(
            (n.gain() - gain).abs() < 1e-8,
            "{n}: {} against {gain}",
            n.gain()
        );
    }
}

#[test]
fn defaults_by_nonlinearity() {
    use Nonlinearity as N;
    for n in [N::Linear, N::Sigmoid, N::Softmax, N::Tanh] {
        assert_eq!(n.default_init(), Init::glorot_uniform());
    }
    assert_eq!(N::Relu.default_init(), Init::he_normal());
    let leaky = N::LeakyRelu { slope: 0.2 }.default_init();
    assert_eq!(
        leaky,
        Init::HeNormal {
            slope: 0.2,
            mode: FanMode::FanIn
        }
    );
    assert_eq!(N::Selu.default_init(), Init::LecunNormal);
    let gelu = N::Gelu.default_init().std(&[10, 10], Fans::linear(100, 10));
    assert!((gelu - (1.533_530_441_195_535_2 + 2f64.sqrt()) / 20.0).abs() < 1e-15);
}
