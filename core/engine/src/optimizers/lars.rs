//! LARS: each parameter's step is a share of its own norm.

use admix_api::describe;
use admix_torch::{SgdOptions, Tensor, TrustOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::rule::{Bucket, OptimizerConfig, OptimizerRule};
use crate::Result;
use crate::ranges::number;

/// Settings of LARS.
///
/// Of the forms in use it is LARC of apex without clipping, which SwAV trains with: the gradient with its decay is multiplied
/// by the trust ratio, then follows SGD with momentum. In the paper the learning rate is a factor of the momentum buffer; here
/// it is outside, as in PyTorch's SGD, so that a new rate acts on the whole buffer at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lars {
    /// Base learning rate, > 0. Default 0.6, that of SwAV for a batch of 256.
    pub lr: f64,
    /// Momentum, in [0, 1). Default 0.9.
    pub momentum: f64,
    /// L2 weight decay, >= 0. Default 1e-6.
    pub weight_decay: f64,
    /// Trust coefficient, > 0: the share of a parameter's norm that a step of rate 1 moves. Default 0.001.
    pub trust: f64,
    /// Added to the denominator of the trust ratio, > 0. Default 1e-8.
    pub eps: f64,
    /// Whether parameters of one axis (norms, biases) are adapted and decay as well, as in SwAV's code. Default false: they
    /// take the steps of SGD with momentum, without decay.
    pub adapt_vectors: bool,
}

impl Default for Lars {
    fn default() -> Self {
        Self { lr: 0.6, momentum: 0.9, weight_decay: 1e-6, trust: 1e-3, eps: 1e-8, adapt_vectors: false }
    }
}

describe! {
    dyn OptimizerRule, dyn OptimizerConfig: Lars, "Lars", "lars",
    "SGD with momentum where the step of each parameter is a share of its norm: for large batches.",
    source: "You et al., arXiv:1708.03888, in the form of apex's LARC without clipping, as in the code of SwAV (Caron et al., NeurIPS 2020)",
    served: ()
}

