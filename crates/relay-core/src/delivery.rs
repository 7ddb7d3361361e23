//! Sending spools: new rows straight from memory, backlog page by page from storage.

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
        if let Some(receiving) = self.conns.receiving_mut(conn)
            && !receiving.caught_up
            && !receiving.queued
        {
            receiving.queued = true;
            self.backlog.push_back(conn);
        }
    }

    /// Sends some backlog, one page for each connection in turn.
    pub(crate) fn send_backlog(&mut self, rows: &dyn Rows) -> Result<(), RowsError> {
        for _ in 0..PAGES_PER_STEP {
            let Some(conn) = self.backlog.pop_front() else { return Ok(()) };
            let room = self.room(conn);
            let Some(receiving) = self.conns.receiving_mut(conn) else { continue };
            receiving.queued = false;
            let Some((room_rows, room_bytes)) = room else { continue };
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
