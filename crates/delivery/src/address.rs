//! Who and what records belong to: peers, messages, mailboxes.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use penpal_protocol::ids::{DeviceId, Fingerprint, MsgId, SessionId};

/// One device of one contact: the other end of an ordered pair of devices.
///
/// As a key: account 16 | device 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Peer {
    /// The contact.
    #[n(0)]
    pub account: Fingerprint,
    /// Its device.
    #[n(1)]
    pub device: DeviceId,
}

impl Peer {
    /// Stands for this machine in the trail of local mail; no account has this fingerprint.
    pub const HERE: Self =
        Self { account: Fingerprint::from_bytes([0; 16]), device: DeviceId::from_bytes([0; 16]) };

    /// Names one device of a contact.
    #[must_use]
    pub fn new(account: Fingerprint, device: DeviceId) -> Self {
        Self { account, device }
    }

    /// The 32 bytes under which records of this peer are kept.
    #[must_use]
    pub fn to_key(self) -> [u8; 32] {
        join(self.account.as_bytes(), self.device.as_bytes())
    }

    /// Reads what [`Self::to_key`] wrote, from the start of a longer key.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let account = Fingerprint::from_slice(key.get(..16)?)?;
        let device = DeviceId::from_slice(key.get(16..32)?)?;
        Some(Self { account, device })
    }
}

/// One message as this node knows it: ids are only unique per account that sent them.
///
/// As a key: message id 16 | account 16, the account all zero for messages written on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailKey {
    /// Id of the message.
    pub msg_id: MsgId,
    /// Account that sent it; `None` for this node's own and local messages.
    pub from: Option<Fingerprint>,
}

impl MailKey {
    /// A message that was written on this node.
    #[must_use]
    pub fn own(msg_id: MsgId) -> Self {
        Self { msg_id, from: None }
    }

    /// A message from a contact.
    #[must_use]
    pub fn from_contact(msg_id: MsgId, account: Fingerprint) -> Self {
        Self { msg_id, from: Some(account) }
    }

    /// The 32 bytes under which the message is kept.
    #[must_use]
    pub fn to_key(self) -> [u8; 32] {
        join(self.msg_id.as_bytes(), self.from.unwrap_or(Peer::HERE.account).as_bytes())
    }

    /// Reads what [`Self::to_key`] wrote.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let msg_id = MsgId::from_slice(key.get(..16)?)?;
        let account = Fingerprint::from_slice(key.get(16..)?)?;
        Some(Self { msg_id, from: (account != Peer::HERE.account).then_some(account) })
    }
}

impl<C> Encode<C> for MailKey {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.to_key())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for MailKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::from_key(d.bytes()?)
            .ok_or_else(|| decode::Error::message("message key has another length").at(at))
    }
}

/// Where mail is put on this machine.
///
/// As a key: the session's id, all zero for the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mailbox {
    /// The person's own.
    Desk,
    /// A session's.
    Session(SessionId),
}

impl Mailbox {
    const DESK: [u8; 16] = [0; 16];

    /// The 16 bytes that stand for it in keys.
    #[must_use]
    pub fn to_key(self) -> [u8; 16] {
        match self {
            Self::Desk => Self::DESK,
            Self::Session(sid) => *sid.as_bytes(),
        }
    }

    /// Reads what [`Self::to_key`] wrote, from the start of a longer key.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let sid = SessionId::from_slice(key.get(..16)?)?;
        Some(if *sid.as_bytes() == Self::DESK { Self::Desk } else { Self::Session(sid) })
    }
}

impl<C> Encode<C> for Mailbox {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.to_key())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Mailbox {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::from_key(d.bytes()?)
            .ok_or_else(|| decode::Error::message("mailbox key has another length").at(at))
    }
}

fn join(a: &[u8; 16], b: &[u8; 16]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(a.iter().chain(b)) {
        *to = *from;
    }
    out
}
