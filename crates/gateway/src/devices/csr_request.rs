//! What a device sends with its CSR, and what it is sent back.

use hearthkey_core::certificate::Certificate;
use hearthkey_core::key::{CsrRefusal, ProvenKey};
use hearthkey_pki::{pem, read_csr};
use serde::{Deserialize, Serialize};

/// The longest text that a device may say about itself.
const ABOUT_MAX_CHARS: usize = 128;

/// A request, read and its key proven.
pub(crate) struct CsrRequest {
    pub(crate) key: ProvenKey,
    pub(crate) about: About,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Pem,
    Json,
}

/// What a device says about itself. It is recorded as said, never believed.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    firmware: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    firmware_sha256: Option<String>,
}

impl About {
    fn fits(&self) -> bool {
        [
            &self.model,
            &self.serial,
            &self.firmware,
            &self.firmware_sha256,
        ]
        .into_iter()
        .flatten()
        .all(|text| text.chars().count() <= ABOUT_MAX_CHARS && !text.chars().any(char::is_control))
    }

    pub(crate) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct JsonRequest {
    csr: String,
    #[serde(default)]
    device: About,
}

/// Reads a request: a bare CSR in PEM, or JSON around one.
pub(crate) fn read(payload: &[u8], oversized: bool) -> Result<CsrRequest, CsrRefusal> {
    if oversized {
        return Err(CsrRefusal::TooLarge);
    }
    if payload.first() != Some(&b'{') {
        return Ok(CsrRequest {
            key: read_csr(payload)?,
            about: About::default(),
            form: Form::Pem,
        });
    }
    let request: JsonRequest =
        serde_json::from_slice(payload).map_err(|_| CsrRefusal::Malformed)?;
    if !request.device.fits() {
        return Err(CsrRefusal::Malformed);
    }
    Ok(CsrRequest {
        key: read_csr(request.csr.as_bytes())?,
        about: request.device,
        form: Form::Json,
    })
}

/// What is sent back: the certificate, the CA that signed it, and the roots to trust.
pub(crate) struct Accepted<'a> {
    pub(crate) certificate: &'a Certificate,
    pub(crate) der: &'a [u8],
    pub(crate) issuer_pem: String,
    pub(crate) trust_bundle: String,
}

#[derive(Serialize)]
struct JsonAccepted {
    certificate: String,
    chain: Vec<String>,
    serial: String,
    not_after: String,
    renew_after: String,
    trust_bundle: String,
}

impl CsrRequest {
    /// The answer in the form of the request.
    pub(crate) fn answer(&self, accepted: Accepted<'_>) -> Vec<u8> {
        let leaf = pem(accepted.der);
        if self.form == Form::Pem {
            return [leaf, accepted.issuer_pem].concat().into_bytes();
        }
        let answer = JsonAccepted {
            certificate: leaf,
            chain: vec![accepted.issuer_pem],
            serial: accepted.certificate.serial.to_string(),
            not_after: accepted.certificate.not_after.to_string(),
            renew_after: accepted.certificate.window.renew_after.to_string(),
            trust_bundle: accepted.trust_bundle,
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_neither_pem_nor_json_is_malformed_and_an_oversized_one_says_so() {
        for bad in [&b""[..], b"{", b"{}", b"{\"csr\":1}", b"hello", b"\xff\xfe"] {
            assert_eq!(
                read(bad, false).err(),
                Some(CsrRefusal::Malformed),
                "{bad:?}"
            );
        }
        assert_eq!(read(b"", true).err(), Some(CsrRefusal::TooLarge));
    }

    #[test]
    fn what_a_device_says_about_itself_is_bounded_and_printable() {
        let about = |model: &str| About {
            model: Some(model.into()),
            ..About::default()
        };
        assert!(about("Plug S").fits());
        assert!(!about("a\nb").fits());
        assert!(!about(&"x".repeat(ABOUT_MAX_CHARS + 1)).fits());
    }
}
