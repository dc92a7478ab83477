//! Whole training runs, from data to report. The tests stand in `tests/`.
#![forbid(unsafe_code)]

use std::path::Path;

/// Words of a line; signs of spacing and tables count for nothing.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().filter(|w| *w != "|").collect()
}

/// Whether a row of a document says what a row of a program's output says, or a part of its columns: the same words,
/// numbers to 20 %. Training differs in the last bits between processors, and a little after many steps; where it differs
/// more, documents say `…`.
fn says(told: &[&str], printed: &[&str]) -> bool {
    let number = |w: &str| w.parse::<f64>().ok().filter(|x| x.is_finite());
    let same = |t: &str, p: &str| {
        t == p
            || match (number(t), number(p)) {
                (Some(t), Some(p)) => (t - p).abs() <= 0.2 * t.abs().max(p.abs()),
                _ => false,
            }
    };
    let mut rest = printed.iter();
    let mut told = told.iter().filter(|t| **t != "…");
    told.all(|t| rest.any(|p| same(t, p)))
}

/// Checks that a chapter of the course shows a table as the program prints it.
///
/// Blocks of the chapter that share a row with the output belong to it: each of their rows with a digit must stand there.
///
/// # Panics
/// When no block belongs to the output, or a row differs.
pub fn assert_told(chapter: &str, output: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/course");
    let text = std::fs::read_to_string(path.join(chapter)).expect("a chapter");
    let printed: Vec<Vec<&str>> = output.lines().map(words).collect();
    let stands = |row: &[&str]| printed.iter().any(|p| says(row, p));
    let mut blocks: Vec<Vec<Vec<&str>>> = vec![Vec::new()];
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(row) if row.contains(|c: char| c.is_ascii_digit()) => {
                blocks.last_mut().expect("one").push(words(row));
            }
            Some(_) => {}
            None => blocks.push(Vec::new()),
        }
    }
    let mine = |b: &&Vec<Vec<&str>>| b.iter().any(|r| stands(r));
    let mut rows = 0;
    for row in blocks.iter().filter(mine).flatten() {
        assert!(
            stands(row),
            "{chapter}: no such row is printed: {row:?}\n{output}"
        );
        rows += 1;
    }
    assert!(rows > 1, "{chapter} does not show\n{output}");
}
