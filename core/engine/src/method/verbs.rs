//! The verbs of method scripts, registered with the script engine.

use std::cell::RefCell;
use std::rc::Rc;

use rhai::{Dynamic, Engine, Map, NativeCallContext, Position};

use crate::method::frame::Frame;
use crate::method::gradient::Run;
use crate::method::host::Param;
use crate::method::operand::{self, Operand, Outcome, refuse};
use crate::method::trace::{BankVerb, Id, Input, Reach};
use crate::schedule;

type Shared = Rc<RefCell<Frame>>;

/// `t`: the step, or in `weights` and `schedule` the clock.
#[derive(Debug, Clone)]
pub struct Step(pub Shared);

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            frame: Shared,
            id: Id,
        }
    )*};
}

handles! {
    /// A tensor.
    TensorHandle,
    /// A pass that grows on demand.
    PassHandle,
    /// A mix.
    MixHandle
}

/// The views of the batch.
#[derive(Debug, Clone)]
pub struct ViewsHandle {
    frame: Shared,
}

/// A network in evaluation mode.
#[derive(Debug, Clone, Copy)]
pub struct NetHandle {
    run: Run,
}

/// A clusterer.
#[derive(Debug, Clone)]
pub struct BankHandle {
    frame: Shared,
    bank: usize,
}

/// The target of a mix.
#[derive(Debug, Clone)]
pub struct TargetHandle {
    id: Id,
}

/// Every name that can follow `t.`, for suggestions.
pub const STEP_VERBS: [&str; 34] = [
    "images",
    "views",
    "queue",
    "enqueue",
    "head",
    "labels",
    "index",
    "mean",
    "std",
    "pass",
    "evaluating",
    "leaf",
    "gradient",
    "coin",
    "uniform",
    "bank",
    "mix",
    "quiet",
    "learn",
    "loss",
    "weight",
    "param",
    "log",
    "base_lr",
    "base_ema",
    "progress",
    "epoch_progress",
    "epoch",
    "epochs",
    "step",
    "steps",
    "has_mixer",
    "needs",
    "freeze",
];
/// Every name that can follow another handle.
pub const HANDLE_VERBS: [&str; 13] = [
    "partner",
    "features",
    "logits",
    "embed",
    "unit",
    "finish",
    "target",
    "contrast",
    "mask",
    "lambda",
    "images",
    "class_weight",
    "update",
];

/// Functions of the clock.
pub const SCHEDULES: [&str; 4] = ["cosine", "warm_cosine", "compounding_cosine", "warmup"];

fn place(context: &NativeCallContext<'_>) -> (usize, usize) {
    let at = context.call_position();
    (at.line().unwrap_or(0), at.position().unwrap_or(0))
}

/// The type of a value, as people call it.
pub fn kind_of(value: &Dynamic) -> &str {
    let handles = [
        (value.is::<Step>(), "the step itself"),
        (value.is::<TensorHandle>(), "a tensor"),
        (value.is::<PassHandle>(), "a pass"),
        (value.is::<MixHandle>(), "a mix"),
        (value.is::<ViewsHandle>(), "all views"),
        (value.is::<NetHandle>(), "a network"),
        (value.is::<TargetHandle>(), "a target"),
        (value.is::<BankHandle>(), "a clusterer"),
        (value.is::<crate::script::Live>(), "a tensor"),
        (value.is_unit(), "nothing"),
        (value.is_int() || value.is_float(), "a number"),
        (value.is_bool(), "true or false"),
        (value.is_string(), "a text"),
        (value.is_map(), "a map"),
        (value.is_array(), "an array"),
    ];
    handles.into_iter().find(|(is, _)| *is).map_or_else(|| value.type_name(), |(_, name)| name)
}

/// A number, whole or not.
pub fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|v| v as f64))
}

fn wanted_number(value: &Dynamic, what: &str, at: Position) -> Outcome<f64> {
    number(value).ok_or_else(|| refuse(format!("{what} must be a number, got {}", kind_of(value)), at))
}

/// The handle of anything that stands for a tensor.
fn tensor_id(value: &Dynamic) -> Option<Id> {
    if let Some(handle) = value.read_lock::<TensorHandle>() {
        return Some(handle.id);
    }
    value.read_lock::<MixHandle>().map(|handle| handle.id)
}

fn any_id(value: &Dynamic) -> Option<Id> {
    tensor_id(value).or_else(|| value.read_lock::<TargetHandle>().map(|handle| handle.id))
}

