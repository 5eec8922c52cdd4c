//! Passkeys (WebAuthn): one relying party for each DNS name of the gateway.
//!
//! A passkey belongs to the name in the browser's address bar and to no other, and to no IP address:
//! a browser that uses an address is asked to use a name, or a password with a code.

use std::collections::HashMap;
use std::net::IpAddr;

use hearthkey_core::id::{PersonName, unhex};
use hearthkey_store::people::StoredPasskey;
use serde_json::Value;
use webauthn_rs::prelude::{
    CreationChallengeResponse, CredentialID, DiscoverableAuthentication, DiscoverableKey, Passkey,
    PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential,
    RequestChallengeResponse, Url, Uuid, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};
use webauthn_rs_proto::ResidentKeyRequirement;

/// Why there are no passkeys under a name.
pub(crate) const WHY_NONE: &str =
    "a passkey belongs to a DNS name, and this page was opened by an address or another name";

/// The relying parties, by their names.
pub(crate) struct Passkeys(HashMap<String, Webauthn>);

/// What a passkey has proven.
pub(crate) struct Shown {
    /// The person it names.
    pub(crate) person: String,
    /// Its credential id.
    pub(crate) id: Vec<u8>,
}

/// The host of an authority, without its port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn relying_party(name: &str, port: u16) -> Option<Webauthn> {
    let origin = Url::parse(&format!("https://{name}:{port}")).ok()?;
    let builder = WebauthnBuilder::new(name, &origin).ok()?;
    builder.rp_name("Hearthkey").build().ok()
}

impl Passkeys {
    /// The relying parties of a gateway that is reached by these names at this port.
    pub(crate) fn new(hosts: &[String], port: Option<u16>) -> Self {
        let Some(port) = port else {
            return Self(HashMap::new());
        };
        let mut names: Vec<String> = hosts.iter().map(|host| host.to_lowercase()).collect();
        names.push("localhost".into());
        names.retain(|name| name.parse::<IpAddr>().is_err());
        let parties = names.into_iter().filter_map(|name| {
            let party = relying_party(&name, port)?;
            Some((name, party))
        });
        Self(parties.collect())
    }

    /// The relying party by whose name the gateway was asked.
    pub(crate) fn under(&self, authority: &str) -> Option<&Webauthn> {
        self.0.get(&host(authority).to_lowercase())
    }
}

/// A person's id as a passkey names it.
fn handle(person: &str) -> Option<Uuid> {
    unhex(person).map(Uuid::from_bytes)
}

fn json(value: &impl serde::Serialize) -> Option<Value> {
    serde_json::to_value(value).ok()
}

/// Begins to make a passkey. It is kept by the authenticator, so that its person need not be named to log in.
pub(crate) fn begin_registration(
    party: &Webauthn,
    person: &str,
    name: &PersonName,
    known: &[StoredPasskey],
) -> Option<(Value, PasskeyRegistration)> {
    let known: Vec<CredentialID> = known.iter().map(|key| key.id.clone()).collect();
    let (mut options, state): (CreationChallengeResponse, _) = party
        .start_passkey_registration(handle(person)?, name.as_str(), name.as_str(), Some(known))
        .ok()?;
    if let Some(selection) = options.public_key.authenticator_selection.as_mut() {
        selection.resident_key = Some(ResidentKeyRequirement::Required);
        selection.require_resident_key = true;
    }
    Some((json(&options)?, state))
}

/// Finishes making a passkey: its credential id, and what is kept of it.
pub(crate) fn finish_registration(
    party: &Webauthn,
    answer: Value,
    state: &PasskeyRegistration,
) -> Result<(Vec<u8>, String), String> {
    let answer: RegisterPublicKeyCredential =
        serde_json::from_value(answer).map_err(|error| error.to_string())?;
    let passkey = party
        .finish_passkey_registration(&answer, state)
        .map_err(|error| error.to_string())?;
    let data = serde_json::to_string(&passkey).map_err(|error| error.to_string())?;
    Ok((passkey.cred_id().to_vec(), data))
}

/// Begins a login by whichever passkey the browser has for this name.
pub(crate) fn begin_login(party: &Webauthn) -> Option<(Value, DiscoverableAuthentication)> {
    let (mut options, state): (RequestChallengeResponse, _) =
        party.start_discoverable_authentication().ok()?;
    options.mediation = None;
    Some((json(&options)?, state))
}

