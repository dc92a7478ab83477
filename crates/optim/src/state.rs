//! Optimizer state as data: what a checkpoint saves.

use crate::entries::Entries;
use crate::error::{Error, Result, StateMismatch};
use wengert_tensor::{DType, Element, Real, Tensor};

/// A number or word of a saved state.
#[derive(Debug, Clone, PartialEq)]
pub enum StateScalar {
    /// A count.
    Count(u64),
    /// A number; must survive a file bit for bit.
    Number(f64),
    /// A word.
    Text(String),
}

/// A tensor of a saved state.
#[derive(Clone)]
pub enum StateTensor {
    /// Single precision.
    F32(Tensor<f32>),
    /// Double precision.
    F64(Tensor<f64>),
}

impl StateTensor {
    /// A copy of `data` in the shape `shape`.
    pub fn of<T: Real>(data: &[T], shape: &[usize]) -> Self {
        let tensor = Tensor::from_slice(data, shape);
        Self::from_tensor(&tensor)
    }

    /// The tensor, sharing its storage.
    pub fn from_tensor<T: Real>(tensor: &Tensor<T>) -> Self {
        let any: &dyn std::any::Any = tensor;
        match (any.downcast_ref(), any.downcast_ref()) {
            (Some(t), _) => StateTensor::F32(Tensor::clone(t)),
            (_, Some(t)) => StateTensor::F64(Tensor::clone(t)),
            _ => unreachable!("Real is sealed: f32 and f64"),
        }
    }

    /// The tensor, if it holds elements of this type.
    pub fn get<T: Element>(&self) -> Option<&Tensor<T>> {
        let any: &dyn std::any::Any = match self {
            StateTensor::F32(t) => t,
            StateTensor::F64(t) => t,
        };
        any.downcast_ref()
    }

    /// Shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            StateTensor::F32(t) => t.shape(),
            StateTensor::F64(t) => t.shape(),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            StateTensor::F32(_) => DType::F32,
            StateTensor::F64(_) => DType::F64,
        }
    }
}

/// Bits for bits: NaN equals itself.
impl PartialEq for StateTensor {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: bool| a && self.shape() == other.shape();
        match (self, other) {
            (StateTensor::F32(a), StateTensor::F32(b)) => same(
                a.iter()
                    .zip(b.iter())
                    .all(|(a, b)| a.to_bits() == b.to_bits()),
            ),
            (StateTensor::F64(a), StateTensor::F64(b)) => same(
                a.iter()
                    .zip(b.iter())
                    .all(|(a, b)| a.to_bits() == b.to_bits()),
            ),
            _ => false,
        }
    }
}

impl std::fmt::Debug for StateTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.dtype(), self.shape())
    }
}

/// What is kept for one parameter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParamState {
    /// Numbers by name.
    pub scalars: Entries<StateScalar>,
    /// Tensors by name.
    pub tensors: Entries<StateTensor>,
}

/// The state of an optimizer, a wrapper or a pipeline of transforms, in a fixed order.
///
/// Hyperparameters and schedules are configuration and not part of it: they come from the program that resumes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OptimizerState {
    /// Name of the rule or wrapper.
    pub kind: String,
    /// Numbers of the whole: steps taken and the like.
    pub scalars: Entries<StateScalar>,
    /// By parameter path.
    pub params: Entries<ParamState>,
    /// Of what is wrapped, by role.
    pub parts: Entries<OptimizerState>,
}

/// A saved state as two flat lists, as file formats want them: names are unique and neither list loses anything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlatState {
    /// Tensors by name.
    pub tensors: Entries<StateTensor>,
    /// Numbers and words by name.
    pub scalars: Entries<StateScalar>,
}

impl OptimizerState {
    /// A state without entries.
    pub fn new(kind: impl Into<String>) -> Self {
        OptimizerState {
            kind: kind.into(),
            ..Self::default()
        }
    }

    /// All entries under flat names: `kind`, `scalar/NAME`, `param/NAME/PATH`, each behind the roles of the parts it
    /// lies in (`part/ROLE/…`).
    pub fn to_flat(&self) -> FlatState {
        let mut flat = FlatState::default();
        self.flatten("", &mut flat);
        flat
    }

    fn flatten(&self, prefix: &str, flat: &mut FlatState) {
        let kind = StateScalar::Text(self.kind.clone());
        flat.scalars.insert(format!("{prefix}kind"), kind);
        for (name, s) in &self.scalars {
            flat.scalars
                .insert(format!("{prefix}scalar/{name}"), s.clone());
        }
        for (path, p) in &self.params {
            for (name, s) in &p.scalars {
                flat.scalars
                    .insert(format!("{prefix}param/{name}/{path}"), s.clone());
            }
            for (name, t) in &p.tensors {
                flat.tensors
                    .insert(format!("{prefix}param/{name}/{path}"), t.clone());
            }
        }
        for (role, part) in &self.parts {
            part.flatten(&format!("{prefix}part/{role}/"), flat);
        }
    }

    /// The state from its flat form.
    ///
    /// # Errors
    /// When a name is not one that [`OptimizerState::to_flat`] makes; all such names are listed.
    pub fn from_flat(flat: &FlatState) -> Result<Self> {
        let mut state = OptimizerState::default();
        let mut check = Checker::default();
        for (name, s) in &flat.scalars {
            if !state.place(name, Entry::Scalar(s)) {
                check.problem(format!("`{name}` is not the name of an entry"));
            }
        }
        for (name, t) in &flat.tensors {
            if !state.place(name, Entry::Tensor(t)) {
                check.problem(format!("`{name}` is not the name of a tensor"));
            }
        }
        check.finish().map(|()| state)
    }

