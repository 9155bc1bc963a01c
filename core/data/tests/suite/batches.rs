//! Batches against a plain per-pixel reference.

use admix_api::{Draws, Streams};
use admix_data::{DataConfig, Dataset, Offset, Split, Toy};
use admix_torch::{Kind, SyncCounter, Tensor};

use crate::support::{bytes, config, error, import, numbers, open, opened};

fn shift(data: &Dataset, n: usize, draws: &mut Draws) -> Vec<Offset> {
    data.augmentation(n, draws).unwrap().of("shifts").unwrap().to_vec()
}

fn toy(channels: i64) -> DataConfig {
    let toy = Toy { classes: 3, train: 30, test: 9, size: 8, channels };
    DataConfig { sets: toy.into(), crop: Some(3), ..config("toy") }
}

/// Pads with numpy's `reflect`, crops, then flips, one pixel at a time; normalises in float64.
fn reference(data: &Dataset, index: &[i64], offsets: &[Offset], pad: i64) -> Vec<f32> {
    let info = data.info();
    let (c, h, w) = (info.channels, info.height, info.width);
    let source = bytes(&data.u8_images(Split::Train, index).unwrap());
    let mut out = Vec::new();
    for (n, offset) in offsets.iter().enumerate() {
        for channel in 0..c {
            let (mean, std) = (f64::from(info.mean[channel as usize]), f64::from(info.std[channel as usize]));
            let plane = (n as i64 * c + channel) * h * w;
            let at = |y: i64, x: i64| f64::from(source[(plane + y * w + x) as usize]);
            // The padded plane, built outwards from the original as torchvision describes it.
            let mirror = |place: i64, len: i64| match place {
                place if place < 0 => -place,
                place if place >= len => len - 2 - (place - len),
                place => place,
            };
            for y in 0..h {
                for x in 0..w {
                    let x = if offset.flip { w - 1 - x } else { x };
                    let row = mirror(y + offset.dy - pad, h);
                    let column = mirror(x + offset.dx - pad, w);
                    out.push(((at(row, column) / 255.0 - mean) / std) as f32);
                }
            }
        }
    }
    out
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().view([-1])).unwrap()
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 2e-6 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn crop_and_flip_equal_a_per_pixel_reference() {
    for channels in [1, 3] {
        let data = open(&toy(channels));
        let mut draws = Streams::new(5).draws("test", "augment", 0, 0);
        let index = numbers(&data.order(&mut draws).unwrap());
        let augmentation = shift(&data, index.len(), &mut draws);
        assert!([true, false].iter().all(|coin| augmentation.iter().any(|offset| offset.flip == *coin)));
        let batch = data.train_batch(&Tensor::from_slice(&index), &augmentation.clone().into()).unwrap();
        assert_eq!(batch.images.size(), [30, channels, 8, 8]);
        assert_eq!((batch.images.kind(), batch.images.is_contiguous()), (Kind::Float, true));
        close(&floats(&batch.images), &reference(&data, &index, &augmentation, 3));
        let labels = numbers(data.labels(Split::Train));
        assert_eq!(numbers(&batch.labels), index.iter().map(|&i| labels[i as usize]).collect::<Vec<_>>());
        assert_eq!(numbers(&batch.index), index);
    }
}

#[test]
fn every_offset_and_flip_equals_the_reference() {
    let data = open(&toy(3));
    let all: Vec<(i64, i64, bool)> =
        (0..7).flat_map(|dy| (0..7).flat_map(move |dx| [(dy, dx, false), (dy, dx, true)])).collect();
    let augmentation: Vec<Offset> = all.iter().map(|&(dy, dx, flip)| Offset { flip, dy, dx }).collect();
    let index: Vec<i64> = (0..all.len() as i64).map(|i| i % 30).collect();
    let batch = data.train_batch(&Tensor::from_slice(&index), &augmentation.clone().into()).unwrap();
    close(&floats(&batch.images), &reference(&data, &index, &augmentation, 3));
}

#[test]
fn the_border_reflects_without_repeating_the_edge() {
    let data = open(&toy(1));
    let original = data.clean_batch(Split::Train, 0, 1).unwrap().images;
    let shift = |dy, dx, flip| {
        let augmentation = vec![Offset { flip, dy, dx }];
        data.train_batch(&Tensor::from_slice(&[0_i64]), &augmentation.clone().into()).unwrap().images
    };
    let padded = original.reflection_pad2d([3, 3, 3, 3]);
    for (dy, dx) in [(0, 0), (6, 6), (0, 6), (2, 5)] {
        let cropped = padded.narrow(2, dy, 8).narrow(3, dx, 8);
        assert_eq!(shift(dy, dx, false), cropped, "{dy} {dx}");
        assert_eq!(shift(dy, dx, true), cropped.flip([3]), "{dy} {dx}");
    }
}

#[test]
fn an_offset_of_the_border_and_no_flip_change_nothing() {
    let data = open(&toy(3));
    let none = vec![Offset { flip: false, dy: 3, dx: 3 }; 5];
    let batch = data.train_batch(&Tensor::from_slice(&[4_i64, 5, 6, 7, 8]), &none.clone().into()).unwrap();
    let clean = data.clean_batch(Split::Train, 4, 5).unwrap();
    assert_eq!(batch.images, clean.images);
    assert_eq!(batch.labels, clean.labels);
    assert_eq!(numbers(&clean.index), [4, 5, 6, 7, 8]);
}

