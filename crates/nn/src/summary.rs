//! What a model consists of, as a table.

use crate::forward::Forward;
use std::fmt;
use wengert_autograd::{
    Buffer, Float, Module, Param, ParamId, Passed, Path, Real, Tape, Tensor, Visitor,
};

/// What a model consists of: modules, parameters with shape and initializer, output shapes for a given input, counts.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{ModelSummary, Sequential};
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let model: Sequential = Sequential::builder().linear(64, 32).relu().linear(32, 10).build(&mut rng);
/// let summary = ModelSummary::on(&model, &Tensor::zeros([5, 64]));
/// assert_eq!((summary.params, summary.trainable), (2_410, 2_410));
/// assert_eq!(summary.row("0").unwrap().output.as_deref(), Some(&[5, 32][..]));
/// println!("{summary}");
/// ```
///
/// prints
///
/// ```text
/// layer       kind        output   parameters  initializer
/// (model)     Sequential  [5, 10]       2,410
/// 0           Linear      [5, 32]       2,080
///   .weight   [32, 64]                  2,048  he_normal(fan_in), fan_in 64, sigma 0.177
///   .bias     [32]                         32  zeros
/// 1           Relu        [5, 32]           0
/// 2           Linear      [5, 10]         330
///   .weight   [10, 32]                    320  glorot_uniform, fan_avg 21, sigma 0.218
///   .bias     [10]                         10  zeros
/// 2,410 parameters, 2,410 trainable, 0 in buffers
/// ```
///
/// Output shapes are exact for the model, and for layers inside [`Sequential`](crate::Sequential), vectors, tuples,
/// residual containers. Inside a struct of your own layers without parameters say what they gave
/// ([`Tape::passed`](wengert_autograd::Tape::passed)), for others the recorded program is read: the last value that a
/// parameter of the module enters. What is called as a method of `Var` (`x.relu()`) is no layer and has no row. Of a layer that
/// is passed several times the last output counts. A module of your own without parameters shows a shape if its `forward`
/// says so, too.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModelSummary {
    /// Modules in visiting order, the model first.
    pub rows: Vec<SummaryRow>,
    /// Elements of all parameters.
    pub params: usize,
    /// Elements of the parameters that are trained.
    pub trainable: usize,
    /// Elements of all buffers.
    pub buffers: usize,
}

/// A module of a [`ModelSummary`].
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryRow {
    /// Dotted name; empty for the model.
    pub path: String,
    /// Name of its type.
    pub kind: String,
    /// Shape of its output, where it is known.
    pub output: Option<Vec<usize>>,
    /// Elements of all parameters in it and below.
    pub params: usize,
    /// Those that are trained.
    pub trainable: usize,
    /// Parameters and buffers of the module itself.
    pub own: Vec<SummaryParam>,
    ids: Vec<ParamId>,
    place: usize,
}

/// A parameter or buffer of a [`SummaryRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryParam {
    /// Dotted name.
    pub path: String,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Whether it is a buffer, which is not trained but saved.
    pub buffer: bool,
    /// Whether it is frozen.
    pub frozen: bool,
    /// The initializer with its fan and the resulting standard deviation, where it was noted.
    pub init: Option<String>,
}

/// Collects rows.
struct Collect {
    rows: Vec<SummaryRow>,
    open: Vec<usize>,
    buffers: usize,
}

impl Collect {
    /// The row of the innermost module that the visit is in.
    fn own(&mut self, p: SummaryParam) {
        let at = self.open.last().copied().unwrap_or(0);
        self.rows[at].own.push(p);
    }
}

