//! Views: streams, determinism, sizes, and what is refused.

use admix_api::Streams;
use admix_data::{DataConfig, Moco, ResizedCrop, Split, Toy, View};
use admix_torch::{Kind, SyncCounter, Tensor};

use crate::support::{Named, config, error, numbers, open, opened};

const TOY: Toy = Toy { classes: 3, train: 60, test: 9, size: 16, channels: 3 };

fn two_views(moco: Moco) -> DataConfig {
    DataConfig { sets: TOY.into(), views: 2.into(), augment: moco.into(), ..config("toy") }
}

fn index(n: i64) -> Tensor {
    Tensor::arange(n, (Kind::Int64, admix_torch::Device::Cpu))
}

#[test]
fn two_views_of_the_same_images_come_out_at_the_size_asked_for() {
    let data = open(&two_views(Moco { size: Some(12), ..Moco::default() }));
    assert_eq!((data.views(), data.view_size()), (2, (12, 12)));
    let batch = data.train_views(&index(40), Streams::new(3), 1, 2).unwrap();
    assert_eq!(batch.views.len(), 2);
    for view in &batch.views {
        assert_eq!((view.size(), view.kind()), (vec![40, 3, 12, 12], Kind::Float));
        assert!(bool::try_from(view.isfinite().all()).unwrap());
    }
    assert_eq!(batch.images, batch.views[0]);
    assert_ne!(batch.views[0], batch.views[1]);
    assert_eq!(numbers(&batch.index), (0..40).collect::<Vec<_>>());
}

#[test]
fn the_same_seed_gives_the_same_bits_and_any_other_key_others() {
    let data = open(&two_views(Moco::default()));
    let views = |seed, epoch, position| {
        data.train_views(&index(40), Streams::new(seed), epoch, position).unwrap().views
    };
    assert_eq!(views(3, 1, 2), views(3, 1, 2));
    for other in [views(4, 1, 2), views(3, 2, 2), views(3, 1, 3)] {
        assert_ne!(views(3, 1, 2)[0], other[0]);
        assert_ne!(views(3, 1, 2)[1], other[1]);
    }
}

