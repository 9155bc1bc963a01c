//! What every optimiser must keep.

use admix_api::contract::{Check, Ledger, Promise, Test, ensure, guarded, wild};
use admix_torch::{Device, Kind, SyncCounter, Tensor};

use super::rule::{Bucket, OptimizerConfig, OptimizerRule};
use crate::Result;

const STATE: &str = "state is saved and restored bit for bit";
const SKIP: &str = "a skipped step changes neither parameters nor state";
const RATE: &str = "the learning rate is read from its tensor";
const LOWERS: &str = "a quadratic becomes smaller";
const WAITS: &str = "a step does not wait for the device";

pub(super) const PROMISES: &[Promise] = &[
    (STATE, "it was not built"),
    (SKIP, "it was not built"),
    (RATE, "it was not built"),
    (LOWERS, "it was not built"),
    (WAITS, "it was not built"),
];

/// A vector, one number, a matrix and a kernel.
const SHAPES: [&[i64]; 4] = [&[3], &[1], &[5, 7], &[4, 2, 3, 3]];

struct Trial {
    rule: Box<dyn OptimizerRule>,
    bucket: Bucket,
    lr: Tensor,
    found_inf: Tensor,
}

impl Trial {
    fn new(config: &dyn OptimizerConfig) -> Result<Self> {
        let rule = config.build();
        let parameters: Vec<Tensor> = SHAPES.iter().map(|shape| wild(shape, 0.3, Kind::Float)).collect();
        let states = parameters.iter().map(|one| rule.state(one)).collect::<Result<Vec<_>>>()?;
        let names = states.first().map_or(0, Vec::len);
        let state = (0..names)
            .map(|at| states.iter().filter_map(|own| own.get(at)).map(|(_, t)| t.shallow_clone()).collect())
            .collect();
        let gradients = parameters.iter().map(Tensor::f_zeros_like).collect::<Result<_, _>>()?;
        let scalar = |value: f64| Tensor::f_full([0i64; 0], value, (Kind::Float, Device::Cpu));
        let bucket = Bucket { parameters, gradients, state, weight_decay: config.weight_decay() };
        Ok(Self { rule, bucket, lr: scalar(0.01)?, found_inf: scalar(0.0)? })
    }

    /// One step, with the gradients of half the squared length of all parameters.
    fn step(&self) -> Result<()> {
        for (gradient, parameter) in self.bucket.gradients.iter().zip(&self.bucket.parameters) {
            gradient.shallow_clone().f_copy_(parameter)?;
        }
        self.rule.step(&self.bucket, &self.lr, &self.found_inf)
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.bucket.parameters.iter().chain(self.bucket.state.iter().flatten()).map(Tensor::copy).collect()
    }

    fn load(&self, values: &[Tensor]) -> Result<()> {
        let own = self.bucket.parameters.iter().chain(self.bucket.state.iter().flatten());
        for (tensor, value) in own.zip(values) {
            tensor.shallow_clone().f_copy_(value)?;
        }
        Ok(())
    }

    fn length(&self) -> f64 {
        self.bucket.parameters.iter().map(|one| one.square().sum(Kind::Double).double_value(&[])).sum()
    }
}

fn same(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.equal(b))
}

/// Holds a rule with these settings to every promise.
pub(super) fn check(config: &dyn OptimizerConfig, at: &str, ledger: &mut Ledger) {
    let _guard = admix_torch::no_grad();
    let tests: &[Test<dyn OptimizerConfig>] =
        &[(STATE, state), (SKIP, skip), (RATE, rate), (LOWERS, lowers), (WAITS, waits)];
    ledger.hold_all(config, &at, tests);
}

fn state(config: &dyn OptimizerConfig) -> Check {
    let (first, second) = (Trial::new(config)?, Trial::new(config)?);
    for _ in 0..3 {
        first.step()?;
    }
    second.load(&first.tensors())?;
    first.step()?;
    second.step()?;
    ensure(same(&first.tensors(), &second.tensors()), || {
        "a step after loading differs from the step that was not interrupted".into()
    })
}

fn skip(config: &dyn OptimizerConfig) -> Check {
    let mut trial = Trial::new(config)?;
    trial.step()?;
    let before = trial.tensors();
    let _ = trial.found_inf.f_fill_(1.0)?;
    trial.step()?;
    ensure(same(&before, &trial.tensors()), || "a step with found_inf = 1 changed a tensor".into())
}

