//! Certificates that this home's own CA has signed and that it would never issue: somebody has
//! had the CA's key in their hands. The listener judges their shape, and says whose name they bear.

use hearthkey_store::Store;
use hearthkey_store::slots::{Slots, key_file};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use sha2::{Digest, Sha256};

use crate::guest::{new_key, params, recorded};
use crate::rig::Rig;
use crate::wire::{Door, Identity, Refused};

const BAD_CERTIFICATE: Refused = Refused::Alert(42);
const UNSUPPORTED_CERTIFICATE: Refused = Refused::Alert(43);
const CERTIFICATE_UNKNOWN: Refused = Refused::Alert(46);

/// The issuing CA of `home`, certificate and key, as a thief has them who can open the vault.
fn stolen_ca(rig: &Rig) -> Issuer<'static, KeyPair> {
    let slots = Slots::read(&rig.data_dir).unwrap();
    let root = slots.unseal(&key_file(&rig.data_dir).unwrap()).unwrap();
    let store = Store::open(&rig.data_dir, root, slots.home())
        .unwrap()
        .store;
    let name = "issuing/home";
    let certificate = store.read(|registry| registry.authority(name)).unwrap();
    let key = store.secret("ca", name).unwrap().unwrap();
    store.close();
    let key = KeyPair::try_from(key.as_slice()).unwrap();
    let certificate = CertificateDer::from(certificate.unwrap().0);
    Issuer::from_ca_cert_der(&certificate, key).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.to_owned().try_into().unwrap())
}

fn forge(ca: &Issuer<'static, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let key = new_key();
    let mut leaf = params("lamp");
    leaf.serial_number = Some([[0x41; 8], [7; 8]].concat().into());
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    leaf.subject_alt_names = vec![dns("lamp.home.home.arpa")];
    leaf.use_authority_key_identifier_extension = true;
    change(&mut leaf);
    let der = leaf.signed_by(&key, ca).unwrap().der().clone();
    Identity {
        device: "lamp".into(),
        chain: vec![der],
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_own_ca_would_never_issue_does_not_open_the_door() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.stop().await;
    let ca = stolen_ca(&rig);
    rig.start().await;
    let door = Door::of(&rig).await;
    let right_shape = forge(&ca, |_| {});
    assert_eq!(
        door.device(&right_shape).await.unwrap_err(),
        CERTIFICATE_UNKNOWN,
        "only the registry refuses it"
    );
    let no_purpose = forge(&ca, |leaf| leaf.extended_key_usages.clear());
    let server = forge(&ca, |leaf| {
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let both = forge(&ca, |leaf| {
        leaf.extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    });
    for wrong in [no_purpose, server, both] {
        let refused = door.device(&wrong).await.unwrap_err();
        assert_eq!(refused, UNSUPPORTED_CERTIFICATE);
    }
    let small_ca = forge(&ca, |leaf| {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let refused = door.device(&small_ca).await.unwrap_err();
    assert_eq!(refused, BAD_CERTIFICATE);
    recorded_at_the_door(&rig, &small_ca).await;
}

/// The record of a refusal names the certificate.
async fn recorded_at_the_door(rig: &Rig, identity: &Identity) {
    let sha256 = Sha256::digest(&identity.chain[0]);
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let object = format!("certificate:{hex}");
    recorded(rig, "door.enter", "refused", &object, "certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_constraints_and_criticality_that_the_home_never_writes_are_refused_and_recorded() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.stop().await;
    let ca = stolen_ca(&rig);
    rig.start().await;
    let door = Door::of(&rig).await;
    let nameless = forge(&ca, |leaf| {
        leaf.distinguished_name = DistinguishedName::new()
    });
    let constrained = forge(&ca, |leaf| {
        leaf.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("home.arpa".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let critical = forge(&ca, |leaf| {
        leaf.extended_key_usages.clear();
        let client_auth = vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
        let mut purpose = CustomExtension::from_oid_content(&[2, 5, 29, 37], client_auth);
        purpose.set_criticality(true);
        leaf.custom_extensions.push(purpose);
    });
    let another = forge(&ca, |leaf| {
        leaf.subject_alt_names = vec![dns("door.home.home.arpa")];
    });
    let address = forge(&ca, |leaf| {
        let here = SanType::IpAddress([127, 0, 0, 1].into());
        leaf.subject_alt_names.push(here);
    });
    let none = forge(&ca, |leaf| leaf.subject_alt_names.clear());
    for odd in [nameless, constrained, critical, another, address, none] {
        assert_eq!(door.device(&odd).await.unwrap_err(), BAD_CERTIFICATE);
        recorded_at_the_door(&rig, &odd).await;
    }
}
