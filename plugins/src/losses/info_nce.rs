//! infoNCE: an embedding must tell its key from the entries of a queue.
//!
//! Formula  mean over samples of sum_s share_s (-log(exp(z.k_s / T) / sum_c exp(z.c / T))), c over the candidates. Each
//!          source of a mix has a softmax of its own: the other source's key is no candidate of it.
//!          Candidates: `PositiveAndQueue` (default), k_s and the queue; `QueueOnly`, the queue alone, as the AMix paper
//!          prints Eq. 4 (then the value may be negative); `BatchAndQueue`, the keys of the whole batch and the queue;
//!          `QueueAndNegatives`, k_s, the queue, and negatives that each sample has for itself.
//!          With `same_label: Leave`, queue entries of the label of source s are no candidates of it.
//! Source   van den Oord et al. 2018, arXiv:1807.03748; He et al., CVPR 2020 (the queue); AMix paper, Eq. 4 (shares) and
//!          Table 1, infoNCE (L) and (PL) (labels); Lee et al., ICLR 2021, i-Mix (keys of the batch);
//!          Kalantidis et al., NeurIPS 2020, MoCHi (negatives of a sample's own).
//! Input    `embedding [N, D]` and keys `[N, D]` or a mix's, all of unit length as a rule (the loss does not normalise);
//!          `queue [D, K]`; for `BatchAndQueue` the batch's `batch_keys [M, D]`, those of the sources among them; for
//!          `QueueAndNegatives` these `negatives [N, D, M]`; for `same_label: Leave` the labels `[N]` or a mix's target, and
//!          `queue_labels [K]`. Output: a scalar. Finite for finite inputs.

use admix_api::loss;
use admix_api::prelude::*;

use super::contrast::Contrast;
use admix_api::ranges::{at_least, expect};

/// What the softmax runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Candidates {
    /// The key that is meant, and the queue.
    #[default]
    PositiveAndQueue,
    /// The queue alone.
    QueueOnly,
    /// The keys of the whole batch, and the queue. The loss takes one more argument, `batch_keys`.
    BatchAndQueue,
    /// The key that is meant, the queue, and negatives that each sample has for itself, such as mixes of those that are
    /// hardest to tell apart from it. The loss takes one more argument, `negatives [N, D, M]`.
    QueueAndNegatives,
}

/// What becomes of queue entries of the label that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SameLabel {
    /// They are candidates like all others; nobody is asked for labels.
    #[default]
    Keep,
    /// They are left out: infoNCE (L) with labels, (PL) with pseudo labels. The loss takes two more arguments, labels or
    /// a mix's target, and `queue_labels`.
    Leave,
}

admix_api::settings! {
    /// Recipe: `InfoNce(temperature: 0.2)`.
    pub struct InfoNce {
        /// T, above 0.
        pub temperature: f64 = 0.2,
        /// What the softmax runs over.
        pub candidates: Candidates = Candidates::default(),
        /// What becomes of queue entries of the label that is meant. `Leave` goes with `PositiveAndQueue` only.
        pub same_label: SameLabel = SameLabel::default(),
    }
}

impl Loss for InfoNce {
    fn arguments(&self) -> Vec<Argument> {
        let mut all = Contrast::ARGUMENTS.to_vec();
        all.push(Argument::Tensor("queue"));
        if self.candidates == Candidates::BatchAndQueue {
            all.push(Argument::Tensor("batch_keys"));
        }
        if self.candidates == Candidates::QueueAndNegatives {
            all.push(Argument::Tensor("negatives"));
        }
        if self.same_label == SameLabel::Leave {
            all.extend([Argument::Target, Argument::Tensor("queue_labels")]);
        }
        all
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let contrast = Contrast::of(input)?.scaled(1.0 / self.temperature)?;
        let meant = contrast.products()?;
        let queue = contrast.against(input.get("queue")?)?;
        // log sum exp over all candidates but the one that is meant, [N, 1] or [N, S].
        let others = match (self.candidates, self.same_label) {
            (Candidates::BatchAndQueue, _) => {
                let batch = contrast.against(&input.get("batch_keys")?.f_transpose(0, 1)?)?;
                Tensor::f_cat(&[batch, queue], 1)?.f_logsumexp(1, true)?
            }
            (Candidates::QueueAndNegatives, _) => {
                let own = contrast.against_own(input.get("negatives")?)?;
                Tensor::f_cat(&[queue, own], 1)?.f_logsumexp(1, true)?
            }
            (_, SameLabel::Keep) => queue.f_logsumexp(1, true)?,
            (_, SameLabel::Leave) => without(&queue, input)?,
        };
        let gap = others.f_sub(&meant)?;
        let each = match self.candidates {
            // log(exp(meant) + exp(others)) - meant
            Candidates::PositiveAndQueue | Candidates::QueueAndNegatives => {
                gap.f_neg()?.f_log_sigmoid()?.f_neg()?
            }
            Candidates::QueueOnly | Candidates::BatchAndQueue => gap,
        };
        contrast.mean(&each)
    }
}

