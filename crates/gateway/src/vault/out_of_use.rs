//! A credential goes out of use: in memory at once, and written down then, see [`crate::state::endings`]. What it leaves behind, its
//! versions and a rotation that runs, is settled once that is on the disk.

use crate::auth::caller::Caller;
use crate::vault::leftovers::leftover;
use hearthkey_api::RetireRequest;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{CredentialId, Origin, State, Tier, VersionState, checked_text};
use hearthkey_core::finding::FindingKind;
use hearthkey_core::rotation::{KEPT, Rotation, Step};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownVersion;
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::vault_change::VaultWrite;

use crate::state::endings::{End, Ending};
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::credentials::{not_active, object};
use crate::vault::kept_tier::keep_tier;
use crate::vault::leftovers::unheard;

/// The longest grace.
const GRACE_MAX: Span = Span::days(365);

/// On which terms a credential is retired.
pub(super) struct Terms {
    /// After how long its data keys are destroyed.
    grace: Span,
    /// Why, for the record.
    reason: Option<String>,
}

impl Terms {
    pub(super) fn of(request: &RetireRequest) -> Result<Self, Failure> {
        let grace = request.grace.as_deref().map(str::parse).transpose();
        let grace =
            grace.map_err(|error: hearthkey_core::time::InvalidSpan| Failure::invalid(&error))?;
        let grace = grace.unwrap_or(KEPT);
        if grace > GRACE_MAX {
            return Err(Failure::invalid(&"the grace period is at most a year"));
        }
        let reason = request.reason.as_deref();
        let reason = reason
            .map(|text| checked_text("reason", text))
            .transpose()?;
        Ok(Self { grace, reason })
    }
}

/// Whether a caller may have the value destroyed so soon.
pub(crate) fn judge_grace(caller: &Caller, request: &RetireRequest) -> Result<(), Failure> {
    let (asked, shortest) = (Terms::of(request)?.grace, caller.shortest_grace());
    if asked < shortest {
        return Err(Failure::refused(
            &format!(
                "your role keeps a retired value for {} hours at least",
                shortest.as_ms() / 3_600_000
            ),
            "Ask for a longer grace period, or ask an operator or owner to retire it.",
        ));
    }
    Ok(())
}

/// A credential that is out of use.
pub(super) struct OutOfUse {
    pub(super) id: CredentialId,
    /// When its data keys are destroyed.
    pub(super) shred_at: Timestamp,
    /// That it is being written down; nothing, if it was out of use before.
    pub(super) ending: Option<Ending>,
}

impl OutOfUse {
    /// Whether the disk has it.
    pub(super) fn is_durable(&self) -> bool {
        self.ending.as_ref().is_none_or(Ending::is_durable)
    }
}

/// What the kinds of these ends begin with. They go on with when the data keys are destroyed.
const RETIRED_UNTIL: &str = "retired until ";

/// The end of a credential, as it is written down.
struct CredentialEnd {
    credential: CredentialId,
    shred_at: Timestamp,
    /// The bridges that are asked by it, and the tier of what they have made: another credential may take its name.
    asked_by_it: Vec<(Bridge, Option<Tier>)>,
    entry: Entry,
}

impl End for CredentialEnd {
    fn object(&self) -> String {
        object(&self.credential)
    }

    fn kind(&self) -> String {
        format!("{RETIRED_UNTIL}{}", self.shred_at)
    }

    fn change(&self) -> Change {
        let change = Change::record(self.entry.clone()).vault(VaultWrite::MoveCredential {
            credential: self.credential.clone(),
            from: State::Active,
            to: State::Retired,
            shred_at: Some(self.shred_at),
        });
        let asked_by_it = self.asked_by_it.iter();
        asked_by_it.fold(change, |change, (bridge, tier)| {
            keep_tier(change, bridge, *tier)
        })
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let known = registry.credential(&self.credential)?;
        Ok(known.is_none_or(|known| known.credential.state != State::Active))
    }
}

impl Vault {
    /// From here on nothing of a credential is given out. Nothing is waited for: no turn, no disk, no bridge.
    pub(super) fn take_out_of_use(
        &self,
        actor: &Actor,
        id: &CredentialId,
        terms: &Terms,
    ) -> Result<OutOfUse, Failure> {
        let known = self.credential(id)?;
        let (versions, leases, left) = self.ctx.store().read(|registry| {
            Ok((
                registry.versions(id)?,
                registry.leases_of(id)?,
                registry.leftovers(&object(id))?,
            ))
        })?;
        let in_use = versions.iter().filter(|version| is_in_use(version)).count();
        if known.credential.state != State::Active && !self.ctx.endings().is_pending(&object(id)) {
            let unfinished = !(left.is_empty() && leases.is_empty() && in_use == 0);
            let shred_at = known.shred_at.filter(|_| unfinished);
            return Ok(OutOfUse {
                id: id.clone(),
                shred_at: shred_at.ok_or_else(|| not_active(id))?,
                ending: None,
            });
        }
        // The terms that are being written down hold, also where others are asked for meanwhile.
        if let Some((shred_at, ending)) = self.ctx.endings().begun_as(&object(id), RETIRED_UNTIL)
            && let Ok(shred_at) = shred_at.parse()
        {
            return Ok(OutOfUse {
                id: id.clone(),
                shred_at,
                ending: Some(ending),
            });
        }
        let now = self.ctx.now();
        let shred_at = now.after(terms.grace);
        let mut entry = Entry::new(now, actor.clone(), "credential.retire", object(id))
            .with("leases", leases.len())
            .with("versions", in_use)
            .with("shred_at", shred_at.to_string());
        entry.reason.clone_from(&terms.reason);
        let ending = self.ctx.endings().begin(CredentialEnd {
            credential: id.clone(),
            shred_at,
            asked_by_it: self.asked_by(id)?,
            entry,
        });
        Ok(OutOfUse {
            id: id.clone(),
            shred_at,
            ending: Some(ending),
        })
    }

