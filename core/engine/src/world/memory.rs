//! What a script keeps from one step to the next.

use std::collections::BTreeMap;

use admix_torch::Tensor;

use crate::world::part::Part;
use crate::{Error, Result};

/// How the names of these tensors begin in a checkpoint.
const OWNER: &str = "memory.";

/// The memory of one part of a step: tensors by the names that a script gives them, on the device. Nothing here waits for it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// As the step before left it.
    value: Tensor,
    /// What takes its place after the step.
    waiting: Option<Tensor>,
}

impl Memory {
    /// Whether a tensor of a checkpoint is one of these.
    pub(crate) fn owns(name: &str) -> bool {
        name.starts_with(OWNER)
    }

    /// What is kept under a name: as the step before left it, zeros like `like` where nothing was kept yet. A copy, since the
    /// entry changes when the step ends; it lies in memory as `like` does, also after a resume.
    ///
    /// # Errors
    /// `like` has another shape or kind than what is kept.
    pub(crate) fn kept(&mut self, name: &str, like: &Tensor) -> Result<Tensor> {
        let entry = self.entry(name, like)?;
        let _guard = admix_torch::no_grad();
        let mut copy = like.f_detach()?.f_empty_like()?;
        copy.f_copy_(&entry.value)?;
        Ok(copy)
    }

    /// Keeps a tensor for the steps to come. Until this step ends, [`kept`](Self::kept) gives what was there before.
    ///
    /// # Errors
    /// It was kept in this step already, or what is kept has another shape or kind.
    pub(crate) fn keep(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let entry = self.entry(name, value)?;
        entry.waiting = Some(value.f_detach()?);
        Ok(())
    }

    fn entry(&mut self, name: &str, like: &Tensor) -> Result<&mut Entry> {
        let _guard = admix_torch::no_grad();
        let fits = |value: &Tensor| value.size() == like.size() && value.kind() == like.kind();
        if let Some(other) = self.entries.get(name).map(|entry| &entry.value).filter(|value| !fits(value)) {
            return Err(Error::Input(format!(
                "what is kept as `{name}` is {:?} {:?}, and this is {:?} {:?}: shape and kind stay the same over a run",
                other.kind(),
                other.size(),
                like.kind(),
                like.size()
            )));
        }
        if !self.entries.contains_key(name) {
            let value = like.f_detach()?.f_zeros_like()?;
            self.entries.insert(name.to_string(), Entry { value, waiting: None });
        }
        self.entries.get_mut(name).ok_or_else(|| Error::Input(format!("nothing is kept as `{name}`")))
    }

    /// Takes over the entries of a checkpoint, and no others.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn adopt(&mut self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        let kept = values.iter().filter_map(|(name, value)| Some((name.strip_prefix(OWNER)?, value)));
        let entry = |(name, value): (&str, &Tensor)| {
            Ok((name.to_string(), Entry { value: admix_torch::duplicate(value)?, waiting: None }))
        };
        self.entries = kept.map(entry).collect::<Result<_>>()?;
        Ok(())
    }
}

impl Part for Memory {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.entries.iter();
        all.map(|(name, entry)| (format!("{OWNER}{name}"), entry.value.shallow_clone())).collect()
    }

    fn close(&mut self, found_inf: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        for entry in self.entries.values_mut() {
            if let Some(new) = entry.waiting.take() {
                let value = new.f_where_self(&found_inf.f_eq(0)?, &entry.value)?;
                entry.value.f_copy_(&value)?;
            }
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        self.entries.values_mut().for_each(|entry| entry.waiting = None);
        Ok(())
    }
}
