//! Surgery on encoded maps, to build what no encoder of ours would.

/// One entry of a map: the key, and the bytes of the value.
pub(crate) type Entry = (u64, Vec<u8>);

/// Reads the head at the start: major type, argument, length of the head.
fn head(bytes: &[u8]) -> (u8, u64, usize) {
    let (major, low) = (bytes[0] >> 5, bytes[0] & 31);
    let width = match low {
        0..24 => return (major, u64::from(low), 1),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => panic!("indefinite length in our own encoding"),
    };
    (major, bytes[1..=width].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)), width + 1)
}

fn item_bytes(bytes: &[u8]) -> usize {
    let (major, argument, mut at) = head(bytes);
    let argument = usize::try_from(argument).unwrap();
    match major {
        2 | 3 => at + argument,
        4 | 5 => {
            for _ in 0..argument * usize::from(major - 3) {
                at += item_bytes(&bytes[at..]);
            }
            at
        }
        _ => at,
    }
}

/// The entries of a map in our own encoding; `None` when it is no map.
pub(crate) fn entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (major, count, mut at) = head(bytes);
    (major == 5).then(|| {
        (0..count)
            .map(|_| {
                let (_, key, key_bytes) = head(&bytes[at..]);
                at += key_bytes;
                let length = item_bytes(&bytes[at..]);
                let value = bytes[at..at + length].to_vec();
                at += length;
                (key, value)
            })
            .collect()
    })
}

/// A head in its shortest form.
pub(crate) fn write_head(major: u8, argument: u64) -> Vec<u8> {
    let first = |low: u8| major << 5 | low;
    match argument {
        0..24 => vec![first(argument as u8)],
        24..0x100 => vec![first(24), argument as u8],
        0x100..0x1_0000 => [&[first(25)][..], &(argument as u16).to_be_bytes()].concat(),
        0x1_0000..0x1_0000_0000 => [&[first(26)][..], &(argument as u32).to_be_bytes()].concat(),
        _ => [&[first(27)][..], &argument.to_be_bytes()].concat(),
    }
}

/// A map of these entries, in this order.
pub(crate) fn map(entries: &[Entry]) -> Vec<u8> {
    let mut out = write_head(5, entries.len() as u64);
    out.extend(body(entries));
    out
}

/// The entries without the map's head.
pub(crate) fn body(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(|(key, value)| [write_head(0, *key), value.clone()].concat()).collect()
}
