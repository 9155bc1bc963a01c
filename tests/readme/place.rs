//! A folder in which the commands of a document run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::root;

/// A folder like a clone, as far as commands of users need it.
pub struct Place(tempfile::TempDir);

impl Place {
    /// Copies what is needed, and makes some pictures.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["configs", "scripts", "docs", "examples"] {
            copy(&root().join(name), &folder.path().join(name));
        }
        fs::create_dir(folder.path().join("weights")).expect("weights/");
        let plain = "weights/plain.pth";
        fs::copy(root().join("tests/fixtures").join(plain), folder.path().join(plain)).expect("a copy");
        fs::create_dir(folder.path().join("bin")).expect("bin/");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_admix"), folder.path().join("bin/admix"))
            .expect("a link");
        pictures(&folder.path().join("pictures"));
        Self(folder)
    }

    /// Puts a file here.
    pub fn put(&self, file: &Path, name: &str) {
        fs::copy(file, self.0.path().join(name)).expect("a copy");
    }

    /// Runs a command line; gives its exit code and all that it said.
    pub fn run(&self, command: &str) -> (i32, String) {
        const PATIENCE: Duration = Duration::from_secs(300);
        let path = std::env::var("PATH").unwrap_or_default();
        let said = self.0.path().join("bin/said");
        let output = fs::File::create(&said).expect("a file");
        let mut child = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.0.path())
            .env("PATH", format!("{}:{path}", self.0.path().join("bin").display()))
            // Several tests run at once: more threads would wait for each other.
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("a shell");
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a process") {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("`{command}` did not end in {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code().unwrap_or(-1), fs::read_to_string(&said).unwrap_or_default())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_some_and(|e| e == "ron" || e == "rhai") {
            fs::copy(&path, target).expect("a copy");
        }
    }
}

/// Two classes of plain 32 x 32 images, four of each to train on and two to test.
fn pictures(folder: &Path) {
    for (split, count) in [("train", 4), ("test", 2)] {
        for (class, colour) in [("cat", [200, 80, 40]), ("dog", [40, 80, 200])] {
            let class = folder.join(split).join(class);
            fs::create_dir_all(&class).expect("a folder");
            for number in 0..count {
                let picture = image::RgbImage::from_fn(32, 32, |x, y| {
                    image::Rgb(colour.map(|c: u8| c.wrapping_add((x * y + number) as u8 % 32)))
                });
                picture.save(class.join(format!("{number}.png"))).expect("a picture");
            }
        }
    }
}
