//! SaliencyMix: maps, boxes around their peaks, label shares.

use admix_api::{MixInput, Per, Plan, Value};
use admix_plugins::mixers::{Map, SaliencyMix, Scope, fine_grained, float_bytes, peaks};
use admix_torch::{Device, Kind, Tensor};

use super::pairs::{mix, numbered};
use super::{Golden, Tolerance};

/// The reference's grey levels: its map goes from 0 to 1 in steps of 1/255.
fn levels(golden: &Golden, name: &str) -> Tensor {
    (golden.get(name) * 255.0).round()
}

fn maps(golden: &Golden) {
    let found = fine_grained(&golden.get("images_u8").to_kind(Kind::Float)).expect("maps");
    let wanted = levels(golden, "saliency_uint8_input");
    // The reference wraps at 256. Ours does not, so that its brightest pixels stay bright.
    let wrapped = found.remainder(256);
    Tolerance::absolute(1.0).check("saliency_uint8_input", &wrapped, &wanted);
    let off = wrapped.ne_tensor(&wanted).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    assert!(off <= 0.01, "{off} of the pixels are a grey level off");
}

/// What the reference makes of normalised floats: every pixel of every map. It hangs on the last bits of each float, so no
/// distance means anything but none.
fn maps_of_floats(golden: &Golden) -> Tensor {
    let found = float_bytes(&golden.get("images")).expect("maps");
    Tolerance::EXACT.check("saliency_normalised_input", &found, &levels(golden, "saliency_normalised_input"));
    golden.check("saliency_u8", &found, Tolerance::EXACT);
    found
}

pub fn mixers_saliencymix(golden: &Golden) {
    maps(golden);
    let (rows, columns) = peaks(&maps_of_floats(golden)).expect("peaks");
    let images = golden.get("images");
    let (n, _, height, width) = images.size4().expect("images");
    for prefix in numbered(golden, "case", ".lam_in") {
        let name = |member: &str| format!("{prefix}.{member}");
        let (lambda, partner) = (golden.number(&name("lam_in")), golden.integers(&name("perm")));
        let peak = golden.integers(&name("peak_rc"));
        let found_box = golden.integers(&name("box_r1c1r2c2"));
        let credited = golden.number(&name("lam_out"));
        for per in [Per::Batch, Per::Sample] {
            let lambda = match per {
                Per::Batch => Value::Float(lambda),
                Per::Sample => Value::Floats(vec![lambda; n as usize]),
            };
            let plan = Plan::given(0.0, &partner).with("lambda", lambda);
            let plan = SaliencyMix::sided(plan, n as usize, (height, width)).expect("sides");
            let planned = plan.on(Device::Cpu).expect("a plan");
            // The reference's slip by name: from images to the mix.
            let own_peak = [rows.int64_value(&[partner[0]]), columns.int64_value(&[partner[0]])];
            assert_eq!(own_peak.as_slice(), peak, "{prefix}: the peak");
            let slip = mix(golden, &mut SaliencyMix { map: Map::FloatBytes, ..Default::default() }, &plan);
            golden.check(&name("out"), &slip.images, Tolerance::EXACT);
            let centre = (&Tensor::from(peak[0]), &Tensor::from(peak[1]));
            let mixed = SaliencyMix::paste(&MixInput::of(&images), &planned, centre).expect("a mix");
            golden.check(&name("out"), &mixed.images, Tolerance::EXACT);
            let (_, shares) = mixed.credit.shares().expect("shares");
            let wanted = Tensor::from_slice(&vec![credited; n as usize]);
            Tolerance::absolute(1e-7).check(&name("lam_out"), &shares.select(1, 0), &wanted);
            let wanted = Tensor::ones([n, 1, height, width], (Kind::Float, Device::Cpu));
            let (rows, columns) = (found_box[2] - found_box[0], found_box[3] - found_box[1]);
            let _ = wanted.narrow(2, found_box[0], rows).narrow(3, found_box[1], columns).fill_(0.0);
            Tolerance::EXACT.check(&name("box_r1c1r2c2"), &mixed.mask.expect("a mask"), &wanted);
        }
    }
    whole(golden);
}

/// How the images of the file are normalised.
fn normalised() -> SaliencyMix {
    let (mean, std) = (vec![0.4914, 0.4822, 0.4465], vec![0.2023, 0.1994, 0.2010]);
    SaliencyMix { mean: Some(mean), std: Some(std), ..Default::default() }
}

/// From normalised images to the mix: the box is where a peak of the reference's correct map puts it.
fn whole(golden: &Golden) {
    let images = golden.get("images");
    let (n, _, height, width) = images.size4().expect("images");
    let own = fine_grained(&golden.get("images_u8").to_kind(Kind::Float)).expect("maps");
    let wanted = levels(golden, "saliency_uint8_input");
    let (rows, columns) = peaks(&own).expect("peaks");
    for i in 0..n {
        let (row, column) = (rows.int64_value(&[i]), columns.int64_value(&[i]));
        let most = own.get(i).max().double_value(&[]);
        if most <= 255.0 {
            // Not wrapped in the reference either: a peak there too, or one of several equals.
            let there = wanted.double_value(&[i, row, column]);
            assert!(there >= wanted.get(i).max().double_value(&[]) - 1.0, "image {i}: ({row}, {column})");
        }
    }
    let partner: Vec<i64> = (1..n).chain([0]).collect();
    for scope in [Scope::First, Scope::Each] {
        let plan = SaliencyMix::sided(Plan::given(0.6, &partner), n as usize, (height, width));
        let plan = plan.expect("sides");
        let found = mix(golden, &mut SaliencyMix { scope, ..normalised() }, &plan);
        let centre = match scope {
            Scope::First => (rows.get(partner[0]), columns.get(partner[0])),
            Scope::Each => {
                let partner = Tensor::from_slice(&partner);
                (rows.index_select(0, &partner), columns.index_select(0, &partner))
            }
        };
        let planned = plan.on(Device::Cpu).expect("a plan");
        let by_peak =
            SaliencyMix::paste(&MixInput::of(&images), &planned, (&centre.0, &centre.1)).expect("a mix");
        Tolerance::EXACT.check("the whole mix", &found.images, &by_peak.images);
    }
}
