//! IDX files and MNIST directories: right values, and every kind of damage.
#![cfg(feature = "gzip")]

mod common;
use common::{TempDir, gzip, idx};
use wengert_data::{AnyTensor, DataLoader, Dataset, Error, Limits, Mnist, Position, idx as reader};
use wengert_tensor::Tensor;

fn fault(bytes: &[u8]) -> (Position, String) {
    match reader::parse(bytes, "some/file.idx") {
        Err(Error::Format { path, at, message }) => {
            assert_eq!(path.to_str(), Some("some/file.idx"));
            (at, message)
        }
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn all_element_types() {
    let file = |code: u8, data: &[u8]| [&[0, 0, code, 1, 0, 0, 0, 2][..], data].concat();
    let read = |code, data: &[u8]| reader::parse(&file(code, data), "x").unwrap();
    assert_eq!(read(0x08, &[7, 255]).into_u8().unwrap().to_vec(), [7, 255]);
    assert_eq!(read(0x09, &[7, 255]).to_i64().unwrap().to_vec(), [7, -1]);
    assert_eq!(
        read(0x0b, &[1, 2, 0xff, 0xfe]).to_i64().unwrap().to_vec(),
        [258, -2]
    );
    assert_eq!(
        read(0x0c, &[0, 1, 0, 0, 0x80, 0, 0, 0])
            .to_i64()
            .unwrap()
            .to_vec(),
        [65536, i64::from(i32::MIN)]
    );
    let f = [1.5f32.to_be_bytes(), f32::NAN.to_be_bytes()].concat();
    let t = read(0x0d, &f).to_f32().unwrap().to_vec();
    assert!(t[0] == 1.5 && t[1].is_nan());
    let d = [(-0.1f64).to_be_bytes(), 1e300f64.to_be_bytes()].concat();
    assert_eq!(read(0x0e, &d).to_f64().unwrap().to_vec(), [-0.1, 1e300]);
    assert_eq!(
        read(0x0e, &d).to_f32().unwrap().to_vec(),
        [-0.1, f32::INFINITY]
    );
    assert!(read(0x0e, &d).to_i64().is_err());
    assert!(matches!(
        read(0x0c, &[0; 8]).into_u8(),
        Err(Error::Tensor(_))
    ));
}

#[test]
fn ranks_and_empty_axes() {
    let t = reader::parse(&idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]), "x").unwrap();
    assert_eq!(t.shape(), [2, 1, 3]);
    assert_eq!(
        reader::parse(&[0, 0, 8, 0, 9], "x")
            .unwrap()
            .into_u8()
            .unwrap()
            .item(),
        9
    );
    assert_eq!(
        reader::parse(&idx(&[0, u32::MAX, 3], &[]), "x")
            .unwrap()
            .shape()[0],
        0
    );
    assert_eq!(
        reader::parse(&idx(&[1; 32], &[3]), "x").unwrap().shape(),
        [1; 32]
    );
}

#[test]
fn damage_is_named_with_its_place() {
    assert_eq!(fault(&[]).0, Position::Byte(0));
    assert!(fault(&[]).1.contains("magic"));
    let (at, text) = fault(&[0, 1, 8, 1, 0, 0, 0, 0]);
    assert!(at == Position::Byte(0) && text.contains("magic"));
    let (at, text) = fault(&[0, 0, 0x0a, 1, 0, 0, 0, 0]);
    assert!(at == Position::Byte(2) && text.contains("type 0x0a"));
    let (at, text) = fault(&[&[0, 0, 8, 255][..], &[0; 2000]].concat());
    assert!(at == Position::Byte(3) && text.contains("255 dimensions"));
    let (at, text) = fault(&idx(&[0, u32::MAX, u32::MAX], &[]));
    assert!(
        at == Position::Byte(12) && text.contains("dimension 2") && text.contains("overflow"),
        "{text}"
    );
    let (at, text) = fault(&idx(&[u32::MAX, 1 << 30], &[1, 2]));
    assert!(
        at == Position::Byte(14) && text.contains("4611686017353646092"),
        "{text}"
    );
    let (at, text) = fault(&idx(&[2], &[1, 2, 3]));
    assert!(
        at == Position::Byte(10) && text.contains("goes on"),
        "{text}"
    );
}

#[test]
fn every_truncation_is_an_error() {
    let whole = idx(&[3, 4, 5], &[7; 60]);
    assert!(reader::parse(&whole, "x").is_ok());
    for n in 0..whole.len() {
        assert!(reader::parse(&whole[..n], "x").is_err(), "{n} bytes");
    }
    let packed = gzip(&whole);
    assert_eq!(reader::parse(&packed, "x").unwrap().shape(), [3, 4, 5]);
    for n in 0..packed.len() {
        assert!(
            reader::parse(&packed[..n], "x").is_err(),
            "{n} bytes of gzip"
        );
    }
    let mut tail = packed.clone();
    tail.push(0);
    assert!(reader::parse(&tail, "x").is_err());
    let mut flipped = packed;
    let last = flipped.len() - 5;
    flipped[last] ^= 1;
    assert!(reader::parse(&flipped, "x").is_err(), "wrong checksum");
}

