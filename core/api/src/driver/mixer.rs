//! A mixer that is ready to mix.

use admix_torch::{Device, Kind, Tensor, channels_last, is_channels_last, no_grad};
use serde_json::Value as Json;

use super::given;
use super::settings::owned;
use super::turn::Turn;
use crate::{
    Ask, Error, MixInput, Mixed, Mixer, MixerChoice, MixerContext, Needs, Plan, Result, Store, Streams, Value,
};

/// A mix, and the lambda that it was planned with.
#[derive(Debug)]
pub struct DrivenMix {
    /// The mix.
    pub mixed: Mixed,
    /// lambda as planned, 0-dim or `[N]` float32; the own share where a plan has none.
    pub lambda: Tensor,
    /// The name of the entry that made it: that of a choice's pick.
    pub mixer: String,
}

/// A mixer that is ready to mix.
#[derive(Debug)]
pub struct DrivenMixer {
    choice: MixerChoice,
    mixer: Box<dyn Mixer>,
    needs: Needs,
    store: Store,
    streams: Streams,
    context: MixerContext,
    picks: Vec<(DrivenMixer, f64)>,
    train: bool,
}

impl DrivenMixer {
    pub(super) fn new(
        choice: MixerChoice,
        picks: Vec<(DrivenMixer, f64)>,
        streams: Streams,
        context: MixerContext,
        (device, kind): (Device, Kind),
    ) -> Result<Self> {
        let owner = owner(&choice);
        let mut needs = choice.config.needs();
        needs.pseudo |= choice.served.partner.needs_pseudo();
        for (pick, _) in &picks {
            if !pick.picks.is_empty() {
                return Err(Error::plugin(owner, format!("cannot pick the choice `{}`", pick.name())));
            }
            if !pick.store.tensors().is_empty() {
                let message = format!("cannot pick `{}`, which is trained: mix by it alone", pick.name());
                return Err(Error::plugin(owner, message));
            }
            needs = needs.and(&pick.needs).ok_or_else(|| {
                Error::plugin(&owner, "picks among mixers that read features of different stages")
            })?;
        }
        let store = Store::with_kind(device, kind, streams.fork(&choice.plugin));
        let mixer = build(&choice, &store, &context, &needs)?;
        if choice.served.may_rest() && !store.parameters().is_empty() {
            let setting = if choice.served.prob < 1.0 { "prob" } else { "until" };
            return Err(Error::Setting {
                setting: format!("`{setting}` of {owner}"),
                message: "is for mixers without parameters; this one is trained, so it mixes every batch"
                    .into(),
            });
        }
        Ok(Self { choice, mixer, needs, store, streams, context, picks, train: true })
    }

    /// The entry's name.
    pub fn name(&self) -> &str {
        &self.choice.plugin
    }

    /// Its settings in full, with its name as `plugin`.
    pub fn settings(&self) -> Json {
        self.choice.resolved()
    }

    /// What it reads.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Its parameters and buffers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Other draws from now on. Trained tensors stay as they are.
    pub fn reseed(&mut self, seed: u64) {
        self.streams = Streams::new(seed);
        self.picks.iter_mut().for_each(|(pick, _)| pick.reseed(seed));
    }

    /// Train mode (dropout, batch statistics) or evaluation mode.
    pub fn train(&mut self, on: bool) {
        self.train = on;
        self.mixer.train(on);
        self.picks.iter_mut().for_each(|(pick, _)| pick.train(on));
    }

