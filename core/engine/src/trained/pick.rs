//! Which network of a run, and which of its heads.

use crate::recipe::Recipe;
use crate::session::Session;
use crate::text::list;
use crate::{Error, Result};

/// A network of a run, and the head that its answers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// The network's name: "k".
    pub net: String,
    /// The head's name: "mix"; `None` if it has none.
    pub head: Option<String>,
}

impl Pick {
    /// What the run reports, unless a network or a head is named.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn of(recipe: &Recipe, session: &Session, net: Option<&str>, head: Option<&str>) -> Result<Self> {
        let world = session.world();
        let nets: Vec<&str> = world.nets.iter().map(|net| net.name.as_str()).collect();
        let reported = recipe.reported().unwrap_or_default();
        // "mix_k", or "knn_q" of a probe: names may have underscores themselves, so the longest is meant.
        let of_net = |net: &str| reported.ends_with(&format!("_{net}"));
        let of_head = |head: &str| nets.iter().any(|net| format!("{head}_{net}") == reported);
        let own_net = nets.iter().filter(|net| of_net(net)).max_by_key(|net| net.len()).or(nets.first());
        let net = chosen("--net", net, &nets, own_net, "the run")?;
        let net = net.ok_or_else(|| Error::Input("the run has no network".into()))?;
        let unit = world.nets.iter().find(|unit| unit.name == net);
        let heads = unit.map_or_else(Vec::new, |unit| unit.network.head_names());
        let own_head = heads.iter().find(|head| of_head(head)).or(heads.last());
        let head = chosen("--head", head, &heads, own_head, &format!("network `{net}`"))?;
        Ok(Self { net, head })
    }
}

fn chosen(
    flag: &str,
    given: Option<&str>,
    all: &[&str],
    own: Option<&&str>,
    owner: &str,
) -> Result<Option<String>> {
    match given {
        Some(given) if all.contains(&given) => Ok(Some(given.to_owned())),
        Some(given) if all.is_empty() => Err(Error::Input(format!("{flag} {given}: {owner} has none"))),
        Some(given) => Err(Error::Input(format!("{flag} {given}: {owner} has {}", list(all)))),
        None => Ok(own.map(|own| (*own).to_owned())),
    }
}
