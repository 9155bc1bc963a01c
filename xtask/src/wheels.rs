//! The Python wheels that libtorch comes in: pinned, downloaded by pip, unpacked in part.
//!
//! There is no other index with a download of libtorch 2.11.0 that an ordinary client reaches everywhere, and
//! pip knows the user's mirror, proxy and certificates.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Cmd;
use crate::scratch::Scratch;

/// The torch wheels differ by Python version only in the parts that we leave out. One is pinned for all.
const PYTHON_TAG: &str = "311";
/// Time between two lines of progress when the output is not a terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Verifies hashes and unpacks the files that match.
const UNPACK: &str = include_str!("unpack.py");

/// One wheel, pinned by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// Its file name, which holds name, version and platform.
    pub file: &'static str,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: &'static str,
    /// The files to unpack, as patterns of Python's `fnmatch`.
    pub files: &'static [&'static str],
}

/// What `libtorch_cpu.so` needs of CUDA's runtime library even where no GPU is.
const RUNTIME: &[&str] = &["nvidia/cu13/lib/libcudart.so*", LICENCES];
/// Likewise of the profiling library.
const CUPTI: &[&str] = &["nvidia/cu13/lib/libcupti.so*", LICENCES];
/// The notices that must travel with the libraries.
const LICENCES: &str = "*.dist-info/[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*";
/// Everything of an NVIDIA wheel that linking, running and compiling against it can need.
const NVIDIA: &[&str] =
    &["nvidia/*/lib/*.so*", "nvidia/*/include/*", "nvidia/*/[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*", LICENCES];

/// Torch for the CPU: 39 MB of headers and the two libraries that a program links.
const TORCH_CPU: Wheel = Wheel {
    file: "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    bytes: 530_604_548,
    sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
    files: &[
        "torch/lib/libc10.so",
        "torch/lib/libtorch_cpu.so",
        "torch/lib/libgomp.so.1",
        "torch/include/*",
        "torch/version.py",
        LICENCES,
    ],
};

/// The same wheel with its CUDA libraries.
const TORCH_CUDA: Wheel =
    Wheel { files: &["torch/lib/*.so*", "torch/include/*", "torch/version.py", LICENCES], ..TORCH_CPU };

/// The CUDA runtime.
const CUDART: Wheel = Wheel {
    file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    bytes: 2_243_632,
    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    files: RUNTIME,
};

/// The CUDA profiling interface.
const CUPTI_WHEEL: Wheel = Wheel {
    file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
    bytes: 10_715_597,
    sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    files: CUPTI,
};

/// The CPU part, 544 MB.
pub const CPU: &[Wheel] = &[TORCH_CPU, CUDART, CUPTI_WHEEL];

/// A wheel of NVIDIA's, of which `--cuda` takes everything useful.
const fn nvidia(file: &'static str, bytes: u64, sha256: &'static str) -> Wheel {
    Wheel { file, bytes, sha256, files: NVIDIA }
}

/// Everything for GPUs, 2.5 GB: what torch 2.11.0 requires, with the versions that pip resolves.
pub const CUDA: &[Wheel] = &[
    TORCH_CUDA,
    nvidia(CUDART.file, CUDART.bytes, CUDART.sha256),
    nvidia(CUPTI_WHEEL.file, CUPTI_WHEEL.bytes, CUPTI_WHEEL.sha256),
    nvidia(
        "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
        423_133_236,
        "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
    ),
    nvidia(
        "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        90_215_200,
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    ),
    nvidia(
        "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
        366_066_321,
        "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
    ),
    nvidia(
        "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        214_085_489,
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
    ),
    nvidia(
        "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        1_223_672,
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
    ),
    nvidia(
        "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        59_544_258,
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    ),
    nvidia(
        "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        200_941_980,
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
    ),
    nvidia(
        "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        145_942_937,
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
    ),
    nvidia(
        "nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl",
        169_884_119,
        "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
    ),
    nvidia(
        "nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl",
        196_493_177,
        "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
    ),
    nvidia(
        "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        40_713_933,
        "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
    ),
    nvidia(
        "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        60_412_546,
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
    ),
    nvidia(
        "nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        148_047,
        "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
    ),
];

/// Headers of CUDA 13.0 that neither torch nor the wheels it requires bring: to compile against CUDA, not to run, 3 MB.
pub const CUDA_HEADERS: &[Wheel] = &[
    nvidia(
        "nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        134_086,
        "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
    ),
    nvidia(
        "nvidia_cuda_cccl-13.0.85-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        3_120_526,
        "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
    ),
];

impl Wheel {
    /// Name and version as pip wants them: `nvidia-cuda-runtime==13.0.96`.
    pub fn pin(&self) -> String {
        let mut parts = self.file.split('-');
        let name = parts.next().unwrap_or_default().replace('_', "-");
        format!("{name}=={}", parts.next().unwrap_or_default())
    }

    /// The line of a requirements file that admits this very file and no other.
    pub fn requirement(&self) -> String {
        format!("{} --hash=sha256:{}\n", self.pin(), self.sha256)
    }

    /// The file in `folder`, if it is there in full.
    pub fn find(&self, folder: &Path) -> Option<PathBuf> {
        let path = folder.join(self.file);
        fs::metadata(&path).is_ok_and(|m| m.len() == self.bytes).then_some(path)
    }
}

/// What identifies an unpacked set of wheels: written last, so its presence means that all is there.
pub fn stamp(wheels: &[Wheel]) -> String {
    wheels.iter().map(|w| format!("{} {} {}\n", w.sha256, w.file, w.files.join(" "))).collect()
}

