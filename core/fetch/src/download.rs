//! One file by HTTP, into a `.part` file first; a later call goes on where an earlier one stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use ureq::http::HeaderMap;

use crate::error::At;
use crate::{Error, Result, Sum};

const BUFFER: usize = 1 << 16;
/// A server that is silent for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that is there now.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it comes from.
    pub url: String,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes that an earlier call had downloaded.
    pub resumed_from: u64,
    /// Whether it was downloaded; not if it was there.
    pub downloaded: bool,
}

fn failed(url: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Download { url: url.into(), problem: problem.into(), remedy: remedy.into() }
}

const AGAIN: &str = "run the command again: it goes on from there";

/// A file to download.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its address.
    pub url: &'a str,
    /// Its published checksum; `None` if none is published.
    pub sum: Option<&'a Sum>,
    /// How to take the file from elsewhere, as the end of a sentence: "give a mirror with `--url`".
    pub mirror: &'a str,
}

impl Wanted<'_> {
    /// Downloads the file to `to`, whose folder is made. A file that is there is kept, if its checksum is right. `progress` is
    /// called now and then with the bytes that are there and the bytes in all, 0 if the server does not say.
    ///
    /// # Errors
    /// The server fails or refuses, the checksum is another (the file is removed), the file cannot be written.
    pub fn download(&self, to: &Path, progress: &dyn Fn(u64, u64)) -> Result<Fetched> {
        let Self { url, sum, mirror } = *self;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).at("make the folder", folder)?;
        // Another process that wants the same file waits and finds it there. Where a folder cannot be locked, nobody waits.
        let lock = File::open(folder).at("open", folder)?;
        let _ = lock.lock();
        let mut fetched = Fetched { url: url.into(), bytes: 0, resumed_from: 0, downloaded: false };
        if to.is_file() {
            if let Some(found) = sum.map(|sum| sum.differs(to)).transpose()?.flatten() {
                let problem = format!("{} is there already, with {found}", to.display());
                return Err(failed(url, problem, "move it away or remove it, and run the command again"));
            }
            fetched.bytes = fs::metadata(to).at("read", to)?.len();
            return Ok(fetched);
        }
        let part = Part::of(to);
        fetched.resumed_from = part.receive(url, mirror, progress)?;
        if let Some(found) = sum.map(|sum| sum.differs(&part.file)).transpose()?.flatten() {
            part.remove();
            let problem = format!("the file has {found}, and was removed");
            return Err(failed(url, problem, format!("run the command again, or {mirror}")));
        }
        fetched.bytes = fs::metadata(&part.file).at("read", &part.file)?.len();
        fs::rename(&part.file, to).at("write", to)?;
        fs::remove_file(&part.tag).ok();
        Ok(Fetched { downloaded: true, ..fetched })
    }
}

/// A file on its way.
struct Part {
    file: PathBuf,
    /// Address and version of what the file is a part of.
    tag: PathBuf,
}

impl Part {
    fn of(to: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = to.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self { file: with(".part"), tag: with(".part.tag") }
    }

    fn remove(&self) {
        fs::remove_file(&self.file).ok();
        fs::remove_file(&self.tag).ok();
    }

    /// Bytes that are there already.
    fn len(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// The version that a server called this part's whole, if it was the server of `url`.
    fn version(&self, url: &str) -> Option<String> {
        let text = fs::read_to_string(&self.tag).ok()?;
        let (of, version) = text.split_once('\n')?;
        (of == url && !version.is_empty()).then(|| version.to_owned())
    }

    /// Receives what is missing; returns how many bytes were there before and are used.
    fn receive(&self, url: &str, mirror: &str, progress: &dyn Fn(u64, u64)) -> Result<u64> {
        let other = || format!("check the address and the connection, or {mirror}");
        let have = self.len();
        let agent = agent(url);
        let mut request = agent.get(url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
            if let Some(version) = self.version(url) {
                request = request.header("If-Range", version);
            }
        }
        let response = request.call().map_err(|error| failed(url, error.to_string(), other()))?;
        let start = match response.status().as_u16() {
            200 => 0,
            206 if have > 0 && first_byte(response.headers()) == Some(have) => have,
            // The part is not one of this file, or as long as all of it and nothing is missing.
            206 | 416 if have > 0 => {
                if whole_length(response.headers()) == Some(have) {
                    return Ok(have);
                }
                self.remove();
                return self.receive(url, mirror, progress);
            }
            _ => return Err(failed(url, format!("the server answers {}", response.status()), other())),
        };
        let headers = response.headers();
        let length =
            headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let total = length.map_or(0, |length| start + length);
        fs::write(&self.tag, format!("{url}\n{}", version(headers).unwrap_or_default()))
            .at("write", &self.tag)?;
        let mut options = OpenOptions::new();
        let options = if start > 0 { options.append(true) } else { options.write(true).truncate(true) };
        let mut file = options.create(true).open(&self.file).at("write", &self.file)?;
        let mut body = response.into_body().into_reader();
        let (mut done, mut buffer) = (start, vec![0; BUFFER]);
        let of = if total > 0 { format!("{total}") } else { "all".into() };
        progress(done, total);
        loop {
            match body.read(&mut buffer) {
                Ok(0) if done < total => {
                    return Err(failed(
                        url,
                        format!("the connection ended after {done} of {of} bytes"),
                        AGAIN,
                    ));
                }
                Ok(0) => break,
                Ok(n) => {
                    file.write_all(&buffer[..n]).at("write", &self.file)?;
                    done += n as u64;
                    progress(done, total);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let problem = format!("the connection broke after {done} of {of} bytes ({error})");
                    return Err(failed(url, problem, AGAIN));
                }
            }
        }
        file.sync_all().at("write", &self.file)?;
        Ok(start)
    }
}

/// A client for an address: it gives up a silent server, hands every status on, and asks this machine without a proxy.
pub fn agent(url: &str) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    // A proxy in the environment cannot reach this machine.
    if ["http://127.0.0.1", "http://localhost"].iter().any(|here| url.starts_with(here)) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// What tells one version of a file from another: a strong entity tag, or the time of the last change.
fn version(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("etag").filter(|tag| !tag.starts_with("W/")).or_else(|| text("last-modified"))
}

/// Of `Content-Range: bytes 400-999/1000` the 400.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.split_once('-')?.0.trim().parse().ok()
}

/// Of `Content-Range: bytes */1000` the 1000.
fn whole_length(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.strip_prefix("*/")?.trim().parse().ok()
}

fn content_range(headers: &HeaderMap) -> Option<&str> {
    headers.get("content-range")?.to_str().ok()?.trim().strip_prefix("bytes ")
}
