//! `penpal contact verify`

use penpal_local_api::contacts::{Trust, VerifyRequest};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::ContactVerify;

use crate::cli::{Context, Done, caller};

/// Compare the safety number with a contact, on a call or face to face
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The contact
    name: String,
    /// The number as the other side reads it out; without it the number is shown and you are asked
    #[arg(long, value_name = "NUMBER", num_args = 1..)]
    number: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let (node, out) = (context.node(), context.out);
    let request = |compared| VerifyRequest { caller: caller::gather(), name: args.name.clone(), compared };
    if !args.number.is_empty() {
        let contact = node.call::<ContactVerify>(&request(Some(args.number.join(" "))))?;
        out.show(&contact, |contact| {
            out.line(format_args!("  {} {} is verified", out.good("✓"), contact.contact.name))
        })?;
        return Ok(());
    }
    let shown = node.call::<ContactVerify>(&request(None))?;
    let Some(number) = shown.contact.safety_number.clone() else {
        return Err(ApiError::new(
            ErrorCode::ContactState,
            "the safety number is not known before the contact accepted",
        )
        .into());
    };
    if out.json {
        out.json(&shown)?;
        return Ok(());
    }
    out.line(format_args!("  {}: {number}", shown.contact.name))?;
    if shown.contact.trust == Trust::Verified {
        out.line("  it was compared before")?;
        return Ok(());
    }
    out.line("  both sides see the same 60 digits, or somebody is between you")?;
    if out
        .ask("Does the other side read the same number? [y/N]")
        .is_some_and(|answer| answer.eq_ignore_ascii_case("y"))
    {
        let contact = node.call::<ContactVerify>(&request(Some(number)))?;
        out.line(format_args!("  {} {} is verified", out.good("✓"), contact.contact.name))?;
    } else {
        out.line(format_args!(
            "  unchanged; penpal contact verify {} --number DIGITS confirms it",
            shown.contact.name
        ))?;
    }
    Ok(())
}
