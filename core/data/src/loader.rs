//! The batches of one pass over the training images, in order; of a streamed set they are made ahead.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use admix_api::{Streams, spans};
use admix_torch::Tensor;

use crate::batch::Batch;
use crate::dataset::Dataset;
use crate::drawn::Drawn;
use crate::stream::Ticket;
use crate::tensors::upload;
use crate::{Error, Result, Split};

/// What a pass goes through.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Of which images: `Train` or `Labelled`.
    pub split: Split,
    /// Positions in that split.
    pub order: Vec<i64>,
    /// Images of a batch; the last one takes what is left.
    pub batch: usize,
    /// Which batches of the order, one after the other: batch `i` begins at image `i * batch`.
    pub batches: Vec<usize>,
    /// All randomness of the run.
    pub streams: Streams,
    /// What the draws are for: "augment".
    pub purpose: String,
    /// A name of its own for the draws of each view.
    pub views: Vec<String>,
    /// The epoch of the draws.
    pub epoch: u64,
    /// Added to a batch's number: the step of its draws.
    pub first_step: u64,
}

impl Pass {
    fn range(&self, batch: usize) -> Range<usize> {
        let start = batch.saturating_mul(self.batch).min(self.order.len());
        start..start.saturating_add(self.batch).min(self.order.len())
    }

    fn drawn(&self, batch: usize) -> Drawn {
        Drawn {
            streams: self.streams,
            purpose: self.purpose.clone(),
            views: self.views.clone(),
            epoch: self.epoch,
            step: self.first_step + batch as u64,
        }
    }
}

/// Hands out the batches of a [`Pass`]. Dropped, it gives up those that are on their way.
pub struct Loader {
    pass: Pass,
    /// How many batches were handed out.
    next: usize,
    source: Supply,
    waited: Duration,
}

enum Supply {
    /// Gathered on the device; the order lies there.
    Device(Tensor),
    /// Made by threads: the batches from `next` on that were asked for.
    Threads(VecDeque<Ticket>),
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("next", &self.next).field("waited", &self.waited).finish()
    }
}

/// Batches of a streamed set that are on their way or wait to be taken, the one that is waited for included.
pub const AHEAD: usize = 4;

impl Loader {
    pub(crate) fn new(dataset: &Dataset, pass: Pass) -> Result<Self> {
        if pass.views.is_empty() || pass.batch == 0 {
            let got = format!("{} views of batches of {}", pass.views.len(), pass.batch);
            let wanted = "at least one view and one image".into();
            return Err(Error::Shape { what: "a pass over the training images", got, wanted });
        }
        let source = match &dataset.stream {
            None => Supply::Device(upload(&pass.order, dataset.device)?),
            Some(_) => {
                dataset.checked(pass.split, &pass.order)?;
                Supply::Threads(VecDeque::with_capacity(AHEAD))
            }
        };
        let mut loader = Self { next: 0, pass, source, waited: Duration::ZERO };
        loader.ask(dataset)?;
        Ok(loader)
    }

    /// Keeps so many batches on their way.
    fn ask(&mut self, dataset: &Dataset) -> Result<()> {
        let (Supply::Threads(tickets), Some(stream)) = (&mut self.source, &dataset.stream) else {
            return Ok(());
        };
        while tickets.len() < AHEAD {
            let Some(&batch) = self.pass.batches.get(self.next + tickets.len()) else { break };
            let images = self.pass.order[self.pass.range(batch)].iter().map(|&at| at as usize).collect();
            tickets.push_back(stream.ask_views(images, self.pass.drawn(batch))?);
        }
        Ok(())
    }

    /// The next batch; `None` at the end of the pass. `dataset` is the one that the loader is of.
    ///
    /// # Errors
    /// An image of the batch cannot be read or decoded; libtorch's own.
    pub fn next_batch(&mut self, dataset: &Dataset) -> Result<Option<Batch>> {
        let Some(&number) = self.pass.batches.get(self.next) else { return Ok(None) };
        let (range, drawn) = (self.pass.range(number), self.pass.drawn(number));
        let batch = match &mut self.source {
            Supply::Device(order) => {
                let index = order.f_narrow(0, range.start as i64, range.len() as i64)?;
                self.next += 1;
                dataset.drawn_batch(self.pass.split, &index, &drawn)?
            }
            Supply::Threads(tickets) => {
                let Some(ticket) = tickets.pop_front() else {
                    let (got, wanted) = ("another dataset".into(), "the dataset it was made for".into());
                    return Err(Error::Shape { what: "a loader", got, wanted });
                };
                self.next += 1;
                let begin = Instant::now();
                let waiting = spans::part(|| "data: waiting".into(), 0);
                ticket.settle();
                drop(waiting);
                self.waited += begin.elapsed();
                let batch = dataset.of_drawn(ticket, &drawn)?;
                self.ask(dataset)?;
                batch
            }
        };
        Ok(Some(batch))
    }

    /// Whether the next batch can be had without waiting.
    pub fn is_ready(&self) -> bool {
        match &self.source {
            Supply::Device(_) => true,
            Supply::Threads(tickets) => tickets.front().is_none_or(Ticket::is_over),
        }
    }

    /// Time that was spent waiting for threads so far; nothing for a resident set.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Dataset {
    /// The batches of a pass over the training images. Of a streamed set [`AHEAD`] batches are made ahead.
    ///
    /// # Errors
    /// A position outside the training images, no view, batches of no image.
    pub fn loader(&self, pass: Pass) -> Result<Loader> {
        Loader::new(self, pass)
    }
}
