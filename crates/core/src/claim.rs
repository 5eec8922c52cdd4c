//! Claims: a one-time, expiring permission to enroll one named device.
//!
//! Its code as text is read and bounded in `agent/claim_code.rs`. It becomes used with the commit of the certificate:
//! `take_in` in `gateway/devices/enroll.rs`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::device::{Device, DeviceState};
use crate::id::{ClaimId, DeviceId, EnvironmentName, Fingerprint, ProfileName, hex, unhex};
use crate::profile::Profile;
use crate::time::{Span, Timestamp};
use crate::tree::{Named, Taken, taken};

/// How long a claim lives when nobody says otherwise.
pub const LIFETIME_DEFAULT: Span = Span::minutes(15);
/// The longest a claim may live.
pub const LIFETIME_MAX: Span = Span::hours(24);
/// The shortest a claim may live.
pub const LIFETIME_MIN: Span = Span::s(1);
/// Wrong secrets that lock a claim.
pub const WRONG_TRIES_MAX: u32 = 5;
/// How long after its use the same key is given the same certificate again, and how long after
/// its end a claim still gets the reason why it is refused.
pub const REDELIVERY: Span = Span::minutes(10);

/// The secret of a claim: 128 random bits. It is shown once and stored as a hash.
#[derive(Clone)]
pub struct ClaimSecret(Zeroizing<[u8; 16]>);

impl ClaimSecret {
    /// The secret made of 16 random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// Reads what a device sent as its password.
    pub fn parse(password: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(password).ok()?;
        unhex(text).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// What is stored of the secret. 128 random bits need no slow hash.
    pub fn hash(&self) -> Fingerprint {
        Fingerprint::of(self.0.as_slice())
    }

    /// The secret as text, for the one time that it is shown.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(self.0.as_slice()))
    }
}

impl std::fmt::Debug for ClaimSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClaimSecret(…)")
    }
}

/// The state of a claim. Whether it has expired is a matter of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimState {
    /// It may be used.
    Open,
    /// It has been used; which key did is known.
    Used,
    /// Five wrong secrets have locked it.
    Locked,
    /// It was closed before anybody used it.
    Closed,
}

impl ClaimState {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Locked => "locked",
            Self::Closed => "closed",
        }
    }
}

/// A claim as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// The device it enrolls.
    pub device: DeviceId,
    /// Its state.
    pub state: ClaimState,
    /// What is stored of its secret.
    pub secret_hash: Fingerprint,
    /// Wrong secrets so far.
    pub wrong_tries: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Until when it may be used.
    pub expires_at: Timestamp,
    /// With which key and when it was used, and the certificate that came of it.
    pub used: Option<ClaimUse>,
    /// The key that waits for a person's approval, and whether it has been approved.
    pub presented_key: Option<Fingerprint>,
    /// The key that a person has approved.
    pub approved_key: Option<Fingerprint>,
    /// The id of the person or the token who opened it: it is open no longer than they may open it. [`HERE`] if nobody in
    /// particular did. None of one that was opened before this was written down: it may be anybody's.
    ///
    /// [`HERE`]: crate::person::HERE
    pub opened_by: Option<String>,
}

/// The one use of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimUse {
    /// The key that was enrolled.
    pub key: Fingerprint,
    /// The certificate that was issued.
    pub certificate: Fingerprint,
    /// When.
    pub at: Timestamp,
}

impl Claim {
    /// A new claim, open from now on.
    pub fn opened(
        id: ClaimId,
        device: DeviceId,
        secret_hash: Fingerprint,
        now: Timestamp,
        lifetime: Span,
    ) -> Self {
        Self {
            id,
            device,
            state: ClaimState::Open,
            secret_hash,
            wrong_tries: 0,
            opened_at: now,
            expires_at: now.after(lifetime),
            used: None,
            presented_key: None,
            approved_key: None,
            opened_by: None,
        }
    }

