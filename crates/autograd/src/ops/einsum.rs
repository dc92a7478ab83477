//! Sums of products over named axes.

use crate::float::Float;
use crate::op::shape_error;
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;
use wengert_tensor::{Dims, Result};

/// Name of an axis: a letter, or from [`ELLIPSIS`] on the axes of an ellipsis, counted from its right end.
type Label = u32;
type Labels = SmallVec<[Label; 8]>;
const ELLIPSIS: Label = 256;

/// An equation, parsed and checked against the ranks of its operands.
struct Equation {
    terms: Vec<Labels>,
    output: Labels,
}

fn bad(equation: &str, what: String) -> wengert_tensor::Error {
    shape_error("einsum", format!("{what} in equation {equation:?}"))
}

fn parse(equation: &str, shapes: &[Dims]) -> Result<Equation> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (text.as_str(), None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != shapes.len() {
        return Err(bad(
            equation,
            format!("{} operands given for {} terms", shapes.len(), parts.len()),
        ));
    }
    // Letters with the place of the ellipsis, if there is one.
    let scan = |term: &str| -> Result<(Labels, Option<usize>)> {
        let (mut labels, mut dots) = (Labels::new(), None);
        let mut rest = term;
        while let Some(c) = rest.chars().next() {
            if let Some(r) = rest.strip_prefix("...") {
                if dots.replace(labels.len()).is_some() {
                    return Err(bad(equation, format!("two ellipses in one term {term:?}")));
                }
                rest = r;
            } else if c.is_ascii_alphabetic() {
                labels.push(c as Label);
                rest = &rest[1..];
            } else {
                return Err(bad(
                    equation,
                    format!("expected letters, `...`, `,` and `->`, found {c:?}"),
                ));
            }
        }
        Ok((labels, dots))
    };
    let mut terms = Vec::new();
    let mut widest = 0;
    for (part, shape) in parts.iter().zip(shapes) {
        let (letters, dots) = scan(part)?;
        let extra = shape.len().checked_sub(letters.len());
        let fits = match dots {
            Some(_) => extra.is_some(),
            None => extra == Some(0),
        };
        let (Some(extra), true) = (extra, fits) else {
            return Err(bad(
                equation,
                format!(
                    "term {part:?} does not fit an operand of shape {:?}",
                    shape.as_slice()
                ),
            ));
        };
        let mut labels = letters;
        if let Some(at) = dots {
            widest = widest.max(extra);
            let axes: Labels = (0..extra as Label).rev().map(|k| ELLIPSIS + k).listed();
            labels.insert_many(at, axes);
        }
        terms.push(labels);
    }
    let ellipsis = (0..widest as Label).rev().map(|k| ELLIPSIS + k);
    let mut output = Labels::new();
    match right {
        Some(right) => {
            let (letters, dots) = scan(right)?;
            output = letters;
            for (i, l) in output.iter().enumerate() {
                let name = char::from(*l as u8);
                if output[..i].contains(l) {
                    return Err(bad(equation, format!("output axis {name:?} appears twice")));
                }
                if !terms.iter().any(|t| t.contains(l)) {
                    return Err(bad(
                        equation,
                        format!("output axis {name:?} is in no operand"),
                    ));
                }
            }
            if let Some(at) = dots {
                output.insert_many(at, ellipsis.collect::<Labels>());
            }
        }
        // Implicit: the ellipsis, then every letter that appears once, in alphabetical order.
        None => {
            output.extend(ellipsis);
            for l in (b'A'..=b'Z').chain(b'a'..=b'z').map(Label::from) {
                if terms.iter().flatten().filter(|&&t| t == l).count() == 1 {
                    output.push(l);
                }
            }
        }
    }
    Ok(Equation { terms, output })
}

/// A factor: its axes by name.
#[derive(Clone)]
struct Factor<'t, T: Float> {
    x: Var<'t, T>,
    labels: Labels,
}

impl<'t, T: Float> Factor<'t, T> {
    fn has(&self, l: Label) -> bool {
        self.labels.contains(&l)
    }

    /// Sums over the axes that `keep` does not want.
    #[track_caller]
    fn sum_unless(self, keep: impl Fn(Label) -> bool) -> Self {
        let axes: SmallVec<[isize; 6]> = (self.labels.iter().enumerate())
            .filter(|(_, l)| !keep(**l))
            .map(|(i, _)| i as isize)
            .listed();
        if axes.is_empty() {
            return self;
        }
        Factor {
            x: self.x.sum_dim(axes, false),
            labels: self.labels.iter().copied().filter(|l| keep(*l)).listed(),
        }
    }

