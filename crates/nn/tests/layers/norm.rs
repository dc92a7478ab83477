//! Norms of activations and weights.

use crate::common::{COMPARED, cases, check, first, note, params, rng, sample, stir, tape};
use wengert_autograd::{Gradients, Module, ModuleExt, Param, Path, Tape, Tensor, VisitorMut};
use wengert_nn::{
    BatchNorm1d, BatchNorm2d, BatchNorm3d, ConvTranspose2d, Forward, GroupNorm, InstanceNorm,
    LayerNorm, Linear, RmsNorm, SpectralNorm, WeightNorm, WeightStandardization,
};

const REFERENCE: &str = include_str!("../reference/norm.txt");

pub fn values_gradients_and_running_statistics_are_pytorchs() {
    let mut seen = 0;
    for c in cases(REFERENCE) {
        seen += 1;
        let r = &mut rng(1);
        match c.name.as_str() {
            "batch1 2" | "batch1 3" => c.run(&mut BatchNorm1d::new(3), true, first),
            "batch2 4" => c.run(&mut BatchNorm2d::new(3), true, first),
            "batch3 5" => c.run(&mut BatchNorm3d::new(3), true, first),
            "batch2 momentum" => {
                let mut m = BatchNorm2d::new(3).with_momentum(0.3).with_eps(1e-2);
                c.run(&mut m, true, first);
            }
            "batch2 cumulative" => {
                c.run(
                    &mut BatchNorm2d::new(3).with_cumulative_average(),
                    true,
                    first,
                );
            }
            "batch2 eval" => {
                let mut m = BatchNorm2d::new(3);
                c.load(&mut m);
                let x = c.inputs();
                c.close("out", &m.predict(&x[0]));
                // The same through a training tape where the statistics are frozen.
                m.set_frozen("running_*", true);
                let tape = tape(true);
                c.close("out", &m.forward(tape.input(&x[0])).value());
            }
            "batch1 plain eval" => {
                let mut m = BatchNorm1d::new(3)
                    .without_affine()
                    .without_running_statistics();
                c.run(&mut m, false, first);
            }
            "layer" => c.run(&mut LayerNorm::new([3, 2]), true, first),
            "layer no bias" => {
                c.run(
                    &mut LayerNorm::new(6).without_bias().with_eps(1e-3),
                    true,
                    first,
                );
            }
            "rms" => c.run(&mut RmsNorm::new(6), true, first),
            "rms plain" => {
                c.run(
                    &mut RmsNorm::new([3, 2]).without_affine().with_eps(1e-3),
                    true,
                    first,
                );
            }
            "group" => c.run(&mut GroupNorm::new(2, 6), true, first),
            "group plain" => {
                c.run(
                    &mut GroupNorm::new(3, 6).without_affine().with_eps(1e-2),
                    true,
                    first,
                );
            }
            "instance" => c.run(&mut InstanceNorm::new(3), true, first),
            "instance running" => {
                let mut m = InstanceNorm::new(3)
                    .with_affine()
                    .with_running_statistics(0.2);
                c.run(&mut m, true, first);
            }
            "instance eval" => {
                let mut m = InstanceNorm::new(3)
                    .with_affine()
                    .with_running_statistics(0.1);
                c.load(&mut m);
                c.close("out", &m.predict(&c.inputs()[0]));
            }
            "weight_norm" => {
                c.run(&mut WeightNorm::new(Linear::new(3, 4, r)), true, first);
            }
            "spectral_norm" => {
                c.run_values(&mut SpectralNorm::new(Linear::new(3, 4, r)), true, first);
            }
            "weight_standardization" => {
                let mut m = WeightStandardization::new(Linear::builder(3, 4).bias(false).build(r));
                let x = c.inputs();
                m.inner.weight.set(x[1].copy());
                let tape = tape(true);
                let v = tape.input(&x[0]);
                let y = m.forward(v);
                c.close("out", &y.value());
                let w = tape.param(&m.inner.weight);
                let [gx, gw] = wengert_autograd::grad((y * tape.input(c.get("cot"))).sum(), [v, w]);
                c.close("grad.in.0", &gx.value());
                c.close("grad.in.1", &gw.value());
                note(&COMPARED, &m);
            }
            name => panic!("{name} is not tested"),
        }
    }
    assert_eq!(seen, 20);
}

