//! Signum: every weight moves by the learning rate, in the direction of its smoothed gradient's sign.

use admix_api::ranges::expect;
use admix_engine::{Bucket, OptimizerConfig, OptimizerRule, Result};
use admix_torch::{Tensor, no_grad};

admix_api::settings! {
    /// Settings of Signum. Recipe: `Signum(lr: 0.001)`.
    pub struct Signum {
        /// How far every weight moves in a step, above 0.
        pub lr: f64 = 0.001,
        /// Share of the old average that the gradients' average keeps, in [0, 1).
        pub momentum: f64 = 0.9,
    }
}

admix_api::describe! {
    dyn OptimizerRule, dyn OptimizerConfig: Signum, "Signum", "signum", "steps of one length, by the gradients' signs",
    source: "Bernstein et al., ICML 2018, arXiv:1802.04434", served: ()
}

impl OptimizerConfig for Signum {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> f64 {
        0.0
    }

    fn validate(&self) -> admix_api::Result<()> {
        expect("lr", self.lr, self.lr > 0.0 && self.lr.is_finite(), "a number above 0")?;
        expect("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), "a number in [0, 1)")
    }

    fn build(&self) -> Box<dyn OptimizerRule> {
        Box::new(self.clone())
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

impl OptimizerRule for Signum {
    fn state(&self, parameter: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(vec![("average", parameter.f_zeros_like()?.f_detach()?)])
    }

    fn step(&self, bucket: &Bucket, lr: &Tensor, found_inf: &Tensor) -> Result<()> {
        let _guard = no_grad();
        let bad = found_inf.f_ne(0)?;
        for ((parameter, gradient), average) in
            bucket.parameters.iter().zip(&bucket.gradients).zip(&bucket.state[0])
        {
            let new = gradient.f_lerp(average, self.momentum)?;
            let decay = parameter.f_mul_scalar(bucket.weight_decay)?;
            let moved = parameter.f_sub(&new.f_sign()?.f_add(&decay)?.f_mul(lr)?)?;
            // A step that is skipped writes the old values back: the host does not know of it.
            parameter.shallow_clone().f_copy_(&parameter.f_where_self(&bad, &moved)?)?;
            average.shallow_clone().f_copy_(&average.f_where_self(&bad, &new)?)?;
        }
        Ok(())
    }
}
