//! Bundled recipes on generated images, with the fewest channels.

use std::str::FromStr;

use admix_api::Streams;
use admix_data::{Batch, Dataset, Split};
use admix_engine::{Override, Recipe, Session, method_of, registry, session_of};
use admix_torch::Device;

use crate::program::recipes::small;

/// What a session of such a recipe takes.
pub struct Toy {
    pub recipe: Recipe,
    pub dataset: Dataset,
    pub session: Session,
}

impl Toy {
    /// The recipe of this text and name, with further changes.
    pub fn new(name: &str, text: &str, more: &[&str]) -> Self {
        admix_torch::set_threads(1);
        let flags = small(text).into_iter().filter(|flag| flag != "--set");
        // Long enough for schedules that move.
        let flags = flags.chain(["epochs=20".to_string()]).chain(more.iter().map(ToString::to_string));
        let overrides: Vec<Override> =
            flags.map(|flag| Override::from_str(&flag).expect("path=value")).collect();
        let registry = registry().expect("a registry");
        let recipe =
            Recipe::parse(text, name, &overrides, &registry).unwrap_or_else(|e| panic!("{name}: {e}"));
        let dataset = Dataset::open(&recipe.data, &registry, Device::Cpu, Streams::new(recipe.seed))
            .expect("a data set");
        let method = method_of(&recipe, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut session = session_of(&recipe, method, &registry, dataset.info(), Device::Cpu)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let all = dataset.clean_batch(Split::Train, 0, dataset.len(Split::Train)).expect("images");
        session.start_clusterers([Ok(all.images)]).expect("clusterers");
        Self { recipe, dataset, session }
    }

    /// The batch of a step.
    pub fn batch(&self, step: u64) -> Batch {
        let streams = Streams::new(self.recipe.seed);
        let order = self.dataset.order(&mut streams.draws("order", "", step, 0)).expect("an order");
        let index = order.narrow(0, 0, self.recipe.batch as i64);
        self.dataset.train_views(&index, streams, 0, step).expect("a batch")
    }
}
