//! A code as a picture, where a terminal is wide enough.

use crate::cli::output::{Output, Unprinted};

/// Whether a picture is printed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct QrArgs {
    /// Print a QR code even when the terminal looks too narrow
    #[arg(long, overrides_with = "no_qr")]
    qr: bool,
    /// Print no QR code
    #[arg(long)]
    no_qr: bool,
}

/// Prints the link of a code as a picture, when that is wanted or `usual` on a terminal.
pub(super) fn print(out: Output, args: &QrArgs, code: &str, usual: bool) -> Result<(), Unprinted> {
    let wanted = args.qr || (out.terminal && !args.no_qr && usual);
    if !wanted {
        return Ok(());
    }
    let Ok(picture) = qrcode::QrCode::new(format!("penpal://i/{code}")) else { return Ok(()) };
    let fits = terminal_columns().is_some_and(|columns| columns >= picture.width().saturating_add(8));
    if !(fits || args.qr) {
        return Ok(());
    }
    let picture = picture.render::<qrcode::render::unicode::Dense1x2>().quiet_zone(true).build();
    for line in picture.lines() {
        out.line(format_args!("    {line}"))?;
    }
    Ok(())
}

fn terminal_columns() -> Option<usize> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col))
}
