//! Addresses of mailboxes and rooms, as people and agents write them.

use std::fmt;
use std::str::FromStr;

use super::label::{Label, LabelError};

/// Name of the mailbox that every device has for its person.
const DESK: &str = "desk";
/// First part of an address of this account's other devices.
const ME: &str = "me";

/// Whom a message is for, as it was written; whether such a mailbox exists is decided elsewhere.
///
/// | written | means |
/// | --- | --- |
/// | `x` | a local session, or a contact's desk |
/// | `./x` | a local session; `desk` and `./desk` this device's desk |
/// | `x/` | a contact's desk, also written `x/desk` |
/// | `x/y` | a contact's session, never a device |
/// | `x/d/y` | a session on one device of a contact |
/// | `me/d/y` | a session on another device of this account |
/// | `#r` | a room |
///
/// Case is folded. `Display` gives the form in this table. A session part `desk` after a device means that device's desk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `x`
    Bare(Label),
    /// `./x`
    Local(Label),
    /// `x/`
    Desk(Label),
    /// `x/y`
    Session {
        /// The contact.
        contact: Label,
        /// Its session.
        session: Label,
    },
    /// `x/d/y`
    Device {
        /// The contact.
        contact: Label,
        /// Its device.
        device: Label,
        /// The session there.
        session: Label,
    },
    /// `me/d/y`
    Own {
        /// Another device of this account.
        device: Label,
        /// The session there.
        session: Label,
    },
    /// `#r`
    Room(Label),
}

/// A part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressPart {
    /// A name that may be a session or a contact.
    Name,
    /// The contact.
    Contact,
    /// The device.
    Device,
    /// The session.
    Session,
    /// The room.
    Room,
}

/// A text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// One part is not a name.
    #[error("{part} in {address:?}: {source}")]
    Part {
        /// Which part.
        part: AddressPart,
        /// The whole address, cut when long.
        address: String,
        /// What is wrong with the part.
        source: LabelError,
    },
    /// A word that cannot be the name of this part.
    #[error("{part} in {address:?} cannot be called {name:?}")]
    Reserved {
        /// Which part.
        part: AddressPart,
        /// The whole address, cut when long.
        address: String,
        /// The word.
        name: Label,
    },
    /// `me`, `me/` or `me/x`.
    #[error("{address:?} needs a device and a session: me/DEVICE/SESSION")]
    OwnDevice {
        /// The whole address, cut when long.
        address: String,
    },
    /// More than three parts.
    #[error("{address:?} has more than contact, device and session")]
    TooManyParts {
        /// The whole address, cut when long.
        address: String,
    },
}

impl Address {
    /// The account part: the contact for every form that names one for certain.
    #[must_use]
    pub fn contact(&self) -> Option<&Label> {
        match self {
            Self::Desk(contact) | Self::Session { contact, .. } | Self::Device { contact, .. } => {
                Some(contact)
            }
            Self::Bare(_) | Self::Local(_) | Self::Own { .. } | Self::Room(_) => None,
        }
    }
}

struct Reader<'t> {
    whole: &'t str,
}

impl Reader<'_> {
    fn shown(&self) -> String {
        self.whole.chars().take(100).collect()
    }

    /// A part that may be `desk`: sessions only.
    fn session(&self, part: AddressPart, text: &str) -> Result<Label, AddressError> {
        let label =
            Label::new(text).map_err(|source| AddressError::Part { part, address: self.shown(), source })?;
        if label.as_str() == ME {
            return Err(AddressError::Reserved { part, address: self.shown(), name: label });
        }
        Ok(label)
    }

    fn name(&self, part: AddressPart, text: &str) -> Result<Label, AddressError> {
        let label = self.session(part, text)?;
        if label.is_reserved() {
            return Err(AddressError::Reserved { part, address: self.shown(), name: label });
        }
        Ok(label)
    }

    fn read(&self) -> Result<Address, AddressError> {
        if let Some(room) = self.whole.strip_prefix('#') {
            return self.name(AddressPart::Room, room).map(Address::Room);
        }
        if let Some(session) = self.whole.strip_prefix("./") {
            return self.session(AddressPart::Session, session).map(Address::Local);
        }
        let parts: Vec<&str> = self.whole.splitn(4, '/').collect();
        let own = |first: &str| first.eq_ignore_ascii_case(ME);
        match *parts.as_slice() {
            [first] | [first, _] if own(first) => Err(AddressError::OwnDevice { address: self.shown() }),
            [name] if name.eq_ignore_ascii_case(DESK) => {
                self.session(AddressPart::Session, name).map(Address::Local)
            }
            [name] => self.name(AddressPart::Name, name).map(Address::Bare),
            [contact, ""] => self.name(AddressPart::Contact, contact).map(Address::Desk),
            [contact, session] => {
                let contact = self.name(AddressPart::Contact, contact)?;
                let session = self.session(AddressPart::Session, session)?;
                Ok(if session.as_str() == DESK {
                    Address::Desk(contact)
                } else {
                    Address::Session { contact, session }
                })
            }
            [first, device, session] if own(first) => Ok(Address::Own {
                device: self.name(AddressPart::Device, device)?,
                session: self.session(AddressPart::Session, session)?,
            }),
            [contact, device, session] => Ok(Address::Device {
                contact: self.name(AddressPart::Contact, contact)?,
                device: self.name(AddressPart::Device, device)?,
                session: self.session(AddressPart::Session, session)?,
            }),
            _ => Err(AddressError::TooManyParts { address: self.shown() }),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Reader { whole: text.trim() }.read()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(name) => write!(f, "{name}"),
            Self::Local(session) => write!(f, "./{session}"),
            Self::Desk(contact) => write!(f, "{contact}/"),
            Self::Session { contact, session } => write!(f, "{contact}/{session}"),
            Self::Device { contact, device, session } => write!(f, "{contact}/{device}/{session}"),
            Self::Own { device, session } => write!(f, "{ME}/{device}/{session}"),
            Self::Room(room) => write!(f, "#{room}"),
        }
    }
}