/// Registers types and verbs.
pub fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Step>("Step")
        .register_type_with_name::<TensorHandle>("Tensor")
        .register_type_with_name::<PassHandle>("Pass")
        .register_type_with_name::<MixHandle>("Mix")
        .register_type_with_name::<ViewsHandle>("Views")
        .register_type_with_name::<NetHandle>("Network")
        .register_type_with_name::<TargetHandle>("Target")
        .register_type_with_name::<BankHandle>("Clusterer");
    inputs(engine);
    clock(engine);
    passes(engine);
    gradients(engine);
    draws(engine);
    banks(engine);
    contrasts(engine);
    step(engine);
    operand::register::<TensorHandle>(engine);
}

fn inputs(engine: &mut Engine) {
    let all = [
        ("images", Input::Images),
        ("labels", Input::Labels),
        ("index", Input::Index),
        ("mean", Input::Mean),
        ("std", Input::Std),
    ];
    for (name, input) in all {
        engine.register_get(
            name,
            move |context: NativeCallContext<'_>, t: &mut Step| -> Outcome<TensorHandle> {
                let id = t.0.borrow_mut().input(input, place(&context));
                let id = id.map_err(|e| refuse(e, context.call_position()))?;
                Ok(TensorHandle { frame: t.0.clone(), id })
            },
        );
    }
}

/// Views, keys, queues and heads on embeddings.
fn contrasts(engine: &mut Engine) {
    engine.register_get("views", |t: &mut Step| ViewsHandle { frame: t.0.clone() });
    engine.register_fn("len", |views: &mut ViewsHandle| views.frame.borrow().views() as i64);
    engine.register_indexer_get(
        |context: NativeCallContext<'_>, views: &mut ViewsHandle, view: i64| -> Outcome<TensorHandle> {
            let id = views.frame.borrow_mut().view(view, place(&context));
            let id = id.map_err(|e| refuse(e, context.call_position()))?;
            Ok(TensorHandle { frame: views.frame.clone(), id })
        },
    );
    fn embed(context: &NativeCallContext<'_>, p: &PassHandle) -> Outcome<TensorHandle> {
        let id = p.frame.borrow_mut().grow(p.id, Reach::Embedding, place(context));
        Ok(TensorHandle { frame: p.frame.clone(), id: id.map_err(|e| refuse(e, context.call_position()))? })
    }
    engine.register_fn("embed", |context: NativeCallContext<'_>, p: &mut PassHandle| embed(&context, p));
    engine.register_fn(
        "unit",
        |context: NativeCallContext<'_>, p: &mut PassHandle| -> Outcome<TensorHandle> {
            let embedding = embed(&context, p)?;
            TensorHandle::apply(&context, "unit", &[embedding], &[], &[])
        },
    );
    fn contrast(
        context: &NativeCallContext<'_>,
        m: &MixHandle,
        keys: Id,
        partners: Option<Id>,
    ) -> Outcome<TargetHandle> {
        let id = m.frame.borrow_mut().contrast(m.id, keys, partners, place(context));
        Ok(TargetHandle { id: id.map_err(|e| refuse(e, context.call_position()))? })
    }
    engine.register_fn(
        "contrast",
        |context: NativeCallContext<'_>, m: &mut MixHandle, keys: TensorHandle| {
            contrast(&context, m, keys.id, None)
        },
    );
    engine.register_fn(
        "contrast",
        |context: NativeCallContext<'_>,
         m: &mut MixHandle,
         keys: TensorHandle,
         partner_keys: TensorHandle| { contrast(&context, m, keys.id, Some(partner_keys.id)) },
    );
    engine.register_fn(
        "queue",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str| -> Outcome<TensorHandle> {
            let id = t.0.borrow_mut().queue(name, place(&context));
            let id = id.map_err(|e| refuse(e, context.call_position()))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        },
    );
    engine.register_fn(
        "enqueue",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str, keys: TensorHandle| -> Outcome<()> {
            let done = t.0.borrow_mut().enqueue(name, keys.id, place(&context));
            done.map_err(|e| refuse(e, context.call_position()))
        },
    );
    engine.register_fn(
        "head",
        |context: NativeCallContext<'_>,
         t: &mut Step,
         name: &str,
         z: TensorHandle|
         -> Outcome<TensorHandle> {
            let id = t.0.borrow_mut().head(name, z.id, place(&context));
            let id = id.map_err(|e| refuse(e, context.call_position()))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        },
    );
}

