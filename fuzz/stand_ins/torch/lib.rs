//! What the files under test name of `admix-torch`, without libtorch: their parsers make no tensor.

#[derive(Debug, thiserror::Error)]
#[error("there are no tensors here")]
pub struct TchError;

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] TchError);

/// Free memory of the machine in bytes: unknown.
pub fn available_memory_bytes() -> Option<u64> {
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Uint8,
    Int8,
    Int16,
    Int,
    Int64,
    Half,
    BFloat16,
    Float,
    Double,
    Bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
}

/// There is none.
#[derive(Debug)]
pub enum Tensor {}

type Result<T> = std::result::Result<T, TchError>;

impl Tensor {
    pub fn f_from_slice<T>(_: &[T]) -> Result<Self> {
        Err(TchError)
    }

    pub fn f_empty<T>(_: T, _: (Kind, Device)) -> Result<Self> {
        Err(TchError)
    }

    pub fn f_from_file(_: &str, _: bool, _: i64, _: (Kind, Device)) -> Result<Self> {
        Err(TchError)
    }

    pub fn f_view<T>(&self, _: T) -> Result<Self> {
        match *self {}
    }

    pub fn f_index_select(&self, _: i64, _: &Self) -> Result<Self> {
        match *self {}
    }

    pub fn f_narrow(&self, _: i64, _: i64, _: i64) -> Result<Self> {
        match *self {}
    }

    pub fn f_copy_(&self, _: &Self) -> Result<()> {
        match *self {}
    }

    pub fn kind(&self) -> Kind {
        match *self {}
    }

    pub fn device(&self) -> Device {
        match *self {}
    }
}

impl TryFrom<Tensor> for Vec<u8> {
    type Error = TchError;

    fn try_from(tensor: Tensor) -> Result<Self> {
        match tensor {}
    }
}
