//! The settings that the host serves, with every mixer that is registered.

use admix_api::prelude::*;
use admix_api::{Registry, Seed, Store, Streams, Until, erased_serde};
use serde::de::DeserializeSeed;

use crate::contract::all_settings;

pub(crate) const N: i64 = 7;
pub(crate) const SIZE: (i64, i64) = (8, 12);

/// Two samples of each of three labels, and one that is alone.
const LABELS: [i64; N as usize] = [4, 0, 2, 0, 9, 4, 2];

/// Every mixer that mixes itself, with each of its tested settings.
pub(crate) fn mixers() -> Vec<(String, Box<dyn MixerConfig>, Pairing)> {
    let mut all = Vec::new();
    for entry in Registry::linked().unwrap().entries() {
        let Some(reader) = entry.reader::<dyn Mixer>() else { continue };
        for settings in all_settings(entry) {
            let mut body = <dyn erased_serde::Deserializer<'_>>::erase(settings.clone());
            let config = (reader.read)(&mut body).unwrap();
            if config.choices().is_none() {
                all.push((format!("{} {settings}", entry.name), config, reader.served.clone()));
            }
        }
    }
    all
}

/// What a mixer that reads all there is would be given.
pub(crate) struct Given {
    pub(crate) images: Tensor,
    pub(crate) features: Tensor,
    pub(crate) saliency: Tensor,
    pub(crate) pseudo: Tensor,
}

impl Given {
    pub(crate) fn new() -> Self {
        use admix_api::contract::wild;
        Self {
            images: wild(&[N, 3, SIZE.0, SIZE.1], 0.1, Kind::Float),
            features: wild(&[N, 6, 2, 3], 0.2, Kind::Float),
            saliency: wild(&[N, SIZE.0, SIZE.1], 0.3, Kind::Float).abs(),
            pseudo: Tensor::from_slice(&LABELS),
        }
    }

    pub(crate) fn to(&self, needs: &Needs) -> MixInput<'_> {
        MixInput {
            features: needs.features.map(|_| &self.features),
            saliency: needs.saliency.then_some(&self.saliency),
            pseudo: needs.pseudo.then_some(&self.pseudo),
            ..MixInput::of(&self.images)
        }
    }
}

pub(crate) fn built(config: &dyn MixerConfig) -> Box<dyn Mixer> {
    let features = config.needs().features.map(|_| 6);
    let context = MixerContext { feature_channels: features, classes: 10, ..MixerContext::default() };
    config.build(&Store::new(Device::Cpu, Streams::new(1)).root(), &context).unwrap()
}

/// Fails unless these are partners as they were asked for.
fn check_partners(what: &str, partners: &[i64], by: Partner) {
    let mut sorted = partners.to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..N).collect::<Vec<_>>(), "{what}: {partners:?}");
    let meets_itself = (0..N).zip(partners).any(|(own, partner)| own == *partner);
    let label = |sample: i64| LABELS[sample as usize];
    let meets_label = |own: i64| label(own) == label(partners[own as usize]);
    match by {
        Partner::Permutation => {}
        Partner::Derangement => assert!(!meets_itself, "{what}: {partners:?}"),
        Partner::Flip => assert!(partners.iter().rev().copied().eq(0..N), "{what}: {partners:?}"),
        Partner::ClusterAware { share } => {
            assert!(!meets_itself, "{what}: {partners:?}");
            // Whoever is alone with its label joins a pair: two of that pair still have one of their own between them.
            let met = (0..N).filter(|own| meets_label(*own)).count();
            assert!(share < 1.0 || met == 5, "{what}: {partners:?} of {LABELS:?}");
        }
    }
}

