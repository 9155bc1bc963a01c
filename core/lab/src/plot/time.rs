//! Accuracy against training time: a point for each row.

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, EmptyElement, Text};

use super::Chart;
use super::lines::{axes, dots};
use super::style::{Failed, text};

pub(super) fn draw<B: DrawingBackend>(chart: &Chart, root: &DrawingArea<B, Shift>) -> Result<(), Failed<B>> {
    let mut area = axes(chart, root)?;
    for (number, series) in chart.series.iter().enumerate() {
        dots(&mut area, series, number)?;
        let names = series.points.iter().map(|(x, mean, _)| {
            EmptyElement::at((*x, *mean)) + Text::new(series.name.clone(), (8, -14), text(13))
        });
        area.draw_series(names)?;
    }
    Ok(())
}
