//! `bench puzzlemix|comixup`: solvers on problems made of CIFAR-10 images and the saliency of a small trained network.

use std::path::PathBuf;

use anyhow::Result;

use crate::args::{Args, Usage};
use crate::compare::{self, DATASET};
use crate::repo::{Profile, Repo};
use crate::setup;

/// The recipe of the network, and the folder of its run, which is kept.
const NETWORK: (&str, &str) = ("configs/bench/saliency.ron", "runs/bench/saliency");

/// Runs `bench NAME`; `count` is its flag for how many problems there are.
pub fn run(repo: &Repo, (name, count): (&str, &str), mut args: Args) -> Result<()> {
    let data = args.value("--data")?.map_or_else(|| repo.shared().join(DATASET.1), PathBuf::from);
    let problems = args.value(count)?;
    let (quality, speed) = (args.switch("--quality"), name == "puzzlemix" && args.switch("--speed"));
    let passed_on = args.after_dashes();
    args.finish()?;
    let what = match (quality, speed) {
        (true, false) => "--quality",
        (false, true) => "--speed",
        _ => {
            let wanted = if name == "puzzlemix" { "--quality or --speed" } else { "--quality" };
            return Err(Usage(format!("bench {name}: say what to measure: {wanted}")).into());
        }
    };

    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    compare::import(repo, &admix, &data)?;
    let folder = repo.root().join(NETWORK.1);
    if !compare::is_finished(&folder) {
        let train = repo.program(&admix).args(["run", NETWORK.0, "--device", "cpu", "--out"]).arg(&folder);
        let train = if compare::is_begun(&folder) { train.arg("--resume") } else { train };
        train.run_interruptible()?;
    }
    let mut bench = repo.program(&admix).args(["bench", name, what, "--checkpoint"]).arg(&folder);
    if let Some(problems) = &problems {
        bench = bench.args([count, problems]);
    }
    bench.args(&passed_on).run()
}
