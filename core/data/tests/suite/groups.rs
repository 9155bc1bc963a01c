//! Views in groups of their own sizes and augmentations, resident and streamed.

use std::path::Path;

use admix_api::Streams;
use admix_data::{
    AugmentChoice, Batch, DataConfig, Dataset, Interpolation, Moco, Pass, ResizedCrop, Shift, Split, Storage,
    Toy, ViewGroup, ViewsConfig,
};
use admix_torch::{Device, Kind, SyncCounter, Tensor};
use image::{ImageFormat, Rgb, RgbImage};

use crate::support::{config, encode, error, open, opened, read, write_folder};

const TOY: Toy = Toy { classes: 3, train: 60, test: 9, size: 16, channels: 3 };

fn moco(size: i64) -> AugmentChoice {
    Moco { size: Some(size), ..Moco::default() }.into()
}

/// Crops of small areas.
fn small(size: i64) -> AugmentChoice {
    Moco { size: Some(size), scale: (0.05, 0.14), ..Moco::default() }.into()
}

fn groups(groups: &[(usize, AugmentChoice)]) -> ViewsConfig {
    let group =
        |(count, augment): &(usize, AugmentChoice)| ViewGroup { count: *count, augment: augment.clone() };
    ViewsConfig::Groups(groups.iter().map(group).collect())
}

fn toy(views: ViewsConfig) -> DataConfig {
    DataConfig { sets: TOY.into(), views, ..config("toy") }
}

fn batch(config: &DataConfig) -> Batch {
    let index = Tensor::arange(40, (Kind::Int64, Device::Cpu));
    open(config).train_views(&index, Streams::new(3), 1, 2).unwrap()
}

/// Training images of these heights and widths in turn.
fn folder(root: &Path, train: u32, sizes: &[(u32, u32)]) -> DataConfig {
    let file = |split: &str, at: u32| {
        let (height, width) = sizes[at as usize % sizes.len()];
        let image = RgbImage::from_fn(width, height, |x, y| {
            let wave = |step: f64| {
                ((f64::from(x) * step + f64::from(y * (at + 1)) * 0.11).sin() * 90.0 + 120.0) as u8
            };
            Rgb([wave(0.2), wave(0.37), wave(0.05)])
        });
        let class = if at.is_multiple_of(2) { "ant" } else { "bee" };
        (format!("{split}/{class}/{at:03}.png"), encode(&image, ImageFormat::Png))
    };
    let files: Vec<_> =
        (0..train).map(|at| file("train", at)).chain((0..4).map(|at| file("val", at))).collect();
    write_folder(&root.join("pictures"), &files);
    DataConfig { root: root.into(), ..config("pictures") }
}

fn pass(data: &Dataset, from: usize) -> Vec<Batch> {
    let (streams, total) = (Streams::new(3), data.len(Split::Train));
    let pass = Pass {
        split: Split::Train,
        order: streams.draws("order", "", 1, 0).permutation(total),
        batch: 4,
        batches: (from..total.div_ceil(4)).collect(),
        streams,
        purpose: "augment".into(),
        views: data.view_names(),
        epoch: 1,
        first_step: 0,
    };
    let mut loader = data.loader(pass).unwrap();
    std::iter::from_fn(|| loader.next_batch(data).unwrap()).collect()
}

#[test]
fn views_come_group_by_group_at_the_sizes_asked_for_without_waiting_for_the_device() {
    let config = toy(groups(&[(2, moco(16)), (3, small(8)), (1, Shift {}.into())]));
    let data = open(&config);
    let sizes = [(16, 16), (16, 16), (8, 8), (8, 8), (8, 8), (16, 16)];
    assert_eq!((data.views(), data.view_size(), data.view_sizes()), (6, (16, 16), sizes.to_vec()));
    let syncs = SyncCounter::start();
    let batch = batch(&config);
    assert_eq!(syncs.names(), Vec::<String>::new());
    assert_eq!(batch.images, batch.views[0]);
    for (view, (height, width)) in batch.views.iter().zip(sizes) {
        assert_eq!((view.size(), view.kind()), (vec![40, 3, height, width], Kind::Float));
        assert!(bool::try_from(view.isfinite().all()).unwrap());
    }
    assert!(batch.views.windows(2).all(|pair| pair[0].size() != pair[1].size() || pair[0] != pair[1]));
}

