//! What stands in `#[module(..)]`.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Field, LitStr, Path, Result, Type};

/// Attributes of the type.
#[derive(Default)]
pub struct Container {
    pub float: Option<Type>,
    pub krate: Option<Path>,
    pub kind: Option<LitStr>,
}

/// Attributes of a field.
#[derive(Default)]
pub struct FieldOptions {
    pub skip: bool,
    pub rename: Option<LitStr>,
}

fn each(
    attributes: &[Attribute],
    mut f: impl FnMut(&str, &ParseNestedMeta) -> Result<()>,
) -> Result<()> {
    for a in attributes.iter().filter(|a| a.path().is_ident("module")) {
        a.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string);
            f(name.as_deref().unwrap_or(""), &meta)
        })?;
    }
    Ok(())
}

fn once<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(meta.error("given twice"));
    }
    Ok(())
}

impl Container {
    pub fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut c = Container::default();
        each(attributes, |name, meta| match name {
            "float" => once(&mut c.float, meta.value()?.parse()?, meta),
            "crate" => once(&mut c.krate, Path::parse_mod_style(meta.value()?)?, meta),
            "kind" => once(&mut c.kind, meta.value()?.parse()?, meta),
            "skip" | "rename" => Err(meta.error("this attribute belongs to a field")),
            _ => Err(meta.error("expected `float = ..`, `crate = ..` or `kind = \"..\"`")),
        })?;
        Ok(c)
    }
}

impl FieldOptions {
    pub fn parse(field: &Field) -> Result<Self> {
        let mut o = FieldOptions::default();
        each(&field.attrs, |name, meta| match name {
            "skip" => {
                o.skip = true;
                Ok(())
            }
            "rename" => once(&mut o.rename, meta.value()?.parse()?, meta),
            "float" | "crate" | "kind" => Err(meta.error("this attribute belongs to the type")),
            _ => Err(meta.error("expected `skip` or `rename = \"..\"`")),
        })?;
        if let Some(name) = &o.rename {
            let text = name.value();
            if text.is_empty() || text.contains('.') {
                return Err(syn::Error::new(
                    name.span(),
                    "the name of a field is one level of a path: not empty, without dots",
                ));
            }
            if o.skip {
                return Err(syn::Error::new(
                    name.span(),
                    "a skipped field has no name to change",
                ));
            }
        }
        Ok(o)
    }
}
