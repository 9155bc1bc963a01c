//! What can go wrong in a plugin or its configuration.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of plugins and of the values they exchange with the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A libtorch operation failed.
    #[error(transparent)]
    Torch(#[from] admix_torch::Error),
    /// A tensor of the wrong shape.
    #[error("{what} has shape {got:?}, expected {wanted}")]
    Shape {
        /// Which tensor.
        what: String,
        /// Its shape.
        got: Vec<i64>,
        /// The shape in words.
        wanted: String,
    },
    /// A value outside its range.
    #[error("{what} is {got}, expected {wanted}")]
    Range {
        /// Which value.
        what: String,
        /// The value.
        got: String,
        /// The range in words.
        wanted: String,
    },
    /// A setting that a plugin of a library or script refuses.
    #[error("{setting} {message}")]
    Setting {
        /// Which setting.
        setting: String,
        /// What is wrong with it; goes on after its name.
        message: String,
    },
    /// A library that cannot be used.
    #[error("{}: {message}", path.display())]
    Library {
        /// The library.
        path: std::path::PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// An input that the plugin needs was not given.
    #[error("{plugin} needs `{input}`, which was not given; {remedy}")]
    MissingInput {
        /// Which plugin.
        plugin: String,
        /// Which input.
        input: String,
        /// What to do.
        remedy: String,
    },
    /// A named value that the plan does not hold.
    #[error("the plan holds no `{name}`; it has {known}")]
    MissingPlanValue {
        /// The value asked for.
        name: String,
        /// What is there.
        known: String,
    },
    /// A tensor that a checkpoint or weight file lacks.
    #[error("no tensor named `{name}`: the file was written by another network or an older version")]
    MissingTensor {
        /// Its full name.
        name: String,
    },
    /// Two tensors of one name.
    #[error("two tensors are named `{name}`: give one of the layers another path")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// No plugin of this name.
    #[error("no {kind} named `{name}`; known: {known}{hint}")]
    UnknownPlugin {
        /// "mixer" or "loss".
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
        /// Where more come from, and "Did you mean ...?"; or empty.
        hint: String,
    },
    /// Two plugins of one name.
    #[error("two {kind}s are named `{name}`: one from {first}, one from {second}; rename one of them")]
    DuplicatePlugin {
        /// "mixer" or "loss".
        kind: &'static str,
        /// The name.
        name: String,
        /// Where the first comes from.
        first: String,
        /// Where the second comes from.
        second: String,
    },
    /// Said by a plugin.
    #[error("{plugin}: {message}")]
    Plugin {
        /// Which plugin.
        plugin: String,
        /// One line.
        message: String,
    },
}

impl Error {
    /// A tensor of the wrong shape: which, its shape, and the shape in words.
    pub fn shape(what: impl Into<String>, got: Vec<i64>, wanted: impl Into<String>) -> Self {
        Self::Shape { what: what.into(), got, wanted: wanted.into() }
    }

    /// A value outside its range: which, the value, and the range in words.
    pub fn range(what: impl Into<String>, got: impl std::fmt::Display, wanted: impl Into<String>) -> Self {
        Self::Range { what: what.into(), got: shown(got.to_string()), wanted: wanted.into() }
    }

    /// An input that was not given: to which plugin, which, and the remedy.
    pub fn missing(plugin: impl Into<String>, input: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::MissingInput { plugin: plugin.into(), input: input.into(), remedy: remedy.into() }
    }

    /// What a plugin says.
    pub fn plugin(plugin: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Plugin { plugin: plugin.into(), message: message.into() }
    }
}

impl From<admix_torch::TchError> for Error {
    fn from(error: admix_torch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// A number of hundreds of digits in a form that can be read; anything else as it is.
fn shown(got: String) -> String {
    match got.parse::<f64>() {
        Ok(number) if got.len() > 24 => format!("{number:?}"),
        _ => got,
    }
}
