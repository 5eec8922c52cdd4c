//! The TLS configuration of the MQTT and HTTPS listeners: the gateway's own certificates, made, kept, renewed, forgotten.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use hearthkey_core::access::Access;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::{EnvironmentName, Fingerprint};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_pki::{
    CaCertificate, CertificateAuthority, ClientVerifier, RsaKey, RsaLeaf, SigningKey, https_config,
    life_of, needs_reissue, server_config,
};
use hearthkey_store::Store;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::vault::SecretName;
use rustls::ServerConfig;
use rustls_pki_types::ServerName;
use tokio::task::block_in_place;

use crate::state::clock::Clock;
use crate::state::new_serial;
use crate::trust::Trust;
use crate::trust::authority::{TrustError, load_authority};
use crate::trust::formers::issuing_anchors;

/// The registry's name of the gateway's own certificate.
pub(crate) const LEAF: &str = "server/leaf";
/// That of the one with an RSA key, which is there as long as a profile asks for it.
pub(crate) const RSA_LEAF: &str = "server/leaf-rsa";

/// While the machine's clock is in doubt, a certificate is good for this long by that clock.
const FOR_BOTH: Span = Span::days(7);

pub(crate) type Issuers = HashMap<EnvironmentName, Arc<CertificateAuthority>>;

/// The TLS configuration of the MQTT and HTTPS listeners.
pub(crate) struct Doors {
    pub(crate) mqtt: Arc<ServerConfig>,
    pub(crate) https: Arc<ServerConfig>,
}

/// What TLS configurations are made of.
pub(crate) struct ServerTls<'a> {
    pub(crate) store: &'a Store,
    pub(crate) access: &'a Arc<RwLock<Access>>,
    pub(crate) clock: &'a Arc<Clock>,
    pub(crate) hosts: &'a [String],
    /// Whether some profile's devices need an RSA certificate.
    pub(crate) rsa: bool,
    /// Whether the home is only being opened: then it has no other certificates yet.
    pub(crate) opening: bool,
}

