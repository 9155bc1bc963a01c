//! A dataset on a device, and batches of it.

use admix_api::{Draws, Streams};
use admix_torch::{Device, Kind, Tensor, upload_aside};

use crate::augment::{AugmentationConfig, Setup, Views};
use crate::batch::Batch;
use crate::config::DataConfig;
use crate::drawn::Drawn;
use crate::error::of_entry;
use crate::laws::{Law, Laws};
use crate::resident::Resident;
use crate::stream::{Broken, Done, Fit, Stream, Ticket, Worked};
use crate::tensors::upload;
use crate::{Error, Info, Result, Split};

/// A dataset, resident on a device as bytes or streamed to it.
#[derive(Debug)]
pub struct Dataset {
    pub(crate) info: Info,
    pub(crate) train: Resident,
    /// The training images with labels, where `train` is another set.
    pub(crate) labelled: Option<Resident>,
    pub(crate) test: Resident,
    /// How training images become views.
    pub(crate) laws: Laws,
    /// `[1, C, 1, 1]`: pixel * scale + shift is the normalised value.
    pub(crate) scale: Tensor,
    pub(crate) shift: Tensor,
    pub(crate) device: Device,
    /// Where the images come from; `None` if they are resident.
    pub(crate) stream: Option<Stream>,
}

