//! Views against what torchvision does to Pillow images: `fixtures/make_augmentations.py` says how.

use std::collections::BTreeMap;
use std::path::Path;

use admix_api::Streams;
use admix_data::{
    AugmentChoice, Change, DataConfig, Dataset, ImportOptions, Interpolation, Jitter, Moco, Storage, View,
};
use admix_torch::{Device, Kind, Tensor};
use image::{ImageFormat, RgbImage};

use crate::support::{Named, bytes, config, encode, import, open, write_folder};

const CHANGES: [Change; 4] = [Change::Brightness, Change::Contrast, Change::Saturation, Change::Hue];
const DRAWS: usize = 10_000;

fn fixture() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augmentations.safetensors");
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// The images as a dataset whose normalisation is a division by 255.
fn dataset(images: &Tensor, folder: &Path, augment: AugmentChoice, storage: Storage) -> Dataset {
    let (n, _, height, width) = images.size4().unwrap();
    let files: Vec<(String, Vec<u8>)> = (0..n)
        .flat_map(|i| {
            let pixels = bytes(&images.get(i).permute([1, 2, 0]).contiguous());
            let png =
                encode(&RgbImage::from_raw(width as u32, height as u32, pixels).unwrap(), ImageFormat::Png);
            let class = if i < n / 2 { "a" } else { "b" };
            ["train", "test"].map(|split| (format!("{split}/{class}/{i}.png"), png.clone()))
        })
        .collect();
    let source = write_folder(&folder.join("images"), &files);
    let name = match storage {
        // The folder itself.
        Storage::Stream => "images",
        _ => {
            let options = ImportOptions { force: true, ..ImportOptions::default() };
            import(&source, "fixture", folder, options).unwrap();
            "fixture"
        }
    };
    let plain = DataConfig { mean: Some(vec![0.0; 3]), std: Some(vec![1.0; 3]), ..config(name) };
    open(&DataConfig { root: folder.into(), augment, storage, ..plain })
}

fn view(row: &[f64]) -> View {
    let jitter = Jitter {
        order: std::array::from_fn(|place| CHANGES[row[8 + place] as usize]),
        brightness: row[12],
        contrast: row[13],
        saturation: row[14],
        hue: row[15],
    };
    View {
        top: row[2] as i64,
        left: row[3] as i64,
        height: row[4] as i64,
        width: row[5] as i64,
        flip: row[6] != 0.0,
        jitter: (row[7] != 0.0).then_some(jitter),
        grey: row[16] != 0.0,
        blur: (row[17] != 0.0).then_some(row[17]),
    }
}

/// Differences in grey levels from the images of this name: each case's parameters, with a value for each pixel.
fn differences(name: &str, size: Option<i64>, storage: Storage) -> Vec<(View, Tensor)> {
    let all = fixture();
    let wanted = all[&format!("{name}_images")].to_kind(Kind::Float);
    let rows: Vec<Vec<f64>> = Vec::try_from(&all[&format!("{name}_parameters")]).unwrap();
    let mut found = Vec::new();
    for (number, interpolation) in [Interpolation::Bilinear, Interpolation::Bicubic].into_iter().enumerate() {
        let chosen: Vec<usize> = (0..rows.len()).filter(|&i| rows[i][1] as usize == number).collect();
        if chosen.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let augment = Moco { size, interpolation, ..Moco::default() }.into();
        let data = dataset(&all["images"], folder.path(), augment, storage);
        let index: Vec<i64> = chosen.iter().map(|&i| rows[i][0] as i64).collect();
        let views: Vec<View> = chosen.iter().map(|&i| view(&rows[i])).collect();
        let made =
            data.train_batch(&Tensor::from_slice(&index), &views.clone().into()).unwrap().images * 255.0;
        for (place, (&i, view)) in chosen.iter().zip(views).enumerate() {
            found.push((view, (made.get(place as i64) - wanted.get(i as i64)).abs()));
        }
    }
    assert_eq!(found.len(), rows.len());
    found
}

