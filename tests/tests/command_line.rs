//! The command line `wengert`, run as a program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn wengert(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wengert-under-test"))
        .args(args)
        .output()
        .expect("the program starts")
}

fn code(o: &Output) -> i32 {
    o.status.code().expect("it was not killed")
}

fn out(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).expect("text")
}

fn err(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).expect("text")
}

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("wengert-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn help_teaches() {
    for args in [&["--help"][..], &["flow", "--help"], &["help"]] {
        let o = wengert(args);
        assert_eq!(code(&o), 0);
        for part in [
            "usage:",
            "init-report",
            "--remedy",
            "exit code",
            "Try these",
        ] {
            assert!(out(&o).contains(part), "{part}");
        }
        assert!(out(&o).lines().all(|l| l.chars().count() <= 130));
    }
}

#[test]
fn what_cannot_be_understood_is_said() {
    let cases: [(&[&str], &str); 17] = [
        (&[], "a command is missing"),
        (&["flux"], "unknown command \"flux\""),
        (&["flow", "--depht", "3"], "unknown option \"--depht\""),
        (&["flow", "--depth"], "--depth expects a value"),
        (
            &["flow", "--depth", "many"],
            "expected a number, found \"many\"",
        ),
        (&["flow", "--depth", "0"], "expected 1 to 1000"),
        (
            &["flow", "--html", "--depth", "3"],
            "--html expects a value",
        ),
        (&["flow", "--residual=no"], "--residual takes no value"),
        (&["rules", "--depth", "3"], "rules takes no options"),
        (&["flow", "--remedy", "relu"], "--remedy belongs to compare"),
        (
            &["init-report", "--depth", "3", "--epochs=2"],
            "--epochs belongs to flow, compare and cure, not to init-report",
        ),
        (
            &["init-report", "--lr", "0.1"],
            "--lr belongs to flow, compare and cure",
        ),
        (&["flow", "--json", "x", "y"], "unknown option \"y\""),
        (&["flow", "--lr", "NaN"], "expected a finite rate"),
        (&["flow", "--activation", "rely"], "unknown name \"rely\""),
        (
            &["compare", "--remedy", "prayer"],
            "unknown remedy \"prayer\"",
        ),
        (
            &["flow", "--cell", "rnn", "--steps", "7"],
            "7 steps do not divide 64 features",
        ),
    ];
    for (args, message) in cases {
        let o = wengert(args);
        assert_eq!(code(&o), 2, "{args:?}");
        assert!(err(&o).contains(message), "{args:?}: {}", err(&o));
        assert!(out(&o).is_empty(), "{args:?}");
    }
}

#[test]
fn data_that_cannot_be_read_is_named() {
    let folder = Folder::new("data");
    let cut = folder.file("train-images-idx3-ubyte");
    std::fs::write(&cut, [0, 0, 8, 3, 0, 0]).expect("written");
    let csv = folder.file("broken.csv");
    std::fs::write(&csv, "a,b,class\n1,2,0\n1,x,1\n").expect("written");
    for (data, part) in [
        ("/nowhere/at/all".to_string(), "/nowhere/at/all"),
        (text(&folder.0).to_string(), "idx"),
        (text(&csv).to_string(), "broken.csv"),
    ] {
        let o = wengert(&["flow", "--data", &data]);
        assert_eq!(code(&o), 2, "{}", err(&o));
        assert!(err(&o).contains(part), "{}", err(&o));
    }
}

