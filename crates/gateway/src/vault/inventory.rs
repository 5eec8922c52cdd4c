//! The inventory: every secret and key of the home in one list, the gateway's own among them.

use hearthkey_api::{
    CredentialInFull, CredentialPage, CredentialView, PAGE_MAX, ProvenanceView, RotationPolicyView,
    TokenView,
};
use hearthkey_core::audit::Actor;
use hearthkey_core::certificate::Certificate;
use hearthkey_core::credential::{CredentialId, Custody, Kind, Origin, Tier, WHOLE_HOME};
use hearthkey_core::role::{Act, Scope};
use hearthkey_pki::CaCertificate;
use hearthkey_store::inventory::Filter;
use hearthkey_store::registry::{KnownDevice, ReadError, Registry};

use crate::auth::caller::Caller;
use crate::state::failure::Failure;
use crate::trust::server_tls::{LEAF, RSA_LEAF};
use crate::vault::Vault;
use crate::vault::views;

/// Where a page begins: after this name in this environment.
struct Cursor<'a> {
    name: &'a str,
    environment: &'a str,
}

impl<'a> Cursor<'a> {
    fn parse(text: &'a str) -> Self {
        let (name, environment) = text.split_once(' ').unwrap_or((text, ""));
        Self { name, environment }
    }

    fn is_before(&self, view: &CredentialView) -> bool {
        (self.name, self.environment) < (view.name.as_str(), view.environment.as_str())
    }
}

/// Whether one of the gateway's own is searched for.
fn matches(filter: &Filter, view: &CredentialView) -> bool {
    let text = filter.text.as_deref().map(str::to_lowercase);
    let holds = |part: &str| {
        text.as_deref()
            .is_none_or(|text| part.to_lowercase().contains(text))
    };
    filter
        .environment
        .as_ref()
        .is_none_or(|name| name.as_str() == view.environment)
        && filter.kind.is_none_or(|kind| kind.as_str() == view.kind)
        && filter.tier.is_none_or(|tier| tier.as_str() == view.tier)
        && filter
            .state
            .is_none_or(|state| state.as_str() == view.state)
        && (holds(&view.name) || holds(&view.owner) || holds(&view.purpose))
}

/// One of the gateway's own, with what is common to all of them.
fn own(name: String, environment: &str, kind: Kind, tier: Tier, at: String) -> CredentialView {
    CredentialView {
        name,
        environment: environment.into(),
        kind: kind.to_string(),
        owner: "gateway".into(),
        purpose: String::new(),
        tier: tier.to_string(),
        custody: Custody::Own.to_string(),
        location: None,
        provenance: ProvenanceView {
            origin: Origin::Own.to_string(),
            source: None,
            by: Actor::gateway().name,
            address: None,
            at,
        },
        state: "active".into(),
        rotation: RotationPolicyView::default(),
        used_by: Vec::new(),
        scopes: Vec::new(),
        found_scopes: None,
        privileged: false,
        expires_at: None,
        version: None,
        version_at: None,
        rotating: None,
        due: None,
        verified_at: None,
        last_used_at: None,
        last_used_by: None,
        uses: 0,
        shred_at: None,
    }
}

fn of_token(token: &TokenView) -> CredentialView {
    let name = format!("token/{}", token.name);
    let at = token.created_at.clone();
    // One that holds in several, or in all, belongs to none, as the home's own keys do.
    let place = match token.environments.as_slice() {
        [one] => one.as_str(),
        _ => "",
    };
    let mut view = own(name, place, Kind::ServiceToken, Tier::High, at);
    view.owner.clone_from(&token.owner);
    view.purpose.clone_from(&token.purpose);
    view.state.clone_from(&token.state);
    view.location = Some("its bearer holds it; a hash of it is kept".into());
    view.provenance.by.clone_from(&token.made_by);
    view.scopes.clone_from(&token.allow);
    view.scopes.extend(token.role.clone());
    view.expires_at = Some(token.expires_at.clone());
    view.last_used_at.clone_from(&token.last_used_at);
    view.last_used_by.clone_from(&token.last_address);
    view.uses = token.uses;
    view
}

