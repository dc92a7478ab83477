//! Tables: what is read, and where what is wrong is said to be.
#![cfg(feature = "gzip")]

mod common;
use common::{TempDir, gzip};
use wengert_data::csv::{LabelOptions, Reader, Table};
use wengert_data::{Error, Labeled, Limits, Position};

fn fault<T>(result: Result<T, Error>) -> (u64, u64, String) {
    match result {
        Err(Error::Format {
            at: Position::Cell { line, column },
            message,
            ..
        }) => (line, column, message),
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("accepted"),
    }
}

fn bare(text: &[u8]) -> Result<Table, Error> {
    Reader::bare().parse(text, "t.csv")
}

fn cells(t: &Table) -> Vec<Vec<String>> {
    (0..t.rows())
        .map(|r| {
            (0..t.columns())
                .map(|c| t.get(r, c).unwrap().into_owned())
                .collect()
        })
        .collect()
}

#[test]
fn line_ends_quotes_and_marks() {
    for text in [
        "a,b\n1,2\n",
        "a,b\r\n1,2\r\n",
        "a,b\n1,2",
        "\u{feff}a,b\n1,2",
        "\n\na,b\n\r\n\n1,2\n\n",
        "\"a\",\"b\"\n\"1\",2",
    ] {
        let t = Reader::headed().parse(text.as_bytes(), "x").unwrap();
        assert_eq!(t.names().unwrap(), ["a", "b"], "{text:?}");
        assert_eq!(cells(&t), [["1", "2"]], "{text:?}");
    }
    let t = bare(b"\"a,\"\"b\"\"\nc\",,\"\"\n x ,\"\"\"\",y\"".as_slice());
    assert!(t.is_err(), "a quote in the middle of a bare field");
    let t = bare(b"\"a,\"\"b\"\"\nc\",,\"\"\n x ,\"\"\"\",y").unwrap();
    assert_eq!(cells(&t), [["a,\"b\"\nc", "", ""], [" x ", "\"", "y"]]);
    let t = Reader::bare()
        .delimiter(b';')
        .unwrap()
        .parse(b"1,5;2\n", "x")
        .unwrap();
    assert_eq!(cells(&t), [["1,5", "2"]]);
    assert_eq!(cells(&bare(b",").unwrap()), [["", ""]]);
    assert_eq!(cells(&bare(b"1,\n2,").unwrap()), [["1", ""], ["2", ""]]);
    assert!(t.get(1, 0).is_err() && t.get(0, 2).is_err());
    for d in [b'"', b'\n', b'\r', 0, 0xc3] {
        assert!(Reader::bare().delimiter(d).is_err());
    }
}

#[test]
fn a_header_alone_is_a_table_without_rows() {
    let t = Reader::headed().parse(b"a,b", "x").unwrap();
    assert_eq!((t.rows(), t.columns()), (0, 2));
    assert_eq!(t.numbers::<f32>(&[0, 1]).unwrap().shape(), [0, 2]);
    assert_eq!(t.classes(0).unwrap().1.len(), 0);
    assert!(bare(b"a,b").unwrap().rows() == 1);
}

