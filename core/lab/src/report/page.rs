//! The page of a report.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Summary, Told};
use crate::table::{Entry, Table};

pub(super) fn write(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                a.skip href="#main" { "Skip to the results" }
                header {
                    h1 { (report.title) }
                    @if report.runs.len() > 1 {
                        nav aria-label="Runs" {
                            ul {
                                @for (number, run) in report.runs.iter().enumerate() {
                                    li { a href={ "#run-" (number) } { (run.name) } }
                                }
                            }
                        }
                    }
                }
                main #main {
                    @for summary in &report.experiments { (experiment(summary)) }
                    @if report.runs.len() > 1 { (overview(&report.runs)) (differences(&report.runs)) }
                    @for (number, told) in report.runs.iter().enumerate() { (run(number, told)) }
                }
            }
        }
    };
    page.into_string()
}

fn experiment(summary: &Summary) -> Markup {
    html! {
        section {
            h2 { "Table" }
            (table(&summary.table))
            @for (kind, svg) in &summary.figures {
                h2 { (kind) }
                (figure(kind, svg))
            }
            details {
                summary { "The table as CSV" }
                pre tabindex="0" { (summary.csv) }
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Table" {
            table {
                caption { (table.title) }
                thead { tr { td {} @for title in &table.columns { th scope="col" { (title) } } } }
                tbody {
                    @for (title, entries) in table.rows.iter().zip(&table.cells) {
                        tr {
                            th scope="row" { (title) }
                            @for entry in entries { td { @if let Some(entry) = entry { (cell(entry)) } } }
                        }
                    }
                    @if let Some(gain) = &table.gain {
                        tr {
                            th scope="row" { "gain of " (gain.row) }
                            @for (ours, paper) in gain.ours.iter().zip(&gain.paper) {
                                td {
                                    (ours.map_or("-".into(), |value| format!("{value:+.2}")))
                                    @if let Some(paper) = paper { small { " (published " (format!("{paper:+.2}")) ")" } }
                                }
                            }
                        }
                    }
                }
            }
        }
        @for note in &table.notes { p.note { (note) } }
    }
}

fn cell(entry: &Entry) -> Markup {
    let mean = entry.ours.as_ref().and_then(|figures| figures.mean());
    let deviation = entry.ours.as_ref().and_then(|figures| figures.deviation());
    html! {
        @if let Some(mean) = mean {
            @if entry.best { strong { (format!("{mean:.2}")) } } @else { (format!("{mean:.2}")) }
            @if let Some(deviation) = deviation { " ± " (format!("{deviation:.2}")) }
        }
        @if let Some(paper) = entry.paper {
            small { " (published " (format!("{paper:.2}")) @if let Some(d) = entry.difference() { ", " (format!("{d:+.2}")) } ")" }
        }
        @if let Some(note) = entry.note() { small.note { " " (note) } }
    }
}

fn figure(title: &str, svg: &str) -> Markup {
    // A drawing is one picture for those who cannot see it: what it comes to stands in the tables.
    let labelled = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(title)), 1);
    html! { figure { (PreEscaped(labelled)) } }
}

fn escaped(text: &str) -> String {
    html! { (text) }.into_string().replace('"', "&quot;")
}