fn of_device(known: &KnownDevice, newest: Option<&Certificate>) -> CredentialView {
    let device = &known.device;
    let name = format!("device/{}", device.id);
    let made_at = device.created_at.to_string();
    let mut view = own(
        name,
        device.environment.as_str(),
        Kind::Certificate,
        Tier::Standard,
        made_at,
    );
    view.owner.clone_from(&device.owner);
    view.purpose.clone_from(&device.purpose);
    view.state = device.state.as_str().into();
    view.location = Some("the device holds the key".into());
    view.rotation.automatic = true;
    view.last_used_at = known.last_seen_at.map(|at| at.to_string());
    view.last_used_by = known.last_address.clone();
    if let Some(certificate) = newest {
        view.expires_at = Some(certificate.not_after.to_string());
        view.version = Some(certificate.generation + 1);
        view.version_at = Some(certificate.issued_at.to_string());
    }
    view
}

/// The first of these, and where the rest goes on.
fn cut(views: &mut Vec<CredentialView>, limit: usize) -> CredentialPage {
    let more = views.len() > limit;
    views.truncate(limit);
    let next = views.last().filter(|_| more);
    CredentialPage {
        next: next.map(|last| format!("{} {}", last.name, last.environment)),
        credentials: std::mem::take(views),
    }
}

fn may_see(caller: &Caller, view: &CredentialView) -> bool {
    match (view.environment.parse(), view.name.parse()) {
        (Ok(environment), Ok(name)) => caller.may_list(&CredentialId { environment, name }),
        _ => caller.may_everywhere(Act::CredentialRead),
    }
}

