//! Which keys, signatures and values are weaker than what the home issues itself.
//!
//! The home issues P-256 with SHA-256: 128 bits of security. What is weaker is reported, and measured by NIST
//! SP 800-57 part 1 revision 5 (tables 2, 3 and 4) and SP 800-131A revision 2: 112 bits are accepted until the end
//! of 2030, less is disallowed today.

use crate::credential::{CredentialId, Kind};
use crate::finding::{Finding, FindingKind, RemedyAction, RemedyKind, Severity};
use crate::id::{DeviceId, ProfileName};
use crate::key::KeyType;
use crate::profile::Profile;
use crate::time::Timestamp;

/// Bits of security of what the home issues.
pub const ISSUED_BITS: u16 = 128;
/// Bits of security below which nothing is accepted any more (SP 800-131A revision 2, §1).
pub const ACCEPTED_BITS: u16 = 112;
/// Bytes that hold fewer bits than [`ACCEPTED_BITS`], however they were chosen.
pub const KEY_BYTES_MIN: u64 = ACCEPTED_BITS as u64 / 8;
/// From here on 112 bits are disallowed (SP 800-57 part 1 revision 5, table 4): 2031-01-01T00:00:00Z.
const ENDS_112_S: i64 = 1_924_992_000;

/// A public key, as far as its strength depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, with the bits of its modulus.
    Rsa(u32),
    /// ECDSA, with the bits of its curve's field.
    Ec(u32),
    /// Anything else, by no rule of this home.
    Other,
}

/// What a signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// MD5 or SHA-1.
    Broken,
    /// SHA-256 or a stronger one.
    Sound,
    /// Another one.
    Other,
}

/// What a certificate is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms {
    /// The key that it certifies.
    pub key: PublicKey,
    /// What it is signed over.
    pub digest: Digest,
}

impl PublicKey {
    /// Bits of security (SP 800-57 part 1 revision 5, table 2).
    pub fn security_bits(self) -> u16 {
        match self {
            Self::Rsa(..1024) | Self::Ec(..160) | Self::Other => 0,
            Self::Rsa(..2048) | Self::Ec(..224) => 80,
            Self::Rsa(..3072) | Self::Ec(..256) => 112,
            Self::Rsa(..7680) | Self::Ec(..384) => 128,
            Self::Rsa(_) | Self::Ec(_) => 192,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Rsa(bits) => format!("an RSA key of {bits} bits"),
            Self::Ec(bits) => format!("an elliptic curve key of {bits} bits"),
            Self::Other => "a key of an unknown kind".into(),
        }
    }
}

/// Why something is weak, and how bad that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weakness {
    /// What it has, as the rest of a sentence that begins with its name.
    pub what: String,
    /// The severity.
    pub severity: Severity,
}

/// What is weak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A device's newest certificate.
    Device(DeviceId),
    /// A CA, by its name in the registry.
    Authority(String),
    /// A profile, by which devices may bring weak keys.
    Profile(ProfileName),
    /// A CA that a bridge's settings trust, by the bridge's environment and name.
    Bridge(String),
    /// A credential's current value.
    Credential(CredentialId),
}

impl Thing {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Device(id) => id.to_string(),
            Self::Authority(name) => format!("the certificate of {name}"),
            Self::Profile(name) => format!("the profile {name}"),
            Self::Bridge(name) => format!("the CA that the bridge {name} trusts"),
            Self::Credential(id) => id.to_string(),
        }
    }

    fn object(&self) -> String {
        match self {
            Self::Device(id) => format!("device:{id}"),
            Self::Authority(name) => format!("authority:{name}"),
            Self::Profile(name) => format!("profile:{name}"),
            Self::Bridge(name) => format!("bridge:{name}"),
            Self::Credential(id) => format!("credential:{id}"),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Device(id) => format!(
                "Have it renew with a P-256 key, or with RSA of 3072 bits if it supports nothing else. On the command line: \
                 `hearthkey device rotate {id}`."
            ),
            Self::Authority(_) => "Add a new environment, and enroll its devices there again. On the command line: `hearthkey environment add NAME`.".into(),
            Self::Profile(_) => {
                "Remove rsa2048 from its keys and its server_key. Devices that support nothing stronger are refused from then on.".into()
            }
            Self::Bridge(_) => "Give the bridge a certificate from a stronger CA, and put that CA into its settings.".into(),
            Self::Credential(id) => format!(
                "Rotate it to a longer value: one from where it was issued, or one that the gateway generates. On the command \
                 line: `hearthkey credential rotate {0} --env {1} --from-file FILE`, or `hearthkey credential rotate {0} --env {1} \
                 --generate`.",
                id.name, id.environment
            ),
        }
    }
}

