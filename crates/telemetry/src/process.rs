//! What the kernel says of this process, by the names that Prometheus' own clients use.

use crate::exposition::Figures;

/// Adds CPU time, resident memory and open file descriptors. What cannot be read is left out.
pub fn figures(figures: &mut Figures) {
    if let Some(seconds) = cpu_seconds() {
        figures.counter("process_cpu_seconds", "User and system time, all threads.").plain(seconds);
    }
    if let Some(bytes) = resident_bytes() {
        figures.gauge("process_resident_memory_bytes", "Resident memory.").plain(bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        figures.gauge("process_open_fds", "Open file descriptors.").plain(open.count() as u64);
    }
}

/// User and system time of all threads, in seconds (proc_pid_stat(5), fields 14 and 15).
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold spaces.
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // USER_HZ is 100 on every Linux that this runs on.
    Some(ticks as f64 / 100.0)
}

/// Resident memory in bytes.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_is_read_right() {
        assert!(super::resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(super::cpu_seconds().is_some_and(|seconds| seconds < 1e6));
    }
}
