//! NumPy's files: against files that NumPy wrote, and every kind of damage.

mod common;
use common::TempDir;
use std::path::PathBuf;
use wengert_data::{AnyTensor, Error, Position, npy};
use wengert_tensor::{DType, Tensor};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn fault<T>(result: Result<T, Error>) -> (u64, String) {
    match result {
        Err(Error::Format {
            at: Position::Byte(b),
            message,
            ..
        }) => (b, message),
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn all_types_of_numpy() {
    let unsigned = [0.0, 1.0, 2.0, 3.0, 100.0, 127.0];
    let signed = unsigned.map(|x| x - 5.0);
    for (name, dtype) in [
        ("n_u1", DType::U8),
        ("l_u2", DType::I32),
        ("l_u4", DType::I64),
        ("b_u4", DType::I64),
        ("l_u8", DType::I64),
        ("n_i1", DType::I32),
        ("l_i2", DType::I32),
        ("b_i2", DType::I32),
        ("l_i4", DType::I32),
        ("b_i4", DType::I32),
        ("l_i8", DType::I64),
        ("b_i8", DType::I64),
        ("l_f2", DType::F32),
        ("b_f2", DType::F32),
        ("l_f4", DType::F32),
        ("b_f4", DType::F32),
        ("l_f8", DType::F64),
        ("b_f8", DType::F64),
    ] {
        let t = npy::read(golden(&format!("{name}.npy"))).unwrap();
        let expected = if name.contains("_u") {
            unsigned
        } else {
            signed
        };
        assert_eq!((t.dtype(), t.shape()), (dtype, &[2, 3][..]), "{name}");
        assert_eq!(t.to_f64().unwrap().to_vec(), expected, "{name}");
    }
    let t = npy::read(golden("n_b1.npy")).unwrap();
    assert_eq!(t.to_i64().unwrap().to_vec(), [0, 1, 1, 1, 1, 1]);
    let halves = npy::read(golden("halves.npy"))
        .unwrap()
        .to_f32()
        .unwrap()
        .to_vec();
    let expected = [
        0.0,
        -0.0,
        5.960_464_5e-8,
        6.097_555e-5,
        6.103_515_6e-5,
        1.0,
        -2.0,
        65504.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.333_251_95,
    ];
    assert_eq!(
        halves.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        expected.map(f32::to_bits)
    );
}

#[test]
fn orders_ranks_and_versions() {
    let t = npy::read(golden("fortran.npy")).unwrap().to_f32().unwrap();
    assert_eq!(t.shape(), [2, 3, 4]);
    assert_eq!(
        t.as_slice().unwrap(),
        (0..24).map(|x| x as f32).collect::<Vec<_>>()
    );
    assert_eq!(
        npy::read(golden("scalar.npy"))
            .unwrap()
            .to_f64()
            .unwrap()
            .item(),
        2.5
    );
    assert_eq!(npy::read(golden("empty.npy")).unwrap().shape(), [0, 3]);
    assert_eq!(
        npy::read(golden("vector.npy"))
            .unwrap()
            .to_i64()
            .unwrap()
            .to_vec(),
        [0, 1, 2, 3, 4]
    );
    for v in ["version2.npy", "version3.npy"] {
        assert_eq!(
            npy::read(golden(v)).unwrap().to_i64().unwrap().to_vec(),
            [0, 1, 2]
        );
    }
}

#[test]
fn what_is_refused_is_named() {
    for (name, word) in [
        ("object", "objects"),
        ("complex", "<c8"),
        ("text", "<U2"),
        ("struct", "structured"),
    ] {
        let (_, message) = fault(npy::read(golden(&format!("{name}.npy"))));
        assert!(message.contains(word), "{message}");
    }
}

/// A file with this header text, version 1.0.
fn with(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn shape(text: &str) -> Vec<u8> {
    with(
        &format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {text}, }}\n"),
        &[0; 6],
    )
}

#[test]
fn headers_are_literals_read_strictly() {
    let ok = |bytes: Vec<u8>| npy::parse(&bytes, "x").unwrap().shape().to_vec();
    assert_eq!(ok(shape("(2,3)")), [2, 3]);
    assert_eq!(ok(shape("( 6 , )")), [6]);
    assert_eq!(
        ok(with(
            "{\"shape\":(1,1),'descr':\"<f4\",'fortran_order':True}",
            &[0; 4]
        )),
        [1, 1]
    );
    for bad in [
        "(-1,)",
        "(9223372036854775808,)",
        "(18446744073709551616,)",
        "(6)",
        "(2 3)",
        "(2,3",
        "2,3",
        "[2,3]",
        "(2.0,3)",
        "(2L,3)",
        "(0x6,)",
        "(,)",
        "(,6)",
        "(6,,)",
        "(True,6)",
        "()or(6,)",
        "(2,3)+()",
        "(4294967296,4294967296)",
        "(0,18446744073709551615)",
        "(2,3),'shape':(6,)",
        "(2,3), 'x': 1",
        "\u{e9}",
        "(7,)",
        "(5,)",
    ] {
        let (at, message) = fault(npy::parse(&shape(bad), "x"));
        assert!(at >= 10, "{bad}: {message}");
    }
    for bad in [
        "",
        "{}",
        "{'descr': '<f4'}",
        "eval(1)",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}",
        "{'descr': '=f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '|f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': 'f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f3', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<b4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4\u{1b}', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()",
        "{'descr: '<f4'}",
        "{'descr': '', 'fortran_order': False, 'shape': ()}",
    ] {
        let (_, message) = fault(npy::parse(&with(bad, &[0; 4]), "x"));
        assert!(!message.contains('\u{1b}'), "{message}");
    }
    let deep = format!("({})", "1,".repeat(33));
    assert!(
        fault(npy::parse(&shape(&deep), "x"))
            .1
            .contains("more than 32")
    );
}

