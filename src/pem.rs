//! PEM (RFC 7468) for what the gateway serves as DER.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The length of a line of base64, as RFC 7468 has it.
const LINE_CHARS: usize = 64;

/// DER bytes under a label, like `X509 CRL`.
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_64_characters_and_the_last_one_what_is_left() {
        let pem = encode("X509 CRL", &[0; 50]);
        let lines: Vec<&str> = pem.lines().collect();
        assert_eq!(lines[0], "-----BEGIN X509 CRL-----");
        assert_eq!(lines[1], "A".repeat(64));
        assert_eq!(lines[2], "AAA=");
        assert_eq!(lines[3], "-----END X509 CRL-----");
        assert!(pem.ends_with("-----\n"));
    }
}
