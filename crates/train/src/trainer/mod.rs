//! The trainer: a loop over epochs that can stop, resume, judge and tell.

mod fit;
mod judge;
mod non_finite;
mod state;

pub use non_finite::{NonFiniteReport, OnNonFinite};

use crate::callback::{Callback, OnRow, OnStep, Run, Step};
use crate::error::{Error, Result, or_panic, positive};
use crate::history::{History, Row};
use crate::metric::Metric;
use crate::objective::{FromFn, FromFnScored, Objective, Supervised};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use wengert_autograd::{Buffer, Float, Gradients, Module, Param, Path, Tape, Var, Visitor};
use wengert_data::LoaderState;
use wengert_optim::Optimize;
use wengert_optim::transform::Pipeline;
use wengert_optim::wrappers::{Accumulator, Ema, Sam, Swa};
use wengert_tensor::error::tells_no_memory;

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After every `n`-th epoch, and after the last one.
    Epochs(u64),
    /// After every `n`-th optimizer step.
    Steps(u64),
}

impl Every {
    fn check(self, owner: &'static str) -> Result<Self> {
        let (Every::Epochs(n) | Every::Steps(n)) = self;
        positive(owner, "the number of epochs or steps", n)?;
        Ok(self)
    }

    fn at_step(self, step: u64) -> bool {
        matches!(self, Every::Steps(n) if step.is_multiple_of(n))
    }

    fn at_epoch(self, done: u64, last: bool) -> bool {
        matches!(self, Every::Epochs(n) if last || done.is_multiple_of(n))
    }
}

