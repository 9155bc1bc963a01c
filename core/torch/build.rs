//! Compiles the C++ shim against the libtorch that `torch-sys` found.

use std::path::PathBuf;
use std::{env, thread};

/// Files that include libtorch headers: parsing them is the cost, so they are compiled side by side.
const LIBTORCH_FILES: [&str; 10] = [
    "batch_norm",
    "batch_norm_kernels",
    "guards",
    "optim",
    "grads",
    "tensors",
    "syncs",
    "cuda",
    "group",
    "emulation",
];

/// What the loops of the batch normalisation are compiled for: a name, the bytes of a vector, the compiler's flags. Which
/// of them run is found out at run time.
const PLAIN: (&str, &str, &[&str]) = ("plain", "16", &[]);
const X86_64: [(&str, &str, &[&str]); 2] = [
    ("avx2", "32", &["-mavx2", "-mfma"]),
    ("avx512", "64", &["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]),
];

fn main() {
    println!("cargo:rerun-if-changed=shim");
    for shared in ["batch_norm.cu", "batch_norm_shape.h", "emulated.h"] {
        println!("cargo:rerun-if-changed=cuda/{shared}");
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");

    // Lints link nothing. What is built for them is kept apart from what is built to run.
    if env::var("RUSTC_WORKSPACE_WRAPPER").is_ok_and(|wrapper| wrapper.contains("clippy-driver")) {
        return;
    }

    // Loops worth vectorising; the files include no libtorch header.
    let loops = |file: &str| cc::Build::new().file(file).opt_level(3).debug(false).compile_intermediates();
    let mut objects = loops("shim/finite.c");
    objects.extend(loops("shim/sgd_loop.cpp"));
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    for instructions in [PLAIN].iter().chain(X86_64.iter().filter(|_| x86_64)) {
        objects.extend(batch_norm_loops(instructions));
    }

    let base = libtorch_build();
    let files = LIBTORCH_FILES.map(|name| format!("shim/{name}.cpp"));
    let (left, right) = files.split_at(files.len() / 2);
    thread::scope(|scope| {
        let other = scope.spawn(|| base.clone().files(right).compile_intermediates());
        objects.extend(base.clone().files(left).compile_intermediates());
        objects.extend(other.join().expect("the C++ shim compiles"));
    });
    cc::Build::new().cpp(true).objects(objects).compile("admix_shim");
}

/// The loops of the batch normalisation for a set of instructions.
fn batch_norm_loops((name, vector, flags): &(&str, &str, &[&str])) -> Vec<PathBuf> {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(3).debug(false).file("shim/batch_norm_loops.cpp");
    build.define("ADMIX_LOOPS", format!("admix_norm_loops_{name}").as_str()).define("ADMIX_VECTOR", *vector);
    // Vectors that a machine may lack are handed to functions, all of which are inlined.
    for flag in flags.iter().chain(&["-Wno-psabi"]) {
        build.flag(flag);
    }
    // The object has the file's name, whatever it is compiled for.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder")).join(name);
    std::fs::create_dir_all(&out).expect("a folder for objects");
    build.out_dir(out).compile_intermediates()
}

/// Compiler settings for code that includes libtorch headers.
fn libtorch_build() -> cc::Build {
    // Set by torch-sys, of which this crate is a direct dependent.
    let lib =
        PathBuf::from(env::var_os("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names libtorch's lib folder"));
    let root = match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root),
        None => lib.parent().expect("libtorch's lib folder has a parent").to_path_buf(),
    };

    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .debug(false)
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        // Stand-ins for the headers of Gloo: libtorch holds its code, the wheels lack its headers.
        .include("shim")
        // What the host and the kernels of a GPU share.
        .include("cuda")
        .define("USE_C10D_GLOO", None)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        // As libtorch was built: some of its classes have one member more without it.
        .define("NDEBUG", None);
    // at::parallel_for is a plain loop without OpenMP. Only GCC's runtime is the one libtorch brings along.
    if build.get_compiler().is_like_gnu() {
        build.flag("-fopenmp");
    }
    build
}
