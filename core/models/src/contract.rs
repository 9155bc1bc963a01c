//! The promises that every backbone keeps, as one check that runs on any entry.
//!
//! What is run is the entry's network at toy width, with parameters away from their initial values, where a zero weight
//! would hide the layers below it.

use admix_api::contract::{BUILT, Check, Ledger, Promise, Seen, Watched, ensure, watched, wild};
use admix_api::{Store, Streams};
use admix_torch::{Device, Kind, Tensor};

use crate::{Backbone, BackboneConfig, Error, Map, Pass, Result};

const ALIKE: &str = "the same streams build the same network";
const NARROW: &str = "its toy network has the same stages and is no larger";
const STAGES: &str = "every stage gives a finite map of its channels, no larger than the one before";
const BEYOND: &str = "a stage beyond the last is refused";
const INPUTS: &str = "the maps that stages are given stay as they are";
const TRAIN: &str = "a pass in train mode moves every buffer";
const EVALUATE: &str = "a pass in evaluation mode changes nothing and treats each sample alone";
const NORMS: &str = "every BatchNorm is listed, in the order they run";
const SAME: &str = "the same pass gives the same bits";
const SAVED: &str = "its saved tensors make another network the same";
const GRADIENTS: &str = "every parameter gets a finite gradient";
const DROPS: &str = "its draws decide a pass in train mode, and nothing in evaluation mode";
const ATTENTION: &str = "its class token attends to each cell by a share, and to all together by less than 1";
const OWN: &str = "a pass draws nothing of its own and leaves gradient mode and autocast alone";
const WAITS: &str = "a pass does not wait for the device";

const NO_PASS: &str = "it was not built, or no pass came to its end";
pub(crate) const PROMISES: &[Promise] = &[
    (ALIKE, "it was not built"),
    (NARROW, "it is small as it is"),
    (STAGES, "it was not built"),
    (BEYOND, "it was not built"),
    (INPUTS, NO_PASS),
    (TRAIN, "it has no buffers"),
    (EVALUATE, NO_PASS),
    (NORMS, "it has no buffers"),
    (SAME, NO_PASS),
    (SAVED, NO_PASS),
    (GRADIENTS, NO_PASS),
    (DROPS, "it takes no draws"),
    (ATTENTION, "it has no class token"),
    (OWN, "it was not built"),
    (WAITS, "it was not built"),
];

/// (N, C, H, W): height and width different and odd, one colour, images of the small and of the large kind.
const SHAPES: [[i64; 4]; 3] = [[3, 3, 33, 18], [2, 1, 16, 24], [2, 3, 35, 64]];

impl From<Error> for Seen {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(error) => error.into(),
            other => other.to_string().into(),
        }
    }
}

/// A network and its tensors.
struct Built {
    store: Store,
    network: Box<dyn Backbone>,
}

impl Built {
    /// As the entry makes it.
    fn new(config: &dyn BackboneConfig, colours: i64, seed: u64) -> Result<Self> {
        let store = Store::new(Device::Cpu, Streams::new(seed));
        let network = config.build(&store.root(), colours)?;
        Ok(Self { store, network })
    }

    /// The same with every vector among its parameters moved.
    fn moved(config: &dyn BackboneConfig, colours: i64, seed: u64) -> Result<Self> {
        let built = Self::new(config, colours, seed)?;
        let _guard = admix_torch::no_grad();
        for (place, (_, mut tensor, _)) in built.store.parameters().into_iter().enumerate() {
            let noise = wild(&tensor.size(), seed as f64 + 0.01 * place as f64, tensor.kind());
            let centre = if tensor.dim() == 1 { 0.6 } else { 1.0 };
            let by = if tensor.dim() == 1 {
                noise.f_mul_scalar(0.2)?.f_add_scalar(centre)?
            } else {
                noise.f_mul_scalar(0.01)?
            };
            let _ = tensor.f_add_(&by)?;
        }
        Ok(built)
    }

