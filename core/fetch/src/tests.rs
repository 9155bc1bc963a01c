//! Downloads from a server that each test runs itself.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;

use md5::{Digest, Md5};

use crate::{Fetched, Result, Sum, Wanted};

/// Gives each connection its answer, then closes it; ends after the last.
struct Server {
    url: String,
    requests: JoinHandle<Vec<String>>,
}

impl Server {
    fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let serve = move |answer: Vec<u8>| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(&answer).unwrap();
            String::from_utf8(request).unwrap().to_ascii_lowercase()
        };
        Self { url, requests: std::thread::spawn(move || answers.into_iter().map(serve).collect()) }
    }

    fn requests(self) -> Vec<String> {
        self.requests.join().unwrap()
    }
}

fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn content() -> Vec<u8> {
    (0..100_000_u64).map(|i| (i * i / 7) as u8).collect()
}

fn sum(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fetch_with(url: &str, folder: &Path, progress: &dyn Fn(u64, u64)) -> Result<Fetched> {
    let published = Sum::Md5(sum(&content()));
    let wanted = Wanted { url, sum: Some(&published), mirror: "give a mirror with `--url`" };
    wanted.download(&folder.join("set.bin"), progress)
}

fn fetch(url: &str, folder: &Path) -> Result<Fetched> {
    fetch_with(url, folder, &|_, _| {})
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_whole_file_arrives_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(vec![answer("200 OK", "", content().len(), &content())]);
    let url = server.url.clone();
    let told = std::cell::RefCell::new(Vec::new());
    let progress = |done, total| told.borrow_mut().push((done, total));
    let fetched = fetch_with(&url, folder.path(), &progress).unwrap();
    assert_eq!((fetched.bytes, fetched.resumed_from, fetched.downloaded), (100_000, 0, true));
    assert_eq!(told.borrow().last(), Some(&(100_000, 100_000)));
    assert!(!server.requests()[0].contains("range:"));
    assert_eq!(fs::read(folder.path().join("set.bin")).unwrap(), content());
    assert_eq!(names(folder.path()), ["set.bin"]);
    // The server is gone, and is not asked.
    let again = fetch(&url, folder.path()).unwrap();
    assert_eq!((again.bytes, again.downloaded), (100_000, false));
}

#[test]
fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = content();
    let rest = first.split_off(40_000);
    let server = Server::start(vec![
        answer("200 OK", "ETag: \"one\"\r\n", 100_000, &first),
        answer(
            "206 Partial Content",
            "ETag: \"one\"\r\nContent-Range: bytes 40000-99999/100000\r\n",
            60_000,
            &rest,
        ),
    ]);
    let text = fetch(&server.url, folder.path()).unwrap_err().to_string();
    assert!(text.contains("after 40000 of 100000 bytes") && text.contains("run the command again"), "{text}");
    assert_eq!(fs::read(folder.path().join("set.bin.part")).unwrap(), first);
    let fetched = fetch(&server.url, folder.path()).unwrap();
    assert_eq!((fetched.bytes, fetched.resumed_from), (100_000, 40_000));
    assert_eq!(names(folder.path()), ["set.bin"]);
    let requests = server.requests();
    assert!(!requests[0].contains("range:"), "{}", requests[0]);
    assert!(
        requests[1].contains("range: bytes=40000-") && requests[1].contains("if-range: \"one\""),
        "{}",
        requests[1]
    );
}

#[test]
fn a_server_that_cannot_go_on_starts_again() {
    for refusal in [None, Some("416 Range Not Satisfiable")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("set.bin.part"), [7; 500]).unwrap();
        let whole = answer("200 OK", "", content().len(), &content());
        let refused = refusal.map(|status| answer(status, "Content-Range: bytes */100000\r\n", 0, &[]));
        let server = Server::start(refused.into_iter().chain([whole]).collect());
        let fetched = fetch(&server.url, folder.path()).unwrap();
        assert_eq!((fetched.bytes, fetched.resumed_from), (100_000, 0));
        assert!(server.requests()[0].contains("range: bytes=500-"));
        assert_eq!(names(folder.path()), ["set.bin"]);
    }
}

#[test]
fn a_part_that_is_whole_needs_no_more_bytes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("set.bin.part"), content()).unwrap();
    let server =
        Server::start(vec![answer("416 Range Not Satisfiable", "Content-Range: bytes */100000\r\n", 0, &[])]);
    assert_eq!(fetch(&server.url, folder.path()).unwrap().resumed_from, 100_000);
    assert_eq!(names(folder.path()), ["set.bin"]);
}

#[test]
fn a_wrong_checksum_removes_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(vec![answer("200 OK", "", 3, b"bad")]);
    let text = fetch(&server.url, folder.path()).unwrap_err().to_string();
    for part in [&sum(b"bad"), &sum(&content()), "was removed", "--url", &server.url] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn another_file_of_that_name_is_told_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("set.bin"), "mine").unwrap();
    // Nobody is asked.
    let text = fetch("http://127.0.0.1:1", folder.path()).unwrap_err().to_string();
    for part in ["set.bin is there already", &sum(b"mine"), &sum(&content()), "move it away"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(fs::read(folder.path().join("set.bin")).unwrap(), b"mine");
    assert_eq!(names(folder.path()), ["set.bin"]);
}

#[test]
fn servers_that_refuse_are_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(vec![answer("404 Not Found", "", 0, &[])]);
    let text = fetch(&server.url, folder.path()).unwrap_err().to_string();
    assert!(text.contains("404 Not Found") && text.contains("--url"), "{text}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = fetch(&format!("http://{closed}/file"), folder.path()).unwrap_err().to_string();
    assert!(text.contains(&closed.to_string()) && text.to_lowercase().contains("refused"), "{text}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn two_that_want_one_file_at_once_get_it_by_one_download() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(vec![answer("200 OK", "", content().len(), &content())]);
    let (url, folder) = (server.url.as_str(), folder.path());
    let downloaded = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| fetch(url, folder).unwrap().downloaded));
        both.map(|one| one.join().unwrap())
    });
    assert_eq!(downloaded.iter().filter(|done| **done).count(), 1);
    assert_eq!(fs::read(folder.join("set.bin")).unwrap(), content());
}
