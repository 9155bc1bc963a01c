//! The kernels compile for GPUs: by the NVRTC that `cargo xtask setup --cuda` has fetched, or the one that ADMIX_NVRTC names.
//! It needs no GPU. Where there is none of them, this says so and tests nothing.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::os::unix::Library;

use super::SOURCE;
use crate::cuda::libtorch_folder;

const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_90", "sm_100", "sm_120"];

fn find() -> Option<PathBuf> {
    let named = env::var_os("ADMIX_NVRTC").map(PathBuf::from);
    let fetched = libtorch_folder().ok().map(|lib| lib.join("../../nvidia/cu13/lib/libnvrtc.so.13"));
    named.or(fetched).filter(|path| path.is_file())
}

/// What it looks for by name alone is found once it is open.
fn open_builtins(folder: &Path) -> Option<Library> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc-builtins.so."))
    };
    let path = files.filter(|path| is_it(path)).min()?;
    // SAFETY: NVIDIA's library has no initialisers that ask for anything.
    unsafe { Library::new(path) }.ok()
}

type Program = *mut c_void;
type Texts = *const *const c_char;
type Create = unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, Texts, Texts) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, Texts) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

#[test]
fn kernels_compile_for_every_gpu_since_ampere_without_a_warning() {
    let Some(path) = find() else {
        eprintln!(
            "there is no NVRTC here: `cargo xtask setup --cuda` fetches it, or ADMIX_NVRTC names libnvrtc.so.13"
        );
        return;
    };
    let _builtins = open_builtins(path.parent().expect("a folder"));
    // SAFETY: as above. The types below are those of nvrtc.h; each text is NUL-terminated and lives for its call, and each
    // buffer has the size that the call before told.
    unsafe {
        let nvrtc = Library::new(&path).expect("NVRTC opens");
        let create = *nvrtc.get::<Create>(b"nvrtcCreateProgram").expect("a function");
        let compile = *nvrtc.get::<Compile>(b"nvrtcCompileProgram").expect("a function");
        let size_of_log = *nvrtc.get::<Size>(b"nvrtcGetProgramLogSize").expect("a function");
        let log = *nvrtc.get::<Get>(b"nvrtcGetProgramLog").expect("a function");
        let size_of_code = *nvrtc.get::<Size>(b"nvrtcGetCUBINSize").expect("a function");
        let source = CString::new(SOURCE).expect("a text");
        for architecture in ARCHITECTURES {
            let mut program = ptr::null_mut();
            let made =
                create(&mut program, source.as_ptr(), c"kernels.cu".as_ptr(), 0, ptr::null(), ptr::null());
            assert_eq!(made, 0);
            let target = CString::new(format!("--gpu-architecture={architecture}")).expect("a text");
            let options = [c"--std=c++17".as_ptr(), target.as_ptr()];
            let compiled = compile(program, 2, options.as_ptr());
            let mut bytes = 0;
            assert_eq!(size_of_log(program, &mut bytes), 0);
            let mut text = vec![0u8; bytes.max(1)];
            assert_eq!(log(program, text.as_mut_ptr().cast()), 0);
            let text = CStr::from_bytes_until_nul(&text).expect("a text").to_string_lossy().into_owned();
            assert!(compiled == 0 && text.is_empty(), "{architecture}: {compiled}: {text}");
            assert_eq!(size_of_code(program, &mut bytes), 0);
            assert!(bytes > 10_000, "{architecture}: {bytes}");
        }
    }
}
