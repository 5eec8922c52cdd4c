//! Configurations are read; what is secret in them is found, and what is not stays with a reason.

use std::path::Path;

use hearthkey_discovery::import::{self, KINDS, ReadError, Reading, Recognized, Source};

fn read(source: Source, file: &str, text: &str) -> Reading {
    let reading = import::read(source, file, text.as_bytes()).unwrap();
    for found in &reading.found {
        assert!(KINDS.contains(&found.kind), "{}", found.kind);
    }
    reading
}

/// Name, kind, value and line of everything found.
fn found(reading: &Reading) -> Vec<(&str, &str, &str, u32)> {
    let each = reading.found.iter();
    each.map(|found| {
        (
            found.suggested.as_str(),
            found.kind,
            found.value.expose_text().unwrap(),
            found.line,
        )
    })
    .collect()
}

fn left(reading: &Reading) -> Vec<(&str, u32)> {
    reading
        .left
        .iter()
        .map(|left| (left.what.as_str(), left.line))
        .collect()
}

#[test]
fn of_secrets_yaml_everything_is_found_but_what_plainly_is_no_secret() {
    let reading = read(
        Source::HomeAssistantSecrets,
        "secrets.yaml",
        "# the home\nwifi_password: \"correct: horse\"\nhue_key: abcDEF123\nlatitude: 52.52\nmqtt_host: 192.168.1.4\n\
         todo: CHANGEME\nalarm_code: 0471\nodd: some thing\nempty:\nother: !secret wifi_password\n",
    );
    assert_eq!(
        found(&reading),
        [
            (
                "home-assistant/wifi-password",
                "wifi-key",
                "correct: horse",
                2
            ),
            ("home-assistant/hue-key", "api-key", "abcDEF123", 3),
            ("home-assistant/alarm-code", "password", "0471", 7),
            ("home-assistant/odd", "other", "some thing", 8),
        ]
    );
    assert_eq!(
        left(&reading),
        [
            ("latitude", 4),
            ("mqtt_host", 5),
            ("todo", 6),
            ("empty", 9),
            ("other", 10)
        ]
    );
}

#[test]
fn of_a_dotenv_file_what_is_named_like_a_secret_or_looks_like_one_is_found() {
    let reading = read(
        Source::Dotenv,
        ".env",
        "# cloud\nexport HUE_API_KEY=abc123 # the attic\nMQTT_PASSWORD='a $b # c'\nTLS_KEY=\"one\\ntwo\nthree\"\n\
         PORT=1883\nDB=postgres://ha:s3cr3tpw@db/ha\nGREETING=hello\nTOKEN=${HA_TOKEN}\nQ=q8Zr2mT0vX4kLp7Yc1Wd9\nnothing\n",
    );
    assert_eq!(
        found(&reading),
        [
            ("hue/api-key", "api-key", "abc123", 2),
            ("mqtt/password", "password", "a $b # c", 3),
            ("tls/key", "api-key", "one\ntwo\nthree", 4),
            ("env/db", "other", "postgres://ha:s3cr3tpw@db/ha", 7),
            ("env/q", "other", "q8Zr2mT0vX4kLp7Yc1Wd9", 10),
        ]
    );
    assert_eq!(
        left(&reading),
        [
            ("PORT", 6),
            ("GREETING", 8),
            ("TOKEN", 9),
            ("a line without =", 11)
        ]
    );
}

#[test]
fn of_zigbee2mqtt_the_network_key_is_found_as_32_hexadecimal_digits() {
    let reading = read(
        Source::Zigbee2mqtt,
        "configuration.yaml",
        "mqtt:\n  base_topic: zigbee2mqtt\n  server: mqtt://localhost\n  user: z2m\n  password: hunter22\n\
         serial:\n  port: /dev/ttyUSB0\nadvanced:\n  pan_id: 6754\n  network_key: [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 0x0C, 13]\n\
         frontend:\n  port: 8080\n  auth_token: t0psecret\ndevices:\n  '0x00158d0001a2b3c4':\n    friendly_name: lamp\n",
    );
    assert_eq!(
        found(&reading),
        [
            (
                "zigbee2mqtt/network-key",
                "zigbee-key",
                "01030507090b0d0f00020406080a0c0d",
                10
            ),
            ("zigbee2mqtt/mqtt-password", "password", "hunter22", 5),
            (
                "zigbee2mqtt/frontend-auth-token",
                "api-token",
                "t0psecret",
                13
            ),
        ]
    );
    assert!(
        !left(&reading)
            .iter()
            .any(|(what, _)| what.contains("devices"))
    );
    assert!(left(&reading).iter().any(|(what, _)| *what == "mqtt.user"));
    for text in ["GENERATE", "'!secret.yaml network_key'"] {
        let reading = read(
            Source::Zigbee2mqtt,
            "c.yaml",
            &format!("advanced:\n  network_key: {text}\n"),
        );
        assert_eq!(
            (reading.found.len(), left(&reading)),
            (0, vec![("advanced.network_key", 2)]),
            "{text}"
        );
    }
}

