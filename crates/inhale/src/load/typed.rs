//! The command as it was typed, for reports: without what a header, a body or a key may hold.

/// What stands for what is not shown.
const HIDDEN: &str = "…";
/// Short flags that take no value, so that others may stand behind them in one word.
const SWITCHES: [char; 3] = ['k', 'q', 'v'];

/// The words of this process's command line, fit for a shell.
pub(super) fn command() -> String {
    let words = std::env::args_os().skip(1);
    shown(words.map(|word| word.to_string_lossy().into_owned()))
}

fn shown(words: impl Iterator<Item = String>) -> String {
    let mut shown = vec!["inhale".to_owned()];
    let mut hide_next = false;
    for word in words {
        if std::mem::take(&mut hide_next) {
            shown.push(HIDDEN.to_owned());
            continue;
        }
        match secret(&word) {
            // The value is the next word.
            Some(from) if from == word.len() => {
                hide_next = true;
                shown.push(word);
            }
            Some(from) => shown.push(format!("{}{HIDDEN}", &word[..from])),
            None if word.contains("-----BEGIN ") => shown.push(HIDDEN.to_owned()),
            None => shown.push(quoted(&word)),
        }
    }
    shown.join(" ")
}

/// Where the value of a header or a body begins, if the word is one of their flags.
fn secret(word: &str) -> Option<usize> {
    for flag in ["--header", "--body"] {
        if let Some(rest) = word.strip_prefix(flag)
            && (rest.is_empty() || rest.starts_with('='))
        {
            return Some(flag.len() + rest.len().min(1));
        }
    }
    let short = word.strip_prefix('-')?.trim_start_matches(SWITCHES);
    short.starts_with(['H', 'b']).then(|| word.len() - short.len() + 1)
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: &str) {
        assert_eq!(shown(words.iter().map(|word| (*word).to_owned())), expected, "{words:?}");
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        check(&["load", "-H", "A: mine", "-d", "1s"], "inhale load -H … -d 1s");
        check(&["load", "-HA: mine", "-q"], "inhale load -H… -q");
        check(&["load", "-qH", "A: mine"], "inhale load -qH …");
        check(&["load", "-kvHA: mine"], "inhale load -kvH…");
        check(&["load", "--header=A: mine"], "inhale load --header=…");
        check(&["load", "--header", "A: mine", "-b", "mine"], "inhale load --header … -b …");
        check(&["load", "--body={}", "-bmine"], "inhale load --body=… -b…");
        check(&["load", "--key=-----BEGIN PRIVATE KEY-----"], "inhale load …");
    }

    #[test]
    fn everything_else_is_as_typed() {
        check(&["load", "--body-file", "a b", "-kq"], "inhale load --body-file 'a b' -kq");
        check(&["load", "-t", "checks: rate>0.9"], "inhale load -t 'checks: rate>0.9'");
        check(&["load", "http://h/?a='b'"], r"inhale load 'http://h/?a='\''b'\'''");
    }
}
