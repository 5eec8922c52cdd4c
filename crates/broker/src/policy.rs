//! What the library asks before it lets a message or a subscription through.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hearthkey_core::access::{Admitted, DoorRefusal};
use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint};
use hearthkey_core::profile::Rights;
use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;

use crate::broker::Shared;
use crate::connect::Version;
use crate::event::{Refusal, Who, clipped};
use crate::stream::Cut;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Judges a device by the access as it is now, each time: a right that was taken away is gone
/// with the next packet, and so is a certificate.
pub(crate) struct DevicePolicy {
    pub(crate) shared: Arc<Shared>,
    pub(crate) device: DeviceId,
    pub(crate) certificate: Fingerprint,
    pub(crate) address: SocketAddr,
    pub(crate) cut: Arc<Cut>,
}

impl DevicePolicy {
    fn admit(&self) -> Result<Admitted, DoorRefusal> {
        let admitted = self.shared.admit(&self.certificate);
        if admitted.is_err() {
            self.cut.now();
        }
        admitted
    }

    fn may(&self, allowed: impl Fn(&Rights) -> bool, otherwise: impl Fn() -> Refusal) -> bool {
        let why = match self.admit() {
            Ok(admitted) if allowed(&admitted.rights) => return true,
            Ok(_) => otherwise(),
            Err(refusal) => refusal.into(),
        };
        self.shared
            .events
            .refused(self.address, Some(Who::Device(self.device.clone())), why);
        false
    }
}

impl AuthProvider for DevicePolicy {
    fn authenticate<'a>(
        &'a self,
        _: &'a ConnectPacket,
        _: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        // The door has judged the certificate. No user id: the library would publish it.
        Box::pin(ready(Ok(AuthResult::success())))
    }

    fn authorize_publish<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = self.may(
            |rights| rights.may_publish(topic),
            || Refusal::Publish(clipped(topic)),
        );
        Box::pin(ready(allowed))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = self.may(
            |rights| rights.may_subscribe(filter),
            || Refusal::Subscribe(clipped(filter)),
        );
        Box::pin(ready(allowed))
    }
}

/// Judges a claim's connection: its own enrollment topics, and nothing else.
pub(crate) struct ClaimPolicy {
    pub(crate) shared: Arc<Shared>,
    pub(crate) claim: ClaimId,
    pub(crate) rights: Rights,
    pub(crate) address: SocketAddr,
    pub(crate) version: Version,
    pub(crate) cut: Arc<Cut>,
}

impl ClaimPolicy {
    fn refuse(&self, why: Refusal) {
        self.shared
            .events
            .refused(self.address, Some(Who::Claim(self.claim.clone())), why);
    }
}

impl AuthProvider for ClaimPolicy {
    fn authenticate<'a>(
        &'a self,
        _: &'a ConnectPacket,
        _: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        // The gateway has judged the secret.
        Box::pin(ready(Ok(AuthResult::success())))
    }

    fn authorize_publish<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = self.rights.may_publish(topic);
        if !allowed {
            self.refuse(Refusal::Publish(clipped(topic)));
            if self.version == Version::V311 {
                // MQTT 3.1.1 has no word for "no" here: acknowledging would be a lie.
                self.cut.now();
            }
        }
        Box::pin(ready(allowed))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = !filter.starts_with('$') && self.rights.may_subscribe(filter);
        if !allowed {
            self.refuse(Refusal::Subscribe(clipped(filter)));
        }
        Box::pin(ready(allowed))
    }
}
