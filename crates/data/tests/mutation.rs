//! Damaged files: a fixed, seeded stream of mutations of good files over every reader. Each is read or refused; none panics,
//! none takes long.
//!
//! `WENGERT_MUTATIONS` sets how many per kind of file (default 4,000); the stream is the same each time.

mod common;
use common::{Split, gzip, idx};
use std::time::{Duration, Instant};
use wengert_data::csv::Reader;
use wengert_data::{AnyTensor, Error, idx as idx_reader, npy};

fn count() -> usize {
    std::env::var("WENGERT_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(4_000)
}

/// One to four random edits.
fn mutate(good: &[u8], words: &[&[u8]], rng: &mut Split) -> Vec<u8> {
    let mut out = good.to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(out.len() + 1);
        // Headers are where the decisions are made: half of the edits go there.
        let at = if rng.below(2) == 0 {
            at.min(rng.below(64))
        } else {
            at
        };
        match rng.below(8) {
            0 if at < out.len() => out[at] ^= 1 << rng.below(8),
            1 if at < out.len() => out[at] = rng.next() as u8,
            2 => out.truncate(at),
            3 => out.insert(at, rng.next() as u8),
            4 => {
                let end = (at + rng.below(16)).min(out.len());
                out.drain(at..end);
            }
            5 => {
                let end = (at + rng.below(40)).min(out.len());
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            6 => {
                // A number that tests limits, in either byte order.
                let n = [
                    0u64,
                    1,
                    0x7f,
                    0xff,
                    0x7fff_ffff,
                    0xffff_ffff,
                    1 << 32,
                    i64::MAX as u64,
                    u64::MAX,
                ][rng.below(9)];
                let bytes = if rng.below(2) == 0 {
                    n.to_le_bytes()
                } else {
                    n.to_be_bytes()
                };
                let width = [1, 2, 4, 8][rng.below(4)];
                let bytes = if rng.below(2) == 0 {
                    &bytes[..width]
                } else {
                    &bytes[8 - width..]
                };
                for (k, b) in bytes.iter().enumerate() {
                    if let Some(x) = out.get_mut(at + k) {
                        *x = *b;
                    }
                }
            }
            _ => {
                let word = words[rng.below(words.len())];
                out.splice(at..at, word.iter().copied());
            }
        }
    }
    out
}

/// Reads every mutation; `read` says whether it was accepted.
fn storm(
    name: &str,
    seeds: &[Vec<u8>],
    words: &[&[u8]],
    read: impl Fn(&[u8]) -> Result<(), Error>,
) {
    for good in seeds {
        read(good).unwrap_or_else(|e| panic!("{name}: the seed was refused: {e}"));
    }
    let mut rng = Split(0x5eed);
    let (mut accepted, mut refused) = (0, 0);
    for k in 0..count() {
        let bytes = mutate(&seeds[k % seeds.len()], words, &mut rng);
        let start = Instant::now();
        match read(&bytes) {
            Ok(()) => accepted += 1,
            Err(e) => {
                refused += 1;
                let text = e.to_string();
                let tame = text.chars().all(|c| !c.is_control()) && text.len() < 2000;
                assert!(tame, "{name}, mutation {k}: {text:?}");
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{name}, mutation {k} took {:?}",
            start.elapsed()
        );
    }
    assert!(
        accepted > 0 && refused > 0,
        "{name}: {accepted} accepted, {refused} refused"
    );
}

fn consistent(t: &AnyTensor) {
    let n: usize = t.shape().iter().product();
    assert_eq!(t.to_f64().unwrap().iter().count(), n);
}

#[test]
fn idx_files() {
    let plain = vec![
        idx(&[2, 3, 4], &[9; 24]),
        [
            &[0, 0, 0x0d, 1, 0, 0, 0, 2][..],
            &[0x3f, 0x80, 0, 0, 0xff, 0xc0, 0, 0],
        ]
        .concat(),
        [&[0, 0, 0x0b, 2, 0, 0, 0, 0, 0, 0, 0, 5][..], &[]].concat(),
        vec![0, 0, 8, 0, 1],
    ];
    let words: [&[u8]; 4] = [&[0, 0, 0, 0], &[0xff; 4], &[0, 0, 8, 1], &[0x1f, 0x8b]];
    let read = |b: &[u8]| idx_reader::parse(b, "f\u{1b}.idx").map(|t| consistent(&t));
    storm("idx", &plain, &words, read);
    if cfg!(feature = "gzip") {
        let packed: Vec<_> = plain
            .iter()
            .chain([&idx(&[100, 100], &[3; 10_000])])
            .map(|b| gzip(b))
            .collect();
        storm("idx.gz", &packed, &words, read);
    }
}

#[test]
fn csv_files() {
    let seeds: Vec<Vec<u8>> = [
        "a,b,c\n1,2.5,x\n-3e4,.5,\"y,\"\"z\"\n",
        "\u{feff}\"p\"\r\n1\r\n\r\n2",
        "x;y\n1;2\n",
        "k,v\n1,2\n3,4",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect();
    let words: [&[u8]; 12] = [
        b"\"",
        b"\"\"",
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"nan",
        b"1e999",
        "é\u{202e}".as_bytes(),
        b"\xff",
        b"\xef\xbb\xbf",
    ];
    storm("csv", &seeds, &words, |b| {
        let readers = [
            Reader::headed(),
            Reader::bare().missing(0.0).non_finite(true),
            Reader::bare().delimiter(b';')?,
        ];
        // The first decides; the others may disagree.
        Reader::headed().parse(b, "t.csv")?;
        for reader in readers {
            let Ok(t) = reader.parse(b, "t.csv") else {
                continue;
            };
            let columns: Vec<usize> = (0..t.columns()).collect();
            for row in 0..t.rows() {
                for &c in &columns {
                    t.get(row, c)?;
                }
            }
            let _ = t
                .numbers::<f32>(&columns)
                .map(|x| assert_eq!(x.shape(), [t.rows(), columns.len()]));
            let _ = t.integers(0);
            let (labels, names) = t.classes(t.columns() - 1)?;
            assert!(labels.iter().all(|y| (y as usize) < names.len()));
        }
        Ok(())
    });
}

fn golden() -> impl Iterator<Item = (String, Vec<u8>)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(|p| {
        (
            p.file_name().unwrap().to_str().unwrap().to_string(),
            std::fs::read(p).unwrap(),
        )
    })
}

#[test]
fn npy_files() {
    let refused = ["object.npy", "complex.npy", "text.npy", "struct.npy"];
    let seeds: Vec<Vec<u8>> = golden()
        .filter(|(n, _)| n.ends_with(".npy") && !refused.contains(&n.as_str()))
        .map(|f| f.1)
        .collect();
    assert!(seeds.len() > 20);
    let words: [&[u8]; 12] = [
        b"(",
        b")",
        b",",
        b"'",
        b"{",
        b"}",
        b"-1",
        b"18446744073709551615",
        b"True",
        b"'descr': ",
        b"|O",
        b"99999999999",
    ];
    storm("npy", &seeds, &words, |b| {
        npy::parse(b, "t.npy").map(|t| consistent(&t))
    });
}

#[cfg(feature = "gzip")]
#[test]
fn npz_files() {
    let seeds: Vec<Vec<u8>> = golden()
        .filter(|(n, _)| n.ends_with(".npz"))
        .map(|f| f.1)
        .collect();
    let words: [&[u8]; 6] = [
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PK\x06\x07",
        b"../",
    ];
    // Half of the edits where the directory is: at the end.
    let turned: Vec<Vec<u8>> = seeds
        .iter()
        .map(|s| s.iter().rev().copied().collect())
        .collect();
    let read = |b: &[u8]| {
        let a = wengert_data::npz::Npz::parse(b, "t.npz")?;
        let names: Vec<String> = a.names().map(str::to_string).collect();
        names
            .iter()
            .try_for_each(|n| a.get(n).map(|t| consistent(&t)))
    };
    storm("npz", &seeds, &words, read);
    storm("npz from its end", &turned, &words, |b| {
        read(&b.iter().rev().copied().collect::<Vec<_>>())
    });
}
