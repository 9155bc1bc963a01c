//! FMix: fields, masks cut out of them, mixed images.

use admix_api::{MixInput, Plan};
use admix_plugins::mixers::{FMix, Spectrum, cut, cut_at};
use admix_torch::{Device, Kind, Tensor};

use super::pairs::numbered;
use super::{Golden, Tolerance};

/// Of double precision; the file's one field in single precision needs more.
const FIELD: Tolerance = Tolerance::absolute(1e-14);
const SINGLE: Tolerance = Tolerance::absolute(3e-7);
/// A ramp in single precision, and a blend by it.
const BLEND: Tolerance = Tolerance::absolute(1e-6);

const DECAY: f64 = 3.0;

/// Fields `[M, H, W]` in [0, 1], as the authors' code hands them out.
fn stretched(fields: &Tensor) -> Tensor {
    let from_zero = fields - fields.amin([1i64, 2].as_slice(), true);
    &from_zero / from_zero.amax([1i64, 2].as_slice(), true)
}

fn cases(golden: &Golden) {
    for prefix in numbered(golden, "case", ".lam") {
        let name = |member: &str| format!("{prefix}.{member}");
        let size = golden.integers(&name("shape"));
        let size = (size[0], size[1]);
        let noise = golden.get(&name("noise_rows01")).unsqueeze(0);
        assert_eq!(noise.size(), Spectrum::Reference.noise_shape(1, size), "{prefix}");
        if let Some(full) = golden.find(&name("noise_full")) {
            Tolerance::EXACT.check(&prefix, &full.narrow(1, 0, 2), &noise);
        }
        let fields = Spectrum::Reference.fields(&noise, size, DECAY).expect("a field");
        let wanted = golden.get(&name("field"));
        let tolerance = if wanted.kind() == Kind::Double { FIELD } else { SINGLE };
        tolerance.check(&name("field"), &stretched(&fields), &wanted);
        // What a mix does, in single precision.
        let low = Spectrum::Reference.fields(&noise.to_kind(Kind::Float), size, DECAY).expect("a field");
        Tolerance::absolute(3e-6).check(&name("field"), &stretched(&low), &wanted);

        let lambda = golden.number(&name("lam"));
        let pixels = size.0 * size.1;
        let coin = golden.number(&name("coin"));
        let (full, end) = cut_at(lambda, coin, golden.number(&name("max_soft")), pixels);
        let wanted_mask = golden.get(&name("mask")).unsqueeze(1).to_kind(Kind::Float);
        let hard = full == end;
        let of = |fields: &Tensor| cut(fields, &Tensor::from(full), &Tensor::from(end)).expect("a mask");
        // Out of the stored field, so that nothing but the order and the cut counts.
        let tolerance = if hard { Tolerance::EXACT } else { BLEND };
        tolerance.check(&name("mask"), &of(&wanted), &wanted_mask);
        if wanted.kind() == Kind::Double {
            tolerance.check(&name("mask"), &of(&fields), &wanted_mask);
        } else {
            // The order of the last digits is another: only pixels at the edge may change sides.
            let other = (of(&fields) - &wanted_mask).abs().sum(Kind::Double).double_value(&[]);
            assert!(other <= 1e-3 * pixels as f64, "{prefix}: {other} of {pixels} pixels");
        }
        let mean = of(&wanted).mean(Kind::Double).double_value(&[]);
        Tolerance::absolute(1e-7).check_number(&name("mask_mean"), mean, golden.number(&name("mask_mean")));
    }
}

/// Mixes by the masks of the file.
fn applied(golden: &Golden) {
    let images = golden.get("images");
    let n = images.size()[0];
    for prefix in numbered(golden, "apply", ".lam") {
        let name = |member: &str| format!("{prefix}.{member}");
        let lambda = golden.number(&name("lam"));
        let mask = golden.get(&name("mask"));
        let plan = Plan::given(lambda, &golden.integers(&name("perm")));
        let planned = plan.on(Device::Cpu).expect("a plan");
        let mixed = FMix::masked(&MixInput::of(&images), &planned, &mask).expect("a mix");
        golden.check(&name("out"), &mixed.images, Tolerance::EXACT);
        // The authors draw the mask's cut apart from lambda, so the mask's mean may differ from the credit.
        let (_, shares) = mixed.credit.shares().expect("shares");
        BLEND.check(&name("lam"), &shares.select(1, 0), &Tensor::from_slice(&vec![lambda; n as usize]));
    }
}

pub fn mixers_fmix(golden: &Golden) {
    cases(golden);
    applied(golden);
}
