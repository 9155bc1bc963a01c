//! One mixer with settings and a batch, and calls into it.

use std::collections::BTreeMap;
use std::fmt;

use admix_torch::Tensor;

use super::ledger::Ledger;
use super::samples::{Batch, by};
use super::watch::{Watched, watched_on};
use crate::{Ask, Mixer, MixerConfig, Needs, Pairing, Partner, Per, Plan, Streams};

pub(super) const MISSING: &str = "what is missing or unfit is an error in one line";
pub(super) const DRAWS: &str = "nothing is drawn from libtorch's generator";
pub(super) const MODES: &str = "gradient mode and autocast are left alone";

/// The seed of the plans' draws.
pub(super) const SEED: u64 = 3;

/// One mix, in words that let it be repeated.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) settings: String,
    pub(super) shape: Vec<i64>,
    pub(super) per: Per,
    /// Another way to choose partners and lambda than the settings say.
    pub(super) pairing: Option<(Partner, bool)>,
    pub(super) quiet: bool,
    pub(super) step: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loudness = if self.quiet { "quiet" } else { "loud" };
        write!(f, "{} on {}, per {:?}, {loudness}, ", self.settings, by(&self.shape), self.per)?;
        if let Some((partner, fold)) = self.pairing {
            write!(f, "partner {partner}, fold {fold}, ")?;
        }
        write!(f, "seed {SEED}, step {}", self.step)
    }
}

/// A mixer with its trained parameters.
pub(super) struct Built {
    pub(super) mixer: Box<dyn Mixer>,
    pub(super) parameters: Vec<(String, Tensor)>,
    /// Its declared buffers, which a mix may move, behind their values before the first mix.
    pub(super) buffers: Vec<(Tensor, Tensor)>,
}

/// One mixer with settings, and a batch of one shape for it.
pub(super) struct Bench<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) batch: Batch,
    pub(super) config: &'a dyn MixerConfig,
    pub(super) pairing: &'a Pairing,
    pub(super) settings: &'a str,
    pub(super) needs: &'a Needs,
    pub(super) built: Built,
    /// Whether the last mix left its inputs and the plan alone, and whether it left the thread's modes alone.
    pub(super) untouched: bool,
    pub(super) same_modes: bool,
    /// Whether every mix of this batch had the right form.
    pub(super) whole: bool,
    /// Whether every mix with these settings was as it should be.
    pub(super) sound: &'a mut bool,
    /// The stage of the first mix of each structure, 0 for the images.
    pub(super) stages: BTreeMap<u64, usize>,
    /// Trained parameters, and whether a gradient ever reached them.
    pub(super) reached: &'a mut BTreeMap<String, bool>,
}

/// What a call gave. Its generator and modes are judged on the way.
pub(super) fn took<T>(
    ledger: &mut Ledger,
    promise: &'static str,
    at: &dyn fmt::Display,
    call: Watched<T>,
) -> Option<T> {
    ledger.judge(DRAWS, at, call.draws);
    ledger.judge(MODES, at, call.modes);
    let (value, found) = match call.outcome {
        Ok(value) => (Some(value), Ok(())),
        Err(seen) => (None, Err(seen)),
    };
    ledger.judge(promise, at, found);
    value
}

impl Bench<'_> {
    pub(super) fn case(&self, per: Per, step: u64) -> Case {
        let shape = self.batch.images.size();
        Case { settings: self.settings.into(), shape, per, pairing: None, quiet: self.batch.quiet, step }
    }

    pub(super) fn ask(&self, case: &Case) -> Watched<Plan> {
        let (partner, fold) = case.pairing.unwrap_or((self.pairing.partner, self.pairing.fold));
        let ask = Ask {
            batch: case.shape[0] as usize,
            height: case.shape[2],
            width: case.shape[3],
            pairing: Pairing { per: case.per, partner, fold, ..self.pairing.clone() },
            quiet: case.quiet,
            progress: 0.5,
            lambda: None,
        };
        let mut draws = Streams::new(SEED).draws("mix", "contract", 0, case.step);
        watched_on(self.ledger.device(), || self.built.mixer.plan(&ask, &mut draws))
    }

    pub(super) fn took<T>(&mut self, promise: &'static str, case: &Case, call: Watched<T>) -> Option<T> {
        took(self.ledger, promise, case, call)
    }
}
