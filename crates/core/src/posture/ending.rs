//! Credentials and tokens that end soon, so that there is time to do something about it. CAs: [`super::authority`]; devices that missed
//! their renewal: `unrenewed` in [`super::Facts`].

use crate::credential::CredentialId;
use crate::finding::{Finding, FindingKind, RemedyAction, RemedyKind, Severity};
use crate::posture::next_value::NextValue;
use crate::time::{Span, Timestamp};
use crate::token::{Standing, Token};

/// A credential's end is reported so long before.
pub const CREDENTIAL_TOLD: Span = Span::days(14);
/// A credential or a token that ends within this is urgent.
pub const URGENT: Span = Span::days(2);
/// The end of a token's ceiling is reported so long before, or in the last quarter of it, whichever is shorter.
pub const TOKEN_TOLD: Span = Span::days(7);

fn severity(now: Timestamp, ends: Timestamp) -> Severity {
    match now.after(URGENT) >= ends {
        true => Severity::High,
        false => Severity::Medium,
    }
}

/// That an active credential ends soon, if it does and has not ended yet.
pub fn of_credential(
    id: &CredentialId,
    ends: Option<Timestamp>,
    next: NextValue,
    now: Timestamp,
) -> Option<Finding> {
    let ends = ends.filter(|ends| *ends > now && *ends <= now.after(CREDENTIAL_TOLD))?;
    let object = format!("credential:{id}");
    let finding = Finding::new(FindingKind::Ending, severity(now, ends), object, "");
    Some(finding.saying(
        format!("It expires on {ends}. After that it is not given out."),
        next.remedy(id, ""),
    ))
}

/// That a token can soon be renewed no more, or cannot any more.
pub fn of_token(token: &Token, now: Timestamp) -> Option<Finding> {
    let (name, ends) = (&token.name, token.renewable_until());
    let object = format!("token:{name}");
    let told = TOKEN_TOLD.min(Span::ms(token.ceiling.as_ms() / 4));
    let remedy = format!(
        "Authorize it again, or revoke it if nothing needs it. On the command line: `hearthkey token reauthorize {name}`, \
         `hearthkey token revoke {name}`."
    );
    let (kind, severity, what) = match token.standing(now) {
        Standing::Revoked => return None,
        Standing::Held => (
            FindingKind::Expired,
            Severity::Medium,
            format!("The token {name} can't be renewed: it could be until {ends}."),
        ),
        Standing::Live | Standing::Expired if now.after(told) >= ends => (
            FindingKind::Ending,
            Severity::Medium,
            format!("The token {name} can be renewed only until {ends}."),
        ),
        Standing::Live | Standing::Expired => return None,
    };
    let action = RemedyAction::new(RemedyKind::Reauthorize, object.clone());
    let finding = Finding::new(kind, severity, object, "");
    Some(finding.saying(what, remedy).solved_by(action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Binding;
    use crate::token::tests::{KEY, at, token};

    fn id() -> CredentialId {
        CredentialId {
            environment: "home".parse().unwrap(),
            name: "hue/api-key".parse().unwrap(),
        }
    }

    fn longer(span: Span) -> Span {
        Span::ms(span.as_ms() + 1)
    }

    #[test]
    fn a_credentials_end_is_told_two_weeks_before_and_its_expiry_is_another_finding() {
        let ends = Timestamp::from_s(0).after(Span::days(100));
        let found = |before: Span| {
            let found = of_credential(&id(), Some(ends), NextValue::Issued, ends.before(before));
            found.map(|finding| finding.severity)
        };
        assert_eq!(found(longer(CREDENTIAL_TOLD)), None);
        assert_eq!(found(CREDENTIAL_TOLD), Some(Severity::Medium));
        assert_eq!(found(longer(URGENT)), Some(Severity::Medium));
        assert_eq!(found(URGENT), Some(Severity::High));
        assert_eq!(found(Span::ms(1)), Some(Severity::High));
        assert_eq!(found(Span::ms(0)), None);
        assert_eq!(of_credential(&id(), None, NextValue::Here, ends), None);
    }

    #[test]
    fn the_end_of_a_tokens_ceiling_is_told_in_its_last_quarter_and_when_it_is_over() {
        let ci = token(Binding::Key(KEY));
        let end = ci.renewable_until();
        let quarter = Span::ms(ci.ceiling.as_ms() / 4);
        let kind = |now| of_token(&ci, now).map(|finding| finding.kind);
        assert_eq!(kind(end.before(longer(quarter))), None);
        assert_eq!(kind(end.before(quarter)), Some(FindingKind::Ending));
        assert_eq!(kind(end), Some(FindingKind::Expired));
        let mut long = ci.clone();
        long.ceiling = Span::days(30);
        let end = long.renewable_until();
        assert_eq!(of_token(&long, end.before(Span::hours(7 * 24 + 1))), None);
        assert!(of_token(&long, end.before(TOKEN_TOLD)).is_some());
        let mut revoked = ci;
        revoked.revoked_at = Some(at(0));
        assert_eq!(of_token(&revoked, end), None);
    }

    #[test]
    fn a_token_that_ends_is_authorized_again_with_one_act() {
        let ci = token(Binding::Key(KEY));
        let found = of_token(&ci, ci.renewable_until()).unwrap();
        let action = found.action.unwrap();
        assert_eq!(action.kind, RemedyKind::Reauthorize);
        assert_eq!(action.object, "token:ci");
    }
}
