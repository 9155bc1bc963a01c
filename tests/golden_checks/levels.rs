//! Files that have their numbers in float32 and in float64: what is checked at both precisions.

use admix_api::unit;
use admix_torch::{Kind, Tensor};

use super::{Golden, Tolerance};

pub const LOSS: Tolerance = Tolerance::relative(1e-5, 0.0);
pub const VALUES: Tolerance = Tolerance::of_largest(2e-5, 0.0);
pub const GRADIENTS: Tolerance = Tolerance::of_largest(1e-4, 1e-7);
const DOUBLE: Tolerance = Tolerance::of_largest(1e-10, 0.0);

/// A setting, which is a decimal: the shortest one of the float32.
pub fn decimal(golden: &Golden, name: &str) -> f64 {
    (golden.number(name) as f32).to_string().parse().expect("a number")
}

/// One precision of a file: where its tensors stand and how near they must be met.
pub struct Level<'a> {
    golden: &'a Golden,
    prefix: String,
    kind: Kind,
}

impl<'a> Level<'a> {
    /// Both precisions of a case, whose tensors begin with `case` and a dot.
    pub fn both(golden: &'a Golden, case: &str) -> [Self; 2] {
        let dotted = if case.is_empty() { String::new() } else { format!("{case}.") };
        [(String::new(), Kind::Float), ("f64.".to_string(), Kind::Double)].map(|(level, kind)| Self {
            golden,
            prefix: format!("{level}{dotted}"),
            kind,
        })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn get(&self, name: &str) -> Tensor {
        self.golden.get(&format!("{}{name}", self.prefix))
    }

    /// A float32 tensor that is the same for all cases.
    pub fn shared(&self, name: &str) -> Tensor {
        self.golden.get(name).to_kind(self.kind)
    }

    pub fn check(&self, name: &str, found: &Tensor, tolerance: Tolerance) {
        let tolerance = if self.kind == Kind::Double { DOUBLE } else { tolerance };
        self.golden.check(&format!("{}{name}", self.prefix), found, tolerance);
    }

    /// The raw embedding of this name, as a leaf, and its unit form.
    pub fn leaf(&self, name: &str) -> (Tensor, Tensor) {
        let z = self.get(name).set_requires_grad(true);
        let unit = unit(&z).expect("a unit embedding");
        (z, unit)
    }

    /// The terms of single samples, each by a call of its own.
    pub fn check_each(&self, name: &str, samples: i64, one: impl Fn(i64) -> Tensor) {
        let each: Vec<Tensor> = (0..samples).map(one).collect();
        self.check(name, &Tensor::stack(&each, 0), LOSS);
    }
}
