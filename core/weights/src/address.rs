//! Files by address: `torchvision:NAME`, `hf:OWNER/NAME`, `https://...`, or a path.

use std::path::{Path, PathBuf};

use admix_fetch::Wanted;

use crate::located::Located;
use crate::{Error, Result, cache, hub, zoo};

/// Finds the file of an address; downloads it into the cache unless it is there. Paths are looked up as they are, then
/// in the folder `beside`. `progress` gets the bytes that are there and the bytes in all (0: unknown) of a download.
///
/// # Errors
/// No such file or address, a failed download, another checksum than the published one.
pub fn locate(from: &str, beside: &Path, progress: &dyn Fn(u64, u64)) -> Result<Located> {
    if let Some(name) = from.strip_prefix("torchvision:") {
        return zoo::locate(name, progress);
    }
    if let Some(address) = from.strip_prefix("hf:") {
        return hub::locate(address, progress);
    }
    if from.starts_with("https://") || from.starts_with("http://") {
        let name = from.rsplit('/').next().filter(|name| !name.is_empty() && !name.starts_with('.'));
        let name = name.ok_or_else(|| Error::Address(format!("{from} ends with no name of a file")))?;
        // Files of one name from two places are two files.
        let path = cache::folder()?.join("http").join(escaped(from.trim_end_matches(name))).join(name);
        Wanted { url: from, sum: None, mirror: "download the file and give its path" }
            .download(&path, progress)?;
        return Ok(Located { path, normalisation: None });
    }
    let path = [PathBuf::from(from), beside.join(from)].into_iter().find(|path| path.exists());
    let path = path.ok_or_else(|| {
        Error::Address(format!(
            "there is no file {from}: give the path of a weight file, torchvision:NAME (such as torchvision:resnet18) or \
             hf:OWNER/NAME (such as hf:timm/resnet18.a1_in1k)"
        ))
    })?;
    Ok(Located { path, normalisation: None })
}

/// A part of an address as the name of a folder: no two have the same.
fn escaped(part: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02x}"),
    };
    part.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_differ_in_punctuation_are_kept_apart() {
        let all = ["https://h/a/b/", "https://h/a-b/", "https://h/a_b/", "https://h/a%2fb/"].map(escaped);
        for (at, one) in all.iter().enumerate() {
            assert!(!one.contains(['/', '.']), "{one}");
            assert!(all[at + 1..].iter().all(|other| other != one), "{one}");
        }
    }
}
