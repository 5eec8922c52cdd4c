//! What is wrong with the inventory: what follows from it as it is, and what was noted.

use crate::auth::permit::Permit;
use crate::vault::reports::REPORTS_MAX;

use hearthkey_api::{FindingList, FindingReport, FindingView, RightName};
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{
    Action, Credential, CredentialId, Custody, Origin, State, Tier, checked_text,
};
use hearthkey_core::finding::{Finding, FindingKind, RemedyAction, Severity};
use hearthkey_core::posture::ending;
use hearthkey_core::posture::next_value::NextValue;
use hearthkey_core::role::Act;
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownCredential;
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::vault_change::VaultWrite;

use crate::auth::caller::Caller;
use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::credentials::{named, object};
use crate::vault::guarding::tier_in;
use crate::vault::{making, views};

fn remedy_action(action: &RemedyAction) -> hearthkey_api::RemedyAction {
    let keep = action.keep.iter().map(|(verb, filter)| RightName {
        verb: verb.to_string(),
        filter: filter.clone(),
    });
    hearthkey_api::RemedyAction {
        kind: action.kind.to_string(),
        object: action.object.clone(),
        keep: keep.collect(),
    }
}

pub(crate) fn view(finding: &Finding, since: Option<Timestamp>) -> FindingView {
    FindingView {
        id: finding.id.clone(),
        kind: finding.kind.to_string(),
        severity: finding.severity.to_string(),
        object: finding.object.clone(),
        what: finding.what.clone(),
        remedy: finding.remedy.clone(),
        remedy_action: finding.action.as_ref().map(remedy_action),
        since: since.map(|at| at.to_string()),
    }
}

/// Where a credential's next value comes from, as far as that is known without asking its bridge.
fn next_value(known: &KnownCredential, bridges: &[Bridge]) -> NextValue {
    let Credential {
        id,
        kind,
        provenance,
        ..
    } = &known.credential;
    let is_its =
        |bridge: &&Bridge| bridge.name == id.name.bridge() && bridge.environment == id.environment;
    let bridge = bridges.iter().find(is_its);
    let asks = bridge.is_some_and(|bridge| bridge.authority.as_ref() != Some(&id.name));
    let can_make = making::can_make(*kind);
    if known.credential.custody != Custody::Vault {
        NextValue::Elsewhere
    } else if known.rotating.is_some() {
        NextValue::UnderWay
    } else if asks || can_make && provenance.origin == Origin::Generated {
        NextValue::Here
    } else if can_make {
        NextValue::Either
    } else {
        NextValue::Issued
    }
}

/// What is wrong with one credential by itself.
fn of_credential(known: &KnownCredential, bridges: &[Bridge], now: Timestamp) -> Vec<Finding> {
    let id = &known.credential.id;
    let next = next_value(known, bridges);
    let rotate = next.remedy(id, "");
    let mut findings = Vec::new();
    if known.credential.expires_at.is_some_and(|ends| ends <= now) {
        let finding = Finding::new(FindingKind::Expired, Severity::High, object(id), "");
        findings.push(finding.saying("It has expired, and is not given out.", rotate.clone()));
    }
    findings.extend(ending::of_credential(
        id,
        known.credential.expires_at,
        next,
        now,
    ));
    if let Some(due) = views::due(known, now) {
        let finding = Finding::new(FindingKind::Due, Severity::Medium, object(id), "");
        findings.push(finding.saying(format!("It is due for rotation: {due}."), rotate));
    }
    findings
}

/// What is wrong with a value that several credentials hold.
fn of_shared(holders: &[CredentialId]) -> Option<Finding> {
    let (first, others) = holders.split_first()?;
    let across = others
        .iter()
        .any(|other| other.environment != first.environment);
    let (kind, severity) = if across {
        (FindingKind::SharedAcrossEnvironments, Severity::Critical)
    } else {
        (FindingKind::Reused, Severity::High)
    };
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    let finding = Finding::new(kind, severity, object(first), &names.join(" "));
    Some(finding.saying(
        format!("The same value is in {}.", names.join(", ")),
        "Give each but one a value of its own: rotate them. On the command line: `hearthkey credential rotate NAME --env ENVIRONMENT --from-file FILE`.",
    ))
}

/// Whether the caller may know that these hold one value. It names them all, so it is for callers who may see them all; and
/// not for callers who may write values without reading them, because they could guess until a value is equal.
fn may_know_equal(caller: &Caller, holders: &[(CredentialId, Tier)]) -> bool {
    let may = |action, (id, tier): &(CredentialId, Tier)| caller.reaches(action, id, *tier).is_ok();
    let every = |action| holders.iter().all(|holder| may(action, holder));
    let writes_one = holders
        .iter()
        .any(|(id, _)| caller.may(Action::Write, id).is_ok());
    // What a pattern does not include is not shown to its bearer, who may cooperate with a writer.
    let by_pattern = |(id, tier): &(CredentialId, Tier)| {
        *tier == Tier::Critical && !caller.is_named(Action::Read, id)
    };
    let hidden = holders.iter().any(by_pattern);
    every(Action::List) && (every(Action::Read) || !writes_one && !hidden)
}

