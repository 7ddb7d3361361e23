//! `penpal device …`

use penpal_local_api::devices::{
    DeviceRow, JoinRequest, LinkCode, LinkRequest, ListRequest, RenameRequest, RevokeRequest,
};
use penpal_local_api::methods::{DeviceJoin, DeviceLink, DeviceList, DeviceRename, DeviceRevoke};

use super::{account, qr};
use crate::cli::output::{Output, Unprinted};
use crate::cli::{Context, Done, caller, parse};

/// Use one account on several machines
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    Link(LinkArgs),
    /// List the devices of this account
    List,
    /// Give a device another name
    Rename {
        /// Its name
        name: String,
        /// Its new name
        new: String,
    },
    /// Cut a device off: it receives nothing that is sent from now on, and nothing of it is taken
    Revoke {
        /// Its name
        name: String,
    },
}

/// Make a code for another machine, or, with the code, make this machine a device
///
/// Without CODE, on a machine that has the account: prints a code that works once, for a quarter of an hour. With CODE, on the other
/// machine: it gets the same handle, the same contacts, and keys of its own. Whoever has the code gets in: do not send it to anybody.
#[derive(Debug, clap::Args)]
pub(crate) struct LinkArgs {
    /// The code that the other machine showed; - reads standard input
    #[arg(num_args = 0.., value_name = "CODE")]
    code: Vec<String>,
    /// Name of this machine (default: its host name)
    #[arg(long, requires = "code")]
    name: Option<String>,
    #[command(flatten)]
    qr: qr::QrArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let (node, out) = (context.node(), context.out);
    let caller = caller::gather();
    match args {
        Args::Link(args) if args.code.is_empty() => {
            let made =
                out.patiently("asking the relay", || node.call::<DeviceLink>(&LinkRequest { caller }))?;
            out.show(&made, |made| print_code(out, args, made))?;
        }
        Args::Link(args) => {
            let code = match args.code.as_slice() {
                [only] if only == "-" => parse::read_stdin()?,
                parts => parts.join(" "),
            };
            let request = JoinRequest { caller, code, name: args.name.clone() };
            let account =
                out.patiently("waiting for the other device", || node.call::<DeviceJoin>(&request))?;
            out.show(&account, |made| {
                account::print_named(out, made)?;
                out.line("    contacts follow in a moment: penpal contact list")
            })?;
        }
        Args::List => {
            let answer = node.call::<DeviceList>(&ListRequest { caller })?;
            out.show(&answer, |answer| {
                let rows = answer.devices.iter().map(row).collect();
                out.table(["DEVICE", "", "ADDED", "SEEN"], rows)
            })?;
        }
        Args::Rename { name, new } => {
            let request = RenameRequest { caller, name: name.clone(), new: new.clone() };
            let answer = node.call::<DeviceRename>(&request)?;
            out.show(&answer, |answer| {
                out.line(format_args!("  {} {name} is {} now", out.good("✓"), answer.device.name))
            })?;
        }
        Args::Revoke { name } => {
            let request = RevokeRequest { caller, name: name.clone() };
            let answer = node.call::<DeviceRevoke>(&request)?;
            out.show(&answer, |answer| {
                let name = &answer.name;
                out.line(format_args!("  {} {name} is no device of this account any more", out.good("✓")))?;
                if answer.at_relay {
                    return Ok(());
                }
                out.line("    the relay cannot be reached; it is told as soon as it can")
            })?;
        }
    }
    Ok(())
}

fn print_code(out: Output, args: &LinkArgs, made: &LinkCode) -> Result<(), Unprinted> {
    let until = parse::day_and_time(made.expires_ms);
    out.line(format_args!(
        "  Run this on the other machine. It works once, until {until}; show it to nobody."
    ))?;
    out.line(format_args!("    penpal device link {}", made.code))?;
    qr::print(out, &args.qr, &made.code, true)
}

fn row(device: &DeviceRow) -> [String; 4] {
    let marks = [device.this.then_some("this one"), device.primary.then_some("primary")];
    let marks: Vec<&str> = marks.into_iter().flatten().collect();
    let seen = match (device.online, device.last_seen_ms) {
        (true, _) => "now".to_owned(),
        (false, Some(at_ms)) => format!("{} ago", parse::ago(at_ms)),
        (false, None) => "–".to_owned(),
    };
    [device.name.clone(), marks.join(", "), parse::day_and_time(device.added_ms), seen]
}
