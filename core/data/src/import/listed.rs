//! Images that lists name.

use std::path::Path;

use super::arrange::hold_out;
use super::decoded::Decoded;
use super::layout::Arranged;
use super::place::{few_failures, layout_error};
use crate::Result;
use crate::error::setting;
use crate::list::Lists;
use crate::packed::NO_LABEL;

/// Gives the files of lists, in their order, the labels that stand there.
pub(super) fn arrange(
    source: &Path,
    files: Vec<Decoded>,
    lists: Lists,
    test_per_class: usize,
) -> Result<Arranged> {
    let Lists { class_names, train, test, .. } = lists;
    let mut set = Arranged {
        class_names,
        height: 0,
        width: 0,
        train: Vec::with_capacity(train.len()),
        test: Vec::with_capacity(test.len()),
        skipped: Vec::new(),
    };
    let (of, trained) = (files.len(), train.len());
    for (at, (file, (_, label))) in files.into_iter().zip(train.iter().chain(&test)).enumerate() {
        let (name, label) = (file.name(), label.unwrap_or(NO_LABEL));
        match file.image {
            Ok(image) if at < trained => set.train.push((label, image)),
            Ok(image) => set.test.push((label, image)),
            Err(why) => set.skipped.push((name, why)),
        }
    }
    few_failures(source, &set.skipped, of)?;
    let Some((_, first)) = set.train.first() else {
        return Err(layout_error(source, "no training image can be read".into(), "mend the list"));
    };
    (set.height, set.width) = first.size;
    let has = |label: usize| set.train.iter().any(|(own, _)| usize::from(*own) == label);
    if let Some(label) = (0..set.class_names.len()).find(|label| !has(*label)) {
        let problem = format!("no training image of the class `{}` can be read", set.class_names[label]);
        return Err(layout_error(source, problem, "mend its images or the list"));
    }
    match set.class_names.is_empty() {
        true if test_per_class > 0 => {
            Err(setting("--test-per-class", test_per_class, "0: the images have no classes"))
        }
        true => Ok(set),
        false => {
            hold_out(source, &mut set, "it has no list of test images, `--test-list FILE`", test_per_class)?;
            Ok(set)
        }
    }
}
