//! What of a [`Dataset`] is different where its images are streamed.

use std::sync::{Arc, Mutex, PoisonError};

use admix_api::Streams;
use admix_torch::{Device, Kind, Tensor, upload_aside};

use crate::augment::{Augmentation, Interpolation, Moco, Shift};
use crate::config::{DataConfig, setting};
use crate::dataset::{Law, Resident, first_of_each_class, normalisation, own_normalisation, upload};
use crate::{Batch, Dataset, Error, Info, Result, Split, TrainSplit, View};

use super::images::Images;
use super::job::{Done, Drawn, Job, Make, Request, Set, Ticket};
use super::pool::{Pool, Worked};
use super::settings::{folder, is_folder, sizes, source, workers};

/// The images of a dataset behind threads.
pub(crate) struct Stream {
    set: Arc<Set>,
    pool: Arc<Pool>,
    /// How an image is measured.
    clean: Clean,
    /// The clean batch after the last one that was asked for: whoever measures goes through a split in order.
    ahead: Mutex<Option<(Range, Ticket)>>,
    /// Whether host memory is page-locked.
    pinned: bool,
    /// Where all images have the size that the dataset names.
    one_size: bool,
}

/// A stretch of a split.
type Range = (Split, usize, usize);

#[derive(Debug, Clone, Copy)]
enum Clean {
    Whole((i64, i64)),
    Centre { shorter: i64, size: i64 },
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("clean", &self.clean).field("worked", &self.worked()).finish()
    }
}

impl Stream {
    /// Asks for a batch.
    ///
    /// # Errors
    /// No host memory for it.
    pub(crate) fn ask(&self, request: Request) -> Result<Ticket> {
        Ok(self.pool.ask(Job::new(Arc::clone(&self.set), request, self.pinned)?))
    }

    /// Asks for drawn views of training images.
    pub(crate) fn ask_views(&self, images: Vec<usize>, drawn: Drawn) -> Result<Ticket> {
        let make = match (&self.set.law, self.clean) {
            (None, Clean::Whole(size)) => Make::Whole(size),
            _ => Make::Drawn(drawn),
        };
        self.ask(Request { split: Split::Train, images, make })
    }

    fn ask_clean(&self, split: Split, images: Vec<usize>) -> Result<Ticket> {
        let make = match self.clean {
            Clean::Whole(size) => Make::Whole(size),
            Clean::Centre { shorter, size } => Make::Centre { shorter, size },
        };
        self.ask(Request { split, images, make })
    }

    fn ask_range(&self, (split, start, n): Range) -> Result<Ticket> {
        self.ask_clean(split, (start..start + n).collect())
    }

    /// A stretch of a split, and the one after it is asked for.
    fn clean(&self, range: Range, len: usize) -> Result<Done> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = match ahead.take() {
            Some((expected, ticket)) if expected == range => ticket,
            _ => self.ask_range(range)?,
        };
        let (split, start, n) = range;
        let (next, left) = (start + n, len - start - n);
        if left > 0 && n > 0 {
            let range = (split, next, n.min(left));
            *ahead = Some((range, self.ask_range(range)?));
        }
        drop(ahead);
        ticket.wait()
    }

    /// The same images and threads under another law.
    pub(crate) fn under(&self, law: Option<Moco>, view: (i64, i64)) -> Self {
        let filter = law.as_ref().map_or(Interpolation::Bilinear, |moco| moco.interpolation);
        let (train, test) = (Arc::clone(&self.set.train), Arc::clone(&self.set.test));
        let set = Set { train, test, law, view, filter, channels: self.set.channels };
        Self {
            set: Arc::new(set),
            pool: Arc::clone(&self.pool),
            clean: self.clean,
            ahead: Mutex::new(None),
            pinned: self.pinned,
            one_size: self.one_size,
        }
    }

    pub(crate) fn worked(&self) -> Worked {
        self.pool.worked()
    }

    pub(crate) fn one_size(&self) -> bool {
        self.one_size
    }
}

impl Dataset {
    /// Opens a dataset whose images are read as they are needed.
    pub(crate) fn open_streamed(config: &DataConfig, device: Device, streams: Streams) -> Result<Self> {
        if config.split != TrainSplit::Train {
            let wanted =
                "Train where images are streamed (`data.storage`): the others are held on the device";
            return Err(setting("data.split", config.split, wanted));
        }
        let moco = config.augment.moco();
        let few = |labels: &[i64], info: &Info| {
            config.per_class.map(|most| first_of_each_class(labels, info, most))
        };
        let (mut info, train, test, labels, clean) = if is_folder(config) {
            let mut folder = folder(config)?;
            let info = folder.info(&config.name, (0, 0));
            let sizes = sizes(config, &info)?;
            if let Some(keep) = few(&folder.train.labels, &info) {
                folder.train = folder.train.select(&keep);
            }
            let info = folder.info(&config.name, (sizes.view, sizes.view));
            let labels = (folder.train.labels.clone(), folder.test.labels.clone());
            let clean = Clean::Centre { shorter: sizes.shorter, size: sizes.view };
            (info, Images::Files(folder.train), Images::Files(folder.test), labels, clean)
        } else {
            let mut source = source(config, streams)?;
            if let Some(keep) = few(&source.train.labels, &source.info) {
                source.train = source.train.select(&keep)?;
                source.info.train = keep.len();
            }
            let clean = Clean::Whole((source.info.height, source.info.width));
            let (train, test) = (Images::held(&source.train.pixels)?, Images::held(&source.test.pixels)?);
            (source.info, train, test, (source.train.labels, source.test.labels), clean)
        };
        own_normalisation(config, &mut info)?;
        let law = Law::of(config, &info, device)?;
        let view = law.view(&info);
        let filter = moco.as_ref().map_or(Interpolation::Bilinear, |moco| moco.interpolation);
        let (train, test) = (Arc::new(train), Arc::new(test));
        let set = Set { train, test, law: moco, view, filter, channels: info.channels };
        let stream = Stream {
            set: Arc::new(set),
            pool: Arc::new(Pool::start(workers(config))?),
            clean,
            ahead: Mutex::new(None),
            pinned: matches!(device, Device::Cuda(_)),
            one_size: matches!(clean, Clean::Whole(_)),
        };
        let (scale, shift) = normalisation(&info, device)?;
        tracing::info!(
            name = info.name,
            source = info.source,
            train = info.train,
            test = info.test,
            workers = stream.worked().workers,
            "dataset opened, its images are streamed"
        );
        Ok(Self {
            train: Resident::without_pixels(&labels.0, &info, device)?,
            labelled: None,
            test: Resident::without_pixels(&labels.1, &info, device)?,
            views: config.views,
            law,
            scale,
            shift,
            device,
            info,
            stream: Some(stream),
        })
    }

