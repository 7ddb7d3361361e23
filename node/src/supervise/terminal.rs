//! The person's terminal: its size, raw mode, and back.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Its size, when it has one.
pub(super) fn size() -> Option<pty_process::Size> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0)
        .then(|| pty_process::Size::new_with_pixel(size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel))
}

/// Every key goes to the agent as long as this lives.
pub(super) struct Raw(Termios);

impl Raw {
    pub(super) fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let restored = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
        let _ = restored;
    }
}
