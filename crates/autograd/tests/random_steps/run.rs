//! Runs a step on a tape and notes everything that can be seen of it.

use crate::ops;
use crate::program::{Inst, Step};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use wengert_autograd::{
    Buffer, Float, NodeInfo, Observer, Param, Seen, Tape, Tensor, Var, grad, hvp, jvp, vmap,
};

/// What is noted. A label that begins with `~` depends on how the step is evaluated, and is compared between equal ways only.
#[derive(Clone, Debug)]
pub enum Entry {
    Text(String),
    Numbers(String, Vec<f64>),
}

impl Entry {
    pub fn of_the_way(&self) -> bool {
        match self {
            Entry::Text(t) | Entry::Numbers(t, _) => t.starts_with('~'),
        }
    }
}

pub type Log = Arc<Mutex<Vec<Entry>>>;

fn lock(log: &Log) -> std::sync::MutexGuard<'_, Vec<Entry>> {
    log.lock().unwrap_or_else(|e| e.into_inner())
}

pub fn numbers<T: Float>(log: &Log, label: impl Into<String>, t: &Tensor<T>) {
    let values = t.iter().map(|x| x.as_f64()).collect();
    let label = format!("{} {:?}", label.into(), t.shape());
    lock(log).push(Entry::Numbers(label, values));
}

pub fn text(log: &Log, t: impl Into<String>) {
    lock(log).push(Entry::Text(t.into()));
}

/// What models own.
pub struct World<T: Float> {
    pub params: Vec<Param<T>>,
    pub buffers: Vec<Buffer<T>>,
}

pub fn data<T: Float>(shape: &[usize], seed: u64) -> Tensor<T> {
    let mut n = crate::program::Numbers(seed.wrapping_mul(0x1234_5677));
    let len = shape.iter().product();
    // In steps of 1/32: some are equal.
    let values = (0..len).map(|_| T::from_f64((n.below(65) as f64 - 32.0) / 32.0));
    Tensor::from_vec(values.collect(), shape)
}

impl<T: Float> World<T> {
    pub fn new() -> Self {
        let shapes: [&[usize]; 6] = [&[3, 4], &[4, 3], &[3], &[4], &[2, 1, 3], &[]];
        let param = |(i, s): (usize, &&[usize])| Param::new(data(s, 77 + i as u64));
        World {
            params: shapes.iter().enumerate().map(param).collect(),
            buffers: (0..2).map(|i| Buffer::new(data(&[3], 99 + i))).collect(),
        }
    }

    pub fn freeze(&mut self, set: u8) {
        for (i, p) in self.params.iter_mut().enumerate() {
            p.set_trainable(set >> i & 1 == 0);
        }
        for (i, b) in self.buffers.iter_mut().enumerate() {
            b.set_frozen(set >> (6 + i) & 1 == 1);
        }
    }

    /// As an optimizer does, in place.
    pub fn update(&mut self, step: usize, renew: u8) {
        for (i, p) in self.params.iter_mut().enumerate() {
            if renew >> i & 1 == 1 {
                *p = p.clone();
            }
        }
        let params = self.params.iter_mut().map(Param::value_mut);
        for t in params.chain(self.buffers.iter_mut().map(Buffer::value_mut)) {
            for (i, x) in t.as_mut_slice().iter_mut().enumerate() {
                *x = *x * T::from_f64(0.75) + T::from_f64(0.2 * ((i + step) as f64).sin());
            }
        }
    }
}

/// How a step is evaluated.
#[derive(Clone, Copy, Default)]
pub struct Way {
    /// Each value right after it was recorded.
    pub ask: bool,
    /// Checkpointed stretches are ordinary ones.
    pub no_checkpoints: bool,
    /// An identity behind every operation.
    pub apart: bool,
}

/// Looks at values; holds some of them to the end.
struct Watch<T: Float> {
    wants: u8,
    log: Log,
    held: Vec<Tensor<T>>,
}

