//! Facts about the machine, read when the program runs.

use std::ffi::CStr;
use std::fs;
use std::thread;

/// CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    thread::available_parallelism().map_or(0, usize::from)
}

/// Today in UTC, as 2026-11-21.
pub(crate) fn date() -> String {
    // SAFETY: time accepts a null pointer.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    // SAFETY: tm is a plain C structure, for which all zeroes is a value.
    let mut day: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call.
    unsafe { libc::gmtime_r(&now, &mut day) };
    format!("{:04}-{:02}-{:02}", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday)
}

/// One line: processors, memory, kernel, huge page policy, build.
pub(crate) fn facts() -> String {
    let cpus = cpus();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let thp = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    format!(
        "{cpus} CPUs ({}), {} GiB, {}, huge pages {}{}",
        field(&cpuinfo, "model name").unwrap_or("unknown model"),
        memory_gib(&meminfo).map_or("?".to_owned(), |gib| gib.to_string()),
        kernel(),
        selected(&thp).unwrap_or("unknown"),
        if cfg!(debug_assertions) { ", DEBUG BUILD: the figures mean nothing" } else { "" },
    )
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name)).map(|(_, value)| value.trim())
}

fn memory_gib(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib + (1 << 19)) >> 20)
}

/// The word in brackets, as sysfs marks the setting in force.
fn selected(setting: &str) -> Option<&str> {
    setting.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

fn kernel() -> String {
    // SAFETY: utsname is a plain C structure, for which all zeroes is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is valid for the write.
    unsafe { libc::uname(&mut name) };
    let text = |field: &[libc::c_char]| {
        // SAFETY: uname ends each field with a NUL, and all zeroes are a NUL too.
        unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned()
    };
    format!("{} {}", text(&name.sysname), text(&name.release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_from_the_proc_format() {
        assert_eq!(field("processor\t: 0\nmodel name\t: Fast CPU\n", "model name"), Some("Fast CPU"));
        assert_eq!(memory_gib("MemTotal:       24596164 kB\n"), Some(23));
        assert_eq!(selected("always [madvise] never"), Some("madvise"));
        assert_eq!(selected(""), None);
    }

    #[test]
    fn a_date_has_ten_characters_of_this_century() {
        assert!(date().len() == 10 && date().starts_with("20"), "{}", date());
    }

    #[test]
    fn this_machine_has_a_kernel() {
        assert!(facts().contains("Linux "));
    }
}
