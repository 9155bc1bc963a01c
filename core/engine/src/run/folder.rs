//! A run folder: recipe, method, metrics, checkpoints, samples, and facts about the run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use admix_torch::Device;

use crate::bundled;
use crate::loggers::Record;
use crate::method::Method;
use crate::recipe::{Recipe, locate};
use crate::run::checkpoint::Checkpoint;
use crate::run::facts::RunFacts;
use crate::run::header::Header;
use crate::run::lock::Lock;
use crate::run::status::Status;
use crate::run::whole::write_whole;
use crate::script::ScriptText;
use crate::session::Session;
use crate::{Error, Result};

/// Where the results of a run go.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// The folder.
    pub root: PathBuf,
    /// Another process of the run writes there.
    is_guest: bool,
    /// Keeps other runs out; `None` where the folder is only read.
    _lock: Option<Rc<Lock>>,
}

/// How far the run of a folder is.
#[derive(Debug, Clone, PartialEq)]
pub enum FolderState {
    /// No run made the folder.
    None,
    /// A process writes there.
    Running,
    /// It was stopped or killed and can go on.
    Stopped,
    /// It failed, and why.
    Failed(String),
    /// All epochs are done.
    Done(Box<RunFacts>),
}

impl FolderState {
    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

const BEST: &str = "best.safetensors";

impl RunFolder {
    /// A new folder: `out`, which must not be there yet or be empty, or `runs/<recipe>`, numbered if that is taken.
    ///
    /// # Errors
    /// `out` holds a run or other files, or the folder cannot be made.
    pub fn create(out: Option<&Path>, recipe: &Recipe, warn: &mut dyn FnMut(String)) -> Result<Self> {
        if let Some(out) = out {
            let ours = make_new(out)? || is_empty(out)?;
            let lock = if ours { Lock::claim(out, warn)? } else { None };
            return Self::make(out.into(), lock.ok_or_else(|| taken(out))?);
        }
        let base = Self::default_root(recipe);
        for root in (1..10_000).map(|number| numbered(&base, number)) {
            if make_new(&root)?
                && let Some(lock) = Lock::claim(&root, warn)?
            {
                return Self::make(root, lock);
            }
        }
        Err(Error::Input(format!("{} and its numbers are all taken", base.display())))
    }

    /// The folder of a run to go on with: `out`, or the newest of `runs/<recipe>` and its numbers.
    ///
    /// # Errors
    /// There is none, another run writes there, or it cannot be written.
    pub fn reopen(out: Option<&Path>, recipe: &Recipe, warn: &mut dyn FnMut(String)) -> Result<Self> {
        let root = match out {
            Some(out) => out.to_path_buf(),
            None => {
                let base = Self::default_root(recipe);
                let there =
                    (1..10_000).map(|number| numbered(&base, number)).take_while(|root| root.exists());
                there.last().unwrap_or(base)
            }
        };
        if !is_run(&root) {
            return Err(Error::Input(format!(
                "--resume: {} holds no run, so there is nothing to resume; leave out --resume to start one",
                root.display()
            )));
        }
        let lock = Lock::take(&root, warn)?;
        Self::make(root, lock)
    }

    /// A folder that exists, to read from.
    pub fn existing(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_guest: false, _lock: None }
    }

