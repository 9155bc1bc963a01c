//! `register!` and `export_plugins!`: which entries a crate registers.

/// Registers entries, of any kind, with a program that the crate is linked into: `register! { Toy, Stl10 }`.
#[macro_export]
macro_rules! register {
    ($($entry:ty),* $(,)?) => {
        $($crate::inventory::submit! {
            $crate::StaticPlugin(<$entry as $crate::Describe>::entry)
        })*
    };
}

/// Lists the entries of a crate, of any kind: `export_plugins! { MixUp, CutMix }`.
///
/// It registers them. Under the crate's own feature `dylib` it also
/// defines the function that a library exports, so that the same source makes a plugin library: declare
/// `dylib = []` under `[features]`. A library carries mixers and losses only.
#[macro_export]
macro_rules! export_plugins {
    ($($plugin:ty),* $(,)?) => {
        $crate::register! { $($plugin),* }

        // A crate that is never a library need not declare the feature.
        #[allow(unexpected_cfgs)]
        const _: () = {
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
    };
}