    /// Axes in the given order.
    #[track_caller]
    fn ordered(&self, order: &[Label]) -> Var<'t, T> {
        let axes: SmallVec<[isize; 6]> = (order.iter())
            .map(|l| {
                self.labels
                    .iter()
                    .position(|k| k == l)
                    .expect("an axis of this factor") as isize
            })
            .listed();
        self.x.permute(axes)
    }
}

/// The product of two factors, summed over the shared axes that `keep` does not want.
#[track_caller]
fn contract<'t, T: Float>(
    a: Factor<'t, T>,
    b: Factor<'t, T>,
    keep: impl Fn(Label) -> bool,
    size: impl Fn(Label) -> usize,
) -> Factor<'t, T> {
    let (a, b) = (
        a.clone().sum_unless(|l| b.has(l) || keep(l)),
        b.sum_unless(|l| a.has(l) || keep(l)),
    );
    let pick = |f: &Factor<'t, T>, want: &dyn Fn(Label) -> bool| -> Labels {
        f.labels.iter().copied().filter(|&l| want(l)).listed()
    };
    let batch = pick(&a, &|l| b.has(l) && keep(l));
    let inner = pick(&a, &|l| b.has(l) && !keep(l));
    let rows = pick(&a, &|l| !b.has(l));
    let cols = pick(&b, &|l| !a.has(l));
    let sizes = |ls: &[Label]| -> Dims { ls.iter().map(|&l| size(l)).listed() };
    let join =
        |parts: &[&[Label]]| -> Labels { parts.iter().flat_map(|p| p.iter().copied()).listed() };
    let labels = join(&[&batch, &rows, &cols]);
    if inner.is_empty() {
        // No sum: multiply by broadcasting.
        let mut left = sizes(&join(&[&batch, &rows]));
        left.extend(cols.iter().map(|_| 1));
        let mut right = sizes(&batch);
        right.extend(rows.iter().map(|_| 1));
        right.extend(sizes(&cols));
        let x = a.ordered(&join(&[&batch, &rows])).reshape(left)
            * b.ordered(&join(&[&batch, &cols])).reshape(right);
        return Factor { x, labels };
    }
    let count = |ls: &[Label]| -> usize { sizes(ls).iter().product() };
    let (n, m, k, p) = (count(&batch), count(&rows), count(&inner), count(&cols));
    let left = a.ordered(&join(&[&batch, &rows, &inner]));
    let right = b.ordered(&join(&[&batch, &inner, &cols]));
    let x = if batch.is_empty() {
        left.reshape([m, k]).mm(right.reshape([k, p]))
    } else {
        left.reshape([n, m, k]).mm(right.reshape([n, k, p]))
    };
    let x = x.reshape(sizes(&labels));
    Factor { x, labels }
}

