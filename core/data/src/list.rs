//! A list file: `path label` a line, as the `meta/train.txt` of OpenMMLab and OpenMixup.
//!
//! The label is what follows the last tab, or without a tab the last space, so that a path may hold spaces. Labels are
//! names, or whole numbers from 0 if all of them are. A list in which no line has a label is one of images without
//! labels; what ends like the name of a picture is no label. Paths are relative to the list; empty lines are passed over.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use crate::Result;
use crate::error::Malformed;
use crate::import::suffix::is_picture;
use crate::source::read_file;

const WANTED: &str = "a path and a label on each line, such as `cat/1.jpg 0` or `cat/1.jpg cat`";
const REMEDY: &str = "mend the list";
const MOST_CLASSES: usize = 65_536;

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// Relative to the list.
    pub path: String,
    /// `None` in a list without labels.
    pub label: Option<String>,
}

/// Parses a list.
///
/// # Errors
/// The text is not UTF-8, it names no file, a line has no path or names a file again, or some lines have a label and some
/// have none.
pub fn parse(bytes: &[u8]) -> Result<Vec<Line>, Malformed> {
    let lines = split(bytes, WANTED)?;
    let labelled = |line: &Line| line.label.is_some();
    if let Some((first, other)) = lines
        .first()
        .and_then(|first| Some((first, lines.iter().find(|line| labelled(line) != labelled(first))?)))
    {
        let (this, before) = if labelled(other) { ("a", "no") } else { ("no", "a") };
        let what =
            format!("line {} has {this} label, and line {} has {before} label", other.number, first.number);
        return Err(Malformed::new(what, WANTED));
    }
    Ok(lines)
}

/// The paths of a list, whatever lines have a label.
///
/// # Errors
/// The text is not UTF-8, it names no file, or a line has no path or names a file again.
pub(crate) fn paths(bytes: &[u8]) -> Result<Vec<String>, Malformed> {
    Ok(split(bytes, "a path on each line, such as `cat/1.jpg`")?.into_iter().map(|line| line.path).collect())
}

/// The lines of a list. `wanted` says what should be there.
fn split(bytes: &[u8], wanted: &str) -> Result<Vec<Line>, Malformed> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut lines: Vec<Line> = Vec::new();
    let mut seen = HashMap::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = at + 1;
        let wrong = |what: String| Malformed::new(format!("line {number} {what}"), wanted);
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8".into()))?.trim();
        if line.is_empty() {
            continue;
        }
        if let Some((path, _)) = line.rsplit_once(',').filter(|(path, label)| {
            is_picture(Path::new(path.trim_matches('"'))) && !is_picture(Path::new(label))
        }) {
            let shown = path.escape_debug();
            return Err(wrong(format!("has a comma behind `{shown}`, where a tab or a space is expected")));
        }
        // `my cat.jpg` is a path with a space, not the label `cat.jpg`.
        let spaced = || line.rsplit_once(' ').filter(|(_, label)| !is_picture(Path::new(label)));
        let parts = line.rsplit_once('\t').or_else(spaced);
        let (path, label) = parts.map_or((line, None), |(path, label)| (path.trim(), Some(label.trim())));
        if path.contains('\0') {
            return Err(wrong("has a zero byte in its path".into()));
        }
        // `./a.jpg` is `a.jpg`.
        if let Some(before) = seen.insert(plain(Path::new(path)), number) {
            return Err(wrong(format!("names `{}`, as line {before} does", path.escape_debug())));
        }
        lines.push(Line { number, path: path.into(), label: label.map(str::to_owned) });
    }
    if lines.is_empty() { Err(Malformed::new("it names no file", wanted)) } else { Ok(lines) }
}

/// A path without `.`, under which a file may be named twice.
pub(crate) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// A file of a split and its class; `None` where nothing has a label.
pub(crate) type Member = (String, Option<u16>);

/// The files of a dataset, by class, then in the order of their list.
#[derive(Debug)]
pub(crate) struct Lists {
    /// By label; empty where nothing has a label.
    pub class_names: Vec<String>,
    /// The folders that the paths are relative to.
    pub roots: [PathBuf; 2],
    pub train: Vec<Member>,
    pub test: Vec<Member>,
}