impl Dataset {
    /// The same images under another augmentation, in one view; nothing is copied.
    ///
    /// # Errors
    /// A setting out of its range, or libtorch's own.
    pub fn augmented_by(&self, augment: &dyn AugmentationConfig) -> Result<Self> {
        let DataConfig { flip, crop, .. } = DataConfig::default();
        augment.validate().map_err(|error| of_entry("data.augment", error))?;
        let augmentation = augment.build(&Setup { info: &self.info, device: self.device, flip, crop })?;
        let laws = Laws::new(Law { views: 1, augmentation }, Vec::new());
        let stream = self.stream.as_ref().map(|stream| stream.under(&laws));
        Ok(Self {
            info: self.info.clone(),
            train: self.train.shallow_clone(),
            labelled: self.labelled.as_ref().map(Resident::shallow_clone),
            test: self.test.shallow_clone(),
            laws,
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
        self.part(split).n
    }

    /// True if a split has no image.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Labels of a split, `[n]` i64 on the device; -1 for an image without one.
    pub fn labels(&self, split: Split) -> &Tensor {
        &self.part(split).labels
    }

    fn part(&self, split: Split) -> &Resident {
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
        self.laws.views()
    }

    /// Height and width of the first view of training images.
    pub fn view_size(&self) -> (i64, i64) {
        self.laws.first().size()
    }

    /// Height and width of each view of training images.
    pub fn view_sizes(&self) -> Vec<(i64, i64)> {
        (0..self.views()).map(|view| self.laws.of_view(view).size()).collect()
    }

    /// How images that are measured are made from their pictures.
    pub fn fit(&self) -> Fit {
        let (height, width) = (self.info.height, self.info.width);
        self.stream.as_ref().map_or(Fit::Whole { height, width }, Stream::fit)
    }

    /// Draws what happens to each of `n` training images in one view of the first group.
    ///
    /// # Errors
    /// The set is streamed and its images differ in size: what is drawn depends on it. [`Dataset::loader`] and
    /// [`Dataset::train_views`] draw once they know it.
    pub fn augmentation(&self, n: usize, draws: &mut Draws) -> Result<Views> {
        if self.stream.as_ref().is_some_and(|stream| !stream.one_size()) {
            let got = format!("images of unknown size, as `{}` is streamed", self.info.name);
            let wanted = "images of one size: views are drawn as the images are read".into();
            return Err(Error::Shape { what: "an augmentation", got, wanted });
        }
        Ok(self.drawn(0, n, draws))
    }

    /// Draws the view of this number.
    fn drawn(&self, view: usize, n: usize, draws: &mut Draws) -> Views {
        self.laws.of_view(view).draw(&vec![(self.info.height, self.info.width); n], draws)
    }

    /// The names of the draws of each view: the first has no name, so that another number of views changes none of them.
    pub fn view_names(&self) -> Vec<String> {
        (0..self.views()).map(|view| if view == 0 { String::new() } else { view.to_string() }).collect()
    }

    /// What the threads of a streamed set did so far; `None` for a resident one.
    pub fn worked(&self) -> Option<Worked> {
        self.stream.as_ref().map(Stream::worked)
    }

    /// The files of a streamed folder that were found broken so far.
    pub fn broken(&self) -> Broken {
        self.stream.as_ref().map(Stream::broken).unwrap_or_default()
    }

    /// Goes on from files that were found broken before: they count for `data.broken`, and are not told of again.
    pub fn go_on_from(&self, broken: &Broken) {
        if let Some(stream) = &self.stream {
            stream.go_on(broken);
        }
    }

    /// Fails where these are more files of a streamed split than `data.broken` lets a run pass over.
    ///
    /// # Errors
    /// Names one of them and how many there are.
    pub fn allow(&self, broken: &Broken) -> Result<()> {
        self.stream.as_ref().map_or(Ok(()), |stream| stream.allow(broken))
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
        let draws = drawn.draws().enumerate();
        let views: Vec<Views> = draws.map(|(view, mut draws)| self.drawn(view, n, &mut draws)).collect();
        self.augmented_batch_of(split, index, &views)
    }

    /// Training images `index` (`[N]` i64 on the device, each below `len(Split::Train)`), augmented and normalised.
    ///
    /// # Errors
    /// As [`Dataset::augmented_batch`].
    pub fn train_batch(&self, index: &Tensor, augmentation: &Views) -> Result<Batch> {
        self.augmented_batch(index, std::slice::from_ref(augmentation))
    }

    /// Training images `index` (`[N]` i64 on the device, each below `len(Split::Train)`) in one view for each of
    /// `augmentations`, normalised: those of the first group of views, then those of the next.
    ///
    /// # Errors
    /// There is no augmentation, one of them differs in size from `index`, is of another law than the dataset's, or
    /// reaches beyond the images.
    pub fn augmented_batch(&self, index: &Tensor, augmentations: &[Views]) -> Result<Batch> {
        self.augmented_batch_of(Split::Train, index, augmentations)
    }

    /// The same for the images of any split.
    ///
    /// # Errors
    /// As [`Dataset::augmented_batch`].
    pub fn augmented_batch_of(&self, split: Split, index: &Tensor, augmentations: &[Views]) -> Result<Batch> {
        let part = self.part(split);
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
        let mut views = Vec::with_capacity(augmentations.len());
        for (law, share) in self.laws.shares(augmentations.len()) {
            views.extend(law.apply(&part.pixels, index, &augmentations[share])?);
        }
        let views = self.all_normalised(views)?;
        let labels = part.labels.f_index_select(0, index)?;
        Batch::of_views(views, labels, index.shallow_clone()).ok_or_else(no_view)
    }

    /// Images `start..start + n` of a split as they are, normalised; of images that differ in size, the centre after their
    /// shorter side was scaled (`data.test_resize`).
    ///
    /// # Errors
    /// The range reaches beyond the split; an image cannot be read.
    pub fn clean_batch(&self, split: Split, start: usize, n: usize) -> Result<Batch> {
        let part = self.part(split);
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
        let part = self.part(split);
        if let Some(i) = indices.iter().find(|i| !(0..part.n as i64).contains(i)) {
            let wanted = format!("a position within 0..{}", part.n);
            return Err(Error::Shape { what: "an image", got: format!("position {i}"), wanted });
        }
        Ok(part.pixels.f_index_select(0, &upload(indices, self.device)?)?)
    }

    fn all_normalised(&self, views: Vec<Tensor>) -> Result<Vec<Tensor>> {
        views.iter().map(|view| self.normalised(view)).collect()
    }

    /// `(pixel / 255 - mean) / std`, as a multiplication and an addition in place.
    pub(crate) fn normalised(&self, pixels: &Tensor) -> Result<Tensor> {
        // Floats are views fresh from the augmentation: nobody else has them.
        let mut images = pixels.f_to_kind(Kind::Float)?;
        let _ = images.f_mul_(&self.scale)?;
        let _ = images.f_add_(&self.shift)?;
        Ok(images)
    }

    /// Positions of training images, on the host.
    fn positions(&self, index: &Tensor) -> Result<Vec<usize>> {
        let index: Vec<i64> = Vec::try_from(&index.f_to_device(Device::Cpu)?)?;
        self.checked(Split::Train, &index)
    }

    pub(crate) fn checked(&self, split: Split, index: &[i64]) -> Result<Vec<usize>> {
        let n = self.len(split);
        if let Some(i) = index.iter().find(|i| !(0..n as i64).contains(i)) {
            let wanted = format!("a position within 0..{n}");
            return Err(Error::Shape { what: "an image", got: format!("position {i}"), wanted });
        }
        Ok(index.iter().map(|&i| i as usize).collect())
    }

    /// A batch of drawn views, once the threads have made it.
    pub(crate) fn of_drawn(&self, ticket: Ticket, drawn: &Drawn) -> Result<Batch> {
        let mut done = ticket.wait()?;
        let n = done.images.len();
        for ((view, mut draws), own) in drawn.draws().enumerate().zip(&mut done.views) {
            if self.laws.of_view(view).cropped().is_none() {
                *own = self.drawn(view, n, &mut draws);
            }
        }
        self.finished(&done)
    }

    /// Training images in given views.
    fn streamed_batch(&self, stream: &Stream, index: &Tensor, views: &[Views]) -> Result<Batch> {
        self.finished(&stream.ask_given(self.positions(index)?, views)?.wait()?)
    }

    /// The device's part of a training batch.
    fn finished(&self, done: &Done) -> Result<Batch> {
        let mut views = Vec::with_capacity(done.views.len());
        for ((law, share), bytes) in self.laws.shares(done.views.len()).zip(&done.bytes) {
            let (bytes, drawn) = (self.uploaded(bytes)?, &done.views[share]);
            views.extend(match law.cropped() {
                Some(cropped) => cropped.finish(&bytes, drawn)?,
                None => {
                    let all = Tensor::f_arange(done.images.len() as i64, (Kind::Int64, self.device))?;
                    law.apply(&bytes, &all, drawn)?
                }
            });
        }
        let views = self.all_normalised(views)?;
        let index: Vec<i64> = done.images.iter().map(|&at| at as i64).collect();
        let index = upload(&index, self.device)?;
        let labels = self.train.labels.f_index_select(0, &index)?;
        Batch::of_views(views, labels, index).ok_or_else(no_view)
    }

    /// Images `start..start + n` of a split, which is known to be a part of it, as they are measured.
    fn streamed_clean(&self, stream: &Stream, split: Split, start: usize, n: usize) -> Result<Tensor> {
        let done = stream.clean((split, start, n), self.len(split))?;
        self.normalised(&self.uploaded(done.measured()?)?)
    }

    /// Bytes `[n, C, H, W]` of images as they are measured.
    fn streamed_bytes(&self, stream: &Stream, split: Split, indices: &[i64]) -> Result<Tensor> {
        let images = self.checked(split, indices)?;
        let done = stream.ask_clean(split, images)?.wait()?;
        self.uploaded(done.measured()?)
    }

    /// Host bytes on the device, copied while it does what it was asked for before.
    fn uploaded(&self, bytes: &Tensor) -> Result<Tensor> {
        Ok(upload_aside(bytes, self.device)?)
    }
}

fn no_view() -> Error {
    Error::Shape { what: "a batch", got: "no view".into(), wanted: "at least one".into() }
}
