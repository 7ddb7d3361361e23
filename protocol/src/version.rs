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

/// The revisions that one side speaks, oldest and newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    /// Oldest.
    pub min: u16,
    /// Newest.
    pub max: u16,
}

impl Revisions {
    /// Those of this code.
    pub const OWN: Self = Self { min: MIN_PROTOCOL_REVISION, max: PROTOCOL_REVISION };

    /// The newest revision that both sides speak; `None` when there is none.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl std::fmt::Display for Revisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.min == self.max {
            write!(f, "revision {}", self.max)
        } else {
            write!(f, "revisions {} to {}", self.min, self.max)
        }
    }
}

/// The newest revision that both sides speak, given the other side's range; `None` when there is none.
#[must_use]
pub fn common_revision(min: u16, max: u16) -> Option<u16> {
    Revisions::OWN.common(Revisions { min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_meet_where_their_ranges_do() {
        let range = |min, max| Revisions { min, max };
        assert_eq!(range(1, 2).common(range(1, 1)), Some(1));
        assert_eq!(range(1, 1).common(range(1, 2)), Some(1));
        assert_eq!(range(1, 3).common(range(2, 4)), Some(3));
        assert_eq!(range(2, 2).common(range(1, 1)), None);
        assert_eq!(range(1, 1).common(range(2, 2)), None);
        assert_eq!([range(1, 1), range(1, 2)].map(|one| one.to_string()), ["revision 1", "revisions 1 to 2"]);
    }

    #[test]
    fn newest_common_revision_wins() {
        assert_eq!(common_revision(1, 1), Some(1));
        assert_eq!(common_revision(1, 9), Some(PROTOCOL_REVISION));
        assert_eq!(common_revision(0, 0), None);
        assert_eq!(common_revision(PROTOCOL_REVISION + 1, PROTOCOL_REVISION + 3), None);
        assert_eq!(common_revision(3, 1), None);
    }
}
