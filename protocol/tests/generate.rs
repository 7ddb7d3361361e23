//! Values of every basic type from a seed.

use penpal_protocol::cbor::{Blob, List, Text};
use penpal_protocol::ids::*;
use penpal_protocol::text::Label;

/// Which values a [`Generator`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Nothing optional, empty lists, short texts.
    Minimal,
    /// Everything optional, lists of two, texts beyond ASCII.
    Full,
    /// Anything, small.
    Random,
}

/// A seeded source (splitmix64) of values.
pub(crate) struct Generator {
    state: u64,
    pub(crate) style: Style,
}

impl Generator {
    pub(crate) fn new(seed: u64, style: Style) -> Self {
        Self { state: seed, style }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = match self.style {
            Style::Minimal => 0,
            Style::Full => from.len() - 1,
            Style::Random => self.below(from.len()),
        };
        from[at].clone()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// How many elements of at most `max` a list or blob gets.
    fn count(&mut self, max: usize) -> usize {
        match self.style {
            Style::Minimal => 0,
            Style::Full => 2.min(max),
            Style::Random => self.below(5).min(max),
        }
    }
}

/// A type of which values can be made.
pub(crate) trait Sample: Sized {
    fn sample(g: &mut Generator) -> Self;
}

impl Sample for u64 {
    fn sample(g: &mut Generator) -> Self {
        match g.style {
            Style::Minimal => 1,
            Style::Full => 1_790_000_000_000,
            Style::Random => {
                let bits = g.below(64);
                g.next() >> bits
            }
        }
    }
}

impl Sample for u8 {
    fn sample(g: &mut Generator) -> Self {
        g.pick(&[0, 1, 23, 24, 255])
    }
}

impl Sample for u16 {
    fn sample(g: &mut Generator) -> Self {
        g.pick(&[1, 23, 24, 256, u16::MAX])
    }
}

impl Sample for u32 {
    fn sample(g: &mut Generator) -> Self {
        g.pick(&[1, 23, 24, 256, u32::MAX])
    }
}

impl Sample for bool {
    fn sample(g: &mut Generator) -> Self {
        g.pick(&[false, true])
    }
}

impl Sample for Label {
    fn sample(g: &mut Generator) -> Self {
        let name = g.pick(&["a", "bob", "0", "shop-web.2_x", &"n".repeat(64), "desktop"].map(str::to_owned));
        Self::new(&name).unwrap()
    }
}

impl<const MAX: usize> Sample for Text<MAX> {
    fn sample(g: &mut Generator) -> Self {
        let text = g.pick(&["", "plain", "two\nlines", "Grüße, 世界 ✓"].map(str::to_owned));
        Self::truncated(&text)
    }
}

impl<const MAX: usize> Sample for Blob<MAX> {
    fn sample(g: &mut Generator) -> Self {
        let count = g.count(MAX) * 13;
        Self::new(g.bytes(count)).unwrap()
    }
}

impl<T: Sample, const MAX: usize> Sample for List<T, MAX> {
    fn sample(g: &mut Generator) -> Self {
        let count = g.count(MAX);
        Self::new((0..count).map(|_| T::sample(g)).collect()).unwrap()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(g: &mut Generator) -> Self {
        let present = match g.style {
            Style::Minimal => false,
            Style::Full => true,
            Style::Random => g.below(2) == 0,
        };
        present.then(|| T::sample(g))
    }
}

macro_rules! ids {
    ($($name:ident)*) => {$(
        impl Sample for $name {
            fn sample(g: &mut Generator) -> Self {
                Self::from_bytes(g.bytes(size_of::<Self>()).try_into().unwrap())
            }
        }
    )*};
}

ids! {
    Fingerprint DeviceId SlotId EdgeId MsgId SessionId ConversationId TraceId InviteId DepositId AccountId RoomId BlobId
    RelayPin ShortHash KeyId KeyHint SpoolEpoch Incarnation RunId RootPublicKey SigningPublicKey TransportPublicKey Hash
    Signature Mac Capability ProfileKey HalfSecret RegistrationProof
    AccountProof SharedKey StateId
}

impl Sample for XWingPublicKey {
    fn sample(g: &mut Generator) -> Self {
        Self::from_slice(&g.bytes(XWING_PUBLIC_BYTES)).unwrap()
    }
}