#[test]
fn a_view_does_not_depend_on_the_number_of_views_nor_on_its_neighbours() {
    let one = open(&DataConfig { views: 1.into(), ..two_views(Moco::default()) });
    let two = open(&two_views(Moco::default()));
    let first = one.train_views(&index(40), Streams::new(3), 0, 0).unwrap();
    let both = two.train_views(&index(40), Streams::new(3), 0, 0).unwrap();
    assert_eq!(first.images, both.views[0]);
    let drawn = one.augmentation(40, &mut Streams::new(3).draws("augment", "", 0, 0)).unwrap();
    let views = drawn.of::<View>("views").unwrap();
    let alone = one.train_batch(&index(40).narrow(0, 17, 1), &vec![views[17]].into()).unwrap();
    let difference = (alone.images - first.images.narrow(0, 17, 1)).abs().max().double_value(&[]);
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn the_two_views_of_an_image_are_drawn_independently() {
    let data = open(&two_views(Moco::default()));
    let draw = |name: &str| {
        let drawn = data.augmentation(4000, &mut Streams::new(3).draws("augment", name, 0, 0)).unwrap();
        drawn.of::<View>("views").unwrap().to_vec()
    };
    let (a, b) = (draw(""), draw("1"));
    let correlation = |of: &dyn Fn(&View) -> f64| {
        let mean = |views: &[View]| views.iter().map(of).sum::<f64>() / views.len() as f64;
        let (ma, mb) = (mean(&a), mean(&b));
        let moment = |x: &[View], mx: f64, y: &[View], my: f64| -> f64 {
            x.iter().zip(y).map(|(x, y)| (of(x) - mx) * (of(y) - my)).sum()
        };
        moment(&a, ma, &b, mb) / (moment(&a, ma, &a, ma) * moment(&b, mb, &b, mb)).sqrt()
    };
    // Five standard deviations of the correlation of 4,000 independent pairs.
    let most = 5.0 / 4000f64.sqrt();
    let of: [Named<View, f64>; 5] = [
        ("area", |view| (view.height * view.width) as f64),
        ("flip", |view| f64::from(u8::from(view.flip))),
        ("jitter", |view| view.jitter.map_or(1.0, |jitter| jitter.brightness)),
        ("grey", |view| f64::from(u8::from(view.grey))),
        ("blur", |view| view.blur.unwrap_or(0.0)),
    ];
    for (name, of) in of {
        assert!(correlation(&of).abs() < most, "{name}: {}", correlation(&of));
    }
}

#[test]
fn views_do_not_wait_for_the_device() {
    let data = open(&two_views(Moco::default()));
    let syncs = SyncCounter::start();
    data.train_views(&index(40), Streams::new(3), 0, 0).unwrap();
    assert_eq!(syncs.names(), Vec::<String>::new());
}

#[test]
fn the_whole_image_at_its_own_size_is_the_clean_image() {
    for augment in [Moco::default().into(), ResizedCrop::default().into()] {
        let data = open(&DataConfig { augment, ..two_views(Moco::default()) });
        let views = vec![View::whole(16, 16); 20];
        let batch = data.train_batch(&index(20), &views.into()).unwrap();
        let clean = data.clean_batch(Split::Train, 0, 20).unwrap();
        assert_eq!(batch.images, clean.images);
    }
}

#[test]
fn one_channel_is_augmented_and_four_are_refused() {
    let channels = |channels| {
        let toy = Toy { channels, ..TOY };
        DataConfig { sets: toy.into(), ..two_views(Moco::default()) }
    };
    let data = open(&channels(1));
    let batch = data.train_views(&index(40), Streams::new(3), 0, 0).unwrap();
    assert_eq!(batch.views[1].size(), [40, 1, 16, 16]);
    let refused = opened(&channels(4));
    let text = error(refused);
    assert!(text.starts_with("`data.augment` is") && text.contains("4 channels"), "{text}");
}

#[test]
fn settings_out_of_range_are_named() {
    let moco = |moco: Moco| two_views(moco);
    let d = Moco::default;
    for (config, field) in [
        (DataConfig { views: 0.into(), ..two_views(d()) }, "data.views"),
        (DataConfig { views: 17.into(), ..two_views(d()) }, "data.views"),
        (DataConfig { flip: false, ..two_views(d()) }, "data.flip"),
        (DataConfig { crop: None, ..two_views(d()) }, "data.crop"),
        (moco(Moco { size: Some(3), ..d() }), "data.augment.size"),
        (moco(Moco { scale: (0.0, 1.0), ..d() }), "data.augment.scale"),
        (moco(Moco { scale: (0.5, 0.2), ..d() }), "data.augment.scale"),
        (moco(Moco { ratio: (1.0, f64::NAN), ..d() }), "data.augment.ratio"),
        (moco(Moco { flip: 1.5, ..d() }), "data.augment.flip"),
        (moco(Moco { jitter: -0.1, ..d() }), "data.augment.jitter"),
        (moco(Moco { brightness: -1.0, ..d() }), "data.augment.brightness"),
        (moco(Moco { contrast: f64::INFINITY, ..d() }), "data.augment.contrast"),
        (moco(Moco { saturation: 11.0, ..d() }), "data.augment.saturation"),
        (moco(Moco { hue: 0.6, ..d() }), "data.augment.hue"),
        (moco(Moco { grey: 2.0, ..d() }), "data.augment.grey"),
        (moco(Moco { blur: f64::NAN, ..d() }), "data.augment.blur"),
        (moco(Moco { sigma: (0.0, 2.0), ..d() }), "data.augment.sigma"),
    ] {
        let text = error(config.validate());
        assert!(text.starts_with(&format!("`{field}` is ")), "{text}");
    }
}

#[test]
fn a_crop_beyond_the_image_and_an_augmentation_of_another_law_are_refused() {
    let data = open(&two_views(Moco::default()));
    let beyond = View { left: 4, width: 13, ..View::whole(16, 16) };
    assert!(
        error(data.train_batch(&index(1), &vec![beyond].into()))
            .contains("a crop has 16x13 pixels from (0, 4)")
    );
    let shift = vec![admix_data::Offset::default()];
    assert!(error(data.train_batch(&index(1), &shift.into())).contains("expected views"));
}
