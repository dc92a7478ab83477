//! From the item to the implementation.

use crate::attributes::{Container, FieldOptions};
use crate::item::{Body, Field, Item, Member, Parameter};
use crate::tokens::{
    Error, Result, fill, find, group, is_ident, is_punct, mentions, plain, split, tokens, visible,
};
use proc_macro::{Delimiter, Ident, Literal, Span, TokenStream, TokenTree};
use std::collections::HashSet;

/// A visited field.
struct Visited {
    field: Field,
    binding: TokenStream,
    /// The name as a string literal.
    name: TokenStream,
}

/// What the implementation is written with.
struct Names {
    /// Where `Module` and its companions stand.
    krate: TokenStream,
    float: TokenStream,
}

pub fn module(input: TokenStream) -> Result<TokenStream> {
    let item = Item::parse(input)?;
    let options = Container::of(&item.attributes)?;
    let call_site = Span::call_site();
    let code = |template| fill(template, call_site, &[]);
    let (float, parameter) = match options.float {
        Some(t) => (t, None),
        None => match float_parameter(&item)? {
            Some(p) => (p.used.clone(), Some(p.name.to_string())),
            None => (code("::core::primitive::f32"), None),
        },
    };
    let names = Names {
        krate: (options.krate).unwrap_or_else(|| code("::wengert::__private")),
        float,
    };
    let kind = (options.kind).unwrap_or_else(|| Literal::string(&plain(&item.name)));

    let mut variants: Vec<(TokenStream, Vec<Visited>)> = Vec::new();
    match item.body {
        Body::Struct(fields) => variants.push((code("Self"), visited(fields)?)),
        Body::Enum(list) => {
            for v in list {
                if let Some(a) = v.attributes.first() {
                    return Err(Error::new(
                        a.span,
                        "variants take no `module` attributes: mark their fields",
                    ));
                }
                let name = tokens([TokenTree::Ident(v.name)]);
                let pattern = fill("Self::NAME", call_site, &[("NAME", &name)]);
                variants.push((pattern, visited(v.fields)?));
            }
        }
    }

    let declared = list_of(item.parameters.iter().map(|p| tokens(p.declared.clone())));
    let used = list_of(item.parameters.iter().map(|p| p.used.clone()));
    let mut predicates: Vec<TokenStream> = item.predicates.into_iter().map(tokens).collect();
    let others: Vec<&Parameter> = (item.parameters.iter())
        .filter(|p| p.is_type && Some(p.name.to_string()) != parameter)
        .collect();
    predicates.extend(bounds(&item.name, &variants, &others, &names));
    let words = [
        ("KRATE", &names.krate),
        ("FLOAT", &names.float),
        ("NAME", &tokens([TokenTree::Ident(item.name)])),
        ("DECLARED", &declared),
        ("USED", &used),
        ("PREDICATES", &list_of(predicates)),
        ("KIND", &tokens([TokenTree::Literal(kind)])),
        ("VISIT", &body(&variants, &names, "visit")),
        ("VISIT_MUT", &body(&variants, &names, "visit_mut")),
    ];
    Ok(fill(
        "#[automatically_derived]
        impl<DECLARED> KRATE::Module<FLOAT> for NAME<USED> where PREDICATES {
            #[allow(unreachable_code, unused_variables)]
            fn visit(&self, path: &mut KRATE::Path, visitor: &mut dyn KRATE::Visitor<FLOAT>) {
                let place = ::core::ptr::from_ref(self).cast::<()>() as usize;
                KRATE::Visitor::enter_at(visitor, KRATE::Path::as_str(path), KIND, place);
                VISIT
                KRATE::Visitor::leave(visitor, KRATE::Path::as_str(path));
            }
            #[allow(unreachable_code, unused_variables)]
            fn visit_mut(&mut self, path: &mut KRATE::Path, visitor: &mut dyn KRATE::VisitorMut<FLOAT>) {
                VISIT_MUT
            }
            fn kind(&self) -> &'static str {
                KIND
            }
        }",
        call_site,
        &words,
    ))
}

/// Each with a comma behind it.
fn list_of(parts: impl IntoIterator<Item = TokenStream>) -> TokenStream {
    let part = |p| fill("PART,", Span::call_site(), &[("PART", &p)]);
    parts.into_iter().map(part).collect()
}

/// The fields that are not skipped, with the names they are visited under.
fn visited(fields: Vec<Field>) -> Result<Vec<Visited>> {
    let mut out = Vec::new();
    let mut names = HashSet::new();
    for (i, field) in fields.into_iter().enumerate() {
        let options = FieldOptions::of(&field.attributes)?;
        if options.skip {
            continue;
        }
        let (name, literal, span) = match (options.rename, &field.member) {
            (Some(n), _) => {
                let span = n.literal.span();
                (n.inside, n.literal, span)
            }
            (None, Member::Named(n)) => (plain(n), Literal::string(&plain(n)), n.span()),
            (None, Member::Index(n)) => {
                (n.to_string(), Literal::string(&n.to_string()), field.span())
            }
        };
        if !names.insert(name.clone()) {
            return Err(Error::new(
                span,
                format!("another field is already named `{name}`"),
            ));
        }
        let binding = Ident::new(&format!("field_{i}"), Span::mixed_site());
        out.push(Visited {
            field,
            binding: tokens([TokenTree::Ident(binding)]),
            name: tokens([TokenTree::Literal(literal)]),
        });
    }
    Ok(out)
}

