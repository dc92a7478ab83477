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
