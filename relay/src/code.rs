//! Why a command failed, in words that scripts read. `docs/operations.md` lists them; a test compares the two.

use std::fmt;

macro_rules! codes {
    ($($name:ident, $text:literal, $exit:literal, $meaning:literal;)*) => {
        /// Codes of failures. Each has one exit status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code.
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it stands in JSON.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Exit status of a command that fails with it.
            pub(crate) const fn exit_status(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// What it means.
            #[cfg(test)]
            const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    Usage, "usage", 2, "An argument cannot be understood.";
    Settings, "settings", 2, "A setting cannot be what it is set to.";
    NeedsAPerson, "needs-a-person", 4, "It has to be confirmed, and nobody is here to answer. `--yes` answers.";
    NotConfirmed, "not-confirmed", 1, "It was asked whether to do it, and the answer was not `yes`. Nothing was done.";
    NoRelay, "no-relay", 1, "No relay was ever started in this folder.";
    NoAccount, "no-account", 1, "No account has this handle.";
    NoToken, "no-token", 1, "No token like this can be used.";
    FolderInUse, "folder-in-use", 1, "Another process uses the folder, or something stands in it already.";
    Folder, "folder", 1, "The folder cannot be made or written.";
    Keys, "keys", 1, "The keys cannot be read, written, or are not those of this data.";
    KeysMissing, "keys-missing", 1, "There is data, and the keys that belong to it are not there. None are made in their place.";
    KeysOpen, "keys-open", 1, "Others can read the keys.";
    KeysInUse, "keys-in-use", 1, "A copy is not put over keys that are there.";
    Place, "place", 1, "The file with the address of the last start cannot be read or written.";
    Data, "data", 1, "The data and the keys do not belong together.";
    DataUnusable, "data-unusable", 1, "A stored row cannot be read. The log says which.";
    Store, "store", 1, "The store cannot be opened. Nothing was changed.";
    StorageFailed, "storage-failed", 1, "Reading or writing the store failed. What was accepted is kept.";
    DiskFull, "disk-full", 1, "The disk has no room.";
    NotErased, "not-erased", 1, "The account is deleted, and what it had stands in the log until there is room to write it anew.";
    Repair, "repair", 1, "The store could not be copied or repaired. Nothing was put in place.";
    Backup, "backup", 1, "The copy could not be written.";
    NotACopy, "not-a-copy", 1, "The folder holds no copy of a relay.";
    Damaged, "damaged", 1, "The copy is damaged. Nothing was put in place.";
    Listen, "listen", 1, "The address cannot be listened on.";
    Metrics, "metrics", 1, "The address for metrics cannot be listened on.";
    AdminSocket, "admin-socket", 1, "The socket for these commands cannot be opened.";
    Unanswered, "unanswered", 1, "The running relay gives no answer. Whether it did what was asked is not known.";
    Stopping, "stopping", 1, "The relay is stopping.";
    UnknownCommand, "unknown-command", 1, "The running relay is of another version and does not know this command.";
    Unexpected, "unexpected", 1, "The running relay is of another version and gives another answer than is expected.";
    Input, "input", 1, "The answer to a question cannot be read.";
    Output, "output", 1, "What was done cannot be printed. Nothing in JSON is printed with it.";
    Install, "install", 1, "A file of the service cannot be written.";
    Systemd, "systemd", 1, "The files are in place, and systemd did not start the service.";
    System, "system", 1, "The system refused a thread, a signal or the like.";
    Internal, "internal", 70, "A defect of penpal-relay.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_code_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (_, rest) = document.split_once("\n## Codes of failures\n").unwrap();
        let rows = rest.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
        let found: Vec<&str> = rows.collect();
        let row = |code: &Code| format!("| `{code}` | {} | {} |", code.exit_status(), code.meaning());
        let expected: Vec<String> = Code::ALL.iter().map(row).collect();
        assert_eq!(found, expected, "expected rows:\n{}", expected.join("\n"));
    }
}
