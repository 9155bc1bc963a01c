//! The files of one split.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::fault::Fault;
use crate::import::decode;

/// The files of one split, by class, then by name.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The folder of the split.
    pub root: PathBuf,
    /// One per file, ascending.
    pub labels: Vec<i64>,
    /// Below `root`.
    pub paths: Vec<Box<Path>>,
}

impl Files {
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn path(&self, at: usize) -> PathBuf {
        self.root.join(&self.paths[at])
    }

    /// The files at these positions.
    pub(crate) fn select(&self, keep: &[i64]) -> Self {
        let labels = keep.iter().map(|&at| self.labels[at as usize]).collect();
        let paths = keep.iter().map(|&at| self.paths[at as usize].clone()).collect();
        Self { root: self.root.clone(), labels, paths }
    }

    /// Every file, decoded: pixels `[3, H, W]`, and what is wrong with the others.
    pub(crate) fn decoded(&self) -> Vec<Result<decode::Rgb, Fault>> {
        let read = |at: usize| {
            let path = self.path(at);
            let bytes = fs::read(&path).map_err(|source| Fault::Io { path: path.clone(), source })?;
            decode::decode(&bytes, None).map_err(|why| Fault::Broken { path, why })
        };
        (0..self.len()).into_par_iter().map(read).collect()
    }
}
