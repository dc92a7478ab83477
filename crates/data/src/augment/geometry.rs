//! Changes of place: flips, crops, affine maps.

use super::{Augment, between, check, check_probability, image_shape};
use crate::error::Result;
use crate::random::{Xoshiro256PlusPlus, below, uniform_f64};
use wengert_tensor::{Tensor, parallel};

/// Mirrors each image with a probability.
#[derive(Debug, Clone, Copy)]
pub struct Flip {
    p: f64,
    upside_down: bool,
}

impl Flip {
    /// Left and right exchanged with probability `p` (0.5 is usual).
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) when `p` is not in `0..=1`.
    pub fn horizontal(p: f64) -> Result<Self> {
        check_probability("flip", p)?;
        Ok(Flip {
            p,
            upside_down: false,
        })
    }

    /// Top and bottom exchanged with probability `p`.
    ///
    /// # Errors
    /// As [`Flip::horizontal`].
    pub fn vertical(p: f64) -> Result<Self> {
        Ok(Flip {
            upside_down: true,
            ..Self::horizontal(p)?
        })
    }
}

impl Augment for Flip {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        let [_, c, h, w] = image_shape("flip", x)?;
        if x.numel() == 0 {
            return Ok(());
        }
        for image in x.as_mut_slice().chunks_exact_mut(c * h * w) {
            if uniform_f64(rng) >= self.p {
                continue;
            }
            if self.upside_down {
                for plane in image.chunks_exact_mut(h * w) {
                    let (top, bottom) = plane.split_at_mut(h / 2 * w);
                    for (a, b) in top.chunks_exact_mut(w).zip(bottom.rchunks_exact_mut(w)) {
                        a.swap_with_slice(b);
                    }
                }
            } else {
                image.chunks_exact_mut(w).for_each(<[f32]>::reverse);
            }
        }
        Ok(())
    }
}

/// A random window of each image after a border was added; with the size unchanged, a random shift.
#[derive(Debug, Clone, Copy)]
pub struct RandomCrop {
    size: Option<(usize, usize)>,
    padding: usize,
    fill: f32,
}

impl RandomCrop {
    /// Shifts by up to `padding` pixels in each direction: a border of that width, then a window of the old size.
    pub fn padded(padding: usize) -> Self {
        RandomCrop {
            size: None,
            padding,
            fill: 0.0,
        }
    }

    /// A window of `height` x `width` from each image.
    pub fn sized(height: usize, width: usize) -> Self {
        RandomCrop {
            size: Some((height, width)),
            padding: 0,
            fill: 0.0,
        }
    }

    /// The width of the border (default 0).
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// The value of the border (default 0).
    pub fn fill(mut self, value: f32) -> Self {
        self.fill = value;
        self
    }
}

