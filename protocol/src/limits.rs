//! Every limit of the protocol, with its reason.

/// Longest text of one message, in bytes of UTF-8.
///
/// Beyond it the sender is told to send an artifact. The largest envelope carries it with all its framing.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Longest subject, in bytes of UTF-8: one line on a terminal, several in a narrow one.
pub const MAX_SUBJECT_BYTES: usize = 256;

/// Longest one-line summary of a session, in bytes of UTF-8.
pub const MAX_SUMMARY_BYTES: usize = 200;

/// Longest last part of a folder's path that is announced, in bytes of UTF-8.
pub const MAX_FOLDER_BYTES: usize = 128;

/// Longest label (session, handle, contact, device, room), in ASCII characters.
pub const MAX_LABEL_BYTES: usize = 64;

/// Longest relay address, in bytes of text: the longest DNS name with scheme, port and pin makes 301.
pub const MAX_RELAY_ADDRESS_BYTES: usize = 320;

/// Longest encoded sealed body, in bytes: exactly what the largest envelope holds.
///
/// The content comes first. Receipts that ride along, then an offered key, are left out when they do not fit beside it.
pub const MAX_BODY_BYTES: usize = crate::envelope::capacity(crate::envelope::MAX_ENVELOPE_BYTES);

/// Largest frame between node and relay, in bytes, header excluded: the largest envelope and its deposit fields.
pub const MAX_FRAME_BYTES: usize = 96 * 1024;

/// Longest encoded content of a body, in bytes.
///
/// Leaves 2 KiB in [`MAX_BODY_BYTES`] for all other fields and an offered key; a message whose text, subject and artifact
/// references need more is refused where it is written.
pub const MAX_CONTENT_BYTES: usize = MAX_BODY_BYTES - 2 * 1024;

/// Largest manifest, signed, in bytes: 16 devices with names, 32 earlier versions and 256 revoked devices make 8.4 KiB.
pub const MAX_MANIFEST_BYTES: usize = 9 * 1024;

/// Largest bundle, signed, in bytes: one X-Wing key and its fields.
pub const MAX_BUNDLE_BYTES: usize = 2 * 1024;

/// Largest profile blob (a sealed, padded manifest or bundle) that a relay stores, in bytes: [`MAX_MANIFEST_BYTES`] padded to whole
/// KiB, with salt and tag.
pub const MAX_PROFILE_BLOB_BYTES: usize = 10 * 1024;

/// Largest sealed invite record or request, in bytes: a request carries a manifest and 16 bundles.
pub const MAX_INVITE_BLOB_BYTES: usize = 56 * 1024;

/// Most devices of one account.
pub const MAX_DEVICES: usize = 16;

/// Most earlier versions that a manifest names.
pub const MAX_MANIFEST_HISTORY: usize = 32;

/// Most device ids that a manifest remembers as revoked.
pub const MAX_REVOKED: usize = 256;

/// Most members of a room beside its owner: each message is sealed once for each device of each of them.
pub const MAX_ROOM_MEMBERS: usize = 49;

/// Most entries of a room's membership log. The whole log fits into one message; a room that changed more often is made anew.
pub const MAX_ROOM_ENTRIES: usize = 256;

/// Longest entry of a room's membership log, signed, in bytes.
pub const MAX_ROOM_ENTRY_BYTES: usize = 288;

/// Most codes in one message by which members of a room become contacts.
pub const MAX_INTRODUCTIONS: usize = 64;

/// Longest invite code, in bytes of text: host and port of 259 bytes make 560 characters and their hyphens.
pub const MAX_INVITE_CODE_BYTES: usize = 768;

/// Most sessions that one device announces.
pub const MAX_ANNOUNCED_SESSIONS: usize = 64;

/// Most receipts in one envelope.
pub const MAX_RECEIPTS: usize = 128;

/// Most hashes in one request to seal again.
pub const MAX_NEED_RESEAL: usize = 512;

/// Most artifacts that one message refers to.
pub const MAX_ARTIFACTS: usize = 16;

/// How long a blob outlives the message that refers to it, in milliseconds: whoever got the message in its last minute can fetch it.
pub const BLOB_GRACE_MS: u64 = DAY_MS;

/// Longest list of the parts of a blob that are there, in bytes: a bit for each.
pub const MAX_PART_SET_BYTES: usize = 8 * 1024;

