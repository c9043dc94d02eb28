//! What this machine is, in a line for people: a figure means little without it.

use std::fs::read_to_string;

/// `2 × Intel Xeon at 2.2 GHz, 8 GiB of memory, Linux 6.18`: what is known of it.
pub fn describe() -> String {
    let text = |path| read_to_string(path).unwrap_or_default();
    words(&text("/proc/cpuinfo"), &text("/proc/meminfo"), text("/proc/sys/kernel/osrelease").trim())
}

/// The cores that this process may run on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn words(cpuinfo: &str, meminfo: &str, kernel: &str) -> String {
    let field = |name: &str| {
        let named = |line: &&str| line.split(':').next().is_some_and(|key| key.trim() == name);
        let line = cpuinfo.lines().find(named)?;
        Some(line.split_once(':')?.1.trim())
    };
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let processor = field("model name").unwrap_or("processor of unknown make");
    let kib: Option<u64> = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    let mut parts = vec![format!("{} × {processor}", cores.max(1))];
    if let Some(kib) = kib {
        parts.push(format!("{:.1} GiB of memory", kib as f64 / f64::from(1 << 20)));
    }
    if !kernel.is_empty() {
        parts.push(format!("Linux {kernel}"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.20GHz\n\n\
                       processor\t: 1\nmodel name\t: Some CPU @ 2.20GHz\n";
        let meminfo = "MemTotal:        4028440 kB\nMemFree: 1 kB\n";
        assert_eq!(
            words(cpuinfo, meminfo, "6.18.44"),
            "2 × Some CPU @ 2.20GHz, 3.8 GiB of memory, Linux 6.18.44"
        );
        assert_eq!(words("", "", ""), "1 × processor of unknown make");
    }

    #[test]
    fn this_machine_is_described() {
        let said = describe();
        assert!(said.contains("GiB") && said.contains("Linux"), "{said}");
    }
}