    /// Positions of training images, on the host.
    pub(crate) fn positions(&self, index: &Tensor) -> Result<Vec<usize>> {
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
        let done = ticket.wait()?;
        let shifts = match &self.law {
            Law::Views(_) => Vec::new(),
            Law::Shift { flip, border, .. } => {
                let draw = |name: &String| {
                    let Drawn { streams, purpose, epoch, step, .. } = drawn;
                    let mut draws = streams.draws(purpose, name, *epoch, *step);
                    Shift::draw(done.images.len(), *flip, *border, &mut draws)
                };
                drawn.views.iter().map(draw).collect()
            }
        };
        self.finished(done, &shifts)
    }

    /// Training images in given views.
    pub(crate) fn streamed_batch(
        &self,
        stream: &Stream,
        index: &Tensor,
        augmentations: &[Augmentation],
    ) -> Result<Batch> {
        let images = self.positions(index)?;
        let (mut views, mut shifts): (Vec<Vec<View>>, Vec<Shift>) = Default::default();
        for augmentation in augmentations {
            match augmentation {
                Augmentation::Views(given) => views.push(given.clone()),
                Augmentation::Shift(shift) => shifts.push(shift.clone()),
            }
        }
        let make = match (&self.law, stream.clean) {
            (Law::Views(_), _) if shifts.is_empty() => Make::Given(views),
            (Law::Shift { .. }, Clean::Whole(size)) if views.is_empty() => Make::Whole(size),
            (Law::Views(_), _) => return Err(crate::dataset::other_law("shifts", "views")),
            (Law::Shift { .. }, _) => return Err(crate::dataset::other_law("views", "shifts")),
        };
        let done = stream.ask(Request { split: Split::Train, images, make })?.wait()?;
        self.finished(done, &shifts)
    }

    /// The device's part of a training batch: flip, colours, normalisation, or shifts.
    fn finished(&self, done: Done, shifts: &[Shift]) -> Result<Batch> {
        let n = done.images.len() as i64;
        let bytes = self.uploaded(&done.bytes)?;
        let views = match &self.law {
            Law::Shift { gather, .. } => {
                let all = Tensor::f_arange(n, (Kind::Int64, self.device))?;
                let shifted = |shift| self.normalised(&gather.augmented(&bytes, &all, shift)?);
                shifts.iter().map(shifted).collect::<Result<Vec<Tensor>>>()?
            }
            Law::Views(pipeline) => {
                let images = self.normalised(&pipeline.finish(&bytes, &done.views.concat())?)?;
                let part = |view: usize| Ok(images.f_narrow(0, view as i64 * n, n)?);
                (0..done.views.len()).map(part).collect::<Result<Vec<Tensor>>>()?
            }
        };
        let index: Vec<i64> = done.images.iter().map(|&at| at as i64).collect();
        let index = upload(&index, self.device)?;
        let labels = self.train.labels.f_index_select(0, &index)?;
        Batch::of_views(views, labels, index).ok_or_else(|| Error::Shape {
            what: "a batch",
            got: "no view".into(),
            wanted: "at least one".into(),
        })
    }

    /// Images `start..start + n` of a split, which is known to be a part of it, as they are measured.
    pub(crate) fn streamed_clean(
        &self,
        stream: &Stream,
        split: Split,
        start: usize,
        n: usize,
    ) -> Result<Tensor> {
        let done = stream.clean((split, start, n), self.len(split))?;
        self.normalised(&self.uploaded(&done.bytes)?)
    }

    /// Bytes `[n, C, H, W]` of images as they are measured.
    pub(crate) fn streamed_bytes(&self, stream: &Stream, split: Split, indices: &[i64]) -> Result<Tensor> {
        let images = self.checked(split, indices)?;
        let done = stream.ask_clean(split, images)?.wait()?;
        self.uploaded(&done.bytes)
    }

    /// Host bytes on the device, copied while it does what it was asked for before.
    fn uploaded(&self, bytes: &Tensor) -> Result<Tensor> {
        Ok(upload_aside(bytes, self.device)?)
    }
}
