//! How the figure of one run is read from its evaluations.

use admix_engine::HeadAccuracy;

/// Which accuracy of a run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rule {
    /// The median of the last ten evaluations: the paper's, for supervised runs.
    #[default]
    MedianLast10,
    /// The last evaluation.
    Last,
    /// The best evaluation, as much of the field reports it. It picks by the test set.
    Best,
}

impl Rule {
    /// Every rule with its word in a script.
    pub const ALL: [(&'static str, Self); 3] =
        [("median_last_10", Self::MedianLast10), ("last", Self::Last), ("best", Self::Best)];

    /// The figure of a head, in percent.
    pub fn read(self, head: &HeadAccuracy) -> f64 {
        match self {
            Self::MedianLast10 => head.median_last_10,
            Self::Last => head.last,
            Self::Best => head.best,
        }
    }

    /// In words.
    pub fn told(self) -> &'static str {
        match self {
            Self::MedianLast10 => "median of the last ten evaluations",
            Self::Last => "last evaluation",
            Self::Best => "best evaluation",
        }
    }
}
