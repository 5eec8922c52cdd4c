//! Bridges: connected, tested, disconnected, and asked on behalf of their credentials.

use crate::auth::permit::Permit;
use hearthkey_api as api;
use hearthkey_bridges::{
    Abilities, BridgeError, BridgeKind, Connector, Held, SettingsError, Verified, certificate_pin,
    connect,
};
use hearthkey_core::audit::Entry;
use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{CredentialId, OWN_BRIDGES, State, checked_text};
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::id::{EnvironmentName, Fingerprint};
use hearthkey_core::role::Act;
use hearthkey_core::secret::Secret;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::{Filter, KnownCredential, SealedValue};
use hearthkey_store::registry::ReadError;
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::{VaultWrite, Verdict};

use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::devices::lifecycle::still_ending;
use crate::state::aside::aside;
use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::credentials::object;
use crate::vault::interruptible::Interruptible;
use crate::vault::kept_tier::keep_tier;

/// Names of credentials in one record at most.
const NAMES_RECORDED: usize = 100;
/// Settings up to this length stand in the record of their bridge; of longer ones only their digest does.
const SETTINGS_RECORDED_BYTES: usize = 2048;

/// A bridge that can be asked.
pub(crate) struct Connected {
    pub(crate) bridge: Bridge,
    pub(crate) kind: BridgeKind,
    pub(crate) connector: Box<dyn Connector>,
    pub(crate) abilities: Abilities,
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let mut failure = Self::invalid(&error);
        failure.0.remedy =
            "Correct the setting, and try again. docs/CONNECTORS.md lists the settings of each kind of bridge.".into();
        failure
    }
}

/// What a bridge is called in the audit log.
pub(super) fn bridge_object(bridge: &Bridge) -> String {
    format!("bridge:{}/{}", bridge.environment, bridge.name)
}

fn abilities_view(abilities: &Abilities) -> api::AbilitiesView {
    api::AbilitiesView {
        verify: abilities.verify,
        mint: abilities.mint,
        revoke: abilities.revoke,
        notify: abilities.notify,
        children: abilities.children,
        two_live: abilities.two_live,
        cost: abilities.cost.clone(),
        cannot: abilities.cannot.clone(),
    }
}

fn view(connected: &Connected) -> api::BridgeView {
    let bridge = &connected.bridge;
    api::BridgeView {
        name: bridge.name.clone(),
        environment: bridge.environment.to_string(),
        kind: bridge.kind.clone(),
        owner: bridge.owner.clone(),
        purpose: bridge.purpose.clone(),
        settings: serde_json::from_str(&bridge.settings).unwrap_or_default(),
        authority: bridge.authority.as_ref().map(ToString::to_string),
        abilities: abilities_view(&connected.abilities),
        created_at: bridge.created_at.to_string(),
    }
}

/// The finding that a bridge gives a credential more than was declared (R16); none if it does not.
fn drift(
    known: &KnownCredential,
    rights: &[String],
    privileged: Option<&String>,
) -> Option<Finding> {
    let declared = &known.credential.scopes;
    let beyond: Vec<&str> = match declared.is_empty() {
        true => Vec::new(),
        false => rights
            .iter()
            .filter(|right| !declared.contains(right))
            .map(String::as_str)
            .collect(),
    };
    let what = match (privileged, beyond.is_empty()) {
        (Some(why), _) => format!("It has every permission: {why}."),
        (None, false) => format!(
            "It has more permissions than declared: {}.",
            beyond.join(", ")
        ),
        (None, true) => return None,
    };
    let finding = Finding::new(
        FindingKind::Drift,
        Severity::High,
        object(&known.credential.id),
        "",
    );
    Some(finding.saying(
        what,
        "Have the bridge issue one with fewer rights and enter it, or declare the rights it needs. On the command line: `hearthkey credential rotate`, `hearthkey credential change --scope`.",
    ))
}

