//! The Mix Block: two feature maps and lambda to a mask, and the mask to a mixed batch.
//!
//! Source  AMix paper, section 3.2, Eq. 5 (Mix Block+), and the AutoMix paper (Mix Block).
//! Input   images `[N, C, H, W]`; features `[N, D, h, w]` without graph, of own and partner.
//! Output  images; the own image's mask `[N, 1, H, W]` in [0, 1]; the label is credited with lambda as drawn.
//!         Extras on request: `attention [N, h w, h w]`, `value [N, 1, h, w]`, `mask_low [N, 1, h, w]` (the own mask before
//!         upsampling, where the sigmoid comes first), `lambda_encoded` (0-dim or `[N, 1, 1, 1]`).
//! Plan    `dropout_key` where dropout is above 0, `adjust` (0 or 1) where adjusting is drawn.
//! Errors  missing features, or features of another width.

use std::collections::BTreeMap;

use admix_api::Autocast;
use admix_api::prelude::*;

use super::adjust::{Adjust, SameCluster};
use super::conv::conv;
use super::encoding::{Encoder, Encoding, Gamma};
use super::initial::Initial;
use super::projection::{Attention, Projection, Projections, Side};
use super::upsample::Upsample;
use super::value::{Activation, Branch, BranchSettings, Content, ContentOf};
use super::{attention, projection};
use admix_api::ranges::{at_least, within};

/// Where the sigmoid stands. The same thing for nearest upsampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// U(Sigmoid(.)) (the paper, Eq. 5).
    SigmoidFirst,
    /// Sigmoid(U(.)) (the authors' code).
    UpsampleFirst,
}

/// What a Mix Block is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// The plugin it belongs to, for messages.
    pub plugin: &'static str,
    /// The stage of the network whose features it reads.
    pub stage: usize,
    /// How lambda enters.
    pub encoding: Encoding,
    /// What a position attends to.
    pub attention: Attention,
    /// The weights of query and key.
    pub projection: Projection,
    /// The name of a shared projection's parameters.
    pub shared_name: &'static str,
    /// How content is modelled.
    pub content: Content,
    /// Whose content is modelled.
    pub content_of: ContentOf,
    /// The activation of non-linear content.
    pub activation: Activation,
    /// Dropout of non-linear content, in [0, 1).
    pub dropout: f64,
    /// Where the sigmoid stands.
    pub order: Order,
    /// How the mask grows.
    pub upsample: Upsample,
    /// What is done to the mask of an image that trains the encoder only.
    pub adjust: Adjust,
    /// The spread of the initial weights.
    pub initial: Initial,
    /// Whether inner maps are handed out.
    pub extras: bool,
}

impl Block {
    /// What the block reads.
    pub fn needs(&self) -> Needs {
        let pseudo = self.adjust.same_cluster == SameCluster::Blend;
        Needs { features: Some(self.stage), pseudo, ..Needs::images() }
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// A value out of range.
    pub fn validate(&self) -> Result<()> {
        within("dropout", self.dropout, 0.0, 0.99)?;
        self.initial.validate()?;
        at_least("stage", self.stage as f64, 1.0)?;
        if let Encoding::Scale(gamma, rescale) = self.encoding {
            if let Gamma::LearnableFrom(value) | Gamma::Constant(value) = gamma {
                within("gamma", value, 0.0, 1.0)?;
            }
            if let super::Rescale::Polynomial(k) = rescale {
                at_least("rescale", k, 0.0)?;
            }
        }
        self.adjust.validate()
    }
}

/// A Mix Block with its weights.
#[derive(Debug)]
pub struct MixBlock {
    settings: Block,
    encoder: Encoder,
    projections: Projections,
    branch: Branch,
    channels: i64,
    train: bool,
}

impl MixBlock {
    /// Makes the weights under `path`, in train mode.
    ///
    /// # Errors
    /// Invalid settings, or no width of features.
    pub fn new(settings: Block, path: &Path, context: &MixerContext) -> Result<Self> {
        settings.validate()?;
        let channels = context.feature_channels.ok_or_else(|| {
            Error::missing(
                settings.plugin,
                "the width of the feature map",
                format!("the backbone must have a stage {}", settings.stage),
            )
        })?;
        let encoder = Encoder::new(settings.encoding, path)?;
        let seen = (channels, encoder.channels());
        let names: &[&str] = match settings.projection {
            Projection::Shared => &[settings.shared_name],
            Projection::Separate => &["query", "key"],
        };
        let Block { content, activation, dropout, initial, .. } = settings;
        let projections = Projections::new(path, names, settings.attention, seen, initial)?;
        let branch =
            Branch::new(&path.sub("value"), seen, BranchSettings { content, activation, dropout, initial })?;
        Ok(Self { settings, encoder, projections, branch, channels, train: true })
    }

