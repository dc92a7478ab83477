//! What the names of operations tell.

use super::SATURATED_SLOPE;

/// An activation function.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Act {
    /// Zero for negative inputs: its units can die.
    pub(super) rectifies: bool,
    pub(super) flat: Flat,
}

/// Which outputs of an activation function lie where its slope is below [`SATURATED_SLOPE`] of its largest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Flat {
    /// Those that are exactly 0.
    Zeros,
    /// Those not strictly between these two.
    Outside(f64, f64),
    /// None, or the output does not tell (`gelu`, `silu` and `mish` take each small negative value twice).
    Unknown,
}

/// The activation function of this name; `p` are its constants.
pub(super) fn activation(op: &str, p: [f64; 2]) -> Option<Act> {
    const S: f64 = SATURATED_SLOPE;
    const EVER: f64 = f64::INFINITY;
    let flat = match op {
        "relu" | "hardswish" | "softshrink" | "hardshrink" => Flat::Zeros,
        "relu6" => Flat::Outside(0.0, 6.0),
        "hardsigmoid" => Flat::Outside(0.0, 1.0),
        "hardtanh" => Flat::Outside(p[0], p[1]),
        // 4 y (1 - y) < S.
        "sigmoid" => {
            let r = (1.0 - S).sqrt();
            Flat::Outside((1.0 - r) / 2.0, (1.0 + r) / 2.0)
        }
        // 1 - y² < S.
        "tanh" => Flat::Outside(-(1.0 - S).sqrt(), (1.0 - S).sqrt()),
        // (1 - |y|)² < S.
        "softsign" => Flat::Outside(S.sqrt() - 1.0, 1.0 - S.sqrt()),
        // Below 0: y + α, of at most the larger of 1 and α.
        "elu" if p[0] > 0.0 => Flat::Outside((S * p[0].max(1.0) - p[0]).min(0.0), EVER),
        // Below 0: y / α + 1.
        "celu" if p[0] > 0.0 => Flat::Outside((S - 1.0) * p[0], EVER),
        // Below 0: y + λα, of at most λα.
        "selu" => Flat::Outside((S - 1.0) * 1.758_099_340_847_376_6, EVER),
        // 1 - exp(-β y).
        "softplus_beta" if p[0] > 0.0 => Flat::Outside(-(1.0 - S).ln() / p[0], EVER),
        "leaky_relu" | "prelu" | "elu" | "celu" | "gelu" | "gelu_tanh" | "silu" | "mish"
        | "softplus_beta" | "tanhshrink" | "threshold" | "squareplus" | "softmax"
        | "log_softmax" => Flat::Unknown,
        _ => return None,
    };
    let rectifies = matches!(op, "relu" | "relu6");
    Some(Act { rectifies, flat })
}

pub(super) fn keeps_elements(op: &str) -> bool {
    matches!(
        op,
        "permute" | "reshape" | "contiguous" | "broadcast_to" | "slice"
    )
}

pub(super) fn weighted(op: &str) -> bool {
    matches!(
        op,
        "matmul" | "index_select" | "einsum" | "bilinear" | "recurrent_steps"
    ) || op.starts_with("conv")
}

/// The outputs of a recurrent layer, cut out of all that its steps computed.
pub(super) fn recurrent_output(op: &str) -> bool {
    matches!(op, "rnn_tanh" | "rnn_relu" | "lstm" | "gru")
}
