//! How fast the scan is. Run in release: `cargo test --release -p hearthkey-discovery -- --ignored --nocapture`.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_discovery::scan::Scanner;

use crate::clock::timed;
use crate::wanted::{marks, noise, token, tree};

/// Text like that of programs and configurations.
fn source(length: usize) -> Vec<u8> {
    let file = include_str!("../../src/scan/history.rs").as_bytes();
    file.iter().copied().cycle().take(length).collect()
}

#[test]
#[ignore = "a measurement, of use in release only"]
fn ten_thousand_secrets_in_a_hundred_megabytes() {
    const LENGTH: usize = 100_000_000;
    let values: Vec<(String, String)> = (0..10_000)
        .map(|n| {
            (
                format!("home/b/k{n} v1"),
                token(5000 + n, 16 + n as usize % 48),
            )
        })
        .collect();
    let values: Vec<(&str, &[u8])> = values
        .iter()
        .map(|(label, value)| (label.as_str(), value.as_bytes()))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text");
    let kinds: [(&str, Vec<u8>); 3] = [
        ("source text", source(LENGTH)),
        ("noise", noise(1, LENGTH)),
        (
            "base64",
            STANDARD.encode(noise(2, LENGTH / 4 * 3)).into_bytes(),
        ),
    ];
    for (kind, text) in kinds {
        fs::write(&path, &text).unwrap();
        for rules in [false, true] {
            let mut scanner = Scanner::new(marks(&values), rules);
            let (took, scan) = timed(|| tree(&mut scanner, &path));
            assert_eq!(scan.own(), 0);
            let speed = text.len() as f64 / took.as_secs_f64() / 1e6;
            println!(
                "{kind}, rules {rules}: {speed:.0} MB/s ({} finds)",
                scan.leaks.len()
            );
        }
    }
}
