//! Chains of tiny operations: what a recorded node costs.

use crate::Workload;
use wengert::{Param, Tape, Tensor};

/// A chain of 1,000 operations on one parameter.
pub struct Chain {
    tape: Tape,
    x: Param,
    c: Tensor,
    multiply: bool,
}

impl Chain {
    /// 1,000 scalar multiplications.
    pub fn multiplications() -> Self {
        Chain {
            tape: Tape::training(0),
            x: Param::new(Tensor::scalar(1.0)),
            c: Tensor::scalar(1.0001),
            multiply: true,
        }
    }

    /// 1,000 additions of vectors of 100 elements.
    pub fn additions() -> Self {
        Chain {
            tape: Tape::training(0),
            x: Param::new(Tensor::ones([100])),
            c: Tensor::full([100], 0.001),
            multiply: false,
        }
    }
}

impl Workload for Chain {
    fn step(&mut self) -> f64 {
        self.tape.reset();
        let mut y = self.tape.param(&self.x);
        let c = self.tape.input(&self.c);
        for _ in 0..1000 {
            y = if self.multiply { y * c } else { y + c };
        }
        let loss = if self.multiply { y } else { y.sum() };
        f64::from(loss.backward().loss())
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }
}
