//! From the item to the implementation.

use crate::attributes::{Container, FieldOptions};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::collections::HashSet;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Fields, GenericParam, Generics, Member, Result, Type, TypeParamBound,
    WherePredicate, parse_quote,
};

/// A visited field.
struct Visited<'a> {
    member: Member,
    binding: Ident,
    name: String,
    ty: &'a Type,
}

pub fn module(input: &DeriveInput) -> Result<TokenStream> {
    let options = Container::parse(&input.attrs)?;
    let krate = options
        .krate
        .unwrap_or_else(|| parse_quote!(::wengert::__private));
    let (float, parameter) = match options.float {
        Some(t) => (t, None),
        None => match float_parameter(&input.generics)? {
            Some(p) => (parse_quote!(#p), Some(p)),
            None => (parse_quote!(::core::primitive::f32), None),
        },
    };

    let mut variants: Vec<(TokenStream, Vec<Visited>)> = Vec::new();
    match &input.data {
        Data::Struct(s) => variants.push((quote!(Self), visited(&s.fields)?)),
        Data::Enum(e) => {
            for v in &e.variants {
                if let Some(a) = v.attrs.iter().find(|a| a.path().is_ident("module")) {
                    return Err(Error::new(
                        a.span(),
                        "variants take no `module` attributes: mark their fields",
                    ));
                }
                let name = &v.ident;
                variants.push((quote!(Self::#name), visited(&v.fields)?));
            }
        }
        Data::Union(u) => {
            return Err(Error::new(
                u.union_token.span(),
                "a union cannot be a module",
            ));
        }
    }

    let generics = bounded(input, &variants, parameter.as_ref(), &krate, &float);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (_, ty_generics, _) = input.generics.split_for_impl();
    let name = &input.ident;
    let kind = match &options.kind {
        Some(k) => k.value(),
        None => name.unraw().to_string(),
    };
    let (visit, visit_mut) = (
        body(&variants, &krate, &float, false),
        body(&variants, &krate, &float, true),
    );
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Module<#float> for #name #ty_generics #where_clause {
            #[allow(unreachable_code, unused_variables)]
            fn visit(&self, path: &mut #krate::Path, visitor: &mut dyn #krate::Visitor<#float>) {
                let place = ::core::ptr::from_ref(self).cast::<()>() as usize;
                #krate::Visitor::enter_at(visitor, #krate::Path::as_str(path), #kind, place);
                #visit
                #krate::Visitor::leave(visitor, #krate::Path::as_str(path));
            }
            #[allow(unreachable_code, unused_variables)]
            fn visit_mut(&mut self, path: &mut #krate::Path, visitor: &mut dyn #krate::VisitorMut<#float>) {
                #visit_mut
            }
            fn kind(&self) -> &'static str {
                #kind
            }
        }
    })
}

/// The fields that are not skipped, with the names they are visited under.
fn visited(fields: &Fields) -> Result<Vec<Visited<'_>>> {
    let mut out = Vec::new();
    let mut names = HashSet::new();
    for (i, (field, member)) in fields.iter().zip(fields.members()).enumerate() {
        let options = FieldOptions::parse(field)?;
        if options.skip {
            continue;
        }
        let (name, span) = match (&options.rename, &member) {
            (Some(n), _) => (n.value(), n.span()),
            (None, Member::Named(n)) => (n.unraw().to_string(), n.span()),
            (None, Member::Unnamed(n)) => (n.index.to_string(), field.span()),
        };
        if !names.insert(name.clone()) {
            return Err(Error::new(
                span,
                format!("another field is already named `{name}`"),
            ));
        }
        out.push(Visited {
            member,
            binding: Ident::new(&format!("field_{i}"), Span::mixed_site()),
            name,
            ty: &field.ty,
        });
    }
    Ok(out)
}

