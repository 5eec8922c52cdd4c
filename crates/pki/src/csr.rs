//! From a CSR to the one thing that is taken from it: a public key whose possession is proven.

use hearthkey_core::key::{CsrRefusal, ProvenKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateSigningRequestDer, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs as algorithms;

use crate::der::{CONTEXT_0, Element, INTEGER, SEQUENCE};
use crate::public_key::{KeyRefusal, PublicKey};

/// The largest request that is looked at, in bytes of PEM.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";

/// What a CSR may be signed with.
const SIGNATURES: [&dyn SignatureVerificationAlgorithm; 9] = [
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// Reads a PEM PKCS#10 request (RFC 2986): exactly one block, with white space around it at
/// most. Its signature is verified, and the public key alone is taken; names, extensions and
/// every other attribute are not even parsed.
pub fn read_csr(request: &[u8]) -> Result<ProvenKey, CsrRefusal> {
    if request.len() > REQUEST_BYTES_MAX {
        return Err(CsrRefusal::TooLarge);
    }
    let der = der_of_only_block(request).ok_or(CsrRefusal::Malformed)?;
    let csr = Csr::split(&der).ok_or(CsrRefusal::Malformed)?;
    let key = PublicKey::read(csr.spki).map_err(|refusal| match refusal {
        KeyRefusal::Malformed => CsrRefusal::Malformed,
        KeyRefusal::Unsupported => CsrRefusal::KeyUnsupported,
    })?;
    if !csr.is_signed_by(&key) {
        return Err(CsrRefusal::SignatureInvalid);
    }
    Ok(ProvenKey::proven(key.key_type, csr.spki.to_vec()))
}

fn der_of_only_block(request: &[u8]) -> Option<CertificateSigningRequestDer<'static>> {
    let text = std::str::from_utf8(request).ok()?.trim_ascii();
    let body = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
    if body.contains("-----") {
        return None;
    }
    CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).ok()
}

/// The parts of a CertificationRequest (RFC 2986 §4.2) that matter here.
struct Csr<'a> {
    signed: &'a [u8],
    spki: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Csr<'a> {
    fn split(der: &'a [u8]) -> Option<Self> {
        let [info, algorithm, signature] = Element::only(der, SEQUENCE)?.sequence_of()?;
        let [version, subject, spki, attributes] = info.sequence_of()?;
        subject.expect(SEQUENCE)?;
        attributes.expect(CONTEXT_0)?;
        if version.expect(INTEGER)?.content != [0] {
            return None;
        }
        Some(Self {
            signed: info.raw,
            spki: spki.raw,
            signature_algorithm: algorithm.expect(SEQUENCE)?.content,
            signature: signature.bits()?,
        })
    }

    fn is_signed_by(&self, key: &PublicKey<'_>) -> bool {
        SIGNATURES
            .into_iter()
            .filter(|algorithm| {
                algorithm.public_key_alg_id() == key.algorithm_id()
                    && algorithm.signature_alg_id().as_ref() == self.signature_algorithm
            })
            .any(|algorithm| {
                algorithm
                    .verify_signature(key.bits, self.signed, self.signature)
                    .is_ok()
            })
    }
}
