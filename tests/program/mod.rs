//! The program itself, as people and scripts meet it: started as a process, judged by its files, output and exit code.

mod benches;
mod browser;
mod choice;
mod clusters;
mod crashes;
mod crops;
mod detection;
mod diverging;
mod errors;
mod event_files;
mod experiments;
mod exports;
mod fake_cuda;
mod fine_grained;
mod folders;
mod forged;
mod imports;
mod layers;
mod lists;
mod memory;
mod misfits;
mod numbers;
mod old_checkpoints;
mod own_program;
mod pictures;
mod predictions;
mod pretraining;
mod probes;
mod processes;
mod profile;
mod python_door;
pub mod recipes;
pub mod results;
mod resume;
mod sandbox;
mod sets;
mod sizes;
mod starts;
mod streaming;
mod sweeps;
mod unlabelled;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here takes long; a machine may be slow. Only a program that hangs is ended by this.
const PATIENCE: Duration = Duration::from_secs(300);

/// A recipe of two epochs of eight steps, some milliseconds each.
pub const TINY: &str = r#"(
    epochs: 2,
    batch: 8,
    data: (name: "toy", crop: None, toy: (train: 64, test: 32, classes: 4, size: 16)),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 2, 2]),
    heads: ["one", "mix"],
    pairs: [(from: "q", to: "k", momentum: 0.99)],
    method: "amix",
    mixers: {"amix": AMix(alpha: 2.0)},
    losses: {"mask": Mask(margin: 0.1)},
    optimizer: Sgd(lr: 0.1),
    checkpoint: (every_steps: Some(2)),
)"#;

/// What a process said and how it ended.
pub struct Outcome {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    fn of(status: ExitStatus, stdout: String, stderr: String) -> Self {
        Self { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// Fails unless the program ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "signal {:?}\n{}\n{}", self.signal, self.stdout, self.stderr);
        self
    }

    /// Fails unless the program ended with this code and one message, in which all parts are.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "signal {:?}\n{stdout}\n{stderr}", self.signal);
        let said: Vec<&str> = stderr.lines().filter(|line| !is_warning(line)).collect();
        let [message] = said[..] else { panic!("expected one line:\n{stderr}") };
        assert!(message.starts_with("error: "), "{message}");
        assert!(!message.starts_with("error: internal"), "{message}");
        for word in ["panicked", "backtrace", "Exception raised from", "frame #", "c10::", ".cpp", "unwrap"] {
            assert!(!stderr.contains(word), "{stderr}");
        }
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        self
    }

    /// Fails unless the program refused a flag: its name, what is wrong, and where help is.
    #[track_caller]
    pub fn bad_flag(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "{}", self.stderr);
        let messages = self.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert!(self.stderr.starts_with("error: ") && messages == 1, "{}", self.stderr);
        for part in parts.iter().chain(&["--help"]) {
            assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        }
        self
    }
}

fn is_warning(line: &str) -> bool {
    line.starts_with("warning: ") || line.trim_start().starts_with("WARN")
}

/// A folder of its own in which the program runs, so that it finds nothing of this repository.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }

    /// The program, without a GPU and with everything switched on that could make messages long.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.set_up(Command::new(env!("CARGO_BIN_EXE_admix")), arguments)
    }

    /// Another program that starts ours, which it gets as its last arguments.
    pub fn command_through(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(starter[0]);
        command.args(&starter[1..]).arg(env!("CARGO_BIN_EXE_admix"));
        self.set_up(command, arguments)
    }

    /// Gives a program these arguments and the surroundings of every test: this folder, no GPU, no plugin folder.
    pub fn set_up(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("ADMIX_PLUGINS", "")
            .env("RUST_BACKTRACE", "1")
            .env("TORCH_SHOW_CPP_STACKTRACES", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn admix(&self, arguments: &[&str]) -> Outcome {
        finish(self.command(arguments).spawn().expect("the program starts"))
    }

    /// Runs a command that computes, on one thread of the CPU.
    pub fn compute(&self, arguments: &[&str]) -> Outcome {
        self.admix(&[arguments, &["--device", "cpu", "--threads", "1"]].concat())
    }
}

/// Waits for a process and hears what it has to say.
pub fn finish(mut child: Child) -> Outcome {
    let listen = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut text).expect("its output");
            }
            String::from_utf8(text).expect("its output is UTF-8")
        })
    };
    let stdout = listen(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = listen(child.stderr.take().map(|stream| Box::new(stream) as _));
    let status = wait(&mut child);
    Outcome::of(status, stdout.join().expect("stdout"), stderr.join().expect("stderr"))
}

fn wait(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().expect("ended");
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The folder of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