impl Lists {
    /// Reads the list of the training images and, if there is one, that of the test images.
    ///
    /// # Errors
    /// A list that cannot be read or is malformed; a test label that no training image has.
    pub(crate) fn read(train: &Path, test: Option<&Path>) -> Result<Self> {
        let lines = |path: &Path| parse(&read_file(path)?).map_err(|error| error.within(path, REMEDY));
        let (train_lines, test_lines) = (lines(train)?, test.map(lines).transpose()?.unwrap_or_default());
        let class_names = classes(&train_lines).map_err(|error| error.within(train, REMEDY))?;
        if class_names.is_empty()
            && let Some(test) = test
        {
            let problem = format!("{} has no labels", train.display());
            let expected = "a test list only beside training images with labels";
            return Err(Malformed::new(problem, expected).within(test, "leave the test list out"));
        }
        let of: HashMap<&str, u16> =
            class_names.iter().enumerate().map(|(label, name)| (name.as_str(), label as u16)).collect();
        let members = |lines: Vec<Line>, path: &Path| -> Result<Vec<Member>> {
            let member = |line: Line| match line.label {
                None if class_names.is_empty() => Ok((line.path, None)),
                label => match of.get(label.as_deref().unwrap_or_default()) {
                    Some(label) => Ok((line.path, Some(*label))),
                    None => Err(unknown(line.number, label.as_deref(), train).within(path, REMEDY)),
                },
            };
            let mut members = lines.into_iter().map(member).collect::<Result<Vec<_>>>()?;
            members.sort_by_key(|(_, label)| *label);
            Ok(members)
        };
        let root = |list: &Path| list.parent().unwrap_or(Path::new("")).to_owned();
        let roots = [root(train), root(test.unwrap_or(train))];
        let test = members(test_lines, test.unwrap_or(train))?;
        Ok(Self { train: members(train_lines, train)?, test, roots, class_names })
    }
}

fn unknown(line: usize, label: Option<&str>, train: &Path) -> Malformed {
    let problem = match label {
        Some(label) => format!("line {line} has the label `{}`", label.escape_debug()),
        None => format!("line {line} has no label"),
    };
    Malformed::new(problem, format!("a label that a training image in {} has", train.display()))
}

