//! Which device, how many threads, which precision.

use std::str::FromStr;

use admix_engine::{CaptureReport, Precision};
use admix_torch::{CudaState, Device, Wanted};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::failure::bad_input;
use crate::output;

/// Flags of every command that computes.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// auto (a GPU if there is one), cpu, cuda, or cuda:1 for the second GPU.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: Choice,
    /// Threads that one operation on the CPU may use. Default: as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Whether batch normalisation, residual and ReLU are one operation, and the updates of all parameters one pass.
    #[arg(long, value_enum, default_value_t)]
    fused: Fused,
}

/// What `--fused` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Fused {
    /// Where there is such an operation: on the CPU, and for batch normalisation on a GPU if it agrees with the plain ones at first use.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What `--device` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A GPU if there is one.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:0, cuda:1, ...".into()),
        }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Choice {
    /// Opens the device. Must come before any other call of libtorch.
    ///
    /// # Errors
    /// There is no such GPU, or it cannot be used.
    pub fn open(self) -> Result<Device> {
        let wanted = match self {
            Self::Auto => Wanted::Auto,
            Self::Cpu => Wanted::Cpu,
            Self::Cuda(_) => Wanted::Cuda,
        };
        let state = admix_torch::open_cuda(wanted).context("--device cuda")?;
        match (self, state) {
            (Self::Cuda(index), CudaState::Opened { devices }) if index >= devices => {
                Err(bad_input(format!(
                    "--device cuda:{index}: there {}, numbered from 0",
                    if devices == 1 { "is 1 GPU".to_string() } else { format!("are {devices} GPUs") }
                )))
            }
            (Self::Cuda(index), _) => Ok(Device::Cuda(index)),
            (Self::Auto, CudaState::Opened { devices: 1.. }) => Ok(Device::Cuda(0)),
            (Self::Auto, state @ (CudaState::NoLibrary { .. } | CudaState::Opened { .. })) => {
                // A driver is there, so a GPU was probably meant to be used.
                output::note(&format!("warning: running on the CPU: {state}; --device cpu silences this"));
                Ok(Device::Cpu)
            }
            (_, state) => {
                tracing::info!("device: {state}");
                Ok(Device::Cpu)
            }
        }
    }
}

impl DeviceArgs {
    /// Opens the device for one of several processes: the GPU of its number on this machine, or its share of the cores.
    ///
    /// # Errors
    /// As [`DeviceArgs::open`].
    pub fn open_at(&self, local_rank: usize, local_processes: usize) -> Result<Device> {
        let mut device = self.device.open()?;
        if let Device::Cuda(first) = device {
            // A launcher may show each process its own GPU alone, as Slurm's --gpus-per-task does.
            let state = admix_torch::open_cuda(Wanted::Cuda).context("--device cuda")?;
            let alone = matches!(state, CudaState::Opened { devices: 1 });
            let own = if alone { 0 } else { local_rank };
            device = Choice::Cuda(first + own).open()?;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or((cores / local_processes.max(1)).max(1), usize::from);
        admix_torch::set_threads(threads);
        admix_torch::set_fused(self.fused == Fused::Auto);
        Ok(device)
    }

    /// Opens the device. Must come before any other call of libtorch.
    pub fn open(&self) -> Result<Device> {
        let device = self.device.open()?;
        if let Some(threads) = self.threads {
            admix_torch::set_threads(threads.into());
        }
        admix_torch::set_fused(self.fused == Fused::Auto);
        Ok(device)
    }
}

/// Flags of every command that trains.
#[derive(Args, Debug, Clone, Copy)]
pub struct PrecisionArgs {
    /// What networks and mixers compute in; auto: bf16 on a GPU, fp32 on the CPU.
    #[arg(long, value_enum, default_value_t)]
    precision: Choose,
    /// Let a GPU round what it multiplies in fp32 to 10 bits (TF32): faster, less exact.
    #[arg(long)]
    tf32: bool,
}

/// What `--precision` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Choose {
    /// bf16 on a GPU, fp32 on the CPU.
    #[default]
    Auto,
    /// 32-bit floats throughout.
    Fp32,
    /// 16-bit brain floats in products and convolutions, on GPUs. Parameters and losses stay fp32.
    Bf16,
}

