//! An import: read, decode, arrange, pack.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rayon::prelude::*;
use serde::Serialize;

use super::archive::{self, EMPTY, RawFile};
use super::budget::{self, Budget};
use super::channels::Channels;
use super::decode::{self, Exif, Planar};
use super::decoded::{Decoded, is_hidden};
use super::layout::Layout;
use super::{arrange, limits, listed};
use crate::error::{check_name, setting};
use crate::info::{Normalisation, photographs};
use crate::list::Lists;
use crate::lookup::Datasets;
use crate::named::warn_of_training;
use crate::{Error, Info, Result, TrainSplit, packed};

/// How to import.
#[derive(Clone, Copy)]
pub struct ImportOptions<'a> {
    /// Replace a dataset of this name.
    pub force: bool,
    /// Bring every image to this height and width (triangle filter, proportions not kept).
    pub size: Option<(i64, i64)>,
    /// What becomes of the orientation that cameras noted.
    pub exif: Exif,
    /// Take the last so many images of each class, by name, as test images: for a folder without a test split.
    pub test_per_class: usize,
    /// Channels that pictures get.
    pub channels: Channels,
    /// Take all images, or those of the training split, without labels, whatever folders they lie in.
    pub unlabelled: bool,
    /// Lists of the training and of the test images, relative to a folder.
    pub lists: Option<(&'a Path, Option<&'a Path>)>,
    /// Called now and then with the bytes of the source done and the bytes in all.
    pub progress: &'a dyn Fn(u64, u64),
}

impl Default for ImportOptions<'_> {
    fn default() -> Self {
        Self {
            force: false,
            size: None,
            exif: Exif::Apply,
            test_per_class: 0,
            channels: Channels::Rgb,
            unlabelled: false,
            lists: None,
            progress: &|_, _| {},
        }
    }
}

/// What an import did.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct ImportReport {
    /// The packed file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Images packed, both splits.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
    /// Files left out, each with the reason.
    pub skipped: Vec<(String, String)>,
    /// Files that were packed although something is wrong with them, each with what it is.
    pub flawed: Vec<(String, String)>,
    /// What is known of the new dataset.
    pub info: Info,
}

impl Datasets<'_> {
    /// Packs the images under `source`, a folder or a tar, tar.xz, tar.gz or zip of one, into `<root>/<name>.admix`.
    ///
    /// # Errors
    /// The name is taken (without `force`), an entry would leave its folder or is a link, the layout is not one of those
    /// above, a list is malformed, images differ in size (without `size`), more than half of the files cannot be decoded,
    /// they need more memory than there is, or the disk fails.
    /// Nothing is written then.
    pub fn import(&self, source: &Path, name: &str, options: ImportOptions<'_>) -> Result<ImportReport> {
        check_name("--name", name)?;
        if self.is_reserved(name) {
            let wanted = "a name that no built-in dataset without files has";
            return Err(setting("--name", format!("`{name}`"), wanted));
        }
        if let Some((h, w)) = options.size.filter(|size| !fits(*size)) {
            return Err(setting("--size", format!("{h}x{w}"), SIDES));
        }
        let path = packed::path(self.root, name);
        if !options.force && path.exists() {
            return Err(Error::Exists { path });
        }
        let layouts: Vec<&'static dyn Layout> = self.entries().filter_map(|(_, set)| set.layout()).collect();
        let lists = options.lists.map(|(train, test)| lists(source, train, test, &options)).transpose()?;
        let decoded = decode_all(source, lists.as_ref(), &layouts, &options)?;
        let mut flawed: Vec<(String, String)> = decoded
            .iter()
            .filter(|file| !file.flaws.is_empty())
            .map(|file| (file.name(), file.flaws.join(", ")))
            .collect();
        flawed.sort();
        let (unlabelled, held) = (options.unlabelled, options.test_per_class);
        let set = match lists {
            Some(lists) => listed::arrange(source, decoded, lists, held)?,
            None => arrange::arrange(source, decoded, &layouts, unlabelled, held)?,
        };

        // That of the published set, if it has as many channels.
        let channels = options.channels.count();
        let about = self.named(name).map(|set| set.about()).filter(|about| about.shape[0] == channels);
        let (mean, std) = match about {
            Some(about) => (about.mean, about.std),
            None => {
                let Normalisation { mean, std } = photographs(options.channels);
                (mean.to_vec(), std.to_vec())
            }
        };
        let info = Info {
            name: name.into(),
            classes: set.class_names.len(),
            split: TrainSplit::of_classes(set.class_names.len()),
            class_names: set.class_names,
            channels,
            height: set.height,
            width: set.width,
            mean,
            std,
            train: set.train.len(),
            test: set.test.len(),
            unlabelled: 0,
            source: source.file_name().unwrap_or(source.as_os_str()).to_string_lossy().into_owned(),
        };
        let bytes = packed::write(&path, &info, &pictures(&set.train), &pictures(&set.test), options.force)?;
        for (file, why) in &set.skipped {
            tracing::info!(file, why, "left out of the import");
        }
        let images = info.train + info.test;
        Ok(ImportReport { path, bytes, images, classes: info.classes, skipped: set.skipped, flawed, info })
    }
}

