//! Initial weights, right by default.
//!
//! An [`Init`] is a value: it can be compared, printed and stored in a layer's builder. It is applied with the
//! [`Fans`] of the layer, and says which standard deviation results ([`Init::std`]). [`Nonlinearity::default_init`]
//! chooses one from the activation that follows.
//!
//! ```
//! use rand::SeedableRng;
//! use rand::rngs::Xoshiro256PlusPlus;
//! use wengert_nn::init::{Fans, Init, Nonlinearity};
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let (shape, fans) = ([300, 784], Fans::linear(784, 300));
//! let init = Nonlinearity::Relu.default_init();
//! let w = init.sample::<f32>(shape, fans, &mut rng);
//! assert_eq!(init, Init::he_normal());
//! assert!((init.std(&shape, fans) - (2.0_f64 / 784.0).sqrt()).abs() < 1e-15);
//! assert_eq!(init.describe(&w.shape(), fans), "he_normal(fan_in), fan_in 784, sigma 0.0505");
//! ```
//!
//! | name | values | source |
//! |---|---|---|
//! | [`Init::VarianceScaling`] | variance `scale / fan` | the family of all those below |
//! | [`Init::GlorotUniform`], [`Init::GlorotNormal`] | variance `gain² · 2 / (fan_in + fan_out)` | Glorot & Bengio 2010 |
//! | [`Init::HeUniform`], [`Init::HeNormal`] | variance `2 / ((1 + slope²) fan)` | He et al. 2015 |
//! | [`Init::LecunUniform`], [`Init::LecunNormal`] | variance `1 / fan_in` | LeCun et al. 1998, Klambauer et al. 2017 |
//! | [`Init::Orthogonal`] | orthonormal rows or columns | Saxe et al. 2014 |
//! | [`Init::DeltaOrthogonal`] | orthogonal at the centre of the kernel | Xiao et al. 2018 |
//! | [`Init::Identity`], [`Init::Dirac`] | passes its input through | Le et al. 2015 (IRNN), Zagoruyko & Komodakis 2017 |
//! | [`Init::Sparse`] | a fixed share of zeros per column | Martens 2010 |
//! | [`lsuv`], [`LsuvRule`] | scaled by measured activations | Mishkin & Matas 2016 |
//! | [`fixup_scale`] | residual branches scaled by depth | Zhang et al. 2019 |
//! | [`GateBias`], [`RecurrentInit`] | gates of LSTM and GRU | Jozefowicz et al. 2015, Tallec & Ollivier 2018 |
//!
//! # Randomness
//! Numbers are drawn one after the other in `f64`, in row-major order where nothing else is said, and rounded to the element
//! type: the same seed gives the same weights in `f32` and `f64` up to that rounding, for any number of threads.

mod data_driven;
mod fans;
mod nonlinearity;
mod orthogonal;
mod recurrent;
mod truncated;

pub use data_driven::{LsuvRule, LsuvStep, fixup_scale, lsuv};
pub use fans::{FanMode, Fans};
pub use nonlinearity::Nonlinearity;
pub use recurrent::{
    GateBias, RecurrentInit, gru_bias, lstm_bias, sample_blocks, try_sample_blocks,
};
pub use truncated::TRUNCATED_AT_2_STD;

use rand::{Rng, RngExt};
use std::fmt;
use wengert_tensor::error::OrPanic;
use wengert_tensor::normal::standard_normal;
use wengert_tensor::{Error, IntoDims, Real, Result, Tensor, of_type};

/// Shape of the distribution of [`Init::VarianceScaling`]; its variance is the same for all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Distribution {
    /// Normal.
    #[default]
    Normal,
    /// Normal cut at two standard deviations of the uncut one, which is widened by
    /// `1 /` [`TRUNCATED_AT_2_STD`] to keep the variance.
    TruncatedNormal,
    /// Uniform between `±√(3 variance)`.
    Uniform,
}

