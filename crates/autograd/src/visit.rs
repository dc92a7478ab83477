//! Listing, counting and freezing what a model owns.

use crate::module::{Module, Path, Visitor, VisitorMut};
use crate::param::{Buffer, BufferId, Param, ParamId};
use wengert_tensor::Real;

/// Whether a path belongs to a pattern.
///
/// `*` stands for any run of characters, dots included, `?` for one character. A pattern matches a path if it matches
/// all of it or a leading part that ends before a dot: `encoder`, `encoder.*` and `enc*` all take the whole subtree
/// `encoder.…`, `*.bias` every bias below the top, `blocks.?.bn` the batch norms of blocks 0 to 9.
///
/// ```
/// use wengert_autograd::path_matches;
/// assert!(path_matches("encoder", "encoder.0.weight"));
/// assert!(!path_matches("encoder", "encoder2.weight"));
/// assert!(path_matches("*.bias", "blocks.3.fc.bias"));
/// assert!(!path_matches("*.bias", "bias"));
/// ```
pub fn path_matches(pattern: &str, path: &str) -> bool {
    glob(pattern, path)
        || path
            .match_indices('.')
            .any(|(dot, _)| glob(pattern, &path[..dot]))
}

/// `*` and `?` over all of `text`, in at most `pattern.len() * text.len()` steps.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (pattern, text);
    // Where to go on when the text after the last `*` does not fit: the star takes one character more.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let mut rest = p.chars();
        match rest.next() {
            Some('*') => {
                p = rest.as_str();
                retry = Some((p, t));
                continue;
            }
            None if t.is_empty() => return true,
            Some(c) => {
                let mut text = t.chars();
                if let Some(x) = text.next()
                    && (c == '?' || c == x)
                {
                    (p, t) = (rest.as_str(), text.as_str());
                    continue;
                }
            }
            None => {}
        }
        let Some((after, from)) = retry else {
            return false;
        };
        let mut longer = from.chars();
        if longer.next().is_none() {
            return false;
        }
        (p, t) = (after, longer.as_str());
        retry = Some((after, t));
    }
}

/// A parameter as [`ModuleExt::named_params`] lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamInfo {
    /// Dotted name.
    pub path: String,
    /// Key of its gradient.
    pub id: ParamId,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Whether it gets gradients and updates.
    pub trainable: bool,
}

impl ParamInfo {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A buffer as [`ModuleExt::named_buffers`] lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferInfo {
    /// Dotted name.
    pub path: String,
    /// Key of its side output.
    pub id: BufferId,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Whether side outputs leave it unchanged.
    pub frozen: bool,
}

/// A module inside a model as [`ModuleExt::modules`] lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleInfo {
    /// Dotted name; empty for the model itself.
    pub path: String,
    /// Name of its type.
    pub kind: &'static str,
}

struct Each<P, B, E>(P, B, E);

