//! Augmentations as a kind of the registry, and what every one of them promises.

use admix_api::contract::{BUILT, Check, Ledger, Promise, ensure};
use admix_api::{Kind, Streams, SyncCounter};
use admix_torch::{Device, Kind as Type, Tensor};
use serde_json::Value as Json;

use super::kind::{AugmentChoice, Augmentation, AugmentationConfig, Setup};
use super::views::Views;
use crate::config::DataConfig;
use crate::dataset::Dataset;
use crate::source::{Images, Part, Source};
use crate::{Batch, Info, Result, TrainSplit};

const SHAPES: &str = "views have the size that is said";
const RANGE: &str = "views are numbers from 0 to 255, and whole ones if it says so";
const SAME: &str = "the same draws give the same views";
const OTHERS: &str = "other draws give other views";
const ALONE: &str = "a view does not depend on the other views";
const WAITS: &str = "views do not wait for the device";
const INPUTS: &str = "images are left alone";
const CROPS: &str = "crops are parts of the image";
const LABELS: &str = "labels are those of the images";
const THREADS: &str = "any number of threads gives the same views";

const NONE: &str = "it was not built";
const PROMISES: &[Promise] = &[
    (SHAPES, NONE),
    (RANGE, NONE),
    (SAME, NONE),
    (OTHERS, NONE),
    (ALONE, NONE),
    (WAITS, NONE),
    (INPUTS, NONE),
    (CROPS, "its views are not crops that threads make"),
    (LABELS, NONE),
    (THREADS, NONE),
];

impl Kind for dyn Augmentation {
    const WORD: &'static str = "augmentation";
    const EXAMPLE: &'static str = "Moco(size: 96)";
    /// `augment: Shift` is as old as recipes are.
    const BARE: bool = true;
    type Config = dyn AugmentationConfig;
    type Served = ();

    fn promises() -> Vec<Promise> {
        PROMISES.to_vec()
    }

    fn validate(config: &dyn AugmentationConfig) -> admix_api::Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn AugmentationConfig) -> Json {
        config.resolved()
    }

    fn check(choice: &AugmentChoice, at: &str, ledger: &mut Ledger) {
        check(choice, at, ledger);
    }

    fn facts(config: Option<&dyn AugmentationConfig>) -> admix_api::Result<Vec<(&'static str, Vec<String>)>> {
        let Some(config) = config else { return Ok(Vec::new()) };
        let images = if config.takes_any_size() { "images of any size" } else { "images of one size" };
        let heeds = config.heeds().iter().map(|field| format!("heeds data.{field}"));
        Ok(vec![("takes", [images.to_string()].into_iter().chain(heeds).collect())])
    }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("data: (augment: {written}),")
    }
}

/// Images of a made-up set.
const IMAGES: usize = 24;
/// Images of a batch.
const BATCH: i64 = 20;

/// A set of images of this shape, of all values.
fn made([channels, height, width]: [i64; 3]) -> Result<Source> {
    let split = |n: usize| {
        let bytes = n * (channels * height * width) as usize;
        let pixels = (0..bytes).map(|i| (i * i / 7 + i / 3) as u8).collect();
        let labels = (0..n).map(|i| (i * i % 3) as u16).collect();
        Part::new(&Images { labels, pixels }, channels, height, width)
    };
    let info = Info {
        name: "made".into(),
        classes: 3,
        class_names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        channels,
        height,
        width,
        mean: vec![0.5; channels as usize],
        std: vec![0.25; channels as usize],
        train: IMAGES,
        test: 3,
        unlabelled: 0,
        split: TrainSplit::Train,
        source: "made on the spot".into(),
    };
    Ok(Source { info, train: split(IMAGES)?, test: split(3)?, unlabelled: None })
}

/// Every promise of an augmentation with these settings.
fn check(choice: &AugmentChoice, settings: &str, ledger: &mut Ledger) {
    for shape in [[3, 16, 16], [1, 13, 10]] {
        let at = format!("{settings} on images of {}x{}x{}", shape[0], shape[1], shape[2]);
        let mut built = None;
        ledger.holds(BUILT, &at, || {
            let source = told(made(shape))?;
            let DataConfig { flip, crop, .. } = DataConfig::default();
            let setup = Setup { info: &source.info, device: Device::Cpu, flip, crop };
            built = Some((told(choice.config.build(&setup))?, source));
            Ok(())
        });
        let Some((built, source)) = built else { continue };
        on_the_device(choice, built.as_ref(), &source, &at, ledger);
        on_threads(choice, shape, &at, ledger);
    }
}

