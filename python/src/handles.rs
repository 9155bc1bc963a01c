//! Tensors of Python as tensors of Rust, and back, without a copy: both are counted handles on one `TensorImpl`.
//!
//! PyTorch's headers for this pull in symbols of one Python version. Two facts do instead, both public: a tensor's
//! `_cdata` is the address of its `TensorImpl`, and `libtorch_python` exports `THPVariable_Wrap`.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::OnceLock;

use admix_torch::{Tensor, handles};
use pyo3::exceptions::{PyImportError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{ffi, intern};

/// `PyObject* THPVariable_Wrap(const at::TensorBase&)`.
type Wrap = unsafe extern "C-unwind" fn(*const c_void) -> *mut ffi::PyObject;
/// `PyObject* THPVariable_Wrap(const at::TensorBase&, PyTypeObject*)`.
type WrapAs = unsafe extern "C-unwind" fn(*const c_void, *mut ffi::PyObject) -> *mut ffi::PyObject;

static WRAP: OnceLock<(Wrap, WrapAs)> = OnceLock::new();
static TORCH: PyOnceLock<Torch> = PyOnceLock::new();

/// What is looked up once.
struct Torch {
    tensor: Py<PyType>,
    parameter: Py<PyType>,
    /// How many `TorchDispatchMode`s are on.
    modes: Py<PyAny>,
    /// The innermost transform of `torch.func`, or `None`.
    transform: Py<PyAny>,
}

/// Finds PyTorch, which is in the process already.
///
/// # Errors
/// It is not, or it is another than this code was made for.
pub fn connect(py: Python<'_>) -> PyResult<()> {
    let symbol = |name: &CStr| -> PyResult<*mut c_void> {
        // SAFETY: both names end with a zero; a library that is not loaded gives null.
        let address = unsafe {
            let library = libc::dlopen(c"libtorch_python.so".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if library.is_null() { ptr::null_mut() } else { libc::dlsym(library, name.as_ptr()) }
        };
        match address.is_null() {
            true => Err(PyImportError::new_err(format!(
                "PyTorch has no {}: this admix is for torch {}; import torch first",
                name.to_string_lossy(),
                handles::libtorch_version()
            ))),
            false => Ok(address),
        }
    };
    let plain = symbol(c"_Z16THPVariable_WrapRKN2at10TensorBaseE")?;
    let typed = symbol(c"_Z16THPVariable_WrapRKN2at10TensorBaseEP11_typeobject")?;
    // SAFETY: the mangled names say which functions these are. A reference is passed as a pointer.
    let both = unsafe {
        (std::mem::transmute::<*mut c_void, Wrap>(plain), std::mem::transmute::<*mut c_void, WrapAs>(typed))
    };
    let _ = WRAP.set(both);
    let torch = py.import("torch")?;
    let native = torch.getattr("_C")?;
    let class = |of: &Bound<'_, PyAny>, name: &str| -> PyResult<Py<PyType>> {
        Ok(of.getattr(name)?.cast_into::<PyType>()?.unbind())
    };
    let found = Torch {
        tensor: class(&torch, "Tensor")?,
        parameter: class(&torch.getattr("nn")?, "Parameter")?,
        modes: native.getattr("_len_torch_dispatch_stack")?.unbind(),
        transform: native.getattr("_functorch")?.getattr("peek_interpreter_stack")?.unbind(),
    };
    let _ = TORCH.set(py, found);
    // Once, with a tensor of each side: a PyTorch that lays tensors out in another way is told here.
    let theirs = torch.call_method1("zeros", (3,))?;
    let ours = borrow(&theirs, "a tensor")?;
    if ours.size() != [3] || !wrap(py, &ours)?.is(&theirs) {
        return Err(PyImportError::new_err("this PyTorch does not share its tensors with admix"));
    }
    Ok(())
}

fn torch(py: Python<'_>) -> PyResult<&Torch> {
    TORCH.get(py).ok_or_else(|| PyImportError::new_err("admix was imported in part"))
}

/// Refuses to work where tensors stand for something else: inside of `torch.func`, or under a mode that looks at every
/// operation, such as `FakeTensorMode`.
///
/// # Errors
/// Such a thing is on.
pub fn refuse_modes(py: Python<'_>) -> PyResult<()> {
    let torch = torch(py)?;
    if !torch.transform.bind(py).call0()?.is_none() {
        return Err(PyValueError::new_err(
            "admix cannot be called inside of torch.func (vmap, grad, functionalize): mix outside, and pass the mix in",
        ));
    }
    if torch.modes.bind(py).call0()?.extract::<i64>()? > 0 {
        return Err(PyValueError::new_err(
            "admix cannot be called under a TorchDispatchMode such as FakeTensorMode: its tensors have no values; mix \
             outside of it",
        ));
    }
    Ok(())
}

/// The tensor of a Python object, sharing everything with it.
///
/// # Errors
/// No tensor, or one without ordinary values on a CPU or CUDA device. `what` names it.
pub fn borrow(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Tensor> {
    let py = object.py();
    let torch = torch(py)?;
    let class = object.get_type();
    let (tensor, parameter) = (torch.tensor.bind(py), torch.parameter.bind(py));
    if !(class.is(tensor) || class.is(parameter)) {
        if !object.is_instance(tensor)? {
            let got = class.name()?;
            return Err(PyTypeError::new_err(format!("`{what}` must be a torch.Tensor, got {got}")));
        }
        // Classes that look at every operation, such as DTensor and FakeTensor: their own memory is not their value.
        let own = class.getattr(intern!(py, "__torch_dispatch__"))?;
        if !own.is(tensor.getattr(intern!(py, "__torch_dispatch__"))?) {
            let got = class.name()?;
            return Err(PyTypeError::new_err(format!("`{what}` is a {got}, expected a plain torch.Tensor")));
        }
    }
    let device: String = object.getattr(intern!(py, "device"))?.getattr(intern!(py, "type"))?.extract()?;
    let strided = object.getattr(intern!(py, "layout"))?.repr()?;
    if strided.to_str()? != "torch.strided" {
        return Err(PyValueError::new_err(format!(
            "`{what}` is {strided}, expected a dense tensor (torch.strided)"
        )));
    }
    if device != "cpu" && device != "cuda" {
        let why = if device == "meta" { ", which holds no values" } else { "" };
        return Err(PyValueError::new_err(format!(
            "`{what}` is on {device}{why}; expected a tensor on cpu or cuda"
        )));
    }
    let address = object.getattr(intern!(py, "_cdata"))?.extract::<usize>()?;
    let implementation = address as *mut c_void;
    // SAFETY: an `at::Tensor` is one counted pointer to a `TensorImpl`, and `_cdata` is that pointer, kept alive by
    // `object`; what is borrowed is copied, which counts one more.
    let shared = unsafe { handles::borrow(ptr::from_ref(&implementation).cast_mut().cast()) };
    let shared = shared.ok_or_else(|| PyValueError::new_err(format!("`{what}` is an undefined tensor")))?;
    match shared.f_kind() {
        Ok(_) => Ok(shared),
        Err(_) => {
            let kind = object.getattr(intern!(py, "dtype"))?;
            Err(PyValueError::new_err(format!("`{what}` is of {kind}, which admix does not know")))
        }
    }
}

/// The Python object of a tensor: the one that it has, or a new `torch.Tensor`.
///
/// # Errors
/// Python is out of memory.
pub fn wrap<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let (wrap, _) = WRAP.get().ok_or_else(|| PyImportError::new_err("admix was imported in part"))?;
    let tensor = handles::pointer(tensor).cast_const();
    // SAFETY: an `at::Tensor` begins with its `at::TensorBase`.
    owned(py, || unsafe { wrap(tensor) })
}

/// The Python object of a leaf that is trained: the one that it has, or a new `torch.nn.Parameter` on the same memory and
/// gradient.
///
/// # Errors
/// Python is out of memory.
pub fn wrap_parameter<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let (_, wrap_as) = WRAP.get().ok_or_else(|| PyImportError::new_err("admix was imported in part"))?;
    let class = torch(py)?.parameter.bind(py).as_ptr();
    let pointer = handles::pointer(tensor).cast_const();
    // SAFETY: as above; the class is `torch.nn.Parameter`. It throws where the tensor has an object of another class.
    owned(py, || unsafe { wrap_as(pointer, class) }).or_else(|_| wrap(py, tensor))
}

/// A new reference of PyTorch's, or what it set or threw.
fn owned(py: Python<'_>, make: impl FnOnce() -> *mut ffi::PyObject) -> PyResult<Bound<'_, PyAny>> {
    let made = admix_torch::caught(make).map_err(PyRuntimeError::new_err)?;
    // SAFETY: the result is a new reference, or null with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, made) }
}
