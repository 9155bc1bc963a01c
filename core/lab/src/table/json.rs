//! A table with all that is known, as one line of JSON.

use serde_json::{Value, json};

use super::Table;

pub(super) fn write(table: &Table) -> String {
    let mut cells: Vec<Value> = Vec::new();
    for (row, entries) in table.rows.iter().zip(&table.cells) {
        for (column, entry) in table.columns.iter().zip(entries) {
            let Some(entry) = entry else { continue };
            let ours = entry.ours.as_ref();
            cells.push(json!({
                "row": row,
                "column": column,
                "mean": ours.and_then(|figures| figures.mean()),
                "deviation": ours.and_then(|figures| figures.deviation()),
                "values": ours.map(|figures| &figures.values),
                "wanted": ours.map(|figures| figures.wanted),
                "paper": entry.paper,
                "difference": entry.difference(),
                "best": entry.best,
                "note": entry.note(),
            }));
        }
    }
    let gain =
        table.gain.as_ref().map(|gain| json!({ "row": gain.row, "ours": gain.ours, "paper": gain.paper }));
    let whole = json!({
        "title": table.title, "rows": table.rows, "columns": table.columns, "cells": cells, "gain": gain, "notes": table.notes,
    });
    format!("{whole}\n")
}