impl Augment for RandomCrop {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        let [n, c, h, w] = image_shape("crop", x)?;
        let (to_h, to_w) = self.size.unwrap_or((h, w));
        let room = |old: usize, new: usize| {
            self.padding
                .checked_mul(2)
                .and_then(|p| p.checked_add(old))
                .and_then(|p| p.checked_sub(new))
        };
        let (Some(room_h), Some(room_w)) = (room(h, to_h), room(w, to_w)) else {
            let message = || {
                format!(
                    "a window of {to_h}x{to_w} from {h}x{w} with a border of {}",
                    self.padding
                )
            };
            return check("crop", false, message);
        };
        let mut out = None;
        let mut shape = x.shape().to_vec();
        let rank = shape.len();
        if (to_h, to_w) != (h, w) {
            shape[rank - 2..].copy_from_slice(&[to_h, to_w]);
            out = Some(Tensor::<f32>::try_zeros(&shape[..])?);
        }
        if n * c * h * w == 0 || to_h * to_w == 0 {
            if let Some(mut t) = out {
                t.as_mut_slice().fill(self.fill);
                *x = t;
            }
            return Ok(());
        }
        let crop = |from: &[f32], to: &mut [f32], top: usize, left: usize| {
            for (i, row) in to.chunks_exact_mut(to_w).enumerate() {
                // Row and column within the old image, the border taken off.
                let y = (top + i).wrapping_sub(self.padding);
                row.fill(self.fill);
                if y < h {
                    let begin = self.padding.saturating_sub(left).min(to_w);
                    let source = left.saturating_sub(self.padding);
                    let len = (to_w - begin).min(w.saturating_sub(source));
                    if len > 0 {
                        row[begin..begin + len].copy_from_slice(&from[y * w + source..][..len]);
                    }
                }
            }
        };
        let mut place = || {
            (
                below(rng, room_h as u64 + 1) as usize,
                below(rng, room_w as u64 + 1) as usize,
            )
        };
        match out {
            Some(mut t) => {
                let source = x.contiguous();
                let images = source
                    .as_slice()
                    .unwrap_or_default()
                    .chunks_exact(c * h * w);
                for (from, to) in images.zip(t.as_mut_slice().chunks_exact_mut(c * to_h * to_w)) {
                    let (top, left) = place();
                    for (from, to) in from
                        .chunks_exact(h * w)
                        .zip(to.chunks_exact_mut(to_h * to_w))
                    {
                        crop(from, to, top, left);
                    }
                }
                *x = t;
            }
            None => {
                let mut old = vec![0.0; h * w];
                for image in x.as_mut_slice().chunks_exact_mut(c * h * w) {
                    let (top, left) = place();
                    for plane in image.chunks_exact_mut(h * w) {
                        old.copy_from_slice(plane);
                        crop(&old, plane, top, left);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A random rotation, shift, scale and shear of each image, bilinear, about its centre.
///
/// Without further calls it changes nothing; each method opens one range, from which every image draws uniformly.
///
/// ```
/// use wengert_data::augment::RandomAffine;
/// let gentle = RandomAffine::new().rotate(10.0).unwrap().shift(0.1).unwrap().scale(0.9, 1.1).unwrap();
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RandomAffine {
    degrees: f64,
    shift: f64,
    scale: (f64, f64),
    shear: f64,
    fill: f32,
}

impl Default for RandomAffine {
    fn default() -> Self {
        RandomAffine {
            degrees: 0.0,
            shift: 0.0,
            scale: (1.0, 1.0),
            shear: 0.0,
            fill: 0.0,
        }
    }
}

impl RandomAffine {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rotation by up to `degrees` either way.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `degrees` is finite and at least 0.
    pub fn rotate(mut self, degrees: f64) -> Result<Self> {
        check("rotate", degrees >= 0.0 && degrees.is_finite(), || {
            format!("{degrees} degrees")
        })?;
        self.degrees = degrees;
        Ok(self)
    }

    /// Shift by up to `share` of the height and of the width, either way.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `share` is in `0..=1`.
    pub fn shift(mut self, share: f64) -> Result<Self> {
        check("shift", (0.0..=1.0).contains(&share), || {
            format!("share {share} is not in 0..=1")
        })?;
        self.shift = share;
        Ok(self)
    }

    /// Size times a factor from `low` to `high`.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `0 < low <= high`, both finite.
    pub fn scale(mut self, low: f64, high: f64) -> Result<Self> {
        check(
            "scale",
            low > 0.0 && low <= high && high.is_finite(),
            || format!("factors from {low} to {high}"),
        )?;
        self.scale = (low, high);
        Ok(self)
    }

    /// Shear of rows by an angle of up to `degrees` either way.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) unless `degrees` is in `0..90`.
    pub fn shear(mut self, degrees: f64) -> Result<Self> {
        check("shear", (0.0..90.0).contains(&degrees), || {
            format!("{degrees} degrees")
        })?;
        self.shear = degrees;
        Ok(self)
    }

    /// The value outside the image (default 0).
    pub fn fill(mut self, value: f32) -> Self {
        self.fill = value;
        self
    }

    /// The map from places of the new image to places of the old: `(x, y) -> (a x + b y + e, c x + d y + f)`, measured
    /// from the centre.
    fn draw(&self, h: usize, w: usize, rng: &mut Xoshiro256PlusPlus) -> [f64; 6] {
        let (sin, cos) = between(rng, -self.degrees, self.degrees)
            .to_radians()
            .sin_cos();
        let right = between(rng, -self.shift, self.shift) * w as f64;
        let down = between(rng, -self.shift, self.shift) * h as f64;
        let scale = between(rng, self.scale.0, self.scale.1);
        let shear = between(rng, -self.shear, self.shear).to_radians().tan();
        // Forward: shear rows, turn counter-clockwise (y points down), scale, shift. Here its inverse.
        let (a, b) = ((cos - shear * sin) / scale, (-sin - shear * cos) / scale);
        let (c, d) = (sin / scale, cos / scale);
        [a, b, c, d, -(a * right + b * down), -(c * right + d * down)]
    }
}

impl Augment for RandomAffine {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        let [n, c, h, w] = image_shape("affine", x)?;
        let maps: Vec<[f64; 6]> = (0..n).map(|_| self.draw(h, w, rng)).collect();
        let size = c * h * w;
        if n * size == 0 {
            return Ok(());
        }
        let old = x.copy();
        let old = old.as_slice().unwrap_or_default();
        // Enough images per task to be worth one.
        let per = 4096usize.div_ceil(size);
        parallel::chunks_mut(x.as_mut_slice(), per * size, |chunk, images| {
            for (k, image) in images.chunks_exact_mut(size).enumerate() {
                let i = chunk * per + k;
                for (from, to) in old[i * size..][..size]
                    .chunks_exact(h * w)
                    .zip(image.chunks_exact_mut(h * w))
                {
                    warp(from, to, h, w, &maps[i], self.fill);
                }
            }
        });
        Ok(())
    }
}

/// `to` at each place is `from`, interpolated, at the place that `map` gives; `fill` outside.
fn warp(from: &[f32], to: &mut [f32], h: usize, w: usize, map: &[f64; 6], fill: f32) {
    let [a, b, c, d, e, f] = *map;
    let (middle_x, middle_y) = ((w - 1) as f64 / 2.0, (h - 1) as f64 / 2.0);
    let (end_x, end_y) = (w as f64, h as f64);
    // Row and column counted from one before the image.
    let pixel = |y: usize, x: usize| {
        let inside = (1..=h).contains(&y) && (1..=w).contains(&x);
        if inside {
            from[(y - 1) * w + x - 1]
        } else {
            fill
        }
    };
    for (i, row) in to.chunks_exact_mut(w).enumerate() {
        let dy = i as f64 - middle_y;
        for (j, out) in row.iter_mut().enumerate() {
            let dx = j as f64 - middle_x;
            let x = a * dx + b * dy + e + middle_x;
            let y = c * dx + d * dy + f + middle_y;
            // Beyond, all four neighbours lie outside. A place that is not a number is outside, too.
            if !(x > -1.0 && x < end_x && y > -1.0 && y < end_y) {
                *out = fill;
                continue;
            }
            // Above zero, a cast rounds down: several times faster than `floor` without SSE 4.1.
            let (left, top) = ((x + 1.0) as usize, (y + 1.0) as usize);
            let (u, v) = (
                (x + 1.0 - left as f64) as f32,
                (y + 1.0 - top as f64) as f32,
            );
            let corners = if left >= 1 && left < w && top >= 1 && top < h {
                let at = (top - 1) * w + left - 1;
                [from[at], from[at + 1], from[at + w], from[at + w + 1]]
            } else {
                [
                    (top, left),
                    (top, left + 1),
                    (top + 1, left),
                    (top + 1, left + 1),
                ]
                .map(|(y, x)| pixel(y, x))
            };
            let above = corners[0] * (1.0 - u) + corners[1] * u;
            let under = corners[2] * (1.0 - u) + corners[3] * u;
            *out = above * (1.0 - v) + under * v;
        }
    }
}
