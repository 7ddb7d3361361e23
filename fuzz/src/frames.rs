//! Frames: any number, any payload, in any place where a frame may stand.

use penpal_protocol::wire::{Answer, Deposit, DepositAnswer, Event, FrameKind, Request};

use crate::recode::one_encoding;

/// The first byte is the frame number, the rest its payload.
pub fn check(data: &[u8]) {
    let Some((number, payload)) = data.split_first() else { return };
    let number = *number;
    let request = one_encoding(payload, |bytes| Request::decode(number, bytes), Request::encode);
    let answer = one_encoding(payload, |bytes| Answer::decode(number, bytes), Answer::encode);
    let event = one_encoding(payload, |bytes| Event::decode(number, bytes), Event::encode);
    let deposit = one_encoding(payload, |bytes| Deposit::decode(number, bytes), Deposit::encode);
    let outcome = one_encoding(payload, |bytes| DepositAnswer::decode(number, bytes), DepositAnswer::encode);
    let kinds = [
        request.map(|frame| frame.kind()),
        answer.map(|frame| frame.kind()),
        event.map(|frame| frame.kind()),
        deposit.map(|_| FrameKind::Deposit),
        outcome.map(|_| FrameKind::DepositAnswer),
    ];
    let kinds: Vec<FrameKind> = kinds.into_iter().flatten().collect();
    assert!(kinds.len() <= 1, "one payload is read as {kinds:?}");
    assert!(kinds.iter().all(|kind| kind.number() == number), "number {number} is read as {kinds:?}");
}
