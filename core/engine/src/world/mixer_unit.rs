//! A mixer of a run.

use admix_api::{
    Ask, Draws, Hidden, Mixed, Mixer, MixerConfig, MixerContext, Needs, Pairing, Plan, Registry, Store,
    Streams, spans,
};
use admix_torch::{Device, Tensor};

use crate::Result;
use crate::recipe::Recipe;
use crate::world::net::Net;
use crate::world::part::{Parameter, Part, named, named_parameters};
use crate::world::plugin::watched;
use crate::world::shape::Shape;

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
    /// The mixers of a recipe, in its order, for these networks. Choices among them are not linked yet.
    ///
    /// # Errors
    /// A stage that the networks do not have, settings out of range.
    pub(crate) fn all(
        recipe: &Recipe,
        registry: &Registry,
        shape: &Shape,
        nets: &[Net],
        streams: &Streams,
        device: Device,
    ) -> Result<Vec<Self>> {
        let mut mixers = Vec::new();
        for (name, choice) in &recipe.mixers {
            let needs = choice.config.needs();
            let store = Store::new(device, streams.fork(name));
            let context = MixerContext {
                feature_channels: feature_channels(recipe, name, choice.config.as_ref(), &nets[0])?,
                mean: shape.mean.clone(),
                std: shape.std.clone(),
                classes: shape.classes,
            };
            let mut mixer = choice.config.build(&store.root(), &context)?;
            mixer.train(true);
            let (entry, _) = registry.find::<dyn Mixer>(&choice.plugin)?;
            let watched = watched(entry, name, &choice.config.resolved(), &recipe.scripts);
            mixers.push(Self {
                name: name.clone(),
                plugin: choice.plugin.clone(),
                mixer,
                needs: Needs { pseudo: needs.pseudo || choice.served.partner.needs_pseudo(), ..needs },
                watched,
                pairing: choice.served.clone(),
                picks: Vec::new(),
                store,
            });
        }
        Ok(mixers)
    }

    /// Refuses `prob` and `until` of mixers that learn, also of a choice among such: a batch that is not mixed teaches them
    /// nothing, and their terms would reach no parameter.
    ///
    /// # Errors
    /// One has them.
    pub(crate) fn refuse_resting(recipe: &Recipe, units: &[Self]) -> Result<()> {
        let learns = |unit: &Self| {
            let picks = unit.picks.iter().map(|(index, _)| &units[*index]);
            picks.chain([unit]).find(|unit| unit.trained()).map(|unit| unit.name.clone())
        };
        for unit in units.iter().filter(|unit| unit.pairing.may_rest()) {
            let Some(trained) = learns(unit) else { continue };
            let setting = if unit.pairing.prob < 1.0 { "prob" } else { "until" };
            let message =
                format!("is for mixers without parameters; `{trained}` is trained, so it mixes every batch");
            return Err(recipe.field_error(&format!("mixers.{}.{setting}", unit.name), message));
        }
        Ok(())
    }

    /// Whether it has parameters of its own.
    pub fn trained(&self) -> bool {
        !self.store.parameters().is_empty()
    }

    /// Its parameters.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        self.store.parameters().into_iter().map(|(_, parameter, _)| parameter).collect()
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

impl MixerUnit {
    fn owner(&self) -> String {
        format!("mixer.{}", self.name)
    }

    fn after_step(&mut self) -> Result<()> {
        let _timed = spans::part(|| format!("{} after the step", self.name), 0);
        let _guard = admix_torch::no_grad();
        Ok(self.mixer.after_step()?)
    }
}

impl Part for MixerUnit {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        named(&self.owner(), self.store.tensors())
    }

    fn parameters(&self) -> (Vec<Parameter>, Option<&str>) {
        (named_parameters(&self.owner(), &self.store), Some(&self.name))
    }

    /// All it has, as `after_step` may change it.
    fn early(&self) -> Vec<Tensor> {
        self.store.tensors().into_iter().map(|(_, tensor)| tensor).collect()
    }

    fn running(&self) -> Vec<Tensor> {
        self.store.buffers().into_iter().map(|(_, buffer)| buffer).collect()
    }

    fn is_on_host(&self) -> bool {
        !self.on_device()
    }

    fn close(&mut self, _: &Tensor) -> Result<()> {
        if self.on_device() { self.after_step() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        if self.on_device() { Ok(()) } else { self.after_step() }
    }
}

/// The channels of the map that a mixer reads, if it reads one.
fn feature_channels(recipe: &Recipe, name: &str, config: &dyn MixerConfig, net: &Net) -> Result<Option<i64>> {
    let needs = config.needs();
    let backbone = net.network.backbone();
    let last = backbone.stages();
    let refused = |field: &str, message: String| recipe.field_error(field, message);
    if let Some(stage) = needs.features.filter(|stage| *stage > last) {
        let message = format!("is {stage}, but the network has {last} stages: expected 1 to {last}");
        return Err(refused(&format!("mixers.{name}.stage"), message));
    }
    if let Some(deepest) = needs.hidden.filter(|deepest| *deepest > last) {
        // Most mixers have a setting for it; else the mixer as a whole is meant.
        let settings = config.resolved();
        let setting = ["stages", "stage"].into_iter().find(|name| settings.get(name).is_some());
        let field = setting.map_or(format!("mixers.{name}"), |own| format!("mixers.{name}.{own}"));
        let message = format!(
            "mixes at stages up to {deepest}, but the network has {last}: expected 0 (the images) to {last}"
        );
        return Err(refused(&field, message));
    }
    Ok(needs.features.map(|stage| backbone.channels(stage)))
}
