//! What somebody meets who types a command for the first time: exit codes, refusals that say what to do, and nothing
//! promised that cannot work.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use hearthkey_agent::ClaimUri;

use crate::rig::{Rig, hearthkey, json};
use crate::vault::added;

async fn typed(args: &[&str]) -> Output {
    hearthkey().args(args).output().await.unwrap()
}

fn told(output: &Output) -> String {
    let out = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(out).unwrap()
}

/// Fails where a text is for the programmers of a library, and not for the person who typed the command.
fn is_plain(text: &str) {
    for debug in [
        "Os {",
        "Some(",
        "None",
        "Err(",
        "(os error",
        "docs.rs",
        "ParseIntError",
        "Kind(",
        ".partial",
        "entity not found",
        "invalid socket address",
    ] {
        assert!(!text.contains(debug), "{debug} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_start_leaves_no_socket_behind() {
    let work = tempfile::tempdir().unwrap();
    let home = work.path().join("home");
    let path = home.to_str().unwrap();
    let init = ["init", "--home", "attic", "--slot", "keyfile"];
    let made = typed(&[&["--data-dir", path][..], &init[..]].concat()).await;
    assert_eq!(made.status.code(), Some(0), "{}", told(&made));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = ["run", "--mqtt", address.as_str(), "--host", "localhost"];
    let refused = typed(&[&["--data-dir", path][..], &run[..]].concat()).await;
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(!home.join("hearthkey.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_not_made_where_no_gateway_could_run() {
    let work = tempfile::tempdir().unwrap();
    let long = work.path().join("x".repeat(100));
    let file = work.path().join("file");
    std::fs::write(&file, "").unwrap();
    let busy = work.path().join("busy");
    std::fs::create_dir_all(busy.join("hearthkey.sock")).unwrap();
    for directory in [&long, &file, &busy] {
        let path = directory.to_str().unwrap();
        let refused = typed(&[
            "--data-dir",
            path,
            "init",
            "--home",
            "attic",
            "--slot",
            "keyfile",
        ])
        .await;
        assert_eq!(refused.status.code(), Some(1), "{path}");
        is_plain(&told(&refused));
        assert!(!told(&refused).contains("recovery code"), "{path}");
        assert!(!directory.join("slots.json").exists(), "{path}");
        let run = [
            "--data-dir",
            path,
            "run",
            "--mqtt",
            "127.0.0.1:0",
            "--host",
            "localhost",
        ];
        assert_eq!(typed(&run).await.status.code(), Some(1), "{path}");
    }
    assert!(!long.exists(), "it was made all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_nothing_can_connect_to_is_refused_with_what_to_write() {
    let rig = Rig::new().await;
    for (host, hint) in [
        ("0.0.0.0", "gateway.home.arpa"),
        ("::", "gateway.home.arpa"),
        ("[::]", "gateway.home.arpa"),
        ("*", "gateway.home.arpa"),
        ("", "gateway.home.arpa"),
        ("0.0.0.0:8883", "gateway.home.arpa"),
        ("attic.lan:8883", "--host attic.lan"),
        ("https://attic.lan/", "--host attic.lan"),
        ("my attic", "gateway.home.arpa"),
    ] {
        let run = [
            "run",
            "--mqtt",
            "127.0.0.1:0",
            "--host",
            "localhost",
            "--host",
            host,
        ];
        let refused = rig.cli(&run).await;
        assert_eq!(refused.status.code(), Some(2), "{host}");
        assert!(told(&refused).contains(hint), "{host}: {}", told(&refused));
        is_plain(&told(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_has_one_fingerprint_and_the_claim_code_says_that_it_pins_the_key() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let printed = rig.cli(&["trust", "fingerprint"]).await;
    let fingerprint = String::from_utf8(printed.stdout).unwrap();
    let fingerprint = fingerprint.trim();
    assert_eq!(rig.made["root_sha256"], fingerprint);
    let claim = rig.claim("lamp").await.unwrap();
    assert_eq!(claim.root_sha256, fingerprint);
    let pinned: ClaimUri = claim.uri.parse().unwrap();
    assert_eq!(pinned.root.to_string(), claim.root_key_sha256);
    assert_ne!(claim.root_key_sha256, claim.root_sha256);
    let args =
        "device claim bulb --profile generic --environment home --owner anna --purpose light";
    let shown = told(&rig.cli(&args.split(' ').collect::<Vec<_>>()).await);
    assert!(shown.contains(fingerprint), "{shown}");
    assert!(rig.verified_log().await.contains(fingerprint));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_gets_no_value_and_ends_as_in_a_shell() {
    let mut rig = Rig::new().await;
    rig.start().await;
    added(&rig, "hue/api-key", "home", b"a-value", &[]).await;
    let plain = rig.work.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let script = rig.work.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (command, exit, why) in [
        ("nosuchcommand", 127, "command not found"),
        ("/no/such/command", 127, "command not found"),
        (plain.to_str().unwrap(), 126, "permission denied"),
        ("/tmp", 126, "permission denied"),
    ] {
        let run = [
            "credential",
            "run",
            "--env",
            "home",
            "hue/api-key",
            "--",
            command,
        ];
        let refused = rig.cli(&run).await;
        assert_eq!(refused.status.code(), Some(exit), "{command}");
        assert!(told(&refused).contains(why), "{}", told(&refused));
        is_plain(&told(&refused));
    }
    assert!(!rig.verified_log().await.contains("\"credential.run\""));
    let script = script.to_str().unwrap();
    let run = [
        "credential",
        "run",
        "--env",
        "home",
        "hue/api-key",
        "--",
        script,
    ];
    let refused = rig.cli(&run).await;
    assert_eq!(refused.status.code(), Some(126), "{}", told(&refused));
    assert!(told(&refused).contains("interpreter"), "{}", told(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_errors_end_with_2_other_failures_with_1_and_both_name_what_is_wrong() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.claim("lamp").await.unwrap();
    for (line, exit, name) in [
        (
            "device claim LAMP --profile generic --env home --owner a --purpose p",
            2,
            "LAMP",
        ),
        (
            "device claim bulb --profile generic --env home --owner a --purpose p --ttl soon",
            2,
            "soon",
        ),
        (
            "device claim bulb --profile generic --env nowhere --owner a --purpose p",
            1,
            "nowhere",
        ),
        ("device revoke lamp --reason boredom", 2, "boredom"),
        ("device approve lamp --key abc", 2, "abc"),
        ("device suspend lamp", 1, "lamp"),
        ("device show ghost", 1, "ghost"),
        ("device rotate lamp", 1, "lamp"),
        ("trust crl --environment nowhere", 1, "nowhere"),
        ("trust install --fingerprint abc", 2, "abc"),
        ("profile add /no/such/file.toml", 1, "/no/such/file.toml"),
        ("log prove first", 2, "first"),
        ("log prove 99999", 1, "shorter"),
        ("run --mqtt localhost:8883 --host localhost", 2, "[::]:8883"),
        ("log export --out /no/such/dir/x", 1, "/no/such/dir/x"),
        ("credential scan /no/such/dir", 1, "/no/such/dir"),
        ("status --no-such-flag", 2, "--no-such-flag"),
        ("--gateway nowhere --root /dev/null status", 2, "nowhere"),
        ("frobnicate", 2, "frobnicate"),
    ] {
        for json in [false, true] {
            let mut args: Vec<&str> = line.split(' ').collect();
            args.extend(json.then_some("--json"));
            let output = rig.cli(&args).await;
            let text = told(&output);
            assert_eq!(output.status.code(), Some(exit), "{line}: {text}");
            assert!(text.contains(name), "{line}: {text}");
            is_plain(&text.replace("\"None\"", ""));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_as_it_must_be_is_named_and_left_as_it_is() {
    let mut rig = Rig::new().await;
    rig.start().await;
    added(&rig, "hue/api-key", "home", b"a-value", &[]).await;
    let work = rig.work.path();
    let file = |name: &str, text: &str| {
        let path = work.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let template = file("a.tpl", "{{ hearthkey:hue/api-key }}\n");
    let odd = file("odd.tpl", "{{ hearthkey:hue/api-key | odd }}\n");
    let manifest = file("m.toml", "feature = 1\n");
    let no_token = file("no.token", "no token\n");
    let env = file("a.env", "PASSWORD=\"open\n");
    let records = file("log.jsonl", "{}\n");
    let missing = format!("{records}.checkpoint");
    let key = json(&rig.cli(&["log", "key", "--json"]).await)["vkey"]
        .as_str()
        .unwrap()
        .trim()
        .to_owned();
    let render = |from: &str| format!("credential render {from} --env home --out {template}");
    let token = format!("token create ci --env home --allow hue/api-key:read --out {no_token}");
    for (line, exit, why) in [
        (render(&template), 2, "the template itself"),
        (render(&odd), 2, odd.as_str()),
        (format!("check --manifest {manifest}"), 2, "unknown field"),
        (
            format!("--token-file {no_token} token whoami"),
            2,
            "is not a token file",
        ),
        (
            format!("credential import {env} --env home"),
            2,
            "is opened and not closed",
        ),
        (token, 1, "already exists"),
        (
            format!("log verify {records} --key {key}"),
            1,
            missing.as_str(),
        ),
        (
            format!(
                "--data-dir {} run --mqtt 127.0.0.1:0 --host localhost",
                work.join("none").display()
            ),
            1,
            "hearthkey init",
        ),
        (
            format!("--data-dir {records} init --home a --slot keyfile"),
            1,
            "The data directory",
        ),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let refused = match line.starts_with("--data-dir") {
            true => typed(&args).await,
            false => rig.cli(&args).await,
        };
        let text = told(&refused);
        assert_eq!(refused.status.code(), Some(exit), "{line}: {text}");
        assert!(text.contains(why), "{line}: {text}");
        is_plain(&text);
    }
    let kept = std::fs::read_to_string(&template).unwrap();
    assert_eq!(kept, "{{ hearthkey:hue/api-key }}\n");
    let dash = rig.cli(&["log", "export", "--out", "-"]).await;
    assert!(dash.stdout.starts_with(b"{\"action\""), "{}", told(&dash));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_its_version_and_makes_its_completions_and_manual_pages() {
    let work = tempfile::tempdir().unwrap();
    for args in [&["version", "--json"][..], &["--version", "--json"]] {
        assert_eq!(
            json(&typed(args).await)["version"],
            env!("CARGO_PKG_VERSION")
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = told(&typed(&["completions", shell]).await);
        assert!(
            script.contains("reauthorize") && script.contains("environment"),
            "{shell}"
        );
    }
    let pages = work.path().join("man1");
    let made = typed(&["man", "--out", pages.to_str().unwrap()]).await;
    assert!(made.status.success(), "{}", told(&made));
    let claim = std::fs::read_to_string(pages.join("hearthkey-device-claim.1")).unwrap();
    assert!(
        claim.contains("purpose") && claim.contains(".SH"),
        "{claim}"
    );
    assert!(told(&typed(&["man"]).await).contains(".TH hearthkey 1"));

    // A page that somebody has put there, or a link to something else, is left alone.
    let (page, victim) = (pages.join("hearthkey.1"), work.path().join("victim"));
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(&page).unwrap();
    std::os::unix::fs::symlink(&victim, &page).unwrap();
    let again = typed(&["man", "--out", pages.to_str().unwrap()]).await;
    assert!(!again.status.success());
    assert!(told(&again).contains("--replace"), "{}", told(&again));
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    std::fs::remove_file(&page).unwrap();
    let again = typed(&["man", "--out", pages.to_str().unwrap(), "--replace"]).await;
    assert!(again.status.success(), "{}", told(&again));
    assert!(page.is_file());
}
