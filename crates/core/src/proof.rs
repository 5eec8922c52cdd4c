//! Proofs of possession (RFC 9449 "DPoP"): what one says, and whether it fits its request.
//!
//! That its signature is good has been seen where it was read; what is judged here is whether it
//! was made for this request, with this token, and just now.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::Fingerprint;
use crate::time::{Span, Timestamp};

/// How old a proof may be.
pub const AGE_MAX: Span = Span::s(60);
/// How far ahead of home time the clock of its maker may run.
pub const AHEAD_MAX: Span = Span::s(5);
/// The longest `jti` that is read, in bytes.
pub const JTI_MAX_BYTES: usize = 128;

/// A public key by its JWK thumbprint (RFC 7638, SHA-256); written in base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub Fingerprint);

impl KeyId {
    /// The thumbprint of a P-256 key: of its coordinates, 32 bytes each.
    pub fn of_p256(x: &[u8; 32], y: &[u8; 32]) -> Self {
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        // The required members in their order, without white space (RFC 7638 §3.2).
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Self(Fingerprint::of(jwk.as_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a text is no key id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key id is the SHA-256 thumbprint of a JWK: 43 characters of base64url")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;
    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidKeyId)?;
        let bytes = bytes.try_into().map_err(|_| InvalidKeyId)?;
        Ok(Self(Fingerprint(bytes)))
    }
}

/// What a proof says, signed by the key that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whose signature it is.
    pub key: KeyId,
    /// `jti`: its own name, used once.
    pub id: String,
    /// `htm`: the method it is for.
    pub method: String,
    /// `htu`: the URL it is for, without query and fragment.
    pub url: String,
    /// `iat`: when its maker says that it was made.
    pub issued_at: Timestamp,
    /// `ath`: SHA-256 of the token it goes with.
    pub token: Option<Fingerprint>,
    /// `nonce`: what the gateway asked for, if it did.
    pub nonce: Option<String>,
}

/// The request that a proof came with.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its host and port, as its `Host` says.
    pub authority: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
}

/// By what a proof shows that it is new.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Home time.
    pub now: Timestamp,
    /// When this gateway began to remember proofs. What it saw before, it has forgotten.
    pub remembers_since: Timestamp,
    /// Whether the proof's nonce is one that was given out lately.
    pub nonce_is_ours: bool,
}

/// Why a proof does not fit its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It was made for another method or URL.
    Request,
    /// It was made with another token, or with none.
    Token,
    /// Nothing shows that it is new. With a nonce it would be.
    Age,
}

impl Proof {
    /// Whether it was made for this request, with this token, and just now.
    pub fn fits(&self, asked: Asked<'_>, token: Fingerprint, moment: Moment) -> Result<(), Misfit> {
        if self.method != asked.method || !is_url_of(&self.url, asked) {
            return Err(Misfit::Request);
        }
        if self.token != Some(token) {
            return Err(Misfit::Token);
        }
        let earliest = moment
            .now
            .before(AGE_MAX)
            .max(moment.remembers_since.after(AHEAD_MAX));
        let by_clock = (earliest..=moment.now.after(AHEAD_MAX)).contains(&self.issued_at);
        if moment.nonce_is_ours || by_clock {
            Ok(())
        } else {
            Err(Misfit::Age)
        }
    }
}

/// Whether a URL is that of a request, both normalized (RFC 3986 §6.2.2 and §6.2.3): the case of
/// scheme and host, the default port, an empty path, and needless or lower-case percent signs.
fn is_url_of(url: &str, asked: Asked<'_>) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    // RFC 9449 §4.3 compares without query and fragment.
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    scheme.eq_ignore_ascii_case("https")
        && normal_authority(authority) == normal_authority(asked.authority)
        && normal_path(path).is_some()
        && normal_path(path) == normal_path(asked.path)
}

fn normal_authority(authority: &str) -> String {
    let lower = authority.to_ascii_lowercase();
    lower.strip_suffix(":443").unwrap_or(&lower).to_owned()
}