#[test]
fn a_number_of_views_is_one_group_to_the_bit() {
    let plain = DataConfig { augment: moco(12), ..toy(2.into()) };
    let (number, group) = (batch(&plain), batch(&toy(groups(&[(2, moco(12))]))));
    assert_eq!(number.views, group.views);
    assert_eq!(number.views, batch(&toy(groups(&[(1, moco(12)), (1, moco(12))]))).views);
}

#[test]
fn views_of_a_group_depend_on_their_numbers_and_on_no_other_group() {
    for streamed in [false, true] {
        let storage = if streamed { Storage::Stream } else { Storage::Device };
        let views = |views: ViewsConfig| batch(&DataConfig { storage, workers: Some(2), ..toy(views) }).views;
        let all = views(groups(&[(2, moco(16)), (3, small(8))]));
        for other in [
            views(groups(&[(2, small(10)), (3, small(8))])),
            views(groups(&[(2, Shift {}.into()), (3, small(8))])),
            views(groups(&[(1, moco(8)), (1, Shift {}.into()), (2, small(8)), (1, small(8)), (4, moco(4))])),
        ] {
            assert_eq!(all[2..5], other[2..5], "{streamed}");
            assert_ne!(all[0], other[0], "{streamed}");
        }
        for other in [views(groups(&[(2, moco(16))])), views(groups(&[(2, moco(16)), (1, moco(6))]))] {
            assert_eq!(all[..2], other[..2], "{streamed}");
        }
    }
}

#[test]
fn streamed_groups_are_those_of_the_device_to_one_grey_level_from_one_decoding() {
    let root = tempfile::tempdir().unwrap();
    let crop = |size, scale| ResizedCrop { size: Some(size), scale, ..ResizedCrop::default() };
    let bilinear = ResizedCrop { interpolation: Interpolation::Bilinear, ..crop(12, (0.05, 0.3)) };
    let set = DataConfig {
        views: groups(&[(2, crop(24, (0.14, 1.0)).into()), (3, bilinear.into())]),
        mean: Some(vec![0.0; 3]),
        std: Some(vec![1.0; 3]),
        ..folder(root.path(), 12, &[(40, 52)])
    };
    let streamed = open(&set);
    let resident = open(&DataConfig { storage: Storage::Device, ..set });
    let (ours, theirs) = (pass(&streamed, 0), pass(&resident, 0));
    assert_eq!((ours.len(), theirs.len()), (3, 3));
    for (a, b) in ours.iter().zip(&theirs) {
        assert_eq!((a.views.len(), &a.index, &a.labels), (5, &b.index, &b.labels));
        for (a, b) in a.views.iter().zip(&b.views) {
            assert_eq!(a.size(), b.size());
            let difference = (a - b).abs() * 255.0;
            let (most, mean) = (difference.max().double_value(&[]), difference.mean(Kind::Double));
            assert!(most < 1.001 && mean.double_value(&[]) < 0.05, "{most}, {mean} on average");
        }
    }
    assert_eq!(streamed.worked().unwrap().images, 12);
}

#[test]
fn a_group_of_whole_images_beside_one_of_crops_is_that_of_the_device_to_the_bit() {
    let set = toy(groups(&[(1, small(8)), (2, Shift {}.into())]));
    let streamed = open(&DataConfig { storage: Storage::Stream, workers: Some(3), ..set.clone() });
    let resident = open(&set);
    for (a, b) in pass(&streamed, 0).iter().zip(pass(&resident, 0)) {
        assert_eq!(a.views[1..], b.views[1..]);
        assert_ne!(a.views[1], a.views[2]);
        assert_eq!(a.views[0].size(), b.views[0].size());
    }
}

#[test]
fn neither_the_number_of_threads_nor_where_a_pass_begins_changes_a_bit_of_a_group() {
    let root = tempfile::tempdir().unwrap();
    let set = folder(root.path(), 22, &[(40, 56), (64, 33), (50, 50), (24, 90)]);
    let set = DataConfig { views: groups(&[(2, moco(32)), (3, small(16))]), ..set };
    let with = |workers| open(&DataConfig { workers: Some(workers), ..set.clone() });
    let (one, four) = (with(1), with(4));
    let whole = pass(&one, 0);
    assert_eq!((whole.len(), whole[5].views[4].size()), (6, vec![2, 3, 16, 16]));
    for (a, b) in whole.iter().zip(pass(&four, 0)).chain(whole[3..].iter().zip(pass(&four, 3))) {
        assert_eq!(a.views, b.views);
    }
    let again = four.train_views(&whole[2].index, Streams::new(3), 1, 2).unwrap();
    assert_eq!(whole[2].views, again.views);
    // What is measured goes by the first group.
    assert_eq!(one.clean_batch(Split::Test, 0, 2).unwrap().images.size(), [2, 3, 32, 32]);
}

