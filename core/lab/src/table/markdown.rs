//! A table for a page.

use super::{Entry, Table, figure, signed, with_deviation};

pub(super) fn write(table: &Table) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("{}\n\n", table.title);
    text.push_str(&row(
        &[vec![String::new()], table.columns.iter().map(|title| escaped(title)).collect()].concat()
    ));
    text.push_str(&row(&vec!["---".to_string(); table.columns.len() + 1]));
    for (title, entries) in table.rows.iter().zip(&table.cells) {
        let cells = entries.iter().map(|entry| entry.as_ref().map(cell).unwrap_or_default());
        text.push_str(&row(&[vec![escaped(title)], cells.collect()].concat()));
    }
    if let Some(gain) = &table.gain {
        let signed = |value: &Option<f64>| value.map_or("-".into(), signed);
        let cells = gain
            .ours
            .iter()
            .zip(&gain.paper)
            .map(|(ours, paper)| format!("{} ({})", signed(ours), signed(paper)));
        text.push_str(&row(&[vec![format!("gain of {}", escaped(&gain.row))], cells.collect()].concat()));
    }
    text.push_str(
        "\nOurs, and in brackets the published figure and the difference; bold is the best of ours.\n",
    );
    for note in &table.notes {
        text.push_str(&format!("{note}\n"));
    }
    text
}

fn cell(entry: &Entry) -> String {
    let ours = entry.ours.as_ref().and_then(|figures| with_deviation(figures, " ± "));
    let mut parts = Vec::new();
    parts.extend(entry.paper.map(figure));
    parts.extend(entry.difference().map(signed));
    let note = entry.note();
    let ours = match ours {
        Some(ours) => {
            parts.extend(note);
            if entry.best { format!("**{ours}**") } else { ours }
        }
        None => note.unwrap_or("-".into()),
    };
    let beside = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    escaped(&format!("{ours}{beside}"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
