//! Bytes of every stored row, frozen: a later version must read what this one wrote.

use penpal_protocol::ids::{
    ConversationId, DeviceId, Fingerprint, Incarnation, KeyId, MsgId, SessionId, ShortHash, SpoolEpoch,
    TraceId,
};
use penpal_protocol::sealed::{Kind, Order, Receipt, SessionRef, Stage as StatedStage};
use penpal_protocol::text::Label;

use super::*;
use crate::address::{MailKey, Mailbox, Peer};
use crate::stage::{Stage, TrailEvent, Witness};

const PEER: Peer = Peer { account: Fingerprint::from_bytes([1; 16]), device: DeviceId::from_bytes([2; 16]) };
const MSG: MsgId = MsgId::from_bytes([3; 16]);
const HASH: ShortHash = ShortHash::from_bytes([4; 16]);

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn session() -> SessionRef {
    SessionRef { sid: SessionId::from_bytes([5; 16]), name: Label::new("api").unwrap() }
}

fn mail() -> MailRecord {
    MailRecord {
        msg_id: MSG,
        from: Some(PEER.account),
        from_device: Some(PEER.device),
        conversation: ConversationId::from_bytes([6; 16]),
        kind: Kind::Ask,
        sent_ms: 1000,
        expires_ms: 2000,
        trace_id: TraceId::from_bytes([7; 16]),
        hops: 1,
        wake_budget: 2,
        short_len: 4,
        identity: HASH,
        content_bytes: 300,
        ordinal: 9,
        reply_to: Some(MSG),
        sent: Some(SentPart {
            from: Mailbox::Desk,
            to: "bob/web".to_owned(),
            copies: vec![PEER],
            boot: false,
            dismissed: false,
            elsewhere: None,
            addressed: None,
        }),
        received: Some(ReceivedPart {
            mailbox: Mailbox::Session(SessionId::from_bytes([5; 16])),
            state: MailState::Unread,
            reason: Some("no-such-session".to_owned()),
            mechanism: Some("hook".to_owned()),
            surfaced_ms: Some(1500),
            marks: Marks { gap: true, late: false, again: true, earlier: false, answered: true },
            to_name: Some("web".to_owned()),
            hidden: false,
            quiet: None,
            ends: None,
        }),
        subject: Some("subject".to_owned()),
        from_session: Some(session()),
        stored_ms: 1200,
        chain: HASH,
        room: None,
    }
}

fn copy() -> CopyRecord {
    let event = TrailEvent {
        stage: Stage::Surfaced,
        at_ms: 1500,
        by: Witness::Device,
        device: Some(PEER),
        session: Some("web".to_owned()),
        mechanism: Some("hook".to_owned()),
        reason: Some("reason".to_owned()),
        reply: Some(MSG),
        signed: true,
    };
    CopyRecord {
        peer: PEER,
        msg_id: MSG,
        ordinal: 9,
        stage: Stage::Surfaced,
        reason: None,
        order: Some(FixedOrder {
            incarnation: Incarnation::from_bytes([8; 8]),
            order: Order { seq: 7, prev_hash: HASH },
        }),
        deposits: 1,
        last_deposit_ms: 1100,
        sealed: vec![HASH],
        trail: vec![event],
        receipted_ms: Some(1300),
        expires_ms: 2000,
        again: false,
    }
}

fn pair() -> PairRecord {
    PairRecord {
        own_incarnation: Some(Incarnation::from_bytes([8; 8])),
        next_seq: 8,
        chain: HASH,
        incarnation: Some(Incarnation::from_bytes([9; 8])),
        earlier: vec![Incarnation::from_bytes([10; 8])],
        seen_seq: 5,
        seen_chain: HASH,
        receipts_seen: 4,
        receipts_floor: 3,
        used_keys: vec![KeyId::from_bytes([11; 8])],
        holes: vec![2, 3],
    }
}

fn key() -> KeyRecord {
    KeyRecord {
        state: KeyUse::Retired,
        peer: Some(PEER),
        number: 2,
        issued_ms: 1000,
        use_until_ms: 2000,
        superseded_ms: Some(1500),
        retired_ms: Some(1600),
        barrier_epoch: Some(SpoolEpoch::from_bytes([12; 8])),
        barrier: 77,
        taken_ms: None,
    }
}

