//! Text as sequences of characters.

use crate::dataset::Dataset;
use crate::error::{Error, Position, Result};
use crate::file::{self, Limits};
use crate::sample::fresh;
use std::path::Path;
use std::sync::Arc;
use wengert_tensor::Tensor;

/// Which characters there are, numbered in the order of their code points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    chars: Vec<char>,
}

impl Vocabulary {
    /// The characters of `text`.
    ///
    /// # Errors
    /// [`Error::Value`] for more than 65,536 different characters.
    pub fn of(text: &str) -> Result<Self> {
        let mut known = vec![false; char::MAX as usize + 1];
        text.chars().for_each(|c| known[c as usize] = true);
        let chars: Vec<char> = ('\0'..=char::MAX).filter(|&c| known[c as usize]).collect();
        if chars.len() > 1 << 16 {
            return Err(Error::value(
                "vocabulary",
                format!("{} different characters, at most 65536", chars.len()),
            ));
        }
        Ok(Vocabulary { chars })
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.chars.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// The characters; the number of each is its place.
    pub fn chars(&self) -> &[char] {
        &self.chars
    }

    /// The numbers of the characters of `text`, `[n]`.
    ///
    /// # Errors
    /// [`Error::Value`] that names a character outside the vocabulary and its place.
    pub fn encode(&self, text: &str) -> Result<Tensor<i64>> {
        let tokens = self.tokens(text)?;
        Ok(Tensor::try_from_vec(
            tokens.iter().map(|&t| i64::from(t)).collect(),
            [tokens.len()],
        )?)
    }

    fn tokens(&self, text: &str) -> Result<Vec<u16>> {
        let mut tokens = Vec::with_capacity(text.chars().count());
        for (i, c) in text.chars().enumerate() {
            let token = self.chars.binary_search(&c).map_err(|_| {
                Error::value(
                    "encode",
                    format!(
                        "character {i}, {c:?}, is not in the vocabulary of {}",
                        self.len()
                    ),
                )
            })?;
            tokens.push(token as u16);
        }
        Ok(tokens)
    }

    /// The text of numbers.
    ///
    /// # Errors
    /// [`Error::Value`] for a number that is not in `0..len`.
    pub fn decode(&self, tokens: impl IntoIterator<Item = i64>) -> Result<String> {
        tokens
            .into_iter()
            .map(|t| {
                let c = usize::try_from(t).ok().and_then(|t| self.chars.get(t));
                c.copied().ok_or_else(|| {
                    Error::value("decode", format!("token {t} is not in 0..{}", self.len()))
                })
            })
            .collect()
    }
}

/// A text for next-character prediction.
///
/// ```
/// use wengert_data::{DataLoader, Text};
/// let text = Text::new("hello world").unwrap();
/// let loader = DataLoader::new(text.windows(4, 1).unwrap(), 2);
/// let (x, y) = loader.epoch(0).next().unwrap();
/// assert_eq!(text.vocabulary().decode(x.iter()).unwrap(), "hellello");
/// assert_eq!(text.vocabulary().decode(y.iter()).unwrap(), "ellollo ");
/// ```
#[derive(Clone)]
pub struct Text {
    vocabulary: Arc<Vocabulary>,
    tokens: Arc<[u16]>,
    /// The part of the tokens that this text is.
    begin: usize,
    end: usize,
}

impl Text {
    /// A text with the vocabulary of its own characters.
    ///
    /// # Errors
    /// As [`Vocabulary::of`].
    pub fn new(text: &str) -> Result<Self> {
        Self::with_vocabulary(text, Vocabulary::of(text)?)
    }

    /// A text in a given vocabulary.
    ///
    /// # Errors
    /// As [`Vocabulary::encode`].
    pub fn with_vocabulary(text: &str, vocabulary: Vocabulary) -> Result<Self> {
        let tokens = vocabulary.tokens(text)?;
        let end = tokens.len();
        Ok(Text {
            vocabulary: Arc::new(vocabulary),
            tokens: tokens.into(),
            begin: 0,
            end,
        })
    }

    /// Reads a UTF-8 file, unpacking it first if it is compressed by gzip (feature `gzip`).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], and [`Error::Format`] with the byte that is not UTF-8.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_with(path, &Limits::default())
    }

