//! A dataset on a device, and batches of it.

use admix_api::{Draws, Streams};
use admix_torch::{Device, Kind, Tensor};

use crate::augment::{Augment, Augmentation, Gather, Pipeline, Shift, View};
use crate::config::{DataConfig, setting};
use crate::loader::{Loader, Pass};
use crate::sources::{Part, Source};
use crate::stream::{self, Drawn, Stream, Worked};
use crate::{Error, Info, Result, Split, TrainSplit};

/// A dataset, resident on a device as bytes or streamed to it.
#[derive(Debug)]
pub struct Dataset {
    pub(crate) info: Info,
    pub(crate) train: Resident,
    /// The training images with labels, where `train` is another set.
    pub(crate) labelled: Option<Resident>,
    pub(crate) test: Resident,
    pub(crate) views: usize,
    pub(crate) law: Law,
    /// `[1, C, 1, 1]`: pixel * scale + shift is the normalised value.
    pub(crate) scale: Tensor,
    pub(crate) shift: Tensor,
    pub(crate) device: Device,
    /// Where the images come from; `None` if they are resident.
    pub(crate) stream: Option<Stream>,
}

/// How training images become views.
#[derive(Debug)]
pub(crate) enum Law {
    Shift { flip: bool, border: i64, gather: Gather },
    Views(Pipeline),
}

/// One split on the device.
#[derive(Debug)]
pub(crate) struct Resident {
    /// `[n, C, H, W]` bytes; of a streamed set `[0, C, H, W]`.
    pixels: Tensor,
    /// `[n]` i64.
    pub(crate) labels: Tensor,
    n: usize,
}

impl Resident {
    fn new(part: &Part, device: Device) -> Result<Self> {
        Self::of(&[part], device)
    }

    /// A split whose images are elsewhere.
    pub(crate) fn without_pixels(labels: &[i64], info: &Info, device: Device) -> Result<Self> {
        let size = [0, info.channels, info.height, info.width];
        let pixels = Tensor::f_empty(size, (Kind::Uint8, device))?;
        Ok(Self { pixels, labels: Tensor::f_from_slice(labels)?.f_to_device(device)?, n: labels.len() })
    }

    fn shallow_clone(&self) -> Self {
        Self { pixels: self.pixels.shallow_clone(), labels: self.labels.shallow_clone(), n: self.n }
    }

    /// Several parts of one shape of image, one behind the other.
    fn of(parts: &[&Part], device: Device) -> Result<Self> {
        let labels: Vec<i64> = parts.iter().flat_map(|part| part.labels.iter().copied()).collect();
        let pixels = match parts {
            [part] if part.pixels.is_contiguous() => part.pixels.f_to_device(device)?,
            _ => joined(parts, device)?,
        };
        Ok(Self { pixels, n: labels.len(), labels: Tensor::f_from_slice(&labels)?.f_to_device(device)? })
    }

    /// The first `n` images, in the same memory.
    fn first(&self, n: usize) -> Result<Self> {
        let len = n as i64;
        Ok(Self { pixels: self.pixels.f_narrow(0, 0, len)?, labels: self.labels.f_narrow(0, 0, len)?, n })
    }
}

/// Pixels of all parts, row after row, in one piece of memory on the device.
fn joined(parts: &[&Part], device: Device) -> Result<Tensor> {
    /// Images that go over at once: neither host nor device ever holds a second copy of a large set.
    const PIECE: usize = 4096;
    let images = parts.iter().map(|part| part.labels.len()).sum::<usize>() as i64;
    let shape: Vec<i64> = parts.first().map(|part| part.pixels.size()).unwrap_or_default();
    let shape: Vec<i64> = [images].into_iter().chain(shape.into_iter().skip(1)).collect();
    let whole = Tensor::f_empty(shape.as_slice(), (Kind::Uint8, device))?;
    let mut done = 0;
    for part in parts {
        let n = part.labels.len();
        for start in (0..n).step_by(PIECE) {
            let len = PIECE.min(n - start) as i64;
            // In the order of the file; the copy on the device sorts it.
            let piece = part.pixels.f_narrow(0, start as i64, len)?.f_to_device(device)?;
            whole.f_narrow(0, done, len)?.f_copy_(&piece)?;
            done += len;
        }
    }
    Ok(whole)
}

/// Images ready for a network.
#[derive(Debug)]
pub struct Batch {
    /// `[N, C, H, W]` f32, normalised: the first view.
    pub images: Tensor,
    /// All views of the same images, each `[N, C, H, W]` f32, normalised; at least one.
    pub views: Vec<Tensor>,
    /// `[N]` i64; -1 for an image without a label.
    pub labels: Tensor,
    /// `[N]` i64: the images' positions in their split.
    pub index: Tensor,
}

