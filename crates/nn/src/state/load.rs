//! From entries to a model: names, checks, all or nothing.

use super::any::AnyTensor;
use super::error::{Mismatch, Problem, Result};
use std::fmt;
use std::sync::Arc;
use wengert_autograd::{Buffer, Module, Param, Path, Visitor, VisitorMut};
use wengert_tensor::order::order;
use wengert_tensor::{Real, Tensor};

type Rename = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
type Adapt = Arc<dyn Fn(&str, AnyTensor) -> AnyTensor + Send + Sync>;

/// How the entries of a file become the parameters and buffers of a model.
///
/// By default everything must fit: each parameter and buffer has its entry, no entry is left over, shapes and types agree, and nothing
/// is NaN. The names of entries go through these steps:
///
/// 1. [`from_prefix`](Self::from_prefix): entries below the prefix lose it, the others are ignored.
/// 2. [`rename`](Self::rename): the first pattern that matches is applied.
/// 3. [`map`](Self::map): a function; `None` ignores the entry.
/// 4. [`into_prefix`](Self::into_prefix): the name is put below the prefix; the rest of the model is left alone.
///
/// Types: `f32` and half precision widen exactly; `f64` into an `f32` model is an error unless [`narrow`](Self::narrow) allows rounding; a
/// single 64-bit integer (PyTorch's `num_batches_tracked`) becomes a float if that is exact.
///
/// A backbone from a file of a larger model:
/// ```
/// use wengert_autograd::{Param, Tensor};
/// use wengert_nn::state::{Checkpoint, LoadOptions};
///
/// let mut file = Checkpoint::new();
/// file.put_tensor("", "module.backbone.0.weight", Tensor::from_slice(&[1.0f32, 2.0], [2]));
/// file.put_tensor("", "module.head.weight", Tensor::<f32>::zeros([10]));
/// let mut model = (vec![Param::new(Tensor::<f32>::zeros([2]))], Param::new(Tensor::<f32>::zeros([3])));
///
/// let options = LoadOptions::default().from_prefix("module.backbone").rename("*.weight", "*").into_prefix("0");
/// let report = file.load_model("", &mut model, &options)?;
/// assert_eq!(report.loaded, ["0.0"]);
/// assert_eq!(model.0[0].value().to_vec(), [1.0, 2.0]);
/// # Ok::<(), wengert_nn::state::StateError>(())
/// ```
#[derive(Clone, Default)]
pub struct LoadOptions {
    from_prefix: Option<String>,
    into_prefix: Option<String>,
    renames: Vec<(String, String)>,
    map: Option<Rename>,
    adapt: Option<Adapt>,
    allow_missing: bool,
    allow_extra: bool,
    narrow: bool,
    allow_nan: bool,
    any_kind: bool,
    counters: bool,
}

impl LoadOptions {
    /// Everything must fit; the same as `default()`.
    pub fn strict() -> Self {
        Self::default()
    }

    /// What is there and has a place is loaded; missing and extra entries are reported, not refused. Entries that have a place but
    /// another shape or type are refused all the same.
    pub fn partial() -> Self {
        Self::default().allow_missing(true).allow_extra(true)
    }

    /// For a state dict of PyTorch saved as safetensors: the kind is not checked. Counters (`num_batches_tracked`, whole numbers
    /// there, floats here) are loaded, and set aside where a layer keeps none (instance norms).
    ///
    /// Everything else must fit. Names and layouts of most layers agree. For those that differ add [`rename`](Self::rename),
    /// [`map`](Self::map) and [`adapt`](Self::adapt).
    pub fn pytorch() -> Self {
        LoadOptions {
            counters: true,
            ..Self::default().any_kind(true)
        }
    }

