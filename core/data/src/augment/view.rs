//! One view of one image: where it is cropped and what happens to its colours, drawn on the host.

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
}
