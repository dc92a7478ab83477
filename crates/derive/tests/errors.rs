//! What does not compile, and what the compiler says about it.
//!
//! The cases are checked as the binaries of a small crate below the target directory. Only the words that this
//! workspace writes and the place they point at are compared: the rest of a message belongs to the compiler.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Case {
    name: &'static str,
    code: &'static str,
    /// What the message must say; empty: the case compiles.
    says: &'static [&'static str],
}

/// Each case is compiled with the lines of [`HEADER`] before it; `^^` marks what the message points at.
const CASES: &[Case] = &[
    Case {
        name: "fine",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { w: Param, #[module(skip)] size: usize }",
        says: &[],
    },
    Case {
        name: "forgotten",
        code: "struct Config;
               #[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { w: Param, config: Config }",
        says: &[
            "`Config` is not a module",
            "this field holds no parameters that a visit could reach",
            "mark the field `#[module(skip)]`",
            "main.rs:5:47",
        ],
    },
    Case {
        name: "forgotten_in_a_variant",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               enum Net { A(Param), B { size: usize } }",
        says: &["`usize` is not a module", "main.rs:4:47"],
    },
    Case {
        name: "wrong_float",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { w: Param<f64> }",
        says: &["Param<f64>", "main.rs:4:32"],
    },
    Case {
        name: "not_shareable",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { w: Param, #[module(skip)] cache: std::cell::Cell<u8> }",
        says: &["cannot be shared between threads safely"],
    },
    Case {
        name: "unknown_attribute",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { #[module(skipped)] w: Param }",
        says: &["expected `skip` or `rename = \"..\"`", "main.rs:4:38"],
    },
    Case {
        name: "misplaced_attribute",
        code: "#[derive(Module)] #[module(crate = wengert_autograd, skip)]
               struct Net { #[module(float = f64)] w: Param }",
        says: &["this attribute belongs to a field"],
    },
    Case {
        name: "on_a_variant",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               enum Net { #[module(skip)] A(Param) }",
        says: &["variants take no `module` attributes: mark their fields"],
    },
    Case {
        name: "same_name_twice",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { w: Param, #[module(rename = \"w\")] v: Param }",
        says: &["another field is already named `w`", "main.rs:4:57"],
    },
    Case {
        name: "dotted_name",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net { #[module(rename = \"a.b\")] v: Param }",
        says: &["the name of a field is one level of a path"],
    },
    Case {
        name: "two_floats",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               struct Net<A: Real, B: Real> { a: Param<A>, b: Param<B> }",
        says: &["choose one with `#[module(float = ..)]`"],
    },
    Case {
        name: "a_union",
        code: "#[derive(Module)] #[module(crate = wengert_autograd)]
               union Net { a: u8 }",
        says: &["a union cannot be a module"],
    },
];

const HEADER: &str = "#![allow(unused_imports, dead_code)]
use wengert_autograd::{Param, Real}; use wengert_derive::Module;
";

fn project(at: &Path) -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"derive-errors\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\nwengert-autograd = {{ path = {:?} }}\nwengert-derive = {{ path = {here:?} }}\n",
        here.join("../autograd"),
    );
    for c in CASES {
        let dir = at.join(c.name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(
            dir.join("main.rs"),
            format!("{HEADER}{}\nfn main() {{}}\n", c.code),
        )?;
        writeln!(
            manifest,
            "[[bin]]\nname = {:?}\npath = \"{}/main.rs\"",
            c.name, c.name
        )
        .expect("writing to a string");
    }
    std::fs::write(at.join("Cargo.toml"), manifest)?;
    // The versions that this build has at hand: the check needs no network.
    std::fs::copy(here.join("../../Cargo.lock"), at.join("Cargo.lock"))?;
    Ok(())
}

#[test]
fn messages() {
    let at = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("derive-errors");
    project(&at).expect("the crate of cases can be written");
    for c in CASES {
        let out = Command::new(env!("CARGO"))
            .args(["check", "--quiet", "--offline", "--bin", c.name])
            .current_dir(&at)
            .env("CARGO_TARGET_DIR", at.join("target"))
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .expect("cargo runs");
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(
            out.status.success(),
            c.says.is_empty(),
            "{}: cargo said\n{text}",
            c.name
        );
        for words in c.says {
            assert!(
                text.contains(words),
                "{}: {words:?} is missing in\n{text}",
                c.name
            );
        }
    }
}
