//! A second set of weights beside the model's, by path.

use crate::error::Result;
use crate::hub;
use crate::state::{Checker, OptimizerState, ParamState, StateTensor};
use wengert_autograd::{Buffer, Module, Param, Path, Visitor, VisitorMut};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Real, Storage};

pub(crate) struct Kept<T: Real> {
    path: String,
    shape: Dims,
    data: Storage<T>,
}

/// Weights of trainable parameters (and of buffers, if asked for), found again by visiting order and path.
pub(crate) struct Snapshot<T: Real> {
    kept: Vec<Kept<T>>,
    buffers: bool,
}

/// What is done with the kept values and those of the model. `None` stands for a parameter seen for the first time,
/// whose values were just copied.
type Each<'a, T> = &'a mut dyn FnMut(Option<&mut [T]>, &mut [T]);
type EachRead<'a, T> = &'a mut dyn FnMut(&mut [T], &[T]);

struct Read<'a, T: Real> {
    snapshot: &'a mut Snapshot<T>,
    cursor: usize,
    f: EachRead<'a, T>,
}

struct Write<'a, T: Real> {
    snapshot: &'a mut Snapshot<T>,
    cursor: usize,
    f: Each<'a, T>,
}

impl<T: Real> Snapshot<T> {
    pub(crate) fn new(buffers: bool) -> Self {
        Snapshot {
            kept: Vec::new(),
            buffers,
        }
    }

    pub(crate) fn with_buffers(&mut self) {
        self.buffers = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Position of a path with this shape, looking first at `near`; an entry whose shape changed is dropped.
    fn find(&mut self, near: usize, path: &str, shape: &[usize]) -> Option<usize> {
        let fits = |k: &Kept<T>| k.path == path && k.shape.as_slice() == shape;
        if self.kept.get(near).is_some_and(fits) {
            return Some(near);
        }
        self.kept.retain(|k| k.path != path || fits(k));
        self.kept.iter().position(fits)
    }

    fn insert(&mut self, near: usize, path: &str, shape: &[usize], values: &[T]) {
        let mut data = Storage::zeroed("weights kept aside", values.len()).or_panic();
        data.as_mut_slice().copy_from_slice(values);
        let kept = Kept {
            path: path.to_string(),
            shape: Dims::from_slice(shape),
            data,
        };
        self.kept.insert(near.min(self.kept.len()), kept);
    }

    /// `f(kept, model's)` for every parameter; one that is new is copied first.
    pub(crate) fn read<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        mut f: impl FnMut(&mut [T], &[T]),
    ) {
        let mut visitor = Read {
            snapshot: self,
            cursor: 0,
            f: &mut f,
        };
        model.visit(&mut Path::new(), &mut visitor);
    }