/// log sum exp over the queue entries of other labels than each source's: `[N, S]` from `[N, K]`.
fn without(queue: &Tensor, input: &LossInput) -> Result<Tensor> {
    let labels = input.get("target.labels")?;
    let of_queue = input.get("queue_labels")?;
    let (_, sources) = labels.size2()?;
    let each = (0..sources).map(|source| {
        let same = labels.f_narrow(1, source, 1)?.f_eq_tensor(of_queue)?;
        // Where nothing is left, the key that is meant is alone, and the loss 0.
        Ok(queue.f_masked_fill(&same, LEFT_OUT)?.f_logsumexp(1, true)?)
    });
    Ok(Tensor::f_cat(&each.collect::<Result<Vec<_>>>()?, 1)?)
}

/// So low that its exponential is 0 beside any other candidate, yet a number: -inf alone would have no gradient.
const LEFT_OUT: f64 = -1e30;

impl LossConfig for InfoNce {
    fn validate(&self) -> Result<()> {
        at_least("temperature", self.temperature, 1e-6)?;
        let good = self.same_label != SameLabel::Leave || self.candidates == Candidates::PositiveAndQueue;
        expect("same_label", "Leave", good, "Keep where candidates is not PositiveAndQueue")
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        LossConfig::validate(self)?;
        Ok(Box::new(self.clone()))
    }
}

