//! Where this program lies, also after an upgrade put another file in its place.

use std::io;
use std::path::{Path, PathBuf};

use penpal_agents::detect;

/// What Linux writes behind the path of a program whose file is not there any more.
const DELETED: &str = " (deleted)";

/// The file of this program, or of what took its place: MCP servers, hooks that wait and terminals outlive an upgrade, and start the node with the new one.
///
/// The path that the system names; where no program lies there any more, the path without the system's remark, then the path as it was
/// invoked, then the program of the same name on the search path.
///
/// # Errors
/// When no such file can be run.
pub(crate) fn path() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let invoked = std::env::args_os().next().map(PathBuf::from);
    let search = std::env::var("PATH").ok();
    present(&own, invoked.as_deref(), search.as_deref()).ok_or_else(|| {
        let gone = format!("{} is not there any more", without_remark(&own).display());
        io::Error::new(io::ErrorKind::NotFound, gone)
    })
}

fn present(own: &Path, invoked: Option<&Path>, search: Option<&str>) -> Option<PathBuf> {
    let plain = without_remark(own);
    // Without a folder it was found on the search path.
    let invoked = invoked.filter(|path| path.components().count() > 1);
    let invoked = invoked.and_then(|path| std::path::absolute(path).ok());
    let named = [Some(own.to_owned()), Some(plain.clone()), invoked];
    let found = named.into_iter().flatten().find(|path| detect::is_program(path));
    found.or_else(|| detect::on_path(&[plain.file_name()?.to_str()?], search))
}

fn without_remark(own: &Path) -> PathBuf {
    own.to_str().and_then(|text| text.strip_suffix(DELETED)).map_or_else(|| own.to_owned(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, b"x").expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_program_that_was_replaced_moved_or_removed_is_found_where_it_is_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let search = at("path").to_str().map(str::to_owned);
        let found = |own: &str, invoked: &str| {
            present(&at(own), Some(&at(invoked)), search.as_deref())
                .and_then(|path| path.strip_prefix(folder.path()).map(Path::to_owned).ok())
        };
        assert_eq!(found("bin/penpal (deleted)", "link/penpal"), None, "removed, and nowhere else");
        file(&at("path/penpal"), 0o755);
        assert_eq!(found("bin/penpal (deleted)", "link/penpal"), Some("path/penpal".into()));
        file(&at("link/penpal"), 0o755);
        assert_eq!(found("bin/penpal (deleted)", "link/penpal"), Some("link/penpal".into()));
        file(&at("bin/penpal"), 0o644);
        assert_eq!(found("bin/penpal (deleted)", "link/penpal"), Some("link/penpal".into()), "no program");
        file(&at("bin/penpal"), 0o755);
        assert_eq!(found("bin/penpal (deleted)", "link/penpal"), Some("bin/penpal".into()), "replaced");
        assert_eq!(found("bin/penpal", "link/penpal"), Some("bin/penpal".into()), "as it was");
        assert_eq!(present(&at("gone"), Some(Path::new("penpal")), None), None, "a bare name is no path");
    }
}
