//! Wi-Fi passphrases: made, checked by their shape (IEEE 802.11 annex J.4: 8 to 63 printable ASCII characters, or the key
//! itself as 64 hexadecimal digits), and written as `secrets.yaml` has them.

use hearthkey_core::secret::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::progress::Progress;
use crate::random;

/// 32 characters that can be distinguished in any typeface and typed on any remote control: 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const GROUPS: usize = 5;
const GROUP_CHARS: usize = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The name of the network, for the texts.
    ssid: Option<String>,
    /// How many devices need the new passphrase.
    devices: Option<u64>,
}

pub(crate) struct Wifi {
    settings: Settings,
}

impl Wifi {
    pub(crate) fn new(settings: &str) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        // IEEE 802.11 §9.4.2.2.
        match &settings.ssid {
            Some(ssid) if !(1..=32).contains(&ssid.len()) => Err(SettingsError::invalid(
                "ssid",
                format!("has {} bytes: a network's name has 1 to 32", ssid.len()),
            )),
            _ => Ok(Self { settings }),
        }
    }

    fn cost(&self) -> String {
        let network = match &self.settings.ssid {
            Some(ssid) => format!("the network {ssid:?}"),
            None => "the network".to_owned(),
        };
        match self.settings.devices {
            Some(1) => format!("Reconnecting 1 device to {network}."),
            Some(devices) => format!("Reconnecting {devices} devices to {network}, each of them."),
            None => format!("Reconnecting every device to {network}."),
        }
    }
}

/// 25 letters and digits in groups of five: 125 bits.
fn passphrase() -> Result<Secret, BridgeError> {
    let chance = random::bytes::<{ GROUPS * GROUP_CHARS }>()?;
    let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_CHARS + 1)));
    for (n, byte) in chance.iter().enumerate() {
        if n > 0 && n % GROUP_CHARS == 0 {
            text.push('-');
        }
        text.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    random::secret(&text)
}

fn read(value: &Secret) -> Result<&str, &'static str> {
    const WRONG: &str =
        "it has neither 8 to 63 printable ASCII characters nor 64 hexadecimal digits";
    let text = value.expose_text().ok_or(WRONG)?;
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match text.len() {
        8..=63 if printable => Ok(text),
        64 if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(text),
        _ => Err(WRONG),
    }
}

impl Connector for Wifi {
    fn abilities(&self) -> Abilities {
        Abilities {
            verify: false,
            mint: true,
            revoke: false,
            scopes: false,
            notify: false,
            children: false,
            shortest_child: None,
            two_live: false,
            // Nothing is made anywhere but here.
            ends_lost: true,
            needs_person: true,
            cost: Some(self.cost()),
            cannot: vec![
                "A passphrase is not tested on the network: only its shape is checked.".into(),
                "A new passphrase is not put into the access point: a person does, and reconnects the devices.".into(),
                "Old and new passphrase work side by side only if the access point offers a second network.".into(),
            ],
        }
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(async {
            match read(&held.value) {
                Err(why) => Ok(Verified::Fails(why.into())),
                Ok(_) => Err(BridgeError::CannotDo {
                    what: "a passphrase is not tested on the network; it has the right shape"
                        .into(),
                    instead: "See in the access point whether the devices are connected.".into(),
                }),
            }
        })
    }

    fn mint<'a>(&'a self, _: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async {
            progress.tell(&self.cost());
            Ok(Minted {
                value: passphrase()?,
                remote_id: None,
                lifetime: None,
            })
        })
    }

    fn revoke<'a>(&'a self, _: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(async {
            Ok(Revoked::ByHand(
                "Put the new passphrase into the access point and reconnect the devices: the old one ends with that. \
                 Anyone who recorded the network earlier can still read that recording."
                    .into(),
            ))
        })
    }

    fn scopes<'a>(&'a self, _: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(async {
            Err(BridgeError::CannotDo {
                what: "a passphrase has no scopes to list".into(),
                instead: "Anyone who has it can join the network.".into(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_passphrase_is_strong_has_the_right_shape_and_differs_each_time() {
        let (one, other) = (passphrase().unwrap(), passphrase().unwrap());
        assert_eq!(read(&one).map(str::len), Ok(29));
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn a_recorded_passphrase_is_told_by_its_shape() {
        let is_one = |text: &str| read(&Secret::text(text).unwrap()).is_ok();
        assert!(is_one("12345678") && is_one(&" ".repeat(63)) && is_one(&"aF".repeat(32)));
        for bad in [
            "1234567",
            "pässword1",
            "new\nline1",
            &"x".repeat(64),
            &"x".repeat(65),
        ] {
            assert!(!is_one(bad), "{bad:?}");
        }
    }
}
