//! Names from outside, made harmless.

use std::borrow::Cow;
use std::fmt::Write;

/// Longest name shown in full anywhere in a report, in characters.
pub const LONGEST: usize = 80;

/// Characters that move the cursor, reorder the line or cannot be seen.
pub fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// `name` with control and direction characters written as `\n`, `\t`, `\u{1b}`, and with the middle replaced by `…`
/// when it has more than `most` characters (beginning and end of a layer's path both matter).
///
/// Work and memory are bounded by `most`, not by the length of the name, apart from one walk to its end.
///
/// ```
/// use wengert_draw::escape::clean;
/// assert_eq!(clean("fc1\u{1b}[31m\n", 80), "fc1\\u{1b}[31m\\n");
/// assert_eq!(clean("encoder.blocks.11.attention", 11), "encod…ntion");
/// assert_eq!(clean("fc1", 80), "fc1");
/// ```
pub fn clean(name: &str, most: usize) -> Cow<'_, str> {
    let most = most.max(1);
    // Fewer bytes than the limit are fewer characters, too.
    let fits = name.len() <= most || name.chars().nth(most).is_none();
    if fits && !name.chars().any(hidden) {
        return Cow::Borrowed(name);
    }
    let visible = |chars: &mut dyn Iterator<Item = char>| {
        let mut s = String::new();
        for c in chars {
            match c {
                c if !hidden(c) => s.push(c),
                '\n' => s.push_str("\\n"),
                '\r' => s.push_str("\\r"),
                '\t' => s.push_str("\\t"),
                c => write!(s, "\\u{{{:x}}}", u32::from(c)).expect("a string takes all"),
            }
        }
        s
    };
    let whole = if fits {
        visible(&mut name.chars())
    } else {
        // `most` characters from each end are enough to cut the visible form from.
        let tail: Vec<char> = name.chars().rev().take(most).collect();
        visible(&mut name.chars().take(most)) + &visible(&mut tail.into_iter().rev())
    };
    let n = whole.chars().count();
    if n <= most {
        return Cow::Owned(whole);
    }
    let tail = (most - 1) / 2;
    let head = most - 1 - tail;
    let mut s: String = whole.chars().take(head).collect();
    s.push('…');
    s.extend(whole.chars().skip(n - tail));
    Cow::Owned(s)
}

/// Text for HTML and SVG content and attributes: [`clean`]ed to 4,000 characters, with `& < > " '` escaped.
///
/// ```
/// use wengert_draw::escape::xml;
/// assert_eq!(xml("<script>'&\"\0"), "&lt;script&gt;&#39;&amp;&quot;\\u{0}");
/// ```
pub fn xml(text: &str) -> String {
    let text = clean(text, 4000);
    let mut s = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => s.push_str("&amp;"),
            '<' => s.push_str("&lt;"),
            '>' => s.push_str("&gt;"),
            '"' => s.push_str("&quot;"),
            '\'' => s.push_str("&#39;"),
            c => s.push(c),
        }
    }
    s
}

/// A name for HTML and SVG: [`clean`]ed to [`LONGEST`] characters, then escaped as in [`xml`].
pub fn name(name: &str) -> String {
    xml(&clean(name, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_hidden_characters_shown() {
        let long = "x".repeat(1 << 20) + "\u{202e}end";
        let c = clean(&long, 80);
        assert_eq!(c.chars().count(), 80);
        assert!(c.ends_with("\\u{202e}end") && c.contains('…'), "{c}");
        assert_eq!(clean("", 5), "");
        assert_eq!(clean("ab", 1), "…");
        assert_eq!(clean("\u{1b}]0;title\u{7}", 80), "\\u{1b}]0;title\\u{7}");
        assert_eq!(clean("größe.层", 80), "größe.层");
        for bad in ["\u{9b}31m", "a\u{200b}b", "\u{2066}x", "\u{2028}"] {
            assert!(clean(bad, 80).starts_with(['\\', 'a']), "{bad:?}");
            assert!(!clean(bad, 80).chars().any(hidden));
        }
    }

    #[test]
    fn markup_is_inert() {
        let s = name("</title><script>alert(1)</script><img src=x onerror='y'>");
        assert!(!s.contains(['<', '>', '"', '\'']), "{s}");
    }
}
