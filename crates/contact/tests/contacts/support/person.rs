//! One person: keys, a disk, the machine, and the little of delivery that contacts need.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use penpal_contact::{By, Contacts, Heard, Notice, Opener, Step, Table, Via};
use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{
        ConversationId, DepositId, DeviceId, Fingerprint, Incarnation, InviteId, KeyId, MsgId, ShortHash,
        TraceId, TransportPublicKey,
    },
    limits::DAY_MS,
    sealed::{Body, Bundle, Content, Kind, Letter, Order, Receipt, ReceiptBatch, Stage},
    text::Label,
    wire::Deposit,
};
use penpal_seal::{
    Arrived, FreshBytes, IdentityKeys, InviteEntry, ReceiveKey, ReceiveSeed, Recipient, Sender,
    VerifiedBundle, seal,
};

/// Pause before a message without receipt is sealed and deposited again.
const AGAIN: Duration = Duration::from_secs(60);
/// It doubles with each try, up to this.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// A message that waits for its receipt.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    pub(crate) to: Fingerprint,
    pub(crate) by: By,
    pub(crate) kind: Kind,
    pub(crate) content: Vec<u8>,
    pub(crate) expires_ms: u64,
    /// Devices that have not receipted it; `None`: all that the contact has when it is first tried.
    pub(crate) devices: Option<Vec<DeviceId>>,
}

/// A receipt that is owed: to whom, for what, and whether it says delivered.
pub(crate) type Owed = (Fingerprint, DeviceId, MsgId, bool);

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    /// The key file: written at once, not with the batch.
    pub(crate) secrets: BTreeMap<InviteId, InviteEntry>,
    pub(crate) outbox: BTreeMap<MsgId, Out>,
    pub(crate) seen: BTreeSet<MsgId>,
    pub(crate) receipts: BTreeSet<Owed>,
    pub(crate) mail: Vec<(Fingerprint, String)>,
}

pub(crate) struct Person {
    pub(crate) handle: Label,
    pub(crate) keys: Arc<IdentityKeys>,
    pub(crate) disk: Disk,
    pub(crate) node: Contacts,
    /// Counts starts.
    pub(crate) run: u64,
    pub(crate) hello: bool,
    pub(crate) bundle_wanted: bool,
    pub(crate) notices: Vec<Notice>,
    pub(crate) foreign: u32,
    /// Messages wait until then; forgotten by a crash.
    pub(crate) pauses: BTreeMap<MsgId, Duration>,
    tries: BTreeMap<MsgId, u32>,
    spk: (KeyId, ReceiveSeed),
    spk_key: Arc<ReceiveKey>,
}

/// What a person would deposit.
pub(crate) struct Ready {
    pub(crate) relay: penpal_contact::At,
    pub(crate) deposit: Deposit,
    pub(crate) to: Fingerprint,
    pub(crate) what: Sent,
}

pub(crate) enum Sent {
    Message,
    Receipt(Owed),
}

impl Person {
    pub(crate) fn new(name: &str, step: &mut Step<'_>) -> Self {
        let keys = Arc::new(IdentityKeys::generate(&mut step.rng));
        let seed = ReceiveSeed::generate(&mut step.rng);
        let mut id = [0; 8];
        step.rng.fill_bytes(&mut id);
        let node = Contacts::restoring(Arc::clone(&keys)).finish(step);
        Self {
            handle: Label::new(name).unwrap(),
            keys,
            disk: Disk::default(),
            node,
            run: 1,
            hello: false,
            bundle_wanted: false,
            notices: Vec::new(),
            foreign: 0,
            pauses: BTreeMap::new(),
            tries: BTreeMap::new(),
            spk_key: Arc::new(ReceiveKey::expand(seed.clone())),
            spk: (KeyId::from_bytes(id), seed),
        }
    }

    pub(crate) fn transport(&self) -> TransportPublicKey {
        self.keys.transport.public()
    }

    pub(crate) fn fp(&self) -> Fingerprint {
        let own = self.node.account().map(|me| me.account);
        own.unwrap_or_else(|| self.keys.root.as_ref().unwrap().fingerprint())
    }

    /// Starts again from the disk.
    pub(crate) fn restart(&mut self, step: &mut Step<'_>) {
        let mut restoring = Contacts::restoring(Arc::clone(&self.keys));
        // From the last row to the first: order must not matter.
        for ((table, key), value) in self.disk.rows.iter().rev() {
            restoring.row(*table, key, value).unwrap();
        }
        for (id, entry) in &self.disk.secrets {
            restoring.secret(*id, entry.clone());
        }
        self.node = restoring.finish(step);
        self.run += 1;
        self.hello = false;
        self.bundle_wanted = false;
        self.pauses.clear();
    }

