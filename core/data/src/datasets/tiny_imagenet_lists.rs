//! The layout of Tiny ImageNet's archive: training images below `train/<wnid>/images/`, validation images of all classes in
//! `val/images/`, whose classes `val/val_annotations.txt` gives; `wnids.txt` numbers the classes, `words.txt` names them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::import::decoded::Decoded;
use crate::import::layout::{Arranged, Layout, Numbering};
use crate::{Error, Result};

pub(super) const CLASSES: &str = "wnids.txt";
const WORDS: &str = "words.txt";
const ANNOTATIONS: &str = "val_annotations.txt";

/// The layout of the archive.
pub(super) struct Archive;

impl Layout for Archive {
    fn lists(&self) -> &'static [&'static str] {
        &[CLASSES, WORDS, ANNOTATIONS]
    }

    fn understand(
        &self,
        source: &Path,
        files: &mut Vec<Decoded>,
        skipped: &mut Vec<(String, String)>,
    ) -> Result<Option<Box<dyn Numbering>>> {
        Ok(understand(source, files, skipped)?.map(|classes| Box::new(classes) as Box<dyn Numbering>))
    }
}

/// The classes in their order: identifiers, and what people call them.
struct Classes(Vec<(String, String)>);

fn wrong(source: &Path, problem: String) -> Error {
    let remedy = "unpack or download tiny-imagenet-200.zip again".into();
    Error::Layout { path: source.into(), problem, remedy }
}

/// The folders above `wnids.txt`, if the files are laid out in this way.
fn top(files: &[Decoded]) -> Option<Vec<String>> {
    let list = files.iter().find(|file| {
        (1..=2).contains(&file.parts.len()) && file.parts.last().is_some_and(|name| name == CLASSES)
    })?;
    let top = list.parts[..list.parts.len() - 1].to_vec();
    let is_validation = |file: &Decoded| {
        let parts = file.parts.strip_prefix(top.as_slice()).unwrap_or_default();
        matches!(parts, [val, next, ..] if val == "val" && (next == "images" || next == ANNOTATIONS))
    };
    files.iter().any(is_validation).then_some(top)
}

/// Gives validation images their class and takes out what has none, if the files are Tiny ImageNet's. What was taken out
/// goes to `skipped`.
///
/// # Errors
/// Lists that are missing, malformed, or do not fit the images.
fn understand(
    source: &Path,
    files: &mut Vec<Decoded>,
    skipped: &mut Vec<(String, String)>,
) -> Result<Option<Classes>> {
    let Some(top) = top(files) else { return Ok(None) };
    let depth = top.len();
    let below = |file: &Decoded| -> Vec<String> {
        file.parts.strip_prefix(top.as_slice()).unwrap_or_default().to_vec()
    };
    let text = |parts: &[&str]| -> Result<Option<&str>> {
        let Some(file) = files.iter().find(|file| below(file) == parts) else { return Ok(None) };
        let bytes = file.text.as_deref().unwrap_or_default();
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| wrong(source, format!("`{}` is not text", parts.join("/"))))?;
        // Some editors put a mark before a text.
        Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(text)))
    };
    let classes =
        classes(source, text(&[CLASSES])?.unwrap_or_default(), text(&[WORDS])?.unwrap_or_default())?;
    let annotations = text(&["val", ANNOTATIONS])?.ok_or_else(|| {
        wrong(source, format!("`val/{ANNOTATIONS}` is not there, which gives validation images their class"))
    })?;
    let mut given = annotated(source, annotations, &classes)?;
    for file in files.iter_mut() {
        let parts = file.parts.get(depth..).unwrap_or_default();
        if let [val, images, name] = parts
            && (val.as_str(), images.as_str()) == ("val", "images")
        {
            let (_, class) = given.remove(name.as_str()).ok_or_else(|| {
                wrong(source, format!("`val/images/{name}` has no line in `val/{ANNOTATIONS}`"))
            })?;
            file.class = Some(class);
        }
    }
    if let Some((name, (line, _))) = given.into_iter().min_by_key(|(_, (line, _))| *line) {
        let problem = format!(
            "line {line} of `val/{ANNOTATIONS}` is about `{name}`, which is not there in `val/images`"
        );
        return Err(wrong(source, problem));
    }
    let (mut tests, mut boxes) = (0, 0);
    files.retain(|file| {
        let parts = file.parts.get(depth..).unwrap_or_default();
        let test = parts.len() > 1 && parts[0] == "test";
        let list = matches!(parts, [train, _, name] if train == "train" && name.ends_with("_boxes.txt"));
        tests += usize::from(test);
        boxes += usize::from(list);
        !test && !list && file.text.is_none()
    });
    for (place, count, what) in
        [("test", tests, "images without labels"), ("train", boxes, "files of bounding boxes")]
    {
        if count > 0 {
            skipped.push((place.into(), format!("{count} {what}")));
        }
    }
    Ok(Some(classes))
}

