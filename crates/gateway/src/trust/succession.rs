//! CAs follow one another: the server CA and each issuing CA get a successor in time, by themselves.
//!
//! | name in the registry | what it is |
//! | --- | --- |
//! | `issuing/home`, `server` | the CA that signs now |
//! | `next/issuing/home`, `next/server` | its successor: made, trusted by the listener, and signing nothing yet |
//! | `former/issuing/home/<key identifier>` | one before: trusted until the last certificate that it signed has ended |
//!
//! A CA and its successor have one name (RFC 5280 §6.1 tells them apart by their keys), so that one series of CRL numbers covers
//! both. A former server CA is not kept: the gateway's own certificates are made anew with its successor.
//! When: [`hearthkey_core::authority`].

use std::sync::{Arc, PoisonError};

use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::authority::{Due, Life, Line, is_over};
use hearthkey_core::certificate::BACKDATE;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_pki::authority::CA_LIFETIME;
use hearthkey_pki::{CaCertificate, CaRole};
use hearthkey_store::Store;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::turn_back::MADE_AHEAD;

use crate::state::{BACKUP_PLAN, new_serial};
use crate::trust::Trust;
use crate::trust::authority::{
    TrustError, issuing, keep_authority, keep_key, load_authority, name_of,
};
use crate::trust::formers::{former_of, formers, next_of};

/// What has become of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its successor was made.
    Made,
    /// Its successor signs.
    Promoted,
}

/// Carries out what is due of one CA.
struct Succession<'a> {
    store: &'a Store,
    role: &'a CaRole,
    name: String,
    now: Timestamp,
    /// Until when the CA before has signed.
    signed_until: Timestamp,
}

impl Succession<'_> {
    fn line(&self, longest: Span) -> Result<Option<Line>, TrustError> {
        let (current, next, root) = self.store.read(|registry| {
            Ok((
                registry.authority(&self.name)?,
                registry.authority(&next_of(&self.name))?,
                registry.authority("root")?,
            ))
        })?;
        let Some(((current, _), (root, _))) = current.zip(root) else {
            return Ok(None);
        };
        let next = next.map(|(der, _)| life(&der)).transpose()?;
        let next = match next {
            Some(next) => Some((next, self.is_safe(next)?)),
            None => None,
        };
        Ok(Some(Line {
            current: life(&current)?,
            next,
            root_ends: life(&root)?.ends,
            lifetime: CA_LIFETIME,
            longest,
        }))
    }

    /// Whether a backup holds the key of a successor; or nobody has set a place for backups, so that there is nothing to wait for.
    fn is_safe(&self, next: Life) -> Result<bool, TrustError> {
        let (planned, backups) = self.store.read(|registry| {
            let planned = registry.setting(BACKUP_PLAN)?.is_some();
            Ok((planned, registry.backups()?))
        })?;
        let made_at = next.begins.after(BACKDATE);
        Ok(!planned || backups.made_at.is_some_and(|at| at >= made_at))
    }

    async fn make(&self) -> Result<(), TrustError> {
        let root = load_authority(self.store, "root")?;
        let made = match self.role {
            CaRole::Issuing(environment) => root.new_issuing(environment, new_serial(), self.now),
            _ => root.new_server_ca(new_serial(), self.now),
        }?;
        let next = next_of(&self.name);
        let mut change = Change::record(self.entry("ca.make", made.certificate()));
        change.writes.extend(keep_authority(
            self.store.vault(),
            (&next, 1),
            &made,
            self.now,
        ));
        self.store.commit(change).await?;
        Ok(())
    }

    async fn promote(&self) -> Result<(), TrustError> {
        let next = next_of(&self.name);
        let (old, new) = (
            load_authority(self.store, &self.name)?,
            load_authority(self.store, &next)?,
        );
        let vault = self.store.vault();
        let last = self
            .store
            .read(|registry| registry.secret("ca", &self.name))?;
        let version = last.map_or(1, |(version, _)| version + 1);
        let entry = self.entry("ca.promote", new.certificate()).with(
            "follows_sha256",
            old.certificate().fingerprint().to_string(),
        );
        let mut change = Change::record(entry)
            .write(Write::DestroyAuthorityKey(self.name.clone()))
            .write(Write::ForgetAuthority(next));
        if matches!(self.role, CaRole::Issuing(_)) {
            let former = former_of(&self.name, old.certificate());
            let der = old.certificate().der.clone();
            change.writes.extend([
                keep_key(vault, (&former, 1), &old, self.now),
                Write::FormerAuthority(former, der, self.signed_until),
            ]);
        }
        let kept = keep_authority(vault, (&self.name, version), &new, self.now);
        change.writes.extend(kept);
        self.store.commit(change).await?;
        Ok(())
    }

    fn entry(&self, action: &'static str, ca: &CaCertificate) -> Entry {
        Entry::new(
            self.now,
            Actor::gateway(),
            action,
            format!("ca:{}", self.name),
        )
        .with("ca_sha256", ca.fingerprint().to_string())
        .with("not_after", ca.not_after.to_string())
    }
}

fn life(der: &[u8]) -> Result<Life, TrustError> {
    let ca = CaCertificate::from_der(der)?;
    Ok(Life {
        begins: ca.not_before,
        ends: ca.not_after,
    })
}

