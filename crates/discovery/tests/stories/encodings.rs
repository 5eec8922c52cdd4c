//! A marked value is found however it is written, wherever it is, and nothing else is.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hearthkey_discovery::scan::{Place, Scan, Scanner};

use crate::repository::Repository;
use crate::wanted::{LABEL, VALUE, marks, noise, scanner, token, told, tree};

fn scan_with(scanner: &mut Scanner, text: &[u8]) -> Scan {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("text"), text).unwrap();
    tree(scanner, directory.path())
}

/// How the one find in a text is reported.
fn found(text: &[u8]) -> Vec<String> {
    scan_with(&mut scanner(VALUE), text)
        .leaks
        .iter()
        .map(told)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn it_is_found_as_it_is_at_the_beginning_and_at_the_end_of_a_file() {
    assert_eq!(found(VALUE.as_bytes()), [LABEL]);
    assert_eq!(found(format!("{VALUE}\n").as_bytes()), [LABEL]);
    assert_eq!(found(format!("key: '{VALUE}'").as_bytes()), [LABEL]);
    assert_eq!(found(&VALUE.as_bytes()[..VALUE.len() - 1]), [""; 0]);
}

#[test]
fn it_is_found_in_base64_at_each_alignment_of_both_alphabets() {
    for before in ["", "u", "us", "use", "user:", "a longer user name:"] {
        for after in ["", "x", "yz", "\n"] {
            let text = format!("{before}{VALUE}{after}");
            for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&text);
                for place in [
                    encoded.clone(),
                    format!("Authorization: Basic {encoded}\r\n"),
                    format!("abc{encoded}"),
                ] {
                    assert_eq!(
                        found(place.as_bytes()),
                        [format!("{LABEL} base64")],
                        "{place}"
                    );
                }
            }
        }
    }
}

#[test]
fn base64_may_be_wrapped_over_lines_and_indented() {
    let encoded = STANDARD.encode(format!(
        "{}{VALUE}{}",
        "before ".repeat(20),
        " after".repeat(20)
    ));
    for width in [16, 19, 60, 64, 76] {
        for end in ["\n", "\r\n", "\n      "] {
            let lines: Vec<&str> = encoded
                .as_bytes()
                .chunks(width)
                .map(|line| str::from_utf8(line).unwrap())
                .collect();
            assert_eq!(
                found(lines.join(end).as_bytes()),
                [format!("{LABEL} base64")],
                "{width} {end:?}"
            );
        }
    }
}

#[test]
fn it_is_found_in_hexadecimal_digits_of_either_case() {
    let digits = hex(VALUE.as_bytes());
    for text in [
        digits.clone(),
        digits.to_uppercase(),
        format!("0x{digits}"),
        format!("a{digits}f"),
    ] {
        assert_eq!(found(text.as_bytes()), [format!("{LABEL} hex")], "{text}");
    }
}

#[test]
fn it_is_found_percent_encoded_whichever_characters_are() {
    let every: String = VALUE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let lower: String = VALUE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let needed: String = VALUE
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    for text in [every, lower, needed] {
        let text = format!("http://x/?key={text}&more=1");
        assert_eq!(
            found(text.as_bytes()),
            [format!("{LABEL} percent")],
            "{text}"
        );
    }
    let spaced = "correct horse battery";
    let mut scanner = scanner(spaced);
    let leaks = scan_with(&mut scanner, b"pass=correct+horse+battery&x=%20").leaks;
    assert_eq!(
        leaks.iter().map(told).collect::<Vec<_>>(),
        [format!("{LABEL} percent")]
    );
}

#[test]
fn it_is_found_escaped_as_in_json_and_in_utf_16_of_both_byte_orders() {
    let json = serde_json::to_string(&[VALUE]).unwrap();
    assert_eq!(found(json.as_bytes()), [format!("{LABEL} escaped")]);
    let plain = "Correct-Horse-7";
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for around in ["", "key=", "é"] {
            let text = format!("{around}{plain}");
            let wide: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
            let leaks = scan_with(&mut scanner(plain), &wide).leaks;
            assert_eq!(
                leaks.iter().map(told).collect::<Vec<_>>(),
                [format!("{LABEL} utf-16")],
                "{text}"
            );
        }
    }
}

#[test]
fn two_encodings_within_one_another_are_undone() {
    let encoded = STANDARD
        .encode(format!("u:{VALUE}"))
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    assert_eq!(
        found(format!("{encoded}%20").as_bytes()),
        [format!("{LABEL} base64+percent")]
    );
    let pem =
        "-----BEGIN KEY-----\nq8Zr2mT0vX4kLp7Yc1Wd9s\nB3nH6jK5fG8aE0uI2oR4t\n-----END KEY-----\n";
    let json = serde_json::to_string(&[pem]).unwrap();
    let mut scanner = scanner(pem);
    assert_eq!(
        told(&scan_with(&mut scanner, json.as_bytes()).leaks[0]),
        format!("{LABEL} escaped")
    );
}

#[test]
fn a_value_of_hexadecimal_digits_is_found_in_either_case() {
    let digits = "01030507090b0d0f00020406080a0c0d";
    let mut scanner = scanner(digits);
    for text in [digits.to_owned(), digits.to_uppercase()] {
        assert_eq!(
            scan_with(&mut scanner, text.as_bytes()).leaks.len(),
            1,
            "{text}"
        );
    }
}

#[test]
fn a_key_is_found_without_its_last_newline() {
    let mut scanner = scanner(&format!("{VALUE}\n"));
    assert_eq!(scan_with(&mut scanner, VALUE.as_bytes()).leaks.len(), 1);
}