    /// Every tensor with its name, copied.
    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.store.tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.f_detach_copy()?))).collect()
    }

    /// The first tensor that is not as in this copy.
    fn changed(&self, before: &[(String, Tensor)]) -> Option<String> {
        let now = self.store.tensors();
        let other = now.iter().zip(before).find(|((_, now), (_, before))| now != before);
        other.map(|((name, _), _)| name.clone())
    }

    fn pass(&self, train: bool, samples: i64, seed: f64) -> Result<Pass> {
        let count = self.network.drops() as i64;
        // In [0, 1), as draws are.
        let drops = (count > 0).then(|| (wild(&[count, samples], seed, Kind::Float) + 1.0) / 2.0);
        Ok(Pass { train, drops: drops.filter(|_| train) })
    }
}

/// Holds a backbone with these settings to every promise.
pub(crate) fn check(config: &dyn BackboneConfig, at: &str, ledger: &mut Ledger) {
    let (whole, toy) = (config, config.narrowed());
    let config = toy.as_deref().unwrap_or(whole);
    if !ledger.holds(BUILT, &at, || built(config)) {
        return;
    }
    if let Some(toy) = &toy {
        ledger.holds(NARROW, &at, || narrowed(whole, toy.as_ref()));
    }
    ledger.holds(ALIKE, &at, || alike(config));
    let has = |what: fn(&Built) -> bool| Built::new(config, 3, 1).is_ok_and(|built| what(&built));
    let (has_buffers, has_draws) =
        (has(|built| !built.store.buffers().is_empty()), has(|built| built.network.drops() > 0));
    let has_attention = has(|built| attention(built, SHAPES[0]).map_or(true, |(_, shares)| shares.is_some()));
    for shape in SHAPES {
        let at = format!("{at} {}", shape.map(|side| side.to_string()).join("x"));
        if stages(config, shape, &at, ledger) {
            ledger.holds(INPUTS, &at, || inputs(config, shape));
            if has_buffers {
                ledger.holds(TRAIN, &at, || train(config, shape));
            }
            ledger.holds(EVALUATE, &at, || evaluate(config, shape));
            ledger.holds(SAME, &at, || same(config, shape));
            ledger.holds(SAVED, &at, || saved(config, shape));
            ledger.holds(GRADIENTS, &at, || gradients(config, shape));
            if has_attention {
                ledger.holds(ATTENTION, &at, || attends(config, shape));
            }
        }
    }
    let shape = SHAPES[0];
    if has_buffers {
        ledger.holds(NORMS, &at, || norms(config, shape));
    }
    if has_draws {
        ledger.holds(DROPS, &at, || drops(config, shape));
    }
}

fn images(shape: [i64; 4]) -> Tensor {
    wild(&shape, 0.1, Kind::Float)
}

/// All that a pass gives, `[N, ..]`: the last map, and what heads read of it.
fn whole(built: &Built, images: &Tensor, pass: &Pass) -> Result<Tensor> {
    let map = built.network.forward(images, pass)?;
    let parts = [map.tensor().f_flatten(1, -1)?, built.network.summary(&map)?.f_flatten(1, -1)?];
    Ok(Tensor::f_cat(&parts, 1)?)
}

/// Where the tensors of two networks differ in names, shapes or bits.
fn differs(one: &Built, other: &Built) -> Option<String> {
    let (one, other) = (one.store.tensors(), other.store.tensors());
    let unequal = one.iter().zip(&other).find(|(a, b)| a.0 != b.0 || a.1.size() != b.1.size() || a.1 != b.1);
    unequal.map(|((name, _), _)| name.clone()).or((one.len() != other.len()).then(|| "their number".into()))
}

/// For images of one colour and of three.
fn built(config: &dyn BackboneConfig) -> Check {
    for colours in [1, 3] {
        let built = Built::new(config, colours, 1)?;
        ensure(!built.store.parameters().is_empty(), || "it has no parameters".into())?;
    }
    Ok(())
}