/// A Hue bridge signs its own certificate: what it shows is offered to a person to compare. None if
/// that is not what is missing.
async fn offer_pin(bridge: &Bridge) -> Option<Failure> {
    if bridge.kind != BridgeKind::Hue.as_str() {
        return None;
    }
    let settings: serde_json::Value = serde_json::from_str(&bridge.settings).ok()?;
    let known = |name: &str| settings.get(name).is_some();
    if known("pin_sha256") || known("root_pem") {
        return None;
    }
    match certificate_pin(settings.get("url")?.as_str()?).await {
        Ok(pin) => Some(Failure::refused(
            &format!(
                "the bridge's certificate is not pinned yet; its current one has the SHA-256 {pin}"
            ),
            &format!(
                "If you are sure that this is your bridge, set its pin_sha256 to {pin}. On the command line: `--set pin_sha256={pin}`."
            ),
        )),
        Err(error) => Some(Failure::bridge(&error)),
    }
}

impl Vault {
    /// A value of a credential as its bridge is shown it.
    pub(crate) fn held(&self, id: &CredentialId, sealed: &SealedValue) -> Result<Held, Failure> {
        let place = CredentialPlace::of(id, sealed.version);
        let value = self
            .ctx
            .store()
            .vault()
            .open_credential(&place, &sealed.sealed);
        Ok(Held {
            value: value.map_err(|error| Failure::unopened(&error))?,
            remote_id: sealed.remote_id.clone(),
        })
    }

    fn authority_of(&self, bridge: &Bridge) -> Result<Option<Secret>, Failure> {
        let Some(name) = &bridge.authority else {
            return Ok(None);
        };
        let id = CredentialId {
            environment: bridge.environment.clone(),
            name: name.clone(),
        };
        if locked(&self.last_authorities).contains(&id)
            && let Some(sealed) = self
                .ctx
                .store()
                .read(|registry| registry.sealed_value(&id, None))?
        {
            return Ok(Some(self.held(&id, &sealed)?.value));
        }
        // The gateway uses it for itself; what it does with it is on record.
        Ok(Some(self.open_value(&id, None, self.ctx.now())?.value))
    }

    pub(super) fn connected(&self, bridge: Bridge) -> Result<Connected, Failure> {
        let kind: BridgeKind = bridge
            .kind
            .parse()
            .map_err(|error| Failure::invalid(&error))?;
        let authority = self.authority_of(&bridge)?;
        // Programs and lists of devices are looked at, which may lie on a disk that hangs.
        let (connected, abilities) = aside(|| {
            let connected = connect(kind, &bridge.settings, authority)?;
            let abilities = connected.abilities();
            Ok::<_, SettingsError>((connected, abilities))
        })?;
        let connector = Box::new(Interruptible {
            connector: connected,
            stopping: self.ctx.stopping().subscribe(),
        });
        Ok(Connected {
            abilities,
            connector,
            kind,
            bridge,
        })
    }

    /// The bridge of a credential, if one is connected.
    pub(crate) fn bridge_of(&self, id: &CredentialId) -> Result<Option<Connected>, Failure> {
        let Some(bridge) = self.bridge_in_use(id.name.bridge(), &id.environment)? else {
            return Ok(None);
        };
        if bridge.authority.as_ref() == Some(&id.name) {
            // A bridge is not asked to replace the very credential by which it is asked.
            return Ok(None);
        }
        self.connected(bridge).map(Some)
    }