    /// To be called after every optimiser step of a mixer with parameters: projects them to where they are valid.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn after_step(&mut self) -> Result<()> {
        let _guard = no_grad();
        self.mixer.after_step()
    }

    /// Trains these tensors by name from now on, on this device, in place of its own. What a library made itself keeps its
    /// place and takes the values; [`store`](Self::store) has the tensors that hold.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. Nothing is changed then.
    pub fn bind(&mut self, device: Device, tensors: Vec<(String, Tensor)>) -> Result<()> {
        let store = given::store(device, tensors);
        let mut mixer = build(&self.choice, &store, &self.context, &self.needs)?;
        mixer.train(self.train);
        (self.mixer, self.store) = (mixer, store);
        Ok(())
    }

    /// Plans a mix at this turn, and mixes. The input is never modified. Without a graph where the input is quiet.
    ///
    /// # Errors
    /// An input that is missing, that it does not read, or of a wrong shape, kind or device.
    pub fn mix(&mut self, input: &MixInput<'_>, turn: &Turn) -> Result<DrivenMix> {
        let owner = owner(&self.choice);
        let [n, _, height, width] = check(&owner, &self.needs, input, turn)?;
        let (device, tensors) = (input.images.device(), self.store.tensors());
        if let Some((_, own)) = tensors.first().filter(|(_, own)| own.device() != device) {
            let wanted =
                format!("images on {:?}, where its parameters are: move one to the other", own.device());
            return Err(Error::range(format!("`images` of {owner}"), format!("on {device:?}"), wanted));
        }
        let mut draws = turn.streams(self.streams).draws("choice", &turn.draw, turn.epoch, turn.step);
        let weights: Vec<(usize, f64)> = self.picks.iter().map(|(_, weight)| *weight).enumerate().collect();
        let picked = draws.pick(&weights);
        let rests = !self.mixes(turn) || picked.is_some_and(|index| !self.picks[index].0.mixes(turn));
        if let Some(index) = picked {
            return self.picks[index].0.planned(input, turn, rests, [n, height, width]);
        }
        self.planned(input, turn, rests, [n, height, width])
    }

    /// Whether this batch is mixed, by the settings `prob` and `until`.
    fn mixes(&self, turn: &Turn) -> bool {
        let pairing = &self.choice.served;
        let name = format!("{}.{}", turn.draw, self.name());
        let mut draws = turn.streams(self.streams).draws("prob", &name, turn.epoch, turn.step);
        !pairing.may_rest() || pairing.mixes(turn.epoch, turn.progress, &mut draws)
    }

    fn planned(
        &mut self,
        input: &MixInput<'_>,
        turn: &Turn,
        rests: bool,
        [n, height, width]: [i64; 3],
    ) -> Result<DrivenMix> {
        let owner = owner(&self.choice);
        let device = input.images.device();
        let _no_graph = input.quiet.then(no_grad);
        if rests {
            let plan = Plan::default().with("lambda", Value::Float(1.0));
            let plan = plan.with("partner", Value::Ints((0..n).collect())).on(device)?;
            let mixed = Mixed::rested(input.shown.unwrap_or(input.images), &plan)?;
            return Ok(DrivenMix { mixed, lambda: plan.lambda()?, mixer: self.name().into() });
        }
        let ask = Ask {
            batch: n as usize,
            height,
            width,
            pairing: self.choice.served.clone(),
            lambda: turn.lambda,
            quiet: input.quiet,
            progress: turn.progress,
        };
        let mut draws = turn.streams(self.streams).draws("mix", &turn.draw, turn.epoch, turn.step);
        let plan = self.mixer.plan(&ask, &mut draws).map_err(|error| owned(error, &owner))?;
        let mut plan = plan.on(device)?;
        if let Some(partner) = &turn.partner {
            plan = plan.with_partner(partner);
        }
        if let Some(paired) = plan.paired(input.pseudo)? {
            plan = paired;
        }
        let mut mixed = self.mixer.mix(input, &plan)?;
        if input.quiet {
            mixed = mixed.quietened(|| self.store.parameters().into_iter().map(|(_, one, _)| one).collect());
        }
        if is_channels_last(input.images) && !is_channels_last(&mixed.images) {
            // Where the work is done in another order: the network that was given such images wants such mixes.
            mixed.images = channels_last(&mixed.images)?;
        }
        mixed.check_hidden(<[i64; 4]>::from(input.images.size4()?))?;
        let lambda = mixed.lambda(&plan)?;
        Ok(DrivenMix { mixed, lambda, mixer: self.name().into() })
    }
}

fn owner(choice: &MixerChoice) -> String {
    format!("the mixer `{}`", choice.plugin)
}