pub fn derivatives() {
    let r = &mut rng(2);
    let (flat, image) = (sample(&[4, 3], 1), sample(&[2, 3, 2, 2], 2));
    let mut b1 = BatchNorm1d::new(3);
    stir(&mut b1, 1);
    check("batch norm", &b1, &[flat.copy()], true, first);
    check("batch norm, evaluation", &b1, &[flat.copy()], false, first);
    let mut b2 = BatchNorm2d::new(3).with_cumulative_average();
    stir(&mut b2, 2);
    check("batch norm 2d", &b2, &[image.copy()], true, first);
    let plain = BatchNorm2d::new(3)
        .without_affine()
        .without_running_statistics();
    check("batch norm, plain", &plain, &[image.copy()], true, first);
    check(
        "batch norm, plain, evaluation",
        &plain,
        &[image.copy()],
        false,
        first,
    );
    let mut b3 = BatchNorm3d::new(2).with_momentum(0.5).with_eps(0.1);
    stir(&mut b3, 8);
    let volume = sample(&[2, 2, 2, 1, 2], 4);
    check("batch norm 3d", &b3, &[volume], true, first);
    let mut l = LayerNorm::new([2, 2]);
    stir(&mut l, 3);
    check("layer norm", &l, &[image.copy()], true, first);
    check(
        "layer norm, plain",
        &LayerNorm::new(3).without_affine(),
        &[flat.copy()],
        true,
        first,
    );
    let mut rms = RmsNorm::new([2, 2]);
    stir(&mut rms, 4);
    check("rms norm", &rms, &[image.copy()], true, first);
    let mut g = GroupNorm::new(2, 4);
    stir(&mut g, 5);
    check("group norm", &g, &[sample(&[2, 4, 3], 3)], true, first);
    let plain = GroupNorm::new(2, 4).without_affine();
    check(
        "group norm, plain",
        &plain,
        &[sample(&[2, 4], 3)],
        true,
        first,
    );
    let plain = InstanceNorm::new(3);
    check("instance norm, plain", &plain, &[image.copy()], true, first);
    let mut i = InstanceNorm::new(3)
        .with_affine()
        .with_running_statistics(0.1);
    stir(&mut i, 6);
    check("instance norm", &i, &[image.copy()], true, first);
    check(
        "instance norm, evaluation",
        &i,
        &[image.copy()],
        false,
        first,
    );
    let linear = || Linear::builder(3, 2).build(&mut rng(5));
    let mut w = WeightNorm::new(linear());
    stir(&mut w, 7);
    check("weight norm", &w, &[flat.copy()], true, first);
    check(
        "weight standardization",
        &WeightStandardization::new(linear()),
        &[flat.copy()],
        true,
        first,
    );
    // In evaluation: while training the singular vectors move with the weight, and count as constants.
    let s = SpectralNorm::new(Linear::new(3, 2, r));
    check("spectral norm", &s, &[flat.copy()], false, first);
}

#[test]
fn running_statistics_over_several_steps() {
    for cumulative in [false, true] {
        let mut bn: BatchNorm1d<f64> = BatchNorm1d::new(2);
        if cumulative {
            bn = bn.with_cumulative_average();
        }
        let (mut mean, mut var) = (0.0, 1.0);
        let mut tape = Tape::training(0);
        for step in 0..5 {
            tape.reset();
            let x = sample(&[6, 2], step);
            let column: Vec<f64> = x.to_vec().iter().step_by(2).copied().collect();
            let m = column.iter().sum::<f64>() / 6.0;
            let v = column.iter().map(|c| (c - m).powi(2)).sum::<f64>() / 5.0;
            let share = if cumulative {
                1.0 / (step + 1) as f64
            } else {
                0.1
            };
            mean += share * (m - mean);
            var += share * (v - var);
            let side = bn.forward(tape.input(&x)).sum().backward();
            bn.for_each_buffer_mut(|_, b| {
                if let Some(v) = side.side_output(b.id()) {
                    *b.value_mut() = v.copy();
                }
            });
        }
        let got = bn.running_mean.as_ref().unwrap().value().to_vec()[0];
        assert!((got - mean).abs() < 1e-12, "{got} {mean}");
        let got = bn.running_var.as_ref().unwrap().value().to_vec()[0];
        assert!((got - var).abs() < 1e-12, "{got} {var}");
        assert_eq!(bn.num_batches_tracked.as_ref().unwrap().value().item(), 5.0);
    }
}

