//! Values that the gateway makes itself, each in the shape of its kind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_bridges::{BridgeKind, MintOrder, Progress, connect};
use hearthkey_core::credential::Kind;
use hearthkey_core::secret::Secret;
use hearthkey_store::keys::random;
use zeroize::Zeroizing;

use crate::state::failure::Failure;

/// Characters of a password: 190 bits.
const PASSWORD_CHARS: usize = 32;

/// Whether the gateway can make a value of this kind.
pub(crate) fn can_make(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Password
            | Kind::ApiKey
            | Kind::EncryptionKey
            | Kind::WifiKey
            | Kind::ZigbeeKey
            | Kind::Other
    )
}

/// Makes a value.
pub(crate) async fn make(kind: Kind) -> Result<Secret, Failure> {
    let text = match kind {
        Kind::Password | Kind::ApiKey | Kind::Other => password(),
        // What ESPHome and most others take: 32 bytes in base64.
        Kind::EncryptionKey => Zeroizing::new(STANDARD.encode(random::<32>().as_slice())),
        Kind::WifiKey => return shaped(BridgeKind::Wifi).await,
        Kind::ZigbeeKey => return shaped(BridgeKind::Zigbee2mqtt).await,
        _ => {
            return Err(Failure::refused(
                &format!(
                    "the gateway cannot create a value of the kind {kind}: only its issuer can"
                ),
                "Have it issued, and enter its value. On the command line: `--from-file FILE` or `-`.",
            )
            .titled("Only its issuer can create this value."));
        }
    };
    Secret::text(&text).map_err(|error| Failure::internal(&error))
}

/// Letters and digits only, so that it is in any file, URL and shell; each with equal chance.
fn password() -> Zeroizing<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_CHARS));
    while text.len() < PASSWORD_CHARS {
        for byte in random::<64>().iter() {
            // 248 is the greatest multiple of 62 in a byte: the rest would prefer some.
            if *byte < 248 && text.len() < PASSWORD_CHARS {
                text.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
            }
        }
    }
    text
}

/// A value whose shape its connector supports, and which needs no system to be asked.
async fn shaped(kind: BridgeKind) -> Result<Secret, Failure> {
    let connector = connect(kind, "{}", None)?;
    let order = MintOrder {
        label: String::new(),
        lifetime: None,
        scopes: Vec::new(),
        replaces: None,
    };
    let minted = connector.mint(&order, &Progress::ignored()).await;
    minted
        .map(|minted| minted.value)
        .map_err(|error| Failure::bridge(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_plain_and_never_the_same() {
        let (one, other) = (password(), password());
        assert_eq!(one.len(), PASSWORD_CHARS);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(*one, *other);
    }
}