#[test]
fn bytes_that_do_not_fit() {
    assert_eq!(fault(npy::parse(b"", "x")).0, 0);
    assert_eq!(fault(npy::parse(b"\x93NUMPX\x01\x00", "x")).0, 0);
    let (at, m) = fault(npy::parse(b"\x93NUMPY\x09\x00\x10\x00", "x"));
    assert!(at == 6 && m.contains("9.0"));
    let (at, m) = fault(npy::parse(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "x"));
    assert!(at == 8 && m.contains("4294967295"), "{m}");
    let (_, m) = fault(npy::parse(b"\x93NUMPY\x01\x00\x10\x27{}", "x"));
    assert!(m.contains("ends within the header of 10000"), "{m}");
    let good = std::fs::read(golden("l_f4.npy")).unwrap();
    for n in 0..good.len() {
        assert!(npy::parse(&good[..n], "x").is_err(), "{n} bytes");
    }
    let (at, m) = fault(npy::parse(&[&good[..], &[0]].concat(), "x"));
    assert!(at == 152 && m.contains("goes on"), "{at} {m}");
    let truth = with(
        "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }",
        &[1, 2],
    );
    assert!(
        fault(npy::parse(&truth, "x"))
            .1
            .contains("2 is no truth value")
    );
    let mut big = std::fs::read(golden("l_u8.npy")).unwrap();
    *big.last_mut().unwrap() = 0x80;
    assert_eq!(fault(npy::parse(&big, "x")).0, 168);
}

