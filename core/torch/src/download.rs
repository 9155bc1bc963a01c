//! From a device to host memory: later, or many tensors at once.

use std::ffi::c_void;
use std::ptr;

use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::shim::{self, check, expect_owned, handle};

/// A copy in host memory that a device was asked for. The host goes on and reads it when other work is asked for.
#[derive(Debug)]
pub struct Download {
    host: Tensor,
    /// Owned; null where the copy is there already.
    copied: *mut c_void,
}

impl Download {
    /// Asks for a copy of the tensor as it is at this place of the device's work. On the CPU it is made at once.
    ///
    /// # Errors
    /// No room.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        if tensor.device() == Device::Cpu {
            return Ok(Self { host: tensor.f_detach_copy()?, copied: ptr::null_mut() });
        }
        let (mut host, mut copied) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the tensor is borrowed and the out-pointers are valid for the call.
        check(unsafe { shim::admix_download(handle(tensor), &mut host, &mut copied) })?;
        // Owns the event before anything else can fail.
        let mut download = Self { host: Tensor::new(), copied };
        download.host = expect_owned(host)?;
        Ok(download)
    }

    /// The copy. Waits until the device has made it, and for nothing that it was asked for later.
    ///
    /// # Errors
    /// The device failed.
    pub fn read(self) -> Result<Tensor> {
        if !self.copied.is_null() {
            // SAFETY: `copied` came from `admix_download` and lives until drop.
            check(unsafe { shim::admix_downloaded(self.copied) })?;
        }
        Ok(self.host.shallow_clone())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // SAFETY: `copied` is null or came from `admix_download`, and is used last here.
        unsafe { shim::admix_forget_download(self.copied) }
    }
}

/// What is packed at once: a device with little room left has that much.
const PACK_BYTES: usize = 64 << 20;

/// Copies of tensors in host memory, in their order, packed for few and large copies: each by itself is a wait. Tensors that
/// are there already are handed back as they are.
///
/// # Errors
/// No room.
pub fn all_on_host(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let _guard = crate::no_grad();
    let mut all: Vec<Tensor> = tensors.iter().map(Tensor::f_detach).collect::<std::result::Result<_, _>>()?;
    let mut packs: Vec<Pack> = Vec::new();
    for (at, tensor) in tensors.iter().enumerate().filter(|(_, tensor)| tensor.device() != Device::Cpu) {
        let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
        let own = (tensor.kind(), tensor.device());
        match packs.iter_mut().find(|pack| pack.of == own && pack.bytes + bytes <= PACK_BYTES) {
            Some(pack) => {
                pack.bytes += bytes;
                pack.places.push(at);
            }
            None => packs.push(Pack { of: own, bytes, places: vec![at] }),
        }
    }
    for Pack { places, .. } in packs {
        let flat = places.iter().map(|at| all[*at].f_reshape([-1]));
        let flat = flat.collect::<std::result::Result<Vec<_>, _>>()?;
        let packed = Tensor::f_cat(&flat, 0)?.f_to_device(Device::Cpu)?;
        let mut start = 0;
        for (at, flat) in places.iter().zip(&flat) {
            let length = flat.numel() as i64;
            all[*at] = packed.f_narrow(0, start, length)?.f_reshape(tensors[*at].size())?;
            start += length;
        }
    }
    Ok(all)
}

/// Tensors that are copied together.
struct Pack {
    of: (Kind, Device),
    bytes: usize,
    places: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_what_the_tensor_held_when_it_was_asked_for() -> Result<()> {
        let mut tensor = Tensor::from_slice(&[3i64, 1]);
        let download = Download::of(&tensor)?;
        let _ = tensor.f_fill_(7)?;
        assert_eq!(Vec::<i64>::try_from(&download.read()?)?, [3, 1]);
        Ok(())
    }

    #[test]
    fn tensors_of_the_host_are_handed_back_themselves() -> Result<()> {
        let tensors = [Tensor::from_slice(&[3u8, 1]), Tensor::from_slice(&[0.5f32])];
        for (copy, tensor) in all_on_host(&tensors)?.iter().zip(&tensors) {
            assert_eq!(copy.data_ptr(), tensor.data_ptr());
        }
        Ok(())
    }
}
