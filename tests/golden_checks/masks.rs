//! The mask loss, adjusting, and the polynomial of lambda.

use admix_api::{Loss, LossInput};
use admix_plugins::losses::{Mask, MaskMode, MaskPreset, Mean};
use admix_plugins::mixers::block::{Adjust, Rescale};
use admix_torch::{Tensor, grad_of};

use super::{Golden, Tolerance};

const TOLERANCE: Tolerance = Tolerance::absolute(1e-6);

/// Which of the two channels a loss of the file reads, as the own image's mask.
#[derive(Clone, Copy)]
enum Reads {
    /// The own image's mask itself (the paper's forms).
    Own,
    /// The complement of the partner's (the code's forms).
    Partner,
}

fn check_mask_loss(golden: &Golden, prefix: &str, config: &Mask, lambda: f64, reads: Reads) {
    let both = golden.get("mask").set_requires_grad(true);
    let own = match reads {
        Reads::Own => both.narrow(1, 0, 1),
        Reads::Partner => 1.0 - both.narrow(1, 1, 1),
    };
    let input = LossInput::default().with("mask", own).with("lambda", Tensor::from(lambda as f32));
    let loss = config.loss(&input).expect("a loss");
    golden.check(&format!("{prefix}.loss"), &loss, TOLERANCE);
    loss.backward();
    golden.check(&format!("{prefix}.grad"), &grad_of(&both).expect("a gradient"), TOLERANCE);
}

pub fn mask_loss(golden: &Golden) {
    let code = Mask::preset(MaskPreset::Code);
    let margins = golden.numbers("margins");
    for (i, lambda) in golden.numbers("lams").into_iter().enumerate() {
        for (j, &margin) in margins.iter().enumerate() {
            let check = |name: &str, config: Mask, reads| {
                let prefix = format!("{name}.margin{j}.lam{i}");
                check_mask_loss(golden, &prefix, &Mask { margin, ..config }, lambda, reads);
            };
            let code = |mode| Mask { mode, ..code.clone() };
            check("l1", code(MaskMode::L1), Reads::Partner);
            check("sparsity", code(MaskMode::Sparsity), Reads::Partner);
            check("l1_variance", code(MaskMode::L1Variance), Reads::Partner);
            check("l2_variance", code(MaskMode::L2Variance), Reads::Partner);
            check("paper_mean", Mask { mode: MaskMode::L1, ..Mask::default() }, Reads::Own);
        }
    }
    // The variance alone, added as printed: no mean is further than 1 from lambda.
    let variance = Mask { margin: 1.0, variance_factor: -1.0, ..Mask::default() };
    check_mask_loss(golden, "paper_var", &variance, 0.5, Reads::Own);
}

pub fn lam_adjust(golden: &Golden) {
    let own = golden.get("mask").narrow(1, 0, 1);
    let same = golden.get("pseudo_a").eq_tensor(&golden.get("pseudo_b"));
    let (margin, lam_margin) = (golden.number("ssl.mean_margin"), golden.number("lam_margin"));
    let always = Adjust { probability: 1.0, ..Adjust::default() };
    let auto = Adjust { margin, ..always };
    let both = |adjust: Adjust, lambda: f64, same: Option<&Tensor>| {
        let mask = adjust.apply(&own, &Tensor::from(lambda as f32), None, same).expect("a mask");
        Tensor::cat(&[mask.shallow_clone(), 1.0 - mask], 1)
    };
    for (i, lambda) in golden.numbers("lams").into_iter().enumerate() {
        let check = |name: &str, adjust: Adjust, same: Option<&Tensor>| {
            golden.check(&format!("lam{i}.{name}"), &both(adjust, lambda, same), TOLERANCE);
        };
        check("sup_adjusted", always, None);
        check("sup_adjusted_lam_margin", Adjust { lam_margin, ..always }, None);
        check("sup_no_adjust_lam_margin", Adjust { lam_margin, ..Adjust::default() }, None);
        check("ssl_auto", auto, None);
        check("ssl_auto_label", auto, Some(&same));
        check("ssl_auto_lam_margin", Adjust { lam_margin, ..auto }, None);
        check("ssl_prob1", always, None);
    }
    // The authors' supervised code ends at the other draw's lambda. Ours takes the image's own.
    let (lesson, attempt) = (golden.number("quirk.lam_backbone"), golden.number("quirk.lam_mixblock"));
    golden.check("quirk.sup_adjusted", &both(always, attempt, None), TOLERANCE);
    let means = both(always, lesson, None).narrow(1, 0, 1).mean_dim([1i64, 2, 3].as_slice(), false, None);
    TOLERANCE.check("mean of the own mask", &means, &(means.ones_like() * lesson));
}

pub fn lam_rescale(golden: &Golden) {
    let lambda = golden.get("lam");
    for (i, k) in golden.numbers("k").into_iter().enumerate() {
        let out = Rescale::Polynomial(k).apply(&lambda).expect("a lambda");
        golden.check(&format!("out.k{i}"), &out, TOLERANCE);
    }
    Tolerance::EXACT.check("no polynomial", &Rescale::Off.apply(&lambda).expect("a lambda"), &lambda);
}

#[test]
fn the_reference_tells_the_code_s_mask_loss_from_other_forms() {
    let golden = Golden::open("mask_loss");
    let margin = golden.numbers("margins")[0];
    let every_lambda = |config: &Mask| {
        let golden = Golden::open("mask_loss");
        for (i, lambda) in golden.numbers("lams").into_iter().enumerate() {
            check_mask_loss(&golden, &format!("l1_variance.margin0.lam{i}"), config, lambda, Reads::Partner);
        }
    };
    let code = Mask { margin, ..Mask::preset(MaskPreset::Code) };
    every_lambda(&code);
    for (what, other) in [
        ("the variance once", Mask { variance_factor: 1.0, ..code.clone() }),
        ("the variance added", Mask { variance_factor: -2.0, ..code.clone() }),
        ("means of samples", Mask { mean: Mean::Sample, ..code.clone() }),
        ("squares", Mask { mode: MaskMode::L2Variance, ..code.clone() }),
        ("another margin", Mask { margin: margin + 0.05, ..code.clone() }),
    ] {
        assert!(
            std::panic::catch_unwind(|| every_lambda(&other)).is_err(),
            "the reference does not notice {what}"
        );
    }
}
