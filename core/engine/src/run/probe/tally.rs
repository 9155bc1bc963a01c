//! Sums over a set, from which an accuracy is made.

use admix_torch::{Device, Kind, Tensor};

use crate::method::broken;
use crate::run::accuracy::Accuracy;
use crate::{Error, Result};

/// Sums over a set, on the device until they are read.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sums: Option<Tensor>,
    images: usize,
}

impl Tally {
    /// Adds logarithms of probabilities `[N, K]` against labels `[N]`.
    pub(super) fn add(&mut self, log_p: &Tensor, labels: &Tensor) -> Result<()> {
        let (n, classes) = log_p.size2()?;
        let column = labels.f_unsqueeze(1)?;
        let (_, guesses) = log_p.f_topk(5.min(classes), 1, true, true)?;
        let hits = guesses.f_eq_tensor(&column)?.f_to_kind(Kind::Float)?;
        let loss = log_p.f_gather(1, &column, false)?.f_sum(Kind::Float)?.f_neg()?;
        let first = hits.f_narrow(1, 0, 1)?.f_sum(Kind::Float)?;
        let all = [first, hits.f_sum(Kind::Float)?, loss, broken(log_p)?];
        let sums = Tensor::f_stack(&all, 0)?.f_to_kind(Kind::Double)?;
        self.sums = Some(match self.sums.take() {
            Some(before) => before.f_add(&sums)?,
            None => sums,
        });
        self.images += n as usize;
        Ok(())
    }

    pub(super) fn read(self, what: &str) -> Result<Accuracy> {
        let none = || Error::Input("there is no image to evaluate on".into());
        let sums = self.sums.ok_or_else(none)?.f_to_device(Device::Cpu)?;
        let sums: [f64; 4] = Vec::<f64>::try_from(&sums)?.try_into().map_err(|_| none())?;
        Ok(Accuracy::of_sums(sums, self.images, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_first_and_first_five_guesses() {
        let scores = Tensor::arange(7, (Kind::Float, Device::Cpu)).repeat([4, 1]);
        let mut tally = Tally::default();
        // Guesses go 6, 5, 4, 3, 2, 1, 0.
        for labels in [[6i64, 2], [1, 6]] {
            let rows = scores.narrow(0, 0, 2).log_softmax(1, Kind::Float);
            tally.add(&rows, &Tensor::from_slice(&labels)).expect("a batch");
        }
        let found = tally.read("k-NN").expect("figures");
        assert_eq!((found.top1, found.top5, found.images), (50.0, 75.0, 4));
        assert!(Tally::default().read("k-NN").is_err());
    }
}