/// One `match` over the variants; a struct has one.
fn body(variants: &[(TokenStream, Vec<Visited>)], names: &Names, method: &str) -> TokenStream {
    let call_site = Span::call_site();
    if variants.is_empty() {
        return fill("match *self {}", call_site, &[]);
    }
    let method = fill(method, call_site, &[]);
    let mut arms = TokenStream::new();
    for (pattern, fields) in variants {
        let (mut patterns, mut calls) = (TokenStream::new(), TokenStream::new());
        for f in fields {
            let mut words = vec![
                ("MEMBER", f.field.member.tokens()),
                ("BINDING", f.binding.clone()),
                ("NAME", f.name.clone()),
                ("TYPE", tokens(f.field.ty.iter().cloned())),
                ("KRATE", names.krate.clone()),
                ("FLOAT", names.float.clone()),
                ("METHOD", method.clone()),
            ];
            // Spanned at the type, so that "is not a module" points at the field.
            let call = "<TYPE as KRATE::Module<FLOAT>>::METHOD";
            let call = fill(call, f.field.span(), &by_reference(&words));
            words.push(("CALL", call));
            let words = by_reference(&words);
            patterns.extend(fill("MEMBER: BINDING,", call_site, &words));
            let visit = "path.push(NAME); CALL(BINDING, path, visitor); path.pop();";
            calls.extend(fill(visit, call_site, &words));
        }
        let words = [
            ("PATTERN", pattern),
            ("PATTERNS", &patterns),
            ("CALLS", &calls),
        ];
        arms.extend(fill(
            "PATTERN { PATTERNS .. } => { CALLS }",
            call_site,
            &words,
        ));
    }
    fill("match self { ARMS }", call_site, &[("ARMS", &arms)])
}

fn by_reference<'a>(words: &'a [(&'a str, TokenStream)]) -> Vec<(&'a str, &'a TokenStream)> {
    words.iter().map(|(w, t)| (*w, t)).collect()
}

/// The type parameter that is bounded by `Float` or `Real`.
fn float_parameter(item: &Item) -> Result<Option<&Parameter>> {
    let mut found = None;
    for p in item.parameters.iter().filter(|p| p.is_type) {
        let name = p.name.to_string();
        let in_where = |w: &Vec<TokenTree>| {
            let w = visible(w.iter().cloned());
            // Not `T::Item: ..`.
            let bounds_it = find(&w, ':') == Some(1) && !is_punct(w.get(2), ':');
            bounds_it && is_ident(w.first(), &name) && has_float(&w[2..])
        };
        if !has_float(p.bounds()) && !item.predicates.iter().any(in_where) {
            continue;
        }
        if found.replace(p).is_some() {
            return Err(Error::new(
                p.name.span(),
                "two parameters could be the float type: choose one with `#[module(float = ..)]`",
            ));
        }
    }
    Ok(found)
}

/// Whether one of the bounds is a path that ends in `Float` or `Real`.
fn has_float(bounds: &[TokenTree]) -> bool {
    split(&visible(bounds.iter().cloned()), '+')
        .iter()
        .any(|bound| match group(bound.first(), Delimiter::Parenthesis) {
            Some(inner) => has_float(&Vec::from_iter(inner)),
            None => {
                // The path ends before its own generics.
                let path = bound
                    .iter()
                    .take_while(|&t| matches!(t, TokenTree::Ident(_)) || is_punct(Some(t), ':'));
                let last = path.last();
                is_ident(last, "Float") || is_ident(last, "Real")
            }
        })
}

/// What the implementation asks for: every field type that mentions a type parameter must be a module.
///
/// A type that contains itself would ask for its own implementation in order to have it; there the parameters are asked
/// for instead.
fn bounds(
    item: &Ident,
    variants: &[(TokenStream, Vec<Visited>)],
    parameters: &[&Parameter],
    names: &Names,
) -> Vec<TokenStream> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for field in variants.iter().flat_map(|v| &v.1) {
        let ty = &field.field.ty;
        let used: Vec<_> = (parameters.iter())
            .filter(|p| mentions(ty, &p.name.to_string()))
            .collect();
        let bounded: Vec<TokenStream> = if used.is_empty() {
            continue;
        } else if mentions(ty, &item.to_string()) {
            used.iter().map(|p| p.used.clone()).collect()
        } else {
            vec![tokens(ty.iter().cloned())]
        };
        for ty in bounded {
            if seen.insert(ty.to_string()) {
                let words = [
                    ("TYPE", &ty),
                    ("KRATE", &names.krate),
                    ("FLOAT", &names.float),
                ];
                out.push(fill(
                    "TYPE: KRATE::Module<FLOAT>",
                    Span::call_site(),
                    &words,
                ));
            }
        }
    }
    out
}
