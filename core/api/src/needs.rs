//! What a mixer reads beside the images.

/// What a mixer reads beside the images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// The feature map of this stage of a network (1-based, as in the paper: `l`).
    pub features: Option<usize>,
    /// A saliency map of the images, `[N, H, W]`.
    pub saliency: bool,
    /// Pseudo labels, `[N]` int64.
    pub pseudo: bool,
    /// The deepest stage at whose output a mix may happen, from 1; `None` where images alone are mixed.
    pub hidden: Option<usize>,
    /// Whether it takes images to show in place of those that it looks at ([`MixInput::shown`](crate::MixInput::shown)), where some are given.
    pub shown: bool,
    /// The mix can be replayed from a captured graph.
    pub capturable: bool,
    /// Part of the work runs on the host.
    pub host_solver: bool,
}

impl Needs {
    /// A mixer that reads images alone and can be captured.
    pub fn images() -> Self {
        Self { capturable: true, ..Self::default() }
    }

    /// What serves both, or `None` where they read maps of different stages: a mix is given one.
    pub fn and(self, other: &Self) -> Option<Self> {
        let Self { features, saliency, pseudo, hidden, shown, capturable, host_solver } = other;
        let features = match (self.features, *features) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        Some(Self {
            features,
            saliency: self.saliency || *saliency,
            pseudo: self.pseudo || *pseudo,
            capturable: self.capturable && *capturable,
            host_solver: self.host_solver || *host_solver,
            hidden: self.hidden.max(*hidden),
            shown: self.shown || *shown,
        })
    }

    /// The keys of a mix that must be given beside `as`, and those that may be.
    pub fn keys(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let reads = [
            ("images", true),
            ("features", self.features.is_some()),
            ("saliency", self.saliency),
            ("pseudo", self.pseudo),
        ];
        let must = reads.into_iter().filter_map(|(name, read)| read.then_some(name)).collect();
        let mut may = vec!["partner_images"];
        may.extend(self.features.map(|_| "partner_features"));
        if self.shown {
            may.extend(["shown", "partner_shown"]);
        }
        (must, may)
    }
}