fn clock(engine: &mut Engine) {
    engine
        .register_get("base_lr", |t: &mut Step| t.0.borrow().base_lr)
        .register_get("base_ema", |t: &mut Step| t.0.borrow().base_ema)
        .register_get("progress", |t: &mut Step| t.0.borrow().clock.progress())
        .register_get("epoch_progress", |t: &mut Step| t.0.borrow().clock.epoch_progress())
        .register_get("epoch", |t: &mut Step| t.0.borrow().clock.epoch as i64)
        .register_get("epochs", |t: &mut Step| t.0.borrow().clock.epochs as i64)
        .register_get("step", |t: &mut Step| t.0.borrow().clock.step as i64)
        .register_get("steps", |t: &mut Step| t.0.borrow().clock.steps as i64);
    engine.register_fn(
        "cosine",
        |context: NativeCallContext<'_>, base: Dynamic, end: Dynamic, progress: Dynamic| -> Outcome<f64> {
            let at = context.call_position();
            Ok(schedule::cosine(
                wanted_number(&base, "the first argument of cosine", at)?,
                wanted_number(&end, "the second argument of cosine", at)?,
                wanted_number(&progress, "the third argument of cosine", at)?,
            ))
        },
    );
    engine.register_fn(
        "warm_cosine",
        |context: NativeCallContext<'_>,
         base: Dynamic,
         end: Dynamic,
         t: Step,
         warm: Dynamic|
         -> Outcome<f64> {
            let at = context.call_position();
            let clock = t.0.borrow().clock;
            Ok(schedule::warm_cosine(
                wanted_number(&base, "the first argument of warm_cosine", at)?,
                wanted_number(&end, "the second argument of warm_cosine", at)?,
                clock.step,
                clock.steps,
                wanted_number(&warm, "the fourth argument of warm_cosine", at)?,
            ))
        },
    );
    engine.register_fn(
        "compounding_cosine",
        |context: NativeCallContext<'_>, base: Dynamic, t: Step| -> Outcome<f64> {
            let clock = t.0.borrow().clock;
            let base = wanted_number(&base, "the first argument", context.call_position())?;
            Ok(schedule::compounding_cosine(base, clock.step, clock.steps))
        },
    );
    engine.register_fn(
        "warmup",
        |context: NativeCallContext<'_>, base: Dynamic, warm: Dynamic, progress: Dynamic| -> Outcome<f64> {
            let at = context.call_position();
            Ok(schedule::warmup(
                wanted_number(&base, "the first argument of warmup", at)?,
                wanted_number(&warm, "the second argument of warmup", at)?,
                wanted_number(&progress, "the third argument of warmup", at)?,
            ))
        },
    );
}

fn passes(engine: &mut Engine) {
    fn pass(context: &NativeCallContext<'_>, t: &Step, run: Run, input: &Dynamic) -> Outcome<PassHandle> {
        let at = context.call_position();
        let input = tensor_id(input)
            .ok_or_else(|| refuse(format!("a pass takes images or a mix, got {}", kind_of(input)), at))?;
        let id = t.0.borrow_mut().pass(run, input, place(context)).map_err(|e| refuse(e, at))?;
        Ok(PassHandle { frame: t.0.clone(), id })
    }
    engine.register_fn(
        "pass",
        |context: NativeCallContext<'_>, t: &mut Step, net: &str, input: Dynamic| -> Outcome<PassHandle> {
            let run = t.0.borrow().net(net).map_err(|e| refuse(e, context.call_position()))?;
            pass(&context, t, run, &input)
        },
    );
    engine.register_fn(
        "pass",
        |context: NativeCallContext<'_>, t: &mut Step, net: NetHandle, input: Dynamic| {
            pass(&context, t, net.run, &input)
        },
    );
    engine.register_fn(
        "evaluating",
        |context: NativeCallContext<'_>, t: &mut Step, net: &str| -> Outcome<NetHandle> {
            let run = t.0.borrow().net(net).map_err(|e| refuse(e, context.call_position()))?;
            Ok(NetHandle { run: Run { train: false, ..run } })
        },
    );
    engine.register_fn(
        "features",
        |context: NativeCallContext<'_>, p: &mut PassHandle, mixer: &str| -> Outcome<TensorHandle> {
            let at = context.call_position();
            let mut frame = p.frame.borrow_mut();
            let stage = frame.stage_of(mixer).map_err(|e| refuse(e, at))?;
            let id = frame.grow(p.id, Reach::Stage(stage), place(&context)).map_err(|e| refuse(e, at))?;
            Ok(TensorHandle { frame: p.frame.clone(), id })
        },
    );
    engine.register_fn(
        "features",
        |context: NativeCallContext<'_>, p: &mut PassHandle, stage: i64| -> Outcome<TensorHandle> {
            let at = context.call_position();
            let stage = usize::try_from(stage).map_err(|_| refuse("a stage is a number from 0", at))?;
            let id = p.frame.borrow_mut().grow(p.id, Reach::Stage(stage), place(&context));
            Ok(TensorHandle { frame: p.frame.clone(), id: id.map_err(|e| refuse(e, at))? })
        },
    );
    engine.register_fn(
        "logits",
        |context: NativeCallContext<'_>, p: &mut PassHandle, head: &str| -> Outcome<TensorHandle> {
            let id = p.frame.borrow_mut().grow(p.id, Reach::Head(head.into()), place(&context));
            Ok(TensorHandle {
                frame: p.frame.clone(),
                id: id.map_err(|e| refuse(e, context.call_position()))?,
            })
        },
    );
    engine.register_fn("finish", |context: NativeCallContext<'_>, p: &mut PassHandle| -> Outcome<()> {
        let id = p.frame.borrow_mut().grow(p.id, Reach::End, place(&context));
        id.map(drop).map_err(|e| refuse(e, context.call_position()))
    });
}

