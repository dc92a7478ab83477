//! Random programs, and what changes from one step to the next.

/// Numbers from a seed (SplitMix64).
#[derive(Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// An instruction: what it does with `a`, `b` (numbers of earlier values), `k` (axis, shape, variant) and `c` is up to the
/// interpreter, which makes every combination fit. `line` chooses between two source lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    pub op: &'static str,
    pub a: u8,
    pub b: u8,
    pub k: u8,
    pub c: f64,
    pub line: bool,
    pub body: Vec<Inst>,
}

/// Names, and how often they come.
const PLAIN: &[(&str, usize)] = &[
    ("input", 4),
    ("param", 6),
    ("scalar", 2),
    ("full", 1),
    ("buffer", 1),
    ("random", 4),
    ("unary", 16),
    ("constant", 10),
    ("binary", 14),
    ("dropout", 4),
    ("detach", 2),
    ("view", 9),
    ("pad", 2),
    ("cat", 2),
    ("reduce", 8),
    ("along", 8),
    ("sorted", 2),
    ("index", 3),
    ("matmul", 4),
    ("linear", 5),
    ("window", 3),
    ("batch_norm", 3),
    ("recurrent", 2),
    ("attention", 1),
    ("loss", 2),
    ("custom", 4),
    ("own", 3),
    ("hook", 6),
];

/// What has no place inside of `vmap`.
const OUTSIDE: &[(&str, usize)] = &[
    ("value", 10),
    ("keep", 4),
    ("side", 3),
    ("grad", 8),
    ("second", 3),
    ("jvp", 3),
    ("hvp", 2),
    ("jacobian", 1),
    ("observe", 3),
    ("flaky", 2),
    ("fail", 3),
    ("panic", 2),
    ("missing", 2),
    ("no_grad", 4),
    ("checkpoint", 5),
    ("scope", 4),
    ("at_caller", 1),
    ("caught", 3),
    ("vmap", 3),
];

const CONSTANTS: &[f64] = &[0.5, -0.5, 0.25, 1.5, 2.0, -1.0, 1.0, 0.0, -0.0];
const REGIONS: &[&str] = &[
    "no_grad",
    "checkpoint",
    "scope",
    "at_caller",
    "caught",
    "vmap",
];

/// What differentiates.
pub const DERIVATIVES: &[&str] = &["grad", "second", "jvp", "hvp", "jacobian", "vmap"];

