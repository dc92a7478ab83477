//! Files that are wrong in every way: crafted, cut, damaged, mutated. And that the reference reader agrees on the right ones.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::HashMap;
use wengert_autograd::{Buffer, Param, Tensor};
use wengert_nn::state::{
    AnyTensor, Checkpoint, LoadOptions, MAX_HEADER, Problem, StateError, StateExt, StoredType,
    Value,
};

/// Length field, header, data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    raw(header.len() as u64, header.as_bytes(), data)
}

fn raw(length: u64, header: &[u8], data: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), header, data].concat()
}

fn refused(bytes: &[u8]) -> StateError {
    let e = Checkpoint::from_bytes_unverified(bytes)
        .err()
        .unwrap_or_else(|| panic!("accepted: {:?}", String::from_utf8_lossy(bytes)));
    assert!(matches!(e.problem, Problem::Format { .. }), "{e}");
    e
}

#[test]
fn crafted_headers_are_refused_with_their_place() {
    let one = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(Checkpoint::from_bytes(&file(one, &[0; 4])).is_ok());
    let entry = |s: &str| format!(r#"{{"a":{s}}}"#);
    let huge = format!(
        "{{{}}}",
        (0..8)
            .map(|i| format!(
                r#""t{i}":{{"dtype":"U8","shape":[{0}],"data_offsets":[{1},{2}]}}"#,
                (1u64 << 61) - 1,
                i * ((1u64 << 61) - 1) % (1 << 63),
                (i + 1) * ((1u64 << 61) - 1) % (1 << 63),
            ))
            .collect::<Vec<_>>()
            .join(",")
    );
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(1_000_000));
    let axes = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}}}}"#,
        vec!["1"; 65].join(",")
    );
    // (file, what the message says)
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "byte 0: a file of 0 bytes has no header"),
        (
            vec![1, 2, 3, 4, 5, 6, 7],
            "byte 0: a file of 7 bytes has no header",
        ),
        (raw(0, b"", b""), "byte 0: a header of 0 bytes"),
        (raw(1, b"{", b""), "byte 0: a header of 1 bytes"),
        (
            raw(7, b"{}", b""),
            "the header claims 7 bytes, the file has 2",
        ),
        (raw(1 << 63, b"{}", b""), "the limit is 100000000"),
        (raw(u64::MAX, b"{}", b""), "the limit is 100000000"),
        (
            raw(MAX_HEADER + 1, &vec![b' '; 101_000_000], b""),
            "the limit is 100000000",
        ),
        (raw(3, b"{\xff}", b""), "byte 9: the header is not UTF-8"),
        (
            file("[]", b""),
            "byte 8: the header does not begin with `{`",
        ),
        (
            file(" {}", b""),
            "byte 8: the header does not begin with `{`",
        ),
        (file("\u{feff}{}", b""), "byte 8: the header does not begin"),
        (file("{ ", b""), "byte 10: expected `\"`, the text ends"),
        (
            file("{}}", b""),
            "byte 10: the header goes on after its closing brace",
        ),
        (file("{}\n", b""), "byte 10: the header goes on"),
        (file("{}\0", b""), "byte 10: the header goes on"),
        (file("{,}", b""), "byte 9: expected `\"`, found `,`"),
        (
            file(&one.replace("}}", "},}"), &[0; 4]),
            "expected `\"`, found `}`",
        ),
        (
            file("{\"a\":1}", b""),
            "byte 9: tensor `a`: expected an object",
        ),
        (file(&entry("null"), b""), "tensor `a`: expected an object"),
        (file(&"[".repeat(100_000), b""), "does not begin with `{`"),
        (file(&"{\"a\":".repeat(100_000), b""), "byte 9"),
        (
            file(&format!("{{\"a\":{{\"shape\":{}", "[".repeat(100_000)), b""),
            "expected a number",
        ),
        (
            file(&entry(r#"{"dtype":"F32","shape":[1]}"#), &[0; 4]),
            "dtype, shape or data_offsets is missing",
        ),
        (
            file(
                &entry(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}"#),
                &[0; 4],
            ),
            "tensor `a`: unknown field `x`",
        ),
        (
            file(
                &entry(r#"{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}"#),
                &[0; 4],
            ),
            "the field `dtype` occurs twice",
        ),
        (
            file(
                &entry(r#"{"dtype":"F33","shape":[1],"data_offsets":[0,4]}"#),
                &[0; 4],
            ),
            "tensor `a`: unknown dtype `F33`",
        ),
        (
            file(
                &entry(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,2]}"#),
                &[0; 2],
            ),
            "unknown dtype `F4`",
        ),
        (
            file(
                &entry(r#"{"dtype":4,"shape":[1],"data_offsets":[0,4]}"#),
                &[0; 4],
            ),
            "the dtype is not a string",
        ),
        (
            file(&one.replace("[1]", "[-1]"), &[0; 4]),
            "expected a whole number from 0 to 2^63 - 1, found -1",
        ),
        (file(&one.replace("[1]", "[1.0]"), &[0; 4]), "found 1.0"),
        (file(&one.replace("[1]", "[1e3]"), &[0; 4]), "found 1e3"),
        (file(&one.replace("[1]", "[01]"), &[0; 4]), "found 01"),
        (
            file(&one.replace("[1]", "[\"1\"]"), &[0; 4]),
            "expected a number",
        ),
        (
            file(&one.replace("[1]", "[18446744073709551616]"), &[0; 4]),
            "found 18446744073709551616",
        ),
        (
            file(&one.replace("[1]", "[0,18446744073709551615]"), b""),
            "2^63 - 1, found 18446744073709551615",
        ),
        (
            file(&one.replace("[1]", "[4611686018427387904]"), &[0; 4]),
            "tensor `a`: the size of shape [4611686018427387904] overflows",
        ),
        (
            file(&one.replace("[1]", "[4294967296,4294967296,0]"), b""),
            "overflows",
        ),
        (
            file(&one.replace("[1]", "[2]"), &[0; 4]),
            "shape [2] of F32 takes 8 bytes, the offsets 0..4 hold 4",
        ),
        (
            file(&one.replace("[0,4]", "[4,0]"), &[0; 4]),
            "tensor `a`: the offsets 4..0 run backwards",
        ),
        (
            file(&one.replace("[0,4]", "[0,4,8]"), &[0; 4]),
            "expected `]`, found `,`",
        ),
        (
            file(&one.replace("[0,4]", "[4,8]"), &[0; 8]),
            "tensor `a`: begins at 4 of the data, after a hole from 0",
        ),
        (
            file(one, &[0; 3]),
            "tensor `a`: ends at 4 of the data, the file has 3",
        ),
        (
            file(one, &[0; 5]),
            "the tensors take 4 bytes of data, the file has 5",
        ),
        (
            file("{}", &[0; 1]),
            "the tensors take 0 bytes of data, the file has 1",
        ),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                &[0; 3],
            ),
            "tensor `b`: begins at 1 of the data, inside the tensor before it",
        ),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                &[0; 2],
            ),
            "tensor `a`: occurs twice",
        ),
        (
            file(
                r#"{"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#,
                &[1, 2],
            ),
            "tensor `a`: a truth value is 0 or 1, found 2",
        ),
        (
            file(r#"{"__metadata__":{"a":1}}"#, b""),
            "the metadata of `a` is not a string",
        ),
        (
            file(r#"{"__metadata__":{"a":"1","a":"2"}}"#, b""),
            "`a` occurs twice in the metadata",
        ),
        (
            file(r#"{"__metadata__":{},"__metadata__":{}}"#, b""),
            "`__metadata__` occurs twice",
        ),
        (
            file(r#"{"__metadata__":[]}"#, b""),
            "expected `{`, found `[`",
        ),
        (
            file("{\"a\u{1b}[31m\nb\":1}", b""),
            "unescaped control character 0x1b",
        ),
        (file("{\"a\\u001b[31m\":1}", b""), "tensor `a\\u{1b}[31m`"),
        (file(&long, b""), "… (1000000 bytes)`"),
        (file(&axes, &[0]), "more than 64 axes"),
        (file(&huge, &[0; 16]), "tensor `t"),
    ];
    for (bytes, part) in cases {
        let text = refused(&bytes).to_string();
        assert!(text.contains(part), "{part:?} is missing in {text}");
        assert!(text.len() < 400, "long: {text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\n'),
            "unescaped: {text}"
        );
    }
}

#[test]
fn right_headers_of_unusual_form_are_read() {
    let blanks = "{ \"b\" :\t{\"data_offsets\": [0 , 2],\r\n \"shape\":[ 2,1 ],\"dtype\":\"\\u00558\"} , \"__metadata__\" : { } }   ";
    let c = Checkpoint::from_bytes(&file(blanks, &[3, 4])).unwrap();
    assert_eq!(
        c.tensor("", "b").unwrap().get::<u8>().unwrap().to_vec(),
        [3, 4]
    );
    assert_eq!(c.tensor("", "b").unwrap().shape(), [2, 1]);
    // Data in another order than the names, empty tensors between, names with slashes.
    let order = r#"{"x/y":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"":{"dtype":"F32","shape":[0,9],"data_offsets":[1,1]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#;
    let c = Checkpoint::from_bytes(&file(order, &[7, 8])).unwrap();
    let names: Vec<&str> = c.tensors("").map(|t| t.0).collect();
    assert_eq!(names, ["x/y", "", "a"]);
    assert_eq!(
        c.tensor("", "x/y").unwrap().get::<u8>().unwrap().to_vec(),
        [8]
    );
    assert_eq!(c.tensor("", "a").unwrap().get::<u8>().unwrap().item(), 7);
    let c = Checkpoint::from_bytes(&file("{}", b"")).unwrap();
    assert!(c.sections().is_empty());
}

#[test]
fn versions_and_checksums_belong_together() {
    let meta = |m: &str| file(&format!(r#"{{"__metadata__":{{{m}}}}}"#), b"");
    let sum = r#""wengert.xxh64":"0000000000000000""#;
    let e = refused(&meta(r#""wengert.format":"1""#));
    assert!(e.to_string().contains("the checksum is missing"), "{e}");
    let e = refused(&meta(sum));
    assert!(
        e.to_string().contains("the format version is missing"),
        "{e}"
    );
    let e = refused(&meta(&format!(r#""wengert.format":"x",{sum}"#)));
    assert!(e.to_string().contains("not a format version"), "{e}");
    let e = refused(&meta(&format!(r#""wengert.format":"0",{sum}"#)));
    assert!(e.to_string().contains("not a format version"), "{e}");
    let e = refused(&meta(&format!(
        r#""wengert.format":"1","wengert.new":"",{sum}"#
    )));
    assert!(
        e.to_string().contains("unknown metadata `wengert.new`"),
        "{e}"
    );
    let e = refused(&meta(&format!(
        r#""wengert.format":"1",{sum},"wengert.value.a":"[1""#
    )));
    assert!(
        e.to_string().contains("value of section `a`: byte 2: "),
        "{e}"
    );
    for name in ["/a", "a b/c", "a/b/c"] {
        let header = format!(
            r#"{{"__metadata__":{{"wengert.format":"1",{sum}}},"{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}"#
        );
        let e = refused(&file(&header, b""));
        assert!(
            e.to_string().contains("not of the form section/path"),
            "{e}"
        );
    }
    // A newer version is refused by its number, before anything else is looked at.
    let bytes = meta(r#""wengert.format":"2","wengert.new":"""#);
    let e = Checkpoint::from_bytes(&bytes).err().unwrap();
    assert!(matches!(&e.problem, Problem::Version { found, supported: 1 } if found == "2"));
    assert_eq!(
        e.to_string(),
        "format version 2 is newer than 1, the newest that this release reads"
    );
    let e = Checkpoint::from_bytes(&meta(&format!(r#""wengert.format":"1",{sum}"#)))
        .err()
        .unwrap();
    assert!(matches!(e.problem, Problem::Checksum { .. }), "{e}");
}

/// About 4 KB: a model, tensors of every type, values.
fn sample() -> Vec<u8> {
    let mut c = Checkpoint::new();
    let model = vec![
        Param::new(Tensor::from_fn([16, 52], |i| {
            (i[0] * 52 + i[1]) as f32 * 0.37
        })),
        Param::new(Tensor::from_fn([16], |i| i[0] as f32)),
    ];
    c.put_model("model", &model);
    c.put_tensor(
        "optimizer",
        "0:m",
        Tensor::from_fn([11], |i| i[0] as f64 / 3.0),
    );
    c.put_tensor("optimizer", "t", Tensor::from_slice(&[5i64], [1]));
    c.put_tensor(
        "loader",
        "mask",
        Tensor::from_slice(&[true, false, true], [3]),
    );
    c.put_tensor("loader", "order", Tensor::from_slice(&[2i32, 0, 1], [3]));
    c.put_value(
        "loader",
        Value::map([("epoch", Value::from(3u64)), ("p", 0.25.into())]),
    );
    c.put_metadata("note", "some text");
    c.to_bytes().unwrap()
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let bytes = sample();
    assert!((3500..6000).contains(&bytes.len()), "{}", bytes.len());
    for n in 0..bytes.len() {
        refused(&bytes[..n]);
    }
    let longer = [&bytes[..], &[0]].concat();
    refused(&longer);
}

#[test]
fn any_flipped_bit_is_noticed() {
    let bytes = sample();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let in_header = (0..8 * (8 + header)).map(|b| (b / 8, b % 8));
    let in_data: Vec<(usize, usize)> = (0..2000)
        .map(|_| {
            (
                rng.random_range(8 + header..bytes.len()),
                rng.random_range(0..8),
            )
        })
        .collect();
    for (byte, bit) in in_header.chain(in_data) {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 1 << bit;
        assert!(
            Checkpoint::from_bytes(&damaged).is_err(),
            "bit {bit} of byte {byte} flipped unnoticed"
        );
        // Without verification anything may come out, but it must come out.
        let _ = Checkpoint::from_bytes_unverified(&damaged);
    }
}

/// What the reference implementation makes of a file: names with type, shape and bytes.
fn reference(bytes: &[u8]) -> Option<HashMap<String, (String, Vec<usize>, Vec<u8>)>> {
    let file = safetensors::SafeTensors::deserialize(bytes).ok()?;
    let entries = file.iter().map(|(name, view)| {
        let found = (
            view.dtype().to_string(),
            view.shape().to_vec(),
            view.data().to_vec(),
        );
        (name.to_owned(), found)
    });
    Some(entries.collect())
}

/// An accepted file must mean the same to the reference implementation.
fn agrees(bytes: &[u8], ours: &Checkpoint) {
    let theirs = reference(bytes)
        .unwrap_or_else(|| panic!("the reference refuses {:?}", String::from_utf8_lossy(bytes)));
    let mut n = 0;
    for section in ours.sections() {
        for (path, t) in ours.tensors(section) {
            let name = if section.is_empty() {
                path.to_owned()
            } else {
                format!("{section}/{path}")
            };
            let (dtype, shape, data) = theirs.get(&name).expect("a tensor of the same name");
            assert_eq!(shape, t.shape(), "{name}");
            // Half precision is widened here.
            if dtype != "F16" && dtype != "BF16" {
                assert_eq!(dtype, t.dtype().name(), "{name}");
                assert_eq!(data, &plain(t), "{name}");
            }
            n += 1;
        }
    }
    assert_eq!(n, theirs.len());
}

fn plain(t: &AnyTensor) -> Vec<u8> {
    match t {
        AnyTensor::F32(t) => t.iter().flat_map(f32::to_le_bytes).collect(),
        AnyTensor::F64(t) => t.iter().flat_map(f64::to_le_bytes).collect(),
        AnyTensor::I32(t) => t.iter().flat_map(i32::to_le_bytes).collect(),
        AnyTensor::I64(t) => t.iter().flat_map(i64::to_le_bytes).collect(),
        AnyTensor::U8(t) => t.to_vec(),
        AnyTensor::Bool(t) => t.iter().map(u8::from).collect(),
        AnyTensor::Other { bytes, .. } => bytes.clone(),
        _ => unreachable!("a new kind of tensor"),
    }
}

#[test]
fn the_reference_implementation_agrees() {
    let ours = sample();
    agrees(&ours, &Checkpoint::from_bytes(&ours).unwrap());
    let torch = include_bytes!("data/torch.safetensors");
    agrees(torch, &Checkpoint::from_bytes(torch).unwrap());
    // Every type that can be stored.
    for dtype in [
        "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16", "F16", "BF16", "I32",
        "U32", "F32", "C64", "F64", "I64", "U64",
    ] {
        let size = (1..=8)
            .find(|n| {
                let header = format!(
                    r#"{{"a":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{}]}}}}"#,
                    2 * n
                );
                let bytes = file(&header, &vec![0; 2 * n]);
                Checkpoint::from_bytes(&bytes).is_ok_and(|c| {
                    agrees(&bytes, &c);
                    true
                })
            })
            .unwrap_or_else(|| panic!("{dtype} is not read"));
        assert!([1, 2, 4, 8].contains(&size));
    }
    assert_eq!(StoredType::BF16.size(), 2);
}

/// Text pieces that reach deep into the parser.
const PIECES: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "0",
    "-1",
    "1e3",
    "1.5",
    "18446744073709551615",
    "9223372036854775807",
    "4294967296",
    "\"F32\"",
    "\"U8\"",
    "\"BOOL\"",
    "\"dtype\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\":{},",
    "\\u0041",
    "\\ud83d\\ude00",
    "é",
    "null",
    "\0",
];

fn mutate(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..4) {
        let header = bytes
            .get(..8)
            .map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()) as usize);
        // Mostly the header: the data is copied as it is.
        let end = if rng.random_range(0..4) > 0 {
            (8 + header).min(bytes.len())
        } else {
            bytes.len()
        };
        let at = rng.random_range(0..end.max(1));
        let before = bytes.len();
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            4 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())].bytes();
                bytes.splice(at.min(before)..at.min(before), piece);
            }
            5 => {
                // A number of the header becomes another.
                let digits: Vec<usize> = (8.min(end)..end)
                    .filter(|&i| bytes[i].is_ascii_digit())
                    .collect();
                if !digits.is_empty() {
                    let i = digits[rng.random_range(0..digits.len())];
                    let text = PIECES[rng.random_range(9..16)].bytes();
                    bytes.splice(i..=i, text);
                }
            }
            6 => {
                // A stretch once more.
                let n = rng.random_range(0..60).min(before - at.min(before));
                let part = bytes[at.min(before)..at.min(before) + n].to_vec();
                bytes.splice(at.min(before)..at.min(before), part);
            }
            _ => {
                // Digits exchanged: offsets and shapes that still parse.
                let digits: Vec<usize> = (8.min(end)..end)
                    .filter(|&i| bytes[i].is_ascii_digit())
                    .collect();
                if digits.len() > 1 {
                    bytes[digits[rng.random_range(0..digits.len())]] =
                        b'0' + rng.random_range(0..10u8);
                }
            }
        }
        // Half of the time the length field follows, so that the parser sees the change.
        if at >= 8 && bytes.len() >= 8 && rng.random() {
            let grown = (header + bytes.len()).saturating_sub(before);
            bytes[..8].copy_from_slice(&(grown as u64).to_le_bytes());
        }
    }
}

/// Random damage, seeded: never a panic, never an acceptance that the reference does not share, never a file of this format
/// that passes verification after a change.
#[test]
fn mutated_files() {
    let small = |f: &dyn Fn(&mut Checkpoint)| {
        let mut c = Checkpoint::new();
        f(&mut c);
        c.to_bytes().unwrap()
    };
    let seeds = [
        file(
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            &[0; 4],
        ),
        file(
            r#"{"a":{"dtype":"U8","shape":[2,0],"data_offsets":[0,0]},"b":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]},"c":{"dtype":"F16","shape":[],"data_offsets":[3,5]}}"#,
            &[1, 0, 1, 2, 3],
        ),
        file(
            r#"{"__metadata__":{"format":"pt","a":"b"},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
            &[0],
        ),
        small(&|c| {
            c.put_model(
                "",
                &vec![
                    Param::new(Tensor::<f32>::ones([2])),
                    Param::new(Tensor::zeros([1])),
                ],
            )
        }),
        small(&|c| {
            c.put_tensor("o", "s", Tensor::from_slice(&[1i64, 2], [2]));
            c.put_value(
                "o",
                Value::map([("lr", Value::from(0.5)), ("l", vec![1u64, 2].into())]),
            );
            c.put_metadata("k", "v");
        }),
    ];
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2024);
    let mut model = vec![
        Param::new(Tensor::<f32>::zeros([2])),
        Param::new(Tensor::zeros([1])),
    ];
    let rounds = rounds();
    let (mut accepted, mut verified) = (0, 0);
    for round in 0..rounds {
        let seed = &seeds[round % seeds.len()];
        let mut bytes = seed.clone();
        mutate(&mut bytes, &mut rng);
        let Ok(c) = Checkpoint::from_bytes_unverified(&bytes) else {
            assert!(Checkpoint::from_bytes(&bytes).is_err());
            continue;
        };
        accepted += 1;
        agrees(&bytes, &c);
        let _ = c.load_model("", &mut model, &LoadOptions::partial());
        if let Ok(c) = Checkpoint::from_bytes(&bytes) {
            verified += 1;
            let ours = c.to_bytes().is_ok_and(|b| b == *seed);
            let foreign = !bytes.windows(14).any(|w| w == b"wengert.format");
            assert!(
                ours || foreign,
                "round {round}: {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
    println!("{rounds} files, {accepted} accepted, {verified} of them with checksum or foreign");
    assert!(
        accepted > rounds / 100 && verified > rounds / 1000,
        "the mutations stay near valid files"
    );
}

/// Mutated files: a million, or as many as `WENGERT_FUZZ_ROUNDS` says for a longer search.
fn rounds() -> usize {
    std::env::var("WENGERT_FUZZ_ROUNDS").map_or(1_000_000, |n| n.parse().expect("a number"))
}

/// The same for the values.
#[test]
fn mutated_values() {
    let seed = Value::map([
        ("a", Value::from(vec![1.5, -2e300, f64::NAN])),
        (
            "b",
            Value::map([("c", Value::from("x\"\\é")), ("d", Value::Null)]),
        ),
        ("e", Value::from(u64::MAX)),
    ])
    .to_json()
    .unwrap();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let mut text = raw(seed.len() as u64, seed.as_bytes(), b"");
        mutate(&mut text, &mut rng);
        let Some(Ok(text)) = text.get(8..).map(std::str::from_utf8) else {
            continue;
        };
        if let Ok(v) = Value::from_json(text) {
            accepted += 1;
            // What was read can be written, and reads the same (compared as text: NaN differs from itself).
            if let Ok(again) = v.to_json() {
                let twice = Value::from_json(&again).unwrap().to_json().unwrap();
                assert_eq!(again, twice, "{text}");
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn saving_takes_no_time_stamp() {
    let model = (
        Param::new(Tensor::<f64>::ones([3])),
        Buffer::new(Tensor::<f64>::zeros([2])),
    );
    let first = model.to_bytes().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(model.to_bytes().unwrap(), first);
    assert_eq!(
        model.clone().to_bytes().unwrap(),
        first,
        "identities are not written"
    );
}
