//! What the operating system knows of this process. Looked up only when somebody asks.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::metrics::Process;

/// Looks it up. It takes some microseconds, and with older kernels some for every hundred descriptors besides.
pub(super) fn look() -> Process {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::new(u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0));
    Process {
        cpu: Some(cpu),
        resident: resident(),
        descriptors: descriptors(),
        max_descriptors: getrlimit(Resource::Nofile).current,
    }
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(size.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Linux from 6.2 on says their number as the size of the directory that lists them; before, they must be counted.
fn descriptors() -> Option<u64> {
    const LIST: &str = "/proc/self/fd";
    match fs::metadata(LIST).ok()?.len() {
        // The listing has a descriptor of its own.
        0 => fs::read_dir(LIST).ok().map(|entries| (entries.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_what_this_process_uses() {
        let before = look();
        let held: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = look();
        let known = |process: Process| process.descriptors.unwrap();
        // Other tests of this process open and close some meanwhile.
        assert!(known(after).abs_diff(known(before) + held.len() as u64) < 15, "{before:?} {after:?}");
        assert!(after.cpu.unwrap() >= before.cpu.unwrap() && after.max_descriptors >= after.descriptors);
        assert!((1 << 20..1 << 34).contains(&after.resident.unwrap()), "{after:?}");
    }
}
