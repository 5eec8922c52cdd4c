//! Who comes over HTTPS: the token that is shown, and what its bearer holds besides.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hearthkey_api::code;
use hearthkey_core::access::{Admission, Admitted};
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::bearer::{
    Errand, LiveCertificate, Shown, TokenRefusal, certificate_fits, decide, may_be_used,
};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::proof::{Asked, Moment, Proof};
use hearthkey_core::token::{Binding, Standing, Token, TokenSecret};
use hearthkey_pki::{ProofError, read_proof};

use crate::auth::Auth;
use crate::auth::caller::Service;
use crate::auth::nonces::Remembered;
use crate::auth::peer::Peer;
use crate::state::failure::Failure;
use crate::state::locked;

/// A path in a record, in characters at most.
const PATH_SHOWN: usize = 200;

/// Why the caller was refused.
pub(crate) enum NotLetIn {
    /// By what came, or did not come, with the request.
    Token(TokenRefusal, String),
    /// The address, or the key, has asked too often.
    TooOften(&'static str),
}

/// A refusal as it is answered: a problem, and what RFC 9449 wants beside it.
pub(crate) struct Challenge {
    failure: Failure,
    error: &'static str,
    nonce: Option<String>,
}

impl IntoResponse for Challenge {
    fn into_response(self) -> Response {
        let mut response = self.failure.into_response();
        if response.status() != StatusCode::UNAUTHORIZED {
            return response;
        }
        let challenge = match self.error {
            "" => "DPoP algs=\"ES256\"".to_owned(),
            error => format!("DPoP error=\"{error}\", algs=\"ES256\""),
        };
        let headers = response.headers_mut();
        if let Ok(challenge) = challenge.parse() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(nonce) = self.nonce.and_then(|nonce| nonce.parse().ok()) {
            headers.insert("dpop-nonce", nonce);
        }
        response
    }
}

/// What a request shows of its bearer, read and not yet judged.
struct Evidence<'a> {
    token: Result<TokenSecret, TokenRefusal>,
    proof: Option<Result<Proof, ProofError>>,
    asked: Asked<'a>,
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<Result<&'a str, ()>> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    Some(match all.next() {
        Some(_) => Err(()),
        None => first.to_str().map_err(|_| ()),
    })
}

fn scheme_and_token(headers: &HeaderMap) -> (&str, Result<TokenSecret, TokenRefusal>) {
    let authorization = only(headers, "authorization");
    match authorization.map(|text| text.map(|text| text.split_once(' '))) {
        None => ("", Err(TokenRefusal::Missing)),
        Some(Ok(Some((scheme, token)))) => {
            let token = TokenSecret::parse(token.trim_start_matches(' '));
            (scheme, token.ok_or(TokenRefusal::Unknown))
        }
        Some(_) => ("", Err(TokenRefusal::Unknown)),
    }
}

impl<'a> Evidence<'a> {
    fn read(headers: &HeaderMap, asked: Asked<'a>) -> Self {
        let (scheme, token) = scheme_and_token(headers);
        // RFC 9449 §7.2: a bound token that is sent as a bearer token has no proof.
        let proof = match only(headers, "dpop").filter(|_| scheme.eq_ignore_ascii_case("dpop")) {
            None => None,
            Some(Ok(text)) => Some(read_proof(text)),
            Some(Err(())) => Some(Err(ProofError::Malformed("header"))),
        };
        Self {
            token,
            proof,
            asked,
        }
    }
}

impl Auth {
    /// Lets a service in, or says why not. What is refused is written down.
    pub(crate) async fn hear(
        self: &Arc<Self>,
        peer: Peer,
        headers: &HeaderMap,
        asked: Asked<'_>,
        (errand, is_end): (Errand, bool),
    ) -> Result<Service, Challenge> {
        let now = self.ctx.now();
        let address = peer.address.ip();
        let is_counted = locked(&self.tokens.attempts).begin(address, now);
        // Who has a token has not guessed it: strangers behind the same address, or in the same /64, keep none out.
        let has_token = || {
            let (_, token) = scheme_and_token(headers);
            token.is_ok_and(|token| self.tokens.token(&token.hash()).is_some())
        };
        if !is_counted && !has_token() {
            let why = "There were too many failed attempts from this address within a minute.";
            return Err(self.challenge(NotLetIn::TooOften(why)));
        }
        let evidence = Evidence::read(headers, asked);
        let (token, refused) = match self.judge(peer, &evidence, errand) {
            Ok(token) => {
                if is_counted {
                    locked(&self.tokens.attempts).give_back(address, now);
                }
                let (home, used) = (Arc::clone(self), Arc::clone(&token));
                let noted = tokio::spawn(async move { home.note_token_use(&used, peer).await });
                // Nothing that ends access waits for a disk.
                if !is_end {
                    let _ = noted.await;
                }
                return Ok(served(token, peer));
            }
            Err(refused) => refused,
        };
        let is_failed =
            matches!(&refused, NotLetIn::Token(refusal, _) if refusal.is_failed_attempt());
        if is_counted && !is_failed {
            locked(&self.tokens.attempts).give_back(address, now);
        }
        if let NotLetIn::Token(refusal, _) = &refused
            && *refusal != TokenRefusal::NeedsNonce
        {
            self.record_refusal(peer, token.as_deref(), &evidence, *refusal)
                .await;
        }
        Err(self.challenge(refused))
    }

