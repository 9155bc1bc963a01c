//! Whether the mixers of a run can plan for its images, tried before the run starts.
//!
//! A plan is drawn, so one that works says little about the next: a mixer may refuse an image size for some draws alone,
//! or late in the run.

use std::collections::BTreeSet;

use admix_api::{Ask, Streams};

use crate::world::MixerUnit;
use crate::world::World;
use crate::{Error, Result};

/// Plans of one mixer for one size of images. A fault that hits a quarter of the draws is missed once in 10^8 runs.
const PLANS: u64 = 64;

/// What the dry calls found out about plans.
#[derive(Debug, Default)]
pub(crate) struct Tryout {
    /// Mixers by their number, with the height and the width of images that they planned for.
    tried: BTreeSet<(usize, i64, i64)>,
    /// The mixer that refused by naming a setting, and why.
    refused: Option<(String, admix_api::Error)>,
}

impl Tryout {
    /// Lets a mixer plan again and again, from the start of a run to its end, for images of this size. No draw of a
    /// step is spent.
    ///
    /// # Errors
    /// A plan failed.
    pub(crate) fn plans(&mut self, world: &World, index: usize, ask: &Ask) -> Result<()> {
        if !self.tried.insert((index, ask.height, ask.width)) {
            return Ok(());
        }
        let unit = &world.mixers[index];
        many(unit, ask, &world.streams).map_err(|error| match error {
            admix_api::Error::Range { .. } | admix_api::Error::Setting { .. } => {
                let said = Error::Input(error.to_string());
                self.refused = Some((unit.name.clone(), error));
                said
            }
            other => other.into(),
        })
    }

    /// The same for mixers that no dry call mixed by: a branch of the script may, later in the run.
    ///
    /// # Errors
    /// A plan failed.
    pub(crate) fn rest(&mut self, world: &World, [n, _, height, width]: [i64; 4]) -> Result<()> {
        for (index, unit) in world.mixers.iter().enumerate() {
            if unit.picks.is_empty() && !self.tried.iter().any(|(tried, ..)| *tried == index) {
                let pairing = unit.pairing.clone();
                let quiet = false;
                let (lambda, progress) = (None, 0.0);
                let ask = Ask { batch: n as usize, height, width, pairing, quiet, progress, lambda };
                self.plans(world, index, &ask)?;
            }
        }
        Ok(())
    }

    /// The mixer that refused by naming a setting, and why; once.
    pub(crate) fn refused(&mut self) -> Option<(String, admix_api::Error)> {
        self.refused.take()
    }
}

fn many(unit: &MixerUnit, ask: &Ask, streams: &Streams) -> admix_api::Result<()> {
    (0..PLANS).try_for_each(|plan| {
        let ask = Ask { progress: plan as f64 / (PLANS - 1) as f64, ..ask.clone() };
        unit.mixer.plan(&ask, &mut streams.draws("tryout", &unit.name, 0, plan)).map(drop)
    })
}