    /// The folder of a run of several processes, of which another one writes: what this one would write is written already.
    pub(crate) fn guest(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_guest: true, _lock: None }
    }

    fn default_root(recipe: &Recipe) -> PathBuf {
        Path::new("runs").join(Self::name_of(recipe))
    }

    /// What a recipe's run folder is called: "cifar10-r18-amix" of `configs/cifar10/r18/amix.ron`.
    pub fn name_of(recipe: &Recipe) -> String {
        let path = Path::new(&recipe.file).with_extension("");
        let mut parts: Vec<String> =
            path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        let from =
            parts.iter().rposition(|p| p == "configs").map_or(parts.len().saturating_sub(1), |at| at + 1);
        // configs/cub200/r18.ron/amix -> cub200-r18-amix
        parts.extend(recipe.variant.clone());
        parts[from.min(parts.len())..].join("-")
    }

    /// How far the run of this folder is.
    pub fn state(&self) -> FolderState {
        let facts = || self.facts().ok();
        match () {
            () if !self.is_run() => FolderState::None,
            () if Lock::refusal(&self.root).is_some() => FolderState::Running,
            () => match facts() {
                Some(facts) if facts.status == Status::Done => FolderState::Done(facts.into()),
                Some(facts) if facts.status == Status::Failed => {
                    FolderState::Failed(facts.error.unwrap_or_default())
                }
                _ => FolderState::Stopped,
            },
        }
    }

    /// Whether a run made this folder.
    pub fn is_run(&self) -> bool {
        is_run(&self.root)
    }

    /// The run folder among whose own files this path is, if there is one: what a run needs must not be replaced.
    pub fn owner_of(path: &Path) -> Option<PathBuf> {
        const OWN: [&str; 9] = [
            "recipe.ron",
            "method.rhai",
            "metrics.jsonl",
            "run.json",
            "lock",
            "checkpoints",
            "samples",
            "mixers",
            "losses",
        ];
        let whole = std::path::absolute(path).ok()?;
        let folder = whole.parent()?;
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(whole.file_name()?);
        let owns = |root: &&Path| {
            let first = whole.strip_prefix(root).ok().and_then(|inside| inside.components().next());
            first.is_some_and(|first| OWN.iter().any(|own| first.as_os_str() == *own)) && is_run(root)
        };
        whole.ancestors().skip(1).find(owns).map(Path::to_owned)
    }

    /// Forgets the run that writes here, which is known to have ended: on another host, where it cannot be seen to.
    pub fn forget_owner(&self) {
        Lock::forget(&self.root);
    }

    fn make(root: PathBuf, lock: Lock) -> Result<Self> {
        for sub in ["checkpoints", "samples"] {
            let path = root.join(sub);
            fs::create_dir_all(&path).map_err(|source| Error::file("make the folder", path, source))?;
        }
        Ok(Self { root, is_guest: false, _lock: Some(Rc::new(lock)) })
    }

    /// Writes the recipe (with `--set` applied), the method, and the scripts of mixers and losses. Scripts that are not bundled
    /// have their names in this folder, so that its recipe trains what the run trained.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_inputs(&self, recipe: &Recipe, method: &Method) -> Result<()> {
        if self.is_guest {
            return Ok(());
        }
        let mut text = recipe.text_alone().into_owned();
        let mut rename = |path: &str, file: &str| {
            text = locate::set(&text, path, &format!("{file:?}"))
                .map_err(|why| recipe.field_error(path, why))?;
            Ok::<(), Error>(())
        };
        const METHOD: &str = "method.rhai";
        if bundled::script(&recipe.method).is_none_or(|(bundled, _)| bundled != method.text()) {
            rename("method", METHOD)?;
        }
        self.replace(METHOD, method.text().as_bytes())?;
        for script in &recipe.scripts {
            let ScriptText { table, name, .. } = script;
            let folder = self.root.join(table);
            fs::create_dir_all(&folder).map_err(|source| Error::file("make the folder", folder, source))?;
            let file = format!("{table}/{}.rhai", file_name(name));
            if bundled::part(&script.written).is_none_or(|(bundled, _)| bundled != script.text) {
                rename(&format!("{table}.{name}.file"), &file)?;
            }
            self.replace(&file, script.text.as_bytes())?;
        }
        self.replace("recipe.ron", text.as_bytes())
    }

    /// Checks that nothing is in the way of the files that a run writes later.
    ///
    /// # Errors
    /// A folder has the name of one.
    pub(crate) fn check_room(&self) -> Result<()> {
        let taken = ["run.json", "metrics.jsonl"]
            .map(|name| self.root.join(name))
            .into_iter()
            .find(|path| path.is_dir());
        taken.map_or(Ok(()), |path| {
            Err(Error::Input(format!(
                "{} is a folder, where the run writes a file: move it away, or choose another folder with --out",
                path.display()
            )))
        })
    }

    /// Writes a file: whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        if self.is_guest {
            return Ok(());
        }
        write_whole(&self.root, name, content)
    }

    /// The events of `metrics.jsonl`, in order. A line that cannot be read is passed over; [`Self::damage`] tells of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let path = self.root.join("metrics.jsonl");
        let bytes = fs::read(&path).map_err(|source| Error::file("read", path, source))?;
        // A line with a damaged byte must not take the others with it.
        Ok(String::from_utf8_lossy(&bytes)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// What of `run.json` and `metrics.jsonl` cannot be read, a sentence each: readers pass over it. A last line that was cut
    /// by a crash is none of it.
    pub fn damage(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.root.join("run.json").exists()
            && let Err(error) = self.facts()
        {
            found.push(format!("{error}; what it said of the run is left out"));
        }
        let path = self.root.join("metrics.jsonl");
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let bad: Vec<usize> = (whole.lines().zip(1..))
            .filter(|(line, _)| serde_json::from_str::<Record>(line).is_err())
            .map(|(_, number)| number)
            .collect();
        if let Some(first) = bad.first() {
            found.push(format!(
                "{}:{first}: {} no event that this version knows, and left out",
                path.display(),
                match bad.len() {
                    1 => "this line is".to_owned(),
                    several => format!("this line and {} more are", several - 1),
                }
            ));
        }
        found
    }

    /// What `run.json` says of the run.
    ///
    /// # Errors
    /// The run has not ended yet, or another version of the program wrote the file.
    pub fn facts(&self) -> Result<RunFacts> {
        let text = self.read("run.json")?;
        serde_json::from_str(&text).map_err(|error| {
            Error::Input(format!("{} cannot be read: {error}", self.root.join("run.json").display()))
        })
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.root.join(name);
        fs::read_to_string(&path).map_err(|source| Error::file("read", path, source))
    }

    /// The checkpoints, newest first, without the best.
    pub fn checkpoints(&self) -> Vec<PathBuf> {
        checkpoints_in(&self.root)
    }

    /// The best checkpoint by the reported head, if one was written.
    pub fn best(&self) -> Option<PathBuf> {
        Some(self.root.join("checkpoints").join(BEST)).filter(|path| path.exists())
    }

    /// The newest checkpoint that is whole. Damaged ones are reported and passed over. Where the best is all that was kept, it
    /// is that.
    ///
    /// # Errors
    /// There are checkpoints, but none is whole.
    pub fn newest_good(&self, device: Device, warn: &mut dyn FnMut(String)) -> Result<Option<Checkpoint>> {
        let all = self.checkpoints();
        for (index, path) in all.iter().enumerate() {
            match Checkpoint::read(path, device) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) if index + 1 < all.len() => warn(format!("{error}; trying the one before")),
                Err(error) => {
                    let remedy = match self.best() {
                        Some(best) => format!("go on from the best one with --resume {}", best.display()),
                        None => "start anew in another folder with --out".into(),
                    };
                    let message = format!(
                        "none of the {} there is whole, and nothing was changed; {remedy}. The oldest: {error}",
                        all.len()
                    );
                    return Err(Error::Checkpoint { path: self.root.join("checkpoints"), message });
                }
            }
        }
        match self.best() {
            Some(best) => {
                let best = Checkpoint::read(&best, device)?;
                let message = "holds no checkpoint but the best one, which is taken";
                warn(format!("{} {message}: step {}", self.root.display(), best.header.clock.step));
                Ok(Some(best))
            }
            None => Ok(None),
        }
    }

    /// The checkpoint at `path`: a file, or the newest good one (or the best) of a run folder. `warn` hears of damaged ones
    /// that are passed over.
    ///
    /// # Errors
    /// There is no checkpoint, or none is whole.
    pub fn checkpoint_at(
        path: &Path,
        best: bool,
        device: Device,
        warn: &mut dyn FnMut(String),
    ) -> Result<Checkpoint> {
        if path.is_file() {
            if best {
                let message = format!("--best: {} is a checkpoint; give the run folder", path.display());
                return Err(Error::Input(message));
            }
            return Checkpoint::read(path, device);
        }
        if !path.is_dir() {
            let message = format!("{}: there is no such run folder or checkpoint", path.display());
            return Err(Error::Input(message));
        }
        let folder = Self::existing(path);
        let none = || {
            Error::Input(format!(
                "{} holds no checkpoint: is it a run folder, with checkpoints/step-*.safetensors in it?",
                path.display()
            ))
        };
        if best {
            let none = || match folder.checkpoints().is_empty() {
                true => none(),
                false => Error::Input(format!(
                    "--best: {} holds no best checkpoint: a run writes it when the head that it reports is evaluated; leave \
                     out --best for the newest",
                    path.display()
                )),
            };
            return Checkpoint::read(&folder.best().ok_or_else(none)?, device);
        }
        folder.newest_good(device, warn)?.ok_or_else(none)
    }

    /// Writes the state of a session, then removes all but the newest `keep` up to this step. Returns the file.
    ///
    /// # Errors
    /// The state is not finite or the file cannot be written; what was there before stays.
    pub fn save(&self, session: &Session, header: Header, keep: usize, best: bool) -> Result<PathBuf> {
        let folder = self.root.join("checkpoints");
        let path = folder.join(format!("step-{:08}.safetensors", header.clock.step));
        if self.is_guest {
            return Ok(path);
        }
        let tensors = session.tensors();
        if best {
            // First, so that a run that is killed here goes on from the checkpoint before and writes both again.
            Checkpoint::write(&folder.join(BEST), header.clone(), &tensors)?;
        }
        Checkpoint::write(&path, header, &tensors)?;
        // Later steps belong to a future that was given up: the run went on from an older checkpoint.
        let (later, ours): (Vec<_>, Vec<_>) = self.checkpoints().into_iter().partition(|other| *other > path);
        for old in later.into_iter().chain(ours.into_iter().skip(keep.max(1))) {
            // A file that stays costs space, not results.
            let _ = fs::remove_file(old);
        }
        Ok(path)
    }
}