#[test]
fn a_frozen_batch_norm_neither_trains_nor_moves() {
    let mut bn: BatchNorm1d<f64> = BatchNorm1d::new(2);
    bn.freeze("*");
    let mut head = Linear::new(2, 1, &mut rng(1));
    let tape = Tape::training(0);
    let y = head.forward(bn.forward(tape.input(&sample(&[6, 2], 1))));
    let g = y.sum().backward();
    assert_eq!(g.side_outputs().count(), 0);
    assert_eq!(g.len(), 2);
    head.freeze("*");
}

#[test]
fn a_large_offset_costs_no_accuracy() {
    let n = 64;
    let x = Tensor::from_fn([n, 3], |i| {
        1e8 + sample(&[n * 3], 4).to_vec()[i[0] * 3 + i[1]]
    });
    let y = BatchNorm1d::<f64>::new(3).with_eps(0.0).without_affine();
    let t = tape(true);
    let y = y.forward(t.input(&x)).value();
    for c in 0..3 {
        let column: Vec<f64> = (0..n).map(|i| x.get(&[i, c])).collect();
        let mean = column.iter().map(|v| v - 1e8).sum::<f64>() / n as f64;
        let var = column.iter().map(|v| (v - 1e8 - mean).powi(2)).sum::<f64>() / n as f64;
        for (i, v) in column.iter().enumerate() {
            let want = (v - 1e8 - mean) / var.sqrt();
            let got: f64 = y.get(&[i, c]);
            assert!(
                (got - want).abs() <= 1e-6 * want.abs().max(0.1),
                "{got} {want}"
            );
        }
    }
}

/// Largest singular value, by a power iteration of its own.
fn spectral(w: &Tensor<f64>) -> f64 {
    let (rows, cols) = (w.shape()[0], w.shape()[1]);
    let mut v = vec![1.0; cols];
    let mut s = 0.0;
    for _ in 0..2000 {
        let u: Vec<f64> = (0..rows)
            .map(|i| (0..cols).map(|j| w.get(&[i, j]) * v[j]).sum())
            .collect();
        v = (0..cols)
            .map(|j| (0..rows).map(|i| w.get(&[i, j]) * u[i]).sum())
            .collect();
        let n = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= n);
        s = n.sqrt();
    }
    s
}

#[test]
fn spectral_norm_converges_to_one() {
    let mut m: SpectralNorm<Linear<f64>, f64> =
        SpectralNorm::new(Linear::builder(5, 4).bias(false).build(&mut rng(3))).with_rounds(200);
    let eye = Tensor::from_fn([5, 5], |i| f64::from(u8::from(i[0] == i[1])));
    let mut tape = Tape::training(0);
    let y = m.forward(tape.input(&eye)).keep();
    let side = y.sum().backward();
    let w = y.value().transpose(0, 1);
    assert!((spectral(&w) - 1.0).abs() < 1e-9);
    m.for_each_buffer_mut(|_, b| *b.value_mut() = side.side_output(b.id()).unwrap().copy());
    tape.reset();
    let w = m.predict(&eye).transpose(0, 1);
    assert!((spectral(&w) - 1.0).abs() < 1e-9);
}

