//! State by path: save, load, options, sections, all or nothing.

use rand::SeedableRng;
use std::path::{Path, PathBuf};
use wengert_autograd::{Buffer, Module, ModuleExt, Param, Real, Tensor};
use wengert_derive::Module;
use wengert_nn::state::{
    AnyTensor, Checkpoint, LoadOptions, Problem, StateDict, StateError, StateExt, StoredType, Value,
};

#[derive(Module, Clone)]
#[module(crate = wengert_autograd)]
struct Affine<T: Real = f32> {
    weight: Param<T>,
    bias: Option<Param<T>>,
}

#[derive(Module, Clone)]
#[module(crate = wengert_autograd)]
struct Net<T: Real = f32> {
    layers: Vec<Affine<T>>,
    mean: Buffer<T>,
}

/// Values 0, 1, 2, … plus `start`, so that every tensor differs.
fn numbers<T: Real>(shape: &[usize], start: f64) -> Tensor<T> {
    let mut n = start - 1.0;
    Tensor::from_fn(shape, |_| {
        n += 1.0;
        T::from_f64(n)
    })
}

fn net<T: Real>(start: f64) -> Net<T> {
    let affine = |o: usize, i: usize, start| Affine {
        weight: Param::new(numbers(&[o, i], start)),
        bias: Some(Param::new(numbers(&[o], -start))),
    };
    Net {
        layers: vec![affine(3, 2, start), affine(2, 3, start + 10.0)],
        mean: Buffer::new(numbers(&[3], start + 0.5)),
    }
}

fn values<T: Real, M: Module<T>>(m: &M) -> Vec<(String, Vec<f64>)> {
    m.state_dict()
        .iter()
        .map(|(p, t)| (p.to_owned(), t.iter().map(Real::as_f64).collect()))
        .collect()
}

/// A path of this process that is removed at the end.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        Temp(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id())))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn error<T>(r: Result<T, StateError>) -> StateError {
    r.err().expect("an error")
}

