//! Values of every structure: each field is made by its type, then what must fit together is made to fit.

use penpal_protocol::blob::BlobShape;
use penpal_protocol::cbor::List;
use penpal_protocol::ids::ShortHash;
use penpal_protocol::limits::{MAX_MESSAGE_LIFE_MS, MAX_PRESENCE_TTL_MS, MAX_STATE_PARTS};
use penpal_protocol::sealed::*;
use penpal_protocol::wire::*;

use crate::generate::{Generator, Sample, Style};

macro_rules! structures {
    ($($name:ident { $($field:ident),* $(,)? } $(then $fix:expr)?;)*) => {$(
        impl Sample for $name {
            fn sample(g: &mut Generator) -> Self {
                let value = Self { $($field: Sample::sample(g)),* };
                $(let value = {
                    let mut value = value;
                    let fix: fn(&mut $name, &mut Generator) = $fix;
                    fix(&mut value, g);
                    value
                };)?
                value
            }
        }
    )*};
}

macro_rules! choices {
    ($($name:ident: $($variant:ident)*;)*) => {$(
        impl Sample for $name {
            fn sample(g: &mut Generator) -> Self {
                g.pick(&[$(Self::$variant),*])
            }
        }
    )*};
}

choices! {
    Kind: Note Ask Receipts Presence NeedReseal Control Sync Reply;
    Stage: Delivered Held Surfaced Answered Refused Expired;
    SessionState: Busy Idle Ended Offline Unknown;
    RoomWish: Join Decline Leave;
    Reach: Wakes MidTurn NextPrompt Manual WhenBack;
    Verdict: Known RolledBack Clone;
    InviteState: Open Redeemed;
    RefusalCode: No Used NeedsToken HandleTaken NotRegistered Quota Full Conflict Malformed Busy Suspended;
    DepositOutcome: Accepted Quota Full RecipientFull No;
}

structures! {
    Hello { incarnation, run, since, software };
    Register { handle, token, invite, proof } then |value, g| {
        value.proof = value.invite.map(|_| Sample::sample(g));
    };
    Ack { epoch, up_to, gaps } then |value, _| {
        let mut gaps: Vec<u64> = value.gaps.iter().map(|gap| gap % 1_000_000 + 1).collect();
        gaps.sort_unstable();
        gaps.dedup();
        value.up_to = value.up_to.max(gaps.last().copied().unwrap_or(0));
        value.gaps = List::truncated(gaps);
    };
    Profile { current, previous };
    PutManifest { expect, revision, profile } then |value, _| {
        value.expect = value.expect.min(u64::MAX - 1);
        value.revision = value.revision.max(value.expect + 1);
    };
    PutBundle { profile };
    GetContactState { edge, cap };
    EdgeCreate { edge, cap_hash };
    EdgeLink { edge, cap };
    EdgeRevoke { edge };
    InviteCreate { invite, proof_hash, expires_ms, record };
    InviteFetch { invite };
    InviteRedeem { invite, request };
    InviteRevoke { invite };
    BlobCreate { blob, bytes, token_hash, expires_ms } then |value, _| {
        value.bytes = BlobShape::of_content(value.bytes % (1 << 32)).unwrap().bytes();
    };
    BlobPut { blob, part, bytes } then |value, _| value.bytes = value.bytes % 1_048_832 + 1;
    BlobGet { blob, token, part };
    BlobDelete { blob };
    PutProof { proof_hash };
    DeviceAdd { key, proof };
    DeviceRemove { slot, proof };
    PutState { proof, expect, state, parts, part, sealed } then |value, _| {
        value.parts = value.parts % MAX_STATE_PARTS + 1;
        value.part %= value.parts;
        if value.expect == Some(value.state) {
            value.expect = None;
        }
    };
    GetState { proof, part };
    Deposit { edge, cap, slot, deposit, ephemeral, envelope };
    DepositAnswer { deposit, outcome };
    HelloAnswer { verdict, epoch, newest, handle, manifest_revision };
    Registered { account, slot, handle };
    AckAnswer { epoch, newest };
    ContactState { manifest, bundles };
    DeviceBundles { slot, profile };
    InviteAnswer { state, record };
    BlobState { there };
    StatePart { handle, manifest_revision, state, parts, sealed, manifest };
    Refusal { code, detail };
    Welcome { min_revision, max_revision, now_ms, registered, software };
    Delivery { epoch, seq, envelope };
    Redeemed { epoch, seq, invite, request };
    EdgeState { edge, up };
    Ephemeral { envelope };

    Manifest { root, version, previous, issued_ms, expires_ms, devices, revoked };
    ManifestVersion { version, hash };
    DeviceEntry { id, slot, signing, previous, name, added_ms, primary };
    PreviousKey { signing, until_ms };
    Bundle { device, signing, key_id, key, issued_ms, expires_ms };
    ManifestRef { version, hash };
    Order { seq, prev_hash } then |value, _| {
        value.seq = value.seq.max(1);
        if value.seq == 1 {
            value.prev_hash = ShortHash::from_bytes([0; 16]);
        }
    };
    OfferedKey { id, key, use_until_ms };
    Body {
        from, from_device, manifest, to, to_device, peer_manifest, msg_id, conversation, incarnation, order, sent_ms,
        expires_ms, kind, trace_id, hops, wake_budget, next_key, receipts, receipts_seen, content,
    } then |value, g| {
        value.order = value.kind.is_ordered().then(|| Sample::sample(g));
        if !value.kind.may_offer_key() {
            value.next_key = None;
        }
        value.sent_ms = value.sent_ms.min(u64::MAX / 2);
        value.expires_ms = value.sent_ms + value.expires_ms.clamp(1, MAX_MESSAGE_LIFE_MS);
    };
    ReceiptBatch { rseq, list } then |value, _| value.rseq = value.rseq.max(1);
    Receipt { msg_id, stage, session, mechanism, reason, at_ms };
    SessionRef { sid, name };
    SessionTarget { sid, name };
    RoomRef { id, epoch, chain };
    ArtifactRef { hash, bytes, name, media, blob, relay, token, key };
    Letter { from, to, subject, text, reply_to, room, artifacts, target_device };
    Presence { revision, sent_ms, ttl_ms, sessions } then |value, _| {
        value.ttl_ms = value.ttl_ms.min(MAX_PRESENCE_TTL_MS);
    };
    SessionEntry { sid, name, agent, state, since_ms, reach, folder, summary };
    NeedReseal { envelopes };
    RoomNews { room, invitation, wish, entries, have, introductions, shared };
    RoomShared { owner, name, stamp };
    RoomInvitation { name, members };
    RoomMember { account, name };
    RoomHead { epoch, entry };
    RoomIntroduction { from, to, code };
    RoomChange { created, added, removed, left, closed } then |value, g| {
        // What schema and code say of each field is tried apart; within an entry exactly one is there.
        value.closed = value.closed.map(|_| true);
        if g.style == Style::Random {
            one_change(value, g);
        }
    };
    RoomEntry { room, epoch, prev, issued_ms, owner, device, change } then |value, g| {
        one_change(&mut value.change, g);
        value.epoch = if value.change.created.is_some() { 0 } else { value.epoch.max(1) };
        if value.epoch == 0 {
            value.prev = ShortHash::from_bytes([0; 16]);
        }
    };
    Accept { body, sig, mac };
    SyncCopy { kind, content, copies };
    InviteRecord { invite, expires_ms, root, manifest, one_time, name, nonce };
    InviteRequest { root, name, manifest, bundles, profile_key, edge, cap, relay, half };
    InviteAccept { manifest, bundles, profile_key, edge, cap, half };
    SealedRequest { request, sig, mac };
    LinkRequest { device, signing, transport, name, one_time };
    LinkAnswer { manifest, handle, account, profile_key, edge, cap, pair };
    Stamp { counter, device };
    OwnState { contacts, read, sent };
    AccountState { manifest, profile_key, counter, among, contacts };
    AmongDevices { edge, cap, pair };
    SentCopy { msg_id, conversation, kind, content, to, accounts, sent_ms, expires_ms };
    ContactEntry { contact, stamp, card };
    ReadMark { from, msg_id, answered };
}

