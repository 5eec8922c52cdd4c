//! How much of a corpus of public shapes is found, and how much is found in what only looks like it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::wanted::{noise, rules, token, tree};

/// How often each shape is filled.
const COPIES: u64 = 4;
/// What `docs/LEAKS.md` says. What is found may only get more, what is found wrongly only less.
const FOUND_MIN: usize = 320;
const WRONG: usize = 0;

#[derive(Deserialize)]
struct Corpus {
    leaks: Vec<Shapes>,
    clean: Vec<Shapes>,
}

#[derive(Deserialize)]
struct Shapes {
    kind: String,
    #[serde(rename = "as")]
    written: Option<String>,
    pairs: Vec<(String, String)>,
}

/// One file of the corpus.
struct Sample {
    kind: String,
    leaks: bool,
    path: String,
    content: Vec<u8>,
}

/// Different letters and digits, at least one of each.
fn word(seed: u64, length: usize) -> String {
    let mut word = token(seed, length - 2);
    word.insert(3, char::from(b'0' + (seed % 10) as u8));
    word.insert(5, char::from(b'a' + (seed % 26) as u8));
    word
}

fn hex(seed: u64, bytes: usize) -> String {
    noise(seed, bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn phrase(seed: u64) -> String {
    let letters = noise(seed, 18);
    let letter = |byte: &u8| char::from(b'a' + byte % 26);
    let words: Vec<String> = letters
        .chunks(6)
        .map(|six| six.iter().map(letter).collect())
        .collect();
    words.join("-")
}

fn value(kind: &str, seed: u64) -> String {
    match kind {
        "word" => word(seed, 14),
        "strong" => {
            let mut value = word(seed, 14);
            let others = ["!", "+", "?", "=", "~", "*", "^", "-"];
            value.insert_str(4, others[seed as usize % 8]);
            value.insert_str(9, others[seed as usize / 8 % 8]);
            value
        }
        "phrase" => phrase(seed),
        "alnum" => word(seed, 40),
        "tuya" => word(seed, 16),
        "hexes" => hex(seed, 16),
        "digest" => hex(seed, 32),
        "octets" => STANDARD.encode(noise(seed, 32)),
        "octetlist" => {
            let numbers: Vec<String> = noise(seed, 16).iter().map(u8::to_string).collect();
            numbers.join(", ")
        }
        "uuid" => {
            let digits = hex(seed, 16);
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
            parts.join("-")
        }
        "github" => format!("{}_{}", "ghp", word(seed, 36)),
        "aws" => {
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
            let id: String = noise(seed, 16)
                .iter()
                .map(|b| char::from(letters[usize::from(b % 32)]))
                .collect();
            format!("{}{id}", "AKIA")
        }
        "slack" => format!(
            "{}-{}-{}-{}",
            "xoxb",
            100_000_000_000 + seed,
            2_000_000_000_000 + seed,
            word(seed, 24)
        ),
        "jwt" => {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let payload = format!(
                "{{\"iss\":\"{}\",\"iat\":1700000000,\"exp\":2015360000}}",
                hex(seed, 16)
            );
            let signature = URL_SAFE_NO_PAD.encode(noise(seed, 32));
            format!(
                "{}.{}.{signature}",
                part("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"),
                part(&payload)
            )
        }
        "ntfy" => format!("{}_{}", "tk", word(seed, 29).to_lowercase()),
        "tunnel" => {
            let secret = STANDARD.encode(noise(seed, 32));
            let text = format!(
                "{{\"a\":\"{}\",\"t\":\"{}\",\"s\":\"{secret}\"}}",
                hex(seed, 16),
                value("uuid", seed)
            );
            STANDARD.encode(text)
        }
        "matrix" => {
            let letter = |byte: &u8| char::from(b'a' + byte % 26);
            let letters: String = noise(seed, 20).iter().map(letter).collect();
            format!("{}_aG9tZQ_{letters}_{}", "syt", word(seed, 6))
        }
        "refresh" => format!("{}//0g{}", "1", word(seed, 60)),
        "cloudflare" => format!("{}_{}", "cfut", word(seed, 48)),
        "keykind" => ["PRIVATE", "KEY"].join(" "),
        "pem" => STANDARD
            .encode(noise(seed, 144))
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).unwrap())
            .collect::<Vec<_>>()
            .join("\n"),
        other => panic!("no such kind: {other}"),
    }
}

fn filled(text: &str, seed: &mut u64) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        let (kind, after) = after.split_once(">>").unwrap();
        *seed += 1;
        out += before;
        out += &value(kind, *seed);
        rest = after;
    }
    out + rest
}

fn samples() -> Vec<Sample> {
    let corpus: Corpus = toml::from_str(include_str!("../corpus.toml")).unwrap();
    let mut seed = 20_261_130;
    let mut samples = Vec::new();
    for (leaks, all) in [(true, corpus.leaks), (false, corpus.clean)] {
        for shapes in all {
            for (file, text) in &shapes.pairs {
                for _ in 0..COPIES {
                    let text = filled(text, &mut seed);
                    let content = match shapes.written.as_deref() {
                        None => text.into_bytes(),
                        Some("utf-16le") => {
                            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
                            [0xff, 0xfe].into_iter().chain(units).collect()
                        }
                        Some(other) => panic!("no such way: {other}"),
                    };
                    let side = if leaks { "leaks" } else { "clean" };
                    samples.push(Sample {
                        kind: shapes.kind.clone(),
                        leaks,
                        path: format!("{side}/{:04}/{file}", samples.len()),
                        content,
                    });
                }
            }
        }
    }
    samples
}

fn write(directory: &Path, samples: &[Sample]) {
    for sample in samples {
        let path = directory.join(&sample.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &sample.content).unwrap();
    }
}

#[test]
fn what_the_manual_says_of_a_corpus_of_public_shapes_is_true() {
    let samples = samples();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &samples);
    // `scripts/bench-leaks.py` gives the same files to other scanners.
    if let Some(kept) = std::env::var_os("LEAK_CORPUS") {
        write(Path::new(&kept), &samples);
    }
    let scan = tree(&mut rules(), directory.path());
    let told: Vec<String> = scan
        .leaks
        .iter()
        .map(|leak| leak.place.path().unwrap().to_string())
        .collect();
    let mut kinds: BTreeMap<(bool, &str), (usize, usize)> = BTreeMap::new();
    for sample in &samples {
        let (found, all) = kinds.entry((sample.leaks, &sample.kind)).or_default();
        *all += 1;
        let is_found = told.contains(&sample.path);
        *found += usize::from(is_found);
        if is_found != sample.leaks {
            let content = String::from_utf8_lossy(&sample.content);
            println!(
                "{} {}: {content:?}",
                if is_found { "wrong:" } else { "missed:" },
                sample.path
            );
        }
    }
    let sum = |leaks: bool| {
        let of_side = kinds.iter().filter(|((side, _), _)| *side == leaks);
        of_side.fold((0, 0), |sum, (_, (found, all))| {
            (sum.0 + found, sum.1 + all)
        })
    };
    for ((leaks, kind), (found, all)) in &kinds {
        println!(
            "{} {kind}: {found} of {all}",
            if *leaks { "found in" } else { "wrongly in" }
        );
    }
    let (found, leaks) = sum(true);
    let (wrong, clean) = sum(false);
    println!("found {found} of {leaks}, wrongly {wrong} of {clean}");
    assert!(leaks >= 200 && clean >= 200);
    assert!(found >= FOUND_MIN && wrong == WRONG);
}
