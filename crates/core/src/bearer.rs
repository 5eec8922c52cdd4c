//! Who comes with a service token, and whether to accept them: what the bearer holds besides it.

use subtle::ConstantTimeEq;

use crate::id::{DeviceId, EnvironmentName, Fingerprint};
use crate::proof::{Asked, KeyId, Misfit, Moment, Proof};
use crate::token::{Binding, Standing, Token};

/// A certificate that was shown in the handshake and is live now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveCertificate<'a> {
    /// Its SHA-256.
    pub sha256: Fingerprint,
    /// Whose it is.
    pub device: &'a DeviceId,
    /// The environment of its device.
    pub environment: &'a EnvironmentName,
}

/// What came along with a token.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// A proof whose signature is good.
    pub proof: Option<&'a Proof>,
    /// A live certificate.
    pub certificate: Option<LiveCertificate<'a>>,
    /// The request.
    pub asked: Asked<'a>,
    /// By what the proof shows that it is new.
    pub moment: Moment,
}

/// What the token is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// To use it.
    Use,
    /// To renew it.
    Renew,
}

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// No token came along.
    Missing,
    /// It is not one of this home, or not a token at all.
    Unknown,
    /// It came without the proof that it needs.
    NoProof,
    /// What came as a proof is none, or its signature is wrong.
    BadProof,
    /// The proof is another key's.
    WrongKey,
    /// The proof was made for another method or URL.
    WrongRequest,
    /// The proof was made with another token.
    WrongToken,
    /// Nothing shows that the proof is new.
    NeedsNonce,
    /// The proof has been used before.
    Replayed,
    /// It came without the certificate that it is bound to.
    NoCertificate,
    /// It came with another certificate.
    WrongCertificate,
    /// The connection has shown a certificate that is no longer live.
    DeadCertificate,
    /// It has been revoked.
    Revoked,
    /// A person has to authorize it again.
    Held,
    /// It has to be renewed.
    Expired,
}

/// What a refusal is, in the words of its code, the protocol and a person.
struct Words {
    code: &'static str,
    oauth: &'static str,
    title: &'static str,
    remedy: &'static str,
}

impl TokenRefusal {
    #[rustfmt::skip] // A table.
    fn words(self) -> Words {
        const TOKEN: &str = "invalid_token";
        const PROOF: &str = "invalid_dpop_proof";
        let (code, oauth, title, remedy) = match self {
            Self::Missing => ("token_missing", "", "A service token is needed.",
                "Create one on the gateway's machine, and name its file with --token-file or in HEARTHKEY_TOKEN_FILE. On the command line: `hearthkey token create NAME --role operator --owner WHO --purpose WHY --out FILE`."),
            Self::Unknown => ("token_unknown", TOKEN, "The token is not one of this home.",
                "Check that it is complete and from this gateway, or create one. On the command line: `hearthkey token create`."),
            Self::NoProof => ("proof_missing", PROOF, "The token came without a proof of possession of its key.",
                "Send the token as `Authorization: DPoP`, with one DPoP header signed by its key (RFC 9449)."),
            Self::BadProof => ("proof_invalid", PROOF, "The proof cannot be verified.",
                "Sign it with ES256: typ dpop+jwt, the public P-256 key as jwk, and jti, htm, htu, iat and ath."),
            Self::WrongKey => ("proof_wrong_key", TOKEN, "The proof is signed by a key that the token is not bound to.",
                "Use the key that the token was made with. If you have not lost it, somebody else has the token: revoke it."),
            Self::WrongRequest => ("proof_wrong_request", PROOF, "The proof was made for another method or URL.",
                "Sign a proof for each request, with its method as htm and its URL without query as htu."),
            Self::WrongToken => ("proof_wrong_token", PROOF, "The proof was made with another token.",
                "Put the base64url of the token's SHA-256 into ath."),
            Self::NeedsNonce => ("proof_needs_nonce", "use_dpop_nonce", "The proof has no current nonce.",
                "Put the value of the DPoP-Nonce header into the proof as nonce, and ask again."),
            Self::Replayed => ("proof_replayed", PROOF, "The proof has been used before.",
                "Sign a new proof, with a new jti, for each request. If you did, somebody else has seen one: revoke the token."),
            Self::NoCertificate => ("certificate_missing", TOKEN, "The token is bound to a certificate, and none came with it.",
                "Send the device's certificate in the TLS handshake."),
            Self::DeadCertificate => ("certificate_over", TOKEN, "The certificate of the connection is no longer live.",
                "Check the device: it may be revoked, suspended, expired or renewed. On the command line: `hearthkey device show`."),
            Self::WrongCertificate => ("certificate_wrong", TOKEN, "The token is bound to another certificate.",
                "Use the certificate that the token is bound to. On the command line: `hearthkey token show`."),
            Self::Revoked => ("token_revoked", TOKEN, "The token has been revoked.",
                "Create a new one. On the command line: `hearthkey token create`."),
            Self::Held => ("token_held", TOKEN, "The token is held until a person authorizes it again.",
                "Ask an operator to authorize it again. On the command line: `hearthkey token reauthorize NAME`."),
            Self::Expired => ("token_expired", TOKEN, "The token has expired.",
                "Renew it. On the command line: `hearthkey token renew`."),
        };
        Words { code, oauth, title, remedy }
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        self.words().code
    }

