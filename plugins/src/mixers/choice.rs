//! Choice: each mix is made by one of the recipe's other mixers, picked at random.
//!
//! Source  OpenMixup's `mix_mode` lists and timm's `switch_prob`: a batch is mixed by one of several policies.
//! Input   what the mixers that it picks from read, taken together.
//! Output  that of the mixer that was picked.
//! Errors  no mixers, weights below 0, or weights that are all 0. That the names are mixers of the recipe, and no choices
//!         themselves, is checked where the recipe is known.
//!
//! The host makes the choice, when a step records the mix: from a stream of its own under the mix's name, so the draws of
//! the mixer that is picked are those that it would have alone. What is recorded is a mix of that mixer; here is nothing
//! but the weights. A script's `schedule` may give others for a step.

use std::collections::BTreeMap;

use admix_api::mixer;
use admix_api::prelude::*;

/// Recipe: `Choice(of: {"mixup": 0.5, "cutmix": 0.5})`, beside mixers of these names. The settings of the host, such as
/// `alpha`, are those of the mixer that is picked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choice {
    /// Mixers of the same recipe, by the names that it gives them, with their weights: numbers from 0, not all 0. A mixer
    /// is picked with its share of the sum.
    pub of: BTreeMap<String, f64>,
}

impl MixerConfig for Choice {
    fn validate(&self) -> Result<()> {
        let wanted = "mixers of the recipe with weights, such as {\"mixup\": 0.5, \"cutmix\": 0.5}";
        let range =
            |what: String, got: &dyn std::fmt::Display, wanted: &str| Err(Error::range(what, got, wanted));
        if self.of.is_empty() {
            return range("of".into(), &"empty", wanted);
        }
        if let Some((name, weight)) =
            self.of.iter().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0))
        {
            return range(format!("of.{name}"), weight, "a finite number from 0");
        }
        if self.of.values().all(|weight| *weight == 0.0) {
            return range("of".into(), &"a choice among weights that are all 0", "at least one above 0");
        }
        Ok(())
    }

    fn ignores(&self) -> &'static [&'static str] {
        // Its mixers have their own; whether a batch is mixed at all is settled before one is picked.
        &["alpha", "per", "fold", "partner"]
    }

    fn choices(&self) -> Option<&BTreeMap<String, f64>> {
        Some(&self.of)
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

impl Choice {
    fn picked_by_the_host(&self) -> Error {
        let names: Vec<&str> = self.of.keys().map(String::as_str).collect();
        Error::plugin(
            "choice",
            format!("mixes nothing itself: mix by one of the mixers it names, {}", names.join(", ")),
        )
    }
}

impl Mixer for Choice {
    fn plan(&self, _ask: &Ask, _draws: &mut Draws) -> Result<Plan> {
        Err(self.picked_by_the_host())
    }

    fn mix(&mut self, _input: &MixInput<'_>, _plan: &Planned) -> Result<Mixed> {
        Err(self.picked_by_the_host())
    }
}

mixer! {
    Choice, "choice", "one of the recipe's other mixers for each mix, picked at random",
    source: "as in OpenMixup (mix_mode) and timm (switch_prob)", pairing: Pairing::default(),
    example: serde_json::json!({"of": {"mixup": 0.5, "cutmix": 0.5}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(of: &[(&str, f64)]) -> Choice {
        Choice { of: of.iter().map(|(name, weight)| (name.to_string(), *weight)).collect() }
    }

    #[test]
    fn weights_need_no_sum_of_one_but_are_not_negative_and_not_all_zero() {
        assert!(choice(&[("a", 3.0), ("b", 0.0)]).validate().is_ok());
        let message = |of: &[(&str, f64)]| choice(of).validate().unwrap_err().to_string();
        assert!(message(&[]).contains("of is empty"), "{}", message(&[]));
        assert!(message(&[("a", 1.0), ("b", -0.5)]).contains("of.b is -0.5"));
        assert!(message(&[("a", f64::NAN)]).contains("of.a is NaN"));
        assert!(message(&[("a", f64::INFINITY)]).contains("of.a"));
        assert!(message(&[("a", 0.0), ("b", 0.0)]).contains("all 0"));
    }

    #[test]
    fn without_a_host_it_says_what_to_mix_by() {
        let images = Tensor::ones([2, 1, 2, 2], (Kind::Float, Device::Cpu));
        let mut mixer = choice(&[("mixup", 1.0), ("cutmix", 1.0)]);
        let plan = Plan::given(0.5, &[1, 0]).on(Device::Cpu).unwrap();
        let message = mixer.mix(&MixInput::of(&images), &plan).unwrap_err().to_string();
        assert!(message.contains("cutmix, mixup"), "{message}");
    }
}