/// A name of the recipe, which may hold anything, as the name of one file: what is no letter or digit is percent-encoded, so
/// that two names stay two.
fn file_name(name: &str) -> String {
    let mut file = String::new();
    for c in name.chars() {
        if c.is_alphanumeric() || "_-".contains(c) {
            file.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| file.push_str(&format!("%{byte:02X}")));
        }
    }
    file
}

fn checkpoints_in(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = root.join("checkpoints").read_dir() else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("step-") && name.ends_with(".safetensors")
            })
        })
        .collect();
    all.sort();
    all.reverse();
    all
}

/// `base` itself, then `base-2`, `base-3` and so on.
fn numbered(base: &Path, number: usize) -> PathBuf {
    if number == 1 { base.to_path_buf() } else { PathBuf::from(format!("{}-{number}", base.display())) }
}

/// Makes a folder, with those above it. False if the name is taken.
fn make_new(root: &Path) -> Result<bool> {
    let made = match fs::create_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            root.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::create_dir(root))
        }
        made => made,
    };
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(Error::file("make the folder", root, source)),
    }
}

fn is_empty(root: &Path) -> Result<bool> {
    let mut entries = root.read_dir().map_err(|source| Error::file("look into the folder", root, source))?;
    Ok(entries.next().is_none())
}

/// Whether a run made this folder: its lock says so, or it has all that a run without a lock left.
fn is_run(root: &Path) -> bool {
    let has = |name: &str| root.join(name).is_file();
    Lock::marks(root) || has("recipe.ron") && has("method.rhai") && !checkpoints_in(root).is_empty()
}

/// Why a new run may not write into a folder that is there.
fn taken(root: &Path) -> Error {
    if let Some(refusal) = Lock::refusal(root) {
        return refusal;
    }
    let root_name = root.display();
    Error::Input(if !is_run(root) {
        let mut names: Vec<_> =
            root.read_dir().into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        names.sort();
        let name = names.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!(
            "{root_name} holds files that no run of Admix made, such as `{name}`: name a folder with --out that is empty \
             or not there yet"
        )
    } else if checkpoints_in(root).is_empty() {
        format!(
            "{root_name} holds a run already, which ended before its first checkpoint: start it again with --resume, or \
             choose another folder with --out"
        )
    } else {
        format!("{root_name} holds a run already: go on with --resume, or choose another folder with --out")
    })
}
