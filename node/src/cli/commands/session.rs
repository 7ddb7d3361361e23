//! `penpal session …`

use penpal_local_api::methods::{
    SessionClose, SessionDesk, SessionHide, SessionMute, SessionOpen, SessionRename, SessionSummary, Whoami,
};
use penpal_local_api::sessions::{
    DeskRequest, HideRequest, Mode, MuteRequest, NameRequest, OpenRequest, RenameRequest, Session,
    SummaryRequest, WhoamiRequest,
};

use crate::cli::{Context, Done, caller};

/// Open, close, rename and describe sessions on this machine
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Open a mailbox by hand, for a script or a person
    Open {
        /// Its name
        name: String,
        /// What to show as its agent
        #[arg(long)]
        agent: Option<String>,
    },
    /// Close a session that was opened by hand
    Close {
        /// Its name
        name: String,
    },
    /// Rename a session; its mailbox stays the same
    Rename {
        /// Its name
        name: String,
        /// Its new name
        new: String,
    },
    /// Say in one line what a session is doing; contacts see it
    Summary {
        /// Its name
        name: String,
        /// The line; empty clears it
        text: String,
    },
    /// Say when mail may reach a session's model
    ///
    /// Without an option: at its person's next prompt, never by a wake. Only a person can say so; inside an agent this refuses.
    Mute {
        /// Its name
        name: String,
        /// Not even then: only when it asks for its mail
        #[arg(long, conflicts_with = "end")]
        off: bool,
        /// As before it was muted: an ask may wake it
        #[arg(long)]
        end: bool,
    },
    /// Hide a session from contacts
    ///
    /// They see it no longer in `penpal contact sessions`. Whoever knows its name can still write to it (`--anyway`), and its own
    /// messages name it. Only a person can say so; inside an agent this refuses.
    Hide {
        /// Its name
        name: String,
        /// As before it was hidden: contacts see it
        #[arg(long)]
        end: bool,
    },
    /// Let a session see your desk: mail that was written to you
    ///
    /// Its model is shown it as it is shown its own mail, only that it wakes nobody and holds no turn. It answers in the session's name, never
    /// in yours. Only a person can allow it; inside an agent this refuses.
    Desk {
        /// Its name
        name: String,
        /// Not any longer
        #[arg(long)]
        end: bool,
    },
    /// Show which session this command runs in
    Whoami,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let (node, out, caller) = (context.node(), context.out, caller::gather());
    let show = |session: &Session, what: &str| {
        out.show(session, |session| {
            out.line(format_args!("  {} {} {what}", out.good("✓"), session.row.session))
        })
    };
    match args {
        Args::Open { name, agent } => {
            let request = OpenRequest { caller, name: name.clone(), agent: agent.clone() };
            show(&node.call::<SessionOpen>(&request)?, "is open")?;
        }
        Args::Close { name } => {
            show(
                &node.call::<SessionClose>(&NameRequest { caller, name: name.clone() })?,
                "is closed; mail to it is kept",
            )?;
        }
        Args::Rename { name, new } => {
            let request = RenameRequest { caller, name: name.clone(), new: new.clone() };
            show(&node.call::<SessionRename>(&request)?, "is its name now")?;
        }
        Args::Summary { name, text } => {
            let request = SummaryRequest { caller, name: Some(name.clone()), text: text.clone() };
            show(&node.call::<SessionSummary>(&request)?, "has a new summary")?;
        }
        Args::Mute { name, off, end } => {
            let (mode, what) = match (off, end) {
                (_, true) => (Mode::Wake, "is not muted"),
                (true, _) => (Mode::Off, "sees mail only when it asks"),
                _ => (Mode::Quiet, "sees mail at its next prompt and is not woken"),
            };
            let request = MuteRequest { caller, name: name.clone(), mode };
            show(&node.call::<SessionMute>(&request)?, what)?;
        }
        Args::Hide { name, end } => {
            let request = HideRequest { caller, name: name.clone(), hidden: !end };
            let what = if *end { "is shown to contacts" } else { "is hidden from contacts" };
            show(&node.call::<SessionHide>(&request)?, what)?;
        }
        Args::Desk { name, end } => {
            let request = DeskRequest { caller, name: name.clone(), allowed: !end };
            let what = if *end { "does not see your desk" } else { "sees your desk" };
            show(&node.call::<SessionDesk>(&request)?, what)?;
        }
        Args::Whoami => {
            let answer = node.call::<Whoami>(&WhoamiRequest { caller, attach: false })?;
            out.show(&answer, |answer| match &answer.session {
                Some(session) => out.line(format_args!("  {} ({})", session.session, session.agent)),
                None => out.line("  desk: not inside a session"),
            })?;
        }
    }
    Ok(())
}
