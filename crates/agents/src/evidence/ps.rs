//! Reads what `ps` prints.

use std::collections::BTreeMap;

use penpal_local_api::caller::Process;

use super::process::Found;

/// Lines of `pid ppid Sat Nov 21 00:50:12 2026 command …`.
pub(super) fn parse(text: &str) -> BTreeMap<u32, Found> {
    text.lines().filter_map(line).map(|found| (found.process.pid, found)).collect()
}

fn line(line: &str) -> Option<Found> {
    let mut words = line.split_ascii_whitespace();
    let pid = words.next()?.parse().ok()?;
    let parent = words.next()?.parse().ok()?;
    let _weekday = words.next()?;
    let month = words.next()?;
    let day: u64 = words.next()?.parse().ok()?;
    let time = words.next()?;
    let year: u64 = words.next()?.parse().ok()?;
    let started = seconds(year, month, day, time)?;
    // Arguments are joined by spaces: a path with spaces is cut, its file name is not needed further on.
    let arguments: Vec<String> = words.map(str::to_owned).collect();
    Some(Found { process: Process { pid, started }, parent, arguments })
}

/// Seconds since 1970 of a UTC date.
fn seconds(year: u64, month: &str, day: u64, time: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?;
    let mut parts = time.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March put the leap day last.
    let (shifted_year, shifted_month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1
        - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_processes_is_read() {
        let text = "    1     0 Sat Nov 21 00:45:09 2026     /sbin/launchd\n\
                    \u{20}1007   994 Sat Nov 21 00:50:12 2026     /opt/homebrew/bin/node /opt/homebrew/bin/gemini --yolo\n\
                    garbage\n 12 x Sat Nov 21 00:50:12 2026 y\n";
        let table = parse(text);
        assert_eq!(table.len(), 2);
        let gemini = &table[&1007];
        assert_eq!(gemini.parent, 994);
        assert_eq!(gemini.process.started, 1_795_222_212);
        assert_eq!(gemini.arguments, ["/opt/homebrew/bin/node", "/opt/homebrew/bin/gemini", "--yolo"]);
    }

    #[test]
    fn dates_become_seconds() {
        assert_eq!(seconds(1970, "Jan", 1, "00:00:00"), Some(0));
        assert_eq!(seconds(2000, "Feb", 29, "12:34:56"), Some(951_827_696));
        assert_eq!(seconds(2026, "Foo", 1, "00:00:00"), None);
        assert_eq!(seconds(2026, "Nov", 0, "00:00:00"), None);
    }
}
