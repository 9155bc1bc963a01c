//! MixUp and CutMix: images, boxes, label shares.

use admix_api::{Loss, LossInput, MixInput, Mixed, Mixer, Per, Plan, Value};
use admix_plugins::losses::CrossEntropy;
use admix_plugins::mixers::{BoxRule, CutBox, CutMix, MixUp};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::{Golden, Tolerance};

/// A blend is two products and a sum; a paste is exact.
const BLEND: Tolerance = Tolerance::absolute(1e-6);
const TARGET: Tolerance = Tolerance::absolute(1e-6);

pub fn mix(golden: &Golden, mixer: &mut dyn Mixer, plan: &Plan) -> Mixed {
    let images = golden.get("images");
    let mixed = mixer.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
    Tolerance::EXACT.check("the input is untouched", &images, &golden.get("images"));
    mixed
}

/// The dense target that a loss holds logits of zero against: its gradient is (softmax - target) / N.
fn target(golden: &Golden, mixed: &Mixed, smoothing: f64, classes: i64) -> Tensor {
    let labels = golden.get("labels");
    let logits =
        Tensor::zeros([labels.size()[0], classes], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let input = LossInput::default()
        .with("logits", logits.shallow_clone())
        .with_target(&mixed.credit, &labels)
        .expect("a target");
    CrossEntropy { smoothing, ..Default::default() }.loss(&input).expect("a loss").backward();
    1.0 / classes as f64 - grad_of(&logits).expect("a gradient") * labels.size()[0]
}

fn mixups(golden: &Golden) {
    for prefix in numbered(golden, "mixup", ".lam") {
        let partner = golden.integers(&format!("{prefix}.perm"));
        let lambda = golden.number(&format!("{prefix}.lam"));
        let mixed = mix(golden, &mut MixUp {}, &Plan::given(lambda, &partner));
        golden.check(&format!("{prefix}.out"), &mixed.images, BLEND);
        let wanted = golden.get(&format!("{prefix}.target"));
        TARGET.check(&format!("{prefix}.target"), &target(golden, &mixed, 0.0, wanted.size()[1]), &wanted);
        let partners = golden.get("labels").index_select(0, &Tensor::from_slice(&partner));
        golden.check(&format!("{prefix}.labels_b"), &partners, Tolerance::EXACT);
    }
    // timm: partners are the batch in reverse, lambda per batch or per sample, label smoothing 0.1.
    for (prefix, per) in [("timm_batch", Per::Batch), ("timm_elem", Per::Sample)] {
        let lambdas = golden.numbers(&format!("{prefix}.lam"));
        let lambda = match per {
            Per::Batch => Value::Float(lambdas[0]),
            Per::Sample => Value::Floats(lambdas),
        };
        let partner = (0..golden.get("images").size()[0]).rev().collect();
        let plan = Plan::default().with("lambda", lambda).with("partner", Value::Ints(partner));
        let mixed = mix(golden, &mut MixUp {}, &plan);
        golden.check(&format!("{prefix}.out"), &mixed.images, BLEND);
        let wanted = golden.get(&format!("{prefix}.target"));
        TARGET.check(&format!("{prefix}.target"), &target(golden, &mixed, 0.1, wanted.size()[1]), &wanted);
    }
}

fn cutmixes(golden: &Golden) {
    let (_, _, height, width) = golden.get("images").size4().expect("images");
    let size = (height, width);
    for prefix in numbered(golden, "cutmix", ".lam_in") {
        let lambda = golden.number(&format!("{prefix}.lam_in"));
        let centre = golden.numbers(&format!("{prefix}.centre_rc"));
        let found = CutBox::around(BoxRule::Integer, size, lambda, (centre[0], centre[1]));
        let bounds = [found.r1, found.c1, found.r2, found.c2];
        let wanted = golden.integers(&format!("{prefix}.box_r1c1r2c2"));
        assert_eq!(bounds.as_slice(), wanted, "{prefix}");

        let partner = golden.integers(&format!("{prefix}.perm"));
        let plan = CutMix::boxed(Plan::given(lambda, &partner), &[found], Per::Batch, size);
        let mixed = mix(golden, &mut CutMix::default(), &plan);
        golden.check(&format!("{prefix}.out"), &mixed.images, Tolerance::EXACT);
        let credited = golden.number(&format!("{prefix}.lam_out"));
        assert_eq!(plan.value("credit").expect("a credit"), &Value::Float(credited), "{prefix}");
        let seen = mixed.mask.expect("a mask").mean(Kind::Double).double_value(&[]);
        Tolerance::absolute(1e-7).check_number(&format!("{prefix}: area of the mask"), seen, credited);
    }
}

fn boxes(golden: &Golden) {
    for (name, rule) in [("boxes", BoxRule::Integer), ("pzboxes", BoxRule::Real)] {
        let rows = golden.get(&format!("{name}.H_W_lam_cy_cx_y1_y2_x1_x2_lamout"));
        for i in 0..rows.size()[0] {
            let row = Vec::<f64>::try_from(rows.get(i)).expect("numbers");
            let size = (row[0] as i64, row[1] as i64);
            let found = CutBox::around(rule, size, row[2], (row[3], row[4]));
            let bounds = [found.r1, found.r2, found.c1, found.c2].map(|bound| bound as f64);
            let empty = found.r1 == found.r2 || found.c1 == found.c2;
            // An empty box is stored as zeros by one of the sources.
            let stored_empty = rule == BoxRule::Real && row[5..9].iter().all(|bound| *bound == 0.0);
            assert!(
                bounds == row[5..9] || (empty && stored_empty),
                "{name}, row {i}: {found:?} where {row:?}"
            );
            let kept = found.kept(size);
            Tolerance::absolute(1e-12).check_number(
                &format!("{name}, row {i}: the share kept"),
                kept,
                row[9],
            );
        }
    }
}

/// `PREFIX0`, `PREFIX1`, ... as far as the file goes.
pub fn numbered(golden: &Golden, prefix: &str, member: &str) -> Vec<String> {
    let all: Vec<String> =
        (0..).map(|i| format!("{prefix}{i}")).take_while(|p| golden.has(&format!("{p}{member}"))).collect();
    assert!(!all.is_empty(), "no {prefix} in the file");
    all
}

pub fn mixers_mixup_cutmix(golden: &Golden) {
    mixups(golden);
    cutmixes(golden);
    boxes(golden);
}
