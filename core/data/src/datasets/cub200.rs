//! CUB-200-2011 from its own folder, `<root>/CUB_200_2011/`: four tables that are joined by the number of an image.
//!
//! Source  Wah, Branson, Welinder, Perona, Belongie, CNS-TR-2011-001. `images.txt` has the path of each image below `images/`,
//! `image_class_labels.txt` its class, `train_test_split.txt` 1 for a training image and 0 for a test image; `classes.txt` has
//! the names of the classes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use super::table::{Table, below, each_once, whole};
use crate::Result;
use crate::info::IMAGENET;
use crate::source::{Contents, ImageFiles};

const FOLDER: &str = "CUB_200_2011";
const PATHS: &str = "images.txt";
const LABELS: &str = "image_class_labels.txt";
const SPLIT: &str = "train_test_split.txt";
const CLASSES: &str = "classes.txt";
const IMAGES: &str = "images";
const REMEDY: &str = "unpack the archive again, or get it again with `admix data get cub200`";

crate::dataset! {
    /// CUB-200-2011 has no settings.
    pub struct Cub200 {}, "cub200",
    "CUB-200-2011, photographs of birds, 5,994 + 5,794 images, 200 species; read from its own folder",
    source: "Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001"
}

fn folder(root: &Path) -> PathBuf {
    root.join(FOLDER)
}

impl DatasetSource for Cub200 {
    fn about(&self) -> About {
        About {
            classes: 200,
            class_names: Vec::new(),
            shape: [3, 224, 224],
            mean: IMAGENET.mean.to_vec(),
            std: IMAGENET.std.to_vec(),
            train: 5_994,
            test: 5_794,
            unlabelled: 0,
            folds: 0,
        }
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        Absent::of(folder(root), &[PATHS, LABELS, SPLIT, CLASSES, IMAGES])
    }

    fn how_to_get(&self) -> &'static str {
        "`admix data get cub200`; or download `CUB_200_2011.tgz` from the data set's home page and unpack it into the data folder"
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "https://data.caltech.edu/records/65de6-vp158/files/",
            // What Avalanche checks.
            files: &[("CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78")],
            then: Then::Unpack(FOLDER),
        })
    }

    fn is_streamed(&self) -> bool {
        true
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        let folder = folder(wanted.root);
        let table = |name: &str| Table::read(&folder, name, REMEDY);
        let (classes, paths, labels, split) = (table(CLASSES)?, table(PATHS)?, table(LABELS)?, table(SPLIT)?);
        let numbers: HashMap<&str, usize> =
            classes.lines.iter().enumerate().map(|(label, line)| (line.id.as_str(), label)).collect();
        let (label_of, split_of) = (labels.by_id(), split.by_id());
        let class_names: Vec<String> = classes.lines.iter().map(|line| line.value.clone()).collect();
        each_once(&class_names).map_err(|error| error.within(&folder.join(CLASSES), REMEDY))?;
        let mut pictures = ImageFiles { folder: folder.join(IMAGES), class_names, ..ImageFiles::default() };
        for image in &paths.lines {
            let missing = |list: &str| {
                let problem = format!("is about image {}, which {list} lacks", image.id.escape_debug());
                paths.wrong(image.number, &problem, "images that all tables know")
            };
            let given = label_of.get(image.id.as_str()).ok_or_else(|| missing(LABELS))?;
            let class = numbers.get(given.value.as_str()).ok_or_else(|| {
                let problem =
                    format!("gives the class `{}`, which {CLASSES} lacks", given.value.escape_debug());
                labels.wrong(given.number, &problem, "a class of that table")
            })?;
            let side = split_of.get(image.id.as_str()).ok_or_else(|| missing(SPLIT))?;
            let files = match side.value.as_str() {
                "1" => &mut pictures.train,
                "0" => &mut pictures.test,
                other => {
                    let problem = format!("gives `{}`", other.escape_debug());
                    return Err(split.wrong(side.number, &problem, "1 for training, 0 for testing"));
                }
            };
            let path = below(&image.value)
                .map_err(|problem| paths.wrong(image.number, &problem, "a path such as class/image.jpg"))?;
            files.push((path, *class as u16));
        }
        let known = paths.by_id();
        for table in [&labels, &split] {
            if let Some(line) = table.lines.iter().find(|line| !known.contains_key(line.id.as_str())) {
                let problem = format!("is about image {}, which {PATHS} lacks", line.id.escape_debug());
                return Err(table.wrong(line.number, &problem, "images that all tables know"));
            }
        }
        Ok(whole(pictures, &folder.join(SPLIT), REMEDY)?.into())
    }
}
