use super::*;
use wengert_autograd::{Param, Tape};
use wengert_optim::Sgd;

fn weight(v: &[f64]) -> Param<f64> {
    Param::new(Tensor::from_vec(v.to_vec(), [1, v.len()]))
}

#[test]
fn the_loss_along_a_step_is_the_parabola_it_is() {
    let mut w = weight(&[1.0]);
    let (mut sgd, mut tape) = (Sgd::new(0.75), Tape::training(0));
    let mut monitor = Monitor::every(1).along();
    let x = Tensor::from_vec(vec![1.0], [1, 1]);
    let loss = |tape: &Tape<f64>, w: &Param<f64>| {
        let y = tape.input(&x).linear(tape.param(w), None).square().sum();
        y.item()
    };
    tape.reset();
    let l = tape.input(&x).linear(tape.param(&w), None).square().sum();
    let grads = monitor.backward(l, &w);
    sgd.step(&mut w, &grads);
    monitor.stepped(&w);
    assert!(monitor.wants_loss_after());
    tape.reset();
    let after = loss(&tape, &w);
    monitor.loss_after(&w, after);
    let along = monitor.run().steps[0].facts.along.expect("measured");
    // w: 1 to -1/2 on w².
    assert_eq!(
        (along.slope, along.change, along.length),
        (-3.0, -0.75, 1.5)
    );
    assert_eq!((along.curvature(), along.best()), (2.0, Some(2.0 / 3.0)));
    assert_eq!(monitor.run().steps[0].layers[0].update_ratio, Some(1.5));
}

#[test]
fn noise_comes_from_neighbouring_steps() {
    let mut w = weight(&[0.0, 0.0]);
    let mut tape = Tape::training(0);
    let mut monitor = Monitor::every(2).noise();
    // Gradients (3, 1) and (3, -1) of batches of four samples, at the same weights.
    for k in 0..3 {
        tape.reset();
        let x = Tensor::from_vec([3.0, [1.0, -1.0][k % 2]].repeat(4), [4, 2]);
        let loss = tape.input(&x).linear(tape.param(&w), None).mean();
        let grads = monitor.backward(loss, &w);
        Sgd::new(0.0).step(&mut w, &grads);
        monitor.stepped(&w);
    }
    let noise = monitor.run().steps[0].facts.noise.expect("measured");
    // Mean gradient (3, 0); each is 1 off: per batch variance 2, per sample 8; signal 9 - 1.
    assert_eq!(
        (noise.signal, noise.variance, noise.scale()),
        (8.0, 8.0, 1.0)
    );
    assert!(monitor.run().steps[1].facts.noise.is_none());
}

#[test]
fn only_due_steps_are_measured() {
    let w = weight(&[1.0]);
    let mut tape = Tape::training(0);
    let mut monitor = Monitor::every(3);
    for _ in 0..7 {
        tape.reset();
        let x = tape.input(&Tensor::ones([2, 1]));
        monitor.backward(x.linear(tape.param(&w), None).sum(), &w);
        monitor.stepped(&w);
    }
    let run = monitor.into_run();
    let steps: Vec<u64> = run.steps.iter().map(|s| s.step).collect();
    assert_eq!(steps, [0, 3, 6]);
    assert_eq!(run.curve("step loss").map(|c| c.points.len()), Some(7));
    assert!(
        run.steps
            .iter()
            .all(|s| s.layers[0].update_ratio == Some(0.0))
    );
}

#[test]
fn a_large_weight_of_which_few_rows_move_does_not_stand_still() {
    let mut table = Param::new(Tensor::<f64>::ones([4096, 16]));
    let (mut sgd, mut tape) = (Sgd::new(0.1), Tape::training(0));
    let mut monitor = Monitor::every(1);
    let rows = Tensor::from_vec(vec![1, 2], [2]);
    for _ in 0..2 {
        tape.reset();
        let x = tape.param(&table).index_select(0, &rows);
        let grads = monitor.backward(x.square().sum(), &table);
        sgd.step(&mut table, &grads);
        monitor.stepped(&table);
    }
    let ratio = |k: usize| monitor.steps[k].step.layers[0].update_ratio;
    // The sample holds no row that moved; from then on, all of the table is looked at.
    assert_eq!(ratio(0), None);
    assert!(ratio(1).unwrap() > 0.0);
}