/// The path in its normal form; none if a percent sign begins nothing.
fn normal_path(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len().max(1));
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        normal.push_str(before);
        let byte = u8::from_str_radix(after.get(..2)?, 16).ok()?;
        if !after.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || "-._~".contains(character) {
            normal.push(character);
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
        rest = &after[2..];
    }
    normal.push_str(rest);
    if normal.is_empty() {
        normal.push('/');
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "gateway.home.arpa:8443";

    fn asked(path: &str) -> Asked<'_> {
        Asked {
            method: "GET",
            authority: HOST,
            path,
        }
    }

    fn proof(url: &str) -> Proof {
        Proof {
            key: KeyId(Fingerprint([1; 32])),
            id: "1".into(),
            method: "GET".into(),
            url: url.into(),
            issued_at: Timestamp::from_s(1000),
            token: Some(Fingerprint([2; 32])),
            nonce: None,
        }
    }

    fn moment(now_s: i64) -> Moment {
        Moment {
            now: Timestamp::from_s(now_s),
            remembers_since: Timestamp::from_s(0),
            nonce_is_ours: false,
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // The key of RFC 9449, figure 1; its thumbprint, figure 9.
        let coordinate = |text| -> [u8; 32] {
            let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            bytes.try_into().unwrap()
        };
        let x = coordinate("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs");
        let y = coordinate("9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA");
        let id = KeyId::of_p256(&x, &y);
        assert_eq!(
            id.to_string(),
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
        );
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_url_is_compared_in_its_normal_form_and_without_query() {
        let path = "/api/v1/credentials";
        for same in [
            "https://gateway.home.arpa:8443/api/v1/credentials",
            "HTTPS://Gateway.Home.Arpa:8443/api/v1/credentials",
            "https://gateway.home.arpa:8443/api/v1/credentials?x=1#y",
            "https://gateway.home.arpa:8443/api/v1/%63redentials",
        ] {
            assert!(is_url_of(same, asked(path)), "{same}");
        }
        for other in [
            "",
            "/api/v1/credentials",
            "http://gateway.home.arpa:8443/api/v1/credentials",
            "https://gateway.home.arpa/api/v1/credentials",
            "https://gateway.home.arpa:443/api/v1/credentials",
            &format!("https://{}@{HOST}{path}", "x"),
            "https://other.home.arpa:8443/api/v1/credentials",
            "https://gateway.home.arpa:8443/api/v1/credentials/",
            "https://gateway.home.arpa:8443/api/v1/Credentials",
            "https://gateway.home.arpa:8443/api/v1/x/../credentials",
            "https://gateway.home.arpa:8443/api/v1/credentials%",
            "https://gateway.home.arpa:8443/api/v1/%+3redentials",
        ] {
            assert!(!is_url_of(other, asked(path)), "{other}");
        }
        let bare = Asked {
            authority: "[::1]",
            ..asked("/")
        };
        assert!(is_url_of("https://[::1]:443", bare));
        assert!(is_url_of(
            "https://gateway.home.arpa:8443/a%2fb",
            asked("/a%2Fb")
        ));
    }

    #[test]
    fn a_proof_is_new_by_its_clock_or_by_a_nonce() {
        let proof = proof("https://gateway.home.arpa:8443/x");
        let fits = |moment| proof.fits(asked("/x"), Fingerprint([2; 32]), moment);
        for (now, fit) in [
            (1000, Ok(())),
            (995, Ok(())),
            (994, Err(Misfit::Age)),
            (1060, Ok(())),
            (1061, Err(Misfit::Age)),
        ] {
            assert_eq!(fits(moment(now)), fit, "{now}");
        }
        let mut late = moment(9000);
        late.nonce_is_ours = true;
        assert_eq!(fits(late), Ok(()));
        // What was seen before a restart has been forgotten: it may have been used.
        let mut restarted = moment(1001);
        restarted.remembers_since = Timestamp::from_s(996);
        assert_eq!(fits(restarted), Err(Misfit::Age));
        restarted.remembers_since = Timestamp::from_s(995);
        assert_eq!(fits(restarted), Ok(()));
    }

    #[test]
    fn a_proof_for_another_request_or_token_does_not_fit() {
        let token = Fingerprint([2; 32]);
        let good = proof("https://gateway.home.arpa:8443/x");
        let post = Asked {
            method: "POST",
            ..asked("/x")
        };
        assert_eq!(good.fits(post, token, moment(1000)), Err(Misfit::Request));
        let y = asked("/y");
        assert_eq!(good.fits(y, token, moment(1000)), Err(Misfit::Request));
        let other = Fingerprint([3; 32]);
        let x = asked("/x");
        assert_eq!(good.fits(x, other, moment(1000)), Err(Misfit::Token));
        let none = Proof {
            token: None,
            ..good
        };
        assert_eq!(none.fits(x, token, moment(1000)), Err(Misfit::Token));
    }
}
