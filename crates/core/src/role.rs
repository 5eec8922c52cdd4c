//! What people may do: one table of roles and acts.
//!
//! An act is what a person is asked about before it happens. Most acts belong to an environment,
//! and a role can be limited to some of them; the others concern the whole home. What is not in
//! the table is not allowed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::credential::Action;
use crate::words::words;
pub use mandate::{DEVELOPERS_GRACE, HOME_ENVIRONMENT, InvalidMandate, Mandate, Scope};

mod mandate;

words! {
    /// What a person is in a home.
    Role, "role", InvalidRole {
        /// Everything.
        Owner = "owner",
        /// Devices, rotation, revocation, incidents.
        Operator = "operator",
        /// Credentials of named environments, and claims there. Never of `home`.
        Developer = "developer",
        /// Reads the inventory and the log, never a secret.
        Auditor = "auditor",
    }
}

words! {
    /// What is done.
    Act, "act", InvalidAct {
        /// See how the gateway is, its profiles, environments and roots.
        HomeRead = "home.read",
        /// Drop every key from memory.
        HomeSeal = "home.seal",
        /// See how the home can be unlocked.
        UnlockRead = "unlock.read",
        /// Add and remove unlock methods.
        UnlockChange = "unlock.change",
        /// Believe the machine's clock.
        ClockConfirm = "clock.confirm",
        /// See backups, and verify them.
        BackupRead = "backup.read",
        /// Make backups, say where they go, and check the recovery code.
        BackupChange = "backup.change",
        /// See devices, their rights and their sessions.
        DeviceRead = "device.read",
        /// Open a claim.
        DeviceClaim = "device.claim",
        /// Compare a device's key and let it in; give back rights that were taken from one.
        DeviceApprove = "device.approve",
        /// Let a device in again that a restored home does not know.
        DeviceReadmit = "device.readmit",
        /// Rotate, suspend, resume, narrow, revoke, retire.
        DeviceChange = "device.change",
        /// Add or replace a profile.
        ProfileChange = "profile.change",
        /// Add an environment: the root signs a CA.
        EnvironmentAdd = "environment.add",
        /// See the inventory, never a value.
        CredentialRead = "credential.read",
        /// Add and describe credentials.
        CredentialWrite = "credential.write",
        /// See a value.
        CredentialReveal = "credential.reveal",
        /// Borrow a value for a time, and end what one has borrowed.
        CredentialLease = "credential.lease",
        /// Begin, confirm and undo rotations.
        CredentialRotate = "credential.rotate",
        /// Take credentials out of use, and seal values anew.
        CredentialRetire = "credential.retire",
        /// See bridges.
        BridgeRead = "bridge.read",
        /// Connect, test and disconnect bridges.
        BridgeChange = "bridge.change",
        /// See service tokens.
        TokenRead = "token.read",
        /// Make, renew and authorize service tokens.
        TokenCreate = "token.create",
        /// Revoke tokens, and end leases of others.
        TokenEnd = "token.end",
        /// See findings, and report them.
        FindingRead = "finding.read",
        /// Accept findings, and say that one is resolved.
        FindingAccept = "finding.accept",
        /// Read the audit log.
        LogRead = "log.read",
        /// Look at an incident, and let the log go on.
        LogAccept = "log.accept",
        /// Note that a part of the audit log was archived.
        LogArchive = "log.archive",
        /// Drop archived records from the home's own log.
        LogShorten = "log.shorten",
        /// See who may do what.
        PeopleRead = "people.read",
        /// Invite people, change their roles, end their access.
        PeopleChange = "people.change",
    }
}

/// The roles that may do an act, and what else it needs.
struct Row {
    act: Act,
    owner: bool,
    operator: bool,
    developer: bool,
    auditor: bool,
    /// Whether it happens in one environment: then a role that is limited to some has it there.
    local: bool,
    /// Whether a second factor must have been shown in the last minutes.
    fresh: bool,
    /// Whether it is for people alone, and for no token: it gives rights, or is a person's judgment.
    personal: bool,
}

const fn row(act: Act, roles: [u8; 4], kind: [u8; 2]) -> Row {
    Row {
        act,
        owner: roles[0] == b'x',
        operator: roles[1] == b'x',
        developer: roles[2] == b'x',
        auditor: roles[3] == b'x',
        local: kind[0] == b'e',
        fresh: kind[1] == b'2',
        personal: kind[1] != b'-',
    }
}