/// The findings about values that several credentials hold; about one credential's if it is named.
fn shared(
    registry: &Registry<'_>,
    caller: &Caller,
    of: Option<&CredentialId>,
) -> Result<Vec<FindingView>, ReadError> {
    let mut views = Vec::new();
    for value in registry.shared_values(of)? {
        let holders = registry.holders_of(&value)?;
        let mut tiers = Vec::with_capacity(holders.len());
        for id in &holders {
            if let Some(known) = registry.credential(id)? {
                tiers.push((id.clone(), tier_in(registry, &known)?));
            }
        }
        if !may_know_equal(caller, &tiers) {
            continue;
        }
        let finding = of_shared(&holders);
        views.extend(finding.map(|finding| view(&finding, None)));
    }
    Ok(views)
}

/// What the caller may see of these, the worst first.
fn seen_by(caller: &Caller, mut views: Vec<FindingView>) -> Vec<FindingView> {
    let whole = caller.may_everywhere(Act::FindingRead);
    views.retain(|view| whole || about(view).is_some_and(|id| caller.may_list(&id)));
    worst_first(&mut views);
    views
}

/// Puts the worst first.
pub(crate) fn worst_first(views: &mut [FindingView]) {
    let rank = |view: &FindingView| {
        Severity::ALL
            .iter()
            .position(|word| word.as_str() == view.severity)
    };
    views.sort_by(|a, b| (rank(a), &a.object, &a.id).cmp(&(rank(b), &b.object, &b.id)));
}

impl Vault {
    /// Every finding, the worst first, as far as the caller may see what it is about.
    pub(crate) fn findings(&self, caller: &Caller) -> Result<FindingList, Failure> {
        let now = self.ctx.now();
        let findings = self.ctx.store().read(|registry| {
            let mut views = Vec::new();
            for (finding, since) in registry.findings()? {
                views.push(view(&finding, Some(since)));
            }
            views.extend(shared(registry, caller, None)?);
            let bridges = registry.bridges()?;
            registry.each_active(|known| {
                let found = of_credential(known, &bridges, now);
                views.extend(found.iter().map(|finding| view(finding, None)));
            })?;
            Ok(views)
        })?;
        Ok(FindingList {
            findings: seen_by(caller, findings),
        })
    }

    /// Notes what a scan or an import saw.
    pub(crate) async fn report_finding(
        &self,
        caller: &Caller,
        report: FindingReport,
    ) -> Result<FindingView, Failure> {
        let kind: FindingKind = report
            .kind
            .parse()
            .map_err(|error| Failure::invalid(&error))?;
        let place = checked_text("place", &report.place)?;
        let what = checked_text("what was seen", &report.what)?;
        let credential = report.credential.as_deref();
        let credential = credential
            .map(|text| self.credential_named(text))
            .transpose()?;
        if let Some(id) = &credential {
            self.permitted(caller, Action::List, id).await?;
        }
        let now = self.ctx.now();
        // A service's report is kept beside those of others, and does not replace them.
        let reporter = caller.service().ok().map(|service| service.actor().name);
        let mark = |of: &str| match &reporter {
            Some(reporter) => format!("{reporter} {of}"),
            None => of.to_owned(),
        };
        let somewhere = match &reporter {
            Some(reporter) => format!("{reporter}: {place}"),
            None => format!("place:{place}"),
        };
        if let Some(reporter) = &reporter
            && !locked(&self.reports).takes(reporter, now)
        {
            return Err(Failure::refused(
                &format!(
                    "the service {reporter} has reported {REPORTS_MAX} findings within the hour"
                ),
                "Review them, and fix the program that reports them. On the command line: `hearthkey check`.",
            ));
        }
        let finding = match (kind, &credential) {
            (FindingKind::Leaked, Some(id)) if self.is_replaced(id, report.version)? => {
                Finding::new(kind, Severity::High, object(id), &mark(&place)).saying(
                    format!("Leaked, and replaced since: found in {place}: {what}."),
                    "End the old value where it was issued if it is still valid there, and remove it from the place where it was found.",
                )
            }
            (FindingKind::Leaked, Some(id)) => Finding::new(kind, Severity::Critical, object(id), &mark(&place)).saying(
                format!("Leaked: found in {place}: {what}."),
                format!(
                    "Replace it now, then remove it from there. Its value ends at once, and what uses it stops until it has the new \
                     one. {}",
                    self.next_value_of(id)?.remedy(id, " --overlap 0s")
                ),
            ),
            (FindingKind::Leaked, None) => Finding::new(kind, Severity::High, somewhere, &mark(&what)).saying(
                format!("Possible secret found: {what}."),
                "Find out what it is for, replace it, and remove it from there.",
            ),
            (FindingKind::Unmanaged, _) => Finding::new(kind, Severity::Medium, somewhere, &mark(&what)).saying(
                format!("A secret is kept there and not in the vault: {what}."),
                "Store it in the vault. On the command line: `hearthkey credential import` or `hearthkey credential add`.",
            ),
            _ => return Err(Failure::invalid(&"only leaked and unmanaged are reported")),
        };
        let entry = Entry::new(
            now,
            caller.actor(),
            "finding.report",
            finding.object.clone(),
        )
        .ended(Outcome::Alert, kind.as_str())
        .with("place", place)
        .with("what", what);
        let change = Change::record(entry).vault(VaultWrite::Finding(finding.clone(), now));
        self.ctx.commit(change).await?;
        Ok(view(&finding, Some(now)))
    }

