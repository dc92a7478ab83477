//! The numbers of the adding problem.

use wengert_examples::stories::adding_problem::{BLIND, STEPS, story};

#[test]
fn gates_carry_the_gradient_and_the_sum() {
    let story = story(700);
    let run = |name: &str| story.runs.iter().find(|r| r.name == name).unwrap();
    for r in &story.runs {
        assert_eq!(r.time[0].grad_rms.len(), STEPS);
    }
    // Told how long to remember, a GRU starts with most of its gradient.
    let (gru, told) = (run("GRU"), run("GRU, told 50"));
    assert!(gru.left() < 3e-3, "{}", gru.left());
    assert!(told.left() > 0.1, "{}", told.left());
    // The plain network learns to say 1, and forgets; the others open their gates.
    let memory = |name: &str| run(name).time[1].memory().unwrap();
    assert!(run("RNN").error > 0.8 * BLIND, "{}", run("RNN").error);
    assert!(memory("RNN") < 15.0, "{}", memory("RNN"));
    for name in ["LSTM", "GRU", "LSTM, told 50", "GRU, told 50"] {
        assert!(
            run(name).error < BLIND / 10.0,
            "{name}: {}",
            run(name).error
        );
        assert!(memory(name) > 50.0, "{name}: {}", memory(name));
    }
}

/// The language model at a small size.
#[test]
fn a_language_model_learns_to_count() {
    use wengert_examples::stories::char_model::{Settings, sample_text, story};
    let settings = Settings {
        epochs: 30,
        units: 64,
        write: 60,
        ..Settings::default()
    };
    let story = story(&sample_text(), &settings).unwrap();
    assert_eq!(story.characters, 20);
    assert!((3.89..3.91).contains(&story.blind), "{}", story.blind);
    let last = story.bits[29];
    assert!(last < 0.5, "{last}");
    assert!(story.bits[0] > 2.5 && story.bits[29] < story.bits[9]);
    // What stood before the window is known from the state alone.
    assert!(story.forgetful > 1.5 * last, "{} {last}", story.forgetful);
    assert!(story.written.contains(" and one is "), "{}", story.written);
    assert_eq!(story.written.chars().count(), 61);
}

#[test]
fn texts_that_cannot_be_learned_are_refused_with_their_name() {
    use std::path::Path;
    use wengert_examples::stories::char_model::{Settings, read_text, story};
    let e = read_text(Path::new("no/such.txt")).unwrap_err();
    assert!(e.starts_with("no/such.txt: "), "{e}");
    assert!(read_text(Path::new("/")).is_err());
    let own = std::env::temp_dir().join(format!("wengert-char-model-{}", std::process::id()));
    std::fs::write(&own, b"good\xff").unwrap();
    let e = read_text(&own).unwrap_err();
    std::fs::remove_file(&own).unwrap();
    assert!(
        e.ends_with("expected UTF-8 text, found another byte at 4"),
        "{e}"
    );
    let e = story("too short", &Settings::default()).unwrap_err();
    assert!(
        e.starts_with("expected a text of at least 129 characters"),
        "{e}"
    );
    assert!(story("", &Settings::default()).is_err());
}