#[test]
fn weight_norm_starts_as_the_layer_itself() {
    let inner: Linear<f64> = Linear::new(3, 4, &mut rng(1));
    let x = sample(&[2, 3], 1);
    let before = inner.predict(&x);
    let m = WeightNorm::new(inner);
    for (a, b) in before.iter().zip(m.predict(&x).iter()) {
        assert!((a - b).abs() < 1e-14);
    }
    let shapes: Vec<_> = params(&m).iter().map(|p| p.shape().to_vec()).collect();
    assert_eq!(shapes, [vec![4, 3], vec![4], vec![4, 1]]);
}

/// With groups an output channel stands at one place of axis 1 in each: it has a norm of its own all the same.
#[test]
fn norms_of_a_grouped_transposed_convolution_are_those_of_its_outputs() {
    let inner = || -> ConvTranspose2d<f64> {
        ConvTranspose2d::builder(4, 6, 2)
            .groups(2)
            .build(&mut rng(1))
    };
    let x = sample(&[2, 4, 3, 3], 1);
    let before = inner().predict(&x);
    let w = inner().weight.value().copy();
    let m = WeightNorm::new(inner());
    assert_eq!(m.g.shape(), [2, 3, 1, 1]);
    for o in 0..6 {
        let (group, place) = (o / 3, o % 3);
        let part = w.narrow(0, 2 * group, 2 * group + 2);
        let part = part.narrow(1, place, place + 1);
        let length = part.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((m.g.value().get(&[group, place, 0, 0]) - length).abs() < 1e-14);
    }
    for (a, b) in before.iter().zip(m.predict(&x).iter()) {
        assert!((a - b).abs() < 1e-14);
    }
    // Another length of one output changes that channel alone; so does another weight where outputs are standardized.
    let changed = |a: Tensor<f64>, b: Tensor<f64>| -> Vec<usize> {
        let differs =
            |o: &usize| a.narrow(1, *o, o + 1).to_vec() != b.narrow(1, *o, o + 1).to_vec();
        (0..6).filter(differs).collect()
    };
    let mut other = m.clone();
    other.g.value_mut().as_mut_slice()[4] *= 2.0;
    assert_eq!(changed(m.predict(&x), other.predict(&x)), [4]);
    let mut other = m.clone();
    other.inner.weight.value_mut().as_mut_slice()[0] += 1.0;
    assert_eq!(changed(m.predict(&x), other.predict(&x)), [0]);
    let m = WeightStandardization::new(inner());
    let mut other = m.clone();
    other.inner.weight.value_mut().as_mut_slice()[0] += 1.0;
    assert_eq!(changed(m.predict(&x), other.predict(&x)), [0]);
    let m = SpectralNorm::new(inner());
    assert_eq!(
        (m.u.value().shape(), m.v.value().shape()),
        (&[6][..], &[8][..])
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    assert!(BatchNorm2d::<f32>::try_new(0).is_err());
    assert!(LayerNorm::<f32>::try_new(()).is_err());
    assert!(LayerNorm::<f32>::try_new([2, 0]).is_err());
    assert!(RmsNorm::<f32>::try_new(0).is_err());
    assert!(GroupNorm::<f32>::try_new(0, 4).is_err());
    let e = GroupNorm::<f32>::try_new(3, 4).err().unwrap().to_string();
    assert_eq!(e, "group_norm: 3 groups do not divide 4 channels");
    assert!(InstanceNorm::<f32>::try_new(0).is_err());
}

#[test]
#[should_panic(expected = "batch_norm1d: expected more than one value per channel while training")]
fn one_value_per_channel_is_refused() {
    let bn: BatchNorm1d = BatchNorm1d::new(3);
    let tape = Tape::training(0);
    bn.forward(tape.input(&Tensor::ones([1, 3])));
}

#[test]
fn one_value_per_channel_is_fine_in_evaluation() {
    let bn: BatchNorm1d = BatchNorm1d::new(3);
    assert_eq!(bn.predict(&Tensor::zeros([1, 3])).to_vec(), [0.0; 3]);
}

#[test]
#[should_panic(
    expected = "batch_norm2d: input of shape [2, 3, 4] does not fit (expected rank 4 with 3 channels"
)]
fn a_wrong_rank_is_refused() {
    let bn: BatchNorm2d = BatchNorm2d::new(3);
    bn.predict(&Tensor::ones([2, 3, 4]));
}