    /// As [`Text::read`], with other limits.
    ///
    /// # Errors
    /// As [`Text::read`].
    pub fn read_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        let mut bytes = file::read(path, limits)?;
        if file::is_gzip(&bytes) {
            bytes = file::gunzip(path, &bytes, limits, |_| Ok(None))?;
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            Error::format(
                path,
                Position::Byte(e.valid_up_to() as u64),
                "text: not UTF-8 from here on",
            )
        })?;
        Self::new(text)
    }

    /// The characters there are.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Whether there are no characters.
    pub fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// The numbers of all characters, `[n]`.
    pub fn tokens(&self) -> Tensor<i64> {
        let part = self.part();
        Tensor::from_fn([part.len()], |i| i64::from(part[i[0]]))
    }

    fn part(&self) -> &[u16] {
        &self.tokens[self.begin..self.end]
    }

    /// The first `share` of the text, and the rest; both share the vocabulary and the memory.
    ///
    /// # Errors
    /// [`Error::Value`] unless `share` is in `0..=1`.
    pub fn split(&self, share: f64) -> Result<(Self, Self)> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::value(
                "split",
                format!("share {share} is not in 0..=1"),
            ));
        }
        let cut = self.begin + (self.len() as f64 * share).round() as usize;
        Ok((
            Text {
                end: cut,
                ..self.clone()
            },
            Text {
                begin: cut,
                ..self.clone()
            },
        ))
    }

    /// Windows of `length` characters, one every `stride`: samples `(x [length], y [length])`, where `y` is `x` one
    /// character later. There are `(n - 1 - length) / stride + 1` of them, none for a shorter text.
    ///
    /// # Errors
    /// [`Error::Value`] when either is zero.
    pub fn windows(&self, length: usize, stride: usize) -> Result<Windows> {
        if length == 0 || stride == 0 {
            return Err(Error::value(
                "windows",
                format!("length {length}, stride {stride}: both must be above 0"),
            ));
        }
        let count = match (self.len().saturating_sub(1)).checked_sub(length) {
            Some(rest) => rest / stride + 1,
            None => 0,
        };
        Ok(Windows {
            text: self.clone(),
            length,
            count,
            place: Place::Strided(stride),
        })
    }

    /// Windows that follow each other, for recurrent nets that carry their state from batch to batch.
    ///
    /// The text is cut into `lanes` stretches of equal length, each stretch into windows of `length`; sample
    /// `k * lanes + i` is window `k` of stretch `i`. In a loader with batches of `lanes` samples and without shuffling, row
    /// `i` of each batch continues row `i` of the batch before. Characters that fill no window are left out.
    ///
    /// # Errors
    /// [`Error::Value`] when either is zero.
    pub fn lanes(&self, lanes: usize, length: usize) -> Result<Windows> {
        if length == 0 || lanes == 0 {
            return Err(Error::value(
                "lanes",
                format!("{lanes} lanes of length {length}: both must be above 0"),
            ));
        }
        let steps = self.len().saturating_sub(1) / lanes / length;
        Ok(Windows {
            text: self.clone(),
            length,
            count: steps * lanes,
            place: Place::Lanes {
                lanes,
                stretch: steps * length,
            },
        })
    }
}

/// Windows of a text as a data set: [`Text::windows`], [`Text::lanes`].
#[derive(Clone)]
pub struct Windows {
    text: Text,
    length: usize,
    count: usize,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Strided(usize),
    Lanes { lanes: usize, stretch: usize },
}

impl Windows {
    fn begin(&self, index: usize) -> usize {
        match self.place {
            Place::Strided(stride) => index * stride,
            Place::Lanes { lanes, stretch } => {
                (index % lanes) * stretch + index / lanes * self.length
            }
        }
    }
}

impl Dataset for Windows {
    type Sample = (Tensor<i64>, Tensor<i64>);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<Self::Sample> {
        let (x, y) = self.batch(&[index], None)?;
        Ok((x.select(0, 0), y.select(0, 0)))
    }

    fn batch(&self, indices: &[usize], spare: Option<Self::Sample>) -> Result<Self::Sample> {
        if let Some(&index) = indices.iter().find(|&&i| i >= self.count) {
            return Err(Error::Index {
                op: "window",
                index,
                len: self.count,
            });
        }
        let (x, y) = spare.unzip();
        let shape = [indices.len(), self.length];
        let (mut x, mut y) = (fresh(&shape, x)?, fresh(&shape, y)?);
        let tokens = self.text.part();
        let rows = x
            .as_mut_slice()
            .chunks_exact_mut(self.length)
            .zip(y.as_mut_slice().chunks_exact_mut(self.length));
        for ((x, y), &index) in rows.zip(indices) {
            let window = &tokens[self.begin(index)..][..self.length + 1];
            for (k, pair) in window.windows(2).enumerate() {
                (x[k], y[k]) = (i64::from(pair[0]), i64::from(pair[1]));
            }
        }
        Ok((x, y))
    }
}