impl<T: Float> Observer<T> for Watch<T> {
    fn wants(&mut self, n: &NodeInfo<'_>) -> bool {
        match self.wants {
            0 | 3 => true,
            1 => n.op.len().is_multiple_of(2),
            _ => !n.scope.is_empty(),
        }
    }
    fn wants_leaf(&mut self, _: &NodeInfo<'_>) -> bool {
        self.wants == 3
    }
    fn see(&mut self, n: &NodeInfo<'_>, what: Seen, t: &Tensor<T>) {
        let label = format!(
            "~seen {what:?} %{} {} {:?} {}",
            n.id, n.op, n.scope, n.location
        );
        numbers(&self.log, label, t);
        if self.wants == 0 {
            self.held.push(t.clone());
        }
    }
    fn end(&mut self) {
        self.held.clear();
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Whether [`ops::Flaky`] fails.
pub static FAIL: AtomicBool = AtomicBool::new(false);

/// A recording at work.
pub struct Run<'t, 'w, T: Float> {
    pub tape: &'t Tape<T>,
    pub world: &'w World<T>,
    pub values: Vec<Var<'t, T>>,
    pub batch: usize,
    pub data: u64,
    pub way: Way,
    pub log: Log,
    /// Whether values stand for examples.
    pub mapped: bool,
    caught: usize,
    /// Whether it stands in a region without gradients.
    cut: bool,
    /// Values from here on stand for examples.
    outer: usize,
    kept: Vec<Var<'t, T>>,
    wants: &'w mut Option<u8>,
}

const NAMES: [&str; 5] = ["a", "b", "a.b", "x.a", "c"];

impl<'t, T: Float> Run<'t, '_, T> {
    /// An earlier value, half of the time one of the last.
    pub fn v(&self, a: u8) -> Var<'t, T> {
        let n = self.values.len();
        match a as usize {
            a if a >= 128 => self.values[n - 1 - a % 4 % n],
            a => self.values[a % n],
        }
    }

    pub fn push(&mut self, mut v: Var<'t, T>) {
        if v.rank() > 4 {
            v = v.flatten(0, -1);
        }
        if v.numel() > 200 {
            v = v.flatten(0, -1).narrow(0, 0, 24);
        }
        // Another value where there was none before; where nothing flows, nothing is changed.
        let known = self.values.iter().any(|x| x.index() == v.index());
        if self.way.apart && !known && !self.cut {
            v = v.apply(ops::Flaky);
        }
        if self.way.ask && !self.mapped {
            v.value();
        }
        self.values.push(v);
    }

    fn all(&mut self, list: &[Inst]) {
        for i in list {
            self.one(i);
        }
    }

