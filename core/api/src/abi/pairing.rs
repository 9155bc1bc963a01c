//! Pairings as they cross the boundary.

use super::raw;
use crate::{Pairing, Partner, Per};

impl raw::Pairing {
    pub(super) fn of(pairing: &Pairing) -> Self {
        Self {
            size: size_of::<Self>(),
            alpha: pairing.alpha,
            per: match pairing.per {
                Per::Batch => 0,
                Per::Sample => 1,
            },
            fold: pairing.fold.into(),
            partner: match pairing.partner {
                Partner::Permutation => 0,
                Partner::Derangement => 1,
                Partner::Flip => 2,
                Partner::ClusterAware { .. } => 3,
            },
            reserved: 0,
            share: match pairing.partner {
                Partner::ClusterAware { share } => share,
                _ => 0.0,
            },
        }
    }

    pub(super) fn read(&self) -> Pairing {
        Pairing {
            alpha: self.alpha,
            per: if self.per == 1 { Per::Sample } else { Per::Batch },
            fold: self.fold != 0,
            partner: match self.partner {
                1 => Partner::Derangement,
                2 => Partner::Flip,
                3 => Partner::ClusterAware { share: self.share },
                _ => Partner::Permutation,
            },
            // Those that the host acts on by itself.
            ..Pairing::default()
        }
    }
}