impl Batch {
    /// A batch of one view.
    pub fn new(images: Tensor, labels: Tensor, index: Tensor) -> Self {
        Self { views: vec![images.shallow_clone()], images, labels, index }
    }

    /// A batch of several views of the same images; `None` without any.
    pub fn of_views(views: Vec<Tensor>, labels: Tensor, index: Tensor) -> Option<Self> {
        let images = views.first()?.shallow_clone();
        Some(Self { images, views, labels, index })
    }

    /// The same tensors again.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            images: self.images.shallow_clone(),
            views: self.views.iter().map(Tensor::shallow_clone).collect(),
            labels: self.labels.shallow_clone(),
            index: self.index.shallow_clone(),
        }
    }
}

impl Dataset {
    /// Reads the dataset and moves it to the device, or lists its images and starts the threads that read them.
    /// `streams` is what the toy set is generated from.
    ///
    /// # Errors
    /// A setting out of range, a dataset that is unknown, missing or damaged, or a device without room for it. An image
    /// of a folder that cannot be decoded is an error when it is first used.
    pub fn open(config: &DataConfig, device: Device, streams: Streams) -> Result<Self> {
        config.validate()?;
        if stream::streamed(config) {
            return Self::open_streamed(config, device, streams);
        }
        let Source { mut info, mut train, test, unlabelled } = stream::source(config, streams)?;
        if let Some(most) = config.per_class {
            train = train.select(&first_of_each_class(&train.labels, &info, most))?;
            info.train = train.labels.len();
        }
        own_normalisation(config, &mut info)?;
        let (train, labelled) = match (&unlabelled, config.split) {
            (Some(part), TrainSplit::Unlabelled) => {
                (Resident::new(part, device)?, Some(Resident::new(&train, device)?))
            }
            (Some(part), TrainSplit::TrainUnlabelled) => {
                let both = Resident::of(&[&train, part], device)?;
                let first = both.first(train.labels.len())?;
                (both, Some(first))
            }
            _ => (Resident::new(&train, device)?, None),
        };
        info.train = train.n;
        info.split = if labelled.is_some() { config.split } else { TrainSplit::Train };
        let law = Law::of(config, &info, device)?;
        let (scale, shift) = normalisation(&info, device)?;
        tracing::info!(
            name = info.name,
            source = info.source,
            split = %info.split,
            train = info.train,
            test = info.test,
            "dataset opened"
        );
        Ok(Self {
            train,
            labelled,
            test: Resident::new(&test, device)?,
            views: config.views,
            law,
            scale,
            shift,
            device,
            info,
            stream: None,
        })
    }

