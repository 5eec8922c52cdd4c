//! The gateway's own server certificates.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hearthkey_core::certificate::BACKDATE;
use hearthkey_core::id::SerialNumber;
use hearthkey_core::time::{Span, Timestamp};
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, PublicKeyData, SanType};
use rustls_pki_types::ServerName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

pub use crate::authority::NAMES_MAX;
use crate::authority::{CertificateAuthority, IssueError, basic_params, end_entity};
use crate::ca_certificate::{CaCertificate, CaRole};

/// How long a server certificate lives: it is replaced without anybody's help at a third of
/// that before its end.
pub const SERVER_LIFETIME: Span = Span::days(90);

impl CertificateAuthority {
    /// Issues a server certificate for the gateway: `serverAuth`, DNS and IP names, 90 days
    /// or until the server CA ends, begun an hour early. Only the server CA does. One that has ended signs a certificate that has
    /// ended with it: a listener shows it to devices that have no clock, and lets nobody in by it.
    pub fn issue_server(
        &self,
        key: &impl PublicKeyData,
        names: &[ServerName<'_>],
        serial: SerialNumber,
        now: Timestamp,
    ) -> Result<Vec<u8>, IssueError> {
        self.issue_server_until(key, names, serial, (now, now.after(SERVER_LIFETIME)))
    }

    /// The same, until a moment.
    pub fn issue_server_until(
        &self,
        key: &impl PublicKeyData,
        names: &[ServerName<'_>],
        serial: SerialNumber,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<Vec<u8>, IssueError> {
        if self.certificate().role != CaRole::Server {
            return Err(self.not_its_role("server certificates"));
        }
        if !(1..=NAMES_MAX).contains(&names.len()) {
            return Err(IssueError::ServerNames);
        }
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, "Hearthkey Gateway");
        let not_after = until.min(self.certificate().not_after);
        let begins = now.min(not_after).before(BACKDATE);
        let mut params = basic_params(subject, serial, begins, not_after)?;
        for name in names.iter().map(Name::of).collect::<BTreeSet<_>>() {
            params.subject_alt_names.push(match name {
                Some(Name::Dns(name)) => SanType::DnsName(name.try_into()?),
                Some(Name::Ip(address)) => SanType::IpAddress(address),
                None => return Err(IssueError::ServerNames),
            });
        }
        end_entity(&mut params, ExtendedKeyUsagePurpose::ServerAuth);
        self.sign_params(&params, key, not_after)
    }
}

/// Whether a server certificate has to be replaced: it is not one, another CA than this signed it, its names are not exactly
/// these, less than a third of its life is left, or it is not valid yet. One that ends when its CA does is as good as any.
pub fn needs_reissue(
    der: &[u8],
    names: &[ServerName<'_>],
    issuer: &CaCertificate,
    now: Timestamp,
) -> bool {
    let Ok((_, x509)) = X509Certificate::from_der(der) else {
        return true;
    };
    let not_before = Timestamp::from_s(x509.validity().not_before.timestamp());
    let not_after = Timestamp::from_s(x509.validity().not_after.timestamp());
    let life = not_after.since(not_before).as_ms();
    let ends_soon = not_after.since(now).as_ms() < life / 3;
    if now < not_before || (ends_soon && not_after < issuer.not_after) {
        return true;
    }
    if authority_key_identifier(&x509) != Some(issuer.ski.as_slice()) {
        return true;
    }
    let wanted: Option<BTreeSet<Name>> = names.iter().map(Name::of).collect();
    wanted.is_none() || names_in(&x509) != wanted
}

/// Which key signed a certificate (RFC 5280 §4.2.1.1).
fn authority_key_identifier<'a>(x509: &X509Certificate<'a>) -> Option<&'a [u8]> {
    x509.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        })
}

/// Whether a certificate names the key of this CA as the one that signed it (RFC 5280 §4.2.1.1). The signature is not verified.
pub fn is_issued_by(der: &[u8], issuer: &CaCertificate) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, x509)| authority_key_identifier(&x509) == Some(issuer.ski.as_slice()))
}

/// The first and the last moment of a server certificate's life, if it is a certificate.
pub fn life_of(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, x509) = X509Certificate::from_der(der).ok()?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_s(time.timestamp());
    Some((
        at(x509.validity().not_before),
        at(x509.validity().not_after),
    ))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Dns(String),
    Ip(IpAddr),
}

impl Name {
    fn of(name: &ServerName<'_>) -> Option<Self> {
        match name {
            ServerName::DnsName(name) => Some(Self::Dns(name.as_ref().to_ascii_lowercase())),
            ServerName::IpAddress(address) => Some(Self::Ip((*address).into())),
            _ => None,
        }
    }

    fn read(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(octets) => <[u8; 4]>::try_from(*octets)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from))
                .ok()
                .map(Self::Ip),
            _ => None,
        }
    }
}

fn names_in(x509: &X509Certificate<'_>) -> Option<BTreeSet<Name>> {
    let extension = x509.subject_alternative_name().ok()??;
    extension
        .value
        .general_names
        .iter()
        .map(Name::read)
        .collect()
}