fn build(
    choice: &MixerChoice,
    store: &Store,
    context: &MixerContext,
    needs: &Needs,
) -> Result<Box<dyn Mixer>> {
    let mut mixer = choice.config.build(&store.root(), context).map_err(|error| {
        match (needs.features, context.feature_channels) {
            (Some(stage), None) => Error::missing(
                owner(choice),
                "channels",
                format!("say how many channels the feature map of stage {stage} has"),
            ),
            _ => owned(error, &owner(choice)),
        }
    })?;
    mixer.train(true);
    Ok(mixer)
}

/// Refuses inputs that do not fit. Reads nothing of a device but shapes.
fn check(owner: &str, needs: &Needs, input: &MixInput<'_>, turn: &Turn) -> Result<[i64; 4]> {
    let (images, all) = (input.images, input.named_tensors());
    let shape = |what: &str, got: &Tensor, wanted: String| {
        Err(Error::shape(format!("`{what}` of {owner}"), got.size(), wanted))
    };
    let (n, c, height, width) = input.nchw()?;
    if n == 0 {
        return shape("images", images, "a batch of at least one image".into());
    }
    let (must, may) = needs.keys();
    let given = |name: &str| all.iter().any(|(own, tensor)| *own == name && tensor.is_some());
    if let Some(missing) = must.iter().find(|name| !given(name)) {
        return Err(Error::missing(owner, *missing, format!("give it `{missing}` beside the images")));
    }
    let extra =
        all.iter().find(|(name, tensor)| tensor.is_some() && !must.contains(name) && !may.contains(name));
    if let Some((extra, _)) = extra {
        let takes: Vec<&str> = must.iter().chain(&may).copied().collect();
        return Err(Error::plugin(owner, format!("takes no `{extra}`; it takes {}", takes.join(", "))));
    }
    for (name, tensor) in all {
        let Some(tensor) = tensor else { continue };
        if tensor.device() != images.device() {
            let got = format!("on {:?}", tensor.device());
            let wanted = format!("a tensor on {:?}, as the images", images.device());
            return Err(Error::range(format!("`{name}` of {owner}"), got, wanted));
        }
        let (floats, size, wanted): (bool, &[i64], String) = match name {
            "images" | "shown" | "partner_images" | "partner_shown" => {
                (true, &[n, c, height, width], format!("[{n}, {c}, {height}, {width}], as the images"))
            }
            "saliency" => (true, &[n, height, width], format!("[{n}, {height}, {width}]")),
            "pseudo" => (false, &[n], format!("[{n}]")),
            _ => (true, &[], String::new()),
        };
        if tensor.is_floating_point() != floats {
            let wanted =
                if floats { "floating point values (for bytes, divide by 255)" } else { "whole numbers" };
            return Err(Error::range(format!("`{name}` of {owner}"), format!("{:?}", tensor.kind()), wanted));
        }
        if !wanted.is_empty() && tensor.size() != size {
            return shape(name, tensor, wanted);
        }
        if wanted.is_empty() && (tensor.dim() != 4 || tensor.size()[0] != n) {
            return shape(name, tensor, format!("[{n}, D, h, w]"));
        }
    }
    if let Some(partner) = &turn.partner {
        if partner.size() != [n] || partner.kind() != Kind::Int64 || partner.device() != images.device() {
            let got = format!("{:?} of {:?} on {:?}", partner.size(), partner.kind(), partner.device());
            let wanted = format!("[{n}] of Int64 on {:?}: which sample each one meets", images.device());
            return Err(Error::range(format!("`partner` of {owner}"), got, wanted));
        }
        // A device's own check of indices kills its whole context; to look at them there would wait for it.
        if partner.device() == Device::Cpu {
            let bad = partner.f_lt(0)?.f_logical_or(&partner.f_ge(n)?)?;
            if bool::try_from(bad.f_any()?).map_err(admix_torch::Error::from)? {
                let wanted = format!("numbers of samples, 0 to {}", n - 1);
                return Err(Error::range(format!("`partner` of {owner}"), "out of range", wanted));
            }
        }
    }
    if let Some(lambda) = turn.lambda.filter(|lambda| !(0.0..=1.0).contains(lambda)) {
        return Err(Error::range(format!("`lambda` of {owner}"), lambda, "a number in [0, 1]"));
    }
    Ok([n, c, height, width])
}