/// Most gaps that one acknowledgement names; a node with more acknowledges less.
pub const MAX_ACK_GAPS: usize = 64;

/// Most runs that a `Hello` lists: starts of the daemon that no relay answered.
pub const MAX_RUNS: usize = 64;

/// Most contacts of one account.
pub const MAX_CONTACTS: usize = 1_000;

/// Most envelopes held for one absent device; [`MAX_SPOOL_BYTES`] may come first.
pub const MAX_SPOOLED_ENVELOPES: u64 = 10_000;

/// Most bytes of envelopes held for one absent device; [`MAX_SPOOLED_ENVELOPES`] may come first.
pub const MAX_SPOOL_BYTES: u64 = 256 * 1024 * 1024;

/// Life of a message that says nothing else, in milliseconds: 14 days.
pub const DEFAULT_MESSAGE_LIFE_MS: u64 = 14 * DAY_MS;

/// Longest life of a message, in milliseconds: 30 days.
pub const MAX_MESSAGE_LIFE_MS: u64 = 30 * DAY_MS;

/// Life of a spool row at a relay, in milliseconds: one day more than any message.
pub const SPOOL_ROW_LIFE_MS: u64 = 31 * DAY_MS;

/// Most entries of one kind in what an account's devices tell each other at a time.
pub const MAX_STATE_ENTRIES: usize = 256;

/// Longest part of the account state that a relay keeps, sealed, in bytes.
pub const MAX_STATE_PART_BYTES: usize = STATE_CHUNK_BYTES + 16;

/// Account state in one part, in bytes; only a state that fits into one part may have less.
pub const STATE_CHUNK_BYTES: usize = 32 * 1024;

/// Most contacts, and removals, in the account state that a relay keeps: contacts first.
pub const MAX_KEPT_ENTRIES: usize = 3 * MAX_CONTACTS;

/// Longest account state that a relay keeps, padded, in bytes.
pub const MAX_ACCOUNT_STATE_BYTES: usize = STATE_CHUNK_BYTES * MAX_STATE_PARTS as usize;

/// Most parts of the account state that a relay keeps: 4 MiB. A thousand contacts with one device each need about 2 MiB.
pub const MAX_STATE_PARTS: u8 = 128;

/// How far a sender's clock may be ahead before its message is held, in milliseconds: 24 hours.
pub const MAX_CLOCK_AHEAD_MS: u64 = DAY_MS;

/// Life of an invite that says nothing else, in milliseconds: 72 hours.
pub const DEFAULT_INVITE_LIFE_MS: u64 = 72 * HOUR_MS;

/// Life of an invite that was redeemed and neither accepted nor declined, in milliseconds: 30 days.
pub const REDEEMED_INVITE_LIFE_MS: u64 = 30 * DAY_MS;

/// How long a relay remembers a deposit id, in milliseconds: 24 hours.
pub const DEPOSIT_ID_LIFE_MS: u64 = DAY_MS;

/// How long a duplicate mark outlives its message's expiry, in milliseconds: 48 hours.
pub const DUPLICATE_MARK_GRACE_MS: u64 = 48 * HOUR_MS;

/// Longest life of a presence list, in milliseconds: 15 minutes.
pub const MAX_PRESENCE_TTL_MS: u64 = 15 * 60 * 1000;

/// One hour in milliseconds.
pub const HOUR_MS: u64 = 60 * 60 * 1000;

/// One day in milliseconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

const _: () = assert!(MAX_CONTENT_BYTES > MAX_TEXT_BYTES + MAX_SUBJECT_BYTES);
// A manifest of exactly the limit is padded by one further KiB.
const _: () = assert!(MAX_PROFILE_BLOB_BYTES >= 32 + 16 + MAX_MANIFEST_BYTES);
const _: () = assert!(MAX_ROOM_ENTRIES * (MAX_ROOM_ENTRY_BYTES + 3) + 128 < MAX_CONTENT_BYTES);
const _: () = assert!(MAX_FRAME_BYTES > crate::envelope::MAX_ENVELOPE_BYTES);
const _: () = assert!(MAX_INVITE_BLOB_BYTES < MAX_FRAME_BYTES);
const _: () = assert!(MAX_PART_SET_BYTES * 8 >= crate::blob::MAX_PARTS as usize);
