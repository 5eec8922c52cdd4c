//! The network key of a Zigbee network that Zigbee2MQTT keeps, and its PAN ids. Nothing is talked to: keys are made, their
//! shape is checked, and they are written as `configuration.yaml` has them.
//!
//! A value is the list of 16 numbers that is in `advanced.network_key`, or a JSON object with `network_key`, `pan_id`
//! and `ext_pan_id`. A network with a new key is a new network: every device has to be paired again.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use hearthkey_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::limits::DEVICE_FILE_MAX_BYTES;
use crate::progress::Progress;
use crate::random;

/// With what Zigbee2MQTT before 1.33 began every network.
const PUBLISHED_KEY: [u8; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13];
/// The link key that every Zigbee device knows ("ZigBeeAlliance09").
const ALLIANCE_KEY: [u8; 16] = *b"ZigBeeAlliance09";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How many devices are to be paired again, if no file tells.
    devices: Option<u64>,
    /// Zigbee2MQTT's `database.db`, or its `configuration.yaml` or `devices.yaml`.
    devices_file: Option<PathBuf>,
    /// Whether a new value also has new PAN ids. They keep the old network from answering for the new one.
    #[serde(default)]
    pan_ids: bool,
}

pub(crate) struct Zigbee2mqtt {
    settings: Settings,
}

/// A value, read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    network_key: [u8; 16],
    pan_id: u16,
    ext_pan_id: [u8; 8],
}

impl Drop for Network {
    fn drop(&mut self) {
        self.network_key.zeroize();
    }
}

/// What a value holds: the key, and PAN ids if it has them.
struct Key {
    key: Zeroizing<[u8; 16]>,
    pans: Option<(u16, [u8; 8])>,
}

impl Key {
    /// Reads a value, or says what is wrong with it.
    fn read(value: &Secret) -> Result<Self, &'static str> {
        let text = value.expose_text().ok_or("it is no text")?.trim();
        let key = if text.starts_with('{') {
            let network: Network = serde_json::from_str(text).map_err(|_| {
                "it is no object of network_key (16 numbers), pan_id and ext_pan_id (8 numbers)"
            })?;
            Self {
                key: Zeroizing::new(network.network_key),
                pans: Some((network.pan_id, network.ext_pan_id)),
            }
        } else if text.starts_with('[') {
            let key: [u8; 16] = serde_json::from_str(text)
                .map_err(|_| "it is no list of 16 numbers from 0 to 255")?;
            Self {
                key: Zeroizing::new(key),
                pans: None,
            }
        } else {
            let key = hearthkey_core::id::unhex::<16>(&text.to_ascii_lowercase());
            Self {
                key: Zeroizing::new(
                    key.ok_or("it is neither 16 numbers in brackets nor 32 hexadecimal digits")?,
                ),
                pans: None,
            }
        };
        key.judge()?;
        Ok(key)
    }

    fn judge(&self) -> Result<(), &'static str> {
        if *self.key == PUBLISHED_KEY {
            return Err("it is the key that Zigbee2MQTT before 1.33 gave to everybody");
        }
        if *self.key == ALLIANCE_KEY {
            return Err("it is the public link key of Zigbee");
        }
        if self.key.iter().all(|byte| *byte == self.key[0]) {
            return Err("all of its bytes are the same");
        }
        let Some((pan, extended)) = self.pans else {
            return Ok(());
        };
        if !(1..=0xfffe).contains(&pan) {
            return Err("its pan_id is none: 1 to 65534 are");
        }
        if extended == [0; 8] || extended == [0xff; 8] {
            return Err("its ext_pan_id is none: all zero and all 255 are reserved");
        }
        Ok(())
    }

    fn random(with_pans: bool) -> Result<Self, BridgeError> {
        loop {
            let pan = u16::from_be_bytes(*random::bytes::<2>()?);
            let key = Self {
                key: random::bytes()?,
                pans: with_pans
                    .then(|| random::bytes().map(|extended| (pan, *extended)))
                    .transpose()?,
            };
            // Reserved values come up once in a while; then once more.
            if key.judge().is_ok() {
                return Ok(key);
            }
        }
    }

    fn write(&self) -> Result<Secret, BridgeError> {
        let text = match self.pans {
            None => Zeroizing::new(list(self.key.as_ref())),
            Some((pan_id, ext_pan_id)) => {
                let network = Network {
                    network_key: *self.key,
                    pan_id,
                    ext_pan_id,
                };
                Zeroizing::new(serde_json::to_string(&network).unwrap_or_default())
            }
        };
        random::secret(&text)
    }
}

/// Numbers as Zigbee2MQTT's documentation writes them.
fn list(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

impl Zigbee2mqtt {
    pub(crate) fn new(settings: &str) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        if let Some(path) = &settings.devices_file
            && !path.is_absolute()
        {
            return Err(SettingsError::invalid(
                "devices_file",
                "is no absolute path",
            ));
        }
        Ok(Self { settings })
    }

    /// What a rotation costs, counted now.
    fn cost(&self) -> String {
        let counted = self.settings.devices_file.as_ref().map(count);
        let (devices, doubt) = match (counted, self.settings.devices) {
            (Some(Ok(devices)), _) => (Some(devices), ""),
            (Some(Err(_)), given) => (given, " (the file that lists them cannot be read)"),
            (None, given) => (given, ""),
        };
        match devices {
            Some(1) => format!("Re-pairing 1 device by hand{doubt}."),
            Some(devices) => format!("Re-pairing {devices} devices by hand, each of them{doubt}."),
            None => format!("Re-pairing every device of the network by hand{doubt}."),
        }
    }
}

