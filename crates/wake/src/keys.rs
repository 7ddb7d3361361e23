//! What a person's keys do to the line that is being written, as far as it can be told from outside.

/// What keys did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// Nothing of the person's: an answer of the terminal itself, a mouse or focus report.
    Nothing,
    /// Something stands in the line, or may stand there.
    Draft,
    /// The line was sent or thrown away.
    Empty,
}

/// Control-C as a number.
const CONTROL_C: &[u8] = b"\x1b[99;5u";

/// Longest control sequence that is read; a longer one counts as text.
const MAX_SEQUENCE: usize = 64;

/// Reads a keyboard's bytes as they pass. It errs on one side only: what may have left something in the line counts as a draft.
///
/// Knows plain keys, control sequences (CSI), bracketed paste, and the keyboard protocol that names keys by number (`CSI 13 u`).
#[derive(Debug, Default)]
pub struct Keys {
    sequence: Vec<u8>,
    pasting: bool,
    slash: Slash,
}

/// Where a backslash stands in the line: return behind one breaks the line and sends nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Slash {
    #[default]
    Nowhere,
    /// Not where the next key goes.
    Elsewhere,
    /// Where the next key goes, or it may be there.
    Before,
}

impl Keys {
    /// Takes bytes in the order in which they were typed; gives what the last of them left, [`Typed::Nothing`] when none did anything.
    pub fn read(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::Nothing;
        for byte in bytes {
            match self.one(*byte) {
                Typed::Nothing => {}
                Typed::Draft => typed = Typed::Draft,
                Typed::Empty => typed = Typed::Empty,
            }
        }
        // A lone escape is a key; it closes menus and leaves the line as it is.
        if self.sequence == [0x1b] {
            self.sequence.clear();
        }
        typed
    }

    fn one(&mut self, byte: u8) -> Typed {
        if !self.sequence.is_empty() {
            return self.in_sequence(byte);
        }
        match byte {
            0x1b => {
                self.sequence.push(byte);
                Typed::Nothing
            }
            _ if self.pasting => {
                self.text(byte);
                Typed::Draft
            }
            b'\r' => self.entered(),
            // Control-C, which throws the line away.
            0x03 => self.emptied(),
            _ => {
                self.text(byte);
                Typed::Draft
            }
        }
    }

    /// Something was typed or pasted, or a control key moved or deleted.
    fn text(&mut self, byte: u8) {
        match byte {
            b'\\' => self.slash = Slash::Before,
            0..0x20 | 0x7f => self.moved(),
            _ if self.slash == Slash::Before => self.slash = Slash::Elsewhere,
            _ => {}
        }
    }

    /// The next key may go anywhere in the line.
    fn moved(&mut self) {
        if self.slash == Slash::Elsewhere {
            self.slash = Slash::Before;
        }
    }

    fn entered(&mut self) -> Typed {
        if self.slash == Slash::Before {
            self.slash = Slash::Elsewhere;
            return Typed::Draft;
        }
        self.emptied()
    }

    fn emptied(&mut self) -> Typed {
        self.slash = Slash::Nowhere;
        Typed::Empty
    }

    fn in_sequence(&mut self, byte: u8) -> Typed {
        self.sequence.push(byte);
        let ended = match self.sequence.as_slice() {
            // Escape and a letter: a key with Alt, such as a line break within the line.
            [_, second] => !matches!(second, b'[' | b'O' | b']' | b'P' | b'_'),
            [_, b'O', _] => true,
            [_, b'[', .., last] => (0x40..=0x7e).contains(last),
            // Answers of the terminal: they end with a bell or with escape and backslash.
            [_, b']' | b'P' | b'_', .., last] => *last == 0x07 || self.sequence.ends_with(b"\x1b\\"),
            _ => false,
        };
        if self.sequence.len() > MAX_SEQUENCE
            && !ended
            && !matches!(self.sequence.get(1), Some(b']' | b'P' | b'_'))
        {
            self.sequence.clear();
            return Typed::Draft;
        }
        if !ended {
            return Typed::Nothing;
        }
        let sequence = std::mem::take(&mut self.sequence);
        match self.meaning(&sequence) {
            Typed::Nothing => Typed::Nothing,
            Typed::Draft if self.pasting => Typed::Draft,
            Typed::Draft => {
                self.moved();
                Typed::Draft
            }
            Typed::Empty if sequence == CONTROL_C => self.emptied(),
            Typed::Empty => self.entered(),
        }
    }

