//! `penpal-relay install`

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::output::Output;
use super::problem::Problem;
use crate::code::Code;

/// The unit and the settings, as they are in `deploy/`.
const UNIT: &str = include_str!("../../../deploy/penpal-relay.service");
const SETTINGS: &str = include_str!("../../../deploy/relay.toml");

/// Where the unit says that the program is.
const PROGRAM: &str = "/usr/local/bin/penpal-relay";

/// Install this program as a systemd service
///
/// Copies itself to /usr/local/bin, writes /etc/systemd/system/penpal-relay.service and, if there is none,
/// /etc/penpal-relay/relay.toml. Run it again after an upgrade: settings and data stay as they are.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// Print the unit and change nothing
    #[arg(long)]
    print: bool,
    /// Start it now and at every boot
    #[arg(long)]
    start: bool,
    /// Name or address under which others reach this relay, for settings that are written now
    #[arg(long, value_name = "HOST[:PORT]")]
    public: Option<String>,
    /// Put everything under this folder, for an image; systemd is not told
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

impl Install {
    pub(super) fn run(self) -> Result<(), Problem> {
        let mut out = Output::stdout();
        if self.print {
            return UNIT.lines().try_for_each(|line| out.line(line));
        }
        if let Some(public) = &self.public {
            let parsed: Result<crate::config::Public, _> = public.parse();
            parsed.map_err(|error| Problem::new(Code::Settings, format!("--public {public:?}: {error}")))?;
        }
        let under = |path: &str| self.root.join(path.trim_start_matches('/'));
        let unit = under("/etc/systemd/system/penpal-relay.service");
        let settings = under("/etc/penpal-relay/relay.toml");
        let program = under(PROGRAM);
        let this = std::env::current_exe()
            .map_err(|error| Problem::new(Code::System, format!("cannot find this program: {error}")))?;
        if this != program {
            put(&program, 0o755, |path| fs::copy(&this, path).map(|_| ()))?;
            out.line(&format!("wrote {}", program.display()))?;
        }
        if settings.exists() {
            out.line(&format!("kept  {}", settings.display()))?;
        } else {
            let text = match &self.public {
                Some(public) => {
                    SETTINGS.replace("# public = \"relay.example.com\"", &format!("public = \"{public}\""))
                }
                None => SETTINGS.to_owned(),
            };
            put(&settings, 0o644, |path| fs::write(path, &text))?;
            out.line(&format!("wrote {}", settings.display()))?;
        }
        put(&unit, 0o644, |path| fs::write(path, UNIT))?;
        out.line(&format!("wrote {}", unit.display()))?;
        if self.root != Path::new("/") {
            return Ok(());
        }
        systemctl(&["daemon-reload"])?;
        if self.start {
            systemctl(&["enable", "--now", "penpal-relay"])?;
            // A running one goes on with the program of before.
            systemctl(&["restart", "penpal-relay"])?;
            return out.line("started. Its address: penpal-relay address; a token: penpal-relay token new");
        }
        out.line(
            "next: systemctl enable --now penpal-relay; then journalctl -u penpal-relay shows its address",
        )
    }
}

/// Writes beside and renames: a program that runs is not written over.
fn put(path: &Path, mode: u32, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Problem> {
    let attempt = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let temporary = path.with_extension("penpal-new");
        write(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
        fs::File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|error: io::Error| {
        Problem::new(Code::Install, format!("cannot write {}: {error}", path.display()))
            .hint("run it as root, or print the unit with --print")
    })
}

fn systemctl(args: &[&str]) -> Result<(), Problem> {
    let ran = Command::new("systemctl").args(args).status();
    let said = format!("systemctl {}", args.join(" "));
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Problem::new(Code::Systemd, format!("{said}: {status}")).hint("journalctl -u penpal-relay"))
        }
        Err(error) => Err(Problem::new(Code::Systemd, format!("cannot run {said}: {error}"))
            .hint("the files are in place; without systemd start penpal-relay serve by other means")),
    }
}
