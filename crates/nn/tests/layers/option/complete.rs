//! No option without a case: the list is read off the source.

use crate::common::RAN;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where an option is shown. `case:` a case of PyTorch (with derivatives of orders 1 and 2), `test:` a test function, for
/// what has no part in values and gradients or has no partner in PyTorch.
const SHOWN: &[(&str, &str)] = &[
    // Linear maps.
    ("LinearBuilder::bias", "case: linear_no_bias"),
    (
        "LinearBuilder::followed_by",
        "test: sequential_chooses_initializers_by_what_follows",
    ),
    (
        "LinearBuilder::init",
        "test: sequential_chooses_initializers_by_what_follows",
    ),
    ("Bilinear::forward", "case: bilinear"),
    ("BilinearBuilder::bias", "case: bilinear no_bias"),
    (
        "BilinearBuilder::followed_by",
        "test: every_layer_takes_its_first_weights_from_what_follows",
    ),
    (
        "BilinearBuilder::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    ("Embedding::from_rows", "case: embedding scalar"),
    ("Embedding::lookup", "case: embedding"),
    ("EmbeddingBuilder::padding", "case: embedding padding_first"),
    (
        "EmbeddingBuilder::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    ("Prelu::with", "case: prelu_channels"),
    ("Prelu::try_with", "case: prelu_channels"),
    ("Conv::depthwise", "case: depthwise no_bias 3"),
    ("ConvBuilder::stride", "case: conv stride 3"),
    ("ConvBuilder::padding", "case: conv padding 3"),
    ("ConvBuilder::dilation", "case: conv dilation 3"),
    ("ConvBuilder::groups", "case: conv groups 3"),
    ("ConvBuilder::bias", "case: conv all 3"),
    (
        "ConvBuilder::followed_by",
        "test: initializers_see_fans_and_the_activation",
    ),
    (
        "ConvBuilder::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    ("Padding::Zeros", "case: conv padding 3"),
    ("Padding::Same", "case: conv same_even 3"),
    ("Padding::Valid", "case: conv valid 3"),
    ("SeparableConvBuilder::stride", "case: separable stride 3"),
    (
        "SeparableConvBuilder::padding",
        "case: separable dilation 3",
    ),
    (
        "SeparableConvBuilder::dilation",
        "case: separable dilation 3",
    ),
    ("SeparableConvBuilder::bias", "case: separable dilation 3"),
    (
        "SeparableConvBuilder::followed_by",
        "test: initializers_see_fans_and_the_activation",
    ),
    (
        "SeparableConvBuilder::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    ("ConvTransposeBuilder::stride", "case: transpose stride 3"),
    ("ConvTransposeBuilder::padding", "case: transpose padding 3"),
    (
        "ConvTransposeBuilder::output_padding",
        "case: transpose output_padding 3",
    ),
    (
        "ConvTransposeBuilder::dilation",
        "case: transpose dilation 3",
    ),
    ("ConvTransposeBuilder::groups", "case: transpose groups 3"),
    ("ConvTransposeBuilder::bias", "case: transpose options 3"),
    (
        "ConvTransposeBuilder::followed_by",
        "test: initializers_see_fans_and_the_activation",
    ),
    (
        "ConvTransposeBuilder::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    // Pooling and resolution.
    ("MaxPool::stride", "case: max stride 3"),
    ("MaxPool::padding", "case: max padding 3"),
    ("MaxPool::dilation", "case: max dilation 3"),
    ("MaxPool::ceil", "case: max ceil 3"),
    ("AvgPool::stride", "case: avg stride 3"),
    ("AvgPool::padding", "case: avg padding 3"),
    (
        "AvgPool::dilation",
        "test: dilated_average_and_power_windows",
    ),
    ("AvgPool::ceil", "case: avg ceil 3"),
    ("AvgPool::divisor", "case: avg fixed 3"),
    ("Divisor::Window", "case: avg padding 3"),
    ("Divisor::Inside", "case: avg inside 3"),
    ("Divisor::Fixed", "case: avg fixed 3"),
    ("LpPool::stride", "case: lp one 3"),
    ("LpPool::padding", "test: dilated_average_and_power_windows"),
    (
        "LpPool::dilation",
        "test: dilated_average_and_power_windows",
    ),
    ("LpPool::ceil", "case: lp ceil 3"),
    ("Upsample::to", "case: upsample exact_to 3"),
    ("Upsample::by", "case: upsample linear_by 3"),
    ("Interpolation::Nearest", "case: upsample nearest_by 3"),
    ("Interpolation::NearestExact", "case: upsample exact_by 3"),
    ("Interpolation::Linear", "case: upsample aligned_by 3"),
    ("Interpolation::Cubic", "case: upsample cubic_aligned 2"),
    // Norms.
    ("BatchNorm::with_eps", "case: batch eps 3"),
    ("BatchNorm::with_momentum", "case: batch momentum0 3"),
    (
        "BatchNorm::with_cumulative_average",
        "case: batch cumulative 3",
    ),
    ("BatchNorm::without_affine", "case: batch no_affine_eval 3"),
    (
        "BatchNorm::without_running_statistics",
        "case: batch no_statistics_eval 3",
    ),
    ("BatchNorm::forward_relu", "case: batch plain 3"),
    ("LayerNorm::with_eps", "case: layer eps"),
    ("LayerNorm::without_bias", "case: layer no_bias"),
    ("LayerNorm::without_affine", "case: layer no_affine"),
    ("RmsNorm::with_eps", "case: rms eps"),
    ("RmsNorm::without_affine", "case: rms no_affine"),
    ("GroupNorm::with_eps", "case: group eps"),
    ("GroupNorm::without_affine", "case: group no_affine"),
    ("InstanceNorm::with_affine", "case: instance affine 3"),
    (
        "InstanceNorm::with_running_statistics",
        "case: instance both_eval 3",
    ),
    ("InstanceNorm::with_eps", "case: instance eps 3"),
    ("LocalResponseNorm::with", "case: local_response"),
    ("LocalResponseNorm::try_with", "case: local settings"),
    ("WeightStandardization::with_eps", "case: standard eps"),
    ("SpectralNorm::with_rounds", "case: spectral rounds"),
    ("SpectralNorm::with_eps", "case: spectral rounds"),
    // Blocks and containers.
    ("Fixup::conv2d", "case: fixup conv"),
    ("Fixup::linear", "case: fixup linear"),
    ("Fixup::with_activation", "case: fixup activation"),
    ("Residual::with_shortcut", "case: residual everything"),
    ("Residual::preceded_by", "case: residual pre_post"),
    ("Residual::followed_by", "case: residual pre_post"),
    (
        "SkipInit::starting_at",
        "test: blocks_that_start_as_the_identity",
    ),
    ("LayerScale::along", "case: layer scale"),
    ("Highway::try_with", "case: highway relu"),
    ("DenseSkip::along", "case: dense along"),
    (
        "BasicBlock::zero_last_norm",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    (
        "Bottleneck::zero_last_norm",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    ("ResNet::resnet20", "test: a_residual_network"),
    (
        "ResNet::resnet18",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    (
        "ResNet::resnet34",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    (
        "ResNet::resnet50",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    (
        "ResNet::features",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    ("ResNetConfig::inputs", "case: resnet False False"),
    ("ResNetConfig::classes", "case: resnet False False"),
    ("ResNetConfig::width", "case: resnet False False"),
    ("ResNetConfig::depths", "case: resnet False False"),
    ("ResNetConfig::bottleneck", "case: resnet True False"),
    ("ResNetConfig::small", "case: resnet False True"),
    (
        "ResNetConfig::zero_last_norm",
        "test: residual_networks_have_the_sizes_of_the_papers",
    ),
    (
        "SequentialBuilder::named",
        "test: sequential_of_finished_layers_and_names",
    ),
    // Attention.
    ("AttentionMask::none", "case: cross"),
    ("AttentionMask::causal", "case: mha all_masks"),
    ("AttentionMask::with_lengths", "case: mha all_masks"),
    ("AttentionMask::with_bias", "case: mha all_masks"),
    ("MultiHeadAttention::attend", "case: cross"),
    (
        "MultiHeadAttention::attend_with_weights",
        "case: mha weights_masked",
    ),
    (
        "MultiHeadAttentionBuilder::key_value_sizes",
        "case: mha sizes_no_bias",
    ),
    ("MultiHeadAttentionBuilder::bias", "case: mha sizes_no_bias"),
    (
        "MultiHeadAttentionBuilder::dropout",
        "case: mha dropout_eval",
    ),
    ("MultiHeadAttentionBuilder::causal", "case: causal"),
    ("MultiHeadAttentionBuilder::rotary", "case: mha rotary_base"),
    (
        "MultiHeadAttentionBuilder::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    ("SinusoidalPositions::with_base", "case: sinusoidal base"),
    ("Rotary::with_base", "case: rotary base"),
    ("Rotary::rotate", "case: rotary base"),
    (
        "TransformerEncoderLayer::forward_masked",
        "case: encoder no bias",
    ),
    ("TransformerDecoderLayer::forward", "case: decoder False"),
    (
        "TransformerEncoder::forward_masked",
        "case: encoder 2 True tanh True 1e-05",
    ),
    (
        "TransformerDecoder::forward",
        "case: decoder 2 True tanh True 1e-05",
    ),
    ("TransformerOptions::embed", "case: encoder relu False"),
    ("TransformerOptions::heads", "case: encoder relu False"),
    (
        "TransformerOptions::feed_forward",
        "case: encoder 1 False silu True 1e-05",
    ),
    (
        "TransformerOptions::dropout",
        "case: encoder 1 False silu True 1e-05",
    ),
    (
        "TransformerOptions::activation",
        "case: encoder 2 True tanh True 1e-05",
    ),
    (
        "TransformerOptions::norm_first",
        "case: encoder 3 True silu False 1e-05",
    ),
    (
        "TransformerOptions::eps",
        "case: decoder 2 False silu False 0.01",
    ),
    (
        "TransformerOptions::bias",
        "case: decoder 3 True silu False 1e-05",
    ),
    // Recurrent layers: `layer!` and `cell!` write all three kinds.
    ("cell!::step", "case: gru cell_no_bias"),
    ("layer!::run", "case: lstm state"),
    ("layer!::run_lengths", "case: relu state_lengths"),
    ("layer!::run_windows", "case: lstm windows"),
    ("layer!::layers", "case: tanh two"),
    ("layer!::bidirectional", "case: gru no_bias_both"),
    ("layer!::bias", "case: gru no_bias_both"),
    ("layer!::dropout", "case: lstm dropout_eval"),
    ("layer!::batch_first", "case: relu steps_first"),
    (
        "layer!::init",
        "test: one_argument_overrides_the_first_weights",
    ),
    ("RnnBuilder::relu", "case: relu plain"),
    ("LstmBuilder::projection", "case: lstm projection_state"),
    (
        "LstmBuilder::expecting",
        "test: an_lstm_told_to_expect_100_steps_keeps_its_gradient",
    ),
    ("GruBuilder::expecting", "test: names_and_defaults"),
    ("RecurrentState::with_cell", "case: lstm state"),
];

/// The name of the type that an `impl` line speaks of.
fn subject(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl")?;
    if line.contains(" for ") {
        return None;
    }
    let mut depth = 0i32;
    let mut from = 0;
    for (i, c) in rest.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !rest[..i].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            from = if rest.starts_with('<') { i + 1 } else { i };
            break;
        }
    }
    let name: String = (rest[from..].trim_start().chars())
        .take_while(|c| c.is_alphanumeric())
        .collect();
    Some(name)
}

/// Public functions of a file that set an option, make the layer in another way, or run it in another way.
fn options(text: &str, out: &mut BTreeSet<String>) {
    let (mut owner, mut in_macro) = (String::new(), false);
    let mut signature: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("macro_rules! ") {
            owner = format!("{}!", name.trim_end_matches(" {"));
            in_macro = true;
        }
        if line.starts_with('}') {
            in_macro = false;
        }
        if !in_macro && let Some(name) = subject(line) {
            owner = name;
        }
        let t = line.trim();
        if t.starts_with("pub fn ") || t.starts_with("pub const fn ") {
            signature = Some(String::new());
        }
        let Some(s) = &mut signature else { continue };
        s.push_str(t);
        if !t.contains('{') {
            continue;
        }
        let s = signature.take().unwrap();
        let name: String = (s.split("fn ").nth(1).unwrap().chars())
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let no_self = !s.contains("self,") && !s.contains("self)");
        let sets = s.contains("(mut self");
        let makes = no_self
            && ["-> Self", "-> Result<Self>", "Builder<"]
                .iter()
                .any(|r| s.contains(r));
        let runs = s.contains("&self") && s.contains("Var<'t") && s.contains("->");
        let plain = ["new", "try_new", "builder"].contains(&name.as_str());
        if (sets || makes || runs) && !plain {
            match owner.as_str() {
                // Not public, the layers hand on to it.
                "Stack" => {}
                "conv_builder!" => {
                    for b in ["ConvBuilder", "ConvTransposeBuilder"] {
                        out.insert(format!("{b}::{name}"));
                    }
                }
                "windows!" => {
                    for l in ["MaxPool", "AvgPool", "LpPool"] {
                        out.insert(format!("{l}::{name}"));
                    }
                }
                o => {
                    out.insert(format!("{o}::{name}"));
                }
            }
        }
    }
}

/// Names of the public fields of a struct, or of the variants of an enum.
fn members(text: &str, head: &str, name: &str, out: &mut BTreeSet<String>) {
    let from = text.find(head).unwrap_or_else(|| panic!("no {head}"));
    let body = &text[from..];
    let body = &body[..body.find("\n}").unwrap()];
    for line in body.lines().skip(1) {
        let Some(t) = line.strip_prefix("    ").filter(|t| !t.starts_with(' ')) else {
            continue;
        };
        let t = t.strip_prefix("pub ").unwrap_or(t);
        let word: String = (t.chars())
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if !word.is_empty() {
            out.insert(format!("{name}::{word}"));
        }
    }
}

#[test]
fn every_option_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |p: &str| std::fs::read_to_string(root.join(p)).unwrap();
    let mut found = BTreeSet::new();
    for module in ["layers", "norm", "attention", "recurrent"] {
        for file in std::fs::read_dir(root.join("src").join(module)).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            options(&text, &mut found);
        }
    }
    for (file, head, name) in [
        (
            "src/attention/transformer.rs",
            "pub struct TransformerOptions {",
            "TransformerOptions",
        ),
        (
            "src/layers/resnet.rs",
            "pub struct ResNetConfig {",
            "ResNetConfig",
        ),
        (
            "../autograd/src/ops/pool/kernels.rs",
            "pub enum Divisor {",
            "Divisor",
        ),
        (
            "../autograd/src/ops/interpolate.rs",
            "pub enum Interpolation {",
            "Interpolation",
        ),
        (
            "../autograd/src/ops/conv.rs",
            "pub enum Padding<const N: usize> {",
            "Padding",
        ),
    ] {
        members(&read(file), head, name, &mut found);
    }
    assert!(found.len() > 130, "{found:?}");
    let shown: BTreeMap<&str, &str> = SHOWN.iter().copied().collect();
    let missing: Vec<&String> = (found.iter())
        .filter(|k| !shown.contains_key(k.as_str()))
        .collect();
    assert!(missing.is_empty(), "options without a case: {missing:?}");
    let gone: Vec<&&str> = shown.keys().filter(|k| !found.contains(**k)).collect();
    assert!(gone.is_empty(), "options that do not exist: {gone:?}");

    // What is named there was really run.
    crate::complete::against_pytorch();
    let ran = RAN.lock().unwrap();
    let mut tests = String::new();
    for folder in ["tests/layers", "tests/layers/option", "tests/init"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|e| e == "rs") {
                tests += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    for (option, shown) in SHOWN {
        let there = match shown.split_once(": ") {
            Some(("case", name)) => ran.contains(name),
            Some(("test", name)) => tests.contains(&format!("\nfn {name}()")),
            _ => false,
        };
        assert!(there, "{option}: there is no {shown}");
    }
}
