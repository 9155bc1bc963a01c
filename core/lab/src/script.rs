//! Reading an experiment's script.
//!
//! ```rhai
//! fn experiment() { #{ title: "Two policies", seeds: 3 } }
//! fn runs(x) {
//!     for name in ["mixup", "cutmix"] {
//!         x.run(name, `cifar10/r18/${name}`, #{ row: name, column: "CIFAR-10" });
//!     }
//! }
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use admix_api::did_you_mean;
use admix_engine::{Dialect, Error, Override, Result, Script};
use rhai::{Array, Dynamic, Engine, EvalAltResult, Map, NativeCallContext, Position};

use crate::experiment::{Cell, Evaluation, Experiment, Figure, Variant};
use crate::rule::Rule;

/// The most runs of one script.
const MAX_RUNS: usize = 10_000;

/// What `x` is in a script: the runs named so far.
#[derive(Debug, Clone, Default)]
struct Named(Rc<RefCell<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    runs: Vec<Variant>,
    waiting: Vec<(Cell, String)>,
    /// Titles, in the order in which they come first.
    rows: Vec<String>,
    columns: Vec<String>,
}

type Refused<T> = Result<T, Box<EvalAltResult>>;

impl Experiment {
    /// Reads a script. `file` is its name in messages; the experiment is called by its last part.
    ///
    /// # Errors
    /// It does not compile, lacks a function, or names something that there is not, with line and column.
    pub fn read(text: &str, file: &str) -> Result<Self> {
        let dialect = Dialect { names: vec!["run", "waits"], kind_of: |_| None, register };
        let script = Script::compile(text, file, dialect)?;
        for (name, count) in [("experiment", 0), ("runs", 1)] {
            if !script.takes(name, count)? {
                let message = format!(
                    "an experiment needs a function `{name}({})`; see docs/experiments.md",
                    if count == 0 { "" } else { "x" }
                );
                return Err(script.error(Position::NONE, message));
            }
        }
        let about = script.map("experiment", script.call("experiment", ())?)?;
        let at = script.place_of("experiment");
        let mut about = Options::of(about, at);
        let of_about = |error: Box<EvalAltResult>| refused(&script, &error);
        let title = about.title("title").map_err(of_about)?;
        let seeds = about.count("seeds").map_err(of_about)?.unwrap_or(1);
        let rule = about.word("rule", &Rule::ALL).map_err(of_about)?.unwrap_or_default();
        let figure = about.word("figure", &Figure::ALL).map_err(of_about)?.unwrap_or_default();
        let gain = about.text("gain").map_err(of_about)?;
        about.end().map_err(of_about)?;
        let named = Named::default();
        drop(script.call("runs", (named.clone(),))?);
        let Lists { runs, waiting, rows, columns } = named.0.take();
        let stem = Path::new(file).file_stem().map_or(file.into(), |stem| stem.to_string_lossy());
        let title = title.unwrap_or_else(|| stem.to_string());
        let whole = Self {
            name: stem.into_owned(),
            file: file.into(),
            title,
            seeds,
            rule,
            gain,
            figure,
            runs,
            waiting,
            rows,
            columns,
        };
        let unknown = whole.gain.as_ref().filter(|gain| !whole.rows.contains(gain));
        if let Some(gain) = unknown {
            let hint = did_you_mean(gain, whole.rows.iter().map(String::as_str));
            return Err(script.error(at, format!("`gain` names the row `{gain}`, which no run has{hint}")));
        }
        if whole.runs.is_empty() && whole.waiting.is_empty() {
            return Err(script.error(script.place_of("runs"), "`runs` names no run".into()));
        }
        Ok(whole)
    }
}

/// An error of an option, at its place.
fn refused(script: &Script, error: &EvalAltResult) -> Error {
    let message = match error {
        EvalAltResult::ErrorRuntime(message, _) => message.to_string(),
        other => other.to_string(),
    };
    script.error(error.position(), message)
}

fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Named>("the experiment");
    engine.register_fn("run", run);
    engine.register_fn("waits", waits);
}