    pub(crate) fn bundle(&self, now_ms: u64) -> Vec<u8> {
        let me = self.node.account().unwrap();
        let bundle = Bundle {
            device: me.device,
            signing: self.keys.signing.public(),
            key_id: self.spk.0,
            key: self.spk_key.public().clone(),
            issued_ms: now_ms,
            expires_ms: now_ms + 30 * DAY_MS,
        };
        VerifiedBundle::sign(&self.keys.signing, bundle).unwrap().signed().to_vec()
    }

    pub(crate) fn letter(text: &str) -> Vec<u8> {
        let letter = Letter {
            from: None,
            to: None,
            subject: None,
            text: Text::new(text).unwrap(),
            reply_to: None,
            room: None,
            artifacts: None,
            target_device: None,
        };
        Content::Letter(Box::new(letter)).encode()
    }

    /// When the next message may be tried again.
    pub(crate) fn next_try(&self) -> Option<Duration> {
        self.disk.outbox.keys().filter_map(|id| self.pauses.get(id)).min().copied()
    }

    /// Something that can be deposited now.
    pub(crate) fn ready(&mut self, step: &mut Step<'_>) -> Option<Ready> {
        let receipts = self.disk.receipts.iter().copied().collect::<Vec<_>>();
        for receipt in receipts {
            let (to, device, msg_id, delivered) = receipt;
            let stage = if delivered { Stage::Delivered } else { Stage::Refused };
            let receipt_line = Receipt {
                msg_id,
                stage,
                session: None,
                mechanism: None,
                reason: None,
                at_ms: step.now.wall_ms,
            };
            let batch = ReceiptBatch { rseq: 1, list: List::new(vec![receipt_line]).unwrap() };
            let devices = Some(vec![device]);
            let out = Out {
                to,
                by: By::Contact,
                kind: Kind::Receipts,
                content: Vec::new(),
                expires_ms: 0,
                devices,
            };
            let id = MsgId::from_bytes(random(step));
            if let Some((relay, deposit)) = self.seal(id, &out, device, Some(batch), step) {
                return Some(Ready { relay, deposit, to, what: Sent::Receipt(receipt) });
            }
        }
        let waiting = self
            .disk
            .outbox
            .iter()
            .filter(|(id, _)| self.pauses.get(*id).is_none_or(|at| *at <= step.now.mono));
        let waiting: Vec<_> = waiting.map(|(id, out)| (*id, out.clone())).collect();
        for (id, out) in waiting {
            let devices = out.devices.clone().unwrap_or_else(|| self.devices_of(&out.to));
            let left = u32::try_from(devices.len().max(1)).unwrap();
            let tries = *self.tries.entry(id).or_default();
            let Some(device) = devices.get((tries % left) as usize).copied() else { continue };
            let sealed = self.seal(id, &out, device, None, step);
            if sealed.is_some() || left > 1 {
                // Each device in turn, then a pause.
                self.tries.insert(id, tries + 1);
                if (tries + 1).is_multiple_of(left) {
                    let round = ((tries + 1) / left).min(8);
                    self.pauses.insert(id, step.now.mono + (AGAIN * (1 << round)).min(LONGEST));
                }
            }
            if let Some((relay, deposit)) = sealed {
                return Some(Ready { relay, deposit, to: out.to, what: Sent::Message });
            }
            // Nobody it could be sealed to now: not asked at every tick.
            if let Some(at) = self.pauses.get_mut(&id) {
                *at = (*at).max(step.now.mono + AGAIN);
            }
        }
        None
    }

    /// Devices that mail for an account goes to.
    fn devices_of(&self, account: &Fingerprint) -> Vec<DeviceId> {
        let view = self.node.view(account);
        view.map(|view| view.devices.iter().map(|device| device.id).collect()).unwrap_or_default()
    }

