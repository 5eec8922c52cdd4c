//! Where a credential's next value comes from: what to do to replace it, with a command that does it as it is typed.

use crate::credential::CredentialId;

/// Where the next value of a credential comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextValue {
    /// Its bridge is connected, or the gateway made the current value: a rotation needs no more than to be asked for.
    Here,
    /// A person gets it from where it was issued, or lets the gateway generate one.
    Either,
    /// A person gets it from where it was issued.
    Issued,
    /// A rotation is under way.
    UnderWay,
    /// The value is not in the vault.
    Elsewhere,
}

impl NextValue {
    /// What replaces the value, with `flags` at the end of each command, like ` --overlap 0s`.
    pub fn remedy(self, id: &CredentialId, flags: &str) -> String {
        let place = format!("{} --env {}", id.name, id.environment);
        let rotate = format!("hearthkey credential rotate {place}");
        match self {
            Self::Here => format!("Rotate it. On the command line: `{rotate}{flags}`."),
            Self::Either => format!(
                "Get a new value from where it was issued, or let the gateway generate one, and rotate it to that. On the \
                 command line: `{rotate} --from-file FILE{flags}`, or `{rotate} --generate{flags}`."
            ),
            Self::Issued => format!(
                "Get a new value from where it was issued, and rotate it to that. On the command line: `{rotate} --from-file \
                 FILE{flags}`."
            ),
            Self::Elsewhere => format!(
                "Replace it where it is stored, then mark it as replaced. On the command line: `hearthkey credential change {place} \
                 --replaced`."
            ),
            Self::UnderWay => format!(
                "Its rotation is under way: wait until it has ended, or see what it waits for. On the command line: `hearthkey \
                 credential show {place}`."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_only_its_issuer_makes_is_not_rotated_by_the_bare_command() {
        let id = CredentialId {
            environment: "home".parse().unwrap(),
            name: "hue/old".parse().unwrap(),
        };
        let command = "`hearthkey credential rotate hue/old --env home`";
        assert!(NextValue::Here.remedy(&id, "").contains(command));
        for next in [NextValue::Either, NextValue::Issued] {
            let said = next.remedy(&id, " --overlap 0s");
            assert!(!said.contains(command), "{said}");
            assert!(said.contains(" --from-file FILE --overlap 0s`"), "{said}");
        }
    }
}
