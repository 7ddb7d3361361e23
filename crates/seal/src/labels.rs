//! Every label under which something is hashed, signed, authenticated or derived.
//!
//! A label is `penpal/v1/<use>` and a zero byte, and stands first in its input. The four kinds are four types, so a hash
//! label cannot reach a signature; no function of this crate takes a label as text. Hashes that need no secret are in
//! `penpal_protocol`. Source: `docs/protocol.md`, notation.

macro_rules! labels {
    ($(#[$doc:meta])* $kind:ident { $($(#[$variant_doc:meta])* $variant:ident = $use_:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $kind { $($(#[$variant_doc])* $variant,)* }

        impl $kind {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The label's bytes with the final zero.
            pub(crate) const fn bytes(self) -> &'static [u8] {
                match self { $(Self::$variant => concat!("penpal/v1/", $use_, "\0").as_bytes(),)* }
            }
        }
    };
}

labels! {
    /// What is hashed (SHA-256).
    HashLabel {
        /// An X-Wing public key.
        RecipientKey = "pk",
        /// An encapsulation: the duplicate check, and the input of hint and key mask.
        Encapsulation = "enc",
        /// An encoded message body.
        Body = "body",
        /// What ties a message signature to one envelope and one recipient.
        Bind = "bind",
        /// A whole envelope, as named in a request to seal again.
        Envelope = "envelope",
        /// An invite's record with its signature.
        Record = "record",
        /// An invite request's body.
        Request = "request",
        /// Transcript up to the request (T3).
        InviteRequest = "invite-request",
        /// An acceptance's body.
        Accept = "accept",
        /// Transcript up to the acceptance (T4).
        InviteAccept = "invite-accept",
        /// Transcript up to a new device's request (T5).
        LinkRequest = "link-request",
        /// Transcript up to its answer (T6).
        LinkAnswer = "link-answer",
        /// Two root keys, as people compare them.
        SafetyNumber = "safety-number",
        /// An entry of a room's membership log, as the next one names it.
        RoomEntry = "room-entry",
        /// A key file, to tell a torn one.
        KeyFile = "key-file",
        /// The known answer of the self check.
        SelfCheck = "self-check",
    }
}

labels! {
    /// What is signed (Ed25519).
    SignatureLabel {
        /// A message, by a device.
        Message = "msg",
        /// A manifest, by the root.
        Manifest = "manifest-signature",
        /// A bundle, by a device.
        Bundle = "bundle-signature",
        /// An invite's record, by the inviting device.
        Record = "record-signature",
        /// T3, by the invited device.
        Request = "request-signature",
        /// T4, by the accepting device.
        Accept = "accept-signature",
        /// An entry of a room's membership log, by a device of its owner.
        RoomEntry = "room-entry-signature",
        /// T5, by the new device.
        LinkRequest = "link-request-signature",
        /// T6, by the device that holds the root.
        LinkAnswer = "link-answer-signature",
    }
}

labels! {
    /// What is authenticated (HMAC-SHA256).
    MacLabel {
        /// The mask of a key id.
        KeyId = "kid",
        /// The hint by which a recipient finds the contact.
        Hint = "hint",
        /// T3: the invited side knows the invite's secret.
        Request = "B",
        /// T4: the inviting side knows the invite's secret.
        Accept = "A",
        /// T5: the new device knows the code's secret.
        LinkRequest = "D",
        /// T6: the linking device knows the code's secret.
        LinkAnswer = "L",
    }
}

labels! {
    /// What is derived (HKDF-SHA256 `info`) or bound as HPKE `info`.
    KeyLabel {
        /// Coins of an encapsulation.
        Encapsulation = "encap",
        /// HPKE: an envelope.
        Seal = "seal",
        /// HPKE: an invite request.
        Invite = "invite",
        /// An invite's id.
        InviteId = "invite-id",
        /// Key of an invite's record.
        InviteKey = "invite-key",
        /// MAC key of an invite.
        InviteMac = "invite-mac",
        /// Registration proof of an invite.
        InviteRegistration = "invite-registration",
        /// Pair key of the acceptance.
        Boot = "boot",
        /// Pair key of one direction of a contact.
        Pair = "pair",
        /// Pair key among an account's own devices.
        OwnDevices = "self",
        /// HPKE: the request and the answer of a new device.
        Link = "link",
        /// Secret of the second mailbox, in which the answer lies.
        LinkMailbox = "link-mailbox",
        /// Shows a relay that its holder has the account's root.
        AccountProof = "proof-of-root",
        /// Key of one part of the account state that a relay keeps.
        State = "state",
        /// Key of a stored manifest or bundle.
        Profile = "profile",
        /// Key of an artifact's chunks.
        Artifact = "artifact",
        /// Key of an export's chunks.
        Export = "export",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_label_serves_two_uses() {
        let all: Vec<&[u8]> = HashLabel::ALL
            .iter()
            .map(|l| l.bytes())
            .chain(SignatureLabel::ALL.iter().map(|l| l.bytes()))
            .chain(MacLabel::ALL.iter().map(|l| l.bytes()))
            .chain(KeyLabel::ALL.iter().map(|l| l.bytes()))
            .chain([
                // Hash labels of `penpal_protocol`.
                b"penpal/v1/root\0".as_slice(),
                b"penpal/v1/manifest\0",
                b"penpal/v1/identity\0",
                b"penpal/v1/content\0",
                b"penpal/v1/chain\0",
                b"penpal/v1/cap\0",
                b"penpal/v1/reg\0",
                b"penpal/v1/relay-pin\0",
                b"penpal/v1/account-proof\0",
                b"penpal/v1/recovery-code\0",
            ])
            .collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        for label in all {
            assert!(label.starts_with(b"penpal/v1/") && label.ends_with(b"\0"));
            assert_eq!(label.iter().filter(|byte| **byte == 0).count(), 1);
        }
    }
}