impl ServerTls<'_> {
    /// The TLS configurations, with server certificates for these hosts that are still good; new
    /// ones are issued and kept where there are none.
    pub(crate) async fn doors(&self) -> Result<Doors, TrustError> {
        let names = self
            .hosts
            .iter()
            .map(|host| {
                ServerName::try_from(host.clone()).map_err(|_| TrustError::Host(host.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let now = self.clock.now();
        let server = load_authority(self.store, "server")?;
        let (root, _) = self
            .store
            .read(|registry| registry.authority("root"))?
            .ok_or_else(|| TrustError::NoAuthority("root".into()))?;
        let (leaf, key) = self.leaf(&server, &names, now).await?;
        let rsa = self.rsa_leaf(&server, &names, now).await?;
        let anchors = issuing_anchors(self.store)?;
        let time = Arc::clone(self.clock);
        let now = Arc::new(move || time.now());
        let verifier = || ClientVerifier::new(&anchors, Arc::clone(self.access), now.clone());
        let telling = verifier()
            .telling(hearthkey_broker::certificate_refused)
            .readmitting();
        let chain = [
            server.certificate().clone(),
            CaCertificate::from_der(&root)?,
        ];
        Ok(Doors {
            mqtt: server_config(&leaf, &chain, &key, Arc::new(telling), rsa.as_ref())?,
            https: https_config(&leaf, &chain, &key, Arc::new(verifier().optional()))?,
        })
    }

    /// The usual certificate: a new key with each.
    async fn leaf(
        &self,
        server: &CertificateAuthority,
        names: &[ServerName<'_>],
        now: Timestamp,
    ) -> Result<(Vec<u8>, SigningKey), TrustError> {
        let kept = self.kept(LEAF)?;
        let key = self.store.secret("server", LEAF)?;
        if let Some(kept) = &kept
            && let Some(for_both) = self.leaf_for_both(server, names, kept).await?
        {
            return Ok(for_both);
        }
        if let Some((leaf, key)) = kept.zip(key)
            && !needs_reissue(&leaf, names, server.certificate(), now)
        {
            return Ok((leaf, SigningKey::from_pkcs8(&key)?));
        }
        let key = SigningKey::generate()?;
        let leaf = server.issue_server(&key, names, new_serial(), now)?;
        let kept = self.keep(LEAF, &leaf, Some(&key.to_pkcs8()), now).await;
        self.is_kept(LEAF, kept)?;
        Ok((leaf, key))
    }

    /// A certificate that is good by home time and by the machine's clock, if that is in doubt and the kept one is not: devices that
    /// have the time of the machine could not connect otherwise, nor say that it is right. It is recorded, and neither it nor its key
    /// is stored.
    async fn leaf_for_both(
        &self,
        server: &CertificateAuthority,
        names: &[ServerName<'_>],
        kept: &[u8],
    ) -> Result<Option<(Vec<u8>, SigningKey)>, TrustError> {
        let both = self.clock.both();
        let until = both.machine.after(FOR_BOTH);
        let ends = life_of(kept).map(|(_, ends)| ends);
        let is_needed = both.doubted.is_some() && ends.is_some_and(|ends| ends < until);
        if !is_needed
            || server.certificate().not_after < both.machine
            || self.store.incident().is_some()
        {
            return Ok(None);
        }
        let key = SigningKey::generate()?;
        let leaf = server.issue_server_until(&key, names, new_serial(), (both.home, until))?;
        let entry = Entry::new(
            both.home,
            Actor::gateway(),
            "server.certificate",
            "server/leaf".into(),
        )
        .with("certificate_sha256", Fingerprint::of(&leaf).to_string())
        .with("kept", false)
        .with("not_after", until.to_string());
        match self.store.commit(Change::record(entry)).await {
            Ok(_) => Ok(Some((leaf, key))),
            Err(error) => {
                tracing::error!(%error, "a certificate that is good by both clocks could not be recorded, and is not used");
                Ok(None)
            }
        }
    }

    /// The RSA certificate, if a profile asks for one. Its key stays as long as it is asked for: a device that cannot
    /// verify ECDSA can verify the gateway by that key alone.
    async fn rsa_leaf(
        &self,
        server: &CertificateAuthority,
        names: &[ServerName<'_>],
        now: Timestamp,
    ) -> Result<Option<RsaLeaf>, TrustError> {
        let kept = self.kept(RSA_LEAF)?;
        if !self.rsa {
            // The next look tries again: a home opens also while its disk takes nothing.
            if kept.is_some()
                && let Err(error) = self.forget(RSA_LEAF, now).await
            {
                tracing::error!(%error, "the RSA key that no profile asks for is not destroyed yet");
            }
            return Ok(None);
        }
        let kept_key = self.store.secret("server", RSA_LEAF)?;
        let kept_key = kept_key.map(|key| RsaKey::from_pkcs8(&key)).transpose()?;
        let (key, is_new) = match (kept, kept_key) {
            (Some(der), Some(key)) if !needs_reissue(&der, names, server.certificate(), now) => {
                return Ok(Some(RsaLeaf { der, key }));
            }
            (_, Some(key)) => (key, false),
            (_, None) => (block_in_place(RsaKey::generate)?, true),
        };
        let der = server.issue_server(&key, names, new_serial(), now)?;
        let pkcs8 = is_new.then(|| key.to_pkcs8());
        let pkcs8 = pkcs8.as_ref().map(|pkcs8| pkcs8.as_slice());
        let kept = self.keep(RSA_LEAF, &der, pkcs8, now).await;
        // A device would remember a key that is not there after a restart.
        let lasts = self.is_kept(RSA_LEAF, kept)? || !is_new;
        Ok(lasts.then_some(RsaLeaf { der, key }))
    }

    /// Whether a certificate was written down. A home opens also while its disk takes nothing: the certificate is in memory
    /// alone then, and the next look makes another.
    fn is_kept(&self, name: &str, kept: Result<(), TrustError>) -> Result<bool, TrustError> {
        match kept {
            Err(TrustError::Commit(error)) if self.opening && error.is_of_storage() => {
                tracing::error!(%error, name, "the gateway's own new certificate is not written down yet");
                Ok(false)
            }
            kept => kept.map(|()| true),
        }
    }

    fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, TrustError> {
        let kept = self.store.read(|registry| registry.authority(name))?;
        Ok(kept.map(|(der, _)| der))
    }

    /// Writes a certificate down, and its key if that is new; neither in a home that is read-only.
    async fn keep(
        &self,
        name: &str,
        leaf: &[u8],
        pkcs8: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), TrustError> {
        if self.store.incident().is_some() {
            return Ok(());
        }
        let entry = Entry::new(now, Actor::gateway(), "server.certificate", name.into())
            .with("certificate_sha256", Fingerprint::of(leaf).to_string());
        let mut change = Change::record(entry).write(Write::Authority(name.into(), leaf.to_vec()));
        if let Some(pkcs8) = pkcs8 {
            let last = self
                .store
                .read(|registry| registry.secret("server", name))?;
            let version = last.map_or(1, |(version, _)| version + 1);
            let place = SecretName {
                kind: "server",
                name,
                version,
            };
            change.writes.push(Write::Secret {
                kind: "server",
                name: name.into(),
                version,
                sealed: self.store.vault().seal(place, pkcs8),
                at: now,
            });
        }
        self.store.commit(change).await?;
        Ok(())
    }

    /// Forgets a certificate and destroys its key; in a home that is read-only, when it no longer is.
    async fn forget(&self, name: &'static str, now: Timestamp) -> Result<(), TrustError> {
        if self.store.incident().is_some() {
            return Ok(());
        }
        let entry = Entry::new(now, Actor::gateway(), "server.forget", name.into());
        let change = Change::record(entry).write(Write::ForgetServer(name));
        self.store.commit(change).await?;
        Ok(())
    }
}

impl Trust {
    /// Makes the server certificates and the verifier anew where that is needed, for new
    /// connections; those there are stay.
    pub(crate) async fn renew_tls(&self) -> Result<(), TrustError> {
        let _turn = self.tls_turn.lock().await;
        let rsa = self
            .ctx
            .all_profiles()
            .iter()
            .any(|profile| profile.needs_rsa_server());
        let config = ServerTls {
            store: self.ctx.store(),
            access: self.ctx.shared_access(),
            clock: self.ctx.clock(),
            hosts: self.ctx.hosts(),
            rsa,
            opening: false,
        }
        .doors()
        .await?;
        self.tls.send_replace(config.mqtt);
        self.https_tls.send_replace(config.https);
        Ok(())
    }
}
