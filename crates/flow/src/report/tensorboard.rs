//! Event files that TensorBoard reads: scalars and histograms.
//!
//! ```no_run
//! use wengert_flow::report::tensorboard::EventWriter;
//! let mut log = EventWriter::create("runs/mlp")?;        // then: tensorboard --logdir runs
//! for step in 0..100u16 {
//!     log.scalar("loss", i64::from(step), 1.0 / f64::from(step + 1))?;
//! }
//! log.flush()?;
//! # Ok::<(), wengert_flow::report::Error>(())
//! ```
//!
//! The format: TFRecord frames (length, masked CRC-32C of the length, data, masked CRC-32C of the data; TensorFlow's
//! `record_writer.cc`) around `Event` messages of `event.proto` and `summary.proto`, written by hand.

use super::escape::clean;
use super::{Error, Result};
use crate::profile::{RunProfile, Summary};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78).
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 == 1 {
                (c >> 1) ^ 0x82f6_3b78
            } else {
                c >> 1
            };
            k += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |c, &b| {
        (c >> 8) ^ CRC[((c ^ u32::from(b)) & 0xff) as usize]
    })
}

/// The form in which TFRecord stores a checksum.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protocol buffer message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut x: u64) {
        while x >= 0x80 {
            self.0.push(x as u8 | 0x80);
            x >>= 7;
        }
        self.0.push(x as u8);
    }

    fn double(&mut self, field: u64, x: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(x.to_le_bytes());
    }

    fn float(&mut self, field: u64, x: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(x.to_le_bytes());
    }

    fn integer(&mut self, field: u64, x: i64) {
        self.varint(field << 3);
        // Negative numbers take ten bytes, as the format wants it.
        self.varint(x as u64);
    }

    fn bytes(&mut self, field: u64, data: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(data.len() as u64);
        self.0.extend(data);
    }

    fn doubles(&mut self, field: u64, values: impl Iterator<Item = f64>) {
        let packed: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
        self.bytes(field, &packed);
    }
}

/// Appends events to a stream.
///
/// The stream is read while it grows (TensorBoard polls it), so it is not written atomically; a frame that was cut off is
/// recognized by its checksum and skipped by readers.
#[derive(Debug)]
pub struct EventWriter<W: Write> {
    out: W,
    path: PathBuf,
    /// Seconds since 1970 put into every event; the clock's when not fixed.
    fixed_time: Option<f64>,
}

impl EventWriter<BufWriter<File>> {
    /// A new event file in `folder`, which is created where it is missing. TensorBoard shows each folder as one run.
    ///
    /// # Errors
    /// When folder or file cannot be created; the error names them.
    pub fn create(folder: impl AsRef<Path>) -> Result<EventWriter<BufWriter<File>>> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        loop {
            let path = folder.join(format!(
                "events.out.tfevents.{:010}.wengert.{}.{}",
                now() as u64,
                std::process::id(),
                COUNTER.fetch_add(1, Ordering::Relaxed)
            ));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(f) => return EventWriter::start(BufWriter::new(f), path, None),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", &path, e)),
            }
        }
    }
}

impl<W: Write> EventWriter<W> {
    /// Events into any stream, with a fixed time of the clock (seconds since 1970), so that the same events give the
    /// same bytes.
    ///
    /// # Errors
    /// When the stream refuses.
    pub fn new(out: W, wall_time: f64) -> Result<EventWriter<W>> {
        EventWriter::start(out, PathBuf::from("event stream"), Some(wall_time))
    }

