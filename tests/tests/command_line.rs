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

/// Three classes of points, 90 rows: two numbers and the name of the class.
fn rows(label: impl Fn(usize) -> String) -> String {
    let point = |i: usize| {
        let (class, spread) = (i % 3, (i as f64 * 0.7).sin() * 0.4);
        format!(
            "{},{},{}\n",
            class as f64 * 1.5 - 1.5 + spread,
            spread,
            label(class)
        )
    };
    (0..90).map(point).collect()
}

#[test]
fn data_that_cannot_be_read_is_named() {
    let folder = Folder::new("data");
    let cut = folder.file("train-images-idx3-ubyte");
    std::fs::write(&cut, [0, 0, 8, 3, 0, 0]).expect("written");
    let good = rows(|c| c.to_string());
    let text_of = |name: &str, contents: &str| {
        let path = folder.file(name);
        std::fs::write(&path, contents).expect("written");
        text(&path).to_string()
    };
    let zipped = text_of("cut.csv.gz", "\u{1f}");
    for (data, part) in [
        (
            "/nowhere/at/all".to_string(),
            "/nowhere/at/all: cannot open",
        ),
        (
            text(&folder.0).to_string(),
            "missing train-labels-idx1-ubyte[.gz], t10k-images",
        ),
        (text(&cut).to_string(), "of IDX files the folder is given"),
        (zipped, "cut.csv.gz"),
        (
            text_of("x.csv", &format!("a,b,class\n1,2,0\n1,x,1\n{good}")),
            "x.csv at line 3, column 2: CSV: \"x\" is not a number",
        ),
        (
            text_of("nan.csv", &format!("a,b,class\nNaN,1,0\n{good}")),
            "nan.csv at line 2, column 1",
        ),
        (
            text_of("hole.csv", &format!("a,b,class\n1,,0\n{good}")),
            "column 2: CSV: an empty field",
        ),
        (
            text_of("ragged.csv", &format!("a,b,class\n1,0\n{good}")),
            "a row of 2 fields, the first row has 3",
        ),
        (text_of("empty.csv", ""), "the file is empty"),
        (
            text_of("heading.csv", "a,b,class\n"),
            "0 rows, expected enough of each class",
        ),
        (
            text_of("semi.csv", &good.replace(',', ";")),
            "at least two with commas between them (it has semicolons)",
        ),
        (
            text_of("one.csv", &rows(|_| "7".into())),
            "column 3 holds one class, \"7\", expected at least two",
        ),
        (
            text_of("real.csv", &rows(|c| format!("0.{c}5"))),
            "column 3 holds 0.05, expected classes",
        ),
        (
            text_of("none.csv", &good.replace(",2\n", ",\n")),
            "column 3, row 3: no class",
        ),
        (
            text_of("few.csv", "a,class\n1,x\n2,y\n3,z\n"),
            "column 2 has 3 different values in 3 rows",
        ),
    ] {
        let o = wengert(&["flow", "--data", &data]);
        assert_eq!(code(&o), 2, "{data}: {}", err(&o));
        assert!(err(&o).contains(part), "{part}: {}", err(&o));
    }
    let file = text_of("good.csv", &good);
    for (args, part) in [
        (
            &["flow", "--label", "1"][..],
            "--label belongs to --data FILE.csv",
        ),
        (
            &["flow", "--data", &file, "--label", "4"],
            "no column \"4\", expected 1 to 3",
        ),
        (
            &["flow", "--data", &file, "--json", "/no/such/place/r.json"],
            "/no/such/place/r.json",
        ),
    ] {
        let o = wengert(args);
        assert_eq!(code(&o), 2, "{}", err(&o));
        assert!(err(&o).contains(part), "{part}: {}", err(&o));
    }
}

