//! Linear, bilinear, embedding, activations, containers, dropout.

use crate::common::{cases, check, params, rng, sample, stir, tape};
use wengert_autograd::{Module, ModuleExt, Param, Tape, Tensor, Var};
use wengert_derive::Module;
use wengert_nn::{
    Activation, AlphaDropout, Bilinear, ClassicDropout, DenseSkip, DropPath, Dropout, Embedding,
    Flatten, Forward, GaussianDropout, GaussianNoise, Highway, Init, Lambda, LayerScale, Linear,
    Nonlinearity, Prelu, ReZero, Residual, Sequential, SequentialBuilder, SkipInit, SpatialDropout,
    SqueezeExcite, Unflatten,
};

const REFERENCE: &str = include_str!("../reference/basic.txt");

fn activations() -> Vec<Activation> {
    use Activation::*;
    vec![
        Identity,
        Relu,
        Relu6,
        LeakyRelu(0.2),
        Elu(0.7),
        Celu(1.3),
        Selu,
        Gelu,
        GeluTanh,
        Silu,
        Mish,
        Sigmoid,
        LogSigmoid,
        HardSigmoid,
        HardSwish,
        Tanh,
        HardTanh,
        Tanhshrink,
        Softsign,
        Softplus(1.7),
        Squareplus(4.0),
        Softshrink(0.3),
        Hardshrink(0.3),
        Threshold {
            threshold: 0.1,
            value: -0.5,
        },
        Softmax(-1),
        LogSoftmax(-1),
        Glu(-1),
    ]
}

/// Whether an activation has this name.
pub fn is_activation(name: &str) -> bool {
    activations().iter().any(|a| Module::<f64>::kind(a) == name)
}

/// Whether a text names every activation.
pub fn all_activations_in(text: &str) -> bool {
    activations()
        .iter()
        .all(|a| text.contains(&format!("`{}`", Module::<f64>::kind(a))))
}

pub fn values_and_gradients_are_pytorchs() {
    let mut seen = 0;
    for case in cases(REFERENCE) {
        seen += 1;
        let r = &mut rng(1);
        match case.name.as_str() {
            "linear" => case.run(&mut Linear::new(3, 4, r), true, |m, _, x| m.forward(x[0])),
            "linear_no_bias" => {
                let mut m = Linear::builder(3, 4).bias(false).build(r);
                case.run(&mut m, true, |m, _, x| m.forward(x[0]));
            }
            "bilinear" => {
                case.run(&mut Bilinear::new(3, 2, 4, r), true, |m, _, x| {
                    m.forward(x[0], x[1])
                });
            }
            "embedding" => {
                let ids = case.ints("ids");
                case.run(&mut Embedding::new(6, 3, r), true, |m, tape, _| {
                    m.lookup(tape, &ids)
                });
            }
            "embedding_padding" => {
                let ids = case.ints("ids");
                let mut m = Embedding::builder(6, 3).padding(4).build(r);
                // PyTorch gives the row no gradient, finite differences see it.
                case.run_values(&mut m, true, |m, tape, _| m.lookup(tape, &ids));
            }
            "prelu" => case.run(&mut Prelu::new(), true, |m, _, x| m.forward(x[0])),
            "prelu_channels" => {
                case.run(&mut Prelu::with(3, 0.1), true, |m, _, x| m.forward(x[0]));
            }
            name => {
                let kind = name.strip_prefix("act ").expect("an activation");
                let mut a = *(activations().iter())
                    .find(|a| Module::<f64>::kind(*a) == kind)
                    .unwrap_or_else(|| panic!("no activation {kind}"));
                case.run(&mut a, true, |a, _, x| match a {
                    Activation::Relu6 => a.forward(x[0] * 4.0),
                    _ => a.forward(x[0]),
                });
            }
        }
    }
    assert_eq!(seen, 7 + activations().len());
}

