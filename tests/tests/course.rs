//! The course names examples and files that exist, and every chapter stands in its table.

use std::fs;
use std::path::Path;

#[test]
fn what_the_course_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let course = root.join("docs/course");
    let index = fs::read_to_string(course.join("README.md")).expect("the table");
    let mut commands = 0;
    for entry in fs::read_dir(&course).expect("the course") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
        if name != "README.md" {
            assert!(
                index.contains(&format!("({name})")),
                "{name} is not in the table"
            );
        }
        for rest in text.split("--example ").skip(1) {
            let example: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if example == "NAME" {
                continue;
            }
            commands += 1;
            let source = root.join("examples").join(format!("{example}.rs"));
            assert!(source.exists(), "{name}: there is no example {example}");
        }
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().expect("a link");
            assert!(course.join(link).exists(), "{name}: there is no {link}");
        }
    }
    assert!(commands >= 10, "{commands} commands");
    // The examples of the table's last column.
    for name in index.split("| `").skip(1).flat_map(|r| r.split('`').next()) {
        assert!(
            root.join("examples").join(format!("{name}.rs")).exists(),
            "{name}"
        );
    }
}
