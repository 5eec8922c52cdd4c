//! What runs before every request over HTTPS: its name, its origin, its bearer, its bounds.
//!
//! The order is the point. Nothing is looked up for a request under a strange name, no body is kept
//! of a stranger, and no handler runs that is not open to services.

use crate::http::busy::{REQUESTS_MAX, busy};
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_api::{BODY_MAX_BYTES, code};
use hearthkey_core::bearer::Errand;
use hearthkey_core::proof::Asked;
use hearthkey_core::token::Token;
use tokio::sync::Semaphore;

use crate::auth::caller::{Caller, Service, Visit};
use crate::auth::forbidden::elsewhere;
use crate::auth::forbidden::not_for_services;
use crate::auth::known::Known;
use crate::auth::peer::Peer;
use crate::auth::sessions::Visitor;
use crate::auth::sessions::csrf_fits;
use crate::auth::sessions::forget_cookie;
use crate::auth::sessions::not_logged_in;
use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::http::judge::{asks_of_credential, is_in_environment, judge, judge_token};
use crate::http::middleware::body::{bare, whole};
use crate::http::middleware::host::{Hosts, Misdirected};
use crate::http::middleware::urgent::{places_of, too_many_ends, urgent};
use crate::http::middleware::visitors::Visits;
use crate::http::policy::{People, Policy, Services, here};
use crate::state::failure::Failure;
use crate::state::shares::Shares;

/// The same of one caller, and as many whose body is still coming: half, so that one who waits for a bridge that hangs keeps
/// nobody else from being answered.
const PER_CALLER_MAX: usize = 32;
/// A body that says that it is no longer than this is waited for without a place.
const SMALL_BODY_BYTES: u64 = 4096;
/// Answers that everybody may have, and pages, at a time. They wait for nothing.
const PUBLIC_MAX: usize = 64;

/// What every request is judged by.
pub(crate) struct Front {
    home: Arc<Home>,
    gateway: Arc<Gateway>,
    hosts: Hosts,
    places: Semaphore,
    public: Semaphore,
    callers: Arc<Shares>,
    bodies: Arc<Shares>,
    urgent: Arc<Shares>,
    visits: Visits,
}

impl Front {
    pub(crate) fn new(home: Arc<Home>, gateway: Arc<Gateway>, hosts: Hosts) -> Arc<Self> {
        Arc::new(Self {
            home,
            gateway,
            hosts,
            places: Semaphore::new(REQUESTS_MAX),
            public: Semaphore::new(PUBLIC_MAX),
            callers: Shares::new(usize::MAX, PER_CALLER_MAX),
            bodies: Shares::new(usize::MAX, PER_CALLER_MAX),
            urgent: urgent(),
            visits: Visits::new(),
        })
    }

    /// What is declared of a route.
    fn policy(&self, method: &Method, pattern: Option<&str>) -> Option<&Policy> {
        self.gateway.table().policy(method, pattern?)
    }

    /// The same; what is not declared is for the gateway's own machine alone.
    fn declared(&self, method: &Method, pattern: &str) -> Policy {
        let policy = self.policy(method, Some(pattern)).copied();
        policy.unwrap_or(here().anywhere())
    }