impl<T: Real> Visitor<T> for Collect {
    fn param(&mut self, path: &str, p: &Param<T>) {
        let n = p.value().numel();
        let trained = if p.is_trainable() { n } else { 0 };
        // The model's own row counts everything, entered or not.
        let mut above: Vec<usize> = self.open.clone();
        if above.first() != Some(&0) {
            above.insert(0, 0);
        }
        for i in above {
            self.rows[i].params += n;
            self.rows[i].trainable += trained;
            self.rows[i].ids.push(p.id());
        }
        self.own(SummaryParam {
            path: path.to_owned(),
            shape: p.shape().to_vec(),
            buffer: false,
            frozen: !p.is_trainable(),
            init: p.origin().map(str::to_owned),
        });
    }
    fn buffer(&mut self, path: &str, b: &Buffer<T>) {
        self.buffers += b.value().numel();
        self.own(SummaryParam {
            path: path.to_owned(),
            shape: b.value().shape().to_vec(),
            buffer: true,
            frozen: b.is_frozen(),
            init: None,
        });
    }
    fn enter(&mut self, path: &str, kind: &'static str) {
        Visitor::<T>::enter_at(self, path, kind, 0);
    }
    fn enter_at(&mut self, path: &str, kind: &'static str, place: usize) {
        if path.is_empty() {
            // The model's own row stands already.
            self.open.push(0);
            return;
        }
        self.open.push(self.rows.len());
        self.rows.push(SummaryRow {
            place,
            ..row(path, kind)
        });
    }
    fn leave(&mut self, _: &str) {
        self.open.pop();
    }
}

fn row(path: &str, kind: &str) -> SummaryRow {
    SummaryRow {
        path: path.to_owned(),
        kind: kind.to_owned(),
        output: None,
        params: 0,
        trainable: 0,
        own: Vec::new(),
        ids: Vec::new(),
        place: 0,
    }
}

impl ModelSummary {
    /// Of a model, without output shapes.
    pub fn of<T: Real, M: Module<T> + ?Sized>(model: &M) -> Self {
        let mut c = Collect {
            rows: vec![row("", model.kind())],
            open: Vec::new(),
            buffers: 0,
        };
        model.visit(&mut Path::new(), &mut c);
        ModelSummary {
            params: c.rows[0].params,
            trainable: c.rows[0].trainable,
            buffers: c.buffers,
            rows: c.rows,
        }
    }

    /// Of a model, with output shapes for an input like `x`. The forward pass is recorded, not computed.
    ///
    /// # Panics
    /// Where the model's forward pass does.
    #[track_caller]
    pub fn on<T: Float, M: Module<T> + Forward<T> + ?Sized>(model: &M, x: &Tensor<T>) -> Self {
        let mut s = Self::of(model);
        let tape = Tape::<T>::inference();
        let mut seen: Vec<(String, Vec<usize>)> = Vec::new();
        tape.list_passed();
        let y = model.trace(tape.input(x), &mut Path::new(), &mut |path, shape| {
            seen.retain(|s| s.0 != path);
            seen.push((path.to_owned(), shape.to_vec()));
        });
        let last = last_values(&tape);
        let passed = outputs(&s.rows, &tape.take_passed());
        for (row, passed) in s.rows.iter_mut().zip(passed) {
            let own = seen.iter().position(|s| s.0 == row.path);
            let own = own.map(|at| seen.swap_remove(at).1);
            row.output = own.or(passed).or_else(|| {
                let ends = last.iter().filter(|l| row.ids.contains(&l.param));
                ends.max_by_key(|l| l.node).map(|l| l.shape.clone())
            });
        }
        s.rows[0].output = Some(y.shape().to_vec());
        s
    }

    /// The module at a path.
    pub fn row(&self, path: &str) -> Option<&SummaryRow> {
        self.rows.iter().find(|r| r.path == path)
    }
}

/// What the layers of the rows said they gave. Types without size may share a place: those of one kind are told apart by
/// their order, if each was passed once.
fn outputs(rows: &[SummaryRow], passed: &[Passed]) -> Vec<Option<Vec<usize>>> {
    let one = |(i, r): (usize, &SummaryRow)| {
        let like = |o: &&SummaryRow| (o.place, &o.kind) == (r.place, &r.kind);
        let given = passed
            .iter()
            .filter(|p| (p.place, p.kind) == (r.place, &r.kind));
        let given: Vec<&Passed> = given.collect();
        let at = if given.len() == rows.iter().filter(like).count() {
            rows[..i].iter().filter(like).count()
        } else {
            given.len().checked_sub(1)?
        };
        Some(given[at].shape.to_vec())
    };
    rows.iter().enumerate().map(one).collect()
}