/// How a weight gets its first values.
///
/// `Display` prints the name with its settings, [`Init::describe`] adds fan and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All the same value.
    Constant(f64),
    /// Normal, whatever the fans.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Uniform in `[low, high)` (before rounding to the element type), whatever the fans.
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// A normal distribution restricted to `[low, high]`, as PyTorch's `trunc_normal_`: `std` belongs to the
    /// unrestricted distribution. For a given resulting `std` see [`Init::trunc_normal`].
    TruncNormal {
        /// Mean of the unrestricted distribution.
        mean: f64,
        /// Standard deviation of the unrestricted distribution.
        std: f64,
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
    },
    /// Variance `scale / fan`.
    VarianceScaling {
        /// Numerator of the variance, the square of a gain.
        scale: f64,
        /// Which fan divides.
        mode: FanMode,
        /// Which distribution has this variance.
        distribution: Distribution,
    },
    /// Uniform, variance `gain² · 2 / (fan_in + fan_out)`.
    GlorotUniform {
        /// Factor for the nonlinearity.
        gain: f64,
    },
    /// Normal, variance `gain² · 2 / (fan_in + fan_out)`.
    GlorotNormal {
        /// Factor for the nonlinearity.
        gain: f64,
    },
    /// Uniform, variance `2 / ((1 + slope²) fan)`.
    HeUniform {
        /// Slope of the activation below zero.
        slope: f64,
        /// Which fan divides.
        mode: FanMode,
    },
    /// Normal, variance `2 / ((1 + slope²) fan)`.
    HeNormal {
        /// Slope of the activation below zero.
        slope: f64,
        /// Which fan divides.
        mode: FanMode,
    },
    /// Uniform, variance `1 / fan_in`.
    LecunUniform,
    /// Normal, variance `1 / fan_in`.
    LecunNormal,
    /// A random matrix with orthonormal rows or columns, whichever are fewer, times `gain`. Axes beyond the first are
    /// taken as one.
    Orthogonal {
        /// Factor.
        gain: f64,
    },
    /// For a convolution `[outputs, inputs, kernel…]` with `outputs >= inputs`: orthonormal columns times `gain` at the
    /// centre of the kernel, zero elsewhere.
    DeltaOrthogonal {
        /// Factor.
        gain: f64,
    },
    /// A matrix with `gain` on its diagonal.
    Identity {
        /// Value on the diagonal.
        gain: f64,
    },
    /// For a convolution `[outputs, inputs / groups, kernel…]`: passes channels through, each group its own.
    Dirac {
        /// Number of groups.
        groups: usize,
    },
    /// A matrix in which each column has `⌈sparsity · rows⌉` zeros and normal values elsewhere.
    Sparse {
        /// Share of zeros in a column.
        sparsity: f64,
        /// Standard deviation of the others.
        std: f64,
    },
}

impl Init {
    /// [`Init::GlorotUniform`] with gain 1.
    pub const fn glorot_uniform() -> Self {
        Init::GlorotUniform { gain: 1.0 }
    }

    /// [`Init::GlorotNormal`] with gain 1.
    pub const fn glorot_normal() -> Self {
        Init::GlorotNormal { gain: 1.0 }
    }

    /// [`Init::HeUniform`] for ReLU, fan in.
    pub const fn he_uniform() -> Self {
        Init::HeUniform {
            slope: 0.0,
            mode: FanMode::FanIn,
        }
    }

    /// [`Init::HeNormal`] for ReLU, fan in.
    pub const fn he_normal() -> Self {
        Init::HeNormal {
            slope: 0.0,
            mode: FanMode::FanIn,
        }
    }

    /// [`Init::Orthogonal`] with gain 1.
    pub const fn orthogonal() -> Self {
        Init::Orthogonal { gain: 1.0 }
    }

    /// [`Init::Normal`] around 0.
    pub const fn normal(std: f64) -> Self {
        Init::Normal { mean: 0.0, std }
    }

    /// A normal distribution around 0, cut at two of its own standard deviations, whose standard deviation after the cut is `std`.
    pub fn trunc_normal(std: f64) -> Self {
        let uncut = std / TRUNCATED_AT_2_STD;
        Init::TruncNormal {
            mean: 0.0,
            std: uncut,
            low: -2.0 * uncut,
            high: 2.0 * uncut,
        }
    }

