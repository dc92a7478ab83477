//! The macro that makes operations of the rows of the table.

use crate::float::Float;

macro_rules! table {
    ($(
        $(#[doc = $doc:literal])+
        $Name:ident $method:ident $(($($p:ident = $sample:literal),+))? {
            $(requires $cond:expr, $want:literal;)?
            $(instead |$s:ident| $case:expr => $other:expr;)?
            kernel |$($x:ident),+| $kernel:expr;
            $(narrow = $narrow:literal;)?
            $(near |$n:ident| $is_near:expr => $near:expr;)?
            $(within $bound:expr, |$w:ident| $within:expr;)?
            $(own_loop $($own_loop:expr),+;)?
            vjp |$y:ident, $g:ident| [$($rule:expr),+];
            domain [$($lo:literal .. $hi:literal),+];
        }
    )*) => {
        /// An elementwise operation.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u16)]
        pub enum Elem {
            $($(#[doc = $doc])+ $Name,)*
        }

        mod kernels {
            $(pub(super) struct $Name;)*
        }

        $(
            impl ElemFn for kernels::$Name {
                const ARITY: usize = [$(stringify!($x)),+].len();
                $(const NARROW: bool = $narrow;)?
                $(
                    #[inline(always)]
                    fn own_loop<T: Real, I: Isa>(dst: &mut [T], x: &[T]) -> bool {
                        $($own_loop.fill::<Self, T, I>(dst, x))||+
                    }
                )?
                const COMMON: bool = is_common(stringify!($method));
                #[inline(always)]
                #[allow(unused_variables)]
                fn eval<V: Lane>(a: V, b: V, c: V, imm: [V; 2]) -> V {
                    let [$($x,)+ ..] = [a, b, c];
                    $(let [$($p,)+ ..] = imm;)?
                    $kernel
                }
                $(
                    const NEAR: bool = true;
                    #[inline(always)]
                    fn is_near<V: Lane>($n: V) -> bool {
                        $is_near
                    }
                    #[inline(always)]
                    fn eval_near<V: Lane>($n: V) -> V {
                        $near
                    }
                )?
                $(
                    const NEAR: bool = true;
                    #[inline(always)]
                    fn is_near<V: Lane>(x: V) -> bool {
                        x.abs() <= V::c($bound)
                    }
                    #[inline(always)]
                    fn bound<V: Lane>() -> f64 {
                        $bound
                    }
                    #[inline(always)]
                    fn eval_near<V: Lane>($w: V) -> V {
                        $within
                    }
                )?
            }
        )*

        /// All rows of the table.
        pub const ELEMENTWISE: &[ElemInfo] = &[$(
            ElemInfo {
                op: Elem::$Name,
                name: stringify!($method),
                arity: [$(stringify!($x)),+].len(),
                domain: pad([$(($lo, $hi)),+]),
                imm: pad_imm(&[$($($sample),+)?]),
                differentiable: pad_bool([$(!is_none(stringify!($rule))),+]),
            },
        )*];

        impl Elem {
            /// Name of the method on [`Var`].
            pub fn name(self) -> &'static str {
                match self {
                    $(Elem::$Name => stringify!($method),)*
                }
            }

            /// Records the operation with its configuration, for code that walks the table.
            ///
            /// # Panics
            /// When the number of operands is not the operation's.
            #[track_caller]
            pub fn apply<'t, T: Float>(self, config: [f64; 2], args: &[Var<'t, T>]) -> Var<'t, T> {
                let arity = ELEMENTWISE[self as usize].arity;
                assert!(args.len() == arity, "{}: expected {arity} operands, found {}", self.name(), args.len());
                args[0].record(&NodeOp::Elem(self, imm(config)), args)
            }

            #[doc(hidden)]
            pub fn block_fn<T: Float>(self) -> BlockFn<T> {
                pick(match self {
                    $(Elem::$Name => block_fns::<kernels::$Name, T>(),)*
                })
            }

            #[allow(unused_variables)]
            pub(crate) fn vjp<'t, T: Float>(
                self,
                imm: [T; 2],
                args: &[Var<'t, T>],
                out: Var<'t, T>,
                cotangent: Var<'t, T>,
                needs: &[bool],
            ) -> Cotangents<'t, T> {
                match self {
                    $(Elem::$Name => {
                        let &[$($x),+] = args else { unreachable!("arity was checked when recording") };
                        $(let [$($p,)+ ..] = [imm[0].as_f64(), imm[1].as_f64()];)?
                        let ($y, $g) = (out, cotangent);
                        let mut k = 0;
                        small![$({
                            k += 1;
                            if needs[k - 1] { $rule } else { None }
                        }),+]
                    })*
                }
            }
        }

        impl<'t, T: Float> Var<'t, T> {
            $(table!(@method [$(#[doc = $doc])+] $Name $method [$($x),+] [$($($p),+)?] [$($cond, $want)?] [$(|$s| $case, $other)?]);)*
        }
    };
    (@method [$(#[$doc:meta])+] $Name:ident $method:ident [$x:ident] [$($p:ident),*] [$($cond:expr, $want:literal)?]
     [$(|$s:ident| $case:expr, $other:expr)?]) => {
        $(#[$doc])+
        #[track_caller]
        #[allow(clippy::should_implement_trait)]
        pub fn $method(self $(, $p: f64)*) -> Self {
            $(assert!($cond, $want);)?
            $(
                let $s = self;
                if $case {
                    return $other;
                }
            )?
            Var::elementwise(Elem::$Name, imm([$($p),*]), [self])
        }
    };
    (@method [$(#[$doc:meta])+] $Name:ident $method:ident [$x:ident, $b:ident] [$($p:ident),*] [] []) => {
        $(#[$doc])+
        #[track_caller]
        #[allow(clippy::should_implement_trait)]
        pub fn $method(self, $b: Self $(, $p: f64)*) -> Self {
            Var::elementwise(Elem::$Name, imm([$($p),*]), [self, $b])
        }
    };
    (@method [$(#[$doc:meta])+] $Name:ident $method:ident [$x:ident, $b:ident, $c:ident] [$($p:ident),*] [] []) => {
        $(#[$doc])+
        #[track_caller]
        pub fn $method(self, $b: Self, $c: Self $(, $p: f64)*) -> Self {
            Var::elementwise(Elem::$Name, imm([$($p),*]), [self, $b, $c])
        }
    };
}
pub(super) use table;

pub(super) fn imm<T: Float, const N: usize>(p: [f64; N]) -> [T; 2] {
    let mut r = [T::zero(); 2];
    for (r, p) in r.iter_mut().zip(p) {
        *r = T::from_f64(p);
    }
    r
}

pub(super) const fn pad<const N: usize>(d: [(f64, f64); N]) -> [(f64, f64); 3] {
    let mut r = [(0.0, 1.0); 3];
    let mut i = 0;
    while i < N {
        r[i] = d[i];
        i += 1;
    }
    r
}

pub(super) const fn pad_imm(d: &[f64]) -> [f64; 2] {
    let mut r = [0.0; 2];
    let mut i = 0;
    while i < d.len() {
        r[i] = d[i];
        i += 1;
    }
    r
}

pub(super) const fn pad_bool<const N: usize>(d: [bool; N]) -> [bool; 3] {
    let mut r = [false; 3];
    let mut i = 0;
    while i < N {
        r[i] = d[i];
        i += 1;
    }
    r
}

/// Whether many programs use the operation: arithmetic, the usual activations and losses and their derivatives.
pub(super) const fn is_common(method: &str) -> bool {
    matches!(
        method.as_bytes(),
        b"add"
            | b"sub"
            | b"mul"
            | b"div"
            | b"neg"
            | b"mul_add"
            | b"square"
            | b"sqrt"
            | b"exp"
            | b"ln"
            | b"add_scalar"
            | b"rsub_scalar"
            | b"mul_scalar"
            | b"div_scalar"
            | b"rdiv_scalar"
            | b"relu"
            | b"relu_grad"
            | b"tanh"
            | b"tanh_grad"
            | b"sigmoid"
            | b"sigmoid_grad"
            | b"gelu"
            | b"gelu_grad"
            | b"silu"
            | b"silu_grad"
            | b"step"
            | b"where_"
    )
}

pub(super) const fn is_none(rule: &str) -> bool {
    matches!(rule.as_bytes(), b"None")
}