    /// Takes the entries below this prefix only, without it: `backbone` takes `backbone.0.weight` as `0.weight`.
    #[must_use]
    pub fn from_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.from_prefix = Some(prefix.into());
        self
    }

    /// Loads into the part of the model below this path only.
    #[must_use]
    pub fn into_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.into_prefix = Some(prefix.into());
        self
    }

    /// Renames entries by pattern. `*` in the pattern stands for any run of characters, the shortest that fits; the n-th `*` of the
    /// replacement is what the n-th `*` of the pattern stood for.
    ///
    /// # Panics
    /// When the replacement has more `*` than the pattern.
    #[must_use]
    #[track_caller]
    pub fn rename(mut self, pattern: impl Into<String>, replacement: impl Into<String>) -> Self {
        let (pattern, replacement) = (pattern.into(), replacement.into());
        let stars = |s: &str| s.matches('*').count();
        assert!(
            stars(&replacement) <= stars(&pattern),
            "LoadOptions::rename: {replacement:?} has more `*` than {pattern:?}"
        );
        self.renames.push((pattern, replacement));
        self
    }

    /// Gives each entry another name, or none to ignore it. Replaces an earlier function.
    #[must_use]
    pub fn map(mut self, f: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.map = Some(Arc::new(f));
        self
    }

    /// Changes tensors whose layout differs (transposes a weight, reorders gates) before shape and type are checked. The
    /// function gets the path in the model.
    #[must_use]
    pub fn adapt(
        mut self,
        f: impl Fn(&str, AnyTensor) -> AnyTensor + Send + Sync + 'static,
    ) -> Self {
        self.adapt = Some(Arc::new(f));
        self
    }

    /// Whether parameters without an entry keep their values.
    #[must_use]
    pub fn allow_missing(mut self, yes: bool) -> Self {
        self.allow_missing = yes;
        self
    }

    /// Whether entries without a place are ignored.
    #[must_use]
    pub fn allow_extra(mut self, yes: bool) -> Self {
        self.allow_extra = yes;
        self
    }

    /// Whether `f64` entries are rounded into an `f32` model.
    #[must_use]
    pub fn narrow(mut self, yes: bool) -> Self {
        self.narrow = yes;
        self
    }

    /// Whether NaN is loaded.
    #[must_use]
    pub fn allow_nan(mut self, yes: bool) -> Self {
        self.allow_nan = yes;
        self
    }

    /// Whether the kind that the file states may differ from the model's. It is not compared either where names are changed or
    /// parts are loaded.
    #[must_use]
    pub fn any_kind(mut self, yes: bool) -> Self {
        self.any_kind = yes;
        self
    }

    pub(super) fn checks_kind(&self) -> bool {
        !(self.any_kind
            || self.allow_missing
            || self.allow_extra
            || self.from_prefix.is_some()
            || self.into_prefix.is_some()
            || self.map.is_some()
            || !self.renames.is_empty())
    }

    /// The path in the model that an entry goes to.
    fn target(&self, name: &str) -> Option<String> {
        let name = match &self.from_prefix {
            Some(p) => below(name, p)?,
            None => name,
        };
        let mut name = self
            .renames
            .iter()
            .find_map(|(pattern, replacement)| renamed(name, pattern, replacement))
            .unwrap_or_else(|| name.to_owned());
        if let Some(f) = &self.map {
            name = f(&name)?;
        }
        Some(match &self.into_prefix {
            Some(p) if name.is_empty() => p.clone(),
            Some(p) => format!("{p}.{name}"),
            None => name,
        })
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("from_prefix", &self.from_prefix)
            .field("into_prefix", &self.into_prefix)
            .field("renames", &self.renames)
            .field("map", &self.map.is_some())
            .field("adapt", &self.adapt.is_some())
            .field("allow_missing", &self.allow_missing)
            .field("allow_extra", &self.allow_extra)
            .field("narrow", &self.narrow)
            .field("allow_nan", &self.allow_nan)
            .field("any_kind", &self.any_kind)
            .field("counters", &self.counters)
            .finish()
    }
}

/// `name` without the prefix and its dot.
fn below<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    if rest.is_empty() || prefix.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('.')
    }
}

/// The replacement with its stars filled in, if the pattern matches all of `name`.
fn renamed(name: &str, pattern: &str, replacement: &str) -> Option<String> {
    let pieces: Vec<&str> = pattern.split('*').collect();
    let mut held = Vec::new();
    if let [whole] = pieces[..] {
        if whole != name {
            return None;
        }
    } else {
        let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
        let mut rest = name.strip_prefix(first)?;
        for piece in &pieces[1..pieces.len() - 1] {
            let at = rest.find(piece)?;
            held.push(&rest[..at]);
            rest = &rest[at + piece.len()..];
        }
        held.push(rest.strip_suffix(last)?);
    }
    let mut out = String::new();
    for (i, piece) in replacement.split('*').enumerate() {
        if i > 0 {
            out.push_str(held[i - 1]);
        }
        out.push_str(piece);
    }
    Some(out)
}

