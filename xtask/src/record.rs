//! What the fuzz targets were given so far, in the checkout where they ran.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

/// Below `target`: what ran here is not what the sources say.
fn file(workspace: &Path) -> PathBuf {
    workspace.join("target/fuzz-runs.tsv")
}

/// Adds a run: `time, target, seconds, executions, held`, with tabs in between.
pub(crate) fn add(workspace: &Path, target: &str, seconds: u64, executions: &str, held: bool) -> Result<()> {
    let path = file(workspace);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let line = format!("{now}\t{target}\t{seconds}\t{executions}\t{held}\n");
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    opened
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Prints all runs by target, as a table for `docs/reliability.md`.
pub(crate) fn print(workspace: &Path) -> Result<()> {
    let path = file(workspace);
    let text =
        fs::read_to_string(&path).with_context(|| format!("nothing ran here: no {}", path.display()))?;
    print!("{}", table(&text));
    Ok(())
}

fn table(text: &str) -> String {
    let mut totals: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, target, seconds, executions, ..] = fields.as_slice() else { continue };
        let total = totals.entry(target).or_default();
        total.0 += 1;
        total.1 += seconds.parse::<u64>().unwrap_or_default();
        total.2 += executions.parse::<u64>().unwrap_or_default();
    }
    let mut out = "| target | runs | seconds | executions |\n| --- | ---: | ---: | ---: |\n".to_owned();
    for (target, (runs, seconds, executions)) in totals {
        out.push_str(&format!("| `{target}` | {runs} | {seconds} | {executions} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_added_up_by_target() {
        let runs = "1\tlog\t5\t100\ttrue\n2\tlog\t60\t?\tfalse\n3\ttext\t5\t7\ttrue\n";
        let table = table(runs);
        assert!(table.contains("| `log` | 2 | 65 | 100 |\n"), "{table}");
        assert!(table.contains("| `text` | 1 | 5 | 7 |\n"), "{table}");
    }
}