/// `x.run(name, recipe, options)`.
fn run(context: NativeCallContext, to: &mut Named, name: &str, recipe: &str, options: Map) -> Refused<()> {
    let at = context.call_position();
    let refuse = |message: String| Err(error(at, message));
    let mut options = Options::of(options, at);
    let mut to = to.0.borrow_mut();
    if to.runs.len() == MAX_RUNS {
        return refuse(format!("an experiment has at most {MAX_RUNS} runs"));
    }
    if name.is_empty() {
        return refuse("a run needs a name".into());
    }
    if to.runs.iter().any(|other| other.name == name) {
        return refuse(format!("the run `{name}` is there twice; rename one"));
    }
    let set = options.settings("set")?;
    let init = options.text("init")?;
    if let Some(init) = init.as_ref().filter(|init| !to.runs.iter().any(|run| run.name == **init)) {
        let hint = did_you_mean(init, to.runs.iter().map(|run| run.name.as_str()));
        return refuse(format!("`init` names the run `{init}`, which is not named above this one{hint}"));
    }
    let evaluation = options.evaluation()?;
    let (script, seeds) = (options.text("script")?, options.count("seeds")?);
    let cells = options.cells(name)?;
    options.end()?;
    for cell in &cells {
        place(&mut to, cell, at)?;
    }
    let place = (at.line().unwrap_or(0), at.position().unwrap_or(0));
    let (name, recipe) = (name.to_owned(), recipe.to_owned());
    to.runs.push(Variant { name, recipe, set, script, seeds, init, evaluation, cells, at: place });
    Ok(())
}

/// `x.waits(options, for_what)`: a cell that nothing can fill yet.
fn waits(context: NativeCallContext, to: &mut Named, options: Map, what: &str) -> Refused<()> {
    let at = context.call_position();
    let mut options = Options::of(options, at);
    let cells = options.cells("")?;
    options.end()?;
    let mut to = to.0.borrow_mut();
    for cell in cells {
        place(&mut to, &cell, at)?;
        to.waiting.push((cell, what.into()));
    }
    Ok(())
}

/// Takes note of a cell that no other run fills.
fn place(to: &mut Lists, cell: &Cell, at: Position) -> Refused<()> {
    let same = |other: &&Cell| other.row == cell.row && other.column == cell.column;
    let filled = to.runs.iter().find(|run| run.cells.iter().any(|other| same(&other)));
    let by = filled
        .map(|run| run.name.as_str())
        .or_else(|| to.waiting.iter().map(|(other, _)| other).find(same).map(|_| "a cell that waits"));
    if let Some(by) = by {
        let message = format!("row `{}`, column `{}` is filled by `{by}` already", cell.row, cell.column);
        return Err(error(at, message));
    }
    for (titles, title) in [(&mut to.rows, &cell.row), (&mut to.columns, &cell.column)] {
        if !titles.contains(title) {
            titles.push(title.clone());
        }
    }
    Ok(())
}

fn error(at: Position, message: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into(), at).into()
}

/// A map of options that is taken apart field by field.
struct Options {
    map: Map,
    known: Vec<&'static str>,
    at: Position,
}

impl Options {
    fn of(map: Map, at: Position) -> Self {
        Self { map, known: Vec::new(), at }
    }

    fn take(&mut self, name: &'static str) -> Option<Dynamic> {
        self.known.push(name);
        self.map.remove(name)
    }

    fn refuse<T>(&self, name: &str, wanted: &str, got: &Dynamic) -> Refused<T> {
        Err(error(self.at, format!("`{name}` is {got}, expected {wanted}")))
    }

    fn text(&mut self, name: &'static str) -> Refused<Option<String>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.clone().into_string().map(Some).or_else(|_| self.refuse(name, "a text", &value))
    }

    /// A row or column: a text, or a number as it is written.
    fn title(&mut self, name: &'static str) -> Refused<Option<String>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = value.to_string();
        if (value.is_int() || value.is_float() || value.is_string()) && !text.contains(char::is_control) {
            return Ok(Some(text));
        }
        self.refuse(name, "a text of one line or a number", &value)
    }