fn classes(source: &Path, wnids: &str, words: &str) -> Result<Classes> {
    let names: HashMap<&str, &str> = words.lines().filter_map(|line| line.split_once('\t')).collect();
    let mut classes: Vec<(String, String)> = Vec::new();
    for wnid in wnids.lines().map(str::trim).filter(|wnid| !wnid.is_empty()) {
        if classes.iter().any(|(before, _)| before == wnid) {
            return Err(wrong(source, format!("`{CLASSES}` has `{}` twice", wnid.escape_debug())));
        }
        // The first of several words for the same.
        let name = names.get(wnid).and_then(|words| words.split(',').next()).map(str::trim);
        classes.push((wnid.to_owned(), name.filter(|name| !name.is_empty()).unwrap_or(wnid).to_owned()));
    }
    Ok(Classes(classes))
}

/// Line and class of each validation image, by its name.
fn annotated(source: &Path, text: &str, classes: &Classes) -> Result<BTreeMap<String, (usize, String)>> {
    let mut given = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = number + 1;
        let at = |what: String| wrong(source, format!("line {number} of `val/{ANNOTATIONS}` {what}"));
        let mut words = line.split('\t').map(str::trim);
        let (Some(name), Some(class)) = (words.next(), words.next()) else {
            let what = format!("is `{}`, expected a file name, a tab, and a class", line.escape_debug());
            return Err(at(what));
        };
        if !classes.0.iter().any(|(wnid, _)| wnid == class) {
            return Err(at(format!("gives the class `{}`, which {CLASSES} lacks", class.escape_debug())));
        }
        if given.insert(name.to_owned(), (number, class.to_owned())).is_some() {
            return Err(at(format!("is about `{}` again", name.escape_debug())));
        }
    }
    Ok(given)
}

impl Numbering for Classes {
    /// Numbers the classes in their order and names them.
    ///
    /// # Errors
    /// A class without training images, or one that is not listed.
    fn number(&self, source: &Path, set: &mut Arranged) -> Result<()> {
        let place = |wnid: &String| self.0.iter().position(|(listed, _)| listed == wnid);
        if let Some(extra) = set.class_names.iter().find(|wnid| place(wnid).is_none()) {
            return Err(wrong(source, format!("`train` has the class `{extra}`, which {CLASSES} lacks")));
        }
        if let Some((wnid, _)) = self.0.iter().find(|(wnid, _)| !set.class_names.contains(wnid)) {
            return Err(wrong(source, format!("class `{wnid}` of {CLASSES} has no training image")));
        }
        let numbers: Vec<u16> =
            set.class_names.iter().map(|wnid| place(wnid).unwrap_or_default() as u16).collect();
        for images in [&mut set.train, &mut set.test] {
            images.iter_mut().for_each(|(label, _)| *label = numbers[usize::from(*label)]);
            images.sort_by_key(|(label, _)| *label);
        }
        set.class_names = self.0.iter().map(|(_, name)| name.clone()).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_before_a_list_is_no_part_of_it() {
        let list = |path: &str, text: &str| Decoded {
            parts: path.split('/').map(str::to_owned).collect(),
            image: Err("a list".into()),
            flaws: Vec::new(),
            class: None,
            text: Some(format!("\u{feff}{text}").into_bytes()),
        };
        let mut files = vec![
            list("wnids.txt", "n01\nn02\n"),
            list("words.txt", "n01\tfish, carp\n"),
            list("val/val_annotations.txt", "0.JPEG\tn01\n"),
            Decoded { text: None, ..list("val/images/0.JPEG", "") },
        ];
        let classes = understand("set".as_ref(), &mut files, &mut Vec::new()).expect("sound lists");
        let names = classes.expect("its layout").0;
        assert_eq!(names[0], ("n01".to_string(), "fish".to_string()));
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].class.as_deref(), Some("n01"));
    }
}
