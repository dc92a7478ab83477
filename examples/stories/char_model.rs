//! A language model of characters: an LSTM learns to say what comes next, by truncated backpropagation through time.
//!
//! The text is cut into as many rows as the batch has; each row is read from its start to its end, a window at a time. The
//! state goes on from window to window, the gradient does not: a step costs as much as its window, the memory may reach
//! further.

use std::fmt;
use std::io::Read;
use std::path::Path;
use wengert::nn::{Embedding, Lstm, Memory, RecurrentState};
use wengert::prelude::*;

/// The text that is learned when no other is given: counting, which has rules a model can find.
pub fn sample_text() -> String {
    let tens = ["twenty", "thirty", "forty", "fifty", "sixty"];
    let ones = [
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    let mut text = String::new();
    for ten in tens {
        for (i, one) in ones.iter().enumerate() {
            let next = ones
                .get(i + 1)
                .map_or("ten".to_owned(), |n| format!("{ten} {n}"));
            text += &format!("{ten} {one} and one is {next}.\n");
        }
    }
    text
}

/// Reads a text file.
///
/// # Errors
/// When the file cannot be read, is larger than 64 MB, or is no UTF-8 text; the message names the file.
pub fn read_text(path: &Path) -> Result<String, String> {
    const MOST: u64 = 64 << 20;
    let name = path.display();
    let file = std::fs::File::open(path).map_err(|e| format!("{name}: {e}"))?;
    let mut bytes = Vec::new();
    (file.take(MOST + 1).read_to_end(&mut bytes)).map_err(|e| format!("{name}: {e}"))?;
    if bytes.len() as u64 > MOST {
        return Err(format!("{name}: expected a text of at most 64 MB"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        format!("{name}: expected UTF-8 text, found another byte at {at}")
    })
}

/// What is trained, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Times that the text is read.
    pub epochs: usize,
    /// Steps that the gradient goes back.
    pub window: usize,
    /// Rows of text side by side.
    pub batch: usize,
    /// Units of the LSTM.
    pub units: usize,
    /// Characters of the text that the model writes at the end.
    pub write: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            epochs: 60,
            window: 16,
            batch: 8,
            units: 96,
            write: 200,
        }
    }
}

/// Characters as numbers, an LSTM, scores for the next character.
#[derive(Module)]
pub struct CharModel {
    embed: Embedding,
    lstm: Lstm,
    out: Linear,
}

impl CharModel {
    fn new(characters: usize, settings: &Settings, rng: &mut Xoshiro256PlusPlus) -> Self {
        CharModel {
            embed: Embedding::new(characters, 16, rng),
            // Told how far to remember: its gates open that wide.
            lstm: Lstm::builder(16, settings.units)
                .expecting(2 * settings.window)
                .build(rng),
            out: Linear::new(settings.units, characters, rng),
        }
    }

    /// Scores `[steps, batch, characters]` for the character after each of `ids`, and the last state.
    fn forward<'t>(
        &self,
        tape: &'t Tape,
        ids: &Tensor<i64>,
        before: Option<&Memory>,
    ) -> (Var<'t>, RecurrentState<'t>) {
        let x = self.embed.lookup(tape, ids);
        let (y, state) = self.lstm.run(x, before.map(|m| m.on(tape)));
        (self.out.forward(y), state)
    }
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Different characters of the text.
    pub characters: usize,
    /// Characters of the text.
    pub length: usize,
    /// Mean loss of each epoch, in bits for a character.
    pub bits: Vec<f64>,
    /// Bits for a character when only frequencies are known.
    pub blind: f64,
    /// Bits for a character when the state starts from nothing in every window, after training.
    pub forgetful: f64,
    /// What the model wrote.
    pub written: String,
    settings: Settings,
}

