//! Pictures that belong to no dataset, made into images as those of one are for measuring.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use admix_torch::{Device, Kind, Tensor, upload_aside};
use rayon::prelude::*;

use super::files::{contents, rows_above, top};
use super::fit::Fit;
use super::listed::{Listed, refused};
use super::picture::{Cropper, Picture};
use crate::error::At;
use crate::import::channels::grey;
use crate::import::{Channels, Exif, decode};
use crate::list;
use crate::source::read_file;
use crate::tensors::per_channel;
use crate::{Error, Result};

/// Makes pictures into images for a network, as those of its dataset are made for measuring.
#[derive(Debug)]
pub struct Pictures {
    how: How,
    /// `[1, C, 1, 1]`: pixel * scale + shift is the normalised value.
    scale: Tensor,
    shift: Tensor,
    device: Device,
}

/// What threads know.
#[derive(Debug)]
struct How {
    fit: Fit,
    channels: Channels,
    exif: Exif,
}

/// The images of those pictures that could be read, and for each picture why it could not.
#[derive(Debug)]
pub struct ReadPictures {
    /// `[N, C, H, W]`, normalised, on the device.
    pub images: Tensor,
    /// One for each path, in order: `None` where it was read.
    pub faults: Vec<Option<String>>,
}

impl Pictures {
    /// `mean` and `std` of each channel, pixels in [0, 1], say how many channels there are.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn new(fit: Fit, exif: Exif, (mean, std): (&[f32], &[f32]), device: Device) -> Result<Self> {
        let (scale, shift) = per_channel(mean, std, device)?;
        let channels = if mean.len() == 1 { Channels::Grey } else { Channels::Rgb };
        Ok(Self { how: How { fit, channels, exif }, scale, shift, device })
    }

    /// Reads pictures, on as many threads as the machine has cores. One that cannot be read costs no other.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn read(&self, paths: &[PathBuf]) -> Result<ReadPictures> {
        let how = &self.how;
        let made: Vec<std::result::Result<Vec<u8>, String>> =
            paths.par_iter().map(|path| how.guarded(path)).collect();
        let (mut bytes, mut faults) = (Vec::new(), Vec::new());
        for one in made {
            faults.push(one.map(|one| bytes.extend(one)).err());
        }
        let (height, width) = how.fit.size();
        let read = faults.iter().filter(|fault| fault.is_none()).count() as i64;
        let size = [read, how.channels.count(), height, width];
        let bytes = Tensor::f_from_data_size(&bytes, &size, Kind::Uint8)?;
        let mut images = upload_aside(&bytes, self.device)?.f_to_kind(Kind::Float)?;
        let _ = images.f_mul_(&self.scale)?;
        let _ = images.f_add_(&self.shift)?;
        Ok(ReadPictures { images, faults })
    }
}

impl How {
    /// A decoder that panics costs its picture alone.
    fn guarded(&self, path: &Path) -> std::result::Result<Vec<u8>, String> {
        catch_unwind(AssertUnwindSafe(|| self.one(path)))
            .unwrap_or_else(|_| Err(format!("{}: the decoder broke down on it", path.display())))
    }

    /// The bytes `[C, H, W]` of one picture.
    fn one(&self, path: &Path) -> std::result::Result<Vec<u8>, String> {
        let broken = |why: String| format!("{}: {why}", path.display());
        let file = contents(path).map_err(|fault| fault.to_string())?;
        match self.fit {
            Fit::Whole { height, width } => {
                let read = decode::decode(&file, Some((height, width)), self.channels, self.exif);
                Ok(read.map_err(broken)?.image.pixels)
            }
            Fit::Centre { shorter, size, filter, strip } => {
                // Before its pixels are allocated.
                decode::size(&file, self.exif).map_err(broken)?;
                let image = decode::rgb(&file, self.exif).map_err(broken)?.image;
                let rows = rows_above(image.height().into(), strip).map_err(broken)?;
                let image = top(image, rows as u32);
                let whole = (i64::from(image.height()), i64::from(image.width()));
                let picture = match self.channels {
                    Channels::Rgb => Picture::rgb(image),
                    Channels::Grey => Picture::planes(1, whole, grey(&image)),
                };
                let mut cropper = Cropper::default();
                Ok(cropper.centre(&picture, shorter, size, filter).map_err(broken)?.to_vec())
            }
        }
    }
}