    /// The default of PyTorch's linear and convolution layers, `kaiming_uniform_(a=√5)`: variance `1 / (3 fan_in)`.
    ///
    /// For comparison. Below a ReLU it loses a factor of √6 of the activations in every layer.
    pub const fn pytorch_default() -> Self {
        Init::VarianceScaling {
            scale: 1.0 / 3.0,
            mode: FanMode::FanIn,
            distribution: Distribution::Uniform,
        }
    }

    /// The settings as variance scaling, for the variants that are.
    fn scaling(&self) -> Option<(f64, FanMode, Distribution)> {
        use Distribution::{Normal, Uniform};
        let he = |slope: f64| nonlinearity::leaky_gain(slope).powi(2);
        Some(match *self {
            Init::VarianceScaling {
                scale,
                mode,
                distribution,
            } => (scale, mode, distribution),
            Init::GlorotUniform { gain } => (gain * gain, FanMode::FanAvg, Uniform),
            Init::GlorotNormal { gain } => (gain * gain, FanMode::FanAvg, Normal),
            Init::HeUniform { slope, mode } => (he(slope), mode, Uniform),
            Init::HeNormal { slope, mode } => (he(slope), mode, Normal),
            Init::LecunUniform => (1.0, FanMode::FanIn, Uniform),
            Init::LecunNormal => (1.0, FanMode::FanIn, Normal),
            _ => return None,
        })
    }

    /// Standard deviation of an element of a weight of this shape, taken over draws and positions.
    ///
    /// Exact for every variant: variance scaling `√(scale / fan)`, orthogonal `gain / √max(rows, cols)`, truncated normal
    /// after the cut, identity, Dirac and sparse with their zeros counted.
    pub fn std(&self, shape: &[usize], fans: Fans) -> f64 {
        // A share `p` of ones (times a factor) among zeros.
        let ones = |p: f64| (p * (1.0 - p)).max(0.0).sqrt();
        let (rows, cols) = matrix(shape);
        match *self {
            Init::Zeros | Init::Ones | Init::Constant(_) => 0.0,
            Init::Normal { std, .. } => std,
            Init::Uniform { low, high } => (high - low) / 12.0_f64.sqrt(),
            Init::TruncNormal {
                mean,
                std,
                low,
                high,
            } => {
                if std == 0.0 {
                    0.0
                } else {
                    std * truncated::std((low - mean) / std, (high - mean) / std)
                }
            }
            Init::Orthogonal { gain } => gain.abs() / (rows.max(cols) as f64).sqrt(),
            Init::DeltaOrthogonal { gain } => {
                gain.abs() / (rows as f64 * taps(shape) as f64).sqrt()
            }
            Init::Identity { gain } => {
                gain.abs() * ones(rows.min(cols) as f64 / (rows as f64 * cols as f64))
            }
            Init::Dirac { groups } => {
                let per_group = rows.checked_div(groups).unwrap_or(0);
                let count = groups * per_group.min(shape.get(1).copied().unwrap_or(0));
                ones(count as f64 / (rows as f64 * cols as f64))
            }
            Init::Sparse { sparsity, std } => {
                let zeros = (sparsity * rows as f64).ceil();
                std * (1.0 - zeros / rows as f64).max(0.0).sqrt()
            }
            _ => {
                let (scale, mode, _) = self.scaling().expect("the other variants scale variance");
                (scale / fans.get(mode)).sqrt()
            }
        }
    }