    /// Whether a person or a token has opened it, by their id, or may have.
    pub fn may_be_of(&self, opener: &str) -> bool {
        self.opened_by.as_deref().is_none_or(|its| its == opener)
    }

    /// Until when the claim window is open for this claim: a little longer than the claim can be
    /// used, so that a lost answer can be fetched again and a refusal be received.
    pub fn bell_until(&self) -> Timestamp {
        match (self.state, self.used) {
            (ClaimState::Closed, _) => Timestamp::from_s(0),
            (_, Some(used)) => used.at.after(REDELIVERY),
            _ => self.expires_at.after(REDELIVERY),
        }
    }

    /// Counts a wrong secret, which may have been the last that is allowed.
    pub fn count_wrong_try(&mut self, locks: bool) {
        self.wrong_tries += 1;
        if locks && self.state == ClaimState::Open {
            self.state = ClaimState::Locked;
        }
    }
}

/// What becomes of a secret that was presented at the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The secret is right: the connection may ask, whatever the claim then answers.
    Right,
    /// The secret is wrong; count it.
    Wrong {
        /// Whether this try locks the claim.
        locks: bool,
    },
    /// There is nothing to count: no such claim, or its time has long passed.
    Unknown,
}

/// Whether the presented secret is the claim's. The secret alone decides who may log in; what
/// the claim is still good for is said afterwards, to somebody who has proven to hold it.
pub fn present(claim: Option<&Claim>, password: &[u8], now: Timestamp) -> Presented {
    let Some(claim) = claim.filter(|claim| now < claim.bell_until()) else {
        return Presented::Unknown;
    };
    let right = ClaimSecret::parse(password)
        .is_some_and(|secret| bool::from(secret.hash().0.ct_eq(&claim.secret_hash.0)));
    if right {
        return Presented::Right;
    }
    let locks = claim.state == ClaimState::Open && claim.wrong_tries + 1 >= WRONG_TRIES_MAX;
    Presented::Wrong { locks }
}

/// What an operator asks for when opening a claim.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The device to enroll.
    pub device: DeviceId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its profile.
    pub profile: ProfileName,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How long the claim is valid.
    pub lifetime: Span,
}

/// Why a claim was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// A lifetime out of bounds.
    #[error("a claim is valid for 1 second to 24 hours")]
    Lifetime,
    /// Owner or purpose missing or too long.
    #[error("{0} is required: 1 to 200 characters, on one line")]
    Text(&'static str),
    /// An id whose topics would be the gateway's own.
    #[error("a device cannot be called {0}: choose another id")]
    ReservedId(DeviceId),
    /// An id, or an environment, by whose name a rule would reach the gateway's own topics.
    #[error(
        "a device called {0} would reach the gateway's own topics in the environment {1}: choose another id, profile or environment"
    )]
    GatewaysTopics(DeviceId, EnvironmentName),
    /// An id by which it would get topics of other devices.
    #[error("{0}: choose another id")]
    OthersTopics(Taken),
    /// The environment does not exist.
    #[error("there is no environment {0}")]
    UnknownEnvironment(EnvironmentName),
    /// The profile does not exist.
    #[error("there is no profile {0}")]
    UnknownProfile(ProfileName),
    /// The id is in use elsewhere.
    #[error(
        "the device {0} belongs to the environment {1}; retire it there first, or choose another id"
    )]
    OtherEnvironment(DeviceId, EnvironmentName),
    /// The device is active with other rights.
    #[error("the device {0} is active under the profile {1}; retire it first, or keep the profile")]
    OtherProfile(DeviceId, ProfileName),
    /// The device is suspended.
    #[error("the device {0} is suspended; resume or revoke it first")]
    Suspended(DeviceId),
}

/// The home's environments and profiles: what a device's id is compared with.
#[derive(Debug, Clone, Copy)]
pub struct HomeTrees<'a> {
    /// Every environment.
    pub environments: &'a [EnvironmentName],
    /// Every profile.
    pub profiles: &'a [Arc<Profile>],
}