/// With or without a heading, names or numbers as classes, the class in any column: the same network comes out.
#[test]
fn tables_are_read_as_they_come() {
    let folder = Folder::new("tables");
    let run = |name: &str, contents: &str, label: &[&str]| {
        let path = folder.file(name);
        std::fs::write(&path, contents).expect("written");
        let fixed = [
            "flow",
            "--epochs",
            "8",
            "--depth",
            "2",
            "--data",
            text(&path),
        ];
        let o = wengert(&[&fixed[..], label].concat());
        assert_eq!(code(&o), 0, "{name}: {}{}", out(&o), err(&o));
        out(&o)
    };
    let (numbers, names) = (rows(|c| c.to_string()), rows(|c| format!("class {c}")));
    let plain = run("bare.csv", &numbers, &[]);
    for (name, contents) in [
        ("headed.csv", format!("a,b,class\n{numbers}")),
        ("names.csv", format!("a,b,class\n{names}")),
        ("bare names.csv", names),
        (
            "windows.csv",
            format!("\u{feff}a,b,class\r\n{}", numbers.replace('\n', "\r\n")),
        ),
    ] {
        assert_eq!(run(name, &contents, &[]), plain, "{name}");
    }
    let turned: String = (numbers.lines())
        .map(|l| l.rsplit_once(',').expect("a class"))
        .map(|(features, class)| format!("{class},{features}\n"))
        .collect();
    let headed = format!("kind,a,b\n{turned}");
    assert_eq!(run("turned.csv", &headed, &["--label", "kind"]), plain);
    assert_eq!(run("turned.csv", &headed, &["--label", "1"]), plain);
}