pub fn derivatives() {
    let r = &mut rng(2);
    let x = sample(&[2, 3], 1);
    fn first<'t, M: Forward<f64>>(m: &M, _: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Var<'t, f64> {
        // A curved function behind, so that second derivatives are not all zero.
        m.forward(x[0]).tanh()
    }
    check("linear", &Linear::new(3, 4, r), &[x.copy()], true, first);
    let bare = Linear::builder(3, 4).bias(false).build(r);
    check("linear, no bias", &bare, &[x.copy()], true, first);
    check("flatten", &Flatten::new(), &[x.copy()], true, first);
    let cut = Unflatten::new(1, [3, 1]);
    check("unflatten", &cut, &[x.copy()], true, first);
    let cube = Lambda::new(|x: Var<'_, f64>| x.powi(3));
    check("lambda", &cube, &[x.copy()], true, first);
    check(
        "bilinear",
        &Bilinear::new(3, 2, 2, r),
        &[x.copy(), sample(&[2, 2], 3)],
        true,
        |m, _, x| m.forward(x[0], x[1]).tanh(),
    );
    let ids = Tensor::from_vec(vec![1, 0, 1], [3]);
    check(
        "embedding",
        &Embedding::new(3, 2, r),
        &[],
        true,
        |m, t, _| m.lookup(t, &ids).tanh(),
    );
    check("prelu", &Prelu::with(3, 0.2), &[x.copy()], true, first);
    check("prelu, one slope", &Prelu::new(), &[x.copy()], true, first);
    for a in activations() {
        let even = sample(&[3, 4], 5);
        check(Module::<f64>::kind(&a), &a, &[even], true, first);
    }
    let mut res = Residual::new(Linear::new(3, 4, r))
        .with_shortcut(Linear::builder(3, 4).bias(false).build(r))
        .preceded_by(Activation::Tanh)
        .followed_by(Activation::Gelu);
    stir(&mut res, 3);
    check("residual", &res, &[x.copy()], true, first);
    let mut rezero = ReZero::new(Linear::new(3, 3, r));
    stir(&mut rezero, 4);
    check("rezero", &rezero, &[x.copy()], true, first);
    let mut skip = SkipInit::new();
    stir(&mut skip, 5);
    check("skip_init", &skip, &[x.copy()], true, first);
    let mut scale = LayerScale::along(1, 3, 0.1);
    stir(&mut scale, 6);
    check("layer_scale", &scale, &[sample(&[2, 3, 2], 6)], true, first);
    check(
        "highway",
        &Highway::new(3, Activation::Tanh, r),
        &[x.copy()],
        true,
        first,
    );
    check(
        "dense_skip",
        &DenseSkip::new(Linear::new(3, 2, r)),
        &[x.copy()],
        true,
        first,
    );
    check(
        "squeeze_excite",
        &SqueezeExcite::new(4, 2, r),
        &[sample(&[2, 4, 3], 8)],
        true,
        first,
    );
    let seq = Sequential::builder()
        .linear(3, 4)
        .silu()
        .dropout(0.3)
        .linear(4, 2)
        .build(r);
    check("sequential", &seq, &[x.copy()], true, first);
    check("dropout", &Dropout::new(0.4), &[x.copy()], true, first);
    check(
        "classic",
        &ClassicDropout::new(0.4),
        &[x.copy()],
        true,
        first,
    );
    check(
        "classic, evaluation",
        &ClassicDropout::new(0.4),
        &[x.copy()],
        false,
        first,
    );
    check(
        "spatial",
        &SpatialDropout::new(0.4),
        &[sample(&[2, 3, 2], 9)],
        true,
        first,
    );
    check("alpha", &AlphaDropout::new(0.4), &[x.copy()], true, first);
    check("drop path", &DropPath::new(0.4), &[x.copy()], true, first);
    check("noise", &GaussianNoise::new(0.4), &[x.copy()], true, first);
    check(
        "gaussian dropout",
        &GaussianDropout::new(0.4),
        &[x.copy()],
        true,
        first,
    );
}

#[test]
fn the_784_300_100_10_network_has_266_610_parameters() {
    let model: Sequential = Sequential::builder()
        .linear(784, 300)
        .relu()
        .linear(300, 100)
        .relu()
        .linear(100, 10)
        .build(&mut rng(1));
    assert_eq!(model.num_params(), 266_610);
    let paths: Vec<String> = model.named_params().into_iter().map(|p| p.path).collect();
    assert_eq!(
        paths,
        [
            "0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"
        ]
    );
}

#[test]
fn sequential_chooses_initializers_by_what_follows() {
    let model: Sequential = Sequential::builder()
        .linear(10, 20)
        .dropout(0.5)
        .relu()
        .linear(20, 20)
        .tanh()
        .linear(20, 20)
        .selu()
        .then(Linear::builder(20, 20).init(Init::orthogonal()))
        .relu()
        .linear(20, 5)
        .build(&mut rng(1));
    let mut origins = Vec::new();
    model.for_each_param(|path, p| {
        if path.ends_with("weight") {
            origins.push(
                p.origin()
                    .expect("noted")
                    .split(',')
                    .next()
                    .unwrap()
                    .to_owned(),
            );
        }
    });
    assert_eq!(
        origins,
        [
            "he_normal(fan_in)",
            "glorot_uniform",
            "lecun_normal",
            "orthogonal",
            "glorot_uniform"
        ]
    );
    let alone: Linear = Linear::builder(10, 20)
        .followed_by(Nonlinearity::Relu)
        .build(&mut rng(1));
    let mut first = Vec::new();
    model.for_each_param(|path, p| {
        if path == "0.weight" {
            first = p.value().to_vec();
        }
    });
    assert_eq!(first, alone.weight.value().to_vec());
}

#[test]
fn sequential_of_finished_layers_and_names() {
    let mut model: Sequential = Sequential::builder()
        .linear(2, 3)
        .named("first")
        .layer(Lambda::new(|x: Var<'_, f32>| x * 2.0))
        .build(&mut rng(1));
    model.push(Linear::new(3, 1, &mut rng(2)));
    let paths: Vec<String> = model.named_params().into_iter().map(|p| p.path).collect();
    assert_eq!(paths, ["first.weight", "first.bias", "2.weight", "2.bias"]);
    let kinds: Vec<&str> = model.modules().iter().map(|m| m.kind).collect();
    assert_eq!(kinds, ["Sequential", "Linear", "Lambda", "Linear"]);
    assert_eq!(model.len(), 3);
    assert_eq!(model.predict(&Tensor::ones([4, 2])).shape(), [4, 1]);
}

#[test]
fn two_layers_of_a_sequential_never_have_one_name() {
    let clash = Sequential::<f32>::builder()
        .linear(2, 2)
        .named("1")
        .linear(2, 2);
    let e = clash.try_build(&mut rng(1)).err().unwrap().to_string();
    assert_eq!(e, r#"sequential: two layers have the name "1""#);
    let one = || Sequential::<f32>::builder().linear(2, 2).named("1");
    let mut model = one().build(&mut rng(1));
    let push = || model.push(Activation::Relu);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(push)).is_err());
}

#[test]
fn an_activation_given_as_a_layer_chooses_weights() {
    let build = |b: SequentialBuilder<f64>| {
        let mut first = Vec::new();
        b.build(&mut rng(1))
            .for_each_param(|_, p| first.extend(p.value().iter()));
        first
    };
    let linear = || Sequential::<f64>::builder().linear(4, 8);
    for a in [Activation::Relu, Activation::Tanh, Activation::Selu] {
        assert_eq!(build(linear().layer(a)), build(linear().activation(a)));
    }
    assert_eq!(build(linear().layer(Prelu::new())), build(linear().prelu()));
    assert_ne!(build(linear().layer(Activation::Relu)), build(linear()));
}

#[test]
fn slopes_fit_the_channels() {
    let one = Prelu::<f64>::new().predict(&Tensor::scalar(-2.0));
    assert_eq!((one.shape(), one.item()), (&[][..], -0.5));
    let three = || Prelu::<f64>::with(3, 0.5);
    assert_eq!(
        three().predict(&Tensor::full([3], -2.0)).to_vec(),
        [-1.0; 3]
    );
    for shape in [&[][..], &[1], &[2, 1], &[3, 1]] {
        let run = || three().predict(&Tensor::full(shape, -2.0));
        assert!(std::panic::catch_unwind(run).is_err(), "{shape:?}");
    }
}

#[test]
fn a_clone_is_independent() {
    let model: Sequential<f64> = Sequential::builder().linear(2, 3).relu().build(&mut rng(1));
    let mut other = model.clone();
    assert_eq!(params(&model)[0].to_vec(), params(&other)[0].to_vec());
    stir(&mut other, 1);
    assert_ne!(params(&model)[0].to_vec(), params(&other)[0].to_vec());
    let (a, b) = (model.named_params(), other.named_params());
    assert!(
        a.iter()
            .zip(&b)
            .all(|(a, b)| a.id != b.id && a.path == b.path)
    );
}

#[test]
fn models_of_all_shapes_are_send_and_sync() {
    fn ok<M: Send + Sync>() {}
    ok::<Sequential>();
    ok::<Residual>();
    ok::<Linear<f64>>();
}

#[derive(Module, Clone)]
#[module(crate = wengert_autograd, float = f64)]
struct Own {
    scale: Param<f64>,
    inner: (Linear<f64>, Activation, Vec<Linear<f64>>),
}

impl Forward<f64> for Own {
    fn forward<'t>(&self, x: Var<'t, f64>) -> Var<'t, f64> {
        self.inner.forward(x) * x.tape().param(&self.scale)
    }
}

