//! Downloads from a server that each test runs itself.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use md5::{Digest, Md5};

use super::{GetOptions, Published, Then};
use crate::lookup::Datasets;

/// Gives each connection its answer, then closes it; ends after the last.
struct Server {
    url: String,
}

impl Server {
    fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    request.push(byte[0]);
                }
                stream.write_all(&answer).unwrap();
            }
        });
        Self { url }
    }
}

fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn sum(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// CIFAR-10 with an image a file.
fn archive() -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(encoder);
    let names =
        (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".into(), "readme.html".into()]);
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(3073);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &[3; 3073][..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_set_is_ready_after_it_was_got_and_is_got_once() {
    let root = tempfile::tempdir().unwrap();
    let registry = admix_api::Registry::linked().unwrap();
    let sets = Datasets::new(root.path(), &registry);
    let status =
        || sets.catalogue().into_iter().find(|set| set.name == "cifar10").unwrap().status.to_string();
    let archive = archive();
    let md5 = sum(&archive);
    let set = Published {
        base: "http://127.0.0.1:1/",
        files: &[("cifar-10-binary.tar.gz", &md5)],
        then: Then::Unpack("cifar-10-batches-bin"),
    };
    assert_eq!(status(), "missing");
    let server = Server::start(vec![answer("200 OK", "", archive.len(), &archive)]);
    let options = GetOptions { url: Some(&server.url), ..GetOptions::default() };
    let report = sets.get_published("cifar10", set, options).unwrap();
    assert_eq!((report.files.len(), report.files[0].bytes), (1, archive.len() as u64));
    assert_eq!(status(), "ready");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "the folder `cifar-10-batches-bin` alone");
    // No server answers any more.
    assert!(sets.get_published("cifar10", set, options).unwrap().files.is_empty());
}

#[test]
fn names_and_addresses_that_are_none_are_refused() {
    let root = Path::new("/nowhere");
    let registry = admix_api::Registry::linked().unwrap();
    let sets = Datasets::new(root, &registry);
    let text = |name: &str, url| {
        sets.get(name, GetOptions { url, ..GetOptions::default() }).unwrap_err().to_string()
    };
    let unknown = text("cifar1O", None);
    assert!(
        unknown.contains("`NAME` is `cifar1O`") && unknown.contains("Did you mean `cifar10`"),
        "{unknown}"
    );
    assert!(unknown.contains("stl10, tiny_imagenet"), "{unknown}");
    let imagenet = text("imagenet", None);
    assert!(
        imagenet.contains("register at https://image-net.org")
            && imagenet.contains("`imagenet/train/CLASS/`")
    );
    assert!(text("stl10", Some("ftp://x/y")).contains("`--url` is `ftp://x/y`"));
    assert!(sets.get("fashion-mini", GetOptions::default()).unwrap().files.is_empty());
}
