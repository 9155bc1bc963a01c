//! Colours and letters of figures.

use anyhow::{Result, anyhow};
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{DrawingBackend, FontStyle, IntoFont, RGBColor, TextStyle};
use plotters::style::{Color, IntoTextStyle, register_font as register};

/// What a backend refuses.
pub(super) type Failed<B> = DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>;

/// The ground of a figure that stands alone.
pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
/// Letters and axes.
pub(super) const INK: RGBColor = RGBColor(0, 0, 0);
/// Lines behind the figure.
pub(super) const GRID: RGBColor = RGBColor(200, 200, 200);

/// Okabe and Ito's colours, which people with any kind of colour vision tell apart, and six more.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 40),
    RGBColor(130, 60, 180),
    RGBColor(120, 120, 120),
    RGBColor(190, 30, 45),
    RGBColor(20, 70, 60),
    RGBColor(150, 200, 60),
];

/// The colour of the series of this number. Beyond twelve they come again.
pub(super) fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// Letters of this size.
pub(super) fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK).into_text_style(&(0, 0))
}

/// Lays the letters in: they are the same on every machine.
pub(super) fn register_font() -> Result<()> {
    for style in [FontStyle::Normal, FontStyle::Bold] {
        register("sans-serif", style, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| anyhow!("the letters of figures cannot be read"))?;
    }
    Ok(())
}

/// From dark blue over green to yellow, each step lighter than the one before: 0 to 1.
pub(super) fn shade(value: f64) -> RGBColor {
    // Five points of the viridis map of matplotlib.
    const POINTS: [[f64; 3]; 5] = [
        [68.0, 1.0, 84.0],
        [59.0, 82.0, 139.0],
        [33.0, 145.0, 140.0],
        [94.0, 201.0, 98.0],
        [253.0, 231.0, 37.0],
    ];
    let at = value.clamp(0.0, 1.0) * (POINTS.len() - 1) as f64;
    let low = (at as usize).min(POINTS.len() - 2);
    let share = at - low as f64;
    let mix = |channel: usize| {
        (POINTS[low][channel] * (1.0 - share) + POINTS[low + 1][channel] * share).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

/// A colour that shows the paper through.
pub(super) fn faint(colour: RGBColor) -> plotters::style::RGBAColor {
    colour.mix(0.18)
}
