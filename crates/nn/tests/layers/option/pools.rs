//! Pooling, resolution, shapes.

use crate::common::{Case, cases, first};
use wengert_autograd::Var;
use wengert_autograd::ops::interpolate::Interpolation;
use wengert_autograd::ops::pool::Divisor;
use wengert_nn::{
    AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, Flatten, Lambda, LpPool, MaxPool, PixelShuffle,
    PixelUnshuffle, Unflatten, Upsample,
};

const POOLS: &str = include_str!("../../reference/option_pools.txt");
const ALIGNED: Interpolation = Interpolation::Linear {
    align_corners: true,
};
const CUBIC_ALIGNED: Interpolation = Interpolation::Cubic {
    align_corners: true,
};

fn over_axes<const D: usize>(c: &Case, name: &str) -> bool {
    let a = |all: [usize; 3]| -> [usize; D] { std::array::from_fn(|i| all[i]) };
    let k = a([3, 2, 2]);
    let steps = a([2, 1, 3]);
    let max = |m: MaxPool<D>| c.run(&mut { m }, true, first);
    let avg = |m: AvgPool<D>| c.run(&mut { m }, true, first);
    let lp = |m: LpPool<D>| c.run(&mut { m }, true, first);
    let up = |m: Upsample<D>| c.run(&mut { m }, true, first);
    let sizes = a([4, 9, 2]);
    let factors: [f64; D] = std::array::from_fn(|i| [1.5, 0.7, 2.0][i]);
    match name {
        "max stride" => max(MaxPool::new(k).stride(steps)),
        "max padding" => max(MaxPool::new(k).padding(a([1, 1, 0]))),
        "max dilation" => max(MaxPool::new(2).dilation(a([2, 1, 2]))),
        "max ceil" => max(MaxPool::new(2).ceil()),
        "avg stride" => avg(AvgPool::new(k).stride(steps)),
        "avg padding" => avg(AvgPool::new(k)
            .padding(a([1, 1, 0]))
            .divisor(Divisor::Window)),
        "avg ceil" => avg(AvgPool::new(2).ceil()),
        "avg inside" => avg(AvgPool::new(k)
            .padding(a([1, 1, 0]))
            .divisor(Divisor::Inside)),
        "avg fixed" => avg(AvgPool::new(k).divisor(Divisor::Fixed(5.0))),
        "lp cube" => lp(LpPool::new(3.0, k)),
        "lp one" => lp(LpPool::new(1.0, k).stride(if D == 1 { a([2; 3]) } else { steps })),
        "lp ceil" => lp(LpPool::new(2.0, 2).ceil()),
        "adaptive_max sizes" => {
            c.run(&mut AdaptiveMaxPool::<D>::new(a([2, 3, 1])), true, first);
        }
        "adaptive_avg sizes" => {
            c.run(&mut AdaptiveAvgPool::<D>::new(a([2, 3, 1])), true, first);
        }
        "adaptive_avg larger" => c.run(&mut AdaptiveAvgPool::<D>::new(8), true, first),
        "upsample nearest_to" => up(Upsample::to(sizes, Interpolation::Nearest)),
        "upsample exact_to" => up(Upsample::to(sizes, Interpolation::NearestExact)),
        "upsample exact_by" => up(Upsample::by(factors, Interpolation::NearestExact)),
        "upsample nearest_by" => up(Upsample::by(factors, Interpolation::Nearest)),
        "upsample linear_by" => up(Upsample::by(factors, Interpolation::LINEAR)),
        "upsample aligned_by" => up(Upsample::by(factors, ALIGNED)),
        _ => return false,
    }
    true
}

fn wave(x: Var<'_, f64>) -> Var<'_, f64> {
    x.sin() * x.sum_dim([-1], true)
}

pub fn run() {
    for c in cases(POOLS) {
        let (name, d) = c.name.rsplit_once(' ').unwrap_or((&c.name, ""));
        let known = match d {
            "1" => over_axes::<1>(&c, name),
            "2" => over_axes::<2>(&c, name),
            "3" => over_axes::<3>(&c, name),
            _ => false,
        };
        if known {
            continue;
        }
        let up = |m: Upsample<2>| c.run(&mut { m }, true, first);
        match c.name.as_str() {
            "upsample cubic_to 2" => up(Upsample::to([6, 3], Interpolation::CUBIC)),
            "upsample cubic_aligned 2" => up(Upsample::to([6, 3], CUBIC_ALIGNED)),
            "upsample cubic_aligned_by 2" => up(Upsample::by([1.5, 2.0], CUBIC_ALIGNED)),
            "shuffle 3" => c.run(&mut PixelShuffle::new(3), true, first),
            "unshuffle 3" => c.run(&mut PixelUnshuffle::new(3), true, first),
            "flatten start" => c.run(&mut Flatten { start: 0, end: 1 }, true, first),
            "flatten end" => c.run(&mut Flatten { start: 1, end: -2 }, true, first),
            "flatten all" => c.run(&mut Flatten { start: 0, end: -1 }, true, first),
            "unflatten first" => c.run(&mut Unflatten::new(0, [3, 1, 2]), true, first),
            "lambda" => c.run(&mut Lambda::new(wave), true, first),
            name => panic!("no test for case {name}"),
        }
    }
}

/// PyTorch dilates no average and no power windows, and pads no power windows: they are what a convolution with equal weights
/// says, which is compared with PyTorch.
#[test]
fn dilated_average_and_power_windows() {
    use crate::common::{check, rng, sample};
    let x = sample(&[1, 2, 5, 6], 1);
    let mut mean = wengert_nn::Conv2d::<f64>::depthwise(2, 2)
        .dilation([2, 1])
        .padding(1)
        .bias(false)
        .build(&mut rng(1));
    mean.weight
        .set(wengert_autograd::Tensor::full([2, 1, 2, 2], 0.25));
    let same = |what: &str, found: &dyn wengert_nn::Forward<f64>, wanted: Vec<f64>| {
        let found = found.predict(&x).to_vec();
        assert_eq!(found.len(), wanted.len(), "{what}");
        for (a, b) in found.iter().zip(wanted) {
            assert!((a - b).abs() < 1e-12, "{what}: {a} {b}");
        }
    };
    use wengert_nn::Forward;
    let avg = AvgPool::<2>::new(2).stride(1).dilation([2, 1]).padding(1);
    same("average", &avg, mean.predict(&x).to_vec());
    let lp = LpPool::<2>::new(2.0, 2)
        .stride(1)
        .dilation([2, 1])
        .padding(1);
    let squares = mean.predict(&x.map(|v| v * v));
    same("power", &lp, squares.map(|v| (4.0 * v).sqrt()).to_vec());
    let inputs = [x.copy()];
    check("average", &avg, &inputs, true, |m, t, x| {
        first(m, t, x).sin()
    });
    let lp = LpPool::<2>::new(3.0, 2)
        .stride(1)
        .dilation([2, 1])
        .padding(1);
    let inputs = [x.map(|v| v.abs())];
    check("power", &lp, &inputs, true, |m, t, x| first(m, t, x).sin());
}