/// Replaces the CAs that were made by a clock that home time has left: a successor is forgotten, one that signs is followed at once
/// by one of now. What such a CA has signed stays verifiable.
async fn take_back(
    store: &Store,
    from: Timestamp,
    now: Timestamp,
) -> Result<Vec<(CaRole, Step)>, TrustError> {
    let mut done = Vec::new();
    if store.incident().is_some() {
        return Ok(done);
    }
    let environments = store.read(|registry| registry.environments())?;
    let roles = environments.into_iter().map(CaRole::Issuing);
    for role in std::iter::once(CaRole::Server).chain(roles) {
        let succession = Succession {
            store,
            name: name_of(&role),
            role: &role,
            now,
            signed_until: from,
        };
        let Some(line) = succession.line(Span::ms(0))? else {
            continue;
        };
        let is_ahead = |life: Life| life.begins > now.after(MADE_AHEAD);
        if line.next.is_some_and(|(next, _)| is_ahead(next)) || is_ahead(line.current) {
            let next = next_of(&succession.name);
            let entry = Entry::new(now, Actor::gateway(), "ca.forget", format!("ca:{next}"));
            let change = Change::record(entry).write(Write::ForgetAuthority(next));
            store.commit(change).await?;
            done.push((role.clone(), Step::Made));
        }
        if is_ahead(line.current) {
            succession.make().await?;
            succession.promote().await?;
            done.push((role, Step::Promoted));
        }
    }
    Ok(done)
}

/// Makes the successors that are due, and lets those sign that may. `longest` is the longest life of a device's certificate.
/// Nothing in a home that is read-only.
pub(crate) async fn carry_on(
    store: &Store,
    longest: Span,
    now: Timestamp,
) -> Result<Vec<(CaRole, Step)>, TrustError> {
    let mut done = Vec::new();
    if store.incident().is_some() {
        return Ok(done);
    }
    let environments = store.read(|registry| registry.environments())?;
    let roles = environments.into_iter().map(CaRole::Issuing);
    for role in std::iter::once(CaRole::Server).chain(roles) {
        let succession = Succession {
            store,
            name: name_of(&role),
            role: &role,
            now,
            signed_until: now,
        };
        let longest = match role {
            CaRole::Server => hearthkey_pki::server_certificate::SERVER_LIFETIME,
            _ => longest,
        };
        let due = succession.line(longest)?.map(|line| line.due(now));
        let step = match due {
            Some(Due::Make) => {
                succession.make().await?;
                Step::Made
            }
            Some(Due::Promote) => {
                succession.promote().await?;
                Step::Promoted
            }
            Some(Due::Nothing) | None => continue,
        };
        tracing::info!(ca = succession.name, ?step, "a CA is followed by a new one");
        done.push((role, step));
    }
    Ok(done)
}

impl Trust {
    /// Lets CAs be followed where that is due: the listener trusts a successor before anything is signed by it, and the CRLs and
    /// the gateway's own certificates follow. Returns what is to be written down with it.
    pub(crate) async fn carry_on(&self) -> Result<Vec<Write>, TrustError> {
        let longest = self.longest();
        let done = carry_on(self.ctx.store(), longest, self.ctx.now()).await?;
        self.take_over(done).await
    }

    /// Home time has gone back: what was made by the time before is replaced, see [`take_back`]. Returns what is to be written down
    /// with it.
    pub(crate) async fn take_back(&self, from: Timestamp) -> Result<Vec<Write>, TrustError> {
        let done = take_back(self.ctx.store(), from, self.ctx.now()).await?;
        self.take_over(done).await
    }

    async fn take_over(&self, done: Vec<(CaRole, Step)>) -> Result<Vec<Write>, TrustError> {
        if done.is_empty() {
            return Ok(Vec::new());
        }
        for (role, step) in &done {
            if let (CaRole::Issuing(environment), Step::Promoted) = (role, step) {
                let signs = load_authority(self.ctx.store(), &issuing(environment))?;
                self.ctx
                    .issuers()
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(environment.clone(), Arc::new(signs));
            }
        }
        self.renew_tls().await?;
        let mut writes = Vec::new();
        for (role, _) in done.iter().filter(|(_, step)| *step == Step::Promoted) {
            writes.extend(self.publish_crl(role).await);
        }
        Ok(writes)
    }

    /// Forgets former CAs, with their keys, of which no certificate is about any more. Walks the certificates: ask seldom.
    pub(crate) async fn forget_former_authorities(&self) -> Result<(), TrustError> {
        let now = self.ctx.now();
        let mut forgotten = false;
        for former in formers(self.ctx.store())? {
            let last = self.ctx.store().read(|registry| {
                registry.last_end_of_issued_before(&former.environment, former.succeeded_at)
            })?;
            if !is_over(last, self.longest_grace(), now) {
                continue;
            }
            let object = format!("ca:{}", issuing(&former.environment));
            let entry = Entry::new(now, Actor::gateway(), "ca.forget", object)
                .with("ca_sha256", former.certificate.fingerprint().to_string());
            let change = Change::record(entry).write(Write::ForgetAuthority(former.name.clone()));
            self.ctx.store().commit(change).await?;
            self.withdraw_crl_of(&former).await;
            forgotten = true;
        }
        if forgotten {
            self.renew_tls().await?;
        }
        Ok(())
    }

    fn longest(&self) -> Span {
        let profiles = self.ctx.all_profiles();
        longest_of(
            profiles
                .iter()
                .map(|profile| profile.certificate_lifetime()),
        )
    }

    fn longest_grace(&self) -> Span {
        let profiles = self.ctx.all_profiles();
        longest_of(profiles.iter().map(|profile| profile.grace()))
    }
}

/// The longest of some spans; none at all if there are none.
pub(crate) fn longest_of(spans: impl Iterator<Item = Span>) -> Span {
    spans.max().unwrap_or(Span::ms(0))
}
