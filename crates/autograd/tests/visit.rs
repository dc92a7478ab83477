//! Listing, counting and freezing.

use std::collections::BTreeMap;
use wengert_autograd::{
    Buffer, Module, ModuleExt, Param, Path, Real, Tape, Tensor, Visitor, VisitorMut, grad,
    path_matches,
};

/// Written by hand, as the derive would.
struct Norm<T: Real> {
    gamma: Param<T>,
    bias: Param<T>,
    mean: Buffer<T>,
}

impl<T: Real> Norm<T> {
    fn new(n: usize) -> Self {
        Norm {
            gamma: Param::new(Tensor::ones([n])),
            bias: Param::new(Tensor::zeros([n])),
            mean: Buffer::new(Tensor::zeros([n])),
        }
    }
}

impl<T: Real> Module<T> for Norm<T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.enter(path.as_str(), "Norm");
        path.scoped("gamma", |p| self.gamma.visit(p, visitor));
        path.scoped("bias", |p| self.bias.visit(p, visitor));
        path.scoped("mean", |p| self.mean.visit(p, visitor));
        visitor.leave(path.as_str());
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        path.scoped("gamma", |p| self.gamma.visit_mut(p, visitor));
        path.scoped("bias", |p| self.bias.visit_mut(p, visitor));
        path.scoped("mean", |p| self.mean.visit_mut(p, visitor));
    }
}

fn model() -> BTreeMap<String, Vec<Norm<f32>>> {
    [
        ("encoder".to_owned(), vec![Norm::new(2), Norm::new(3)]),
        ("encoder2".to_owned(), vec![Norm::new(4)]),
        ("head".to_owned(), vec![Norm::new(5)]),
    ]
    .into()
}

#[test]
fn lists_and_counts() {
    let m = model();
    let params = m.named_params();
    let names: Vec<&str> = params.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(
        names,
        [
            "encoder.0.gamma",
            "encoder.0.bias",
            "encoder.1.gamma",
            "encoder.1.bias",
            "encoder2.0.gamma",
            "encoder2.0.bias",
            "head.0.gamma",
            "head.0.bias",
        ]
    );
    assert_eq!(params[2].shape, [3]);
    assert_eq!(params[2].numel(), 3);
    assert_eq!(m.num_params(), 28);
    assert_eq!(m.named_buffers()[3].path, "head.0.mean");
    let modules = m.modules();
    assert_eq!(modules.len(), 4);
    assert_eq!(
        (modules[3].path.as_str(), modules[3].kind),
        ("head.0", "Norm")
    );
    assert_eq!(Module::<f32>::kind(&m), "BTreeMap");
}

#[test]
fn freezing_takes_parameters_and_buffers_of_the_subtree() {
    let mut m = model();
    m.freeze("encoder.*");
    assert_eq!(m.num_trainable(), 18);
    let frozen: Vec<bool> = m.named_buffers().iter().map(|b| b.frozen).collect();
    assert_eq!(frozen, [true, true, false, false]);
    assert!(
        m.named_params()
            .iter()
            .all(|p| p.trainable != p.path.starts_with("encoder."))
    );

    m.unfreeze("encoder.1");
    assert_eq!(m.num_trainable(), 24);
    assert_eq!(m.set_frozen("*.bias", true), 4);
    assert_eq!(m.num_trainable(), 12);
    assert!(
        !m.named_buffers()[1].frozen,
        "a pattern for biases leaves buffers alone"
    );
    m.unfreeze("*");
    assert_eq!(m.num_trainable(), m.num_params());
    assert_eq!(m.set_frozen("decoder", true), 0);
}

#[test]
#[should_panic(
    expected = "freeze: no parameter or buffer matches \"decoder\"; the model has encoder.0.gamma"
)]
fn freezing_nothing_is_a_mistake() {
    model().freeze("decoder");
}

#[test]
fn two_models_can_be_visited_as_one() {
    let (mut a, mut b) = (Norm::<f64>::new(2), Norm::<f64>::new(3));
    let mut both = (&mut a, &mut b);
    assert_eq!(both.num_params(), 10);
    both.for_each_param_mut(|path, p| {
        if path == "1.bias" {
            p.value_mut().as_mut_slice().fill(7.0);
        }
    });
    assert_eq!(b.bias.value().to_vec(), [7.0; 3]);
    assert_eq!(a.bias.value().to_vec(), [0.0; 2]);
}

#[test]
fn patterns() {
    for (pattern, path, expected) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "a.b", true),
        ("a", "a", true),
        ("a", "a.b.c", true),
        ("a.b", "a.b.c", true),
        ("a.b", "a.bc", false),
        ("a.?", "a.b", true),
        ("a.?", "a.bc", false),
        ("?.?.?", "a.b.c", true),
        ("*.bn", "x.y.bn", true),
        ("*.bn", "x.bn.gamma", true),
        ("*.bn", "bn.gamma", false),
        ("*a*b*c", "xxaxxbxxbxc", true),
        ("*a*b*c", "xxaxxcxxb", false),
        ("*é", "caféé", true),
        ("????", "café", true),
        ("**", "a", true),
        ("a*", "b.a", false),
        ("a**a", "a", false),
    ] {
        assert_eq!(
            path_matches(pattern, path),
            expected,
            "{pattern:?} on {path:?}"
        );
    }
    // Many stars on a long text that almost fits: quadratic at worst.
    let text = "a".repeat(5000);
    assert!(!path_matches(&format!("{}b", "a*".repeat(50)), &text));
}

#[test]
fn a_buffer_declared_again_goes_on_from_what_was_declared() {
    let buffer = Buffer::new(Tensor::full([2], 1.0f64));
    let weight = Param::new(Tensor::full([2], 3.0));
    let mut tape = Tape::training(0);
    for _ in 0..3 {
        tape.reset();
        let w = tape.param(&weight);
        for _ in 0..2 {
            let next = tape.buffer(&buffer) * w;
            tape.side_output(&buffer, next);
        }
        // What is read is a constant, whatever was declared.
        let x = tape.buffer(&buffer);
        let [g] = grad((x * w).sum(), [w]);
        assert_eq!(g.value().to_vec(), [9.0; 2]);
        let side = w.sum().backward();
        assert_eq!(side.side_outputs().count(), 1);
        assert_eq!(side.side_output(buffer.id()).unwrap().to_vec(), [9.0; 2]);
    }
    // An inference tape declares nothing.
    let tape = Tape::inference();
    tape.side_output(&buffer, tape.ones([2]) * 5.0);
    assert_eq!(tape.buffer(&buffer).value().to_vec(), [1.0; 2]);
}
