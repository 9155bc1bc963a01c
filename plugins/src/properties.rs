//! Facts that hold for every lambda, size and partner.

use admix_api::contract::wild;
use admix_api::prelude::*;
use admix_api::{Store, Streams};
use proptest::prelude::*;

use crate::losses::{Mask, MaskMode};
use crate::mixers::block::{Activation, Adjust, Initial, Rescale};
use crate::mixers::{
    AMix, BoxRule, CutBox, CutMix, FMix, MixUp, Preset, ResizeMix, Resizing, SaliencyMix, Scope, Spectrum,
};

fn lambda() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.0..=1.0f64, 1 => Just(0.0), 1 => Just(1.0)]
}

fn ask(batch: usize, height: i64, width: i64, per: Per) -> Ask {
    Ask {
        batch,
        height,
        width,
        pairing: Pairing { per, ..Pairing::default() },
        quiet: false,
        progress: 0.0,
        lambda: None,
    }
}

/// Images of so many colours, a plan for them, and their mix.
fn drawn(mut mixer: impl Mixer, ask: Ask, colours: i64, seed: u64) -> (Tensor, Plan, Mixed) {
    let plan = mixer.plan(&ask, &mut Streams::new(seed).draws("mix", "p", 0, 0)).unwrap();
    let images = wild(&[ask.batch as i64, colours, ask.height, ask.width], seed as f64, Kind::Float);
    let mixed = mixer.mix(&MixInput::of(&images), &plan.on(Device::Cpu).unwrap()).unwrap();
    (images, plan, mixed)
}

