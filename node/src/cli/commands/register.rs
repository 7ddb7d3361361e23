//! `penpal register`

use penpal_local_api::account::RegisterRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::Register;
use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{HostPort, RelayAddress, pin_from_text, pin_to_text};

use super::{account, recover};
use crate::cli::{Context, Done, Failure, caller};
use crate::config::{Config, Settings};
use crate::finding;

/// Make an account at a relay
///
/// Somebody with an invite does not need this: `penpal contact add` registers too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the relay, with its pin: penpal://host[:port]/pin; or a domain that publishes a pin
    ///
    /// A pin that only DNS says is shown and must be confirmed once: anybody on the way could have made it up.
    address: String,
    /// Handle at that relay; unique there and shown to your contacts
    #[arg(long)]
    handle: String,
    /// Name of this machine (default: its host name)
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Token from whoever runs the relay
    #[arg(long)]
    token: Option<String>,
    /// The pin that the domain publishes, once you have compared it with what whoever runs the relay says
    #[arg(long, value_name = "PIN")]
    accept_pin: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let accepted = args.accept_pin.as_deref().map(pin_from_text).transpose();
    let accepted = accepted.map_err(|error| ApiError::new(ErrorCode::BadAddress, error.to_string()))?;
    let request = RegisterRequest {
        caller: caller::gather(),
        address: address(args, accepted, context)?,
        handle: args.handle.clone(),
        device: args.device.clone(),
        token: args.token.clone(),
    };
    let made = context.out.patiently("asking the relay", || context.node().call::<Register>(&request))?;
    context.out.show(&made, |made| {
        account::print_named(context.out, made)?;
        context.out.line("  next: penpal contact invite")
    })?;
    recover::offer_code(context)
}

/// The address with its pin: the one given, or what the domain publishes and a person confirmed.
fn address(args: &Args, accepted: Option<RelayPin>, context: &Context) -> Result<String, Failure> {
    let Some(place) = finding::without_pin(&args.address) else {
        let given = args.address.parse::<RelayAddress>().ok();
        if let (Some(given), Some(accepted)) = (given, accepted)
            && given.pin != accepted
        {
            let text = "the pin in the address is not the one that is accepted";
            return Err(ApiError::new(ErrorCode::WrongPin, text).into());
        }
        // The node says what is wrong with it.
        return Ok(args.address.clone());
    };
    let config = Config::load(&context.home, &Settings::default()).map_err(|error| error.api())?;
    let published = finding::published_pins(&place, config.dns)?;
    let pin = match accepted {
        Some(accepted) if published.contains(&accepted) => accepted,
        Some(accepted) => return Err(other_pin(&place, accepted, &published).into()),
        None => confirmed(&place, &published, context)?,
    };
    Ok(RelayAddress { at: place, pin }.to_string())
}

/// What was confirmed is not what the domain says now: nothing goes on.
fn other_pin(place: &HostPort, accepted: RelayPin, published: &[RelayPin]) -> ApiError {
    let published: Vec<String> = published.iter().map(pin_to_text).collect();
    let text = format!(
        "{place} publishes the pin {}, not {}. Nothing was sent",
        published.join(" and "),
        pin_to_text(&accepted)
    );
    ApiError::new(ErrorCode::WrongPin, text).candidates(published)
}

/// Shows the pin and asks; where nobody can be asked, says how to confirm it.
fn confirmed(place: &HostPort, published: &[RelayPin], context: &Context) -> Result<RelayPin, Failure> {
    let out = context.out;
    if let ([pin], true) = (published, out.interactive) {
        out.remark(format_args!("  {place} publishes the pin\n    {}", pin_to_text(pin)));
        out.remark("  It came through DNS, where anybody on the way can change it: compare it with what whoever runs the relay gave you.");
        return match out.ask("Is it the same? [y/N]").as_deref() {
            Some("y" | "Y" | "yes") => Ok(*pin),
            Some(_) | None => {
                out.remark("  no account was made");
                Err(Failure::Status(4))
            }
        };
    }
    let texts: Vec<String> = published.iter().map(pin_to_text).collect();
    let fact =
        format!("{place} publishes the pin {}, which only DNS says so far", texts.join(" and the pin "));
    let hint = format!(
        "compare it with what whoever runs the relay gave you, then run the same command with --accept-pin {}",
        if let [only] = texts.as_slice() { only } else { "PIN" }
    );
    Err(ApiError::new(ErrorCode::UnconfirmedPin, fact).hint(hint).candidates(texts).into())
}
