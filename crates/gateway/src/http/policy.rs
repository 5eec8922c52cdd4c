//! A route as it is declared, beside its handler: who may come, how the environment of what it names is found, and what it
//! does. The router, both role checks, reach, ETags, idempotency, places and the contract read this and nothing else.
//!
//! A declaration begins with who may come. [`act`], [`services`] and [`here`] are no [`Policy`] yet: they say first how the
//! environment of what the path names is found, so that no resource is without a scope because somebody forgot it.

use std::collections::HashMap;

use axum::http::Method;
use hearthkey_core::bearer::Errand;
use hearthkey_core::credential::Action;
use hearthkey_core::role::Act;
use utoipa::openapi::HttpMethod;

/// Who may come over HTTPS, of people and of tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum People {
    /// Everybody, known or not. It is no secret.
    Everybody,
    /// Visitors with a browser, to log in or to take up an invitation.
    Visitors,
    /// A person about themselves; no token.
    Oneself,
    /// The same, with a second factor: it changes how they log in.
    OneselfAnew,
    /// Those whose role permits this.
    Act(Act),
    /// No people in a browser.
    Nobody,
}

/// Which tokens with grants may come. Each use case judges what was granted besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    /// None.
    Nobody,
    /// All, to do this with the credential that the path names, if it names one.
    Granted(Option<Action>),
    /// The token about itself: whatever a token may do, it may do this.
    Itself(Errand),
}

/// How the environment of what a path names is found, for those who are limited to some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The path names nothing that lies in an environment. A list holds what the caller reaches.
    Anywhere,
    /// It has the environment.
    InPath,
    /// The use case finds it.
    ByUseCase,
    /// It is that of this thing.
    Of(Thing),
}

/// A thing that paths name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// `{id}`.
    Device,
    /// `{name}`.
    Token,
    /// `{name}`. Profiles are the whole home's.
    Profile,
    /// `{environment}`, `{bridge}`, `{key}`.
    Credential,
}

impl Thing {
    /// What the audit log calls it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Token => "token",
            Self::Profile => "profile",
            Self::Credential => "credential",
        }
    }

    /// The parts of a path that name it.
    fn named_by(self) -> &'static [&'static str] {
        match self {
            Self::Device => &["{id}"],
            Self::Token | Self::Profile => &["{name}"],
            Self::Credential => &["{environment}", "{bridge}", "{key}"],
        }
    }

    /// It as the audit log names it. The pattern is the one that the router found.
    pub(crate) fn at(self, pattern: &str, path: &str) -> String {
        let names = self.named_by().iter();
        let values: Vec<&str> = names.filter_map(|name| part(pattern, path, name)).collect();
        format!("{}:{}", self.kind(), values.join("/"))
    }
}

/// The part of a path that is where its pattern has this.
pub(crate) fn part<'a>(pattern: &str, path: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = pattern.split('/').zip(path.split('/'));
    parts
        .find(|(part, _)| *part == name)
        .map(|(_, value)| value)
}

/// Whose places a request takes that ends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Access, or the home is sealed.
    Access,
    /// The use of values, which may wait for a bridge.
    AtBridge,
    /// Nothing, but the interface asks it before it ends access.
    Before,
}

/// What is declared of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) people: People,
    pub(crate) services: Services,
    pub(crate) place: Place,
    /// Whether it makes something new, so that an `Idempotency-Key` is honored.
    pub(crate) creates: bool,
    /// Whether a version is expected of what its body names.
    pub(crate) names_in_body: bool,
    pub(crate) ends: Option<Ends>,
    /// Whether its callers wait for what happens, and work on nothing meanwhile.
    pub(crate) waits: bool,
    /// Whether it says who asks, so that nobody is a good answer to it.
    pub(crate) says_who_asks: bool,
}

impl Policy {
    const fn new(people: People, services: Services, place: Place) -> Self {
        Self {
            people,
            services,
            place,
            creates: false,
            names_in_body: false,
            ends: None,
            waits: false,
            says_who_asks: false,
        }
    }

    /// The thing that its path names and that has versions.
    pub(crate) fn thing(&self) -> Option<Thing> {
        match self.place {
            Place::Of(thing) => Some(thing),
            _ => None,
        }
    }

    /// Tokens with grants may come, too.
    pub(crate) const fn for_services(mut self) -> Self {
        self.services = Services::Granted(None);
        self
    }

    /// Tokens that were granted this for the credential that the path names may come, too.
    pub(crate) const fn granted(mut self, action: Action) -> Self {
        self.services = Services::Granted(Some(action));
        self
    }

    /// It makes something new.
    pub(crate) const fn creates(mut self) -> Self {
        self.creates = true;
        self
    }

    /// Its body names the thing that it replaces, whose version may be expected.
    pub(crate) const fn names_in_body(mut self) -> Self {
        self.names_in_body = true;
        self
    }

    /// It ends access, or seals the home.
    pub(crate) const fn ends_access(mut self) -> Self {
        self.ends = Some(Ends::Access);
        self
    }

    /// It ends the use of values, and may wait for a bridge.
    pub(crate) const fn ends_at_bridge(mut self) -> Self {
        self.ends = Some(Ends::AtBridge);
        self
    }

    /// The interface asks it before it ends access.
    pub(crate) const fn before_an_end(mut self) -> Self {
        self.ends = Some(Ends::Before);
        self
    }

