//! What every part of the derive does with tokens: reading, cutting, filling in.

use proc_macro::{Delimiter, Group, Ident, Literal, Spacing, Span, TokenStream, TokenTree};

/// What is wrong, and where.
pub struct Error {
    span: Span,
    message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Error {
            span,
            message: message.into(),
        }
    }

    /// The error as the compiler's own.
    pub fn tokens(self) -> TokenStream {
        let mut message = Literal::string(&self.message);
        message.set_span(self.span);
        let message = tokens([message.into()]);
        fill(
            "::core::compile_error! { MESSAGE }",
            self.span,
            &[("MESSAGE", &message)],
        )
    }
}

pub fn tokens(list: impl IntoIterator<Item = TokenTree>) -> TokenStream {
    list.into_iter().collect()
}

/// The tokens of `template`, which stand at `span`, with others in the place of some words.
pub fn fill(template: &str, span: Span, words: &[(&str, &TokenStream)]) -> TokenStream {
    let parsed: TokenStream = template.parse().expect("templates are tokens");
    fill_in(parsed, span, words)
}

fn fill_in(template: TokenStream, span: Span, words: &[(&str, &TokenStream)]) -> TokenStream {
    let mut out = TokenStream::new();
    for mut t in template {
        if let TokenTree::Ident(i) = &t {
            let name = i.to_string();
            if let Some((_, put)) = words.iter().find(|w| w.0 == name) {
                out.extend((*put).clone());
                continue;
            }
        }
        if let TokenTree::Group(g) = &t {
            t = Group::new(g.delimiter(), fill_in(g.stream(), span, words)).into();
        }
        t.set_span(span);
        out.extend([t]);
    }
    out
}

pub fn is_punct(t: Option<&TokenTree>, c: char) -> bool {
    matches!(t, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

pub fn is_ident(t: Option<&TokenTree>, name: &str) -> bool {
    matches!(t, Some(TokenTree::Ident(i)) if i.to_string() == name)
}

/// The content of a group of this kind.
pub fn group(t: Option<&TokenTree>, delimiter: Delimiter) -> Option<TokenStream> {
    match t {
        Some(TokenTree::Group(g)) if g.delimiter() == delimiter => Some(g.stream()),
        _ => None,
    }
}

/// The name without `r#`.
pub fn plain(name: &Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").unwrap_or(&name).to_owned()
}

/// Whether a name occurs among the tokens.
pub fn mentions(list: &[TokenTree], name: &str) -> bool {
    list.iter().any(|t| match t {
        TokenTree::Ident(i) => i.to_string() == name,
        TokenTree::Group(g) => mentions(&Vec::from_iter(g.stream()), name),
        _ => false,
    })
}

/// The tokens without the invisible groups in which macros hand on what they were given.
pub fn visible(list: impl IntoIterator<Item = TokenTree>) -> Vec<TokenTree> {
    let mut out = Vec::new();
    for t in list {
        match group(Some(&t), Delimiter::None) {
            Some(inner) => out.extend(visible(inner)),
            None => out.push(t),
        }
    }
    out
}

/// Follows the angle brackets of types, which are no groups.
#[derive(Default)]
pub struct Depth {
    open: usize,
    /// Whether the last token was the first half of `->` or `=>`.
    arrow: bool,
}

impl Depth {
    /// Whether `t` stands inside of angle brackets or is one.
    pub fn inside(&mut self, t: &TokenTree) -> bool {
        let arrow = std::mem::take(&mut self.arrow);
        let TokenTree::Punct(p) = t else {
            return self.open > 0;
        };
        match p.as_char() {
            '<' => self.open += 1,
            '>' if !arrow => {
                self.open = self.open.saturating_sub(1);
                return true;
            }
            '-' | '=' => self.arrow = p.spacing() == Spacing::Joint,
            _ => {}
        }
        self.open > 0
    }

    pub fn is_outside(&self) -> bool {
        self.open == 0
    }
}

/// The place of the first of these characters outside of angle brackets.
pub fn find(list: &[TokenTree], c: char) -> Option<usize> {
    let mut depth = Depth::default();
    list.iter()
        .position(|t| !depth.inside(t) && is_punct(Some(t), c))
}

/// The parts between characters `c` outside of angle brackets; none behind the last `c`.
pub fn split(mut list: &[TokenTree], c: char) -> Vec<Vec<TokenTree>> {
    let mut parts = Vec::new();
    while let Some(at) = find(list, c) {
        parts.push(list[..at].to_vec());
        list = &list[at + 1..];
    }
    if !list.is_empty() {
        parts.push(list.to_vec());
    }
    parts
}
