//! Secrets move from files into the vault: once, again, and changed; and what is written back can be read again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::rig::{Rig, json};
use crate::vault::{added, home, refused, told};

fn written(rig: &Rig, name: &str, bytes: &[u8]) -> String {
    let path = rig.work.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn import<'a>(path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut import = vec!["credential", "import", path, "--env", "home"];
    import.extend(["--owner", "anna", "--purpose", "the lights"]);
    import.extend(more);
    import
}

/// Name and outcome of every entry.
fn outcomes(imported: &Value) -> Vec<(String, String)> {
    let entries = imported["entries"].as_array().unwrap().iter();
    let text = |entry: &Value, of: &str| entry[of].as_str().unwrap().to_owned();
    entries
        .map(|entry| (text(entry, "name"), text(entry, "outcome")))
        .collect()
}

fn is(outcome: &str, names: &[&str]) -> Vec<(String, String)> {
    let each = names.iter();
    each.map(|name| ((*name).to_owned(), outcome.to_owned()))
        .collect()
}

async fn findings(rig: &Rig) -> usize {
    let findings = crate::posture::of_inventory(rig).await;
    findings.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_a_file_again_is_quiet_and_another_value_is_an_offer() {
    let rig = home().await;
    let file = "SMTP_PASSWORD=mailpass123\nHUE_API_KEY=k7QzPp12345\nALARM_PIN=4711\n";
    let path = written(&rig, "a.env", file.as_bytes());
    let names = ["smtp/password", "hue/api-key", "alarm/pin"];
    let rename = ["--rename", "hue/api-key=hue/renamed", "--take"];
    let first = told(&rig, &import(&path, &rename)).await;
    let taken = ["smtp/password", "hue/renamed", "alarm/pin"];
    assert_eq!(outcomes(&first), is("taken", &taken));

    for more in [&[][..], &["--take"]] {
        let again = told(&rig, &import(&path, more)).await;
        assert_eq!(outcomes(&again), is("already_here", &names), "{again}");
        assert_eq!(again["compared"], true);
    }
    assert_eq!(findings(&rig).await, 0);

    // A value that has changed since, of eight bytes and more and of fewer.
    fs::write(
        &path,
        file.replace("123\n", "124\n").replace("4711", "4712"),
    )
    .unwrap();
    let differs = [
        is("differs", &["smtp/password"]),
        is("already_here", &["hue/api-key"]),
        is("differs", &["alarm/pin"]),
    ]
    .concat();
    let dry = told(&rig, &import(&path, &[])).await;
    assert_eq!(outcomes(&dry), differs);
    let dry = told(&rig, &import(&path, &["--replace=smtp/password"])).await;
    assert_eq!(dry["entries"][0]["outcome"], "would_replace");
    let taken = told(&rig, &import(&path, &["--take", "--replace=smtp/password"])).await;
    assert_eq!(taken["entries"][0]["outcome"], "replaced", "{taken}");
    assert_eq!(taken["entries"][2]["outcome"], "differs");
    assert_eq!(findings(&rig).await, 1, "the other value of alarm/pin");
    let value = told(&rig, &["credential", "reveal", "smtp/password"]).await;
    assert_eq!(value["text"], "mailpass124");
    let all = told(&rig, &import(&path, &["--take", "--replace"])).await;
    assert_eq!(all["entries"][0]["outcome"], "already_here");
    assert_eq!(all["entries"][2]["outcome"], "replaced");
    assert_eq!(findings(&rig).await, 0, "the vault has the value now");
    // The value of before is no news.
    fs::write(&path, file).unwrap();
    let old = told(&rig, &import(&path, &["--only", "smtp/password"])).await;
    assert!(
        old["entries"][0]["why"].as_str().unwrap().contains("newer"),
        "{old}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dry_run_refuses_what_the_real_run_refuses() {
    let rig = home().await;
    added(&rig, "gone/key", "home", b"a-value-of-before", &[]).await;
    told(&rig, &["credential", "retire", "gone/key"]).await;
    let file = "name,value,kind,owner,purpose,tier\n\
        a/one,first-value-1,,,,huge\n\
        b/two,second-value-2,,,,\n\
        gone/key,third-value-3,,,,\n\
        own/four,fourth-value-4,,,,\n\
        e/five,fifth-value-5,,,,\n";
    let path = written(&rig, "keys.csv", file.as_bytes());
    let renames = [
        "--rename",
        "b/two=No Name",
        "--rename",
        "own/four=server/four",
        "--rename",
        "e/five=a/one",
    ];
    let dry = rig
        .cli(&[&import(&path, &renames)[..], &["--json"]].concat())
        .await;
    let real = rig
        .cli(&[&import(&path, &renames)[..], &["--take", "--json"]].concat())
        .await;
    assert_eq!((dry.status.code(), real.status.code()), (Some(1), Some(1)));
    let (dry, real) = (json(&dry), json(&real));
    assert_eq!(outcomes(&dry), outcomes(&real));
    assert!(
        outcomes(&real)
            .iter()
            .all(|(_, outcome)| outcome == "refused"),
        "{real}"
    );
    for number in 0..5 {
        assert_eq!(
            dry["entries"][number]["why"],
            real["entries"][number]["why"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fits_several_kinds_is_read_only_when_one_is_named() {
    let rig = home().await;
    let text = "sensor:\n  - platform: template\nmqtt:\n  password: hall-pass-7\n";
    let path = written(&rig, "hall.yaml", text.as_bytes());
    let why = refused(&rig, &import(&path, &[])).await;
    let detail = why["detail"].as_str().unwrap();
    assert!(
        detail.contains("--from esphome or --from home-assistant"),
        "{why}"
    );
    let read = told(&rig, &import(&path, &["--kind", "esphome"])).await;
    assert_eq!(read["source"], "esphome");
    assert_eq!(read["entries"][0]["outcome"], "would_take", "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rendered_is_imported_again_as_the_same_value() {
    let rig = home().await;
    let hostile = "it's \"5\" o'clock $now # \\ 🔑";
    added(&rig, "nas/password", "home", hostile.as_bytes(), &[]).await;
    let out = rig.work.path().join("out.env");
    let out = out.to_str().unwrap();
    let render = async |template: &str, out: &str| {
        let template = written(&rig, "template", template.as_bytes());
        let render = [
            "credential",
            "render",
            &template,
            "--env",
            "home",
            "--out",
            out,
        ];
        told(&rig, &render).await;
        fs::read_to_string(out).unwrap()
    };
    for form in ["env", "dotenv"] {
        render(
            &format!("NAS_PASSWORD={{{{ hearthkey:nas/password | {form} }}}}\n"),
            out,
        )
        .await;
        let again = told(&rig, &import(out, &[])).await;
        assert_eq!(
            outcomes(&again),
            is("already_here", &["nas/password"]),
            "{form}"
        );
    }
    assert_eq!(
        fs::metadata(out).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let list = "[7, 3, 5, 71, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13]";
    let text = format!("serial:\n  port: /dev/ttyUSB0\nadvanced:\n  network_key: {list}\n");
    let path = written(&rig, "configuration.yaml", text.as_bytes());
    told(&rig, &import(&path, &["--take"])).await;
    let out = rig.work.path().join("secret.yaml");
    let out = out.to_str().unwrap();
    let template = "network_key: {{ hearthkey:zigbee2mqtt/network-key | .network_key }}\n";
    assert_eq!(
        render(template, out).await,
        format!("network_key: {list}\n")
    );
    let again = told(&rig, &import(out, &["--take"])).await;
    let is_here = is("already_here", &["zigbee2mqtt/network-key"]);
    assert_eq!(outcomes(&again), is_here);
    added(&rig, "a/refused", "home", b"a ${b} c", &[]).await;
    let template = written(&rig, "template", b"A={{ hearthkey:a/refused | dotenv }}\n");
    let render = [
        "credential",
        "render",
        &template,
        "--env",
        "home",
        "--out",
        out,
    ];
    let why = refused(&rig, &render).await;
    assert_eq!(why["code"], "value_unfit");
    assert!(
        why["remedy"].as_str().unwrap().contains("| base64"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_from_windows_is_kept_without_its_mark_or_refused() {
    let rig = home().await;
    let marked = written(&rig, "bom.txt", b"\xef\xbb\xbfpw-from-notepad\r\n");
    let wide: Vec<u8> = "\u{feff}pw-from-powershell\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let wide = written(&rig, "wide.txt", &wide);
    let doubtful = written(&rig, "doubtful", b"p\0w\0");
    let add = |name, path| {
        let mut add = vec![
            "credential",
            "add",
            name,
            "--env",
            "home",
            "--kind",
            "password",
        ];
        add.extend(["--owner", "anna", "--purpose", "x", "--from-file", path]);
        add
    };
    for (name, path, value) in [
        ("win/bom", &marked, "pw-from-notepad"),
        ("win/wide", &wide, "pw-from-powershell"),
    ] {
        told(&rig, &add(name, path)).await;
        let revealed = told(&rig, &["credential", "reveal", name]).await;
        assert_eq!(revealed["text"], value);
    }
    let why = refused(&rig, &add("win/doubtful", &doubtful)).await;
    assert!(why["remedy"].as_str().unwrap().contains("--exact"), "{why}");
}
