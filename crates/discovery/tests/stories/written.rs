//! A marked value is found in the forms that shells, configuration files and programs write it in.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::wanted::{LABEL, noise, scanner, told, tree};

/// Quotes, an ampersand, a dollar, a backslash, a space, characters beyond ASCII and beyond the first plane.
const HOSTILE: &str = "Tr0ub4dor&3'x\"y \\n$1`%ö€😀z";

/// What is reported about a value in a text.
fn found(value: &str, text: &[u8]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("text"), text).unwrap();
    tree(&mut scanner(value), directory.path())
        .leaks
        .iter()
        .map(told)
        .collect()
}

fn is_found_once(value: &str, text: impl AsRef<[u8]>, how: &str) {
    let text = text.as_ref();
    let expected = format!("{LABEL} {how}").trim_end().to_owned();
    assert_eq!(
        found(value, text),
        [expected],
        "{}",
        String::from_utf8_lossy(text)
    );
}

/// Every character of a value by itself.
fn each(value: &str, write: impl Fn(char) -> String) -> String {
    value.chars().map(write).collect()
}

fn wide(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn it_is_found_quoted_for_a_shell() {
    let single = format!("P='{}'\n", HOSTILE.replace('\'', r"'\''"));
    is_found_once(HOSTILE, &single, "quoted");
    let python = format!("echo '{}' x\n", HOSTILE.replace('\'', "'\"'\"'"));
    is_found_once(HOSTILE, &python, "quoted");
    let special = |c: char| matches!(c, '"' | '\\' | '$' | '`');
    let double = each(HOSTILE, |c| {
        if special(c) {
            format!("\\{c}")
        } else {
            c.to_string()
        }
    });
    is_found_once(HOSTILE, format!("export P=\"{double}\""), "escaped");
    let bare = each(HOSTILE, |c| {
        let plain = c.is_ascii_alphanumeric() || !c.is_ascii();
        if plain {
            c.to_string()
        } else {
            format!("\\{c}")
        }
    });
    is_found_once(HOSTILE, format!("x={bare} y"), "escaped");
    let octal: String = "pä$s'w0rd"
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("\\{byte:03o}")
            }
        })
        .collect();
    is_found_once("pä$s'w0rd", format!("x=$'{octal}'"), "escaped");
}

#[test]
fn it_is_found_quoted_as_in_dotenv_files_and_over_lines() {
    let value = "it's one\nand \"two\" \\n three";
    let single = value.replace('\\', "\\\\").replace('\'', "\\'");
    is_found_once(value, format!("A=1\nP='{single}'\nB=2\n"), "escaped");
    let double = value.replace('\\', "\\\\").replace('"', "\\\"");
    is_found_once(value, format!("A=1\nP=\"{double}\"\nB=2\n"), "escaped");
    let shell = value.replace('\'', r"'\''");
    is_found_once(value, format!("A=1\nP='{shell}'\nB=2\n"), "quoted");
    let csv = value.replace('"', "\"\"");
    is_found_once(value, format!("a,b\n1,\"{csv}\"\n"), "quoted");
}

#[test]
fn it_is_found_quoted_as_in_yaml_toml_csv_and_sql() {
    is_found_once(
        HOSTILE,
        format!("p: '{}'", HOSTILE.replace('\'', "''")),
        "quoted",
    );
    is_found_once(
        HOSTILE,
        format!("('{}')", HOSTILE.replace('\'', "''")),
        "quoted",
    );
    is_found_once(
        HOSTILE,
        format!("a,\"{}\",b", HOSTILE.replace('"', "\"\"")),
        "quoted",
    );
    is_found_once("a 'b c d e", "p: 'a ''b c d e'", "quoted");
    is_found_once("\"quoted\" all", "x,\"\"\"quoted\"\" all\"", "quoted");
    let basic = each(HOSTILE, |c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_ascii() => c.to_string(),
        c => format!("\\U{:08X}", u32::from(c)),
    });
    is_found_once(HOSTILE, format!("p = \"{basic}\""), "escaped");
    is_found_once("cost $5 and 100%", "p: cost $$5 and 100%", "quoted");
    is_found_once("cost 5 and 100%s", "p = cost 5 and 100%%s", "quoted");
}

