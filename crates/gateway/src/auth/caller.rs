//! Who calls, and what they may do. Each listener says so; no header can.

use crate::auth::forbidden::forbidden;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use hearthkey_api::code;
use hearthkey_core::audit::Actor;
use hearthkey_core::credential::{Action, CredentialId, Tier};
use hearthkey_core::guarded::Changer;
use hearthkey_core::id::{EnvironmentName, Fingerprint};
use hearthkey_core::person::{Person, WebSession};
use hearthkey_core::power::{Beyond, Power};
use hearthkey_core::role::{Act, Mandate, Scope};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::token::Token;

use crate::state::failure::Failure;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The person at the desktop window that has the gateway in its process.
    Desktop,
    /// A process on this machine, over the Unix socket.
    Local {
        /// Its user id, from the kernel.
        uid: u32,
        /// Its process id, from the kernel.
        pid: Option<i32>,
    },
    /// A service that has shown a token and proven to hold what it is bound to.
    Service(Service),
    /// A person in a browser, with a session.
    Person(Box<Visit>),
}

/// A person's request: who they are and what they may do, as it stood when the request was let in.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// The person.
    pub(crate) person: Person,
    /// Their session.
    pub(crate) session: WebSession,
    /// Where they ask from.
    pub(crate) address: SocketAddr,
    /// The name and port by which the gateway was asked.
    pub(crate) authority: String,
    /// What the session's writes carry.
    pub(crate) csrf: String,
}

impl Visit {
    /// The person as the audit log names them.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: format!("person:{}", self.person.name),
            role: self.person.mandate.to_string(),
            session: Some(self.session.id.clone()),
            address: Some(self.address.to_string()),
        }
    }
}

/// The bearer of a service token.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// The token, as it stood when the request was let in.
    pub(crate) token: Arc<Token>,
    /// Where it asks from.
    pub(crate) address: SocketAddr,
    /// The certificate that its connection has shown.
    pub(crate) certificate: Option<Fingerprint>,
}

impl Service {
    /// The service as the audit log names it.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: format!("token:{}", self.token.name),
            role: match self.token.power.mandate() {
                Some(mandate) => mandate.to_string(),
                None => "service".into(),
            },
            session: Some(self.token.id.to_string()),
            address: Some(self.address.to_string()),
        }
    }
}

