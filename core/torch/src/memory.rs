//! Memory of this process as the operating system counts it.

use std::fs;

use crate::{Error, Result};

/// Bytes of this process in memory now. Errors: no Linux `/proc`.
pub fn rss_bytes() -> Result<u64> {
    status("VmRSS")
}

/// The most bytes of this process in memory at once. Errors: no Linux `/proc`.
pub fn peak_rss_bytes() -> Result<u64> {
    status("VmHWM")
}

/// Bytes of memory of this machine. Errors: no Linux `/proc`.
pub fn total_memory_bytes() -> Result<u64> {
    read("/proc/meminfo", "MemTotal")
}

/// Bytes of memory that a process may take without swapping. Errors: no Linux `/proc`.
pub fn available_memory_bytes() -> Result<u64> {
    read("/proc/meminfo", "MemAvailable")
}

fn status(field: &'static str) -> Result<u64> {
    read("/proc/self/status", field)
}

fn read(file: &str, field: &'static str) -> Result<u64> {
    let fail = |reason: &str| Error::ProcStatus { field, reason: reason.to_owned() };
    let text = fs::read_to_string(file).map_err(|error| fail(&error.to_string()))?;
    in_bytes(&text, field).ok_or_else(|| fail("no such line in kB"))
}

/// The value of a line such as `VmRSS:      1234 kB`.
fn in_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let text = "VmRSSx:\t1 kB\nVmHWM:\t   20 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(in_bytes(text, "VmRSS"), Some(12 * 1024));
        assert_eq!(in_bytes(text, "VmPeak"), None);
    }

    #[test]
    fn this_process_uses_memory_and_never_more_than_its_peak() -> Result<()> {
        let now = rss_bytes()?;
        assert!(now > 1 << 20 && now <= peak_rss_bytes()?);
        Ok(())
    }
}