#[test]
fn a_healthy_network_exits_with_0_and_a_sick_one_with_1() {
    let folder = Folder::new("flow");
    let (json, html) = (folder.file("r.json"), folder.file("r.html"));
    let o = wengert(&[
        "flow",
        "--epochs",
        "3",
        "--lr",
        "0.02",
        "--json",
        text(&json),
        "--html",
        text(&html),
    ]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(out(&o).contains("layers are alive") && out(&o).contains("hidden.0.linear"));
    let j = std::fs::read_to_string(&json).expect("written");
    assert!(j.starts_with(r#"{"schema":"wengert.flow/1""#) && j.contains(r#""along":{"#));
    let page = std::fs::read_to_string(&html).expect("written");
    assert!(
        page.contains("<svg")
            && page.contains("prefers-color-scheme")
            && !page.contains("<script src")
    );

    let o = wengert(&[
        "flow",
        "--epochs",
        "2",
        "--depth",
        "12",
        "--activation",
        "sigmoid",
        "--init",
        "normal:0.01",
    ]);
    assert_eq!(code(&o), 1);
    let words: Vec<String> = out(&o).split_whitespace().map(String::from).collect();
    let said = words.join(" ");
    assert!(
        said.contains("remedy:") && said.contains("times weaker"),
        "{said}"
    );
}

#[test]
fn json_on_standard_output_stands_alone() {
    for args in [
        &["init-report", "--json", "-"][..],
        &["init-report", "--json"],
        &["flow", "--json", "--epochs", "1"],
    ] {
        let o = wengert(args);
        let text = out(&o);
        assert!(text.starts_with('{') && text.ends_with("}\n"), "{args:?}");
        assert_eq!(text.lines().count(), 1, "{args:?}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let o = wengert(&["--version"]);
    assert_eq!((code(&o), err(&o).as_str()), (0, ""));
    assert!(out(&o).starts_with("wengert 0."), "{}", out(&o));
}

#[test]
fn compare_shows_every_remedy() {
    let o = wengert(&[
        "compare",
        "--activation",
        "tanh",
        "--init",
        "normal:0.01",
        "--depth",
        "8",
        "--epochs",
        "4",
        "--lr",
        "0.02",
        "--remedy",
        "fit",
        "--remedy",
        "batch-norm",
        "--remedy",
        "lr=0.001",
    ]);
    assert_eq!(code(&o), 0, "one of them is healthy: {}", out(&o));
    for part in [
        "as it is",
        "vanishing",
        "with batch norm",
        "learning rate 0.001",
        "healthy",
    ] {
        assert!(out(&o).contains(part), "{part}: {}", out(&o));
    }
}

#[test]
fn recurrent_layers_are_judged_over_time() {
    let o = wengert(&[
        "compare",
        "--cell",
        "rnn",
        "--steps",
        "16",
        "--init",
        "normal:0.05",
        "--depth",
        "2",
        "--width",
        "24",
        "--epochs",
        "1",
        "--remedy",
        "lstm",
        "--remedy",
        "fit",
    ]);
    let lines: Vec<String> = out(&o).lines().map(String::from).collect();
    let row = |name: &str| {
        lines
            .iter()
            .find(|l| l.trim_start().starts_with(name))
            .cloned()
            .unwrap_or_default()
    };
    assert!(
        row("as it is").contains("vanishing over time"),
        "{}",
        out(&o)
    );
    for remedy in ["weights that fit", "LSTM"] {
        assert!(row(remedy).contains("healthy"), "{}", out(&o));
    }
}

#[test]
fn every_regularizer_is_a_remedy_of_its_own() {
    let kinds = [
        ("dropout=0.3", "dropout 0.3"),
        ("l2=0.01", "L2 0.01"),
        ("l1=0.003", "L1 0.003"),
        ("activity=0.01", "activity 0.01"),
        ("smoothing=0.2", "label smoothing 0.2"),
        ("max-norm=0.5", "max norm 0.5"),
        ("clip-value=0.001", "values 0.001"),
    ];
    let mut args = vec!["compare", "--epochs", "2", "--depth", "2", "--json", "-"];
    args.extend(kinds.iter().flat_map(|k| ["--remedy", k.0]));
    let o = wengert(&args);
    let text = out(&o);
    // The runs in order, each with the curve of its loss.
    let losses: Vec<&str> = text.split("\"step loss\"").skip(1).collect();
    assert_eq!(losses.len(), kinds.len() + 1, "{}", err(&o));
    for (name, words) in kinds {
        assert!(text.contains(words), "{name}: {words} is not in the set-up");
    }
    // None of them trains as the network does as it is, nor as another.
    let curve = |run: &str| run.chars().take(2000).collect::<String>();
    let curves: std::collections::HashSet<String> = losses.iter().map(|r| curve(r)).collect();
    assert_eq!(curves.len(), kinds.len() + 1);
}

#[test]
fn the_rules_are_listed_with_their_reasons() {
    let o = wengert(&["rules"]);
    assert_eq!(code(&o), 0);
    let rules = wengert::flow::judge::Judge::default();
    assert!(rules.rules().len() >= 16);
    for r in rules.rules() {
        assert!(out(&o).contains(&format!("{}: {}", r.name, r.says)));
        assert!(r.thresholds.iter().all(|t| out(&o).contains(t.why)));
    }
}

#[test]
fn cure_says_what_it_did() {
    let o = wengert(&[
        "cure",
        "--init",
        "zeros",
        "--activation",
        "tanh",
        "--epochs",
        "3",
        "--lr",
        "0.02",
    ]);
    assert_eq!(code(&o), 0, "{}", out(&o));
    assert!(
        out(&o).contains("Healthy after: weights that fit the activation"),
        "{}",
        out(&o)
    );
}

#[test]
fn init_report_looks_before_training() {
    let o = wengert(&[
        "init-report",
        "--activation",
        "tanh",
        "--init",
        "normal:1",
        "--depth",
        "10",
    ]);
    assert_eq!(code(&o), 1);
    for part in [
        "predicted",
        "Jacobian",
        "flat",
        "remedy: start with Init::glorot_normal()",
    ] {
        assert!(out(&o).contains(part), "{part}: {}", out(&o));
    }
    let o = wengert(&["init-report", "--depth", "5", "--json", "-"]);
    assert_eq!(code(&o), 0);
    for part in [
        "largest singular value of the Jacobian",
        "\"predicted gain\"",
        "\"backward_gain\"",
    ] {
        assert!(out(&o).contains(part), "{part}");
    }
}

#[test]
fn a_table_of_numbers_can_be_learnt() {
    let folder = Folder::new("csv");
    let file = folder.file("points.csv");
    let mut rows = String::from("a,b,class\n");
    for i in 0..200 {
        let (a, b) = (
            (f64::from(i) * 0.7).sin() * 1.5,
            (f64::from(i) * 1.3).cos() * 1.5,
        );
        rows += &format!("{a},{b},{}\n", i32::from(a > b));
    }
    std::fs::write(&file, rows).expect("written");
    let o = wengert(&[
        "flow",
        "--data",
        text(&file),
        "--depth",
        "2",
        "--epochs",
        "10",
        "--lr",
        "0.05",
    ]);
    assert_eq!(code(&o), 0, "{}{}", out(&o), err(&o));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wengert-under-test"))
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let o = child.wait_with_output().expect("it ends");
    assert!(err(&o).is_empty(), "{}", err(&o));
}
