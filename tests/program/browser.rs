//! A page in a real browser: Chromium without a window, where one is installed (Debian's package `chromium`).

use std::path::Path;
use std::process::Command;

use super::Place;

/// What a page is in the browser, and what its console says. `None` without a browser.
pub fn shown(page: &Path) -> Option<(String, Vec<String>)> {
    let profile = tempfile::tempdir().expect("a folder");
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let found = browsers.iter().find_map(|browser| {
        let mut command = Command::new(browser);
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg(format!("file://{}", page.display())).output().ok()
    })?;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    Some((String::from_utf8_lossy(&found.stdout).into_owned(), console))
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_page_with_an_error_is_told_apart_from_one_without() {
    let place = Place::new();
    let page = |script: &str| {
        format!("<!DOCTYPE html><html><body><h1>A</h1><script>{script}</script></body></html>")
    };
    place.write("good.html", page("document.title = 'seen'"));
    place.write("bad.html", page("nothing.at.all()"));
    let Some((dom, console)) = shown(&place.path("good.html")) else {
        eprintln!("skipped: no Chromium is found; Debian's package is `chromium`");
        return;
    };
    assert!(dom.contains("<title>seen</title>") && console.is_empty(), "{console:?}");
    let (_, console) = shown(&place.path("bad.html")).expect("the same browser");
    assert!(console.iter().any(|line| line.contains("nothing is not defined")), "{console:?}");
}
