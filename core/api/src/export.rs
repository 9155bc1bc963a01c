//! `link_plugins!` and `export_plugins!`: which entries a crate registers.

/// Lists the entries of a crate that is linked into a program and never makes a library: `link_plugins! { Sgd, AdamW }`.
#[macro_export]
macro_rules! link_plugins {
    ($($plugin:ty),* $(,)?) => {
        $($crate::inventory::submit! {
            $crate::StaticPlugin(<$plugin as $crate::Describe>::entry)
        })*
    };
}

/// Lists the entries of a crate, of any kind: `export_plugins! { MixUp, CutMix }`.
///
/// It registers them with a program that the crate is linked into. Under the crate's own feature `dylib` it also
/// defines the function that a library exports, so that the same source makes a plugin library: declare
/// `dylib = []` under `[features]`. A library carries mixers and losses only.
#[macro_export]
macro_rules! export_plugins {
    ($($plugin:ty),* $(,)?) => {
        $crate::link_plugins! { $($plugin),* }

        #[cfg(feature = "dylib")]
        #[unsafe(no_mangle)]
        extern "C" fn admix_plugin_manifest() -> *const $crate::abi::raw::Manifest {
            // The manifest stays for good, and is the same at every call.
            static MADE: ::std::sync::OnceLock<usize> = ::std::sync::OnceLock::new();
            let made = MADE.get_or_init(|| {
                let entries = vec![$(<$plugin as $crate::Describe>::entry()),*];
                $crate::abi::manifest_of(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), entries) as usize
            });
            *made as *const $crate::abi::raw::Manifest
        }
    };
}
