//! What a profile calls the operations of a step.

use crate::method::execute::Cell;
use crate::method::trace::{BankVerb, Op, Reach};
use crate::world::World;

/// Whether an operation does any work: inputs are there already, and a pass begins to run when it grows.
pub(crate) fn works(op: &Op) -> bool {
    !matches!(op, Op::Input(_) | Op::Pass { .. })
}

/// The verb as the script says it, and to whom: "pass q", "learn gen+mask".
pub(crate) fn row(world: &World, cells: &[Cell], op: &Op) -> String {
    match op {
        Op::Input(input) => format!("{input:?}").to_lowercase(),
        Op::Pass { net, .. } => format!("pass {}", world.nets[*net].name),
        Op::Grow { pass, to } => {
            let net = match cells.get(*pass) {
                Some(Cell::Pass(pass)) => &world.nets[pass.net].name,
                _ => "",
            };
            match to {
                Reach::Stage(_) | Reach::Head(_) | Reach::Embedding => format!("pass {net}"),
                Reach::End => format!("finish {net}"),
            }
        }
        Op::Leaf { .. } => "leaf".into(),
        Op::Mix(mix) => {
            let verb = if mix.quiet { "quiet" } else { "mix" };
            format!("{verb} {} as {}", world.mixers[mix.mixer].name, mix.draw)
        }
        Op::Target { .. } => "target".into(),
        Op::Contrast { .. } => "contrast".into(),
        Op::Queue { queue } => format!("queue {}", world.queues[*queue].name),
        Op::Enqueue { queue, .. } => format!("enqueue {}", world.queues[*queue].name),
        Op::Head { head, .. } => format!("head {}", world.heads[*head].name),
        Op::Part { name, .. } => name.clone(),
        Op::Loss { loss, .. } => format!("loss {}", world.losses[*loss].name),
        Op::Learn { terms, .. } => {
            let names: Vec<&str> = terms.iter().map(|(name, ..)| name.as_str()).collect();
            format!("learn {}", names.join("+"))
        }
        Op::Gradient { .. } => "gradient".into(),
        Op::Draw { name, .. } => format!("draw {name}"),
        Op::Tensor { verb, .. } => (*verb).into(),
        Op::Bank { bank, verb } => {
            let verb = match verb {
                BankVerb::Labels { .. } => "labels",
                BankVerb::ClassWeight => "class_weight",
                BankVerb::Update { .. } => "update",
            };
            format!("bank {} {verb}", world.clusterers[*bank].name)
        }
        Op::Freeze { group } => format!("freeze {group}"),
        Op::Log { name, .. } => format!("log {name}"),
    }
}
