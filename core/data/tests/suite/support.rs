//! Little image folders and helpers.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use admix_api::{Registry, Streams, With};
use admix_data::{DataConfig, Dataset, Datasets, Entry, ImportOptions, ImportReport, Info, Result, Verified};
use admix_torch::{Device, Tensor};
use image::{ImageFormat, Rgb, RgbImage};
use ron::extensions::Extensions;

/// A number of a `S`, and what it is called.
pub type Named<S, T> = (&'static str, fn(&S) -> T);

pub fn config(name: &str) -> DataConfig {
    DataConfig { name: name.into(), ..DataConfig::default() }
}

pub fn registry() -> Registry {
    Registry::linked().unwrap()
}

/// What a recipe says in its `data`.
pub fn read(text: &str) -> Result<DataConfig, String> {
    let registry = registry();
    let options = ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME);
    options.from_str_seed(text, With::<DataConfig>::new(&registry)).map_err(|error| error.to_string())
}

pub fn open(config: &DataConfig) -> Dataset {
    opened(config).unwrap()
}

pub fn opened(config: &DataConfig) -> Result<Dataset> {
    opened_from(config, Streams::new(1))
}

pub fn opened_from(config: &DataConfig, streams: Streams) -> Result<Dataset> {
    Dataset::open(config, &registry(), Device::Cpu, streams)
}

pub fn catalogue(root: &Path) -> Vec<Entry> {
    Datasets::new(root, &registry()).catalogue()
}

pub fn info(name: &str, root: &Path) -> Result<Info> {
    Datasets::new(root, &registry()).info(name)
}

pub fn verify(name: &str, root: &Path) -> Result<Verified> {
    Datasets::new(root, &registry()).verify(name)
}

pub fn import(source: &Path, name: &str, root: &Path, options: ImportOptions<'_>) -> Result<ImportReport> {
    Datasets::new(root, &registry()).import(source, name, options)
}

#[track_caller]
pub fn error<T>(result: admix_data::Result<T>) -> String {
    result.err().expect("an error").to_string()
}

pub fn bytes(tensor: &Tensor) -> Vec<u8> {
    Vec::try_from(tensor.contiguous().view([-1])).unwrap()
}

pub fn numbers(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor).unwrap()
}

/// A picture of one colour with a darker corner.
pub fn picture(height: u32, width: u32, colour: [u8; 3]) -> RgbImage {
    let mut image = RgbImage::from_pixel(width, height, Rgb(colour));
    image.put_pixel(0, 0, Rgb([0, 0, 0]));
    image
}

pub fn encode(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn png(colour: u8) -> Vec<u8> {
    encode(&picture(8, 6, [colour, colour / 2, 255 - colour]), ImageFormat::Png)
}

pub fn jpeg(colour: u8) -> Vec<u8> {
    encode(&picture(8, 6, [colour, colour / 2, 255 - colour]), ImageFormat::Jpeg)
}

/// Two classes; 3 + 2 training and 1 + 1 test images of 8x6 pixels, of both formats, one with a lying suffix.
pub fn files() -> Vec<(String, Vec<u8>)> {
    [
        ("train/cat/b.png", png(20)),
        ("train/cat/a.png", png(10)),
        ("train/cat/c.png", jpeg(30)),
        ("train/ant/2.jpg", png(50)),
        ("train/ant/1.jpg", jpeg(40)),
        ("test/ant/1.png", png(60)),
        ("test/cat/1.png", png(70)),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

pub fn write_folder(root: &Path, files: &[(String, Vec<u8>)]) -> PathBuf {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root.to_owned()
}

/// A tar archive whose names are written as they are, however evil.
pub fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        builder.append(&tar_header(name, bytes.len(), tar::EntryType::Regular), bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn tar_header(name: &str, len: usize, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(len as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
