//! What `admix bench step` found.

use admix_engine::{CaptureReport, Precision};
use clap::ValueEnum;
use serde::Serialize;

use crate::bench_watch::CudaWatch;
use crate::device::captures;
use crate::output;

/// How a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Every verb executes as the script reaches it.
    #[default]
    Direct,
    /// The script records, then the trace is executed.
    Recorded,
}

/// What came out.
#[derive(Serialize)]
pub struct Report {
    pub recipe: String,
    pub device: String,
    pub threads: usize,
    pub batch: usize,
    pub steps: u32,
    pub execution: How,
    pub precision: Precision,
    /// Whether batch normalisation, residual and ReLU were one operation; why not, where a GPU's kernels were refused.
    pub fused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused_off: Option<String>,
    /// What became of capturing, untimed steps included.
    pub capture: CaptureReport,
    /// Median, from the call until the device is done.
    pub ms_per_step: f64,
    pub min_ms_per_step: f64,
    /// What a run pays, where steps differ in their work.
    pub mean_ms_per_step: f64,
    /// Median time until the call returns: what the host has to do. On the CPU that is the whole step.
    pub host_ms: f64,
    /// Median time until the device is done; none on the CPU, which is host and device in one.
    pub device_ms: Option<f64>,
    /// Share of all time, 0 to 1, that the host waits for the device after it has asked for a step. Near 0, the device
    /// waits for the host.
    pub waiting: f64,
    /// At the median.
    pub images_per_s: f64,
    /// The most memory of the process at once; on a GPU its own is apart.
    pub peak_rss_bytes: u64,
    /// Memory before the first step: program, networks, optimiser, batches.
    pub base_rss_bytes: u64,
    pub cuda_peak_bytes: Option<u64>,
    /// Operations in a step that make the host wait for the device.
    pub host_syncs_per_step: f64,
    /// Their names in one step.
    pub host_syncs: Vec<String>,
    /// Such operations of solvers on the host and of clusterers between steps, which are counted apart.
    pub host_syncs_apart_per_step: f64,
    /// On a GPU: as many more steps under CUDA's own watch, which lets nothing wait but those.
    pub cuda_watch: Option<CudaWatch>,
    /// The sum of all terms of each timed step, weighted as the method says.
    pub losses: Vec<f64>,
    /// Of the last of them.
    pub loss: f64,
}

/// The table for people.
pub fn told(report: &Report) -> String {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("recipe", report.recipe.clone()),
        row("device", format!("{} ({} threads), {}", report.device, report.threads, report.precision.name())),
        row(
            "step",
            format!(
                "{:.3} ms (median of {}), {:.3} ms at best, {:.3} ms on average",
                report.ms_per_step, report.steps, report.min_ms_per_step, report.mean_ms_per_step
            ),
        ),
        row("capture", captures(&report.capture)),
        row("images", format!("{:.0} per second, {} per step", report.images_per_s, report.batch)),
        row(
            "memory",
            format!(
                "{} at most, {} before the first step",
                output::bytes(report.peak_rss_bytes),
                output::bytes(report.base_rss_bytes)
            ),
        ),
    ];
    rows.extend(
        report.cuda_peak_bytes.map(|bytes| row("GPU memory", format!("{} at most", output::bytes(bytes)))),
    );
    let names = if report.host_syncs.is_empty() {
        String::new()
    } else {
        format!(": {}", report.host_syncs.join(", "))
    };
    if let Some(device_ms) = report.device_ms {
        let text = format!(
            "{:.3} ms of {device_ms:.3} ms, then it waits: {:.0} % of the time",
            report.host_ms,
            100.0 * report.waiting
        );
        rows.push(row("host", text));
    }
    rows.push(row("host syncs", format!("{} per step{names}", report.host_syncs_per_step)));
    if report.host_syncs_apart_per_step > 0.0 {
        let text = format!("{} per step, of solvers and clusterers", report.host_syncs_apart_per_step);
        rows.push(row("counted apart", text));
    }
    rows.extend(report.cuda_watch.as_ref().map(|watch| {
        let error = watch.error.as_ref().map(|error| format!(", then one failed: {error}"));
        row("CUDA's watch", format!("{} steps did not wait{}", watch.passed, error.unwrap_or_default()))
    }));
    rows.push(row("loss", format!("{:.4}", report.loss)));
    output::table(&rows)
}