    /// Seals a message for a device of a contact, as its route says now.
    fn seal(
        &mut self,
        msg_id: MsgId,
        out: &Out,
        device: DeviceId,
        receipts: Option<ReceiptBatch>,
        step: &mut Step<'_>,
    ) -> Option<(penpal_contact::At, Deposit)> {
        let fresh = FreshBytes::from_bytes(random(step));
        let deposit_id = DepositId::from_bytes(random(step));
        let me = self.node.account()?;
        let route = match out.by {
            By::Boot => self.node.boot_route(&msg_id)?,
            By::Contact => self.node.route(&out.to)?,
        };
        if !route.open {
            return None;
        }
        let manifest = self.node.manifest(&out.to)?;
        let device = manifest.device(&device)?;
        let bundle = self.node.bundle(&out.to, &device.id, step.now.wall_ms)?;
        let expires_ms =
            if out.expires_ms > step.now.wall_ms { out.expires_ms } else { step.now.wall_ms + DAY_MS };
        let first = ShortHash::from_bytes([0; 16]);
        let body = Body {
            from: me.account,
            from_device: me.device,
            manifest: me.manifest,
            to: out.to,
            to_device: device.id,
            peer_manifest: Some(manifest.reference()),
            msg_id,
            conversation: ConversationId::from_bytes([1; 16]),
            incarnation: Incarnation::from_bytes([1; 8]),
            order: out.kind.is_ordered().then_some(Order { seq: 1, prev_hash: first }),
            sent_ms: step.now.wall_ms,
            expires_ms,
            kind: out.kind,
            trace_id: TraceId::from_bytes([1; 16]),
            hops: 0,
            wake_budget: 0,
            next_key: None,
            receipts,
            receipts_seen: None,
            content: Blob::new(out.content.clone()).unwrap(),
        };
        let (key_id, key) = bundle.prekey();
        let recipient = Recipient { key_id, key, pair_key: route.pair_key };
        let sender = Sender { signing: &self.keys.signing, hedge: &self.keys.hedge };
        let envelope = seal(&body, &recipient, &sender, fresh).unwrap();
        let deposit = Deposit {
            edge: route.edge,
            cap: route.cap.clone(),
            slot: device.slot,
            deposit: deposit_id,
            ephemeral: None,
            envelope: Blob::new(envelope).unwrap(),
        };
        Some((route.relay.clone(), deposit))
    }

    /// Opens an envelope; `None` is foreign or not to be read.
    pub(crate) fn open(&self, envelope: &[u8], now_ms: u64) -> Option<(Opener, Body)> {
        let arrived = Arrived::parse(envelope).ok()?;
        let found = arrived.find_contact(self.node.openers())?;
        let opener = *found.contact();
        let me = self.node.account()?;
        assert_eq!(found.key_id(), self.spk.0, "sealed to our signed prekey");
        // Not what was sealed to the device that this machine was before it was linked anew.
        let parsed = found.open(&self.spk_key, &me.device).ok()?.parse().unwrap();
        let peer = self.node.peer(&opener)?;
        let verified = parsed.verify(&me.account, peer.manifest, now_ms).ok()?;
        if peer.shut && !matches!(opener.via, Via::Boot(_)) {
            return None;
        }
        Some((opener, verified.body))
    }

    /// Takes what an envelope says into a batch. The machine is driven here; the caller drains it.
    pub(crate) fn take(&mut self, opener: Opener, body: &Body, batch: &mut Disk, step: &mut Step<'_>) {
        let from = opener.contact;
        for receipt in body.receipts.iter().flat_map(|batch| batch.list.iter()) {
            let devices = batch.outbox.get(&receipt.msg_id).map(|out| {
                let mut left = out.devices.clone().unwrap_or_else(|| self.devices_of(&out.to));
                left.retain(|device| *device != body.from_device);
                left
            });
            if let Some(left) = devices {
                if left.is_empty() {
                    batch.outbox.remove(&receipt.msg_id);
                } else if let Some(out) = batch.outbox.get_mut(&receipt.msg_id) {
                    out.devices = Some(left);
                }
                if receipt.stage == Stage::Refused {
                    self.node.handle_undelivered(&receipt.msg_id, step);
                } else {
                    self.node.handle_delivered(&receipt.msg_id, step);
                }
            }
        }
        if body.kind == Kind::Receipts {
            self.heed(opener, body, step);
            return;
        }
        if batch.seen.contains(&body.msg_id) {
            batch.receipts.insert((from, body.from_device, body.msg_id, true));
            return;
        }
        let delivered = match body.parse_content().unwrap() {
            Content::Control(control) => {
                match self.node.handle_control(opener, &body.from_device, &control, step) {
                    Ok(Heard::Ignored) => return,
                    Ok(_) => true,
                    Err(_) => false,
                }
            }
            Content::Letter(letter) => {
                assert!(!matches!(opener.via, Via::Boot(_)), "mail under a boot key");
                batch.mail.push((from, letter.text.to_string()));
                true
            }
            other => panic!("unexpected {other:?}"),
        };
        if delivered {
            batch.seen.insert(body.msg_id);
        }
        batch.receipts.insert((from, body.from_device, body.msg_id, delivered));
        self.heed(opener, body, step);
    }

    /// Takes what every message says besides its content.
    fn heed(&mut self, opener: Opener, body: &Body, step: &mut Step<'_>) {
        let (theirs, ours) = (&body.manifest, body.peer_manifest.as_ref());
        self.node.handle_message(opener, &body.from_device, theirs, ours, step);
    }
}

pub(crate) fn random<const N: usize>(step: &mut Step<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    step.rng.fill_bytes(&mut bytes);
    bytes
}
