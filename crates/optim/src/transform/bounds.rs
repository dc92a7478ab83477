//! Clipping as links of a pipeline.

use super::clip::{ClipExt, clip_to};
use super::pipeline::{Context, Outcome, Transform};
use crate::error::{Result, or_panic};
use crate::rule::Range;
use wengert_autograd::Gradients;
use wengert_tensor::Real;

macro_rules! clipping {
    ($($(#[$doc:meta])* $name:ident($what:ident, $label:literal, $method:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $what: f64,
        }

        impl $name {
            /// With this bound.
            ///
            /// # Panics
            /// When it is negative or not finite.
            #[track_caller]
            pub fn new($what: f64) -> Self {
                or_panic(Self::try_new($what))
            }

            /// As `new`.
            ///
            /// # Errors
            /// When the bound is negative or not finite.
            pub fn try_new($what: f64) -> Result<Self> {
                Range::NON_NEGATIVE.check(stringify!($name), stringify!($what), $what)?;
                Ok($name { $what })
            }
        }

        impl<T: Real> Transform<T> for $name {
            fn name(&self) -> &'static str {
                $label
            }
            fn apply(&mut self, _cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
                let r = grads.$method(self.$what)?;
                Ok(Outcome {
                    norm: Some(r.after),
                    changed: r.count,
                    of: grads.len(),
                    skip: None,
                })
            }
        }
    )*};
}

clipping! {
    /// Scales each gradient by itself so that its norm is at most `max`; the record counts tensors.
    ClipEach(max, "clip_each", try_clip_each);
}

/// Brings every element into `-limit..=limit`; the record counts elements.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipValue {
    limit: f64,
}

impl ClipValue {
    /// With this bound.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn new(limit: f64) -> Self {
        or_panic(Self::try_new(limit))
    }

    /// As [`ClipValue::new`].
    ///
    /// # Errors
    /// When the bound is negative or not finite.
    pub fn try_new(limit: f64) -> Result<Self> {
        Range::NON_NEGATIVE.check("ClipValue", "limit", limit)?;
        Ok(ClipValue { limit })
    }
}

impl<T: Real> Transform<T> for ClipValue {
    fn name(&self) -> &'static str {
        "clip_value"
    }
    fn apply(&mut self, _cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let r = grads.try_clip_value(self.limit)?;
        Ok(Outcome {
            norm: Some(r.after),
            changed: r.count,
            of: grads.iter().map(|(_, g)| g.numel()).sum(),
            skip: None,
        })
    }
}

/// Scales all gradients so that their global norm is at most `max` (see [`ClipExt::clip_norm`]); the record counts
/// tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipNorm {
    max: f64,
}

impl ClipNorm {
    /// With this bound.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn new(max: f64) -> Self {
        or_panic(Self::try_new(max))
    }

    /// As [`ClipNorm::new`].
    ///
    /// # Errors
    /// When the bound is negative or not finite.
    pub fn try_new(max: f64) -> Result<Self> {
        Range::NON_NEGATIVE.check("ClipNorm", "max", max)?;
        Ok(ClipNorm { max })
    }
}

impl<T: Real> Transform<T> for ClipNorm {
    fn name(&self) -> &'static str {
        "clip_norm"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let r = clip_to(grads, cx.norm, self.max / (cx.norm + 1e-6));
        Ok(Outcome {
            norm: Some(r.after),
            changed: r.count,
            of: grads.len(),
            skip: None,
        })
    }
}