impl Weakness {
    /// It, as a finding about what has it.
    pub fn finding(&self, thing: &Thing) -> Finding {
        let object = thing.object();
        let finding = Finding::new(
            FindingKind::WeakAlgorithm,
            self.severity,
            object.clone(),
            "",
        );
        let name = thing.name();
        let mut letters = name.chars();
        // A sentence begins with a capital, unless it begins with a name.
        let subject = match (name.starts_with("the "), letters.next()) {
            (true, Some(first)) => first.to_uppercase().chain(letters).collect(),
            _ => name.clone(),
        };
        let finding = finding.saying(format!("{subject} {}.", self.what), thing.remedy());
        match thing {
            Thing::Device(_) | Thing::Credential(_) => {
                finding.solved_by(RemedyAction::new(RemedyKind::Rotate, object))
            }
            _ => finding,
        }
    }
}

/// What is weak about a certificate: its key, or what it is signed over.
pub fn of_certificate(algorithms: Algorithms, now: Timestamp) -> Option<Weakness> {
    of_key(algorithms.key, now).or_else(|| match algorithms.digest {
        Digest::Sound => None,
        Digest::Broken => Some(Weakness {
            what: "is signed over MD5 or SHA-1, which NIST SP 800-131A revision 2 disallows".into(),
            severity: Severity::Critical,
        }),
        Digest::Other => Some(Weakness {
            what: "is signed over an unknown digest".into(),
            severity: Severity::High,
        }),
    })
}

/// What is weak about a public key.
pub fn of_key(key: PublicKey, now: Timestamp) -> Option<Weakness> {
    let (name, bits) = (key.name(), key.security_bits());
    if bits >= ISSUED_BITS {
        return None;
    }
    let over = now >= Timestamp::from_s(ENDS_112_S);
    let (rule, severity) = match bits {
        ACCEPTED_BITS.. if over => (
            "NIST SP 800-57 part 1 has allowed that until the end of 2030",
            Severity::High,
        ),
        ACCEPTED_BITS.. => (
            "NIST SP 800-57 part 1 allows that until the end of 2030",
            Severity::Medium,
        ),
        _ => ("NIST SP 800-131A disallows that", Severity::Critical),
    };
    Some(Weakness {
        what: format!(
            "has {name}: {bits} bits of security, and the home's own keys have {ISSUED_BITS}; {rule}"
        ),
        severity,
    })
}

/// What is weak about a profile: that it lets devices use weaker keys than the home's own, or has the gateway use
/// them one.
pub fn of_profile(profile: &Profile, now: Timestamp) -> Option<Weakness> {
    let weakness_of = |key: KeyType| {
        let key = match key {
            KeyType::P256 => PublicKey::Ec(256),
            KeyType::P384 => PublicKey::Ec(384),
            // The least that it represents.
            KeyType::Rsa2048 => PublicKey::Rsa(2048),
        };
        of_key(key, now)
    };
    let brought = profile.keys.iter().find_map(|key| weakness_of(*key));
    let (weakness, verb) = match brought {
        Some(weakness) => (weakness, "lets devices use"),
        None => (weakness_of(profile.server_key)?, "has the gateway use"),
    };
    let what = weakness.what.replacen("has", verb, 1);
    Some(Weakness { what, ..weakness })
}

/// Whether credentials of a kind are keys of a symmetric or asymmetric algorithm, whose bits are counted.
pub fn is_key(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::EncryptionKey | Kind::SigningKey | Kind::ZigbeeKey
    )
}