fn receipt() -> QueuedReceipt {
    let receipt = Receipt {
        msg_id: MSG,
        stage: StatedStage::Surfaced,
        session: Some(session()),
        mechanism: None,
        reason: None,
        at_ms: 1500,
    };
    QueuedReceipt { receipt, expires_ms: 2000 }
}

fn check<R: Record + PartialEq + std::fmt::Debug>(record: &R, frozen: &str) {
    let bytes = record.to_bytes();
    assert_eq!(R::from_bytes(&bytes).unwrap(), *record);
    assert_eq!(hex(&bytes), frozen, "the stored form changed: {record:?}");
    for end in 0..bytes.len() {
        assert!(R::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut other = bytes.clone();
    other[0] = 2;
    assert_eq!(R::from_bytes(&other), Err(RecordError::Version { got: Some(2) }));
}

#[test]
fn mail_is_stored_as_ever() {
    check(
        &mail(),
        "01b50050030303030303030303030303030303030150010101010101010101010101010101010250020202020202020202020202020202020350060606060606060606060606060606060402051903e8061907d0075007070707070707070707070707070707080109020a040b50040404040404040404040404040404040c19012c0d090e50030303030303030303030303030303030fa50050000000000000000000000000000000000167626f622f7765620281a200500101010101010101010101010101010101500202020202020202020202020202020203f404f410a80050050505050505050505050505050505050101026f6e6f2d737563682d73657373696f6e0364686f6f6b041905dc05a500f501f402f503f404f5066377656207f411677375626a65637412a20050050505050505050505050505050505050163617069131904b0145004040404040404040404040404040404",
    );
}

#[test]
fn copies_are_stored_as_ever() {
    check(
        &copy(),
        "01ac00a20050010101010101010101010101010101010150020202020202020202020202020202020150030303030303030303030303030303030209030705a20048080808080808080801a2000701500404040404040404040404040404040406010719044c088150040404040404040404040404040404040981a90007011905dc020303a200500101010101010101010101010101010101500202020202020202020202020202020204637765620564686f6f6b0666726561736f6e07500303030303030303030303030303030308f50a1905140b1907d00cf4",
    );
}

#[test]
fn pairs_are_stored_as_ever() {
    check(
        &pair(),
        "01ab004808080808080808080108025004040404040404040404040404040404034809090909090909090481480a0a0a0a0a0a0a0a0505065004040404040404040404040404040404070408030981480b0b0b0b0b0b0b0b0a820203",
    );
}

#[test]
fn keys_are_stored_as_ever() {
    check(
        &key(),
        "01a9000501a20050010101010101010101010101010101010150020202020202020202020202020202020202031903e8041907d0051905dc0619064007480c0c0c0c0c0c0c0c08184d",
    );
}

#[test]
fn receipts_are_stored_as_ever() {
    check(
        &receipt(),
        "01a200a4005003030303030303030303030303030303010302a20050050505050505050505050505050505050163617069051905dc011907d0",
    );
}

#[test]
fn small_rows_are_stored_as_ever() {
    check(
        &MailKey::from_contact(MSG, PEER.account),
        "0158200303030303030303030303030303030301010101010101010101010101010101",
    );
    check(
        &NodeRecord { incarnation: Incarnation::from_bytes([8; 8]), ordinals: 1024 },
        "01a20048080808080808080801190400",
    );
    let epoch = Some(SpoolEpoch::from_bytes([12; 8]));
    check(&SpoolRecord { epoch, up_to: 9, open: vec![7] }, "01a300480c0c0c0c0c0c0c0c0109028107");
    check(
        &SeenRecord { until_ms: 3000, from: Some(PEER), msg_id: Some(MSG), answered: None },
        "01a300190bb801a2005001010101010101010101010101010101015002020202020202020202020202020202025003030303030303030303030303030303",
    );
    check(
        &SealedRecord { peer: PEER, msg_id: MSG },
        "01a200a2005001010101010101010101010101010101015002020202020202020202020202020202015003030303030303030303030303030303",
    );
    check(
        &UnreadableRecord { envelope: HASH, at_ms: 1000 },
        "01a2005004040404040404040404040404040404011903e8",
    );
}