const SIDES: &str = "1 to 4096 pixels a side";

/// Whether a picture of this size may be packed.
fn fits((height, width): (i64, i64)) -> bool {
    [height, width].iter().all(|side| (1..=limits::MOST_PACKED_A_SIDE).contains(side))
}

fn pictures(images: &[(u16, Planar)]) -> Vec<packed::Picture<'_>> {
    images.iter().map(|(label, image)| packed::Picture { label: *label, pixels: &image.pixels }).collect()
}

/// The lists of a folder.
fn lists(source: &Path, train: &Path, test: Option<&Path>, options: &ImportOptions<'_>) -> Result<Lists> {
    if options.unlabelled {
        let wanted = "left out where a list names the images: one without labels has lines without labels";
        return Err(setting("--unlabelled", "given", wanted));
    }
    if source.is_file() {
        let wanted = "None: lists are for a folder; unpack the archive";
        return Err(setting("--train-list", train.display(), wanted));
    }
    let lists = Lists::read(&source.join(train), test.map(|test| source.join(test)).as_deref())?;
    warn_of_training(&lists);
    Ok(lists)
}

/// Reads on one thread, decodes on the others.
fn decode_all(
    source: &Path,
    lists: Option<&Lists>,
    layouts: &[&'static dyn Layout],
    options: &ImportOptions<'_>,
) -> Result<Vec<Decoded>> {
    // Two chunks wait while one is decoded.
    let (sender, receiver) = mpsc::sync_channel::<archive::Chunk>(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || archive::read(source, lists, &sender));
        let layouts = if lists.is_some() { &[] } else { layouts };
        let decoded = decode_chunks(receiver, layouts, options);
        // An error of the reader comes first: it names the cause, such as a refused entry.
        match reader.join() {
            Ok(read) => read?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        decoded
    })
}