    /// The own image's mask `[N, 1, H, W]`, and inner maps if they are wanted.
    fn mask(
        &self,
        input: &MixInput<'_>,
        plan: &Planned,
        size: [i64; 2],
    ) -> Result<(Tensor, BTreeMap<String, Tensor>)> {
        let own = input.features_for(self.settings.plugin)?;
        for maps in [Some(own), input.partner_features].into_iter().flatten() {
            if maps.dim() != 4 || maps.size()[1] != self.channels {
                return Err(Error::shape(
                    format!("the feature map given to {}", self.settings.plugin),
                    maps.size(),
                    format!("[N, {}, h, w] (stage {})", self.channels, self.settings.stage),
                ));
            }
        }
        let kind = if own.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let encoded = self.encoder.encode(&plan.lambda_over_images(kind)?)?;
        let (own, partner) = self.projected(own, input.partner_features, &plan.partner()?)?;
        // From here on float32 or better: a softmax over products of long vectors overflows in half precision.
        let _full_precision = Autocast::off(own.device()).map_err(Error::from)?;
        let (factors, planes) = (encoded.factors.as_ref(), encoded.planes.as_ref());
        let of_own = |maps| Side { maps, factor: factors.map(|f| &f.0), plane: planes.map(|p| &p.0) };
        let of_partner = |maps| Side { maps, factor: factors.map(|f| &f.1), plane: planes.map(|p| &p.1) };

        // The value's channels come first in the own maps and last in the partner's.
        let width = self.branch.width();
        let cut = |maps: &Tensor, first: i64, count: i64| maps.f_narrow(1, first, count);
        let (query_own, key_partner, content) = match self.settings.content_of {
            ContentOf::Partner => {
                let rest = partner.size()[1] - width;
                (own.shallow_clone(), cut(&partner, 0, rest)?, of_partner(cut(&partner, rest, width)?))
            }
            ContentOf::Own => {
                let rest = own.size()[1] - width;
                (cut(&own, width, rest)?, partner.shallow_clone(), of_own(cut(&own, 0, width)?))
            }
        };
        let (query, key) = self.projections.query_and_key(&of_own(query_own), &of_partner(key_partner))?;
        let value = self.branch.value(&content, self.train, plan)?;
        let weights = attention::weights(&query, &key)?;
        let attended = attention::attend(&weights, &value)?;

        // The content of a source says where that source is; 1 - sigmoid(r) is sigmoid(-r).
        let own_side = match self.settings.content_of {
            ContentOf::Partner => attended.f_neg()?,
            ContentOf::Own => attended,
        };
        let mut extras = BTreeMap::new();
        let mask = match self.settings.order {
            Order::SigmoidFirst => {
                let low = own_side.f_sigmoid()?;
                if self.settings.extras {
                    extras.insert("mask_low".to_string(), low.shallow_clone());
                }
                self.settings.upsample.to(&low, size)?
            }
            Order::UpsampleFirst => self.settings.upsample.to(&own_side, size)?.f_sigmoid()?,
        };
        if self.settings.extras {
            extras.insert("attention".to_string(), weights);
            extras.insert("value".to_string(), value);
            extras.insert("lambda_encoded".to_string(), encoded.lambda);
        }
        Ok((mask, extras))
    }