/// The command by which a user gets the wheels on another machine.
pub fn command(wheels: &[Wheel]) -> String {
    let pins: Vec<String> = wheels.iter().map(Wheel::pin).collect();
    format!(
        "python3 -m pip download --no-deps --only-binary=:all: --python-version {PYTHON_TAG} -d DIR {}",
        pins.join(" ")
    )
}

/// Downloads one wheel into `folder` with pip, by way of `scratch`, showing progress.
pub fn download(python: &str, wheel: &Wheel, folder: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let requirements = scratch.path().join("requirements.txt");
    fs::write(&requirements, wheel.requirement())?;
    let landing = scratch.path().join("landing");
    let mut pip = Cmd::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"])
        // The pip cache would keep a second copy of half a gigabyte that nobody reads again.
        .args(["--no-cache-dir", "--disable-pip-version-check", "--no-input"])
        .args(["--python-version", PYTHON_TAG])
        .arg("-r")
        .arg(&requirements)
        .arg("-d")
        .arg(&landing)
        // Pip downloads into its temporary folder; /tmp may be small.
        .env("TMPDIR", scratch.path())
        .env("PIP_REQUIRE_VIRTUALENV", "false")
        // Known to pip 25.1 and later, ignored by others.
        .env("PIP_RESUME_RETRIES", "5");
    let watched = !std::io::stdout().is_terminal();
    if watched {
        pip = pip.args(["--quiet", "--progress-bar", "off"]);
    }
    println!("downloading {} ({} MB)", wheel.pin(), megabytes(wheel.bytes));
    let mut child = pip.spawn()?;
    let status = if watched { watch(&mut child, wheel, scratch.path())? } else { child.wait()? };
    pip.expect_success(status)?;

    // Renamed only when complete, so what is in `folder` is whole.
    let from = landing.join(wheel.file);
    let to = folder.join(wheel.file);
    fs::rename(&from, &to).with_context(|| format!("pip left no {}", wheel.file))?;
    wheel.find(folder).with_context(|| format!("{} has an unexpected size", wheel.file))
}

/// Waits for `child`, printing every few seconds how much has arrived below `folder`.
fn watch(child: &mut std::process::Child, wheel: &Wheel, folder: &Path) -> Result<std::process::ExitStatus> {
    let mut last = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if last.elapsed() >= PROGRESS_EVERY {
            last = Instant::now();
            // Pip copies the finished file once more, hence the limit.
            let arrived = size_of(folder).min(wheel.bytes);
            println!("  {}: {} of {} MB", wheel.pin(), megabytes(arrived), megabytes(wheel.bytes));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Checks the hashes of `wheels` and unpacks the wanted files into `target`.
pub fn unpack(python: &str, wheels: &[(Wheel, PathBuf)], target: &Path) -> Result<()> {
    let mut cmd = Cmd::new(python).args(["-c", UNPACK]).arg(target);
    for (wheel, path) in wheels {
        cmd = cmd.arg(path).arg(wheel.sha256).arg(wheel.files.join("|"));
    }
    let status = cmd.status()?;
    if !status.success() {
        // The script has said why; its text would only hide that.
        bail!("unpacking the wheels failed");
    }
    Ok(())
}

/// Size of all files below `folder`; files that vanish meanwhile count as nothing.
fn size_of(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        sum += match entry.metadata() {
            Ok(data) if data.is_dir() => size_of(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        };
    }
    sum
}

/// Bytes as whole megabytes.
pub fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_well_formed() {
        for wheels in [CPU, CUDA, CUDA_HEADERS] {
            for (i, wheel) in wheels.iter().enumerate() {
                assert_eq!(wheel.sha256.len(), 64, "{}", wheel.file);
                assert!(
                    wheel.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                    "{}",
                    wheel.file
                );
                assert!(wheel.file.ends_with("x86_64.whl"), "{}", wheel.file);
                assert!(wheels[..i].iter().all(|w| w.pin() != wheel.pin() && w.sha256 != wheel.sha256));
                let (name, version) = wheel.pin().split_once("==").map(|(n, v)| (n.len(), v.len())).unwrap();
                assert!(name > 0 && version > 0);
            }
        }
    }

    #[test]
    fn a_requirement_names_version_and_hash() {
        let line = CUDART.requirement();
        assert_eq!(line, format!("nvidia-cuda-runtime==13.0.96 --hash=sha256:{}\n", CUDART.sha256));
        assert!(
            command(CPU)
                .ends_with("-d DIR torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85")
        );
    }

    #[test]
    fn the_cpu_part_has_the_documented_size() {
        assert_eq!(megabytes(CPU.iter().map(|w| w.bytes).sum()), 544);
    }

    #[test]
    fn stamps_tell_sets_apart() {
        assert_ne!(stamp(CPU), stamp(CUDA));
        assert_eq!(stamp(CPU).lines().count(), CPU.len());
    }

    #[test]
    fn a_wheel_of_another_size_is_not_there() {
        let folder = Scratch::new(&std::env::temp_dir(), "wheel-test").unwrap();
        let wheel = Wheel { bytes: 3, ..CUDART };
        assert_eq!(wheel.find(folder.path()), None);
        fs::write(folder.path().join(wheel.file), "ab").unwrap();
        assert_eq!(wheel.find(folder.path()), None);
        fs::write(folder.path().join(wheel.file), "abc").unwrap();
        assert!(wheel.find(folder.path()).is_some());
        assert_eq!(size_of(folder.path()), 3);
    }
}
