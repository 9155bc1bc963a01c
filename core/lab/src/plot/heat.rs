//! A map of colours: rows by columns, each cell with its figure.

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, RGBColor};

use super::Chart;
use super::style::{Failed, INK, PAPER, shade, text};

/// Room for titles of rows and of columns, in pixels.
const MARGIN: (i32, i32) = (190, 60);

pub(super) fn draw<B: DrawingBackend>(chart: &Chart, root: &DrawingArea<B, Shift>) -> Result<(), Failed<B>> {
    let (width, height) = root.dim_in_pixel();
    let across = (width as i32 - MARGIN.0 - 20) / chart.columns.len().max(1) as i32;
    let down = (height as i32 - MARGIN.1 - 20) / chart.series.len().max(1) as i32;
    let means = || chart.series.iter().flat_map(|series| series.points.iter().map(|(_, mean, _)| *mean));
    let (low, high) = means().fold((f64::MAX, f64::MIN), |(low, high), mean| (low.min(mean), high.max(mean)));
    let centred = |colour: RGBColor, size: u32| {
        let mut style = text(size).pos(Pos::new(HPos::Center, VPos::Center));
        style.color = colour.to_backend_color();
        style
    };
    for (row, series) in chart.series.iter().enumerate() {
        let top = row as i32 * down + 10;
        let beside = text(14).pos(Pos::new(HPos::Right, VPos::Center));
        root.draw(&Text::new(series.name.clone(), (MARGIN.0 - 10, top + down / 2), beside))?;
        for (column, mean, _) in &series.points {
            let left = MARGIN.0 + *column as i32 * across;
            let value = if high > low { (mean - low) / (high - low) } else { 0.5 };
            let fill = shade(value);
            root.draw(&Rectangle::new([(left, top), (left + across - 2, top + down - 2)], fill.filled()))?;
            // The upper part of the map is light. A page that colours black letters leaves these alone.
            let ink = if value > 0.6 { RGBColor(17, 17, 17) } else { PAPER };
            let place = (left + across / 2, top + down / 2);
            root.draw(&Text::new(format!("{mean:.2}"), place, centred(ink, 15)))?;
        }
    }
    let below = chart.series.len() as i32 * down + 26;
    for (column, title) in chart.columns.iter().enumerate() {
        let place = (MARGIN.0 + column as i32 * across + across / 2, below);
        root.draw(&Text::new(title.clone(), place, centred(INK, 14)))?;
    }
    Ok(())
}
