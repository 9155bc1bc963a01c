//! The shared object with what names CUDA symbols (`cuda/`): finding it, opening it, its functions.

use std::env;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::cuda::libtorch_folder;
use crate::shim::Fault;
use crate::{Error, Result};

/// The file's name.
const FILE: &str = "libadmix_cuda.so";
/// Names the file, wherever it is.
const VARIABLE: &str = "ADMIX_CUDA_OBJECT";
/// `kAbi` of `cuda/graphs.cpp`.
const ABI: u32 = 2;

/// The call of `cuda/nccl.cpp`: store, rank, processes, milliseconds, device, group.
pub(crate) type NcclJoin =
    unsafe extern "C" fn(*mut c_void, c_int, c_int, i64, c_int, *mut *mut c_void) -> Fault;

/// The functions of the object. It is never closed, so they stay valid.
#[derive(Debug)]
pub(crate) struct CudaObject {
    pub(crate) graphs_new: unsafe extern "C" fn(c_int, *mut *mut c_void) -> Fault,
    pub(crate) graphs_free: unsafe extern "C" fn(*mut c_void),
    pub(crate) capture_begin: unsafe extern "C" fn(*mut c_void) -> Fault,
    pub(crate) capture_end: unsafe extern "C" fn(*mut c_void, *mut *mut c_void) -> Fault,
    pub(crate) capture_abandon: unsafe extern "C" fn(*mut c_void),
    pub(crate) graph_replay: unsafe extern "C" fn(*mut c_void) -> Fault,
    pub(crate) graph_free: unsafe extern "C" fn(*mut c_void),
    pub(crate) timer_new: unsafe extern "C" fn(*mut *mut c_void) -> Fault,
    pub(crate) timer_free: unsafe extern "C" fn(*mut c_void),
    pub(crate) timer_begin: unsafe extern "C" fn(*mut c_void) -> Fault,
    pub(crate) timer_end: unsafe extern "C" fn(*mut c_void) -> Fault,
    pub(crate) timer_ms: unsafe extern "C" fn(*mut c_void, *mut f32) -> Fault,
    pub(crate) synchronize: unsafe extern "C" fn(c_int) -> Fault,
    pub(crate) watch_syncs: unsafe extern "C" fn(c_int) -> Fault,
    pub(crate) kernels_load: unsafe extern "C" fn(*const c_char, c_int) -> Fault,
    /// Of a `Launch` of `shim/launch.h`.
    pub(crate) kernel_launch: unsafe extern "C" fn(*const c_void) -> Fault,
    /// Of an object that was compiled with NCCL.
    pub(crate) nccl_join: Option<NcclJoin>,
}

/// The object, opened at the first call. libtorch's CUDA part must be there by then.
pub(crate) fn cuda_object() -> Result<&'static CudaObject> {
    static OBJECT: OnceLock<std::result::Result<CudaObject, (PathBuf, String)>> = OnceLock::new();
    let opened = OBJECT.get_or_init(|| match find() {
        Ok(path) => open(&path).map_err(|reason| (path, reason)),
        Err(looked_in) => Err((PathBuf::new(), looked_in)),
    });
    opened.as_ref().map_err(|(path, reason)| Error::CudaObject { path: path.clone(), reason: reason.clone() })
}

/// Where the object is: what the variable names, beside the program, or among libtorch's libraries. The error says where
/// it was looked for.
fn find() -> std::result::Result<PathBuf, String> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        // A relative one would run the code of whatever folder the program is started in.
        return if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!("{VARIABLE} is `{}`, expected an absolute path", path.display()))
        };
    }
    let program = env::current_exe().ok().and_then(|path| Some(path.parent()?.to_path_buf()));
    let folders: Vec<PathBuf> = program.into_iter().chain(libtorch_folder().ok()).collect();
    let found = folders.iter().map(|folder| folder.join(FILE)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("there is no {FILE} in {}", folders.join(" or "))
    })
}

fn open(path: &std::path::Path) -> std::result::Result<CudaObject, String> {
    // SAFETY: opening runs the object's initialisers, which are those of libtorch's headers. The path is the user's own.
    let library =
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| error.to_string())?;
    // A symbol as a function of the type that is wanted.
    macro_rules! symbol {
        ($name:literal) => {
            // SAFETY: the type is that of the declaration in cuda/graphs.cpp or cuda/kernels.cpp, of the version checked first.
            *unsafe { library.get($name.as_bytes()) }.map_err(|error| error.to_string())?
        };
    }
    let abi: unsafe extern "C" fn() -> u32 = symbol!("admix_cuda_abi");
    let built: unsafe extern "C" fn() -> *const c_char = symbol!("admix_cuda_libtorch");
    // SAFETY: neither takes an argument; the text is a literal of the object.
    let (abi, built) = unsafe { (abi(), CStr::from_ptr(built()).to_string_lossy().into_owned()) };
    let libtorch = crate::handles::libtorch_version();
    if abi != ABI || built != libtorch {
        return Err(format!(
            "it is of version {abi} for libtorch {built}, expected version {ABI} for libtorch {libtorch}"
        ));
    }
    let object = CudaObject {
        graphs_new: symbol!("admix_cuda_graphs_new"),
        graphs_free: symbol!("admix_cuda_graphs_free"),
        capture_begin: symbol!("admix_cuda_capture_begin"),
        capture_end: symbol!("admix_cuda_capture_end"),
        capture_abandon: symbol!("admix_cuda_capture_abandon"),
        graph_replay: symbol!("admix_cuda_graph_replay"),
        graph_free: symbol!("admix_cuda_graph_free"),
        timer_new: symbol!("admix_cuda_timer_new"),
        timer_free: symbol!("admix_cuda_timer_free"),
        timer_begin: symbol!("admix_cuda_timer_begin"),
        timer_end: symbol!("admix_cuda_timer_end"),
        timer_ms: symbol!("admix_cuda_timer_ms"),
        synchronize: symbol!("admix_cuda_synchronize"),
        watch_syncs: symbol!("admix_cuda_watch_syncs"),
        kernels_load: symbol!("admix_cuda_kernels_load"),
        kernel_launch: symbol!("admix_cuda_kernel_launch"),
        // SAFETY: the type is that of the declaration in cuda/nccl.cpp.
        nccl_join: unsafe { library.get(b"admix_cuda_nccl_join") }.ok().map(|symbol| *symbol),
    };
    // Never closed: its functions are kept, and libtorch keeps what it registered.
    std::mem::forget(library);
    Ok(object)
}
