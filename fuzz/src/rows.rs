//! Stored rows of every machine as a damaged store may hand them back: a machine says no, or it starts and goes on.

use std::{sync::Arc, time::Duration};

use penpal_contact::Contacts;
use penpal_delivery::{Delivery, Mailbox, Selection};
use penpal_protocol::{ids::TransportPublicKey, time::Now};
use penpal_relay_core::{
    AddressPrefix, Change, Committed, Config, ConnId, GraphKey, MemRows, Queue, RelayCore, Table,
};
use penpal_seal::IdentityKeys;
use penpal_sessions::Sessions;

use crate::{
    people::{NOW_MS, rng},
    stored::Stored,
};

/// Longest run of timers that is waited for.
const MAX_TIMERS: usize = 32;

/// The first byte chooses the machine; then rows: `table u8, key length u8, key, value length u16, value`, again and again.
pub fn check(data: &[u8]) {
    let Some((machine, rest)) = data.split_first() else { return };
    let rows = rows(rest);
    match machine % 4 {
        0 => contact(&rows),
        1 => delivery(rows),
        2 => sessions(&rows),
        _ => relay(rows),
    }
}

type Rows = Vec<(u8, Vec<u8>, Vec<u8>)>;

fn rows(mut data: &[u8]) -> Rows {
    let mut rows = Vec::new();
    while let Some(([table, length], rest)) = data.split_first_chunk::<2>() {
        let (key, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let Some(([high, low], rest)) = rest.split_first_chunk::<2>() else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (value, rest) = rest.split_at(length);
        rows.push((*table, key.to_vec(), value.to_vec()));
        data = rest;
    }
    rows
}

const NOW: Now = Now { mono: Duration::from_secs(100), wall_ms: NOW_MS };

/// Time passes from timer to timer.
fn timers(poll: &mut dyn FnMut(Now) -> Option<Duration>) {
    let mut now = NOW;
    for _ in 0..MAX_TIMERS {
        let Some(at) = poll(now) else { return };
        now = now.plus(at.saturating_sub(now.mono).min(Duration::from_secs(86_400)));
    }
}

fn contact(rows: &Rows) {
    let keys = Arc::new(IdentityKeys::generate(&mut rng(9)));
    let mut restoring = Contacts::restoring(keys);
    for (table, key, value) in rows {
        let table = penpal_contact::Table::ALL[usize::from(*table) % penpal_contact::Table::ALL.len()];
        drop(restoring.row(table, key, value));
    }
    let mut rng = rng(1);
    let mut machine = restoring.finish(&mut penpal_contact::Step { now: NOW, rng: &mut rng });
    timers(&mut |now| {
        machine.handle_timeout(&mut penpal_contact::Step { now, rng: &mut rng });
        while machine.poll_command().is_some() {}
        machine.poll_timeout()
    });
    for view in machine.list() {
        assert_eq!(machine.resolve(&view.name), Ok(view.contact), "a name in the list is unknown");
    }
    assert!(machine.openers().count() <= 4 * rows.len());
    drop((machine.invites(), machine.account().map(|me| me.published)));
}

fn delivery(rows: Rows) {
    let tables = penpal_delivery::Table::ALL;
    let at = |table: u8| tables[usize::from(table) % tables.len()];
    let mut stored = Stored(rows.into_iter().map(|(table, key, value)| ((at(table), key), value)).collect());
    let mut rng = rng(1);
    let opened = {
        let mut step = penpal_delivery::Step { now: NOW, records: &stored, rng: &mut rng };
        Delivery::open(&mut step)
    };
    let Ok(mut machine) = opened else { return };
    timers(&mut |now| {
        let mut step = penpal_delivery::Step { now, records: &stored, rng: &mut rng };
        machine.handle_timeout(&mut step);
        machine.flush(&mut step);
        while machine.poll_command().is_some() {}
        while machine.poll_event().is_some() {}
        // A row that cannot be read ends the step: the node says which, and stops.
        let changes = machine.take_changes().ok()?;
        stored.commit(changes);
        machine.poll_timeout()
    });
    for mailbox in machine.mailboxes().collect::<Vec<_>>().into_iter().chain([Mailbox::Desk]) {
        drop(machine.list(Selection::All(mailbox), None, 100, &stored));
        drop(machine.list(Selection::Unread(mailbox), None, 100, &stored));
    }
    drop((machine.outbox(&stored), machine.dead(&stored)));
}

fn sessions(rows: &Rows) {
    use penpal_sessions::Table as T;
    const TABLES: [T; 4] = [T::Session, T::Alias, T::Peer, T::Meta];
    let mut machine = Sessions::new();
    for (table, key, value) in rows {
        drop(machine.restore(TABLES[usize::from(*table) % TABLES.len()], key, value));
    }
    machine.handle_started(NOW);
    timers(&mut |now| {
        machine.handle_timeout(now);
        while machine.poll_command().is_some() {}
        machine.poll_timeout()
    });
    let local = machine.local();
    let mut names: Vec<_> = local.iter().map(|row| &row.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), local.len(), "two sessions have one name");
}

/// Tables of the relay in the order in which inputs name them.
pub(crate) const RELAY_TABLES: [Table; 15] = [
    Table::Meta,
    Table::Account,
    Table::Handle,
    Table::Device,
    Table::Slot,
    Table::Manifest,
    Table::Bundle,
    Table::Edge,
    Table::OwnedEdge,
    Table::LinkedEdge,
    Table::Invite,
    Table::OwnedInvite,
    Table::InviteEnd,
    Table::Token,
    Table::MarkBucket,
];

fn relay(rows: Rows) {
    let mut stored = MemRows::new();
    let mut next = 0;
    let changes = rows.into_iter().map(|(table, key, value)| {
        match RELAY_TABLES.get(usize::from(table) % (RELAY_TABLES.len() + 1)) {
            Some(table) => Change::Put { table: *table, key, value: value.into() },
            None => {
                next += 1;
                let mut queue = [0; 16];
                queue.iter_mut().zip(key).for_each(|(to, from)| *to = from);
                Change::Append { queue: Queue(queue), seq: next, minute: 0, bytes: value.into() }
            }
        }
    });
    stored.commit(changes.collect());
    let mut rng = rng(1);
    let graph = GraphKey::from_bytes([0x5a; 32]);
    let core = RelayCore::new(Config::default(), graph, false, &stored, NOW, &mut rng);
    let Ok(mut core) = core else { return };
    let prefix = AddressPrefix::of([192, 0, 2, 7].into());
    let key = TransportPublicKey::from_bytes([0x4b; 32]);
    drop(core.handle_connected(ConnId(1), key, prefix, &stored, NOW));
    timers(&mut |now| {
        core.handle_timeout(&stored, now).ok()?;
        let changes = core.take_changes(now);
        stored.commit(changes);
        core.handle_committed(Committed::Done, &stored, now).ok()?;
        while core.poll_command().is_some() {}
        core.poll_timeout()
    });
}