    async fn answer(&self, mut request: Request, next: Next) -> Result<Response, Response> {
        let refuse = IntoResponse::into_response;
        if let Some(known) = request.extensions().get::<Known>() {
            known.look_again(&self.home.auth);
        }
        let named = self.hosts.authority(request.headers(), request.uri());
        let authority = named.map_err(|why| refuse(misdirected(why)))?;
        let origin = Origin::of(request.headers(), &authority);
        if is_write(&request) && origin == Origin::Stranger {
            return Err(refuse(cross_origin()));
        }
        let peer = request.extensions().get::<Peer>().copied();
        let peer = peer.ok_or_else(|| refuse(Failure::internal(&"a request without a peer")))?;
        let pattern = request.extensions().get::<MatchedPath>().cloned();
        let pattern = pattern.as_ref().map(MatchedPath::as_str);
        let policy = self.policy(request.method(), pattern).copied();
        let people = policy.map(|policy| policy.people);
        if people == Some(People::Everybody) || is_page(&request, pattern) {
            let _place = self.public.try_acquire().map_err(|_| refuse(busy()))?;
            return Ok(next.run(bare(request)).await);
        }
        let visitor = Visitor::new(peer, &authority, request.headers());
        request.extensions_mut().insert(visitor.clone());
        if people == Some(People::Visitors) {
            // A program that is no browser says so by having no origin, and has no business here.
            if origin != Origin::Ours {
                return Err(refuse(cross_origin()));
            }
            let visits = &self.visits;
            return Ok(visits.answer(&visitor, request, next).await);
        }
        if !request.headers().contains_key(header::AUTHORIZATION) {
            let visit = self.home.auth.visit(&visitor, request.headers());
            match visit.map_err(ended)? {
                Some(visit) => {
                    let answer = self.answer_person(visit, origin, pattern, request, next);
                    return answer.await.map_err(refuse);
                }
                None if policy.is_some_and(|policy| policy.says_who_asks) => {
                    return Err(refuse(not_logged_in("There is no session.")));
                }
                None => {}
            }
        }
        if is_write(&request) && origin != Origin::None {
            return Err(refuse(cross_origin()));
        }
        self.answer_service(peer, &authority, pattern, request, next)
            .await
    }

    /// For a person with a session: may they, and has the page that asks been given leave?
    async fn answer_person(
        &self,
        visit: Visit,
        origin: Origin,
        pattern: Option<&str>,
        mut request: Request,
        next: Next,
    ) -> Result<Response, Failure> {
        if is_write(&request) {
            if origin != Origin::Ours {
                return Err(cross_origin());
            }
            if !csrf_fits(&visit, request.headers()) {
                return Err(csrf());
            }
        }
        if let Some(pattern) = pattern {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            if let Err(failure) = self.judge_person(&visit, &method, (pattern, &path)) {
                let asked = (method.as_str(), path.as_str());
                self.home.record_overstep(&visit, asked, &failure).await;
                return Err(failure);
            }
        }
        self.home.auth.note_session_use(&visit);
        let caller = Caller::Person(Box::new(visit));
        shows_who_it_is(&request, &caller);
        request.extensions_mut().insert(caller.clone());
        self.run(request, &caller, next).await
    }

    /// Whether a person reaches a route, before anything is done.
    fn judge_person(
        &self,
        visit: &Visit,
        method: &Method,
        (pattern, path): (&str, &str),
    ) -> Result<(), Failure> {
        let policy = self.declared(method, pattern);
        judge(visit, &policy, (pattern, path), self.home.ctx.now())?;
        self.home
            .within_reach(&visit.person.mandate, &policy, (pattern, path))
    }

    async fn answer_service(
        &self,
        peer: Peer,
        authority: &str,
        pattern: Option<&str>,
        mut request: Request,
        next: Next,
    ) -> Result<Response, Response> {
        let policy = self.policy(request.method(), pattern).copied();
        let errand = match policy.map(|policy| policy.services) {
            Some(Services::Itself(errand)) => errand,
            _ => Errand::Use,
        };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let is_end = places_of(policy.as_ref(), "").is_some();
        let asked = Asked {
            method: method.as_str(),
            authority,
            path: &path,
        };
        let service = self
            .home
            .auth
            .hear(peer, request.headers(), asked, (errand, is_end))
            .await
            .map_err(IntoResponse::into_response)?;
        let caller = Caller::Service(service.clone());
        shows_who_it_is(&request, &caller);
        let judged = match pattern {
            // A path that nobody serves is no overreach, and the answer says so.
            None => Ok(()),
            Some(pattern) => self.judge_token(&service.token, &method, (pattern, &path)),
        };
        let judged = match (judged, pattern) {
            (Ok(()), Some(pattern)) => self.judge_grants(&service, &method, (pattern, &path)).await,
            (judged, _) => judged,
        };
        let is_refused = judged.is_err();
        let response = match judged {
            Err(failure) => failure.into_response(),
            Ok(()) => {
                request.extensions_mut().insert(caller.clone());
                let answer = self.run(request, &caller, next).await;
                answer.map_err(IntoResponse::into_response)?
            }
        };
        if is_refused || response.status() == StatusCode::FORBIDDEN {
            let asked = (asked.method, asked.path);
            self.home.auth.record_overreach(&service, asked).await;
        }
        Ok(response)
    }

