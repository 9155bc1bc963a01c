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
        let heads: Vec<&str> = recipe.heads.iter().map(String::as_str).collect();
        let reported = recipe.reported().unwrap_or_default();
        // "mix_k", or "knn_q" of a probe: names may have underscores themselves, so the longest is meant.
        let of_net = |net: &str| reported.ends_with(&format!("_{net}"));
        let of_head = |head: &str| nets.iter().any(|net| format!("{head}_{net}") == reported);
        let own_net = nets.iter().filter(|net| of_net(net)).max_by_key(|net| net.len()).or(nets.first());
        let own_head = heads.iter().find(|head| of_head(head)).or(heads.last());
        let net = chosen("--net", net, &nets, own_net)?;
        let net = net.ok_or_else(|| Error::Input("the run has no network".into()))?;
        Ok(Self { net, head: chosen("--head", head, &heads, own_head)? })
    }
}

fn chosen(flag: &str, given: Option<&str>, all: &[&str], own: Option<&&str>) -> Result<Option<String>> {
    match given {
        Some(given) if all.contains(&given) => Ok(Some(given.to_owned())),
        Some(given) => Err(Error::Input(format!("{flag} {given}: the run has {}", list(all)))),
        None => Ok(own.map(|own| (*own).to_owned())),
    }
}