impl Caller {
    /// The caller as the audit log names it.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Desktop => Actor {
                name: format!("uid:{}", rustix::process::geteuid().as_raw()),
                role: "operator".into(),
                session: Some("desktop".into()),
                address: None,
            },
            Self::Local { uid, pid } => Actor {
                name: format!("uid:{uid}"),
                role: "operator".into(),
                session: pid.map(|pid| format!("pid:{pid}")),
                address: None,
            },
            Self::Service(service) => service.actor(),
            Self::Person(visit) => visit.actor(),
        }
    }

    /// The role that the caller has, and where it holds. Callers on the socket or at the desktop need none.
    fn mandate(&self) -> Option<&Mandate> {
        match self {
            Self::Desktop | Self::Local { .. } => None,
            Self::Service(service) => service.token.power.mandate(),
            Self::Person(visit) => Some(&visit.person.mandate),
        }
    }

    /// Whether the caller may do this with that credential. A caller on the socket or at the desktop is an
    /// operator; a service may do what its token grants, in its token's environment; who has a role, what
    /// that permits there.
    pub(crate) fn may(&self, action: Action, credential: &CredentialId) -> Result<(), Failure> {
        match self {
            Self::Service(service) if self.mandate().is_none() => {
                match service.token.power.grants(action, credential) {
                    true => Ok(()),
                    false => Err(not_granted(&service.token, action, credential)),
                }
            }
            _ => self.permit(action.into(), &credential.environment),
        }
    }

    /// Whether the caller may do this in an environment. What services may do depends on the
    /// credential, and is asked by `may`.
    pub(crate) fn permit(&self, act: Act, environment: &EnvironmentName) -> Result<(), Failure> {
        match self.scope(act) {
            Some(scope) if scope.has(environment) => Ok(()),
            _ => Err(match self.mandate() {
                Some(mandate) => forbidden(mandate, act, Some(environment.as_str())),
                None => crate::auth::forbidden::not_for_services(),
            }),
        }
    }

    /// The shortest time after which a value may be destroyed that the caller takes out of use.
    pub(crate) fn shortest_grace(&self) -> Span {
        self.mandate().map_or(Span::ms(0), Mandate::shortest_grace)
    }

    /// The refusal of what the caller may do nowhere.
    pub(super) fn not_permitted(&self, act: Act) -> Failure {
        match self.mandate() {
            Some(mandate) => forbidden(mandate, act, None),
            None => crate::auth::forbidden::not_for_services(),
        }
    }

    /// Where the caller may do this; nowhere if none.
    pub(crate) fn scope(&self, act: Act) -> Option<Scope<'_>> {
        match self {
            Self::Desktop | Self::Local { .. } => Some(Scope::All),
            // A token is no person, and shows no second factor.
            Self::Service(_) if act.needs_a_person() => None,
            Self::Service(_) | Self::Person(_) => self.mandate()?.scope(act),
        }
    }

    /// Whether the caller has whatever a role gives. A caller on the socket or at the desktop is distinguished from an
    /// owner by the second factor that only people have.
    pub(crate) fn covers(&self, mandate: &Mandate) -> bool {
        match self {
            Self::Desktop | Self::Local { .. } => true,
            Self::Service(_) | Self::Person(_) => {
                self.mandate().is_some_and(|own| own.covers(mandate))
            }
        }
    }

    /// What tells this caller from every other, also from one that had the same name before.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Desktop | Self::Local { .. } => self.actor().name,
            Self::Service(service) => format!("token:{}", service.token.id),
            Self::Person(visit) => format!("person:{}", visit.person.id),
        }
    }

    /// The one environment of a service's grants; none for a service without grants.
    pub(crate) fn granted_in(&self) -> Option<&EnvironmentName> {
        match self {
            Self::Service(service) => match &service.token.power {
                Power::Grants { environment, .. } => Some(environment),
                Power::Mandate(_) => None,
            },
            Self::Desktop | Self::Local { .. } | Self::Person(_) => None,
        }
    }

    /// Whether the caller may do this in the whole home.
    pub(crate) fn may_everywhere(&self, act: Act) -> bool {
        self.scope(act) == Some(Scope::All)
    }

    /// The service that calls; others have no token.
    pub(crate) fn service(&self) -> Result<&Service, Failure> {
        match self {
            Self::Service(service) => Ok(service),
            Self::Desktop | Self::Local { .. } | Self::Person(_) => Err(Failure::new(
                StatusCode::FORBIDDEN,
                code::FORBIDDEN,
                "This is for services.",
                "Only a service has a token.",
                "Use a token over HTTPS. On the command line: `--token-file`.",
            )),
        }
    }

    /// The id of the person or the token; a caller on the gateway's own machine has none.
    pub(crate) fn id(&self) -> Option<String> {
        match self {
            Self::Person(visit) => Some(visit.person.id.clone()),
            Self::Service(service) => Some(service.token.id.to_string()),
            Self::Desktop | Self::Local { .. } => None,
        }
    }

    /// Since when the caller is who they are: a name may have been somebody else's before. Always, on the gateway's own machine.
    pub(crate) fn known_since(&self) -> Timestamp {
        match self {
            Self::Person(visit) => visit.person.created_at,
            Self::Service(service) => service.token.created_at,
            Self::Desktop | Self::Local { .. } => Timestamp::from_s(0),
        }
    }

    /// The person who calls; others have no session.
    pub(crate) fn person(&self) -> Result<&Visit, Failure> {
        match self {
            Self::Person(visit) => Ok(visit),
            Self::Desktop | Self::Local { .. } | Self::Service(_) => Err(Failure::new(
                StatusCode::FORBIDDEN,
                code::FORBIDDEN,
                "This is for people.",
                "Only a logged-in person can use it.",
                "Log in with a browser.",
            )),
        }
    }

    /// Whether the caller may do this with that credential, which has that tier: no pattern reaches a critical one.
    pub(crate) fn reaches(
        &self,
        action: Action,
        credential: &CredentialId,
        tier: Tier,
    ) -> Result<(), Failure> {
        let Self::Service(service) = self else {
            return self.may(action, credential);
        };
        if self.mandate().is_some() {
            return self.may(action, credential);
        }
        let judged = service.token.power.reaches(action, credential, tier);
        judged.map_err(|beyond| match beyond {
            Beyond::NotGranted => not_granted(&service.token, action, credential),
            Beyond::Critical => critical(action, credential),
        })
    }

    /// Whether the caller has grants, and one for this was given for the credential's name. Who has no grants needs none.
    pub(crate) fn is_named(&self, action: Action, credential: &CredentialId) -> bool {
        match self {
            Self::Service(service) if self.mandate().is_none() => {
                service.token.power.names(action, credential)
            }
            _ => true,
        }
    }

    /// As whom the caller changes what guards a credential. On the socket and at the desktop there is no session that
    /// could be fresh: where codes are asked for, one is shown first.
    pub(crate) fn changer(&self, now: Timestamp, asks_for_codes: bool) -> Changer {
        match self {
            Self::Service(_) => Changer::Token,
            Self::Person(visit) => Changer::Person {
                fresh: visit.session.is_fresh(now),
            },
            Self::Desktop | Self::Local { .. } => Changer::Person {
                fresh: !asks_for_codes,
            },
        }
    }

    /// Whether the caller may see that the credential exists.
    pub(crate) fn may_list(&self, credential: &CredentialId) -> bool {
        self.may(Action::List, credential).is_ok()
    }

    /// Whether the caller is a service, with all the bounds of one.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Service(_))
    }
}

