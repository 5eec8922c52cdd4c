//! A configuration file of somebody's: every reader takes every file, and what it finds is within its bounds.
#![no_main]

use hearthkey_discovery::import::{Source, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for source in Source::ALL {
        let Ok(reading) = read(*source, "configuration.yaml", bytes) else {
            continue;
        };
        // A lone carriage return ends a line, too (YAML 1.2 §5.4).
        let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
        for found in &reading.found {
            assert!(usize::try_from(found.line).unwrap() <= lines + 1, "{source}: line {}", found.line);
        }
        let mut names: Vec<_> = reading.found.iter().map(|found| found.suggested.to_string()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), reading.found.len(), "{source}: a name is suggested twice");
    }
});