/// What is weak about a value of so many bytes, whatever they are. A value that is long enough may be weak all the
/// same: nobody looks at it.
pub fn of_value(kind: Kind, bytes: u64) -> Option<Weakness> {
    (is_key(kind) && bytes < KEY_BYTES_MIN).then(|| Weakness {
        what: format!(
            "is a key of {bytes} bytes: {} bits at most, and NIST SP 800-131A disallows fewer than {ACCEPTED_BITS}",
            bytes * 8
        ),
        severity: Severity::High,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Timestamp {
        Timestamp::from_s(0)
    }

    fn severity(key: PublicKey, now: Timestamp) -> Option<Severity> {
        of_key(key, now).map(|weakness| weakness.severity)
    }

    #[test]
    fn a_key_is_weak_below_what_the_home_issues_and_never_at_it() {
        for (key, found) in [
            (PublicKey::Rsa(1024), Some(Severity::Critical)),
            (PublicKey::Rsa(2047), Some(Severity::Critical)),
            (PublicKey::Rsa(2048), Some(Severity::Medium)),
            (PublicKey::Rsa(3071), Some(Severity::Medium)),
            (PublicKey::Rsa(3072), None),
            (PublicKey::Rsa(4096), None),
            (PublicKey::Rsa(15360), None),
            (PublicKey::Ec(192), Some(Severity::Critical)),
            (PublicKey::Ec(224), Some(Severity::Medium)),
            (PublicKey::Ec(256), None),
            (PublicKey::Ec(384), None),
            (PublicKey::Other, Some(Severity::Critical)),
        ] {
            assert_eq!(severity(key, today()), found, "{key:?}");
        }
    }

    #[test]
    fn what_is_allowed_until_the_end_of_2030_is_worse_from_then_on() {
        let last = "2030-12-31T23:59:59Z".parse().unwrap();
        let next = "2031-01-01T00:00:00Z".parse().unwrap();
        let key = PublicKey::Rsa(2048);
        assert_eq!(severity(key, last), Some(Severity::Medium));
        assert_eq!(severity(key, next), Some(Severity::High));
        assert_eq!(severity(PublicKey::Ec(256), next), None);
    }

    #[test]
    fn a_sound_key_under_a_broken_digest_is_weak() {
        let signed_over = |digest| {
            let key = PublicKey::Ec(256);
            of_certificate(Algorithms { key, digest }, today()).map(|weakness| weakness.severity)
        };
        assert_eq!(signed_over(Digest::Sound), None);
        assert_eq!(signed_over(Digest::Broken), Some(Severity::Critical));
        assert_eq!(signed_over(Digest::Other), Some(Severity::High));
    }

    #[test]
    fn a_key_that_is_too_short_is_weak_and_a_short_password_is_not_judged() {
        assert!(of_value(Kind::EncryptionKey, 13).is_some());
        assert_eq!(of_value(Kind::EncryptionKey, 14), None);
        assert_eq!(of_value(Kind::ZigbeeKey, 16), None);
        assert_eq!(of_value(Kind::Password, 4), None);
    }

    #[test]
    fn a_profile_is_as_weak_as_the_weakest_key_that_it_allows() {
        let profile = |keys: &str| {
            Profile::parse(&format!(
                "name = \"p\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\nkeys = {keys}\n"
            ))
            .unwrap()
        };
        let strong = profile(r#"["p256", "p384"]"#);
        assert_eq!(of_profile(&strong, today()), None);
        let weak = profile(r#"["p256", "rsa2048"]"#);
        let found = of_profile(&weak, today()).unwrap();
        let finding = found.finding(&Thing::Profile(weak.name));
        assert!(
            finding
                .what
                .starts_with("The profile p lets devices use an RSA key of 2048 bits"),
            "{}",
            finding.what
        );
        assert_eq!(finding.action, None);
        let shown = profile("[\"p256\"]\nserver_key = \"rsa2048\"");
        let what = of_profile(&shown, today()).unwrap().what;
        assert!(
            what.starts_with("has the gateway use an RSA key of 2048 bits"),
            "{what}"
        );
    }

    #[test]
    fn a_device_with_a_weak_key_is_asked_for_another_with_one_act() {
        let weakness = of_key(PublicKey::Rsa(2048), today()).unwrap();
        let finding = weakness.finding(&Thing::Device("lamp".parse().unwrap()));
        assert!(finding.what.starts_with("lamp has an RSA key"));
        let action = finding.action.unwrap();
        assert_eq!(action.kind, RemedyKind::Rotate);
        assert_eq!(action.object, "device:lamp");
    }

    #[test]
    fn a_weakness_says_whose_rule_it_breaks() {
        let weak = of_key(PublicKey::Rsa(2048), today()).unwrap().what;
        assert_eq!(
            weak,
            "has an RSA key of 2048 bits: 112 bits of security, and the home's own keys have 128; NIST SP 800-57 \
             part 1 allows that until the end of 2030"
        );
    }
}
