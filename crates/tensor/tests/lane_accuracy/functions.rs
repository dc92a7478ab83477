//! The functions under test, by name, on an instruction set.

use wengert_tensor::Real;
use wengert_tensor::fused::{BlockFns, Doubles, ERFC, ElemFn, GELU, TANH, block_fns};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Baseline, Isa, Kernel, Level, best_level, dispatch_at};

/// Applies the function of that name to `x` (and `y`).
pub struct Apply<'a, T> {
    name: &'a str,
    x: &'a [T],
    y: &'a [T],
    out: &'a mut [T],
}

macro_rules! functions {
    (unary $($unary:ident)*; binary $($binary:ident)*; order $($order:ident $n:literal $ordered:ident)*;
     rounding $($rounding:ident)*) => {
        pub const UNARY: &[&str] = &[$(stringify!($unary),)* $(stringify!($ordered)),*];
        pub const ROUNDING: &[&str] = &[$(stringify!($rounding)),*];
        pub const BINARY: &[&str] = &[$(stringify!($binary)),*];

        impl<T: Real> Kernel for Apply<'_, T> {
            type Output = ();
            #[inline(always)]
            fn run<I: Isa>(self) {
                match self.name {
                    $(stringify!($rounding) => {
                        for (o, &x) in self.out.iter_mut().zip(self.x) {
                            *o = T::Lane::<I>::new(x).$rounding().get();
                        }
                    })*
                    $(stringify!($unary) => {
                        for (o, &x) in self.out.iter_mut().zip(self.x) {
                            *o = T::Lane::<I>::new(x).$unary().get();
                        }
                    })*
                    $(stringify!($ordered) => {
                        for (o, &x) in self.out.iter_mut().zip(self.x) {
                            *o = T::Lane::<I>::new(x).$order($n).get();
                        }
                    })*
                    $(stringify!($binary) => {
                        for ((o, &x), &y) in self.out.iter_mut().zip(self.x).zip(self.y) {
                            *o = T::Lane::<I>::new(x).$binary(T::Lane::<I>::new(y)).get();
                        }
                    })*
                    name => panic!("no function {name}"),
                }
            }
        }
    };
}

functions! {
    unary exp exp2 expm1 ln log2 log10 log1p tanh sigmoid erf erfc sinh cosh asinh acosh atanh cbrt sin cos tan
        sin_bounded cos_bounded tan_bounded asin acos atan gelu silu softplus mish erfinv lgamma digamma;
    binary pow hypot atan2;
    order polygamma 1 polygamma1 polygamma 2 polygamma2 polygamma 3 polygamma3 polygamma 10 polygamma10;
    rounding floor ceil round trunc
}

/// Functions made of pieces, whose loops are handed out whole, as the loops of elementwise programs compute them.
macro_rules! own_loops {
    ($($name:literal $Name:ident $f:ident $($LOOP:expr),+;)+) => {
        $(
            struct $Name;
            impl ElemFn for $Name {
                const ARITY: usize = 1;
                #[inline(always)]
                fn eval<V: Lane>(x: V, _: V, _: V, _: [V; 2]) -> V {
                    x.$f()
                }
                #[inline(always)]
                fn own_loop<T: Real, I: Isa>(dst: &mut [T], x: &[T]) -> bool {
                    $($LOOP.fill::<Self, T, I>(dst, x))||+
                }
            }
        )+

        /// Their names.
        pub const IN_PIECES: &[&str] = &[$($name),+];

        /// The loops of such a function.
        fn in_pieces<T: Real>(name: &str) -> &'static BlockFns<T> {
            match name {
                $($name => block_fns::<$Name, T>(),)+
                _ => panic!("{name} has no loop of its own"),
            }
        }
    };
}
own_loops! {
    "gelu_pieces" Gelu gelu GELU, Doubles::Gelu;
    "tanh_pieces" Tanh tanh TANH;
    "erfc_pieces" Erfc erfc ERFC, Doubles::Erfc;
    "erfinv_pieces" Erfinv erfinv Doubles::Erfinv;
    "exp_pieces" Exp exp Doubles::Exp;
    "ln_pieces" Ln ln Doubles::Ln;
    "log2_pieces" Log2 log2 Doubles::Log2;
    "log10_pieces" Log10 log10 Doubles::Log10;
    "asin_pieces" Asin asin Doubles::Asin;
    "acos_pieces" Acos acos Doubles::Acos;
    "sin_pieces" Sin sin Doubles::Sin;
    "cos_pieces" Cos cos Doubles::Cos;
}

