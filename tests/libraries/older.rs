//! Libraries that were built before the boundary grew: they load and train as ever.

use std::io::Read as _;
use std::path::PathBuf;

use crate::engine::differing;
use crate::program::{Place, repository};

use super::cpp::tensors;
use super::{library, rust};

/// The examples as commit 9777086 built them, on Linux for x86-64; version 1 of the boundary, as it was frozen.
const OLDER: [(&str, &str); 2] = [
    ("libsmooth_mix.so", "examples/plugin_rust/smooth_mix.ron"),
    ("libsoft_grid.so", "examples/plugin_cpp/soft_grid.ron"),
];

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn libraries_that_were_built_before_the_boundary_grew_train_as_those_of_today_bit_for_bit() {
    for (file, recipe) in OLDER {
        let place = Place::new();
        let packed = std::fs::read(repository().join(format!("tests/fixtures/libraries/{file}.xz")))
            .expect("a fixture");
        let mut whole = Vec::new();
        liblzma::read::XzDecoder::new(packed.as_slice()).read_to_end(&mut whole).expect("it unpacks");
        let older = place.path(file);
        std::fs::write(&older, whole).expect("written");
        let today: PathBuf = match file {
            "libsmooth_mix.so" => rust::smooth_mix().into(),
            _ => library("examples/plugin_cpp/soft_grid.cpp").into(),
        };
        let recipe = repository().join(recipe).display().to_string();
        for (plugin, out) in [(&older, "older"), (&today, "today")] {
            let plugin = plugin.display().to_string();
            place.compute(&["run", &recipe, "--plugin", &plugin, "--out", out]).good();
        }
        let [older, today] = ["older", "today"].map(|run| tensors(&place.path(run)));
        assert_eq!(differing(&older, &today), Vec::<String>::new(), "{file}");
    }
}