#[test]
fn of_esphome_keys_and_passwords_are_found_and_references_are_left() {
    let reading = read(
        Source::Esphome,
        "kitchen.yaml",
        "esphome:\n  name: kitchen\nwifi:\n  ssid: !secret wifi_ssid\n  password: !secret wifi_password\n  networks:\n\
         \x20   - ssid: a\n      password: firstpass\n    - ssid: b\n      password: secondpass\n  ap:\n    password: fallback1\n\
         api:\n  encryption:\n    key: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='\nota:\n  - platform: esphome\n    password: 0a1b2c\n\
         sensor:\n  - platform: template\n    lambda: !lambda |-\n      return 1;\n",
    );
    assert_eq!(
        found(&reading),
        [
            (
                "esphome/kitchen-wifi-password-0",
                "wifi-key",
                "firstpass",
                8
            ),
            (
                "esphome/kitchen-wifi-password-1",
                "wifi-key",
                "secondpass",
                10
            ),
            (
                "esphome/kitchen-wifi-ap-password",
                "wifi-key",
                "fallback1",
                12
            ),
            (
                "esphome/kitchen-api-encryption-key",
                "encryption-key",
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                15
            ),
            ("esphome/kitchen-ota-password-0", "password", "0a1b2c", 18),
        ]
    );
    let reference = reading
        .left
        .iter()
        .find(|left| left.what == "wifi.password")
        .unwrap();
    assert_eq!(reference.why, "it refers to secrets.yaml: import that file");
}

#[test]
fn a_network_key_of_zha_is_one_secret() {
    let numbers: Vec<String> = (1..17).map(|n| n.to_string()).collect();
    let text = format!(
        "zha:\n  zigpy_config:\n    network:\n      key: [{}]\n      pan_id: 0x1234\n",
        numbers.join(", ")
    );
    let reading = read(Source::HomeAssistant, "configuration.yaml", &text);
    let key = "0102030405060708090a0b0c0d0e0f10";
    assert_eq!(
        found(&reading),
        [("home-assistant/network-key", "zigbee-key", key, 4)]
    );
}

#[test]
fn of_esphome_a_keypad_has_no_secrets_and_a_transport_has() {
    let reading = read(
        Source::Esphome,
        "node.yaml",
        "matrix_keypad:\n  keys: \"123A456B789C*0#D\"\nkey_collector:\n  - allowed_keys: \"0123456789\"\n\
         packet_transport:\n  - platform: udp\n    encryption: \"Over-the-4ir\"\n",
    );
    let name = "esphome/node-packet-transport-encryption-0";
    assert_eq!(
        found(&reading),
        [(name, "encryption-key", "Over-the-4ir", 7)]
    );
    assert!(reading.left.is_empty());
}

#[test]
fn a_hash_in_a_password_file_is_recorded_and_never_taken_for_a_value() {
    let reading = read(
        Source::MosquittoPasswords,
        "passwd",
        "# users\nlamp:$7$101$c2FsdA==$aGFzaA==\nold:$6$c2FsdA==$aGFzaA==\nplain:hunter2\n",
    );
    assert_eq!(
        found(&reading),
        [("mosquitto/plain-password", "password", "hunter2", 4)]
    );
    assert_eq!(left(&reading), [("user lamp", 2), ("user old", 3)]);
    assert!(
        reading.left[0].why.contains("PBKDF2-SHA512"),
        "{}",
        reading.left[0].why
    );
    assert!(!reading.left[0].why.contains("aGFz"));
}

#[test]
fn of_a_table_every_column_is_kept_and_names_stay_unique() {
    let reading = read(
        Source::Csv,
        "keys.csv",
        "Name,value,kind,owner,purpose,tier\nhue/api_key,\"a,\"\"b\"\"\",api-key,anna,lights,high\n\
         hue/api_key,second,,,,\nWeird Name,\"two\nlines\",password,,,\nx/y,v1,magic,,,\nz/z,CHANGEME,,,,\n,v2,,,,\n",
    );
    assert_eq!(
        found(&reading),
        [
            ("hue/api_key", "api-key", "a,\"b\"", 2),
            ("hue/api-key", "other", "second", 3),
            ("imported/weird-name", "password", "two\nlines", 4),
        ]
    );
    let first = &reading.found[0];
    assert_eq!(
        (
            first.owner.as_deref(),
            first.purpose.as_deref(),
            first.tier.as_deref()
        ),
        (Some("anna"), Some("lights"), Some("high"))
    );
    assert_eq!(
        left(&reading),
        [("x/y", 6), ("z/z", 7), ("a row without a name", 8)]
    );
}

