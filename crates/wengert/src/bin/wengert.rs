//! The command line of the gradient doctor: `wengert flow`, `compare`, `cure`, `init-report`.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write};
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use wengert::data::{ByteImages, Digits, Error, Labeled, Mnist, csv};
use wengert::flow::init_report;
use wengert::flow::judge::Judge;
use wengert::flow::lab::{
    Cell, Decay, LabData, Net, NetSpec, Remedy, Rule, Samples, SpecError, compare, cure, train,
};
use wengert::flow::profile::{RunProfile, Severity};
use wengert::flow::report::number::pretty;
use wengert::flow::report::{
    check_writable, compare as side_by_side, json, text::Terminal, write_atomic,
};
use wengert::nn::{Activation, Init};
use wengert::prelude::{SeedableRng, Xoshiro256PlusPlus};
use wengert::tensor::error::tells_no_memory;

const HELP: &str = "\
wengert - see, judge and cure the gradients of a network

usage: wengert COMMAND [OPTIONS]

  flow         train a network and say whether every layer learns
  compare      train it as it is and under each --remedy, side by side
  cure         apply what the verdict proposes until the network is healthy
  init-report  look at the weights before training: gains, Jacobian, symmetry
  rules        what is judged, by which thresholds, and why these

The network
  --depth N           layers with weights (4)            --width N    units of a hidden layer (32)
  --activation NAME   relu, tanh, sigmoid, leaky-relu, elu, selu, gelu, silu, identity (relu)
  --init NAME         fit (what fits the activation), he, glorot, lecun, orthogonal, zeros, normal:STD, constant:X (fit)
  --bias X            start of the hidden biases (0)     --dropout P  dropout behind each hidden layer (0)
  --batch-norm        normalize over the batch           --residual   bypass each hidden layer
  --cell NAME         rnn, lstm, gru: a recurrent layer in the place of the first hidden one
  --steps N           time steps that the features are cut into for it (8)

The training (not for init-report)
  --optimizer NAME    sgd, momentum, rmsprop, adam (momentum)
  --lr X              learning rate (0.01)               --schedule NAME  constant, cosine, warmup (constant)
  --clip X            largest norm of the gradient       --clip-value X   largest single gradient
  --l2 X, --l1 X      weight decay, L1 penalty (0)       --activity X     L1 penalty on hidden outputs (0)
  --smoothing X       label smoothing (0)                --max-norm X     largest norm of a unit's weights
  --batch N           samples per step (32)              --epochs N       passes over the data (10)
  --seed N            seed of weights and order (1)      --standardize    inputs of mean 0 and deviation 1

Data
  --data digits       1,437 images of 8x8 pixels, built in (default)
  --data DIR          MNIST's IDX files in a folder, plain or .gz; of one part alone (train or t10k), a fifth is held out
  --data FILE.csv     numbers with commas between them, with or without a heading, plain or .gz; a fifth is held out
  --label COLUMN      of a FILE.csv: name or number of the column with the class, names or whole numbers (the last)

Remedies, for compare (repeat the option; without any: relu, fit, batch-norm, residual, clip=1)
  --remedy relu|tanh|...   --remedy fit|he|...   --remedy batch-norm   --remedy residual   --remedy standardize
  --remedy lr=X  --remedy clip=X  --remedy clip-value=X  --remedy depth=N  --remedy batch=N
  --remedy dropout=P  --remedy l2=X  --remedy l1=X  --remedy activity=X  --remedy smoothing=X  --remedy max-norm=X
  --remedy adam|sgd|momentum|rmsprop  --remedy cosine|warmup  --remedy rnn|lstm|gru

Output
  --json FILE   what was measured, for programs (without FILE, or `-`: on standard output, in the place of the text)
  --html FILE   a page with plots

Try these, from sick to healthy
  wengert flow --activation sigmoid --init normal:0.01 --depth 30     the gradient vanishes
  wengert init-report --activation tanh --init normal:1 --depth 10    every unit starts saturated
  wengert compare --activation sigmoid --depth 12 --remedy relu --remedy residual
  wengert cure --init zeros --activation tanh                         symmetric units, and their cure
  wengert compare --cell rnn --steps 16 --init normal:0.05 --depth 2 --remedy fit --remedy lstm --remedy gru

exit code: 0 healthy, 1 not healthy, 2 the command cannot be understood, its data not be read, its memory not be had or its
  report not be written
  compare: 0 if at least one remedy leads to a healthy network; cure: 0 if the network is healthy at the end; rules: 0";

