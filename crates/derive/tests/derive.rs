//! What the derived implementations visit, and under which names.

use std::marker::PhantomData;
use wengert_autograd::{Buffer, Module, ModuleExt, Param, Path, Real, Tensor, Visitor};
use wengert_derive::Module;

fn param<T: Real>(n: usize) -> Param<T> {
    Param::new(Tensor::zeros([n]))
}

fn buffer<T: Real>(n: usize) -> Buffer<T> {
    Buffer::new(Tensor::zeros([n]))
}

/// Everything in the order of the visit: `>kind@path`, `path:size`, `(path:size)` for buffers, `<path`.
struct Log(Vec<String>);

impl<T: Real> Visitor<T> for Log {
    fn param(&mut self, path: &str, p: &Param<T>) {
        self.0.push(format!("{path}:{}", p.value().numel()));
    }
    fn buffer(&mut self, path: &str, b: &Buffer<T>) {
        self.0.push(format!("({path}:{})", b.value().numel()));
    }
    fn enter(&mut self, path: &str, kind: &'static str) {
        self.0.push(format!(">{kind}@{path}"));
    }
    fn leave(&mut self, path: &str) {
        self.0.push(format!("<{path}"));
    }
}

fn log<T: Real>(m: &dyn Module<T>) -> Vec<String> {
    let mut l = Log(Vec::new());
    m.visit(&mut Path::new(), &mut l);
    l.0
}

/// Paths as `visit_mut` shows them; it must show what `visit` shows.
fn paths_mut<T: Real, M: Module<T>>(m: &mut M) -> Vec<String> {
    let mut out = Vec::new();
    m.for_each_param_mut(|path, _| out.push(path.to_owned()));
    out
}

fn paths<T: Real, M: Module<T>>(m: &M) -> Vec<String> {
    m.named_params().into_iter().map(|p| p.path).collect()
}

#[derive(Module, Clone)]
#[module(crate = wengert_autograd)]
struct Affine<T: Real = f32> {
    weight: Param<T>,
    bias: Option<Param<T>>,
    #[module(skip)]
    stride: usize,
}