    fn meaning(&mut self, sequence: &[u8]) -> Typed {
        match sequence {
            b"\x1b[200~" => {
                self.pasting = true;
                Typed::Draft
            }
            b"\x1b[201~" => {
                self.pasting = false;
                Typed::Draft
            }
            _ if self.pasting => Typed::Draft,
            // Focus, mouse, cursor position, what the terminal is and can do.
            b"\x1b[I" | b"\x1b[O" => Typed::Nothing,
            [_, b'[', b'<', ..] | [_, b'[', b'?', ..] | [_, b'[', b'>', ..] => Typed::Nothing,
            [_, b'[', .., b'R' | b'c' | b'n' | b't' | b'y'] => Typed::Nothing,
            [_, b']' | b'P' | b'_', ..] => Typed::Nothing,
            [_, b'[', key @ .., b'u'] => {
                if key.starts_with(b"92") {
                    self.slash = Slash::Before;
                    return Typed::Draft;
                }
                numbered(key)
            }
            // Left, home and end move within the line; right may take what the agent suggests, up and down may bring an old line back.
            [_, b'[' | b'O', .., b'D' | b'H' | b'F'] => {
                self.moved();
                Typed::Nothing
            }
            _ => Typed::Draft,
        }
    }
}

/// `KEY[;MODIFIERS[:EVENT][;TEXT]]` of the keyboard protocol with numbers.
fn numbered(key: &[u8]) -> Typed {
    let text = std::str::from_utf8(key).unwrap_or_default();
    let mut parts = text.split(';');
    let code = parts.next().and_then(|code| code.split(':').next()).and_then(|code| code.parse::<u32>().ok());
    let mut modifiers = parts.next().unwrap_or("1").split(':');
    let modifier = modifiers.next().unwrap_or("1");
    let released = modifiers.next() == Some("3");
    match (code, modifier) {
        _ if released => Typed::Nothing,
        (Some(13), "1" | "") => Typed::Empty,
        // Control is 4, counted from 1.
        (Some(99), "5") => Typed::Empty,
        // Modifier keys alone.
        (Some(57_441..=57_454), _) => Typed::Nothing,
        _ => Typed::Draft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Typed {
        Keys::default().read(bytes)
    }

    #[test]
    fn what_may_be_in_the_line_counts_as_a_draft() {
        for draft in [
            &b"h"[..],
            b"hello\rmore",
            "é".as_bytes(),
            b"\x7f",
            b"\t",
            b"\n",
            b"\x1b\r",
            b"\x1b[A",
            b"\x1bOB",
            b"\x1b[C",
            b"and \\\r",
            b"a\\b\x1b[D\r",
            b"a\\b\x01\r",
            b"\x1b[200~a\\\x1b[201~\r",
            b"a \x1b[92u\x1b[13u",
            b"\x1b[200~a\rb\x1b[201~",
            b"\x1b[200~a\r",
            b"\x1b[104u",
            b"\x1b[13;2u",
        ] {
            assert_eq!(read(draft), Typed::Draft, "{:?}", String::from_utf8_lossy(draft));
        }
        for empty in [
            &b"\r"[..],
            b"hello\r",
            b"abc\x03",
            b"\x1b[13u",
            b"\x1b[13;1:1u",
            b"x\x1b[99;5u",
            b"\x1b[200~a\r\x1b[201~\r",
            b"C:\\dir\r",
            b"one \\\rtwo\r",
            b"one \\\x03",
        ] {
            assert_eq!(read(empty), Typed::Empty, "{:?}", String::from_utf8_lossy(empty));
        }
        for nothing in [
            &b""[..],
            b"\x1b",
            b"\x1b[I",
            b"\x1b[O",
            b"\x1b[<35;10;20M",
            b"\x1b[24;80R",
            b"\x1b[?62;22c",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1b[D",
            b"\x1b[13;1:3u",
        ] {
            assert_eq!(read(nothing), Typed::Nothing, "{:?}", String::from_utf8_lossy(nothing));
        }
    }

    #[test]
    fn sequences_may_come_in_pieces() {
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"\x1b["), Typed::Nothing);
        assert_eq!(keys.read(b"200~"), Typed::Draft);
        assert_eq!(keys.read(b"\r"), Typed::Draft, "within a paste");
        assert_eq!(keys.read(b"\x1b[201~"), Typed::Draft);
        assert_eq!(keys.read(b"\r"), Typed::Empty);
        assert_eq!(keys.read(b"more \\"), Typed::Draft);
        assert_eq!(keys.read(b"\r"), Typed::Draft, "the line goes on");
        assert_eq!(keys.read(b"\r"), Typed::Empty);
    }
}