    fn judge(
        &self,
        peer: Peer,
        evidence: &Evidence<'_>,
        errand: Errand,
    ) -> Result<Arc<Token>, (Option<Arc<Token>>, NotLetIn)> {
        let now = self.ctx.now();
        let refuse =
            |token, refusal: TokenRefusal| (token, NotLetIn::Token(refusal, String::new()));
        // A connection with a certificate that is no longer live is refused, whatever else it presents.
        let admitted = self.admitted(peer.certificate);
        let admitted = admitted.map_err(|refusal| refuse(None, refusal))?;
        let secret = match &evidence.token {
            Ok(secret) => secret,
            Err(refusal) => return Err(refuse(None, *refusal)),
        };
        let Some(token) = self.tokens.token(&secret.hash()) else {
            return Err(refuse(None, TokenRefusal::Unknown));
        };
        let proof = match (&evidence.proof, &token.binding) {
            (Some(Err(error)), Binding::Key(_)) => {
                let why = NotLetIn::Token(TokenRefusal::BadProof, error.to_string());
                return Err((Some(token), why));
            }
            (Some(Ok(proof)), _) => Some(proof),
            _ => None,
        };
        let nonce = proof.and_then(|proof| proof.nonce.as_deref());
        let shown = Shown {
            proof,
            certificate: live(peer.certificate, admitted.as_ref()),
            asked: evidence.asked,
            moment: Moment {
                now,
                remembers_since: self.tokens.since,
                nonce_is_ours: nonce
                    .is_some_and(|nonce| locked(&self.tokens.nonces).knows(nonce, now)),
            },
        };
        if let Err(refusal) = decide(&token, &shown, errand) {
            return Err(refuse(Some(token), refusal));
        }
        if let (Some(proof), Binding::Key(key)) = (proof, &token.binding) {
            let remembered = locked(&self.tokens.replays).remember(*key, &proof.id, now);
            match remembered {
                Remembered::New => {}
                Remembered::Used => return Err(refuse(Some(token), TokenRefusal::Replayed)),
                Remembered::NoRoom => {
                    let why = "There were more proofs than can be stored.";
                    return Err((Some(token), NotLetIn::TooOften(why)));
                }
            }
        }
        Ok(token)
    }

    /// Whose certificate a connection has shown, if it has shown one; refused is one that is no longer live.
    fn admitted(&self, shown: Option<Fingerprint>) -> Result<Option<Admitted>, TokenRefusal> {
        let now = self.ctx.now();
        match shown.map(|sha256| self.ctx.access().admit(&sha256, now)) {
            None => Ok(None),
            Some(Ok(admitted)) if admitted.admission == Admission::Full => Ok(Some(admitted)),
            Some(_) => Err(TokenRefusal::DeadCertificate),
        }
    }

