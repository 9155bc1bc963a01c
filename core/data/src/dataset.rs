//! A dataset on a device, and batches of it.

use admix_api::{Draws, Streams};
use admix_torch::{Device, Kind, Tensor};

use crate::augment::{Augmentation, Gather};
use crate::config::{DataConfig, setting};
use crate::sources::{self, Part, Source};
use crate::{Error, Info, Result, Split};

/// A dataset, resident on a device as bytes.
#[derive(Debug)]
pub struct Dataset {
    info: Info,
    train: Resident,
    test: Resident,
    flip: bool,
    border: i64,
    gather: Gather,
    /// `[1, C, 1, 1]`: pixel * scale + shift is the normalised value.
    scale: Tensor,
    shift: Tensor,
    device: Device,
}

/// One split on the device.
#[derive(Debug)]
struct Resident {
    /// `[n, C, H, W]` bytes.
    pixels: Tensor,
    /// `[n]` i64.
    labels: Tensor,
    n: usize,
}

impl Resident {
    fn new(part: &Part, device: Device) -> Result<Self> {
        let pixels = part.pixels.f_to_device(device)?;
        let labels = Tensor::f_from_slice(&part.labels)?.f_to_device(device)?;
        Ok(Self { pixels, labels, n: part.labels.len() })
    }
}

/// Images ready for a network.
#[derive(Debug)]
pub struct Batch {
    /// `[N, C, H, W]` f32, normalised.
    pub images: Tensor,
    /// `[N]` i64.
    pub labels: Tensor,
    /// `[N]` i64: the images' positions in their split.
    pub index: Tensor,
}

impl Dataset {
    /// Reads the dataset and moves it to the device. `streams` is what the toy set is generated from.
    ///
    /// # Errors
    /// A setting out of range, a dataset that is unknown, missing or damaged, or a device without room for it.
    pub fn open(config: &DataConfig, device: Device, streams: Streams) -> Result<Self> {
        config.validate()?;
        let Source { mut info, mut train, test } = sources::open(config, streams)?;
        if let Some(most) = config.per_class {
            train = train.select(&first_of_each_class(&train.labels, &info, most))?;
            info.train = train.labels.len();
        }
        for (field, given, own) in
            [("data.mean", &config.mean, &mut info.mean), ("data.std", &config.std, &mut info.std)]
        {
            let Some(given) = given else { continue };
            if given.len() != own.len() {
                let wanted = format!("{}, one per channel of `{}`", own.len(), info.name);
                return Err(setting(field, format!("{} numbers", given.len()), &wanted));
            }
            *own = given.iter().map(|&v| v as f32).collect();
        }
        let border = config.crop.unwrap_or(0);
        if border >= info.height.min(info.width) {
            let wanted = format!(
                "less than the images' side ({}x{}): the border reflects them",
                info.height, info.width
            );
            return Err(setting("data.crop", border, &wanted));
        }
        let (scale, shift) = normalisation(&info, device)?;
        tracing::info!(
            name = info.name,
            source = info.source,
            train = info.train,
            test = info.test,
            "dataset opened"
        );
        Ok(Self {
            train: Resident::new(&train, device)?,
            test: Resident::new(&test, device)?,
            flip: config.flip,
            border,
            gather: Gather::new(&info, border, device)?,
            scale,
            shift,
            device,
            info,
        })
    }

    /// What is known of it; `train` counts the images kept.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Number of images of a split.
    pub fn len(&self, split: Split) -> usize {
        self.resident(split).n
    }

    /// True if a split has no image.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Labels of a split, `[n]` i64 on the device.
    pub fn labels(&self, split: Split) -> &Tensor {
        &self.resident(split).labels
    }

    fn resident(&self, split: Split) -> &Resident {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// The order of one epoch, `[n]` i64 on the device: one copy per epoch.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn order(&self, draws: &mut Draws) -> Result<Tensor> {
        upload(&draws.permutation(self.train.n), self.device)
    }

    /// Draws what happens to each of `n` training images.
    pub fn augmentation(&self, n: usize, draws: &mut Draws) -> Augmentation {
        Augmentation::draw(n, self.flip, self.border, draws)
    }

