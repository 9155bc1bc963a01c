//! `admix runs` and `admix diff`: run folders side by side.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use admix_api::Registry;
use admix_engine::{Event, FolderState, HeadAccuracy, History, Recipe, RecipeText, RunFolder, describe};
use admix_lab::{Entry, Figures, Rule, Table, of_head};
use admix_torch::{Wanted, open_cuda};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format, percent};

/// Flags of `admix runs`.
#[derive(Args)]
pub struct RunsArgs {
    /// Where to look, with all folders below.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Flags of `admix diff`.
#[derive(Args)]
pub struct DiffArgs {
    /// A run folder.
    first: PathBuf,
    /// Another one.
    second: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is known of a run folder.
struct Found {
    folder: PathBuf,
    state: &'static str,
    recipe: String,
    epoch: Option<u64>,
    report: Option<String>,
    accuracy: Option<HeadAccuracy>,
    /// Seconds since something was written.
    age: f64,
}

/// Lists the runs below a folder.
pub fn runs(args: &RunsArgs) -> Result<()> {
    let mut folders = Vec::new();
    if !args.folder.is_dir() {
        return Err(bad_input(format!("there is no folder {}", args.folder.display())));
    }
    open_cuda(Wanted::Cpu)?;
    collect(&args.folder, &mut folders);
    folders.sort();
    // Made once, and only where a recipe is read for it.
    let registry = LazyCell::new(|| libraries::registry().ok());
    let found: Vec<Found> = folders.into_iter().map(|folder| look(folder, &registry)).collect();
    if args.format == Format::Json {
        let row = |run: &Found| {
            json!({
                "folder": run.folder, "state": run.state, "recipe": run.recipe, "epoch": run.epoch,
                "report": run.report, "accuracy": run.accuracy, "age_s": run.age,
            })
        };
        return output::print_json(&found.iter().map(row).collect::<Vec<_>>());
    }
    if found.is_empty() {
        return output::print(&format!("{} holds no runs", args.folder.display()));
    }
    let heading = ["run", "state", "epochs", "head", "last", "median of last 10", "age", "recipe"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for run in found {
        let figure = |of: fn(&HeadAccuracy) -> f64| run.accuracy.as_ref().map(|head| percent(of(head), 2));
        let (last, median) = (figure(|head| head.last), figure(|head| head.median_last_10));
        rows.push(vec![
            run.folder.display().to_string(),
            run.state.into(),
            run.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
            run.report.unwrap_or_default(),
            last.unwrap_or_default(),
            median.unwrap_or_default(),
            age(run.age),
            run.recipe,
        ]);
    }
    output::print(&output::table(&rows))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    if RunFolder::existing(folder).is_run() {
        found.push(folder.to_path_buf());
        return;
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            return output::note(&format!("warning: cannot look into {}: {error}", folder.display()));
        }
    };
    for entry in entries.flatten() {
        // Links are not followed: they may lead round in a circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

/// Tells what of a run's figures cannot be read, on stderr.
pub fn tell_damage(run: &RunFolder) {
    run.damage().iter().for_each(|what| output::note(&format!("warning: {what}")));
}

fn look(folder: PathBuf, registry: &LazyCell<Option<Registry>, impl FnOnce() -> Option<Registry>>) -> Found {
    let run = RunFolder::existing(&folder);
    tell_damage(&run);
    let state = run.state();
    let facts = run.facts().ok();
    let evaluated = run.records().unwrap_or_default().into_iter().filter_map(|record| match record.event {
        Event::Evaluated { epoch, heads, .. } => Some((epoch, heads)),
        _ => None,
    });
    let history = History { evaluations: evaluated.collect(), ..History::default() };
    let last = history.evaluations.last();
    let report = facts.as_ref().and_then(|facts| facts.summary.report.clone());
    // A run that has not ended says by its recipe alone which head it reports.
    let by_recipe = || recipe(&folder, registry.as_ref()?).ok()?.0.reported();
    let measured = |head: &String| last.is_some_and(|(_, heads)| heads.contains_key(head));
    let report = report.or_else(|| by_recipe().filter(measured));
    let report = report.or_else(|| last.and_then(|(_, heads)| heads.keys().next_back().cloned()));
    let mut heads = match &facts {
        Some(facts) if state.is_done() => facts.summary.heads.clone(),
        _ => history.heads(),
    };
    let accuracy = report.as_ref().and_then(|report| heads.remove(report));
    let epoch = facts.as_ref().filter(|_| state != FolderState::Running).map(|facts| facts.summary.epoch);
    let epoch = epoch.or(last.map(|(epoch, _)| *epoch));
    let recipe = facts.as_ref().map(|facts| facts.recipe.clone());
    let written = ["run.json", "metrics.jsonl", "recipe.ron"]
        .iter()
        .filter_map(|name| fs::metadata(folder.join(name)).and_then(|facts| facts.modified()).ok())
        .max();
    let age =
        written.and_then(|at| SystemTime::now().duration_since(at).ok()).map_or(0.0, |age| age.as_secs_f64());
    let state = match state {
        FolderState::None => "none",
        FolderState::Running => "running",
        FolderState::Stopped => "interrupted",
        FolderState::Failed(_) => "failed",
        FolderState::Done(_) => "done",
    };
    let recipe = recipe.unwrap_or_else(|| first_comment(&folder).unwrap_or_default());
    Found { folder, state, recipe, epoch, report, accuracy, age }
}

/// What a recipe says of itself.
fn first_comment(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("recipe.ron")).ok()?;
    Some(text.lines().next()?.strip_prefix("//")?.trim().to_owned())
}

fn age(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// Every setting of a run folder, with its path.
pub fn settings(folder: &Path) -> Result<Vec<(String, String)>> {
    let (recipe, text) = recipe(folder, &libraries::registry()?)?;
    Ok(describe(&recipe, &text)?.into_iter().map(|(path, value, _)| (path, value)).collect())
}

/// The recipe of a run folder, and its text.
fn recipe(folder: &Path, registry: &Registry) -> Result<(Recipe, String)> {
    if !RunFolder::existing(folder).is_run() {
        return Err(bad_input(format!("{} is no run folder", folder.display())));
    }
    let path = folder.join("recipe.ron");
    let text = RecipeText::open(&path)?
        .ok_or_else(|| bad_input(format!("{} holds no recipe.ron", folder.display())))?;
    let recipe = text.read(&[], registry)?;
    Ok((recipe, text.text))
}

/// The scripts that a run folder keeps, by their paths in it: of the method, and of mixers and losses.
fn scripts(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for table in ["", "mixers", "losses"] {
        let entries = fs::read_dir(folder.join(table)).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.extension() == Some("rhai".as_ref()))
        {
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            found.insert(name, fs::read_to_string(&path).unwrap_or_default());
        }
    }
    found
}

/// Prints what differs between two runs.
pub fn diff(args: &DiffArgs) -> Result<()> {
    open_cuda(Wanted::Cpu)?;
    let by_name =
        |folder| -> Result<BTreeMap<String, String>> { Ok(settings(folder)?.into_iter().collect()) };
    let (first, second) = (by_name(&args.first)?, by_name(&args.second)?);
    let mut rows: Vec<[String; 3]> = Vec::new();
    let names: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for name in names {
        let value = |of: &BTreeMap<String, String>| of.get(name).cloned().unwrap_or_else(|| "-".into());
        if first.get(name) != second.get(name) {
            rows.push([name.clone(), value(&first), value(&second)]);
        }
    }
    let (a, b) = (scripts(&args.first), scripts(&args.second));
    for name in a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>() {
        let told = |scripts: &BTreeMap<String, String>| match scripts.contains_key(name) {
            true => "differs".to_string(),
            false => "-".to_string(),
        };
        if a.get(name) != b.get(name) {
            rows.push([name.clone(), told(&a), told(&b)]);
        }
    }
    let results = |folder: &Path| -> BTreeMap<String, String> {
        let run = RunFolder::existing(folder);
        tell_damage(&run);
        let Ok(facts) = run.facts() else { return BTreeMap::new() };
        let heads = facts.summary.heads.iter();
        let mut all: BTreeMap<String, String> = heads
            .flat_map(|(name, head)| {
                [
                    (format!("{name}, median of last 10"), percent(head.median_last_10, 2)),
                    (format!("{name}, best"), percent(head.best, 2)),
                ]
            })
            .collect();
        all.insert("epochs".into(), facts.summary.epoch.to_string());
        all.insert("time".into(), output::duration(facts.wall_s));
        all.insert("device".into(), facts.device.clone());
        all.insert("version".into(), facts.version.clone());
        all
    };
    let (a, b) = (results(&args.first), results(&args.second));
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut told: Vec<[String; 3]> = Vec::new();
    for name in names.into_iter().filter(|name| a.get(*name) != b.get(*name)) {
        let value = |of: &BTreeMap<String, String>| of.get(name).cloned().unwrap_or_else(|| "-".into());
        told.push([name.clone(), value(&a), value(&b)]);
    }
    if args.format == Format::Json {
        let list = |rows: &[[String; 3]]| -> Vec<Value> {
            rows.iter()
                .map(|[name, first, second]| json!({ "name": name, "first": first, "second": second }))
                .collect()
        };
        return output::print_json(&json!({ "settings": list(&rows), "results": list(&told) }));
    }
    let heading =
        |name: &str| [name.to_owned(), args.first.display().to_string(), args.second.display().to_string()];
    let section = |name: &str, rows: Vec<[String; 3]>| match rows.is_empty() {
        true => format!("{name}: no difference\n"),
        false => {
            let all: Vec<Vec<String>> =
                std::iter::once(heading(name)).chain(rows).map(|row| row.to_vec()).collect();
            output::table(&all)
        }
    };
    output::print(&format!("{}\n{}", section("settings", rows), section("results", told)))
}

/// A table of run folders: runs that differ in their seed alone are a row.
pub fn table(folders: &[String], rule: Rule) -> Result<Table> {
    open_cuda(Wanted::Cpu)?;
    let registry = libraries::registry()?;
    let mut groups: Vec<(String, Figures, String)> = Vec::new();
    let mut runs = Vec::new();
    for name in folders {
        let folder = Path::new(name);
        let reported = recipe(folder, &registry)?.0.reported();
        let mut all = settings(folder)?;
        let seed: Option<u64> =
            all.iter().find(|(path, _)| path == "seed").and_then(|(_, seed)| seed.parse().ok());
        all.retain(|(path, _)| path != "seed");
        let key = format!("{all:?}{:?}", scripts(folder));
        let run = RunFolder::existing(folder);
        tell_damage(&run);
        runs.push((name, key, seed, reported, run.state()));
    }
    // Of runs of the same settings and seed the first that is done counts, whatever order they are named in.
    let counted = |key: &String, seed: &Option<u64>| {
        let same = || (0..runs.len()).filter(|at| &runs[*at].1 == key && &runs[*at].2 == seed);
        same().find(|at| runs[*at].4.is_done()).or_else(|| same().next())
    };
    for (at, (name, key, seed, reported, state)) in runs.iter().enumerate() {
        if let Some(other) = counted(key, seed).filter(|other| *other != at) {
            let other = runs[other].0;
            output::note(&format!("{name} has the settings and the seed of {other}, which is counted"));
            continue;
        }
        let at = groups.iter().position(|(other, ..)| other == key).unwrap_or_else(|| {
            groups.push((key.clone(), Figures::default(), name.trim_end_matches('/').to_owned()));
            groups.len() - 1
        });
        let figures = &mut groups[at].1;
        figures.wanted += 1;
        match state {
            FolderState::Done(facts) => {
                let head = reported.as_ref().and_then(|report| facts.summary.heads.get(report));
                match head.and_then(|head| of_head(head, rule)) {
                    Some(value) => drop(figures.values.insert(seed.unwrap_or(figures.wanted), value)),
                    None => figures.without += 1,
                }
            }
            FolderState::Failed(_) => figures.failed += 1,
            _ => figures.begun += 1,
        }
    }
    let seeds = groups.iter().map(|(_, figures, _)| figures.wanted).max().unwrap_or(0);
    let (rows, cells) = groups
        .into_iter()
        .map(|(_, figures, name)| {
            (name, vec![Some(Entry { ours: Some(figures), paper: None, waits: None, best: false })])
        })
        .unzip();
    Ok(Table::plain("Runs.", rows, vec!["accuracy".into()], cells, rule, seeds))
}