    /// `f(kept, model's)` for every parameter, with `None` where nothing is kept yet; it is copied first.
    pub(crate) fn write<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
        mut f: impl FnMut(Option<&mut [T]>, &mut [T]),
    ) {
        let mut visitor = Write {
            snapshot: self,
            cursor: 0,
            f: &mut f,
        };
        model.visit_mut(&mut Path::new(), &mut visitor);
    }

    /// Keeps the model's present values.
    pub(crate) fn copy<M: Module<T> + ?Sized>(&mut self, model: &M) {
        self.read(model, |kept, value| kept.copy_from_slice(value));
    }

    /// Puts the kept values into the model, for all paths that it has.
    pub(crate) fn restore<M: Module<T> + ?Sized>(&mut self, model: &mut M) {
        self.write(model, |kept, value| {
            if let Some(k) = kept {
                value.copy_from_slice(k);
            }
        });
    }

    /// Exchanges the kept values and the model's.
    pub(crate) fn swap<M: Module<T> + ?Sized>(&mut self, model: &mut M) {
        self.write(model, |kept, value| {
            if let Some(k) = kept {
                k.swap_with_slice(value);
            }
        });
    }

    /// `kept ← keep · kept + fresh · model's`
    pub(crate) fn blend<M: Module<T> + ?Sized>(&mut self, model: &M, keep: f64, fresh: f64) {
        let blend = hub::blend::<T>();
        self.read(model, |kept, value| blend(kept, value, keep, fresh));
    }

    /// Writes the kept values under one name per parameter.
    pub(crate) fn save(&self, state: &mut OptimizerState, name: &str) {
        for k in &self.kept {
            let values = StateTensor::of(k.data.as_slice(), &k.shape);
            let param = state.params.or_default(&k.path);
            param.tensors.insert(name.to_string(), values);
        }
    }

    /// The kept values of a state, checked against the model; `check` hears of every problem. Where nothing was `begun`,
    /// an empty state gives an empty snapshot.
    pub(crate) fn load(
        &self,
        model: &dyn Module<T>,
        state: &OptimizerState,
        name: &str,
        begun: bool,
        check: &mut Checker,
    ) -> Snapshot<T> {
        struct Expected<T: Real>(Vec<(String, Dims)>, bool, std::marker::PhantomData<T>);
        impl<T: Real> Visitor<T> for Expected<T> {
            fn param(&mut self, path: &str, param: &Param<T>) {
                if param.is_trainable() {
                    let shape = Dims::from_slice(param.shape());
                    self.0.push((path.to_string(), shape));
                }
            }
            fn buffer(&mut self, path: &str, buffer: &Buffer<T>) {
                if self.1 {
                    let shape = Dims::from_slice(buffer.value().shape());
                    self.0.push((path.to_string(), shape));
                }
            }
        }
        let mut fresh = Snapshot::new(self.buffers);
        if state.params.is_empty() && !begun {
            return fresh;
        }
        let mut expected = Expected(Vec::new(), self.buffers, std::marker::PhantomData);
        model.visit(&mut Path::new(), &mut expected);
        // Both lists know their entries; what is in one alone is found by name.
        let known = |path: &String| expected.0.iter().any(|e| e.0 == *path);
        for path in state.params.keys().filter(|p| !known(p)) {
            check.problem(format!("`{path}`: the model has no such parameter"));
        }
        let none = ParamState::default();
        for (path, shape) in &expected.0 {
            let param = match state.params.get(path) {
                Some(p) => p,
                None => {
                    check.problem(format!("`{path}`: the state has no such parameter"));
                    &none
                }
            };
            if state.params.contains_key(path) {
                let what = format!("`{path}`");
                check.names(&what, param.scalars.keys(), &[]);
                check.names(&what, param.tensors.keys(), &[name]);
            }
            if let Some(t) = check.tensor::<T>(path, &param.tensors, name, shape) {
                let at = fresh.kept.len();
                fresh.insert(at, path, shape, &t.to_vec());
            }
        }
        fresh
    }
}

impl<T: Real> Read<'_, T> {
    fn see(&mut self, path: &str, value: &wengert_tensor::Tensor<T>) {
        let copy;
        let values = match value.as_slice() {
            Some(s) => s,
            None => {
                copy = value.to_vec();
                &copy
            }
        };
        let at = match self.snapshot.find(self.cursor, path, value.shape()) {
            Some(at) => at,
            None => {
                let at = self.cursor;
                self.snapshot.insert(at, path, value.shape(), values);
                at.min(self.snapshot.kept.len() - 1)
            }
        };
        self.cursor = at + 1;
        (self.f)(self.snapshot.kept[at].data.as_mut_slice(), values);
    }
}

impl<T: Real> Visitor<T> for Read<'_, T> {
    fn param(&mut self, path: &str, param: &Param<T>) {
        if param.is_trainable() {
            self.see(path, param.value());
        }
    }
    fn buffer(&mut self, path: &str, buffer: &Buffer<T>) {
        if self.snapshot.buffers {
            self.see(path, buffer.value());
        }
    }
}

impl<T: Real> Write<'_, T> {
    fn see(&mut self, path: &str, value: &mut wengert_tensor::Tensor<T>) {
        let shape = Dims::from_slice(value.shape());
        let values = value.as_mut_slice();
        match self.snapshot.find(self.cursor, path, &shape) {
            Some(at) => {
                self.cursor = at + 1;
                (self.f)(Some(self.snapshot.kept[at].data.as_mut_slice()), values);
            }
            None => {
                let at = self.cursor.min(self.snapshot.kept.len());
                self.snapshot.insert(at, path, &shape, values);
                self.cursor = at + 1;
                (self.f)(None, values);
            }
        }
    }
}

impl<T: Real> VisitorMut<T> for Write<'_, T> {
    fn param(&mut self, path: &str, param: &mut Param<T>) {
        if param.is_trainable() {
            self.see(path, param.value_mut());
        }
    }
    fn buffer(&mut self, path: &str, buffer: &mut Buffer<T>) {
        if self.snapshot.buffers {
            self.see(path, buffer.value_mut());
        }
    }
}

/// Takes a loaded snapshot over if `check` found nothing.
pub(crate) fn commit<T: Real>(
    target: &mut Snapshot<T>,
    loaded: Snapshot<T>,
    check: Checker,
) -> Result<()> {
    check.finish()?;
    *target = loaded;
    Ok(())
}
