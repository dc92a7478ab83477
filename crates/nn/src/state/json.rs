//! Strict JSON: a reader that knows its position, and the text of strings.

use super::error::{Result, format};

/// Reads tokens off a text; errors name the byte of the file.
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
    /// Position of the text in the file.
    base: u64,
}

impl<'a> Json<'a> {
    pub fn new(text: &'a str, base: u64) -> Self {
        Json { text, at: 0, base }
    }

    /// Offset in the text.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Position in the file.
    pub fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    pub fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(format(self.position(), message))
    }

    /// The next byte that is not a blank, without taking it.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Takes a punctuation mark if it comes next.
    pub fn take(&mut self, mark: u8) -> bool {
        let found = self.peek() == Some(mark);
        self.at += usize::from(found);
        found
    }

    /// Takes a word if it comes next.
    pub fn word(&mut self, word: &str) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Takes a punctuation mark.
    pub fn expect(&mut self, mark: u8) -> Result<()> {
        if self.take(mark) {
            return Ok(());
        }
        let mark = mark as char;
        match self.text[self.at..].chars().next() {
            Some(c) => self.error(format!("expected `{mark}`, found `{}`", c.escape_default())),
            None => self.error(format!("expected `{mark}`, the text ends")),
        }
    }

    /// Calls `item` for each member of a list or object between `open` and `close`.
    pub fn members(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.expect(open)?;
        if self.take(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.take(close) {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// A string, its escapes resolved.
    pub fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let bytes = &self.text.as_bytes()[self.at..];
            let Some(n) = bytes
                .iter()
                .position(|&b| b == b'"' || b == b'\\' || b < b' ')
            else {
                self.at = self.text.len();
                return self.error("expected `\"`, the text ends");
            };
            // A string without escapes is allocated once, at its length.
            if out.is_empty() {
                out.reserve_exact(n);
            }
            out.push_str(&self.text[self.at..self.at + n]);
            self.at += n;
            match bytes[n] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                c => {
                    return self.error(format!("unescaped control character {c:#04x} in a string"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let bytes = self.text.as_bytes();
        let c = match bytes.get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.error("unknown escape in a string"),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char> {
        let unit = |at: usize| -> Option<u32> {
            let text = self.text.as_bytes().get(at..at + 6)?;
            let digits = text.strip_prefix(b"\\u")?;
            digits
                .iter()
                .try_fold(0, |n, &d| Some(16 * n + (d as char).to_digit(16)?))
        };
        let (code, length) = match unit(self.at) {
            Some(high @ 0xD800..=0xDBFF) => match unit(self.at + 6) {
                Some(low @ 0xDC00..=0xDFFF) => {
                    (Some(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)), 12)
                }
                _ => (None, 0),
            },
            other => (other, 6),
        };
        match code.and_then(char::from_u32) {
            Some(c) => {
                self.at += length;
                Ok(c)
            }
            None => self.error("wrong \\u escape in a string"),
        }
    }

    /// The digits of a number, with what else belongs to it: `-12`, `1.5e3`.
    pub fn number(&mut self) -> Result<&'a str> {
        self.peek();
        let rest = &self.text[self.at..];
        let n = rest
            .bytes()
            .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        if n == 0 {
            return self.error("expected a number");
        }
        self.at += n;
        Ok(&rest[..n])
    }

    /// A whole number from 0 to 2⁶³ - 1, in digits.
    pub fn unsigned(&mut self) -> Result<u64> {
        self.peek();
        let start = self.position();
        let text = self.number()?;
        let canonical =
            text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        match text.parse::<u64>() {
            Ok(n) if canonical && n <= i64::MAX as u64 => Ok(n),
            _ => Err(format(
                start,
                format!(
                    "expected a whole number from 0 to 2^63 - 1, found {}",
                    super::error::shown(text)
                ),
            )),
        }
    }
}

/// Appends a string in quotes.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
