//! Handshakes in memory: a real client, a real server, and nothing between them.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::time::Timestamp;
use hearthkey_pki::{SigningKey, server_config};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, Error, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::home::{Home, now, serial};

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[derive(Debug)]
struct Fixed(Timestamp);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        let s = self.0.as_s().try_into().ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(s)))
    }
}

impl Home {
    /// The home's door, with a server certificate for `hearthkey.local`.
    pub fn door(&self) -> Arc<ServerConfig> {
        let key = SigningKey::generate().unwrap();
        let names = [ServerName::try_from("hearthkey.local").unwrap()];
        let leaf = self
            .server_ca
            .issue_server(&key, &names, serial(5), now())
            .unwrap();
        let chain = [&self.server_ca, &self.root].map(|ca| ca.certificate().clone());
        server_config(&leaf, &chain, &key, self.verifier(), None).unwrap()
    }

    /// A client that trusts the root, with or without a certificate.
    pub fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        certificate: Option<(&[u8], &[u8])>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from(self.root.certificate().der.clone());
        roots.add(root).unwrap();
        let builder = ClientConfig::builder_with_details(
            Arc::new(default_provider()),
            Arc::new(Fixed(now())),
        )
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
        match certificate {
            None => builder.with_no_client_auth(),
            Some((der, pkcs8)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
                let chain = vec![CertificateDer::from(der.to_vec())];
                // Not through the builder, which would refuse bad certificates itself.
                let certified = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        }
    }
}

/// A client after its handshake, successful or not.
pub struct Shaken {
    pub client: ClientConnection,
    pub server: ServerConnection,
    pub refusal: Option<Error>,
}

impl Shaken {
    /// The alert that the client was sent, if it was refused.
    pub fn alert(&self) -> Option<AlertDescription> {
        match &self.refusal {
            None => None,
            Some(Error::AlertReceived(alert)) => Some(*alert),
            Some(other) => panic!("no alert: {other}"),
        }
    }
}

/// Carries bytes between the two until neither has more to say.
pub fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Shaken {
    let name = ServerName::try_from("hearthkey.local").unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::clone(client), name).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::clone(server)).unwrap());
    let mut refusal = None;
    loop {
        let sent = carry(&mut client, &mut server).0;
        let (answered, error) = carry(&mut server, &mut client);
        refusal = refusal.or(error);
        if !sent && !answered {
            break;
        }
    }
    match (client, server) {
        (Connection::Client(client), Connection::Server(server)) => Shaken {
            client,
            server,
            refusal,
        },
        _ => unreachable!("they do not change sides"),
    }
}

/// Whether anything was carried, and what the reader made of it.
fn carry(from: &mut Connection, to: &mut Connection) -> (bool, Option<Error>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let carried = !bytes.is_empty();
    let mut error = None;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() && error.is_none() {
        to.read_tls(&mut rest).unwrap();
        error = to.process_new_packets().err();
    }
    (carried, error)
}