impl<T, P, B, E> Visitor<T> for Each<P, B, E>
where
    T: Real,
    P: FnMut(&str, &Param<T>),
    B: FnMut(&str, &Buffer<T>),
    E: FnMut(&str, &'static str),
{
    fn param(&mut self, path: &str, param: &Param<T>) {
        (self.0)(path, param);
    }
    fn buffer(&mut self, path: &str, buffer: &Buffer<T>) {
        (self.1)(path, buffer);
    }
    fn enter(&mut self, path: &str, kind: &'static str) {
        (self.2)(path, kind);
    }
}

struct EachMut<P, B>(P, B);

impl<T, P, B> VisitorMut<T> for EachMut<P, B>
where
    T: Real,
    P: FnMut(&str, &mut Param<T>),
    B: FnMut(&str, &mut Buffer<T>),
{
    fn param(&mut self, path: &str, param: &mut Param<T>) {
        (self.0)(path, param);
    }
    fn buffer(&mut self, path: &str, buffer: &mut Buffer<T>) {
        (self.1)(path, buffer);
    }
}

/// What every [`Module`] can do: be listed, counted and frozen.
///
/// ```
/// use wengert_autograd::{ModuleExt, Param, Tensor};
/// let mut model = vec![Param::new(Tensor::<f32>::zeros([3, 2])), Param::new(Tensor::zeros([3]))];
/// model.freeze("0");
/// assert_eq!((model.num_params(), model.num_trainable()), (9, 3));
/// ```
pub trait ModuleExt<T: Real = f32>: Module<T> {
    /// Calls `f` with every parameter and its path, in declaration order.
    fn for_each_param(&self, f: impl FnMut(&str, &Param<T>)) {
        self.visit(
            &mut Path::new(),
            &mut Each(f, |_: &str, _: &Buffer<T>| (), |_: &str, _| ()),
        );
    }

    /// Calls `f` with every parameter and its path, in declaration order; `f` may change it.
    fn for_each_param_mut(&mut self, f: impl FnMut(&str, &mut Param<T>)) {
        self.visit_mut(
            &mut Path::new(),
            &mut EachMut(f, |_: &str, _: &mut Buffer<T>| ()),
        );
    }

    /// Calls `f` with every buffer and its path, in declaration order.
    fn for_each_buffer(&self, f: impl FnMut(&str, &Buffer<T>)) {
        self.visit(
            &mut Path::new(),
            &mut Each(|_: &str, _: &Param<T>| (), f, |_: &str, _| ()),
        );
    }

    /// Calls `f` with every buffer and its path, in declaration order; `f` may change it.
    fn for_each_buffer_mut(&mut self, f: impl FnMut(&str, &mut Buffer<T>)) {
        self.visit_mut(
            &mut Path::new(),
            &mut EachMut(|_: &str, _: &mut Param<T>| (), f),
        );
    }

    /// Every parameter: path, identity, shape, whether it is trained.
    fn named_params(&self) -> Vec<ParamInfo> {
        let mut out = Vec::new();
        self.for_each_param(|path, p| {
            out.push(ParamInfo {
                path: path.to_owned(),
                id: p.id(),
                shape: p.shape().to_vec(),
                trainable: p.is_trainable(),
            });
        });
        out
    }

    /// Every buffer: path, identity, shape, whether it is frozen.
    fn named_buffers(&self) -> Vec<BufferInfo> {
        let mut out = Vec::new();
        self.for_each_buffer(|path, b| {
            out.push(BufferInfo {
                path: path.to_owned(),
                id: b.id(),
                shape: b.value().shape().to_vec(),
                frozen: b.is_frozen(),
            });
        });
        out
    }

    /// Every module inside, the model itself first: path and name of the type.
    fn modules(&self) -> Vec<ModuleInfo> {
        let mut out = Vec::new();
        self.visit(
            &mut Path::new(),
            &mut Each(
                |_: &str, _: &Param<T>| (),
                |_: &str, _: &Buffer<T>| (),
                |path: &str, kind| {
                    out.push(ModuleInfo {
                        path: path.to_owned(),
                        kind,
                    });
                },
            ),
        );
        out
    }

    /// Number of elements of all parameters, frozen ones included, buffers not.
    fn num_params(&self) -> usize {
        let mut n = 0;
        self.for_each_param(|_, p| n += p.value().numel());
        n
    }

    /// Number of elements of the parameters that are trained.
    fn num_trainable(&self) -> usize {
        let mut n = 0;
        self.for_each_param(|_, p| {
            n += if p.is_trainable() {
                p.value().numel()
            } else {
                0
            }
        });
        n
    }

    /// Freezes or unfreezes the parameters and buffers whose path belongs to the pattern (see [`path_matches`]), and
    /// says how many there were.
    fn set_frozen(&mut self, pattern: &str, frozen: bool) -> usize {
        let mut n = 0;
        self.for_each_param_mut(|path, p| {
            if path_matches(pattern, path) {
                p.set_trainable(!frozen);
                n += 1;
            }
        });
        self.for_each_buffer_mut(|path, b| {
            if path_matches(pattern, path) {
                b.set_frozen(frozen);
                n += 1;
            }
        });
        n
    }

    /// Freezes a subtree by pattern: its parameters get no gradients and no updates, its buffers (running statistics)
    /// keep their values.
    ///
    /// # Panics
    /// When nothing matches; [`ModuleExt::set_frozen`] returns 0 instead.
    #[track_caller]
    fn freeze(&mut self, pattern: &str) {
        if self.set_frozen(pattern, true) == 0 {
            nothing_matches("freeze", pattern, &self.named_params());
        }
    }

    /// Takes back [`ModuleExt::freeze`].
    ///
    /// # Panics
    /// When nothing matches; [`ModuleExt::set_frozen`] returns 0 instead.
    #[track_caller]
    fn unfreeze(&mut self, pattern: &str) {
        if self.set_frozen(pattern, false) == 0 {
            nothing_matches("unfreeze", pattern, &self.named_params());
        }
    }
}

impl<T: Real, M: Module<T> + ?Sized> ModuleExt<T> for M {}

#[track_caller]
fn nothing_matches(op: &str, pattern: &str, params: &[ParamInfo]) -> ! {
    let names: Vec<&str> = params.iter().take(8).map(|p| p.path.as_str()).collect();
    panic!(
        "{op}: no parameter or buffer matches {pattern:?}; the model has {}{}",
        names.join(", "),
        if params.len() > 8 { ", …" } else { "" }
    );
}
