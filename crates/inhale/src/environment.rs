//! Variables that begin as ours do and name no setting.
//!
//! One that is nearly a setting's name is a misspelling, and is refused as the file's are: who sets
//! INHALE_RETIAN means that usages expire. Any other is told of and passed over. It may be meant for
//! another program or a newer version, and Kubernetes gives every container near a service called
//! `inhale` variables such as INHALE_SERVICE_HOST, which must not keep the server from starting.

use anyhow::{Result, bail};

/// What every variable of ours begins with.
pub(crate) const PREFIX: &str = "INHALE_";

/// Letters that may be wrong, missing or too many in a misspelling; neighbours that changed places
/// are one.
const WRONG_LETTERS_MAX: usize = 2;

/// Looks through the environment's `names` for those that begin as ours do and are none of `known`.
/// Returns them in order; fails when one is nearly known. Values are never looked at.
pub(crate) fn strangers(
    names: impl IntoIterator<Item = String>,
    known: &[String],
) -> Result<Vec<String>> {
    let ours = names.into_iter().filter(|name| name.starts_with(PREFIX));
    let mut strangers: Vec<_> = ours.filter(|name| !known.contains(name)).collect();
    strangers.sort_unstable();
    for stranger in &strangers {
        if let Some(nearest) = nearest(&stranger.to_uppercase(), known) {
            bail!(
                "there is no setting for the variable {stranger}; did you mean {nearest}? \
                 `inhale serve --help` lists the settings"
            );
        }
    }
    Ok(strangers)
}

/// The name that `misspelt` nearly is, if there is one.
pub(crate) fn nearest<'a>(misspelt: &str, names: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(misspelt, name);
    let nearest = names.iter().map(AsRef::as_ref).min_by_key(distance)?;
    (distance(&nearest) <= WRONG_LETTERS_MAX).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: Result<&[&str], &str>) {
        let known = ["INHALE_RETAIN", "INHALE_CORES", "INHALE_LOG_LEVEL"].map(str::to_owned);
        let found = strangers(names.iter().map(|name| (*name).to_owned()), &known);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{names:?}"),
            (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
            (found, _) => panic!("{names:?}: {found:?}"),
        }
    }

    #[test]
    fn misspellings_are_refused_and_strangers_named() {
        check(&["INHALE_RETAIN", "INHALE_CORES", "PATH", "RETIAN"], Ok(&[]));
        check(&["INHALE_RETIAN"], Err("did you mean INHALE_RETAIN?"));
        check(&["INHALE_retain"], Err("did you mean INHALE_RETAIN?"));
        check(&["INHALE_LOGLEVEL"], Err("did you mean INHALE_LOG_LEVEL?"));
        check(&["INHALE_CORE", "INHALE_PORT"], Err("INHALE_CORE;"));
        let kubernetes = ["INHALE_PORT_3000_TCP", "INHALE_SERVICE_HOST"];
        check(&["INHALE_SERVICE_HOST", "INHALE_PORT_3000_TCP"], Ok(&kubernetes));
        check(&["INHALE_"], Ok(&["INHALE_"]));
    }
}