    /// The error as RFC 6750 and RFC 9449 name it; empty where no token was shown.
    pub fn oauth_error(self) -> &'static str {
        self.words().oauth
    }

    /// What happened, for a person.
    pub fn title(self) -> &'static str {
        self.words().title
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        self.words().remedy
    }

    /// Whether somebody has the token who should not: a person should look.
    pub fn is_theft(self) -> bool {
        matches!(
            self,
            Self::NoProof
                | Self::BadProof
                | Self::WrongKey
                | Self::Replayed
                | Self::NoCertificate
                | Self::WrongCertificate
        )
    }

    /// Whether it is certain that the token's own bearer was refused.
    pub fn is_by_its_bearer(self) -> bool {
        matches!(
            self,
            Self::WrongRequest | Self::WrongToken | Self::Revoked | Self::Held | Self::Expired
        )
    }

    /// Whether it counts as a failed attempt of the address it came from. A mere nonce does not,
    /// nor does the end of a token whose bearer has proven to hold its key.
    pub fn is_failed_attempt(self) -> bool {
        !matches!(
            self,
            Self::Missing | Self::NeedsNonce | Self::Revoked | Self::Held | Self::Expired
        )
    }
}

/// Whether a token that was shown is to be accepted. What its bearer holds is judged first: the
/// state of the token is shown to nobody else.
///
/// That the proof has not been used before is for the caller to see, who remembers proofs.
pub fn decide(token: &Token, shown: &Shown<'_>, errand: Errand) -> Result<(), TokenRefusal> {
    if let Binding::Key(key) = &token.binding {
        check_proof(*key, token.hash, shown)?;
    }
    certificate_fits(token, shown.certificate)?;
    may_be_used(token.standing(shown.moment.now), errand)
}

/// Whether the live certificate of a connection is one that the token may come with. One that is bound to a key needs none.
pub fn certificate_fits(
    token: &Token,
    shown: Option<LiveCertificate<'_>>,
) -> Result<(), TokenRefusal> {
    let shown = shown.ok_or(TokenRefusal::NoCertificate);
    let is_its = match &token.binding {
        Binding::Key(_) => return Ok(()),
        Binding::Device(device) => shown?.device == device,
        Binding::Certificate(sha256) => shown?.sha256.0.ct_eq(&sha256.0).into(),
    };
    // A device that has moved to another environment takes no token along.
    match is_its && token.power.holds_in(shown?.environment) {
        true => Ok(()),
        false => Err(TokenRefusal::WrongCertificate),
    }
}

/// Whether a token in this state is good for that.
pub fn may_be_used(standing: Standing, errand: Errand) -> Result<(), TokenRefusal> {
    match (standing, errand) {
        (Standing::Revoked, _) => Err(TokenRefusal::Revoked),
        (Standing::Held, _) => Err(TokenRefusal::Held),
        (Standing::Expired, Errand::Use) => Err(TokenRefusal::Expired),
        (Standing::Expired, Errand::Renew) | (Standing::Live, _) => Ok(()),
    }
}

