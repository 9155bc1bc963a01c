//! Fashion-MNIST from its IDX files, plain or gzipped, in `<root>/fashion-mnist/`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::fashion_mini::{self, CLASSES};
use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use crate::Result;
use crate::error::{At, Malformed};
use crate::source::{Contents, Images, Part, Source, read_file};

/// Images and labels of the training split, then of the test split.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Images of an IDX file.
#[derive(Debug, PartialEq, Eq)]
pub struct IdxImages<'a> {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `[n, H, W]`.
    pub pixels: &'a [u8],
}

/// Parses an IDX file of images: 3 dimensions of unsigned bytes.
///
/// # Errors
/// Another magic number, or counts that do not fit the length.
pub fn parse_images(bytes: &[u8]) -> Result<IdxImages<'_>, Malformed> {
    let ([n, height, width], pixels) = header::<3>(bytes)?;
    if height == 0 || width == 0 || height > 4096 || width > 4096 {
        return Err(Malformed::new(format!("images of {height}x{width} pixels"), "1 to 4096 pixels a side"));
    }
    expect_len(pixels, n as u128 * height as u128 * width as u128)?;
    Ok(IdxImages { height: height as usize, width: width as usize, pixels })
}

/// Parses an IDX file of labels: 1 dimension of unsigned bytes, each below `classes`.
///
/// # Errors
/// Another magic number, a count that does not fit the length, a label out of range.
pub fn parse_labels(bytes: &[u8], classes: usize) -> Result<&[u8], Malformed> {
    let ([n], labels) = header::<1>(bytes)?;
    expect_len(labels, u128::from(n))?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        Some(i) => {
            Err(Malformed::new(format!("label {i} is {}", labels[i]), format!("labels below {classes}")))
        }
        None => Ok(labels),
    }
}

fn header<const DIMS: usize>(bytes: &[u8]) -> Result<([u32; DIMS], &[u8]), Malformed> {
    let magic = [0, 0, 8, DIMS as u8];
    if bytes.len() < 4 + 4 * DIMS || bytes[..4] != magic {
        let problem = match bytes.get(..4) {
            Some(found) if bytes.len() >= 4 + 4 * DIMS => format!("the file begins with {found:02x?}"),
            _ => format!("the file has {} bytes", bytes.len()),
        };
        return Err(Malformed::new(
            problem,
            format!("an IDX file, which begins with {magic:02x?} and {DIMS} sizes"),
        ));
    }
    let mut sizes = [0; DIMS];
    for (size, field) in sizes.iter_mut().zip(bytes[4..].chunks_exact(4)) {
        *size = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
    }
    Ok((sizes, &bytes[4 + 4 * DIMS..]))
}

fn expect_len(body: &[u8], wanted: u128) -> Result<(), Malformed> {
    if body.len() as u128 == wanted {
        return Ok(());
    }
    let problem = format!("{} bytes follow the header", body.len());
    Err(Malformed::new(problem, format!("{wanted} bytes, as the header says")))
}

fn folder(root: &Path) -> PathBuf {
    root.join("fashion-mnist")
}

/// `name` or `name.gz`, whichever is there.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

/// The contents of a file, unpacked if it is gzipped; tells by content.
fn read(path: &Path) -> Result<Vec<u8>> {
    /// 60,000 images of 28x28 are 47 MB.
    const MOST: u64 = 1 << 30;
    let mut magic = [0; 2];
    let mut file = File::open(path).at("open", path)?;
    let gzipped = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    if !gzipped {
        return read_file(path);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).at("open", path)?;
    MultiGzDecoder::new(std::io::BufReader::new(file))
        .take(MOST)
        .read_to_end(&mut bytes)
        .at("unpack", path)?;
    Ok(bytes)
}

const REMEDY: &str = "download the file again";

crate::dataset! {
    /// Fashion-MNIST has no settings.
    pub struct FashionMnist {}, "fashion-mnist",
    "Fashion-MNIST, 60,000 + 10,000 images, 10 classes, 28x28 grey; from its IDX files, plain or .gz",
    source: "Xiao et al., arXiv:1708.07747"
}

impl DatasetSource for FashionMnist {
    fn about(&self) -> About {
        fashion_mini::about(60_000, 10_000)
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        let folder = folder(root);
        let absent: Vec<&str> = FILES.into_iter().filter(|name| find(&folder, name).is_none()).collect();
        let expected = format!("{} (each plain or with .gz)", absent.join(", "));
        (!absent.is_empty()).then_some(Absent { folder, expected })
    }

    fn how_to_get(&self) -> &'static str {
        "`admix data get fashion-mnist`; or download the four `*-ubyte.gz` files from the data set's home page (Zalando's \
         fashion-mnist on GitHub) or install Debian's package `dataset-fashion-mnist`, and put the files there, unpacked \
         or not; or train on the embedded subset, `fashion-mini`"
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            // The sums of its repository.
            files: &[
                ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ],
            then: Then::Keep("fashion-mnist"),
        })
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        Ok(load(wanted.root, self.about())?.into())
    }
}

fn load(root: &Path, about: About) -> Result<Source> {
    let folder = folder(root);
    let split = |images: &str, labels: &str| -> Result<(Images, i64, i64)> {
        let [images, labels] =
            [images, labels].map(|name| find(&folder, name).unwrap_or_else(|| folder.join(name)));
        let (image_bytes, label_bytes) = (read(&images)?, read(&labels)?);
        let IdxImages { height, width, pixels } =
            parse_images(&image_bytes).map_err(|error| error.within(&images, REMEDY))?;
        let found =
            parse_labels(&label_bytes, CLASSES.len()).map_err(|error| error.within(&labels, REMEDY))?;
        let n = pixels.len() / (height * width);
        if found.len() != n || n == 0 {
            let problem = format!("{} labels for {n} images", found.len());
            return Err(
                Malformed::new(problem, "a label for each image, and at least one").within(&labels, REMEDY)
            );
        }
        Ok((
            Images { labels: found.iter().map(|&label| label.into()).collect(), pixels: pixels.to_vec() },
            height as i64,
            width as i64,
        ))
    };
    let (train, height, width) = split(FILES[0], FILES[1])?;
    let (test, test_height, test_width) = split(FILES[2], FILES[3])?;
    if (height, width) != (test_height, test_width) {
        let problem = format!("test images of {test_height}x{test_width} pixels");
        return Err(
            Malformed::new(problem, format!("{height}x{width}, as in training")).within(&folder, REMEDY)
        );
    }
    let found = (train.labels.len(), test.labels.len());
    let about = About { shape: [1, height, width], ..about };
    Ok(Source {
        train: Part::new(&train, 1, height, width)?,
        test: Part::new(&test, 1, height, width)?,
        unlabelled: None,
        info: about.info("fashion-mnist", found, format!("IDX files in {}", folder.display())),
    })
}
