//! The tensors of two checkpoints, compared bit for bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Names that changed: the beginning of an old name, and what it is now.
#[derive(Debug, Default)]
pub struct Renames(Vec<(String, String)>);

/// What two checkpoints have in common.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// Tensors of the newer one.
    pub tensors: usize,
    /// What differs first, by name; `None` if nothing does.
    pub first: Option<String>,
}

impl Renames {
    /// Reads lines of the form `OLD -> NEW`. Empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// A line of another form.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((old, new)) = line.split_once(" -> ") else {
                bail!("line {}: expected `OLD -> NEW`, found `{line}`", number + 1);
            };
            rules.push((old.trim().into(), new.trim().into()));
        }
        Ok(Self(rules))
    }

    fn apply(&self, name: &str) -> String {
        let renamed = |(old, new): &(String, String)| Some(format!("{new}{}", name.strip_prefix(old)?));
        self.0.iter().find_map(renamed).unwrap_or_else(|| name.into())
    }
}

/// Compares the files of two checkpoints.
///
/// # Errors
/// A file cannot be read, or two old names become one.
pub fn compare(old: &Path, new: &Path, renames: &Renames) -> Result<Difference> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let (old_bytes, new_bytes) = (read(old)?, read(new)?);
    let open =
        |bytes, file: &Path| SafeTensors::deserialize(bytes).with_context(|| file.display().to_string());
    let (old, new) = (open(&old_bytes, old)?, open(&new_bytes, new)?);
    let mut before = BTreeMap::new();
    for (name, view) in old.tensors() {
        let name = renames.apply(&name);
        if before.insert(name.clone(), view).is_some() {
            bail!("two tensors are renamed to `{name}`");
        }
    }
    let now: BTreeMap<String, TensorView<'_>> = new.tensors().into_iter().collect();
    let gone = before.keys().find(|name| !now.contains_key(*name)).map(|name| format!("`{name}` is gone"));
    let first = gone.or_else(|| {
        now.iter().find_map(|(name, view)| match before.get(name) {
            None => Some(format!("`{name}` is new")),
            Some(old) => change(old, view).map(|what| format!("`{name}`: {what}")),
        })
    });
    Ok(Difference { tensors: now.len(), first })
}

/// What is not equal in two tensors.
fn change(old: &TensorView<'_>, new: &TensorView<'_>) -> Option<String> {
    let form = |view: &TensorView<'_>| (view.dtype(), view.shape().to_vec());
    if form(old) != form(new) {
        return Some(format!(
            "{:?} {:?} became {:?} {:?}",
            old.dtype(),
            old.shape(),
            new.dtype(),
            new.shape()
        ));
    }
    if old.data() == new.data() {
        return None;
    }
    let values = new.shape().iter().product::<usize>();
    let size = new.data().len() / values.max(1);
    let pairs = || old.data().chunks(size).zip(new.data().chunks(size)).enumerate();
    let differing = pairs().filter(|(_, (old, new))| old != new).count();
    let (index, (old, now)) = pairs().find(|(_, (old, new))| old != new)?;
    Some(format!(
        "{differing} of {values} values differ, the first at index {index}: {} became {}",
        value(old, new.dtype()),
        value(now, new.dtype())
    ))
}

/// A value for people: numbers of the usual type, else bytes.
fn value(bytes: &[u8], dtype: Dtype) -> String {
    match (dtype, <[u8; 4]>::try_from(bytes)) {
        (Dtype::F32, Ok(bytes)) => format!("{:e}", f32::from_le_bytes(bytes)),
        _ => format!("{bytes:02x?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// Compares two checkpoints of vectors.
    fn of(old: &[(&str, &[f32])], new: &[(&str, &[f32])], renames: &str) -> Result<Difference> {
        let scratch =
            Scratch::new(&std::env::temp_dir(), &format!("tensors-{:?}", std::thread::current().id()))?;
        let write = |name: &str, tensors: &[(&str, &[f32])]| {
            let bytes: Vec<Vec<u8>> = tensors
                .iter()
                .map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
                .collect();
            let views = tensors.iter().zip(&bytes).map(|((name, values), bytes)| {
                (name.to_string(), TensorView::new(Dtype::F32, vec![values.len()], bytes).unwrap())
            });
            let file = scratch.path().join(name);
            fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
            file
        };
        compare(&write("old", old), &write("new", new), &Renames::parse(renames)?)
    }

    #[test]
    fn one_bit_is_a_difference() {
        let old: &[f32] = &[1.0, 0.0, f32::NAN];
        let equal = of(&[("q.w", old)], &[("q.w", old)], "").unwrap();
        assert_eq!(equal, Difference { tensors: 1, first: None });
        let found = of(&[("q.w", old)], &[("q.w", &[1.0, -0.0, f32::NAN])], "").unwrap();
        let first = "`q.w`: 1 of 3 values differ, the first at index 1: 0e0 became -0e0";
        assert_eq!(found.first.as_deref(), Some(first));
        let shorter = of(&[("q.w", old)], &[("q.w", &[1.0])], "").unwrap().first.unwrap();
        assert_eq!(shorter, "`q.w`: F32 [3] became F32 [1]");
    }

    #[test]
    fn names_that_come_and_go_are_differences_unless_they_are_renamed() {
        let one: &[f32] = &[1.0];
        let first = |renames: &str| of(&[("q.a.w", one)], &[("p.a.w", one)], renames).unwrap().first;
        assert_eq!(first("").as_deref(), Some("`q.a.w` is gone"));
        assert_eq!(first("# all of them\nq. -> p.\n"), None);
        assert_eq!(of(&[], &[("q.w", one)], "").unwrap().first.as_deref(), Some("`q.w` is new"));
        let two = of(&[("a", one), ("b", one)], &[("b", one)], "a -> b").unwrap_err();
        assert!(two.to_string().contains("two tensors"), "{two}");
        let wrong = Renames::parse("\na = b").unwrap_err().to_string();
        assert!(wrong.contains("line 2") && wrong.contains("`a = b`"), "{wrong}");
    }
}