#[test]
fn it_is_found_in_json_on_one_line_whichever_characters_are_escaped() {
    let json = serde_json::json!({"a": 1, "password": HOSTILE, "b": [1, 2]}).to_string();
    is_found_once(HOSTILE, &json, "escaped");
    let units: Vec<u16> = HOSTILE.encode_utf16().collect();
    let every: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
    is_found_once(HOSTILE, format!("{{\"p\":\"{every}\"}}"), "escaped");
    let within = serde_json::to_string(&json).unwrap();
    is_found_once(HOSTILE, within, "escaped+escaped");
    is_found_once("a/b/c+d/e/1", r#"{"u":"a\/b\/c+d\/e\/1"}"#, "escaped");
    let braced = each(HOSTILE, |c| format!("\\u{{{:x}}}", u32::from(c)));
    is_found_once(HOSTILE, format!("p = '{braced}'"), "escaped");
}

#[test]
fn it_is_found_with_the_character_references_of_html_and_xml() {
    let named = each(HOSTILE, |c| match c {
        '&' => "&amp;".to_owned(),
        '\'' => "&#39;".to_owned(),
        '"' => "&quot;".to_owned(),
        'ö' => "&ouml;".to_owned(),
        '€' => "&euro;".to_owned(),
        c => c.to_string(),
    });
    is_found_once(HOSTILE, format!("<p v=\"{named}\"/>"), "entities");
    let decimal = each(HOSTILE, |c| format!("&#{};", u32::from(c)));
    is_found_once(HOSTILE, &decimal, "entities");
    let hex = each(HOSTILE, |c| format!("&#x{:X};", u32::from(c)));
    is_found_once(HOSTILE, &hex, "entities");
    is_found_once(HOSTILE, named.replace('&', "&amp;"), "entities+entities");
}

#[test]
fn it_is_found_in_utf_16_whatever_its_characters_are() {
    for value in [HOSTILE, "пароль-12-ключ", "ключиключи"] {
        for (bytes, mark) in [
            (u16::to_le_bytes as fn(u16) -> [u8; 2], [0xff, 0xfe]),
            (u16::to_be_bytes, [0xfe, 0xff]),
        ] {
            let text = format!("[wifi]\r\npassword={value}\r\nuser=anna\r\n");
            is_found_once(value, wide(&text, bytes), "utf-16");
            let marked = [&mark[..], &wide(&text, bytes)].concat();
            is_found_once(value, &marked, "utf-16");
        }
    }
    let escaped = serde_json::to_string(HOSTILE).unwrap();
    is_found_once(HOSTILE, wide(&escaped, u16::to_le_bytes), "escaped+utf-16");
}

#[test]
fn it_is_found_in_blocks_of_yaml_and_in_lines_that_are_continued() {
    let value = "first line of it\nsecond: line\n\nlast line";
    let indented = value.replace('\n', "\n      ");
    for header in ["|", "|-", "|+  # a key", "|2"] {
        let text = format!("a:\n  b:\n    key: {header}\n      {indented}\n  c: 1\n");
        is_found_once(value, &text, "block");
        is_found_once(value, text.replace('\n', "\r\n"), "block");
    }
    let folded = "p: >-\n  correct horse\n  battery staple\nq: 1\n";
    is_found_once("correct horse battery staple", folded, "block");
    is_found_once(
        "correct-horse-battery",
        "p: \"correct-\\\n   horse-battery\"\n",
        "escaped",
    );
    is_found_once(
        "correct-horse-battery",
        "P=correct-\\\nhorse-battery\n",
        "escaped",
    );
    is_found_once(
        "correct   horse battery",
        "P=\"correct\\\n   horse battery\"\n",
        "escaped",
    );
}

#[test]
fn a_key_is_found_as_a_list_of_numbers() {
    let digits = "01030507090b0d0f00020406080a0cff";
    for text in [
        "network_key: [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 255]",
        "network_key:\n    - 1\n    - 3\n    - 5\n    - 7\n    - 9\n    - 11\n    - 13\n    - 15\n    - 0\n    - 2\n    - 4\n    - 6\n    - 8\n    - 10\n    - 12\n    - 255\n",
        "{0x01,0x03,0x05,0x07,0x09,0x0B,0x0d,0x0f,0x00,0x02,0x04,0x06,0x08,0x0a,0x0c,0xff}",
        "01:03:05:07:09:0b:0d:0f:00:02:04:06:08:0a:0c:ff",
        "1, 2, 3\n[1,3,5,7,9,11,13,15,0,2,4,6,8,10,12,255,1,2]",
    ] {
        is_found_once(digits, text, "numbers");
    }
    let list = "[1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 255]";
    is_found_once(list, list, "");
    is_found_once(list, digits, "hex");
    is_found_once(list, list.replace(' ', ""), "numbers");
}

#[test]
fn a_private_key_is_found_however_its_lines_are_broken() {
    let body = STANDARD.encode(noise(7, 150));
    let pem = |width: usize, end: &str| {
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(width)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        let kind = "PRIVATE KEY";
        format!(
            "-----BEGIN {kind}-----{end}{}{end}-----END {kind}-----{end}",
            lines.join(end)
        )
    };
    let value = pem(64, "\n");
    is_found_once(&value, &value, "");
    for text in [
        pem(64, "\r\n"),
        pem(76, "\n"),
        format!("key: |\n  {}", pem(64, "\n      ")),
        body.clone(),
    ] {
        let told = found(&value, text.as_bytes());
        assert_eq!(told.len(), 1, "{told:?} in {text}");
    }
    let json = serde_json::to_string(&pem(64, "\n")).unwrap();
    is_found_once(&value, json, "escaped");
}
