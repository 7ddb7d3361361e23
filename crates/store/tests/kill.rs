//! A real process, killed at any moment: everything it reported is there, and nothing half.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use penpal_store::conformance::{Histories, TABLES, assert_same};
use penpal_store::{Batch, LogStore, MemStore, Options, Outcome, QueueId, Store};

const CHILD: &str = "PENPAL_STORE_TEST_CHILD";
const COUNT: &[u8] = b"count";

fn open(dir: &Path) -> LogStore {
    let options = Options { segment_bytes: 128 * 1024, index_cache_bytes: 1024 * 1024, ..Options::default() };
    LogStore::open(dir, options).expect("open")
}

/// Everything follows from the number: rows that stay, rows that are replaced and deleted, queues that
/// fill and are acknowledged.
fn batch(n: u64) -> Batch {
    let mut dice = Histories::new(n);
    let queue = QueueId([u8::try_from(n % 5).unwrap_or(0); 16]);
    let mut batch = Batch::new().put(TABLES[1], COUNT, n.to_be_bytes().to_vec());
    for _ in 0..8 {
        batch = batch.put(TABLES[0], dice.below(100_000).to_be_bytes(), vec![1; 30]);
    }
    batch = batch.delete(TABLES[0], dice.below(100_000).to_be_bytes());
    let bytes = usize::try_from(dice.below(4000)).unwrap_or(0);
    batch = batch.append(queue, n, 0, vec![2; bytes]);
    match dice.below(6) {
        0 => batch.ack(queue, n.saturating_sub(dice.below(60))),
        1 => batch.remove(queue, [n.saturating_sub(5), n]),
        2 if n.is_multiple_of(50) => batch.drop_queue(queue),
        _ => batch,
    }
}

fn count(store: &dyn Store) -> u64 {
    let value = store.get(TABLES[1], COUNT).expect("get");
    value.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().expect("eight bytes")))
}

/// Not a test of its own: what the killed process does.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut store = open(Path::new(&dir));
    let mut out = std::io::stdout().lock();
    for n in count(&store) + 1.. {
        assert_eq!(store.commit(vec![batch(n)]).expect("commit"), [Outcome::Done]);
        writeln!(out, "committed {n}").expect("parent");
        out.flush().expect("parent");
        if n.is_multiple_of(10) {
            store.compact(100_000).expect("compact");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_it_reported() {
    let rounds = std::env::var("PENPAL_STORE_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(6);
    let seed = u64::from(std::process::id());
    let mut dice = Histories::new(seed);
    let dir = tempfile::tempdir().expect("folder");
    let (mut model, mut modelled, mut rebuilt) = (MemStore::new(), 0, 0);
    for round in 0..rounds {
        let label = format!("seed {seed} round {round}");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["child", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let reported = |line: &str| line.rsplit_once("committed ").and_then(|(_, n)| n.parse::<u64>().ok());
        let mut last = modelled;
        for _ in 0..dice.below(250) {
            let line = lines.next().expect("the child goes on").expect("text");
            last = reported(&line).unwrap_or(last);
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        last = lines.map_while(Result::ok).filter_map(|line| reported(&line)).last().unwrap_or(last);

        let store = open(dir.path());
        let found = count(&store);
        assert!(found == last || found == last + 1, "{label}: reported {last}, found {found}");
        for n in modelled + 1..=found {
            assert_eq!(model.commit(vec![batch(n)]).expect("model"), [Outcome::Done]);
        }
        modelled = found;
        assert_same(&store, &model, &label);
        assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, [], "{label}");
        rebuilt += u32::from(store.opening().rebuilt.is_some());
    }
    assert_eq!(rebuilt, 0, "seed {seed}: an index that was not trusted");
}
