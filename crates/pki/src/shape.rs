//! Whether a certificate has the shape of those that this home issues to devices, and no other.
//!
//! [`crate::CertificateAuthority::sign`] writes one shape, and always has. What differs from it in anything but names,
//! keys and times was not made by this program, even if the CA's key has signed it.

use hearthkey_core::id::DeviceId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::x509::{X509Name, X509Version};

use crate::public_key::PublicKey;
use crate::refusal::ClientRefusal;

/// Every serial number that this product gives out has this length, and its first two bits are
/// 01 (see `SerialNumber::from_random`).
const SERIAL_BYTES: usize = 16;
/// `SEQUENCE { id-kp-clientAuth }`, the whole value of the extension (RFC 5280 §4.2.1.12).
const CLIENT_AUTH_ALONE: &[u8] = &[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
/// An empty SEQUENCE, the whole value of basic constraints that say "not a CA" (RFC 5280 §4.2.1.9).
const NOT_A_CA: &[u8] = &[0x30, 0];

/// Whether a certificate has the shape of a leaf that [`crate::CertificateAuthority::sign`]
/// makes.
pub(crate) fn check_shape(x509: &X509Certificate<'_>) -> Result<(), ClientRefusal> {
    if x509.version() != X509Version::V3 {
        return Err(ClientRefusal::Shape("it is not version 3"));
    }
    let serial = x509.raw_serial();
    if serial.len() != SERIAL_BYTES || serial[0] & 0xc0 != 0x40 {
        return Err(ClientRefusal::Shape("its serial number is not 16 bytes"));
    }
    if PublicKey::read(x509.public_key().raw).is_err() {
        return Err(ClientRefusal::Shape("its key is not P-256, P-384 or RSA"));
    }
    if x509.issuer_uid.is_some() || x509.subject_uid.is_some() {
        return Err(ClientRefusal::Shape("it has a unique identifier"));
    }
    let device = device_in(x509.subject())?;
    let host = host_of(&device, x509.issuer()).ok_or(ClientRefusal::UnknownIssuer)?;
    check_extensions(x509, &host)
}

/// The subject is one common name, which is a device's.
pub(crate) fn device_in(subject: &X509Name<'_>) -> Result<DeviceId, ClientRefusal> {
    let mut names = subject.iter_attributes();
    let Some(name) = names.next() else {
        return Err(ClientRefusal::Shape("its subject is empty"));
    };
    if names.next().is_some() || *name.attr_type() != OID_X509_COMMON_NAME {
        return Err(ClientRefusal::Shape("its subject is not one common name"));
    }
    let text = name.as_str().ok();
    text.and_then(|name| name.parse().ok())
        .ok_or(ClientRefusal::Shape("its subject names no device"))
}

/// The one name that a device has under an issuing CA, whose unit is the environment.
fn host_of(device: &DeviceId, issuer: &X509Name<'_>) -> Option<String> {
    let environment = issuer.iter_organizational_unit().next()?.as_str().ok()?;
    Some(format!("{device}.{environment}.home.arpa"))
}

/// Which of the six extensions have been seen.
#[derive(Default)]
struct Seen {
    authority: bool,
    own_key: bool,
    name: bool,
    usage: bool,
    purpose: bool,
    constraints: bool,
}

fn check_extensions(x509: &X509Certificate<'_>, host: &str) -> Result<(), ClientRefusal> {
    if x509.extensions_map().is_err() {
        return Err(ClientRefusal::Shape("an extension comes twice"));
    }
    let mut seen = Seen::default();
    for extension in x509.extensions() {
        seen.note(extension, host)?;
    }
    if !seen.purpose {
        return Err(ClientRefusal::Purpose);
    }
    let missing = [
        (seen.authority, "it does not name its authority's key"),
        (seen.own_key, "it does not name its own key"),
        (seen.name, "it has no alternative name"),
        (seen.usage, "it does not say what its key is for"),
        (seen.constraints, "it does not say that it is no CA"),
    ];
    match missing.into_iter().find(|(present, _)| !present) {
        Some((_, why)) => Err(ClientRefusal::Shape(why)),
        None => Ok(()),
    }
}

impl Seen {
    /// Takes one extension of the six as this home writes it.
    fn note(&mut self, extension: &X509Extension<'_>, host: &str) -> Result<(), ClientRefusal> {
        let shape = |right: bool, why| right.then_some(()).ok_or(ClientRefusal::Shape(why));
        let (is_critical, should_be) = (extension.critical, self.place(extension)?);
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => shape(
                id.key_identifier.is_some()
                    && id.authority_cert_issuer.is_none()
                    && id.authority_cert_serial.is_none(),
                "it does not name its authority's key",
            )?,
            ParsedExtension::SubjectAlternativeName(names) => shape(
                names.general_names == [GeneralName::DNSName(host)],
                "its alternative names are not the device's one name",
            )?,
            ParsedExtension::BasicConstraints(constraints) => {
                shape(!constraints.ca, "it has the CA bit")?;
                shape(
                    extension.value == NOT_A_CA,
                    "its basic constraints say more than that it is no CA",
                )?;
            }
            // digitalSignature is the first bit, and no other is set (RFC 5280 §4.2.1.3).
            ParsedExtension::KeyUsage(usage) => {
                shape(usage.flags == 1, "its key is not for signatures alone")?;
            }
            ParsedExtension::ExtendedKeyUsage(_) if extension.value != CLIENT_AUTH_ALONE => {
                return Err(ClientRefusal::Purpose);
            }
            _ => {}
        }
        shape(
            is_critical == should_be,
            match should_be {
                true => "an extension is not critical that this home marks critical",
                false => "an extension is critical that this home does not mark critical",
            },
        )
    }

    /// Ticks an extension off; tells whether it has to be critical (RFC 5280 §4.2.1). Any but the six is refused.
    fn place(&mut self, extension: &X509Extension<'_>) -> Result<bool, ClientRefusal> {
        let (place, critical) = match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(_) => (&mut self.authority, false),
            ParsedExtension::SubjectKeyIdentifier(_) => (&mut self.own_key, false),
            ParsedExtension::SubjectAlternativeName(_) => (&mut self.name, false),
            ParsedExtension::KeyUsage(_) => (&mut self.usage, true),
            ParsedExtension::ExtendedKeyUsage(_) => (&mut self.purpose, false),
            ParsedExtension::BasicConstraints(_) => (&mut self.constraints, true),
            ParsedExtension::NameConstraints(_) => {
                return Err(ClientRefusal::Shape("it has name constraints"));
            }
            ParsedExtension::ParseError { .. } => return Err(ClientRefusal::Malformed),
            _ if extension.critical => return Err(ClientRefusal::CriticalExtension),
            _ => {
                return Err(ClientRefusal::Shape(
                    "it has an extension that this home never writes",
                ));
            }
        };
        *place = true;
        Ok(critical)
    }
}