fn alike(config: &dyn BackboneConfig) -> Check {
    let differs = differs(&Built::new(config, 3, 1)?, &Built::new(config, 3, 1)?);
    ensure(differs.is_none(), || format!("they differ in `{}`", differs.unwrap_or_default()))
}

fn narrowed(config: &dyn BackboneConfig, toy: &dyn BackboneConfig) -> Check {
    toy.validate()?;
    let (whole, toy) = (Built::new(config, 3, 1)?, Built::new(toy, 3, 1)?);
    let (stages, wanted) = (toy.network.stages(), whole.network.stages());
    ensure(stages == wanted, || format!("it has {stages} stages, the network {wanted}"))?;
    let count = |built: &Built| built.store.parameters().iter().map(|(_, t, _)| t.numel()).sum::<usize>();
    let (small, large) = (count(&toy), count(&whole));
    ensure(small <= large, || format!("it has {small} parameters, the network {large}"))
}

/// Walks through the stages, watched. Tells whether every stage gave a map.
fn stages(config: &dyn BackboneConfig, shape: [i64; 4], at: &str, ledger: &mut Ledger) -> bool {
    let Ok(built) = Built::moved(config, shape[1], 1) else { return false };
    let mut good = true;
    for train in [false, true] {
        let Ok(pass) = built.pass(train, shape[0], 0.2) else { return false };
        let mut map = Map::from(images(shape));
        for index in 0..=built.network.stages() {
            let stage = || built.network.stage(index, &map, &pass).map_err(of_api);
            let Watched { outcome, modes, draws, waits } = watched(stage);
            ledger.judge(OWN, &at, modes.and(draws));
            ledger.judge(WAITS, &at, waits);
            let next = outcome.and_then(|next| well_formed(&built, index, &map, &next).map(|()| next));
            match next {
                Ok(next) => {
                    ledger.judge(STAGES, &at, Ok(()));
                    map = next;
                }
                Err(seen) => {
                    ledger.judge(STAGES, &at, Err(seen));
                    good = false;
                    break;
                }
            }
        }
        ledger.holds(BEYOND, &at, || beyond(built.network.as_ref(), &map));
    }
    good
}

/// What comes after the last stage, given the map of that.
fn beyond(network: &dyn Backbone, last: &Map) -> Check {
    let beyond = network.stages() + 1;
    let channels = network.channels(beyond);
    ensure(channels == 0, || format!("stage {beyond} is said to have {channels} channels"))?;
    let given = network.stage(beyond, last, &Pass::EVALUATE);
    ensure(given.is_err(), || format!("there is no stage {beyond}, but it gave a map"))
}

fn well_formed(built: &Built, index: usize, before: &Map, map: &Map) -> Check {
    let (old, new) = (before.cells()?, map.cells()?);
    let told = || format!("stage {index} gave {:?} {:?}", map.tensor().size(), map.tensor().kind());
    let ([n, _, height, width], [samples, channels, h, w]) = (&old.size()[..], &new.size()[..]) else {
        return Err(told().into());
    };
    let (channels, height, width) = (*channels, *height, *width);
    ensure(samples == n && map.tensor().kind() == Kind::Float, told)?;
    let wanted = built.network.channels(index);
    ensure(channels == wanted, || format!("{}, and says {wanted} channels", told()))?;
    let whole = (1..=height).contains(h) && (1..=width).contains(w);
    ensure(whole, || format!("{} of {height}x{width} cells", told()))?;
    ensure(all(&map.tensor().f_isfinite()?)?, || format!("{}, not all of it finite", told()))
}