/// Whether the own share is the mean of each mask.
fn credits_the_area(mask: &Tensor, lambda: &Tensor) -> bool {
    let area = mask.mean_dim([1i64, 2, 3].as_slice(), false, None);
    (area - lambda.expand([mask.size()[0]], false)).abs().max().double_value(&[]) < 1e-6
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_box_lies_in_the_image_and_is_no_larger_than_asked(
        height in 1i64..300, width in 1i64..300, lambda in lambda(), place in (0.0..1.0f64, 0.0..1.0f64),
    ) {
        let size = (height, width);
        for rule in [BoxRule::Integer, BoxRule::Real] {
            let mut centre = (place.0 * height as f64, place.1 * width as f64);
            if rule == BoxRule::Integer {
                centre = (centre.0.floor(), centre.1.floor());
            }
            let found = CutBox::around(rule, size, lambda, centre);
            prop_assert!(0 <= found.r1 && found.r1 <= found.r2 && found.r2 <= height, "{found:?}");
            prop_assert!(0 <= found.c1 && found.c1 <= found.c2 && found.c2 <= width, "{found:?}");
            prop_assert!((0.0..=1.0).contains(&found.kept(size)));
            if rule == BoxRule::Integer {
                prop_assert!(found.kept(size) >= lambda - 1e-12, "the border and odd sides only take away");
            }
        }
    }

    #[test]
    fn cutmix_credits_the_visible_area(
        n in 1usize..6, height in 1i64..24, width in 1i64..24, seed in 0u64..1000, each in any::<bool>(),
    ) {
        let per = if each { Per::Sample } else { Per::Batch };
        let (images, _, mixed) = drawn(CutMix::default(), ask(n, height, width, per), 2, seed);
        let Credit::Pair { partner, lambda } = mixed.credit else { panic!("a pair") };
        let mask = mixed.mask.unwrap();
        prop_assert!(credits_the_area(&mask, &lambda));
        // The same place in both images.
        let kept = mask.to_kind(Kind::Bool);
        prop_assert!(mixed.images.equal(&images.where_self(&kept, &images.index_select(0, &partner))));
    }

    #[test]
    fn resizemix_credits_the_visible_area_and_shows_nothing_but_its_sources(
        n in 1usize..6, height in 1i64..24, width in 1i64..24, seed in 0u64..1000, each in any::<bool>(),
        smooth in any::<bool>(),
    ) {
        let resizing = if smooth { Resizing::Bilinear } else { Resizing::Nearest };
        let per = if each { Per::Sample } else { Per::Batch };
        let (images, _, mixed) = drawn(ResizeMix { resizing, ..ResizeMix::default() }, ask(n, height, width, per), 2, seed);
        let Credit::Pair { partner, lambda } = mixed.credit else { panic!("a pair") };
        let (mask, placed) = (mixed.mask.unwrap(), &mixed.extras[Mixed::PLACED]);
        prop_assert!(credits_the_area(&mask, &lambda));
        prop_assert!(mixed.images.equal(&images.where_self(&mask.to_kind(Kind::Bool), placed)));
        let theirs = images.index_select(0, &partner);
        if smooth {
            let [low, high] = [theirs.amin([2i64, 3].as_slice(), true), theirs.amax([2i64, 3].as_slice(), true)];
            prop_assert_eq!(placed.ge_tensor(&(low - 1e-5)).all().int64_value(&[]), 1);
            prop_assert_eq!(placed.le_tensor(&(high + 1e-5)).all().int64_value(&[]), 1);
        } else {
            // Every pixel is one of the partner's, of the same colour.
            let found = placed.reshape([n as i64, 2, -1, 1]).eq_tensor(&theirs.reshape([n as i64, 2, 1, -1]));
            prop_assert_eq!(found.any_dim(3, false).all().int64_value(&[]), 1);
        }
    }

    #[test]
    fn fmix_masks_have_the_mean_lambda_to_a_pixel(
        n in 1usize..6, height in 1i64..24, width in 1i64..24, seed in 0u64..1000, each in any::<bool>(),
        isotropic in any::<bool>(), max_soft in prop_oneof![Just(0.0), 0.0..=0.5f64],
    ) {
        let spectrum = if isotropic { Spectrum::Isotropic } else { Spectrum::Reference };
        let per = if each { Per::Sample } else { Per::Batch };
        let (images, plan, mixed) = drawn(FMix { spectrum, max_soft, ..FMix::default() }, ask(n, height, width, per), 2, seed);
        let Credit::Pair { partner, lambda } = mixed.credit else { panic!("a pair") };
        prop_assert!(lambda.equal(&plan.on(Device::Cpu).unwrap().lambda().unwrap()));
        let mask = mixed.mask.unwrap();
        prop_assert!(mask.min().double_value(&[]) >= 0.0 && mask.max().double_value(&[]) <= 1.0);
        let pixels = mask.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Double);
        let off = pixels - lambda.expand([n as i64], false) * (height * width) as f64;
        prop_assert!(off.abs().max().double_value(&[]) < 1.0 + 1e-4, "{}", off.abs().max());
        if max_soft == 0.0 {
            let kept = mask.to_kind(Kind::Bool);
            prop_assert!(kept.to_kind(Kind::Float).equal(&mask));
            prop_assert!(mixed.images.equal(&images.where_self(&kept, &images.index_select(0, &partner))));
        }
    }

    #[test]
    fn saliencymix_credits_the_visible_area_and_knows_no_pixel_but_its_partners(
        n in 1usize..6, height in 1i64..24, width in 1i64..24, seed in 0u64..1000, each in any::<bool>(),
        own_map in any::<bool>(),
    ) {
        let scope = if own_map { Scope::Each } else { Scope::First };
        let per = if each { Per::Sample } else { Per::Batch };
        let (images, plan, mixed) = drawn(SaliencyMix { scope, ..SaliencyMix::default() }, ask(n, height, width, per), 3, seed);
        let Credit::Pair { partner, lambda } = mixed.credit else { panic!("a pair") };
        let mask = mixed.mask.unwrap();
        prop_assert!(credits_the_area(&mask, &lambda));
        let lambdas = Tensor::from_slice(&plan.lambdas(n).unwrap());
        prop_assert_eq!(lambda.ge_tensor(&(lambdas - 1e-6)).all().int64_value(&[]), 1, "the border takes away");
        let kept = mask.to_kind(Kind::Bool);
        prop_assert!(mixed.images.equal(&images.where_self(&kept, &images.index_select(0, &partner))));
        if scope == Scope::First && per == Per::Batch {
            prop_assert!(mask.equal(&mask.narrow(0, 0, 1).expand_as(&mask)));
        }
    }

    #[test]
    fn mixup_lies_between_its_sources(seed in 0u64..1000, lambda in lambda()) {
        let images = wild(&[3, 1, 4, 5], seed as f64, Kind::Float);
        let plan = Plan::given(lambda, &[2, 1, 0]).on(Device::Cpu).unwrap();
        let mixed = MixUp {}.mix(&MixInput::of(&images), &plan).unwrap().images;
        let partners = images.flip([0]);
        prop_assert!(mixed.le_tensor(&(images.maximum(&partners) + 1e-6)).all().int64_value(&[]) == 1);
        prop_assert!(mixed.ge_tensor(&(images.minimum(&partners) - 1e-6)).all().int64_value(&[]) == 1);
        if lambda == 1.0 { prop_assert!(mixed.equal(&images)); }
        if lambda == 0.0 { prop_assert!(mixed.equal(&partners)); }
    }

    #[test]
    fn an_adjusted_mask_has_the_mean_lambda(seed in 0u64..1000, lambda in lambda(), sharp in 0.1..60.0f64) {
        let mask = (wild(&[4, 1, 5, 7], seed as f64, Kind::Float) * sharp).sigmoid();
        let always = Adjust { probability: 1.0, ..Adjust::default() };
        let out = always.apply(&mask, &Tensor::from(lambda as f32), None, None).unwrap();
        prop_assert!(out.min().double_value(&[]) >= 0.0 && out.max().double_value(&[]) <= 1.0 + 1e-6);
        let off = out.mean_dim([1i64, 2, 3].as_slice(), false, None) - lambda;
        prop_assert!(off.abs().max().double_value(&[]) < 2e-6);
        let l1 = Mask { mode: MaskMode::L1, margin: 1e-5, ..Mask::default() };
        let input = LossInput::default().with("mask", out).with("lambda", Tensor::from(lambda as f32));
        prop_assert_eq!(l1.loss(&input).unwrap().double_value(&[]), 0.0);
    }

    #[test]
    fn the_polynomial_is_odd_about_a_half_and_stays_in_range(k in 0.0..10.0f64, lambda in lambda()) {
        let at = |l: f64| Rescale::Polynomial(k).apply(&Tensor::from(l)).unwrap().double_value(&[]);
        prop_assert!((at(lambda) + at(1.0 - lambda) - 1.0).abs() < 1e-9);
        prop_assert!((-1e-9..=1.0 + 1e-9).contains(&at(lambda)));
    }
}

