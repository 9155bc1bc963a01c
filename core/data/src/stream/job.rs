//! One batch on its way through the threads.
//!
//! First every file is read, for its size: what is drawn for an image depends on it, and all images of a batch share one
//! stream of draws, as in resident sets. Once the last one is read, the views are drawn; then every image is decoded,
//! cropped and resized on its own.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use admix_torch::{HostBlock, HostPart, Tensor};

use super::fault::Fault;
use super::images::{Images, Raw};
use super::picture::{Cropper, Window};
use crate::augment::{Crop, Cutter, Interpolation, Views};
use crate::drawn::Drawn;
use crate::laws::shares;
use crate::{Result, Split};

/// What threads know of a dataset.
pub(crate) struct Set {
    pub train: Arc<Images>,
    pub test: Arc<Images>,
    /// How the views of each group are made.
    pub cuts: Vec<Cut>,
    /// Height and width of the images, where all have the same.
    pub one_size: Option<(i64, i64)>,
    /// That of images that are measured.
    pub filter: Interpolation,
    pub channels: i64,
}

/// What threads do for the views of a group.
pub(crate) struct Cut {
    /// Views of the group.
    pub views: usize,
    /// What they are drawn by; `None` where images stay whole.
    pub cutter: Option<Arc<dyn Cutter>>,
    /// Height and width of a view.
    pub size: (i64, i64),
}

impl Set {
    pub(crate) fn images(&self, split: Split) -> &Images {
        match split {
            // A streamed set has no images without labels.
            Split::Train | Split::Labelled => &self.train,
            Split::Test => &self.test,
        }
    }