    /// Whether a token's grants reach the credential that a path names, before any precondition is looked at: a refusal
    /// tells nothing of what there is.
    async fn judge_grants(
        &self,
        service: &Service,
        method: &Method,
        (pattern, path): (&str, &str),
    ) -> Result<(), Failure> {
        let asked = asks_of_credential(&self.declared(method, pattern), pattern, path);
        match asked.filter(|(_, id)| !id.name.is_own()) {
            Some((action, id)) if service.token.power.mandate().is_none() => {
                let caller = Caller::Service(service.clone());
                let permitted = self.home.vault.permitted(&caller, action, &id);
                permitted.await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether a token reaches a route, before anything is done: by its role, or to use what it was granted.
    fn judge_token(
        &self,
        token: &Token,
        method: &Method,
        (pattern, path): (&str, &str),
    ) -> Result<(), Failure> {
        let policy = self.declared(method, pattern);
        match token.power.mandate() {
            _ if matches!(policy.services, Services::Itself(_)) => Ok(()),
            Some(mandate) => {
                judge_token(mandate, &policy, (pattern, path))?;
                self.home.within_reach(mandate, &policy, (pattern, path))
            }
            None if policy.services == Services::Nobody => Err(not_for_services()),
            None if !is_in_environment(pattern, path, token) => Err(elsewhere(token)),
            None => Ok(()),
        }
    }

    /// Lets the router answer, once the whole body is there, and checks the caller by the rights at that time.
    async fn run(
        &self,
        request: Request,
        caller: &Caller,
        next: Next,
    ) -> Result<Response, Failure> {
        let pattern = request.extensions().get::<MatchedPath>().cloned();
        let pattern = pattern.as_ref().map_or("", MatchedPath::as_str);
        let policy = self.policy(request.method(), Some(pattern)).copied();
        if policy.is_some_and(|policy| policy.waits) {
            // A waiting request uses no worker, and has places of its own.
            return Ok(next.run(bare(request)).await);
        }
        let name = caller.identity();
        let ends = places_of(policy.as_ref(), &name);
        let request = self.take_in(request, &name, ends.is_some()).await?;
        self.judge_again(caller, &request, pattern)?;
        if let Some(places) = ends {
            let _place = self.urgent.enter(places).ok_or_else(too_many_ends)?;
            return Ok(next.run(request).await);
        }
        let own = self.callers.enter(name).ok_or_else(busy_with_you)?;
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let mut response = next.run(request).await;
        // A caller whose access ended while this waited for the disk or a bridge gets no result.
        if response.status().is_success() {
            self.home.auth.is_still_in(caller)?;
        }
        own.until_taken(&mut response);
        Ok(response)
    }

    /// Judges a request whose body has come as if it came now: a caller whose access ended or was reduced since its head came has
    /// nothing done any more.
    fn judge_again(
        &self,
        caller: &Caller,
        request: &Request,
        pattern: &str,
    ) -> Result<(), Failure> {
        self.home.auth.is_still_in(caller)?;
        let (method, path) = (request.method(), request.uri().path());
        match caller {
            // A path that nobody serves.
            _ if pattern.is_empty() => Ok(()),
            Caller::Person(visit) => self.judge_person(visit, method, (pattern, path)),
            Caller::Service(service) => self.judge_token(&service.token, method, (pattern, path)),
            Caller::Desktop | Caller::Local { .. } => Ok(()),
        }
    }

    /// The request with its body. While a large one comes it holds a place of its sender, and none of others, nor of what
    /// ends access.
    async fn take_in(
        &self,
        request: Request,
        caller: &str,
        is_end: bool,
    ) -> Result<Request, Failure> {
        let length = request.body().size_hint().upper();
        if length.is_some_and(|bytes| bytes <= SMALL_BODY_BYTES) {
            return whole(request, BODY_MAX_BYTES).await;
        }
        let sender = match is_end {
            true => format!("{caller}, to end access"),
            false => caller.to_owned(),
        };
        let _place = self.bodies.enter(sender).ok_or_else(busy_with_you)?;
        whole(request, BODY_MAX_BYTES).await
    }
}

/// Where a request says that it comes from (RFC 6454 §7). Browsers say so with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// From a page of this gateway.
    Ours,
    /// From a page of somebody else.
    Stranger,
    /// From no page.
    None,
}

impl Origin {
    fn of(headers: &HeaderMap, authority: &str) -> Self {
        let mut named = headers.get_all(header::ORIGIN).iter();
        match (named.next(), named.next()) {
            (None, _) => Self::None,
            (Some(origin), None) => {
                let ours = origin
                    .to_str()
                    .ok()
                    .and_then(|text| text.strip_prefix("https://"));
                match ours.is_some_and(|name| name.eq_ignore_ascii_case(authority)) {
                    true => Self::Ours,
                    false => Self::Stranger,
                }
            }
            _ => Self::Stranger,
        }
    }
}

/// Notes that a connection's caller is known, so that it keeps its place.
fn shows_who_it_is(request: &Request, caller: &Caller) {
    if let Some(known) = request.extensions().get::<Known>() {
        known.shown(caller);
    }
}

fn is_write(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether it asks for a page of the interface, or for what a page is made of.
fn is_page(request: &Request, pattern: Option<&str>) -> bool {
    let path = request.uri().path();
    pattern.is_none() && !is_write(request) && path != "/api" && !path.starts_with("/api/")
}

/// A session that has ended is forgotten by its browser.
fn ended(failure: Failure) -> Response {
    let mut response = failure.into_response();
    if let Some(cookie) = forget_cookie() {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Judges a request, and puts what every answer has onto its answer.
pub(crate) async fn guard(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Response {
    let answer = front.answer(request, next).await;
    let mut response = answer.unwrap_or_else(|refused| refused);
    dress(response.headers_mut());
    response
}

/// Nothing is kept, guessed, framed or embedded. Strict-Transport-Security is left out on purpose:
/// it would hold for every port of the host, and so lock a browser out of whatever else the same
/// machine serves in plain HTTP; here no plain HTTP is spoken in the first place.
pub(crate) fn dress(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages and what they are made of say more of themselves.
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.remove(header::SERVER);
}

fn misdirected(why: Misdirected) -> Failure {
    let detail = match why {
        Misdirected::Unnamed => "It names no host, or more than one.",
        Misdirected::Stranger => "It names a host or port that is not this gateway's.",
    };
    Failure::new(
        StatusCode::MISDIRECTED_REQUEST,
        code::MISDIRECTED,
        "The request is not for this gateway.",
        detail,
        "Use a name and the port that the gateway was started with. On the command line: `--host` sets them.",
    )
}

fn cross_origin() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::CROSS_ORIGIN,
        "A page in a browser may not do this.",
        "A person's write must come from a page of this gateway, with its Origin header; \
         a service's write must not come from a page.",
        "Open the gateway's own address in the browser, or use a program with a token.",
    )
}

fn csrf() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::CSRF,
        "The request does not come from your page.",
        "A write must carry the csrf value of GET /api/v1/session in x-hearthkey-csrf.",
        "Reload the page.",
    )
}

fn busy_with_you() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "The gateway is busy with your other requests.",
        format!("It handles {PER_CALLER_MAX} requests of one caller at a time."),
        "Wait for their responses, then try again.",
    )
}