#[test]
fn what_the_recording_is_made_of_is_read_anew_when_it_changes() {
    let w = weight(&[1.0, 2.0]);
    let mut tape = Tape::training(0);
    let mut monitor = Monitor::every(1);
    for k in 0..6 {
        tape.reset();
        let x = tape.input(&Tensor::ones([2, 2]));
        let y = x.linear(tape.param(&w), None);
        let y = if k / 2 % 2 == 0 { y.tanh() } else { y.relu() };
        monitor.backward(y.sum(), &w);
    }
    let run = monitor.run();
    let ops: Vec<&str> = (run.steps.iter())
        .map(|s| s.layers[0].op.as_str())
        .collect();
    assert_eq!(ops, ["tanh", "tanh", "relu", "relu", "tanh", "tanh"]);
}

#[test]
fn a_nan_among_many_inputs_is_found_at_any_step() {
    let w = weight(&[1.0; 64]);
    let mut tape = Tape::training(0);
    let mut monitor = Monitor::every(1);
    for k in 0..3 {
        tape.reset();
        let mut x = vec![0.5; 256 * 64];
        // Between two runs of the sample.
        x[16 * 5 + 200] = if k == 2 { f64::NAN } else { 0.5 };
        let x = tape.input(&Tensor::from_vec(x, [256, 64]));
        monitor.backward(x.linear(tape.param(&w), None).sum(), &w);
    }
    let facts = |k: usize| &monitor.steps[k].step.facts;
    assert_eq!(facts(1).non_finite, None);
    assert_eq!(facts(2).non_finite.as_ref().unwrap().op, "input");
}

fn line_of(location: &str) -> u32 {
    location.split(':').nth(1).unwrap().parse().unwrap()
}

/// Every value of a parameter is looked at, wherever the sample lies, and even where a rectifier hides what came of it.
#[test]
fn one_value_of_a_parameter_that_is_not_finite_is_named_with_operation_and_line() {
    let wave = |n: usize, k: f32| {
        (0..n)
            .map(|i| (i as f32 * k).sin() * 0.3)
            .collect::<Vec<_>>()
    };
    let shapes: [&[usize]; 4] = [&[120, 80], &[120], &[90, 120], &[1, 90]];
    let x = Tensor::from_vec(wave(8 * 80, 1.3), [8, 80]);
    let bads = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (k, which) in bads
        .into_iter()
        .enumerate()
        .flat_map(|b| (0..4).map(move |w| (b, w)))
    {
        let (k, bad) = k;
        let n: usize = shapes[which].iter().product();
        for at in [0, n / 7 + k, n / 2 + 3 * k, n - 1] {
            let fresh = |s: &&[usize]| {
                let v = wave(s.iter().product(), 0.7);
                Param::new(Tensor::from_vec(v, *s))
            };
            let mut model: Vec<Param<f32>> = shapes.iter().map(fresh).collect();
            let (mut sgd, mut tape) = (Sgd::new(1e-3), Tape::training(0));
            let mut monitor = Monitor::every(2);
            let mut lines = [0; 4];
            for step in 0..3 {
                if step == 2 {
                    let mut v = model[which].value().to_vec();
                    v[at] = bad;
                    model[which].set(Tensor::from_vec(v, shapes[which]));
                }
                tape.reset();
                let p = |i: usize| tape.param(&model[i]);
                let x = tape.input(&x);
                let h = x.linear(p(0), None);
                let h = (h + p(1)).relu();
                let h = h.linear(p(2), None).relu();
                let y = h.linear(p(3), None);
                lines = [line!() - 4, line!() - 3, line!() - 2, line!() - 1];
                let grads = monitor.backward(y.square().mean(), &model);
                sgd.step(&mut model, &grads);
                monitor.stepped(&model);
            }
            let told = format!("{bad} at {at} of {which}");
            let steps = &monitor.run().steps;
            assert_eq!(steps[0].facts.non_finite, None, "{told}");
            let first = steps[1].facts.non_finite.as_ref().expect(&told);
            assert_eq!(first.parameter, Some(which.to_string()), "{told}");
            let op = ["matmul", "add"][usize::from(which == 1)];
            assert_eq!((first.op.as_str(), first.backward), (op, false), "{told}");
            assert_eq!(line_of(&first.location), lines[which], "{told}");
            let report = monitor.report();
            let finding = &report.findings()[0];
            assert_eq!(finding.rule, "not finite", "{told}");
            assert_eq!(finding.since, Some(2), "{told}");
            assert_eq!(
                line_of(finding.location.as_ref().unwrap()),
                lines[which],
                "{told}"
            );
            let layer = finding.layer.as_deref().unwrap();
            // A bias is told by its layer where that shows it.
            assert!(
                layer == which.to_string() || (which == 1 && layer == "0"),
                "{told}: {layer}"
            );
        }
    }
}

