//! Arguments: a command, then options with a value each.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, Result, bail};

/// What stands on the command line and was not asked for yet.
#[derive(Debug)]
pub(crate) struct Arguments {
    left: VecDeque<String>,
    options: Option<BTreeMap<String, String>>,
}

impl Arguments {
    pub(crate) fn new(arguments: impl Iterator<Item = String>) -> Self {
        Self { left: arguments.collect(), options: None }
    }

    /// The first word.
    pub(crate) fn command(&mut self) -> Option<String> {
        self.left.pop_front()
    }

    /// Everything that is left, for another program.
    pub(crate) fn rest(self) -> Vec<String> {
        self.left.into()
    }

    /// The value of `--name value` or `--name=value`.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        if self.options.is_none() {
            self.options = Some(pairs(&mut self.left)?);
        }
        Ok(self.options.as_mut().and_then(|options| options.remove(name)))
    }

    /// The same as a number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>> {
        let text = self.text(name)?;
        text.map(|text| text.parse().with_context(|| format!("--{name} {text}: not a number"))).transpose()
    }

    /// Refuses what nobody asked for.
    pub(crate) fn end(self) -> Result<()> {
        match self.options.unwrap_or_default().keys().next() {
            Some(unknown) => bail!("there is no option --{unknown}"),
            None => Ok(()),
        }
    }
}

fn pairs(left: &mut VecDeque<String>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    while let Some(word) = left.pop_front() {
        let Some(option) = word.strip_prefix("--") else { bail!("{word:?} is no option") };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (option.to_owned(), left.pop_front().with_context(|| format!("{word} needs a value"))?),
        };
        if options.insert(name, value).is_some() {
            bail!("{word} is given twice");
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Arguments {
        Arguments::new(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_both_forms() {
        let mut given = arguments("fuzz --seconds 7 --target=log");
        assert_eq!(given.command().as_deref(), Some("fuzz"));
        assert_eq!(given.number("seconds").unwrap(), Some(7));
        assert_eq!(given.text("target").unwrap().as_deref(), Some("log"));
        assert_eq!(given.text("seed").unwrap(), None);
        given.end().unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |words: &str| {
            let mut given = arguments(words);
            given.number("seconds").and_then(|_| given.end()).unwrap_err().to_string()
        };
        assert_eq!(refused("--seconds x"), "--seconds x: not a number");
        assert_eq!(refused("--seconds"), "--seconds needs a value");
        assert_eq!(refused("--second 1"), "there is no option --second");
        assert_eq!(refused("--seconds 1 --seconds 2"), "--seconds is given twice");
        assert_eq!(refused("5"), "\"5\" is no option");
    }
}
