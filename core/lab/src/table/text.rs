//! A table for a terminal.

use super::{Entry, Table, figure, signed, with_deviation};

pub(super) fn write(table: &Table) -> String {
    let mut rows = vec![[vec![String::new()], table.columns.clone()].concat()];
    let mut notes: Vec<String> = Vec::new();
    for (title, entries) in table.rows.iter().zip(&table.cells) {
        let mut line = vec![title.clone()];
        for (column, entry) in table.columns.iter().zip(entries) {
            line.push(entry.as_ref().map(cell).unwrap_or_default());
            // What is short stands in the cell itself.
            let told = |entry: &&Entry| {
                entry.waits.is_some() || entry.ours.as_ref().is_some_and(|ours| ours.mean().is_some())
            };
            if let Some(note) = entry.as_ref().filter(told).and_then(Entry::note) {
                notes.push(format!("{title}, {column}: {note}"));
            }
        }
        rows.push(line);
    }
    if let Some(gain) = &table.gain {
        let cells = gain.ours.iter().zip(&gain.paper).map(|(ours, paper)| {
            let signed = |value: &Option<f64>| value.map_or("-".into(), signed);
            format!("{} | {}", signed(ours), signed(paper))
        });
        rows.push([vec![format!("gain of {}", gain.row)], cells.collect()].concat());
    }
    let mut text = format!("{}\n\n{}\n", table.title, aligned(&rows));
    text.push_str("Each cell: ours | published | difference; * marks the best of ours.\n");
    // One thing that many cells wait for is said once.
    notes.dedup_by(|a, b| {
        a.split_once(": ").map(|(_, note)| note) == b.split_once(": ").map(|(_, note)| note)
    });
    for note in table.notes.iter().chain(&notes) {
        text.push_str(note);
        text.push('\n');
    }
    text
}

fn cell(entry: &Entry) -> String {
    let ours = entry.ours.as_ref().and_then(|figures| with_deviation(figures, " ± "));
    let ours = match ours {
        Some(ours) => format!("{ours}{}", if entry.best { "*" } else { "" }),
        None if entry.waits.is_some() => "waits".into(),
        None => entry.note().unwrap_or("-".into()),
    };
    match (entry.paper, entry.difference()) {
        (Some(paper), Some(difference)) => format!("{ours} | {} | {}", figure(paper), signed(difference)),
        (Some(paper), None) => format!("{ours} | {}", figure(paper)),
        (None, _) => ours,
    }
}

/// Rows as aligned columns, two blanks apart; the last column is not padded.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        let row = |a: &str, b: &str| vec![a.to_string(), b.to_string()];
        assert_eq!(aligned(&[row("a", "bb"), row("ccc", ""), row("λλ", "d")]), "a    bb\nccc\nλλ   d\n");
        assert_eq!(aligned(&[]), "");
    }
}
