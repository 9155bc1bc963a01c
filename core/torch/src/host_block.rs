//! Host memory that several threads fill and a device then reads.

use std::sync::Arc;
use std::{fmt, ptr};

use tch::Tensor;

use crate::shim::{self, check, expect_owned};
use crate::{Error, Result};

/// A tensor of bytes in host memory that is handed out in parts, filled by any number of threads, and put together
/// again.
///
/// Pinned, it comes from libtorch's own cache of page-locked memory: the copy to a GPU runs by itself, and the memory
/// is used again only once the copy is done, however early the tensor is dropped.
pub struct HostBlock {
    memory: Arc<Memory>,
    parts: usize,
}

/// One part of a [`HostBlock`]: one entry of its first dimension.
pub struct HostPart {
    memory: Arc<Memory>,
    at: usize,
    len: usize,
    filled: bool,
}

/// The tensor behind a block and its parts. Nobody reads or resizes it before all parts are back.
struct Memory {
    tensor: Tensor,
    start: *mut u8,
}

// SAFETY: a `Tensor` may be sent. Through a shared `Memory` nothing is done with the tensor itself; the bytes behind `start`
// are written through parts alone, each of which owns a range of its own.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl fmt::Debug for HostBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBlock").field("size", &self.memory.tensor.size()).finish()
    }
}

impl fmt::Debug for HostPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPart").field("at", &self.at).field("len", &self.len).finish()
    }
}

impl HostBlock {
    /// Memory of `size` bytes, and its parts along the first dimension. `pinned` needs CUDA.
    ///
    /// # Errors
    /// No dimension, a negative one, no room, or pinned memory without CUDA.
    pub fn new(size: &[i64], pinned: bool) -> Result<(Self, Vec<HostPart>)> {
        let mut result = ptr::null_mut();
        // SAFETY: the sizes are borrowed and the out-pointer valid for the call.
        check(unsafe { shim::admix_host_bytes(size.len(), size.as_ptr(), pinned, &mut result) })?;
        let tensor = expect_owned(result)?;
        let parts = match size.first() {
            Some(&parts) => parts as usize,
            None => return Err(Error::torch("a block of host memory needs a first dimension")),
        };
        let len = size[1..].iter().product::<i64>() as usize;
        let start = tensor.data_ptr().cast::<u8>();
        let memory = Arc::new(Memory { tensor, start });
        let all =
            (0..parts).map(|at| HostPart { memory: Arc::clone(&memory), at, len, filled: false }).collect();
        Ok((Self { memory, parts }, all))
    }

    /// The whole tensor, once every part is back and filled; the order of the parts does not matter.
    ///
    /// # Errors
    /// A part is missing, not filled, or of another block.
    pub fn join(self, parts: Vec<HostPart>) -> Result<Tensor> {
        let own = |part: &HostPart| part.filled && Arc::ptr_eq(&part.memory, &self.memory);
        // Parts cannot be copied: as many of its own as there are parts are all of them.
        if parts.len() != self.parts || !parts.iter().all(own) {
            return Err(Error::torch("a block of host memory is joined without all of its parts, filled"));
        }
        drop(parts);
        match Arc::into_inner(self.memory) {
            Some(memory) => Ok(memory.tensor),
            None => Err(Error::torch("a part of a block of host memory is still in use")),
        }
    }
}

impl HostPart {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills the part.
    ///
    /// # Errors
    /// Another number of bytes than the part has.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() != self.len {
            return Err(Error::torch(&format!("{} bytes for a part of {}", bytes.len(), self.len)));
        }
        // SAFETY: `start` points to `parts * len` bytes that live as long as `memory`; `at < parts`, and no other part has
        // this range. `bytes` is borrowed from elsewhere: the range was never lent out.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.start.add(self.at * self.len), self.len)
        };
        self.filled = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_fill_a_block_and_parts_come_back_in_any_order() -> Result<()> {
        let (block, parts) = HostBlock::new(&[5, 2, 3], false)?;
        let mut parts: Vec<HostPart> = std::thread::scope(|scope| {
            let fill = |(at, mut part): (usize, HostPart)| {
                scope.spawn(move || {
                    part.fill(&[at as u8; 6]).expect("six bytes");
                    part
                })
            };
            let threads: Vec<_> = parts.into_iter().enumerate().map(fill).collect();
            threads.into_iter().map(|thread| thread.join().expect("a part")).collect()
        });
        parts.reverse();
        let tensor = block.join(parts)?;
        assert_eq!((tensor.size(), tensor.kind()), (vec![5, 2, 3], tch::Kind::Uint8));
        let bytes: Vec<u8> = Vec::try_from(tensor.reshape([-1]))?;
        assert_eq!(bytes, (0..30).map(|i| i / 6).collect::<Vec<u8>>());
        Ok(())
    }

    #[test]
    fn nothing_is_read_that_was_not_filled() -> Result<()> {
        let (block, mut parts) = HostBlock::new(&[2, 4], false)?;
        parts[0].fill(&[1; 4])?;
        assert!(parts[1].fill(&[1; 3]).is_err());
        assert!(block.join(parts).is_err());
        let (block, mut parts) = HostBlock::new(&[2, 4], false)?;
        parts.iter_mut().try_for_each(|part| part.fill(&[1; 4]))?;
        let kept = parts.pop();
        assert!(block.join(parts).is_err());
        drop(kept);
        let (one, mut parts) = HostBlock::new(&[1, 4], false)?;
        let (_other, mut foreign) = HostBlock::new(&[1, 4], false)?;
        parts[0].fill(&[1; 4])?;
        foreign[0].fill(&[1; 4])?;
        assert!(one.join(foreign).is_err());
        assert!(HostBlock::new(&[], false).is_err() && HostBlock::new(&[-1, 2], false).is_err());
        Ok(())
    }
}
