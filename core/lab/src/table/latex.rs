//! A table for a paper.

use super::{Entry, Table, figure, signed, with_deviation};

pub(super) fn write(table: &Table) -> String {
    let row = |cells: &[String]| format!("{} \\\\\n", cells.join(" & "));
    let titles: Vec<String> = table.columns.iter().map(|title| escaped(title)).collect();
    let mut text =
        format!("% {}\n\\begin{{tabular}}{{l{}}}\n\\hline\n", table.title, "c".repeat(titles.len()));
    text.push_str(&row(&[vec![String::new()], titles].concat()));
    text.push_str("\\hline\n");
    for (title, entries) in table.rows.iter().zip(&table.cells) {
        let cells = entries.iter().map(|entry| entry.as_ref().map(cell).unwrap_or_default());
        text.push_str(&row(&[vec![escaped(title)], cells.collect()].concat()));
    }
    text.push_str("\\hline\n");
    if let Some(gain) = &table.gain {
        let signed = |value: &Option<f64>| value.map_or("--".into(), |value| format!("${}$", signed(value)));
        let cells = gain
            .ours
            .iter()
            .zip(&gain.paper)
            .map(|(ours, paper)| format!("{} ({})", signed(ours), signed(paper)));
        text.push_str(&row(&[vec![format!("gain of {}", escaped(&gain.row))], cells.collect()].concat()));
        text.push_str("\\hline\n");
    }
    text.push_str("\\end{tabular}\n");
    for note in &table.notes {
        text.push_str(&format!("% {note}\n"));
    }
    text
}

fn cell(entry: &Entry) -> String {
    let ours = entry.ours.as_ref().and_then(|figures| with_deviation(figures, " $\\pm$ "));
    let ours = match ours {
        Some(ours) if entry.best => format!("\\textbf{{{ours}}}"),
        Some(ours) => ours,
        None => "--".into(),
    };
    // A figure of fewer seeds must not pass for one of all.
    let part = entry.ours.as_ref().filter(|figures| (figures.values.len() as u64) < figures.wanted);
    let part = part.filter(|figures| !figures.values.is_empty());
    let part = part.map(|figures| format!("{} of {} seeds", figures.values.len(), figures.wanted));
    let beside: Vec<String> = entry.paper.map(figure).into_iter().chain(part).collect();
    if beside.is_empty() { ours } else { format!("{ours} ({})", beside.join(", ")) }
}

fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => safe.extend(['\\', c]),
            '\\' => safe.push_str("\\textbackslash{}"),
            '~' => safe.push_str("\\textasciitilde{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            c => safe.push(c),
        }
    }
    safe
}
