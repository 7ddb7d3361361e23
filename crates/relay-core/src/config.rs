//! What an operator decides, and every limit with its reason.

use std::collections::BTreeSet;

use penpal_protocol::blob::{BlobShape, MAX_CONTENT_BYTES};
use penpal_protocol::cbor::Text;
use penpal_protocol::limits::{MAX_CONTACTS, MAX_SPOOL_BYTES, MAX_SPOOLED_ENVELOPES};
use penpal_protocol::text::Label;

/// Who may make an account. A token minted by the operator always may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RegistrationPolicy {
    /// Whoever shows an operator's token or a live invite of an account here.
    #[default]
    Invite,
    /// Whoever first asks for one of these handles.
    AllowList(BTreeSet<Label>),
    /// Everybody.
    Open,
}

/// A rate with a burst, as a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Refill per second.
    pub per_second: u32,
    /// What may be used at once after a pause.
    pub burst: u32,
}

/// Bounds on what anybody can use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes waiting for one device.
    pub spool_bytes: u64,
    /// Most rows waiting for one device; whichever of the two is reached first.
    pub spool_rows: u64,
    /// Deposits on one edge. Far more than people and agents need: it stops what runs away.
    pub edge_deposits: Rate,
    /// Deposits of one depositor, counted in KiB over all edges.
    pub depositor_kib: Rate,
    /// Requests on one connection. A busy node acknowledges often, hence the generous default.
    pub requests: Rate,
    /// Registrations and invite look-ups from one address prefix.
    pub prefix_requests: Rate,
    /// Most edges of one account: two for each contact, because a contact whose key changes has two for a while.
    pub edges_per_account: usize,
    /// Most edges that one account has linked.
    pub links_per_account: usize,
    /// Most invites of one account that exist at once.
    pub invites_per_account: usize,
    /// Most edges of an account whose invite is not redeemed yet, and most that it has linked: redeeming needs one of
    /// each, and many such accounts may end in one step.
    pub edges_while_provisional: usize,
    /// Longest content of a blob, in bytes as a person sees it: see [`Limits::longest_blob`].
    pub artifact_bytes: u64,
    /// Most bytes of blobs of one account.
    pub blob_account_bytes: u64,
    /// Most bytes of all blobs: what operators give of their disk.
    pub blob_total_bytes: u64,
    /// Most blobs of one account.
    pub blobs_per_account: usize,
    /// Most connections.
    pub connections: usize,
    /// Of those, most whose key has no account: strangers must not lock out devices.
    pub unregistered_connections: usize,
    /// Most connections from one address prefix, IPv4 /24 or IPv6 /48: a large office. The listener counts by IPv4 address or
    /// IPv6 /56 before the handshake, which costs it less and cannot be evaded within a /24 either; both have this limit.
    pub connections_per_prefix: usize,
    /// Most connections of one key; one more closes the oldest. After crashes a device has dead ones for a minute.
    pub connections_per_key: usize,
    /// Bytes of spool rows sent on one connection and not acknowledged, beyond which sending pauses.
    pub window_bytes: usize,
    /// Rows sent on one connection and not acknowledged, beyond which sending pauses.
    pub window_rows: usize,
    /// Bytes sent and not acknowledged on all connections together, beyond which every window shrinks to
    /// [`Self::narrow_window_bytes`].
    pub total_window_bytes: usize,
    /// Window of a connection while [`Self::total_window_bytes`] is exceeded.
    pub narrow_window_bytes: usize,
    /// Most deposit marks remembered; beyond it the oldest go before their 24 hours. About 40 bytes of memory each.
    pub deposit_marks: usize,
    /// Rows of each kind kept in memory.
    pub cached_rows: usize,
}

impl Limits {
    /// Longest blob, in bytes as sealed and padded, which is what a relay sees of a content.
    #[must_use]
    pub fn longest_blob(&self) -> u64 {
        let most = BlobShape::of_content(MAX_CONTENT_BYTES);
        BlobShape::of_content(self.artifact_bytes).or(most).map_or(0, BlobShape::bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spool_bytes: MAX_SPOOL_BYTES,
            spool_rows: MAX_SPOOLED_ENVELOPES,
            edge_deposits: Rate { per_second: 5_000, burst: 50_000 },
            depositor_kib: Rate { per_second: 64 * 1024, burst: 1024 * 1024 },
            requests: Rate { per_second: 5_000, burst: 10_000 },
            prefix_requests: Rate { per_second: 10, burst: 500 },
            edges_per_account: 2 * MAX_CONTACTS,
            links_per_account: 2 * MAX_CONTACTS,
            invites_per_account: 256,
            edges_while_provisional: 8,
            artifact_bytes: 100 * 1024 * 1024,
            blob_account_bytes: 2 * 1024 * 1024 * 1024,
            blob_total_bytes: 32 * 1024 * 1024 * 1024,
            blobs_per_account: 4_096,
            connections: 20_000,
            unregistered_connections: 5_000,
            connections_per_prefix: 2_048,
            connections_per_key: 4,
            window_bytes: 1024 * 1024,
            window_rows: 512,
            total_window_bytes: 512 * 1024 * 1024,
            narrow_window_bytes: 96 * 1024,
            deposit_marks: 4_000_000,
            cached_rows: 32_768,
        }
    }
}

/// Settings of the machine.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Who may register.
    pub registration: RegistrationPolicy,
    /// Bounds.
    pub limits: Limits,
    /// What `Welcome` says, such as `penpal-relay 0.1.0`.
    pub software: Text<64>,
}
