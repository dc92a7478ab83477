//! The memory of this process, for the programs here and for those of the Rust peers.

use std::fs::File;
use std::io::Read;

/// The peak so far in MB, VmHWM of `/proc/self/status`. It is read into a list on the stack: what reads whole files is code
/// that would be in memory for this alone.
pub fn peak_rss_mb() -> f64 {
    let mut text = [0; 4096];
    let file = File::open("/proc/self/status");
    let n = file.and_then(|mut f| f.read(&mut text)).unwrap_or(0);
    let mut lines = text[..n].split(|&c| c == b'\n');
    let kib = lines.find_map(|l| l.strip_prefix(b"VmHWM:")).map(|l| {
        let digits = l.iter().filter(|c| c.is_ascii_digit());
        digits.fold(0, |n, c| 10 * n + u32::from(c - b'0'))
    });
    kib.map_or(f64::NAN, |k| f64::from(k) / 1024.0)
}
