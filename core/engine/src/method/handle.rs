//! The handles that a method's script holds, and how a call of a verb records.

use std::cell::RefCell;
use std::rc::Rc;

use rhai::{Dynamic, Engine, NativeCallContext, Position};

use crate::Result;
use crate::method::cell::Id;
use crate::method::frame::Frame;
use crate::method::operand::{Outcome, refuse};
use crate::method::trace::Place;
use crate::script::values;

/// The step that handles belong to.
pub type Shared = Rc<RefCell<Frame>>;

/// A call of a verb.
pub type Call<'a> = NativeCallContext<'a>;

/// `t`: the step, or in `weights` and `schedule` the clock.
#[derive(Debug, Clone)]
pub struct Step(pub Shared);

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            /// The step that it belongs to.
            pub frame: Shared,
            /// What it stands for.
            pub id: Id,
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

/// The target of a mix.
#[derive(Debug, Clone, Copy)]
pub struct TargetHandle(pub Id);

/// The views of the batch.
#[derive(Debug, Clone)]
pub struct ViewsHandle(pub Shared);

/// A network as a pass takes it.
#[derive(Debug, Clone, Copy)]
pub struct NetHandle {
    /// Index of the network.
    pub net: usize,
    /// Train mode, or evaluation mode.
    pub train: bool,
}

/// A clusterer.
#[derive(Debug, Clone)]
pub struct BankHandle {
    /// The step that it belongs to.
    pub frame: Shared,
    /// Index of the clusterer.
    pub bank: usize,
}

/// Names the types for the script engine.
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
}

/// The type of a handle, as people call it. `None` of another value.
pub fn kind_of_handle(value: &Dynamic) -> Option<&'static str> {
    let handles = [
        (value.is::<Step>(), "the step itself"),
        (value.is::<TensorHandle>(), "a tensor"),
        (value.is::<PassHandle>(), "a pass"),
        (value.is::<MixHandle>(), "a mix"),
        (value.is::<ViewsHandle>(), "all views"),
        (value.is::<NetHandle>(), "a network"),
        (value.is::<TargetHandle>(), "a target"),
        (value.is::<BankHandle>(), "a clusterer"),
    ];
    handles.into_iter().find(|(is, _)| *is).map(|(_, name)| name)
}

/// The type of a value, as people call it.
pub fn kind_of(value: &Dynamic) -> &str {
    kind_of_handle(value).unwrap_or_else(|| values::kind_of(value))
}

/// A number that a verb takes.
///
/// # Errors
/// The value is none.
pub fn wanted_number(value: &Dynamic, what: &str, at: Position) -> Outcome<f64> {
    values::number(value)
        .ok_or_else(|| refuse(format!("{what} must be a number, got {}", kind_of(value)), at))
}

/// The handle of anything that stands for a tensor.
pub fn tensor_id(value: &Dynamic) -> Option<Id> {
    if let Some(handle) = value.read_lock::<TensorHandle>() {
        return Some(handle.id);
    }
    value.read_lock::<MixHandle>().map(|handle| handle.id)
}

/// The result of a call; an error has its place.
///
/// # Errors
/// The given one.
pub fn placed<T>(call: &Call<'_>, result: Result<T>) -> Outcome<T> {
    result.map_err(|error| refuse(error, call.call_position()))
}

/// Records what a call asks for.
///
/// # Errors
/// Those of `record`, with the place of the call.
pub fn record<T>(
    call: &Call<'_>,
    frame: &Shared,
    record: impl FnOnce(&mut Frame, Place) -> Result<T>,
) -> Outcome<T> {
    let at = call.call_position();
    let place = (at.line().unwrap_or(0), at.position().unwrap_or(0));
    placed(call, record(&mut frame.borrow_mut(), place))
}

/// Records what a call asks for, and returns the handle of the tensor that it makes.
///
/// # Errors
/// As [`record`].
pub fn tensor(
    call: &Call<'_>,
    frame: &Shared,
    recorded: impl FnOnce(&mut Frame, Place) -> Result<Id>,
) -> Outcome<TensorHandle> {
    Ok(TensorHandle { id: record(call, frame, recorded)?, frame: frame.clone() })
}