    /// Whether a version of a credential is not its current one any more.
    fn is_replaced(&self, id: &CredentialId, version: Option<u32>) -> Result<bool, ReadError> {
        let known = self.ctx.store().read(|registry| registry.credential(id))?;
        let current = known.and_then(|known| known.current);
        Ok(matches!((current, version), (Some((current, _)), Some(version)) if version < current))
    }

    /// Where a credential's next value comes from; one that is not known is entered.
    fn next_value_of(&self, id: &CredentialId) -> Result<NextValue, ReadError> {
        self.ctx.store().read(|registry| {
            let bridges = registry.bridges()?;
            let known = registry.credential(id)?;
            Ok(known.map_or(NextValue::Issued, |known| next_value(&known, &bridges)))
        })
    }

    /// A person has seen to it.
    pub(crate) async fn resolve_finding(
        &self,
        permit: &Permit,
        id: &str,
        reason: &str,
    ) -> Result<(), Failure> {
        let actor = permit.actor_for(Act::FindingAccept)?.clone();
        let reason = checked_text("reason", reason)?;
        let noted = self.ctx.store().read(|registry| registry.findings())?;
        let Some((finding, _)) = noted.into_iter().find(|(finding, _)| finding.id == id) else {
            let id: String = id.chars().take(40).collect();
            let mut failure = Failure::not_found("finding", &id)
                .titled("This finding cannot be marked as resolved.");
            failure.0.detail =
                format!("No scan or import has reported a finding {id} that is still open.");
            failure.0.remedy = format!(
                "What the gateway finds by itself is checked again each time, and ends when its cause is fixed. To live with it, \
                 accept it. On the command line: `hearthkey check --accept {id} --owner WHO --reason WHY`."
            );
            return Err(failure);
        };
        let now = self.ctx.now();
        let entry = Entry::new(now, actor, "finding.resolve", finding.object)
            .because(reason)
            .with("finding", finding.id.clone());
        self.ctx
            .commit(Change::record(entry).vault(VaultWrite::Resolved(finding.id, now)))
            .await?;
        Ok(())
    }

    /// The findings about one credential: about itself, or about one that is named with it.
    pub(crate) fn findings_of(
        &self,
        caller: &Caller,
        known: &KnownCredential,
    ) -> Result<Vec<FindingView>, Failure> {
        let id = &known.credential.id;
        let (now, object, name) = (self.ctx.now(), object(id), id.to_string());
        let findings = self.ctx.store().read(|registry| {
            let mut views = Vec::new();
            for (finding, since) in registry.findings()? {
                let mut words = finding.what.split([' ', ',', '.']);
                if finding.object == object || words.any(|word| word == name) {
                    views.push(view(&finding, Some(since)));
                }
            }
            views.extend(shared(registry, caller, Some(id))?);
            if known.credential.state == State::Active {
                let found = of_credential(known, &registry.bridges()?, now);
                views.extend(found.iter().map(|finding| view(finding, None)));
            }
            Ok(views)
        })?;
        Ok(seen_by(caller, findings))
    }

    /// A credential by `environment/bridge/key`, whether there is one or not.
    pub(crate) fn credential_named(&self, text: &str) -> Result<CredentialId, Failure> {
        match text.split_once('/') {
            Some((environment, name)) => named(environment, name),
            None => Err(Failure::invalid(
                &"a credential is named environment/bridge/key here",
            )),
        }
    }
}

/// The credential that a finding is about.
fn about(view: &FindingView) -> Option<CredentialId> {
    let (environment, name) = view.object.strip_prefix("credential:")?.split_once('/')?;
    Some(CredentialId {
        environment: environment.parse().ok()?,
        name: name.parse().ok()?,
    })
}
