//! The structures of `include/admix.h`, field by field; the header documents them.

#![allow(missing_docs, reason = "the header is the documentation: one text for all languages")]

use std::ffi::c_void;

/// First eight bytes of a manifest: "ADMIXPLG".
pub const MAGIC: u64 = u64::from_le_bytes(*b"ADMIXPLG");
/// Version of the boundary.
pub const ABI: u32 = 1;
/// The function that a library exports.
pub const ENTRY: &str = "admix_plugin_manifest";

pub const OK: i32 = 0;
pub const FAILED: i32 = 1;
pub const BAD_SETTING: i32 = 2;
pub const BROKEN: i32 = 3;

pub const MIXER: u32 = 1;
pub const LOSS: u32 = 2;

pub const IMAGES: u32 = 0;
pub const HIDDEN: u32 = 1;

/// An `at::Tensor*`.
pub type TensorPtr = *mut c_void;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Text {
    pub data: *const u8,
    pub size: usize,
}

impl Text {
    /// Borrows a text.
    pub const fn of(text: &str) -> Self {
        Self { data: text.as_ptr(), size: text.len() }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    pub host: *mut c_void,
    pub report: Option<unsafe extern "C" fn(*mut c_void, Text, Text)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Texts {
    pub host: *mut c_void,
    pub put: Option<unsafe extern "C" fn(*mut c_void, Text)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Log {
    pub host: *mut c_void,
    pub say: Option<unsafe extern "C" fn(*mut c_void, i32, Text)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Pairing {
    pub size: usize,
    pub alpha: f64,
    pub per: u32,
    pub fold: u32,
    pub partner: u32,
    pub reserved: u32,
    pub share: f64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    pub size: usize,
    pub features: i64,
    pub saliency: u32,
    pub pseudo: u32,
    pub capturable: u32,
    pub host_solver: u32,
    pub hidden: i64,
    pub shown: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    pub size: usize,
    pub host: *mut c_void,
    pub uniform: Option<unsafe extern "C" fn(*mut c_void) -> f64>,
    pub normal: Option<unsafe extern "C" fn(*mut c_void) -> f64>,
    pub beta: Option<unsafe extern "C" fn(*mut c_void, f64, f64) -> f64>,
    pub choice: Option<unsafe extern "C" fn(*mut c_void, i64) -> i64>,
    pub permutation: Option<unsafe extern "C" fn(*mut c_void, i64, *mut i64)>,
    pub derangement: Option<unsafe extern "C" fn(*mut c_void, i64, *mut i64)>,
    pub field: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub size: usize,
    pub batch: i64,
    pub height: i64,
    pub width: i64,
    pub pairing: Pairing,
    pub lambda: f64,
    pub progress: f64,
    pub quiet: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub size: usize,
    pub host: *mut c_void,
    pub draw: Option<unsafe extern "C" fn(*mut c_void) -> i32>,
    pub floats: Option<unsafe extern "C" fn(*mut c_void, Text, *const f64, usize)>,
    pub ints: Option<unsafe extern "C" fn(*mut c_void, Text, *const i64, usize)>,
    pub read: Option<unsafe extern "C" fn(*mut c_void, Text, *mut f64, usize) -> usize>,
    pub structure: Option<unsafe extern "C" fn(*mut c_void, u64)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Named {
    pub name: Text,
    pub tensor: TensorPtr,
    pub weight: TensorPtr,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    pub size: usize,
    pub inputs: *const Named,
    pub inputs_count: usize,
    pub plan: *const Named,
    pub plan_count: usize,
    pub quiet: u32,
    pub reserved: u32,
    pub structure: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Mixed {
    pub size: usize,
    pub kind: u32,
    pub stage: u32,
    pub images: TensorPtr,
    pub mask: TensorPtr,
    pub partner: TensorPtr,
    pub lambda: TensorPtr,
    pub sources: TensorPtr,
    pub shares: TensorPtr,
    pub host: *mut c_void,
    pub extra: Option<unsafe extern "C" fn(*mut c_void, Text, TensorPtr)>,
    pub weights: u32,
    pub reserved: u32,
    pub map: *mut c_void,
    pub mix_map: Option<MixMap>,
    pub free_map: Option<Destroy>,
}

pub type MixMap =
    unsafe extern "C-unwind" fn(*mut c_void, TensorPtr, TensorPtr, *mut TensorPtr, *const Errors) -> i32;

pub type MakeParameter = unsafe extern "C" fn(
    *mut c_void,
    Text,
    *const i64,
    usize,
    u32,
    f64,
    u32,
    *mut TensorPtr,
    *const Errors,
) -> i32;
pub type MakeBuffer =
    unsafe extern "C" fn(*mut c_void, Text, *const i64, usize, f64, *mut TensorPtr, *const Errors) -> i32;
pub type Adopt = unsafe extern "C" fn(*mut c_void, Text, TensorPtr, u32, u32, *const Errors) -> i32;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Build {
    pub size: usize,
    pub host: *mut c_void,
    pub feature_channels: i64,
    pub device_type: i32,
    pub device_index: i32,
    pub parameter: Option<MakeParameter>,
    pub buffer: Option<MakeBuffer>,
    pub adopt: Option<Adopt>,
    pub log: Log,
    pub mean: *const f64,
    pub std: *const f64,
    pub channels: usize,
    pub classes: i64,
}

// A library's functions promise to throw nothing. Those that do are found out, so calls of them may unwind.
pub type Create =
    unsafe extern "C-unwind" fn(*const c_void, Text, *const Build, *mut *mut c_void, *const Errors) -> i32;
pub type Destroy = unsafe extern "C-unwind" fn(*mut c_void);

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Mixer {
    pub size: usize,
    pub check: Option<
        unsafe extern "C-unwind" fn(*const c_void, Text, *const Texts, *mut Needs, *const Errors) -> i32,
    >,
    pub create: Option<Create>,
    pub destroy: Option<Destroy>,
    pub plan: Option<
        unsafe extern "C-unwind" fn(*mut c_void, *const Ask, *const Draws, *const Plan, *const Errors) -> i32,
    >,
    pub mix: Option<unsafe extern "C-unwind" fn(*mut c_void, *const Mix, *mut Mixed, *const Errors) -> i32>,
    pub train: Option<unsafe extern "C-unwind" fn(*mut c_void, u32, *const Errors) -> i32>,
    pub after_step: Option<unsafe extern "C-unwind" fn(*mut c_void, *const Errors) -> i32>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    pub size: usize,
    pub check: Option<
        unsafe extern "C-unwind" fn(*const c_void, Text, *const Texts, *const Texts, *const Errors) -> i32,
    >,
    pub create: Option<Create>,
    pub destroy: Option<Destroy>,
    pub loss: Option<
        unsafe extern "C-unwind" fn(*mut c_void, *const Named, usize, *mut TensorPtr, *const Errors) -> i32,
    >,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    pub size: usize,
    pub kind: u32,
    pub reserved: u32,
    pub name: Text,
    pub type_name: Text,
    pub summary: Text,
    pub source: Text,
    pub schema: Text,
    pub defaults: Text,
    pub pairing: Pairing,
    pub data: *const c_void,
    pub mixer: *const Mixer,
    pub loss: *const Loss,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    pub magic: u64,
    pub abi: u32,
    pub size: u32,
    pub libtorch: Text,
    pub package: Text,
    pub version: Text,
    pub descriptors: *const *const Descriptor,
    pub count: usize,
}