fn six_channels() -> MixerContext {
    MixerContext { feature_channels: Some(6), ..MixerContext::default() }
}

fn amix(config: &AMix) -> (Store, Box<dyn Mixer>) {
    let store = Store::new(Device::Cpu, Streams::new(2));
    let mixer = config.build(&store.root().sub("mix"), &six_channels()).unwrap();
    (store, mixer)
}

#[test]
fn at_the_start_gamma_is_one_and_masks_vary_and_the_papers_start_is_flat_at_a_half() {
    let (images, features) = (wild(&[4, 3, 8, 8], 0.1, Kind::Float), wild(&[4, 6, 2, 2], 0.2, Kind::Float));
    let plan = Plan::given(0.9, &[1, 2, 3, 0]).with("dropout_key", Value::Int(1)).on(Device::Cpu).unwrap();
    for (preset, wanted) in [(Preset::Default, 1.0), (Preset::Paper, 0.0)] {
        let (store, mut mixer) = amix(&AMix::preset(preset));
        let input = MixInput { features: Some(&features), ..MixInput::of(&images) };
        let mask = mixer.mix(&input, &plan).unwrap().mask.unwrap();
        let far = (mask - 0.5).abs().max().double_value(&[]);
        assert_eq!(far < 0.05, preset == Preset::Paper, "{far}");
        let (name, gamma, hints) = store.parameters().remove(0);
        assert_eq!(
            (name.as_str(), gamma.double_value(&[]), hints.weight_decay),
            ("mix.gamma", wanted, false)
        );
        assert!(store.parameters().iter().skip(1).all(|(_, _, hints)| hints.weight_decay));
    }
}

#[test]
fn gamma_is_put_back_into_its_range_after_a_step() {
    for (moved, wanted) in [(-0.2, 0.0), (0.25, 0.25), (1.7, 1.0)] {
        let (store, mut mixer) = amix(&AMix::default());
        let mut gamma = store.parameters().remove(0).1;
        {
            let _no_graph = no_grad();
            let _ = gamma.fill_(moved);
        }
        mixer.after_step().unwrap();
        assert_eq!(gamma.double_value(&[]), wanted);
        assert!(gamma.requires_grad() && gamma.is_leaf());
    }
}