impl fmt::Display for AddressPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name",
            Self::Contact => "the contact",
            Self::Device => "the device",
            Self::Session => "the session",
            Self::Room => "the room",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_and_its_canonical_text() {
        let label = |text: &str| Label::new(text).unwrap();
        for (written, expected, shown) in [
            ("api", Address::Bare(label("api")), "api"),
            (" API ", Address::Bare(label("api")), "api"),
            ("./api", Address::Local(label("api")), "./api"),
            ("desk", Address::Local(label("desk")), "./desk"),
            ("./Desk", Address::Local(label("desk")), "./desk"),
            ("bob/", Address::Desk(label("bob")), "bob/"),
            ("bob/desk", Address::Desk(label("bob")), "bob/"),
            ("Bob/Web", Address::Session { contact: label("bob"), session: label("web") }, "bob/web"),
            (
                "bob/desktop/web",
                Address::Device { contact: label("bob"), device: label("desktop"), session: label("web") },
                "bob/desktop/web",
            ),
            (
                "me/laptop/api",
                Address::Own { device: label("laptop"), session: label("api") },
                "me/laptop/api",
            ),
            (
                "me/laptop/desk",
                Address::Own { device: label("laptop"), session: label("desk") },
                "me/laptop/desk",
            ),
            ("#payments", Address::Room(label("payments")), "#payments"),
        ] {
            let address: Address = written.parse().unwrap();
            assert_eq!(address, expected, "{written}");
            assert_eq!(address.to_string(), shown, "{written}");
        }
    }

    #[test]
    fn each_error_names_its_part() {
        let part = |text: &str| match text.parse::<Address>().unwrap_err() {
            AddressError::Part { part, .. } | AddressError::Reserved { part, .. } => Some(part),
            AddressError::OwnDevice { .. } | AddressError::TooManyParts { .. } => None,
        };
        assert_eq!(part(""), Some(AddressPart::Name));
        assert_eq!(part("a b"), Some(AddressPart::Name));
        assert_eq!(part("./"), Some(AddressPart::Session));
        assert_eq!(part("/"), Some(AddressPart::Contact));
        assert_eq!(part("/web"), Some(AddressPart::Contact));
        assert_eq!(part("desk/web"), Some(AddressPart::Contact));
        assert_eq!(part("bob/me"), Some(AddressPart::Session));
        assert_eq!(part("bob/w b"), Some(AddressPart::Session));
        assert_eq!(part("bob//web"), Some(AddressPart::Device));
        assert_eq!(part("bob/me/web"), Some(AddressPart::Device));
        assert_eq!(part("bob/desktop/"), Some(AddressPart::Session));
        assert_eq!(part("#"), Some(AddressPart::Room));
        assert_eq!(part("#desk"), Some(AddressPart::Room));
        for own in ["me", "ME/", "me/web"] {
            assert!(matches!(own.parse::<Address>(), Err(AddressError::OwnDevice { .. })), "{own}");
        }
        assert!(matches!("a/b/c/d".parse::<Address>(), Err(AddressError::TooManyParts { .. })));
    }

    #[test]
    fn an_error_shows_the_address_and_not_all_of_a_long_one() {
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(error("me/web"), AddressError::OwnDevice { address: "me/web".to_owned() });
        for (text, part) in [
            ("me b", "the name in "),
            ("/web", "the contact in "),
            ("bob/me/web", "the device in "),
            ("./a b", "the session in "),
            ("#a b", "the room in "),
        ] {
            let shown = error(text).to_string();
            assert!(shown.starts_with(&format!("{part}{text:?}")), "{shown}");
        }
        let long = format!("a/b/c/{}", "d".repeat(100));
        assert_eq!(error(&long), AddressError::TooManyParts { address: long[..100].to_owned() });
    }

    #[test]
    fn only_some_forms_name_a_contact_for_certain() {
        let contact = |text: &str| text.parse::<Address>().unwrap().contact().map(ToString::to_string);
        for with in ["bob/", "bob/web", "bob/desktop/web"] {
            assert_eq!(contact(with).as_deref(), Some("bob"), "{with}");
        }
        for without in ["bob", "./web", "me/laptop/web", "#bob"] {
            assert_eq!(contact(without), None, "{without}");
        }
    }

    proptest! {
        #[test]
        fn shown_addresses_read_back(text in "[#./]{0,2}[a-z0-9._-]{0,6}(/[a-z0-9._-]{0,6}){0,3}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,200}") {
            drop(text.parse::<Address>());
        }
    }
}
