//! One entry of the registry, and how its file describes it.

use std::path::PathBuf;
use std::rc::Rc;

use crate::kind::{AnyReader, Kind, Reader};

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Linked into the program: the crate, its version and the file.
    Linked {
        /// Name of the crate.
        package: String,
        /// Version of the crate.
        version: String,
        /// The source file.
        file: String,
    },
    /// A script.
    Script {
        /// The file.
        path: PathBuf,
    },
    /// Read from a library.
    Library {
        /// The library.
        path: PathBuf,
        /// The name that the library gives itself.
        package: String,
        /// Its version.
        version: String,
        /// The version of the ABI it speaks.
        abi: u32,
    },
}

impl Origin {
    /// The version of the crate or library; empty for a script.
    pub fn version(&self) -> &str {
        match self {
            Self::Linked { version, .. } | Self::Library { version, .. } => version,
            Self::Script { .. } => "",
        }
    }

    /// The version of the ABI that a library speaks.
    pub fn abi(&self) -> Option<u32> {
        match self {
            Self::Linked { .. } | Self::Script { .. } => None,
            Self::Library { abi, .. } => Some(*abi),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Linked { package, file, .. } => write!(f, "{package} ({file})"),
            Self::Library { path, .. } | Self::Script { path } => write!(f, "{}", path.display()),
        }
    }
}

/// One plugin.
#[derive(Clone)]
pub struct Entry {
    /// The name that scripts and messages use: `cutmix`.
    pub name: String,
    /// The name that recipes use: `CutMix`.
    pub type_name: String,
    /// One line.
    pub summary: String,
    /// The paper and equation it comes from.
    pub source: String,
    /// The JSON schema of its settings, with documented defaults.
    pub schema: Rc<dyn Fn() -> serde_json::Value>,
    /// Its settings at their defaults; `null` for a plugin that is nothing without settings (a script).
    pub defaults: Rc<dyn Fn() -> serde_json::Value>,
    /// Where it comes from: crate and file, or the library.
    pub origin: Origin,
    /// Reads the settings; a `Reader` of the entry's kind.
    pub reader: Rc<dyn AnyReader>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` from {}", self.kind(), self.name, self.origin)
    }
}

impl Entry {
    /// The word of its kind: "mixer".
    pub fn kind(&self) -> &'static str {
        self.reader.word()
    }

    /// Its reader, if it is of kind `K`.
    pub fn reader<K: Kind + ?Sized>(&self) -> Option<&Reader<K>> {
        self.reader.as_any().downcast_ref()
    }

    /// Settings that the entry can be shown with: its defaults, or its example where it is nothing without settings.
    pub fn shown_settings(&self) -> serde_json::Value {
        let defaults = (self.defaults)();
        if !defaults.is_null() {
            return defaults;
        }
        let schema = (self.schema)();
        let fields = schema["properties"].as_object().into_iter().flatten();
        fields.map(|(name, field)| (name.clone(), field["examples"][0].clone())).collect()
    }

    /// The same as a plugin that is nothing without settings, shown with these.
    #[must_use]
    pub fn with_example(mut self, example: serde_json::Value) -> Self {
        let schema = self.schema;
        self.schema = Rc::new(move || {
            let mut schema = schema();
            for (field, value) in example.as_object().into_iter().flatten() {
                schema["properties"][field]["examples"] = serde_json::json!([value]);
            }
            schema
        });
        self.defaults = Rc::new(|| serde_json::Value::Null);
        self
    }
}

/// What an entry says of itself. Written through `mixer!`, `loss!`, or `describe!` for any kind.
///
/// ```
/// use admix_api::{Argument, Describe, Loss, LossConfig, LossInput, Result, settings};
/// use admix_torch::Tensor;
///
/// settings! {
///     /// Recipe: `Size()`.
///     pub struct Size {}
/// }
///
/// admix_api::loss! { Size, "size", "the mean of squares", source: "this example" }
///
/// impl LossConfig for Size {
///     fn build(&self) -> Result<Box<dyn Loss>> {
///         Ok(Box::new(Size {}))
///     }
/// }
///
/// impl Loss for Size {
///     fn arguments(&self) -> Vec<Argument> {
///         vec![Argument::Tensor("x")]
///     }
///
///     fn loss(&self, input: &LossInput) -> Result<Tensor> {
///         Ok(input.get("x")?.f_square()?.f_mean(None)?)
///     }
/// }
///
/// assert_eq!((Size::entry().kind(), Size::entry().name.as_str()), ("loss", "size"));
/// ```
pub trait Describe {
    /// The entry for the registry.
    fn entry() -> Entry;
}

/// Describes a mixer for the registry: type of its settings, name, summary, source, and its defaults of the settings
/// that the host serves.
///
/// A mixer that is nothing without settings says `example: json!({...})` at the end: settings that it is shown with. It
/// has no defaults then, and is left out of libraries.
#[macro_export]
macro_rules! mixer {
    (
        $config:ident, $name:literal, $summary:literal, source: $source:literal, pairing: $pairing:expr
        $(, example: $example:expr)?
    ) => {
        $crate::describe! {
            dyn $crate::Mixer, dyn $crate::MixerConfig: $config, stringify!($config), $name, $summary,
            source: $source, served: $pairing $(, example: $example)?
        }
    };
}

/// Describes a loss for the registry: type of its settings, name, summary, source.
#[macro_export]
macro_rules! loss {
    ($config:ident, $name:literal, $summary:literal, source: $source:literal) => {
        $crate::describe! {
            dyn $crate::Loss, dyn $crate::LossConfig: $config, stringify!($config), $name, $summary,
            source: $source, served: ()
        }
    };
}

/// Describes an entry of any kind: the kind, the trait object of its settings, their type, the name in recipes, the name in
/// scripts and messages, a summary, the source, and its defaults of the settings that the host serves.
#[macro_export]
macro_rules! describe {
    (
        $kind:ty, $settings:ty: $config:ty, $type_name:expr, $name:literal, $summary:literal, source: $source:literal,
        served: $served:expr $(, example: $example:expr)?
    ) => {
        impl $crate::Describe for $config {
            fn entry() -> $crate::Entry {
                let entry = $crate::Entry {
                    name: $name.into(),
                    type_name: $type_name.into(),
                    summary: $summary.into(),
                    source: $source.into(),
                    schema: ::std::rc::Rc::new(|| $crate::schemars::schema_for!($config).to_value()),
                    defaults: ::std::rc::Rc::new(|| {
                        <$kind as $crate::Kind>::resolved(&<$config>::default())
                    }),
                    origin: $crate::Origin::Linked {
                        package: env!("CARGO_PKG_NAME").into(),
                        version: env!("CARGO_PKG_VERSION").into(),
                        file: file!().into(),
                    },
                    reader: ::std::rc::Rc::new($crate::Reader::<$kind> {
                        read: ::std::rc::Rc::new(|body| {
                            let config: $config = $crate::erased_serde::deserialize(body)?;
                            Ok(Box::new(config) as Box<$settings>)
                        }),
                        served: $served,
                    }),
                };
                $(let entry = entry.with_example($example);)?
                entry
            }
        }
    };
}
