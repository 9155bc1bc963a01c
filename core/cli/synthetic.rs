//! Random images of a dataset's size, so that steps can be timed without its files.

use admix_api::{Registry, uniform_field};
use admix_data::{Batch, Datasets, Info};
use admix_engine::Recipe;
use admix_torch::{Device, Kind, Tensor};
use anyhow::Result;

use crate::failure::bad_input;

/// What is known of a dataset without its files.
///
/// # Errors
/// The dataset is of the user's own and has no files.
pub fn image_facts(recipe: &Recipe, registry: &Registry) -> Result<Info> {
    let sets = Datasets::new(&recipe.data.root, registry);
    let name = &recipe.data.name;
    let (classes, [channels, height, width]) = match sets.of_recipe(&recipe.data).map(|set| set.about()) {
        Some(about) => (about.classes, about.shape),
        None => {
            let info = sets.info(name).map_err(|error| {
                bad_input(format!("--synthetic: the size of the images of `{name}` is not known: {error}"))
            })?;
            (info.classes, [info.channels, info.height, info.width])
        }
    };
    Ok(Info {
        name: format!("random images of the size of {name}"),
        classes,
        class_names: Vec::new(),
        channels,
        height,
        width,
        mean: vec![0.0; channels as usize],
        std: vec![1.0; channels as usize],
        train: 1000 * recipe.batch * recipe.accumulate,
        test: 0,
        unlabelled: 0,
        split: recipe.data.split,
        source: "made on the spot".into(),
    })
}

/// Random images `[N, C, H, W]` of mean 0 and variance 1, as many views as the recipe says and of the sizes that it says.
///
/// # Errors
/// The recipe says none.
pub fn random_batch(recipe: &Recipe, info: &Info, number: usize, device: Device) -> Result<Batch> {
    let n = recipe.batch as i64;
    let key = Tensor::from(number as i64).f_to_device(device)?;
    let mut views = Vec::new();
    for (count, augment) in recipe.data.groups() {
        let (height, width) = augment.config.size().map_or((info.height, info.width), |size| (size, size));
        let all = uniform_field(&key, &[count as i64 * n, info.channels, height, width])?;
        // Mean 0, variance 1, as of normalised images.
        let all = all.f_sub_scalar(0.5)?.f_mul_scalar(12f64.sqrt())?;
        for view in 0..count as i64 {
            views.push(all.f_narrow(0, view * n, n)?);
        }
    }
    let index = Tensor::f_arange(n, (Kind::Int64, device))?;
    let labels = index.f_remainder(info.classes.max(1) as i64)?;
    Batch::of_views(views, labels, index).ok_or_else(|| bad_input("`data.views` is 0, expected at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_images_need_no_files() {
        let registry = admix_engine::registry().expect("plugins");
        let text = r#"(epochs: 1, batch: 4, data: (name: "cifar100"), method: "mixup")"#;
        let recipe = Recipe::parse(text, "x", &[], &registry).expect("a recipe");
        let info = image_facts(&recipe, &registry).expect("known");
        assert_eq!((info.classes, info.channels, info.height), (100, 3, 32));
        let batch = random_batch(&recipe, &info, 1, Device::Cpu).expect("a batch");
        assert_eq!(batch.images.size(), [4, 3, 32, 32]);
        assert!(batch.images.mean(Kind::Double).double_value(&[]).abs() < 0.05);
        assert_eq!(batch.labels.size(), [4]);
    }

    #[test]
    fn views_have_the_sizes_of_their_groups() {
        let registry = admix_engine::registry().expect("plugins");
        let text = r#"(epochs: 1, batch: 4, method: "mixup", data: (name: "cifar100", views: [
            (count: 2, augment: Moco()), (count: 3, augment: Moco(size: 12))]))"#;
        let recipe = Recipe::parse(text, "x", &[], &registry).expect("a recipe");
        let info = image_facts(&recipe, &registry).expect("known");
        let batch = random_batch(&recipe, &info, 1, Device::Cpu).expect("a batch");
        let sizes: Vec<_> = batch.views.iter().map(Tensor::size).collect();
        let (large, small) = (vec![4, 3, 32, 32], vec![4, 3, 12, 12]);
        assert_eq!(sizes, [&large, &large, &small, &small, &small].map(Clone::clone));
    }
}
