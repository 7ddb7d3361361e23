//! Sending spools: new rows straight from memory, backlog page by page from storage.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use penpal_protocol::ids::SlotId;

use crate::command::{Command, ConnId, Push};
use crate::core::RelayCore;
use crate::rows::{Rows, RowsError};
use crate::spool;

/// Rows read from storage for one connection at a time.
const PAGE_ROWS: usize = 64;
/// Bytes read from storage for one connection at a time.
const PAGE_BYTES: usize = 256 * 1024;
/// Pages read in one step; the rest goes on in the next, so that nobody waits long for a large backlog of others.
const PAGES_PER_STEP: usize = 8;

impl RelayCore {
    /// Room in a connection's window: rows and bytes.
    fn room(&mut self, conn: ConnId) -> Option<(usize, usize)> {
        let limits = &self.config.limits;
        let wide = self.conns.in_flight_bytes < limits.total_window_bytes;
        let window = if wide { limits.window_bytes } else { limits.narrow_window_bytes };
        let rows = limits.window_rows;
        let receiving = self.conns.receiving_mut(conn)?;
        let rows = rows.saturating_sub(receiving.in_flight.len());
        let bytes = window.saturating_sub(receiving.in_flight_bytes);
        Some((rows, bytes)).filter(|(rows, bytes)| *rows > 0 && *bytes > 0)
    }

    /// A row is stored: sends it if its device has everything before it and room for more.
    pub(crate) fn spooled(&mut self, slot: &SlotId, seq: u64, row: Bytes) {
        let Some(conn) = self.conns.receiver(slot) else { return };
        let room = self.room(conn).is_some();
        let Some(receiving) = self.conns.receiving_mut(conn) else { return };
        if !receiving.caught_up || receiving.cursor >= seq {
            return;
        }
        if room {
            let epoch = receiving.epoch;
            self.conns.sent(conn, seq, row.len());
            self.commands.push_back(Command::Push { conn, push: Push::Row { epoch, seq, row } });
        } else {
            receiving.caught_up = false;
        }
    }

    /// Rows are acknowledged: there may be room for backlog.
    pub(crate) fn acknowledged(&mut self, slot: &SlotId, up_to: u64, gaps: &[u64]) {
        let Some(conn) = self.conns.receiver(slot) else { return };
        self.conns.acknowledged(conn, up_to, gaps);
        let half = self.config.limits.window_bytes / 2;
        let half_rows = self.config.limits.window_rows / 2;
        // Not for every row: pages are cheaper than single ones.
        if self
            .conns
            .receiving_mut(conn)
            .is_some_and(|state| state.in_flight_bytes <= half && state.in_flight.len() <= half_rows)
        {
            self.wants_backlog(conn);
        }
    }

    /// Queues a connection for backlog.
    pub(crate) fn wants_backlog(&mut self, conn: ConnId) {
        if self.conns.receiving_mut(conn).is_some_and(|receiving| !receiving.caught_up) {
            self.backlog.push(conn);
        }
    }

    /// Sends some backlog, one page for each connection in turn.
    pub(crate) fn send_backlog(&mut self, rows: &dyn Rows) -> Result<(), RowsError> {
        let mut pages = 0;
        // A turn of a connection that has everything or no room is no page.
        while pages < PAGES_PER_STEP
            && let Some(conn) = self.backlog.pop()
        {
            let room = self.room(conn);
            let Some(receiving) = self.conns.receiving_mut(conn).filter(|receiving| !receiving.caught_up)
            else {
                continue;
            };
            let Some((room_rows, room_bytes)) = room else { continue };
            pages += 1;
            let (epoch, max_rows, max_bytes) =
                (receiving.epoch, room_rows.min(PAGE_ROWS), room_bytes.min(PAGE_BYTES));
            let page = rows.read(spool::queue(&receiving.slot), receiving.cursor, max_rows, max_bytes)?;
            if page.is_empty() {
                receiving.caught_up = true;
                continue;
            }
            for row in page {
                self.conns.sent(conn, row.seq, row.bytes.len());
                let push = Push::Row { epoch, seq: row.seq, row: row.bytes };
                self.commands.push_back(Command::Push { conn, push });
            }
            self.wants_backlog(conn);
        }
        Ok(())
    }
}

/// Connections with backlog and room in their window, in turn: each once however often it asks, and none that receives no
/// more, so there are never more than connections.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    turns: BTreeMap<u64, ConnId>,
    queued: HashMap<ConnId, u64>,
    last_turn: u64,
}

impl Backlog {
    fn push(&mut self, conn: ConnId) {
        if let Entry::Vacant(entry) = self.queued.entry(conn) {
            self.last_turn += 1;
            entry.insert(self.last_turn);
            self.turns.insert(self.last_turn, conn);
        }
    }

    fn pop(&mut self) -> Option<ConnId> {
        let (_, conn) = self.turns.pop_first()?;
        self.queued.remove(&conn);
        Some(conn)
    }

    /// The connection receives no more.
    pub(crate) fn remove(&mut self, conn: ConnId) {
        if let Some(turn) = self.queued.remove(&conn) {
            self.turns.remove(&turn);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.turns.len()
    }
}
