//! One batch on its way through the threads.
//!
//! First every file is read, for its size: what is drawn for an image depends on it, and all images of a batch share one
//! stream of draws, as in resident sets. Once the last one is read, the views are drawn; then every image is decoded,
//! cropped and resized on its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use admix_torch::{HostBlock, HostPart, Tensor};

use super::fault::Fault;
use super::images::{Images, Raw};
use super::picture::{Cropper, Window};
use crate::augment::{Crop, Cutter, Interpolation, Views};
use crate::drawn::Drawn;
use crate::{Result, Split};

/// What threads know of a dataset.
pub(crate) struct Set {
    pub train: Arc<Images>,
    pub test: Arc<Images>,
    /// What views are drawn by; `None` where images stay whole.
    pub cutter: Option<Arc<dyn Cutter>>,
    /// Height and width of a view.
    pub view: (i64, i64),
    pub filter: Interpolation,
    pub channels: i64,
}

impl Set {
    pub(crate) fn images(&self, split: Split) -> &Images {
        match split {
            // A streamed set has no images without labels.
            Split::Train | Split::Labelled => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// What becomes of each image of a batch.
pub(crate) enum Make {
    /// Itself, `[C, H, W]` of this size.
    Whole((i64, i64)),
    /// The centre, after the shorter side was scaled.
    Centre { shorter: i64, size: i64 },
    /// Views that are drawn once the sizes are known.
    Drawn(Drawn),
    /// These views.
    Given(Vec<Views>),
}

/// A batch that is asked for.
pub(crate) struct Request {
    pub split: Split,
    /// Positions in the split.
    pub images: Vec<usize>,
    pub make: Make,
}

impl Request {
    /// Pictures of each image.
    fn pictures(&self) -> usize {
        match &self.make {
            Make::Whole(_) | Make::Centre { .. } => 1,
            Make::Drawn(drawn) => drawn.views.len(),
            Make::Given(views) => views.len(),
        }
    }
}

/// A batch that is made.
pub(crate) struct Done {
    /// Bytes `[V * N, C, h, w]` in host memory: all images of the first view, then of the next.
    pub bytes: Tensor,
    /// What was drawn or given; nothing where images are not cropped to views.
    pub views: Vec<Views>,
    /// Positions in the split.
    pub images: Vec<usize>,
}

/// One image of a job.
struct Slot {
    read: Option<(Raw, (i64, i64))>,
    parts: Vec<HostPart>,
}

/// A file and the height and width of its image.
type Read = Result<(Raw, (i64, i64)), Fault>;
/// The pictures of an image, in host memory.
type Made = Result<Vec<HostPart>, Fault>;

pub(crate) struct State {
    slots: Vec<Slot>,
    block: Option<HostBlock>,
    views: Arc<Vec<Views>>,
    filled: Vec<HostPart>,
    /// Images that the current stage has not done yet.
    left: usize,
    /// That of the first image that has one, so that the message does not depend on timing.
    fault: Option<(usize, Fault)>,
    over: bool,
}

pub(crate) struct Job {
    set: Arc<Set>,
    request: Request,
    given_up: AtomicBool,
    state: Mutex<State>,
    done: Condvar,
}

impl Job {
    /// A job and its host memory.
    pub(crate) fn new(set: Arc<Set>, request: Request, pinned: bool) -> Result<Self> {
        let (n, pictures) = (request.images.len(), request.pictures());
        let (height, width) = match &request.make {
            Make::Whole(size) => *size,
            Make::Centre { size, .. } => (*size, *size),
            Make::Drawn(_) | Make::Given(_) => set.view,
        };
        let size = [(pictures * n) as i64, set.channels, height, width];
        let (block, parts) = HostBlock::new(&size, pinned)?;
        let mut slots: Vec<Slot> =
            (0..n).map(|_| Slot { read: None, parts: Vec::with_capacity(pictures) }).collect();
        for (at, part) in parts.into_iter().enumerate() {
            slots[at % n].parts.push(part);
        }
        let state = State {
            slots,
            block: Some(block),
            views: Arc::default(),
            filled: Vec::with_capacity(pictures * n),
            left: n,
            fault: None,
            over: n == 0,
        };
        let (given_up, done) = (AtomicBool::new(false), Condvar::new());
        Ok(Self { set, request, given_up, state: Mutex::new(state), done })
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.request.images.len()
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads image `at`.
    pub(crate) fn read(&self, at: usize) -> Read {
        guarded(|| self.set.images(self.request.split).read(self.request.images[at]))
    }

    /// Takes what was read as image `at`. True if it was the last one: then the images can be made.
    pub(crate) fn take_read(&self, at: usize, found: Read) -> bool {
        let mut state = self.lock();
        match found {
            Ok(read) => state.slots[at].read = Some(read),
            Err(fault) => state.blame(at, fault),
        }
        state.left -= 1;
        if state.left > 0 {
            return false;
        }
        if state.fault.is_none() {
            let sizes: Vec<(i64, i64)> =
                state.slots.iter().map(|slot| slot.read.as_ref().map_or((0, 0), |(_, size)| *size)).collect();
            match guarded(|| self.views(&sizes)) {
                Ok(views) => state.views = Arc::new(views),
                Err(fault) => state.blame(0, fault),
            }
        }
        if state.fault.is_some() {
            self.end(state);
            return false;
        }
        state.left = state.slots.len();
        true
    }

    /// The views of images of these sizes.
    fn views(&self, sizes: &[(i64, i64)]) -> Result<Vec<Views>, Fault> {
        match (&self.request.make, &self.set.cutter) {
            (Make::Given(views), _) => Ok(views.clone()),
            (Make::Drawn(drawn), Some(cutter)) => {
                Ok(drawn.draws().map(|mut draws| cutter.draw(sizes, &mut draws)).collect())
            }
            (Make::Drawn(_), None) => Err(Fault::Internal("views of images that stay whole".into())),
            (Make::Whole(_) | Make::Centre { .. }, _) => Ok(Vec::new()),
        }
    }

    /// Decodes, crops and resizes image `at`.
    pub(crate) fn make(&self, at: usize, cropper: &mut Cropper) -> Made {
        let (read, mut parts, views) = {
            let mut state = self.lock();
            let slot = &mut state.slots[at];
            (slot.read.take(), std::mem::take(&mut slot.parts), Arc::clone(&state.views))
        };
        guarded(|| {
            let (raw, size) = read.ok_or_else(|| Fault::Internal("an image was not read".into()))?;
            let picture = self.set.images(self.request.split).decode(raw, size)?;
            debug_assert_eq!(picture.channels() as i64, self.set.channels);
            let filter = self.set.filter;
            for (number, part) in parts.iter_mut().enumerate() {
                let bytes = match &self.request.make {
                    Make::Whole(_) => Ok(cropper.whole(&picture)),
                    Make::Centre { shorter, size } => cropper.centre(&picture, *shorter, *size, filter),
                    Make::Drawn(_) | Make::Given(_) => {
                        let Crop { top, left, height, width } = self.crop(&views[number], at)?;
                        let window = Window { top, left, height, width };
                        if !window.fits(picture.size) {
                            return Err(Fault::Crop {
                                wanted: [top, left, height, width],
                                size: picture.size,
                            });
                        }
                        cropper.crop(&picture, window, filter, self.set.view)
                    }
                };
                let bytes = bytes.map_err(Fault::Internal)?;
                part.fill(bytes).map_err(|error| Fault::Internal(error.to_string()))?;
            }
            Ok(())
        })?;
        Ok(parts)
    }

    fn crop(&self, views: &Views, at: usize) -> Result<Crop, Fault> {
        let cutter = self.set.cutter.as_ref();
        let cutter = cutter.ok_or_else(|| Fault::Internal("crops of images that stay whole".into()))?;
        cutter.crop(views, at).map_err(|error| Fault::Internal(error.to_string()))
    }

    /// Takes the pictures of image `at`; with the last one, whoever waits for the batch goes on.
    pub(crate) fn take_made(&self, at: usize, made: Made) {
        let mut state = self.lock();
        match made {
            Ok(mut parts) => state.filled.append(&mut parts),
            Err(fault) => state.blame(at, fault),
        }
        state.left -= 1;
        if state.left == 0 {
            self.end(state);
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is left to be made.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits until nothing is left to be made.
    pub(crate) fn settle(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !state.over {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits for the batch and takes it.
    ///
    /// # Errors
    /// An image cannot be read or decoded, or a crop is no part of it.
    pub(crate) fn wait(&self) -> Result<Done> {
        let mut state = self.settle();
        if let Some((_, fault)) = state.fault.take() {
            return Err(fault.into());
        }
        let (parts, views) = (std::mem::take(&mut state.filled), std::mem::take(&mut state.views));
        let Some(block) = state.block.take() else {
            return Err(Fault::Internal("a batch that was taken already".into()).into());
        };
        drop(state);
        let views = Arc::unwrap_or_clone(views);
        Ok(Done { bytes: block.join(parts)?, views, images: self.request.images.clone() })
    }

    fn end(&self, mut state: MutexGuard<'_, State>) {
        state.over = true;
        drop(state);
        self.done.notify_all();
    }
}

impl State {
    fn blame(&mut self, at: usize, fault: Fault) {
        if self.fault.as_ref().is_none_or(|(before, _)| at < *before) {
            self.fault = Some((at, fault));
        }
    }
}

/// A decoder that panics costs its image, not the thread.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Fault::Internal("an image on which the decoder broke down".into())))
}
