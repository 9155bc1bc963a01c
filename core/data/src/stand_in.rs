//! A dataset without images, for checks where its files are not there.

use admix_api::Registry;
use admix_torch::Device;

use crate::config::DataConfig;
use crate::dataset::Dataset;
use crate::datasets::About;
use crate::info::IMAGENET;
use crate::lookup::Datasets;
use crate::open::{laws, normalisation, of_folder_view, own_normalisation};
use crate::resident::Resident;
use crate::{Info, Result, TrainSplit};

impl Dataset {
    /// A dataset with the facts of the one that a recipe names: classes, sizes, normalisation, numbers of images. It has no
    /// image. `None` where not enough is known without the files.
    ///
    /// # Errors
    /// A setting out of range, also one that does not fit to this dataset.
    pub fn stand_in(config: &DataConfig, registry: &Registry, device: Device) -> Result<Option<Self>> {
        config.validate()?;
        let sets = Datasets::new(&config.root, registry);
        if config.fold.is_some() {
            // How many images a fold has, its files say.
            return Ok(None);
        }
        let set = sets.of_recipe(config);
        let one_size = set.as_ref().is_some_and(|set| !set.is_streamed());
        let about = match set {
            Some(set) if set.is_streamed() => {
                sets.check_parts_of_files(config)?;
                let (about, view) = (set.about(), of_folder_view(config)?);
                About { shape: [about.shape[0], view, view], unlabelled: about.train, ..about }
            }
            Some(set) => set.about(),
            None if config.name == "imagenet" => imagenet(of_folder_view(config)?),
            None => return Ok(None),
        };
        sets.check_parts(config, (about.unlabelled, about.folds))?;
        let mut info = info(about, config);
        own_normalisation(config, &mut info)?;
        let laws = laws(config, &info, device, one_size)?;
        let (scale, shift) = normalisation(&info, device)?;
        let split = |n: usize| Resident::without_pixels(&vec![0; n], &info, device);
        let labelled = if info.split.labelled() { None } else { Some(split(info.train)?) };
        let (train, test) = (split(info.train)?, split(info.test)?);
        Ok(Some(Self { train, labelled, test, laws, scale, shift, device, info, stream: None }))
    }
}

/// What is known of ILSVRC2012; its images are cut to squares of this size.
fn imagenet(size: i64) -> About {
    About {
        classes: 1000,
        class_names: Vec::new(),
        shape: [3, size, size],
        mean: IMAGENET.mean.to_vec(),
        std: IMAGENET.std.to_vec(),
        train: 1_281_167,
        test: 50_000,
        unlabelled: 0,
        folds: 0,
    }
}

fn info(about: About, config: &DataConfig) -> Info {
    let all = about.train;
    let labelled = config.per_class.map_or(all, |most| all.min(most.saturating_mul(about.classes)));
    let (unlabelled, test) = (about.unlabelled, about.test);
    let train = match config.split {
        TrainSplit::Train => labelled,
        TrainSplit::Unlabelled => unlabelled,
        TrainSplit::TrainUnlabelled => labelled + unlabelled,
    };
    Info { unlabelled, split: config.split, ..about.info(&config.name, (train, test), "made up".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataConfig;

    #[test]
    fn the_facts_of_a_set_are_known_without_its_files() {
        let registry = admix_api::Registry::linked().expect("a registry");
        let of = |name: &str| {
            let config = DataConfig { name: name.into(), root: "/nowhere".into(), ..DataConfig::default() };
            Dataset::stand_in(&config, &registry, Device::Cpu).expect("a stand-in")
        };
        let cifar = of("cifar100").expect("known");
        assert_eq!((cifar.info().classes, cifar.info().train, cifar.view_size()), (100, 50_000, (32, 32)));
        assert!(of("pets").is_none());
    }
}
