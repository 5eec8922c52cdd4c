//! CAs that signed before, and all whose certificates are taken. How one follows another is in `succession`.

use hearthkey_api::AuthorityView;
use hearthkey_core::id::{EnvironmentName, hex};
use hearthkey_core::time::Timestamp;
use hearthkey_pki::CaCertificate;
use hearthkey_store::Store;

use crate::trust::Trust;
use crate::trust::authority::TrustError;

/// What the successor of a CA is called until it signs.
pub(crate) fn next_of(name: &str) -> String {
    format!("next/{name}")
}

/// What a CA is called that another has followed.
pub(crate) fn former_of(name: &str, ca: &CaCertificate) -> String {
    format!("former/{name}/{}", hex(&ca.ski))
}

/// The environment of a CA that another has followed.
fn environment_of_former(name: &str) -> Option<EnvironmentName> {
    let (environment, _) = name.strip_prefix("former/issuing/")?.split_once('/')?;
    environment.parse().ok()
}

/// A CA that another has followed, and the environment whose certificates it signed.
pub(crate) struct Former {
    pub(crate) name: String,
    pub(crate) environment: EnvironmentName,
    pub(crate) certificate: CaCertificate,
    pub(crate) succeeded_at: Timestamp,
}

/// The CAs that others have followed and whose certificates are still about.
pub(crate) fn formers(store: &Store) -> Result<Vec<Former>, TrustError> {
    let known = store.read(|registry| registry.authorities())?;
    let mut formers = Vec::new();
    for ca in known {
        let environment = environment_of_former(&ca.name);
        if let Some((environment, succeeded_at)) = environment.zip(ca.succeeded_at) {
            formers.push(Former {
                environment,
                certificate: CaCertificate::from_der(&ca.der)?,
                succeeded_at,
                name: ca.name,
            });
        }
    }
    Ok(formers)
}

/// Every CA whose certificates the listener takes: those that sign, those that will, those that did.
pub(crate) fn issuing_anchors(store: &Store) -> Result<Vec<CaCertificate>, TrustError> {
    let known = store.read(|registry| registry.authorities())?;
    let trusted = known.iter().filter(|ca| {
        ["issuing/", "next/issuing/", "former/issuing/"]
            .iter()
            .any(|prefix| ca.name.starts_with(prefix))
    });
    let anchors = trusted.map(|ca| CaCertificate::from_der(&ca.der));
    Ok(anchors.collect::<Result<_, _>>()?)
}

/// What a CA is called, without what tells its place in the succession; and that place.
fn name_and_state(name: &str) -> Option<(&str, &'static str)> {
    if let Some(next) = name.strip_prefix("next/") {
        return Some((next, "next"));
    }
    if let Some(former) = name.strip_prefix("former/") {
        return Some((former.rsplit_once('/')?.0, "former"));
    }
    let is_ca = name == "root" || name == "server" || name.starts_with("issuing/");
    is_ca.then_some((name, "signs"))
}

impl Trust {
    /// The home's CAs, the root first.
    pub(crate) fn authorities(&self) -> Result<Vec<AuthorityView>, TrustError> {
        let known = self.ctx.store().read(|registry| registry.authorities())?;
        let mut views = Vec::new();
        for ca in known {
            let Some((name, state)) = name_and_state(&ca.name) else {
                continue;
            };
            let certificate = CaCertificate::from_der(&ca.der)?;
            views.push(AuthorityView {
                name: name.to_owned(),
                state: state.to_owned(),
                sha256: certificate.fingerprint().to_string(),
                not_before: certificate.not_before.to_string(),
                not_after: certificate.not_after.to_string(),
                succeeded_at: ca.succeeded_at.map(|at| at.to_string()),
            });
        }
        views.sort_by(|a, b| {
            let key = |view: &AuthorityView| {
                (
                    view.name != "root",
                    view.name.clone(),
                    view.not_after.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        Ok(views)
    }
}