    /// Draws a tensor.
    ///
    /// # Errors
    /// When a setting is out of its range (a negative or non-finite standard deviation, `low > high`, a sparsity outside
    /// 0 to 1), the fan is 0, the shape does not fit (see [`Init::sample`]), or the memory is not to be had.
    pub fn try_sample<T: Real>(
        &self,
        shape: impl IntoDims,
        fans: Fans,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Tensor<T>> {
        let mut t = Tensor::try_zeros(shape)?;
        let shape = t.shape().to_vec();
        self.check(&shape, fans)?;
        let mut rng = rng;
        compiled::<T>()(self, t.as_mut_slice(), &shape, fans, &mut rng);
        Ok(t)
    }

    /// Fills `out`, which holds zeros; the settings are checked.
    fn draw<T: Real>(&self, out: &mut [T], shape: &[usize], fans: Fans, rng: &mut dyn Rng) {
        match *self {
            Init::Zeros => {}
            Init::Ones => out.fill(T::ONE),
            Init::Constant(v) => out.fill(T::from_f64(v)),
            Init::Normal { mean, std } => fill(out, || mean + std * normal(rng)),
            Init::Uniform { low, high } => {
                fill(out, || low + (high - low) * rng.random::<f64>());
            }
            Init::TruncNormal {
                mean,
                std,
                low,
                high,
            } => {
                let (a, b) = ((low - mean) / std, (high - mean) / std);
                fill(out, || {
                    let z = if std > 0.0 {
                        truncated::sample(a, b, rng)
                    } else {
                        0.0
                    };
                    (mean + std * z).clamp(low, high)
                });
            }
            Init::Orthogonal { gain } => orthogonal(out, shape, gain, rng),
            Init::DeltaOrthogonal { gain } => delta_orthogonal(out, shape, gain, rng),
            Init::Identity { gain } => {
                let (rows, cols) = matrix(shape);
                (0..rows.min(cols)).for_each(|i| out[i * cols + i] = T::from_f64(gain));
            }
            Init::Dirac { groups } => dirac(out, shape, groups),
            Init::Sparse { sparsity, std } => sparse(out, shape, sparsity, std, rng),
            _ => {
                let (_, _, distribution) =
                    self.scaling().expect("the other variants scale variance");
                let std = self.std(shape, fans);
                match distribution {
                    Distribution::Normal => fill(out, || std * normal(rng)),
                    Distribution::TruncatedNormal => {
                        let uncut = std / TRUNCATED_AT_2_STD;
                        fill(out, || uncut * truncated::sample(-2.0, 2.0, rng));
                    }
                    Distribution::Uniform => {
                        let limit = 3.0_f64.sqrt() * std;
                        fill(out, || limit * (2.0 * rng.random::<f64>() - 1.0));
                    }
                }
            }
        }
    }

    /// Draws a tensor.
    ///
    /// The shape counts for some: [`Init::Orthogonal`] needs rank 2 or more, [`Init::Identity`] and [`Init::Sparse`] exactly 2,
    /// [`Init::Dirac`] and [`Init::DeltaOrthogonal`] a convolution kernel (rank 3 to 5). A shape without elements is fine
    /// for all.
    ///
    /// # Panics
    /// Where [`Init::try_sample`] errs.
    #[track_caller]
    pub fn sample<T: Real>(
        &self,
        shape: impl IntoDims,
        fans: Fans,
        rng: &mut (impl Rng + ?Sized),
    ) -> Tensor<T> {
        self.try_sample(shape, fans, rng).or_panic()
    }

    /// Name, fan and resulting standard deviation, for summaries: `he_normal(fan_in), fan_in 784, sigma 0.0505`.
    pub fn describe(&self, shape: &[usize], fans: Fans) -> String {
        let sigma = significant(self.std(shape, fans));
        match self.scaling() {
            Some((_, mode, _)) => format!("{self}, {mode} {}, sigma {sigma}", fans.get(mode)),
            None => format!("{self}, sigma {sigma}"),
        }
    }

    fn check(&self, shape: &[usize], fans: Fans) -> Result<()> {
        let value = |ok: bool, message: fmt::Arguments| {
            if ok {
                Ok(())
            } else {
                Err(Error::Value {
                    op: "init",
                    message: format!("{self}: {message}"),
                })
            }
        };
        let fits = |ok: bool, expected: &str| {
            if ok {
                Ok(())
            } else {
                Err(Error::Shape {
                    op: "init",
                    message: format!("{self}: expected {expected}, found shape {shape:?}"),
                })
            }
        };
        let finite = |what: &str, x: f64| {
            value(
                x.is_finite(),
                format_args!("expected a finite {what}, found {x}"),
            )
        };
        let deviation = |std: f64| {
            value(
                std.is_finite() && std >= 0.0,
                format_args!("expected a standard deviation of at least 0, found {std}"),
            )
        };
        match *self {
            Init::Zeros | Init::Ones => Ok(()),
            Init::Constant(v) => value(!v.is_nan(), format_args!("expected a number")),
            Init::Normal { mean, std } => finite("mean", mean).and(deviation(std)),
            Init::Uniform { low, high } => value(
                low <= high && (high - low).is_finite(),
                format_args!("expected finite ends in ascending order"),
            ),
            Init::TruncNormal {
                mean,
                std,
                low,
                high,
            } => finite("mean", mean)
                .and(deviation(std))
                .and(value(low < high, format_args!("expected low < high"))),
            Init::Orthogonal { gain } => {
                finite("gain", gain).and(fits(shape.len() >= 2, "at least 2 axes"))
            }
            Init::DeltaOrthogonal { gain } => {
                finite("gain", gain)?;
                fits(
                    (3..=5).contains(&shape.len()),
                    "a convolution kernel of rank 3 to 5",
                )?;
                fits(
                    shape[0] >= shape[1],
                    "at least as many output as input channels",
                )
            }
            Init::Identity { gain } => finite("gain", gain).and(fits(shape.len() == 2, "2 axes")),
            Init::Dirac { groups } => {
                fits(
                    (3..=5).contains(&shape.len()),
                    "a convolution kernel of rank 3 to 5",
                )?;
                value(
                    groups > 0 && shape[0].is_multiple_of(groups),
                    format_args!("{groups} groups do not divide {} output channels", shape[0]),
                )
            }
            Init::Sparse { sparsity, std } => {
                deviation(std)?;
                value(
                    (0.0..=1.0).contains(&sparsity),
                    format_args!("expected a sparsity between 0 and 1"),
                )?;
                fits(shape.len() == 2, "2 axes")
            }
            _ => {
                let (scale, mode, _) = self.scaling().expect("the other variants scale variance");
                value(
                    scale.is_finite() && scale >= 0.0,
                    format_args!("expected a finite scale of at least 0, found {scale}"),
                )?;
                let fan = fans.get(mode);
                value(
                    fan.is_finite() && fan > 0.0 || shape.contains(&0),
                    format_args!("expected {mode} > 0, found {fan}"),
                )
            }
        }
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slope_mode = |f: &mut fmt::Formatter<'_>, name: &str, slope: f64, mode: FanMode| {
            if slope == 0.0 {
                write!(f, "{name}({mode})")
            } else {
                write!(f, "{name}({mode}, slope {slope})")
            }
        };
        let gain = |f: &mut fmt::Formatter<'_>, name: &str, gain: f64| {
            if gain == 1.0 {
                f.write_str(name)
            } else {
                write!(f, "{name}(gain {})", significant(gain))
            }
        };
        match *self {
            Init::Zeros => f.write_str("zeros"),
            Init::Ones => f.write_str("ones"),
            Init::Constant(v) => write!(f, "constant({v})"),
            Init::Normal { mean, std } => write!(f, "normal({mean}, {})", significant(std)),
            Init::Uniform { low, high } => {
                write!(f, "uniform({}, {})", significant(low), significant(high))
            }
            Init::TruncNormal {
                mean,
                std,
                low,
                high,
            } => write!(
                f,
                "trunc_normal({mean}, {}, [{}, {}])",
                significant(std),
                significant(low),
                significant(high)
            ),
            Init::VarianceScaling {
                scale,
                mode,
                distribution,
            } => {
                let d = match distribution {
                    Distribution::Normal => "normal",
                    Distribution::TruncatedNormal => "truncated_normal",
                    Distribution::Uniform => "uniform",
                };
                write!(f, "variance_scaling({}, {mode}, {d})", significant(scale))
            }
            Init::GlorotUniform { gain: g } => gain(f, "glorot_uniform", g),
            Init::GlorotNormal { gain: g } => gain(f, "glorot_normal", g),
            Init::HeUniform { slope, mode } => slope_mode(f, "he_uniform", slope, mode),
            Init::HeNormal { slope, mode } => slope_mode(f, "he_normal", slope, mode),
            Init::LecunUniform => f.write_str("lecun_uniform"),
            Init::LecunNormal => f.write_str("lecun_normal"),
            Init::Orthogonal { gain: g } => gain(f, "orthogonal", g),
            Init::DeltaOrthogonal { gain: g } => gain(f, "delta_orthogonal", g),
            Init::Identity { gain: g } => gain(f, "identity", g),
            Init::Dirac { groups: 1 } => f.write_str("dirac"),
            Init::Dirac { groups } => write!(f, "dirac(groups {groups})"),
            Init::Sparse { sparsity, std } => write!(f, "sparse({sparsity}, {})", significant(std)),
        }
    }
}

