//! The handwritten digits of the UCI repository, embedded.

use crate::augment::{Normalize, Per};
use crate::dataset::Labeled;
use crate::error::Result;
use wengert_tensor::Tensor;
use wengert_tensor::order::{ascending, order};

/// 65 numbers of 5 bits per image; see `assets/README.md` for origin, licence and format.
static PACKED: &[u8] = include_bytes!("../assets/digits.bin");
const IMAGES: usize = 1797;
const PIXELS: usize = 64;

/// 1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak 1998, UCI repository,
/// [doi:10.24432/C50P49](https://doi.org/10.24432/C50P49), CC BY 4.0), with a fixed split: 1,437 to train, 360 to test.
///
/// The split is the same on every machine and easy to repeat elsewhere: order the images by label, keeping the order of
/// the file among equals; every fifth of that list, beginning with the first, is a test image; both parts are then put
/// back in the order of the file. In NumPy: `test = np.sort(np.argsort(y, kind="stable")[::5])`. So each class appears in
/// both parts in its proportion.
///
/// ```
/// use wengert_data::Digits;
/// let digits = Digits::load();
/// assert_eq!(digits.train.inputs.shape(), [1437, 64]);
/// assert_eq!(digits.test.labels.shape(), [360]);
/// ```
#[derive(Clone)]
pub struct Digits {
    /// 1,437 images `[n, 64]`, pixels row by row, scaled to 0..=1, and labels `[n]` of 0..=9.
    pub train: Labeled,
    /// 360 images, likewise.
    pub test: Labeled,
}

impl Digits {
    /// The split set.
    pub fn load() -> Self {
        let all = Self::all();
        let (train, test) = Self::split_indices(&all.labels);
        let part = |indices: &[usize]| {
            all.select(indices)
                .expect("the indices come from the set itself")
        };
        Digits {
            train: part(&train),
            test: part(&test),
        }
    }

    /// All 1,797 images in the order of the file, `[1797, 64]`, scaled to 0..=1.
    pub fn all() -> Labeled {
        let mut pixels = Vec::with_capacity(IMAGES * PIXELS);
        let mut labels = Vec::with_capacity(IMAGES);
        let mut bits = Bits {
            window: 0,
            held: 0,
            bytes: PACKED.iter(),
        };
        for _ in 0..IMAGES {
            pixels.extend((0..PIXELS).map(|_| f32::from(bits.next()) / 16.0));
            labels.push(i64::from(bits.next()));
        }
        Labeled {
            inputs: Tensor::from_vec(pixels, [IMAGES, PIXELS]),
            labels: Tensor::from_vec(labels, [IMAGES]),
            classes: 10,
        }
    }

    /// Each pixel with mean 0 and standard deviation 1 over the training images (those that never change there are only centred).
    pub fn standardized(&self) -> Self {
        let norm = Normalize::fit(&self.train.inputs, Per::Feature).expect("the images are finite");
        let part = |part: &Labeled| Labeled {
            inputs: norm
                .normalized(&part.inputs)
                .expect("both parts have the same pixels"),
            ..part.clone()
        };
        Digits {
            train: part(&self.train),
            test: part(&self.test),
        }
    }

    /// Both parts as images `[n, 1, 8, 8]`.
    pub fn as_images(&self) -> Self {
        let shape = |part: &Labeled| -> Result<Labeled> { part.reshaped(&[1, 8, 8]) };
        Digits {
            train: shape(&self.train).expect("64 pixels are 1x8x8"),
            test: shape(&self.test).expect("64 pixels are 1x8x8"),
        }
    }

    fn split_indices(labels: &Tensor<i64>) -> (Vec<usize>, Vec<usize>) {
        let labels = labels.to_vec();
        let order = order(labels.len(), &|i, j| labels[i].cmp(&labels[j]));
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (place, &i) in order.iter().enumerate() {
            if place % 5 == 0 {
                test.push(i)
            } else {
                train.push(i)
            }
        }
        ascending(&mut train);
        ascending(&mut test);
        (train, test)
    }
}

/// Reads 5 bits at a time, most significant first.
struct Bits {
    window: u32,
    held: u32,
    bytes: std::slice::Iter<'static, u8>,
}

impl Bits {
    fn next(&mut self) -> u8 {
        if self.held < 5 {
            let byte = self
                .bytes
                .next()
                .expect("the asset holds 1797 x 65 numbers");
            self.window = (self.window << 8) | u32::from(*byte);
            self.held += 8;
        }
        self.held -= 5;
        ((self.window >> self.held) & 31) as u8
    }
}
