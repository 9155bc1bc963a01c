//! Accuracy over numbers: a line for each row, with its deviation at each point.

use plotters::chart::{ChartBuilder, ChartContext, SeriesAnno, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{Cartesian2d, Circle, DrawingArea, DrawingBackend, LineSeries, PathElement};
use plotters::style::Color;

use super::style::{Failed, GRID, INK, PAPER, colour, text};
use super::{Chart, Series};

/// An area with two axes of numbers.
pub(super) type Plane<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

pub(super) fn draw<B: DrawingBackend>(chart: &Chart, root: &DrawingArea<B, Shift>) -> Result<(), Failed<B>> {
    let mut area = axes(chart, root)?;
    for (number, series) in chart.series.iter().enumerate() {
        let line = series.points.iter().map(|(x, mean, _)| (*x, *mean));
        let style = colour(number).stroke_width(2);
        legend(area.draw_series(LineSeries::new(line, style))?, series, number);
        dots(&mut area, series, number)?;
    }
    labels(&mut area)
}

/// Points with their deviations.
pub(super) fn dots<B: DrawingBackend>(
    area: &mut Plane<'_, B>,
    series: &Series,
    number: usize,
) -> Result<(), Failed<B>> {
    let points = &series.points;
    area.draw_series(points.iter().map(|(x, mean, _)| Circle::new((*x, *mean), 4, colour(number).filled())))?;
    let spread = points.iter().filter(|(_, _, deviation)| *deviation > 0.0);
    area.draw_series(spread.map(|(x, mean, deviation)| {
        PathElement::new(vec![(*x, mean - deviation), (*x, mean + deviation)], colour(number).stroke_width(1))
    }))?;
    Ok(())
}

/// Axes that hold all points.
pub(super) fn axes<'a, B: DrawingBackend>(
    chart: &Chart,
    root: &DrawingArea<B, Shift>,
) -> Result<Plane<'a, B>, Failed<B>> {
    let ((left, right), (low, high)) = (chart.domain(), chart.range());
    let mut builder = ChartBuilder::on(root);
    builder.margin(12).x_label_area_size(44).y_label_area_size(60);
    let mut area = builder.build_cartesian_2d(left..right, low..high)?;
    area.configure_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .label_style(text(14))
        .axis_desc_style(text(15))
        .draw()?;
    Ok(area)
}

/// A number with no more digits than it needs.
fn short(value: &f64) -> String {
    let rounded = format!("{value:.6}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Names a series.
pub(super) fn legend<B: DrawingBackend>(anno: &mut SeriesAnno<'_, B>, series: &Series, number: usize) {
    anno.label(&series.name)
        .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour(number).stroke_width(3)));
}

/// Draws the names of all series.
pub(super) fn labels<'a, B: DrawingBackend + 'a>(area: &mut Plane<'a, B>) -> Result<(), Failed<B>> {
    area.configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(PAPER.mix(0.7))
        .border_style(GRID)
        .label_font(text(13))
        .draw()
}
