//! What every function of a library's tables does: reads its arguments, and turns errors and panics into a status.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use serde_json::Value as Json;

use crate::abi::{raw, text};
use crate::{Entry, Error, Kind, Result};

thread_local! {
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the place of a panic for the message of [`guarded`], and prints nothing.
pub(super) fn keep_panics_quiet() {
    // The host's hook is not this library's: without one of its own, a caught panic would still be printed.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            PANICKED_AT.with_borrow_mut(|place| *place = at);
        }));
    });
}

/// Runs the body of a function of the table: errors and panics become a status and a message.
pub(super) fn guarded(errors: *const raw::Errors, body: impl FnOnce() -> Result<()>) -> i32 {
    let (status, setting, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return raw::OK,
        Ok(Err(Error::Range { what, got, wanted })) => {
            (raw::BAD_SETTING, what, format!("is {got}, expected {wanted}"))
        }
        Ok(Err(Error::Setting { setting, message })) => (raw::BAD_SETTING, setting, message),
        Ok(Err(error)) => (raw::FAILED, String::new(), error.to_string()),
        Err(panic) => (raw::BROKEN, String::new(), panicked(panic.as_ref())),
    };
    // SAFETY: the host's sink is valid for the call.
    unsafe {
        if let Some(errors) = errors.as_ref()
            && let Some(report) = errors.report
        {
            report(errors.host, raw::Text::of(&setting), raw::Text::of(&message));
        }
    }
    status
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    // libtorch's messages go on with a C++ stack.
    let said = said.split("Exception raised from").next().unwrap_or_default();
    let line = said.lines().next().unwrap_or_default().trim();
    match PANICKED_AT.take() {
        Some(at) => format!("panicked at {at}: {line}"),
        None => format!("panicked: {line}"),
    }
}

pub(super) fn put(sink: *const raw::Texts, text: &str) {
    // SAFETY: the host's sink is valid for the call.
    unsafe {
        if let Some(sink) = sink.as_ref()
            && let Some(put) = sink.put
        {
            put(sink.host, raw::Text::of(text));
        }
    }
}

/// # Safety
/// `data` is the one of a descriptor of [`manifest_of`].
pub(super) unsafe fn entry<'a>(data: *const c_void) -> &'a Entry {
    // SAFETY: a leaked entry.
    unsafe { &*data.cast::<Entry>() }
}

fn json(settings: raw::Text) -> Result<Json> {
    let settings = text(settings);
    let refused = |message: String| Error::plugin("settings", message);
    if settings.is_empty() {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    serde_json::from_str(&settings).map_err(|error| refused(error.to_string()))
}

/// The settings of an entry of kind `K`, read and checked.
pub(super) fn config<K: Kind + ?Sized>(entry: &Entry, settings: raw::Text) -> Result<Box<K::Config>> {
    let refused = |message: String| Error::plugin(entry.name.clone(), message);
    let reader = entry.reader::<K>().ok_or_else(|| refused("called as another kind of plugin".into()))?;
    let mut body = <dyn erased_serde::Deserializer<'_>>::erase(json(settings)?);
    let config = (reader.read)(&mut body).map_err(|error| refused(error.to_string()))?;
    K::validate(&config)?;
    Ok(config)
}

/// Ends an instance that `create` handed over; a panic on the way is dropped with it.
///
/// # Safety
/// `this` is null, or was made by `Box::into_raw` of a `Box<T>` and is ended once.
pub(super) unsafe fn destroy<T>(this: *mut c_void) {
    if !this.is_null() {
        // SAFETY: by the contract of this function.
        let instance = unsafe { Box::from_raw(this.cast::<T>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
    }
}

/// A structure of the host, which may be of an earlier version: what lies beyond its end is zero, so absent.
///
/// # Safety
/// `from` points to a structure of the boundary that begins with its size, and whose fields may all be zero.
pub(super) unsafe fn known<T: Copy>(from: *const T) -> T {
    let mut own = MaybeUninit::<T>::zeroed();
    // SAFETY: by the contract of this function; both sides hold that many bytes.
    unsafe {
        let size = from.cast::<usize>().read().min(size_of::<T>());
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), own.as_mut_ptr().cast::<u8>(), size);
        own.assume_init()
    }
}

/// # Safety
/// `list` points to `count` values that are valid for the call.
pub(super) unsafe fn slice<'a, T>(list: *const T, count: usize) -> &'a [T] {
    // SAFETY: by the contract of this function.
    if list.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(list, count) } }
}
