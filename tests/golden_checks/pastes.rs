//! ResizeMix: boxes, the partner made smaller, label shares.

use admix_api::{Per, Plan, Value};
use admix_plugins::mixers::{CutMix, ResizeMix, Resizing};
use admix_torch::Kind;

use super::pairs::{mix, numbered};
use super::{Golden, Tolerance};

/// What a sum of four products may be off.
const BILINEAR: Tolerance = Tolerance::absolute(1e-6);

pub fn mixers_resizemix(golden: &Golden) {
    let (_, _, height, width) = golden.get("images").size4().expect("images");
    let size = (height, width);
    let mut seen = [false; 2];
    for prefix in numbered(golden, "case", ".tau") {
        let centre = golden.numbers(&format!("{prefix}.centre_xy"));
        let found = ResizeMix::boxed(size, golden.number(&format!("{prefix}.tau")), (centre[1], centre[0]));
        let bounds = [found.c1, found.r1, found.c2, found.r2];
        let wanted = golden.integers(&format!("{prefix}.box_x1y1x2y2"));
        assert_eq!(bounds.as_slice(), wanted, "{prefix}");

        let smooth = golden.number(&format!("{prefix}.bilinear")) != 0.0;
        seen[usize::from(smooth)] = true;
        let resizing = if smooth { Resizing::Bilinear } else { Resizing::Nearest };
        let partner = golden.integers(&format!("{prefix}.perm"));
        let credited = golden.number(&format!("{prefix}.lam_out"));
        // One box for the batch, and the same box for each sample.
        for (per, count) in [(Per::Batch, 1), (Per::Sample, partner.len())] {
            let plan = CutMix::boxed(Plan::given(0.5, &partner), &vec![found; count], per, size);
            let mixed = mix(golden, &mut ResizeMix { resizing, ..Default::default() }, &plan);
            let tolerance = if smooth { BILINEAR } else { Tolerance::EXACT };
            golden.check(&format!("{prefix}.out"), &mixed.images, tolerance);
            let wanted = match per {
                Per::Batch => Value::Float(credited),
                Per::Sample => Value::Floats(vec![credited; count]),
            };
            assert_eq!(plan.value("credit").expect("a credit"), &wanted, "{prefix}");
            let area = mixed.mask.expect("a mask").mean(Kind::Double).double_value(&[]);
            Tolerance::absolute(1e-7).check_number(&format!("{prefix}: area of the mask"), area, credited);
        }
    }
    assert_eq!(seen, [true; 2], "both ways of resizing are in the file");
}