#[test]
fn it_is_found_in_binary_files_and_over_every_border_of_the_buffer() {
    let round = 1024 * 1024;
    let mut texts = 0;
    for border in [
        round,
        round + 256,
        round + 8448,
        round + 8448 + 6 * VALUE.len() + 256,
        2 * round,
    ] {
        for shift in [0, 1, VALUE.len() / 2, VALUE.len() - 1, VALUE.len()] {
            let written: [(&str, Vec<u8>); 3] = [
                ("", VALUE.as_bytes().to_vec()),
                (" hex", hex(VALUE.as_bytes()).into_bytes()),
                (
                    " base64",
                    STANDARD.encode(format!("u:{VALUE}")).into_bytes(),
                ),
            ];
            for (encoding, secret) in written {
                let start = border - shift * secret.len() / VALUE.len();
                let mut text = noise(border as u64, 2 * round + 70_000);
                text[start - 1] = b' ';
                text[start + secret.len()] = b' ';
                text[start..start + secret.len()].copy_from_slice(&secret);
                let leaks = scan_with(&mut scanner(VALUE), &text).leaks;
                assert_eq!(
                    leaks.iter().map(told).collect::<Vec<_>>(),
                    [format!("{LABEL}{encoding}")]
                );
                if encoding.is_empty() {
                    assert_eq!(leaks[0].place.at().offset, start as u64);
                }
                texts += 1;
            }
        }
    }
    assert_eq!(texts, 75);
}

#[test]
fn line_and_column_are_those_that_an_editor_shows() {
    let text = format!("{}\nö-key = {VALUE}\n", "a line\n".repeat(400_000));
    let leaks = scan_with(&mut scanner(VALUE), text.as_bytes()).leaks;
    let Place::File { at, .. } = &leaks[0].place else {
        panic!("{leaks:?}")
    };
    assert_eq!((at.line, at.column, at.offset), (400_002, 9, 2_800_001 + 9));
}

#[test]
fn the_longest_value_is_found_over_a_border_too() {
    let long = token(5, 64 * 1024);
    let mut scanner = scanner(&long);
    for (start, secret) in [
        (1_000_000, long.clone()),
        (1_000_000, hex(long.as_bytes())),
        (1_400_000, STANDARD.encode(&long)),
    ] {
        let mut text = vec![b' '; 3_000_000];
        text[start..start + secret.len()].copy_from_slice(secret.as_bytes());
        assert_eq!(scan_with(&mut scanner, &text).leaks.len(), 1);
    }
}

#[test]
fn fifty_megabytes_of_noise_and_of_letters_hold_no_own_value() {
    let values: Vec<(String, String)> = (0..1000)
        .map(|n| (format!("l{n}"), token(1000 + n, 8 + n as usize % 40)))
        .collect();
    let values: Vec<(&str, &[u8])> = values
        .iter()
        .map(|(label, value)| (label.as_str(), value.as_bytes()))
        .collect();
    let mut scanner = Scanner::new(marks(&values), false);
    let directory = tempfile::tempdir().unwrap();
    for n in 0..5 {
        fs::write(
            directory.path().join(format!("noise{n}")),
            noise(77 + n, 5_000_000),
        )
        .unwrap();
        fs::write(
            directory.path().join(format!("token{n}")),
            token(99 + n, 5_000_000),
        )
        .unwrap();
    }
    let scan = tree(&mut scanner, directory.path());
    assert_eq!(
        (scan.leaks.len(), scan.texts, scan.bytes),
        (0, 10, 50_000_000)
    );
    // And each of the thousand is found where it is.
    let all: Vec<&str> = values
        .iter()
        .map(|(_, value)| str::from_utf8(value).unwrap())
        .collect();
    assert_eq!(
        scan_with(&mut scanner, all.join("\n").as_bytes())
            .leaks
            .len(),
        1000
    );
}

#[test]
fn a_value_that_fills_a_file_is_told_of_a_hundred_times_and_counted_beyond() {
    let text = "abcdefgh".repeat(1000);
    let scan = scan_with(&mut scanner("abcdefgh"), text.as_bytes());
    assert_eq!((scan.leaks.len(), scan.more_leaks), (100, 900));
}

#[test]
fn what_is_in_a_zip_is_not_found_which_is_why_the_manual_says_to_unpack() {
    let repository = Repository::new();
    repository.write("a", format!("{}{VALUE}\n", "a line before\n".repeat(50)));
    repository.commit("one");
    repository.git(&["archive", "--format=zip", "-9", "-o", "a.zip", "HEAD"]);
    let zip = fs::read(repository.at("a.zip")).unwrap();
    assert!(zip.starts_with(b"PK"));
    assert_eq!(found(&zip), [""; 0]);
}

#[test]
fn a_letter_of_latin_1_is_found_as_yaml_escapes_it_and_as_bytes() {
    let value = "Tür-schlüssel é42";
    let mut scanner = scanner(value);
    for text in [
        r#"a: "T\xFCr-schl\xFCssel \xE942""#,
        r#"a = b"T\xc3\xbcr-schl\xc3\xbcssel \xc3\xa942""#,
        r#"{"a": "T\u00fcr-schl\u00fcssel \u00e942"}"#,
    ] {
        let scan = scan_with(&mut scanner, text.as_bytes());
        let told: Vec<String> = scan.leaks.iter().map(told).collect();
        assert_eq!(told, [format!("{LABEL} escaped")], "{text}");
    }
}