fn told<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn on_the_device(
    choice: &AugmentChoice,
    built: &dyn Augmentation,
    source: &Source,
    at: &str,
    ledger: &mut Ledger,
) {
    let Info { channels, height, width, .. } = source.info;
    let sizes = [(height, width); BATCH as usize];
    let draws = |name: &str| Streams::new(3).draws("augment", name, 0, 0);
    let both = || [built.draw(&sizes, &mut draws("")), built.draw(&sizes, &mut draws("1"))];
    let index = Tensor::arange(BATCH, (Type::Int64, Device::Cpu));
    let apply = |views: &[Views]| told(built.apply(&source.train.pixels, &index, views));
    let (before, mut found) = (source.train.pixels.copy(), None);
    ledger.holds(SHAPES, &at, || {
        let syncs = SyncCounter::start();
        let views = apply(&both())?;
        let waits = syncs.names();
        let (height, width) = built.size();
        let wanted = [BATCH, channels, height, width];
        let fits = views.len() == 2 && views.iter().all(|view| view.size() == wanted);
        let said = choice.config.size().is_none_or(|size| (size, size) == (height, width));
        ensure(fits && said, || format!("views {views:?}, wanted two of {wanted:?}"))?;
        found = Some((views, waits));
        Ok(())
    });
    let Some((views, waits)) = found else { return };
    ledger.judge(WAITS, &at, ensure(waits.is_empty(), || format!("it waits in {waits:?}")));
    ledger.holds(INPUTS, &at, || {
        ensure(before == source.train.pixels, || "the images are others afterwards".into())
    });
    for view in &views {
        ledger.holds(RANGE, &at, || in_range(view, built.whole()));
    }
    ledger.holds(SAME, &at, || {
        ensure(apply(&both())? == views, || "the second time the views are others".into())
    });
    ledger.holds(ALONE, &at, || {
        let alone = apply(&both()[..1])?;
        ensure(alone.first() == views.first(), || "without the second the first view is another".into())
    });
    ledger.holds(OTHERS, &at, || ensure(views[0] != views[1], || "two views are the same".into()));
    let Some(cropped) = built.cropped() else { return };
    ledger.holds(CROPS, &at, || {
        let cutter = cropped.cutter();
        // Of photographs, each of another size.
        let sizes: Vec<(i64, i64)> = (0..BATCH).map(|i| (20 + 7 * i, 90 - 3 * i)).collect();
        let views = cutter.draw(&sizes, &mut draws(""));
        for (place, &(height, width)) in sizes.iter().enumerate() {
            let crop = told(cutter.crop(&views, place))?;
            let inside = |start: i64, len: i64, all: i64| start >= 0 && len >= 1 && start + len <= all;
            let fits = inside(crop.top, crop.height, height) && inside(crop.left, crop.width, width);
            ensure(fits, || format!("{crop:?} of an image of {height}x{width}"))?;
        }
        Ok(())
    });
}

fn in_range(view: &Tensor, whole: bool) -> Check {
    let floats = view.to_kind(Type::Float);
    let (least, greatest) = (floats.min().double_value(&[]), floats.max().double_value(&[]));
    let kept = !whole || floats == floats.round();
    ensure(kept && least >= 0.0 && greatest <= 255.0, || {
        format!("values from {least} to {greatest}, whole numbers as it says: {kept}")
    })
}

/// Batches of a whole dataset, resident and streamed.
fn on_threads(choice: &AugmentChoice, shape: [i64; 3], at: &str, ledger: &mut Ledger) {
    let batch = |workers: Option<usize>| -> Result<Batch, String> {
        let config =
            DataConfig { augment: choice.clone(), views: 2.into(), workers, ..DataConfig::default() };
        let source = told(made(shape))?;
        let dataset = told(match workers {
            None => Dataset::resident(&config, source, Device::Cpu),
            Some(_) => Dataset::streamed(&config, told(source.try_into())?, Device::Cpu),
        })?;
        let index = Tensor::arange(BATCH, (Type::Int64, Device::Cpu));
        told(dataset.train_views(&index, Streams::new(3), 1, 2))
    };
    ledger.holds(LABELS, &at, || {
        for workers in [None, Some(2)] {
            let found: Vec<i64> = Vec::try_from(&batch(workers)?.labels)?;
            let wanted: Vec<i64> = (0..BATCH).map(|i| i * i % 3).collect();
            ensure(found == wanted, || format!("labels {found:?} of images with {wanted:?}"))?;
        }
        Ok(())
    });
    ledger.holds(THREADS, &at, || {
        let one = batch(Some(1))?;
        for workers in [2, 5] {
            let many = batch(Some(workers))?;
            ensure(one.views == many.views, || format!("{workers} threads give other views than one"))?;
        }
        Ok(())
    });
}
