//! One view of one image: where it is cropped and what happens to its colours, drawn on the host.

use admix_api::Draws;

use super::Moco;

/// One operation of the colour jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Multiplied by the factor.
    Brightness,
    /// Blended with the mean of the grey image.
    Contrast,
    /// Blended with the grey image.
    Saturation,
    /// Turned on the colour circle.
    Hue,
}

/// All operations, in the order in which factors are drawn.
pub(crate) const CHANGES: [Change; 4] =
    [Change::Brightness, Change::Contrast, Change::Saturation, Change::Hue];

/// The colour jitter of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// The operations in the order in which they happen; each of them once.
    pub order: [Change; 4],
    /// Factor of the brightness, at least 0; 1 leaves it.
    pub brightness: f64,
    /// Factor of the contrast.
    pub contrast: f64,
    /// Factor of the saturation.
    pub saturation: f64,
    /// Share of the colour circle, -0.5 to 0.5.
    pub hue: f64,
}

/// What makes one view of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// First row of the crop.
    pub top: i64,
    /// First column of the crop.
    pub left: i64,
    /// Rows of the crop, at least 1.
    pub height: i64,
    /// Columns of the crop, at least 1.
    pub width: i64,
    /// Flip left to right.
    pub flip: bool,
    /// The colour jitter, where its coin fell so.
    pub jitter: Option<Jitter>,
    /// Turn grey.
    pub grey: bool,
    /// Standard deviation of the blur in pixels, where its coin fell so.
    pub blur: Option<f64>,
}

impl View {
    /// The whole image of this size, unchanged but for its resizing.
    pub fn whole(height: i64, width: i64) -> Self {
        Self { top: 0, left: 0, height, width, flip: false, jitter: None, grey: false, blur: None }
    }

    /// Draws for an image of `height` and `width`: crop, flip, jitter, grey, blur, in this order.
    pub(crate) fn draw(law: &Moco, height: i64, width: i64, draws: &mut Draws) -> Self {
        let (top, left, crop_height, crop_width) = crop(law, height, width, draws);
        Self {
            top,
            left,
            height: crop_height,
            width: crop_width,
            flip: draws.coin(law.flip),
            jitter: draws.coin(law.jitter).then(|| jitter(law, draws)),
            grey: draws.coin(law.grey),
            blur: draws.coin(law.blur).then(|| between(law.sigma, draws)),
        }
    }

    /// The same for `n` images of one size.
    pub(crate) fn draw_all(
        law: &Moco,
        n: usize,
        (height, width): (i64, i64),
        draws: &mut Draws,
    ) -> Vec<Self> {
        (0..n).map(|_| Self::draw(law, height, width, draws)).collect()
    }
}

fn between((low, high): (f64, f64), draws: &mut Draws) -> f64 {
    low + (high - low) * draws.uniform()
}

/// Tries before the crop falls back to the centre, as torchvision.
const TRIES: usize = 10;

/// A crop of random area, shape and place: top, left, height, width.
fn crop(law: &Moco, height: i64, width: i64, draws: &mut Draws) -> (i64, i64, i64, i64) {
    let area = (height * width) as f64;
    let logarithms = (law.ratio.0.ln(), law.ratio.1.ln());
    for _ in 0..TRIES {
        let target = area * between(law.scale, draws);
        let aspect = between(logarithms, draws).exp();
        let w = (target * aspect).sqrt().round_ties_even() as i64;
        let h = (target / aspect).sqrt().round_ties_even() as i64;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = draws.below((height - h + 1) as usize) as i64;
            let left = draws.below((width - w + 1) as usize) as i64;
            return (top, left, h, w);
        }
    }
    // The largest centred crop whose shape is within the range.
    let shape = width as f64 / height as f64;
    let (h, w) = if shape < law.ratio.0 {
        (((width as f64 / law.ratio.0).round_ties_even() as i64).min(height), width)
    } else if shape > law.ratio.1 {
        (height, ((height as f64 * law.ratio.1).round_ties_even() as i64).min(width))
    } else {
        (height, width)
    };
    let (h, w) = (h.max(1), w.max(1));
    ((height - h) / 2, (width - w) / 2, h, w)
}

fn jitter(law: &Moco, draws: &mut Draws) -> Jitter {
    let order = draws.permutation(4);
    let mut factor = |strength: f64| between(((1.0 - strength).max(0.0), 1.0 + strength), draws);
    Jitter {
        order: std::array::from_fn(|place| CHANGES[order[place] as usize]),
        brightness: factor(law.brightness),
        contrast: factor(law.contrast),
        saturation: factor(law.saturation),
        hue: between((-law.hue, law.hue), draws),
    }
}