impl OptimizerConfig for Lars {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn validate(&self) -> admix_api::Result<()> {
        number("lr", self.lr, self.lr > 0.0, "a number above 0")?;
        number("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), "a number in [0, 1)")?;
        number("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "a number from 0")?;
        number("trust", self.trust, self.trust > 0.0, "a number above 0")?;
        number("eps", self.eps, self.eps > 0.0, "a number above 0")
    }

    fn build(&self) -> Box<dyn OptimizerRule> {
        Box::new(self.clone())
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

impl Lars {
    /// The gradients that SGD then takes: those of adapted parameters are new ones.
    fn adapted(&self, bucket: &Bucket) -> Result<Vec<Tensor>> {
        let Bucket { parameters, gradients, weight_decay, .. } = bucket;
        let chosen: Vec<usize> =
            (0..parameters.len()).filter(|&at| self.adapt_vectors || parameters[at].dim() > 1).collect();
        let of = |all: &[Tensor]| chosen.iter().map(|&at| all[at].shallow_clone()).collect::<Vec<_>>();
        let options = TrustOptions { trust: self.trust, weight_decay: *weight_decay, eps: self.eps };
        let scaled = admix_torch::trust_scaled(&of(parameters), &of(gradients), &options)?;
        let mut all: Vec<Tensor> = gradients.iter().map(Tensor::shallow_clone).collect();
        for (&at, gradient) in chosen.iter().zip(scaled) {
            all[at] = gradient;
        }
        Ok(all)
    }
}

impl OptimizerRule for Lars {
    fn state(&self, parameter: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
        if self.momentum == 0.0 {
            return Ok(Vec::new());
        }
        Ok(vec![("momentum", parameter.f_zeros_like()?.f_detach()?)])
    }

    fn step(&self, bucket: &Bucket, lr: &Tensor, found_inf: &Tensor) -> Result<()> {
        // The decay is in the adapted gradients; the others have none.
        let options = SgdOptions { momentum: self.momentum, weight_decay: 0.0, nesterov: false };
        let momenta = bucket.state.first().map_or(&[][..], Vec::as_slice);
        let gradients = self.adapted(bucket)?;
        Ok(admix_torch::fused_sgd(&bucket.parameters, &gradients, momenta, &options, lr, Some(found_inf))?)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::contract::wild;
    use admix_torch::{Device, Kind};

    use super::*;

    const SHAPES: [&[i64]; 3] = [&[4, 3], &[5], &[2, 3, 2, 2]];
    /// The rate falls from step to step: it is outside of the buffer.
    const RATES: [f64; 4] = [0.6, 0.6, 0.3, 0.05];
    const DECAY: f64 = 0.02;

    fn scalar(value: f64) -> Tensor {
        Tensor::full([0i64; 0], value, (Kind::Float, Device::Cpu))
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).expect("numbers")
    }

    fn gradients(step: usize) -> Vec<Tensor> {
        let gradient =
            |(at, shape): (usize, &&[i64])| wild(shape, 2.0 + at as f64 + step as f64, Kind::Float);
        SHAPES.iter().enumerate().map(gradient).collect()
    }

    fn bucket(rule: &Lars, parameters: Vec<Tensor>) -> Bucket {
        let momenta = parameters.iter().map(|one| rule.state(one).expect("state").remove(0).1).collect();
        Bucket { parameters, gradients: Vec::new(), state: vec![momenta], weight_decay: DECAY }
    }

    fn parameters() -> Vec<Tensor> {
        SHAPES.iter().enumerate().map(|(at, shape)| wild(shape, 7.0 + at as f64, Kind::Float)).collect()
    }

    /// The formula for one parameter in float64.
    fn step_of(rule: &Lars, (p, m): (&mut [f64], &mut [f64]), g: &[f64], lr: f64, adapts: bool) {
        let norm = |of: &[f64]| of.iter().map(|v| v * v).sum::<f64>().sqrt();
        let (size, slope) = (norm(p), norm(g));
        let adapts = adapts && size > 0.0 && slope > 0.0;
        let ratio = if adapts { rule.trust * size / (slope + DECAY * size + rule.eps) } else { 1.0 };
        let decay = if adapts { DECAY } else { 0.0 };
        for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
            *m = rule.momentum * *m + (g + decay * *p) * ratio;
            *p -= lr * *m;
        }
    }

    fn follows_the_formula(rule: &Lars, start: Vec<Tensor>, slopes: &dyn Fn(usize) -> Vec<Tensor>) {
        let mut bucket = bucket(rule, start);
        let mut wanted: Vec<_> =
            bucket.parameters.iter().map(values).map(|p| (vec![0.0; p.len()], p)).collect();
        for (step, lr) in RATES.into_iter().enumerate() {
            bucket.gradients = slopes(step);
            rule.step(&bucket, &scalar(lr), &scalar(0.0)).expect("a step");
            for (at, (m, p)) in wanted.iter_mut().enumerate() {
                let adapts = rule.adapt_vectors || SHAPES[at].len() > 1;
                step_of(rule, (p, m), &values(&bucket.gradients[at]), lr, adapts);
            }
        }
        for (at, (m, p)) in wanted.iter().enumerate() {
            let got = [values(&bucket.parameters[at]), values(&bucket.state[0][at])];
            for (got, wanted) in got.iter().flatten().zip(p.iter().chain(m)) {
                assert!((got - wanted).abs() < 1e-6 * (1.0 + wanted.abs()), "{at}: {got} and {wanted}");
            }
        }
    }

    #[test]
    fn a_step_is_that_of_the_formula_in_float64() {
        // A coefficient at which the adapted steps are no rounding error beside the plain ones.
        let rule = Lars { trust: 0.05, ..Lars::default() };
        follows_the_formula(&rule, parameters(), &gradients);
        follows_the_formula(&Lars { adapt_vectors: true, ..rule }, parameters(), &gradients);
    }

    #[test]
    fn vectors_take_plain_steps_without_decay_unless_they_are_asked_for() {
        let run = |rule: &Lars| {
            let mut bucket = bucket(rule, parameters());
            bucket.gradients = gradients(0);
            rule.step(&bucket, &scalar(0.5), &scalar(0.0)).expect("a step");
            bucket.parameters
        };
        let (excluded, adapted) =
            (run(&Lars::default()), run(&Lars { adapt_vectors: true, ..Lars::default() }));
        let plain = &parameters()[1] - 0.5 * &gradients(0)[1];
        assert!(excluded[1].allclose(&plain, 1e-6, 1e-6, false));
        assert_ne!(excluded[1], adapted[1]);
        assert_eq!([&excluded[0], &excluded[2]], [&adapted[0], &adapted[2]]);
    }

    #[test]
    fn a_parameter_of_zeros_moves_and_a_gradient_of_zeros_moves_nothing() {
        let rule = Lars { adapt_vectors: true, ..Lars::default() };
        let mut start = parameters();
        let _ = start[0].zero_();
        let slopes = |step| {
            let mut all = gradients(step);
            let _ = all[1].zero_();
            all
        };
        follows_the_formula(&rule, start.iter().map(Tensor::copy).collect(), &slopes);
        let mut bucket = bucket(&rule, start);
        let before = bucket.parameters[1].copy();
        bucket.gradients = slopes(0);
        rule.step(&bucket, &scalar(0.5), &scalar(0.0)).expect("a step");
        let plain = -0.5 * &bucket.gradients[0];
        assert!(bucket.parameters[0].allclose(&plain, 1e-6, 1e-6, false), "{}", bucket.parameters[0]);
        assert_eq!(bucket.parameters[1], before);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let text = |lars: Lars| lars.validate().expect_err("refused").to_string();
        assert!(text(Lars { trust: 0.0, ..Lars::default() }).starts_with("trust is 0"));
        assert!(text(Lars { eps: -1.0, ..Lars::default() }).starts_with("eps is -1"));
        assert!(text(Lars { momentum: 1.0, ..Lars::default() }).starts_with("momentum is 1"));
    }
}