    fn number(&mut self, name: &'static str) -> Refused<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_float().ok().or_else(|| value.as_int().ok().map(|whole| whole as f64));
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => self.refuse(name, "a number", &value),
        }
    }

    fn count(&mut self, name: &'static str) -> Refused<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let count = value.as_int().ok().and_then(|whole| u64::try_from(whole).ok());
        match count.filter(|count| (1..=1000).contains(count)) {
            Some(count) => Ok(Some(count)),
            None => self.refuse(name, "a whole number from 1 to 1000", &value),
        }
    }

    fn word<T: Copy>(&mut self, name: &'static str, known: &[(&'static str, T)]) -> Refused<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.map(Some).ok_or_else(|| {
            let words: Vec<String> = known.iter().map(|(word, _)| format!("`{word}`")).collect();
            let hint = did_you_mean(&text, known.iter().map(|(word, _)| *word));
            error(self.at, format!("`{name}` is \"{text}\", expected one of {}{hint}", words.join(", ")))
        })
    }

    /// `["epochs=40", "optimizer.lr=0.1"]`, as `--set` takes them.
    fn settings(&mut self, name: &'static str) -> Refused<Vec<Override>> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let Some(list) = value.clone().try_cast::<Array>() else {
            return self.refuse(name, "an array of texts such as [\"epochs=40\"]", &value);
        };
        let read = |entry: Dynamic| {
            let text = entry.to_string();
            text.parse::<Override>().map_err(|why| error(self.at, format!("`{name}`: {why}")))
        };
        let all: Vec<Override> = list.into_iter().map(read).collect::<Refused<_>>()?;
        match all.iter().any(|set| set.path == "seed") {
            true => Err(error(self.at, format!("`{name}` sets the seed: a sweep numbers its seeds from 0"))),
            false => Ok(all),
        }
    }

    /// `"linear"`, or `#{ protocol: "linear", epochs: 100 }` with the flags of `admix eval`.
    fn evaluation(&mut self) -> Refused<Option<Evaluation>> {
        const FLAGS: [&str; 7] = ["net", "k", "temperature", "preset", "epochs", "lr", "batch"];
        let Some(value) = self.take("measure") else { return Ok(None) };
        if let Ok(protocol) = value.clone().into_string() {
            return Ok(Some(Evaluation { protocol, flags: BTreeMap::new() }));
        }
        let Some(map) = value.clone().try_cast::<Map>() else {
            return self.refuse(
                "measure",
                "a protocol, or a map such as #{ protocol: \"linear\", epochs: 100 }",
                &value,
            );
        };
        let mut inner = Self::of(map, self.at);
        let protocol = inner.text("protocol")?.ok_or_else(|| {
            error(self.at, "`measure` names no protocol: write protocol: \"linear\"".to_string())
        })?;
        let mut flags = BTreeMap::new();
        for flag in FLAGS {
            if let Some(value) = inner.take(flag) {
                flags.insert(flag.to_string(), value.to_string());
            }
        }
        inner.end()?;
        Ok(Some(Evaluation { protocol, flags }))
    }

    /// One cell, or `cells: [...]`. Without a row, the run's name is the row.
    fn cells(&mut self, name: &str) -> Refused<Vec<Cell>> {
        let Some(list) = self.take("cells") else { return Ok(vec![self.cell(name)?]) };
        let Some(all) = list.clone().try_cast::<Array>() else {
            return self.refuse("cells", "an array of maps such as #{ row: \"a\", column: \"b\" }", &list);
        };
        let mut cells: Vec<Cell> = Vec::new();
        for entry in all {
            let Some(map) = entry.clone().try_cast::<Map>() else {
                return self.refuse("cells", "maps such as #{ row: \"a\", column: \"b\" }", &entry);
            };
            let mut one = Self::of(map, self.at);
            let cell = one.cell(name)?;
            one.end()?;
            if cells.iter().any(|other| (&other.row, &other.column) == (&cell.row, &cell.column)) {
                let message = format!(
                    "`cells` names row `{}`, column `{}` twice: give one of them another `row` or `column`",
                    cell.row, cell.column
                );
                return Err(error(self.at, message));
            }
            cells.push(cell);
        }
        Ok(cells)
    }

    fn cell(&mut self, name: &str) -> Refused<Cell> {
        let row = self.title("row")?.unwrap_or_else(|| name.to_string());
        let column = self.title("column")?.unwrap_or_else(|| "accuracy".into());
        let report = self.text("report")?;
        let rule = self.word("rule", &Rule::ALL)?;
        Ok(Cell { row, column, report, rule, paper: self.number("paper")? })
    }

    /// Refuses what was not taken.
    fn end(&self) -> Refused<()> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
        let hint = did_you_mean(name, self.known.iter().copied());
        Err(error(self.at, format!("there is no option `{name}`; there are {}{hint}", known.join(", "))))
    }
}
