//! Keys that all processes of a group see: libtorch's TCP store.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};

use super::membership::Membership;
use crate::shim::{self, check, take_text};
use crate::{Error, Result};

/// A connection to the store, and the store itself in the process that serves it.
#[derive(Debug)]
pub(super) struct Store(NonNull<c_void>);

// SAFETY: c10d's stores lock themselves, and nothing in one belongs to a thread.
unsafe impl Send for Store {}

impl Store {
    /// Opens the store, or connects to it: within the membership's time-out.
    pub(super) fn open(member: &Membership) -> Result<Self> {
        let host = text(&member.host)?;
        let prefix = text(&format!("admix/{}", member.attempt))?;
        let mut store = ptr::null_mut();
        // SAFETY: texts and out-pointer are valid for the call.
        check(unsafe {
            shim::admix_store_open(
                host.as_ptr(),
                member.port,
                member.serves(),
                milliseconds(member),
                prefix.as_ptr(),
                &mut store,
            )
        })?;
        NonNull::new(store).map(Store).ok_or_else(|| Error::torch("the store was not opened"))
    }

    /// What the shim's calls take; valid as long as this.
    pub(super) fn pointer(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    pub(super) fn set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (text(key)?, text(value)?);
        // SAFETY: the store is open; the texts are valid for the call.
        check(unsafe { shim::admix_store_set(self.pointer(), key.as_ptr(), value.as_ptr()) })
    }

    /// The value of a key, if somebody has set it.
    pub(super) fn get(&self, key: &str) -> Result<Option<String>> {
        let key = text(key)?;
        let mut value = ptr::null_mut();
        // SAFETY: the store is open; text and out-pointer are valid for the call.
        check(unsafe { shim::admix_store_get(self.pointer(), key.as_ptr(), &mut value) })?;
        Ok((!value.is_null()).then(|| take_text(value)))
    }

    /// Counts a key up by one; how often that was done now.
    pub(super) fn count(&self, key: &str) -> Result<i64> {
        let key = text(key)?;
        let mut sum = 0;
        // SAFETY: the store is open; text and out-pointer are valid for the call.
        check(unsafe { shim::admix_store_add(self.pointer(), key.as_ptr(), 1, &mut sum) })?;
        Ok(sum)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once.
        unsafe { shim::admix_store_close(self.pointer()) };
    }
}

/// The time-out as the shim takes it.
pub(super) fn milliseconds(member: &Membership) -> i64 {
    i64::try_from(member.timeout.as_millis()).unwrap_or(i64::MAX).max(1)
}

fn text(value: &str) -> Result<CString> {
    CString::new(value)
        .map_err(|_| Error::torch(&format!("`{}` holds a NUL character", value.escape_debug())))
}
