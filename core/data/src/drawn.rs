//! Where the draws of a batch come from.

use admix_api::{Draws, Streams};

/// The streams from which the views of a batch are drawn: one for each name.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub streams: Streams,
    pub purpose: String,
    pub views: Vec<String>,
    pub epoch: u64,
    pub step: u64,
}

impl Drawn {
    /// The draws of each view.
    pub(crate) fn draws(&self) -> impl Iterator<Item = Draws> {
        self.views.iter().map(|name| self.streams.draws(&self.purpose, name, self.epoch, self.step))
    }
}
