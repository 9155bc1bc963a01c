//! Blocks, files, links and paths of the documents.

use std::fs;
use std::path::{Path, PathBuf};

use super::{blocks, documents, read, root};

#[test]
fn every_block_says_what_it_is() {
    for document in documents() {
        for block in blocks(&document) {
            let at = block.at();
            let known = ["sh", "ron", "rhai", "rust", "cpp", "python", "text", "json"]
                .contains(&block.language.as_str());
            assert!(known, "{at}: a block in `{}` is tested by nothing", block.language);
            if ["rust", "cpp", "python"].contains(&block.language.as_str()) {
                assert!(block.mark("file").or(block.mark("excerpt")).is_some(), "{at}: of which file?");
            }
        }
    }
}

#[test]
fn every_file_that_a_document_shows_is_the_file() {
    let mut shown = Vec::new();
    for document in documents() {
        for block in blocks(&document) {
            if let Some(path) = block.mark("file") {
                assert_eq!(
                    block.text.trim_end(),
                    read(path).trim_end(),
                    "{}: {path} has changed",
                    block.at()
                );
                shown.push((document.clone(), path.to_string()));
            }
            if let Some(path) = block.mark("excerpt") {
                assert!(read(path).contains(&block.text), "{}: {path} has changed", block.at());
                shown.push((document.clone(), path.to_string()));
            }
        }
    }
    for path in ["configs/cifar10/r18/amix.ron", "scripts/amix.rhai", "plugins/src/mixers/mixup.rs"] {
        assert!(shown.contains(&("README.md".into(), path.into())), "the README shows {path}");
    }
}

/// A heading as the fragment of a link.
fn fragment(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    for document in documents() {
        let text = read(&document);
        let folder = Path::new(&document).parent().unwrap_or(Path::new("")).to_path_buf();
        for (number, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let at = format!("{document}:{}: {target}", number + 1);
                if target.starts_with("https://") {
                    continue;
                }
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() { PathBuf::from(&document) } else { folder.join(path) };
                assert!(root().join(&path).exists(), "{at}: there is no such file");
                if !heading.is_empty() {
                    let page = read(&path.display().to_string());
                    let found = page.lines().filter(|l| l.starts_with('#')).any(|l| fragment(l) == heading);
                    assert!(found, "{at}: there is no such heading");
                }
            }
        }
    }
}

#[test]
fn every_path_of_the_file_map_is_there() {
    let text = read("CONTRIBUTING.md");
    let map = text.split("## Where things go").nth(1).expect("a file map");
    let rows = map.lines().filter(|line| line.starts_with("| `"));
    let paths: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert!(paths.len() > 8, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "the map has `{path}`");
    }
}

#[test]
fn the_picture_of_the_readme_is_there_and_small() {
    let bytes = fs::read(root().join("docs/images/mixed-samples.png")).expect("the picture");
    assert!(bytes.len() <= 300_000, "{} bytes", bytes.len());
    let picture = image::load_from_memory(&bytes).expect("a PNG");
    assert!(picture.width() >= 200 && picture.height() >= 200);
}