#[test]
fn written_files_are_numpys() {
    for (name, tensor) in [
        (
            "n_b1",
            AnyTensor::from(Tensor::from_vec(
                vec![false, true, true, true, true, true],
                [2, 3],
            )),
        ),
        (
            "n_u1",
            Tensor::from_vec(vec![0u8, 1, 2, 3, 100, 127], [2, 3]).into(),
        ),
        (
            "l_i4",
            Tensor::from_vec(vec![-5i32, -4, -3, -2, 95, 122], [2, 3]).into(),
        ),
        (
            "l_i8",
            Tensor::from_vec(vec![-5i64, -4, -3, -2, 95, 122], [2, 3]).into(),
        ),
        (
            "l_f4",
            Tensor::from_vec(vec![-5f32, -4., -3., -2., 95., 122.], [2, 3]).into(),
        ),
        (
            "l_f8",
            Tensor::from_vec(vec![-5f64, -4., -3., -2., 95., 122.], [2, 3]).into(),
        ),
        ("scalar", Tensor::scalar(2.5f64).into()),
        ("empty", Tensor::<f32>::zeros([0, 3]).into()),
        (
            "vector",
            Tensor::from_vec(vec![0i64, 1, 2, 3, 4], [5]).into(),
        ),
    ] {
        assert_eq!(
            npy::to_bytes(tensor),
            std::fs::read(golden(&format!("{name}.npy"))).unwrap(),
            "{name}"
        );
    }
    let dir = TempDir::new();
    let path = dir.path().join("t.npy");
    let t = Tensor::from_fn([3, 4], |i| (i[0] * 4 + i[1]) as f32).t();
    npy::write(&path, t.clone()).unwrap();
    assert!(npy::read(&path).unwrap().to_f32().unwrap() == t);
    assert!(matches!(
        npy::write(dir.path(), t),
        Err(Error::Io {
            action: "write",
            ..
        })
    ));
}

#[cfg(feature = "gzip")]
mod archives {
    use super::*;
    use wengert_data::Limits;
    use wengert_data::npz::Npz;

    #[test]
    fn stored_and_packed() {
        let a = Npz::open(golden("stored.npz")).unwrap();
        assert_eq!(a.names().collect::<Vec<_>>(), ["x", "layer/w"]);
        assert_eq!(
            a.get("x").unwrap().to_f32().unwrap().to_vec(),
            [0., 1., 2., 3., 4., 5.]
        );
        assert_eq!(
            a.get("layer/w").unwrap().to_i64().unwrap().to_vec(),
            [0, 1, 2]
        );
        let e = a.get("y").err().unwrap().to_string();
        assert_eq!(e, "npz: no array \"y\" among \"x\", \"layer/w\"");
        let a = Npz::open(golden("packed.npz")).unwrap();
        assert!(a.get("x").unwrap().to_f32().unwrap() == Tensor::zeros([100, 100]));
        let y = a.get("y").unwrap().to_i64().unwrap();
        assert!(y.iter().eq(0..1000));
    }

    #[test]
    fn damage() {
        // Found by mutation: an end record shorter than one.
        for n in 0..22 {
            assert!(
                Npz::parse(&[&b"PK\x05\x06"[..], &[0; 17]].concat()[..n.min(21)], "x").is_err()
            );
        }
        for (name, step) in [("stored.npz", 1), ("packed.npz", 7)] {
            let good = std::fs::read(golden(name)).unwrap();
            for n in 0..good.len() {
                assert!(Npz::parse(&good[..n], "x").is_err(), "{name}, {n} bytes");
            }
            // A flipped bit is refused by the directory, the array or the checksum, or stands in a field nobody reads.
            let whole: Vec<Vec<f64>> = values(&good).unwrap();
            let mut noticed = 0;
            for bit in (0..good.len() * 8).step_by(step) {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                match values(&bad) {
                    Ok(v) => assert_eq!(v, whole, "{name}, bit {bit}"),
                    Err(_) => noticed += 1,
                }
            }
            assert!(noticed > good.len() * 2 / step, "{noticed}");
        }
    }

    fn values(bytes: &[u8]) -> Result<Vec<Vec<f64>>, Error> {
        let a = Npz::parse(bytes, "x.npz")?;
        a.names()
            .map(|n| Ok(a.get(n)?.to_f64()?.to_vec()))
            .collect()
    }

