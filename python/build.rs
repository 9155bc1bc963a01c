//! Where the extension module finds libtorch: in the PyTorch that is installed beside the package. And what lets it load on
//! systems with older C and C++ libraries than those that it is built with (`old_systems/`).

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=old_systems");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-rpath,$ORIGIN/../torch/lib");
    let is = |what: &str, value: &str| env::var(what).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let symbols = cc::Build::new().file("old_systems/symbols.S").compile_intermediates();
        let mut functions = cc::Build::new();
        let functions =
            functions.cpp(true).std("c++17").file("old_systems/functions.cpp").compile_intermediates();
        // Objects, not an archive: whatever comes before them, they are what the names mean.
        for object in symbols.iter().chain(&functions) {
            println!("cargo:rustc-cdylib-link-arg={}", object.display());
        }
    }
}
