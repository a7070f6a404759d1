//! What the system says about processes and folders: whose they are, time on the cores, memory, bytes on the disk. Reads `/proc` (proc(5)),
//! `/etc/passwd` and folders, changes nothing; where the system does not say, it is 0.

use std::collections::BTreeMap;
use std::path::Path;

/// Length of a tick of `/proc/*/stat`, in milliseconds: `sysconf(_SC_CLK_TCK)` is 100 on Linux.
const TICK_MS: u64 = 10;

/// User and system time of a process so far, in milliseconds.
pub fn cpu_ms(process: u32) -> u64 {
    std::fs::read_to_string(format!("/proc/{process}/stat")).map_or(0, |stat| of_stat(&stat).1)
}

/// The same of its living threads, by their names.
pub fn threads_cpu_ms(process: u32) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { continue };
        let (name, ms) = of_stat(&stat);
        *out.entry(name.to_owned()).or_default() += ms;
    }
    out
}

/// Name and time of a line of `stat`.
fn of_stat(stat: &str) -> (&str, u64) {
    // the name before the last bracket may hold anything
    let Some((name, rest)) = stat.rsplit_once(')') else { return ("", 0) };
    let name = name.split_once('(').map_or("", |(_, name)| name);
    // utime and stime, fields 14 and 15
    let fields = rest.split_whitespace().skip(11).take(2);
    (name, fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_MS)
}

/// Memory of a process, in kilobytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now, pages of files among it.
    pub resident_kb: u64,
    /// Of that what no file stands behind.
    pub anonymous_kb: u64,
    /// The most that was resident.
    pub peak_kb: u64,
}

/// Memory of a process.
pub fn memory(process: u32) -> Memory {
    std::fs::read_to_string(format!("/proc/{process}/status")).map_or(Memory::default(), |status| of_status(&status))
}

fn of_status(status: &str) -> Memory {
    let kb = |name: &str| field(status, name).unwrap_or(0);
    Memory { resident_kb: kb("VmRSS:"), anonymous_kb: kb("RssAnon:"), peak_kb: kb("VmHWM:") }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Bytes that a process made the disk write so far.
pub fn written_bytes(process: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    field(&io, "write_bytes:").unwrap_or(0)
}

/// A process and all its descendants.
pub fn family(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        parents.push((id, field(&status, "PPid:").unwrap_or(0)));
    }
    let (mut family, mut next) = (vec![root], 0);
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == u64::from(parent)).map(|(id, _)| *id));
        next += 1;
    }
    family
}

/// The user whose process this is, as the system knows it and not as the environment says; for root the one who became it by sudo, too.
pub fn user(sudo_user: Option<&str>) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_of(&status, &passwd, sudo_user)
}

fn user_of(status: &str, passwd: &str, sudo_user: Option<&str>) -> String {
    // the first of the four is the real one
    let Some(uid) = field(status, "Uid:") else { return "unknown".to_owned() };
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    let name = passwd.lines().find_map(named).unwrap_or_else(|| format!("uid {uid}"));
    let name = match sudo_user.filter(|by| uid == 0 && !by.is_empty()) {
        Some(by) => format!("{by} ({name})"),
        None => name,
    };
    // it travels in a header
    name.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// Resident memory of a process and all its descendants, in kilobytes.
pub fn resident_kb(root: u32) -> u64 {
    family(root).into_iter().map(|process| memory(process).resident_kb).sum()
}

/// Bytes that a folder's files hold on the disk, those below it too. A file that goes meanwhile is not there.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        // st_blocks counts 512 bytes each, whatever the file system's own are
        bytes += if metadata.is_dir() { disk_bytes(&entry.path()) } else { metadata.blocks() * 512 };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read_whatever_the_name_is() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 9 0 5 1 2 3";
        assert_eq!(of_stat(stat), ("a) (b c", 420));
        assert_eq!(of_stat("nothing"), ("", 0));
        let status = "Name:\tx\nPPid:\t1\nVmHWM:\t  900 kB\nVmRSS:\t  800 kB\nRssAnon:\t  700 kB\n";
        assert_eq!(of_status(status), Memory { resident_kb: 800, anonymous_kb: 700, peak_kb: 900 });
        assert_eq!(of_status(""), Memory::default());
    }

    #[test]
    fn the_user_is_the_systems_word_and_not_the_environments() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody\nada:x:1000:1000:,,,:/home/ada:/bin/sh\n";
        let status = |uid: u32| format!("Name:\tx\nUid:\t{uid}\t0\t0\t0\nGid:\t0\t0\t0\t0\n");
        assert_eq!(user_of(&status(1000), passwd, Some("root")), "ada");
        assert_eq!(user_of(&status(0), passwd, None), "root");
        assert_eq!(user_of(&status(0), passwd, Some("b\u{f6}b")), "b?b (root)");
        assert_eq!(user_of(&status(7), passwd, None), "uid 7", "in a container, from a directory");
        assert_eq!(user_of("", passwd, None), "unknown");
        assert_ne!(user(None), "unknown");
    }

    #[test]
    fn this_process_has_time_memory_threads_and_a_family() {
        let own = std::process::id();
        let mut sum = 0u64;
        while cpu_ms(own) == 0 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(memory(own).peak_kb >= memory(own).anonymous_kb && resident_kb(own) > 0);
        assert!(!threads_cpu_ms(own).is_empty());
        assert!(family(own).contains(&own));
        assert_eq!(memory(u32::MAX), Memory::default());
    }

    #[test]
    fn a_folder_holds_what_its_files_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("below")).expect("a folder");
        let file = folder.path().join("below/file");
        std::fs::write(&file, vec![7; 100_000]).expect("written");
        std::fs::File::open(&file).and_then(|file| file.sync_all()).expect("synced");
        let found = disk_bytes(folder.path());
        assert!((100_000..200_000).contains(&found), "found {found}");
        assert!(written_bytes(std::process::id()) >= 100_000);
    }
}