    fn one(&mut self, i: &Inst) {
        let tape = self.tape;
        let (x, y) = (self.v(i.a), self.v(i.b));
        let outside = !self.mapped;
        match i.op {
            "value" if outside => {
                let label = format!("~value %{}", x.index());
                numbers(&self.log, label, &x.value());
            }
            "keep" if outside => {
                self.kept.push(x.keep());
            }
            "side" if outside => {
                let b = &self.world.buffers[i.k as usize % 2];
                tape.side_output(b, x.mean().broadcast_to([3]));
            }
            "missing" if outside => {
                for m in x.missing_gradients(&self.world.params) {
                    text(&self.log, format!("missing {m}"));
                }
            }
            "observe" if outside && !self.way.ask => match i.k % 4 {
                3 => drop(tape.take_observer()),
                k => self.observe(k),
            },
            "fail" if outside && !self.way.ask => {
                FAIL.store(true, Ordering::SeqCst);
                let failed = catch_unwind(AssertUnwindSafe(|| drop(x.value()))).is_err();
                FAIL.store(false, Ordering::SeqCst);
                text(&self.log, format!("~failed: {failed}"));
            }
            "panic" if self.caught > 0 => panic!("on purpose"),
            "grad" | "second" | "jvp" | "hvp" | "jacobian" if outside && tape.len() < 300 => {
                let region = i.c < -0.6;
                let r = match region {
                    true => tape.no_grad(|| derivative(i, x, y, self.v(i.k))),
                    false => derivative(i, x, y, self.v(i.k)),
                };
                // Two gradients may be one value.
                self.values.extend(r);
            }
            "no_grad" => {
                let before = std::mem::replace(&mut self.cut, true);
                tape.no_grad(|| self.all(&i.body));
                self.cut = before;
            }
            "checkpoint" if self.way.no_checkpoints => self.all(&i.body),
            "checkpoint" => tape.checkpoint(|| self.all(&i.body)),
            "scope" => tape.scope(NAMES[i.k as usize % NAMES.len()], || self.all(&i.body)),
            "at_caller" => tape.at_caller(|| self.all(&i.body)),
            "caught" if outside => {
                self.caught += 1;
                let (before, cut) = (self.caught, self.cut);
                let done = catch_unwind(AssertUnwindSafe(|| {
                    tape.scope("caught", || self.all(&i.body));
                    match i.k % 3 {
                        0 => {}
                        1 => panic!("on purpose"),
                        _ => drop(x.matmul(tape.zeros([7, 11])).matmul(tape.zeros([7, 11]))),
                    }
                }));
                self.caught = before - 1;
                self.cut = cut;
                if self.mapped {
                    self.mapped = false;
                    self.values.truncate(self.outer);
                }
                text(&self.log, format!("caught: {}", done.is_err()));
            }
            "vmap" if outside && x.rank() > 0 && tape.len() < 300 => {
                let before = self.values.len();
                self.outer = before;
                let y = vmap(
                    |[x]| {
                        self.values.push(x);
                        self.mapped = true;
                        self.all(&i.body);
                        self.mapped = false;
                        let last = *self.values.last().expect("pushed");
                        self.values.truncate(before);
                        match i.k % 3 {
                            0 => grad(last.tanh().sum(), [x])[0],
                            _ => last,
                        }
                    },
                    [x],
                );
                self.push(y);
            }
            _ => ops::one(self, i, x, y),
        }
    }

    fn observe(&mut self, wants: u8) {
        // Who wants something else says so.
        if *self.wants != Some(wants) {
            self.tape.forget_observed_plans();
        }
        *self.wants = Some(wants);
        self.tape.set_observer(Box::new(Watch {
            wants,
            log: self.log.clone(),
            held: Vec::new(),
        }));
    }
}

fn derivative<'t, T: Float>(
    i: &Inst,
    x: Var<'t, T>,
    y: Var<'t, T>,
    z: Var<'t, T>,
) -> Vec<Var<'t, T>> {
    let tape = x.tape();
    match i.op {
        "grad" if i.line => grad(x.sum(), [y, z]).into(),
        "grad" => grad(x.sum(), [y, z]).into(),
        "second" => {
            let [g] = grad(x.square().sum(), [y]);
            grad((g * g).sum(), [y]).into()
        }
        "jvp" => vec![jvp(x, [y], [tape.ones(y.shape())])],
        "hvp" => hvp(x.square().sum(), [y], [y.tanh()]).into(),
        _ if x.numel() <= 6 && y.numel() <= 12 => vec![x.jacobian(y).flatten(0, -1)],
        _ => vec![],
    }
}

/// What a tape is set to.
#[derive(Default)]
pub struct Set {
    anomaly: bool,
    unfused: bool,
    wants: Option<u8>,
}

fn set<T: Float>(tape: &mut Tape<T>, set: &mut Set, step: &Step) {
    if set.anomaly != step.anomaly {
        tape.detect_anomaly(step.anomaly);
    }
    if set.unfused == step.fuse {
        tape.set_fusion(step.fuse);
    }
    (set.anomaly, set.unfused) = (step.anomaly, !step.fuse);
}