    /// It says who asks.
    pub(crate) const fn says_who_asks(mut self) -> Self {
        self.says_who_asks = true;
        self
    }

    /// Its callers wait for what happens.
    pub(crate) const fn waits(mut self) -> Self {
        self.waits = true;
        self
    }
}

/// Who may come, without how the environment of what the path names is found.
pub(crate) struct Unplaced(People, Services);

impl Unplaced {
    /// The path names nothing that lies in an environment.
    pub(crate) const fn anywhere(self) -> Policy {
        Policy::new(self.0, self.1, Place::Anywhere)
    }

    /// The path has the environment.
    pub(crate) const fn in_environment(self) -> Policy {
        Policy::new(self.0, self.1, Place::InPath)
    }

    /// The use case finds the environment.
    pub(crate) const fn judged_by_use_case(self) -> Policy {
        Policy::new(self.0, self.1, Place::ByUseCase)
    }

    /// It is the environment of what the path names.
    pub(crate) const fn of(self, thing: Thing) -> Policy {
        Policy::new(self.0, self.1, Place::Of(thing))
    }
}

/// For people, and tokens with a role, that permits this.
pub(crate) const fn act(act: Act) -> Unplaced {
    Unplaced(People::Act(act), Services::Nobody)
}

/// For tokens with grants alone.
pub(crate) const fn services() -> Unplaced {
    Unplaced(People::Nobody, Services::Granted(None))
}

/// For the gateway's own machine alone.
pub(crate) const fn here() -> Unplaced {
    Unplaced(People::Nobody, Services::Nobody)
}

/// For everybody.
pub(crate) const fn everybody() -> Policy {
    Policy::new(People::Everybody, Services::Nobody, Place::Anywhere)
}

/// For visitors with a browser.
pub(crate) const fn visitors() -> Policy {
    Policy::new(People::Visitors, Services::Nobody, Place::Anywhere)
}

/// For a person about themselves.
pub(crate) const fn oneself() -> Policy {
    Policy::new(People::Oneself, Services::Nobody, Place::Anywhere)
}

/// For a person who changes how they log in.
pub(crate) const fn oneself_anew() -> Policy {
    Policy::new(People::OneselfAnew, Services::Nobody, Place::Anywhere)
}

/// For a token about itself.
pub(crate) const fn own_token(errand: Errand) -> Policy {
    Policy::new(People::Nobody, Services::Itself(errand), Place::Anywhere)
}

/// What is declared of every route.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<String, Vec<(Method, Policy)>>);

impl Table {
    /// Adds a route. A path is declared once for each method.
    pub(crate) fn add(&mut self, method: Method, path: String, policy: Policy) {
        let of_path = self.0.entry(path).or_default();
        debug_assert!(of_path.iter().all(|(known, _)| *known != method));
        of_path.push((method, policy));
    }

    /// What is declared of a route. The pattern is the one that the router found, so that no spelling of a path means one
    /// thing here and another there. The answer to HEAD is that to GET without its body.
    pub(crate) fn policy(&self, method: &Method, pattern: &str) -> Option<&Policy> {
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let mut of_path = self.0.get(pattern)?.iter();
        of_path
            .find(|(known, _)| known == method)
            .map(|(_, policy)| policy)
    }

    /// What is declared of an operation of the contract.
    pub(crate) fn of_operation(&self, method: &HttpMethod, pattern: &str) -> Option<&Policy> {
        match method {
            HttpMethod::Get => self.policy(&Method::GET, pattern),
            HttpMethod::Post => self.policy(&Method::POST, pattern),
            _ => None,
        }
    }

    /// The thing with versions that every method of a path is about.
    pub(crate) fn thing(&self, pattern: &str) -> Option<Thing> {
        self.0
            .get(pattern)?
            .iter()
            .find_map(|(_, policy)| policy.thing())
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Method, &str, &Policy)> {
        let each = self.0.iter();
        each.flat_map(|(path, of_path)| {
            let each = of_path.iter();
            each.map(move |(method, policy)| (method, path.as_str(), policy))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_named_as_the_log_names_it() {
        let credential = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/change";
        let path = "/api/v1/environments/lab/credentials/hue/api-key/change";
        let named = Thing::Credential.at(credential, path);
        assert_eq!(named, "credential:lab/hue/api-key");
        let named = Thing::Device.at("/api/v1/devices/{id}", "/api/v1/devices/lamp");
        assert_eq!(named, "device:lamp");
    }

    #[test]
    fn an_environment_is_read_where_the_pattern_has_it() {
        let pattern = "/api/v1/environments/{environment}/reveal";
        let path = "/api/v1/environments/lab/reveal";
        assert_eq!(part(pattern, path, "{environment}"), Some("lab"));
        let device = part(
            "/api/v1/devices/{id}",
            "/api/v1/devices/lab",
            "{environment}",
        );
        assert_eq!(device, None);
    }

    #[test]
    fn the_answer_to_head_is_that_to_get() {
        let mut table = Table::default();
        let policy = act(Act::HomeRead).anywhere();
        table.add(Method::GET, "/a".into(), policy);
        assert_eq!(table.policy(&Method::HEAD, "/a"), Some(&policy));
        assert_eq!(table.policy(&Method::POST, "/a"), None);
        assert_eq!(table.policy(&Method::GET, "/a/b"), None);
    }
}