/// The slope of `√w²` at 0 is not a number: one element of a large gradient, everything else finite.
#[test]
fn one_nan_in_a_gradient_is_named_with_operation_and_line() {
    let x = Tensor::from_fn([4, 90], |i| ((i[0] * 90 + i[1]) as f32).sin());
    for at in [0, 1, 77, 4096, 5000, 90 * 70 - 1] {
        let mut values: Vec<f32> = (0..90 * 70).map(|i| (i as f32).cos() + 1.1).collect();
        let w = Param::new(Tensor::from_vec(values.clone(), [70, 90]));
        let (mut w, mut tape) = (w, Tape::training(0));
        let mut monitor = Monitor::every(1);
        let mut line = 0;
        for step in 0..2 {
            if step == 1 {
                values[at] = 0.0;
                w.set(Tensor::from_vec(values.clone(), [70, 90]));
            }
            tape.reset();
            line = line!() + 1;
            let size = tape.param(&w).square().sqrt();
            monitor.backward(tape.input(&x).linear(size, None).sum(), &w);
            monitor.stepped(&w);
        }
        let steps = &monitor.run().steps;
        assert_eq!(steps[0].facts.non_finite, None);
        assert_eq!(
            steps[1].layers[0].weight_grad.as_ref().unwrap().nan,
            1,
            "{at}"
        );
        let first = steps[1].facts.non_finite.as_ref().unwrap();
        assert_eq!((first.op.as_str(), first.backward), ("sqrt", true), "{at}");
        assert_eq!(line_of(&first.location), line, "{at}");
    }
}

/// What is looked at beside the computation is the same, whichever thread looks at it.
#[test]
fn a_profile_has_the_same_bits_for_any_number_of_threads() {
    let measured = || {
        let wave = |n: usize, k: f32| (0..n).map(|i| (i as f32 * k).sin() * 0.1).collect();
        let layer =
            |i: usize| Param::new(Tensor::from_vec(wave(96 * 96, 0.3 + i as f32), [96, 96]));
        let mut model: Vec<Param<f32>> = (0..8).map(layer).collect();
        let x = Tensor::from_vec(wave(64 * 96, 1.3), [64, 96]);
        let (mut sgd, mut tape) = (Sgd::new(0.1), Tape::training(0));
        let mut monitor = Monitor::every(2);
        for _ in 0..5 {
            tape.reset();
            let mut h = tape.input(&x);
            for p in &model {
                h = h.linear(tape.param(p), None).relu();
            }
            let grads = monitor.backward(h.square().mean(), &model);
            sgd.step(&mut model, &grads);
            monitor.stepped(&model);
        }
        monitor.into_run()
    };
    let run = measured();
    assert_eq!(run.steps.len(), 3);
    assert!(run.steps[2].layers.iter().all(|l| l.update_ratio.is_some()
        && l.weights.is_some()
        && l.weight_grad.is_some()
        && l.activation_grad.is_some()
        && l.activation.as_ref().is_some_and(|a| a.histogram.is_some())));
    assert_eq!(run, wengert_tensor::parallel::alone(measured));
}

/// A weight without a gradient of what its layer reads is looked at itself.
#[test]
fn an_infinite_weight_behind_a_cut_is_found() {
    let wave = |n: usize| (0..n).map(|i| (i as f64).sin()).collect();
    let mut model: Vec<Param<f64>> = (0..2)
        .map(|_| Param::new(Tensor::from_vec(wave(64 * 64), [64, 64])))
        .collect();
    let x = Tensor::ones([8, 64]);
    for cut in [false, true] {
        let mut tape = Tape::training(0);
        let mut monitor = Monitor::every(1);
        for step in 0..2 {
            let mut v: Vec<f64> = wave(64 * 64);
            if step == 1 {
                v[777] = f64::NEG_INFINITY;
            }
            model[1].set(Tensor::from_vec(v, [64, 64]));
            tape.reset();
            let h = tape.input(&x).linear(tape.param(&model[0]), None).sigmoid();
            let h = if cut { h.detach() } else { h };
            // A sigmoid makes a zero of it.
            let y = h.linear(tape.param(&model[1]), None).sigmoid();
            monitor.backward(y.sum(), &model);
        }
        let facts = |k: usize| monitor.steps[k].step.facts.non_finite.as_ref();
        assert_eq!(facts(0), None);
        let first = facts(1).expect("found");
        assert_eq!(
            (first.op.as_str(), first.parameter.as_deref()),
            ("matmul", Some("1")),
            "{cut}"
        );
    }
}
