//! The workloads of the benchmark programs: the same weights, data and steps everywhere, so that losses can be compared
//! between frameworks.
#![forbid(unsafe_code)]

pub mod ceiling;
pub mod fill;
pub mod image;
pub mod measure;
pub mod mlp;
pub mod more;
pub mod ops;
pub mod peak;
pub mod recurrent;
pub mod scalar;
pub mod times;

/// One training step at a time.
pub trait Workload {
    /// Runs one step and returns the loss before the update.
    fn step(&mut self) -> f64;
    /// The tape of the steps, for its counters.
    fn tape(&self) -> &wengert::autograd::Tape;
}

/// Fully connected networks.
pub fn dense(name: &str) -> Option<Box<dyn Workload>> {
    Some(match name {
        "w1" => Box::new(mlp::w1()),
        "w2" => Box::new(mlp::w2()),
        "w4" => Box::new(mlp::w4()),
        _ => return None,
    })
}

/// Chains of tiny operations.
pub fn chain(name: &str) -> Option<Box<dyn Workload>> {
    Some(match name {
        "w10" => Box::new(scalar::Chain::multiplications()),
        "w10b" => Box::new(scalar::Chain::additions()),
        _ => return None,
    })
}

/// All other networks.
pub fn network(name: &str) -> Option<Box<dyn Workload>> {
    Some(match name {
        "w5" => Box::new(image::w5()),
        "w6" => Box::new(image::w6()),
        "w7" => Box::new(recurrent::w7()),
        "deep" => more::deep(),
        "single" => more::single(),
        "gru" => more::gru(),
        "bilstm" => more::bilstm(),
        "rnn" => more::rnn(),
        "gpt" => more::gpt(),
        "bottleneck" => more::bottleneck(),
        "resnet" => more::resnet(),
        "depthwise" => more::depthwise(),
        "autoencoder" => more::autoencoder(),
        "dilated" => more::dilated(),
        "dropout" => more::dropout(),
        _ => return None,
    })
}

/// The programs that `steps` starts, and the workloads of each. A program holds the code of its own networks only, as the
/// programs of the peers and of users do, because code takes memory too: half of it in the smallest.
pub const PROGRAMS: &[(&str, &[&str])] = &[
    ("steps-dense", &["w1", "w2", "w4"]),
    (
        "steps-network",
        &[
            "w5",
            "w6",
            "w7",
            "deep",
            "single",
            "gru",
            "bilstm",
            "rnn",
            "gpt",
            "bottleneck",
            "resnet",
            "depthwise",
            "autoencoder",
            "dilated",
            "dropout",
        ],
    ),
    ("steps-chain", &["w10", "w10b"]),
];