#[test]
fn faults_of_form_have_line_and_column() {
    for empty in [&b""[..], b"\n\r\n\n", b"\xef\xbb\xbf"] {
        assert!(
            matches!(
                bare(empty),
                Err(Error::Format {
                    at: Position::Whole,
                    ..
                })
            ),
            "{empty:?}"
        );
    }
    let at = |text: &[u8]| {
        let (line, column, message) = fault(bare(text));
        (
            line,
            column,
            message.trim_start_matches("CSV: ").to_string(),
        )
    };
    let (l, c, m) = at(b"1,2\n3,4\n\n5,6,7\n");
    assert!(
        (l, c) == (4, 3) && m == "a row of 3 fields, the first row has 2",
        "{l} {c} {m}"
    );
    let (l, c, _) = at(b"1,2,3\n3,4\n");
    assert_eq!((l, c), (2, 3));
    let (l, c, m) = at(b"1,\"2\n3,4\n");
    assert!(
        (l, c) == (1, 2) && m.contains("never closed"),
        "{l} {c} {m}"
    );
    let (l, c, m) = at(b"\"a\nb\",\"c\nd\"e\n");
    assert!(
        (l, c) == (3, 2) && m.contains("closing quote"),
        "{l} {c} {m}"
    );
    let (l, c, m) = at(b"1,2\n3,4\"5\n");
    assert!(
        (l, c) == (2, 2) && m.contains("quote inside"),
        "{l} {c} {m}"
    );
    let (l, c, m) = at(b"1,2\n3,4\r5\n");
    assert!(
        (l, c) == (2, 2) && m.contains("carriage return"),
        "{l} {c} {m}"
    );
    let (l, c, m) = at(b"1,2\n\0,4\n");
    assert!((l, c) == (2, 1) && m.contains("NUL"), "{l} {c} {m}");
    let (l, c, m) = at(b"1,2\n3,\"\n\0\"\n");
    assert!((l, c) == (3, 2) && m.contains("NUL"), "{l} {c} {m}");
    let (l, c, m) = at(b"1,2\n\"x\ny\",\xff\n");
    assert!(
        (l, c) == (3, 2) && m.contains("0xff is not UTF-8"),
        "{l} {c} {m}"
    );
    let (l, c, m) = fault(Reader::headed().parse(b"a, b ,b\n1,2,3", "x"));
    assert!(
        (l, c) == (1, 3) && m.contains("stands twice"),
        "{l} {c} {m}"
    );
    let long = [b"1,".as_slice(), &vec![b'7'; 10 << 20]].concat();
    let (l, c, m) = at(&long);
    assert!(
        (l, c) == (1, 2) && m == "a field of more than 1048576 bytes",
        "{l} {c} {m}"
    );
    let r = Reader::bare().max_field(3);
    assert!(r.parse(b"123,456\r\n789,1", "x").is_ok());
    assert_eq!(fault(r.parse(b"123,4567\r\n", "x")).1, 2);
}

#[test]
fn numbers_are_strict() {
    let t = bare(b"1, -2.5 ,+.5\n1e3,7.,0e0\n").unwrap();
    assert_eq!(
        t.numbers::<f64>(&[0, 1, 2]).unwrap().to_vec(),
        [1.0, -2.5, 0.5, 1000.0, 7.0, 0.0]
    );
    assert_eq!(
        t.numbers::<f32>(&[2, 2]).unwrap().to_vec(),
        [0.5, 0.5, 0.0, 0.0]
    );
    assert!(matches!(t.numbers::<f32>(&[3]), Err(Error::Value { .. })));
    for bad in [
        "",
        " ",
        "nan",
        "NaN",
        "inf",
        "-infinity",
        "1_000",
        "0x10",
        "1e",
        "e5",
        "--1",
        "1.2.3",
        "1 2",
        "x",
        "١",
    ] {
        let text = format!("a,b\n1,2\n\"3\",\"{bad}\"\n");
        let t = Reader::headed().parse(text.as_bytes(), "x").unwrap();
        let (l, c, m) = fault(t.numbers::<f64>(&[0, 1]));
        assert_eq!((l, c), (3, 2), "{bad}: {m}");
        assert!(t.numbers::<f64>(&[0]).is_ok());
    }
    let t = bare(b"1e999").unwrap();
    assert!(
        fault(t.numbers::<f64>(&[0]))
            .2
            .contains("\"1e999\" overflows f64")
    );
    let t = bare(b"1e39").unwrap();
    assert!(fault(t.numbers::<f32>(&[0])).2.contains("overflows f32"));
    assert_eq!(t.numbers::<f64>(&[0]).unwrap().item(), 1e39);
    // Rounded once, not through f64.
    let t = bare(b"1.00000017881393432617187499").unwrap();
    assert_eq!(t.numbers::<f32>(&[0]).unwrap().item(), 1.000_000_1);

    let r = Reader::bare().missing(-1.0).non_finite(true);
    let t = r.parse(b"1,,nan\n,inf,-Inf\n", "x").unwrap();
    let x = t.numbers::<f32>(&[0, 1, 2]).unwrap().to_vec();
    assert!(x[2].is_nan());
    assert_eq!(
        [x[0], x[1], x[3], x[4], x[5]],
        [1.0, -1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY]
    );
    assert!(
        fault(r.parse(b"1e999", "x").unwrap().numbers::<f32>(&[0]))
            .2
            .contains("overflows")
    );
}