/// A node that takes a parameter.
pub(crate) struct Taken {
    param: ParamId,
    node: u32,
    shape: Vec<usize>,
}

/// For each parameter the last node that takes it together with something that is not made of parameters alone, and
/// that node's shape.
pub(crate) fn last_values<T: Float>(tape: &Tape<T>) -> Vec<Taken> {
    // Nodes made of parameters and constants alone, with the parameters in them, by number.
    let mut made: Vec<Option<Vec<ParamId>>> = vec![None; tape.len()];
    let mut last: Vec<Taken> = Vec::new();
    let mut take = |param: ParamId, node: u32, shape: &[usize]| {
        let shape = shape.to_vec();
        match last.iter_mut().find(|l| l.param == param) {
            Some(l) => (l.node, l.shape) = (node, shape),
            None => last.push(Taken { param, node, shape }),
        }
    };
    // Kernels of norms work on rows; a reshape gives the shape back.
    let mut rows: Vec<(u32, Vec<ParamId>)> = Vec::new();
    tape.for_each_node(|n| {
        if let Some(id) = n.param {
            made[n.id as usize] = Some(vec![id]);
            return;
        }
        if n.op == "constant" {
            made[n.id as usize] = Some(Vec::new());
            return;
        }
        if n.op == "reshape"
            && let Some(at) = rows.iter().position(|r| n.args.first() == Some(&r.0))
        {
            for id in rows.swap_remove(at).1 {
                take(id, n.id, n.shape);
            }
        }
        let inside = n.args.iter().filter_map(|&a| made[a as usize].as_ref());
        let ids: Vec<ParamId> = inside.flatten().copied().collect();
        if !n.args.is_empty() && n.args.iter().all(|&a| made[a as usize].is_some()) {
            made[n.id as usize] = Some(ids);
            return;
        }
        for &id in &ids {
            take(id, n.id, n.shape);
        }
        if n.op.ends_with("_norm") && !ids.is_empty() {
            rows.push((n.id, ids));
        }
    });
    last
}

/// 1234567 → 1,234,567.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

impl fmt::Display for ModelSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table =
            vec![["layer", "kind", "output", "parameters", "initializer"].map(str::to_owned)];
        for r in &self.rows {
            let name = if r.path.is_empty() {
                "(model)"
            } else {
                &r.path
            };
            let output = r
                .output
                .as_ref()
                .map_or(String::new(), |s| format!("{s:?}"));
            let frozen = match r.params - r.trainable {
                0 => "",
                n if n == r.params => "frozen",
                _ => "partly frozen",
            };
            table.push([
                name.to_owned(),
                r.kind.clone(),
                output,
                grouped(r.params),
                frozen.to_owned(),
            ]);
            for p in &r.own {
                let short = p.path.rsplit('.').next().unwrap_or(&p.path);
                let mut note = if p.buffer {
                    "buffer"
                } else {
                    p.init.as_deref().unwrap_or("")
                }
                .to_owned();
                if p.frozen {
                    note += if note.is_empty() {
                        "frozen"
                    } else {
                        ", frozen"
                    };
                }
                table.push([
                    format!("  .{short}"),
                    format!("{:?}", p.shape),
                    String::new(),
                    grouped(p.shape.iter().product()),
                    note,
                ]);
            }
        }
        let width = |c: usize| {
            table
                .iter()
                .map(|r| r[c].chars().count())
                .max()
                .unwrap_or(0)
        };
        let w = [0, 1, 2, 3].map(width);
        for [a, b, c, d, e] in &table {
            let line = format!(
                "{a:<0$}  {b:<1$}  {c:<2$}  {d:>3$}  {e}",
                w[0], w[1], w[2], w[3]
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(
            f,
            "{} parameters, {} trainable, {} in buffers",
            grouped(self.params),
            grouped(self.trainable),
            grouped(self.buffers)
        )
    }
}
