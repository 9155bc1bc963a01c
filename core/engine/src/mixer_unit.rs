//! A mixer of a run.

use admix_api::{Ask, Draws, Hidden, Mixed, Mixer, Needs, Pairing, Plan, Store};
use admix_torch::Tensor;

use crate::Result;

/// A mixer by name.
#[derive(Debug)]
pub struct MixerUnit {
    /// Its name in scripts.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// The policy.
    pub mixer: Box<dyn Mixer>,
    /// What it reads.
    pub needs: Needs,
    /// For messages, where the plugin is not part of this program: its results are examined.
    pub watched: Option<String>,
    /// The settings that the host serves.
    pub pairing: Pairing,
    /// Of a choice: the mixers that it picks from, with their weights. Empty for every other mixer.
    pub picks: Vec<(usize, f64)>,
    /// Its tensors.
    pub store: Store,
}

impl MixerUnit {
    /// Whether it has parameters of its own.
    pub fn trained(&self) -> bool {
        !self.store.parameters().is_empty()
    }

    /// A plan of a mix. An error names the mixer beside the setting.
    pub(crate) fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        use admix_api::Error::{Range, Setting};
        let owned = |setting: String| format!("`{setting}` of the mixer `{}`", self.name);
        Ok(self.mixer.plan(ask, draws).map_err(|error| match error {
            Range { what, got, wanted } => Range { what: owned(what), got, wanted },
            Setting { setting, message } => Setting { setting: owned(setting), message },
            other => other,
        })?)
    }

    /// Whether its part of a step is tensor work alone, so that a captured graph can do it again.
    pub(crate) fn on_device(&self) -> bool {
        self.needs.capturable && !self.needs.host_solver
    }

    /// Whether a mix of these images keeps to what its mixer said of mixes inside of networks. Reads nothing back.
    ///
    /// # Errors
    /// A stage deeper than the mixer's `needs` name, or a mask or credit that no map can be mixed by.
    pub(crate) fn check_hidden(&self, mixed: &Mixed, images: &Tensor) -> Result<()> {
        let Some(Hidden { stage }) = mixed.hidden else { return Ok(()) };
        let plugin =
            self.watched.clone().unwrap_or_else(|| format!("mixer `{}` ({})", self.name, self.plugin));
        let refused = |message: String| admix_api::Error::Plugin { plugin: plugin.clone(), message };
        if Some(stage) > self.needs.hidden {
            let wanted = match self.needs.hidden {
                Some(deepest) => format!("only stages up to {deepest}"),
                None => "no mixes inside of a network (`hidden`)".into(),
            };
            return Err(refused(format!("`mix` mixes at stage {stage}, but its needs name {wanted}")).into());
        }
        let size = <[i64; 4]>::from(images.size4()?);
        mixed.check_hidden(size).map_err(|error| refused(format!("`mix` is refused: {error}")).into())
    }
}
