//! The momentum net's average, and its momentum over a run.

use admix_engine::schedule::warm_cosine;
use admix_torch::{Device, Tensor, ema as average, scalar};

use super::{Golden, Tolerance};

const PARAMETERS: Tolerance = Tolerance::absolute(1e-6);
const MOMENTUM: Tolerance = Tolerance::absolute(1e-12);

/// Momentum at the start of a run.
const BASE: f64 = 0.999;
/// Runs of the file: (name, momentum at the end, first part of the run at the base).
const RUNS: [(&str, f64, f64); 5] = [
    ("cifar", 0.999999, 0.1),
    ("cub_imagenet", 0.99999, 0.1),
    ("aircraft", 0.99996, 0.1),
    ("full_scope", 1.0, 0.0),
    ("full_scope_end999999", 0.999999, 0.0),
];

pub fn ema(golden: &Golden) {
    let after = |i: usize| format!("m{i}.after.");
    for (i, momentum) in golden.numbers("momenta").into_iter().enumerate() {
        // Each `NET_k.REST` follows `NET_q.REST`; buffers of BatchNorm stay.
        let start = after(i);
        let names: Vec<&str> = golden.names().filter_map(|name| name.strip_prefix(&start)).collect();
        let (buffers, parameters): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| name.contains("running_"));
        assert!(!parameters.is_empty() && !buffers.is_empty(), "momentum {i}");
        let before = |name: &str| golden.get(&format!("before.{name}"));
        let targets: Vec<Tensor> = parameters.iter().map(|name| before(name)).collect();
        let sources: Vec<Tensor> =
            parameters.iter().map(|name| before(&name.replacen("_k", "_q", 1))).collect();
        average(&targets, &sources, &scalar(1.0 - momentum, Device::Cpu), None).expect("an average");
        for (name, target) in parameters.iter().zip(&targets) {
            golden.check(&format!("{start}{name}"), target, PARAMETERS);
        }
        for name in buffers {
            golden.check(&format!("{start}{name}"), &before(name), Tolerance::EXACT);
            assert!(
                !before(name).equal(&before(&name.replacen("_k", "_q", 1))),
                "{name} would not show a move"
            );
        }
    }
    let steps = golden.number("sched.max_iters") as u64;
    for (name, end, warm) in RUNS {
        let wanted = golden.numbers(&format!("f64.sched.{name}"));
        for (step, wanted) in golden.integers("sched.iters").into_iter().zip(wanted) {
            let found = warm_cosine(BASE, end, step as u64, steps, warm);
            MOMENTUM.check_number(&format!("{name}, step {step}"), found, wanted);
        }
    }
}