/// Three significant digits, in the shortest form.
fn significant(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return format!("{x}");
    }
    let digits = 2 - x.abs().log10().floor() as i32;
    if !(0..=8).contains(&digits) {
        return format!("{x:.2e}");
    }
    let text = format!("{x:.*}", digits as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// First axis, and all others taken as one.
fn matrix(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        // Saturating: a shape without elements may name any sizes.
        [rows, rest @ ..] => (*rows, rest.iter().fold(1, |a, &d| a.saturating_mul(d))),
    }
}

/// Positions of a convolution kernel.
fn taps(shape: &[usize]) -> usize {
    shape.iter().skip(2).fold(1, |a, &d| a.saturating_mul(d))
}

/// Row-major position of the centre of a convolution kernel.
fn centre(shape: &[usize]) -> usize {
    shape.iter().skip(2).fold(0, |at, &k| at * k + k / 2)
}

/// Fills a tensor of one element type.
type Draw<T> = fn(&Init, &mut [T], &[usize], Fans, &mut dyn Rng);

/// [`Init::draw`], compiled once, in this crate.
fn compiled<T: Real>() -> Draw<T> {
    static F32: Draw<f32> = Init::draw;
    static F64: Draw<f64> = Init::draw;
    *of_type([&F32, &F64])
}