fn inputs(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let built = Built::moved(config, shape[1], 1)?;
    let pass = built.pass(true, shape[0], 0.2)?;
    let mut map = Map::from(images(shape));
    for index in 0..=built.network.stages() {
        let before = map.tensor().f_detach_copy()?;
        let next = built.network.stage(index, &map, &pass)?;
        ensure(*map.tensor() == before, || format!("stage {index} wrote into the map that it was given"))?;
        map = next;
    }
    Ok(())
}

fn train(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let built = Built::moved(config, shape[1], 1)?;
    let before = built.tensors()?;
    built.network.forward(&images(shape), &built.pass(true, shape[0], 0.2)?)?;
    let was = |name: &str| before.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor);
    let still = built.store.buffers().into_iter().find(|(name, now)| was(name) == Some(now));
    ensure(still.is_none(), || format!("`{}` is as before", still.map(|(name, _)| name).unwrap_or_default()))
}

fn evaluate(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let built = Built::moved(config, shape[1], 1)?;
    let before = built.tensors()?;
    let images = images(shape);
    let together = whole(&built, &images, &Pass::EVALUATE)?;
    let changed = built.changed(&before);
    ensure(changed.is_none(), || format!("`{}` is not as before", changed.unwrap_or_default()))?;
    let alone = whole(&built, &images.f_narrow(0, 0, 1)?, &Pass::EVALUATE)?;
    let apart = (together.f_narrow(0, 0, 1)? - alone).f_abs()?.f_max()?.f_double_value(&[])?;
    let scale = 1.0 + together.f_abs()?.f_max()?.f_double_value(&[])?;
    ensure(apart <= 1e-4 * scale, || format!("a sample's map is {apart} away from the one that it has alone"))
}

/// Moves each BatchNorm in turn: only those that run after it may see other batches then.
fn norms(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let built = Built::moved(config, shape[1], 1)?;
    let listed = built.network.batch_norms();
    let handles: Vec<Tensor> = listed.iter().flat_map(|norm| norm.buffers()).collect();
    let is_of_norm = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
    for (name, buffer) in built.store.buffers().iter().filter(|(name, _)| is_of_norm(name)) {
        let found = handles.iter().filter(|handle| handle.data_ptr() == buffer.data_ptr()).count();
        ensure(found == 1, || format!("`{name}` is {found} times in the list"))?;
    }
    listed.iter().for_each(|norm| norm.set_momentum(1.0));
    let pass = built.pass(true, shape[0], 0.2)?;
    let means = || -> Result<Vec<Tensor>> {
        let _guard = admix_torch::no_grad();
        built.network.forward(&images(shape), &pass)?;
        listed.iter().map(|norm| Ok(norm.buffers()[0].f_detach_copy()?)).collect()
    };
    let before = means()?;
    for (place, norm) in listed.iter().enumerate() {
        let owner =
            built.store.buffers().into_iter().find(|(_, t)| t.data_ptr() == norm.buffers()[0].data_ptr());
        let path =
            owner.map(|(name, _)| name.trim_end_matches("running_mean").to_string()).unwrap_or_default();
        let bias = built.store.parameters().into_iter().find(|(name, ..)| *name == format!("{path}bias"));
        let Some((_, mut bias, _)) = bias else { return Err(format!("`{path}bias` is no parameter").into()) };
        let _guard = admix_torch::no_grad();
        let kept = bias.f_detach_copy()?;
        let _ = bias.f_add_(&wild(&bias.size(), 0.4, bias.kind()))?;
        let after = means()?;
        bias.f_copy_(&kept)?;
        let moved = before.iter().zip(&after).take(place + 1).position(|(before, after)| before != after);
        ensure(moved.is_none(), || {
            let earlier = moved.unwrap_or_default();
            format!("number {earlier} of the list runs after number {place}, `{path}`")
        })?;
    }
    Ok(())
}