/// What a successful load did.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LoadReport {
    /// Paths of the model that got new values, in visiting order.
    pub loaded: Vec<String>,
    /// Paths that had no entry and kept their values.
    pub missing: Vec<String>,
    /// Entries that had no place, under the name they would have in the model.
    pub extra: Vec<String>,
    /// Names in the file of the entries that the options set aside.
    pub ignored: Vec<String>,
}

/// Paths and shapes of a model, in visiting order.
struct Places(Vec<(String, Vec<usize>)>);

impl<T: Real> Visitor<T> for Places {
    fn param(&mut self, path: &str, p: &Param<T>) {
        self.0.push((path.to_owned(), p.shape().to_vec()));
    }
    fn buffer(&mut self, path: &str, b: &Buffer<T>) {
        self.0.push((path.to_owned(), b.value().shape().to_vec()));
    }
}

/// Hands out new values in visiting order.
struct Assign<I>(I);

impl<T: Real, I: Iterator<Item = Option<Tensor<T>>>> VisitorMut<T> for Assign<I> {
    fn param(&mut self, _: &str, p: &mut Param<T>) {
        if let Some(t) = self.0.next().flatten() {
            *p.value_mut() = t;
        }
    }
    fn buffer(&mut self, _: &str, b: &mut Buffer<T>) {
        if let Some(t) = self.0.next().flatten() {
            *b.value_mut() = t;
        }
    }
}

/// Loads entries into a model, all or nothing.
pub(super) fn load_entries<'a, T: Real, M: Module<T> + ?Sized>(
    model: &mut M,
    entries: impl Iterator<Item = (&'a str, &'a AnyTensor)>,
    options: &LoadOptions,
) -> Result<LoadReport> {
    let mut places = Places(Vec::new());
    model.visit(&mut Path::new(), &mut places);
    let places = places.0;
    let sorted = order(places.len(), &|a, b| places[a].0.cmp(&places[b].0));
    let place = |path: &str| {
        let at = sorted.binary_search_by(|&i| places[i].0.as_str().cmp(path));
        at.ok().map(|at| sorted[at])
    };

    let mut wrong = Mismatch::default();
    let mut report = LoadReport::default();
    let mut new: Vec<Option<Tensor<T>>> = vec![None; places.len()];
    let mut taken = vec![false; places.len()];
    for (name, t) in entries {
        let Some(target) = options.target(name) else {
            report.ignored.push(name.to_owned());
            continue;
        };
        let counter = options.counters
            && (target == "num_batches_tracked" || target.ends_with(".num_batches_tracked"));
        let Some(i) = place(&target) else {
            if counter {
                report.ignored.push(name.to_owned());
            } else {
                report.extra.push(target);
            }
            continue;
        };
        if std::mem::replace(&mut taken[i], true) {
            wrong.ambiguous.push(target);
            continue;
        }
        let t = match &options.adapt {
            Some(f) => f(&target, t.clone()),
            None => t.clone(),
        };
        let expected = &places[i].1;
        if t.shape() != expected {
            wrong
                .misshaped
                .push((target, t.shape().to_vec(), expected.clone()));
            continue;
        }
        let Some(t) = t.to_real::<T>(options.narrow || counter) else {
            wrong
                .mistyped
                .push((target, t.dtype().to_string(), T::DTYPE.to_string()));
            continue;
        };
        let nan = t.iter().filter(|x| x.is_nan()).count();
        if nan > 0 && !options.allow_nan {
            wrong.nan.push((target, nan));
            continue;
        }
        new[i] = Some(t);
    }
    for (i, (path, _)) in places.iter().enumerate() {
        let wanted = match &options.into_prefix {
            Some(p) => below(path, p).is_some(),
            None => true,
        };
        if taken[i] {
            report.loaded.push(path.clone());
        } else if wanted {
            report.missing.push(path.clone());
        }
    }
    if !options.allow_missing {
        wrong.missing = std::mem::take(&mut report.missing);
    }
    if !options.allow_extra {
        wrong.extra = std::mem::take(&mut report.extra);
    }
    if !wrong.is_empty() {
        return Err(Problem::Mismatch(Box::new(wrong)).into());
    }
    model.visit_mut(&mut Path::new(), &mut Assign(new.into_iter()));
    Ok(report)
}