impl PrecisionArgs {
    /// Sets the process up for this precision on an open device, and tells which it is.
    ///
    /// # Errors
    /// A precision that the device is no good for.
    pub fn open(self, device: Device) -> Result<Precision> {
        let precision = self.choose(device)?;
        if device.is_cuda() {
            admix_torch::set_tf32(self.tf32).context("--tf32")?;
        }
        Ok(precision)
    }

    fn choose(self, device: Device) -> Result<Precision> {
        if self.tf32 && !device.is_cuda() {
            return Err(bad_input(
                "--tf32 is refused on the CPU: only GPUs have such units, so it would change nothing; leave the flag out",
            ));
        }
        match (self.precision, device) {
            (Choose::Auto, device) if device.is_cuda() => Ok(Precision::Bf16),
            (Choose::Auto | Choose::Fp32, _) => Ok(Precision::Fp32),
            (Choose::Bf16, Device::Cpu) => Err(bad_input(
                "--precision bf16 is refused on the CPU: without bf16 units a step takes 13 to 20 times as long as in \
                 fp32; leave the flag out",
            )),
            (Choose::Bf16, _) => Ok(Precision::Bf16),
        }
    }
}

/// Whether whole steps are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Where the device can: on GPUs, as graphs that are replayed.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What became of capturing, in words.
pub fn captures(report: &CaptureReport) -> String {
    let mut text = match report.variants {
        0 => "nothing captured".to_string(),
        1 => "1 variant of the step captured".to_string(),
        many => format!("{many} variants of the step captured"),
    };
    if report.variants > 0 {
        text.push_str(&format!(", {} steps replayed", report.replayed_steps));
    }
    if !report.reasons.is_empty() {
        text.push_str(&format!(": {}", report.reasons.join("; ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_by_name_and_number() {
        for (text, choice) in [
            ("auto", Choice::Auto),
            ("cpu", Choice::Cpu),
            ("cuda", Choice::Cuda(0)),
            ("cuda:3", Choice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert!(Choice::from_str(text).is_err(), "{text}");
        }
    }

    #[test]
    fn captures_are_told_with_the_reason_where_there_are_none() {
        let mut report = CaptureReport { reasons: vec!["a reason".into()], ..CaptureReport::default() };
        assert_eq!(captures(&report), "nothing captured: a reason");
        report = CaptureReport { variants: 2, replayed_steps: 7, ..CaptureReport::default() };
        assert_eq!(captures(&report), "2 variants of the step captured, 7 steps replayed");
    }

    #[test]
    fn what_a_cpu_is_no_good_for_is_refused_with_a_reason() {
        let choose = |precision, tf32, device| PrecisionArgs { precision, tf32 }.choose(device);
        let message = choose(Choose::Bf16, false, Device::Cpu).expect_err("refused").to_string();
        assert!(message.contains("13 to 20 times"), "{message}");
        let message = choose(Choose::Auto, true, Device::Cpu).expect_err("refused").to_string();
        assert!(message.contains("--tf32"), "{message}");
    }

    #[test]
    fn the_precision_follows_the_device_unless_it_is_named() {
        let choose =
            |precision, device| PrecisionArgs { precision, tf32: false }.choose(device).expect("good");
        assert_eq!(choose(Choose::Auto, Device::Cpu), Precision::Fp32);
        assert_eq!(choose(Choose::Fp32, Device::Cpu), Precision::Fp32);
        assert_eq!(choose(Choose::Auto, Device::Cuda(0)), Precision::Bf16);
        assert_eq!(choose(Choose::Fp32, Device::Cuda(0)), Precision::Fp32);
        assert_eq!(choose(Choose::Bf16, Device::Cuda(0)), Precision::Bf16);
    }
}