/// The pictures that a path stands for: those below a folder, sorted; those that a list (`.txt`, a path and perhaps a label
/// on each line) names, in its order; else the path itself.
///
/// # Errors
/// There is nothing at the path, a folder holds no picture, or a list is malformed.
pub fn pictures_at(path: &Path) -> Result<Vec<PathBuf>> {
    let meta = std::fs::metadata(path).at("read", path)?;
    if meta.is_dir() {
        let found = Listed::pictures(path.to_owned())?;
        let files: Vec<PathBuf> =
            found.classes.iter().flat_map(|(_, files)| files).map(|file| path.join(file)).collect();
        return match files.is_empty() {
            true => Err(refused(path, "no picture is in it", decode::FORMATS_WANTED)),
            false => Ok(files),
        };
    }
    if !path.extension().is_some_and(|end| end.eq_ignore_ascii_case("txt")) {
        return Ok(vec![path.to_owned()]);
    }
    let paths = list::paths(&read_file(path)?)
        .map_err(|error: crate::Malformed| -> Error { error.within(path, "mend the list") })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(paths.into_iter().map(|file| folder.join(file)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{Rgb, RgbImage};

    use super::*;
    use crate::augment::Interpolation;

    fn pictures(fit: Fit, channels: usize) -> Pictures {
        let (mean, std) = (vec![0.5; channels], vec![0.25; channels]);
        Pictures::new(fit, Exif::Apply, (&mean, &std), Device::Cpu).expect("pictures")
    }

    #[test]
    fn a_picture_that_cannot_be_read_costs_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        RgbImage::from_pixel(4, 4, Rgb([255, 0, 255])).save(path("a.png")).expect("saved");
        fs::write(path("b.png"), b"no picture").expect("written");
        RgbImage::from_pixel(9, 5, Rgb([0, 255, 0])).save(path("c.png")).expect("saved");
        let paths = pictures_at(folder.path()).expect("paths");
        assert_eq!(paths, [path("a.png"), path("b.png"), path("c.png")]);
        let both = [
            Fit::Whole { height: 4, width: 4 },
            Fit::Centre { shorter: 4, size: 4, filter: Interpolation::Bilinear, strip: 0 },
        ];
        for fit in both {
            let read = pictures(fit, 3).read(&[paths.clone(), vec![path("d.png")]].concat()).expect("images");
            let faults: Vec<bool> = read.faults.iter().map(Option::is_some).collect();
            assert_eq!(faults, [false, true, false, true]);
            assert!(read.faults[1].as_deref().is_some_and(|why| why.contains("b.png")), "{read:?}");
            assert_eq!(read.images.size(), [2, 3, 4, 4]);
            let values = Vec::<f32>::try_from(
                read.images.mean_dim([2i64, 3].as_slice(), false, Kind::Float).flatten(0, 1),
            )
            .expect("values");
            assert_eq!(values, [2.0, -2.0, 2.0, -2.0, 2.0, -2.0]);
            assert_eq!(pictures(fit, 1).read(&paths[..1]).expect("images").images.size(), [1, 1, 4, 4]);
        }
        assert_eq!(pictures(both[0], 3).read(&[]).expect("nothing").images.size(), [0, 3, 4, 4]);
    }

    #[test]
    fn rows_that_were_left_out_of_the_dataset_are_left_out_of_a_picture() {
        let folder = tempfile::tempdir().expect("a folder");
        let picture =
            RgbImage::from_fn(4, 6, |_, y| if y < 4 { Rgb([255, 255, 255]) } else { Rgb([0, 0, 0]) });
        picture.save(folder.path().join("a.png")).expect("saved");
        let paths = pictures_at(folder.path()).expect("paths");
        let with = |strip| {
            let fit = Fit::Centre { shorter: 4, size: 4, filter: Interpolation::Bilinear, strip };
            pictures(fit, 3).read(&paths).expect("images")
        };
        let least = |strip| f64::try_from(with(strip).images.min()).expect("a number");
        assert_eq!((least(2), least(0)), (2.0, -2.0));
        assert!(with(6).faults[0].as_deref().is_some_and(|why| why.contains("it has 6 rows")));
    }

    #[test]
    fn a_list_names_pictures_beside_it_and_a_folder_without_any_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("list.txt"), "b c.png 1\na.png 0\n").expect("written");
        assert_eq!(pictures_at(&path("list.txt")).expect("paths"), [path("b c.png"), path("a.png")]);
        let words = |at: &Path| pictures_at(at).expect_err("refused").to_string();
        assert!(words(folder.path()).contains("no picture is in it"));
        assert!(words(&path("none.png")).contains("cannot read"));
    }
}
