//! A bar for each cell, in groups by column.

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, PathElement, Rectangle};
use plotters::style::Color;

use super::Chart;
use super::style::{Failed, GRID, INK, PAPER, colour, text};

pub(super) fn draw<B: DrawingBackend>(chart: &Chart, root: &DrawingArea<B, Shift>) -> Result<(), Failed<B>> {
    let (low, high) = chart.range();
    let (groups, bars) = (chart.columns.len().max(1), chart.series.len().max(1));
    let mut builder = ChartBuilder::on(root);
    builder.margin(12).x_label_area_size(44).y_label_area_size(60);
    let mut area = builder.build_cartesian_2d(-0.5..groups as f64 - 0.5, low..high)?;
    let title = |x: &f64| {
        let near = (x - x.round()).abs() < 0.01 && x.round() >= 0.0;
        near.then(|| chart.columns.get(x.round() as usize).cloned()).flatten().unwrap_or_default()
    };
    area.configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(2 * groups + 1)
        .x_label_formatter(&title)
        .y_desc(&chart.y)
        .label_style(text(14))
        .axis_desc_style(text(15))
        .draw()?;
    let width = 0.84 / bars as f64;
    for (number, series) in chart.series.iter().enumerate() {
        let left = |x: f64| x - 0.42 + number as f64 * width;
        let rectangles = series.points.iter().map(|(x, mean, _)| {
            Rectangle::new([(left(*x), low), (left(*x) + 0.92 * width, *mean)], colour(number).filled())
        });
        area.draw_series(rectangles)?
            .label(&series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour(number).filled()));
        let spread = series.points.iter().filter(|(_, _, deviation)| *deviation > 0.0);
        area.draw_series(spread.map(|(x, mean, deviation)| {
            let middle = left(*x) + 0.46 * width;
            PathElement::new(
                vec![(middle, mean - deviation), (middle, mean + deviation)],
                INK.stroke_width(1),
            )
        }))?;
    }
    area.configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(PAPER.mix(0.7))
        .border_style(GRID)
        .label_font(text(13))
        .draw()
}