#[test]
fn state_dict_is_ordered_and_independent() {
    let mut m = net::<f32>(1.0);
    let state = m.state_dict();
    let names: Vec<&str> = state.iter().map(|e| e.0).collect();
    assert_eq!(
        names,
        [
            "layers.0.weight",
            "layers.0.bias",
            "layers.1.weight",
            "layers.1.bias",
            "mean"
        ]
    );
    m.for_each_param_mut(|_, p| p.value_mut().as_mut_slice().fill(0.0));
    assert_eq!(
        state.get("layers.0.weight").unwrap().to_vec(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    let report = m.load_state_dict(&state, &LoadOptions::strict()).unwrap();
    assert_eq!(report.loaded, names);
    assert_eq!(values(&m), values(&net::<f32>(1.0)));
}

#[test]
fn save_and_load_both_precisions() {
    fn round<T: Real>(name: &str) {
        let file = Temp::new(name);
        let saved = net::<T>(0.1);
        saved.save(&file.0).unwrap();
        let mut m = net::<T>(7.0);
        let ids: Vec<_> = m.named_params().iter().map(|p| p.id).collect();
        m.load(&file.0).unwrap();
        assert_eq!(values(&m), values(&saved));
        let after: Vec<_> = m.named_params().iter().map(|p| p.id).collect();
        assert_eq!(ids, after, "gradients and optimizer state still belong");
        // Saved again: the same bytes.
        let bytes = std::fs::read(&file.0).unwrap();
        m.save(&file.0).unwrap();
        assert_eq!(std::fs::read(&file.0).unwrap(), bytes);
        assert_eq!(m.to_bytes().unwrap(), bytes);
    }
    round::<f32>("f32.safetensors");
    round::<f64>("f64.safetensors");
}

#[test]
fn views_and_special_values_keep_their_bits() {
    let bits = [
        0x7fc0_1234u32,
        0xff80_0000,
        0x8000_0000,
        0x0000_0001,
        0x7fa0_0001,
        0x3f80_0000,
    ];
    let t = Tensor::from_vec(bits.iter().map(|&b| f32::from_bits(b)).collect(), [2, 3]);
    let m = vec![
        Param::new(t.t()),
        Param::new(Tensor::zeros([0, 4])),
        Param::new(Tensor::scalar(2.0)),
    ];
    let bytes = m.to_bytes().unwrap();
    let mut back = vec![
        Param::new(Tensor::zeros([3, 2])),
        Param::new(Tensor::zeros([0, 4])),
        Param::new(Tensor::scalar(0.0)),
    ];
    back.load_bytes(&bytes, &LoadOptions::strict().allow_nan(true))
        .unwrap();
    let found: Vec<u32> = back[0].value().iter().map(f32::to_bits).collect();
    assert_eq!(
        found,
        [bits[0], bits[3], bits[1], bits[4], bits[2], bits[5]]
    );
    assert_eq!(back[2].value().item(), 2.0);
}

#[test]
fn every_difference_is_listed_and_nothing_changes() {
    let mut c = Checkpoint::new();
    c.put_tensor("", "layers.0.weight", Tensor::<f32>::zeros([2, 3]));
    c.put_tensor("", "layers.0.bias", Tensor::<i32>::zeros([3]));
    c.put_tensor(
        "",
        "layers.1.bias",
        Tensor::from_slice(&[f32::NAN, 1.0], [2]),
    );
    c.put_tensor("", "mean", Tensor::<f64>::zeros([3]));
    c.put_tensor("", "head.weight", Tensor::<f32>::zeros([1]));
    c.put_tensor("", "\u{1b}[31m", Tensor::<f32>::zeros([1]));
    let bytes = c.to_bytes().unwrap();
    let mut m = net::<f32>(1.0);
    let e = error(m.load_bytes(&bytes, &LoadOptions::strict()));
    let wrong = e.mismatch().expect("a mismatch");
    assert_eq!(wrong.missing, ["layers.1.weight"]);
    assert_eq!(wrong.extra, ["head.weight", "\u{1b}[31m"]);
    assert_eq!(
        wrong.misshaped,
        [("layers.0.weight".to_owned(), vec![2, 3], vec![3, 2])]
    );
    let types: Vec<_> = wrong
        .mistyped
        .iter()
        .map(|(p, f, e)| (p.as_str(), f.as_str(), e.as_str()))
        .collect();
    assert_eq!(
        types,
        [("layers.0.bias", "I32", "f32"), ("mean", "F64", "f32")]
    );
    assert_eq!(wrong.nan, [("layers.1.bias".to_owned(), 1)]);
    assert_eq!(wrong.len(), 7);
    let text = e.to_string();
    for part in [
        "7 entries do not fit the model, which is unchanged:",
        "missing: layers.1.weight",
        "extra: \\u{1b}[31m",
        "shape: layers.0.weight is [2, 3], the model has [3, 2]",
        "type: mean is F64, the model has f32",
        "NaN: layers.1.bias holds 1",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    assert_eq!(values(&m), values(&net::<f32>(1.0)));

    // Partial loading forgives what is missing or extra, not what is wrong.
    let e = error(m.load_bytes(&bytes, &LoadOptions::partial()));
    assert_eq!(e.mismatch().unwrap().len(), 4);
    assert_eq!(values(&m), values(&net::<f32>(1.0)));
}

#[test]
fn partial_loading_reports() {
    let state = StateDict::new([
        (
            "layers.1.bias".to_owned(),
            Tensor::from_slice(&[5.0f32, 6.0], [2]),
        ),
        ("other".to_owned(), Tensor::zeros([1])),
    ]);
    let mut m = net::<f32>(1.0);
    let report = m.load_state_dict(&state, &LoadOptions::partial()).unwrap();
    assert_eq!(report.loaded, ["layers.1.bias"]);
    assert_eq!(report.extra, ["other"]);
    assert_eq!(
        report.missing,
        [
            "layers.0.weight",
            "layers.0.bias",
            "layers.1.weight",
            "mean"
        ]
    );
    assert_eq!(
        m.layers[1].bias.as_ref().unwrap().value().to_vec(),
        [5.0, 6.0]
    );
    assert_eq!(m.mean.value().to_vec(), [1.5, 2.5, 3.5]);
    assert!(
        m.load_state_dict(&state, &LoadOptions::strict().allow_extra(true))
            .is_err()
    );
    assert!(
        m.load_state_dict(&state, &LoadOptions::strict().allow_missing(true))
            .is_err()
    );
    let twice = StateDict::new([
        ("mean".to_owned(), Tensor::<f32>::zeros([3])),
        ("mean".to_owned(), Tensor::zeros([3])),
    ]);
    let e = error(m.load_state_dict(&twice, &LoadOptions::partial()));
    assert_eq!(e.mismatch().unwrap().ambiguous, ["mean"]);
}

#[test]
fn types_convert_only_without_loss() {
    let single = net::<f32>(0.1);
    let double = net::<f64>(0.1);
    let mut m = net::<f64>(3.0);
    m.load_bytes(&single.to_bytes().unwrap(), &LoadOptions::strict())
        .unwrap();
    assert_eq!(values(&m), values(&single), "widened exactly");

    let mut m = net::<f32>(3.0);
    let bytes = double.to_bytes().unwrap();
    let e = error(m.load_bytes(&bytes, &LoadOptions::strict()));
    assert_eq!(e.mismatch().unwrap().mistyped.len(), 5);
    m.load_bytes(&bytes, &LoadOptions::strict().narrow(true))
        .unwrap();
    assert_eq!(values(&m), values(&single), "0.1 rounded");

    // A counter of PyTorch.
    for (n, fits) in [
        (7i64, true),
        (1 << 24, true),
        ((1 << 24) + 1, false),
        (i64::MAX, false),
        (i64::MIN, true),
    ] {
        let mut c = Checkpoint::new();
        c.put_tensor("", "", Tensor::scalar(n));
        let mut p = Param::new(Tensor::<f32>::scalar(0.0));
        let r = c.load_model("", &mut p, &LoadOptions::strict());
        assert_eq!(r.is_ok(), fits, "{n}");
        assert!(!fits || p.value().item() as i64 == n);
    }
}

#[test]
fn prefixes_and_names() {
    let backbone = net::<f32>(1.0);
    let mut c = Checkpoint::new();
    for (path, t) in backbone.state_dict() {
        c.put_tensor("", &format!("module.features.{path}"), t);
    }
    c.put_tensor("", "module.featuresx.y", Tensor::<f32>::zeros([1]));
    let bytes = c.to_bytes().unwrap();

    let mut whole = (Param::new(Tensor::<f32>::zeros([4])), net::<f32>(50.0));
    let options = LoadOptions::strict()
        .from_prefix("module.features")
        .into_prefix("1");
    let report = whole.load_bytes(&bytes, &options).unwrap();
    assert_eq!(report.loaded.len(), 5);
    assert_eq!(report.ignored, ["module.featuresx.y"]);
    assert!(
        report.missing.is_empty(),
        "the rest of the model is left alone"
    );
    assert_eq!(values(&whole.1), values(&backbone));

    let mut m = net::<f32>(50.0);
    let options = LoadOptions::strict()
        .rename("module.features.layers.*.*", "layers.*.*")
        .rename("module.features.*", "*")
        .map(|name| (name != "module.featuresx.y").then(|| name.to_owned()));
    m.load_bytes(&bytes, &options).unwrap();
    assert_eq!(values(&m), values(&backbone));

    // Patterns: shortest fit, nothing left over, first rule wins.
    let mut c = Checkpoint::new();
    for name in ["a.b.a.b", "conv1.w", "x"] {
        c.put_tensor("", name, Tensor::<f32>::zeros([1]));
    }
    let mut m = vec![Param::new(Tensor::<f32>::zeros([1])); 3];
    let e = error(
        c.load_model(
            "",
            &mut m,
            &LoadOptions::strict()
                .rename("a.*.b", "first-*")
                .rename("a*", "second")
                .rename("conv*.w", "*.weight")
                .rename("x", "y"),
        ),
    );
    assert_eq!(e.mismatch().unwrap().extra, ["first-b.a", "1.weight", "y"]);
}

#[test]
#[should_panic(expected = "has more `*` than")]
fn a_replacement_needs_its_stars() {
    let _ = LoadOptions::strict().rename("a.*", "*.*");
}

#[test]
fn layouts_can_be_adapted() {
    let mut c = Checkpoint::new();
    c.put_tensor("", "w", numbers::<f32>(&[2, 3], 0.0));
    let mut m = vec![Param::new(Tensor::<f32>::zeros([3, 2]))];
    let options = LoadOptions::strict().rename("w", "0").adapt(|path, t| {
        assert_eq!(path, "0");
        match t.get::<f32>() {
            Some(t) => t.t().into(),
            None => t,
        }
    });
    c.load_model("", &mut m, &options).unwrap();
    assert_eq!(m[0].value().to_vec(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[derive(Module, Clone)]
#[module(crate = wengert_autograd)]
struct Other {
    layers: Vec<Affine>,
    mean: Buffer,
}

#[test]
fn another_kind_of_model_is_refused_by_name() {
    let m = net::<f32>(1.0);
    let mut other = Other {
        layers: m.layers.clone(),
        mean: m.mean.clone(),
    };
    let bytes = m.to_bytes().unwrap();
    let e = error(other.load_bytes(&bytes, &LoadOptions::strict()));
    assert!(
        matches!(&e.problem, Problem::Kind { found, expected } if found == "Net" && expected == "Other")
    );
    assert!(
        e.to_string().contains("holds a `Net`, not a `Other`"),
        "{e}"
    );
    other
        .load_bytes(&bytes, &LoadOptions::strict().any_kind(true))
        .unwrap();
    other.load_bytes(&bytes, &LoadOptions::partial()).unwrap();
}

#[test]
fn files_are_named_in_errors() {
    let mut m = net::<f32>(1.0);
    let e = error(m.load("/nowhere/model.safetensors"));
    assert!(
        e.to_string()
            .starts_with("/nowhere/model.safetensors: cannot open: "),
        "{e}"
    );
    assert!(
        error(m.load("/dev/null"))
            .to_string()
            .contains("not a regular file")
    );
    assert!(
        error(m.load("/"))
            .to_string()
            .contains("not a regular file")
    );
}

// ---- checkpoints ----

fn full() -> Checkpoint {
    let mut c = Checkpoint::new();
    c.put_metadata("note", "\"ünï\" \\ \n\u{1}");
    c.put_model("model", &net::<f32>(1.0));
    c.put_tensor(
        "optimizer",
        "layers.0.weight:exp_avg",
        numbers::<f64>(&[3, 2], 0.5),
    );
    c.put_tensor(
        "optimizer",
        "mask",
        Tensor::from_slice(&[true, false, true], [3]),
    );
    c.put_tensor("optimizer", "steps", Tensor::from_slice(&[1i64, -5], [2]));
    c.put_tensor("loader", "order", Tensor::from_slice(&[3i32, 1, 2], [3]));
    c.put_tensor("loader", "bytes", Tensor::from_slice(&[7u8], [1]));
    c.put_value(
        "optimizer",
        Value::map([
            ("step", Value::from(u64::MAX)),
            ("lr", Value::from(0.1)),
            ("nan", Value::from(f64::from_bits(0x7ff8_0000_0000_0001))),
            ("limits", vec![f64::INFINITY, -0.0, 5e-324].into()),
        ]),
    );
    c.put_value("rng", Value::from(vec![1u64, 2, 3, u64::MAX]));
    c
}

#[test]
fn sections_come_back() {
    let file = Temp::new("checkpoint.safetensors");
    let c = full();
    c.save(&file.0).unwrap();
    let d = Checkpoint::load(&file.0).unwrap();
    assert_eq!(d.sections(), ["model", "optimizer", "loader", "rng"]);
    assert_eq!(d.metadata("note"), Some("\"ünï\" \\ \n\u{1}"));
    assert_eq!(d.kind("model"), Some("Net"));
    let names: Vec<&str> = d.tensors("optimizer").map(|t| t.0).collect();
    assert_eq!(names, ["layers.0.weight:exp_avg", "mask", "steps"]);
    assert_eq!(
        d.tensor("optimizer", "mask")
            .unwrap()
            .get::<bool>()
            .unwrap()
            .to_vec(),
        [true, false, true]
    );
    assert_eq!(
        d.tensor("optimizer", "steps")
            .unwrap()
            .get::<i64>()
            .unwrap()
            .to_vec(),
        [1, -5]
    );
    assert_eq!(
        d.tensor("loader", "order")
            .unwrap()
            .get::<i32>()
            .unwrap()
            .to_vec(),
        [3, 1, 2]
    );
    assert_eq!(
        d.tensor("loader", "bytes")
            .unwrap()
            .get::<u8>()
            .unwrap()
            .to_vec(),
        [7]
    );
    assert!(d.tensor("loader", "bytes").unwrap().get::<f32>().is_none());
    let v = d.value("optimizer").unwrap();
    assert_eq!(v.get("step").and_then(Value::as_u64), Some(u64::MAX));
    let bits = |v: &Value| v.as_f64().unwrap().to_bits();
    assert_eq!(bits(v.get("nan").unwrap()), 0x7ff8_0000_0000_0001);
    let limits: Vec<u64> = v
        .get("limits")
        .unwrap()
        .as_list()
        .unwrap()
        .iter()
        .map(bits)
        .collect();
    assert_eq!(limits, [f64::INFINITY, -0.0, 5e-324].map(f64::to_bits));
    assert_eq!(
        d.value("rng").unwrap().as_list().unwrap()[3].as_u64(),
        Some(u64::MAX)
    );
    let mut m = net::<f32>(9.0);
    d.load_model("model", &mut m, &LoadOptions::strict())
        .unwrap();
    assert_eq!(values(&m), values(&net::<f32>(1.0)));
    assert_eq!(
        d.to_bytes().unwrap(),
        c.to_bytes().unwrap(),
        "loaded and saved: the same bytes"
    );
    // A model is found in a checkpoint from its section, too.
    assert!(error(m.load(&file.0)).mismatch().is_some());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let refused = |c: &Checkpoint, part: &str| {
        let e = error(c.to_bytes());
        assert!(matches!(e.problem, Problem::Unwritable { .. }));
        assert!(e.to_string().contains(part), "{e}");
    };
    let zeros = || Tensor::<f32>::zeros([1]);
    let mut c = Checkpoint::new();
    c.put_tensor("", "a", zeros());
    c.put_tensor("", "a", zeros());
    refused(&c, "two tensors are named `a`");
    let mut c = Checkpoint::new();
    c.put_tensor("", "a/b", zeros());
    refused(&c, "contains `/`");
    let mut c = Checkpoint::new();
    c.put_tensor("", "__metadata__", zeros());
    refused(&c, "reserved");
    let mut c = Checkpoint::new();
    c.put_tensor("a b", "c", zeros());
    refused(&c, "section `a b`");
    let mut c = Checkpoint::new();
    c.put_metadata("wengert.format", "1");
    refused(&c, "`wengert.format` is reserved");
    let mut c = Checkpoint::new();
    c.put_value("a", Value::map([("x", Value::Null), ("x", Value::Null)]));
    refused(&c, "occurs twice");
    let mut c = Checkpoint::new();
    c.put_value("a", Value::Int(1 << 70));
    refused(&c, "more than 64 bits");
    let mut c = Checkpoint::new();
    c.put_value("a", vec![0.123_456_789; 100_000].into());
    refused(&c, "the limit is 1048576");
    let deep = (0..65).fold(Value::Null, |v, _| Value::List(vec![v]));
    let mut c = Checkpoint::new();
    c.put_value("a", deep);
    refused(&c, "nested deeper");
}

#[test]
fn values_as_text() {
    for (value, text) in [
        (Value::Null, "null"),
        (Value::from(true), "true"),
        (Value::from(i64::MIN), "-9223372036854775808"),
        (Value::from(1e16), "1e16"),
        (Value::from(1.0), "1.0"),
        (Value::from("a\"\\\n\u{7}é"), "\"a\\\"\\\\\\n\\u0007é\""),
        (Value::List(vec![]), "[]"),
        (Value::Map(vec![]), "{}"),
        (
            Value::from(f64::NEG_INFINITY),
            "{\"$float\":\"fff0000000000000\"}",
        ),
        (Value::from(vec![Some(1u8), None]), "[1,null]"),
    ] {
        assert_eq!(value.to_json().unwrap(), text);
        assert_eq!(Value::from_json(text).unwrap(), value);
    }
    assert_eq!(
        Value::from_json(" { \"a\" : [ 1 , 2.5e1 , \"\\ud83d\\ude00\\/\" ] } ").unwrap(),
        Value::map([(
            "a",
            Value::List(vec![1u8.into(), 25.0.into(), "😀/".into()])
        )])
    );
    for (text, at) in [
        ("", 0),
        ("nul", 0),
        ("1 2", 2),
        ("01", 2),
        ("-", 1),
        ("1e", 2),
        ("1e999", 5),
        (".5", 0),
        ("18446744073709551616", 20),
        ("[1,]", 3),
        ("{\"a\":1,\"a\":2}", 10),
        ("\"\\ud800\"", 1),
        ("\"\\x\"", 1),
        ("\"a", 2),
        ("\"\n\"", 1),
    ] {
        let e = error(Value::from_json(text));
        assert!(
            e.to_string().starts_with(&format!("byte {at}: ")),
            "{text:?}: {e}"
        );
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        error(Value::from_json(&deep))
            .to_string()
            .contains("nested deeper")
    );
}

// ---- other programs ----

#[test]
fn golden_file() {
    // Read with Python once: see `tests/data/README.md`.
    let golden = include_bytes!("data/golden.safetensors");
    assert_eq!(
        full().to_bytes().unwrap(),
        golden,
        "the layout of version 1 is fixed"
    );
    let c = Checkpoint::from_bytes(golden).unwrap();
    assert_eq!(c.tensors("model").count(), 5);
}

/// Written by safetensors.torch, with `num_batches_tracked`, half precision, and a type that has no tensor here.
#[test]
fn a_file_of_pytorch() {
    let bytes = include_bytes!("data/torch.safetensors");
    let c = Checkpoint::from_bytes(bytes).unwrap();
    assert_eq!(c.metadata("format"), Some("pt"));
    let half = c.tensor("", "half").unwrap().get::<f32>().unwrap().to_vec();
    let expected = [
        1.0,
        -2.5,
        65504.0,
        5.960_464_5e-8,
        0.0,
        f32::INFINITY,
        6.097_555e-5,
    ];
    assert_eq!(half, expected);
    let brain = c
        .tensor("", "brain")
        .unwrap()
        .get::<f32>()
        .unwrap()
        .to_vec();
    assert_eq!(brain, [1.0, -2.5, 3.389_531_4e38, 0.0, f32::NEG_INFINITY]);
    assert_eq!(c.tensor("", "small").unwrap().dtype(), StoredType::I8);
    assert!(
        matches!(c.tensor("", "small").unwrap(), AnyTensor::Other { bytes, .. } if *bytes == [255, 2])
    );

    #[derive(Module)]
    #[module(crate = wengert_autograd)]
    struct Norm {
        weight: Param,
        bias: Param,
        running_mean: Buffer,
        running_var: Buffer,
    }
    let mut m = Norm {
        weight: Param::new(Tensor::zeros([2])),
        bias: Param::new(Tensor::zeros([2])),
        running_mean: Buffer::new(Tensor::zeros([2])),
        running_var: Buffer::new(Tensor::zeros([2])),
    };
    let report = m
        .load_bytes(bytes, &LoadOptions::pytorch().from_prefix("bn"))
        .unwrap();
    assert_eq!(report.loaded.len(), 4);
    assert!(
        report
            .ignored
            .contains(&"bn.num_batches_tracked".to_owned())
    );
    assert_eq!(m.weight.value().to_vec(), [1.5, 2.5]);
    assert_eq!(m.running_var.value().to_vec(), [1.0, 1.0]);
}

/// Convolutions, norms, recurrent layers, attention, written by PyTorch (`reference/torch_layers.py`): the same names and
/// layouts; weight norm by renaming, a transposed weight by adaption. The net computes what PyTorch's did.
#[test]
fn layers_of_pytorch() {
    use wengert_nn::{
        BatchNorm2d, Conv2d, ConvTranspose2d, Forward, Gru, LayerNorm, Linear, Lstm,
        MultiHeadAttention, WeightNorm,
    };
    #[derive(Module)]
    #[module(crate = wengert_autograd, float = f32)]
    struct Layers {
        conv: Conv2d,
        bn: BatchNorm2d,
        up: ConvTranspose2d,
        lstm: Lstm,
        gru: Gru,
        norm: LayerNorm,
        attention: MultiHeadAttention,
        fc: WeightNorm<Linear>,
        dense: Linear,
    }
    impl Forward for Layers {
        fn forward<'t>(&self, x: wengert_autograd::Var<'t>) -> wengert_autograd::Var<'t> {
            let h = self.bn.forward(self.conv.forward(x)).relu();
            let h = self.up.forward(h).mean_dim(1, false);
            let h = self.gru.forward(self.lstm.forward(h));
            let h = self.attention.forward(self.norm.forward(h));
            self.dense.forward(self.fc.forward(h))
        }
    }
    let r = &mut rand::rngs::Xoshiro256PlusPlus::seed_from_u64(1);
    let mut net = Layers {
        conv: Conv2d::builder(2, 4, 3).padding(1).groups(2).build(r),
        bn: BatchNorm2d::new(4),
        up: ConvTranspose2d::builder(4, 3, 2).stride(2).build(r),
        lstm: Lstm::builder(6, 5)
            .layers(2)
            .bidirectional(true)
            .batch_first(true)
            .build(r),
        gru: Gru::builder(10, 4).batch_first(true).build(r),
        norm: LayerNorm::new(4),
        attention: MultiHeadAttention::new(4, 2, r),
        fc: WeightNorm::new(Linear::new(4, 3, r)),
        dense: Linear::new(3, 2, r),
    };
    let bytes = include_bytes!("data/torch_layers.safetensors");
    let options = LoadOptions::pytorch()
        .rename("fc.parametrizations.weight.original0", "fc.g")
        .rename("fc.parametrizations.weight.original1", "fc.inner.weight")
        .rename("fc.bias", "fc.inner.bias")
        .rename("dense.kernel", "dense.weight")
        .map(|name| (!["x", "y"].contains(&name)).then(|| name.to_owned()))
        .adapt(|path, t| match t.get::<f32>() {
            Some(w) if path == "dense.weight" => w.t().into(),
            _ => t,
        });
    let report = net.load_bytes(bytes, &options).unwrap();
    assert_eq!(report.loaded.len(), 40);
    let c = Checkpoint::from_bytes(bytes).unwrap();
    let tensor = |name: &str| c.tensor("", name).unwrap().get::<f32>().unwrap().clone();
    let (y, expected) = (net.predict(&tensor("x")), tensor("y"));
    assert_eq!(y.shape(), expected.shape());
    for (a, b) in y.iter().zip(expected.iter()) {
        assert!((a - b).abs() < 2e-6 * (1.0 + b.abs()), "{a}, PyTorch {b}");
    }
}