fn decode_chunks(
    receiver: mpsc::Receiver<archive::Chunk>,
    layouts: &[&'static dyn Layout],
    options: &ImportOptions<'_>,
) -> Result<Vec<Decoded>> {
    let most = limits::most_kept();
    let mut all: Vec<Decoded> = Vec::new();
    let (mut kept, mut flat, budget) = (0, true, Budget::default());
    let mut first: Option<(String, (i64, i64))> = None;
    let is_list = |name: &str| layouts.iter().any(|layout| layout.lists().contains(&name));
    let is_listed = |file: &RawFile| file.parts.last().is_some_and(|name| is_list(name));
    let (wanted, channels, exif) = (options.size, options.channels, options.exif);
    for chunk in receiver {
        let (done, total) = (chunk.done, chunk.total);
        // Until a folder is met: a file above class folders is left out, whatever it is.
        flat &=
            chunk.files.iter().all(|file| file.parts.len() == 1 || is_hidden(&file.parts) || is_empty(file));
        let (any, listed) = (flat || options.unlabelled, options.lists.is_some());
        let is_image = |parts: &[String]| listed || Decoded::is_image(parts, any);
        // Sizes first, from the headers: memory is spent on pictures that fit together only.
        let sized = |file: RawFile| {
            let read = is_image(&file.parts) && !is_listed(&file);
            let size = match &file.bytes {
                Ok(bytes) if read => decode::size_guarded(bytes, exif).ok(),
                _ => None,
            };
            (file, size)
        };
        let files: Vec<(RawFile, Option<(i64, i64)>)> = chunk.files.into_par_iter().map(sized).collect();
        if first.is_none() && wanted.is_none() {
            first = files.iter().find_map(|(file, size)| {
                size.as_ref()?;
                let image = decode::decode(file.bytes.as_ref().ok()?, None, channels, exif).ok()?.image;
                Some((file.parts.join("/"), image.size))
            });
        }
        if let Some((name, (height, width))) = first.as_ref().filter(|(_, size)| !fits(*size)) {
            let got = format!("not given, and `{name}` is {height}x{width}");
            return Err(setting("--size", got, &format!("{SIDES}, such as 224x224")));
        }
        let first_size = wanted.or(first.as_ref().map(|(_, size)| *size));
        kept += files.iter().filter(|(_, size)| size.is_some()).count() as u64
            * first_size.map_or(0, |(height, width)| (channels.count() * height * width) as u64);
        if kept > most {
            // Decoded images are kept in memory.
            let (height, width) = first_size.unwrap_or_default();
            let got = format!("{height}x{width}, more than {} MiB of pixels in all", most >> 20);
            return Err(setting("--size", got, "a size at which the images fit into memory, such as 64x64"));
        }
        let work = |(file, size): (RawFile, Option<(i64, i64)>)| {
            let listed = is_listed(&file);
            let RawFile { parts, bytes } = file;
            let mut file =
                Decoded { parts, image: Err(String::new()), flaws: Vec::new(), class: None, text: None };
            if listed && !file.hidden() {
                file.text = Some(bytes.unwrap_or_default());
                file.image = Err("a list, not an image".into());
                return file;
            }
            // A file above the class folders, or a hidden one, is left out whatever it holds.
            if is_image(&file.parts) {
                let decode = || {
                    let mut read = decode::decode(&bytes?, wanted, channels, exif)?;
                    if first_size != Some(read.image.size) {
                        // Told of below: until then only its size is needed. Within the budget, or threads that wait for
                        // room would each hold one.
                        read.image.pixels = Vec::new();
                    }
                    Ok(read)
                };
                file.image = budget.with(memory(size), decode).map(|decode::Read { image, flaws }| {
                    file.flaws = flaws;
                    image
                });
            }
            file
        };
        let start = all.len();
        // Large pictures one by one and on one thread: an allocator keeps for each thread what its largest picture took.
        let (large, small): (Vec<_>, Vec<_>) =
            files.into_iter().enumerate().partition(|(_, (_, size))| memory(*size) > budget::LARGE);
        let mut decoded: Vec<(usize, Decoded)> =
            small.into_par_iter().map(|(at, file)| (at, work(file))).collect();
        decoded.extend(large.into_iter().map(|(at, file)| (at, work(file))));
        decoded.sort_by_key(|(at, _)| *at);
        all.extend(decoded.into_iter().map(|(_, file)| file));
        for file in &all[start..] {
            let (Ok(image), Some((first, first_size))) = (&file.image, &first) else { continue };
            if *first_size != image.size {
                let (first, first_size) = (first.clone(), *first_size);
                return Err(Error::Sizes { first, first_size, second: file.name(), second_size: image.size });
            }
        }
        (options.progress)(done, total);
    }
    Ok(all)
}

/// Bytes that decoding takes: 16-bit pixels with transparency, and RGB beside them.
fn memory(size: Option<(i64, i64)>) -> u64 {
    size.map_or(0, |(height, width)| 11 * (height * width) as u64)
}

/// Whether it stands for a folder without a file.
fn is_empty(file: &RawFile) -> bool {
    file.parts.last().is_some_and(|name| name == EMPTY)
}