#[test]
fn without_flip_and_crop_nothing_is_drawn_or_changed() {
    let data = open(&DataConfig { flip: false, crop: None, ..toy(3) });
    let mut draws = Streams::new(5).draws("test", "augment", 0, 0);
    let augmentation = shift(&data, 2, &mut draws);
    assert_eq!(augmentation, vec![Offset { flip: false, dy: 0, dx: 0 }; 2]);
    assert_eq!(draws.uniform(), Streams::new(5).draws("test", "augment", 0, 0).uniform());
    let batch = data.train_batch(&Tensor::from_slice(&[9_i64, 10]), &augmentation.clone().into()).unwrap();
    assert_eq!(batch.images, data.clean_batch(Split::Train, 9, 2).unwrap().images);
}

#[test]
fn flips_alone_work_without_a_border() {
    let data = open(&DataConfig { crop: None, ..toy(3) });
    let augmentation = vec![Offset { flip: true, ..Offset::default() }, Offset::default()];
    let batch = data.train_batch(&Tensor::from_slice(&[3_i64, 4]), &augmentation.clone().into()).unwrap();
    close(&floats(&batch.images), &reference(&data, &[3, 4], &augmentation, 0));
}

#[test]
fn images_need_not_be_square() {
    let folder = tempfile::tempdir().unwrap();
    let source = crate::support::write_folder(&folder.path().join("images"), &crate::support::files());
    import(&source, "wide", folder.path(), admix_data::ImportOptions::default()).unwrap();
    let data = open(&DataConfig { root: folder.path().into(), crop: Some(2), ..config("wide") });
    assert_eq!((data.info().height, data.info().width), (8, 6));
    let mut draws = Streams::new(6).draws("test", "augment", 0, 0);
    let index = numbers(&data.order(&mut draws).unwrap());
    let augmentation = shift(&data, index.len(), &mut draws);
    let batch = data.train_batch(&Tensor::from_slice(&index), &augmentation.clone().into()).unwrap();
    close(&floats(&batch.images), &reference(&data, &index, &augmentation, 2));
}

#[test]
fn batches_do_not_wait_for_the_device() {
    let data = open(&toy(3));
    let mut draws = Streams::new(5).draws("test", "augment", 0, 0);
    let index = data.order(&mut draws).unwrap().narrow(0, 0, 8);
    let augmentation = shift(&data, 8, &mut draws);
    let syncs = SyncCounter::start();
    data.train_batch(&index, &augmentation.clone().into()).unwrap();
    data.clean_batch(Split::Test, 1, 4).unwrap();
    assert_eq!(syncs.names(), Vec::<String>::new());
}

#[test]
fn the_order_is_a_permutation_and_the_draws_are_those_of_the_stream() {
    let data = open(&toy(3));
    let draws = || Streams::new(9).draws("order", "train", 2, 0);
    let mut order = numbers(&data.order(&mut draws()).unwrap());
    assert_eq!(order, numbers(&data.order(&mut draws()).unwrap()));
    order.sort_unstable();
    assert_eq!(order, (0..30).collect::<Vec<_>>());
    let augmentation = shift(&data, 2000, &mut draws());
    assert_eq!(augmentation, shift(&data, 2000, &mut draws()));
    let ways: [fn(&Offset) -> i64; 2] = [|offset| offset.dy, |offset| offset.dx];
    for way in ways {
        assert!((0..7).all(|place| augmentation.iter().filter(|offset| way(offset) == place).count() > 200));
    }
    let flips = augmentation.iter().filter(|offset| offset.flip).count();
    assert!((900..1100).contains(&flips), "{flips}");
}

#[test]
fn wrong_sizes_are_named() {
    let data = open(&toy(3));
    let two = vec![Offset { flip: false, dy: 3, dx: 3 }; 2];
    assert_eq!(
        error(data.train_batch(&Tensor::from_slice(&[1_i64]), &two.clone().into())),
        "index has shape [1], expected [2], as the augmentation"
    );
    let far = vec![two[0], Offset { dy: 7, ..two[1] }];
    assert!(
        error(data.train_batch(&Tensor::from_slice(&[1_i64, 2]), &far.into()))
            .contains("offsets within 0..7")
    );
    assert!(error(data.clean_batch(Split::Test, 5, 5)).contains("a range within 0..9"));
    assert!(error(data.clean_batch(Split::Test, usize::MAX, 5)).contains("a range within 0..9"));
    assert!(error(data.u8_images(Split::Test, &[0, 9])).contains("position 9"));
}

#[test]
fn mean_and_deviation_can_be_set_and_must_fit_the_channels() {
    let given = DataConfig { mean: Some(vec![0.0; 3]), std: Some(vec![1.0; 3]), ..toy(3) };
    let data = open(&given);
    let image = data.clean_batch(Split::Test, 0, 1).unwrap().images;
    let raw = data.u8_images(Split::Test, &[0]).unwrap().to_kind(Kind::Float) / 255.0;
    assert!(image.allclose(&raw, 1e-6, 1e-6, false));
    let wrong = DataConfig { mean: Some(vec![0.0]), ..toy(3) };
    let text = error(opened(&wrong));
    assert_eq!(text, "`data.mean` is 1 numbers, expected 3, one per channel of `toy`");
}