loss! {
    InfoNce, "info_nce", "an embedding must tell its key from the entries of a queue",
    source: "van den Oord et al. 2018; He et al., CVPR 2020; AMix paper, Eq. 4"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// exp(z.c / T) by hand: z is a basis vector, so that each candidate's weight is chosen by one of its entries.
    fn column(weights: &[f64]) -> Tensor {
        let first: Vec<f64> = weights.iter().map(|w| w.ln()).collect();
        Tensor::stack(
            &[Tensor::from_slice(&first), Tensor::zeros([first.len() as i64], (Kind::Double, Device::Cpu))],
            1,
        )
    }

    /// One sample, T = 1; keys with the weights 2 (own) and 6 (partner), a queue with 3 and 5.
    fn input(lambda: f64) -> LossInput {
        let z = Tensor::from_slice(&[1f64, 0.0]).reshape([1, 2]);
        LossInput::default()
            .with("embedding", z)
            .with("contrast.keys", column(&[2.0, 6.0]).unsqueeze(0))
            .with("contrast.shares", Tensor::from_slice(&[lambda, 1.0 - lambda]).unsqueeze(0))
            .with("queue", column(&[3.0, 5.0]).transpose(0, 1))
    }

    fn value(loss: InfoNce, input: &LossInput) -> f64 {
        InfoNce { temperature: 1.0, ..loss }.loss(input).unwrap().double_value(&[])
    }

    #[test]
    fn each_source_has_a_softmax_of_its_own() {
        let wanted = -(0.25 * (2.0f64 / 10.0).ln() + 0.75 * (6.0f64 / 14.0).ln());
        assert!((value(InfoNce::default(), &input(0.25)) - wanted).abs() < 1e-12);
        let queue_only = InfoNce { candidates: Candidates::QueueOnly, ..InfoNce::default() };
        let wanted = -(0.25 * (2.0f64 / 8.0).ln() + 0.75 * (6.0f64 / 8.0).ln());
        assert!((value(queue_only, &input(0.25)) - wanted).abs() < 1e-12);
    }

    #[test]
    fn keys_of_the_batch_can_be_candidates() {
        let loss = InfoNce { candidates: Candidates::BatchAndQueue, ..InfoNce::default() };
        let input = input(0.25).with("batch_keys", column(&[2.0, 6.0, 4.0]));
        let wanted = -(0.25 * (2.0f64 / 20.0).ln() + 0.75 * (6.0f64 / 20.0).ln());
        assert!((value(loss, &input) - wanted).abs() < 1e-12);
    }

    #[test]
    fn a_sample_may_have_negatives_for_itself() {
        let loss = || InfoNce { candidates: Candidates::QueueAndNegatives, ..InfoNce::default() };
        // A second sample whose negatives weigh more: each meets its own.
        let twice = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 0);
        let one = input(0.25);
        let input = LossInput::default()
            .with("embedding", twice(one.get("embedding").unwrap()))
            .with("contrast.keys", twice(one.get("contrast.keys").unwrap()))
            .with("contrast.shares", twice(one.get("contrast.shares").unwrap()))
            .with("queue", one.get("queue").unwrap().shallow_clone());
        let negatives = Tensor::stack(&[column(&[4.0, 6.0]), column(&[8.0, 14.0])], 0).transpose(1, 2);
        let wanted = |more: f64| -(0.25 * (2.0 / (10.0 + more)).ln() + 0.75 * (6.0 / (14.0 + more)).ln());
        let found = value(loss(), &input.with("negatives", negatives));
        assert!((found - (wanted(10.0) + wanted(22.0)) / 2.0).abs() < 1e-12, "{found}");
        let wrong = one.with("negatives", column(&[4.0, 6.0]));
        let message = loss().loss(&wrong).unwrap_err().to_string();
        assert!(message.contains("negatives") && message.contains("[N, D, M]"), "{message}");
    }

    #[test]
    fn a_queue_of_another_shape_is_named() {
        let rows = input(0.25).with("queue", column(&[3.0, 5.0, 4.0]));
        let message = InfoNce::default().loss(&rows).unwrap_err().to_string();
        assert!(message.contains("queue") && message.contains("[D, K]"), "{message}");
    }

    #[test]
    fn entries_of_the_same_label_are_left_out_for_each_source() {
        let leave = || InfoNce { same_label: SameLabel::Leave, ..InfoNce::default() };
        let with = |own: i64, partner: i64, queue: [i64; 2]| {
            let labels = Tensor::from_slice(&[own, partner]).unsqueeze(0);
            let input = input(0.25)
                .with("target.labels", labels.shallow_clone())
                .with("target.shares", labels.ones_like())
                .with("queue_labels", Tensor::from_slice(&queue));
            value(leave(), &input)
        };
        // The own label 7 leaves out the 3, the partner's 8 the 5.
        let wanted = -(0.25 * (2.0f64 / 7.0).ln() + 0.75 * (6.0f64 / 9.0).ln());
        assert!((with(7, 8, [7, 8]) - wanted).abs() < 1e-12);
        assert_eq!(with(7, 7, [7, 7]), 0.0);
        assert!((with(1, 2, [7, 8]) - value(InfoNce::default(), &input(0.25))).abs() < 1e-12);
        let both = InfoNce { candidates: Candidates::QueueOnly, ..leave() };
        assert!(LossConfig::validate(&both).unwrap_err().to_string().contains("same_label"));
    }

    #[test]
    fn one_key_each_is_a_contrast_with_the_whole_share() {
        let keys = column(&[2.0]);
        let z = Tensor::from_slice(&[1f64, 0.0]).reshape([1, 2]);
        let queue = column(&[3.0, 5.0]).transpose(0, 1);
        let input = LossInput::default().with("embedding", z).with("queue", queue).with_keys(&keys).unwrap();
        assert!((value(InfoNce::default(), &input) + 0.2f64.ln()).abs() < 1e-12);
        let message = LossInput::default().with_keys(&keys.unsqueeze(0)).unwrap_err().to_string();
        assert!(message.contains("[N, D]"), "{message}");
    }
}