#[test]
fn integers_classes_and_labeled() {
    let t = bare(b"1,9223372036854775807\n2,-9223372036854775808\n").unwrap();
    assert_eq!(t.integers(1).unwrap().to_vec(), [i64::MAX, i64::MIN]);
    for bad in ["1.0", "9223372036854775808", "", "1e3"] {
        assert_eq!(
            fault(
                bare(format!("1\n\"{bad}\"").as_bytes())
                    .unwrap()
                    .integers(0)
            )
            .0,
            2,
            "{bad}"
        );
    }
    let t = Reader::headed()
        .parse(b"x,kind\n1,10\n2,9\n3, 10\n", "x")
        .unwrap();
    assert_eq!(t.classes(1).unwrap().1, ["9", "10"]);
    assert_eq!(t.classes(1).unwrap().0.to_vec(), [1, 0, 1]);
    let l = t.labeled(1).unwrap();
    assert_eq!(
        (l.inputs.to_vec(), l.labels.to_vec(), l.classes),
        (vec![1.0, 2.0, 3.0], vec![1, 0, 1], 2)
    );
    assert_eq!(bare(b"b\na\nb").unwrap().classes(0).unwrap().1, ["a", "b"]);
    // Equal numbers, different words.
    assert_eq!(bare(b"1\n01\n+1").unwrap().classes(0).unwrap().1.len(), 3);
    assert_eq!(t.column("kind").unwrap(), 1);
    assert!(
        t.column("\u{1b}[2J")
            .unwrap_err()
            .to_string()
            .contains("no column \"\\u{1b}[2J\" among \"x\", \"kind\"")
    );
}

#[test]
fn messages_are_escaped_and_short() {
    let name = format!("a\u{1b}[31m\u{202e}{}", "x".repeat(900_000));
    let text = format!("{name},{name}\n1,2\n");
    let e = Reader::headed()
        .parse(text.as_bytes(), "t\n.csv")
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.len() < 400
            && e.contains("\\u{1b}[31m\\u{202e}xxx")
            && e.starts_with("t\\n.csv at line 1, column 2"),
        "{e}"
    );
    assert!(!e.contains('\u{1b}') && !e.contains('\n'));
    let e = bare(b"1\n\"\x1b]0;\ntitle\x07\"")
        .unwrap()
        .numbers::<f32>(&[0])
        .err()
        .unwrap()
        .to_string();
    assert!(e.contains("\\u{1b}]0;\\ntitle\\u{7}"), "{e}");
    let t = Reader::headed()
        .parse(
            (0..1000)
                .map(|i| format!("c{i}"))
                .collect::<Vec<_>>()
                .join(",")
                .as_bytes(),
            "x",
        )
        .unwrap();
    assert!(t.column("absent").unwrap_err().to_string().len() < 300);
}

#[test]
fn files_limits_and_gzip() {
    let dir = TempDir::new();
    let text = b"x,y\n1,2\n".to_vec();
    let plain = dir.put("t.csv", &text);
    let packed = dir.put("t.csv.gz", &gzip(&text));
    for path in [plain.clone(), packed] {
        assert_eq!(Reader::headed().read(&path).unwrap().rows(), 1);
    }
    let small = Limits {
        file: 7,
        ..Limits::default()
    };
    assert!(matches!(
        Reader::headed().limits(small).read(&plain),
        Err(Error::TooLarge { limit: 7, .. })
    ));
    let bomb = dir.put("bomb.csv.gz", &gzip(&vec![b'1'; 40 << 20]));
    let small = Limits {
        unpacked: 1 << 20,
        ..Limits::default()
    };
    assert!(matches!(
        Reader::bare().limits(small).read(&bomb),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        Reader::bare().read(dir.path()),
        Err(Error::Io { .. })
    ));
}