/// Reads whom an answer names, without believing it.
pub(crate) fn named(
    party: &Webauthn,
    answer: &Value,
) -> Result<(Shown, PublicKeyCredential), String> {
    let answer: PublicKeyCredential =
        serde_json::from_value(answer.clone()).map_err(|error| error.to_string())?;
    let (person, id) = party
        .identify_discoverable_authentication(&answer)
        .map_err(|error| error.to_string())?;
    let shown = Shown {
        person: hearthkey_core::id::hex(person.as_bytes()),
        id: id.to_vec(),
    };
    Ok((shown, answer))
}

/// Judges an answer to a login by the passkey that it names: what is kept of it from now on.
pub(crate) fn finish_login(
    party: &Webauthn,
    answer: &PublicKeyCredential,
    state: DiscoverableAuthentication,
    kept: &str,
) -> Result<String, String> {
    let mut passkey: Passkey = serde_json::from_str(kept).map_err(|error| error.to_string())?;
    let key = DiscoverableKey::from(&passkey);
    let result = party
        .finish_discoverable_authentication_v2(answer, state, key)
        .map_err(|error: WebauthnError| error.to_string())?;
    passkey.update_credential(&result);
    serde_json::to_string(&passkey).map_err(|error| error.to_string())
}

/// Begins to show one of these passkeys again.
pub(crate) fn begin_step_up(
    party: &Webauthn,
    known: &[StoredPasskey],
) -> Option<(Value, PasskeyAuthentication)> {
    let known: Vec<Passkey> = known
        .iter()
        .filter_map(|key| serde_json::from_str(&key.data).ok())
        .collect();
    // Without one there is nothing to show: a code is asked for.
    if known.is_empty() {
        return None;
    }
    let (options, state) = party.start_passkey_authentication(&known).ok()?;
    Some((json(&options)?, state))
}

/// Judges an answer by which a passkey was shown again: its id, and what is kept of it from now on.
pub(crate) fn finish_step_up(
    party: &Webauthn,
    answer: Value,
    state: &PasskeyAuthentication,
    known: &[StoredPasskey],
) -> Result<(Vec<u8>, String), String> {
    let answer: PublicKeyCredential =
        serde_json::from_value(answer).map_err(|error| error.to_string())?;
    let result = party
        .finish_passkey_authentication(&answer, state)
        .map_err(|error| error.to_string())?;
    let id = result.cred_id().to_vec();
    let kept = known.iter().find(|key| key.id == id);
    let kept = kept.ok_or("the passkey has been taken away")?;
    let mut passkey: Passkey =
        serde_json::from_str(&kept.data).map_err(|error| error.to_string())?;
    passkey.update_credential(&result);
    let data = serde_json::to_string(&passkey).map_err(|error| error.to_string())?;
    Ok((id, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_belongs_to_a_name_and_to_no_address() {
        let hosts = ["Gateway.home.arpa", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
        let passkeys = Passkeys::new(&hosts, Some(8443));
        for (authority, has) in [
            ("gateway.home.arpa:8443", true),
            ("GATEWAY.home.arpa", true),
            ("localhost:8443", true),
            ("192.0.2.7:8443", false),
            ("[2001:db8::7]:8443", false),
            ("evil.example", false),
        ] {
            assert_eq!(passkeys.under(authority).is_some(), has, "{authority}");
        }
        assert!(Passkeys::new(&hosts, None).under("localhost").is_none());
    }

    #[test]
    fn what_is_asked_for_is_a_passkey_that_names_its_person_and_verifies_them() {
        let passkeys = Passkeys::new(&["gateway.home.arpa".into()], Some(8443));
        let party = passkeys.under("gateway.home.arpa").unwrap();
        let person = "00112233445566778899aabbccddeeff";
        let (options, _) =
            begin_registration(party, person, &"anna".parse().unwrap(), &[]).unwrap();
        let selection = &options["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["userVerification"], "required");
        assert_eq!(options["publicKey"]["rp"]["id"], "gateway.home.arpa");
        let (options, _) = begin_login(party).unwrap();
        assert_eq!(options["publicKey"]["userVerification"], "required");
        assert!(
            options["publicKey"]["allowCredentials"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert!(options.get("mediation").is_none());
    }
}
