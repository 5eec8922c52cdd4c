//! Topic filters: who covers whom agrees with what matches (MQTT 5 §4.7).
#![no_main]

use hearthkey_core::topic::TopicFilter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (Ok(wide), Ok(narrow)) = (TopicFilter::parse(texts.0), TopicFilter::parse(texts.1)) else {
        return;
    };
    let name = texts.2;
    if name.is_empty() || name.contains(['+', '#', '\0']) {
        return;
    }
    if wide.covers(&narrow) && narrow.matches(name) {
        assert!(wide.matches(name), "{wide} covers {narrow}, which matches {name:?}");
    }
    if wide.matches(name) && narrow.matches(name) {
        assert!(wide.overlaps(&narrow), "{wide} and {narrow} match {name:?}");
    }
});