#[derive(Default)]
struct Options {
    spec: NetSpec,
    data: Option<String>,
    /// Column of the class in a table.
    label: Option<String>,
    remedies: Vec<String>,
    json: Option<String>,
    html: Option<String>,
    /// The options of the training that were given.
    training: Vec<String>,
    /// Whether the number of time steps was given.
    steps: bool,
}

/// Options that say how to train, of which a look before training makes no use.
const TRAINING: [&str; 11] = [
    "--optimizer",
    "--lr",
    "--schedule",
    "--clip",
    "--clip-value",
    "--l2",
    "--l1",
    "--activity",
    "--smoothing",
    "--max-norm",
    "--epochs",
];

/// Refuses options that the command makes no use of.
fn belongs(command: &str, o: &Options) -> Result<(), String> {
    if command != "compare" && !o.remedies.is_empty() {
        return Err(format!("--remedy belongs to compare, not to {command}"));
    }
    let recurrent = o.spec.cell.is_some() || o.remedies.iter().any(|r| cell(r).is_some());
    if o.steps && !recurrent {
        return Err("--steps belongs to --cell, or to a remedy that is a cell".into());
    }
    match o.training.first() {
        Some(name) if command == "init-report" => Err(format!(
            "{name} belongs to flow, compare and cure, not to init-report, which does not train"
        )),
        _ => Ok(()),
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    (text.parse()).map_err(|_| format!("{name}: expected a number, found {text:?}"))
}

fn activation(name: &str) -> Option<Activation> {
    Some(match name {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "leaky-relu" => Activation::LeakyRelu(0.01),
        "elu" => Activation::Elu(1.0),
        "selu" => Activation::Selu,
        "gelu" => Activation::Gelu,
        "silu" => Activation::Silu,
        "identity" => Activation::Identity,
        _ => return None,
    })
}

fn init(text: &str) -> Result<Option<Option<Init>>, String> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    if text.contains(':') && !matches!(name, "normal" | "constant") {
        return Ok(None);
    }
    Ok(Some(match name {
        "fit" => None,
        "he" => Some(Init::he_normal()),
        "glorot" => Some(Init::glorot_normal()),
        "lecun" => Some(Init::LecunNormal),
        "orthogonal" => Some(Init::orthogonal()),
        "zeros" => Some(Init::Zeros),
        "normal" => Some(Init::normal(number("normal", value)?)),
        "constant" => Some(Init::Constant(number("constant", value)?)),
        _ => return Ok(None),
    }))
}

fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "sgd" => Rule::Sgd,
        "momentum" => Rule::Momentum,
        "rmsprop" => Rule::RmsProp,
        "adam" => Rule::Adam,
        _ => return None,
    })
}

fn decay(name: &str) -> Option<Decay> {
    Some(match name {
        "constant" => Decay::Constant,
        "cosine" => Decay::Cosine,
        "warmup" => Decay::Warmup,
        _ => return None,
    })
}

fn cell(name: &str) -> Option<Cell> {
    Some(match name {
        "rnn" => Cell::Rnn,
        "lstm" => Cell::Lstm,
        "gru" => Cell::Gru,
        _ => return None,
    })
}

fn remedy(text: &str, spec: &NetSpec) -> Result<Remedy, String> {
    if let Some(a) = activation(text) {
        return Ok(Remedy::Activation(a));
    }
    if let Some(i) = init(text)? {
        return Ok(Remedy::Init(i));
    }
    if let Some(r) = rule(text) {
        // Rules that scale by the gradient's size take rates of another size.
        let lr = match r {
            Rule::Adam | Rule::RmsProp => 1e-3,
            Rule::Sgd | Rule::Momentum => spec.lr,
        };
        return Ok(Remedy::Optimizer(r, lr));
    }
    if let Some(c) = cell(text) {
        return Ok(Remedy::Cell(c));
    }
    if let Some(d) = decay(text) {
        return Ok(Remedy::Decay(d));
    }
    match text {
        "batch-norm" => return Ok(Remedy::BatchNorm(true)),
        "residual" => return Ok(Remedy::Residual(true)),
        "standardize" => return Ok(Remedy::Standardize),
        _ => {}
    }
    let (name, x) = text.split_once('=').unwrap_or((text, ""));
    Ok(match name {
        "lr" => Remedy::LearningRate(number(name, x)?),
        "clip" => Remedy::Clip(number(name, x)?),
        "clip-value" => Remedy::ClipValue(number(name, x)?),
        "dropout" => Remedy::Dropout(number(name, x)?),
        "l2" => Remedy::L2(number(name, x)?),
        "l1" => Remedy::L1(number(name, x)?),
        "activity" => Remedy::Activity(number(name, x)?),
        "smoothing" => Remedy::Smoothing(number(name, x)?),
        "max-norm" => Remedy::MaxNorm(number(name, x)?),
        "depth" => Remedy::Depth(number(name, x)?),
        "batch" => Remedy::Batch(number(name, x)?),
        _ => return Err(format!("unknown remedy {text:?}")),
    })
}

fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut o = Options::default();
    let mut args = args.peekable();
    while let Some(a) = args.next() {
        let (name, mut given) = match a.split_once('=') {
            Some((n, v)) => (n.to_string(), Some(v.to_string())),
            None => (a.clone(), None),
        };
        let mut value = || {
            // The name of another option is no value.
            let next = || args.next_if(|a| !a.starts_with("--"));
            (given.take().or_else(next)).ok_or_else(|| format!("{name} expects a value"))
        };
        let s = &mut o.spec;
        let unknown = |v: &str| format!("{name}: unknown name {v:?}");
        if TRAINING.contains(&name.as_str()) {
            o.training.push(name.clone());
        }
        match name.as_str() {
            "--depth" => s.depth = number(&name, &value()?)?,
            "--width" => s.width = number(&name, &value()?)?,
            "--activation" => {
                let v = value()?;
                s.activation = activation(&v).ok_or_else(|| unknown(&v))?;
            }
            "--init" => {
                let v = value()?;
                s.init = init(&v)?.ok_or_else(|| unknown(&v))?;
            }
            "--cell" => {
                let v = value()?;
                s.cell = Some(cell(&v).ok_or_else(|| unknown(&v))?);
            }
            "--steps" => {
                s.steps = number(&name, &value()?)?;
                o.steps = true;
            }
            "--bias" => s.bias = number(&name, &value()?)?,
            "--dropout" => s.dropout = number(&name, &value()?)?,
            "--batch-norm" => s.batch_norm = true,
            "--residual" => s.residual = true,
            "--standardize" => s.standardize = true,
            "--optimizer" => {
                let v = value()?;
                s.rule = rule(&v).ok_or_else(|| unknown(&v))?;
            }
            "--lr" => s.lr = number(&name, &value()?)?,
            "--schedule" => {
                let v = value()?;
                s.decay = decay(&v).ok_or_else(|| unknown(&v))?;
            }
            "--clip" => s.clip = Some(number(&name, &value()?)?),
            "--clip-value" => s.clip_value = Some(number(&name, &value()?)?),
            "--l2" => s.l2 = number(&name, &value()?)?,
            "--l1" => s.l1 = number(&name, &value()?)?,
            "--activity" => s.activity = number(&name, &value()?)?,
            "--smoothing" => s.smoothing = number(&name, &value()?)?,
            "--max-norm" => s.max_norm = Some(number(&name, &value()?)?),
            "--batch" => s.batch = number(&name, &value()?)?,
            "--epochs" => s.epochs = number(&name, &value()?)?,
            "--seed" => s.seed = number(&name, &value()?)?,
            "--data" => o.data = Some(value()?),
            "--label" => o.label = Some(value()?),
            "--remedy" => o.remedies.push(value()?),
            "--json" => o.json = Some(value().unwrap_or_else(|_| "-".into())),
            "--html" => o.html = Some(value()?),
            _ => return Err(format!("unknown option {a:?}")),
        }
        if let Some(v) = given {
            return Err(format!("{name} takes no value, found {v:?}"));
        }
    }
    o.spec.check().map_err(|e| e.to_string())?;
    Ok(o)
}

fn samples(l: Labeled) -> Result<Samples, String> {
    let features: usize = l.inputs.shape()[1..].iter().product();
    let flat = l.reshaped(&[features]).map_err(|e| e.to_string())?;
    Ok(Samples {
        inputs: flat.inputs,
        labels: flat.labels,
    })
}

/// Share of the samples that is held out where the data has no part for tests.
const HELD_OUT: f64 = 0.2;

fn text(e: wengert::data::Error) -> String {
    e.to_string()
}