/// Images whose gradient can be asked for, and gradients.
fn gradients(engine: &mut Engine) {
    engine.register_fn(
        "leaf",
        |context: NativeCallContext<'_>, t: &mut Step, of: Dynamic| -> Outcome<TensorHandle> {
            let at = context.call_position();
            let of = tensor_id(&of)
                .ok_or_else(|| refuse(format!("`leaf` takes images or a mix, got {}", kind_of(&of)), at))?;
            let id = t.0.borrow_mut().leaf(of, place(&context)).map_err(|e| refuse(e, at))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        },
    );
    engine.register_fn(
        "gradient",
        |context: NativeCallContext<'_>,
         t: &mut Step,
         loss: TensorHandle,
         input: TensorHandle|
         -> Outcome<TensorHandle> {
            let id = t.0.borrow_mut().gradient(loss.id, input.id, place(&context));
            let id = id.map_err(|e| refuse(e, context.call_position()))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        },
    );
    let learn =
        |context: &NativeCallContext<'_>, t: &Step, terms: Map, input_grad: Option<Id>| -> Outcome<Id> {
            let at = context.call_position();
            let mut list = Vec::new();
            for (name, value) in terms {
                let id = value.read_lock::<TensorHandle>().map(|handle| handle.id).ok_or_else(|| {
                    refuse(format!("the term `{name}` must be a loss, got {}", kind_of(&value)), at)
                })?;
                list.push((name.to_string(), id));
            }
            t.0.borrow_mut().learn(list, input_grad, place(context)).map_err(|e| refuse(e, at))
        };
    engine.register_fn(
        "learn",
        move |context: NativeCallContext<'_>, t: &mut Step, terms: Map| -> Outcome<()> {
            learn(&context, t, terms, None).map(drop)
        },
    );
    engine.register_fn(
        "learn",
        move |context: NativeCallContext<'_>,
              t: &mut Step,
              terms: Map,
              options: Map|
              -> Outcome<TensorHandle> {
            let at = context.call_position();
            let mut input = None;
            for (name, value) in options {
                if name != "input_grad" {
                    let hint = admix_api::did_you_mean(&name, ["input_grad"]);
                    return Err(refuse(
                        format!("`learn` takes no `{name}`; it takes `input_grad`{hint}"),
                        at,
                    ));
                }
                let leaf = value.read_lock::<TensorHandle>().map(|handle| handle.id);
                input = Some(leaf.ok_or_else(|| {
                    refuse(
                        format!(
                            "`input_grad` must be a leaf, as t.leaf(t.images) gives, got {}",
                            kind_of(&value)
                        ),
                        at,
                    )
                })?);
            }
            let input = input
                .ok_or_else(|| refuse("give `learn` its terms alone, or #{ input_grad: leaf } too", at))?;
            let id = learn(&context, t, terms, Some(input))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        },
    );
}