    /// The same images under another law of augmentation, in one view; nothing is copied.
    ///
    /// # Errors
    /// The law is out of its range, or libtorch's own.
    pub fn augmented_by(&self, augment: &Augment) -> Result<Self> {
        let config = DataConfig { augment: augment.clone(), ..DataConfig::default() };
        config.validate()?;
        let law = Law::of(&config, &self.info, self.device)?;
        let stream = self.stream.as_ref().map(|stream| stream.under(augment.moco(), law.view(&self.info)));
        Ok(Self {
            info: self.info.clone(),
            train: self.train.shallow_clone(),
            labelled: self.labelled.as_ref().map(Resident::shallow_clone),
            test: self.test.shallow_clone(),
            views: 1,
            law,
            scale: self.scale.shallow_clone(),
            shift: self.shift.shallow_clone(),
            device: self.device,
            stream,
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

    /// Labels of a split, `[n]` i64 on the device; -1 for an image without one.
    pub fn labels(&self, split: Split) -> &Tensor {
        &self.resident(split).labels
    }

    fn resident(&self, split: Split) -> &Resident {
        match split {
            Split::Train => &self.train,
            Split::Labelled => self.labelled.as_ref().unwrap_or(&self.train),
            Split::Test => &self.test,
        }
    }

    /// The order of one epoch, `[n]` i64 on the device: one copy per epoch.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn order(&self, draws: &mut Draws) -> Result<Tensor> {
        self.order_of(Split::Train, draws)
    }

    /// The order of one pass over a split, `[n]` i64 on the device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn order_of(&self, split: Split, draws: &mut Draws) -> Result<Tensor> {
        upload(&draws.permutation(self.len(split)), self.device)
    }

    /// Views of each training image in a batch.
    pub fn views(&self) -> usize {
        self.views
    }

    /// Height and width of the views of training images.
    pub fn view_size(&self) -> (i64, i64) {
        self.law.view(&self.info)
    }

    /// Draws what happens to each of `n` training images in one view.
    ///
    /// # Errors
    /// The set is streamed and its images differ in size: what is drawn depends on it. [`Dataset::loader`] and
    /// [`Dataset::train_views`] draw once they know it.
    pub fn augmentation(&self, n: usize, draws: &mut Draws) -> Result<Augmentation> {
        if self.stream.as_ref().is_some_and(|stream| !stream.one_size()) {
            let got = format!("images of unknown size, as `{}` is streamed", self.info.name);
            let wanted = "images of one size: views are drawn as the images are read".into();
            return Err(Error::Shape { what: "an augmentation", got, wanted });
        }
        Ok(self.drawn(n, draws))
    }

    fn drawn(&self, n: usize, draws: &mut Draws) -> Augmentation {
        match &self.law {
            Law::Shift { flip, border, .. } => Augmentation::Shift(Shift::draw(n, *flip, *border, draws)),
            Law::Views(pipeline) => {
                Augmentation::Views(View::draw_all(pipeline.law(), n, pipeline.from(), draws))
            }
        }
    }

    /// The batches of a pass over the training images. Of a streamed set [`crate::AHEAD`] batches are made ahead.
    ///
    /// # Errors
    /// A position outside the training images, no view, batches of no image.
    pub fn loader(&self, pass: Pass) -> Result<Loader> {
        Loader::new(self, pass)
    }

    /// The names of the draws of each view: the first has no name, so that another number of views changes none of them.
    pub fn view_names(&self) -> Vec<String> {
        (0..self.views).map(|view| if view == 0 { String::new() } else { view.to_string() }).collect()
    }

    /// What the threads of a streamed set did so far; `None` for a resident one.
    pub fn worked(&self) -> Option<Worked> {
        self.stream.as_ref().map(Stream::worked)
    }

    /// One batch of an epoch in all its views. Each view has a stream of draws of its own, named by its number (the first
    /// has no name), so that another number of views changes none of them.
    ///
    /// Of a streamed set the positions are read from the device and the batch is waited for: a run takes its batches from
    /// [`Dataset::loader`], which does neither.
    ///
    /// # Errors
    /// libtorch's own; an image that cannot be read.
    pub fn train_views(&self, index: &Tensor, streams: Streams, epoch: u64, position: u64) -> Result<Batch> {
        let (purpose, views) = ("augment".into(), self.view_names());
        self.drawn_batch(Split::Train, index, &Drawn { streams, purpose, views, epoch, step: position })
    }

    pub(crate) fn drawn_batch(&self, split: Split, index: &Tensor, drawn: &Drawn) -> Result<Batch> {
        if let Some(stream) = &self.stream {
            return self.of_drawn(stream.ask_views(self.positions(index)?, drawn.clone())?, drawn);
        }
        let n = index.numel();
        let Drawn { streams, purpose, views, epoch, step } = drawn;
        let views: Vec<Augmentation> = views
            .iter()
            .map(|name| self.drawn(n, &mut streams.draws(purpose, name, *epoch, *step)))
            .collect();
        self.augmented_batch_of(split, index, &views)
    }

    /// Training images `index` (`[N]` i64 on the device, each below `len(Split::Train)`), augmented and normalised.
    ///
    /// # Errors
    /// As [`Dataset::augmented_batch`].
    pub fn train_batch(&self, index: &Tensor, augmentation: &Augmentation) -> Result<Batch> {
        self.augmented_batch(index, std::slice::from_ref(augmentation))
    }

    /// Training images `index` (`[N]` i64 on the device, each below `len(Split::Train)`) in one view for each of
    /// `augmentations`, normalised.
    ///
    /// # Errors
    /// There is no augmentation, one of them differs in size from `index`, is of another law than the dataset's, or
    /// reaches beyond the images.
    pub fn augmented_batch(&self, index: &Tensor, augmentations: &[Augmentation]) -> Result<Batch> {
        self.augmented_batch_of(Split::Train, index, augmentations)
    }

    /// The same for the images of any split.
    ///
    /// # Errors
    /// As [`Dataset::augmented_batch`].
    pub fn augmented_batch_of(
        &self,
        split: Split,
        index: &Tensor,
        augmentations: &[Augmentation],
    ) -> Result<Batch> {
        let part = self.resident(split);
        for augmentation in augmentations {
            let n = augmentation.len();
            if index.size() != [n as i64] {
                let got = format!("shape {:?}", index.size());
                return Err(Error::Shape {
                    what: "index",
                    got,
                    wanted: format!("[{n}], as the augmentation"),
                });
            }
        }
        if let Some(stream) = &self.stream {
            return self.streamed_batch(stream, index, augmentations);
        }
        let views = match &self.law {
            Law::Shift { gather, .. } => {
                let shifted = |augmentation: &Augmentation| match augmentation {
                    Augmentation::Shift(shift) => {
                        self.normalised(&gather.augmented(&part.pixels, index, shift)?)
                    }
                    Augmentation::Views(_) => Err(other_law("views", "shifts")),
                };
                augmentations.iter().map(shifted).collect::<Result<Vec<Tensor>>>()?
            }
            Law::Views(pipeline) => {
                // All views go through together: half the operations, each on twice the images.
                let mut all = Vec::with_capacity(augmentations.len() * index.numel());
                for augmentation in augmentations {
                    match augmentation {
                        Augmentation::Views(views) => all.extend_from_slice(views),
                        Augmentation::Shift(_) => return Err(other_law("shifts", "views")),
                    }
                }
                let each = index.numel() as i64;
                let index = index.f_repeat([augmentations.len() as i64])?;
                let images = self.normalised(&pipeline.views(&part.pixels, &index, &all)?)?;
                let view = |view: i64| Ok(images.f_narrow(0, view * each, each)?);
                (0..augmentations.len() as i64).map(view).collect::<Result<Vec<Tensor>>>()?
            }
        };
        let labels = part.labels.f_index_select(0, index)?;
        Batch::of_views(views, labels, index.shallow_clone()).ok_or_else(|| Error::Shape {
            what: "a batch",
            got: "no view".into(),
            wanted: "at least one".into(),
        })
    }

    /// Images `start..start + n` of a split as they are, normalised; of images that differ in size, the centre after their
    /// shorter side was scaled (`data.test_resize`).
    ///
    /// # Errors
    /// The range reaches beyond the split; an image cannot be read.
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
        let images = match &self.stream {
            Some(stream) => self.streamed_clean(stream, split, start as usize, n)?,
            None => self.normalised(&part.pixels.f_narrow(0, start, len)?)?,
        };
        Ok(Batch::new(
            images,
            part.labels.f_narrow(0, start, len)?,
            Tensor::f_arange_start(start, end as i64, (Kind::Int64, self.device))?,
        ))
    }

