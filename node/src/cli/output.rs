//! The only place that prints.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::ApiError;
use rustix::event::{PollFd, PollFlags, poll};

/// For how long a command may be silent.
const A_MOMENT: std::time::Duration = std::time::Duration::from_secs(1);

/// A line of data did not get out.
#[derive(Debug)]
pub(crate) enum Unprinted {
    /// Nobody reads our output any more.
    Closed,
    /// It cannot be written, as to a file on a full disk.
    Failed {
        /// What the system says.
        error: io::Error,
        /// What is to be known of what was done already, where the usual remedy says too little.
        hint: Option<String>,
    },
}

impl Unprinted {
    /// The same, with what is to be known of what was done already.
    pub(crate) fn hint(self, done: String) -> Self {
        match self {
            Self::Closed => Self::Closed,
            Self::Failed { error, .. } => Self::Failed { error, hint: Some(done) },
        }
    }
}

impl From<io::Error> for Unprinted {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed { error, hint: None },
        }
    }
}

/// How results are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether data is printed as JSON.
    pub(crate) json: bool,
    colour: bool,
    /// Whether a person can be asked.
    pub(crate) interactive: bool,
    /// Whether standard output is a terminal.
    pub(crate) terminal: bool,
}

impl Output {
    /// Looks at the streams, at `NO_COLOR` and at `TERM`.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let colour = terminal && !dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let interactive = terminal && io::stdin().is_terminal();
        Self { json, colour, interactive, terminal }
    }

    /// One line of data.
    pub(crate) fn line(self, text: impl fmt::Display) -> Result<(), Unprinted> {
        write(io::stdout().lock(), format_args!("{text}\n"))
    }

    /// Data without a line's end.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<(), Unprinted> {
        let mut out = io::stdout().lock();
        Ok(out.write_all(bytes).and_then(|()| out.flush())?)
    }

    /// A shape as JSON, on one line.
    pub(crate) fn json<T: serde::Serialize>(self, shape: &T) -> Result<(), Unprinted> {
        let text = serde_json::to_string(shape).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        self.line(text)
    }

    /// Prints the shape as JSON, or what `human` makes of it.
    pub(crate) fn show<T: serde::Serialize>(
        self,
        shape: &T,
        human: impl FnOnce(&T) -> Result<(), Unprinted>,
    ) -> Result<(), Unprinted> {
        if self.json { self.json(shape) } else { human(shape) }
    }

    /// The same of a command that failed: what is known all the same, and as JSON the failure beside it, in one shape.
    pub(crate) fn show_failed<T: serde::Serialize>(
        self,
        shape: &T,
        failure: Option<&ApiError>,
        human: impl FnOnce(&T) -> Result<(), Unprinted>,
    ) -> Result<(), Unprinted> {
        #[derive(serde::Serialize)]
        struct Both<'b, T> {
            #[serde(flatten)]
            shape: &'b T,
            error: &'b ApiError,
        }
        match failure {
            Some(error) => self.show(&Both { shape, error }, |both| human(both.shape)),
            None => self.show(shape, human),
        }
    }

    /// A remark beside the data.
    pub(crate) fn remark(self, text: impl fmt::Display) {
        // Nobody listening on standard error is no reason to stop.
        let written = write(io::stderr().lock(), format_args!("{text}\n"));
        drop(written);
    }

    /// A failure: one line of fact, one of what to do, and the shape on standard output with `--json`.
    pub(crate) fn failure(self, error: &ApiError) {
        if self.json {
            let shape = serde_json::json!({ "v": SHAPE_VERSION, "error": error });
            let written = self.line(shape);
            drop(written);
        }
        self.explain(error);
    }

    /// The same, where data that says so was printed already.
    pub(crate) fn explain(self, error: &ApiError) {
        self.remark(format_args!("{} {}", self.paint("31", "error:"), clean(&error.message)));
        if !error.candidates.is_empty() {
            let list: Vec<String> = error.candidates.iter().map(|one| clean(one)).collect();
            self.remark(format_args!("candidates: {}", list.join(", ")));
        }
        if let Some(hint) = &error.hint {
            self.remark(format_args!("{} {}", self.paint("36", "hint:"), clean(hint)));
        }
        if let Some(request) = &error.request {
            self.remark(format_args!("{} {}", self.dim("request:"), clean(request)));
        }
    }

    /// Does what may take long, with a word on standard error once it takes more than a second.
    pub(crate) fn patiently<T>(self, word: &'static str, work: impl FnOnce() -> T) -> T {
        let (done, waits) = std::sync::mpsc::channel::<()>();
        let watch = move || {
            if waits.recv_timeout(A_MOMENT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                self.remark(format_args!("  {word} …"));
            }
        };
        // Without the thread it is done without a word.
        let watched = std::thread::Builder::new().name("word".to_owned()).spawn(watch);
        let outcome = work();
        drop((done, watched));
        outcome
    }

    /// Asks one line of a person. `None` when there is nobody to ask.
    pub(crate) fn ask(self, question: &str) -> Option<String> {
        if !self.interactive {
            return None;
        }
        let asked = write(io::stderr().lock(), format_args!("{question} "));
        drop(asked);
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    /// Green text for what succeeded.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Yellow text for what somebody should look at.
    pub(crate) fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Dim text for what matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A table with a heading, columns two spaces apart, as wide as its content.
    pub(crate) fn table<const N: usize>(
        self,
        heading: [&str; N],
        rows: Vec<[String; N]>,
    ) -> Result<(), Unprinted> {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(heading);
        for row in rows {
            table.add_row(row.map(|cell| clean(&cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.line(format_args!("  {}", line.trim_end()))?;
        }
        Ok(())
    }
}

/// Ends the process when nobody reads its output any more, also while it has nothing to say: `inbox --follow | head -1`.
pub(crate) fn end_when_unread() {
    let watch = || {
        let out = io::stdout();
        // Nothing is asked for: that the other end is closed is told all the same.
        let mut ends = [PollFd::new(&out, PollFlags::empty())];
        loop {
            match poll(&mut ends, None) {
                Ok(_) if ends.iter().any(|end| end.revents().intersects(PollFlags::ERR | PollFlags::HUP)) => {
                    end()
                }
                Ok(_) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    };
    // Without the thread it ends with the next line, as before.
    let watched = std::thread::Builder::new().name("reader".to_owned()).stack_size(64 * 1024).spawn(watch);
    drop(watched);
}

#[expect(clippy::exit, reason = "the main thread waits for the node")]
fn end() {
    std::process::exit(0);
}

fn write(mut to: impl Write, what: fmt::Arguments<'_>) -> Result<(), Unprinted> {
    Ok(to.write_fmt(what).and_then(|()| to.flush())?)
}

/// Text from anywhere, safe for one line of a terminal.
pub(crate) fn clean(text: &str) -> String {
    penpal_agents::terminal::line(text)
}

/// Text from anywhere, safe for a terminal, lines kept.
pub(crate) fn clean_lines(text: &str) -> String {
    penpal_agents::terminal::lines(text)
}
