//! What makes one row: names and values that pass through a child's command line as `name=value`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::Result;

/// The parameters of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Adds one parameter.
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    /// Reads one parameter.
    pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.0.get(name).ok_or_else(|| format!("parameter {name} is missing"))?;
        text.parse().map_err(|_| format!("parameter {name}: cannot read '{text}'").into())
    }

    /// As arguments of a child.
    pub(crate) fn to_args(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Back from a child's arguments.
    pub(crate) fn from_args<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        args.into_iter().try_fold(Self::default(), |params, arg| {
            let arg = arg.as_ref();
            let (name, value) = arg.split_once('=').ok_or_else(|| format!("'{arg}' is not name=value"))?;
            Ok(params.with(name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_the_command_line() {
        let params = Params::default().with("threads", 16).with("kind", "processes");
        assert_eq!(Params::from_args(params.to_args()).unwrap(), params);
        assert_eq!(params.get::<usize>("threads").unwrap(), 16);
    }

    #[test]
    fn what_is_missing_or_malformed_is_an_error() {
        let params = Params::default().with("threads", "many");
        assert!(params.get::<usize>("threads").is_err());
        assert!(params.get::<usize>("loops").is_err());
        assert!(Params::from_args(["threads"]).is_err());
    }
}
