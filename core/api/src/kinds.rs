//! Mixers and losses as kinds of the registry.

use serde_json::Value as Json;

use crate::contract::{Ledger, Promise, losses, mixers};
use crate::kind::{Choice, Kind};
use crate::{Argument, Loss, LossConfig, Mixer, MixerConfig, Needs, Pairing, Result};

/// A mixer as a recipe declares it.
pub type MixerChoice = Choice<dyn Mixer>;
/// A loss as a recipe declares it.
pub type LossChoice = Choice<dyn Loss>;

const FROM_LIBRARIES: &str = "; libraries are loaded with --plugin LIBRARY";

impl Kind for dyn Mixer {
    const WORD: &'static str = "mixer";
    const EXAMPLE: &'static str = "CutMix(alpha: 1.0)";
    const MORE: &'static str = FROM_LIBRARIES;
    type Config = dyn MixerConfig;
    type Served = Pairing;

    fn promises() -> Vec<Promise> {
        mixers::promises()
    }

    fn validate(config: &dyn MixerConfig) -> Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn MixerConfig) -> Json {
        config.resolved()
    }

    fn check(choice: &MixerChoice, at: &str, ledger: &mut Ledger) {
        mixers::check(choice.config.as_ref(), &choice.served, at, ledger);
    }

    fn facts(config: Option<&dyn MixerConfig>) -> Result<Vec<(&'static str, Vec<String>)>> {
        let needs = match config {
            None => vec!["images, and what the script's `needs()` says".into()],
            Some(config) if config.choices().is_some() => {
                vec!["images, and what the mixers that it picks from need".into()]
            }
            Some(config) => needs_in_words(&config.needs()),
        };
        Ok(vec![("needs", needs)])
    }

    fn ignores(config: &dyn MixerConfig) -> &'static [&'static str] {
        config.ignores()
    }

    fn defaults(config: &dyn MixerConfig, entry: &Pairing) -> Pairing {
        config.pairing(entry)
    }

    fn in_recipe(name: &str, written: &str) -> String {
        format!("mixers: {{\"{name}\": {written}}},")
    }

    fn names_others(config: &dyn MixerConfig) -> Vec<String> {
        config.choices().into_iter().flat_map(|of| of.keys().cloned()).collect()
    }
}

fn needs_in_words(needs: &Needs) -> Vec<String> {
    let mut list = vec!["images".to_string()];
    list.extend(needs.features.map(|stage| format!("features of stage {stage}")));
    list.extend(needs.saliency.then(|| "saliency".to_string()));
    list.extend(needs.pseudo.then(|| "pseudo labels".to_string()));
    let inside = |deepest| format!("a network to mix inside of, at stages up to {deepest}");
    list.extend(needs.hidden.map(inside));
    list.extend(needs.shown.then(|| "where given, images to show in their place".to_string()));
    list.extend(needs.host_solver.then(|| "a part of the work runs on the host".to_string()));
    list
}

impl Kind for dyn Loss {
    const WORD: &'static str = "loss";
    const EXAMPLE: &'static str = "Mask(margin: 0.1)";
    const MORE: &'static str = FROM_LIBRARIES;
    type Config = dyn LossConfig;
    type Served = ();

    crate::by_contract! { losses }

    fn facts(config: Option<&dyn LossConfig>) -> Result<Vec<(&'static str, Vec<String>)>> {
        let needs = match config {
            None => vec!["what the script's `arguments()` says".into()],
            Some(config) => config.build()?.arguments().into_iter().map(Argument::describe).collect(),
        };
        Ok(vec![("needs", needs)])
    }

    fn in_recipe(name: &str, written: &str) -> String {
        format!("losses: {{\"{name}\": {written}}},")
    }
}