    /// Images as bytes `[n, C, H, W]`, for pictures.
    ///
    /// # Errors
    /// A position outside the split; an image that cannot be read.
    pub fn u8_images(&self, split: Split, indices: &[i64]) -> Result<Tensor> {
        if let Some(stream) = &self.stream {
            return self.streamed_bytes(stream, split, indices);
        }
        let part = self.resident(split);
        if let Some(i) = indices.iter().find(|i| !(0..part.n as i64).contains(i)) {
            let wanted = format!("a position within 0..{}", part.n);
            return Err(Error::Shape { what: "an image", got: format!("position {i}"), wanted });
        }
        Ok(part.pixels.f_index_select(0, &upload(indices, self.device)?)?)
    }

    /// `(pixel / 255 - mean) / std`, as a multiplication and an addition in place.
    pub(crate) fn normalised(&self, pixels: &Tensor) -> Result<Tensor> {
        // Floats are views fresh from the pipeline: nobody else has them.
        let mut images = pixels.f_to_kind(Kind::Float)?;
        let _ = images.f_mul_(&self.scale)?;
        let _ = images.f_add_(&self.shift)?;
        Ok(images)
    }
}

impl Law {
    /// Height and width of a view.
    pub(crate) fn view(&self, info: &Info) -> (i64, i64) {
        match self {
            Self::Shift { .. } => (info.height, info.width),
            Self::Views(pipeline) => pipeline.to(),
        }
    }

    pub(crate) fn of(config: &DataConfig, info: &Info, device: Device) -> Result<Self> {
        if let Some(moco) = config.augment.moco() {
            return Ok(Self::Views(Pipeline::new(moco, info, device)?));
        }
        let border = config.crop.unwrap_or(0);
        if border >= info.height.min(info.width) {
            let wanted = format!(
                "less than the images' side ({}x{}): the border reflects them",
                info.height, info.width
            );
            return Err(setting("data.crop", border, &wanted));
        }
        Ok(Self::Shift { flip: config.flip, border, gather: Gather::new(info, border, device)? })
    }
}

pub(crate) fn other_law(got: &str, wanted: &str) -> Error {
    Error::Shape {
        what: "an augmentation",
        got: got.into(),
        wanted: format!("{wanted}, as the dataset's law"),
    }
}

/// Puts the recipe's normalisation in place of the dataset's own.
pub(crate) fn own_normalisation(config: &DataConfig, info: &mut Info) -> Result<()> {
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
    Ok(())
}

/// Positions of the first `most` images of each class, ascending.
pub(crate) fn first_of_each_class(labels: &[i64], info: &Info, most: usize) -> Vec<i64> {
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
pub(crate) fn normalisation(info: &Info, device: Device) -> Result<(Tensor, Tensor)> {
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
    Ok(admix_torch::upload(&Tensor::f_from_slice(values)?, device)?)
}
