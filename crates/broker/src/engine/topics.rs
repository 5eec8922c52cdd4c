//! Which topics a filter matches (MQTT 5 §4.7).

/// Whether a filter matches a topic name. Both have been checked by the protocol.
pub(crate) fn matches(filter: &[u8], topic: &[u8]) -> bool {
    if let (Some(b'+' | b'#'), Some(b'$')) = (filter.first(), topic.first()) {
        return false;
    }
    let (mut levels, mut names) = (filter.split(is_slash), topic.split(is_slash));
    loop {
        match (levels.next(), names.next()) {
            (Some(b"#"), _) | (None, None) => return true,
            (Some(level), Some(name)) if level == b"+" || level == name => {}
            _ => return false,
        }
    }
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// Whether a filter has a wildcard.
pub(crate) fn is_wild(filter: &[u8]) -> bool {
    filter.iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// The bytes with which every topic begins that a filter matches.
pub(crate) fn common_prefix(filter: &[u8]) -> &[u8] {
    let end = filter
        .iter()
        .position(|byte| matches!(byte, b'+' | b'#'))
        .unwrap_or(filter.len());
    let prefix = filter.get(..end).unwrap_or_default();
    // `a/#` matches `a` as well.
    match filter.get(end) {
        Some(b'#') => prefix.strip_suffix(b"/").unwrap_or(prefix),
        _ => prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_levels_and_never_the_dollar_of_the_first() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/"),
            ("+/b", "/b"),
            ("#", "a/b/c"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("a/+/#", "a/b"),
            ("$SYS/#", "$SYS/x"),
            ("/+", "/x"),
        ] {
            assert!(
                matches(filter.as_bytes(), topic.as_bytes()),
                "{filter} {topic}"
            );
            assert!(
                topic
                    .as_bytes()
                    .starts_with(common_prefix(filter.as_bytes()))
            );
        }
        for (filter, topic) in [
            ("a/b", "a/b/c"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a/#", "ab"),
            ("A/b", "a/b"),
        ] {
            assert!(
                !matches(filter.as_bytes(), topic.as_bytes()),
                "{filter} {topic}"
            );
        }
    }
}