    /// Connects a bridge, or changes how it is reached.
    pub(crate) async fn connect_bridge(
        &self,
        caller: &Caller,
        mut request: api::BridgeRequest,
    ) -> Result<api::BridgeView, Failure> {
        let (actor, second_factor) = (caller.actor(), request.second_factor.take());
        let environment = self.environment(&request.environment)?;
        // The name is the first part of its credentials' names.
        let probe: CredentialId =
            self.credential_id(&request.environment, &format!("{}/x", request.name))?;
        if OWN_BRIDGES.contains(&probe.name.bridge()) {
            let why = format!("{} is a reserved name of the gateway", request.name);
            return Err(Failure::invalid(&why));
        }
        let authority = request.authority.as_deref().map(str::parse).transpose();
        let now = self.ctx.now();
        let bridge = Bridge {
            name: request.name,
            environment,
            kind: request.kind,
            owner: checked_text("owner", &request.owner)?,
            purpose: checked_text("purpose", &request.purpose)?,
            settings: request.settings.to_string(),
            authority: authority.map_err(
                |error: hearthkey_core::credential::InvalidCredentialName| Failure::invalid(&error),
            )?,
            created_at: now,
            created_by: actor.name.clone(),
        };
        if !self.ctx.endings().settled(&bridge_object(&bridge)).await {
            return Err(still_ending(&bridge_object(&bridge)));
        }
        let connected = match self.connected(bridge.clone()) {
            Ok(connected) => connected,
            Err(failure) => return Err(offer_pin(&bridge).await.unwrap_or(failure)),
        };
        let needed = Needed {
            act: Act::BridgeChange,
            environment: Some(&bridge.environment),
            why: "values and the bridge's authority are sent to its address",
        };
        let shown = self.auth.shown_here(caller, needed, second_factor).await?;
        // Where its authority goes is seen in the log, and when it goes elsewhere.
        let digest = Fingerprint::of(bridge.settings.as_bytes());
        let settings =
            Some(request.settings).filter(|_| bridge.settings.len() <= SETTINGS_RECORDED_BYTES);
        let entry = Entry::new(now, actor, "bridge.connect", bridge_object(&bridge))
            .with("kind", bridge.kind.clone())
            .with("settings", settings)
            .with("settings_sha256", digest.to_string())
            .with(
                "authority",
                bridge.authority.as_ref().map(ToString::to_string),
            );
        let before = self
            .ctx
            .store()
            .read(|registry| registry.bridge(&bridge.name, &bridge.environment))?;
        let mut change = Change::record(entry);
        if let Some(before) = before.filter(|before| before.authority != bridge.authority) {
            change = keep_tier(change, &before, self.tier_at(&before)?);
        }
        let change = change.vault(VaultWrite::Bridge(bridge));
        self.auth.commit_shown(change, shown).await?;
        Ok(view(&connected))
    }

    /// Every bridge.
    pub(crate) fn bridges(&self) -> Result<api::BridgeList, Failure> {
        let bridges = self.ctx.store().read(|registry| registry.bridges())?;
        let views = bridges
            .into_iter()
            .filter(|bridge| !self.ctx.endings().is_pending(&bridge_object(bridge)))
            .map(|bridge| match self.connected(bridge.clone()) {
                Ok(connected) => view(&connected),
                // It is listed all the same, with what prevents it.
                Err(failure) => {
                    let abilities = api::AbilitiesView {
                        cannot: vec![failure.0.detail],
                        ..abilities_view(&Abilities::default())
                    };
                    api::BridgeView {
                        name: bridge.name.clone(),
                        environment: bridge.environment.to_string(),
                        kind: bridge.kind.clone(),
                        owner: bridge.owner.clone(),
                        purpose: bridge.purpose.clone(),
                        settings: serde_json::from_str(&bridge.settings).unwrap_or_default(),
                        authority: bridge.authority.as_ref().map(ToString::to_string),
                        abilities,
                        created_at: bridge.created_at.to_string(),
                    }
                }
            });
        Ok(api::BridgeList {
            bridges: views.collect(),
        })
    }

    /// A bridge, unless it has been disconnected, whether or not the registry has that yet.
    fn bridge_in_use(
        &self,
        name: &str,
        environment: &EnvironmentName,
    ) -> Result<Option<Bridge>, ReadError> {
        let bridge = self
            .ctx
            .store()
            .read(|registry| registry.bridge(name, environment))?;
        Ok(bridge.filter(|bridge| !self.ctx.endings().is_pending(&bridge_object(bridge))))
    }

    pub(super) fn known_bridge(&self, environment: &str, name: &str) -> Result<Bridge, Failure> {
        let environment = self.environment(environment)?;
        self.bridge_in_use(name, &environment)?
            .ok_or_else(|| Failure::not_found("bridge", &name.chars().take(80).collect::<String>()))
    }

    /// The active credentials of a bridge.
    pub(crate) fn credentials_of_bridge(
        &self,
        name: &str,
        environment: &EnvironmentName,
    ) -> Result<Vec<KnownCredential>, Failure> {
        let filter = Filter {
            environment: Some(environment.clone()),
            state: Some(State::Active),
            ..Filter::default()
        };
        let mut after = format!("{name}/");
        let mut found = Vec::new();
        loop {
            let page = self
                .ctx
                .store()
                .read(|registry| registry.credentials(&filter, (&after, ""), 1000))?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = format!("{}\u{1}", last.credential.id.name);
            let before = found.len();
            let count = page.len();
            found.extend(
                page.into_iter()
                    .filter(|known| known.credential.id.name.bridge() == name),
            );
            if found.len() - before < count {
                return Ok(found);
            }
        }
    }