/// MNIST's files; of one part alone a share is held out. With a name that says so.
fn images(path: &str, seed: u64) -> Result<(String, Labeled, Labeled), String> {
    let whole = |b: ByteImages| {
        let scaled = b.normalize(0.1307, 0.3081).map_err(text)?;
        scaled.to_labeled().map_err(text)
    };
    let alone = |part: &str, b: ByteImages| {
        let (train, test) = whole(b)?.split(HELD_OUT, seed).map_err(text)?;
        Ok((
            format!("{path}, {part} alone, a fifth held out"),
            train,
            test,
        ))
    };
    match Mnist::load(path) {
        Ok(m) => Ok((path.into(), whole(m.train)?, whole(m.test)?)),
        // Both files of one part are missing, the other part is whole.
        Err(Error::Missing { files, .. }) if files.len() == 2 && all(&files, "train") => {
            alone("t10k", Mnist::load_test(path).map_err(text)?)
        }
        Err(Error::Missing { files, .. }) if files.len() == 2 && all(&files, "t10k") => {
            alone("train", Mnist::load_train(path).map_err(text)?)
        }
        Err(e) => Err(e.to_string()),
    }
}

fn all(files: &[String], part: &str) -> bool {
    files.iter().all(|f| f.starts_with(part))
}

/// A table of numbers and a column of classes, a share of each class held out.
fn table(path: &str, label: Option<&str>, seed: u64) -> Result<(Labeled, Labeled), String> {
    let options = csv::LabelOptions {
        column: label.map(str::to_string),
        ..csv::LabelOptions::default()
    };
    let all = csv::Reader::bare()
        .read_labeled(path, &options)
        .map_err(text)?;
    let rows = all.labels.numel();
    let parts = all.split(HELD_OUT, seed).map_err(text)?;
    if parts.1.labels.numel() == 0 {
        return Err(format!(
            "{path}: {rows} rows, expected enough of each class to hold a fifth out"
        ));
    }
    Ok(parts)
}

fn load(o: &Options) -> Result<LabData, String> {
    let (label, seed) = (o.label.as_deref(), o.spec.seed);
    let file = |p: &str| p != "digits" && !Path::new(p).is_dir();
    if label.is_some() && !o.data.as_deref().is_some_and(file) {
        return Err("--label belongs to --data FILE.csv".into());
    }
    let (name, train, test) = match o.data.as_deref() {
        None | Some("digits") => {
            let d = Digits::load().standardized();
            ("UCI digits, 8x8".to_string(), d.train, d.test)
        }
        Some(path) if Path::new(path).is_dir() => images(path, seed)?,
        Some(path)
            if ["-idx3-", "-idx1-", ".idx3-", ".idx1-"]
                .iter()
                .any(|k| path.contains(k)) =>
        {
            return Err(format!(
                "{path}: of IDX files the folder is given (`--data DIR`)"
            ));
        }
        Some(path) => {
            let (train, test) = table(path, label, seed)?;
            (path.to_string(), train, test)
        }
    };
    let classes = train.classes.max(test.classes);
    LabData::new(name, samples(train)?, samples(test)?, classes).map_err(|e| e.to_string())
}

/// A closed pipe (`wengert flow | head`) is no error.
fn say(text: &str) -> Result<(), String> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e.to_string()),
        _ => Ok(()),
    }
}

/// Text for people, unless standard output belongs to a program.
fn show(o: &Options, text: &str) -> Result<(), String> {
    match o.json.as_deref() {
        Some("-") => Ok(()),
        _ => say(text),
    }
}

