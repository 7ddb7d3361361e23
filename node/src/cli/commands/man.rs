//! `penpal man`

use penpal_local_api::error::{ApiError, ErrorCode};

use crate::cli::{Context, Done};

/// Print the manual page, or write the pages of all commands
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write one page a command into this folder
    #[arg(long, value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let failed = |error: std::io::Error| {
        ApiError::new(ErrorCode::Internal, format!("the manual cannot be written: {error}"))
    };
    match &args.folder {
        Some(folder) => {
            let unusable = |error: std::io::Error| {
                ApiError::new(
                    ErrorCode::BadFile,
                    format!("{} cannot be written to: {error}", folder.display()),
                )
            };
            std::fs::create_dir_all(folder).map_err(unusable)?;
            clap_mangen::generate_to(crate::cli::definition(), folder).map_err(unusable)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(crate::cli::definition()).render(&mut page).map_err(failed)?;
            context.out.raw(&page)?;
        }
    }
    Ok(())
}
