//! The HTTP contract: what is asked, what is answered, and what went wrong.
//!
//! Shapes and texts only. The handlers are in `gateway`, the rules in `core`, and this crate sees
//! neither, so that a client of a gateway needs nothing else. Times are RFC 3339 in UTC,
//! fingerprints and serial numbers are lower-case hexadecimal digits.

mod backup;
mod bridge;
mod bulk;
mod check;
mod client;
mod clock;
mod credential;
mod device;
mod live;
mod log;
mod people;
mod problem;
mod proof_key;
mod provenance;
mod readmission;
mod remote;
mod right;
mod second_factor;
mod secret;
mod status;
mod token;
mod token_file;
mod trust;
mod unlock;

pub use backup::{
    BackupList, BackupMade, BackupPlanRequest, BackupPlanView, BackupPlanned, BackupRequest,
    BackupVerified, BackupView, JournalShipped, KitCheckRequest, KitChecked, KitOpens,
};
pub use bridge::{
    AbilitiesView, BridgeList, BridgeRequest, BridgeTested, BridgeVerdict, BridgeView, Disconnected,
};
pub use bulk::{
    BulkEffect, BulkFailure, BulkHindrance, BulkOutcome, BulkPreview, BulkPreviewRequest,
    BulkRequest,
};
pub use check::{
    AcceptanceRequest, AcceptanceView, FindingList, FindingReport, FindingView, Manifest,
    ManifestChecked, ManifestEntry, ManifestVerdict, MarksView, Posture, PostureFinding,
    RemedyAction,
};
pub use client::{CallError, Client};
pub use credential::{
    ConfirmRequest, CredentialChange, CredentialChanged, CredentialInFull, CredentialPage,
    CredentialRequest, CredentialView, Given, LeaseList, LeaseRequest, LeaseView, Leased,
    ProvenanceView, RetireRequest, Retired, RevealRequest, Revealed, RewrapView, RotateRequest,
    RotationPolicyView, RotationView, VersionView,
};
pub use device::{
    ApproveRequest, CertificateView, ClaimOpened, ClaimRequest, ClaimView, DeviceChanged,
    DevicePage, DeviceSummary, DeviceView, EnvironmentRequest, Named, NarrowRequest, Narrowed,
    ProfileText, RevokeRequest, Revoked, RightView, RightsView, SessionView,
};
pub use live::{EndsOn, Event, Events, Need, Overview};
pub use log::{
    AcceptRequest, LogArchiveRequest, LogArchiveView, LogBucket, LogExtent, LogHistogram,
    LogKeyView, LogRecord, LogSearch, LogSegment, LogShortenRequest, LogVerified, OutcomeCounts,
    RecordPage,
};
pub use people::{
    CeremonyAnswer, CeremonyBegun, CodeAnswer, Ended, InvitationToken, InvitationView, Invited,
    OwnWays, PasskeyView, PasswordBegun, PasswordLogin, PasswordRequest, PersonChange,
    PersonChanged, PersonList, PersonRequest, PersonView, RecoveryCodes, RecoveryLogin,
    SessionInfo, WaysChanged, WebSessionList, WebSessionView, Welcome,
};
pub use problem::{Problem, code};
pub use proof_key::{InvalidKey, ProofKey};
pub use provenance::{DeviceProvenance, Enrolled};
pub use readmission::{ReadmitRequest, WaitingDevice, WaitingList};
pub use remote::{Identity, RemoteError};
pub use secret::SecretValue;
pub use status::{ClockDoubt, ClockView, Listeners, Sealing, Status, UnsealRequest, Written};
pub use token::{
    Health, TokenCreated, TokenList, TokenRequest, TokenRevoked, TokenSelf, TokenView,
};
pub use token_file::TokenFile;
pub use trust::{AuthorityList, AuthorityView};
pub use unlock::{
    PassphraseMethodRequest, RecoveryCodeConfirmation, RecoveryCodeIssued, UnlockMethodList,
    UnlockMethodRemoval, UnlockMethodRequest, UnlockMethodView,
};

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "hearthkey.sock";
/// The largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 256 * 1024;
/// The most items in one page.
pub const PAGE_MAX: u32 = 1000;
pub use right::RightName;
pub use second_factor::SecondFactor;