fn critical(action: Action, credential: &CredentialId) -> Failure {
    let CredentialId { environment, name } = credential;
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "The token does not permit this.",
        format!("The credential {name} is critical: a pattern does not include it."),
        format!(
            "Ask an operator for a token that names it. On the command line: \
             `hearthkey token create … --env {environment} --allow {name}:{action}`."
        ),
    )
}

fn not_granted(token: &Token, action: Action, credential: &CredentialId) -> Failure {
    let CredentialId { environment, name } = credential;
    let detail = match token.power.environments().first() {
        Some(own) if *own != environment => format!(
            "The token {} is valid only in {own}, not in {environment}.",
            token.name
        ),
        _ => format!("The token {} has no grant {name}:{action}.", token.name),
    };
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "The token does not permit this.",
        detail,
        format!(
            "Ask an operator for a token that does. On the command line: \
             `hearthkey token create … --env {environment} --allow {name}:{action}`."
        ),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use hearthkey_core::grant::Grant;
    use hearthkey_core::id::TokenId;
    use hearthkey_core::proof::KeyId;
    use hearthkey_core::role::Role;
    use hearthkey_core::time::{Span, Timestamp};
    use hearthkey_core::token::{Binding, TokenRequest};

    use super::*;

    pub(crate) fn service(allow: &[&str]) -> Caller {
        let grants: Vec<Grant> = allow.iter().map(|text| text.parse().unwrap()).collect();
        let request = TokenRequest {
            name: "ci".parse().unwrap(),
            power: Power::Grants {
                environment: "lab".parse().unwrap(),
                grants: grants.try_into().unwrap(),
            },
            owner: "anna".into(),
            purpose: "tests".into(),
            made_by: "uid:0".into(),
            binding: Binding::Key(KeyId(Fingerprint([1; 32]))),
            ttl: Span::hours(1),
            ceiling: Span::days(1),
        };
        let id = TokenId::from_random([1; 8]);
        let token = request.grant(id, Fingerprint([2; 32]), Timestamp::from_s(0));
        Caller::Service(Service {
            token: Arc::new(token.unwrap()),
            address: "192.0.2.1:50000".parse().unwrap(),
            certificate: None,
        })
    }

    /// A token with a role in these environments; in all if none are named.
    pub(crate) fn role_token(role: Role, environments: &[&str]) -> Caller {
        let Caller::Service(Service { token, .. }) = service(&["*:list"]) else {
            unreachable!("a service")
        };
        let mut token = Token::clone(&token);
        let environments = environments.iter().map(|name| name.parse().unwrap());
        token.power = Power::Mandate(Mandate::new(role, environments.collect()).unwrap());
        Caller::Service(Service {
            token: Arc::new(token),
            address: "192.0.2.1:50000".parse().unwrap(),
            certificate: None,
        })
    }

    fn credential(environment: &str, name: &str) -> CredentialId {
        CredentialId {
            environment: environment.parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn a_service_may_do_what_its_token_grants_in_its_environment_and_nothing_else() {
        let ci = service(&["hue/api-key:read", "ha/*:list"]);
        let key = credential("lab", "hue/api-key");
        assert!(ci.may(Action::Read, &key).is_ok());
        assert!(!ci.may_list(&key));
        assert!(ci.may_list(&credential("lab", "ha/token")));
        let Failure(refused) = ci.may(Action::Write, &key).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (403, "forbidden"));
        assert_eq!(
            refused.to_string(),
            "The token does not permit this. The token ci has no grant hue/api-key:write. \
             Ask an operator for a token that does. On the command line: \
             `hearthkey token create … --env lab --allow hue/api-key:write`."
        );
        let elsewhere = credential("home", "hue/api-key");
        let Failure(refused) = ci.may(Action::Read, &elsewhere).unwrap_err();
        assert_eq!(
            refused.detail,
            "The token ci is valid only in lab, not in home."
        );
    }

    #[test]
    fn a_service_is_named_by_its_token_and_its_address() {
        let actor = service(&["*:list"]).actor();
        assert_eq!(
            (actor.name.as_str(), actor.role.as_str()),
            ("token:ci", "service")
        );
        assert_eq!(actor.session.as_deref(), Some("t-0101010101010101"));
        assert_eq!(actor.address.as_deref(), Some("192.0.2.1:50000"));
    }
}