#[test]
#[should_panic(expected = "batch_norm1d: expected a finite eps >= 0, found -1")]
fn a_negative_eps_is_refused() {
    let _ = BatchNorm1d::<f32>::new(3).with_eps(-1.0);
}

#[test]
#[should_panic(expected = "layer_norm: the last axes of an input of shape [2, 4] are not [3]")]
fn layer_norm_refuses_other_sizes() {
    LayerNorm::<f32>::new(3).predict(&Tensor::ones([2, 4]));
}

#[test]
fn kinds_and_names() {
    let bn: BatchNorm2d = BatchNorm2d::new(3);
    assert_eq!(bn.kind(), "BatchNorm2d");
    let names: Vec<String> = bn.named_buffers().into_iter().map(|b| b.path).collect();
    assert_eq!(
        names,
        ["running_mean", "running_var", "num_batches_tracked"]
    );
}

/// Writes the side outputs into the buffers, as an optimizer's step does.
fn follow(m: &mut dyn Module<f64>, side: &Gradients<f64>) {
    struct Write<'a>(&'a Gradients<f64>);
    impl VisitorMut<f64> for Write<'_> {
        fn param(&mut self, _: &str, _: &mut Param<f64>) {}
        fn buffer(&mut self, _: &str, b: &mut wengert_autograd::Buffer<f64>) {
            *b.value_mut() = self.0.side_output(b.id()).expect("moved").clone();
        }
    }
    m.visit_mut(&mut Path::new(), &mut Write(side));
}

/// A layer used twice in one recording is where two recordings, one after the other, would be.
fn used_twice<M: Module<f64> + Forward<f64> + Clone>(mut once: M, inputs: [Tensor<f64>; 2]) {
    let mut twice = once.clone();
    let mut last = Tensor::zeros([0]);
    for x in &inputs {
        let tape = tape(true);
        let x = tape.param(&Param::new(x.clone()));
        let y = once.forward(x).keep();
        let side = y.sum().backward();
        last = y.value().copy();
        follow(&mut once, &side);
    }
    let tape = tape(true);
    let [a, b] = inputs.map(|x| twice.forward(tape.param(&Param::new(x))).keep());
    let side = (a.sum() + b.sum()).backward();
    assert_eq!(b.value().to_vec(), last.to_vec(), "{}", once.kind());
    let moved = side.side_outputs().count();
    follow(&mut twice, &side);
    let buffers = |m: &M| {
        let mut all = Vec::new();
        m.for_each_buffer(|path, b| all.push((path.to_owned(), b.value().to_vec())));
        all
    };
    assert_eq!(moved, buffers(&once).len());
    assert_eq!(buffers(&twice), buffers(&once), "{}", once.kind());
}

#[test]
fn a_layer_used_twice_follows_twice() {
    let inputs = || [sample(&[4, 3, 5], 1), sample(&[2, 3, 4], 2)];
    used_twice(BatchNorm1d::new(3), inputs());
    used_twice(BatchNorm1d::new(3).with_cumulative_average(), inputs());
    used_twice(InstanceNorm::new(3).with_running_statistics(0.3), inputs());
    let inner = || Linear::new(3, 4, &mut rng(1));
    let inputs = [sample(&[4, 3], 1), sample(&[2, 3], 2)];
    used_twice(SpectralNorm::new(inner()), inputs);
}

#[test]
fn no_samples_leave_running_statistics_alone() {
    let norm = InstanceNorm::new(2).with_running_statistics(0.1);
    let tape = tape(true);
    let x = tape.param(&Param::new(Tensor::zeros([0, 2, 3])));
    let side = norm.forward(x).sum().backward();
    assert_eq!(side.side_outputs().count(), 0);
}