fn write(o: &Options, title: &str, runs: &[RunProfile]) -> Result<(), String> {
    match o.json.as_deref() {
        Some("-") => say(json::runs(runs).trim_end())?,
        Some(path) => write_atomic(path, json::runs(runs).as_bytes()).map_err(|e| e.to_string())?,
        None => {}
    }
    if let Some(path) = &o.html {
        (side_by_side::page(title, runs).write(path)).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn well(run: &RunProfile) -> bool {
    run.severity().unwrap_or_default() <= Severity::Note
}

/// The rules with their thresholds.
fn rules() -> String {
    let mut out = String::new();
    for r in Judge::default().rules() {
        out += &format!("{}: {}\n", r.name, r.says);
        for t in &r.thresholds {
            out += &format!("    {} = {}: {}\n", t.name, pretty(t.value), t.why);
        }
    }
    out
}

fn run(command: &str, o: &Options) -> Result<bool, String> {
    if command == "rules" {
        return say(rules().trim_end()).map(|()| true);
    }
    let data = load(o)?;
    let (terminal, judge) = (Terminal::stdout(), Judge::default());
    let text = |e: SpecError| e.to_string();
    match command {
        "flow" => {
            let runs = [train("network", &o.spec, &data, &judge).map_err(text)?];
            show(o, &side_by_side::text(&runs, &terminal))?;
            write(o, "Gradient report", &runs)?;
            Ok(well(&runs[0]))
        }
        "compare" => {
            let names = match &o.remedies[..] {
                [] => ["relu", "fit", "batch-norm", "residual", "clip=1"]
                    .map(String::from)
                    .to_vec(),
                given => given.to_vec(),
            };
            let remedies =
                (names.iter().map(|n| remedy(n, &o.spec))).collect::<Result<Vec<_>, _>>()?;
            let c = compare(&o.spec, &remedies, &data, &judge).map_err(text)?;
            show(o, &c.table().text(&terminal))?;
            show(o, &terminal.wrap(&c.summary(), 0))?;
            write(o, "Remedies compared", &c.runs)?;
            Ok(c.any_healthy())
        }
        "cure" => {
            let c = cure(&o.spec, &data, &judge).map_err(text)?;
            let runs: Vec<RunProfile> = c.steps.iter().map(|s| s.1.clone()).collect();
            show(o, &side_by_side::overview(&runs).text(&terminal))?;
            show(o, &terminal.wrap(&c.summary(), 0))?;
            write(o, "From verdict to cure", &runs)?;
            Ok(c.healthy)
        }
        "init-report" => {
            let data = if o.spec.standardize {
                data.standardized()
            } else {
                data
            };
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(o.spec.seed);
            let features = data.train.inputs.shape()[1];
            let net = Net::new(&o.spec, features, data.classes, &mut rng).map_err(text)?;
            let n = o.spec.batch.min(data.train.labels.numel());
            let rows = data.train.inputs.to_vec()[..n * features].to_vec();
            let batch = wengert::Tensor::from_vec(rows, [n, features]);
            let report = init_report(&net, &batch);
            show(o, &report.text(&terminal))?;
            write(o, "Before training", &[report.run()])?;
            Ok(report.is_healthy())
        }
        _ => unreachable!("commands were checked"),
    }
}

/// As [`run`]; memory that the system refuses is an error as others are.
fn run_within_memory(command: &str, o: &Options) -> Result<bool, String> {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |about| {
        let text = about.payload().downcast_ref::<String>();
        if !text.is_some_and(|t| tells_no_memory(t)) {
            show(about);
        }
    }));
    match panic::catch_unwind(panic::AssertUnwindSafe(|| run(command, o))) {
        Ok(result) => result,
        Err(p) => match p.downcast_ref::<String>() {
            Some(text) if tells_no_memory(text) => Err(text.clone()),
            _ => panic::resume_unwind(p),
        },
    }
}

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(|a| a.into_string());
    let mut args: Vec<String> = match args.collect() {
        Ok(args) => args,
        Err(a) => return refused(&format!("{a:?} is not UTF-8")),
    };
    if args.first().is_some_and(|a| a == "--version" || a == "-V") {
        return match say(concat!("wengert ", env!("CARGO_PKG_VERSION"))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        };
    }
    // The bare word only where a command may stand: a column may have that name.
    let bare = args.iter().take(2).any(|a| a == "help");
    if bare || args.iter().any(|a| a == "--help" || a == "-h") {
        return match say(HELP) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        };
    }
    let known = ["flow", "compare", "cure", "init-report", "rules"];
    let result = match args.first() {
        Some(c) if known.contains(&c.as_str()) => {
            let command = args.remove(0);
            match (command.as_str(), args.first()) {
                ("rules", Some(a)) => Err(format!("rules takes no options, found {a:?}")),
                _ => parse(args.into_iter()).and_then(|o| {
                    belongs(&command, &o)?;
                    // Before the training, not after it.
                    let files = [o.json.as_deref().filter(|f| *f != "-"), o.html.as_deref()];
                    for file in files.into_iter().flatten() {
                        check_writable(file).map_err(|e| e.to_string())?;
                    }
                    run_within_memory(&command, &o)
                }),
            }
        }
        Some(c) => Err(format!("unknown command {c:?}")),
        None => Err("a command is missing".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => refused(&e),
    }
}

fn refused(e: &str) -> ExitCode {
    eprintln!("error: {e}\n`wengert --help` explains the commands.");
    ExitCode::from(2)
}