fn fill<T: Real>(out: &mut [T], mut draw: impl FnMut() -> f64) {
    for x in out {
        *x = T::from_f64(draw());
    }
}

fn normal<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    standard_normal(rng)
}

fn orthogonal<T: Real, R: Rng + ?Sized>(out: &mut [T], shape: &[usize], gain: f64, rng: &mut R) {
    let (rows, cols) = matrix(shape);
    if rows >= cols {
        let q = orthogonal::columns(rows, cols, rng);
        out.iter_mut()
            .zip(q)
            .for_each(|(x, q)| *x = T::from_f64(gain * q));
    } else {
        let q = orthogonal::columns(cols, rows, rng);
        for (i, row) in out.chunks_exact_mut(cols).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                *x = T::from_f64(gain * q[j * rows + i]);
            }
        }
    }
}

fn delta_orthogonal<T: Real, R: Rng + ?Sized>(
    out: &mut [T],
    shape: &[usize],
    gain: f64,
    rng: &mut R,
) {
    if out.is_empty() {
        return;
    }
    let q = orthogonal::columns(shape[0], shape[1], rng);
    let (step, at) = (taps(shape), centre(shape));
    for (i, q) in q.into_iter().enumerate() {
        out[i * step + at] = T::from_f64(gain * q);
    }
}

fn dirac<T: Real>(out: &mut [T], shape: &[usize], groups: usize) {
    if out.is_empty() {
        return;
    }
    let (inputs, step, at) = (shape[1], taps(shape), centre(shape));
    let per_group = shape[0] / groups;
    for group in 0..groups {
        for channel in 0..per_group.min(inputs) {
            let row = group * per_group + channel;
            out[(row * inputs + channel) * step + at] = T::ONE;
        }
    }
}

fn sparse<T: Real, R: Rng + ?Sized>(
    out: &mut [T],
    shape: &[usize],
    sparsity: f64,
    std: f64,
    rng: &mut R,
) {
    let (rows, cols) = (shape[0], shape[1]);
    let zeros = ((sparsity * rows as f64).ceil() as usize).min(rows);
    fill(out, || std * normal(rng));
    let mut order: Vec<usize> = (0..rows).collect();
    for c in 0..cols {
        // The first `zeros` places of a Fisher-Yates shuffle.
        for k in 0..zeros {
            let other = rng.random_range(k..rows);
            order.swap(k, other);
            out[order[k] * cols + c] = T::ZERO;
        }
    }
}
