//! An import: read, decode, arrange, pack.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rayon::prelude::*;
use serde::Serialize;

use super::archive::{self, RawFile};
use super::arrange;
use super::budget::Budget;
use super::decode::{self, Exif, Rgb};
use super::decoded::Decoded;
use super::layout::Layout;
use crate::error::{check_name, setting};
use crate::info::IMAGENET;
use crate::lookup::Datasets;
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
    /// Called now and then with the bytes of the source done and the bytes in all.
    pub progress: &'a dyn Fn(u64, u64),
}

impl Default for ImportOptions<'_> {
    fn default() -> Self {
        Self { force: false, size: None, exif: Exif::Apply, test_per_class: 0, progress: &|_, _| {} }
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
    /// above, images differ in size (without `size`), more than half of the files cannot be decoded, or the disk fails.
    /// Nothing is written then.
    pub fn import(&self, source: &Path, name: &str, options: ImportOptions<'_>) -> Result<ImportReport> {
        check_name("--name", name)?;
        if self.is_reserved(name) {
            let wanted = "a name that no built-in dataset without files has";
            return Err(setting("--name", format!("`{name}`"), wanted));
        }
        if let Some((h, w)) = options.size.filter(|(h, w)| !(1..=4096).contains(h) || !(1..=4096).contains(w))
        {
            return Err(setting("--size", format!("{h}x{w}"), "1 to 4096 pixels a side"));
        }
        let path = packed::path(self.root, name);
        if !options.force && path.exists() {
            return Err(Error::Exists { path });
        }
        let layouts: Vec<&'static dyn Layout> = self.entries().filter_map(|(_, set)| set.layout()).collect();
        let decoded = decode_all(source, &layouts, &options)?;
        let mut flawed: Vec<(String, String)> = decoded
            .iter()
            .filter(|file| !file.flaws.is_empty())
            .map(|file| (file.name(), file.flaws.join(", ")))
            .collect();
        flawed.sort();
        let set = arrange::arrange(source, decoded, &layouts, options.test_per_class)?;

        // That of the published set, if it is one of colours.
        let about = self.named(name).map(|set| set.about()).filter(|about| about.shape[0] == 3);
        let (mean, std) = match about {
            Some(about) => (about.mean, about.std),
            None => (IMAGENET.mean.to_vec(), IMAGENET.std.to_vec()),
        };
        let info = Info {
            name: name.into(),
            classes: set.class_names.len(),
            class_names: set.class_names,
            channels: 3,
            height: set.height,
            width: set.width,
            mean,
            std,
            train: set.train.len(),
            test: set.test.len(),
            unlabelled: 0,
            split: TrainSplit::Train,
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

fn pictures(images: &[(u16, Rgb)]) -> Vec<packed::Picture<'_>> {
    images.iter().map(|(label, image)| packed::Picture { label: *label, pixels: &image.pixels }).collect()
}

/// Reads on one thread, decodes on the others.
fn decode_all(
    source: &Path,
    layouts: &[&'static dyn Layout],
    options: &ImportOptions<'_>,
) -> Result<Vec<Decoded>> {
    // Two chunks wait while one is decoded.
    let (sender, receiver) = mpsc::sync_channel::<archive::Chunk>(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || archive::read(source, &sender));
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
    /// Decoded images are kept in memory, and a set this large would not fit on a device either.
    const MOST: u64 = 64 << 30;
    let mut all: Vec<Decoded> = Vec::new();
    let (mut kept, budget) = (0, Budget::default());
    let mut first: Option<(String, (i64, i64))> = None;
    let is_list = |name: &str| layouts.iter().any(|layout| layout.lists().contains(&name));
    let is_listed = |file: &RawFile| file.parts.last().is_some_and(|name| is_list(name));
    let (wanted, exif) = (options.size, options.exif);
    for chunk in receiver {
        let (done, total) = (chunk.done, chunk.total);
        // Sizes first, from the headers: memory is spent on pictures that fit together only.
        let sized = |file: RawFile| {
            let read = Decoded::is_image(&file.parts) && !is_listed(&file);
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
                let image = decode::decode(file.bytes.as_ref().ok()?, None, exif).ok()?.image;
                Some((file.parts.join("/"), image.size))
            });
        }
        let first_size = wanted.or(first.as_ref().map(|(_, size)| *size));
        kept += files.iter().filter(|(_, size)| size.is_some()).count() as u64
            * first_size.map_or(0, |(height, width)| 3 * (height * width) as u64);
        if kept > MOST {
            return Err(setting(
                "--size",
                "more than 64 GiB of pixels in all",
                "a size at which the images fit into memory",
            ));
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
            if Decoded::is_image(&file.parts) {
                // 16-bit pixels with transparency, and RGB beside them.
                let memory = size.map_or(0, |(height, width)| 11 * (height * width) as u64);
                let read =
                    budget.with(memory, || bytes.and_then(|bytes| decode::decode(&bytes, wanted, exif)));
                file.image = read.map(|decode::Read { mut image, flaws }| {
                    file.flaws = flaws;
                    if first_size != Some(image.size) {
                        // Told of below: until then only its size is needed.
                        image.pixels = Vec::new();
                    }
                    image
                });
            }
            file
        };
        let start = all.len();
        all.par_extend(files.into_par_iter().map(work));
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