fn same(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let built = Built::moved(config, shape[1], 1)?;
    for train in [false, true] {
        let pass = built.pass(train, shape[0], 0.2)?;
        let run = || whole(&built, &images(shape), &pass);
        let (one, other) = (run()?, run()?);
        ensure(one == other, || "a second pass over the same images gave other numbers".into())?;
    }
    Ok(())
}

fn saved(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let (built, other) = (Built::moved(config, shape[1], 1)?, Built::moved(config, shape[1], 2)?);
    // Buffers away from their initial values too.
    built.network.forward(&images(shape), &built.pass(true, shape[0], 0.2)?)?;
    let all = built.tensors()?;
    let found =
        |name: &str| all.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor.shallow_clone());
    other.store.load(found)?;
    for train in [false, true] {
        let pass = built.pass(train, shape[0], 0.3)?;
        let run = |built: &Built| whole(built, &images(shape), &pass);
        ensure(run(&built)? == run(&other)?, || "with the same tensors it gives other maps".into())?;
    }
    Ok(())
}

fn gradients(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let built = Built::moved(config, shape[1], 1)?;
    // Nothing dropped: a block that no sample passes has no gradient.
    let map = whole(&built, &images(shape), &Pass::TRAIN)?;
    let loss = map.f_mul(&wild(&map.size(), 0.5, Kind::Float))?.f_sum(Kind::Float)?;
    admix_torch::backward(&loss)?;
    for (name, tensor, _) in built.store.parameters() {
        let gradient = admix_torch::grad_of(&tensor);
        let Some(gradient) = gradient else { return Err(format!("`{name}` gets none").into()) };
        ensure(all(&gradient.f_isfinite()?)?, || format!("that of `{name}` is not finite"))?;
        ensure(!all(&gradient.f_eq(0.0)?)?, || format!("that of `{name}` is zero"))?;
    }
    Ok(())
}

/// The map of the stage before the last, and what the class token makes of it.
fn attention(built: &Built, shape: [i64; 4]) -> Result<(Map, Option<Tensor>)> {
    let below = built.network.stages().saturating_sub(1);
    let map = built.network.forward_to(below, &images(shape), &Pass::EVALUATE)?;
    let shares = built.network.attention(&map)?;
    Ok((map, shares))
}

fn attends(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let (map, shares) = attention(&Built::moved(config, shape[1], 1)?, shape)?;
    let Some(shares) = shares else { return Err("at this size it has none".into()) };
    let (n, _, height, width) = map.cells()?.size4()?;
    let form = (shares.size(), shares.kind());
    ensure(form == (vec![n, height, width], Kind::Float), || {
        format!("it gave {form:?} for {n}x{height}x{width}")
    })?;
    let whole = shares.f_sum_dim_intlist([1i64, 2].as_slice(), false, None::<Kind>)?;
    ensure(all(&shares.f_ge(0.0)?)? && all(&whole.f_lt(1.0)?)?, || format!("rows sum to {whole}"))
}

fn drops(config: &dyn BackboneConfig, shape: [i64; 4]) -> Check {
    let run = |train: bool, seed: f64| -> Result<Tensor> {
        let built = Built::moved(config, shape[1], 1)?;
        let pass = Pass { train, ..built.pass(true, shape[0], seed)? };
        whole(&built, &images(shape), &pass)
    };
    ensure(run(true, 0.2)? == run(true, 0.2)?, || "the same draws gave other maps".into())?;
    ensure(run(true, 0.2)? != run(true, 0.9)?, || "other draws gave the same map".into())?;
    ensure(run(false, 0.2)? == run(false, 0.9)?, || "draws count in evaluation mode".into())
}

fn all(condition: &Tensor) -> Result<bool> {
    Ok(condition.f_all()?.f_int64_value(&[])? != 0)
}

fn of_api(error: Error) -> admix_api::Error {
    match error {
        Error::Api(error) => error,
        Error::Torch(error) => error.into(),
        other => admix_api::Error::plugin("the backbone", other.to_string()),
    }
}

#[cfg(test)]
mod tests;
