//! What holds for every mixer that is registered where something is at its end: lambda at 1, images of one colour, pixels
//! at 0 and 255, saliency that is nowhere or in one place, pairs of one class. Sides are odd in number and differ.

use admix_api::Streams;
use admix_api::prelude::*;

use crate::pairings::{Given, N, SIZE, built, mixers};

/// Policies that show the own image alone where lambda is 1.
const WHOLE_AT_1: [&str; 7] =
    ["mixup", "cutmix", "resizemix", "fmix", "saliencymix", "manifoldmix", "inter_intra"];

fn ask(pairing: Pairing, lambda: Option<f64>) -> Ask {
    let (height, width) = SIZE;
    Ask { batch: N as usize, height, width, pairing, lambda, quiet: true, progress: 0.5 }
}

/// Plans and mixes, with partners by pseudo label where they are asked for.
fn mixed(what: &str, config: &dyn MixerConfig, given: &Given, ask: &Ask, step: u64) -> Mixed {
    let mut mixer = built(config);
    let plan = mixer.plan(ask, &mut Streams::new(5).draws("mix", "edges", 0, step)).unwrap();
    let planned = plan.on(Device::Cpu).unwrap();
    let planned = planned.paired(Some(&given.pseudo)).unwrap().unwrap_or(planned);
    mixer.mix(&given.to(&config.needs()), &planned).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Images of one colour, of the ends of 8 bits and of both in turn, normalised; saliency nowhere and in one place.
fn extremes() -> Vec<(&'static str, Given)> {
    let (black, white) = (-2.43, 2.75);
    let plane = |value: f64| Tensor::full([N, 3, SIZE.0, SIZE.1], value, (Kind::Float, Device::Cpu));
    let place = |length: i64| Tensor::arange(length, (Kind::Int64, Device::Cpu));
    let odd = (place(SIZE.0).reshape([-1, 1]) + place(SIZE.1)).remainder(2);
    let chessboard = plane(white).where_self(&odd.to_kind(Kind::Bool), &plane(black));
    let halves = plane(black);
    let _ = halves.narrow(0, 0, N / 2).fill_(white);
    let nowhere = Tensor::zeros([N, SIZE.0, SIZE.1], (Kind::Float, Device::Cpu));
    let spot = nowhere.shallow_clone() * 1.0;
    let _ = spot.narrow(1, 3, 1).narrow(2, 5, 1).fill_(1e6);
    let with = |images: Tensor, saliency: &Tensor| Given {
        images,
        saliency: saliency.shallow_clone(),
        ..Given::new()
    };
    vec![
        ("grey", with(plane(0.3), &nowhere)),
        ("black", with(plane(black), &nowhere)),
        ("white", with(plane(white), &spot)),
        ("a chessboard", with(chessboard, &spot)),
        ("black and white images", with(halves, &nowhere)),
    ]
}

#[test]
fn images_at_the_ends_are_mixed_to_what_lies_between_them() {
    for (name, config, pairing) in mixers() {
        for (colours, given) in extremes() {
            let (least, most) = (given.images.min().double_value(&[]), given.images.max().double_value(&[]));
            for (step, lambda) in [None, Some(0.0), Some(0.5), Some(1.0)].into_iter().enumerate() {
                let what = format!("{name}, {colours}, lambda {lambda:?}");
                let mix = mixed(&what, config.as_ref(), &given, &ask(pairing.clone(), lambda), step as u64);
                assert_eq!(mix.images.isfinite().all().int64_value(&[]), 1, "{what}");
                let (low, high) = (mix.images.min().double_value(&[]), mix.images.max().double_value(&[]));
                assert!(low >= least - 1e-4 && high <= most + 1e-4, "{what}: {low} to {high}");
                let (_, shares) = mix.credit.shares().unwrap();
                let off = (shares.sum_dim_intlist(1i64, false, Kind::Float) - 1.0).abs().max();
                assert!(off.double_value(&[]) < 1e-5 && shares.min().double_value(&[]) >= 0.0, "{what}");
                if let Some(mask) = &mix.mask {
                    let (low, high) = (mask.min().double_value(&[]), mask.max().double_value(&[]));
                    assert!(low >= 0.0 && high <= 1.0, "{what}: a mask of {low} to {high}");
                }
            }
        }
    }
}

#[test]
fn at_lambda_1_the_own_image_is_seen_and_credited_alone() {
    let given = Given::new();
    let mut seen = Vec::new();
    for (name, config, pairing) in mixers() {
        let plugin = name.split(' ').next().unwrap().to_string();
        if !WHOLE_AT_1.contains(&plugin.as_str()) {
            continue;
        }
        for step in 0..4 {
            let mix = mixed(&name, config.as_ref(), &given, &ask(pairing.clone(), Some(1.0)), step);
            let off = (&mix.images - &given.images).abs().max().double_value(&[]);
            assert!(off < 1e-6, "{name}: off by {off}");
            let (sources, shares) = mix.credit.shares().unwrap();
            let own = sources.eq_tensor(&Tensor::arange(N, (Kind::Int64, Device::Cpu)).unsqueeze(1));
            let credit = (shares * own).sum_dim_intlist(1i64, false, Kind::Float);
            assert!(credit.min().double_value(&[]) > 1.0 - 1e-6, "{name}: {credit}");
        }
        seen.push(plugin);
    }
    seen.dedup();
    assert_eq!(seen.len(), WHOLE_AT_1.len(), "{seen:?}");
}

#[test]
fn a_target_sums_to_1_also_where_all_are_of_one_class() {
    let given = Given::new();
    for (name, config, pairing) in mixers() {
        let mix = mixed(&name, config.as_ref(), &given, &ask(pairing.clone(), None), 0);
        let (sources, shares) = mix.credit.shares().unwrap();
        for classes in [1, 2, 5] {
            let labels = Tensor::arange(N, (Kind::Int64, Device::Cpu)).remainder(classes);
            let each = labels.index_select(0, &sources.reshape([-1])).reshape(sources.size());
            let target =
                Tensor::zeros([N, classes], (Kind::Float, Device::Cpu)).scatter_add(1, &each, &shares);
            let sums = target.sum_dim_intlist(1i64, false, Kind::Float);
            assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-5, "{name}, {classes} classes: {target}");
        }
    }
}
