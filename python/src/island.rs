//! An object that is not `Send`, alone on an island that is.
//!
//! Mixers share parts among themselves by `Rc`. All of an object's parts are made in one call and stay inside, because
//! only what is `Send` goes in and comes out: no `Rc` is ever seen by two threads at once, and to drop the island drops
//! the last of them.

use std::sync::{Mutex, PoisonError};

/// An object that one thread at a time may use.
pub struct Island<T>(Mutex<Alone<T>>);

struct Alone<T>(T);

// SAFETY: `make` builds the object from what is `Send`, and `visit` hands out what is `Send`, so nothing outside shares a
// part of it. No plugin and no part of the engine keeps an `Rc` in a thread-local variable. The mutex orders the threads.
unsafe impl<T> Send for Alone<T> {}

impl<T> Island<T> {
    /// The object that this makes.
    pub fn make<E: Send>(make: impl FnOnce() -> Result<T, E> + Send) -> Result<Self, E> {
        Ok(Self(Mutex::new(Alone(make()?))))
    }

    /// Does something with the object. After a panic in it the object is used on: mixers keep no state of a mix.
    pub fn visit<R: Send>(&self, act: impl FnOnce(&mut T) -> R + Send) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }
}