/// The device as it is once a claim for it is opened, or why there is none. A device that
/// was revoked or retired comes back as pending, and will begin a new lineage.
pub fn open(
    request: &ClaimRequest,
    existing: Option<&Device>,
    home: HomeTrees<'_>,
    profile: Option<&Profile>,
    now: Timestamp,
) -> Result<Device, ClaimRefusal> {
    if request.device.as_str() == "hearthkey" {
        return Err(ClaimRefusal::ReservedId(request.device.clone()));
    }
    if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&request.lifetime) {
        return Err(ClaimRefusal::Lifetime);
    }
    for (name, text) in [("owner", &request.owner), ("purpose", &request.purpose)] {
        let length = text.chars().count();
        if text.trim().is_empty() || length > 200 || text.chars().any(char::is_control) {
            return Err(ClaimRefusal::Text(name));
        }
    }
    if !home.environments.contains(&request.environment) {
        return Err(ClaimRefusal::UnknownEnvironment(
            request.environment.clone(),
        ));
    }
    let Some(profile) = profile else {
        return Err(ClaimRefusal::UnknownProfile(request.profile.clone()));
    };
    if profile.reaches_ours(&request.device, &request.environment) {
        let (device, environment) = (request.device.clone(), request.environment.clone());
        return Err(ClaimRefusal::GatewaysTopics(device, environment));
    }
    let named = Named {
        device: &request.device,
        environment: &request.environment,
        profile,
    };
    let mut others = home.profiles.iter();
    if let Some(taken) = others.find_map(|from| taken(named, from, home.environments.iter())) {
        return Err(ClaimRefusal::OthersTopics(taken));
    }
    let state = match existing.map(|device| (device.state, &device.environment)) {
        None | Some((DeviceState::Revoked | DeviceState::Retired, _)) => DeviceState::Pending,
        Some((_, elsewhere)) if *elsewhere != request.environment => {
            return Err(ClaimRefusal::OtherEnvironment(
                request.device.clone(),
                elsewhere.clone(),
            ));
        }
        Some((DeviceState::Suspended, _)) => {
            return Err(ClaimRefusal::Suspended(request.device.clone()));
        }
        Some((state @ (DeviceState::Pending | DeviceState::Active), _)) => state,
    };
    // A claim changes what a device may do when it is used, never before.
    if let Some(existing) = existing.filter(|_| state == DeviceState::Active)
        && existing.profile != request.profile
    {
        let (device, profile) = (existing.id.clone(), existing.profile.clone());
        return Err(ClaimRefusal::OtherProfile(device, profile));
    }
    Ok(Device {
        id: request.device.clone(),
        state,
        environment: request.environment.clone(),
        profile: request.profile.clone(),
        owner: request.owner.trim().to_owned(),
        purpose: request.purpose.trim().to_owned(),
        created_at: existing.map_or(now, |device| device.created_at),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn claim(state: ClaimState) -> Claim {
        let id = ClaimId::from_random([1; 8]);
        let secret = ClaimSecret::from_random([9; 16]).hash();
        let lamp = "lamp".parse().unwrap();
        Claim {
            state,
            ..Claim::opened(id, lamp, secret, Timestamp::from_s(0), LIFETIME_DEFAULT)
        }
    }

    fn right() -> Vec<u8> {
        ClaimSecret::from_random([9; 16])
            .reveal()
            .as_bytes()
            .to_vec()
    }

    #[test]
    fn a_claim_of_which_nobody_knows_who_opened_it_may_be_anybodys() {
        let mut claim = claim(ClaimState::Open);
        claim.opened_by = None;
        assert!(claim.may_be_of("anna"));
        claim.opened_by = Some("mallory".into());
        assert!(!claim.may_be_of("anna") && claim.may_be_of("mallory"));
        claim.opened_by = Some(crate::person::HERE.into());
        assert!(!claim.may_be_of("anna"));
    }

    #[test]
    fn the_fifth_wrong_secret_locks_a_claim() {
        let mut open = claim(ClaimState::Open);
        let now = Timestamp::from_s(1);
        for tries in 0..WRONG_TRIES_MAX {
            open.wrong_tries = tries;
            let locks = tries + 1 == WRONG_TRIES_MAX;
            assert_eq!(
                present(Some(&open), b"guess", now),
                Presented::Wrong { locks }
            );
        }
        assert_eq!(present(Some(&open), &right(), now), Presented::Right);
    }

    #[test]
    fn a_claim_that_nobody_knows_and_one_long_past_look_the_same() {
        let open = claim(ClaimState::Open);
        assert_eq!(
            present(None, &right(), Timestamp::from_s(1)),
            Presented::Unknown
        );
        let past = Timestamp::from_s(900 + 600);
        assert_eq!(present(Some(&open), &right(), past), Presented::Unknown);
    }

    #[test]
    fn the_secret_never_shows_in_debug_output() {
        let secret = ClaimSecret::from_random([0xab; 16]);
        assert!(!format!("{secret:?}").contains("ab"));
    }

    fn generic() -> Profile {
        crate::profile::built_in().unwrap().remove(0)
    }

    fn home() -> HomeTrees<'static> {
        static HOME: std::sync::LazyLock<(Vec<EnvironmentName>, Vec<Arc<Profile>>)> =
            std::sync::LazyLock::new(|| {
                let profiles = crate::profile::built_in().unwrap();
                let profiles = profiles.into_iter().map(Arc::new).collect();
                (vec!["home".parse().unwrap()], profiles)
            });
        HomeTrees {
            environments: &HOME.0,
            profiles: &HOME.1,
        }
    }

    fn request() -> ClaimRequest {
        ClaimRequest {
            device: "lamp".parse().unwrap(),
            environment: "home".parse().unwrap(),
            profile: "generic".parse().unwrap(),
            owner: "Ada".into(),
            purpose: "light".into(),
            lifetime: LIFETIME_DEFAULT,
        }
    }

    #[test]
    fn a_revoked_device_comes_back_as_pending_and_an_active_one_stays_active() {
        let now = Timestamp::from_s(1);
        let mut device = open(&request(), None, home(), Some(&generic()), now).unwrap();
        assert_eq!(device.state, DeviceState::Pending);
        for (from, to) in [
            (DeviceState::Revoked, DeviceState::Pending),
            (DeviceState::Retired, DeviceState::Pending),
            (DeviceState::Active, DeviceState::Active),
        ] {
            device.state = from;
            assert_eq!(
                open(&request(), Some(&device), home(), Some(&generic()), now).map(|d| d.state),
                Ok(to)
            );
        }
        device.state = DeviceState::Active;
        let other = ClaimRequest {
            profile: "shelly".parse().unwrap(),
            ..request()
        };
        assert!(open(&other, Some(&device), home(), Some(&generic()), now).is_err());
        device.state = DeviceState::Suspended;
        assert!(open(&request(), Some(&device), home(), Some(&generic()), now).is_err());
    }

    #[test]
    fn a_claim_without_owner_or_purpose_or_with_a_long_life_is_refused() {
        let now = Timestamp::from_s(1);
        let refuse = |change: fn(&mut ClaimRequest)| {
            let mut request = request();
            change(&mut request);
            open(&request, None, home(), Some(&generic()), now).unwrap_err()
        };
        assert_eq!(
            refuse(|r| r.owner = " ".into()),
            ClaimRefusal::Text("owner")
        );
        assert_eq!(
            refuse(|r| r.purpose = "a\nb".into()),
            ClaimRefusal::Text("purpose")
        );
        assert_eq!(
            refuse(|r| r.lifetime = Span::hours(25)),
            ClaimRefusal::Lifetime
        );
    }
}
