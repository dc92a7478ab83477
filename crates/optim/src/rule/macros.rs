//! What the rules of this crate have in common.

/// The optimizer's name, its rule's struct with hyperparameters (`f64`) and variants, constructors and builder methods.
macro_rules! optimizer {
    (
        $(#[$doc:meta])*
        $alias:ident: $rule:ident = $name:literal;
        hypers { $($(#[$hdoc:meta])* $hyper:ident = $default:expr, $range:expr;)* }
        $(variants { $($(#[$fdoc:meta])* $flag:ident;)* })?
        $(private { $($private:ident: $ty:ty = $start:expr;)* })?
    ) => {
        $(#[$doc])*
        pub type $alias<T = f32> = $crate::optimizer::Optimizer<$rule, T>;

        #[doc = concat!("The rule of [`", stringify!($alias), "`].")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $rule {
            lr: f64,
            $($hyper: f64,)*
            $($($flag: bool,)*)?
            $($($private: $ty,)*)?
        }

        impl<T: wengert_tensor::Real> $crate::optimizer::Optimizer<$rule, T> {
            /// The rule with its default hyperparameters.
            ///
            /// # Panics
            /// When `lr` is negative or not finite.
            #[track_caller]
            pub fn new(lr: impl $crate::schedule::Schedule) -> Self {
                $crate::error::or_panic(Self::try_new(lr))
            }

            /// As `new`.
            ///
            /// # Errors
            /// When `lr` is negative or not finite.
            pub fn try_new(lr: impl $crate::schedule::Schedule) -> $crate::error::Result<Self> {
                let rule = $rule {
                    lr: 0.0,
                    $($hyper: $default,)*
                    $($($flag: false,)*)?
                    $($($private: $start,)*)?
                };
                $crate::optimizer::Optimizer::with_rule(rule).try_with("lr", lr)
            }

            $(
                $(#[$hdoc])*
                ///
                #[doc = concat!("Default `", stringify!($default), "`.")]
                ///
                /// # Panics
                /// When it is outside its range or not finite.
                #[track_caller]
                pub fn $hyper(self, value: impl $crate::schedule::Schedule) -> Self {
                    self.with(stringify!($hyper), value)
                }
            )*

            $($(
                $(#[$fdoc])*
                ///
                /// # Panics
                /// Once the optimizer has stepped.
                #[track_caller]
                pub fn $flag(mut self) -> Self {
                    self.edit(|r| r.$flag = true);
                    self
                }
            )*)?
        }

        impl $crate::rule::Hyperparameters for $rule {
            fn name(&self) -> &'static str {
                $name
            }
            fn hypers(&self) -> &'static [$crate::rule::Hyper] {
                const H: &[$crate::rule::Hyper] = &[
                    $crate::rule::Hyper { name: "lr", range: $crate::rule::Range::NON_NEGATIVE },
                    $($crate::rule::Hyper { name: stringify!($hyper), range: $range },)*
                ];
                H
            }
            fn get(&self, i: usize) -> f64 {
                [self.lr, $(self.$hyper),*][i]
            }
            fn put(&mut self, i: usize, value: f64) {
                *[&mut self.lr, $(&mut self.$hyper),*][i] = value;
            }
        }
    };
}
pub(crate) use optimizer;

/// `betas`, for rules with `beta1` and `beta2`.
macro_rules! betas {
    ($($rule:ident)*) => {$(
        impl<T: wengert_tensor::Real> $crate::optimizer::Optimizer<$rule, T> {
            /// Both decay rates at once, each in `[0, 1)`.
            ///
            /// # Panics
            /// When one is outside.
            #[track_caller]
            pub fn betas(
                self,
                beta1: impl $crate::schedule::Schedule,
                beta2: impl $crate::schedule::Schedule,
            ) -> Self {
                self.with("beta1", beta1).with("beta2", beta2)
            }
        }
    )*};
}
pub(crate) use betas;

/// The two precisions of a generic `fn pass<T: Real>(&self, Pass<T>) -> Sums`, and copying.
macro_rules! precisions {
    () => {
        fn boxed(&self) -> Box<dyn $crate::rule::Rule> {
            Box::new(self.clone())
        }
        fn pass_f32(&self, x: $crate::rule::Pass<'_, f32>) -> $crate::rule::Sums {
            self.pass(x)
        }
        fn pass_f64(&self, x: $crate::rule::Pass<'_, f64>) -> $crate::rule::Sums {
            self.pass(x)
        }
    };
}
pub(crate) use precisions;

/// As [`precisions`], with a generic `fn whole<T: Real>(&self, Whole<T>)`.
macro_rules! whole_precisions {
    () => {
        $crate::rule::precisions!();
        fn whole_f32(&self, x: $crate::rule::Whole<'_, f32>) {
            self.whole(x);
        }
        fn whole_f64(&self, x: $crate::rule::Whole<'_, f64>) {
            self.whole(x);
        }
    };
}
pub(crate) use whole_precisions;
