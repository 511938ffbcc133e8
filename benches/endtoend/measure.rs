//! What the kernel says about a process: the CPU time it has used and the memory it holds. And on which CPU it runs.
//!
//! CPU time is the steady figure. It does not tell how fast a server answers, but how much of the machine it takes, and
//! it moves little when something else runs beside it.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// How long a server may go on working after its last answer.
const REST: Duration = Duration::from_secs(5);

/// CPU time that all threads of a process have used, in nanoseconds, once it rests: the kernel brings the figure up to
/// date when a thread goes to sleep.
pub(crate) fn cpu_at_rest(process: u32) -> Result<u64> {
    let until = Instant::now() + REST;
    let mut before = cpu(process)?;
    loop {
        thread::sleep(Duration::from_millis(1));
        let now = cpu(process)?;
        if now == before {
            return Ok(now);
        }
        if Instant::now() > until {
            return Err("it goes on working although nothing is asked of it".into());
        }
        before = now;
    }
}

/// The first field of `/proc/PID/task/TID/schedstat` is the time on the CPU.
fn cpu(process: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let time = text.split(' ').next().and_then(|time| time.parse::<u64>().ok());
        sum += time.ok_or("this kernel does not say how much CPU time a process has used")?;
    }
    Ok(sum)
}

/// Bytes of memory of a process's own, without what the kernel holds for its sockets (`VmRSS`).
pub(crate) fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("its memory is not to be seen")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// A CPU for the servers and another for the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    server: usize,
    load: usize,
}

impl Cpus {
    /// Takes the first and the last that this process may use, and keeps this thread to the last. `None`: there is only
    /// one, which both must share.
    pub(crate) fn divide() -> io::Result<Option<Self>> {
        let allowed = sched_getaffinity(None)?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let (Some(server), Some(load)) = (cpus.next(), cpus.next_back()) else { return Ok(None) };
        pin(load)?;
        Ok(Some(Self { server, load }))
    }

    /// Starts a server on its CPU.
    pub(crate) fn start(self, command: &mut Command) -> io::Result<Child> {
        self.beside(|| command.spawn())?
    }

    /// Does something on the servers' CPU: a process that is started inherits where its parent runs, so that not even its
    /// first instruction strays.
    pub(crate) fn beside<T>(self, start: impl FnOnce() -> T) -> io::Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.load)?;
        Ok(started)
    }
}

fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
