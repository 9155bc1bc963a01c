//! Mixes outside of training, for people to look at.

use admix_api::{Ask, Draws, MixInput, Plan, Value, over_images};
use admix_torch::Tensor;

use crate::method::MixReport;
use crate::session::Session;
use crate::world::World;
use crate::{Error, Result, text};

impl Session {
    /// The mixers that mixes of this name are made by: those that a choice picks from, or the mixer itself.
    ///
    /// # Errors
    /// No mixer of this name.
    pub fn mixers_of(&self, mixer: &str) -> Result<Vec<String>> {
        let world = self.world();
        let unit = &world.mixers[unit_index(&world, mixer)?];
        if unit.picks.is_empty() {
            return Ok(vec![unit.name.clone()]);
        }
        Ok(unit.picks.iter().map(|(index, _)| world.mixers[*index].name.clone()).collect())
    }

    /// The plan of a mix outside of training: this lambda and these partners; what else the mixer chooses (boxes,
    /// coins) is drawn. Of a mixer that plans no partners, as it mixes more than pairs, everything is drawn.
    ///
    /// # Errors
    /// No mixer of this name, or images that are not `[N, C, H, W]`.
    pub fn plan_for(
        &self,
        mixer: &str,
        images: &Tensor,
        lambda: f64,
        partner: &[i64],
        draws: &mut Draws,
    ) -> Result<Plan> {
        let world = self.world();
        let unit = &world.mixers[mixer_index(&world, mixer)?];
        let (_, _, height, width) = MixInput::of(images).nchw()?;
        let pairing = unit.pairing.clone();
        let lambda = Some(lambda);
        let ask = Ask {
            batch: partner.len(),
            height,
            width,
            pairing,
            lambda,
            quiet: true,
            progress: self.clock().progress(),
        };
        let plan = unit.plan(&ask, draws)?;
        // A mixer that mixes more than pairs plans no partners, and has no place for given ones.
        Ok(match plan.value("partner") {
            Ok(_) => plan.with("partner", Value::Ints(partner.to_vec())),
            Err(_) => plan,
        })
    }

    /// Mixes images outside of training: networks and mixer in evaluation mode, no graph, nothing learned, masks as
    /// the mixer makes them (what it does to an encoder's lesson alone, such as adjusting, is left out). A mixer
    /// that reads features gets those of the first momentum network, or of the first network if there is none. One that
    /// reads saliency gets that of the cross-entropy of the first trained network, for `labels`, `[N]` int64; they stand in
    /// for pseudo labels too.
    ///
    /// A mix that happens inside of a network is shown as the mix of the images by the same mask; the report says at
    /// which stage it happens.
    ///
    /// # Errors
    /// No mixer of this name, or an input that does not fit.
    pub fn mix(&mut self, mixer: &str, images: &Tensor, labels: &Tensor, plan: &Plan) -> Result<MixReport> {
        let world = &mut *self.world_mut();
        let index = mixer_index(world, mixer)?;
        let _guard = admix_torch::no_grad();
        let features = match world.mixers[index].needs.features {
            Some(stage) => {
                let net = world.nets.iter().find(|n| !n.trained).or(world.nets.first());
                let net = net.ok_or_else(|| Error::Input("there is no network".into()))?;
                let map = net.network.backbone().forward_to(stage, images, &admix_models::Pass::EVALUATE)?;
                Some(map.cells()?)
            }
            None => None,
        };
        let saliency = match world.mixers[index].needs.saliency {
            true => Some(world.saliency(images, labels)?),
            false => None,
        };
        let planned = plan.on(world.device)?;
        let unit = &mut world.mixers[index];
        unit.mixer.train(false);
        let input = MixInput {
            features: features.as_ref(),
            saliency: saliency.as_ref(),
            pseudo: unit.needs.pseudo.then_some(labels),
            ..MixInput::of(images)
        };
        let mixed = unit.mixer.mix(&input, &planned);
        unit.mixer.train(true);
        let mut mixed = mixed?;
        if mixed.hidden.is_some_and(|hidden| hidden.stage > 0) {
            unit.check_hidden(&mixed, images)?;
            let (n, _, height, width) = images.size4()?;
            if mixed.map.take().is_some() && mixed.mask.is_none() {
                // A picture has no such map: what can be seen is the share.
                mixed.mask =
                    Some(over_images(&mixed.lambda(&planned)?, images.kind())?.f_reshape([-1i64, 1, 1, 1])?);
            }
            // Shares of single channels have no place in a picture.
            let flat = |mask: Tensor| mask.f_mean_dim([1i64].as_slice(), true, None);
            mixed.mask = mixed.mask.map(flat).transpose()?;
            mixed.images = mixed.blended(images, images)?;
            let whole = |mask: Tensor| mask.f_expand([n, 1, height, width], false);
            mixed.mask = mixed.mask.map(whole).transpose()?;
        }
        MixReport::of(&mixed, &planned, saliency.as_ref())
    }
}

fn unit_index(world: &World, mixer: &str) -> Result<usize> {
    text::find("mixer", mixer, "there is", || world.mixers.iter().map(|unit| unit.name.as_str()))
}

/// A mixer that mixes itself: no choice.
fn mixer_index(world: &World, mixer: &str) -> Result<usize> {
    let index = unit_index(world, mixer)?;
    let unit = &world.mixers[index];
    if unit.picks.is_empty() { Ok(index) } else { Err(crate::choice::no_mixer(&world.mixers, unit)) }
}