    /// Asks a bridge about each of its credentials.
    pub(crate) async fn test_bridge(
        &self,
        permit: &Permit,
        environment: &str,
        name: &str,
    ) -> Result<api::BridgeTested, Failure> {
        let bridge = self.known_bridge(environment, name)?;
        let actor = permit
            .actor_in(Act::BridgeChange, &bridge.environment)?
            .clone();
        let connected = self.connected(bridge.clone())?;
        // What is tried is shown to the bridge: on record before it is.
        let credentials = self.credentials_of_bridge(name, &bridge.environment)?;
        let names: Vec<String> = credentials
            .iter()
            .map(|known| known.credential.id.name.to_string())
            .take(NAMES_RECORDED)
            .collect();
        let entry = Entry::new(
            self.ctx.now(),
            actor.clone(),
            "bridge.try",
            bridge_object(&bridge),
        )
        .with("credentials", credentials.len())
        .with("names", names);
        self.ctx.commit(Change::record(entry)).await?;
        let mut verdicts = Vec::new();
        for known in credentials {
            let is_authority = bridge.authority.as_ref() == Some(&known.credential.id.name);
            let tried = !is_authority || connected.kind.authority_is_a_value();
            if tried && known.current.is_some() {
                verdicts.push(self.ask(&connected, &known).await?);
            }
        }
        let ok = verdicts
            .iter()
            .all(|verdict| ["works", "untried"].contains(&verdict.verdict.as_str()));
        let entry = Entry::new(self.ctx.now(), actor, "bridge.test", bridge_object(&bridge))
            .with("credentials", verdicts.len())
            .with("ok", ok);
        self.ctx.commit(Change::record(entry)).await?;
        Ok(api::BridgeTested {
            name: bridge.name,
            ok,
            credentials: verdicts,
        })
    }

    /// Asks a bridge about the current value of one credential, and keeps what it says.
    pub(crate) async fn ask(
        &self,
        connected: &Connected,
        known: &KnownCredential,
    ) -> Result<api::BridgeVerdict, Failure> {
        let id = &known.credential.id;
        let mut verdict = api::BridgeVerdict {
            name: id.name.to_string(),
            verdict: "unknown".into(),
            detail: None,
            scopes: None,
            privileged: false,
        };
        let Some(sealed) = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(id, None))?
        else {
            return Ok(verdict);
        };
        let mut held = self.held(id, &sealed)?;
        let is_authority = connected.bridge.authority.as_ref() == Some(&id.name);
        let named_here = is_authority && held.remote_id.is_none();
        if named_here {
            held.remote_id = connected.connector.authority_id().map(str::to_owned);
        }
        match connected.connector.verify(&held).await {
            Ok(Verified::Works) => verdict.verdict = "works".into(),
            Ok(Verified::Fails(why)) => {
                verdict.verdict = "fails".into();
                verdict.detail = Some(why);
            }
            Err(error) => {
                if matches!(error, BridgeError::CannotDo { .. }) {
                    verdict.verdict = "untried".into();
                }
                verdict.detail = Some(format!("{error}. {}", error.remedy()));
            }
        }
        if verdict.verdict != "works" {
            return Ok(verdict);
        }
        let now = self.ctx.now();
        let mut change = Change::default();
        if connected.abilities.scopes
            && let Ok(mut scopes) = connected.connector.scopes(&held).await
        {
            if named_here && held.remote_id.is_some() {
                // It administers, as it has to.
                scopes.privileged = None;
            }
            verdict.privileged = scopes.privileged.is_some();
            let drift = drift(known, &scopes.rights, scopes.privileged.as_ref());
            verdict.detail = drift.as_ref().map(|finding| finding.what.clone());
            change = match drift {
                Some(finding) => change.vault(VaultWrite::Finding(finding, now)),
                None => change.vault(VaultWrite::Overtaken {
                    object: object(id),
                    kind: FindingKind::Drift,
                    seen_before: now,
                    at: now,
                }),
            };
            verdict.scopes = Some(scopes.rights);
        }
        let kept = Verdict {
            at: now,
            scopes: verdict.scopes.clone(),
            privileged: verdict.privileged,
        };
        self.ctx
            .commit(change.vault(VaultWrite::Verified(id.clone(), kept)))
            .await?;
        Ok(verdict)
    }
}