/// Draws of the method's own.
fn draws(engine: &mut Engine) {
    engine.register_fn(
        "coin",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str, p: Dynamic| -> Outcome<TensorHandle> {
            let at = context.call_position();
            let p = wanted_number(&p, "the probability of a coin", at)?;
            let id = t.0.borrow_mut().coin(name, p, place(&context)).map_err(|e| refuse(e, at))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        },
    );
    let uniform =
        |context: &NativeCallContext<'_>, t: &Step, name: &str, like: Option<Id>| -> Outcome<TensorHandle> {
            let id = t.0.borrow_mut().uniform(name, like, place(context));
            let id = id.map_err(|e| refuse(e, context.call_position()))?;
            Ok(TensorHandle { frame: t.0.clone(), id })
        };
    engine.register_fn("uniform", move |context: NativeCallContext<'_>, t: &mut Step, name: &str| {
        uniform(&context, t, name, None)
    });
    engine.register_fn(
        "uniform",
        move |context: NativeCallContext<'_>, t: &mut Step, name: &str, like: TensorHandle| {
            uniform(&context, t, name, Some(like.id))
        },
    );
}

/// Clusterers.
fn banks(engine: &mut Engine) {
    fn ask(context: &NativeCallContext<'_>, b: &BankHandle, verb: BankVerb) -> Outcome<TensorHandle> {
        let id = b.frame.borrow_mut().ask_bank(b.bank, verb, place(context));
        Ok(TensorHandle { frame: b.frame.clone(), id: id.map_err(|e| refuse(e, context.call_position()))? })
    }
    engine.register_fn(
        "bank",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str| -> Outcome<BankHandle> {
            let bank = t.0.borrow().bank(name).map_err(|e| refuse(e, context.call_position()))?;
            Ok(BankHandle { frame: t.0.clone(), bank })
        },
    );
    engine.register_fn(
        "labels",
        |context: NativeCallContext<'_>, b: &mut BankHandle, index: TensorHandle| {
            ask(&context, b, BankVerb::Labels { index: index.id })
        },
    );
    engine.register_fn("class_weight", |context: NativeCallContext<'_>, b: &mut BankHandle| {
        ask(&context, b, BankVerb::ClassWeight)
    });
    engine.register_fn(
        "update",
        |context: NativeCallContext<'_>,
         b: &mut BankHandle,
         index: TensorHandle,
         embeddings: TensorHandle|
         -> Outcome<()> {
            let verb = BankVerb::Update { index: index.id, embeddings: embeddings.id };
            ask(&context, b, verb).map(drop)
        },
    );
}