    /// Which of so many views each group makes.
    pub(crate) fn shares(&self, views: usize) -> Vec<Range<usize>> {
        shares(self.cuts.iter().map(|cut| cut.views).collect(), views)
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

/// A picture that is made of each image.
#[derive(Clone, Copy)]
enum Picture {
    Whole,
    Centre { shorter: i64, size: i64 },
    View { group: usize, view: usize },
}

/// Pictures of one size.
struct Sheet {
    /// Height and width.
    size: (i64, i64),
    pictures: Vec<Picture>,
}

impl Request {
    /// What is made of each image: for views, a sheet for each group that has any. A group whose images stay whole has them
    /// once, however many views the device makes of them.
    fn sheets(&self, set: &Set) -> Result<Vec<Sheet>> {
        let views = match &self.make {
            &Make::Whole(size) => return Ok(vec![Sheet { size, pictures: vec![Picture::Whole] }]),
            &Make::Centre { shorter, size } => {
                let pictures = vec![Picture::Centre { shorter, size }];
                return Ok(vec![Sheet { size: (size, size), pictures }]);
            }
            Make::Drawn(drawn) => drawn.views.len(),
            Make::Given(views) => views.len(),
        };
        let mut sheets = Vec::new();
        for (group, share) in set.shares(views).into_iter().enumerate().filter(|(_, share)| !share.is_empty())
        {
            let Cut { cutter, size, .. } = &set.cuts[group];
            sheets.push(match (cutter, set.one_size) {
                (Some(_), _) => {
                    let pictures = share.map(|view| Picture::View { group, view }).collect();
                    Sheet { size: *size, pictures }
                }
                (None, Some(size)) => Sheet { size, pictures: vec![Picture::Whole] },
                (None, None) => return Err(Fault::Internal("views of images that stay whole".into()).into()),
            });
        }
        Ok(sheets)
    }
}

/// A batch that is made.
pub(crate) struct Done {
    /// For each group of views that has any, bytes `[V * N, C, h, w]` in host memory: all images of its first view, then of
    /// the next; `[N, C, H, W]` of images that stay whole.
    pub bytes: Vec<Tensor>,
    /// What was drawn or given. Views of images that stay whole are not drawn here, but have their place.
    pub views: Vec<Views>,
    /// Positions in the split.
    pub images: Vec<usize>,
}

impl Done {
    /// The bytes of images that are measured.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn measured(&self) -> Result<&Tensor> {
        self.bytes.first().ok_or_else(|| Fault::Internal("a batch without pictures".into()).into())
    }
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
    /// One for each sheet, with its parts that are filled; taken with the batch.
    blocks: Option<Vec<(HostBlock, Vec<HostPart>)>>,
    views: Arc<Vec<Views>>,
    /// Images that the current stage has not done yet.
    left: usize,
    /// That of the first image that has one, so that the message does not depend on timing.
    fault: Option<(usize, Fault)>,
    over: bool,
}

pub(crate) struct Job {
    set: Arc<Set>,
    request: Request,
    /// What is made of each image, and the number of its sheet.
    pictures: Vec<(usize, Picture)>,
    given_up: AtomicBool,
    state: Mutex<State>,
    done: Condvar,
}

impl Job {
    /// A job and its host memory.
    pub(crate) fn new(set: Arc<Set>, request: Request, pinned: bool) -> Result<Self> {
        let n = request.images.len();
        let mut slots: Vec<Slot> = (0..n).map(|_| Slot { read: None, parts: Vec::new() }).collect();
        let (mut blocks, mut pictures) = (Vec::new(), Vec::new());
        for (number, Sheet { size: (height, width), pictures: own }) in
            request.sheets(&set)?.into_iter().enumerate()
        {
            let size = [(own.len() * n) as i64, set.channels, height, width];
            let (block, parts) = HostBlock::new(&size, pinned)?;
            for (at, part) in parts.into_iter().enumerate() {
                slots[at % n].parts.push(part);
            }
            blocks.push((block, Vec::with_capacity(own.len() * n)));
            pictures.extend(own.into_iter().map(|picture| (number, picture)));
        }
        let state =
            State { slots, blocks: Some(blocks), views: Arc::default(), left: n, fault: None, over: n == 0 };
        let (given_up, done) = (AtomicBool::new(false), Condvar::new());
        Ok(Self { set, request, pictures, given_up, state: Mutex::new(state), done })
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
        let drawn = match &self.request.make {
            Make::Given(views) => return Ok(views.clone()),
            Make::Drawn(drawn) => drawn,
            Make::Whole(_) | Make::Centre { .. } => return Ok(Vec::new()),
        };
        let (mut draws, mut views) = (drawn.draws(), Vec::with_capacity(drawn.views.len()));
        for (cut, share) in self.set.cuts.iter().zip(self.set.shares(drawn.views.len())) {
            views.extend(draws.by_ref().take(share.len()).map(|mut draws| match &cut.cutter {
                Some(cutter) => cutter.draw(sizes, &mut draws),
                None => Vec::<()>::new().into(),
            }));
        }
        Ok(views)
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
            for ((_, what), part) in self.pictures.iter().zip(&mut parts) {
                let bytes = match *what {
                    Picture::Whole => Ok(cropper.whole(&picture)),
                    Picture::Centre { shorter, size } => {
                        cropper.centre(&picture, shorter, size, self.set.filter)
                    }
                    Picture::View { group, view } => {
                        let Cut { cutter, size, .. } = &self.set.cuts[group];
                        let whole = || Fault::Internal("crops of images that stay whole".into());
                        let cutter = cutter.as_ref().ok_or_else(whole)?;
                        let crop = cutter.crop(&views[view], at);
                        let Crop { top, left, height, width } =
                            crop.map_err(|error| Fault::Internal(error.to_string()))?;
                        let window = Window { top, left, height, width };
                        if !window.fits(picture.size) {
                            return Err(Fault::Crop {
                                wanted: [top, left, height, width],
                                size: picture.size,
                            });
                        }
                        cropper.crop(&picture, window, cutter.filter(), *size)
                    }
                };
                let bytes = bytes.map_err(Fault::Internal)?;
                part.fill(bytes).map_err(|error| Fault::Internal(error.to_string()))?;
            }
            Ok(())
        })?;
        Ok(parts)
    }

    /// Takes the pictures of image `at`; with the last one, whoever waits for the batch goes on.
    pub(crate) fn take_made(&self, at: usize, made: Made) {
        let mut state = self.lock();
        match made {
            Ok(parts) => {
                for ((sheet, _), part) in self.pictures.iter().zip(parts) {
                    if let Some(blocks) = &mut state.blocks {
                        blocks[*sheet].1.push(part);
                    }
                }
            }
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
        let views = std::mem::take(&mut state.views);
        let Some(blocks) = state.blocks.take() else {
            return Err(Fault::Internal("a batch that was taken already".into()).into());
        };
        drop(state);
        let joined = blocks.into_iter().map(|(block, parts)| block.join(parts));
        let bytes = joined.collect::<Result<_, _>>()?;
        Ok(Done { bytes, views: Arc::unwrap_or_clone(views), images: self.request.images.clone() })
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
