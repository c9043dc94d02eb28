//! Between text that somebody gave and a page: everything given goes through here.

use crate::report::format::printable;

/// For the content of an element or an attribute in quotes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// JSON for a `<script type="application/json">`, which no text of it can end.
pub(super) fn json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_markup() {
        assert_eq!(
            escape("<b a=\"x\" c='y'>&\u{7}</b>"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;\u{fffd}&lt;/b&gt;"
        );
        let value = serde_json::json!(["</script><!--"]);
        assert_eq!(json(&value), r#"["\u003c/script>\u003c!--"]"#);
        let back: serde_json::Value = serde_json::from_str(&json(&value)).unwrap();
        assert_eq!(back, value);
    }
}