    /// Training images `index` (`[N]` i64 on the device, each below `len(Split::Train)`), cropped, flipped, normalised.
    ///
    /// # Errors
    /// `index` and `augmentation` differ in size, or an offset lies outside the border.
    pub fn train_batch(&self, index: &Tensor, augmentation: &Augmentation) -> Result<Batch> {
        let n = augmentation.len();
        if index.size() != [n as i64] {
            let got = format!("shape {:?}", index.size());
            return Err(Error::Shape { what: "index", got, wanted: format!("[{n}], as the augmentation") });
        }
        let pixels = self.gather.augmented(&self.train.pixels, index, augmentation)?;
        let labels = self.train.labels.f_index_select(0, index)?;
        Ok(Batch { images: self.normalised(&pixels)?, labels, index: index.shallow_clone() })
    }

    /// Images `start..start + n` of a split as they are, normalised.
    ///
    /// # Errors
    /// The range reaches beyond the split.
    pub fn clean_batch(&self, split: Split, start: usize, n: usize) -> Result<Batch> {
        let part = self.resident(split);
        let Some(end) = start.checked_add(n).filter(|end| *end <= part.n) else {
            let got = format!("start {start} and length {n}");
            return Err(Error::Shape {
                what: "a clean batch",
                got,
                wanted: format!("a range within 0..{}", part.n),
            });
        };
        let (start, len) = (start as i64, n as i64);
        Ok(Batch {
            images: self.normalised(&part.pixels.f_narrow(0, start, len)?)?,
            labels: part.labels.f_narrow(0, start, len)?,
            index: Tensor::f_arange_start(start, end as i64, (Kind::Int64, self.device))?,
        })
    }

    /// Images as bytes `[n, C, H, W]`, for pictures.
    ///
    /// # Errors
    /// A position outside the split.
    pub fn u8_images(&self, split: Split, indices: &[i64]) -> Result<Tensor> {
        let part = self.resident(split);
        if let Some(i) = indices.iter().find(|i| !(0..part.n as i64).contains(i)) {
            let wanted = format!("a position within 0..{}", part.n);
            return Err(Error::Shape { what: "an image", got: format!("position {i}"), wanted });
        }
        Ok(part.pixels.f_index_select(0, &upload(indices, self.device)?)?)
    }

    /// `(pixel / 255 - mean) / std`, as a multiplication and an addition in place.
    fn normalised(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut images = pixels.f_to_kind(Kind::Float)?;
        let _ = images.f_mul_(&self.scale)?;
        let _ = images.f_add_(&self.shift)?;
        Ok(images)
    }
}

/// Positions of the first `most` images of each class, ascending.
fn first_of_each_class(labels: &[i64], info: &Info, most: usize) -> Vec<i64> {
    let mut counts = vec![0; info.classes];
    let mut keep = Vec::new();
    for (i, &label) in labels.iter().enumerate() {
        let count = &mut counts[label as usize];
        *count += 1;
        if *count <= most {
            keep.push(i as i64);
        }
    }
    if let Some(class) = counts.iter().position(|&count| count < most) {
        let name = &info.class_names[class];
        tracing::warn!(
            class = name,
            images = counts[class],
            per_class = most,
            "a class has fewer images than asked for"
        );
    }
    keep
}

/// Scale and shift of each channel, `[1, C, 1, 1]`.
fn normalisation(info: &Info, device: Device) -> Result<(Tensor, Tensor)> {
    let channels = || info.mean.iter().zip(&info.std).map(|(&mean, &std)| (f64::from(mean), f64::from(std)));
    let scale: Vec<f32> = channels().map(|(_, std)| (1.0 / (255.0 * std)) as f32).collect();
    let shift: Vec<f32> = channels().map(|(mean, std)| (-mean / std) as f32).collect();
    let tensor = |values: &[f32]| -> Result<Tensor> {
        Ok(Tensor::f_from_slice(values)?.f_view([1, info.channels, 1, 1])?.f_to_device(device)?)
    };
    Ok((tensor(&scale)?, tensor(&shift)?))
}

/// Host numbers on the device, without waiting for it.
pub(crate) fn upload(values: &[i64], device: Device) -> Result<Tensor> {
    let values = Tensor::f_from_slice(values)?;
    if device == Device::Cpu {
        Ok(values)
    } else {
        Ok(values.f_to_device_(device, Kind::Int64, true, false)?)
    }
}