/// Every pixel of every case within `most(view)` grey levels, and the mean over all within `mean`.
fn compare(name: &str, size: Option<i64>, most: impl Fn(&View) -> f64, mean: f64) {
    compare_in(Storage::Device, name, size, most, mean);
}

fn compare_in(storage: Storage, name: &str, size: Option<i64>, most: impl Fn(&View) -> f64, mean: f64) {
    let all = differences(name, size, storage);
    for (view, difference) in &all {
        let worst = difference.max().double_value(&[]);
        assert!(worst < most(view) + 1e-3, "{name}: {worst} grey levels, {view:?}");
    }
    let sum: f64 = all.iter().map(|(_, difference)| difference.mean(Kind::Double).double_value(&[])).sum();
    assert!(sum / (all.len() as f64) < mean, "{name}: mean difference {}", sum / all.len() as f64);
}

#[test]
fn colours_equal_those_of_pillow() {
    compare("colour", None, |_| 1.0, 0.01);
}

#[test]
fn the_blur_is_that_of_pillow_to_one_grey_level_but_for_ties() {
    // At a deviation of exactly 1 the box weighs 1/6, 2/3, 1/6, at 2 it weighs 1/10 and 4/15: many sums end in one half,
    // which Pillow's weights, cut to 24 bits, put on either side. Over six passes that adds up.
    let most = |view: &View| match view.blur {
        Some(1.0) => 3.0,
        Some(2.0) => 2.0,
        _ => 1.0,
    };
    compare("blur", None, most, 0.15);
}

#[test]
fn resized_crops_are_those_of_pillow_to_one_grey_level() {
    compare("crop", Some(20), |_| 1.0, 0.01);
}

#[test]
fn resized_crops_of_streamed_images_are_those_of_pillow_to_one_grey_level() {
    compare_in(Storage::Stream, "crop", Some(20), |_| 1.0, 0.01);
}

#[test]
fn the_whole_law_is_that_of_torchvision_in_all_but_few_values() {
    let all = differences("whole", Some(20), Storage::Device);
    let (mut beyond, mut values, mut sum) = (0, 0, 0.0);
    for (_, difference) in &all {
        beyond += difference.gt(2.001).sum(Kind::Int64).int64_value(&[]);
        values += difference.numel();
        sum += difference.sum(Kind::Double).double_value(&[]);
    }
    // Crops of so small an image have rational weights: sums that end in one half go either way (up to one level, in
    // up to 4 of 100 values), and gains above 1 and the steps of the 8-bit hue, six levels each, make more of it.
    assert!((beyond as f64) < 0.005 * values as f64, "{beyond} of {values} values beyond two levels");
    assert!(sum / (values as f64) < 0.1, "mean difference {}", sum / values as f64);
}

fn drawn(height: i64, width: i64) -> Vec<View> {
    let blank = Tensor::zeros([4, 3, height, width], (Kind::Uint8, Device::Cpu));
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(&blank, folder.path(), Moco::default().into(), Storage::Device);
    let drawn = data.augmentation(DRAWS, &mut Streams::new(11).draws("augment", "", 0, 0)).unwrap();
    drawn.of::<View>("views").unwrap().to_vec()
}

/// Kolmogorov's distance beyond which two samples of 10,000 of one law differ once in a thousand times.
fn most() -> f64 {
    1.95 * (2.0 / DRAWS as f64).sqrt()
}

/// The distance of our whole numbers from their counts.
fn distance_of_counts(ours: impl Iterator<Item = usize>, theirs: &Tensor) -> f64 {
    let theirs: Vec<i64> = Vec::try_from(theirs).unwrap();
    assert_eq!(theirs.iter().sum::<i64>(), DRAWS as i64);
    let mut counts = vec![0i64; theirs.len()];
    let mut total = 0;
    ours.for_each(|value| {
        counts[value] += 1;
        total += 1;
    });
    let (mut a, mut b, mut worst) = (0.0, 0.0, 0.0);
    for (our, their) in counts.iter().zip(&theirs) {
        a += *our as f64 / f64::from(total);
        b += *their as f64 / DRAWS as f64;
        worst = f64::max(worst, f64::abs(a - b));
    }
    worst
}