/// One `match` over the variants; a struct has one.
fn body(
    variants: &[(TokenStream, Vec<Visited>)],
    krate: &syn::Path,
    float: &Type,
    mutable: bool,
) -> TokenStream {
    if variants.is_empty() {
        return quote!(match *self {});
    }
    let method = format_ident!("{}", if mutable { "visit_mut" } else { "visit" });
    let arms = variants.iter().map(|(pattern, fields)| {
        let patterns = fields.iter().map(|f| {
            let (member, binding) = (&f.member, &f.binding);
            quote!(#member: #binding)
        });
        let calls = fields.iter().map(|f| {
            let (binding, name, ty) = (&f.binding, &f.name, f.ty);
            // Spanned at the type, so that "is not a module" points at the field.
            let call = quote_spanned!(ty.span()=> <#ty as #krate::Module<#float>>::#method);
            quote! {
                path.push(#name);
                #call(#binding, path, visitor);
                path.pop();
            }
        });
        quote!(#pattern { #(#patterns,)* .. } => { #(#calls)* })
    });
    quote!(match self { #(#arms)* })
}

/// The type parameter that is bounded by `Float` or `Real`.
fn float_parameter(generics: &Generics) -> Result<Option<Ident>> {
    let is_float = |b: &TypeParamBound| {
        matches!(b, TypeParamBound::Trait(t)
            if t.path.segments.last().is_some_and(|s| s.ident == "Float" || s.ident == "Real"))
    };
    let mut found: Option<Ident> = None;
    for p in generics.type_params() {
        let in_where = || {
            generics
                .where_clause
                .iter()
                .flat_map(|w| &w.predicates)
                .any(|w| {
                    matches!(w, WherePredicate::Type(t)
                    if is_ident(&t.bounded_ty, &p.ident) && t.bounds.iter().any(is_float))
                })
        };
        if p.bounds.iter().any(is_float) || in_where() {
            if found.is_some() {
                return Err(Error::new(
                    p.span(),
                    "two parameters could be the float type: choose one with `#[module(float = ..)]`",
                ));
            }
            found = Some(p.ident.clone());
        }
    }
    Ok(found)
}

fn is_ident(ty: &Type, ident: &Ident) -> bool {
    matches!(ty, Type::Path(p) if p.qself.is_none() && p.path.is_ident(ident))
}

/// The generics of the implementation: every field type that mentions a type parameter must be a module.
///
/// A type that contains itself would ask for its own implementation in order to have it; there the parameters are asked
/// for instead.
fn bounded(
    input: &DeriveInput,
    variants: &[(TokenStream, Vec<Visited>)],
    float: Option<&Ident>,
    krate: &syn::Path,
    float_type: &Type,
) -> Generics {
    let mut generics = input.generics.clone();
    let parameters: Vec<Ident> = input
        .generics
        .params
        .iter()
        .filter_map(|p| match p {
            GenericParam::Type(t) if Some(&t.ident) != float => Some(t.ident.clone()),
            _ => None,
        })
        .collect();
    let mut seen = HashSet::new();
    for field in variants.iter().flat_map(|v| &v.1) {
        let used: Vec<&Ident> = parameters
            .iter()
            .filter(|p| mentions(field.ty.to_token_stream(), p))
            .collect();
        let recursive = mentions(field.ty.to_token_stream(), &input.ident);
        let bounds: Vec<Type> = match (used.is_empty(), recursive) {
            (true, _) => continue,
            (false, false) => vec![field.ty.clone()],
            (false, true) => used.iter().map(|p| parse_quote!(#p)).collect(),
        };
        for ty in bounds {
            if seen.insert(ty.to_token_stream().to_string()) {
                generics
                    .make_where_clause()
                    .predicates
                    .push(parse_quote!(#ty: #krate::Module<#float_type>));
            }
        }
    }
    generics
}

fn mentions(tokens: TokenStream, ident: &Ident) -> bool {
    tokens.into_iter().any(|t| match t {
        TokenTree::Ident(i) => i == *ident,
        TokenTree::Group(g) => mentions(g.stream(), ident),
        _ => false,
    })
}