    /// The bridges that are asked by a credential, each with the tier of what it has made.
    pub(super) fn asked_by(
        &self,
        id: &CredentialId,
    ) -> Result<Vec<(Bridge, Option<Tier>)>, Failure> {
        let bridges = self.ctx.store().read(|registry| registry.bridges())?;
        let its = bridges.into_iter().filter(|bridge| {
            bridge.environment == id.environment && bridge.authority.as_ref() == Some(&id.name)
        });
        its.map(|bridge| {
            let tier = self.tier_at(&bridge)?;
            Ok((bridge, tier))
        })
        .collect()
    }

    /// Takes the versions of a credential that is out of use with it, ends its rotation, and notes what is to be ended at its
    /// bridge, in one change. Gives the versions that were in use. Whatever was settled before is left as it is.
    pub(super) async fn settle_out_of_use(&self, id: &CredentialId) -> Result<Vec<u32>, Failure> {
        let _turn = self.credential_turns.of(id).await;
        let (versions, rotation) = self
            .ctx
            .store()
            .read(|registry| Ok((registry.versions(id)?, registry.rotation(id)?)))?;
        let now = self.ctx.now();
        // A bridge that cannot be reached may be one that can end them.
        let connected = !matches!(self.bridge_of(id), Ok(None));
        let mut change = Change::default();
        let mut live = Vec::new();
        for version in &versions {
            let undone = |rotation: &Rotation| rotation.to_version == Some(version.version);
            if !is_in_use(version) && !rotation.as_ref().is_some_and(undone) {
                continue;
            }
            live.push(version.version);
            if is_in_use(version) {
                change = change.vault(VaultWrite::MoveVersion {
                    credential: id.clone(),
                    version: version.version,
                    from: version.state,
                    to: VersionState::Retired,
                    at: now,
                });
            }
            // What a bridge has made works there, also when the bridge is not connected any more.
            if connected || version.origin == Origin::Minted {
                let by_hand = match connected {
                    true => "End it there by hand; or".to_owned(),
                    false => format!(
                        "End it there by hand; or connect {} again, and",
                        id.name.bridge()
                    ),
                };
                let again = format!(
                    "{by_hand}, while its name is not in use, retire it again. On the command line: `hearthkey credential retire {} --env {}`.",
                    id.name, id.environment
                );
                let finding = leftover(id, version.version, &again);
                change = change.vault(VaultWrite::Finding(finding, now));
            }
        }
        if live.is_empty() && rotation.is_none() {
            return Ok(live);
        }
        if let Some(rotation) = rotation {
            change = self.end_rotation(change, id, rotation, now)?;
        }
        for kind in [
            FindingKind::RotationHeld,
            FindingKind::Drift,
            FindingKind::Leaked,
        ] {
            change = change.vault(VaultWrite::Overtaken {
                object: object(id),
                kind,
                seen_before: now.after(Span::s(1)),
                at: now,
            });
        }
        self.ctx.commit(change).await?;
        Ok(live)
    }

    /// Ends the rotation of a credential that is out of use.
    fn end_rotation(
        &self,
        mut change: Change,
        id: &CredentialId,
        mut rotation: Rotation,
        now: Timestamp,
    ) -> Result<Change, Failure> {
        if rotation.asked {
            let version = self.next_version(id)?;
            let finding = unheard(id, rotation.id, &self.label(id, version));
            change = change.vault(VaultWrite::Finding(finding, now));
        }
        let from = rotation.step;
        rotation.step = Step::Undone;
        rotation.ended_at = Some(now);
        rotation
            .notes
            .push("ended, because the credential was retired".into());
        Ok(change.vault(VaultWrite::Rotate(from, rotation)))
    }

    /// Settles what a gateway that stopped in the middle left of credentials that it had taken out of use.
    pub(crate) async fn settle_all_out_of_use(&self) {
        let unsettled = match self.ctx.store().read(|registry| registry.retired_in_part()) {
            Ok(unsettled) => unsettled,
            Err(error) => {
                tracing::error!(%error, "the rest of retired credentials could not be read");
                return;
            }
        };
        for id in unsettled {
            if let Err(failure) = self.settle_out_of_use(&id).await {
                tracing::warn!(credential = %id, why = failure.0.detail, "a retired credential is not completely ended yet");
            }
        }
    }
}

fn is_in_use(version: &KnownVersion) -> bool {
    version.state.is_live() || version.state == VersionState::Pending
}