    /// The linear parts over the own map and the partners' map, `[N, *, h, w]` each, in float32 or better.
    fn projected(&self, own: &Tensor, other: Option<&Tensor>, index: &Tensor) -> Result<(Tensor, Tensor)> {
        let projection::Kernels { mut all, own: mut mine, partner: mut theirs } =
            self.projections.kernels()?;
        let width = self.branch.width();
        match self.settings.content_of {
            ContentOf::Partner => {
                all.push(self.branch.kernels()?);
                theirs.end += width;
            }
            ContentOf::Own => {
                all.insert(0, self.branch.kernels()?);
                mine.end += width;
                theirs = theirs.start + width..theirs.end + width;
            }
        }
        let kernels = Tensor::f_cat(&all, 0)?;
        let project = |maps: &Tensor, kernels: &Tensor| -> Result<Tensor> {
            let out = conv(maps, kernels)?;
            Ok(match out.kind() {
                Kind::Float | Kind::Double => out,
                _ => out.f_to_kind(Kind::Float)?,
            })
        };
        let (mine_len, theirs_len) = (mine.end - mine.start, theirs.end - theirs.start);
        if let Some(other) = other {
            let mine = project(own, &kernels.f_narrow(0, mine.start, mine_len)?)?;
            let theirs = project(other, &kernels.f_narrow(0, theirs.start, theirs_len)?)?;
            return Ok((mine, theirs.f_index_select(0, index)?));
        }
        let both = project(own, &kernels)?;
        let theirs = both.f_narrow(1, theirs.start, theirs_len)?.f_index_select(0, index)?;
        Ok((both.f_narrow(1, mine.start, mine_len)?, theirs))
    }

    fn adjusted(&self, mask: &Tensor, input: &MixInput<'_>, plan: &Planned) -> Result<Tensor> {
        let adjust = &self.settings.adjust;
        let coin = if adjust.tosses() { Some(plan.get("adjust")?) } else { None };
        let same = match adjust.same_cluster {
            SameCluster::Keep => None,
            SameCluster::Blend => {
                let pseudo = input.pseudo.ok_or_else(|| {
                    Error::missing(
                        self.settings.plugin,
                        "pseudo",
                        "pass `pseudo: labels` to the mix, or set same_cluster: Keep",
                    )
                })?;
                Some(pseudo.f_eq_tensor(&pseudo.f_index_select(0, &plan.partner()?)?)?)
            }
        };
        adjust.apply(mask, &plan.lambda_over_images(Kind::Float)?, coin.as_ref(), same.as_ref())
    }
}

impl Mixer for MixBlock {
    fn needs(&self) -> Needs {
        self.settings.needs()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let mut plan = Plan::draw(ask, draws)?;
        if self.settings.dropout > 0.0 {
            plan = plan.with("dropout_key", Value::Int(draws.field_key()));
        }
        Ok(self.settings.adjust.plan(plan, draws))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let _no_graph = input.quiet.then(no_grad);
        let (_, _, height, width) = input.nchw()?;
        let (mut mask, extras) = self.mask(input, plan, [height, width])?;
        if input.quiet {
            mask = self.adjusted(&mask, input, plan)?;
        }
        let partner = plan.partner()?;
        // x = m0 x_i + (1 - m0) x_j, one mask for all colour channels.
        let weight = mask.f_to_kind(input.images.kind())?;
        let images = input.partners(&partner)?.f_lerp_tensor(input.images, &weight)?;
        let mut mixed = Mixed::pair(images, partner, plan.lambda()?).masked(mask);
        mixed.extras = extras;
        Ok(mixed)
    }

    fn train(&mut self, on: bool) {
        self.train = on;
    }

    fn after_step(&mut self) -> Result<()> {
        self.encoder.project()
    }
}
