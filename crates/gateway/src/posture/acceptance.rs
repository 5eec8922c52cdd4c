//! What is not as it should be, and what of it people have accepted.

use hearthkey_api as api;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::checked_text;
use hearthkey_core::finding::FindingKind;
use hearthkey_core::posture::why;
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::posture::{Acceptance, PostureWrite};

use crate::auth::caller::Caller;
use crate::posture::Posture;
use crate::state::failure::Failure;

/// The longest time for which a finding is accepted at once.
const ACCEPTED_MAX: Span = Span::days(2 * 366);

fn accepted(acceptance: &Acceptance) -> api::AcceptanceView {
    api::AcceptanceView {
        owner: acceptance.owner.clone(),
        reason: acceptance.reason.clone(),
        at: acceptance.accepted_at.to_string(),
        by: acceptance.accepted_by.clone(),
        until: acceptance.until.map(|until| until.to_string()),
    }
}

impl Posture {
    /// Everything that is not as it should be, as far as the caller may see it; what is accepted is separate.
    pub(crate) fn posture(&self, caller: &Caller) -> Result<api::Posture, Failure> {
        let now = self.ctx.now();
        let mut views = self.vault.findings(caller)?.findings;
        if caller.may_everywhere(Act::FindingRead) {
            let found = self.judged(now)?;
            let found = found.iter();
            views.extend(found.map(|finding| crate::vault::findings::view(finding, None)));
        }
        crate::vault::findings::worst_first(&mut views);
        let acceptances = self.ctx.store().read(|registry| registry.acceptances())?;
        let holds = |id: &str| {
            acceptances.iter().find(|acceptance| {
                acceptance.finding == id && acceptance.until.is_none_or(|until| now < until)
            })
        };
        let mut posture = api::Posture {
            findings: Vec::new(),
            accepted: Vec::new(),
        };
        for finding in views {
            let kind: Option<FindingKind> = finding.kind.parse().ok();
            let acceptance = holds(&finding.id).map(accepted);
            let list = match acceptance {
                None => &mut posture.findings,
                Some(_) => &mut posture.accepted,
            };
            list.push(api::PostureFinding {
                why: kind.map(why).unwrap_or_default().to_owned(),
                finding,
                acceptance,
            });
        }
        Ok(posture)
    }

    /// Accepts a finding: a person is responsible for it, for a reason, until a day.
    pub(crate) async fn accept_finding(
        &self,
        caller: &Caller,
        id: &str,
        request: &api::AcceptanceRequest,
    ) -> Result<api::Posture, Failure> {
        let finding = self.known_finding(caller, id)?;
        let owner = checked_text("owner", &request.owner)?;
        let reason = checked_text("reason", &request.reason)?;
        let now = self.ctx.now();
        let until = request.until.as_deref().map(str::parse::<Timestamp>);
        let until = until
            .transpose()
            .map_err(|error| Failure::invalid(&error))?;
        if until.is_some_and(|until| until <= now || until > now.after(ACCEPTED_MAX)) {
            return Err(Failure::refused(
                &"the end of an acceptance must lie in the next two years",
                "Choose another day, or leave it out for no end. On the command line: `--until TIME`.",
            )
            .titled("The request is not valid."));
        }
        let actor = caller.actor();
        let mut entry = entry("finding.accept", now, actor.clone(), &finding)
            .because(reason.clone())
            .with("owner", owner.clone());
        if let Some(until) = until {
            entry = entry.with("until", until.to_string());
        }
        let acceptance = Acceptance {
            finding: id.to_owned(),
            owner,
            reason,
            accepted_at: now,
            accepted_by: actor.name,
            until,
        };
        let write = Write::Posture(PostureWrite::Accept(acceptance));
        self.ctx.commit(Change::record(entry).write(write)).await?;
        self.posture(caller)
    }

    /// Takes an acceptance back.
    pub(crate) async fn reopen_finding(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<api::Posture, Failure> {
        let finding = self.known_finding(caller, id)?;
        let acceptances = self.ctx.store().read(|registry| registry.acceptances())?;
        if !acceptances
            .iter()
            .any(|acceptance| acceptance.finding == id)
        {
            return Err(Failure::refused(
                &format!("the finding {id} is open, and nobody has accepted it"),
                "Nothing needs to be done.",
            )
            .titled("This finding is not accepted."));
        }
        let entry = entry("finding.reopen", self.ctx.now(), caller.actor(), &finding);
        let write = Write::Posture(PostureWrite::Reopen(id.to_owned()));
        self.ctx.commit(Change::record(entry).write(write)).await?;
        self.posture(caller)
    }

    fn known_finding(&self, caller: &Caller, id: &str) -> Result<api::FindingView, Failure> {
        let api::Posture { findings, accepted } = self.posture(caller)?;
        let mut all = findings.into_iter().chain(accepted);
        let found = all.find(|one| one.finding.id == id);
        let shown: String = id.chars().take(40).collect();
        found
            .map(|one| one.finding)
            .ok_or_else(|| Failure::not_found("finding", &shown))
    }
}

fn entry(action: &'static str, now: Timestamp, actor: Actor, finding: &api::FindingView) -> Entry {
    Entry::new(now, actor, action, finding.object.clone())
        .with("finding", finding.id.clone())
        .with("kind", finding.kind.clone())
}
