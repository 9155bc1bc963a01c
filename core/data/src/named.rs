//! The files that lists name: whether they are there, and in one split alone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::Result;
use crate::error::Malformed;
use crate::list::{Lists, Member, parse, plain};
use crate::source::read_file;

/// Warns of test images that are in training too.
pub(crate) fn warn_of_training(lists: &Lists) {
    let paths = |members: &[Member], root: &Path| -> Vec<PathBuf> {
        members.iter().map(|(path, _)| plain(&root.join(path))).collect()
    };
    let [train, test] = &lists.roots;
    let test: HashSet<PathBuf> = paths(&lists.test, test).into_iter().collect();
    if test.is_empty() {
        return;
    }
    let shared: Vec<PathBuf> =
        paths(&lists.train, train).into_iter().filter(|path| test.contains(path)).collect();
    if let Some(first) = shared.first() {
        tracing::warn!("{} test images are training images too, such as {}", shared.len(), first.display());
    }
}

/// Checks that every file is there: found out while training, a missing one would end a run.
///
/// # Errors
/// One that is not, with its list and line.
pub(crate) fn all_there(lists: &Lists, train: &Path, test: Option<&Path>) -> Result<()> {
    let splits = [(Some(train), &lists.train, &lists.roots[0]), (test, &lists.test, &lists.roots[1])];
    for (list, members, root) in splits {
        let Some(list) = list else { continue };
        let is_missing =
            |member: &&Member| !fs::metadata(root.join(&member.0)).is_ok_and(|meta| meta.is_file());
        if let Some((path, _)) = members.par_iter().find_first(is_missing) {
            let lines = parse(&read_file(list)?).unwrap_or_default();
            let number = lines.iter().find(|line| line.path == *path).map_or(1, |line| line.number);
            let problem = format!("line {number} names `{}`, and there is no such file", path.escape_debug());
            let expected = format!("paths below {}, a file on each line, and no heading", root.display());
            return Err(Malformed::new(problem, expected).within(list, "mend the list"));
        }
    }
    Ok(())
}
