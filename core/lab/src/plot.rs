//! Figures of an experiment.

mod bars;
mod curves;
mod heat;
mod lines;
mod style;
mod time;

use std::collections::BTreeMap;

use admix_engine::{Event, FolderState, RunFolder};
use anyhow::{Result, anyhow};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::coord::Shift;
use plotters::prelude::{BitMapBackend, DrawingArea, DrawingBackend, IntoDrawingArea, SVGBackend};

use crate::experiment::Figure;
use crate::figures::spread;
use crate::plan::Plan;
use crate::table::Table;

/// Width and height in pixels.
const SIZE: (u32, u32) = (960, 560);

/// What the vertical axis of accuracies says.
pub const PERCENT: &str = "top-1 in percent";

/// One value with its spread: x, mean, deviation.
pub type Point = (f64, f64, f64);

/// A line or a set of points with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// In the order of x.
    pub points: Vec<Point>,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Its title.
    pub title: String,
    /// What the horizontal axis shows.
    pub x: String,
    /// What the vertical axis shows.
    pub y: String,
    /// Its kind.
    pub figure: Figure,
    /// Curves, lines, points over time; of bars and maps one for each row, with the number of the column as x.
    pub series: Vec<Series>,
    /// Titles of columns, of bars and maps.
    pub columns: Vec<String>,
}

impl Chart {
    /// The chart of a plan, as far as its runs are.
    ///
    /// # Errors
    /// Nothing is there to draw, or the columns of lines are no numbers.
    pub fn of(plan: &Plan, figure: Figure) -> Result<Self> {
        let table = Table::of(plan);
        let mut chart = Self {
            title: table.title.clone(),
            x: String::new(),
            y: PERCENT.into(),
            figure,
            series: Vec::new(),
            columns: Vec::new(),
        };
        match figure {
            Figure::Curves => {
                chart.x = "epoch".into();
                chart.series = curves_of(plan);
            }
            Figure::Bars | Figure::Heat => {
                chart.columns = table.columns.clone();
                chart.series = by_row(&table, |column| Some(column as f64));
            }
            Figure::Lines => {
                let numbers: Vec<Option<f64>> = table.columns.iter().map(|title| number_in(title)).collect();
                if let Some(at) = numbers.iter().position(Option::is_none) {
                    return Err(anyhow!(
                        "the column `{}` holds no number, so a line cannot go over it: choose --kind bars",
                        table.columns[at]
                    ));
                }
                chart.series = by_row(&table, |column| numbers[column]);
            }
            Figure::Time => {
                chart.x = "training time in hours".into();
                chart.series = over_time(plan, &table);
            }
        }
        chart.series.retain(|series| !series.points.is_empty());
        if chart.series.is_empty() {
            return Err(anyhow!(
                "no run of {} has a figure yet: run `admix sweep` first",
                plan.experiment.file
            ));
        }
        Ok(chart)
    }

    /// As an SVG file. Without `opaque` the page shows through, and its style may colour texts and axes.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn svg(&self, opaque: bool) -> Result<String> {
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        self.draw(&root, opaque)?;
        drop(root);
        Ok(text)
    }

    /// As a PNG file.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut pixels = vec![0; 3 * SIZE.0 as usize * SIZE.1 as usize];
        let root = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        self.draw(&root, true)?;
        drop(root);
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(&pixels, SIZE.0, SIZE.1, ExtendedColorType::Rgb8)?;
        Ok(file)
    }

    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>, opaque: bool) -> Result<()> {
        style::register_font()?;
        let drawn = || -> Result<(), style::Failed<B>> {
            if opaque {
                root.fill(&style::PAPER)?;
            }
            let root = root.titled(&self.title, style::text(18))?;
            match self.figure {
                Figure::Curves => curves::draw(self, &root)?,
                Figure::Bars => bars::draw(self, &root)?,
                Figure::Lines => lines::draw(self, &root)?,
                Figure::Heat => heat::draw(self, &root)?,
                Figure::Time => time::draw(self, &root)?,
            }
            root.present()
        };
        drawn().map_err(|error| anyhow!("the figure cannot be drawn: {error}"))
    }

    /// Where the vertical axis begins and ends: all means and deviations with some room.
    fn range(&self) -> (f64, f64) {
        let all = self.series.iter().flat_map(|series| &series.points);
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), (_, mean, deviation)| {
            (low.min(mean - deviation), high.max(mean + deviation))
        });
        let room = if high > low { (high - low) * 0.08 } else { high.abs().max(0.01) * 0.1 };
        let most = if self.y == PERCENT { high.max(100.0) } else { f64::MAX };
        // What is never negative has no axis below zero.
        ((low - room).max(low.min(0.0)), (high + room).min(most))
    }

    /// The same for the horizontal axis.
    fn domain(&self) -> (f64, f64) {
        let all = self.series.iter().flat_map(|series| &series.points);
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), (x, ..)| (low.min(*x), high.max(*x)));
        let room = if high > low { (high - low) * 0.03 } else { 0.5 };
        (low - room, high + room)
    }
}