/// Runs a step on a tape; `begin` resets it or does what is right for a new one.
pub fn step<T: Float>(
    tape: &mut Tape<T>,
    settings: &mut Set,
    world: &World<T>,
    s: &Step,
    way: Way,
    begin: impl FnOnce(&mut Tape<T>),
) -> Vec<Entry> {
    let log: Log = Default::default();
    if s.data.is_multiple_of(2) {
        set(tape, settings, s);
        begin(tape);
    } else {
        begin(tape);
        set(tape, settings, s);
    }
    let done = catch_unwind(AssertUnwindSafe(|| {
        parts(tape, settings, world, s, way, &log)
    }));
    if let Err(e) = done {
        let message = e.downcast_ref::<String>().cloned();
        let message = message.or_else(|| e.downcast_ref::<&str>().map(|s| s.to_string()));
        text(&log, format!("panic: {}", message.unwrap_or_default()));
    }
    text(&log, format!("~listing\n{}", tape.listing()));
    drop(tape.take_observer());
    let mut entries = lock(&log);
    std::mem::take(&mut *entries)
}

fn parts<T: Float>(
    tape: &mut Tape<T>,
    settings: &mut Set,
    world: &World<T>,
    s: &Step,
    way: Way,
    log: &Log,
) {
    for (k, part) in s.parts.iter().enumerate() {
        if k == 1 {
            match s.between {
                1 => tape.detect_anomaly(s.anomaly),
                2 => tape.set_fusion(s.fuse),
                3 => tape.trim(),
                4 => tape.forget_observed_plans(),
                _ => {}
            }
        }
        let tape = &*tape;
        let mut run = Run {
            tape,
            world,
            values: vec![
                tape.param(&world.params[0]),
                tape.input(&data(&[s.batch, 3], s.data)),
            ],
            batch: s.batch,
            data: s.data,
            way,
            log: log.clone(),
            mapped: false,
            caught: 0,
            cut: false,
            outer: 0,
            kept: Vec::new(),
            wants: &mut settings.wants,
        };
        if let (Some(k), 0, false) = (s.observer, k, way.ask) {
            run.observe(k);
        }
        run.all(part);
        if k == 1 || s.parts[1].is_empty() {
            end(&mut run, s);
            if s.trace {
                let found = tape.trace(&world.params).map(|a| a.to_string());
                text(log, format!("~trace {found:?}"));
            }
            break;
        }
    }
}

fn end<T: Float>(run: &mut Run<'_, '_, T>, s: &Step) {
    let log = run.log.clone();
    let n = run.values.len();
    let mut loss = run.values[0].mean() * 0.5;
    for (i, v) in run.values[n.saturating_sub(5)..].iter().enumerate() {
        loss = loss + v.mean() * (0.5 + i as f64 * 0.25);
    }
    let missing = |label: &str| {
        for m in loss.missing_gradients(&run.world.params) {
            text(&log, format!("{label} {m}"));
        }
    };
    if s.end == 2 {
        return;
    }
    missing("before");
    if s.end == 3 || !loss.is_tracked() {
        return numbers(&log, "loss", &loss.value());
    }
    let grads = loss.backward();
    lock(&log).push(Entry::Numbers("loss".into(), vec![grads.loss().as_f64()]));
    for (at, (id, g)) in grads.iter().enumerate() {
        let p = run.world.params.iter().position(|p| p.id() == id);
        numbers(&log, format!("gradient of {p:?}"), g);
        text(&log, format!("~known finite: {}", grads.known_finite(at)));
    }
    for (id, v) in grads.side_outputs() {
        let b = run.world.buffers.iter().position(|b| b.id() == id);
        numbers(&log, format!("side output {b:?}"), v);
    }
    for v in &run.kept {
        numbers(&log, "kept", &v.value());
    }
    missing("after");
}
