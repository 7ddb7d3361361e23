//! Stored records: any order, garbage, contradictions.

mod support;

use penpal_protocol::ids::SessionId;
use penpal_sessions::{RestoreError, Sessions, Table};
use proptest::prelude::*;
use support::{Shell, claude, codex, gemini};

const TABLES: [Table; 4] = [Table::Session, Table::Alias, Table::Peer, Table::Meta];

#[test]
fn garbage_is_a_typed_error_and_spoils_nothing() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let (key, value) = shell
        .records
        .iter()
        .find(|((table, _), _)| *table == Table::Session)
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .expect("stored");
    let mut machine = Sessions::new();
    assert!(matches!(
        machine.restore(Table::Session, b"short", &value),
        Err(RestoreError::Key { table: Table::Session, got: 5 })
    ));
    assert!(matches!(
        machine.restore(Table::Session, &[9; 16], b"\xff\xff"),
        Err(RestoreError::Record { .. })
    ));
    assert!(matches!(
        machine.restore(Table::Session, &[9; 16], &value[..value.len() - 1]),
        Err(RestoreError::Record { .. })
    ));
    // The format is the first entry of the map: `{0: 1, …`.
    let mut later = value.clone();
    assert_eq!(&later[1..3], [0, 1]);
    later[2] = 9;
    assert!(matches!(
        machine.restore(Table::Session, &[9; 16], &later),
        Err(RestoreError::Format { got: 9, known: 1, .. })
    ));
    machine.restore(Table::Session, &key, &value).expect("a good record after bad ones");
    machine.handle_started(shell.now);
    assert_eq!(machine.session(one.session).map(|row| row.name), Some(one.name));
}

#[test]
fn records_that_contradict_each_other_are_put_right() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let record = shell
        .records
        .iter()
        .find(|((table, _), _)| *table == Table::Session)
        .map(|(_, value)| value.clone())
        .expect("stored");
    // The same record under a second id: one name, one process, one conversation, twice.
    let twin = SessionId::from_bytes([0xff; 16]);
    shell.records.insert((Table::Session, twin.as_bytes().to_vec()), record);
    // An alias to nothing.
    let mut other = Shell::seeded(3);
    let known = other.register(gemini(1, "proj"));
    let known = other.bind(support::binding(&known, "g1"));
    other.gone(1);
    let provisional = other.register(gemini(2, "proj"));
    other.bind(support::binding(&provisional, "g2"));
    let alias = other.records.iter().find(|((table, _), _)| *table == Table::Alias).expect("stored");
    shell.records.insert(alias.0.clone(), alias.1.clone());
    assert_ne!(known.session, one.session);

    shell.restart();
    let rows = shell.machine.local();
    assert_eq!(rows.len(), 2);
    assert_ne!(rows[0].name, rows[1].name);
    assert_eq!(rows.iter().filter(|row| row.conversation.is_some()).count(), 1);
    assert_eq!(rows.iter().filter(|row| !row.processes.is_empty()).count(), 1);
    assert!(!shell.records.keys().any(|(table, _)| *table == Table::Alias));
    let names = shell.names();
    shell.restart();
    assert_eq!(shell.names(), names, "it is put right once");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(table in 0_usize..4, key in proptest::collection::vec(any::<u8>(), 0..40), value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut machine = Sessions::new();
        drop(machine.restore(TABLES[table], &key, &value));
        machine.handle_started(Shell::new().now);
    }

    #[test]
    fn flipped_bits_are_read_or_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut shell = Shell::new();
        shell.register(claude(1, "c1", "proj"));
        shell.register(codex("t1", "proj"));
        let mut machine = Sessions::new();
        for ((table, key), value) in &shell.records {
            let mut value = value.clone();
            let index = at.index(value.len());
            value[index] ^= 1 << bit;
            drop(machine.restore(*table, key, &value));
        }
        machine.handle_started(shell.now);
        let names: Vec<_> = machine.local().into_iter().map(|row| row.name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        prop_assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn the_order_of_records_does_not_matter(order in Just((0_usize..5).collect::<Vec<_>>()).prop_shuffle()) {
        let mut shell = Shell::new();
        shell.register(claude(1, "c1", "proj"));
        shell.register(claude(2, "c2", "proj"));
        shell.register(codex("t1", "other"));
        let first = shell.register(gemini(3, "proj"));
        shell.bind(support::binding(&first, "g1"));
        shell.gone(3);
        let second = shell.register(gemini(4, "proj"));
        shell.bind(support::binding(&second, "g2"));
        let rows = shell.machine.local();
        let records: Vec<_> = shell.records.iter().collect();
        prop_assert_eq!(records.len(), order.len());
        let mut machine = Sessions::new();
        for index in order {
            let ((table, key), value) = records[index];
            machine.restore(*table, key, value).expect("own records");
        }
        machine.handle_started(shell.now);
        let names = |rows: Vec<penpal_sessions::LocalView>| rows.into_iter().map(|row| (row.session, row.name)).collect::<Vec<_>>();
        prop_assert_eq!(names(machine.local()), names(rows));
        prop_assert_eq!(machine.session(second.session).map(|row| row.session), Some(first.session));
    }
}
