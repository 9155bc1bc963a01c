//! Learning rates and the weight of the mask loss over a run.

use admix_engine::schedule::{compounding_cosine, cosine, milestones};

use super::{Golden, Tolerance};

const RELATIVE: Tolerance = Tolerance::relative(1e-12, 0.0);

/// The decimal number that was stored as float32.
fn decimal(stored: f64) -> f64 {
    format!("{}", stored as f32).parse().expect("a number")
}

pub fn schedules(golden: &Golden) {
    let runs: Vec<String> =
        golden.names().filter_map(|name| name.strip_suffix(".base_min_total").map(str::to_string)).collect();
    assert!(!runs.is_empty());
    for run in runs {
        let values = golden.numbers(&format!("{run}.base_min_total"));
        let (base, end, total) = (decimal(values[0]), decimal(values[1]), values[2]);
        let wanted = golden.numbers(&format!("f64.{run}.lr"));
        for (epoch, wanted) in golden.integers(&format!("{run}.epochs")).into_iter().zip(wanted) {
            let found = cosine(base, end, epoch as f64 / total);
            RELATIVE.check_number(&format!("{run}, epoch {epoch}"), found, wanted);
        }
    }
    let rates = golden.numbers("f64.linear_eval_step30_60.lr");
    for (epoch, wanted) in golden.integers("linear_eval_step30_60.epochs").into_iter().zip(&rates) {
        let found = milestones(rates[0], 0.1, &[30, 60], epoch as u64);
        RELATIVE.check_number(&format!("linear evaluation, epoch {epoch}"), found, *wanted);
    }
    let steps = golden.number("mask_weight.max_iters") as u64;
    let compounding = golden.numbers("f64.mask_weight.code_compounding");
    let plain = golden.numbers("f64.mask_weight.plain_cosine");
    for (index, step) in golden.integers("mask_weight.iters").into_iter().enumerate() {
        let found = compounding_cosine(plain[0], step as u64, steps);
        // Below the smallest normal number the reference underflows step by step.
        let tolerance = Tolerance::relative(1e-12, f64::MIN_POSITIVE);
        tolerance.check_number(&format!("compounding, step {step}"), found, compounding[index]);
        let found = cosine(plain[0], 0.0, step as f64 / steps as f64);
        RELATIVE.check_number(&format!("cosine, step {step}"), found, plain[index]);
    }
}
