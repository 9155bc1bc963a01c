//! The images of a dataset behind threads.

use std::sync::{Arc, Mutex, PoisonError};

use super::broken::Found;
use super::fit::Fit;
use super::found_broken::Broken;
use super::images::Images;
use super::job::{Cut, Done, Job, Make, Request, Set};
use super::pool::{Pool, Worked};
use super::ticket::Ticket;
use crate::augment::{Interpolation, Views};
use crate::drawn::Drawn;
use crate::laws::{Law, Laws};
use crate::source::Source;
use crate::{Error, Info, Result, Split};

/// A dataset whose images are not read yet.
pub(crate) struct Unread {
    pub info: Info,
    pub train: Images,
    pub test: Images,
    /// Labels of the training and of the test images.
    pub labels: (Vec<i64>, Vec<i64>),
    /// How an image is measured.
    pub clean: Clean,
}

impl TryFrom<Source> for Unread {
    type Error = Error;

    /// Images that are in host memory.
    fn try_from(source: Source) -> Result<Self> {
        let clean = Clean::Whole((source.info.height, source.info.width));
        let (train, test) = (Images::held(&source.train.pixels)?, Images::held(&source.test.pixels)?);
        let labels = (source.train.labels, source.test.labels);
        Ok(Self { info: source.info, train, test, labels, clean })
    }
}

impl Unread {
    /// Leaves only the training images at these positions.
    pub(crate) fn keep(&mut self, keep: &[i64]) -> Result<()> {
        self.train = self.train.select(keep)?;
        self.labels.0 = keep.iter().map(|&at| self.labels.0[at as usize]).collect();
        self.info.train = keep.len();
        Ok(())
    }
}

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
}

/// A stretch of a split.
type Range = (Split, usize, usize);

/// How an image is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clean {
    /// As it is: all have this size.
    Whole((i64, i64)),
    /// The centre, after the shorter side was scaled.
    Centre { shorter: i64, size: i64 },
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("clean", &self.clean).field("worked", &self.worked()).finish()
    }
}

impl Stream {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses one.
    pub(crate) fn start(unread: Unread, laws: &Laws, workers: usize, pinned: bool) -> Result<Self> {
        let Unread { info, train, test, clean, .. } = unread;
        Ok(Self {
            set: Arc::new(set((Arc::new(train), Arc::new(test)), laws, clean, info.channels)),
            pool: Arc::new(Pool::start(workers)?),
            clean,
            ahead: Mutex::new(None),
            pinned,
        })
    }

    /// Asks for a batch.
    ///
    /// # Errors
    /// No host memory for it.
    fn ask(&self, request: Request) -> Result<Ticket> {
        let job = Arc::new(Job::new(Arc::clone(&self.set), request, self.pinned)?);
        Ok(Ticket::of(job, &self.pool))
    }

    /// Asks for drawn views of training images.
    pub(crate) fn ask_views(&self, images: Vec<usize>, drawn: Drawn) -> Result<Ticket> {
        self.ask(Request { split: Split::Train, images, make: Make::Drawn(drawn) })
    }

    /// Asks for given views of training images.
    pub(crate) fn ask_given(&self, images: Vec<usize>, views: &[Views]) -> Result<Ticket> {
        for (group, share) in self.set.shares(views.len()).into_iter().enumerate() {
            let Some(cutter) = &self.set.cuts[group].cutter else { continue };
            let drawn = views[share].iter().filter(|view| !view.is_empty());
            drawn.map(|view| cutter.crop(view, 0)).collect::<Result<Vec<_>>>()?;
        }
        self.ask(Request { split: Split::Train, images, make: Make::Given(views.to_vec()) })
    }

    /// Asks for images as they are measured.
    pub(crate) fn ask_clean(&self, split: Split, images: Vec<usize>) -> Result<Ticket> {
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
    pub(crate) fn clean(&self, range: Range, len: usize) -> Result<Done> {
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

    /// The same images and threads under another augmentation.
    pub(crate) fn under(&self, laws: &Laws) -> Self {
        let images = (Arc::clone(&self.set.train), Arc::clone(&self.set.test));
        Self {
            set: Arc::new(set(images, laws, self.clean, self.set.channels)),
            pool: Arc::clone(&self.pool),
            clean: self.clean,
            ahead: Mutex::new(None),
            pinned: self.pinned,
        }
    }

    /// The files of each split that were found broken so far.
    pub(crate) fn broken(&self) -> Broken {
        let of = |images: &Images| images.found().map(Found::broken).unwrap_or_default();
        Broken { train: of(&self.set.train), test: of(&self.set.test) }
    }

    /// Fails where more files of a split are broken than may be passed over.
    ///
    /// # Errors
    /// Names one of them and how many there are.
    pub(crate) fn allow(&self, broken: &Broken) -> Result<()> {
        self.set.train.allow(&broken.train)?;
        Ok(self.set.test.allow(&broken.test)?)
    }

    /// Goes on from files that were found broken before.
    pub(crate) fn go_on(&self, broken: &Broken) {
        for (images, broken) in [(&self.set.train, &broken.train), (&self.set.test, &broken.test)] {
            if let Some(found) = images.found() {
                found.go_on(broken);
            }
        }
    }

    /// How an image is measured.
    pub(crate) fn fit(&self) -> Fit {
        match self.clean {
            Clean::Whole((height, width)) => Fit::Whole { height, width },
            Clean::Centre { shorter, size } => {
                Fit::Centre { shorter, size, filter: self.set.filter, strip: self.set.test.strip() }
            }
        }
    }

    pub(crate) fn worked(&self) -> Worked {
        self.pool.worked()
    }

    pub(crate) fn one_size(&self) -> bool {
        self.set.one_size.is_some()
    }
}

/// What the threads know of a dataset under its augmentations.
fn set((train, test): (Arc<Images>, Arc<Images>), laws: &Laws, clean: Clean, channels: i64) -> Set {
    let cut = |Law { views, augmentation }: &Law| {
        let cutter = augmentation.cropped().map(|cropped| cropped.cutter());
        Cut { views: *views, cutter, size: augmentation.size() }
    };
    let cuts: Vec<Cut> = laws.iter().map(cut).collect();
    let cutter = cuts.first().and_then(|cut| cut.cutter.as_ref());
    let filter = cutter.map_or(Interpolation::Bilinear, |cutter| cutter.filter());
    let one_size = match clean {
        Clean::Whole(size) => Some(size),
        Clean::Centre { .. } => None,
    };
    Set { train, test, cuts, one_size, filter, channels }
}
