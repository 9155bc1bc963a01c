//! Plugins in libraries: the C ABI of `include/admix.h`, seen from both sides.
//!
//! `raw` has the structures, `manifest` and `settings` read what a library says of itself, `library` opens libraries,
//! `foreign/` makes their plugins look like any other, and `export/` is the other side: what `export_plugins!` puts
//! into a library. Only these files, and `admix-torch`, have unsafe code.

#![allow(unsafe_code, reason = "the boundary is made of pointers; everything behind it is safe")]

mod export;
mod foreign;
mod library;
mod log;
pub mod manifest;
mod pairing;
pub mod raw;
pub mod settings;
#[cfg(test)]
mod tests;

pub use export::manifest_of;
pub use library::load;

/// A text of the other side; what is not UTF-8 in it is replaced.
pub(crate) fn text<'a>(text: raw::Text) -> std::borrow::Cow<'a, str> {
    if text.data.is_null() || text.size == 0 {
        return "".into();
    }
    // SAFETY: a borrowed text of the other side, valid for the call; the lossy form copies what is not UTF-8.
    String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(text.data, text.size) })
}
