//! Memory while reading: bounded by the file, never by what a header claims. Alone in its process, which it measures.
#![cfg(target_os = "linux")]

use std::path::Path;
use wengert_autograd::Tensor;
use wengert_nn::state::Checkpoint;

/// A line of `/proc/self/status` in bytes.
fn status(name: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with(name))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Peak of the resident memory during `f`, above what was resident before. `None` where the system does not tell.
fn peak(f: impl FnOnce()) -> Option<usize> {
    // Resets the peak.
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = status("VmRSS:")?;
    f();
    Some(status("VmHWM:")?.saturating_sub(before))
}

#[test]
fn peak_memory_is_that_of_the_file() {
    const MB: usize = 1 << 20;
    // Whatever is set up once is set up here.
    let small = Checkpoint::new().to_bytes().unwrap();
    Checkpoint::from_bytes(&small).unwrap();
    Checkpoint::from_bytes(&small[..20]).unwrap_err();

    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-memory", std::process::id()));
    let size = {
        let mut c = Checkpoint::new();
        for i in 0..4 {
            c.put_tensor("m", &i.to_string(), Tensor::<f32>::ones([1 << 20]));
        }
        c.save(&file).unwrap();
        std::fs::metadata(&file).unwrap().len() as usize
    };
    let mut loaded = None;
    let used = peak(|| loaded = Some(Checkpoint::load(&file).unwrap()));
    let Some(used) = used else {
        println!("the system does not tell its memory: nothing is checked");
        return;
    };
    println!("{size} bytes in the file, peak {used}");
    assert!(
        used < size + MB && used > size / 2,
        "{used} for a file of {size}"
    );
    drop(loaded);

    // Claims of terabytes in a few hundred bytes.
    for (shape, end) in [
        ("[1099511627776]", 1u64 << 42),
        ("[1048576,1048576]", 1 << 42),
        ("[1]", 4),
        ("[0]", 1 << 40),
    ] {
        let header =
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
        for length in [header.len() as u64, 99_999_999, 1 << 40] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(header.as_bytes());
            std::fs::write(&file, &bytes).unwrap();
            let used = peak(|| assert!(Checkpoint::load(&file).is_err())).unwrap();
            assert!(used < MB, "{used} bytes for a header of {}", bytes.len());
        }
    }
    std::fs::remove_file(&file).unwrap();
}