    fn place(&mut self, name: &str, entry: Entry<'_>) -> bool {
        if let Some(rest) = name.strip_prefix("part/") {
            return rest.split_once('/').is_some_and(|(role, rest)| {
                let part = self.parts.or_default(role);
                part.place(rest, entry)
            });
        }
        if let Some(rest) = name.strip_prefix("param/") {
            return rest.split_once('/').is_some_and(|(name, path)| {
                let p = self.params.or_default(path);
                match entry {
                    Entry::Scalar(s) => p.scalars.insert(name.to_string(), s.clone()).is_none(),
                    Entry::Tensor(t) => p.tensors.insert(name.to_string(), t.clone()).is_none(),
                }
            });
        }
        match (entry, name.strip_prefix("scalar/")) {
            (Entry::Scalar(s), Some(name)) => {
                self.scalars.insert(name.to_string(), s.clone()).is_none()
            }
            (Entry::Scalar(StateScalar::Text(kind)), None) if name == "kind" => {
                self.kind.clone_from(kind);
                true
            }
            _ => false,
        }
    }
}

#[derive(Clone, Copy)]
enum Entry<'a> {
    Scalar(&'a StateScalar),
    Tensor(&'a StateTensor),
}

/// Collects everything that is wrong with a state.
#[derive(Default)]
pub(crate) struct Checker {
    problems: Vec<String>,
    role: String,
}

impl Checker {
    pub(crate) fn problem(&mut self, text: String) {
        self.problems.push(format!("{}{text}", self.role));
    }

    pub(crate) fn finish(self) -> Result<()> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Error::State(StateMismatch {
                problems: self.problems,
            }))
        }
    }

    /// Takes over the problems of a part.
    pub(crate) fn absorb(&mut self, role: &str, result: Result<()>) {
        match result {
            Ok(()) => {}
            Err(Error::State(m)) => {
                for p in m.problems {
                    self.problem(format!("{role}: {p}"));
                }
            }
            Err(e) => self.problem(format!("{role}: {e}")),
        }
    }

    pub(crate) fn kind(&mut self, state: &OptimizerState, expected: &str) {
        if state.kind != expected {
            self.problem(format!(
                "the state is one of `{}`, the optimizer is `{expected}`",
                state.kind
            ));
        }
    }

    /// A state without parts, where none belong.
    pub(crate) fn no_parts(&mut self, state: &OptimizerState) {
        self.names("the parts", state.parts.keys(), &[]);
    }

    /// The names of `found` that are not among `expected`, and the other way round.
    pub(crate) fn names<'a>(
        &mut self,
        what: &str,
        found: impl Iterator<Item = &'a String>,
        expected: &[&str],
    ) {
        let found: Vec<&str> = found.map(String::as_str).collect();
        for f in found.iter().filter(|f| !expected.contains(f)) {
            self.problem(format!("{what}: `{f}` is unknown"));
        }
        for e in expected.iter().filter(|e| !found.contains(e)) {
            self.problem(format!("{what}: `{e}` is missing"));
        }
    }

    pub(crate) fn count(&mut self, what: &str, scalars: &Entries<StateScalar>, name: &str) -> u64 {
        match scalars.get(name) {
            Some(StateScalar::Count(n)) => *n,
            None => 0,
            Some(other) => {
                self.problem(format!("{what}: `{name}` must be a count, found {other:?}"));
                0
            }
        }
    }

    pub(crate) fn number(&mut self, what: &str, scalars: &Entries<StateScalar>, name: &str) -> f64 {
        match scalars.get(name) {
            Some(StateScalar::Number(x)) if !x.is_nan() => *x,
            None => 0.0,
            Some(other) => {
                self.problem(format!(
                    "{what}: `{name}` must be a number, found {other:?}"
                ));
                0.0
            }
        }
    }

    /// The tensor under a name, if it has the right type and shape and holds no NaN.
    pub(crate) fn tensor<'a, T: Real>(
        &mut self,
        path: &str,
        tensors: &'a Entries<StateTensor>,
        name: &str,
        shape: &[usize],
    ) -> Option<&'a Tensor<T>> {
        let t = self.any_tensor::<T>(path, tensors, name, shape)?;
        if t.iter().any(|x| x.is_nan()) {
            self.problem(format!("`{path}`: `{name}` holds NaN"));
            return None;
        }
        Some(t)
    }

    /// The tensor under a name, if it has the right type and shape, whatever it holds.
    pub(crate) fn any_tensor<'a, T: Real>(
        &mut self,
        path: &str,
        tensors: &'a Entries<StateTensor>,
        name: &str,
        shape: &[usize],
    ) -> Option<&'a Tensor<T>> {
        let tensor = tensors.get(name)?;
        let Some(t) = tensor.get::<T>() else {
            self.problem(format!(
                "`{path}`: `{name}` must hold {}, found {}",
                T::DTYPE,
                tensor.dtype()
            ));
            return None;
        };
        if t.shape() != shape {
            self.problem(format!(
                "`{path}`: `{name}` must have shape {shape:?}, found {:?}",
                t.shape()
            ));
            return None;
        }
        Some(t)
    }
}

pub(crate) fn scalars(entries: &[(&str, StateScalar)]) -> Entries<StateScalar> {
    (entries.iter())
        .map(|(name, x)| (name.to_string(), x.clone()))
        .collect()
}
