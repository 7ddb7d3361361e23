//! Which revisions of the protocol this code speaks.

/// TLS application protocol (ALPN) of a connection between node and relay.
///
/// Its number is the major version: another one does not talk to this one at all.
pub const ALPN: &str = "penpal/1";

/// Newest protocol revision that this code speaks.
///
/// A revision adds frames and optional fields within one major version; a relay names its range in `Welcome`.
pub const PROTOCOL_REVISION: u16 = 1;

/// Oldest protocol revision that this code still speaks.
pub const MIN_PROTOCOL_REVISION: u16 = 1;

const _: () = assert!(MIN_PROTOCOL_REVISION <= PROTOCOL_REVISION);

/// The newest revision that both sides speak, given the other side's range; `None` when there is none.
#[must_use]
pub fn common_revision(min: u16, max: u16) -> Option<u16> {
    let newest = max.min(PROTOCOL_REVISION);
    (newest >= min.max(MIN_PROTOCOL_REVISION)).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_common_revision_wins() {
        assert_eq!(common_revision(1, 1), Some(1));
        assert_eq!(common_revision(1, 9), Some(PROTOCOL_REVISION));
        assert_eq!(common_revision(0, 0), None);
        assert_eq!(common_revision(PROTOCOL_REVISION + 1, PROTOCOL_REVISION + 3), None);
        assert_eq!(common_revision(3, 1), None);
    }
}
