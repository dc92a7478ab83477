//! The derive as users of the façade crate write it: without naming any other crate.

use wengert::{Buffer, Module, ModuleExt, Param, Tensor};

#[derive(Module, Clone)]
struct Affine<T: wengert::Float = f32> {
    weight: Param<T>,
    bias: Option<Param<T>>,
    #[module(skip)]
    pub features: usize,
}

#[derive(Module)]
struct Net {
    layers: Vec<Affine>,
    mean: Buffer,
    custom: Box<dyn Module>,
}

#[test]
fn a_model_of_the_facade() {
    let affine = Affine {
        weight: Param::new(Tensor::zeros([3, 2])),
        bias: None,
        features: 2,
    };
    let net = Net {
        layers: vec![affine.clone(), affine.clone()],
        mean: Buffer::new(Tensor::zeros([3])),
        custom: Box::new(affine),
    };
    let paths: Vec<String> = net.named_params().into_iter().map(|p| p.path).collect();
    assert_eq!(
        paths,
        ["layers.0.weight", "layers.1.weight", "custom.weight"]
    );
    assert_eq!(net.num_params(), 18);
    assert_eq!(net.layers[0].features, 2);
    assert_eq!(net.named_buffers()[0].path, "mean");
}
