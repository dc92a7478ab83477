//! What a layer does: [`Forward`], and the object-safe [`Layer`].

use wengert_autograd::{Float, Module, Path, Tape, Tensor, Var};

/// A function of one tensor, usually with parameters: one code path for training, evaluation and export.
///
/// Layers that take more than one input or return more than one output have inherent methods instead, or beside.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{Module, Tensor, Var};
/// use wengert_derive::Module;
/// use wengert_nn::{Activation, Forward, Linear};
///
/// #[derive(Module)]
/// #[module(crate = wengert_autograd)]
/// struct Mlp {
///     hidden: Linear,
///     out: Linear,
/// }
///
/// impl Forward for Mlp {
///     fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
///         self.out.forward(self.hidden.forward(x).relu())
///     }
/// }
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let model = Mlp {
///     hidden: Linear::builder(4, 8).followed_by(Activation::Relu).build(&mut rng),
///     out: Linear::new(8, 3, &mut rng),
/// };
/// assert_eq!(model.predict(&Tensor::zeros([2, 4])).shape(), [2, 3]);
/// ```
pub trait Forward<T: Float = f32> {
    /// Records the layer's operations on the tape of `x` and returns its output.
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T>;

    /// As [`Forward::forward`], and shows the shape of the output of every layer inside with its path, in order; what
    /// [`ModelSummary`](crate::ModelSummary) prints.
    ///
    /// By default shows the layer's own output. Containers of layers pass it on.
    #[track_caller]
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        let y = self.forward(x);
        see(path.as_str(), &y.shape());
        y
    }

    /// Whether the lines inside are of this library alone, so that reports should show its caller's: told by the type's name.
    #[doc(hidden)]
    fn is_of_library(&self) -> bool {
        of_library(std::any::type_name::<Self>())
    }

    /// The output for `x` on an inference tape: dropout off, running statistics in use, nothing kept.
    fn predict(&self, x: &Tensor<T>) -> Tensor<T> {
        let tape = Tape::inference();
        self.forward(tape.input(x)).value()
    }
}

/// Whether a type and all it is made of come from this library or the standard one.
fn of_library(name: &str) -> bool {
    let known = |path: &str| match path.split_once("::") {
        Some((root, _)) => ["wengert_nn", "alloc", "core", "std"].contains(&root),
        None => true,
    };
    let outside = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    name.starts_with("wengert_nn::") && name.split(outside).all(known)
}

impl<T: Float, F: Forward<T> + ?Sized> Forward<T> for Box<F> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        // A call of a trait object has no line of its own.
        let (inside, tape) = ((**self).is_of_library(), x.tape());
        let run = || (**self).forward(x);
        match inside {
            true => tape.at_caller(run),
            false => tape.at_own_lines(run),
        }
    }
    fn is_of_library(&self) -> bool {
        (**self).is_of_library()
    }
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        (**self).trace(x, path, see)
    }
}

impl<T: Float, F: Forward<T> + ?Sized> Forward<T> for &F {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        (**self).forward(x)
    }
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        (**self).trace(x, path, see)
    }
}

/// The identity where there is no layer.
impl<T: Float, F: Forward<T>> Forward<T> for Option<F> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        match self {
            Some(f) => f.forward(x),
            None => x,
        }
    }
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        match self {
            Some(f) => f.trace(x, path, see),
            None => x,
        }
    }
}

/// One after the other.
impl<T: Float, F: Forward<T>> Forward<T> for Vec<F> {
    #[track_caller]
    fn forward<'t>(&self, mut x: Var<'t, T>) -> Var<'t, T> {
        for f in self {
            x = f.forward(x);
        }
        x
    }
    fn trace<'t>(
        &self,
        mut x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        for (i, f) in self.iter().enumerate() {
            x = path.scoped(&i.to_string(), |p| f.trace(x, p, see));
        }
        x
    }
}

/// One after the other.
impl<T: Float, F: Forward<T>, const N: usize> Forward<T> for [F; N] {
    #[track_caller]
    fn forward<'t>(&self, mut x: Var<'t, T>) -> Var<'t, T> {
        for f in self {
            x = f.forward(x);
        }
        x
    }
    fn trace<'t>(
        &self,
        mut x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        for (i, f) in self.iter().enumerate() {
            x = path.scoped(&i.to_string(), |p| f.trace(x, p, see));
        }
        x
    }
}

/// Nothing: the identity.
impl<T: Float> Forward<T> for () {
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        x
    }
}

macro_rules! tuple {
    ($($f:ident $i:tt),+) => {
        /// One after the other.
        impl<T: Float, $($f: Forward<T>),+> Forward<T> for ($($f,)+) {
            #[track_caller]
            fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
                $(let x = self.$i.forward(x);)+
                x
            }
            fn trace<'t>(&self, x: Var<'t, T>, path: &mut Path, see: &mut dyn FnMut(&str, &[usize])) -> Var<'t, T> {
                $(let x = path.scoped(stringify!($i), |p| self.$i.trace(x, p, see));)+
                x
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

/// A [`Module`] with a [`Forward`] that can stand in a box: what [`Sequential`](crate::Sequential) holds.
///
/// Implemented for every cloneable type that has both; a clone of a boxed layer is an independent layer with equal
/// values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a `Sequential`",
    note = "a layer implements `Forward`, derives `Module` and `Clone`, and borrows nothing"
)]
pub trait Layer<T: Float = f32>: Module<T> + Forward<T> {
    /// An independent copy.
    fn clone_box(&self) -> Box<dyn Layer<T>>;
}

impl<T: Float, L: Module<T> + Forward<T> + Clone + 'static> Layer<T> for L {
    fn clone_box(&self) -> Box<dyn Layer<T>> {
        Box::new(self.clone())
    }
}

impl<T: Float> Clone for Box<dyn Layer<T>> {
    fn clone(&self) -> Self {
        // On the layer inside: on the box itself `clone_box` would call this function again.
        (**self).clone_box()
    }
}