/// One line for each act. The columns: owner, operator, developer, auditor; then `e` where it happens in an
/// environment, and `2` where a fresh second factor is needed, or `p` where a person is.
#[rustfmt::skip]
const TABLE: [Row; 33] = [
    row(Act::HomeRead,         *b"xxxx", *b"e-"),
    row(Act::HomeSeal,         *b"xx--", *b"--"),
    row(Act::UnlockRead,       *b"xx-x", *b"--"),
    row(Act::UnlockChange,     *b"x---", *b"-2"),
    row(Act::ClockConfirm,     *b"xx--", *b"-p"),
    row(Act::BackupRead,       *b"xx-x", *b"--"),
    row(Act::BackupChange,     *b"x---", *b"-2"),
    row(Act::DeviceRead,       *b"xxxx", *b"e-"),
    row(Act::DeviceClaim,      *b"xxx-", *b"e-"),
    row(Act::DeviceApprove,    *b"xx--", *b"ep"),
    row(Act::DeviceReadmit,    *b"x---", *b"e2"),
    row(Act::DeviceChange,     *b"xx--", *b"e-"),
    row(Act::ProfileChange,    *b"xx--", *b"-p"),
    row(Act::EnvironmentAdd,   *b"x---", *b"-2"),
    row(Act::CredentialRead,   *b"xxxx", *b"e-"),
    row(Act::CredentialWrite,  *b"x-x-", *b"e-"),
    row(Act::CredentialReveal, *b"x-x-", *b"e2"),
    row(Act::CredentialLease,  *b"x-x-", *b"e2"),
    row(Act::CredentialRotate, *b"xxx-", *b"e-"),
    row(Act::CredentialRetire, *b"xxx-", *b"e-"),
    row(Act::BridgeRead,       *b"xxxx", *b"e-"),
    row(Act::BridgeChange,     *b"x---", *b"e2"),
    row(Act::TokenRead,        *b"xxxx", *b"e-"),
    row(Act::TokenCreate,      *b"x-x-", *b"e2"),
    row(Act::TokenEnd,         *b"xxx-", *b"e-"),
    row(Act::FindingRead,      *b"xxxx", *b"e-"),
    row(Act::FindingAccept,    *b"xx--", *b"-p"),
    row(Act::LogRead,          *b"xx-x", *b"--"),
    row(Act::LogAccept,        *b"xx--", *b"-p"),
    row(Act::LogArchive,       *b"xx--", *b"--"),
    row(Act::LogShorten,       *b"x---", *b"-2"),
    row(Act::PeopleRead,       *b"xx-x", *b"--"),
    row(Act::PeopleChange,     *b"x---", *b"-2"),
];

impl Act {
    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.act == self)
    }

    /// Whether a second factor must have been shown in the last minutes.
    pub fn needs_second_factor(self) -> bool {
        self.row().is_none_or(|row| row.fresh)
    }

    /// Whether it is for people alone, whatever the role of a token: it shows values, gives rights, or is a judgment.
    pub fn needs_a_person(self) -> bool {
        self.row().is_none_or(|row| row.personal)
    }

    /// Whether it happens in one environment.
    pub fn is_local(self) -> bool {
        self.row().is_some_and(|row| row.local)
    }
}

impl From<Action> for Act {
    fn from(action: Action) -> Self {
        match action {
            Action::List => Self::CredentialRead,
            Action::Read => Self::CredentialReveal,
            Action::Lease => Self::CredentialLease,
            Action::Rotate => Self::CredentialRotate,
            Action::Write => Self::CredentialWrite,
        }
    }
}

impl Role {
    /// Whether the role may do this at all.
    pub fn may(self, act: Act) -> bool {
        act.row().is_some_and(|row| match self {
            Self::Owner => row.owner,
            Self::Operator => row.operator,
            Self::Developer => row.developer,
            Self::Auditor => row.auditor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who may do what, said a second time and the other way round.
    const ALLOWED: [(Role, &[&str]); 4] = [
        (Role::Owner, &["*"]),
        (
            Role::Operator,
            &[
                "home.read",
                "home.seal",
                "unlock.read",
                "clock.confirm",
                "backup.read",
                "device.read",
                "device.claim",
                "device.approve",
                "device.change",
                "profile.change",
                "credential.read",
                "credential.rotate",
                "credential.retire",
                "bridge.read",
                "token.read",
                "token.end",
                "finding.read",
                "finding.accept",
                "log.read",
                "log.accept",
                "log.archive",
                "people.read",
            ],
        ),
        (
            Role::Developer,
            &[
                "home.read",
                "device.read",
                "device.claim",
                "credential.read",
                "credential.write",
                "credential.reveal",
                "credential.lease",
                "credential.rotate",
                "credential.retire",
                "bridge.read",
                "token.read",
                "token.create",
                "token.end",
                "finding.read",
            ],
        ),
        (
            Role::Auditor,
            &[
                "home.read",
                "backup.read",
                "unlock.read",
                "device.read",
                "credential.read",
                "bridge.read",
                "token.read",
                "finding.read",
                "log.read",
                "people.read",
            ],
        ),
    ];

    #[test]
    fn each_role_may_do_what_is_said_of_it_and_nothing_else() {
        assert_eq!(ALLOWED.len(), Role::ALL.len());
        for (role, allowed) in ALLOWED {
            for act in Act::ALL {
                let said = allowed.contains(&"*") || allowed.contains(&act.as_str());
                assert_eq!(role.may(*act), said, "{role} {act}");
            }
        }
    }

    #[test]
    fn each_act_has_one_line() {
        assert_eq!(TABLE.len(), Act::ALL.len());
        for (row, act) in TABLE.iter().zip(Act::ALL) {
            assert_eq!(row.act, *act);
        }
    }

    #[test]
    fn what_shows_values_or_gives_rights_needs_a_fresh_second_factor() {
        let fresh: Vec<&str> = Act::ALL
            .iter()
            .filter(|act| act.needs_second_factor())
            .map(|act| act.as_str())
            .collect();
        assert_eq!(
            fresh,
            [
                "unlock.change",
                "backup.change",
                "device.readmit",
                "environment.add",
                "credential.reveal",
                "credential.lease",
                "bridge.change",
                "token.create",
                "log.shorten",
                "people.change"
            ]
        );
    }

    #[test]
    fn no_token_lets_a_device_in_changes_what_a_kind_may_do_or_answers_for_what_is_wrong() {
        let personal = Act::ALL
            .iter()
            .filter(|act| act.needs_a_person() && !act.needs_second_factor());
        let personal: Vec<&str> = personal.map(|act| act.as_str()).collect();
        assert_eq!(
            personal,
            [
                "clock.confirm",
                "device.approve",
                "profile.change",
                "finding.accept",
                "log.accept"
            ]
        );
        assert!(Act::CredentialReveal.needs_a_person() && !Act::DeviceChange.needs_a_person());
    }
}