/// Mean and deviation of the cells of each row that have some.
fn by_row(table: &Table, x: impl Fn(usize) -> Option<f64>) -> Vec<Series> {
    let series = table.rows.iter().zip(&table.cells).map(|(name, cells)| {
        let points = cells.iter().enumerate().filter_map(|(column, entry)| {
            let figures = entry.as_ref()?.ours.as_ref()?;
            Some((x(column)?, figures.mean()?, figures.deviation().unwrap_or(0.0)))
        });
        Series { name: name.clone(), points: points.collect() }
    });
    series.collect()
}

/// A title that is a number, or the first number in it: 0.5 of "alpha 0.5".
fn number_in(title: &str) -> Option<f64> {
    let words = title.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let whole = title.trim().parse().ok().filter(|number: &f64| number.is_finite());
    whole.or_else(|| words.filter(|word| !word.is_empty()).find_map(|word| word.parse().ok()))
}

/// Accuracy over epochs of the reported head of each variant, over its seeds.
fn curves_of(plan: &Plan) -> Vec<Series> {
    let mut all = Vec::new();
    for (index, variant) in plan.experiment.runs.iter().enumerate() {
        let cell = variant.cells.first();
        let report =
            cell.and_then(|cell| cell.report.clone()).or_else(|| plan.resolved[index].recipe.reported());
        let Some(report) = report else { continue };
        let mut by_epoch: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for run in plan.of_variant(index) {
            for record in RunFolder::existing(&run.folder).records().unwrap_or_default() {
                if let Event::Evaluated { epoch, heads, .. } = record.event
                    && let Some(head) = heads.get(&report).filter(|head| head.top1.is_finite())
                {
                    by_epoch.entry(epoch).or_default().push(head.top1);
                }
            }
        }
        // A run that was cut short must not bend the end of the curve.
        let most = by_epoch.values().map(Vec::len).max().unwrap_or(0);
        let points = by_epoch.into_iter().filter(|(_, values)| values.len() == most);
        let points = points.filter_map(|(epoch, values)| {
            let (mean, deviation) = spread(&values)?;
            Some((epoch as f64, mean, deviation.unwrap_or(0.0)))
        });
        let name = match cell {
            Some(cell) if plan.experiment.columns.len() > 1 => format!("{}, {}", cell.row, cell.column),
            Some(cell) => cell.row.clone(),
            None => variant.name.clone(),
        };
        all.push(Series { name, points: points.collect() });
    }
    all
}

/// The mean accuracy of each row against the mean time of its runs.
fn over_time(plan: &Plan, table: &Table) -> Vec<Series> {
    let rows = by_row(table, |_| Some(0.0)).into_iter();
    let timed = rows.map(|series| {
        let of_row =
            |variant: &crate::experiment::Variant| variant.cells.iter().any(|cell| cell.row == series.name);
        let variant = plan.experiment.runs.iter().position(of_row);
        let runs = variant.map(|variant| plan.of_variant(variant)).into_iter().flatten();
        let hours: Vec<f64> = runs
            .filter_map(|run| match RunFolder::existing(&run.folder).state() {
                FolderState::Done(facts) => Some(facts.wall_s / 3600.0),
                _ => None,
            })
            .collect();
        let mean = hours.iter().sum::<f64>() / hours.len().max(1) as f64;
        let points = series.points.iter().take(usize::from(!hours.is_empty()));
        let points = points.map(|(_, accuracy, deviation)| (mean, *accuracy, *deviation)).collect();
        Series { points, ..series }
    });
    timed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_a_title() {
        for (title, number) in
            [("0.5", 0.5), ("alpha 2", 2.0), ("k=100", 100.0), ("-1", -1.0), ("R-18", 18.0)]
        {
            assert_eq!(number_in(title), Some(number), "{title}");
        }
        assert_eq!(number_in("top"), None);
    }

    #[test]
    fn every_figure_is_drawn_with_its_names_as_svg_and_png() {
        let point = |x: f64| (x, 60.0 + x, 1.5);
        let series =
            |name: &str| Series { name: name.into(), points: (0..3).map(|x| point(f64::from(x))).collect() };
        for (_, figure) in Figure::ALL {
            let chart = Chart {
                title: "A title <of> it".into(),
                x: "epoch".into(),
                y: "top-1 in percent".into(),
                figure,
                series: vec![series("AMix"), series("MixUp & more")],
                columns: ["a", "b", "c"].map(String::from).to_vec(),
            };
            let svg = chart.svg(true).expect("a figure");
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            for part in ["AMix", "MixUp &amp; more", "A title &lt;of&gt; it"] {
                assert!(svg.contains(part), "{figure:?}: {part}");
            }
            let png = image::load_from_memory(&chart.png().expect("a figure")).expect("a PNG").into_rgb8();
            let dark = png.pixels().filter(|pixel| pixel.0.iter().all(|value| *value < 128)).count();
            assert!(dark > 200, "{figure:?}: texts and axes are drawn");
        }
    }
}
