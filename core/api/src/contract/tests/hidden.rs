//! A mixer that mixes inside of a network, with at most one vice.

use serde_json::json;

use super::super::mixes::HIDDEN;
use super::{alone, broken, check, idle, table};
use crate::contract::Outcome;
use crate::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
enum Vice {
    #[default]
    None,
    MovesImages,
    NoMask,
    MaskOfAMap,
    MaskOutside,
    Shares,
    Deeper,
    SaysNothing,
    OneStructure,
    CreditsAnything,
}

/// Recipe: `Deep(vice: Shares)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Deep {
    /// What it does wrong.
    vice: Vice,
    /// Whether the mask has the images' size.
    spatial: bool,
}

crate::mixer! {
    Deep, "deep", "a mix inside of a network", source: "no paper", pairing: Pairing::alpha(1.0)
}

impl MixerConfig for Deep {
    fn needs(&self) -> Needs {
        let hidden = (self.vice != Vice::SaysNothing).then_some(2);
        Needs { hidden, ..Needs::images() }
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

impl Mixer for Deep {
    fn needs(&self) -> Needs {
        MixerConfig::needs(self)
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let plan = Plan::draw(ask, draws)?;
        let stage = draws.below(3);
        if self.vice == Vice::OneStructure {
            // What tells the stages apart is the length of a value.
            return Ok(plan.with("stage", Value::Ints(vec![0; stage + 1])).structured(7));
        }
        Ok(plan.structured(stage as u64))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let share = plan.lambda_over_images(Kind::Float)?.f_reshape([-1, 1, 1, 1])?;
        let stage = match self.vice {
            Vice::OneStructure => plan.get("stage")?.size1()? as usize - 1,
            Vice::Deeper => 2 * plan.structure() as usize,
            _ => plan.structure() as usize,
        };
        if stage == 0 {
            let images = input
                .partners(&partner)?
                .f_lerp_tensor(input.images, &share.f_to_kind(input.images.kind())?)?;
            return Ok(Mixed::pair(images, partner, plan.lambda()?));
        }
        let mask = match self.vice {
            Vice::MaskOfAMap => share.f_expand([n, 1, height / 2, width / 2], false)?,
            Vice::MaskOutside => share.f_add_scalar(0.7)?,
            _ if self.spatial => share.f_expand([n, 1, height, width], false)?.f_mul_scalar(1.0)?,
            _ => share,
        };
        let mut mixed = Mixed::hidden(stage, input.images, mask, partner, plan.lambda()?);
        match self.vice {
            Vice::MovesImages => mixed.images = input.images.f_roll([1i64], [3i64])?,
            Vice::NoMask => mixed.mask = None,
            Vice::CreditsAnything => {
                mixed.credit = Mixed::pair(Tensor::new(), plan.partner()?, Tensor::from(0.123f32)).credit
            }
            Vice::Shares => {
                let (sources, shares) = mixed.credit.shares()?;
                mixed.credit = Credit::Shares { sources, shares };
            }
            _ => {}
        }
        Ok(mixed)
    }
}

#[test]
fn a_hidden_mix_without_a_vice_keeps_every_promise() {
    let _alone = alone();
    for settings in [json!({}), json!({"spatial": true})] {
        let verdicts = check(&Deep::entry(), std::slice::from_ref(&settings));
        assert_eq!(broken(&verdicts), Vec::<&str>::new(), "{settings}\n{}", table(&verdicts));
        let kept = |promise: &str| {
            verdicts.iter().any(|v| v.promise == promise && matches!(v.outcome, Outcome::Kept { .. }))
        };
        assert!(kept(HIDDEN) && kept("a mask is [N, 1, H, W] in [0, 1]"), "{}", table(&verdicts));
        let nothing = [
            "images follow their mask",
            "extras are tensors",
            "what is missing or unfit is an error in one line",
            "a loud mix gives its parameters finite gradients",
        ];
        let mut found = idle(&verdicts);
        found.sort_by_key(|promise| nothing.iter().position(|one| one == promise));
        assert_eq!(found, nothing, "{}", table(&verdicts));
    }
}

#[test]
fn a_vice_of_a_hidden_mix_breaks_its_own_promise() {
    let _alone = alone();
    for (vice, promise, message) in [
        (Vice::MovesImages, HIDDEN, "not those it was given"),
        (Vice::NoMask, HIDDEN, "the mask of a hidden mix has shape []"),
        (Vice::MaskOfAMap, HIDDEN, "expected [1 or 1, 1 or D, 1, 1] or [1 or 1, 1, 8, 8]"),
        (Vice::MaskOutside, "a mask is [N, 1, H, W] in [0, 1]", "the mask goes from"),
        (Vice::Shares, HIDDEN, "the credit of a hidden mix"),
        (Vice::Deeper, HIDDEN, "it happens at stage 4, and `hidden` in its needs goes down to stage 2"),
        (Vice::SaysNothing, HIDDEN, "in its needs names none"),
        (Vice::CreditsAnything, "a pair is credited with the planned lambda or the area", "0.123"),
    ] {
        let verdicts = check(&Deep::entry(), &[json!({"vice": vice})]);
        assert_eq!(broken(&verdicts), [promise], "{vice:?}\n{}", table(&verdicts));
        let told = table(&verdicts);
        assert!(told.contains(message), "{vice:?}: {told}");
    }
    // Two promises, as another length is another form too.
    let verdicts = check(&Deep::entry(), &[json!({"vice": Vice::OneStructure})]);
    assert_eq!(broken(&verdicts), ["plans keep their names", HIDDEN], "{}", table(&verdicts));
    assert!(table(&verdicts).contains("plans of the structure 7 mix at stage"), "{}", table(&verdicts));
}