#[test]
fn own_layers_hold_tuples_and_vectors() {
    let r = &mut rng(1);
    let own = Own {
        scale: Param::new(sample(&[1], 1)),
        inner: (
            Linear::new(2, 3, r),
            Activation::Silu,
            vec![Linear::new(3, 3, r), Linear::new(3, 2, r)],
        ),
    };
    let paths: Vec<String> = own.named_params().into_iter().map(|p| p.path).collect();
    assert_eq!(paths[0], "scale");
    assert_eq!(paths[1], "inner.0.weight");
    assert_eq!(paths[5], "inner.2.1.weight");
    check("own", &own, &[sample(&[2, 2], 3)], true, |m, _, x| {
        m.forward(x[0])
    });
    let boxed = Sequential::builder().layer(own).build(r);
    assert_eq!(boxed.predict(&sample(&[2, 2], 3)).shape(), [2, 2]);
}

#[test]
fn shapes() {
    let x = Tensor::<f32>::ones([2, 3, 4]);
    assert_eq!(Flatten::new().predict(&x).shape(), [2, 12]);
    assert_eq!(Unflatten::new(-1, [2, 2]).predict(&x).shape(), [2, 3, 2, 2]);
    assert_eq!(Unflatten::new(1, [3, 1]).predict(&x).shape(), [2, 3, 1, 4]);
}

