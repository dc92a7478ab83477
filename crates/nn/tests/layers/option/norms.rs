//! Norms of activations and of weights.

use crate::common::{Case, cases, first, rng};
use wengert_autograd::ops::conv::PerAxis;
use wengert_nn::norm::{BatchNorm, Weighted};
use wengert_nn::{
    Conv, Conv2d, ConvTranspose, Forward, GroupNorm, InstanceNorm, LayerNorm, Linear,
    LocalResponseNorm, RmsNorm, SpectralNorm, WeightNorm, WeightStandardization,
};

const NORMS: &str = include_str!("../../reference/option_norms.txt");
const GROUPED: &str = include_str!("../../reference/option_grouped.txt");

fn batch<const D: usize>(c: &Case, name: &str) {
    let (name, training) = match name.strip_suffix("_eval") {
        Some(n) => (n, false),
        None => (name, true),
    };
    let m = BatchNorm::<D, f64>::new(3);
    let mut m = match name {
        "momentum0" => m.with_momentum(0.0),
        "momentum1" => m.with_momentum(1.0),
        "eps" => m.with_eps(0.5),
        "cumulative" => m.with_cumulative_average(),
        "no_affine" => m.without_affine(),
        "no_statistics" => m.without_running_statistics(),
        "plain" => m.without_affine().without_running_statistics(),
        _ => panic!("no test for case {}", c.name),
    };
    c.run(&mut m, training, first);
    if training {
        // The same with a relu behind: what a function of the layer's output says.
        let relu = |y: &wengert_autograd::Tensor<f64>| y.map(|v| v.max(0.0)).to_vec();
        let tape = crate::common::tape(true);
        let x = tape.input(c.get("in.0"));
        let both = m.forward_relu(x).value();
        for (a, b) in both.iter().zip(relu(&m.forward(x).value())) {
            assert!((a - b).abs() < 1e-12, "{}: relu {a} {b}", c.name);
        }
    }
}

fn instance(c: &Case, name: &str) {
    let (name, training) = match name.strip_suffix("_eval") {
        Some(n) => (n, false),
        None => (name, true),
    };
    let m = InstanceNorm::new(3);
    let mut m = match name {
        "eps" => m.with_eps(0.5),
        "affine" => m.with_affine(),
        "statistics" => m.with_running_statistics(0.3),
        "both" => m.with_affine().with_running_statistics(0.1),
        _ => panic!("no test for case {}", c.name),
    };
    c.run(&mut m, training, first);
}

/// One of the norms of weights around a layer.
fn around<L>(c: &Case, norm: &str, eval: bool, inner: L)
where
    L: Weighted<f64> + Forward<f64> + Clone + 'static,
{
    match norm {
        "weight" => c.run(&mut WeightNorm::new(inner), true, first),
        "spectral" if eval => c.run(&mut SpectralNorm::new(inner), false, first),
        // While training the singular vectors move with the weight and count as constants: no finite differences.
        "spectral" => c.run_values(&mut SpectralNorm::new(inner), true, first),
        _ => c.run(&mut WeightStandardization::new(inner), true, first),
    }
}

fn grouped<const D: usize>(r: &mut impl rand::Rng) -> ConvTranspose<D, f64>
where
    usize: PerAxis<D>,
{
    ConvTranspose::builder(4, 6, 2).groups(2).build(r)
}

pub fn run() {
    for c in cases(NORMS).into_iter().chain(cases(GROUPED)) {
        let r = &mut rng(1);
        let words: Vec<&str> = c.name.split(' ').collect();
        match words[..] {
            ["batch", name, "1"] => batch::<1>(&c, name),
            ["batch", name, "2"] => batch::<2>(&c, name),
            ["batch", name, "3"] => batch::<3>(&c, name),
            ["instance", name, _] => instance(&c, name),
            ["layer", "eps"] => c.run(&mut LayerNorm::new(4).with_eps(0.3), true, first),
            ["layer", "no_bias"] => {
                c.run(&mut LayerNorm::new([3, 4]).without_bias(), true, first);
            }
            ["layer", "no_affine"] => {
                c.run(&mut LayerNorm::new([3, 4]).without_affine(), true, first);
            }
            ["rms", "eps"] => c.run(&mut RmsNorm::new([3, 4]).with_eps(0.3), true, first),
            ["rms", "no_affine"] => {
                c.run(&mut RmsNorm::new(4).without_affine(), true, first);
            }
            ["group", "one"] => c.run(&mut GroupNorm::new(1, 4), true, first),
            ["group", "all"] => c.run(&mut GroupNorm::new(4, 4), true, first),
            ["group", "eps"] => c.run(&mut GroupNorm::new(2, 4).with_eps(0.3), true, first),
            ["group", "no_affine"] => {
                c.run(&mut GroupNorm::new(2, 4).without_affine(), true, first);
            }
            ["local", "settings"] => {
                let m = LocalResponseNorm::try_with(3, 0.7, 0.5, 3.0).unwrap();
                c.run(&mut { m }, true, first);
            }
            ["local", n] => {
                c.run(&mut LocalResponseNorm::new(n.parse().unwrap()), true, first);
            }
            ["standard", "eps"] => {
                let m = WeightStandardization::new(Linear::new(3, 4, r)).with_eps(0.4);
                c.run(&mut { m }, true, first);
            }
            ["spectral", "rounds"] => {
                let m = SpectralNorm::new(Linear::new(3, 4, r));
                let mut m = m.with_rounds(3).with_eps(1e-3);
                c.run_values(&mut m, true, first);
            }
            [norm, kind, ref rest @ ..] => {
                let eval = rest == ["eval"];
                match kind {
                    "linear" => around(&c, norm, eval, Linear::new(3, 4, r)),
                    "linear_no_bias" => {
                        let b = Linear::builder(3, 4).bias(false);
                        around(&c, norm, eval, b.build(r));
                    }
                    "conv1" => around(&c, norm, eval, Conv::<1, f64>::new(2, 3, 2, r)),
                    "conv2" => around(&c, norm, eval, Conv::<2, f64>::new(2, 3, 2, r)),
                    "conv3" => around(&c, norm, eval, Conv::<3, f64>::new(2, 3, 2, r)),
                    "transpose1" => {
                        around(&c, norm, eval, ConvTranspose::<1, f64>::new(2, 3, 2, r));
                    }
                    "transpose2" => {
                        around(&c, norm, eval, ConvTranspose::<2, f64>::new(2, 3, 2, r));
                    }
                    "transpose3" => {
                        around(&c, norm, eval, ConvTranspose::<3, f64>::new(2, 3, 2, r));
                    }
                    "groups" => {
                        let b = Conv2d::builder(4, 4, 2).groups(2).padding(1);
                        around(&c, norm, eval, b.bias(false).build(r));
                    }
                    "transpose_groups1" => around(&c, norm, eval, grouped::<1>(r)),
                    "transpose_groups2" => around(&c, norm, eval, grouped::<2>(r)),
                    "transpose_groups3" => around(&c, norm, eval, grouped::<3>(r)),
                    _ => panic!("no test for case {}", c.name),
                }
            }
            _ => panic!("no test for case {}", c.name),
        }
    }
}
