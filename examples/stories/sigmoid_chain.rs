//! Two sigmoids in a row: the gradient as a formula, and where it goes to zero.

use std::fmt;
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::prelude::*;

/// One value of both weights.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Both weights.
    pub w: f64,
    /// `σ'(w x)` of the first sigmoid at `x = 1`.
    pub slope: f64,
    /// `∂L/∂w₁` and `∂L/∂w₂` as the tape gives them.
    pub tape: [f64; 2],
    /// The same by the formula.
    pub formula: [f64; 2],
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// For w = 10, -10 and 0.
    pub rows: Vec<Row>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `y = σ(w₂ σ(w₁ x))`, `L = (y - t)²/2` at x = 1, t = 0.
pub fn story() -> Story {
    let row = |w: f64| {
        let tape = Tape::<f64>::training(0);
        let weights = [w, w].map(|w| Param::new(Tensor::scalar(w)));
        let [w1, w2] = [tape.param(&weights[0]), tape.param(&weights[1])];
        let x = tape.scalar(1.0);
        let [h_slope] = grad((w1 * x).sigmoid(), [w1]);
        let slope = h_slope.item();
        let y = (w2 * (w1 * x).sigmoid()).sigmoid();
        let grads = (y.square() * 0.5).backward();
        let of = |p: &Param<f64>| grads.get(p).map_or(f64::NAN, |g| g.to_vec()[0]);

        let h = sigmoid(w);
        let y = sigmoid(w * h);
        let at_y = y * y * (1.0 - y); // (y - t) σ'(z₂)
        Row {
            w,
            slope,
            tape: [of(&weights[0]), of(&weights[1])],
            formula: [at_y * w * h * (1.0 - h), at_y * h],
        }
    };
    Story {
        rows: [10.0, -10.0, 0.0].map(row).into(),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut t = Table::new(
            [
                "w",
                "slope of the first sigmoid",
                "dL/dw1",
                "by the formula",
                "dL/dw2",
                "by the formula ",
            ]
            .map(Column::new),
        );
        for r in &self.rows {
            let cells = [
                r.w,
                r.slope,
                r.tape[0],
                r.formula[0],
                r.tape[1],
                r.formula[1],
            ];
            t = t.row(cells.map(Cell::Number));
        }
        write!(
            f,
            "Two sigmoids in a row: y = s(w2 s(w1 x)), L = (y - t)^2 / 2, at x = 1, t = 0.\n\
             dL/dw1 = (y - t) s'(z2) w2 s'(z1) x,  dL/dw2 = (y - t) s'(z2) h\n\n{}\n\
             At w = 10 and w = -10 the sigmoid is flat: its slope is 0 to four digits, and with it the gradient. At w = 0 the slope\n\
             is 1/4, the largest there is, and yet dL/dw1 is 0, because w2 = 0 stands in the way. Each further sigmoid multiplies by\n\
             w s' <= w/4: a chain of them fades unless the weights are large, and large weights make it flat.",
            super::show(&t)
        )
    }
}