#[test]
fn no_error_and_no_reason_quotes_a_value() {
    let canary = "kanarienvogel7";
    let broken = [
        (
            Source::HomeAssistantSecrets,
            format!("a: {canary}\n b: [\"{canary}\n"),
        ),
        (
            Source::Esphome,
            format!("wifi: {{password: {canary}\n*{canary}"),
        ),
        (Source::Dotenv, format!("A=\"{canary}\nB=1\n")),
        (Source::Dotenv, format!("{canary} {canary}=x\n")),
        (Source::MosquittoPasswords, format!("{canary}\n")),
        (Source::Csv, format!("name,value\na,{canary},{canary}\n")),
        (Source::Csv, format!("name,{canary}\na,b\n")),
    ];
    for (source, text) in broken {
        let error = import::read(source, "f", text.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains(canary), "{error}");
        assert!(!format!("{error:?}").contains(canary), "{error:?}");
    }
    let pasted = "q8Zr2mT0vX4kLp7Yc1Wd9sB3nH6jK5fG";
    let reading = read(
        Source::Dotenv,
        ".env",
        &format!("KEY=-----BEGIN\n{pasted}==\n"),
    );
    assert!(!format!("{reading:?}").contains(pasted), "{reading:?}");
    let reading = read(
        Source::Dotenv,
        ".env",
        &format!("PASSWORD={canary}\nGREETING={canary}\n"),
    );
    assert!(!format!("{reading:?}").contains(canary), "{reading:?}");
}

#[test]
fn a_bomb_of_aliases_or_of_depth_is_refused_or_stays_small() {
    let mut aliases = String::from("a0: &a0 [lol, lol]\n");
    for n in 1..200 {
        aliases.push_str(&format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
    }
    let reading = read(Source::HomeAssistantSecrets, "secrets.yaml", &aliases);
    assert!(reading.found.len() + reading.left.len() < 1000);
    let mut block = String::new();
    for depth in 0..600 {
        block.push_str(&" ".repeat(depth));
        block.push_str("a:\n");
    }
    for bomb in [
        "[".repeat(500_000),
        "{a: ".repeat(200_000),
        block,
        "- ".repeat(400_000),
        "? ".repeat(400_000),
    ] {
        let error = import::read(Source::Esphome, "x.yaml", bomb.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
    }
}

#[test]
fn what_is_too_much_is_refused_with_what_to_do() {
    let large = vec![b'#'; import::FILE_MAX_BYTES + 1];
    let error = import::read(Source::Dotenv, "big", &large).unwrap_err();
    assert_eq!(
        error.to_string(),
        "big has 1048577 bytes; at most 1048576 are read: split it, or choose another file"
    );
    let many: String = (0..=import::ENTRIES_MAX)
        .map(|n| format!("k{n}: v{n}\n"))
        .collect();
    let error = import::read(
        Source::HomeAssistantSecrets,
        "secrets.yaml",
        many.as_bytes(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "secrets.yaml has more than 1000 entries: split it into smaller files"
    );
    let error = import::read(Source::Csv, "t.csv", b"name,value\na,\xff\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv, line 2: not UTF-8: save the file as UTF-8 and try again"
    );
}

#[test]
fn a_file_is_recognized_by_its_name_and_beginning_or_not_at_all() {
    for (path, head, source) in [
        (
            "config/secrets.yaml",
            "",
            Recognized::One(Source::HomeAssistantSecrets),
        ),
        (".env", "", Recognized::One(Source::Dotenv)),
        (".env.local", "", Recognized::One(Source::Dotenv)),
        ("prod.env", "", Recognized::One(Source::Dotenv)),
        (
            "configuration.yaml",
            "mqtt:\n  server: x\nserial:\n",
            Recognized::One(Source::Zigbee2mqtt),
        ),
        (
            "configuration.yaml",
            "homeassistant:\n",
            Recognized::Unknown,
        ),
        (
            "kitchen.yaml",
            "esphome:\n  name: k\n",
            Recognized::One(Source::Esphome),
        ),
        (
            "passwd",
            "lamp:$7$101$a$b\n",
            Recognized::One(Source::MosquittoPasswords),
        ),
        ("keys.csv", "name,value\n", Recognized::One(Source::Csv)),
        ("keys.csv", "a,b\n", Recognized::Unknown),
        ("README", "hello: world", Recognized::Unknown),
    ] {
        assert_eq!(
            import::recognize(Path::new(path), head.as_bytes()),
            source,
            "{path}"
        );
    }
    assert_eq!("esphome".parse(), Ok(Source::Esphome));
    assert!("magic".parse::<Source>().is_err());
}

#[test]
fn of_a_compose_file_commands_in_lists_and_build_arguments_are_read_as_well() {
    let reading = read(
        Source::Compose,
        "compose.yaml",
        "services:\n  a:\n    image: x\n    command: [\"redis-server\", \"--requirepass\", \"geheim13\"]\n\
         \x20 b:\n    image: x\n    command:\n      - curl\n      - -u\n      - anna:geheim14\n\
         \x20 c:\n    build:\n      args:\n        - NPM_TOKEN=hunter24x\n\
         \x20 d:\n    image: x\n    command: [\"--password\", \"${PW}\"]\n    environment:\n      PIN_PASSWORD: 00123\n",
    );
    let values: Vec<(&str, u32)> = reading
        .found
        .iter()
        .map(|found| (found.value.expose_text().unwrap(), found.line))
        .collect();
    assert_eq!(
        values,
        [
            ("geheim13", 4),
            ("anna:geheim14", 10),
            ("hunter24x", 14),
            ("00123", 19)
        ]
    );
    assert!(reading.found[3].note.is_some());
    assert_eq!(left(&reading), [("d.password", 17)]);
}
