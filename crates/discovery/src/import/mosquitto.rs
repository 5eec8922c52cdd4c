//! Mosquitto password files: `user:hash` lines. A hash cannot be turned back into its password, so none is imported;
//! each is recorded with what to do instead. A password that was never hashed is found.

use super::judge::is_unmistakable;
use super::settings::{Collected, Named};
use super::words::names_a_secret;
use super::{LINE_MAX_BYTES, ReadError};

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if line.len() > LINE_MAX_BYTES {
            return Err(collected.malformed(
                number,
                "the line is longer than 64 KiB: this is no password file",
            ));
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((user, rest)) = line.split_once(':') else {
            return Err(collected.malformed(
                number,
                "a line of a password file is user:hash; this one has no colon",
            ));
        };
        let what = format!("user {user}");
        match hash_name(rest) {
            Some(hash) => {
                let why = format!(
                    "only a hash is kept ({hash}), and a password cannot be read back from it: give the user a new one"
                );
                collected.leave(&what, number, &why)?;
            }
            None if rest.is_empty() => {
                collected.leave(&what, number, "the user has no password")?
            }
            None => {
                let key = format!("{user}-password");
                let named = Named {
                    what: &what,
                    bridge: "mosquitto",
                    key: &key,
                    line: number,
                };
                collected.find(named, "password", rest)?;
            }
        }
    }
    Ok(())
}

/// `mosquitto.conf`: `name value` lines. Those with the name of a secret are listed: bridges' passwords and keys, and
/// what plugins are given.
pub(super) fn read_conf(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let mut connection = "";
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if line.len() > LINE_MAX_BYTES {
            return Err(collected.malformed(
                number,
                "the line is longer than 64 KiB: this is no configuration",
            ));
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .trim()
            .split_once([' ', '\t'])
            .unwrap_or((line.trim(), ""));
        let value = value.trim();
        if name == "connection" {
            connection = value;
        }
        let name = name.trim();
        // `remote_password`, `bridge_psk`, `auth_opt_mysql_pass`, and what older versions call `password`.
        let secret = names_a_secret(name) || is_unmistakable(value);
        if !secret
            || name == "allow_zero_length_clientid"
            || name.starts_with("use_")
            || name.ends_with("_as_username")
        {
            continue;
        }
        let bridge_key = format!("{connection}-{name}");
        // What plugins are given belongs to no connection.
        let of_bridge = ["remote_", "local_", "bridge_", "password"]
            .iter()
            .any(|start| name.starts_with(start));
        let key = match of_bridge && !connection.is_empty() {
            true => &bridge_key,
            false => name,
        };
        let named = Named {
            what: name,
            bridge: "mosquitto",
            key,
            line: number,
        };
        collected.consider(named, value, None)?;
    }
    Ok(())
}

/// The scheme of a hash (mosquitto_passwd(1)): `$7$` since 2.0, `$6$` before, Argon2 since 2.1.
fn hash_name(text: &str) -> Option<&'static str> {
    let schemes = [
        ("$7$", "PBKDF2-SHA512"),
        ("$6$", "SHA-512"),
        ("$argon2", "Argon2"),
    ];
    schemes
        .iter()
        .find(|(start, _)| text.starts_with(start))
        .map(|(_, name)| *name)
}
