//! The clusterers of a run.

use admix_api::{Streams, spans};
use admix_torch::{Device, Tensor};

use crate::Result;
use crate::clusterers::Clusterer;
use crate::method::Clock;
use crate::recipe::Recipe;
use crate::world::part::Part;
use crate::world::shape::Shape;

/// A clusterer by name.
#[derive(Debug)]
pub struct ClustererUnit {
    /// Its name in scripts.
    pub name: String,
    /// Its state.
    pub clusterer: Box<dyn Clusterer>,
    /// The class weight of this step, once asked for.
    class_weight: Option<Tensor>,
    /// Whether clusters were made anew since [`renewed`](Self::renewed) asked.
    renewed: bool,
}

impl ClustererUnit {
    /// The clusterers of a recipe for embeddings of this width.
    ///
    /// # Errors
    /// More clusters than the data can fill.
    pub(crate) fn all(recipe: &Recipe, shape: &Shape, width: i64, device: Device) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (name, choice) in &recipe.clusterers {
            // Without the data at hand, as in `admix show`, no number of clusters is too large.
            let samples = if shape.samples == 0 { usize::MAX } else { shape.samples };
            let refused = |error| recipe.plugin_error(&format!("clusterers.{name}"), error);
            choice.config.check(samples).map_err(refused)?;
            let clusterer = choice.config.build(shape.samples as i64, width, device)?;
            all.push(ClustererUnit { name: name.clone(), clusterer, class_weight: None, renewed: false });
        }
        Ok(all)
    }

    /// Whether clusters were made anew since this was asked.
    pub(crate) fn renewed(&mut self) -> bool {
        std::mem::take(&mut self.renewed)
    }

    /// The weight of each label, `[K]`: the same in all parts of a step, whatever they have updated meanwhile.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn class_weight(&mut self) -> Result<Tensor> {
        let weight = match self.class_weight.take() {
            Some(weight) => weight,
            None => self.clusterer.class_weight()?,
        };
        Ok(self.class_weight.insert(weight).shallow_clone())
    }
}

/// A step writes few of its many rows; the clusterer keeps those by itself.
impl Part for ClustererUnit {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.clusterer.tensors().into_iter();
        all.map(|(part, tensor)| (format!("bank.{}.{part}", self.name), tensor)).collect()
    }

    fn begin(&mut self) -> Result<()> {
        self.class_weight = None;
        Ok(())
    }

    fn close(&mut self, found_inf: &Tensor) -> Result<()> {
        let _timed = spans::part(|| format!("clusterer {} after the step", self.name), 0);
        self.clusterer.settle(found_inf)
    }

    fn undo(&mut self, always: &Tensor) -> Result<()> {
        self.clusterer.settle(always)
    }

    fn forget(&mut self) -> Result<()> {
        self.clusterer.forget();
        Ok(())
    }

    fn between(&mut self, streams: &Streams, clock: Clock) -> Result<()> {
        let _timed = spans::part(|| format!("clusterer {}", self.name), 0);
        let mut draws = streams.draws("cluster", &self.name, clock.epoch, clock.step);
        self.renewed |= self.clusterer.after_step(clock.step, &mut draws)?;
        Ok(())
    }

    fn loaded(&mut self) {
        self.clusterer.loaded();
    }
}
