//! STL-10 from its binary version in `<root>/stl10_binary/`: pixels by column within each plane, labels from 1.
//!
//! Source  Coates, Ng, Lee, AISTATS 2011. Files: `{train,test}_X.bin` and `unlabeled_X.bin`, 3 planes of 96 x 96 bytes an
//! image, each plane column after column; `{train,test}_y.bin`, a byte an image, 1 to 10; `fold_indices.txt`, ten lines of
//! positions among the training images; `class_names.txt`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use admix_torch::Tensor;

use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use crate::error::{At, Malformed};
use crate::info::IMAGENET;
use crate::source::{Contents, Part, Source, read_bytes, read_file};
use crate::{Error, Info, Result, TrainSplit};

const FOLDER: &str = "stl10_binary";
/// Predefined folds of the training images.
const FOLDS: usize = 10;
const SIDE: i64 = 96;
const IMAGE: u64 = 3 * 96 * 96;
const REMEDY: &str = "unpack the archive again, or get it again with `admix data get stl10`";

const HOW_TO_GET: &str = "`admix data get stl10`; or download `stl10_binary.tar.gz` from the data set's home page and unpack it into the data \
     folder";

/// Images and labels of the training split, then of the test split.
const FILES: [&str; 4] = ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"];
const UNLABELLED: &str = "unlabeled_X.bin";
const FOLD_INDICES: &str = "fold_indices.txt";
const CLASS_NAMES: &str = "class_names.txt";

/// The classes by label, as `class_names.txt` has them.
const CLASSES: [&str; 10] =
    ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];

/// How many images a file of so many bytes holds.
fn count(bytes: u64) -> Result<usize, Malformed> {
    if bytes == 0 || !bytes.is_multiple_of(IMAGE) {
        let expected = format!("a multiple of {IMAGE} bytes, 3 x 96 x 96 for each image");
        return Err(Malformed::new(format!("the file has {bytes} bytes"), expected));
    }
    Ok((bytes / IMAGE) as usize)
}

/// Parses labels, a byte from 1 to 10 each; they become 0 to 9.
///
/// # Errors
/// A label out of range.
pub fn parse_labels(bytes: &[u8]) -> Result<Vec<i64>, Malformed> {
    match bytes.iter().position(|label| !(1..=10).contains(label)) {
        Some(at) => Err(Malformed::new(format!("label {at} is {}", bytes[at]), "labels from 1 to 10")),
        None => Ok(bytes.iter().map(|label| i64::from(*label) - 1).collect()),
    }
}

/// Parses the positions, from 0, of each fold's images among `images` training images.
///
/// # Errors
/// Another number of lines than ten, an empty one, a word that is no position, a position twice in a fold.
pub fn parse_folds(bytes: &[u8], images: usize) -> Result<Vec<Vec<i64>>, Malformed> {
    let expected = || format!("{FOLDS} lines of positions below {images}, no position twice in a line");
    let wrong = |problem: String| Malformed::new(problem, expected());
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("the file is not text".into()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    if lines.len() != FOLDS {
        return Err(wrong(format!("the file has {} lines", lines.len())));
    }
    let fold = |(number, line): (usize, &&str)| {
        let mut seen = vec![false; images];
        let position = |word: &str| -> Result<i64, Malformed> {
            let at = word.parse::<usize>().ok().filter(|at| *at < images);
            let at = at.ok_or_else(|| wrong(format!("line {} has `{}`", number + 1, word.escape_debug())))?;
            match std::mem::replace(&mut seen[at], true) {
                true => Err(wrong(format!("line {} has {at} twice", number + 1))),
                false => Ok(at as i64),
            }
        };
        let positions: Vec<i64> = line.split_ascii_whitespace().map(position).collect::<Result<_, _>>()?;
        if positions.is_empty() { Err(wrong(format!("line {} is empty", number + 1))) } else { Ok(positions) }
    };
    lines.iter().enumerate().map(fold).collect()
}

/// Parses the names of the ten classes, one a line.
///
/// # Errors
/// Another number of names than ten.
pub fn parse_class_names(bytes: &[u8]) -> Result<Vec<String>, Malformed> {
    let wrong = |problem: String| Malformed::new(problem, "the names of 10 classes, one a line");
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("the file is not text".into()))?;
    // Some editors put a mark before a text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let names: Vec<String> =
        text.lines().map(|line| line.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if names.len() == CLASSES.len() { Ok(names) } else { Err(wrong(format!("{} lines", names.len()))) }
}

fn folder(root: &Path) -> PathBuf {
    root.join(FOLDER)
}

/// Pixels `[n, 3, 96, 96]`, columns first in memory.
fn pixels(path: &Path) -> Result<Tensor> {
    let mut file = fs::File::open(path).at("open", path)?;
    let bytes = file.metadata().at("read", path)?.len();
    let n = count(bytes).map_err(|error| error.within(path, REMEDY))?;
    let columns = read_bytes(&mut file, path, bytes as usize, |_| ())?.f_view([n as i64, 3, SIDE, SIDE])?;
    Ok(columns.f_transpose(2, 3)?)
}

fn labelled(folder: &Path, images: &str, labels: &str) -> Result<Part> {
    let pixels = pixels(&folder.join(images))?;
    let path = folder.join(labels);
    let within = |error: Malformed| error.within(&path, REMEDY);
    let labels = parse_labels(&read_file(&path)?).map_err(within)?;
    let n = pixels.size()[0] as usize;
    if labels.len() != n {
        return Err(within(Malformed::new(
            format!("{} labels for {n} images", labels.len()),
            format!("as many labels as {images} has images"),
        )));
    }
    Ok(Part { labels, pixels })
}

/// A file that only some recipes need.
fn needed(folder: &Path, name: &str, field: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing {
        name: "stl10".into(),
        folder: folder.to_owned(),
        expected: format!("{name}, which `{field}` needs"),
        how_to_get: HOW_TO_GET.into(),
    })
}

