//! What ends by itself: spool rows, invites, blobs, tokens, deposit marks. In slices, so that nothing waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use penpal_protocol::limits::SPOOL_ROW_LIFE_MS;
use penpal_protocol::time::Now;

use crate::core::RelayCore;
use crate::error::Fault;
use crate::minute;
use crate::rows::{Change, Queue, Rows, Table, keys};

/// Pause between two looks when nothing more is due.
const PAUSE: Duration = Duration::from_secs(600);
/// Pause between two slices when more is due.
const SLICE_PAUSE: Duration = Duration::from_millis(200);
/// Rows removed in one slice.
const SLICE_ROWS: usize = 1_024;
/// Invites removed in one slice: each may take an account with it.
const SLICE_INVITES: usize = 64;
/// Bytes of changes after which a slice removes no further invite: one commit takes only so much.
const SLICE_BYTES: usize = 1024 * 1024;

/// A wall clock that is this much ahead of what the monotonic clock makes plausible is not believed at once.
const JUMP_MS: u64 = 3_600_000;
/// How long nothing expires after such a jump: long enough for time synchronisation or a person to put it right.
const DISTRUST: Duration = Duration::from_secs(3_600);

/// When to look, and whether to believe the clock.
#[derive(Debug)]
pub(crate) struct Expiry {
    next: Duration,
    seen: Now,
    distrust_until: Duration,
    /// When what is unused in memory is forgotten next.
    age_at: Duration,
}

impl Expiry {
    pub(crate) fn new(now: Now) -> Self {
        let next = now.mono.saturating_add(PAUSE);
        Self { next, seen: now, distrust_until: Duration::ZERO, age_at: next }
    }

    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// Whether the wall clock may be used to remove things.
    fn believes(&mut self, now: Now) -> bool {
        let expected = self.seen.plus(now.mono.saturating_sub(self.seen.mono)).wall_ms;
        if now.wall_ms > expected.saturating_add(JUMP_MS) {
            self.distrust_until = now.mono.saturating_add(DISTRUST);
        }
        self.seen = now;
        now.mono >= self.distrust_until
    }
}

impl RelayCore {
    /// Removes some of what has ended, if it is time to look.
    pub(crate) fn expire(&mut self, rows: &dyn Rows, now: Now) -> Result<(), Fault> {
        if now.mono < self.expiry.next {
            return Ok(());
        }
        self.expiry.next = now.mono.saturating_add(PAUSE);
        if now.mono >= self.expiry.age_at {
            self.expiry.age_at = now.mono.saturating_add(PAUSE);
            self.db.age();
            self.age_shares(rows)?;
            self.edge_limiter.age();
            self.depositor_limiter.age();
            self.prefix_limiter.age();
        }
        if !self.expiry.believes(now) {
            return Ok(());
        }
        let more_rows = self.expire_rows(rows, now)?;
        let more_invites = self.expire_invites(rows, now)?;
        let more_blobs = self.expire_blobs(rows, now.wall_ms)?;
        self.expire_tokens(rows, now)?;
        self.db.marks.expire(now, &mut self.db.changes);
        if more_rows || more_invites || more_blobs {
            self.expiry.next = now.mono.saturating_add(SLICE_PAUSE);
        }
        Ok(())
    }

    fn expire_rows(&mut self, rows: &dyn Rows, now: Now) -> Result<bool, Fault> {
        let Some(end) = now.wall_ms.checked_sub(SPOOL_ROW_LIFE_MS) else { return Ok(false) };
        let due = rows.older_than(minute(end), SLICE_ROWS)?;
        let more = due.len() == SLICE_ROWS;
        let mut by_queue: BTreeMap<Queue, Vec<u64>> = BTreeMap::new();
        for (queue, seq) in due {
            by_queue.entry(queue).or_default().push(seq);
        }
        for (queue, seqs) in by_queue {
            self.db.spools.taken(&penpal_protocol::ids::SlotId::from_bytes(queue.0));
            self.db.changes.push(Change::Remove { queue, seqs });
        }
        Ok(more)
    }

    fn expire_invites(&mut self, rows: &dyn Rows, now: Now) -> Result<bool, Fault> {
        let keys = self.db.index_keys(Table::InviteEnd, &[], SLICE_INVITES, rows)?;
        let more = keys.len() >= SLICE_INVITES;
        let before = self.pending_bytes();
        let mut removed = false;
        for key in keys {
            let Some((end_minute, id)) = keys::read_invite_end(&key) else { continue };
            if end_minute > minute(now.wall_ms) {
                return Ok(removed && more);
            }
            match self.db.invites.get(&id, rows)?.cloned() {
                Some(invite) if invite.expires_ms <= now.wall_ms => self.end_invite(id, &invite, rows)?,
                Some(_) | None => self.db.remove_index(Table::InviteEnd, key),
            }
            removed = true;
            if self.pending_bytes().saturating_sub(before) >= SLICE_BYTES {
                return Ok(true);
            }
        }
        Ok(removed && more)
    }

    fn expire_tokens(&mut self, rows: &dyn Rows, now: Now) -> Result<(), Fault> {
        for (key, token) in self.all_tokens(rows)? {
            if token.expires_ms <= now.wall_ms {
                self.db.tokens.delete(key, &mut self.db.changes);
            }
        }
        Ok(())
    }
}
