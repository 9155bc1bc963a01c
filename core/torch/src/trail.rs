//! Where the program stands, kept so that it can be read after a crash: without locks, without memory to allocate.
//!
//! One thread leaves the trail, the one that called [`leave`]. On all others, and in programs that never call it, every
//! call here does nothing.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A fact that stays until it is told anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The recipe that is worked on.
    Recipe,
    /// The step, with its epoch.
    Step,
    /// The newest checkpoint's file.
    Checkpoint,
}

/// Bytes of a text that are kept. A path that is longer loses its end.
const KEPT: usize = 1024;
/// Places inside of each other that are kept.
const DEPTH: usize = 8;

static FACTS: [Text; 3] = [const { Text::new() }; 3];
static PLACES: [Text; DEPTH] = [const { Text::new() }; DEPTH];
static DEEP: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// Text that one thread writes and a signal handler of any thread may read.
struct Text {
    length: AtomicUsize,
    bytes: [AtomicU8; KEPT],
}

impl Text {
    const fn new() -> Self {
        Self { length: AtomicUsize::new(0), bytes: [const { AtomicU8::new(0) }; KEPT] }
    }

    fn set(&self, text: fmt::Arguments<'_>) {
        self.length.store(0, Ordering::Release);
        let mut writer = Writer { text: self, length: 0 };
        // The one error is that there is no room for all of it.
        let _ = writer.write_fmt(text);
        self.length.store(writer.length, Ordering::Release);
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        let length = self.length.load(Ordering::Acquire).min(KEPT);
        self.bytes[..length].iter().map(|byte| byte.load(Ordering::Relaxed))
    }
}

struct Writer<'a> {
    text: &'a Text,
    length: usize,
}

impl Write for Writer<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let fits = part.floor_char_boundary(KEPT - self.length);
        for (byte, cell) in part[..fits].bytes().zip(&self.text.bytes[self.length..]) {
            cell.store(byte, Ordering::Relaxed);
        }
        self.length += fits;
        if fits == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Makes the calling thread the one that leaves the trail. Only one thread of a program may.
pub fn leave() {
    LEAVES.set(true);
}

/// Whether the calling thread leaves the trail.
pub fn is_left() -> bool {
    LEAVES.get()
}

/// Tells a fact.
pub fn tell(fact: Fact, text: fmt::Arguments<'_>) {
    if is_left() {
        FACTS[fact as usize].set(text);
    }
}

/// Enters a place within the place where the thread is, until the answer is dropped.
#[must_use = "the place is left when this is dropped"]
pub fn enter(text: fmt::Arguments<'_>) -> Place {
    let depth = is_left().then(|| DEEP.load(Ordering::Relaxed));
    if let Some(depth) = depth {
        if let Some(place) = PLACES.get(depth) {
            place.set(text);
        }
        DEEP.store(depth + 1, Ordering::Release);
    }
    Place { depth, on_its_thread: PhantomData }
}

/// A place that the program is in.
#[derive(Debug)]
pub struct Place {
    /// How many places are around it.
    depth: Option<usize>,
    on_its_thread: PhantomData<*const ()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(depth) = self.depth {
            DEEP.store(depth, Ordering::Release);
        }
    }
}

/// The bytes of a fact; none if nobody told it.
pub(crate) fn fact(fact: Fact) -> impl Iterator<Item = u8> {
    FACTS[fact as usize].bytes()
}

/// The places that the program is in, the outermost first.
pub(crate) fn places() -> impl Iterator<Item = impl Iterator<Item = u8>> {
    PLACES[..DEEP.load(Ordering::Acquire).min(DEPTH)].iter().map(Text::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Vec<String> {
        places().map(|bytes| String::from_utf8(bytes.collect()).expect("UTF-8")).collect()
    }

    // One test, as the trail is one for the whole process.
    #[test]
    fn a_trail_holds_facts_and_nested_places_of_its_thread() {
        let of_nobody = enter(format_args!("nowhere"));
        tell(Fact::Recipe, format_args!("none"));
        assert!(told().is_empty() && fact(Fact::Recipe).next().is_none());
        drop(of_nobody);

        leave();
        tell(Fact::Recipe, format_args!("{}.ron", "mixup"));
        tell(Fact::Step, format_args!("{}", "é".repeat(KEPT)));
        assert_eq!(fact(Fact::Recipe).collect::<Vec<_>>(), b"mixup.ron");
        assert_eq!(fact(Fact::Step).count(), KEPT);
        tell(Fact::Step, format_args!("x{}", "é".repeat(KEPT)));
        assert!(String::from_utf8(fact(Fact::Step).collect()).is_ok(), "no half of a character");

        let pass = enter(format_args!("pass q"));
        let layers: Vec<Place> = (0..2 * DEPTH).map(|i| enter(format_args!("layer {i}"))).collect();
        assert_eq!(told().len(), DEPTH);
        assert_eq!(told()[..2], ["pass q", "layer 0"]);
        layers.into_iter().rev().for_each(drop);
        assert_eq!(told(), ["pass q"]);
        drop(pass);
        drop(enter(format_args!("learn mix")));
        assert!(told().is_empty());
    }
}