impl<'t, T: Float> Var<'t, T> {
    /// Einstein summation: products of the operands over axes named by letters, summed over the axes that the output
    /// does not name.
    ///
    /// As in PyTorch: a letter twice in one term takes the diagonal, `...` stands for axes that broadcast from the right,
    /// without `->` the output is the ellipsis and the letters that appear once in alphabetical order, and axes of size 1
    /// broadcast. Three or more operands are contracted pairwise, greedily by the size of what results; each pair is one
    /// batched matrix product.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, Var};
    /// let tape = Tape::<f32>::inference();
    /// let a = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]));
    /// assert_eq!(Var::einsum("ij,jk->ik", &[a, a]).value().to_vec(), [7.0, 10.0, 15.0, 22.0]);
    /// assert_eq!(Var::einsum("ii", &[a]).item(), 5.0);
    /// ```
    ///
    /// # Panics
    /// Where [`Var::try_einsum`] errs, or when there is no operand.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[Self]) -> Self {
        Self::try_einsum(equation, operands).or_panic()
    }

    /// [`Var::einsum`] for equations that come from outside.
    ///
    /// # Errors
    /// When the equation is malformed, or does not fit the operands' shapes.
    ///
    /// # Panics
    /// When there is no operand.
    #[track_caller]
    pub fn try_einsum(equation: &str, operands: &[Self]) -> Result<Self> {
        assert!(
            !operands.is_empty(),
            "einsum: expected at least one operand"
        );
        let shapes: Vec<Dims> = operands.iter().map(|x| x.shape()).collect();
        let Equation { terms, output } = parse(equation, &shapes)?;
        // The size of each axis: all operands agree, or have size 1.
        let mut sizes: Vec<(Label, usize)> = Vec::new();
        for (labels, shape) in terms.iter().zip(&shapes) {
            for (&l, &d) in labels.iter().zip(shape) {
                match sizes.iter_mut().find(|s| s.0 == l) {
                    None => sizes.push((l, d)),
                    Some(s) if s.1 == d || d == 1 => {}
                    Some(s) if s.1 == 1 => s.1 = d,
                    Some(s) => {
                        let name = match l {
                            ELLIPSIS.. => "an axis of the ellipsis".to_string(),
                            l => format!("axis {:?}", char::from(l as u8)),
                        };
                        let shapes: Vec<&[usize]> = shapes.iter().map(|s| s.as_slice()).collect();
                        return Err(bad(
                            equation,
                            format!(
                                "{name} has sizes {} and {d} for operands of shapes {shapes:?}",
                                s.1
                            ),
                        ));
                    }
                }
            }
        }
        let size = |l: Label| sizes.iter().find(|s| s.0 == l).map_or(1, |s| s.1);
        let mut factors: Vec<Factor<'t, T>> = Vec::new();
        for (&x, labels) in operands.iter().zip(&terms) {
            factors.push(Self::factor(equation, x, labels.clone(), &size)?);
        }
        // What no other factor and not the output names is summed at once; then pair after pair.
        while factors.len() > 1 {
            let (i, j) = cheapest(&factors, &output, &size);
            let b = factors.remove(j);
            let a = factors.remove(i);
            let keep = |l: Label| output.contains(&l) || factors.iter().any(|f| f.has(l));
            let c = contract(a, b, keep, size);
            factors.push(c);
        }
        let last = factors.remove(0).sum_unless(|l| output.contains(&l));
        Ok(last.ordered(&output))
    }

    /// An operand with each name once: diagonals taken, broadcast axes dropped.
    #[track_caller]
    fn factor(
        equation: &str,
        mut x: Self,
        mut labels: Labels,
        size: &impl Fn(Label) -> usize,
    ) -> Result<Factor<'t, T>> {
        while let Some((i, j)) = twice(&labels) {
            let s = x.shape();
            if s[i] != s[j] {
                return Err(bad(
                    equation,
                    format!(
                        "axis {:?} has sizes {} and {} in one operand of shape {:?}",
                        char::from(labels[i] as u8),
                        s[i],
                        s[j],
                        s.as_slice()
                    ),
                ));
            }
            x = x.diagonal(0, i as isize, j as isize);
            let l = labels.remove(j);
            labels.remove(i);
            labels.push(l);
        }
        for axis in (0..labels.len()).rev() {
            if x.shape()[axis] == 1 && size(labels[axis]) != 1 {
                x = x.squeeze(axis as isize);
                labels.remove(axis);
            }
        }
        Ok(Factor { x, labels })
    }

    /// Kronecker product: each element of `self` times the whole of `other`. Missing leading axes count as 1.
    ///
    /// # Panics
    /// When the result has more elements than can be addressed.
    #[track_caller]
    pub fn kron(self, other: Self) -> Self {
        let (a, b) = (self.shape(), other.shape());
        let rank = a.len().max(b.len());
        let at = |s: &Dims, i: usize| (i + s.len()).checked_sub(rank).map_or(1, |k| s[k]);
        let (mut left, mut right, mut out) = (Dims::new(), Dims::new(), Dims::new());
        for i in 0..rank {
            left.extend_from_slice(&[at(&a, i), 1]);
            right.extend_from_slice(&[1, at(&b, i)]);
            out.push(at(&a, i).saturating_mul(at(&b, i)));
        }
        wengert_tensor::shape::checked_numel("kron", &out).or_panic();
        (self.reshape(left) * other.reshape(right)).reshape(out)
    }
}

/// Two places of one name.
fn twice(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|i| {
        let j = labels[i + 1..].iter().position(|l| *l == labels[i])?;
        Some((i, i + 1 + j))
    })
}

/// The pair whose product is smallest compared with its factors; of equals the one with fewer multiplications, then
/// the first.
fn cheapest<T: Float>(
    factors: &[Factor<'_, T>],
    output: &[Label],
    size: &impl Fn(Label) -> usize,
) -> (usize, usize) {
    let volume = |labels: &[Label]| -> f64 { labels.iter().map(|&l| size(l) as f64).product() };
    let mut best = (f64::INFINITY, f64::INFINITY);
    let mut pair = (0, 1);
    for i in 0..factors.len() {
        for j in i + 1..factors.len() {
            let (a, b) = (&factors[i].labels, &factors[j].labels);
            let mut union = a.clone();
            union.extend(b.iter().copied().filter(|l| !a.contains(l)));
            let kept: Labels = (union.iter().copied())
                .filter(|l| {
                    output.contains(l)
                        || (factors.iter().enumerate()).any(|(k, f)| k != i && k != j && f.has(*l))
                })
                .listed();
            let cost = (volume(&kept) - volume(a) - volume(b), volume(&union));
            if cost < best {
                best = cost;
                pair = (i, j);
            }
        }
    }
    pair
}