impl Vault {
    /// A page of the inventory, as far as the caller may see it.
    pub(crate) fn inventory(
        &self,
        caller: &Caller,
        filter: &Filter,
        after: &str,
        limit: u32,
    ) -> Result<CredentialPage, Failure> {
        let limit = limit.clamp(1, PAGE_MAX) as usize;
        if caller.may_everywhere(Act::CredentialRead) {
            let mut views = self.page(filter, after, limit + 1)?;
            return Ok(cut(&mut views, limit));
        }
        // Callers limited to some environments get only those rows, and a cursor that stays within them.
        let own = caller.granted_in();
        let mut views = Vec::new();
        let mut after = after.to_owned();
        let asked = filter.environment.as_ref();
        let elsewhere = asked.is_some_and(|asked| own.is_some_and(|own| asked != own));
        while !elsewhere && views.len() <= limit {
            let filter = Filter {
                environment: own.or(asked).cloned(),
                ..filter.clone()
            };
            let mut page = self.page(&filter, &after, PAGE_MAX as usize + 1)?;
            let cut = cut(&mut page, PAGE_MAX as usize);
            views.extend(
                cut.credentials
                    .into_iter()
                    .filter(|view| may_see(caller, view)),
            );
            match cut.next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(cut(&mut views, limit))
    }

    /// One of the home's own, as far as the caller may see it.
    pub(crate) fn own_in_full(
        &self,
        caller: &Caller,
        environment: &str,
        bridge: &str,
        key: &str,
    ) -> Result<CredentialInFull, Failure> {
        let environment = if environment == WHOLE_HOME {
            ""
        } else {
            environment
        };
        let name = format!("{bridge}/{key}");
        let found = match key.parse() {
            Ok(device) if bridge == "device" => self.ctx.store().read(|registry| {
                let Some(known) = registry.device(&device)? else {
                    return Ok(None);
                };
                let newest = registry.certificates_of(&device, 1)?;
                Ok(Some(of_device(&known, newest.first())))
            })?,
            _ => self
                .own_keys()?
                .into_iter()
                .find(|view| view.name == name && view.environment == environment),
        };
        let found = found.filter(|view| view.environment == environment && may_see(caller, view));
        let shown: String = name.chars().take(80).collect();
        Ok(CredentialInFull {
            credential: found.ok_or_else(|| Failure::not_found("credential", &shown))?,
            versions: Vec::new(),
            rotations: Vec::new(),
            leases: Vec::new(),
            findings: Vec::new(),
        })
    }

    /// The inventory from a cursor on, at least `count` of it if there is that much.
    fn page(
        &self,
        filter: &Filter,
        after: &str,
        count: usize,
    ) -> Result<Vec<CredentialView>, Failure> {
        let cursor = Cursor::parse(after);
        let now = self.ctx.now();
        let rows = u32::try_from(count).unwrap_or(PAGE_MAX);
        let mut views: Vec<CredentialView> = self.ctx.store().read(|registry| {
            let kept = registry.credentials(filter, (cursor.name, cursor.environment), rows)?;
            let mut views: Vec<_> = kept
                .iter()
                .map(|known| views::credential(known, now))
                .collect();
            if filter.kind.is_none_or(|kind| kind == Kind::Certificate) {
                views.extend(certificates(registry, filter, &cursor, count)?);
            }
            Ok(views)
        })?;
        let keys = self.own_keys()?;
        views.extend(
            keys.into_iter()
                .filter(|view| cursor.is_before(view) && matches(filter, view)),
        );
        views.sort_by(|a, b| (&a.name, &a.environment).cmp(&(&b.name, &b.environment)));
        Ok(views)
    }

    /// The keys by which the home itself lives.
    fn own_keys(&self) -> Result<Vec<CredentialView>, Failure> {
        let mut views = Vec::new();
        let mut authority = |name: &str, shown: String, environment: &str, purpose: &str, tier| {
            let found = self.ctx.store().read(|registry| registry.authority(name))?;
            if let Some((der, _)) = found {
                let found =
                    CaCertificate::from_der(&der).map_err(|error| Failure::internal(&error))?;
                let made_at = found.not_before.to_string();
                let mut view = own(shown, environment, Kind::CaKey, tier, made_at.clone());
                view.purpose = purpose.into();
                view.expires_at = Some(found.not_after.to_string());
                view.version = Some(1);
                view.version_at = Some(made_at);
                views.push(view);
            }
            Ok::<(), Failure>(())
        };
        authority(
            "root",
            "ca/root".into(),
            "",
            "signs the issuing CAs",
            Tier::Critical,
        )?;
        authority(
            "server",
            "ca/server".into(),
            "",
            "signs the gateway's server certificates",
            Tier::High,
        )?;
        for environment in self.devices.environments() {
            let name = format!("issuing/{environment}");
            let purpose = "signs the certificates of devices";
            authority(
                &name,
                "ca/issuing".into(),
                &environment,
                purpose,
                Tier::Critical,
            )?;
        }
        let began = views
            .first()
            .map_or_else(String::new, |root| root.provenance.at.clone());
        let mut log = own("log/checkpoint".into(), "", Kind::LogKey, Tier::High, began);
        log.purpose = "signs the audit log's checkpoints".into();
        views.push(log);
        let purpose = "the gateway's own certificate, to devices and services";
        views.extend(self.server_key(LEAF, "server/tls", purpose)?);
        let purpose = "the gateway's own certificate, to devices that know RSA alone";
        views.extend(self.server_key(RSA_LEAF, "server/tls-rsa", purpose)?);
        views.extend(self.auth.token_views(Some(Scope::All)).iter().map(of_token));
        Ok(views)
    }

    fn server_key(
        &self,
        name: &str,
        shown: &str,
        purpose: &str,
    ) -> Result<Option<CredentialView>, Failure> {
        let leaf = self.ctx.store().read(|registry| registry.authority(name))?;
        let life = leaf.and_then(|(der, _)| hearthkey_pki::life_of(&der));
        Ok(life.map(|(made, ends)| {
            let made_at = made.to_string();
            let mut view = own(
                shown.into(),
                "",
                Kind::ServerKey,
                Tier::High,
                made_at.clone(),
            );
            view.purpose = purpose.into();
            view.rotation.automatic = true;
            view.expires_at = Some(ends.to_string());
            view.version_at = Some(made_at);
            view
        }))
    }
}

/// The certificates of devices that are searched for, at most `limit`.
fn certificates(
    registry: &Registry<'_>,
    filter: &Filter,
    cursor: &Cursor<'_>,
    limit: usize,
) -> Result<Vec<CredentialView>, ReadError> {
    const PREFIX: &str = "device/";
    let mut after = match cursor.name.strip_prefix(PREFIX) {
        Some(device) => device.to_owned(),
        None if cursor.name < PREFIX => String::new(),
        None => return Ok(Vec::new()),
    };
    let mut views = Vec::new();
    loop {
        let devices = registry.devices(&after, PAGE_MAX)?;
        let Some(last) = devices.last() else {
            return Ok(views);
        };
        after = last.device.id.to_string();
        for known in &devices {
            if !matches(filter, &of_device(known, None)) {
                continue;
            }
            let newest = registry.certificates_of(&known.device.id, 1)?;
            views.push(of_device(known, newest.first()));
            if views.len() == limit {
                return Ok(views);
            }
        }
    }
}
