//! Statistics of the draws.

use crate::{normal_mean, rng};
use wengert_nn::init::{
    Distribution, FanMode, Fans, GateBias, Init, TRUNCATED_AT_2_STD, gru_bias, lstm_bias,
};

/// Mean and variance of 1e6 draws lie within 3 standard errors of what the rule promises; the standard error of the
/// variance comes from the fourth moment of the draws.
#[test]
fn means_and_deviations_over_a_million_draws() {
    let fans = Fans::linear(300, 100);
    let shape = [1000, 1000];
    let scaling = |distribution, mode| Init::VarianceScaling {
        scale: 1.7,
        mode,
        distribution,
    };
    let cases = [
        (
            Init::Normal {
                mean: 0.3,
                std: 0.7,
            },
            0.3,
            0.7,
        ),
        (
            Init::Uniform {
                low: -1.0,
                high: 2.0,
            },
            0.5,
            3.0 / 12f64.sqrt(),
        ),
        (Init::trunc_normal(0.02), 0.0, 0.02),
        // Deviations and means of scipy.stats.truncnorm.
        (
            Init::TruncNormal {
                mean: 1.0,
                std: 2.0,
                low: 0.0,
                high: 1.5,
            },
            0.761_498_882_071_799_2,
            0.428_870_707_475_756_4,
        ),
        (
            Init::TruncNormal {
                mean: 0.0,
                std: 1.0,
                low: 3.0,
                high: 5.0,
            },
            3.282_694_379_942_302,
            0.264_192_289_952_664_7,
        ),
        (
            Init::TruncNormal {
                mean: 0.0,
                std: 0.5,
                low: -4.0,
                high: -1.0,
            },
            -1.186_607_766_411_342,
            0.169_025_959_850_240_24,
        ),
        (
            scaling(Distribution::Normal, FanMode::FanIn),
            0.0,
            (1.7f64 / 300.0).sqrt(),
        ),
        (
            scaling(Distribution::TruncatedNormal, FanMode::FanOut),
            0.0,
            (1.7f64 / 100.0).sqrt(),
        ),
        (
            scaling(Distribution::Uniform, FanMode::FanAvg),
            0.0,
            (1.7f64 / 200.0).sqrt(),
        ),
        (
            Init::GlorotUniform { gain: 5.0 / 3.0 },
            0.0,
            5.0 / 3.0 * (2.0f64 / 400.0).sqrt(),
        ),
        (Init::glorot_normal(), 0.0, (2.0f64 / 400.0).sqrt()),
        (
            Init::HeUniform {
                slope: 0.2,
                mode: FanMode::FanOut,
            },
            0.0,
            (2.0f64 / 1.04 / 100.0).sqrt(),
        ),
        (Init::he_normal(), 0.0, (2.0f64 / 300.0).sqrt()),
        (Init::LecunUniform, 0.0, (1.0f64 / 300.0).sqrt()),
        (Init::LecunNormal, 0.0, (1.0f64 / 300.0).sqrt()),
        (Init::pytorch_default(), 0.0, (1.0f64 / 900.0).sqrt()),
        (
            Init::Sparse {
                sparsity: 0.25,
                std: 2.0,
            },
            0.0,
            2.0 * 0.75f64.sqrt(),
        ),
    ];
    for (k, (init, mean, std)) in cases.into_iter().enumerate() {
        let told = init.std(&shape, fans);
        assert!(
            (told - std).abs() < 1e-9 * std,
            "{init}: std says {told}, expected {std}"
        );
        let x = init
            .sample::<f64>(shape, fans, &mut rng(100 + k as u64))
            .to_vec();
        let n = x.len() as f64;
        let m = x.iter().sum::<f64>() / n;
        let moment = |p: i32| x.iter().map(|a| (a - m).powi(p)).sum::<f64>() / n;
        let (variance, fourth) = (moment(2), moment(4));
        let se_mean = std / n.sqrt();
        assert!(
            (m - mean).abs() < 3.0 * se_mean,
            "{init}: mean {m}, expected {mean} ± {se_mean}"
        );
        let se = ((fourth - variance * variance) / n).sqrt();
        assert!(
            (variance - std * std).abs() < 3.0 * se,
            "{init}: variance {variance}, expected {} ± {se}",
            std * std
        );
    }
}

/// Kolmogorov's distance between 1e5 draws and the distribution function, for each of the sampler's rejection rules.
#[test]
fn truncated_normal_has_the_right_shape() {
    let n = 100_000;
    for (k, (a, b)) in [
        (-2.0, 2.0),
        (-0.1, 0.3),
        (0.0, f64::INFINITY),
        (0.5, 0.6),
        (1.0, 4.0),
        (3.0, f64::INFINITY),
        (-5.0, -3.0),
        (-1.0, 0.2),
    ]
    .into_iter()
    .enumerate()
    {
        let init = Init::TruncNormal {
            mean: 0.0,
            std: 1.0,
            low: a,
            high: b,
        };
        let mut x = init
            .sample::<f64>([n], Fans::new(1.0, 1.0), &mut rng(7 + k as u64))
            .to_vec();
        x.sort_by(f64::total_cmp);
        assert!(x[0] >= a && x[n - 1] <= b, "{init}: outside");
        let mut distance = 0.0f64;
        for q in 1..20 {
            let i = q * n / 20;
            let cdf = normal_mean(a, b, |z| f64::from(z <= x[i]));
            distance = distance.max((cdf - i as f64 / n as f64).abs());
        }
        assert!(
            distance * (n as f64).sqrt() < 1.63,
            "{init}: distance {distance}"
        );
    }
}

