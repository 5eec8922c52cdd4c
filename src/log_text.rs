//! Audit records for people.

use serde_json::Value;

use crate::output::visible;

/// One record as one line: number, time, outcome, action, object, who, why.
pub fn line(record: &str) -> String {
    let Ok(record) = serde_json::from_str::<Value>(record) else {
        return visible(record);
    };
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    };
    let mut line = format!(
        "{:>6}  {}  {:<7}  {}  {}  by {}",
        text(&record["seq"]),
        text(&record["time"]),
        text(&record["outcome"]),
        text(&record["action"]),
        text(&record["object"]),
        text(&record["actor"]["name"]),
    );
    if let Some(device) = record["details"]["certificate_device"].as_str() {
        line.push_str(&format!(" with the certificate of {}", visible(device)));
    }
    if let Some(address) = record["actor"]["address"].as_str() {
        line.push_str(&format!(" from {}", visible(address)));
    }
    if let Some(reason) = record["reason"].as_str() {
        line.push_str(&format!(": {}", visible(reason)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_who_did_what_and_why() {
        let record = r#"{"action":"device.enroll","actor":{"address":"10.0.0.9:4711","name":"claim:c-1","role":"claim"},"details":{},"object":"device:lamp","outcome":"refused","reason":"claim_expired","seq":18,"time":"2026-01-02T03:04:05Z"}"#;
        assert_eq!(
            line(record),
            "    18  2026-01-02T03:04:05Z  refused  device.enroll  device:lamp  by claim:c-1 from 10.0.0.9:4711: claim_expired"
        );
    }

    #[test]
    fn a_record_without_some_fields_is_shown_all_the_same() {
        assert_eq!(line(r#"{"seq":0}"#), "     0  -  -        -  -  by -");
    }

    #[test]
    fn a_name_in_a_record_cannot_steer_the_terminal() {
        assert!(line(r#"{"object":"a\u001b[2J\nb"}"#).contains(r"a\u{1b}[2J\u{a}b"));
        assert_eq!(line("not json\x1b"), r"not json\u{1b}");
    }
}
