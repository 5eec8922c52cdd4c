use super::*;
use crate::right::Narrowing;

#[test]
fn a_text_that_is_no_profile_is_refused_in_one_line_that_names_the_place() {
    let refused = Profile::parse("name = \"a\"\nlight = 1\n").unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("line 2: unknown field `light`"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn the_right_that_lets_a_message_through_is_counted_and_a_narrowed_one_is_gone() {
    let profile = built_in()
        .unwrap()
        .into_iter()
        .find(|p| p.name.as_str() == "generic");
    let (lamp, home) = ("lamp".parse().unwrap(), "home".parse().unwrap());
    let rights = profile.unwrap().rights(&lamp, &home);
    assert!(rights.may_publish("devices/lamp/state"));
    assert!(rights.may_publish("devices/lamp/state"));
    assert!(!rights.may_publish("devices/door/open"));
    let uses = rights.take_uses();
    assert_eq!(uses.len(), 1);
    assert_eq!(uses[0].1, 2);
    assert!(rights.take_uses().is_empty());
    let none = Narrowing::default();
    let left = rights.narrowed(&none);
    assert!(!left.may_publish("devices/lamp/state"));
    assert!(left.may_publish("hearthkey/v1/devices/lamp/renew"));
}

fn minimal(topics: &str) -> String {
    format!(
        "name = \"p\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\n\
         keys = [\"p256\"]\n{topics}"
    )
}

fn with_publish(topic: &str) -> Result<Profile, InvalidProfile> {
    Profile::parse(&minimal(&format!(
        "[[publish]]\ntopic = {topic:?}\nreason = \"r\"\n"
    )))
}

#[test]
fn the_built_in_profiles_are_valid_and_every_topic_says_why() {
    let profiles = built_in().unwrap();
    assert_eq!(profiles.len(), 6);
    for profile in profiles {
        for rule in profile.publish.iter().chain(&profile.subscribe) {
            assert!(
                !rule.reason.trim().is_empty() && !rule.reason.contains('\n'),
                "{rule:?}"
            );
        }
    }
}

#[test]
fn no_profile_can_give_away_the_gateways_own_topics() {
    for topic in [
        "#",
        "hearthkey/v1/trust/bundle",
        "hearthkey/#",
        "$SYS/#",
        "/a",
    ] {
        assert!(
            matches!(with_publish(topic), Err(InvalidProfile::Reserved(_))),
            "{topic}"
        );
    }
    assert!(with_publish("devices/{device}/#").is_ok());
    let wide = with_publish("+/+/+/+/#").unwrap();
    let rights = wide.rights(&"hub".parse().unwrap(), &"home".parse().unwrap());
    assert!(rights.may_publish("a/b/c/d/e"));
    assert!(!rights.may_publish("hearthkey/v1/devices/lamp/notice"));
    let subscribe = minimal("[[subscribe]]\ntopic = \"+/v1/#\"\nreason = \"r\"\n");
    assert!(matches!(
        Profile::parse(&subscribe),
        Err(InvalidProfile::Reserved(_))
    ));
}

#[test]
fn a_profile_out_of_bounds_is_refused_with_the_bound() {
    let long = minimal("").replace(
        "certificate_lifetime_days = 30",
        "certificate_lifetime_days = 399",
    );
    assert!(
        Profile::parse(&long)
            .unwrap_err()
            .to_string()
            .contains("1 to 398")
    );
    assert!(Profile::parse(&minimal("surprise = 1\n")).is_err());
}

#[test]
fn a_device_reads_trust_and_its_own_topics_but_never_publishes_notices() {
    let device: DeviceId = "lamp".parse().unwrap();
    let rights = with_publish("devices/{device}/#")
        .unwrap()
        .rights(&device, &"home".parse().unwrap());
    assert!(rights.may_publish("devices/lamp/state"));
    assert!(rights.may_publish("hearthkey/v1/devices/lamp/renew"));
    assert!(rights.may_subscribe("hearthkey/v1/trust/#"));
    assert!(rights.may_subscribe("$share/g/hearthkey/v1/devices/lamp/notice"));
    for topic in [
        "devices/other/state",
        "hearthkey/v1/devices/lamp/notice",
        "hearthkey/v1/devices/lamp/renew/accepted",
        "hearthkey/v1/trust/bundle",
        "$SYS/broker",
        "devices/+",
    ] {
        assert!(!rights.may_publish(topic), "{topic}");
    }
    for filter in [
        "#",
        "+",
        "+/#",
        "$SYS/#",
        "$share/g/#",
        "hearthkey/#",
        "devices/#",
        "devices/lamp/#",
    ] {
        assert!(!rights.may_subscribe(filter), "{filter}");
    }
}

#[test]
fn a_rule_reaches_nothing_of_the_gateways_by_a_name_that_stands_in_it() {
    let text = "name = \"second\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\n\
                keys = [\"p256\"]\n[[publish]]\ntopic = \"hear{device}/#\"\nreason = \"r\"\n\
                [[subscribe]]\ntopic = \"+/{device}/#\"\nreason = \"r\"\n\
                [[subscribe]]\ntopic = \"+/{environment}/#\"\nreason = \"r\"\n";
    let profile = Profile::parse(text).unwrap();
    for (device, environment, reaches) in [
        ("lamp", "home", false),
        ("v1", "home", true),
        ("thkey", "home", true),
        ("lamp", "v1", true),
    ] {
        let (device, environment) = (device.parse().unwrap(), environment.parse().unwrap());
        assert_eq!(profile.reaches_ours(&device, &environment), reaches);
        let rights = profile.rights(&device, &environment);
        for topic in ["+/v1/#", "hearthkey/v1/devices/other/notice"] {
            assert!(!rights.may_subscribe(topic), "{device} {topic}");
        }
    }
}

#[test]
fn availability_is_a_topic_that_the_profile_grants_and_room_has_bounds() {
    let publish = "[[publish]]\ntopic = \"tele/{device}/#\"\nreason = \"r\"\n";
    let with = |topic: &str, more: &str| {
        Profile::parse(&minimal(&format!(
            "{publish}[availability]\ntopic = {topic:?}\noffline = \"Offline\"\n{more}"
        )))
    };
    let profile = with("tele/{device}/LWT", "").unwrap();
    let (lamp, home) = ("lamp".parse().unwrap(), "home".parse().unwrap());
    let topic = profile.availability_of(&lamp, &home).unwrap().topic;
    assert_eq!(topic, "tele/lamp/LWT");
    for wrong in ["tele/other/LWT", "stat/{device}/LWT", "tele/{device}/+", ""] {
        assert!(with(wrong, "").is_err(), "{wrong}");
    }
    let small = with("tele/{device}/LWT", "[room]\npacket_max_bytes = 1\n").unwrap_err();
    assert!(small.to_string().contains("1 KiB to 32 MiB"), "{small}");
}

#[test]
fn a_kept_profile_that_asks_for_more_than_a_home_has_gets_what_it_has_and_that_is_said() {
    let text = minimal("[room]\npacket_max_bytes = 268435456\n");
    assert!(Profile::parse(&text).is_err());
    let (profile, told) = Profile::parse_kept(&text).unwrap();
    assert_eq!(profile.room.packet_max_bytes, Some(32 << 20));
    assert!(told.unwrap().to_string().contains("268435456"));
    let (_, nothing) = Profile::parse_kept(&minimal("")).unwrap();
    assert_eq!(nothing, None);
    assert!(Profile::parse_kept("name = 1").is_err());
}

#[test]
fn a_profile_may_ask_for_an_rsa_certificate_of_the_gateway_and_for_no_other() {
    let asks = |line: &str| Profile::parse(&minimal(line));
    assert!(!asks("").unwrap().needs_rsa_server());
    assert!(!asks("server_key = \"p256\"\n").unwrap().needs_rsa_server());
    let rsa = asks("server_key = \"rsa2048\"\n").unwrap();
    assert!(rsa.needs_rsa_server());
    assert_eq!(
        asks("server_key = \"p384\"\n").unwrap_err(),
        InvalidProfile::ServerKey("p384")
    );
    assert!(matches!(
        asks("server_key = \"rsa4096\"\n"),
        Err(InvalidProfile::Toml(_))
    ));
    for profile in built_in().unwrap() {
        assert!(!profile.needs_rsa_server(), "{}", profile.name);
    }
}
