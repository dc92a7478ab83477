//! Tensors as text.

use crate::{DType, Element, Tensor};
use std::fmt::{self, Debug, Display};

/// Elements at each end of a long axis that are shown.
const EDGE: usize = 3;
/// Elements above which the middle of long axes is left out.
const MANY: usize = 1000;

/// Nested brackets as NumPy prints them; the middle of long axes is left out; `{:.2}` sets the digits.
///
/// ```
/// use wengert_tensor::Tensor;
/// let t = Tensor::from_vec(vec![1.0f32, -2.5, 3.25, 4.0], [2, 2]);
/// assert_eq!(t.to_string(), "[[ 1.0000, -2.5000],\n [ 3.2500,  4.0000]]");
/// ```
impl<T: Element> Display for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let float = matches!(T::DTYPE, DType::F32 | DType::F64);
        let digits = f.precision().unwrap_or(4);
        let short = self.numel() > MANY;
        let shown = |x: T| {
            let text = if float {
                format!("{x:.digits$}")
            } else {
                x.to_string()
            };
            // Numbers that fixed digits would hide or stretch.
            let size: f64 = if float {
                text.parse().unwrap_or(0.0)
            } else {
                0.0
            };
            let hidden = float && size == 0.0 && x != T::ZERO;
            if hidden || size.abs() >= 1e6 && size.is_finite() {
                // `Element` has no exponent format: go through the shortest decimal, which is exact.
                x.to_string()
                    .parse::<f64>()
                    .map_or(text, |v| format!("{v:.digits$e}"))
            } else {
                text
            }
        };
        let mut width = 0;
        visit(self, short, &mut |x| width = width.max(shown(x).len()));
        write_axis(self, short, 0, &|x| format!("{:>width$}", shown(x)), f)
    }
}

fn places(n: usize, short: bool) -> impl Iterator<Item = Option<usize>> {
    let cut = short && n > 2 * EDGE;
    let head = if cut { EDGE } else { n };
    let tail = if cut { n - EDGE..n } else { n..n };
    (0..head)
        .map(Some)
        .chain(cut.then_some(None))
        .chain(tail.map(Some))
}

fn visit<T: Element>(t: &Tensor<T>, short: bool, see: &mut dyn FnMut(T)) {
    if t.rank() == 0 {
        return see(t.item());
    }
    for i in places(t.shape()[0], short).flatten() {
        visit(&t.select(0, i), short, see);
    }
}

fn write_axis<T: Element>(
    t: &Tensor<T>,
    short: bool,
    depth: usize,
    shown: &dyn Fn(T) -> String,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if t.rank() == 0 {
        return f.write_str(&shown(t.item()));
    }
    f.write_str("[")?;
    for (k, i) in places(t.shape()[0], short).enumerate() {
        if k > 0 {
            f.write_str(",")?;
            if t.rank() == 1 {
                f.write_str(" ")?;
            } else {
                f.write_str(&"\n".repeat(t.rank() - 1))?;
                f.write_str(&" ".repeat(depth + 1))?;
            }
        }
        match i {
            Some(i) => write_axis(&t.select(0, i), short, depth + 1, shown, f)?,
            None => f.write_str("...")?,
        }
    }
    f.write_str("]")
}

impl<T: Element> Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}>{:?}\n{self}", T::DTYPE, self.shape())
    }
}
