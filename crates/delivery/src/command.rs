//! What the machine asks the shell to do.

use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::ids::{
    ConversationId, DepositId, DeviceId, Fingerprint, Incarnation, KeyId, MsgId, ShortHash, SpoolEpoch,
    TraceId,
};
use penpal_protocol::limits::{MAX_BODY_BYTES, MAX_RECEIPTS};
use penpal_protocol::sealed::{Body, Kind, ManifestRef, OfferedKey, Order, Receipt, ReceiptBatch};

use crate::address::Peer;

/// One thing to do. Everything but [`Command::Seal`] is done after the step is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Seal now, in this step, and tell the result with [`crate::Delivery::handle_sealed`]; deposit once the step is durable.
    Seal(Box<SealJob>),
    /// Fetch manifest and bundles of this contact now, then [`crate::Delivery::handle_prekeys`].
    FetchPrekeys {
        /// The contact.
        account: Fingerprint,
    },
    /// Tell the relay what is durable; its answer goes to [`crate::Delivery::handle_acked`].
    Ack {
        /// Life of the spool.
        epoch: SpoolEpoch,
        /// Everything up to here is done, but for `gaps`.
        up_to: u64,
        /// Rows that are not, ascending.
        gaps: Vec<u64>,
    },
    /// Make seeds, store them durably in the key file, then [`crate::Delivery::handle_seeds`].
    WantSeeds {
        /// How many.
        count: usize,
        /// None is left: until there are some, messages go out without a key on offer. Otherwise it can wait until the step
        /// is over and what it says is on its way.
        urgent: bool,
    },
    /// Sign a bundle for this key and hand it to the relay, then [`crate::Delivery::handle_prekey_taken`].
    PublishPrekey {
        /// The key, whose seed is in the key file.
        key: KeyId,
        /// When it was made, Unix milliseconds.
        issued_ms: u64,
    },
    /// Erase these seeds from the key file, then [`crate::Delivery::handle_seeds_deleted`].
    DeleteSeeds {
        /// Their ids.
        keys: Vec<KeyId>,
    },
}

/// Everything that goes into one envelope, except what only the shell knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealJob {
    /// Identifies this sealing in every answer; also the deposit id at the relay.
    pub deposit: DepositId,
    /// The device it is for.
    pub peer: Peer,
    /// The key to seal to.
    pub key: SealKey,
    /// Own key to offer: `next_key` of the body is made from its seed.
    pub offer: Option<KeyOffer>,
    /// Life of the database, as the body says it.
    pub incarnation: Incarnation,
    /// Id of the message.
    pub msg_id: MsgId,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Place among the ordered messages of the pair.
    pub order: Option<Order>,
    /// When it was sent, Unix milliseconds.
    pub sent_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// What `content` holds.
    pub kind: Kind,
    /// Chain of causes.
    pub trace_id: TraceId,
    /// Agents' messages between a person's prompt and this one.
    pub hops: u8,
    /// Wakes that it may still cause.
    pub wake_budget: u8,
    /// Receipts that ride along.
    pub receipts: Option<ReceiptBatch>,
    /// Highest receipt of the peer received without gap.
    pub receipts_seen: u64,
    /// Encoded content.
    pub content: Vec<u8>,
    /// It completes an invite: sealed under the keys of the invite, deposited on its edge.
    pub boot: bool,
}

/// What to seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealKey {
    /// The receive key that the peer offered. It is used for this envelope only.
    Receive(OfferedKey),
    /// The prekey of the newest bundle that the shell fetched.
    Prekey,
}

/// An own key on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOffer {
    /// Its id, and that of its seed.
    pub key: KeyId,
    /// Until when it may be sealed to, Unix milliseconds.
    pub use_until_ms: u64,
}

/// What the shell adds to a [`SealJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyParts {
    /// Own account.
    pub from: Fingerprint,
    /// Own device.
    pub from_device: DeviceId,
    /// Newest own manifest.
    pub manifest: ManifestRef,
    /// Newest manifest of the contact that is held here.
    pub peer_manifest: Option<ManifestRef>,
    /// [`SealJob::offer`] with its public key.
    pub next_key: Option<OfferedKey>,
}

impl SealJob {
    /// Builds the body to sign and seal.
    #[must_use]
    pub fn into_body(self, parts: BodyParts) -> Body {
        Body {
            from: parts.from,
            from_device: parts.from_device,
            manifest: parts.manifest,
            to: self.peer.account,
            to_device: self.peer.device,
            peer_manifest: parts.peer_manifest,
            msg_id: self.msg_id,
            conversation: self.conversation,
            incarnation: self.incarnation,
            order: self.order,
            sent_ms: self.sent_ms,
            expires_ms: self.expires_ms,
            kind: self.kind,
            trace_id: self.trace_id,
            hops: self.hops,
            wake_budget: self.wake_budget,
            next_key: parts.next_key,
            receipts: self.receipts,
            receipts_seen: Some(self.receipts_seen),
            content: Blob::<MAX_BODY_BYTES>::new(self.content).unwrap_or_default(),
        }
    }
}

pub(crate) fn batch(first: u64, receipts: Vec<Receipt>) -> Option<ReceiptBatch> {
    (!receipts.is_empty())
        .then(|| ReceiptBatch { rseq: first, list: List::<Receipt, MAX_RECEIPTS>::truncated(receipts) })
}

/// What came of a [`Command::Seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// Sealed; the envelope is deposited once the step is durable.
    Done {
        /// Labelled hash of the whole envelope.
        envelope: ShortHash,
    },
    /// No bundle of that device is at hand, or the fetched one does not verify: try again later.
    NoPrekey,
    /// The device is not, or no longer, in the contact's manifest.
    NoDevice,
    /// The body does not fit any envelope.
    TooLong,
}
