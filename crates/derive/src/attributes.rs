//! What stands in `#[module(..)]`.

use crate::tokens::{Error, Result, find, group, is_ident, is_punct, split, visible};
use proc_macro::{Delimiter, Literal, Span, TokenStream, TokenTree};

/// A `#[module(..)]`: where it stands and what it lists.
pub struct Attribute {
    pub span: Span,
    options: Vec<Setting>,
}

/// One of the things listed: a name, perhaps with a value.
struct Setting {
    name: String,
    span: Span,
    value: Option<Vec<TokenTree>>,
}

/// Reads the attributes at the start of `list`, and keeps those of this derive.
pub fn take(list: &mut &[TokenTree]) -> Result<Vec<Attribute>> {
    let mut found = Vec::new();
    while let [hash, attribute, rest @ ..] = *list
        && is_punct(Some(hash), '#')
        && let Some(content) = group(Some(attribute), Delimiter::Bracket)
    {
        *list = rest;
        let content = visible(content);
        if !is_ident(content.first(), "module") {
            continue;
        }
        let Some(options) = group(content.get(1), Delimiter::Parenthesis) else {
            return Err(Error::new(content[0].span(), "expected `module(..)`"));
        };
        found.push(Attribute {
            span: hash.span(),
            options: split(&Vec::from_iter(options), ',')
                .into_iter()
                .map(setting)
                .collect::<Result<_>>()?,
        });
    }
    Ok(found)
}

fn setting(tokens: Vec<TokenTree>) -> Result<Setting> {
    let Some(TokenTree::Ident(name)) = tokens.first() else {
        let at = tokens.first().map_or(Span::call_site(), TokenTree::span);
        return Err(Error::new(at, "expected the name of an option"));
    };
    let (name, span) = (name.to_string(), name.span());
    let value = match find(&tokens, '=') {
        Some(1) if tokens.len() > 2 => Some(tokens[2..].to_vec()),
        None if tokens.len() == 1 => None,
        _ => return Err(Error::new(span, "expected `name` or `name = value`")),
    };
    Ok(Setting { name, span, value })
}

impl Setting {
    fn error(&self, message: &str) -> Error {
        Error::new(self.span, message)
    }

    fn value(&self) -> Result<&[TokenTree]> {
        (self.value.as_deref()).ok_or_else(|| self.error("expected a value: `= ..`"))
    }

    fn no_value(&self) -> Result<()> {
        match &self.value {
            Some(_) => Err(self.error("this option takes no value")),
            None => Ok(()),
        }
    }

    fn text(&self) -> Result<Text> {
        match &visible(self.value()?.iter().cloned())[..] {
            [TokenTree::Literal(l)] => Text::of(l.clone()),
            _ => None,
        }
        .ok_or_else(|| self.error("expected a string literal"))
    }

    fn path(&self) -> Result<TokenStream> {
        let tokens = self.value()?;
        let fits = |t: &TokenTree| matches!(t, TokenTree::Ident(_)) || is_punct(Some(t), ':');
        if !visible(tokens.iter().cloned()).iter().all(fits) {
            return Err(self.error("expected the path of a module"));
        }
        Ok(tokens.iter().cloned().collect())
    }
}

fn once<T>(slot: &mut Option<T>, value: T, setting: &Setting) -> Result<()> {
    match slot.replace(value) {
        Some(_) => Err(setting.error("given twice")),
        None => Ok(()),
    }
}

/// A string literal.
pub struct Text {
    pub literal: Literal,
    /// What stands between the quotes, escapes as they are written.
    pub inside: String,
}

impl Text {
    fn of(literal: Literal) -> Option<Self> {
        let whole = literal.to_string();
        let bare = whole.strip_prefix('r').unwrap_or(&whole);
        let inside = (bare.trim_matches('#').strip_prefix('"')?).strip_suffix('"')?;
        Some(Text {
            inside: inside.to_owned(),
            literal,
        })
    }
}

/// Attributes of the type.
#[derive(Default)]
pub struct Container {
    pub float: Option<TokenStream>,
    pub krate: Option<TokenStream>,
    pub kind: Option<Literal>,
}

impl Container {
    pub fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut c = Container::default();
        for s in attributes.iter().flat_map(|a| &a.options) {
            match &*s.name {
                "float" => once(&mut c.float, s.value()?.iter().cloned().collect(), s)?,
                "crate" => once(&mut c.krate, s.path()?, s)?,
                "kind" => once(&mut c.kind, s.text()?.literal, s)?,
                "skip" | "rename" => return Err(s.error("this attribute belongs to a field")),
                _ => {
                    let known = "expected `float = ..`, `crate = ..` or `kind = \"..\"`";
                    return Err(s.error(known));
                }
            }
        }
        Ok(c)
    }
}

/// Attributes of a field.
#[derive(Default)]
pub struct FieldOptions {
    pub skip: bool,
    pub rename: Option<Text>,
}

impl FieldOptions {
    pub fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut o = FieldOptions::default();
        for s in attributes.iter().flat_map(|a| &a.options) {
            match &*s.name {
                "skip" => {
                    s.no_value()?;
                    o.skip = true;
                }
                "rename" => once(&mut o.rename, s.text()?, s)?,
                "float" | "crate" | "kind" => {
                    return Err(s.error("this attribute belongs to the type"));
                }
                _ => return Err(s.error("expected `skip` or `rename = \"..\"`")),
            }
        }
        if let Some(name) = &o.rename {
            let refuse = |message| Err(Error::new(name.literal.span(), message));
            if name.inside.is_empty() || name.inside.contains(['.', '\\']) {
                return refuse(
                    "the name of a field is one level of a path: not empty, without dots and escapes",
                );
            }
            if o.skip {
                return refuse("a skipped field has no name to change");
            }
        }
        Ok(o)
    }
}
