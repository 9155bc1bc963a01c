//! A mixer, with the ways in which its mixes are still to mix maps. These may share parts with it, so they stay on its island.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};

use admix_api::{DrivenMixer, Error, MapMix, MixInput, Turn};
use admix_torch::Tensor;

use crate::error::{Failure, guarded};
use crate::island::Island;
use crate::mix::Parts;

/// A mixer and the maps of its mixes.
pub struct Mixing {
    mixer: DrivenMixer,
    maps: Vec<(Weak<()>, MapMix)>,
}

impl Mixing {
    /// Of a mixer that has mixed nothing.
    pub fn of(mixer: DrivenMixer) -> Self {
        Self { mixer, maps: Vec::new() }
    }

    /// A mix, and what its map is found by if it mixes maps in a way of its own: the map is kept while this is.
    pub fn mix(&mut self, input: &MixInput<'_>, turn: &Turn) -> Result<(Parts, Option<Arc<()>>), Error> {
        // Here and not when a mix is dropped: that is in Python's hands, at a time when the island may be held.
        self.maps.retain(|(key, _)| key.strong_count() > 0);
        let mut mix = self.mixer.mix(input, turn)?;
        let key = mix.mixed.map.take().map(|map| {
            let key = Arc::new(());
            self.maps.push((Arc::downgrade(&key), map));
            key
        });
        Ok((mix.into(), key))
    }

    fn map(&self, key: &Arc<()>) -> Option<&MapMix> {
        let found = self.maps.iter().find(|(kept, _)| std::ptr::eq(kept.as_ptr(), Arc::as_ptr(key)));
        found.map(|(_, map)| map)
    }
}

impl Deref for Mixing {
    type Target = DrivenMixer;

    fn deref(&self) -> &DrivenMixer {
        &self.mixer
    }
}

impl DerefMut for Mixing {
    fn deref_mut(&mut self) -> &mut DrivenMixer {
        &mut self.mixer
    }
}

/// The way in which one mix mixes maps.
pub struct KeptMap {
    pub island: Arc<Island<Mixing>>,
    pub key: Arc<()>,
}

impl KeptMap {
    /// The mix of own maps and those of the partners, `[N, D, h, w]` both.
    pub fn mix(&self, own: Tensor, partners: Tensor) -> Result<Tensor, Failure> {
        let key = self.key.clone();
        self.island.visit(move |mixing| {
            guarded(|| {
                let map = mixing.map(&key).ok_or_else(|| Error::plugin("the mix", "has no map"))?;
                map.mix(&own, &partners)
            })
        })
    }
}
