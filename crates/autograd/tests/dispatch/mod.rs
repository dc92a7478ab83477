//! Every test of a program once more on the instruction sets that this machine has besides its best one.

/// Runs the calling test program again, whole, with each of the lower instruction sets.
pub fn run_again() {
    if std::env::var_os("WENGERT_ISA").is_some() {
        return;
    }
    for isa in ["avx2", "baseline"] {
        let own = std::env::current_exe().expect("a test program has a path");
        let out = std::process::Command::new(own)
            .env("WENGERT_ISA", isa)
            .output()
            .expect("the test program runs");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success() && text.contains("0 filtered out") && !text.contains(" 1 passed"),
            "{isa}: {text}"
        );
    }
}
