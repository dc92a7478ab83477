//! Changes of values: noise, brightness, erased patches.

use super::{Augment, between, check, check_probability, image_shape};
use crate::error::Result;
use crate::random::{Xoshiro256PlusPlus, below, normal, uniform_f64};
use wengert_tensor::Tensor;

/// Adds normal noise to every element; any shape.
#[derive(Debug, Clone, Copy)]
pub struct GaussianNoise {
    std: f64,
}

impl GaussianNoise {
    /// Noise of standard deviation `std`.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `std` is finite and at least 0.
    pub fn new(std: f64) -> Result<Self> {
        check("noise", std >= 0.0 && std.is_finite(), || {
            format!("standard deviation {std}")
        })?;
        Ok(GaussianNoise { std })
    }
}

impl Augment for GaussianNoise {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        for v in x.as_mut_slice() {
            *v += (self.std * normal(rng)) as f32;
        }
        Ok(())
    }
}

/// Scales brightness and contrast of each image: `x <- m + g (b x - m)`, where `m` is the mean of `b x`.
///
/// `b` is uniform in `1 ± brightness`, `g` in `1 ± contrast`, neither below 0.
#[derive(Debug, Clone, Copy)]
pub struct Jitter {
    brightness: f64,
    contrast: f64,
}

impl Jitter {
    /// The two half widths.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless both are finite and at least 0.
    pub fn new(brightness: f64, contrast: f64) -> Result<Self> {
        let right = [brightness, contrast]
            .iter()
            .all(|&v| v >= 0.0 && v.is_finite());
        check("jitter", right, || {
            format!("brightness {brightness}, contrast {contrast}")
        })?;
        Ok(Jitter {
            brightness,
            contrast,
        })
    }
}

impl Augment for Jitter {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        let [_, c, h, w] = image_shape("jitter", x)?;
        let size = c * h * w;
        if x.numel() == 0 {
            return Ok(());
        }
        for image in x.as_mut_slice().chunks_exact_mut(size) {
            let b = between(rng, (1.0 - self.brightness).max(0.0), 1.0 + self.brightness);
            let g = between(rng, (1.0 - self.contrast).max(0.0), 1.0 + self.contrast);
            let mean = b * image.iter().map(|&v| f64::from(v)).sum::<f64>() / size as f64;
            for v in image {
                *v = (mean + g * (b * f64::from(*v) - mean)) as f32;
            }
        }
        Ok(())
    }
}

/// What stands where something was erased.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// One value.
    Value(f32),
    /// Standard normal numbers.
    Noise,
}

/// Rows and columns of a patch, borders included and excluded.
type Patch = (std::ops::Range<usize>, std::ops::Range<usize>);

fn erase(
    image: &mut [f32],
    (h, w): (usize, usize),
    (rows, columns): &Patch,
    fill: Fill,
    rng: &mut Xoshiro256PlusPlus,
) {
    for plane in image.chunks_exact_mut(h * w) {
        for y in rows.clone() {
            for v in &mut plane[y * w..][columns.clone()] {
                *v = match fill {
                    Fill::Value(value) => value,
                    Fill::Noise => normal(rng) as f32,
                };
            }
        }
    }
}

/// Erases a square of each image (DeVries and Taylor 2017); its centre is uniform over the pixels, what lies outside is
/// cut off.
#[derive(Debug, Clone, Copy)]
pub struct Cutout {
    side: usize,
    fill: Fill,
}

impl Cutout {
    /// Squares of `side` pixels, filled with 0.
    pub fn new(side: usize) -> Self {
        Cutout {
            side,
            fill: Fill::Value(0.0),
        }
    }

    /// What stands in the square.
    pub fn fill(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }
}

impl Augment for Cutout {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        let [_, c, h, w] = image_shape("cutout", x)?;
        if x.numel() == 0 {
            return Ok(());
        }
        for image in x.as_mut_slice().chunks_exact_mut(c * h * w) {
            let mut span = |n: usize| {
                let centre = below(rng, n as u64) as usize;
                let begin = centre.saturating_sub(self.side / 2);
                begin..centre.saturating_add(self.side - self.side / 2).min(n)
            };
            let patch = (span(h), span(w));
            erase(image, (h, w), &patch, self.fill, rng);
        }
        Ok(())
    }
}

/// Erases a rectangle of some images (Zhong et al. 2017). Defaults of [`RandomErasing::new`]: area 0.02 to 0.33 of the image, height
/// to width 0.3 to 3.3, filled with 0 (as torchvision).
#[derive(Debug, Clone, Copy)]
pub struct RandomErasing {
    p: f64,
    area: (f64, f64),
    ratio: (f64, f64),
    fill: Fill,
}

impl RandomErasing {
    /// Each image with probability `p` (0.5 is usual).
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) when `p` is not in `0..=1`.
    pub fn new(p: f64) -> Result<Self> {
        check_probability("erase", p)?;
        Ok(RandomErasing {
            p,
            area: (0.02, 0.33),
            ratio: (0.3, 3.3),
            fill: Fill::Value(0.0),
        })
    }

    /// Least and largest share of the image.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `0 <= low <= high <= 1`.
    pub fn area(mut self, low: f64, high: f64) -> Result<Self> {
        check("erase", 0.0 <= low && low <= high && high <= 1.0, || {
            format!("area from {low} to {high}")
        })?;
        self.area = (low, high);
        Ok(self)
    }

    /// Least and largest height divided by width; drawn uniformly on a logarithmic scale.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `0 < low <= high`, both finite.
    pub fn ratio(mut self, low: f64, high: f64) -> Result<Self> {
        check(
            "erase",
            low > 0.0 && low <= high && high.is_finite(),
            || format!("ratio from {low} to {high}"),
        )?;
        self.ratio = (low, high);
        Ok(self)
    }

    /// What stands in the rectangle.
    pub fn fill(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }

    /// A rectangle that fits, in ten attempts.
    fn draw(&self, h: usize, w: usize, rng: &mut Xoshiro256PlusPlus) -> Option<Patch> {
        for _ in 0..10 {
            let area = (h * w) as f64 * between(rng, self.area.0, self.area.1);
            let ratio = between(rng, self.ratio.0.ln(), self.ratio.1.ln()).exp();
            let (rows, columns) = (
                (area * ratio).sqrt().round() as usize,
                (area / ratio).sqrt().round() as usize,
            );
            if rows < h && columns < w {
                let top = below(rng, (h - rows) as u64 + 1) as usize;
                let left = below(rng, (w - columns) as u64 + 1) as usize;
                return Some((top..top + rows, left..left + columns));
            }
        }
        None
    }
}

impl Augment for RandomErasing {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        let [_, c, h, w] = image_shape("erase", x)?;
        if x.numel() == 0 {
            return Ok(());
        }
        for image in x.as_mut_slice().chunks_exact_mut(c * h * w) {
            if uniform_f64(rng) >= self.p {
                continue;
            }
            if let Some(patch) = self.draw(h, w, rng) {
                erase(image, (h, w), &patch, self.fill, rng);
            }
        }
        Ok(())
    }
}