/// Share of zeros, mean and variance of a layer's output on ones.
fn statistics(layer: &dyn Forward<f64>, training: bool, shape: &[usize]) -> (f64, f64, f64) {
    let tape = tape(training);
    let y = layer
        .forward(tape.input(&Tensor::ones(shape)))
        .value()
        .to_vec();
    let n = y.len() as f64;
    let zeros = y.iter().filter(|v| **v == 0.0).count() as f64 / n;
    let mean = y.iter().sum::<f64>() / n;
    let var = y.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (zeros, mean, var)
}

#[test]
fn dropout_has_the_moments_it_promises() {
    let shape = [100, 1000];
    let near = |a: f64, b: f64, e: f64| assert!((a - b).abs() < e, "{a} is not {b}");
    let (zeros, mean, _) = statistics(&Dropout::new(0.3), true, &shape);
    near(zeros, 0.3, 0.01);
    near(mean, 1.0, 0.01);
    assert_eq!(
        statistics(&Dropout::new(0.3), false, &shape),
        (0.0, 1.0, 0.0)
    );
    assert_eq!(statistics(&Dropout::new(1.0), true, &shape).0, 1.0);
    let (zeros, mean, _) = statistics(&ClassicDropout::new(0.3), true, &shape);
    near(zeros, 0.3, 0.01);
    near(mean, 0.7, 0.01);
    let (zeros, mean, var) = statistics(&ClassicDropout::new(0.3), false, &shape);
    near(mean, 0.7, 1e-9);
    assert!(zeros == 0.0 && var < 1e-20);
    let (_, mean, var) = statistics(&GaussianDropout::new(0.5), true, &shape);
    near(mean, 1.0, 0.02);
    near(var, 1.0, 0.03);
    let (_, mean, var) = statistics(&GaussianNoise::new(0.5), true, &shape);
    near(mean, 1.0, 0.01);
    near(var, 0.25, 0.01);
    assert_eq!(statistics(&GaussianNoise::new(0.5), false, &shape).2, 0.0);
    let (zeros, ..) = statistics(&SpatialDropout::new(0.3), true, &[100, 100, 5]);
    near(zeros, 0.3, 0.02);
    let (zeros, ..) = statistics(&DropPath::new(0.3), true, &[10_000, 3]);
    near(zeros, 0.3, 0.02);
    // Channels and samples go as a whole.
    let tape = tape(true);
    let y = SpatialDropout::new(0.5).forward(tape.input(&Tensor::<f64>::ones([4, 5, 6])));
    for c in y.value().to_vec().chunks(6) {
        assert!(c.iter().all(|v| *v == c[0]));
    }
    let y = DropPath::new(0.5).forward(tape.input(&Tensor::<f64>::ones([4, 5, 6])));
    for c in y.value().to_vec().chunks(30) {
        assert!(c.iter().all(|v| *v == c[0]));
    }
    assert_eq!(DropPath::rates(3, 0.2), [0.0, 0.1, 0.2]);
    assert_eq!(DropPath::rates(1, 0.2), [0.0]);
}