#[test]
fn every_truncation_is_read_or_refused() {
    let text = b"a,\"b\"\"\nc\"\r\n1,\"2\"\r\n3,4\n";
    let mut refused = 0;
    for n in 0..text.len() {
        match Reader::headed().parse(&text[..n], "x") {
            Ok(t) => drop(cells(&t)),
            Err(Error::Format { .. }) => refused += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused >= 10, "{refused}");
}

fn labeled(text: &str, column: Option<&str>, heading: Option<bool>) -> Result<Labeled, Error> {
    let options = LabelOptions {
        column: column.map(String::from),
        heading,
    };
    Reader::headed().parse_labeled(text.as_bytes(), "t.csv", &options)
}

/// With or without a heading, names or numbers as classes, the class in any column: the same samples.
#[test]
fn labeled_tables_are_read_as_they_come() {
    let plain = "1,2,0\n3,4,1\n5,6,0\n7,8,1\n";
    let turned = "0,1,2\n1,3,4\n0,5,6\n1,7,8\n";
    let names = "1,2,cat\n3,4,dog\n5,6,cat\n7,8,dog\n";
    for (text, column, heading) in [
        (plain.to_string(), None, None),
        (plain.to_string(), None, Some(false)),
        (plain.to_string(), Some("3"), None),
        (names.to_string(), None, None),
        (format!("a,b,class\n{plain}"), None, None),
        (format!("a,b,class\n{names}"), Some("class"), None),
        (format!("a,b,class\n{names}"), Some("3"), Some(true)),
        (format!("9,10,11\n{plain}"), None, Some(true)),
        (turned.to_string(), Some("1"), None),
        (format!("kind,a,b\n{turned}"), Some("kind"), None),
        // A first row of numbers whose class does not come again is a heading.
        (format!("0,1,class\n{names}"), None, None),
    ] {
        let all = labeled(&text, column, heading).unwrap();
        assert_eq!(all.inputs.shape(), [4, 2], "{text}");
        let inputs: Vec<f32> = (1..9).map(|x| x as f32).collect();
        assert_eq!(all.inputs.to_vec(), inputs, "{text}");
        assert_eq!(all.labels.to_vec(), [0, 1, 0, 1], "{text}");
        assert_eq!(all.classes, 2, "{text}");
    }
}

#[test]
fn columns_without_classes_are_refused() {
    let plain = "1,2,0\n3,4,1\n5,6,0\n7,8,1\n";
    for (text, column, heading, part) in [
        (
            plain,
            Some("4"),
            None,
            "t.csv: no column \"4\", expected 1 to 3 or one of [\"1\"",
        ),
        (
            plain,
            Some("\x1b[2J"),
            None,
            "no column \"\\u{1b}[2J\", expected",
        ),
        (plain, Some("0"), None, "no column \"0\""),
        (plain, Some("kind"), None, "no column \"kind\""),
        (
            "1;2\n3;4\n",
            None,
            None,
            "t.csv: one column, expected at least two with commas between them (it has semicolons)",
        ),
        ("1\t2\n", None, None, "(it has tabs)"),
        ("1\n2\n", None, None, "commas between them"),
        ("1,7\n2,7\n", None, None, "column 2 holds one class, \"7\""),
        (
            "1,0.5\n2,1.5\n",
            None,
            None,
            "column 2 holds 0.5, expected classes",
        ),
        (
            "1,0\n2,\n3,0\n4,1\n",
            None,
            None,
            "column 2, row 2: no class",
        ),
        (
            "a,b\n1,x\n2,y\n3,z\n",
            None,
            None,
            "column 2 has 3 different values in 3 rows",
        ),
        (
            "a,b,c\n1,2,0\n3,4,1\n5,6,0\n7,8,1\nx,1,0\n",
            None,
            None,
            "line 6, column 1",
        ),
        (
            "a,a,c\n1,2,0\n3,4,0\n",
            None,
            None,
            "the column name \"a\" stands twice",
        ),
        (
            "a,b,class\n1,2,0\n3,4,0\n5,6,1\n7,8,1\n9,9,class\n",
            None,
            Some(false),
            "line 1, column 1",
        ),
    ] {
        let error = labeled(text, column, heading)
            .err()
            .expect(part)
            .to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}
