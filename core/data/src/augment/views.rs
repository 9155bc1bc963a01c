//! What was drawn for one view of a batch.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::{Error, Result};

/// What happens to each image of a batch in one view, drawn on the host: a value of the augmentation's own type per image.
#[derive(Clone)]
pub struct Views {
    len: usize,
    drawn: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").field("len", &self.len).finish()
    }
}

impl<T: Send + Sync + 'static> From<Vec<T>> for Views {
    fn from(drawn: Vec<T>) -> Self {
        Self { len: drawn.len(), drawn: Arc::new(drawn) }
    }
}

impl Views {
    /// How many images it is for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it is for no image.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values; `wanted` names them in the message.
    ///
    /// # Errors
    /// They are of another augmentation.
    pub fn of<T: 'static>(&self, wanted: &str) -> Result<&[T]> {
        self.drawn.downcast_ref::<Vec<T>>().map(Vec::as_slice).ok_or_else(|| Error::Shape {
            what: "an augmentation",
            got: "draws of another one".into(),
            wanted: format!("{wanted}, as the dataset's augmentation draws"),
        })
    }
}