/// Folders of IDX files: both parts, or one of which a share is held out.
#[test]
fn images_come_from_a_folder() {
    let folder = Folder::new("images");
    let write = |part: &str, n: u32| {
        let (mut images, mut labels) = (vec![0u8, 0, 8, 3], vec![0u8, 0, 8, 1]);
        for size in [n, 4, 4] {
            images.extend(size.to_be_bytes());
        }
        labels.extend(n.to_be_bytes());
        for i in 0..n {
            let class = (i % 2) as u8;
            images.extend((0..16).map(|p| {
                if (p < 8) == (class == 0) {
                    200
                } else {
                    i as u8
                }
            }));
            labels.push(class);
        }
        for (kind, bytes) in [("images-idx3", images), ("labels-idx1", labels)] {
            let path = folder.file(&format!("{part}-{kind}-ubyte"));
            std::fs::write(path, bytes).expect("written");
        }
    };
    let run = |command: &str| {
        let json = ["--depth", "2", "--json", "-", "--data", text(&folder.0)];
        let epochs: &[&str] = if command == "init-report" {
            &[]
        } else {
            &["--epochs", "5"]
        };
        wengert(&[&[command][..], &json, epochs].concat())
    };
    write("t10k", 80);
    let o = run("flow");
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(out(&o).contains("t10k alone, a fifth held out"));
    write("train", 80);
    for command in ["flow", "compare", "cure", "init-report"] {
        let o = run(command);
        assert_eq!(code(&o), 0, "{command}: {}", err(&o));
        assert!(!out(&o).contains("held out"));
    }
    std::fs::remove_file(folder.file("train-labels-idx1-ubyte")).expect("it was there");
    let o = run("flow");
    assert_eq!(code(&o), 2);
    assert!(
        err(&o).contains("missing train-labels-idx1-ubyte[.gz]"),
        "{}",
        err(&o)
    );
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
fn a_report_that_cannot_be_written_is_refused_before_the_training() {
    let folder = Folder::new("unwritable");
    let nowhere = folder.file("nowhere").join("r");
    for option in ["--json", "--html"] {
        for (path, part) in [(&nowhere, "cannot create"), (&folder.0, "cannot write")] {
            // More epochs than anybody waits for.
            let o = wengert(&["flow", option, text(path), "--epochs", "100000000"]);
            assert_eq!(code(&o), 2);
            assert!(
                err(&o).contains(part) && err(&o).contains(text(path)),
                "{}",
                err(&o)
            );
            assert_eq!(out(&o), "");
        }
    }
    let page = folder.file("r.html");
    let o = wengert(&["init-report", "--html", text(&page)]);
    assert_eq!(
        (
            code(&o),
            std::fs::read_dir(&folder.0).map(Iterator::count).ok()
        ),
        (0, Some(1))
    );
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
        "As it is: vanishing. Healthy with: weights that fit the activation; with batch norm.",
    ] {
        assert!(out(&o).contains(part), "{part}: {}", out(&o));
    }
    // What helps is asked for: a remedy that does not ends with 1, also where the network is healthy without it.
    let sick = [
        "--activation",
        "tanh",
        "--init",
        "normal:0.01",
        "--depth",
        "8",
    ];
    let broken = ["--depth", "2", "--remedy", "zeros"];
    for (args, words) in [
        (
            &[&sick[..], &["--remedy", "clip=1"]].concat(),
            "As it is: vanishing. None of the remedies",
        ),
        (&broken.to_vec(), "As it is: healthy. None of the remedies"),
    ] {
        let o = wengert(&[&["compare", "--epochs", "2"][..], args].concat());
        assert_eq!(code(&o), 1, "{}", out(&o));
        assert!(out(&o).contains(words), "{}", out(&o));
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
    // Without a single step that moves anything there is nothing that a remedy could mend.
    let o = wengert(&["cure", "--lr", "0", "--epochs", "1", "--depth", "2"]);
    assert_eq!(code(&o), 1, "{}", out(&o));
    assert!(
        out(&o).contains("Not cured: no remedy is known"),
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

/// Nothing that was written is passed over.
#[test]
fn what_has_no_effect_is_refused() {
    for (args, expected) in [
        (&["flow", "--init", "he:3"][..], "he:3"),
        (&["compare", "--remedy", "he:3"], "he:3"),
        (&["compare", "--remedy", "residual=3"], "residual=3"),
        (&["flow", "--steps", "4"], "--steps belongs to --cell"),
        (&["compare", "--steps", "4", "--remedy", "relu"], "--steps"),
        (&["flow", "--bias", "nan"], "bias: expected a finite number"),
        (&["flow", "--init", "constant:inf"], "finite constant"),
    ] {
        let o = wengert(args);
        assert_eq!(code(&o), 2, "{args:?}");
        assert!(err(&o).contains(expected), "{args:?}: {}", err(&o));
    }
}

/// A word of the data is no command.
#[test]
fn a_column_may_be_named_help() {
    let o = wengert(&["flow", "--label", "help"]);
    assert_eq!(code(&o), 2);
    assert!(err(&o).contains("--label belongs"), "{}", err(&o));
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let o = Command::new(env!("CARGO_BIN_EXE_wengert-under-test"))
        .args(["flow", "--data"])
        .arg(std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .expect("the program starts");
    assert_eq!(code(&o), 2, "{}", err(&o));
    assert!(err(&o).contains("\"\\xFF\" is not UTF-8"), "{}", err(&o));
}

/// A network that does not fit into memory is an error, whichever step of it is the first that does not.
#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_an_error() {
    for (kilobytes, command) in [
        (600_000, "flow --width 4096 --depth 6 --batch 512"),
        (950_000, "flow --width 4096 --depth 6 --batch 512"),
        (700_000, "init-report --width 4096 --depth 6"),
        (700_000, "compare --width 4096 --depth 6 --remedy residual"),
    ] {
        let program = env!("CARGO_BIN_EXE_wengert-under-test");
        let o = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -v {kilobytes}; exec {program} {command}"),
            ])
            .env("RAYON_NUM_THREADS", "2")
            .output()
            .expect("the program starts");
        let said = err(&o);
        assert_eq!(o.status.code(), Some(2), "{command}: {said}");
        assert!(
            said.starts_with("error: ") && said.contains("out of memory"),
            "{said}"
        );
    }
}