impl Sample for Control {
    fn sample(g: &mut Generator) -> Self {
        let mut value = Self {
            profile_key: Sample::sample(g),
            manifest: Sample::sample(g),
            bundle: Sample::sample(g),
            rekey: Sample::sample(g),
            accept: Sample::sample(g),
            goodbye: Sample::sample(g),
            relay: Sample::sample(g),
            room: Sample::sample(g),
            own: None,
        };
        // Its frozen vectors are older than the last fields, which have vectors of their own.
        if g.style == Style::Full || g.below(4) != 0 {
            value.room = None;
        }
        if g.style == Style::Random && g.below(4) == 0 {
            value.own = Sample::sample(g);
        }
        value
    }
}

impl Sample for Rekey {
    fn sample(g: &mut Generator) -> Self {
        let mut value = Self {
            edge: Sample::sample(g),
            cap: Sample::sample(g),
            pair: Sample::sample(g),
            both: Sample::sample(g),
            number: Sample::sample(g),
            turn: None,
        };
        // Its frozen vectors are older than the last field.
        if g.style == Style::Random && value.both {
            value.turn = value.number;
        }
        value
    }
}

impl Sample for ContactCard {
    fn sample(g: &mut Generator) -> Self {
        let mut value = Self {
            name: Sample::sample(g),
            handle: Sample::sample(g),
            verified: Sample::sample(g),
            blocked: Sample::sample(g),
            held: Sample::sample(g),
            manifest: Sample::sample(g),
            profile_key: Sample::sample(g),
            relay: Sample::sample(g),
            link_stamp: Sample::sample(g),
            edge_out: Sample::sample(g),
            cap_out: Sample::sample(g),
            edge_in: Sample::sample(g),
            cap_in: Sample::sample(g),
            pair_out: Sample::sample(g),
            pair_in: Sample::sample(g),
            transcript: Sample::sample(g),
            block_stamp: None,
            edge_number: None,
            edge_turn: None,
        };
        // Its frozen vectors are older than the last fields.
        if g.style == Style::Random && value.blocked && value.held {
            value.block_stamp = Some(value.link_stamp);
        }
        if g.style == Style::Random && value.verified && value.held {
            value.edge_number = Some(value.link_stamp.counter);
            value.edge_turn = value.edge_number;
        }
        value
    }
}

impl Sample for Signed {
    fn sample(g: &mut Generator) -> Self {
        let body: penpal_protocol::cbor::Blob<100> = Sample::sample(g);
        Self { body: body.into_vec(), sig: Sample::sample(g) }
    }
}

/// Leaves one thing that an entry says.
fn one_change(change: &mut RoomChange, g: &mut Generator) {
    let said = g.below(5);
    *change = RoomChange {
        created: (said == 0).then(|| Sample::sample(g)),
        added: (said == 1).then(|| Sample::sample(g)),
        removed: (said == 2).then(|| Sample::sample(g)),
        left: (said == 3).then(|| Sample::sample(g)),
        closed: (said == 4).then_some(true),
    };
}
