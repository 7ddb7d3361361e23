//! Seals what delivery and sessions want sent.

use penpal_delivery::{BodyParts, SealJob, SealKey, Sealed};
use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{
    ConversationId, DepositId, DeviceId, Fingerprint, KeyId, MsgId, TraceId, XWingPublicKey,
};
use penpal_protocol::limits::DAY_MS;
use penpal_protocol::sealed::{Body, Bundle, Content, Kind, OfferedKey, Presence};
use penpal_protocol::wire::Deposit;
use penpal_seal::{FreshBytes, Recipient, Sender, VerifiedBundle, reseal_hash};

use super::machines::{Engine, contact_step, delivery_step, random};

/// Life of a bundle, in milliseconds.
const BUNDLE_LIFE_MS: u64 = 30 * DAY_MS;

/// One envelope to make.
struct Envelope {
    deposit: DepositId,
    body: Body,
    key_id: KeyId,
    key: XWingPublicKey,
    ephemeral: bool,
}

impl Engine {
    /// Seals one copy in this step; its envelope is deposited once the step is durable.
    pub(super) fn seal(&mut self, job: SealJob) {
        let deposit = job.deposit;
        let sealed = self.try_seal(job);
        self.delivery.handle_sealed(deposit, sealed, &mut delivery_step!(self));
    }

    fn try_seal(&mut self, job: SealJob) -> Sealed {
        let peer = job.peer;
        let (key_id, key) = match &job.key {
            SealKey::Receive(offered) => (offered.id, offered.key.clone()),
            SealKey::Prekey => match self.prekey(&peer.account, &peer.device) {
                Some(found) => found,
                None => return Sealed::NoPrekey,
            },
        };
        let offer = job.offer.and_then(|offer| {
            let own = self.vault.receive.key(&offer.key)?;
            Some(OfferedKey { id: offer.key, key: own.public().clone(), use_until_ms: offer.use_until_ms })
        });
        let Some(parts) = self.body_parts(&peer.account, offer) else { return Sealed::NoPrekey };
        let deposit = job.deposit;
        let one_use = matches!(job.key, SealKey::Receive(_));
        let envelope = Envelope { deposit, body: job.into_body(parts), key_id, key, ephemeral: false };
        let sealed = self.deposit(&peer.account, &peer.device, envelope);
        if let (true, Sealed::Done { envelope }) = (one_use, &sealed) {
            tracing::trace!(key = ?key_id, ?envelope, "sealed to a receive key");
        }
        sealed
    }

    /// Seals, and keeps the envelope for the end of the step.
    fn deposit(&mut self, account: &Fingerprint, device: &DeviceId, envelope: Envelope) -> Sealed {
        let Envelope { deposit, body, key_id, key, ephemeral } = envelope;
        let manifest = self.contacts.manifest(account);
        let Some(slot) = manifest.and_then(|manifest| manifest.device(device)).map(|device| device.slot)
        else {
            return Sealed::NoDevice;
        };
        let boot = (body.kind == Kind::Control).then(|| self.contacts.boot_route(&body.msg_id)).flatten();
        let Some(route) = boot.or_else(|| self.contacts.route(account)).filter(|route| route.open) else {
            return Sealed::NoPrekey;
        };
        let recipient = Recipient { key_id, key: &key, pair_key: route.pair_key };
        let sender = Sender { signing: &self.vault.identity.signing, hedge: &self.vault.identity.hedge };
        let fresh = FreshBytes::generate(&mut self.rng);
        let bytes = match penpal_seal::seal(&body, &recipient, &sender, fresh) {
            Ok(bytes) => bytes,
            Err(penpal_seal::SealError::TooLong { .. }) => return Sealed::TooLong,
            Err(error) => {
                tracing::warn!(%error, "a key of a contact cannot be sealed to");
                return Sealed::NoPrekey;
            }
        };
        let hash = reseal_hash(&bytes);
        let (relay, edge, cap) = (route.relay.clone(), route.edge, route.cap.clone());
        let Ok(envelope) = Blob::new(bytes) else { return Sealed::TooLong };
        let Some(link) = self.link_to(&relay) else { return Sealed::NoPrekey };
        self.flying.insert(deposit, (link, *account, edge));
        let ephemeral = ephemeral.then_some(true);
        self.deposits.push((link, Box::new(Deposit { edge, cap, slot, deposit, ephemeral, envelope })));
        Sealed::Done { envelope: hash }
    }

