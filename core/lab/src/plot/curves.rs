//! Accuracy over epochs, with the spread over seeds as a band.

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, LineSeries, Polygon};

use super::Chart;
use super::lines::{axes, legend};
use super::style::{Failed, colour, faint};

pub(super) fn draw<B: DrawingBackend>(chart: &Chart, root: &DrawingArea<B, Shift>) -> Result<(), Failed<B>> {
    let mut area = axes(chart, root)?;
    for (number, series) in chart.series.iter().enumerate() {
        let above = series.points.iter().map(|(x, mean, deviation)| (*x, mean + deviation));
        let below = series.points.iter().rev().map(|(x, mean, deviation)| (*x, mean - deviation));
        let band: Vec<(f64, f64)> = above.chain(below).collect();
        area.draw_series([Polygon::new(band, faint(colour(number)))])?;
        let line = series.points.iter().map(|(x, mean, _)| (*x, *mean));
        legend(area.draw_series(LineSeries::new(line, stroke(number)))?, series, number);
    }
    super::lines::labels(&mut area)
}

fn stroke(number: usize) -> plotters::style::ShapeStyle {
    use plotters::style::Color;
    colour(number).stroke_width(2)
}