/// Learns a text.
///
/// # Errors
/// When the text is shorter than a window for each row of the batch.
pub fn story(text: &str, settings: &Settings) -> Result<Story, String> {
    let letters: Vec<char> = text.chars().collect();
    let mut alphabet = letters.clone();
    alphabet.sort_unstable();
    alphabet.dedup();
    let (batch, window) = (settings.batch, settings.window);
    let row = letters.len().saturating_sub(1) / batch;
    if row < window || alphabet.len() < 2 {
        return Err(format!(
            "expected a text of at least {} characters of two kinds, found {} of {}",
            batch * window + 1,
            letters.len(),
            alphabet.len()
        ));
    }
    let code = |c: char| alphabet.binary_search(&c).expect("a letter of the text") as i64;
    let codes: Vec<i64> = letters.iter().map(|&c| code(c)).collect();
    let windows = row / window;
    // Letters `[window, batch]` of one window, shifted by `ahead`.
    let part = |w: usize, ahead: usize| {
        Tensor::from_fn([window, batch], |i| {
            codes[i[1] * row + w * window + i[0] + ahead]
        })
    };

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut model = CharModel::new(alphabet.len(), settings, &mut rng);
    let mut adam = Adam::new(5e-3);
    let mut tape = Tape::training(0);
    let classes = alphabet.len();
    let per_bit = std::f64::consts::LN_2;
    let mut bits = Vec::new();
    for _ in 0..settings.epochs {
        let mut memory: Option<Memory> = None;
        let mut sum = 0.0;
        for w in 0..windows {
            tape.reset();
            let (scores, state) = model.forward(&tape, &part(w, 0), memory.as_ref());
            let state = state.keep();
            let labels = part(w, 1).reshape([window * batch]);
            let loss = scores
                .reshape([window * batch, classes])
                .cross_entropy(&labels);
            let mut grads = loss.backward();
            // The values go on to the next window, the gradient stays behind.
            memory = Some(state.values());
            grads.clip_norm(5.0);
            adam.step(&mut model, &grads);
            sum += f64::from(grads.loss());
        }
        bits.push(sum / windows as f64 / per_bit);
    }

    let mut forgetful = 0.0;
    for w in 0..windows {
        let tape = Tape::inference();
        let (scores, _) = model.forward(&tape, &part(w, 0), None);
        let labels = part(w, 1).reshape([window * batch]);
        let loss = scores
            .reshape([window * batch, classes])
            .cross_entropy(&labels);
        forgetful += f64::from(loss.item()) / windows as f64 / per_bit;
    }
    let mut counts = vec![0.0; classes];
    codes
        .iter()
        .for_each(|&c| counts[c as usize] += 1.0 / codes.len() as f64);
    Ok(Story {
        characters: classes,
        length: letters.len(),
        bits,
        blind: counts.iter().map(|p| -p * f64::log2(*p)).sum(),
        forgetful,
        written: write(&model, &alphabet, codes[0], settings.write),
        settings: settings.clone(),
    })
}

/// Lets the model go on from one character, always with the likeliest one.
fn write(model: &CharModel, alphabet: &[char], first: i64, n: usize) -> String {
    let (mut at, mut memory) = (first, None::<Memory>);
    let mut out = String::from(alphabet[first as usize]);
    for _ in 0..n {
        let tape = Tape::inference();
        let ids = Tensor::from_vec(vec![at], [1, 1]);
        let (scores, state) = model.forward(&tape, &ids, memory.as_ref());
        let scores = scores.value().to_vec();
        memory = Some(state.values());
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        at = best.expect("at least two characters") as i64;
        out.push(alphabet[at as usize]);
    }
    out
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.settings;
        writeln!(
            f,
            "{} characters of {} kinds; LSTM of {} units, gradients over {} steps, {} rows side by side\n",
            self.length, self.characters, s.units, s.window, s.batch
        )?;
        writeln!(
            f,
            "bits for a character: {:.3} when only frequencies are known",
            self.blind
        )?;
        let n = self.bits.len();
        let shown = [1, 2, 5, 10, 20, 50, 100, 200, 500];
        for k in shown.into_iter().filter(|&k| k < n).chain([n]) {
            writeln!(f, "  epoch {k:>4}  {:.3}", self.bits[k - 1])?;
        }
        writeln!(
            f,
            "  {:.3} when the state starts from nothing in every window: what is remembered from before is worth the rest\n",
            self.forgetful
        )?;
        write!(f, "It writes:\n\n{}", self.written)
    }
}