    /// An archive of one member, with the words of its directory entry under the test's control.
    fn archive(name: &str, packed: &[u8], method: u16, crc: u32, size: u32) -> Vec<u8> {
        let mut fields = Vec::new();
        fields.extend([0; 6]);
        fields.extend(method.to_le_bytes());
        fields.extend([0; 4]);
        fields.extend(crc.to_le_bytes());
        fields.extend((packed.len() as u32).to_le_bytes());
        fields.extend(size.to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0; 2]);
        let mut out = b"PK\x03\x04".to_vec();
        out.extend(&fields[2..]);
        out.extend(name.as_bytes());
        out.extend(packed);
        let directory = out.len();
        out.extend(b"PK\x01\x02");
        out.extend(&fields);
        out.extend([0; 14]);
        out.extend(name.as_bytes());
        let length = out.len() - directory;
        out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        out.extend((length as u32).to_le_bytes());
        out.extend((directory as u32).to_le_bytes());
        out.extend([0; 2]);
        out
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut w = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        w.write_all(bytes).unwrap();
        w.finish().unwrap()
    }

    fn crc(bytes: &[u8]) -> u32 {
        let mut c = flate2::Crc::new();
        c.update(bytes);
        c.sum()
    }

    #[test]
    fn bombs_and_bad_names() {
        let array = npy::to_bytes(Tensor::from_vec(vec![1i64, 2], [2]));
        let good = archive(
            "a.npy",
            &deflate(&array),
            8,
            crc(&array),
            array.len() as u32,
        );
        assert_eq!(values(&good).unwrap(), [[1.0, 2.0]]);
        for name in [
            "../a.npy",
            "/a.npy",
            "a/../../b.npy",
            "a\\b.npy",
            "a.txt",
            "c:a.npy",
            "a//b.npy",
            "./a.npy",
        ] {
            let e = Npz::parse(
                &archive(name, &array, 0, crc(&array), array.len() as u32),
                "x",
            )
            .err();
            assert!(
                e.is_some_and(|e| e.to_string().contains("not that of an array")),
                "{name}"
            );
        }
        // 16 MB of zeros that claim to be 144 bytes, or 4 GB, or an array of 10 GB.
        let bomb = deflate(&[&array[..], &vec![0; 16 << 20]].concat());
        let small = archive("a.npy", &bomb, 8, crc(&array), array.len() as u32);
        assert!(
            fault(values(&small))
                .1
                .contains("the directory says 144 bytes")
        );
        let huge = archive("a.npy", &deflate(&array), 8, crc(&array), 4_000_000_000);
        assert!(fault(values(&huge)).1.contains("cannot hold"));
        let header = with(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000,), }",
            &[0; 1000],
        );
        let long = archive(
            "a.npy",
            &deflate(&header),
            8,
            crc(&header),
            header.len() as u32,
        );
        assert!(fault(values(&long)).1.contains("needs 1000000007"));
        let method = archive("a.npy", &array, 12, crc(&array), array.len() as u32);
        assert!(fault(values(&method)).1.contains("method 12"));
        let sum = archive("a.npy", &array, 0, 7, array.len() as u32);
        assert!(values(&sum).unwrap_err().to_string().contains("checksum"));
        let dir = TempDir::new();
        let path = dir.put("bomb.npz", &{
            let zeros = npy::to_bytes(Tensor::<u8>::zeros([1 << 20]));
            archive(
                "a.npy",
                &deflate(&zeros),
                8,
                crc(&zeros),
                zeros.len() as u32,
            )
        });
        let limits = Limits {
            unpacked: 1 << 16,
            ..Limits::default()
        };
        assert!(matches!(
            Npz::open_with(&path, &limits).unwrap().get("a"),
            Err(Error::TooLarge { .. })
        ));
        assert!(Npz::open(&path).unwrap().get("a").is_ok());
    }
}