#[test]
fn one_view_is_of_the_first_group_and_another_augmentation_takes_the_place_of_all() {
    let data = open(&toy(groups(&[(1, moco(12)), (2, small(8))])));
    let index = Tensor::arange(5, (Kind::Int64, Device::Cpu));
    let drawn = data.augmentation(5, &mut Streams::new(3).draws("augment", "", 0, 0)).unwrap();
    assert_eq!(data.train_batch(&index, &drawn).unwrap().images.size(), [5, 3, 12, 12]);
    let other = data.augmented_by(&Moco { size: Some(10), ..Moco::default() }).unwrap();
    assert_eq!((other.views(), other.view_sizes()), (1, vec![(10, 10)]));
}

#[test]
fn groups_are_read_and_a_number_is_written_as_ever() {
    let written = "(views: [(count: 2, augment: Moco(size: 12)), (count: 1, augment: Shift)])";
    assert_eq!(read(written).unwrap().views, groups(&[(2, moco(12)), (1, Shift {}.into())]));
    assert_eq!(read("(views: 2)").unwrap().views, 2.into());
    let json = |config: &DataConfig| serde_json::to_string(config).unwrap();
    assert!(json(&DataConfig::default()).contains(r#""views":1,"augment":{"plugin":"shift"},"flip":true"#));
    assert!(json(&read("(views: 2)").unwrap()).contains(r#""views":2,"augment":"#));
    let grouped = json(&read(written).unwrap());
    assert!(grouped.contains(r#""views":[{"count":2,"augment":{"plugin":"moco","size":12,"#), "{grouped}");
    for (text, wanted) in [
        ("(views: -1)", "a number of views, or a list of groups"),
        ("(views: \"two\")", "a number of views, or a list of groups"),
        ("(views: [(augment: Shift)])", "missing field named `count`"),
        ("(views: [(count: 2)])", "missing field named `augment`"),
        ("(views: [(count: 2, augment: Shift, size: 3)])", "size"),
        ("(views: [2])", "ViewGroup"),
    ] {
        let text = read(text).unwrap_err();
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn groups_that_cannot_be_are_refused_at_their_field() {
    let one = |views: &[(usize, AugmentChoice)]| toy(groups(views));
    let beside = DataConfig { augment: moco(12), ..one(&[(2, moco(16))]) };
    for (config, start) in [
        (one(&[]), "`data.views` is []"),
        (one(&[(2, moco(16)), (0, moco(8))]), "`data.views.1.count` is 0"),
        (one(&[(9, moco(16)), (8, moco(8))]), "`data.views` is 17, expected 1 to 16 views"),
        (one(&[(2, moco(16)), (6, moco(3))]), "`data.views.1.augment.size` is 3"),
        (beside, "`data.augment` is Moco, expected none beside groups of views"),
        (DataConfig { flip: false, ..one(&[(2, moco(16))]) }, "`data.flip` is false"),
    ] {
        let text = error(config.validate());
        assert!(text.starts_with(start), "{text}");
    }
    let shifted = DataConfig { flip: false, ..one(&[(1, moco(16)), (1, Shift {}.into())]) };
    assert!(shifted.validate().is_ok());
    for storage in [Storage::Device, Storage::Stream] {
        let large = DataConfig { storage, ..one(&[(2, moco(16)), (6, moco(17))]) };
        let text = error(opened(&large));
        let wanted = "`data.views.1.augment.size` is 17, expected at most 16";
        assert!(text.starts_with(wanted) && text.contains("16x16"), "{text}");
    }
    let wide = Toy { channels: 4, ..TOY };
    let text = error(opened(&DataConfig { sets: wide.into(), ..one(&[(1, Shift {}.into()), (1, moco(8))]) }));
    assert!(text.starts_with("`data.views.1.augment` is") && text.contains("4 channels"), "{text}");
    let root = tempfile::tempdir().unwrap();
    let set = folder(root.path(), 4, &[(20, 30)]);
    let text = error(opened(&DataConfig { views: groups(&[(1, moco(16)), (1, Shift {}.into())]), ..set }));
    assert!(text.starts_with("`data.views.1.augment` is Shift"), "{text}");
}
