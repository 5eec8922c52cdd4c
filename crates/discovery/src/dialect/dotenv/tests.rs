use super::*;

fn taken(text: &str) -> Result<String, Untaken> {
    read(text).map(|taken| taken.value.to_string())
}

#[test]
fn a_value_is_taken_where_both_readers_take_the_same() {
    for (text, value) in [
        ("abc", "abc"),
        (" abc  \nB=1", "abc"),
        ("a#b", "a#b"),
        ("#b", "#b"),
        ("a #b", "a"),
        ("'a $b # c'", "a $b # c"),
        ("\"one\\ntwo\nthree\" # c\nB=1", "one\ntwo\nthree"),
        ("'it\\'s'", "it's"),
        ("'it'\\''s'\nB=1", "it's"),
        ("'it'\"'\"'s' # c", "it's"),
        ("\"a\\\\b\\\"c\"", "a\\b\"c"),
        ("$2b$12$9", "$2b$12$9"),
        ("", ""),
        ("\nB=1", ""),
    ] {
        assert_eq!(taken(text), Ok(value.to_owned()), "{text}");
    }
}

#[test]
fn a_value_that_would_be_cut_or_replaced_is_not_taken() {
    for (text, why) in [
        ("\"abc\"def", Untaken::Leftover),
        ("'abc'def", Untaken::Leftover),
        ("'abc\nB=1\nC='x'", Untaken::Leftover),
        ("'abc\nB=1\n", Untaken::Unclosed),
        ("\"abc\\\"", Untaken::Unclosed),
        (" # comment", Untaken::Comment),
        ("  # comment\nB=1", Untaken::Comment),
        ("$name", Untaken::Reference),
        ("a${name}b", Untaken::Reference),
        ("'${name}'", Untaken::Reference),
        ("\"${name:-x}\"", Untaken::Reference),
        ("pa$word", Untaken::Reference),
        ("a\t# b", Untaken::Disputed),
        ("\"\\$5\"", Untaken::Disputed),
        ("a$$b", Untaken::Disputed),
        ("'a\\\\b'", Untaken::Disputed),
    ] {
        assert_eq!(taken(text), Err(why), "{text}");
    }
}

#[test]
fn a_value_is_written_in_a_form_that_both_read_or_refused() {
    for (value, form) in [
        ("hunter2", "'hunter2'"),
        ("it's", "'it\\'s'"),
        ("a $b # c", "'a $b # c'"),
        ("two\nlines", "'two\nlines'"),
        ("two\r\nlines", "\"two\\r\\nlines\""),
        ("ends with \\", "ends with \\"),
        ("a\\'b", "\"a\\\\'b\""),
        ("say \"it's\"", "'say \"it\\'s\"'"),
        (" spaces ", "' spaces '"),
    ] {
        assert_eq!(&**write(value).unwrap(), form);
        assert_eq!(taken(&format!("{form}\nB='x'")).unwrap(), value);
    }
    for value in ["a\0b", "${name}", "a${name:-x}", "cr\r$name"] {
        let refused = write(value).unwrap_err();
        assert!(refused.instead.contains("| base64"), "{refused}");
    }
}
