//! What people type and paste: what is read is written in one way, which means the same.

use std::{fmt::Debug, str::FromStr};

use penpal_protocol::{
    ids::{DeviceId, MsgId},
    text::{Address, Host, HostPort, InviteCode, Label, RelayAddress, pin_from_text, pin_to_text},
};

/// Text, read as everything that text may be.
pub fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    labels(text);
    same_again(text, Address::to_string);
    same_again(text, RelayAddress::to_string);
    same_again(text, Host::to_string);
    same_again(text, HostPort::to_string);
    if let Ok(code) = InviteCode::from_str(text) {
        for again in [code.to_code(), code.to_link()] {
            // Without the codes in the message: they are secrets, in their type's eyes.
            assert!(InviteCode::from_str(&again).as_ref() == Ok(&code), "a code is written as another");
        }
    }
    if let Ok(pin) = pin_from_text(text) {
        assert_eq!(pin_from_text(&pin_to_text(&pin)), Ok(pin));
    }
    if let Ok(id) = MsgId::parse(text) {
        assert_eq!(MsgId::parse(&id.to_text()), Ok(id));
        assert_eq!(DeviceId::parse(text).map(|id| id.to_text()), Ok(id.to_text()));
    }
}

fn same_again<T: FromStr + PartialEq + Debug>(text: &str, write: impl Fn(&T) -> String)
where
    T::Err: Debug,
{
    let Ok(value) = T::from_str(text) else { return };
    let again = write(&value);
    match T::from_str(&again) {
        Ok(same) => assert_eq!(same, value, "{text:?} is written as {again:?}"),
        Err(error) => panic!("{text:?} is written as {again:?}, which is refused: {error:?}"),
    }
}

fn labels(text: &str) {
    same_again(text, Label::to_string);
    let reduced = Label::reduce(text, "x");
    assert_eq!(Label::new(reduced.as_str()).as_ref(), Ok(&reduced), "{text:?}");
    for number in [2, 10, u32::MAX] {
        let numbered = reduced.numbered(number);
        assert_eq!(Label::new(numbered.as_str()).as_ref(), Ok(&numbered), "{text:?}");
    }
}