#[test]
fn every_mixer_follows_every_setting_of_the_host() {
    let given = Given::new();
    let even = Partner::ClusterAware { share: 0.5 };
    let own = Partner::ClusterAware { share: 1.0 };
    for (what, config, defaults) in mixers() {
        let mut mixer = built(config.as_ref());
        let serves = |setting: &str| !config.ignores().contains(&setting);
        for partner in [Partner::Permutation, Partner::Derangement, Partner::Flip, even, own] {
            for (per, fold) in
                [(Per::Batch, false), (Per::Batch, true), (Per::Sample, false), (Per::Sample, true)]
            {
                let what = format!("{what}, {partner}, per {per:?}, fold {fold}");
                let pairing = Pairing { per, fold, partner, ..defaults.clone() };
                let (height, width) = SIZE;
                let ask = Ask {
                    batch: N as usize,
                    height,
                    width,
                    pairing,
                    lambda: None,
                    quiet: true,
                    progress: 0.5,
                };
                let mut lambdas = Vec::new();
                for step in 0..8 {
                    let mut draws = Streams::new(2).draws("mix", "pairings", 0, step);
                    let plan = mixer.plan(&ask, &mut draws).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(
                        !serves("per") || plan.is_per_sample() == (per == Per::Sample),
                        "{what}: {plan:?}"
                    );
                    // One that mixes more than pairs has neither partners nor a lambda, and says so.
                    if plan.value("lambda").is_ok() || serves("partner") {
                        lambdas.extend(plan.lambdas(N as usize).unwrap());
                    }
                    let planned = plan.on(Device::Cpu).unwrap();
                    if partner.needs_pseudo() && serves("partner") {
                        let message = planned.paired(None).unwrap_err().to_string();
                        assert!(message.contains("pseudo") && message.contains("ClusterAware"), "{message}");
                    }
                    let paired = planned.paired(Some(&given.pseudo)).unwrap();
                    assert_eq!(paired.is_some(), partner.needs_pseudo() && serves("partner"), "{what}");
                    let planned = paired.unwrap_or(planned);
                    let input = Given::to(&given, &config.needs());
                    let mixed = mixer.mix(&input, &planned).unwrap_or_else(|e| panic!("{what}: {e}"));
                    let (sources, shares) = mixed.credit.shares().unwrap();
                    assert_eq!(shares.isfinite().all().int64_value(&[]), 1, "{what}");
                    if serves("partner") {
                        let partners: Vec<i64> = Vec::try_from(planned.partner().unwrap()).unwrap();
                        check_partners(&what, &partners, partner);
                        let credited: Vec<i64> = Vec::try_from(sources.select(1, 1)).unwrap();
                        assert_eq!(partners, credited, "{what}");
                    }
                }
                let least = lambdas.iter().copied().fold(f64::INFINITY, f64::min);
                assert!(!(fold && serves("fold")) || least >= 0.5, "{what}: {least}");
                lambdas.dedup();
                assert!(
                    !serves("partner") || !serves("alpha") || lambdas.len() > 4,
                    "{what}: lambda is drawn for each batch or sample"
                );
            }
        }
    }
}

#[test]
fn every_mixer_reads_the_settings_of_the_host_in_a_recipe() {
    let registry = Registry::linked().unwrap();
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
    let read = |text: &str| {
        let mut body = ron::Deserializer::from_str_with_options(text, &options).unwrap();
        Seed::<dyn Mixer>::of(&registry).deserialize(&mut body).map_err(|error| error.to_string())
    };
    let mut seen = 0;
    for entry in registry.of::<dyn Mixer>() {
        let name = &entry.type_name;
        let choice = read(&format!("{name}()")).unwrap();
        assert!(choice.given.is_empty(), "{name}");
        let text = format!(
            "{name}(per: Sample, partner: ClusterAware(share: 0.25), fold: true, alpha: 0.7, prob: 0.5, until: Epochs(3))"
        );
        let choice = read(&text).unwrap();
        let wanted = Pairing {
            alpha: 0.7,
            per: Per::Sample,
            fold: true,
            partner: Partner::ClusterAware { share: 0.25 },
            prob: 0.5,
            until: Until::Epochs(3),
        };
        assert_eq!(
            (choice.served, &choice.given[..]),
            (wanted, &["per", "partner", "fold", "alpha", "prob", "until"][..]),
            "{name}"
        );
        let half = read(&format!("{name}(partner: ClusterAware())")).unwrap().served.partner;
        assert_eq!(half, Partner::ClusterAware { share: 0.5 });
        let wrong = read(&format!("{name}(partner: Clusters)")).unwrap_err();
        assert!(wrong.contains("Clusters") && wrong.contains("ClusterAware"), "{wrong}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}