/// The classes of training images: sorted names, or numbers without a gap.
fn classes(lines: &[Line]) -> Result<Vec<String>, Malformed> {
    let names: BTreeSet<&str> = lines.iter().filter_map(|line| line.label.as_deref()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if !(2..=MOST_CLASSES).contains(&names.len()) {
        let expected =
            format!("2 to {MOST_CLASSES} classes; for images without classes leave all labels out");
        return Err(Malformed::new(format!("it has {} different labels", names.len()), expected));
    }
    let number = |name: &&str| name.parse::<usize>().ok().filter(|number| number.to_string() == **name);
    // As names they would be sorted as texts: 10.0 before 2.0.
    if names.iter().all(|name| name.parse::<f64>().is_ok())
        && let Some(odd) = names.iter().find(|name| number(name).is_none())
    {
        let line = lines.iter().find(|line| line.label.as_deref() == Some(odd)).map_or(1, |line| line.number);
        return Err(Malformed::new(
            format!("line {line} has the label `{}`", odd.escape_debug()),
            "whole numbers that count from 0, written as 3, or names",
        ));
    }
    let numbers: Option<BTreeSet<usize>> = names.iter().map(number).collect();
    let Some(numbers) = numbers else { return Ok(names.into_iter().map(str::to_owned).collect()) };
    match numbers.iter().enumerate().find(|(at, number)| at != *number) {
        None => Ok(numbers.iter().map(usize::to_string).collect()),
        Some((at, more)) => Err(Malformed::new(
            format!("a label is {more}, and no image has the label {at}"),
            "numbers that count from 0 without a gap, or names",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(number: usize, path: &str, label: Option<&str>) -> Line {
        Line { number, path: path.into(), label: label.map(str::to_owned) }
    }

    #[test]
    fn the_label_is_what_follows_the_last_tab_or_space() {
        let text = "\u{feff}a/1.jpg 0\r\n\nmy cat/2 of 3.jpg  1\nb.jpg\tgreat white shark\n";
        let wanted = [
            line(1, "a/1.jpg", Some("0")),
            line(3, "my cat/2 of 3.jpg", Some("1")),
            line(4, "b.jpg", Some("great white shark")),
        ];
        assert_eq!(parse(text.as_bytes()), Ok(wanted.to_vec()));
        assert_eq!(parse(b"a.jpg\nb.jpg"), Ok(vec![line(1, "a.jpg", None), line(2, "b.jpg", None)]));
        assert_eq!(
            parse(b"my cat.jpg\nb,c.jpg"),
            Ok(vec![line(1, "my cat.jpg", None), line(2, "b,c.jpg", None)])
        );
    }

    #[test]
    fn paths_are_read_whatever_lines_have_a_label() {
        assert_eq!(paths(b"a.jpg 0\nb.jpg\n"), Ok(vec!["a.jpg".into(), "b.jpg".into()]));
        let empty = paths(b"\n").expect_err("no file");
        assert_eq!(empty.expected, "a path on each line, such as `cat/1.jpg`");
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        for (text, problem) in [
            (&b"\n \n"[..], "it names no file"),
            (b"a.jpg 0\nb.jpg", "line 2 has no label, and line 1 has a label"),
            (b"\na.jpg\nb.jpg 1", "line 3 has a label, and line 2 has no label"),
            (b"a.jpg 0\nb.jpg 1\na.jpg 1", "line 3 names `a.jpg`, as line 1 does"),
            (b"a.jpg 0\n./a.jpg 1", "line 2 names `./a.jpg`, as line 1 does"),
            (b"a.jpg,0\nb.jpg,1", "line 1 has a comma behind `a.jpg`, where a tab or a space is expected"),
            (b"a.jpg 0\n\xff 1", "line 2 is not UTF-8"),
            (b"a\0.jpg 0", "line 1 has a zero byte in its path"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.problem), Err(problem.into()));
        }
    }

    /// Reads these two lists, or tells why not.
    fn lists(train: &str, test: Option<&str>) -> Result<Lists, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let (train, test) = (path("train.txt", train), test.map(|text| path("test.txt", text)));
        Lists::read(&train, test.as_deref()).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_are_labels_and_names_are_sorted() {
        let eleven: String = (0..11).rev().map(|at| format!("{at}.jpg {at}\n")).collect();
        let found = lists(&eleven, Some("x.jpg 10\n")).expect("lists");
        // As numbers: 10 comes after 9, not after 1.
        assert_eq!((found.class_names[2].as_str(), found.class_names[10].as_str()), ("2", "10"));
        assert_eq!(
            (&found.train[10], &found.test[0]),
            (&("10.jpg".into(), Some(10)), &("x.jpg".into(), Some(10)))
        );
        let found = lists("1 dog\n2 cat\n3 dog\n4 7", None).expect("lists");
        assert_eq!(found.class_names, ["7", "cat", "dog"]);
        let members = [("4", 0), ("2", 1), ("1", 2), ("3", 2)];
        assert_eq!(found.train, members.map(|(path, label)| (path.to_owned(), Some(label))));
        let found = lists("1\n2", None).expect("lists");
        assert!(found.class_names.is_empty() && found.train == [("1".into(), None), ("2".into(), None)]);
    }

    #[test]
    fn classes_that_cannot_be_are_refused() {
        for (train, test, wanted) in [
            ("a 0\nb 2", None, "a label is 2, and no image has the label 1"),
            ("a 1\nb 2", None, "a label is 1, and no image has the label 0"),
            ("a 0\nb 0", None, "it has 1 different labels"),
            ("a 0.0\nb 1.0", None, "line 1 has the label `0.0`"),
            ("a 0\nb 1\nc -1", None, "line 3 has the label `-1`"),
            ("a 0\nb 1", Some("c 0\nd 2"), "test.txt: line 2 has the label `2`"),
            ("a 0\nb 1", Some("c"), "test.txt: line 1 has no label"),
            ("a\nb", Some("c 0"), "leave the test list out"),
        ] {
            let error = lists(train, test).expect_err(wanted);
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }
}