    fn challenge(&self, refused: NotLetIn) -> Challenge {
        match refused {
            NotLetIn::TooOften(why) => Challenge {
                failure: Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    code::RATE_LIMITED,
                    "Too many requests failed.",
                    why,
                    "Wait two minutes, and fix the program that sends them.",
                ),
                error: "",
                nonce: None,
            },
            NotLetIn::Token(refusal, why) => {
                let detail = match refusal {
                    _ if !why.is_empty() => crate::state::failure::sentence(&why),
                    TokenRefusal::Expired => "It has expired.".to_owned(),
                    TokenRefusal::Held => "A person has to authorize it again.".to_owned(),
                    TokenRefusal::Missing => "The request came without one.".to_owned(),
                    TokenRefusal::Revoked => "It was revoked permanently.".to_owned(),
                    _ => "A token alone is not enough: its key is needed, too.".to_owned(),
                };
                let nonce = (refusal == TokenRefusal::NeedsNonce)
                    .then(|| locked(&self.tokens.nonces).give(self.ctx.now()));
                let (title, remedy) = (refusal.title(), refusal.remedy());
                let status = StatusCode::UNAUTHORIZED;
                Challenge {
                    failure: Failure::new(status, refusal.code(), title, detail, remedy),
                    error: refusal.oauth_error(),
                    nonce,
                }
            }
        }
    }

    /// Whether a service that was accepted when a request began still would be.
    pub(crate) fn still_good(&self, service: &Service) -> Result<(), Failure> {
        let standing = |token: &Token| token.standing(self.ctx.now());
        self.still_heard(service, standing)
    }

    /// Whether nobody has cut a service off since a request began: neither its token, nor the device whose certificate it
    /// shows. A token whose time is up meanwhile was good in time.
    pub(crate) fn is_not_cut_off(&self, service: &Service) -> Result<(), Failure> {
        let standing = |token: &Token| match token.revoked_at {
            None => Standing::Live,
            Some(_) => Standing::Revoked,
        };
        self.still_heard(service, standing)
    }

    fn still_heard(
        &self,
        service: &Service,
        standing: impl Fn(&Token) -> Standing,
    ) -> Result<(), Failure> {
        let token = self.tokens.token(&service.token.hash);
        let standing = token.as_deref().map_or(Standing::Revoked, standing);
        let judged = may_be_used(standing, Errand::Use).and_then(|()| {
            let admitted = self.admitted(service.certificate)?;
            certificate_fits(&service.token, live(service.certificate, admitted.as_ref()))
        });
        judged.map_err(|refusal| {
            self.challenge(NotLetIn::Token(refusal, String::new()))
                .failure
        })
    }

    async fn note_token_use(&self, token: &Token, peer: Peer) {
        let now = self.ctx.now();
        let address = peer.address.ip();
        let Some(before) = self.tokens.note_use(&token.id, address, now) else {
            return;
        };
        let service = served(Arc::new(token.clone()), peer);
        let object = format!("token:{}", token.name);
        let mut entry = Entry::new(now, service.actor(), "token.use", object);
        entry = entry.with("new_address", address.to_string());
        if let Some(before) = before {
            entry = entry.with("address_before", before);
        }
        // Nobody waits for a disk that hangs.
        let _ = tokio::time::timeout(crate::state::endings::PATIENCE, self.ctx.record(entry)).await;
    }

    async fn record_refusal(
        &self,
        peer: Peer,
        token: Option<&Token>,
        evidence: &Evidence<'_>,
        refusal: TokenRefusal,
    ) {
        let id = token.map(|token| &token.id);
        let (now, code) = (self.ctx.now(), refusal.code());
        let entered = locked(&self.tokens.attempts).enter(id, code, peer.address.ip(), now);
        let Some(omitted) = entered else { return };
        let proven = token.filter(|_| refusal.is_by_its_bearer());
        let actor = match proven {
            Some(token) => served(Arc::new(token.clone()), peer).actor(),
            None => Actor {
                name: "unknown".into(),
                role: "unknown".into(),
                session: None,
                address: Some(peer.address.to_string()),
            },
        };
        let outcome = if refusal.is_theft() {
            Outcome::Alert
        } else {
            Outcome::Refused
        };
        let object = token.map_or("https".into(), |token| format!("token:{}", token.name));
        let mut entry = Entry::new(now, actor, "token.refuse", object).ended(outcome, code);
        entry = asked_for(entry, (evidence.asked.method, evidence.asked.path));
        if let Some(token) = token {
            entry = entry.with("token", token.id.as_str());
        }
        if let Some(Ok(proof)) = &evidence.proof {
            entry = entry.with("key_id", proof.key.to_string());
        }
        if let Some(sha256) = peer.certificate {
            entry = entry.with("certificate_sha256", sha256.to_string());
        }
        if omitted > 0 {
            entry = entry.with("omitted_before", omitted);
        }
        self.ctx.record(entry).await;
    }

    /// Writes down that a service asked for what it may not do.
    pub(crate) async fn record_overreach(&self, service: &Service, asked: (&str, &str)) {
        let now = self.ctx.now();
        let (id, address) = (&service.token.id, service.address.ip());
        let entered = locked(&self.tokens.attempts).enter(Some(id), code::FORBIDDEN, address, now);
        let Some(omitted) = entered else { return };
        let object = format!("token:{}", service.token.name);
        let entry = Entry::new(now, service.actor(), "token.refuse", object)
            .ended(Outcome::Refused, code::FORBIDDEN);
        let mut entry = asked_for(entry, asked);
        if omitted > 0 {
            entry = entry.with("omitted_before", omitted);
        }
        self.ctx.record(entry).await;
    }
}

/// The bearer of a token, at the other end of a connection.
fn served(token: Arc<Token>, peer: Peer) -> Service {
    Service {
        token,
        address: peer.address,
        certificate: peer.certificate,
    }
}

fn live(shown: Option<Fingerprint>, admitted: Option<&Admitted>) -> Option<LiveCertificate<'_>> {
    let (sha256, admitted) = (shown?, admitted?);
    Some(LiveCertificate {
        sha256,
        device: &admitted.device,
        environment: &admitted.environment,
    })
}

fn asked_for(entry: Entry, (method, path): (&str, &str)) -> Entry {
    let path: String = path.chars().take(PATH_SHOWN).collect();
    entry.with("method", method).with("path", path)
}
