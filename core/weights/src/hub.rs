//! Files of the Hugging Face hub: `hf:OWNER/NAME`, with `@REVISION` and `/FILE` if wanted.

use std::path::{Path, PathBuf};

use admix_fetch::{Sum, Wanted, agent};
use serde::Deserialize;

use crate::located::{Located, Normalisation};
use crate::{Error, Result, cache};

/// The hub, and the variable by which its own tools take another one.
const HUB: &str = "https://huggingface.co";
const MIRROR: &str = "HF_ENDPOINT";
/// What weights are called there, best first.
const NAMES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
const ELSEWHERE: &str = "set HF_ENDPOINT to a mirror, or download the file and give its path";

/// What an address says.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    repository: String,
    revision: &'a str,
    file: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn parse(address: &'a str) -> Result<Self> {
        let refuse = || {
            Error::Address(format!(
                "`hf:{}` is no address of weights: expected hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf:OWNER/NAME/FILE",
                address.escape_debug()
            ))
        };
        let mut parts = address.splitn(3, '/');
        let (owner, name, file) =
            (parts.next().unwrap_or_default(), parts.next().ok_or_else(refuse)?, parts.next());
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        // They become parts of a path: nothing may lead elsewhere.
        let good = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let file_is_good = file.is_none_or(|file| file.split('/').all(good));
        if !(good(owner) && good(name) && good(revision) && file_is_good) {
            return Err(refuse());
        }
        Ok(Self { repository: format!("{owner}/{name}"), revision, file })
    }

    fn url(&self, file: &str) -> String {
        let hub = std::env::var(MIRROR).unwrap_or_else(|_| HUB.into());
        format!("{}/{}/resolve/{}/{file}", hub.trim_end_matches('/'), self.repository, self.revision)
    }

    fn place(&self, file: &str) -> Result<PathBuf> {
        Ok(cache::folder()?.join("hf").join(&self.repository).join(self.revision).join(file))
    }
}

/// Gets a file of weights, unless it is there.
pub(crate) fn locate(address: &str, progress: &dyn Fn(u64, u64)) -> Result<Located> {
    let address = Address::parse(address)?;
    let names = address.file.map_or(NAMES.to_vec(), |file| vec![file]);
    for name in &names {
        let path = address.place(name)?;
        if path.is_file() {
            return Ok(Located { path, normalisation: normalisation(&address, false)? });
        }
    }
    for name in &names {
        let (path, url) = (address.place(name)?, address.url(name));
        let Some(sum) = published(&url)? else { continue };
        // First: where the weights are there, the repository is not asked again.
        let normalisation = normalisation(&address, true)?;
        Wanted { url: &url, sum: sum.as_ref(), mirror: ELSEWHERE }.download(&path, progress)?;
        return Ok(Located { path, normalisation });
    }
    Err(Error::Address(format!(
        "hf:{} has no {} (revision {}), or wants a login: look at its page, or download the file and give its path",
        address.repository,
        names.join(" and no "),
        address.revision
    )))
}

/// The SHA-256 that the hub publishes for a file, if it does; `None` if there is no such file.
fn published(url: &str) -> Result<Option<Option<Sum>>> {
    let failed = |problem: String| {
        Error::Fetch(admix_fetch::Error::Download { url: url.into(), problem, remedy: ELSEWHERE.into() })
    };
    // The answer that leads to the file's place says its checksum; the place itself does not.
    let head = agent(url).head(url).config().max_redirects(0).max_redirects_will_error(false).build();
    let answer = head.call().map_err(|error| failed(error.to_string()))?;
    match answer.status().as_u16() {
        200..=399 => {}
        401 | 403 | 404 => return Ok(None),
        _ => return Err(failed(format!("the server answers {}", answer.status()))),
    }
    let tag = answer.headers().get("x-linked-etag").and_then(|tag| tag.to_str().ok());
    let digits = tag.map(|tag| tag.trim_matches('"').to_ascii_lowercase());
    let is_sum = |digits: &String| digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit());
    Ok(Some(digits.filter(is_sum).map(Sum::Sha256)))
}

/// What timm's `config.json` says about the images.
#[derive(Deserialize)]
struct Config {
    pretrained_cfg: Option<Pretrained>,
}

#[derive(Deserialize)]
struct Pretrained {
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// What images were normalised by, where the repository says it: it is asked once, when weights are `new`.
fn normalisation(address: &Address<'_>, new: bool) -> Result<Option<Normalisation>> {
    let path = address.place("config.json")?;
    if !path.is_file() {
        if !new {
            return Ok(None);
        }
        let url = address.url("config.json");
        if published(&url)?.is_none() {
            return Ok(None);
        }
        Wanted { url: &url, sum: None, mirror: ELSEWHERE }.download(&path, &|_, _| {})?;
    }
    Ok(read(&path)?
        .and_then(|config| config.pretrained_cfg)
        .map(|Pretrained { mean, std }| Normalisation { mean, std }))
}

/// A configuration of another kind says nothing.
fn read(path: &Path) -> Result<Option<Config>> {
    let text =
        std::fs::read(path).map_err(|source| Error::Io { action: "read", path: path.into(), source })?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_repository_and_maybe_a_revision_and_a_file() {
        let plain = Address::parse("timm/resnet18.a1_in1k").expect("an address");
        assert_eq!(
            (plain.repository.as_str(), plain.revision, plain.file),
            ("timm/resnet18.a1_in1k", "main", None)
        );
        let full = Address::parse("a/b@v1.0/sub/w.safetensors").expect("an address");
        assert_eq!((full.repository.as_str(), full.revision), ("a/b", "v1.0"));
        assert_eq!(full.file, Some("sub/w.safetensors"));
    }

    #[test]
    fn an_address_that_leads_elsewhere_is_refused() {
        for bad in ["", "a", "a/", "../b", "a/b/../c", "a/b@", "a/b@../x", "a//b", "a/b c", "/a/b"] {
            let error = Address::parse(bad).expect_err(bad).to_string();
            assert!(error.contains("OWNER/NAME"), "{error}");
        }
    }
}
