//! `t.has_mixer` and `t.needs`: what the recipe's mixers are.

use admix_api::did_you_mean;

use crate::method::handle::{Call, Step, record};
use crate::method::verb::mix;
use crate::method::{Entry, Frame, line};
use crate::text::list;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.has_mixer(name)`", "whether the recipe has a mixer of this name"),
        line(
            "`t.needs(mixer, key)`",
            "whether a mix of this mixer must be given `\"features\"`, `\"saliency\"` or `\"pseudo\"`",
        ),
    ],
    register: |engine| {
        engine.register_fn("has_mixer", |t: &mut Step, name: &str| {
            mix::index(t.0.borrow().world(), name).is_ok()
        });
        engine.register_fn("needs", |call: Call<'_>, t: &mut Step, mixer: &str, key: &str| {
            record(&call, &t.0, |frame, _| needs(frame, mixer, key))
        });
    },
};

/// Whether a mixer reads this key of a mix beside the images.
fn needs(frame: &Frame, mixer: &str, key: &str) -> Result<bool> {
    const KEYS: [&str; 3] = ["features", "saliency", "pseudo"];
    if !KEYS.contains(&key) {
        let hint = did_you_mean(key, KEYS);
        return Err(Error::Input(format!("a mixer may need {}, not `{key}`{hint}", list(KEYS))));
    }
    let world = frame.world();
    Ok(world.mixers[mix::index(world, mixer)?].needs.keys().0.contains(&key))
}
