//! A table of a dataset: on each line an identifier, a space, and what belongs to it, which may hold spaces itself.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::error::Malformed;
use crate::source::{ImageFiles, read_file};
use crate::{Error, Result};

/// A line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub number: usize,
    pub id: String,
    pub value: String,
}

/// A table that was read.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    pub lines: Vec<Line>,
    /// What to do about a fault.
    remedy: &'static str,
}

/// Parses a table.
///
/// # Errors
/// The text is not UTF-8, it is empty, a line lacks its value or has an identifier again.
fn parse(bytes: &[u8]) -> Result<Vec<Line>, Malformed> {
    const WANTED: &str = "an identifier, a space and a value on each line";
    let mut seen = HashMap::new();
    let mut lines = Vec::new();
    for (number, line) in texts(bytes)? {
        let wrong = |what: String| Malformed::new(format!("line {number} {what}"), WANTED);
        let (id, value) = line.split_once(' ').map(|(id, value)| (id, value.trim())).unwrap_or((&line, ""));
        if value.is_empty() {
            return Err(wrong(format!("is `{}`", line.escape_debug())));
        }
        if let Some(before) = seen.insert(id.to_owned(), number) {
            return Err(wrong(format!("is about `{}`, as line {before} is", id.escape_debug())));
        }
        lines.push(Line { number, id: id.into(), value: value.into() });
    }
    Ok(lines)
}

/// The lines of a text that are not empty, with their numbers.
///
/// # Errors
/// The text is not UTF-8, or there is no such line.
pub(super) fn texts(bytes: &[u8]) -> Result<Vec<(usize, String)>, Malformed> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Malformed::new("the file is not text", "lines of text in UTF-8"))?;
    // Some editors put a mark before a text.
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    let lines = lines.enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    if lines.is_empty() { Err(Malformed::new("the file is empty", "at least one line")) } else { Ok(lines) }
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// It cannot be read, or is malformed.
    pub fn read(folder: &Path, name: &str, remedy: &'static str) -> Result<Self> {
        let path = folder.join(name);
        let lines = parse(&read_file(&path)?).map_err(|error| error.within(&path, remedy))?;
        Ok(Self { path, lines, remedy })
    }

    /// What is wrong with a line.
    pub fn wrong(&self, line: usize, problem: &str, expected: impl Into<String>) -> Error {
        Malformed::new(format!("line {line} {problem}"), expected).within(&self.path, self.remedy)
    }

    /// The line about each identifier.
    pub fn by_id(&self) -> HashMap<&str, &Line> {
        self.lines.iter().map(|line| (line.id.as_str(), line)).collect()
    }
}

/// Checks the names of classes.
///
/// # Errors
/// One of them is there twice.
pub(super) fn each_once(classes: &[String]) -> Result<(), Malformed> {
    let mut seen = HashSet::new();
    match classes.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(()),
        Some(twice) => {
            let problem = format!("the class `{}` is there twice", twice.escape_debug());
            Err(Malformed::new(problem, "each class once"))
        }
    }
}

/// The path of a picture below the folder of images, as a table gives it.
///
/// # Errors
/// In words: it leads out of that folder.
pub(super) fn below(path: &str) -> Result<String, String> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    match inside && !path.contains('\0') {
        true => Ok(path.into()),
        false => Err(format!("names `{}`, which is not below the folder of images", path.escape_debug())),
    }
}

/// Pictures of 2 to 65,536 classes, each of which has training images, and of a test split; each is there, once.
///
/// # Errors
/// They are others.
pub(super) fn whole(pictures: ImageFiles, list: &Path, remedy: &str) -> Result<ImageFiles> {
    let wrong = |problem: String, expected: &str| Err(Malformed::new(problem, expected).within(list, remedy));
    let classes = pictures.class_names.len();
    if !(2..=65_536).contains(&classes) {
        return wrong(format!("there are {classes} classes"), "2 to 65,536 classes");
    }
    let mut images = vec![0; classes];
    pictures.train.iter().for_each(|(_, label)| images[usize::from(*label)] += 1);
    if let Some(empty) = images.iter().position(|images| *images == 0) {
        let class = pictures.class_names[empty].escape_debug();
        return wrong(format!("class `{class}` has no training image"), "training images of each class");
    }
    let mut seen = HashSet::new();
    let both = pictures.train.iter().chain(&pictures.test);
    if let Some((twice, _)) = both.into_iter().find(|(path, _)| !seen.insert(path.as_str())) {
        return wrong(
            format!("the image `{}` is there twice", twice.escape_debug()),
            "each image once, in one split",
        );
    }
    let root = &pictures.folder;
    if let Some((missing, _)) =
        pictures.train.iter().chain(&pictures.test).find(|(path, _)| !root.join(path).exists())
    {
        return wrong(
            format!("the image {} is missing", root.join(missing).display()),
            "every image of the lists",
        );
    }
    if pictures.test.is_empty() {
        return wrong("there is no test image".into(), "at least one test image");
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_spaces_and_faults_are_told_by_their_line() {
        let line = |number, id: &str, value: &str| Line { number, id: id.into(), value: value.into() };
        let text = "\u{feff}1 001.A_b/x y.jpg\r\n\n0034309 F/A-18\n2  Boeing 717 ";
        let wanted =
            [line(1, "1", "001.A_b/x y.jpg"), line(3, "0034309", "F/A-18"), line(4, "2", "Boeing 717")];
        assert_eq!(parse(text.as_bytes()), Ok(wanted.to_vec()));
        for (text, problem) in [
            (&b"\n \n"[..], "the file is empty"),
            (b"1 a\n2", "line 2 is `2`"),
            (b"1 a\n2 b\n1 c", "line 3 is about `1`, as line 1 is"),
            (b"1 \xff", "the file is not text"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.problem), Err(problem.into()));
        }
    }
}
