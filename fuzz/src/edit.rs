//! Genuine bytes, spoiled as an input says.

/// Applies edits of four bytes each: what to do, where (two bytes), with which value.
pub(crate) fn edited(genuine: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut out = genuine.to_vec();
    for edit in edits.chunks_exact(4) {
        let [what, high, low, value] = *edit else { continue };
        if out.is_empty() {
            break;
        }
        let at = usize::from(u16::from_be_bytes([high, low])) % out.len();
        match what % 6 {
            0 => out[at] ^= value,
            1 => out[at] = value,
            2 => out.truncate(at),
            3 => out.insert(at, value),
            4 => drop(out.remove(at)),
            _ => {
                let piece = out[at..(at + usize::from(value)).min(out.len())].to_vec();
                out.extend(piece);
            }
        }
    }
    out
}