fn choose(n: &mut Numbers, lists: &[&[(&'static str, usize)]]) -> &'static str {
    let all: usize = lists.iter().flat_map(|l| *l).map(|o| o.1).sum();
    let mut at = n.below(all);
    for (name, weight) in lists.iter().flat_map(|l| *l) {
        if at < *weight {
            return name;
        }
        at -= weight;
    }
    unreachable!("below the sum")
}

pub fn inst(n: &mut Numbers, depth: usize, mapped: bool) -> Inst {
    let op = match mapped {
        true => choose(n, &[PLAIN]),
        false => choose(n, &[PLAIN, OUTSIDE]),
    };
    let region = REGIONS.contains(&op);
    let op = if region && depth >= 2 { "unary" } else { op };
    let body = match region && depth < 2 {
        true => insts(n, 1 + n.clone().below(4), depth + 1, mapped || op == "vmap"),
        false => Vec::new(),
    };
    Inst {
        op,
        a: n.below(256) as u8,
        b: n.below(256) as u8,
        k: n.below(256) as u8,
        c: *n.of(CONSTANTS),
        line: n.one_in(4),
        body,
    }
}

fn insts(n: &mut Numbers, count: usize, depth: usize, mapped: bool) -> Vec<Inst> {
    (0..count).map(|_| inst(n, depth, mapped)).collect()
}

/// Everything that one step does.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Two recordings; what is set on the tape can change between them.
    pub parts: [Vec<Inst>; 2],
    /// Size of the batch.
    pub batch: usize,
    pub data: u64,
    /// The set of frozen parameters, and of frozen buffers.
    pub frozen: u8,
    /// 0 and 1: backward, 2: nothing, 3: the value of the loss only.
    pub end: u8,
    pub anomaly: bool,
    pub fuse: bool,
    /// What is set between the parts.
    pub between: u8,
    /// What the observer wants, if there is one from the start.
    pub observer: Option<u8>,
    pub trace: bool,
    /// Whether the tape is reset once more.
    pub again: bool,
    /// The set of parameters that are other ones afterwards, with the same values.
    pub renew: u8,
}

impl Step {
    pub fn random(n: &mut Numbers) -> Self {
        let count = 2 + n.below(*n.clone().of(&[6, 12, 12, 30]));
        let second = n.below(6);
        Step {
            parts: [insts(n, count, 0, false), insts(n, second, 0, false)],
            batch: *n.of(&[4, 3, 2]),
            data: n.below(4) as u64,
            frozen: 0,
            end: *n.of(&[0, 0, 0, 0, 2, 3]),
            anomaly: n.one_in(20),
            fuse: !n.one_in(12),
            between: 0,
            observer: n.one_in(6).then(|| n.below(4) as u8),
            trace: n.one_in(8),
            again: false,
            renew: 0,
        }
    }

    /// How many instructions are such ones.
    pub fn count(&self, which: &dyn Fn(&Inst) -> bool) -> usize {
        fn of(list: &[Inst], which: &dyn Fn(&Inst) -> bool) -> usize {
            let one = |i: &Inst| usize::from(which(i)) + of(&i.body, which);
            list.iter().map(one).sum()
        }
        self.parts.iter().map(|p| of(p, which)).sum()
    }

    /// One thing changes.
    pub fn change(&mut self, n: &mut Numbers) {
        match n.below(25) {
            11 => self.renew = 1 << n.below(8),
            0 => self.batch = *n.of(&[4, 3, 2]),
            1 | 2 => self.data = n.below(4) as u64,
            3 | 4 => self.frozen ^= 1 << n.below(8),
            5 => self.end = *n.of(&[0, 2, 3]),
            6 if n.one_in(2) => self.anomaly = !self.anomaly,
            6 => self.fuse = !self.fuse,
            7 => self.between = n.below(5) as u8,
            8 => self.observer = (self.observer.is_none()).then(|| n.below(4) as u8),
            9 => self.again = !self.again,
            10 => self.trace = !self.trace,
            _ => {
                let part = usize::from(n.one_in(3));
                change(&mut self.parts[part], n, 0, false);
            }
        }
    }
}

/// Where an instruction stands: the way through the bodies.
fn change(list: &mut Vec<Inst>, n: &mut Numbers, depth: usize, mapped: bool) {
    let at = n.below(list.len() + 1);
    if at == list.len() || n.one_in(6) {
        list.insert(at, inst(n, depth, mapped));
        return;
    }
    let i = &mut list[at];
    match n.below(12) {
        0 => i.a = n.below(256) as u8,
        1 => i.b = n.below(256) as u8,
        2 | 3 => i.k = n.below(256) as u8,
        4 => i.c = *n.of(CONSTANTS),
        5 => i.c = -i.c,
        6 => i.line = !i.line,
        7 => {
            list.remove(at);
        }
        8 => *i = inst(n, depth, mapped),
        9 if i.body.is_empty() && depth < 2 => {
            // A region around a stretch.
            let to = (at + 1 + n.below(3)).min(list.len());
            let body: Vec<Inst> = list.drain(at..to).collect();
            let mut region = inst(n, 2, mapped);
            region.op = *n.of::<&'static str>(&["no_grad", "checkpoint", "scope", "at_caller"]);
            region.body = body;
            list.insert(at, region);
        }
        9 => {
            let i = list.remove(at);
            list.splice(at..at, i.body);
        }
        10 if !i.body.is_empty() => {
            i.op = match i.op {
                "vmap" => "vmap",
                _ => *n.of::<&'static str>(&["no_grad", "checkpoint", "scope", "at_caller"]),
            }
        }
        _ if !i.body.is_empty() => {
            let mapped = mapped || i.op == "vmap";
            change(&mut i.body, n, depth + 1, mapped);
        }
        _ => i.k = i.k.wrapping_add(1),
    }
}

/// Steps one of which may be left out: for shrinking. Every list is tried without each of its instructions, and with the
/// body of a region in its place.
pub fn smaller(list: &[Inst]) -> Vec<Vec<Inst>> {
    let mut out = Vec::new();
    for at in 0..list.len() {
        let mut without = list.to_vec();
        let i = without.remove(at);
        out.push(without.clone());
        if !i.body.is_empty() {
            without.splice(at..at, i.body.clone());
            out.push(without);
            for body in smaller(&i.body) {
                let mut with = list.to_vec();
                with[at].body = body;
                out.push(with);
            }
        }
    }
    out
}
