//! Processes on Linux, from `/proc`.

use std::fs;
use std::io::Read;

use penpal_local_api::caller::Process;

use super::{Found, ProcessTable};

/// Bits of a start time that count ticks since boot: 43 years at 100 Hz.
const TICK_BITS: u32 = 37;

/// Longest command line that is read, in bytes: program and script come first.
const MAX_COMMAND_LINE_BYTES: u64 = 16 * 1024;

/// The processes of this system.
///
/// A start time holds ticks since boot and 16 bits of the boot's id above them, so that a process is not confused with
/// one of an earlier boot; it fits the 53 bits of a JSON number.
#[derive(Debug)]
pub struct SystemProcesses {
    /// First 16 bits of the boot's id: read once, however many processes are looked at.
    boot: u16,
}

impl SystemProcesses {
    /// Reads a process when it is asked for.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default would look as if there were others to choose")]
    pub fn new() -> Self {
        Self { boot: boot_mark() }
    }
}

impl ProcessTable for SystemProcesses {
    fn look(&self, pid: u32) -> Option<Found> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, parent, ticks) = parse_stat(&stat)?;
        let mut arguments = command_line(pid);
        if arguments.is_empty() {
            arguments.push(name);
        }
        let ticks = ticks & ((1 << TICK_BITS) - 1);
        let started = (u64::from(self.boot) << TICK_BITS) | ticks;
        Some(Found { process: Process { pid, started }, parent, arguments })
    }
}

/// Path of the program that a process runs; nothing when it was replaced meanwhile.
#[must_use]
pub fn executable(pid: u32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok().filter(|path| path.is_file())
}

fn command_line(pid: u32) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(MAX_COMMAND_LINE_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut arguments: Vec<String> = text.split('\0').map(str::to_owned).collect();
    while arguments.last().is_some_and(String::is_empty) {
        arguments.pop();
    }
    // A process that renames itself leaves one text with spaces: its first word is the name.
    if let [only] = arguments.as_slice()
        && !only.starts_with('/')
        && let Some((first, _)) = only.split_once(' ')
    {
        arguments = vec![first.to_owned()];
    }
    arguments
}

/// Name, parent and start time of `/proc/PID/stat`. The name may hold spaces and parentheses; the last one ends it. Nothing of a process that
/// ended and that its parent did not ask after yet.
fn parse_stat(stat: &str) -> Option<(String, u32, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_ascii_whitespace();
    // Fields are numbered from 1 in proc(5): after the name comes the state, 3; the parent is 4, the start time 22.
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let ticks = fields.nth(17)?.parse().ok()?;
    Some((name.to_owned(), parent, ticks))
}

fn boot_mark() -> u16 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.get(..4).and_then(|head| u16::from_str_radix(head, 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(parse_stat(stat), Some(("a) b (c".to_owned(), 7, 12_345)));
        assert_eq!(parse_stat("42 (a) S"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_process_that_ended_is_gone_though_its_parent_did_not_ask_after_it() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(SystemProcesses::new().look(child.id()).is_some());
        child.kill().unwrap();
        // Ended it tells nothing any more.
        let stat = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        while !stat().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(SystemProcesses::new().look(child.id()).is_none());
        child.wait().unwrap();
    }

    #[test]
    fn this_process_and_its_parent_are_found() {
        let me = SystemProcesses::new().look(std::process::id()).expect("this process is there");
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert!(me.arguments.first().is_some_and(|program| program.contains("penpal_agents")));
        assert_eq!(
            SystemProcesses::new().look(std::process::id()).map(|again| again.process),
            Some(me.process)
        );
        assert!(me.process.started < 1 << 53);
        assert!(super::super::is_alive(me.process));
        let other = Process { started: me.process.started + 1, ..me.process };
        assert!(!super::super::is_alive(other));
    }
}