#[test]
fn alpha_dropout_keeps_mean_and_variance_of_normal_input() {
    let tape = tape(true);
    let x = tape.normal([200, 1000], 0.0, 1.0);
    let y = AlphaDropout::new(0.2).forward(x).value().to_vec();
    let n = y.len() as f64;
    let mean = y.iter().sum::<f64>() / n;
    let var = y.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    assert!(
        mean.abs() < 0.02 && (var - 1.0).abs() < 0.02,
        "{mean} {var}"
    );
}

#[test]
fn blocks_that_start_as_the_identity() {
    let r = &mut rng(1);
    let x = sample(&[2, 3], 1);
    let rezero = ReZero::new(Linear::new(3, 3, r));
    assert_eq!(rezero.predict(&x).to_vec(), x.to_vec());
    let skip = Residual::new((Linear::new(3, 3, r), SkipInit::new()));
    assert_eq!(skip.predict(&x).to_vec(), x.to_vec());
}

#[test]
fn the_padding_row_gets_no_gradient() {
    let m: Embedding = Embedding::builder(4, 2).padding(1).build(&mut rng(1));
    assert_eq!(&m.weight.value().to_vec()[2..4], [0.0, 0.0]);
    let tape = Tape::training(0);
    let g = m
        .lookup(&tape, &Tensor::from_vec(vec![1, 2, 1], [3]))
        .sum()
        .backward();
    assert_eq!(
        g.get(&m.weight).unwrap().to_vec(),
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let r = &mut rng(1);
    let e = Linear::<f32>::builder(0, 3)
        .try_build(r)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        e,
        "linear: expected a number of inputs of at least 1, found 0"
    );
    assert!(Linear::<f32>::builder(3, 0).try_build(r).is_err());
    assert!(Bilinear::<f32>::builder(3, 0, 1).try_build(r).is_err());
    assert!(Embedding::<f32>::builder(3, 0).try_build(r).is_err());
    assert!(
        Embedding::<f32>::builder(3, 2)
            .padding(3)
            .try_build(r)
            .is_err()
    );
    assert!(Embedding::<f32>::from_rows(Tensor::zeros([0, 2])).is_err());
    assert!(Prelu::<f32>::try_with(0, 0.1).is_err());
    for p in [-0.1, 1.5, f64::NAN] {
        let e = Dropout::try_new(p).err().unwrap().to_string();
        assert!(
            e.starts_with("dropout: expected a probability in [0, 1]"),
            "{e}"
        );
        assert!(ClassicDropout::try_new(p).is_err());
        assert!(DropPath::try_new(p).is_err());
    }
    assert!(Dropout::try_new(1.0).is_ok());
    assert!(GaussianNoise::try_new(-1.0).is_err());
    assert!(GaussianNoise::try_new(f64::INFINITY).is_err());
    assert!(Highway::<f32>::try_with(3, Activation::Tanh, f64::NAN, r).is_err());
}

#[test]
#[should_panic(expected = "linear: input of shape [2, 4] does not fit a weight of shape [3, 5]")]
fn a_wrong_input_is_refused_with_both_shapes() {
    let m: Linear = Linear::new(5, 3, &mut rng(1));
    m.predict(&Tensor::ones([2, 4]));
}

#[test]
#[should_panic(expected = "residual: the branch gives shape [2, 3], the way past it [2, 4]")]
fn a_residual_that_changes_the_shape_needs_a_projection() {
    let m: Residual = Residual::new(Linear::new(4, 3, &mut rng(1)));
    m.predict(&Tensor::ones([2, 4]));
}

#[test]
fn errors_point_at_the_callers_line() {
    let m: Linear = Linear::new(5, 3, &mut rng(1));
    let tape = Tape::training(0);
    let x = tape.input(&Tensor::ones([2, 5]));
    let y = m.forward(x);
    let line = line!() - 1;
    assert!(
        format!("{y:?}").ends_with(&format!("basic.rs:{line})")),
        "{y:?}"
    );
}
