//! A table for other programs: a line for each cell.

use super::Table;

const HEADING: [&str; 8] = ["row", "column", "mean", "deviation", "seeds", "paper", "difference", "note"];

pub(super) fn write(table: &Table) -> String {
    let mut lines = csv::Writer::from_writer(Vec::new());
    // Nothing can fail in memory.
    let _ = lines.write_record(HEADING);
    for (row, entries) in table.rows.iter().zip(&table.cells) {
        for (column, entry) in table.columns.iter().zip(entries) {
            let Some(entry) = entry else { continue };
            let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
            let ours = entry.ours.as_ref();
            let _ = lines.write_record([
                row.clone(),
                column.clone(),
                number(ours.and_then(|figures| figures.mean())),
                number(ours.and_then(|figures| figures.deviation())),
                ours.map_or(0, |figures| figures.values.len()).to_string(),
                number(entry.paper),
                number(entry.difference()),
                entry.note().unwrap_or_default(),
            ]);
        }
    }
    String::from_utf8_lossy(&lines.into_inner().unwrap_or_default()).into_owned()
}