    fn prekey(&self, account: &Fingerprint, device: &DeviceId) -> Option<(KeyId, XWingPublicKey)> {
        let bundle = self.contacts.bundle(account, device, self.now.wall_ms)?;
        let (id, key) = bundle.prekey();
        Some((id, key.clone()))
    }

    fn body_parts(&self, account: &Fingerprint, next_key: Option<OfferedKey>) -> Option<BodyParts> {
        let me = self.contacts.account()?;
        let peer_manifest = self.contacts.manifest(account).map(penpal_seal::VerifiedManifest::reference);
        Some(BodyParts {
            from: me.account,
            from_device: me.device,
            manifest: me.manifest,
            peer_manifest,
            next_key,
        })
    }

    /// Sends the list of sessions to every device of a contact, unspooled.
    pub(super) fn announce(&mut self, contact: Fingerprint, presence: &Presence) {
        if self.contacts.route(&contact).is_none_or(|route| !route.open) {
            // Once mail can be deposited the contact counts as up anew, and gets the list then.
            tracing::debug!(?contact, "presence has no way yet");
            return;
        }
        let Some(view) = self.contacts.view(&contact) else { return };
        let devices: Vec<DeviceId> = view.devices.into_iter().map(|device| device.id).collect();
        for device in devices {
            let Some((key_id, key)) = self.prekey(&contact, &device) else {
                if self.unsent_presence.insert(contact, presence.clone()).is_none() {
                    self.contacts.fetch(&contact, &mut contact_step!(self));
                }
                continue;
            };
            let Some(parts) = self.body_parts(&contact, None) else { return };
            let body = Body {
                from: parts.from,
                from_device: parts.from_device,
                manifest: parts.manifest,
                to: contact,
                to_device: device,
                peer_manifest: parts.peer_manifest,
                msg_id: MsgId::from_bytes(random(&mut self.rng)),
                conversation: ConversationId::from_bytes([0; 16]),
                incarnation: self.delivery.incarnation(),
                order: None,
                sent_ms: self.now.wall_ms,
                expires_ms: self.now.wall_ms.saturating_add(presence.ttl_ms.max(1)),
                kind: Kind::Presence,
                trace_id: TraceId::from_bytes([0; 16]),
                hops: 0,
                wake_budget: 0,
                next_key: None,
                receipts: None,
                receipts_seen: None,
                content: Blob::new(Content::Presence(presence.clone()).encode()).unwrap_or_default(),
            };
            let deposit = DepositId::from_bytes(random(&mut self.rng));
            let envelope = Envelope { deposit, body, key_id, key, ephemeral: true };
            let sealed = self.deposit(&contact, &device, envelope);
            tracing::debug!(?contact, ?sealed, "presence");
        }
    }

    /// A fetch for this contact is over: what waited for it goes out, once.
    pub(super) fn send_unsent_presence(&mut self, contact: Fingerprint) {
        if let Some(presence) = self.unsent_presence.remove(&contact)
            && self.contacts.view(&contact).is_some_and(|view| {
                view.devices.iter().all(|device| self.prekey(&contact, &device.id).is_some())
            })
        {
            self.announce(contact, &presence);
        }
    }

    /// Signs a bundle for one of our keys and hands it to the relay.
    pub(super) fn publish_prekey(&mut self, key: KeyId, issued_ms: u64) {
        let Some(device) = self.contacts.account().map(|me| me.device) else { return };
        let Some(own) = self.vault.receive.key(&key) else {
            tracing::error!("the seed of a prekey is missing");
            return;
        };
        let bundle = Bundle {
            device,
            signing: self.vault.identity.signing.public(),
            key_id: key,
            key: own.public().clone(),
            issued_ms,
            expires_ms: issued_ms.saturating_add(BUNDLE_LIFE_MS),
        };
        let signed = match VerifiedBundle::sign(&self.vault.identity.signing, bundle) {
            Ok(bundle) => bundle.signed().to_vec(),
            Err(error) => {
                tracing::error!(%error, "own bundle cannot be signed");
                return;
            }
        };
        if let Err(error) = self.contacts.publish_bundle(&signed, &mut contact_step!(self)) {
            tracing::error!(%error, "own bundle cannot be published");
        }
    }
}
