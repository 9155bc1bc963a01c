//! Slowest: the slowest stretch of training, in a file of the run folder.

use std::path::PathBuf;

use admix_engine::{Error, Event, Logger, LoggerConfig, Opening, Record, Result};

admix_api::settings! {
    /// Has no settings.
    pub struct Slowest {}
}

admix_api::describe! {
    dyn Logger, dyn LoggerConfig: Slowest, "Slowest", "slowest", "the least images per second, in slowest.txt",
    source: "an example", served: ()
}

#[derive(Debug)]
struct Least {
    path: PathBuf,
    images_per_s: f64,
}

impl LoggerConfig for Slowest {
    fn validate(&self) -> admix_api::Result<()> {
        Ok(())
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Logger>> {
        Ok(Box::new(Least { path: opening.folder.join("slowest.txt"), images_per_s: f64::INFINITY }))
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

impl Logger for Least {
    fn take(&mut self, record: &Record) -> Result<()> {
        let Event::Train { images_per_s, step, .. } = &record.event else { return Ok(()) };
        if *images_per_s >= self.images_per_s {
            return Ok(());
        }
        self.images_per_s = *images_per_s;
        let line = format!("step {step}: {images_per_s:.1} images/s\n");
        std::fs::write(&self.path, line)
            .map_err(|source| Error::Input(format!("cannot write {}: {source}", self.path.display())))
    }
}