fn rate(config: &dyn OptimizerConfig) -> Check {
    let mut trial = Trial::new(config)?;
    let parameters = |trial: &Trial| trial.bucket.parameters.iter().map(Tensor::copy).collect::<Vec<_>>();
    let before = parameters(&trial);
    let _ = trial.lr.f_fill_(0.0)?;
    trial.step()?;
    ensure(same(&before, &parameters(&trial)), || "a rate of 0 moved a parameter".into())?;
    let _ = trial.lr.f_fill_(0.01)?;
    trial.step()?;
    ensure(!same(&before, &parameters(&trial)), || "a rate of 0.01 moved no parameter".into())
}

fn lowers(config: &dyn OptimizerConfig) -> Check {
    let trial = Trial::new(config)?;
    let before = trial.length();
    for _ in 0..100 {
        trial.step()?;
    }
    let after = trial.length();
    ensure(after < before, || format!("the squared length goes from {before} to {after} in 100 steps"))
}

fn waits(config: &dyn OptimizerConfig) -> Check {
    let trial = Trial::new(config)?;
    let counter = SyncCounter::start();
    let outcome = guarded(|| Ok(trial.step()?));
    let names = counter.names();
    outcome?;
    ensure(names.is_empty(), || format!("the host waited for {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use admix_api::{Choice, Kind as _, Registry, contract};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::optimizers::Sgd;

    #[test]
    fn every_optimiser_keeps_the_contract() {
        let registry = Registry::linked().expect("entries");
        assert!(registry.of::<dyn OptimizerRule>().count() >= 3);
        for entry in registry.of::<dyn OptimizerRule>() {
            let settings = [json!({}), json!({ "lr": 0.5 }), json!({ "weight_decay": 0.0 })];
            let verdicts = contract::check(entry, &settings);
            assert!(!verdicts.iter().any(contract::Verdict::is_broken), "{}", contract::table(&verdicts));
        }
        let (entry, _) = registry.find::<dyn OptimizerRule>("sgd").expect("an entry");
        let more = [json!({ "momentum": 0.0 }), json!({ "nesterov": true })];
        let verdicts = contract::check(entry, &more);
        assert!(!verdicts.iter().any(contract::Verdict::is_broken), "{}", contract::table(&verdicts));
        let (entry, _) = registry.find::<dyn OptimizerRule>("lars").expect("an entry");
        let more = [json!({ "momentum": 0.0 }), json!({ "adapt_vectors": true, "trust": 0.1 })];
        let verdicts = contract::check(entry, &more);
        assert!(!verdicts.iter().any(contract::Verdict::is_broken), "{}", contract::table(&verdicts));
    }

    /// Reads its rate from its settings, goes uphill, keeps its state in itself and reads the flag back.
    #[derive(Debug, Clone)]
    struct Wrong(Rc<std::cell::Cell<f64>>);

    impl OptimizerConfig for Wrong {
        fn lr(&self) -> f64 {
            0.1
        }
        fn weight_decay(&self) -> f64 {
            0.0
        }
        fn validate(&self) -> admix_api::Result<()> {
            Ok(())
        }
        fn build(&self) -> Box<dyn OptimizerRule> {
            Box::new(Self(Rc::new(0.0.into())))
        }
        fn resolved(&self) -> Json {
            json!({})
        }
    }

    impl OptimizerRule for Wrong {
        fn state(&self, _: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
            Ok(Vec::new())
        }
        fn step(&self, bucket: &Bucket, _: &Tensor, found_inf: &Tensor) -> Result<()> {
            let _ = found_inf.f_double_value(&[])?;
            self.0.set(self.0.get() + 0.1);
            for (parameter, gradient) in bucket.parameters.iter().zip(&bucket.gradients) {
                let _ = parameter.shallow_clone().f_add_(&gradient.f_mul_scalar(self.0.get())?)?;
            }
            Ok(())
        }
    }

    #[test]
    fn a_wrong_optimiser_breaks_every_promise() {
        let wrong = Wrong(Rc::new(0.0.into()));
        for test in [state, skip, rate, lowers, waits] {
            assert!(test(&wrong).is_err());
            assert!(test(&Sgd::default()).is_ok());
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |sgd: Sgd| {
            let choice = Choice::<dyn OptimizerRule>::new("sgd", (), Rc::new(sgd));
            choice.validate().expect_err("refused").to_string()
        };
        let text = refused(Sgd { lr: -1.0, ..Sgd::default() });
        assert_eq!(text, "lr is -1, expected a number above 0");
        assert!(refused(Sgd { momentum: 1.0, ..Sgd::default() }).starts_with("momentum is 1"));
        assert_eq!(<dyn OptimizerRule>::WORD, "optimiser");
    }
}
