//! SPDX licence expressions: whether what a package offers can be taken under allowed licences.

/// Whether `expression` can be met with `allowed` licences alone. `OR` needs one side, `AND` both;
/// the old `/` means `OR`. What cannot be read is not allowed.
pub(super) fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    either(&mut words, allowed).unwrap_or(false) && words.is_empty()
}

// Words are taken from the end, so the list was reversed.
fn either(words: &mut Vec<&str>, allowed: &[&str]) -> Option<bool> {
    let mut met = both(words, allowed)?;
    while words.last() == Some(&"OR") {
        words.pop();
        met |= both(words, allowed)?;
    }
    Some(met)
}

fn both(words: &mut Vec<&str>, allowed: &[&str]) -> Option<bool> {
    let mut met = single(words, allowed)?;
    while words.last() == Some(&"AND") {
        words.pop();
        met &= single(words, allowed)?;
    }
    Some(met)
}

fn single(words: &mut Vec<&str>, allowed: &[&str]) -> Option<bool> {
    let word = words.pop()?;
    if word == "(" {
        let met = either(words, allowed)?;
        return (words.pop()? == ")").then_some(met);
    }
    if matches!(word, ")" | "OR" | "AND" | "WITH") {
        return None;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let name = format!("{word} WITH {}", words.pop()?);
        return Some(allowed.contains(&name.as_str()));
    }
    Some(allowed.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::is_met;

    fn check(expression: &str, met: bool) {
        assert_eq!(is_met(expression, &["MIT", "Zlib", "A WITH E"]), met, "{expression}");
    }

    #[test]
    fn expressions_are_met_or_not() {
        check("MIT", true);
        check("GPL-3.0", false);
        check("MIT OR GPL-3.0", true);
        check("GPL-3.0/MIT", true);
        check("MIT AND GPL-3.0", false);
        check("(MIT OR GPL-3.0) AND Zlib", true);
        check("MIT OR GPL-3.0 AND LGPL-2.1", true);
        check("(MIT OR GPL-3.0) AND LGPL-2.1", false);
        check("A WITH E", true);
        check("A", false);
        check("MIT WITH E", false);
    }

    #[test]
    fn what_cannot_be_read_is_not_met() {
        for expression in ["", "(MIT", "MIT)", "MIT MIT", "OR MIT", "MIT OR", "MIT WITH"] {
            check(expression, false);
        }
    }
}