crate::dataset! {
    /// STL-10 has no settings.
    pub struct Stl10 {}, "stl10",
    "STL-10, 5,000 + 8,000 images, 10 classes, 96x96 RGB, and 100,000 without labels; from its binary version",
    source: "Coates, Ng, Lee, AISTATS 2011"
}

impl DatasetSource for Stl10 {
    fn about(&self) -> About {
        About {
            classes: CLASSES.len(),
            class_names: CLASSES.map(str::to_owned).to_vec(),
            shape: [3, SIDE, SIDE],
            mean: IMAGENET.mean.to_vec(),
            std: IMAGENET.std.to_vec(),
            train: 5_000,
            test: 8_000,
            unlabelled: 100_000,
            folds: FOLDS,
        }
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        let folder = folder(root);
        let absent: Vec<&str> = FILES.into_iter().filter(|name| !folder.join(name).is_file()).collect();
        (!absent.is_empty()).then(|| Absent { expected: absent.join(", "), folder })
    }

    fn is_whole(&self, root: &Path) -> bool {
        let folder = folder(root);
        let there = |name: &&str| folder.join(name).is_file();
        self.absent(root).is_none() && [UNLABELLED, FOLD_INDICES].iter().all(there)
    }

    fn how_to_get(&self) -> &'static str {
        HOW_TO_GET
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "http://ai.stanford.edu/~acoates/stl10/",
            // What torchvision checks.
            files: &[("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb")],
            then: Then::Unpack(FOLDER),
        })
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        Ok(load(self.about(), wanted)?.into())
    }

    fn read_through(&self, root: &Path) -> Result<Option<u64>> {
        let folder = folder(root);
        let files = FILES.iter().chain([&UNLABELLED]).map(|name| folder.join(name));
        let mut bytes = 0;
        for path in files.filter(|path| path.is_file()) {
            let mut file = fs::File::open(&path).at("open", &path)?;
            bytes += io::copy(&mut file, &mut io::sink()).at("read", &path)?;
        }
        Ok(Some(bytes))
    }
}

/// Loads what is asked for: of the images without labels no byte is read where they are not.
fn load(about: About, Wanted { root, split, fold, .. }: Wanted<'_>) -> Result<Source> {
    let folder = folder(root);
    let mut train = labelled(&folder, FILES[0], FILES[1])?;
    let test = labelled(&folder, FILES[2], FILES[3])?;
    if let Some(fold) = fold {
        let path = needed(&folder, FOLD_INDICES, "data.fold")?;
        let folds = parse_folds(&read_file(&path)?, train.labels.len());
        let folds = folds.map_err(|error| error.within(&path, REMEDY))?;
        train = train.select(folds.get(fold).map_or(&[], Vec::as_slice))?;
    }
    let unlabelled = match split {
        TrainSplit::Train => None,
        TrainSplit::Unlabelled | TrainSplit::TrainUnlabelled => {
            let pixels = pixels(&needed(&folder, UNLABELLED, "data.split")?)?;
            Some(Part { labels: vec![-1; pixels.size()[0] as usize], pixels })
        }
    };
    let path = folder.join(CLASS_NAMES);
    let class_names = match path.is_file() {
        true => parse_class_names(&read_file(&path)?).map_err(|error| error.within(&path, REMEDY))?,
        false => about.class_names.clone(),
    };
    let there = fs::metadata(folder.join(UNLABELLED)).map_or(0, |file| file.len() / IMAGE);
    let found = (train.labels.len(), test.labels.len());
    let source = format!("binary files in {}", folder.display());
    let about = About { class_names, ..about };
    let info = Info { unlabelled: there as usize, ..about.info("stl10", found, source) };
    Ok(Source { info, train, test, unlabelled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_count_from_zero() {
        assert_eq!(parse_labels(&[1, 10, 3]), Ok(vec![0, 9, 2]));
        for wrong in [0, 11, 255] {
            let error = parse_labels(&[1, wrong]).expect_err("refused");
            assert_eq!(error.problem, format!("label 1 is {wrong}"));
        }
    }

    #[test]
    fn folds_are_ten_lines_of_positions() {
        let lines = |last: &str| ["0 1 2\n"; 9].concat() + last;
        let folds = parse_folds(lines("2 0 ").as_bytes(), 3).expect("folds");
        assert_eq!((folds.len(), &folds[0][..], &folds[9][..]), (10, &[0, 1, 2][..], &[2, 0][..]));
        for (text, problem) in [
            (lines(""), "9 lines"),
            (lines("3\n"), "line 10 has `3`"),
            (lines("1 x\n"), "`x`"),
            (lines("-1\n"), "`-1`"),
            (lines("1 1\n"), "line 10 has 1 twice"),
            (lines("0\n1\n"), "11 lines"),
            (lines("0\n").replacen("0 1 2", "", 2), "line 1 is empty"),
        ] {
            let error = parse_folds(text.as_bytes(), 3).expect_err(&text);
            assert!(error.problem.contains(problem), "{problem}: {error:?}");
        }
        assert!(parse_folds(&[0xff], 3).is_err());
    }
}
