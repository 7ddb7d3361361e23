//! Bodies that a node made up, and handing them in as if they had opened.

use super::*;

impl World {
    fn forge(
        &mut self,
        from: Id,
        to: Id,
        kind: penpal_protocol::sealed::Kind,
    ) -> penpal_protocol::sealed::Body {
        use penpal_protocol::ids::{ConversationId, MsgId, ShortHash, TraceId};
        use penpal_protocol::sealed::{Body, ManifestRef};
        let sent_ms = self.now(from).wall_ms;
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        Body {
            from: peer(from).account,
            from_device: peer(from).device,
            manifest: ManifestRef { version: 1, hash: ShortHash::from_bytes([1; 16]) },
            to: peer(to).account,
            to_device: peer(to).device,
            peer_manifest: None,
            msg_id: MsgId::from_bytes(id),
            conversation: ConversationId::from_bytes(id),
            incarnation: self.nodes[from].machine().incarnation(),
            order: None,
            sent_ms,
            expires_ms: sent_ms + 1000 * 3600,
            kind,
            trace_id: TraceId::from_bytes(id),
            hops: 0,
            wake_budget: 0,
            next_key: None,
            receipts: None,
            receipts_seen: None,
            content: penpal_protocol::cbor::Blob::default(),
        }
    }

    pub(crate) fn forge_need_reseal(
        &mut self,
        from: Id,
        to: Id,
        hashes: &[penpal_protocol::ids::ShortHash],
    ) -> penpal_protocol::sealed::Body {
        use penpal_protocol::sealed::{Content, Kind, NeedReseal};
        let envelopes = penpal_protocol::cbor::List::new(hashes.to_vec()).expect("few");
        let content = Content::NeedReseal(NeedReseal { envelopes }).encode();
        let mut body = self.forge(from, to, Kind::NeedReseal);
        body.content = penpal_protocol::cbor::Blob::new(content).expect("short");
        body
    }

    pub(crate) fn forge_receipt(
        &mut self,
        from: Id,
        to: Id,
        msg_id: penpal_protocol::ids::MsgId,
        stage: penpal_protocol::sealed::Stage,
    ) -> penpal_protocol::sealed::Body {
        use penpal_protocol::sealed::{Kind, Receipt, ReceiptBatch};
        let at_ms = self.now(from).wall_ms;
        let receipt = Receipt { msg_id, stage, session: None, mechanism: None, reason: None, at_ms };
        let list = penpal_protocol::cbor::List::new(vec![receipt]).expect("one");
        let mut body = self.forge(from, to, Kind::Receipts);
        body.receipts = Some(ReceiptBatch { rseq: 1, list });
        body
    }

    pub(crate) fn forge_letter(
        &mut self,
        from: Id,
        to: Id,
        text: &str,
        order: Option<penpal_protocol::sealed::Order>,
    ) -> penpal_protocol::sealed::Body {
        use penpal_protocol::sealed::{Content, Kind};
        let letter = Send::note(to, text).letter();
        let mut body = self.forge(from, to, Kind::Note);
        body.order = order;
        let content = Content::Letter(Box::new(letter)).encode();
        body.content = penpal_protocol::cbor::Blob::new(content).expect("short");
        body
    }

    /// Hands a body to a node as if it had opened.
    pub(crate) fn deliver_forged(
        &mut self,
        to: Id,
        body: penpal_protocol::sealed::Body,
    ) -> Option<penpal_delivery::Outcome> {
        self.deliver_row(to, None, body)
    }

    pub(crate) fn deliver_row(
        &mut self,
        to: Id,
        row: Option<SpoolRow>,
        body: penpal_protocol::sealed::Body,
    ) -> Option<penpal_delivery::Outcome> {
        use penpal_delivery::Verdict;
        self.deliver_as(to, row, body, Verdict::Opened)
    }

    /// Hands a body to a node that finds that it does not count there.
    pub(crate) fn deliver_declined(
        &mut self,
        to: Id,
        body: penpal_protocol::sealed::Body,
        reason: &str,
    ) -> Option<penpal_delivery::Outcome> {
        use penpal_delivery::Verdict;
        self.deliver_as(to, None, body, |opened| Verdict::Declined { opened, reason: reason.to_owned() })
    }

    fn deliver_as(
        &mut self,
        to: Id,
        row: Option<SpoolRow>,
        body: penpal_protocol::sealed::Body,
        verdict: impl FnOnce(Box<penpal_delivery::Opened>) -> penpal_delivery::Verdict,
    ) -> Option<penpal_delivery::Outcome> {
        use penpal_delivery::{Arrival, Mailbox, Opened, Placement};
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        let mark = penpal_protocol::ids::ShortHash::from_bytes(id);
        let content = body.parse_content().expect("good content");
        let placement = Placement { mailbox: Mailbox::Desk, held: None, quiet: false };
        let opened = Opened { key: KeyId::from_bytes([0; 8]), body, content, placement };
        let verdict = verdict(Box::new(opened));
        let arrival = Arrival { row, enc: mark, envelope: mark, verdict };
        self.step(to, |machine, step| machine.handle_arrival(arrival, step))
    }

    // ---- time ------------------------------------------------------------------------------------------------------
}