fn step(engine: &mut Engine) {
    for (verb, quiet) in [("mix", false), ("quiet", true)] {
        engine.register_fn(
            verb,
            move |context: NativeCallContext<'_>,
                  t: &mut Step,
                  mixer: &str,
                  keys: Map|
                  -> Outcome<MixHandle> {
                let at = context.call_position();
                let (mut draw, mut inputs) = (None, Vec::new());
                for (key, value) in keys {
                    if key == "as" {
                        let got = kind_of(&value).to_string();
                        let name = value
                            .into_string()
                            .map_err(|_| refuse(format!("`as` must be a name in quotes, got {got}"), at))?;
                        draw = Some(name);
                    } else {
                        let id = tensor_id(&value).ok_or_else(|| {
                            refuse(format!("`{key}` of a mix must be a tensor, got {}", kind_of(&value)), at)
                        })?;
                        inputs.push((key.to_string(), id));
                    }
                }
                let id = t.0.borrow_mut().mix(mixer, draw, inputs, quiet, place(&context));
                Ok(MixHandle { frame: t.0.clone(), id: id.map_err(|e| refuse(e, at))? })
            },
        );
    }
    engine.register_fn(
        "target",
        |context: NativeCallContext<'_>, m: &mut MixHandle, labels: TensorHandle| -> Outcome<TargetHandle> {
            let id = m.frame.borrow_mut().target(m.id, labels.id, place(&context));
            Ok(TargetHandle { id: id.map_err(|e| refuse(e, context.call_position()))? })
        },
    );
    for part in ["images", "mask", "lambda", "partner"] {
        engine.register_get(
            part,
            move |context: NativeCallContext<'_>, m: &mut MixHandle| -> Outcome<TensorHandle> {
                let id = m.frame.borrow_mut().part(m.id, part, place(&context));
                Ok(TensorHandle {
                    frame: m.frame.clone(),
                    id: id.map_err(|e| refuse(e, context.call_position()))?,
                })
            },
        );
    }
    let loss = |context: &NativeCallContext<'_>, t: &Step, name: &str, arguments: &[Dynamic]| {
        let at = context.call_position();
        let mut ids = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            ids.push(any_id(argument).ok_or_else(|| {
                refuse(
                    format!(
                        "argument {} of loss `{name}` must be a tensor, target or mix, got {}",
                        index + 1,
                        kind_of(argument)
                    ),
                    at,
                )
            })?);
        }
        let id = t.0.borrow_mut().loss(name, ids, place(context)).map_err(|e| refuse(e, at))?;
        Ok(TensorHandle { frame: t.0.clone(), id })
    };
    engine.register_fn(
        "loss",
        move |context: NativeCallContext<'_>,
              t: &mut Step,
              name: &str,
              a: Dynamic|
              -> Outcome<TensorHandle> { loss(&context, t, name, &[a]) },
    );
    engine.register_fn(
        "loss",
        move |context: NativeCallContext<'_>,
              t: &mut Step,
              name: &str,
              a: Dynamic,
              b: Dynamic|
              -> Outcome<TensorHandle> { loss(&context, t, name, &[a, b]) },
    );
    engine.register_fn(
        "loss",
        move |context: NativeCallContext<'_>,
              t: &mut Step,
              name: &str,
              a: Dynamic,
              b: Dynamic,
              c: Dynamic|
              -> Outcome<TensorHandle> { loss(&context, t, name, &[a, b, c]) },
    );
    engine.register_fn(
        "loss",
        move |context: NativeCallContext<'_>,
              t: &mut Step,
              name: &str,
              a: Dynamic,
              b: Dynamic,
              c: Dynamic,
              d: Dynamic|
              -> Outcome<TensorHandle> { loss(&context, t, name, &[a, b, c, d]) },
    );
    engine.register_fn(
        "loss",
        move |context: NativeCallContext<'_>,
              t: &mut Step,
              name: &str,
              a: Dynamic,
              b: Dynamic,
              c: Dynamic,
              d: Dynamic,
              e: Dynamic|
              -> Outcome<TensorHandle> { loss(&context, t, name, &[a, b, c, d, e]) },
    );
    engine.register_fn(
        "needs",
        |context: NativeCallContext<'_>, t: &mut Step, mixer: &str, key: &str| -> Outcome<bool> {
            t.0.borrow().needs(mixer, key).map_err(|e| refuse(e, context.call_position()))
        },
    );
    engine.register_fn(
        "freeze",
        |context: NativeCallContext<'_>, t: &mut Step, group: &str| -> Outcome<()> {
            let frozen = t.0.borrow_mut().freeze(group, place(&context));
            frozen.map_err(|e| refuse(e, context.call_position()))
        },
    );
    engine.register_fn("has_mixer", |t: &mut Step, name: &str| t.0.borrow().has_mixer(name));
    engine.register_fn(
        "weight",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str| -> Outcome<f64> {
            t.0.borrow().weight(name).map_err(|e| refuse(e, context.call_position()))
        },
    );
    engine.register_fn(
        "param",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str| -> Outcome<Dynamic> {
            let param = t.0.borrow().param(name).map_err(|e| refuse(e, context.call_position()))?;
            Ok(match param {
                Param::Number(value) => value.into(),
                Param::Switch(value) => value.into(),
                Param::Text(value) => value.into(),
            })
        },
    );
    engine.register_fn(
        "log",
        |context: NativeCallContext<'_>, t: &mut Step, name: &str, value: TensorHandle| -> Outcome<()> {
            let logged = t.0.borrow_mut().log(name, value.id, place(&context));
            logged.map_err(|e| refuse(e, context.call_position()))
        },
    );
}

impl Operand for TensorHandle {
    fn apply(
        context: &NativeCallContext<'_>,
        verb: &'static str,
        tensors: &[Self],
        numbers: &[f64],
        sizes: &[i64],
    ) -> Outcome<Self> {
        let Some(first) = tensors.first() else {
            return Err(refuse(format!("`{verb}` takes at least one tensor"), context.call_position()));
        };
        let ids = tensors.iter().map(|handle| handle.id).collect();
        let id = first.frame.borrow_mut().tensor(verb, ids, numbers.to_vec(), sizes.to_vec(), place(context));
        let id = id.map_err(|e| refuse(e, context.call_position()))?;
        Ok(Self { frame: first.frame.clone(), id })
    }
}
