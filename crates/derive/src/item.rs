//! The item that is derived for. The compiler has parsed it before: only what is looked for needs to be understood.

use crate::attributes::{self, Attribute};
use crate::tokens::{Depth, Error, Result, find, group, is_ident, is_punct, split, tokens};
use proc_macro::{Delimiter, Ident, Literal, Span, TokenStream, TokenTree};

pub struct Item {
    pub attributes: Vec<Attribute>,
    pub name: Ident,
    pub parameters: Vec<Parameter>,
    /// The predicates of the `where` clause.
    pub predicates: Vec<Vec<TokenTree>>,
    pub body: Body,
}

pub enum Body {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

pub struct Variant {
    pub attributes: Vec<Attribute>,
    pub name: Ident,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub attributes: Vec<Attribute>,
    pub member: Member,
    pub ty: Vec<TokenTree>,
}

pub enum Member {
    Named(Ident),
    Index(usize),
}

/// A generic parameter.
pub struct Parameter {
    pub name: Ident,
    pub is_type: bool,
    /// As it is declared, without the default.
    pub declared: Vec<TokenTree>,
    /// As it is used: `T`, `'a`.
    pub used: TokenStream,
}

impl Field {
    pub fn span(&self) -> Span {
        self.ty.first().map_or(Span::call_site(), TokenTree::span)
    }
}

impl Member {
    pub fn tokens(&self) -> TokenStream {
        tokens([match self {
            Member::Named(n) => TokenTree::Ident(n.clone()),
            Member::Index(i) => Literal::usize_unsuffixed(*i).into(),
        }])
    }
}

impl Parameter {
    /// What is asked of it where it is declared.
    pub fn bounds(&self) -> &[TokenTree] {
        match find(&self.declared, ':') {
            Some(colon) if self.is_type => &self.declared[colon + 1..],
            _ => &[],
        }
    }
}

impl Item {
    pub fn parse(input: TokenStream) -> Result<Self> {
        let input = Vec::from_iter(input);
        let mut list = &input[..];
        let attributes = attributes::take(&mut list)?;
        skip_visibility(&mut list);
        let keyword = next_ident(&mut list)?;
        let name = next_ident(&mut list)?;
        let parameters = parameters(&mut list);
        let kind = keyword.to_string();
        if kind == "union" {
            return Err(Error::new(keyword.span(), "a union cannot be a module"));
        }
        // Fields in parentheses stand before the `where` clause.
        let tuple = group(list.first(), Delimiter::Parenthesis);
        if tuple.is_some() {
            list = &list[1..];
        }
        let braces = (list.last()).and_then(|last| group(Some(last), Delimiter::Brace));
        let end = list.len() - usize::from(!list.is_empty());
        let predicates = match list.first() {
            Some(t) if is_ident(Some(t), "where") => split(&list[1..end], ','),
            _ => Vec::new(),
        };
        let body = match (tuple, braces) {
            (None, Some(variants)) if kind == "enum" => Body::Enum(enum_variants(variants)?),
            (None, Some(fields)) => Body::Struct(named(fields)?),
            (Some(fields), _) => Body::Struct(unnamed(fields)?),
            (None, None) => Body::Struct(Vec::new()),
        };
        Ok(Item {
            attributes,
            name,
            parameters,
            predicates,
            body,
        })
    }
}

fn next_ident(list: &mut &[TokenTree]) -> Result<Ident> {
    if let [TokenTree::Ident(name), rest @ ..] = *list {
        *list = rest;
        return Ok(name.clone());
    }
    let at = list.first().map_or(Span::call_site(), TokenTree::span);
    Err(Error::new(at, "expected a struct or an enum"))
}

fn skip_visibility(list: &mut &[TokenTree]) {
    // A macro hands it on in an invisible group, which may be empty.
    if let Some(inner) = group(list.first(), Delimiter::None) {
        let first = inner.into_iter().next();
        if first.is_none() || is_ident(first.as_ref(), "pub") {
            *list = &list[1..];
        }
    }
    if !is_ident(list.first(), "pub") {
        return;
    }
    *list = &list[1..];
    // `pub(crate)`, not the tuple of `pub (A, B)`.
    if let Some(inner) = group(list.first(), Delimiter::Parenthesis) {
        let inner = Vec::from_iter(inner);
        let first = |name| is_ident(inner.first(), name);
        let alone = inner.len() == 1 && ["crate", "self", "super"].into_iter().any(first);
        if alone || first("in") {
            *list = &list[1..];
        }
    }
}

/// The generic parameters, if there is a list of them at the start.
fn parameters(list: &mut &[TokenTree]) -> Vec<Parameter> {
    if !is_punct(list.first(), '<') {
        return Vec::new();
    }
    let mut depth = Depth::default();
    let close = list.iter().position(|t| {
        depth.inside(t);
        depth.is_outside()
    });
    let close = close.expect("the compiler has seen the closing bracket");
    let parts = split(&list[1..close], ',');
    *list = &list[close + 1..];
    parts.iter().filter_map(|p| parameter(p)).collect()
}

fn parameter(mut list: &[TokenTree]) -> Option<Parameter> {
    while is_punct(list.first(), '#') {
        list = &list[2..];
    }
    let declared = list[..find(list, '=').unwrap_or(list.len())].to_vec();
    let (name, used, is_type) = match list {
        [quote, name, ..] if is_punct(Some(quote), '\'') => (name, &list[..2], false),
        [word, name, ..] if is_ident(Some(word), "const") => (name, &list[1..2], false),
        [name, ..] => (name, &list[..1], true),
        [] => return None,
    };
    let TokenTree::Ident(name) = name else {
        return None;
    };
    Some(Parameter {
        name: name.clone(),
        is_type,
        declared,
        used: tokens(used.iter().cloned()),
    })
}

/// The fields in braces.
fn named(fields: TokenStream) -> Result<Vec<Field>> {
    let fields = Vec::from_iter(fields);
    (split(&fields, ',').iter())
        .map(|f| {
            let mut list = &f[..];
            let attributes = attributes::take(&mut list)?;
            skip_visibility(&mut list);
            let name = next_ident(&mut list)?;
            Ok(Field {
                attributes,
                member: Member::Named(name),
                ty: list[1..].to_vec(),
            })
        })
        .collect()
}

/// The fields in parentheses.
fn unnamed(fields: TokenStream) -> Result<Vec<Field>> {
    let fields = Vec::from_iter(fields);
    (split(&fields, ',').iter().enumerate())
        .map(|(i, f)| {
            let mut list = &f[..];
            let attributes = attributes::take(&mut list)?;
            skip_visibility(&mut list);
            Ok(Field {
                attributes,
                member: Member::Index(i),
                ty: list.to_vec(),
            })
        })
        .collect()
}

fn enum_variants(variants: TokenStream) -> Result<Vec<Variant>> {
    let variants = Vec::from_iter(variants);
    let mut list = &variants[..];
    let mut out = Vec::new();
    while !list.is_empty() {
        let attributes = attributes::take(&mut list)?;
        skip_visibility(&mut list);
        let name = next_ident(&mut list)?;
        let fields = if let Some(fields) = group(list.first(), Delimiter::Brace) {
            named(fields)?
        } else if let Some(fields) = group(list.first(), Delimiter::Parenthesis) {
            unnamed(fields)?
        } else {
            Vec::new()
        };
        out.push(Variant {
            attributes,
            name,
            fields,
        });
        // What follows is a comma, or the number of the variant and a comma.
        list = &list[end_of_variant(list)..];
    }
    Ok(out)
}

/// The place behind the comma. An expression may hold commas in `::<A, B>` only; other angle brackets in it compare.
fn end_of_variant(list: &[TokenTree]) -> usize {
    let mut open = 0;
    for (i, t) in list.iter().enumerate() {
        let t = Some(t);
        if is_punct(t, '<') && i > 0 && (open > 0 || is_punct(list.get(i - 1), ':')) {
            open += 1;
        } else if is_punct(t, '>') && open > 0 {
            open -= 1;
        } else if is_punct(t, ',') && open == 0 {
            return i + 1;
        }
    }
    list.len()
}
