//! FGVC-Aircraft, release 2013b, from its own folder, `<root>/fgvc-aircraft-2013b/`: photographs of aircraft, labelled by variant.
//!
//! Source  Maji, Rahtu, Kannala, Blaschko, Vedaldi, arXiv:1306.5151. In `data/`: `variants.txt` names the classes in their
//! order; `images_variant_trainval.txt` and `images_variant_test.txt` have an image and its variant on each line, such as
//! `0034309 Boeing 717`; `images/0034309.jpg`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use super::table::{Table, below, each_once, texts, whole};
use crate::Result;
use crate::error::Malformed;
use crate::info::IMAGENET;
use crate::source::{Contents, ImageFiles, read_file};

const FOLDER: &str = "fgvc-aircraft-2013b";
const VARIANTS: &str = "variants.txt";
const TRAIN: &str = "images_variant_trainval.txt";
const TEST: &str = "images_variant_test.txt";
const IMAGES: &str = "images";
const REMEDY: &str = "unpack the archive again, or get it again with `admix data get aircraft`";
/// Rows of the strip that names the photographer.
const STRIP: u32 = 20;

/// What becomes of the strip of 20 rows at the bottom of each photograph that names the photographer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreditStrip {
    /// It is a part of the image, as in the AMix authors' code.
    #[default]
    Keep,
    /// It is cut off, as the notes of the data set ask.
    Remove,
}

admix_api::settings! {
    /// Recipe: `data: (name: "aircraft", aircraft: (credit_strip: Remove))`.
    pub struct Aircraft {
        /// What becomes of the strip of 20 rows at the bottom of each photograph that names the photographer.
        pub credit_strip: CreditStrip = CreditStrip::Keep,
    }
}

crate::dataset! {
    Aircraft, "aircraft",
    "FGVC-Aircraft 2013b, photographs of aircraft, 6,667 + 3,333 images, 100 variants; read from its own folder",
    source: "Maji et al., Fine-Grained Visual Classification of Aircraft, arXiv:1306.5151"
}

/// The folder of lists and images.
fn folder(root: &Path) -> PathBuf {
    root.join(FOLDER).join("data")
}

impl DatasetSource for Aircraft {
    fn about(&self) -> About {
        About {
            classes: 100,
            class_names: Vec::new(),
            shape: [3, 224, 224],
            mean: IMAGENET.mean.to_vec(),
            std: IMAGENET.std.to_vec(),
            train: 6_667,
            test: 3_333,
            unlabelled: 0,
            folds: 0,
        }
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        Absent::of(folder(root), &[VARIANTS, TRAIN, TEST, IMAGES])
    }

    fn how_to_get(&self) -> &'static str {
        "`admix data get aircraft`; or download `fgvc-aircraft-2013b.tar.gz` from the data set's home page and unpack it into the \
         data folder"
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/",
            // What torchvision for R checks.
            files: &[("fgvc-aircraft-2013b.tar.gz", "d4acdd33327262359767eeaa97a4f732")],
            then: Then::Unpack(FOLDER),
        })
    }

    fn is_streamed(&self) -> bool {
        true
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        let folder = folder(wanted.root);
        let path = folder.join(VARIANTS);
        let within = |error: Malformed| error.within(&path, REMEDY);
        let class_names: Vec<String> =
            texts(&read_file(&path)?).map_err(within)?.into_iter().map(|(_, name)| name).collect();
        each_once(&class_names).map_err(within)?;
        let labels: HashMap<&str, usize> =
            class_names.iter().enumerate().map(|(label, name)| (name.as_str(), label)).collect();
        let split = |name: &str| -> Result<Vec<(String, u16)>> {
            let table = Table::read(&folder, name, REMEDY)?;
            let image = |line: &super::table::Line| match labels.get(line.value.as_str()) {
                Some(label) => {
                    let path = below(&format!("{}.jpg", line.id))
                        .map_err(|problem| table.wrong(line.number, &problem, "an image such as 0034309"))?;
                    Ok((path, *label as u16))
                }
                None => {
                    let problem =
                        format!("gives the variant `{}`, which {VARIANTS} lacks", line.value.escape_debug());
                    Err(table.wrong(line.number, &problem, "a variant of that list"))
                }
            };
            table.lines.iter().map(image).collect()
        };
        let (train, test) = (split(TRAIN)?, split(TEST)?);
        let strip = match self.credit_strip {
            CreditStrip::Keep => 0,
            CreditStrip::Remove => STRIP,
        };
        let pictures =
            ImageFiles { folder: folder.join(IMAGES), class_names: class_names.clone(), train, test, strip };
        Ok(whole(pictures, &path, REMEDY)?.into())
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}
