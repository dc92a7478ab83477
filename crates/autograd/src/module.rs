//! Visiting the parameters of a model.

use crate::param::{Buffer, Param};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use wengert_tensor::Real;

/// Dotted name of the place a visit has come to, such as `blocks.3.bn.gamma`.
#[derive(Default, Clone, Debug)]
pub struct Path {
    text: String,
    marks: Vec<usize>,
}

impl Path {
    /// The root: an empty name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dotted name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Runs `f` one level down.
    pub fn scoped<R>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        self.push(name);
        let r = f(self);
        self.pop();
        r
    }

    /// Goes down one level.
    pub fn push(&mut self, name: &str) {
        self.marks.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
    }

    /// Goes up one level.
    pub fn pop(&mut self) {
        let n = self.marks.pop().expect("Path::pop without push");
        self.text.truncate(n);
    }
}

/// Sees every parameter and buffer of a model, in declaration order, with its path.
pub trait Visitor<T: Real> {
    /// A parameter.
    fn param(&mut self, path: &str, param: &Param<T>);
    /// A buffer; ignored by default.
    fn buffer(&mut self, path: &str, buffer: &Buffer<T>) {
        let _ = (path, buffer);
    }
    /// Entering a module; `kind` is the name of its type.
    fn enter(&mut self, path: &str, kind: &'static str) {
        let _ = (path, kind);
    }
    /// As [`Visitor::enter`], with the place of the module in memory, which tells it from others of its kind while it is
    /// borrowed ([`Tape::passed`](crate::Tape::passed)).
    fn enter_at(&mut self, path: &str, kind: &'static str, place: usize) {
        let _ = place;
        self.enter(path, kind);
    }
    /// Leaving it.
    fn leave(&mut self, path: &str) {
        let _ = path;
    }
}

/// As [`Visitor`], and may change what it sees.
pub trait VisitorMut<T: Real> {
    /// A parameter.
    fn param(&mut self, path: &str, param: &mut Param<T>);
    /// A buffer; ignored by default.
    fn buffer(&mut self, path: &str, buffer: &mut Buffer<T>) {
        let _ = (path, buffer);
    }
}

/// Something made of parameters, buffers and other modules.
///
/// Derive it: names come from field names, the visiting order is the declaration order. A field that holds no
/// parameters is marked `#[module(skip)]`. Models can be sent to and shared between threads.
///
/// Implemented for [`Param`], [`Buffer`], `Box<M>` (also `Box<dyn Module<T>>`), `&mut M`, `Option<M>`, `Vec<M>`,
/// `[M; N]`, `BTreeMap<String, M>`, tuples of up to eight, `()` and `PhantomData`. Counting, listing and freezing stand in
/// [`ModuleExt`](crate::ModuleExt).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    label = "this field holds no parameters that a visit could reach",
    note = "derive `Module` for its type, or mark the field `#[module(skip)]` if it is plain configuration"
)]
pub trait Module<T: Real = f32>: Send + Sync {
    /// Shows every parameter and buffer to `visitor`.
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>);
    /// Lends every parameter and buffer to `visitor`.
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>);
    /// Name of the kind of module, for summaries and reports.
    fn kind(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        let name = name.split('<').next().unwrap_or(name);
        name.rsplit("::").next().unwrap_or(name)
    }
}

impl<T: Real> Module<T> for Param<T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.param(path.as_str(), self);
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        visitor.param(path.as_str(), self);
    }
}

impl<T: Real> Module<T> for Buffer<T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.buffer(path.as_str(), self);
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        visitor.buffer(path.as_str(), self);
    }
}

impl<T: Real, M: Module<T> + ?Sized> Module<T> for Box<M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        (**self).visit(path, visitor);
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        (**self).visit_mut(path, visitor);
    }
    fn kind(&self) -> &'static str {
        (**self).kind()
    }
}

impl<T: Real, M: Module<T> + ?Sized> Module<T> for &mut M {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        (**self).visit(path, visitor);
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        (**self).visit_mut(path, visitor);
    }
    fn kind(&self) -> &'static str {
        (**self).kind()
    }
}

impl<T: Real, M: Module<T>> Module<T> for Option<M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        if let Some(m) = self {
            m.visit(path, visitor);
        }
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        if let Some(m) = self {
            m.visit_mut(path, visitor);
        }
    }
}

fn visit_all<'a, T: Real, M: Module<T> + 'a>(
    items: impl Iterator<Item = &'a M>,
    path: &mut Path,
    visitor: &mut dyn Visitor<T>,
) {
    for (i, m) in items.enumerate() {
        path.scoped(&i.to_string(), |p| m.visit(p, visitor));
    }
}

fn visit_all_mut<'a, T: Real, M: Module<T> + 'a>(
    items: impl Iterator<Item = &'a mut M>,
    path: &mut Path,
    visitor: &mut dyn VisitorMut<T>,
) {
    for (i, m) in items.enumerate() {
        path.scoped(&i.to_string(), |p| m.visit_mut(p, visitor));
    }
}

impl<T: Real, M: Module<T>> Module<T> for Vec<M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visit_all(self.iter(), path, visitor);
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        visit_all_mut(self.iter_mut(), path, visitor);
    }
}

impl<T: Real, M: Module<T>, const N: usize> Module<T> for [M; N] {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visit_all(self.iter(), path, visitor);
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        visit_all_mut(self.iter_mut(), path, visitor);
    }
}

/// Modules by name, in the order of the names.
impl<T: Real, M: Module<T>> Module<T> for BTreeMap<String, M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        for (name, m) in self {
            path.scoped(name, |p| m.visit(p, visitor));
        }
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        for (name, m) in self {
            path.scoped(name, |p| m.visit_mut(p, visitor));
        }
    }
}

/// Nothing to visit.
impl<T: Real> Module<T> for () {
    fn visit(&self, _: &mut Path, _: &mut dyn Visitor<T>) {}
    fn visit_mut(&mut self, _: &mut Path, _: &mut dyn VisitorMut<T>) {}
}

/// Nothing to visit.
impl<T: Real, P: ?Sized + Send + Sync> Module<T> for PhantomData<P> {
    fn visit(&self, _: &mut Path, _: &mut dyn Visitor<T>) {}
    fn visit_mut(&mut self, _: &mut Path, _: &mut dyn VisitorMut<T>) {}
}

macro_rules! tuple {
    ($($m:ident $i:tt),+) => {
        impl<T: Real, $($m: Module<T>),+> Module<T> for ($($m,)+) {
            fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
                $(path.scoped(stringify!($i), |p| self.$i.visit(p, visitor));)+
            }
            fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
                $(path.scoped(stringify!($i), |p| self.$i.visit_mut(p, visitor));)+
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