#[test]
fn running_buffers_move_once_a_mix_in_train_mode_quiet_or_not() {
    let (store, mut mixer) = amix(&AMix { dropout: 0.0, ..AMix::default() });
    let (images, features) = (wild(&[4, 3, 8, 8], 0.1, Kind::Float), wild(&[4, 6, 2, 2], 0.2, Kind::Float));
    let plan = Plan::given(0.4, &[1, 2, 3, 0]).on(Device::Cpu).unwrap();
    let mean = || store.buffers()[0].1.copy();
    for (train, quiet) in [(true, false), (true, true), (false, true)] {
        let before = mean();
        mixer.train(train);
        let input = MixInput { features: Some(&features), quiet, ..MixInput::of(&images) };
        mixer.mix(&input, &plan).unwrap();
        assert_eq!(!before.equal(&mean()), train, "train {train}, quiet {quiet}");
    }
}

#[test]
fn adjusting_acts_on_the_encoders_lesson_alone() {
    let (images, features) = (wild(&[4, 3, 8, 8], 0.1, Kind::Float), wild(&[4, 6, 2, 2], 0.2, Kind::Float));
    let config = AMix { dropout: 0.0, adjust: 0.5, lam_margin: 0.08, ..AMix::preset(Preset::Paper) };
    let mean = |lambda: f64, coin: f64, quiet: bool| {
        let plan =
            Plan::given(lambda, &[1, 2, 3, 0]).with("adjust", Value::Float(coin)).on(Device::Cpu).unwrap();
        let input = MixInput { features: Some(&features), quiet, ..MixInput::of(&images) };
        let mixed = amix(&config).1.mix(&input, &plan).unwrap();
        mixed.mask.unwrap().mean(None).double_value(&[])
    };
    // Masks start at 0.5.
    assert!((mean(0.2, 1.0, true) - 0.2).abs() < 1e-5);
    assert!((mean(0.2, 0.0, true) - 0.5).abs() < 0.05);
    assert!((mean(0.2, 1.0, false) - 0.5).abs() < 0.05);
    assert!((mean(0.05, 0.0, true) - 0.05).abs() < 1e-6, "within lam_margin: plain MixUp");
    assert!((mean(0.05, 0.0, false) - 0.5).abs() < 0.05);
}

#[test]
fn dropout_follows_its_key_drops_its_share_and_scales_up_the_rest() {
    let config = AMix {
        dropout: 0.4,
        activation: Activation::Elu,
        extras: true,
        init: Initial::Normal(1.0),
        ..AMix::default()
    };
    let (images, features) = (wild(&[40, 1, 8, 8], 0.1, Kind::Float), wild(&[40, 6, 8, 8], 0.2, Kind::Float));
    let partner: Vec<i64> = (0..40).rev().collect();
    let value = |config: &AMix, key: i64| {
        let plan = Plan::given(0.4, &partner).with("dropout_key", Value::Int(key)).on(Device::Cpu).unwrap();
        let input = MixInput { features: Some(&features), ..MixInput::of(&images) };
        amix(config).1.mix(&input, &plan).unwrap().extras["value"].detach()
    };
    let dropped = value(&config, 1);
    assert!(dropped.equal(&value(&config, 1)) && !dropped.equal(&value(&config, 2)));
    let kept = dropped.ne(0.0).to_kind(Kind::Float);
    let share = kept.mean(Kind::Double).double_value(&[]);
    // 2560 values: five standard errors are 0.048.
    assert!((share - 0.6).abs() < 0.048, "{share}");
    let whole = value(&AMix { dropout: 0.0, ..config }, 1);
    assert!((dropped - whole * kept / 0.6).abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn an_automix_mask_without_a_plane_does_not_see_lambda() {
    let config = crate::mixers::AutoMix { init: Initial::Normal(1.0), ..Default::default() };
    let store = Store::new(Device::Cpu, Streams::new(2));
    let mut mixer = config.build(&store.root(), &six_channels()).unwrap();
    let (images, features) = (wild(&[4, 3, 8, 8], 0.1, Kind::Float), wild(&[4, 6, 2, 2], 0.2, Kind::Float));
    let mut mask = |lambda| {
        let plan = Plan::given(lambda, &[1, 2, 3, 0]).on(Device::Cpu).unwrap();
        let input = MixInput { features: Some(&features), ..MixInput::of(&images) };
        mixer.mix(&input, &plan).unwrap().mask.unwrap().detach()
    };
    assert!(mask(0.1).equal(&mask(0.9)));
}
