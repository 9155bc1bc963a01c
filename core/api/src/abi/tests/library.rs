//! A library in memory, which tests of the manifest spoil.

use std::ffi::c_void;

use crate::abi::manifest::{Contents, read};
use crate::abi::raw;

pub(super) const LIBTORCH: &str = "2.11.0";

unsafe extern "C-unwind" fn check_mixer(
    _: *const c_void,
    _: raw::Text,
    _: *const raw::Texts,
    _: *mut raw::Needs,
    _: *const raw::Errors,
) -> i32 {
    raw::FAILED
}
unsafe extern "C-unwind" fn check_loss(
    _: *const c_void,
    _: raw::Text,
    _: *const raw::Texts,
    _: *const raw::Texts,
    _: *const raw::Errors,
) -> i32 {
    raw::FAILED
}
unsafe extern "C-unwind" fn create(
    _: *const c_void,
    _: raw::Text,
    _: *const raw::Build,
    _: *mut *mut c_void,
    _: *const raw::Errors,
) -> i32 {
    raw::FAILED
}
unsafe extern "C-unwind" fn destroy(_: *mut c_void) {}
unsafe extern "C-unwind" fn mix(
    _: *mut c_void,
    _: *const raw::Mix,
    _: *mut raw::Mixed,
    _: *const raw::Errors,
) -> i32 {
    raw::FAILED
}
unsafe extern "C-unwind" fn train(_: *mut c_void, _: u32, _: *const raw::Errors) -> i32 {
    raw::FAILED
}
unsafe extern "C-unwind" fn after_step(_: *mut c_void, _: *const raw::Errors) -> i32 {
    raw::FAILED
}
unsafe extern "C-unwind" fn loss(
    _: *mut c_void,
    _: *const raw::Named,
    _: usize,
    _: *mut raw::TensorPtr,
    _: *const raw::Errors,
) -> i32 {
    raw::FAILED
}

/// A library in memory with a mixer and a loss, both good; a test spoils one thing.
pub(super) struct Library {
    pub(super) manifest: raw::Manifest,
    /// What the list of plugins points to; [`Library::read`] fills the list.
    pub(super) descriptors: [raw::Descriptor; 2],
    pub(super) mixer: raw::Mixer,
    pub(super) loss: raw::Loss,
}

impl Library {
    pub(super) fn good() -> Self {
        let mixer = raw::Mixer {
            size: size_of::<raw::Mixer>(),
            check: Some(check_mixer),
            create: Some(create),
            destroy: Some(destroy),
            plan: None,
            mix: Some(mix),
            train: Some(train),
            after_step: Some(after_step),
        };
        let loss = raw::Loss {
            size: size_of::<raw::Loss>(),
            check: Some(check_loss),
            create: Some(create),
            destroy: Some(destroy),
            loss: Some(loss),
        };
        let descriptor = raw::Descriptor {
            size: size_of::<raw::Descriptor>(),
            kind: raw::MIXER,
            reserved: 0,
            name: raw::Text::of("grid_mix"),
            type_name: raw::Text::of("GridMix"),
            summary: raw::Text::of("cells of two images"),
            source: raw::Text::of("Someone, 2026, eq. 1"),
            schema: raw::Text::of(r#"{"type": "object", "properties": {"cells": {"type": "integer"}}}"#),
            defaults: raw::Text::of(r#"{"cells": 4}"#),
            pairing: raw::Pairing {
                size: size_of::<raw::Pairing>(),
                alpha: 0.5,
                per: 1,
                fold: 1,
                partner: 2,
                reserved: 0,
                share: 0.0,
            },
            data: std::ptr::null(),
            mixer: std::ptr::null(),
            loss: std::ptr::null(),
        };
        let second = raw::Descriptor {
            kind: raw::LOSS,
            name: raw::Text::of("soft"),
            type_name: raw::Text::of("Soft"),
            schema: raw::Text { data: std::ptr::null(), size: 0 },
            defaults: raw::Text { data: std::ptr::null(), size: 0 },
            ..descriptor
        };
        let manifest = raw::Manifest {
            magic: raw::MAGIC,
            abi: raw::ABI,
            size: size_of::<raw::Manifest>() as u32,
            libtorch: raw::Text::of(LIBTORCH),
            package: raw::Text::of("grids"),
            version: raw::Text::of("1.2.3"),
            descriptors: std::ptr::null(),
            count: 2,
        };
        Self { manifest, descriptors: [descriptor, second], mixer, loss }
    }

    pub(super) fn read(&mut self) -> Result<Contents, String> {
        let pointers = [&raw const self.descriptors[0], &raw const self.descriptors[1]];
        self.read_list(pointers.as_ptr())
    }

    /// Reads with this list of plugins, which no test makes shorter than `count` says, unless it is not looked at.
    pub(super) fn read_list(&mut self, list: *const *const raw::Descriptor) -> Result<Contents, String> {
        for descriptor in &mut self.descriptors {
            // As the reader takes it: the other of the two is never looked at.
            (descriptor.mixer, descriptor.loss) = (&raw const self.mixer, &raw const self.loss);
        }
        self.manifest.descriptors = list;
        // SAFETY: everything lives as long as `self`.
        unsafe { read(&raw const self.manifest, LIBTORCH) }
    }
}