    fn start(out: W, path: PathBuf, fixed_time: Option<f64>) -> Result<EventWriter<W>> {
        let mut w = EventWriter {
            out,
            path,
            fixed_time,
        };
        let mut event = w.event(None);
        event.bytes(3, b"brain.Event:2");
        w.frame(&event.0)?;
        Ok(w)
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn event(&self, step: Option<i64>) -> Message {
        let mut m = Message::default();
        m.double(1, self.fixed_time.unwrap_or_else(now));
        if let Some(s) = step {
            m.integer(2, s);
        }
        m
    }

    fn frame(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut put = |bytes: &[u8]| self.out.write_all(bytes);
        put(&length)
            .and_then(|()| put(&masked(crc32c(&length)).to_le_bytes()))
            .and_then(|()| put(data))
            .and_then(|()| put(&masked(crc32c(data)).to_le_bytes()))
            .map_err(|e| Error::io("write", &self.path, e))
    }

    fn value(&mut self, tag: &str, step: i64, fill: impl FnOnce(&mut Message)) -> Result<()> {
        let mut value = Message::default();
        value.bytes(1, clean(tag, 400).as_bytes());
        fill(&mut value);
        let mut summary = Message::default();
        summary.bytes(1, &value.0);
        let mut event = self.event(Some(step));
        event.bytes(5, &summary.0);
        self.frame(&event.0)
    }

    /// One point of a curve. Stored as `f32`, as the format has it; NaN and infinities are kept. In tags, `/` makes
    /// groups; control characters are made visible and tags cut to 400 characters.
    ///
    /// # Errors
    /// When the stream refuses.
    pub fn scalar(&mut self, tag: &str, step: i64, value: f64) -> Result<()> {
        self.value(tag, step, |m| m.float(2, value as f32))
    }

    /// A histogram; nothing is written for a summary without one.
    ///
    /// # Errors
    /// When the stream refuses.
    pub fn histogram(&mut self, tag: &str, step: i64, summary: &Summary) -> Result<()> {
        let Some(h) = &summary.histogram else {
            return Ok(());
        };
        let n = h.counts.len();
        // Buckets are given by their upper ends; what lies outside of the bins gets one at each side.
        let mut limits = vec![h.edges[0]];
        limits.extend(&h.edges[1..]);
        limits.push(f64::MAX);
        let mut counts = vec![h.below as f64];
        counts.extend(h.counts.iter().map(|c| *c as f64));
        counts.push(h.above as f64);
        debug_assert_eq!((limits.len(), counts.len()), (n + 2, n + 2));
        if h.above == 0 {
            limits.pop();
            counts.pop();
        }
        let total = h.total() as f64;
        let mut histo = Message::default();
        histo.double(1, summary.min);
        histo.double(2, summary.max);
        histo.double(3, total);
        histo.double(4, summary.mean * total);
        histo.double(5, summary.rms * summary.rms * total);
        histo.doubles(6, limits.into_iter());
        histo.doubles(7, counts.into_iter());
        self.value(tag, step, |m| m.bytes(5, &histo.0))
    }

    /// All that a run holds. Curves go under their own name by whole steps; per observed step and layer: histograms of
    /// `activation`, `activation_grad`, `weights`, `weight_grad` where there are any, and scalars `activation_std`,
    /// `activation_grad_rms`, `weight_grad_rms`, `update_ratio`, `saturation`, `dead`, each followed by `/` and the path.
    ///
    /// # Errors
    /// When the stream refuses.
    pub fn run(&mut self, run: &RunProfile) -> Result<()> {
        for c in &run.curves {
            for &(x, y) in &c.points {
                self.scalar(&c.name, x.round() as i64, y)?;
            }
        }
        for s in &run.steps {
            let step = i64::try_from(s.step).unwrap_or(i64::MAX);
            if let Some(loss) = s.loss {
                self.scalar("observed/loss", step, loss)?;
            }
            for (name, value) in &s.metrics {
                self.scalar(&format!("observed/{name}"), step, *value)?;
            }
            for l in &s.layers {
                for (what, summary) in [
                    ("activation", &l.activation),
                    ("activation_grad", &l.activation_grad),
                    ("weights", &l.weights),
                    ("weight_grad", &l.weight_grad),
                ] {
                    if let Some(h) = summary {
                        self.histogram(&format!("{what}/{}", l.path), step, h)?;
                    }
                }
                for (what, value) in [
                    ("activation_std", l.activation.as_ref().map(|a| a.std)),
                    ("activation_grad_rms", l.activation_grad_rms()),
                    ("weight_grad_rms", l.weight_grad_rms()),
                    ("update_ratio", l.update_ratio),
                    ("saturation", l.saturation),
                    ("dead", l.dead),
                ] {
                    if let Some(v) = value {
                        self.scalar(&format!("{what}/{}", l.path), step, v)?;
                    }
                }
            }
        }
        self.flush()
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// When the stream refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.out
            .flush()
            .map_err(|e| Error::io("write", &self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

/// Writes each run into a folder of its own under `folder`, named after the run (letters, digits, `.`, `-`, `_`; others
/// become `_`, equal names are numbered), and returns the files.
///
/// # Errors
/// When a folder or file cannot be written; the error names it.
pub fn write(folder: impl AsRef<Path>, runs: &[RunProfile]) -> Result<Vec<PathBuf>> {
    let mut used: Vec<String> = Vec::new();
    let mut files = Vec::new();
    for run in runs {
        let base = folder_name(&run.name);
        let mut name = base.clone();
        let mut n = 2;
        while used.contains(&name) {
            name = format!("{base}_{n}");
            n += 1;
        }
        let mut w = EventWriter::create(folder.as_ref().join(&name))?;
        w.run(run)?;
        files.push(w.path().to_path_buf());
        used.push(name);
    }
    Ok(files)
}

/// A name without anything that a path could give a meaning to.
fn folder_name(name: &str) -> String {
    let s: String = name
        .chars()
        .take(60)
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let s = s.trim_matches(['.', '_']).to_string();
    if s.is_empty() { "run".into() } else { s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Bins, Detail};

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    /// The messages are those that TensorBoard's `event_pb2.Event` serializes to.
    #[test]
    fn frames_are_byte_exact() {
        let mut out = Vec::new();
        let mut w = EventWriter::new(&mut out, 1.5).unwrap();
        w.scalar("a/b", 7, 0.25).unwrap();
        w.flush().unwrap();
        let version = b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2";
        assert_eq!(&out[..8], &(version.len() as u64).to_le_bytes());
        assert_eq!(&out[12..12 + version.len()], version);
        let second = &out[12 + version.len() + 4..];
        let event = b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x07\x2a\x0c\x0a\x0a\x0a\x03a/b\x15\0\0\x80\x3e";
        assert_eq!(&second[..8], &(event.len() as u64).to_le_bytes());
        assert_eq!(&second[12..12 + event.len()], event);
        // Checksums from TensorBoard's own `masked_crc32c`.
        assert_eq!(&second[8..12], &0x2808_f18b_u32.to_le_bytes());
        assert_eq!(&second[12 + event.len()..], &0x8ebd_4d6b_u32.to_le_bytes());
    }

    #[test]
    fn histograms_hold_every_value() {
        let bins = Bins::Linear {
            lo: -1.0,
            hi: 1.0,
            count: 4,
        };
        let s = Summary::with(
            &[-5.0f32, -0.9, 0.1, 0.2, 3.0, f32::NAN],
            Detail::histogram(bins),
        );
        let mut out = Vec::new();
        EventWriter::new(&mut out, 0.0)
            .unwrap()
            .histogram("h", 0, &s)
            .unwrap();
        let want: Vec<u8> = [1.0f64, 1.0, 0.0, 2.0, 0.0, 1.0]
            .into_iter()
            .flat_map(f64::to_le_bytes)
            .collect();
        assert!(out.windows(want.len()).any(|w| w == want));
        let mut nothing = Vec::new();
        EventWriter::new(&mut nothing, 0.0)
            .unwrap()
            .histogram("h", 0, &Summary::of(&[1.0f32]))
            .unwrap();
        assert_eq!(nothing.len(), 24 + 16);
    }

    #[test]
    fn run_names_are_no_paths() {
        assert_eq!(folder_name("../../etc/passwd"), "etc_passwd");
        assert_eq!(folder_name("sigmoid, N(0, 0.01²)"), "sigmoid__N_0__0.01²");
        assert_eq!(folder_name("\0/"), "run");
        let d = std::env::temp_dir().join(format!("wengert-events-{}", std::process::id()));
        let files = write(&d, &[RunProfile::new("a"), RunProfile::new("a")]).unwrap();
        assert!(files[0].starts_with(d.join("a")) && files[1].starts_with(d.join("a_2")));
        std::fs::remove_dir_all(d).unwrap();
        let e = EventWriter::create("/dev/null/x").unwrap_err();
        assert!(e.to_string().contains("/dev/null/x"), "{e}");
    }
}