/// The devices that one of Zigbee2MQTT's files lists, without the coordinator.
fn count(path: &PathBuf) -> std::io::Result<u64> {
    // A pipe of this name would be waited for, by everybody who asks what the bridge can do.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut text = String::new();
    let mut file = File::open(path)?.take(DEVICE_FILE_MAX_BYTES);
    file.read_to_string(&mut text)?;
    let yaml = path
        .extension()
        .is_some_and(|end| end == "yaml" || end == "yml");
    Ok(if yaml { listed(&text) } else { paired(&text) })
}

/// `database.db`: one JSON object a line; end devices and routers are what was paired.
fn paired(database: &str) -> u64 {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<std::borrow::Cow<'a, str>>,
    }
    let is_device = |line: &&str| {
        serde_json::from_str::<Line<'_>>(line)
            .ok()
            .and_then(|line| line.kind)
            .is_some_and(|kind| kind == "EndDevice" || kind == "Router")
    };
    database.lines().filter(is_device).count() as u64
}

/// `configuration.yaml` and `devices.yaml`: a device is a key of 64 bits in hexadecimal.
fn listed(yaml: &str) -> u64 {
    let is_device = |line: &&str| {
        let key = line.trim_start().trim_start_matches(['\'', '"']);
        let digits = key.strip_prefix("0x").unwrap_or_default();
        let end = digits.find(|c: char| !c.is_ascii_hexdigit());
        let rest = end.map_or("", |end| &digits[end..]);
        end == Some(16) && rest.trim_start_matches(['\'', '"']).starts_with(':')
    };
    yaml.lines().filter(is_device).count() as u64
}

impl Connector for Zigbee2mqtt {
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
                "Whether the network uses a key cannot be asked: only its shape is checked.".into(),
                "A new key is not put into Zigbee2MQTT automatically. Write it into secret.yaml and restart Zigbee2MQTT. On the command line: `hearthkey credential render`.".into(),
                "Old and new key cannot work side by side.".into(),
                "The old key ends when the network is started with the new one.".into(),
            ],
        }
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(async {
            match Key::read(&held.value) {
                Err(why) => Ok(Verified::Fails(why.into())),
                Ok(_) => Err(BridgeError::CannotDo {
                    what: "a Zigbee network cannot be asked whether it uses a key; the key has the right shape".into(),
                    instead: "See in Zigbee2MQTT whether the devices answer.".into(),
                }),
            }
        })
    }

    fn mint<'a>(&'a self, _: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async {
            progress.tell(&self.cost());
            Ok(Minted {
                value: Key::random(self.settings.pan_ids)?.write()?,
                remote_id: None,
                lifetime: None,
            })
        })
    }

    fn revoke<'a>(&'a self, _: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(async {
            Ok(Revoked::ByHand(
                "Start Zigbee2MQTT with the new key and pair every device again. A device that was forgotten keeps the \
                 old key, and so does anyone who recorded the network."
                    .into(),
            ))
        })
    }

    fn scopes<'a>(&'a self, _: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(async {
            Err(BridgeError::CannotDo {
                what: "a network key has no scopes to list".into(),
                instead: "Anyone who has it can read and control every device of the network."
                    .into(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_the_right_shape_and_is_written_as_zigbee2mqtt_writes_it() {
        let value = Key::random(false).unwrap().write().unwrap();
        let text = value.expose_text().unwrap();
        assert!(text.starts_with('[') && text.ends_with(']') && text.matches(", ").count() == 15);
    }

    #[test]
    fn a_new_network_brings_its_pan_ids_along() {
        let value = Key::random(true).unwrap().write().unwrap();
        let text = value.expose_text().unwrap();
        for name in ["\"network_key\":[", "\"pan_id\":", "\"ext_pan_id\":["] {
            assert!(text.contains(name), "{name}");
        }
    }

    #[test]
    fn a_recorded_key_is_told_by_its_shape_and_a_published_one_is_refused() {
        let fails = |text: &str| Key::read(&Secret::text(text).unwrap()).err();
        assert_eq!(
            fails("[7, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 11, 12, 14]"),
            None
        );
        assert_eq!(fails("000102030405060708090A0B0C0D0E0F"), None);
        for bad in [
            "GENERATE",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 256]",
            "[1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13]",
            "5a6967426565416c6c69616e63653039",
            "00000000000000000000000000000000",
            "{\"network_key\": [1], \"pan_id\": 1, \"ext_pan_id\": [1]}",
        ] {
            assert!(fails(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn devices_are_counted_in_each_of_the_files() {
        let database = "{\"id\":1,\"type\":\"Coordinator\"}\n{\"id\":2,\"type\":\"Router\"}\nbroken\n\
                        {\"id\":3,\"type\":\"EndDevice\"}\n{\"id\":4,\"type\":\"Group\"}\n";
        assert_eq!(paired(database), 2);
        let yaml = "devices:\n  '0x00158d0001e3b2f1':\n    friendly_name: '0x00158d0001e3b2f1'\n  \
                    \"0x00158d0001e3b2f2\":\n    friendly_name: lamp\n  0x00158d0001e3b2f3:\n  0x12: x\n";
        assert_eq!(listed(yaml), 3);
    }
}