#[test]
fn deviation_of_the_truncated_normal_far_out() {
    // scipy.stats.truncnorm(20, 25).std()
    let init = Init::TruncNormal {
        mean: 0.0,
        std: 1.0,
        low: 20.0,
        high: 25.0,
    };
    let std = init.std(&[10], Fans::new(1.0, 1.0));
    assert!((std - 0.049_631_256_342_701_56).abs() < 1e-9, "{std}");
    let unit = Init::TruncNormal {
        mean: 0.0,
        std: 1.0,
        low: -2.0,
        high: 2.0,
    };
    assert!((unit.std(&[10], Fans::new(1.0, 1.0)) - TRUNCATED_AT_2_STD).abs() < 1e-12);
}

/// The initializers with structure: orthogonal and delta-orthogonal matrices, embedded kernels, and chrono biases, over a
/// million draws each.
#[test]
fn draws_with_structure_over_a_million_draws() {
    let near = |what: &str, found: f64, wanted: f64, error: f64| {
        assert!(
            (found - wanted).abs() < 3.0 * error,
            "{what}: {found}, expected {wanted} ± {error}"
        );
    };
    let fans = Fans::linear(10, 10);
    let r = &mut rng(31);
    let deltas = Init::DeltaOrthogonal { gain: 1.0 };
    for (what, init, shape) in [
        ("orthogonal", Init::orthogonal(), vec![10, 10]),
        ("tall orthogonal", Init::orthogonal(), vec![20, 5]),
        ("wide orthogonal", Init::orthogonal(), vec![5, 20]),
        ("delta-orthogonal", deltas, vec![10, 10, 1]),
    ] {
        let mut x: Vec<f64> = Vec::new();
        while x.len() < 1_000_000 {
            x.extend(init.sample::<f64>(&shape[..], fans, r).iter());
        }
        let (rows, cols) = (shape[0], shape[1]);
        let n = x.len() as f64;
        let big = rows.max(cols) as f64;
        let mean = x.iter().sum::<f64>() / n;
        let square = x.iter().map(|v| v * v).sum::<f64>() / n;
        let fourth = x.iter().map(|v| v.powi(4)).sum::<f64>() / n;
        // An entry is a coordinate of a uniform point of the sphere in `big` dimensions: variance 1/big,
        // fourth moment 3 / (big (big + 2)). The squares of a matrix add up exactly.
        near(what, mean, 0.0, (1.0 / big / n).sqrt());
        assert!((square - 1.0 / big).abs() < 1e-12, "{what}: {square}");
        let kurtosis = 3.0 / (big * (big + 2.0));
        near(what, fourth, kurtosis, (105.0 / big.powi(4) / n).sqrt());
    }
    let (steps, n) = (100usize, 1_000_000usize);
    for (what, b) in [
        ("lstm", lstm_bias::<f64>(n, GateBias::Chrono { steps }, r)),
        ("gru", gru_bias::<f64>(n, GateBias::Chrono { steps }, r)),
    ] {
        let b = b.unwrap().to_vec();
        let times: Vec<f64> = b[n..2 * n].iter().map(|f| f.exp()).collect();
        // Uniform on [1, steps - 1].
        let width = steps as f64 - 2.0;
        let mean = times.iter().sum::<f64>() / n as f64;
        let var = times.iter().map(|t| (t - 50.0).powi(2)).sum::<f64>() / n as f64;
        let v = width * width / 12.0;
        near(what, mean, 50.0, (v / n as f64).sqrt());
        near(what, var, v, v * (0.8 / n as f64).sqrt());
    }
}

/// Every variant that draws stands in this file.
#[test]
fn every_initializer_that_draws_has_its_statistics() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |p: &str| std::fs::read_to_string(root.join(p)).unwrap();
    let source = read("src/init/mod.rs");
    let from = source.find("pub enum Init {").unwrap();
    let body = &source[from..from + source[from..].find("\n}").unwrap()];
    let fixed = ["Zeros", "Ones", "Constant", "Identity", "Dirac"];
    let tests = read("tests/init/statistics.rs");
    let short = |name: &str| {
        let mut out = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    };
    let mut seen = 0;
    for line in body.lines() {
        let name: String = (line.strip_prefix("    ").unwrap_or("").chars())
            .take_while(|c| c.is_alphanumeric())
            .collect();
        if name.is_empty() || fixed.contains(&name.as_str()) {
            continue;
        }
        seen += 1;
        let there = tests.contains(&format!("Init::{name}"))
            || tests.contains(&format!("Init::{}(", short(&name)));
        assert!(there, "no statistics of {name}");
    }
    assert_eq!(seen, 13);
}
