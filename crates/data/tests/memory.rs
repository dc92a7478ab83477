//! How much address space damaged files make the readers take. One test, so that the process is alone with it.
#![cfg(all(target_os = "linux", feature = "gzip"))]

mod common;
use common::{Split, TempDir, gzip, idx};
use std::io::Write;
use wengert_data::csv::Reader;
use wengert_data::{Mnist, Text, idx as idx_reader, npy};

/// Largest address space of the process so far, in bytes: also sees memory that was asked for and never touched.
///
/// The allocator itself once held up to 128 MB for a moment, so only claims well above that show.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmPeak:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

fn npy_file(shape: &str, data: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(vec![0; data]);
    out
}

/// A compressed file: `head`, then zeros. Made piece by piece, or the peak would be this test's own.
fn bomb(head: &[u8], megabytes: usize) -> Vec<u8> {
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    w.write_all(head).unwrap();
    for _ in 0..megabytes {
        w.write_all(&[0; 1 << 20]).unwrap();
    }
    w.finish().unwrap()
}

#[test]
fn memory_follows_the_file_not_its_header() {
    let dir = TempDir::new();
    let mut files: Vec<(&str, Vec<u8>)> = vec![
        ("dims.idx", idx(&[1 << 16, 1 << 15], &[1; 100])),
        ("overflow.idx", idx(&[u32::MAX; 4], &[1; 100])),
        ("zero.idx", idx(&[0, u32::MAX, 1 << 20], &[])),
        ("large.npy", npy_file("(1000000000,)", 100)),
        ("zero.npy", npy_file("(0, 1000000000)", 0)),
        ("overflow.npy", npy_file("(4294967296, 4294967296)", 8)),
        (
            "quote.csv",
            [b"a,\"".as_slice(), &vec![b'x'; 1 << 20]].concat(),
        ),
        ("commas.csv", vec![b','; 1 << 20]),
        ("lines.csv", b"1\n".repeat(1 << 19)),
        (
            "ragged.csv",
            b"1,2\n"
                .repeat(1 << 18)
                .into_iter()
                .chain(*b"1,2,3")
                .collect(),
        ),
        ("text.txt", "aé".repeat(300_000).into_bytes()),
    ];
    // 200 MB of zeros behind headers that lie: less than there is, and more, though not more than deflate could pack.
    files.push((
        "claim.idx.gz",
        gzip(&idx(&[400 << 20], &Split(1).bytes(500_000))),
    ));
    files.push(("bomb.idx.gz", bomb(&idx(&[100], &[]), 200)));
    let paths: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (*name, dir.put(name, bytes), bytes.len()))
        .collect();
    drop(files);
    dir.put("t10k-labels-idx1-ubyte", &idx(&[1 << 31], &[0]));
    dir.put("t10k-images-idx3-ubyte", &idx(&[1 << 31, 28, 28], &[0]));
    let read = |path: &std::path::Path| {
        let name = path.to_str().unwrap();
        if name.contains(".idx") {
            drop(idx_reader::read(path));
        } else if name.ends_with(".npy") {
            drop(npy::read(path));
        } else if name.ends_with(".csv") {
            if let Ok(t) = Reader::bare().missing(0.0).read(path) {
                let columns: Vec<usize> = (0..t.columns()).collect();
                drop(t.numbers::<f32>(&columns));
            }
        } else {
            drop(Text::read(path));
        }
    };
    // Warm: the allocator and the tables of the decompressor are there.
    drop(idx_reader::parse(&gzip(&idx(&[2], &[1, 2])), "x"));
    for (name, path, size) in &paths {
        let before = peak();
        read(path);
        let taken = peak() - before;
        // Text of n bytes: the file, n characters of 2 bytes, their vocabulary; a table: 4 bytes per field and the numbers.
        let allowed = 8 * size + (16 << 20);
        assert!(
            taken <= allowed,
            "{name}: {taken} bytes for a file of {size}"
        );
    }
    let before = peak();
    assert!(Mnist::load_test(dir.path()).is_err());
    assert!(peak() - before < 16 << 20);
}