/// What takes the gradients to the weights.
enum Driver<'a, T: Float> {
    Plain(Box<dyn Optimize<T> + 'a>),
    Sharp(Box<Sam<Box<dyn Optimize<T> + 'a>, T>>),
}

impl<'a, T: Float> Driver<'a, T> {
    fn optimizer(&self) -> &(dyn Optimize<T> + 'a) {
        match self {
            Driver::Plain(o) => &**o,
            Driver::Sharp(s) => &**s.inner(),
        }
    }

    fn optimizer_mut(&mut self) -> &mut (dyn Optimize<T> + 'a) {
        match self {
            Driver::Plain(o) => &mut **o,
            Driver::Sharp(s) => &mut **s.inner_mut(),
        }
    }
}

/// A second set of weights that is judged instead of the model's.
enum Average<T: Float> {
    None,
    Ema(Ema<T>),
    Swa { swa: Swa<T>, from: u64 },
}

impl<T: Float> Average<T> {
    fn after_step<M: Module<T>>(&mut self, model: &M) {
        if let Average::Ema(ema) = self {
            ema.update(model);
        }
    }

    fn after_epoch<M: Module<T>>(&mut self, done: u64, model: &M) {
        if let Average::Swa { swa, from } = self
            && done > *from
        {
            swa.update(model);
        }
    }

    /// Exchanges the model's weights and the averaged ones, if there are any yet.
    fn swap<M: Module<T>>(&mut self, model: &mut M) {
        match self {
            Average::Ema(ema) if ema.updates() > 0 => ema.swap(model),
            Average::Swa { swa, .. } if swa.updates() > 0 => swa.swap(model),
            _ => {}
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Position {
    /// Epochs that are complete.
    epoch: u64,
    /// Batches of the epoch after them that are done.
    batch: u64,
    /// Optimizer steps.
    step: u64,
    /// Sum of the losses of this epoch's batches, each times its samples, and the samples.
    loss: f64,
    weight: f64,
    /// Batches in sequence that were left out.
    bad: u64,
}

/// Trains a model: epochs over batches, with validation, metrics, callbacks and checkpoints.
///
/// It does what the loop written by hand does, in the same order and to the same bits: reset the tape, record model and
/// loss, `backward`, transform the gradients, step. What to record is a loss object ([`Trainer::new`]) or a closure
/// that gets the tape ([`Trainer::from_fn`]); what to do with the loss can be said, too ([`Trainer::backward_with`]).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_data::{DataLoader, Digits};
/// use wengert_nn::{Sequential, loss::CrossEntropy};
/// use wengert_optim::Adam;
/// use wengert_train::{EarlyStopping, Trainer, metric::Accuracy};
///
/// let digits = Digits::load().standardized();
/// let model: Sequential = Sequential::builder()
///     .linear(64, 32)
///     .relu()
///     .linear(32, 10)
///     .build(&mut Xoshiro256PlusPlus::seed_from_u64(1));
/// let train = DataLoader::new(digits.train.dataset(), 64).shuffle(1);
/// let test = DataLoader::new(digits.test.dataset(), 360);
///
/// let mut trainer = Trainer::new(model, CrossEntropy::default(), Adam::new(1e-2))
///     .metric(Accuracy::new())
///     .clip_norm(5.0)
///     .callback(EarlyStopping::minimize("val_loss", 3).restore_best());
/// let history = trainer.fit(&train, Some(&test), 5)?;
/// assert!(history.last("val_accuracy").unwrap() > 0.9);
/// assert!(trainer.evaluate(&test)?["accuracy"] > 0.9);
/// # Ok::<(), wengert_train::Error>(())
/// ```
///
/// **The order of a step.** Batches of one optimizer step are recorded one after the other; then the gradient pipeline
/// runs, the optimizer steps, averages follow, callbacks see the step, and then a validation, a checkpoint and the reasons
/// to stop have their turn. A run never ends between the micro-batches of a step.
///
/// **Resuming.** A checkpoint holds model, optimizer, averages, transforms, the place in the data, the randomness of the tape, sums
/// of the epoch, the history and what callbacks remember. Not in it is what the program says: sizes, rates, schedules,
/// data, augmentation. A trainer that is built by the same program and [resumed](Trainer::resume) goes on to the same
/// bits as one that was never interrupted, from the middle of an epoch as well.
///
/// **Panics** of a loss, a data set, a loader's worker or a callback come out of `fit` as they are; the trainer can be used
/// afterwards and goes on with the next batch. Where a step cannot get its memory, `fit` returns [`Error::Memory`].
pub struct Trainer<'a, M, B, T: Float = f32> {
    /// The model, with the weights of the last step.
    pub model: M,
    objective: Box<dyn Objective<M, B, T> + 'a>,
    driver: Driver<'a, T>,
    backward: Option<Box<dyn for<'t> FnMut(Var<'t, T>, &M) -> Gradients<T> + 'a>>,
    pipeline: Pipeline<T>,
    every: usize,
    accumulator: Accumulator<T>,
    average: Average<T>,
    metrics: Vec<Box<dyn Metric<B, T> + 'a>>,
    training_metrics: bool,
    callbacks: Vec<Box<dyn Callback<M, T> + 'a>>,
    policy: OnNonFinite,
    validate: Every,
    checkpoint: Option<(PathBuf, Every)>,
    max_steps: Option<u64>,
    max_time: Option<Duration>,
    flag: Option<Arc<AtomicBool>>,
    seed: u64,
    tape: Tape<T>,
    judging: Tape<T>,
    at: Position,
    history: History,
    /// The loader of the running epoch, as it was when a run began, was saved or ended.
    expected: Option<LoaderState>,
    /// Epochs whose weights the average has taken in.
    averaged: u64,
}

impl<'a, M: Module<T>, B, T: Float> Trainer<'a, M, B, T> {
    /// For batches `(input, target)`: the model's output for the input is judged by a loss object.
    pub fn new<L>(model: M, loss: L, optimizer: impl Optimize<T> + 'a) -> Self
    where
        Supervised<L>: Objective<M, B, T> + 'a,
    {
        Self::with_objective(model, Supervised(loss), optimizer)
    }

    /// For any batches: a closure records the loss on the tape.
    ///
    /// ```
    /// use wengert_autograd::{Param, Tape, Tensor};
    /// use wengert_optim::Sgd;
    /// use wengert_train::Trainer;
    ///
    /// let batches = vec![Tensor::from_vec(vec![1.0f32, 2.0], [2]); 4];
    /// let mut trainer = Trainer::from_fn(
    ///     Param::new(Tensor::zeros([2])),
    ///     |w: &Param, tape, x: &Tensor<f32>| (tape.param(w) - tape.input(x)).square().sum(),
    ///     Sgd::new(0.25),
    /// );
    /// let history = trainer.fit(&batches, None, 10)?;
    /// assert!(history.last("loss").unwrap() < 1e-6);
    /// # Ok::<(), wengert_train::Error>(())
    /// ```
    pub fn from_fn<F>(model: M, loss: F, optimizer: impl Optimize<T> + 'a) -> Self
    where
        F: for<'t> Fn(&M, &'t Tape<T>, &B) -> Var<'t, T> + 'a,
    {
        Self::with_objective(model, FromFn(loss), optimizer)
    }

    /// As [`Trainer::from_fn`], for a closure that returns the loss and the output that metrics judge.
    pub fn from_fn_scored<F>(model: M, loss: F, optimizer: impl Optimize<T> + 'a) -> Self
    where
        F: for<'t> Fn(&M, &'t Tape<T>, &B) -> (Var<'t, T>, Var<'t, T>) + 'a,
    {
        Self::with_objective(model, FromFnScored(loss), optimizer)
    }

    /// For an [`Objective`] of your own.
    pub fn with_objective(
        model: M,
        objective: impl Objective<M, B, T> + 'a,
        optimizer: impl Optimize<T> + 'a,
    ) -> Self {
        Trainer {
            model,
            objective: Box::new(objective),
            driver: Driver::Plain(Box::new(optimizer)),
            backward: None,
            pipeline: Pipeline::new(),
            every: 1,
            accumulator: Accumulator::new(1),
            average: Average::None,
            metrics: Vec::new(),
            training_metrics: true,
            callbacks: Vec::new(),
            policy: OnNonFinite::default(),
            validate: Every::Epochs(1),
            checkpoint: None,
            max_steps: None,
            max_time: None,
            flag: None,
            seed: 0,
            tape: Tape::training(0),
            judging: Tape::inference(),
            at: Position::default(),
            history: History::default(),
            expected: None,
            averaged: 0,
        }
    }

    // ---- settings ----

    /// Seed of the randomness on the tape (dropout, noise); 0 unless set. Weights and order have their own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.tape = Tape::training(seed);
        self
    }

    /// Counts something over the outputs: a column of the history.
    pub fn metric(mut self, metric: impl Metric<B, T> + 'a) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// Whether metrics are also counted over the training batches, as they pass, with dropout and before the step; default yes.
    pub fn training_metrics(mut self, yes: bool) -> Self {
        self.training_metrics = yes;
        self
    }

    /// Adds a callback; they run in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback<M, T> + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Calls `f` with every new row of the history.
    pub fn on_row<F>(self, f: F) -> Self
    where
        F: FnMut(&mut Run<'_, M, T>, &Row) -> Result<()> + 'a,
    {
        self.callback(OnRow(f))
    }

    /// Calls `f` after every optimizer step.
    pub fn on_step<F>(self, f: F) -> Self
    where
        F: FnMut(&mut Run<'_, M, T>, &Step<'_, T>) -> Result<()> + 'a,
    {
        self.callback(OnStep(f))
    }

    /// Replaces `loss.backward()`, for instance by a probe that measures on the way.
    pub fn backward_with<F>(mut self, f: F) -> Self
    where
        F: for<'t> FnMut(Var<'t, T>, &M) -> Gradients<T> + 'a,
    {
        self.backward = Some(Box::new(f));
        self
    }

    /// What happens to the gradients before the optimizer gets them: clipping, noise, centering.
    pub fn gradients(mut self, pipeline: Pipeline<T>) -> Self {
        self.pipeline = pipeline;
        self
    }

    /// Clips the global norm of the gradients: one more link of the pipeline.
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    #[track_caller]
    pub fn clip_norm(mut self, max: f64) -> Self {
        self.pipeline = self.pipeline.clip_norm(max);
        self
    }

    /// One optimizer step for every `n` batches, with the mean of their gradients; an epoch ends with a step of what is left.
    ///
    /// # Panics
    /// When `n` is 0, or greater than 1 together with [`Trainer::sharpness_aware`].
    #[track_caller]
    pub fn accumulate(mut self, n: usize) -> Self {
        or_panic(positive("accumulate", "the number of batches", n as u64));
        self.every = n;
        self.accumulator = Accumulator::new(n);
        self.refuse_both();
        self
    }

    /// Sharpness-aware steps with radius `rho` around the optimizer ([`Sam`]): two backward passes on each batch, with
    /// the same dropout masks.
    ///
    /// # Panics
    /// When `rho` is negative or not finite, or together with [`Trainer::accumulate`].
    #[track_caller]
    pub fn sharpness_aware(mut self, rho: f64) -> Self {
        if let Driver::Plain(o) = self.driver {
            self.driver = Driver::Sharp(Box::new(Sam::new(o, rho)));
        }
        self.refuse_both();
        self
    }

    #[track_caller]
    fn refuse_both(&self) {
        assert!(
            self.every == 1 || matches!(self.driver, Driver::Plain(_)),
            "Trainer: sharpness-aware steps and accumulation do not go together: the second pass needs all batches at once"
        );
    }

    /// Judges an exponential moving average of the weights, updated after every step, instead of the weights themselves.
    pub fn ema(mut self, ema: Ema<T>) -> Self {
        self.average = Average::Ema(ema);
        self
    }

    /// Judges the mean of the weights at the end of each epoch after the first `from` epochs (stochastic weight averaging).
    ///
    /// Running statistics of the averaged model are those of the last step, unless `swa` averages buffers;
    /// [`Trainer::refresh_statistics`] estimates them anew.
    pub fn swa(mut self, swa: Swa<T>, from: u64) -> Self {
        self.average = Average::Swa { swa, from };
        self
    }

    /// What to do when a loss or gradient is not finite; stops unless set.
    pub fn on_non_finite(mut self, policy: OnNonFinite) -> Self {
        self.policy = policy;
        self
    }

    /// How often the validation set is judged; every epoch unless set.
    ///
    /// # Panics
    /// When the number is 0.
    #[track_caller]
    pub fn validate_every(mut self, every: Every) -> Self {
        self.validate = or_panic(every.check("validate_every"));
        self
    }

    /// Writes the state of the run to this file after every epoch and at the end: see [`Trainer::resume`].
    ///
    /// The directory must exist; where the file could not be written, `fit` errs before the first step.
    pub fn checkpoint(self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint_every(path, Every::Epochs(1))
    }

    /// As [`Trainer::checkpoint`], so often, and at the end.
    ///
    /// # Panics
    /// When the number is 0.
    #[track_caller]
    pub fn checkpoint_every(mut self, path: impl Into<PathBuf>, every: Every) -> Self {
        self.checkpoint = Some((path.into(), or_panic(every.check("checkpoint_every"))));
        self
    }

    /// Ends a run when it has taken this many optimizer steps in all.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.max_steps = Some(steps);
        self
    }

    /// Ends a call of `fit` at the first step after this time.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = Some(time);
        self
    }

    /// Ends a run after the present step when the flag becomes true; the state is written if a checkpoint is set.
    ///
    /// Who raises it is the program's choice: a handler of signals, another thread, a window. The crate installs no
    /// handler.
    pub fn stop_flag(mut self, flag: Arc<AtomicBool>) -> Self {
        self.flag = Some(flag);
        self
    }

    // ---- looking ----

    /// What was done so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Optimizer steps taken.
    pub fn steps(&self) -> u64 {
        self.at.step
    }

    /// Epochs completed.
    pub fn epochs(&self) -> u64 {
        self.at.epoch
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &(dyn Optimize<T> + 'a) {
        self.driver.optimizer()
    }

    /// The optimizer, to be changed.
    pub fn optimizer_mut(&mut self) -> &mut (dyn Optimize<T> + 'a) {
        self.driver.optimizer_mut()
    }

    /// The model, at the end.
    pub fn into_model(self) -> M {
        self.model
    }

    /// A copy of the model with the averaged weights; without an average, or before its first update, an equal copy.
    pub fn averaged_model(&mut self) -> M
    where
        M: Clone,
    {
        match &mut self.average {
            Average::None => self.model.clone(),
            Average::Ema(ema) => ema.averaged(&self.model),
            Average::Swa { swa, .. } => swa.averaged(&self.model),
        }
    }

    /// Names of the columns of the history.
    fn columns(&self, validated: bool) -> Vec<String> {
        let names = self.metrics.iter().flat_map(|m| m.values());
        let names: Vec<String> = std::iter::once("loss".to_owned())
            .chain(names.map(|(n, _)| n))
            .collect();
        let seen = if self.training_metrics {
            names.len()
        } else {
            1
        };
        let mut columns: Vec<String> = ["epoch", "step", "lr"].map(str::to_owned).into();
        columns.extend_from_slice(&names[..seen]);
        if validated {
            columns.extend(names.iter().map(|n| format!("val_{n}")));
        }
        columns
    }
}

impl<M: Module<T>, B, T: Float> Trainer<'_, M, B, T> {
    /// Runs `f` while the model holds the weights that are judged; a panic of `f` goes on when it has its own again.
    fn with_judged<R>(&mut self, f: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.average.swap(&mut self.model);
        afterwards(self, f, |t, _| {
            t.average.swap(&mut t.model);
            Ok(())
        })
    }

    /// Refuses two columns of one name: each would show the numbers of the first.
    fn check_columns(&self) -> Result<()> {
        let names = self.columns(true);
        let twice = |(i, n): (usize, &String)| names[..i].contains(n).then(|| n.clone());
        match names.iter().enumerate().find_map(twice) {
            Some(name) => Err(Error::configuration(
                "Trainer",
                format!(
                    "two columns are named `{name}`; `metric::Named` gives a metric another name"
                ),
            )),
            None => Ok(()),
        }
    }
}

/// Path of the first parameter or buffer that holds NaN.
pub(crate) fn nan_in<T: Float, M: Module<T> + ?Sized>(model: &M) -> Option<String> {
    struct Find(Option<String>);
    impl<T: Float> Visitor<T> for Find {
        fn param(&mut self, path: &str, p: &Param<T>) {
            if self.0.is_none() && p.value().iter().any(|x| x.is_nan()) {
                self.0 = Some(path.to_owned());
            }
        }
        fn buffer(&mut self, path: &str, b: &Buffer<T>) {
            if self.0.is_none() && b.value().iter().any(|x| x.is_nan()) {
                self.0 = Some(path.to_owned());
            }
        }
    }
    let mut find = Find(None);
    model.visit(&mut Path::new(), &mut find);
    find.0
}

/// Runs `f`, then `back`, which puts things in order again and is told whether `f` panicked; then a panic of `f` goes on. An
/// error of `back` comes before whatever `f` ended with.
fn afterwards<S, R>(
    on: &mut S,
    f: impl FnOnce(&mut S) -> Result<R>,
    back: impl FnOnce(&mut S, bool) -> Result<()>,
) -> Result<R> {
    let result = catch_unwind(AssertUnwindSafe(|| f(on)));
    back(on, result.is_err())?;
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs a step; a panic that says that there is no memory becomes an error, every other goes on.
fn guard<R>(step: u64, f: impl FnOnce() -> Result<R>) -> Result<R> {
    // The tape forgets an unfinished recording at its next reset; nothing else is shared.
    let panic = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(r) => return r,
        Err(p) => p,
    };
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    if tells_no_memory(text) {
        return Err(Error::Memory {
            step,
            message: text.to_owned(),
        });
    }
    resume_unwind(panic)
}
