//! Parameter groups: which parameters take other hyperparameters.

use crate::schedule::Schedule;
use std::fmt;
use std::sync::Arc;
use wengert_autograd::path_matches;

/// What a group may look at to decide whether a parameter belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamInfo<'a> {
    /// Dotted path in the model.
    pub path: &'a str,
    /// Shape.
    pub shape: &'a [usize],
}

/// A set of parameters and what is different for them.
///
/// Groups overlay each other in the order in which they were given to the optimizer: a parameter takes the changes
/// of every group that it belongs to, and a later `set` wins over an earlier one; scales multiply.
///
/// ```
/// use wengert_optim::{AdamW, Group};
/// let adam = AdamW::<f32>::new(1e-3)
///     .no_decay_on_biases_and_norms()
///     .group(Group::matching("encoder.*").lr_scale(0.1))
///     .group(Group::when(|p| p.shape.len() == 4).set("beta2", 0.99));
/// # let _ = adam;
/// ```
#[derive(Clone)]
pub struct Group {
    pub(crate) select: Select,
    pub(crate) changes: Vec<(String, Change)>,
    pub(crate) optional: bool,
}

#[derive(Clone)]
pub(crate) enum Select {
    Pattern(String),
    Predicate(Arc<dyn Fn(ParamInfo<'_>) -> bool + Send + Sync>),
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Set(Arc<dyn Schedule>),
    Scale(f64),
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let select = match &self.select {
            Select::Pattern(p) => p.as_str(),
            Select::Predicate(_) => "<predicate>",
        };
        f.debug_struct("Group")
            .field("select", &select)
            .field("changes", &self.changes)
            .finish()
    }
}

impl Group {
    /// The parameters whose path belongs to `pattern`, as [`path_matches`] says, which means the same wherever a path
    /// pattern stands (freezing, regularizers, constraints): `*` stands for any run of characters (dots too), `?` for one,
    /// and a leading part takes the whole subtree: `backbone` is `backbone.0.weight` and all others below.
    ///
    /// A pattern that matches no parameter of the model is an error at the first step, because it is mostly a
    /// misspelling; see [`Group::optional`].
    pub fn matching(pattern: impl Into<String>) -> Self {
        Self::from_select(Select::Pattern(pattern.into()))
    }

    /// The parameters for which `predicate` holds.
    pub fn when(predicate: impl Fn(ParamInfo<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::from_select(Select::Predicate(Arc::new(predicate)))
    }

    fn from_select(select: Select) -> Self {
        Group {
            select,
            changes: Vec::new(),
            optional: false,
        }
    }

    /// Allows the pattern to match nothing.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Another value or schedule for a hyperparameter, by name.
    pub fn set(mut self, name: impl Into<String>, value: impl Schedule) -> Self {
        self.changes
            .push((name.into(), Change::Set(Arc::new(value))));
        self
    }

    /// A factor on a hyperparameter, by name, whatever its schedule.
    pub fn scale(mut self, name: impl Into<String>, factor: f64) -> Self {
        self.changes.push((name.into(), Change::Scale(factor)));
        self
    }

    /// Another learning rate.
    pub fn lr(self, lr: impl Schedule) -> Self {
        self.set("lr", lr)
    }

    /// A factor on the learning rate.
    pub fn lr_scale(self, factor: f64) -> Self {
        self.scale("lr", factor)
    }

    /// Another weight decay.
    pub fn weight_decay(self, decay: impl Schedule) -> Self {
        self.set("weight_decay", decay)
    }

    /// Whether a parameter belongs to the group.
    pub fn contains(&self, p: ParamInfo<'_>) -> bool {
        match &self.select {
            Select::Pattern(pattern) => path_matches(pattern, p.path),
            Select::Predicate(f) => f(p),
        }
    }
}
