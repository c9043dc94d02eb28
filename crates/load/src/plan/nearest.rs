//! The name that somebody may have meant.

/// Of `names` the one most like `text`, if one is like it at all.
pub(super) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let names: Vec<&str> = names.into_iter().collect();
    // A name that was cut short.
    let longer = names.iter().filter(|name| text.chars().count() > 3 && name.starts_with(text));
    if let Some(name) = longer.min_by_key(|name| name.len()) {
        return Some(name);
    }
    let distances = names.into_iter().map(|name| (distance(text, name), name));
    let (least, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (least <= text.chars().count().max(3) / 3).then_some(name)
}

/// ` (did you mean …?)`, or nothing.
pub(super) fn hint<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// How many letters must be put in, left out or changed (Levenshtein); only two rows of the table
/// are kept.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (at, other_letter) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other_letter);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_guessed() {
        let names = ["rate", "duration", "vus", "connect-timeout"];
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(nearest(text, names), expected, "{text}");
        };
        check("rat", Some("rate"));
        check("durration", Some("duration"));
        check("vu", Some("vus"));
        check("connection-timeout", Some("connect-timeout"));
        check("connect", Some("connect-timeout"));
        check("colour", None);
        check("", None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
