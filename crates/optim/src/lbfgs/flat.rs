//! A model as one vector.

use super::Place;
use wengert_autograd::{Gradients, Module, Param, Path, Visitor, VisitorMut};
use wengert_tensor::{Dims, Real};

pub(super) fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.as_f64() * b.as_f64()).sum()
}

pub(super) fn max_abs<T: Real>(a: &[T]) -> f64 {
    a.iter()
        .map(|x| x.as_f64().abs())
        .fold(0.0, |m, x| if x > m || x.is_nan() { x } else { m })
}

pub(super) fn places<T: Real, M: Module<T>>(model: &M) -> Vec<Place> {
    struct Collect(Vec<Place>);
    impl<T: Real> Visitor<T> for Collect {
        fn param(&mut self, path: &str, param: &Param<T>) {
            if param.is_trainable() {
                let offset = self.0.last().map_or(0, |p| p.offset + count(&p.shape));
                self.0.push(Place {
                    path: path.to_string(),
                    shape: Dims::from_slice(param.shape()),
                    offset,
                });
            }
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit(&mut Path::new(), &mut collect);
    collect.0
}

/// All gradients as one vector; zero where a parameter has none.
pub(super) fn flat_gradient<T: Real, M: Module<T>>(
    model: &M,
    grads: &Gradients<T>,
    size: usize,
) -> Vec<T> {
    struct Collect<'a, T: Real>(&'a Gradients<T>, Vec<T>, usize);
    impl<T: Real> Visitor<T> for Collect<'_, T> {
        fn param(&mut self, path: &str, param: &Param<T>) {
            if !param.is_trainable() {
                return;
            }
            let n = param.value().numel();
            if let Some(g) = self.0.get(param) {
                assert!(
                    g.shape() == param.shape(),
                    "lbfgs: the gradient of `{path}` has shape {:?}, the parameter has shape {:?}",
                    g.shape(),
                    param.shape()
                );
                g.copy_into(&mut self.1[self.2..self.2 + n]);
            }
            self.2 += n;
        }
    }
    let mut collect = Collect(grads, vec![T::ZERO; size], 0);
    model.visit(&mut Path::new(), &mut collect);
    collect.1
}

pub(super) fn read_values<T: Real, M: Module<T>>(model: &M, out: &mut [T]) {
    struct Collect<'a, T: Real>(&'a mut [T], usize);
    impl<T: Real> Visitor<T> for Collect<'_, T> {
        fn param(&mut self, _path: &str, param: &Param<T>) {
            if param.is_trainable() {
                let n = param.value().numel();
                param.value().copy_into(&mut self.0[self.1..self.1 + n]);
                self.1 += n;
            }
        }
    }
    model.visit(&mut Path::new(), &mut Collect(out, 0));
}

/// `x + t d` into the model.
pub(super) fn write_values<T: Real, M: Module<T>>(model: &mut M, x: &[T], d: &[T], t: f64) {
    struct Put<'a, T: Real>(&'a [T], &'a [T], T, usize);
    impl<T: Real> VisitorMut<T> for Put<'_, T> {
        fn param(&mut self, _path: &str, param: &mut Param<T>) {
            if param.is_trainable() {
                for w in param.value_mut().as_mut_slice() {
                    *w = self.0[self.3] + self.2 * self.1[self.3];
                    self.3 += 1;
                }
            }
        }
    }
    model.visit_mut(&mut Path::new(), &mut Put(x, d, T::from_f64(t), 0));
}