fn overview(runs: &[Told]) -> Markup {
    html! {
        section {
            h2 { "Runs" }
            div.wide tabindex="0" role="region" aria-label="Runs" {
                table {
                    thead {
                        tr {
                            @for title in ["run", "state", "epochs", "reported", "median of last 10", "best", "hours"] {
                                th scope="col" { (title) }
                            }
                        }
                    }
                    tbody {
                        @for (number, run) in runs.iter().enumerate() {
                            tr {
                                th scope="row" { a href={ "#run-" (number) } { (run.name) } }
                                td { (run.state) }
                                @if let Some(facts) = &run.facts {
                                    @let report = facts.summary.report.as_ref();
                                    @let head = report.and_then(|report| facts.summary.heads.get(report));
                                    td { (facts.summary.epoch) }
                                    td { (report.map_or("", String::as_str)) }
                                    td { (head.map(|head| percent(head.median_last_10)).unwrap_or_default()) }
                                    td { (head.map(|head| percent(head.best)).unwrap_or_default()) }
                                    td { (format!("{:.2}", facts.wall_s / 3600.0)) }
                                } @else { td colspan="5" { "no end yet" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn percent(value: f64) -> String {
    if value.is_finite() { format!("{value:.2} %") } else { "none (not finite)".into() }
}

/// The settings in which the runs differ.
fn differences(runs: &[Told]) -> Markup {
    let by_name: Vec<BTreeMap<&str, &str>> = runs
        .iter()
        .map(|run| run.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
        .collect();
    let names: BTreeSet<&str> = by_name.iter().flat_map(|settings| settings.keys().copied()).collect();
    let differ = |name: &&str| by_name.iter().any(|settings| settings.get(name) != by_name[0].get(name));
    let names: Vec<&str> = names.into_iter().filter(differ).collect();
    html! {
        section {
            h2 { "What differs between the runs" }
            @if names.is_empty() { p { "No setting differs." } } @else {
                div.wide tabindex="0" role="region" aria-label="Differences" {
                    table {
                        thead { tr { th scope="col" { "run" } @for name in &names { th scope="col" { (name) } } } }
                        tbody {
                            @for (run, settings) in runs.iter().zip(&by_name) {
                                tr {
                                    th scope="row" { (run.name) }
                                    @for name in &names { td { (settings.get(name).copied().unwrap_or("-")) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn run(number: usize, told: &Told) -> Markup {
    html! {
        section id={ "run-" (number) } {
            h2 { (told.name) }
            @if let Some(facts) = &told.facts {
                p {
                    code { (told.folder.display()) } ": " (told.state) ", " (facts.summary.epoch) " epochs, " (facts.summary.step) " steps, "
                    (format!("{:.2}", facts.wall_s / 3600.0)) " hours on " (facts.device) ", " (facts.data) " with "
                    (facts.train_images) " training and " (facts.test_images) " test images, seed " (facts.seed)
                    ", Admix " (facts.version) ", libtorch " (facts.libtorch)
                    @if let Some(wait) = facts.data_wait { ", " (format!("{:.1} %", 100.0 * wait)) " of the time waiting for images" }
                    "."
                }
                @if !facts.summary.heads.is_empty() {
                    table {
                        caption { "Accuracy" }
                        thead { tr { @for title in ["head", "best", "last", "median of last 10", "top-5"] { th scope="col" { (title) } } } }
                        tbody {
                            @for (name, head) in &facts.summary.heads {
                                tr {
                                    th scope="row" { (name) }
                                    @for value in [head.best, head.last, head.median_last_10, head.top5] { td { (percent(value)) } }
                                }
                            }
                        }
                    }
                }
            } @else { p { (told.state) } }
            @if !told.warnings.is_empty() {
                h3 { "Warnings" }
                ul { @for warning in &told.warnings { li { (warning) } } }
            }
            @for (title, svg) in &told.figures { h3 { (title) } (figure(title, svg)) }
            @if !told.pictures.is_empty() {
                h3 { "Mixed samples and masks" }
                @for (title, png) in &told.pictures {
                    figure {
                        img alt={ "Mixed samples, " (title) } src={ "data:image/png;base64," (BASE64_STANDARD.encode(png)) };
                        figcaption { (title) }
                    }
                }
            }
            @if !told.spans.is_empty() {
                h3 { "Time by part of a step" }
                @let whole: f64 = told.spans.iter().map(|span| span.own_ms).sum();
                table {
                    thead { tr { @for title in ["part", "ms", "share", "calls"] { th scope="col" { (title) } } } }
                    tbody {
                        @for span in &told.spans {
                            tr {
                                th scope="row" { (span.name) }
                                td { (format!("{:.2}", span.own_ms)) }
                                td { (format!("{:.1} %", 100.0 * span.own_ms / whole.max(f64::MIN_POSITIVE))) }
                                td { (span.count) }
                            }
                        }
                    }
                }
            }
            details {
                summary { "Recipe with every value" }
                table {
                    thead { tr { th scope="col" { "setting" } th scope="col" { "value" } } }
                    tbody { @for (name, value) in &told.settings { tr { th scope="row" { (name) } td { (value) } } } }
                }
            }
            details { summary { "Recipe as it was written" } pre tabindex="0" { (told.recipe) } }
            details { summary { "Method" } pre tabindex="0" { (told.script) } }
        }
    }
}