/// Functions of one argument.
pub fn unary() -> impl Iterator<Item = &'static str> {
    UNARY.iter().chain(IN_PIECES).copied()
}

/// The name of a function without what tells its form.
pub fn plain(name: &str) -> &str {
    (name.trim_end_matches("_bounded")).trim_end_matches("_pieces")
}

/// Functions with a second row in the documentation, for negative arguments.
pub const GAMMA: &[&str] = &[
    "lgamma",
    "digamma",
    "polygamma1",
    "polygamma2",
    "polygamma3",
    "polygamma10",
];

/// The instruction sets on which a function has a form of its own.
pub fn levels_of(name: &str) -> impl Iterator<Item = Level> {
    levels().filter(move |&l| !IN_PIECES.contains(&name) || l == Level::Avx512)
}

pub fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&l| l <= best_level())
}

pub fn apply<T: Real>(level: Level, name: &str, x: &[T], y: &[T]) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len()];
    let out_ref = &mut out[..];
    if IN_PIECES.contains(&name) {
        in_pieces(name)[level as usize - Level::Baseline as usize](out_ref, [x; 3], [T::ZERO; 2]);
        return out;
    }
    dispatch_at(
        level,
        Apply {
            name,
            x,
            y,
            out: out_ref,
        },
    );
    out
}

/// The formulas of the baseline in the widest registers of this machine.
#[derive(Clone, Copy, Default, Debug, PartialEq, PartialOrd)]
pub struct Formulas;
impl Isa for Formulas {
    const FMA: bool = Baseline::FMA;
    const WIDTH: usize = 64;
}

/// A kernel as the baseline computes it, but with vector code in place of a call for each element.
pub struct InVectors<K>(K);
impl<K: Kernel> Kernel for InVectors<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<I: Isa>(self) -> K::Output {
        self.0.run::<Formulas>()
    }
}

/// As [`apply`] for a sweep of all floats: the baseline in vectors, and a check that its bits are the same for some of `x`.
pub fn apply_quickly(level: Level, name: &str, x: &[f32]) -> Vec<f32> {
    if level != Level::Baseline {
        return apply(level, name, x, &[]);
    }
    let mut out = vec![0.0; x.len()];
    let y = &mut out[..];
    let job = Apply {
        name,
        x,
        y: &[],
        out: y,
    };
    dispatch_at(best_level(), InVectors(job));
    let some = 0..x.len().min(40);
    for (i, y) in some.clone().zip(apply(level, name, &x[some], &[])) {
        assert!(same(y, out[i]), "{name}({}): {y} or {}", x[i], out[i]);
    }
    out
}

/// The arguments that a function promises something for.
pub fn in_range<T: Real>(name: &str, xs: &[T]) -> Vec<T> {
    let bound = if name.ends_with("_bounded") {
        T::Lane::<Baseline>::TRIG_BOUND
    } else {
        f64::INFINITY
    };
    xs.iter()
        .copied()
        .filter(|x| x.is_nan() || x.as_f64().abs() <= bound)
        .collect()
}

/// Same bits, any NaN equal to any other.
pub fn same<T: Real>(a: T, b: T) -> bool {
    a.is_nan() && b.is_nan() || a == b && a.is_sign_negative() == b.is_sign_negative()
}
