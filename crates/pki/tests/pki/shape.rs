//! The shape of a device's certificate: what this home writes, and nothing else, with any signer.

use hearthkey_pki::{ClientRefusal, SigningKey, read_csr};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, GeneralSubtree, IsCa, KeyPair,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SanType,
};

use crate::home::{Home, now, order};

/// Why a certificate is refused that differs in this from what the home writes, though its CA has signed it and the
/// home has it.
fn refused(change: impl FnOnce(&mut CertificateParams)) -> ClientRefusal {
    let home = Home::new();
    let der = home.forge(&SigningKey::generate().unwrap(), change);
    home.verifier().judge(&der).unwrap_err()
}

fn shape(why: &'static str) -> ClientRefusal {
    ClientRefusal::Shape(why)
}

fn extension(oid: &[u64], value: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, value.to_vec());
    extension.set_criticality(critical);
    extension
}

fn named(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, text) in parts {
        name.push(kind.clone(), *text);
    }
    name
}

#[test]
fn everything_that_the_home_issues_has_the_shape() {
    let home = Home::new();
    let longest = "d".repeat(63);
    for device in ["lamp", "a", &longest] {
        for algorithm in [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_RSA_SHA256,
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let csr = CertificateParams::default().serialize_request(&key);
            let proven = read_csr(csr.unwrap().pem().unwrap().as_bytes()).unwrap();
            let order = order(device, "home", proven, now());
            let issued = home.issuing.sign(order).unwrap();
            home.admit(&issued.der, issued.certificate.not_after);
            let judged = home.verifier().judge(&issued.der);
            assert!(judged.is_ok(), "{device}: {judged:?}");
        }
    }
}

#[test]
fn a_subject_is_one_common_name_that_is_a_devices() {
    let subject = |name| refused(|params| params.distinguished_name = name);
    assert_eq!(subject(named(&[])), shape("its subject is empty"));
    for more in [
        named(&[
            (DnType::CommonName, "lamp"),
            (DnType::OrganizationName, "ada"),
        ]),
        named(&[(DnType::OrganizationName, "lamp")]),
    ] {
        assert_eq!(subject(more), shape("its subject is not one common name"));
    }
    for name in ["", "Lamp of Ada", "lamp/#", "+"] {
        let refusal = subject(named(&[(DnType::CommonName, name)]));
        assert_eq!(refusal, shape("its subject names no device"), "{name:?}");
    }
}

#[test]
fn name_constraints_are_refused() {
    let constrained = refused(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("home.arpa".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    assert_eq!(constrained, shape("it has name constraints"));
    // permittedSubtrees { dNSName "a" }, in an extension that may be passed over.
    let value = [0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, b'a'];
    let lax = refused(|params| {
        let extension = extension(&[2, 5, 29, 30], &value, false);
        params.custom_extensions.push(extension);
    });
    assert_eq!(lax, shape("it has name constraints"));
}

#[test]
fn an_extension_is_critical_where_the_home_writes_it_so_and_nowhere_else() {
    let client_auth = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    let purpose = refused(|params| {
        params.extended_key_usages.clear();
        let critical = extension(&[2, 5, 29, 37], &client_auth, true);
        params.custom_extensions.push(critical);
    });
    let too_critical = shape("an extension is critical that this home does not mark critical");
    assert_eq!(purpose, too_critical);
    let usage = refused(|params| {
        params.key_usages.clear();
        let lax = extension(&[2, 5, 29, 15], &[3, 2, 7, 0x80], false);
        params.custom_extensions.push(lax);
    });
    let too_lax = shape("an extension is not critical that this home marks critical");
    assert_eq!(usage, too_lax);
}

#[test]
fn the_alternative_names_are_the_devices_one_name() {
    let dns = |name: &str| SanType::DnsName(name.to_owned().try_into().unwrap());
    let own = || dns("lamp.home.home.arpa");
    for names in [
        vec![dns("door.home.home.arpa")],
        vec![dns("lamp.lab.home.arpa")],
        vec![dns("*.home.home.arpa")],
        vec![own(), dns("gateway.home.arpa")],
        vec![own(), own()],
        vec![own(), SanType::IpAddress([192, 168, 1, 2].into())],
        vec![SanType::IpAddress([192, 168, 1, 2].into())],
        vec![SanType::URI("spiffe://home/lamp".try_into().unwrap())],
        vec![SanType::Rfc822Name("lamp@home.arpa".try_into().unwrap())],
    ] {
        let refusal = refused(|params| params.subject_alt_names = names);
        let expected = "its alternative names are not the device's one name";
        assert_eq!(refusal, shape(expected));
    }
    let none = refused(|params| params.subject_alt_names.clear());
    assert_eq!(none, shape("it has no alternative name"));
}

#[test]
fn what_the_home_never_leaves_out_must_be_there() {
    let silent = refused(|params| params.is_ca = IsCa::NoCa);
    assert_eq!(silent, shape("it does not name its own key"));
    let silent = refused(|params| {
        params.is_ca = IsCa::NoCa;
        let own_key = extension(&[2, 5, 29, 14], &[4, 2, 1, 2], false);
        params.custom_extensions.push(own_key);
    });
    assert_eq!(silent, shape("it does not say that it is no CA"));
    let silent = refused(|params| params.key_usages.clear());
    assert_eq!(silent, shape("it does not say what its key is for"));
}

#[test]
fn what_the_home_never_writes_must_not_be_there() {
    let strange = |critical| {
        refused(|params| {
            let strange = extension(&[1, 3, 6, 1, 4, 1, 9], &[5, 0], critical);
            params.custom_extensions.push(strange);
        })
    };
    assert_eq!(strange(true), ClientRefusal::CriticalExtension);
    let never = shape("it has an extension that this home never writes");
    assert_eq!(strange(false), never);
    let policies = refused(|params| {
        // anyPolicy
        let value = [0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0];
        let policies = extension(&[2, 5, 29, 32], &value, false);
        params.custom_extensions.push(policies);
    });
    assert_eq!(policies, never);
    let path_length = refused(|params| {
        params.is_ca = IsCa::NoCa;
        let value = [0x30, 3, 2, 1, 0];
        let own_key = extension(&[2, 5, 29, 14], &[4, 2, 1, 2], false);
        params.custom_extensions.push(own_key);
        let constraints = extension(&[2, 5, 29, 19], &value, true);
        params.custom_extensions.push(constraints);
    });
    let more = shape("its basic constraints say more than that it is no CA");
    assert_eq!(path_length, more);
}