#[test]
fn gzip_bombs_are_stopped_by_header_and_limit() {
    // 100 MB of zeros behind a header that promises ten bytes.
    let bomb = gzip(&[idx(&[10], &[]), vec![0; 100 << 20]].concat());
    assert!(bomb.len() < 200_000);
    let (at, text) = fault(&bomb);
    assert!(
        at == Position::Byte(18) && text.contains("goes on"),
        "{text}"
    );
    // A header that promises more than the compressed bytes can hold.
    let (_, text) = fault(&gzip(&idx(&[4_000_000_000], &[0; 1000])));
    assert!(text.contains("cannot hold"), "{text}");
    // An honest header above the limit.
    let dir = TempDir::new();
    let path = dir.put("big.gz", &gzip(&idx(&[1 << 20], &vec![0; 1 << 20])));
    let limits = Limits {
        unpacked: 1 << 19,
        ..Limits::default()
    };
    let e = reader::read_with(&path, &limits).err().unwrap();
    assert!(matches!(e, Error::TooLarge { limit: 524_288, .. }), "{e}");
    assert!(reader::read(&path).is_ok());
    let limits = Limits {
        file: 100,
        ..Limits::default()
    };
    assert!(matches!(
        reader::read_with(&path, &limits),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn files_that_are_none() {
    let dir = TempDir::new();
    for path in [
        dir.path().to_path_buf(),
        dir.path().join("absent"),
        "/dev/zero".into(),
    ] {
        assert!(
            matches!(reader::read(&path), Err(Error::Io { .. })),
            "{path:?}"
        );
    }
    let name = format!("{}\u{1b}[31m\n", "long".repeat(40));
    let text = reader::read(dir.path().join(&name))
        .err()
        .unwrap()
        .to_string();
    assert!(
        !text.contains('\u{1b}') && !text.contains('\n') && text.contains("\\u{1b}[31m\\n"),
        "{text}"
    );
    let text = reader::parse(&[], "x".repeat(1_000_000))
        .err()
        .unwrap()
        .to_string();
    assert!(text.len() < 500);
}

fn mnist(dir: &TempDir, part: &str, n: u32, compressed: bool) {
    let pixels: Vec<u8> = (0..n * 6).map(|i| (i * 37 % 256) as u8).collect();
    let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
    let put = |name: String, bytes: Vec<u8>| {
        if compressed {
            dir.put(&format!("{name}.gz"), &gzip(&bytes));
        } else {
            dir.put(&name, &bytes);
        }
    };
    put(
        format!("{part}-images-idx3-ubyte"),
        idx(&[n, 2, 3], &pixels),
    );
    put(format!("{part}-labels-idx1-ubyte"), idx(&[n], &labels));
}

#[test]
fn a_directory_is_read_plain_and_compressed() {
    let dir = TempDir::new();
    mnist(&dir, "train", 12, false);
    mnist(&dir, "t10k", 5, true);
    let m = Mnist::load(dir.path()).unwrap();
    assert_eq!((m.train.len(), m.test.len()), (12, 5));
    assert_eq!(m.test.images().shape(), [5, 2, 3]);
    let all = m.test.to_labeled().unwrap();
    assert_eq!(all.inputs.shape(), [5, 6]);
    assert_eq!(all.inputs.get(&[0, 1]), 37.0 / 255.0);
    assert_eq!(all.labels.to_vec(), [0, 1, 2, 3, 4]);
    let loader = DataLoader::new(m.train.clone().normalize(0.5, 0.25).unwrap(), 4).workers(1);
    for (k, (x, y)) in loader.epoch(0).enumerate() {
        assert_eq!((x.shape(), y.shape()), (&[4, 1, 2, 3][..], &[4][..]));
        for i in 0..4 {
            let at = k * 4 + i;
            let byte = f32::from(m.train.images().get(&[at, 1, 2]));
            assert_eq!(x.get(&[i, 0, 1, 2]), (byte / 255.0 - 0.5) / 0.25);
            assert_eq!(y.get(&[i]), (at % 10) as i64);
        }
    }
    let (one, label) = m.train.get(11).unwrap();
    assert_eq!((one.shape(), label.item()), (&[1, 2, 3][..], 1));
    assert!(m.train.get(12).is_err());
    assert!(m.train.normalize(0.0, 0.0).is_err());
}

#[test]
fn missing_and_mismatched_files_are_named() {
    let dir = TempDir::new();
    mnist(&dir, "t10k", 5, true);
    assert_eq!(Mnist::load_test(dir.path()).unwrap().len(), 5);
    let e = Mnist::load(dir.path()).err().unwrap();
    assert!(
        matches!(&e, Error::Missing { files, .. } if files.len() == 2),
        "{e}"
    );
    let text = e.to_string();
    assert!(
        text.contains("train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz]"),
        "{text}"
    );
    assert!(matches!(
        Mnist::load(dir.path().join("none")),
        Err(Error::Io { .. })
    ));

    dir.put("t10k-labels-idx1-ubyte", &idx(&[4], &[0; 4]));
    let text = Mnist::load_test(dir.path()).err().unwrap().to_string();
    assert!(
        text.contains("t10k-labels") && text.contains("4 labels, but 5 images"),
        "{text}"
    );
    dir.put("t10k-labels-idx1-ubyte", &idx(&[5], &[0, 1, 10, 0, 0]));
    let text = Mnist::load_test(dir.path()).err().unwrap().to_string();
    assert!(
        text.contains("byte 10") && text.contains("label 10"),
        "{text}"
    );
    dir.put("t10k-labels-idx1-ubyte", &idx(&[5, 1], &[0; 5]));
    let text = Mnist::load_test(dir.path()).err().unwrap().to_string();
    assert!(text.contains("rank 1") && text.contains("[5, 1]"), "{text}");
}

#[test]
fn any_tensor_converts() {
    let b = AnyTensor::Bool(Tensor::from_vec(vec![true, false], [2]));
    assert_eq!(b.to_f32().unwrap().to_vec(), [1.0, 0.0]);
    assert_eq!(b.to_i64().unwrap().to_vec(), [1, 0]);
    assert_eq!(b.to_f64().unwrap().to_vec(), [1.0, 0.0]);
}
