//! What is known about a step beyond its layers: inputs, parameters, loss.

use super::Summary;

/// How a parameter takes part in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// It has a gradient, with this RMS.
    Gradient(f64),
    /// It is frozen: no gradient is wanted.
    Frozen,
    /// The forward pass did not use it.
    Unused,
    /// It was used, and what came of it does not reach the loss.
    Dangling {
        /// Line that used it.
        location: String,
    },
    /// It was used, and the way to the loss is cut by `detach` or `no_grad`.
    Cut {
        /// Line where the way is cut.
        location: String,
    },
}

/// One parameter of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamFact {
    /// Path in the model.
    pub path: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// How it takes part.
    pub link: Link,
}

/// What the loss is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct LossFact {
    /// `cross_entropy`, `bce_with_logits`, `mse`.
    pub kind: String,
    /// Line that recorded it.
    pub location: String,
    /// Operations between the last layer's weights and the loss that matter for it: `softmax`, `sigmoid`, `relu`, …
    pub before: Vec<String>,
    /// Number of classes of a cross-entropy.
    pub classes: Option<usize>,
    /// Targets of a squared error or of a binary cross-entropy.
    pub targets: Option<Summary>,
}

/// Where values stopped being numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// First operation whose result is not finite.
    pub op: String,
    /// Line that recorded it.
    pub location: String,
    /// Whether it was in the backward pass.
    pub backward: bool,
}

/// What is known about a step beyond its layers. Everything is optional: absent means "not known".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Samples in the batch.
    pub batch: Option<usize>,
    /// Whether the tape was a training tape.
    pub training: Option<bool>,
    /// What entered the first layer.
    pub inputs: Option<Summary>,
    /// Smallest and largest standard deviation of an input feature that is not constant.
    pub feature_std: Option<(f64, f64)>,
    /// The parameters, in the model's order.
    pub params: Vec<ParamFact>,
    /// The loss, if it is a known one.
    pub loss: Option<LossFact>,
    /// Modules as (path, kind).
    pub modules: Vec<(String, String)>,
    /// First operation that made a value that is not finite.
    pub non_finite: Option<NonFinite>,
}