impl<T: Real> Affine<T> {
    fn new(n: usize) -> Self {
        Affine {
            weight: param(n),
            bias: Some(param(1)),
            stride: 1,
        }
    }
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Norm {
    #[module(rename = "weight")]
    gamma: Param,
    mean: Buffer,
    r#type: Param,
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Net {
    blocks: Vec<Affine>,
    norm: Norm,
    pair: (Affine, [Param; 2]),
    any: Box<dyn Module>,
    many: Vec<Box<dyn Module>>,
    none: Option<Affine>,
}

#[test]
fn structs_visit_in_declaration_order_under_field_names() {
    let mut net = Net {
        blocks: vec![Affine::new(2), Affine::new(3)],
        norm: Norm {
            gamma: param(4),
            mean: buffer(4),
            r#type: param(5),
        },
        pair: (Affine::new(6), [param(7), param(8)]),
        any: Box::new(Affine::new(9)),
        many: vec![Box::new(param(10)), Box::new(Affine::new(11))],
        none: None,
    };
    assert_eq!(
        log(&net),
        [
            ">Net@",
            ">Affine@blocks.0",
            "blocks.0.weight:2",
            "blocks.0.bias:1",
            "<blocks.0",
            ">Affine@blocks.1",
            "blocks.1.weight:3",
            "blocks.1.bias:1",
            "<blocks.1",
            ">Norm@norm",
            "norm.weight:4",
            "(norm.mean:4)",
            "norm.type:5",
            "<norm",
            ">Affine@pair.0",
            "pair.0.weight:6",
            "pair.0.bias:1",
            "<pair.0",
            "pair.1.0:7",
            "pair.1.1:8",
            ">Affine@any",
            "any.weight:9",
            "any.bias:1",
            "<any",
            "many.0:10",
            ">Affine@many.1",
            "many.1.weight:11",
            "many.1.bias:1",
            "<many.1",
            "<",
        ]
    );
    assert_eq!(paths(&net), paths_mut(&mut net));
    assert_eq!(net.any.kind(), "Affine");
    assert_eq!(net.blocks[0].stride, 1);
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Pair(
    Param,
    #[module(skip)] f64,
    Buffer,
    #[module(rename = "last")] Param,
);

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Relu;

#[derive(Module)]
#[module(crate = wengert_autograd)]
enum Never {}

#[test]
fn tuple_and_unit_structs() {
    let mut p = Pair(param(1), 0.5, buffer(2), param(3));
    assert_eq!(log(&p), [">Pair@", "0:1", "(2:2)", "last:3", "<"]);
    assert_eq!(paths_mut(&mut p), ["0", "last"]);
    assert_eq!(p.1, 0.5);
    assert_eq!(log(&Relu), [">Relu@", "<"]);
    fn is_module<M: Module>() {}
    is_module::<Never>();
}

#[derive(Module)]
#[module(crate = wengert_autograd, kind = "Head")]
#[allow(dead_code)]
enum Choice {
    Linear(Affine, #[module(skip)] bool),
    Norm {
        scale: Param,
        #[module(skip)]
        eps: f32,
        stats: Buffer,
    },
    Identity,
}

#[test]
fn enums_visit_the_active_variant() {
    let mut a = Choice::Linear(Affine::new(2), true);
    assert_eq!(
        log(&a),
        [">Head@", ">Affine@0", "0.weight:2", "0.bias:1", "<0", "<"]
    );
    assert_eq!(paths_mut(&mut a), ["0.weight", "0.bias"]);
    let b = Choice::Norm {
        scale: param(3),
        eps: 1e-5,
        stats: buffer(4),
    };
    assert_eq!(log(&b), [">Head@", "scale:3", "(stats:4)", "<"]);
    assert_eq!(log(&Choice::Identity), [">Head@", "<"]);
    assert_eq!(Choice::Identity.kind(), "Head");
}

/// A bound of this name, as the façade has it.
mod bounds {
    pub use wengert_autograd::Real as Float;
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct ByWhere<'a, E, const N: usize>
where
    E: bounds::Float,
{
    parts: [Affine<E>; N],
    tail: &'a mut Param<E>,
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Wrap<M> {
    inner: M,
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Chain<T: Real, A, B: ?Sized> {
    a: Vec<A>,
    own: Param<T>,
    marker: PhantomData<T>,
    b: Box<B>,
}

#[derive(Module)]
#[module(crate = wengert_autograd, float = f64)]
struct Double {
    w: Param<f64>,
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Tree<M> {
    value: M,
    children: Vec<Tree<M>>,
    #[module(skip)]
    #[allow(dead_code)]
    note: Option<String>,
}

#[test]
fn generics() {
    let mut tail = param::<f64>(4);
    let w = ByWhere {
        parts: [Affine::new(2), Affine::new(3)],
        tail: &mut tail,
    };
    assert_eq!(w.num_params(), 11);
    assert_eq!(paths(&w).last().unwrap(), "tail");

    let mut wrap = Wrap {
        inner: Wrap {
            inner: Affine::<f32>::new(2),
        },
    };
    assert_eq!(paths(&wrap), ["inner.inner.weight", "inner.inner.bias"]);
    assert_eq!(paths(&wrap), paths_mut(&mut wrap));

    let chain = Chain::<f64, Affine<f64>, dyn Module<f64>> {
        a: vec![Affine::new(1)],
        own: param(1),
        marker: PhantomData,
        b: Box::new(Double { w: param(2) }),
    };
    assert_eq!(paths(&chain), ["a.0.weight", "a.0.bias", "own", "b.w"]);

    let leaf = |n| Tree {
        value: param::<f32>(n),
        children: Vec::new(),
        note: None,
    };
    let tree = Tree {
        value: param(1),
        children: vec![leaf(2), leaf(3)],
        note: None,
    };
    assert_eq!(
        paths(&tree),
        ["value", "children.0.value", "children.1.value"]
    );
}

#[test]
fn models_are_send_and_sync_and_clones_are_independent() {
    fn shared<M: Send + Sync + ?Sized>() {}
    shared::<Net>();
    shared::<dyn Module<f64>>();
    let a = Affine::<f32>::new(2);
    let mut b = a.clone();
    b.weight.value_mut().as_mut_slice()[0] = 1.0;
    assert_eq!(a.weight.value().to_vec(), [0.0, 0.0]);
    assert_ne!(a.named_params()[0].id, b.named_params()[0].id);
}

/// Types, visibilities and names that come out of a macro stand in invisible groups.
macro_rules! made {
    ($vis:vis struct $name:ident<$t:ident: $bound:path> { $($field_vis:vis $field:ident: $ty:ty = $shown:literal),* }) => {
        #[derive(Module)]
        #[module(crate = wengert_autograd)]
        $vis struct $name<$t: $bound> {
            $(#[module(rename = $shown)] $field_vis $field: $ty),*
        }

        #[derive(Module)]
        #[module(crate = wengert_autograd, float = f64)]
        #[allow(dead_code)]
        $vis struct OfTypes($($field_vis $ty,)*);
    };
}

mod inner {
    use super::*;
    type T = f64;
    made! {
        pub(crate) struct Made<T: bounds::Float> { pub a: Param<T> = "first", b: (Buffer<T>, Affine<T>) = "second" }
    }
    impl Made<T> {
        pub fn new() -> Self {
            Made {
                a: param(1),
                b: (buffer(2), Affine::new(3)),
            }
        }
    }
}

/// Brackets, arrows, commas and numbers of variants at the places where they could be misread.
#[derive(Module)]
#[module(crate = wengert_autograd)]
#[repr(u8)]
#[allow(dead_code)]
enum Odd<
    'a,
    F,
    R: Fn(&'a str) -> Vec<u8> + Send = fn(&'a str) -> Vec<u8>,
    const N: usize = { 1 + 1 },
> where
    F: Fn(usize) -> Option<Vec<u8>> + Sync + Send,
    [F; N]: Sized,
    R: Sync + 'a,
{
    A(Param, #[module(skip)] F, #[module(skip)] PhantomData<&'a R>) = 1 << 3,
    B {
        r#in: Param,
        pair: [Param; 2],
    } = std::mem::align_of::<Result<u8, u16>>() as u8,
    C(
        #[module(skip)] fn(u8, Vec<u8>) -> Vec<Vec<u8>>,
        pub_named::Two,
    ) = (2 > 1) as u8,
}

mod pub_named {
    use super::*;
    #[derive(Module)]
    #[module(crate = wengert_autograd)]
    pub struct Two(
        pub (Param, Param),
        pub(in crate::pub_named) Param,
        pub(super) Param,
    );
    pub fn two() -> Two {
        Two((param(1), param(2)), param(3), param(4))
    }
}

#[test]
fn items_of_macros_and_odd_items() {
    let mut made = inner::Made::new();
    assert_eq!(paths(&made), ["first", "second.1.weight", "second.1.bias"]);
    assert_eq!(paths_mut(&mut made), paths(&made));
    let odd: Odd<_> = Odd::C(|_, _| Vec::new(), pub_named::two());
    assert_eq!(paths(&odd), ["1.0.0", "1.0.1", "1.1", "1.2"]);
    let _unused: [&Odd<fn(usize) -> Option<Vec<u8>>>; 1] = [&odd];
    let b: Odd<fn(usize) -> Option<Vec<u8>>> = Odd::B {
        r#in: param(1),
        pair: [param(2), param(3)],
    };
    assert_eq!(paths(&b), ["in", "pair.0", "pair.1"]);
}
