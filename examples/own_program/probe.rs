//! Nearest mean: each test image gets the class whose mean features are the most alike.

use admix_api::unit;
use admix_data::Split;
use admix_engine::{Accuracy, AfterEpoch, Features, Measured, Probe, Result};
use admix_torch::{Kind, Tensor, no_grad};

admix_api::settings! {
    /// Has no settings. Recipe: `NearestMean`.
    pub struct NearestMean {}
}

admix_api::describe! {
    dyn Probe, dyn Probe: NearestMean, "NearestMean", "nearest_mean", "accuracy of the nearest mean of a class",
    source: "Mensink et al., ECCV 2012", served: ()
}

impl Probe for NearestMean {
    fn validate(&self) -> admix_api::Result<()> {
        Ok(())
    }

    fn measure(&self, features: &dyn Features, _: AfterEpoch<'_>) -> Result<Measured> {
        let _guard = no_grad();
        let (given, labels) = features.whole(Split::Labelled)?;
        let (test, wanted) = features.whole(Split::Test)?;
        // Means and sums have the same direction.
        let sums = Tensor::f_zeros([features.classes(), features.width()], (Kind::Float, given.device()))?;
        let means = unit(&sums.f_index_add(0, &labels, &given)?)?;
        let scores = unit(&test)?.f_matmul(&means.f_tr()?)?;
        let hits = |guesses: i64| -> Result<f64> {
            let (_, best) = scores.f_topk(guesses.min(features.classes()), 1, true, true)?;
            let right = best.f_eq_tensor(&wanted.f_unsqueeze(1)?)?.f_sum(Kind::Double)?;
            Ok(100.0 * right.f_double_value(&[])? / wanted.size()[0] as f64)
        };
        let loss =
            scores.f_cross_entropy_loss::<Tensor>(&wanted, None, admix_torch::Reduction::Mean, -100, 0.0)?;
        let accuracy = Accuracy {
            top1: hits(1)?,
            top5: hits(5)?,
            loss: loss.f_double_value(&[])?,
            images: wanted.size()[0] as usize,
        };
        Ok(Measured { accuracy, best_top1: None, decided: serde_json::Map::new() })
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}