fn check_proof(key: KeyId, hash: Fingerprint, shown: &Shown<'_>) -> Result<(), TokenRefusal> {
    let proof = shown.proof.ok_or(TokenRefusal::NoProof)?;
    if !bool::from(proof.key.0.0.ct_eq(&key.0.0)) {
        return Err(TokenRefusal::WrongKey);
    }
    proof
        .fits(shown.asked, hash, shown.moment)
        .map_err(|misfit| match misfit {
            Misfit::Request => TokenRefusal::WrongRequest,
            Misfit::Token => TokenRefusal::WrongToken,
            Misfit::Age => TokenRefusal::NeedsNonce,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;
    use crate::time::Timestamp;
    use crate::token::tests::{KEY, at, secret, token};

    fn proof() -> Proof {
        Proof {
            key: KEY,
            id: "1".into(),
            method: "GET".into(),
            url: "https://h/x".into(),
            issued_at: at(0),
            token: Some(secret().hash()),
            nonce: None,
        }
    }

    fn shown<'a>(proof: Option<&'a Proof>, now: Timestamp) -> Shown<'a> {
        Shown {
            proof,
            certificate: None,
            asked: Asked {
                method: "GET",
                authority: "h",
                path: "/x",
            },
            moment: Moment {
                now,
                remembers_since: at(0),
                nonce_is_ours: true,
            },
        }
    }

    #[test]
    fn a_token_expires_may_be_renewed_and_is_held_in_the_end() {
        let mut token = token(Binding::Key(KEY));
        assert_eq!(token.owner, "anna");
        assert_eq!(token.expires_at, at(1));
        let proof = proof();
        let ends =
            |token: &Token, hours, errand| decide(token, &shown(Some(&proof), at(hours)), errand);
        assert_eq!(ends(&token, 0, Errand::Use), Ok(()));
        assert_eq!(ends(&token, 1, Errand::Use), Err(TokenRefusal::Expired));
        assert_eq!(ends(&token, 1, Errand::Renew), Ok(()));
        token.expires_at = token.renewed_until(at(2));
        assert_eq!(token.expires_at, at(3));
        // Never beyond the ceiling, however it is renewed.
        assert_eq!(
            token.renewed_until(at(2).after(Span::minutes(30))),
            token.renewable_until()
        );
        for errand in [Errand::Use, Errand::Renew] {
            assert_eq!(ends(&token, 3, errand), Err(TokenRefusal::Held));
        }
        token.revoked_at = Some(at(0));
        assert_eq!(ends(&token, 0, Errand::Renew), Err(TokenRefusal::Revoked));
    }

    #[test]
    fn how_a_token_stands_is_told_to_nobody_who_lacks_its_key() {
        let mut token = token(Binding::Key(KEY));
        token.revoked_at = Some(at(0));
        let decide = |proof| decide(&token, &shown(proof, at(9)), Errand::Use);
        assert_eq!(decide(None), Err(TokenRefusal::NoProof));
        let other = Proof {
            key: KeyId(Fingerprint([8; 32])),
            ..proof()
        };
        assert_eq!(decide(Some(&other)), Err(TokenRefusal::WrongKey));
        assert_eq!(decide(Some(&proof())), Err(TokenRefusal::Revoked));
    }

    #[test]
    fn a_token_bound_to_a_device_needs_its_live_certificate_in_its_environment() {
        let [lamp, door]: [DeviceId; 2] = ["lamp", "door"].map(|id| id.parse().unwrap());
        let [lab, home]: [EnvironmentName; 2] = ["lab", "home"].map(|id| id.parse().unwrap());
        let sha256 = Fingerprint([3; 32]);
        let by_device = token(Binding::Device(lamp.clone()));
        let by_certificate = token(Binding::Certificate(sha256));
        let decide = |token, certificate| {
            let shown = Shown {
                certificate,
                ..shown(None, at(0))
            };
            decide(token, &shown, Errand::Use)
        };
        let live = |device, environment, sha256| {
            Some(LiveCertificate {
                sha256,
                device,
                environment,
            })
        };
        for token in [&by_device, &by_certificate] {
            assert_eq!(decide(token, live(&lamp, &lab, sha256)), Ok(()));
            assert_eq!(decide(token, None), Err(TokenRefusal::NoCertificate));
            let moved = decide(token, live(&lamp, &home, sha256));
            assert_eq!(moved, Err(TokenRefusal::WrongCertificate));
        }
        let renewed = live(&lamp, &lab, Fingerprint([4; 32]));
        assert_eq!(decide(&by_device, renewed), Ok(()));
        let refused = Err(TokenRefusal::WrongCertificate);
        assert_eq!(decide(&by_certificate, renewed), refused);
        assert_eq!(decide(&by_device, live(&door, &lab, sha256)), refused);
    }
}