/// The distance of our numbers from their quantiles, at these.
fn distance_of_quantiles(mut ours: Vec<f64>, theirs: &Tensor) -> f64 {
    let theirs: Vec<f64> = Vec::try_from(theirs).unwrap();
    ours.sort_by(f64::total_cmp);
    let steps = (theirs.len() - 1) as f64;
    let below = |x: f64| ours.partition_point(|&our| our <= x) as f64 / ours.len() as f64;
    theirs.iter().enumerate().map(|(k, &x)| (below(x) - k as f64 / steps).abs()).fold(0.0, f64::max)
}

#[test]
fn ten_thousand_crops_are_spread_as_those_of_torchvision() {
    let all = fixture();
    for (height, width) in [(96, 96), (20, 100)] {
        let views = drawn(height, width);
        let of: [Named<View, i64>; 4] =
            [("top", |v| v.top), ("left", |v| v.left), ("height", |v| v.height), ("width", |v| v.width)];
        for (name, of) in of {
            let theirs = &all[&format!("draws_{height}x{width}_{name}")];
            let distance = distance_of_counts(views.iter().map(|view| of(view) as usize), theirs);
            assert!(distance < most(), "{height}x{width} {name}: {distance}");
        }
    }
}

#[test]
fn ten_thousand_draws_of_colours_and_blur_are_spread_as_those_of_torchvision() {
    let all = fixture();
    let views = drawn(96, 96);
    let jitters: Vec<Jitter> = views.iter().filter_map(|view| view.jitter).collect();
    let of: [Named<Jitter, f64>; 4] = [
        ("brightness", |j| j.brightness),
        ("contrast", |j| j.contrast),
        ("saturation", |j| j.saturation),
        ("hue", |j| j.hue),
    ];
    for (name, of) in of {
        let distance =
            distance_of_quantiles(jitters.iter().map(of).collect(), &all[&format!("draws_{name}")]);
        assert!(distance < most(), "{name}: {distance}");
    }
    let sigmas = views.iter().filter_map(|view| view.blur).collect();
    let distance = distance_of_quantiles(sigmas, &all["draws_sigma"]);
    // About 5,000 of ours.
    assert!(distance < 1.5 * most(), "sigma: {distance}");

    let mut orders: Vec<[Change; 4]> = Vec::new();
    permutations(&mut Vec::new(), &mut orders);
    let place = |jitter: &Jitter| orders.iter().position(|order| *order == jitter.order).unwrap();
    let distance = distance_of_counts(jitters.iter().map(place), &all["draws_order"]);
    assert!(distance < most(), "order: {distance}");

    let coins: [Named<View, bool>; 4] = [
        ("flip", |v| v.flip),
        ("jitter", |v| v.jitter.is_some()),
        ("grey", |v| v.grey),
        ("blur", |v| v.blur.is_some()),
    ];
    for (name, of) in coins {
        let theirs = &all[&format!("draws_coin_{name}")];
        let distance = distance_of_counts(views.iter().map(|view| usize::from(of(view))), theirs);
        assert!(distance < most(), "{name}: {distance}");
    }
}

/// All orders, sorted.
fn permutations(begun: &mut Vec<Change>, all: &mut Vec<[Change; 4]>) {
    if let Ok(order) = <[Change; 4]>::try_from(begun.as_slice()) {
        all.push(order);
        return;
    }
    for change in CHANGES {
        if !begun.contains(&change) {
            begun.push(change);
            permutations(begun, all);
            begun.pop();
        }
    }
}
