//! `hearthkey trust install`: this machine, and the browsers of this user, trust the home's root.
//!
//! The system's store is for programs, the NSS databases are for Chromium and Firefox. What cannot
//! be done is said with the way to do it; nothing is half done in silence.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use hearthkey_agent::Fingerprint;
use pem::Pem;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Failure, code};

/// Where Debian keeps roots that its administrator trusts.
const SYSTEM_DIR: &str = "/usr/local/share/ca-certificates";

/// What `trust install` is told.
#[derive(Debug, Args)]
pub struct Install {
    /// The fingerprint that you have compared: the root is trusted only if its certificate has this one.
    #[arg(long, value_name = "SHA256", value_parser = sha256)]
    fingerprint: Option<String>,
    /// Remove the root certificate instead.
    #[arg(long)]
    remove: bool,
}

/// What became of one place.
#[derive(Debug, Serialize)]
struct Place {
    place: String,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct Installed {
    fingerprint: String,
    places: Vec<Place>,
}

impl Place {
    fn of(place: &Path, done: Result<(), String>) -> Self {
        Self {
            place: place.display().to_string(),
            done: done.is_ok(),
            why: done.err(),
        }
    }
}

/// Runs a program; what it says when it fails is the reason.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("{program} is not installed"))
        }
        Err(error) => Err(format!("{program} cannot be run: {error}")),
    }
}

fn system(name: &str, pem: &[u8], remove: bool) -> Place {
    let path = Path::new(SYSTEM_DIR).join(format!("{name}.crt"));
    let changed = match remove {
        true if path.symlink_metadata().is_err() => Ok(()),
        true => std::fs::remove_file(&path),
        false => put(&path, pem),
    };
    let done = changed
        .map_err(|error| format!("{error}. Run this with sudo for the whole system"))
        .and_then(|()| run("update-ca-certificates", &[]));
    Place::of(&path, done)
}

/// Puts a root in its place whole, for everybody to read. What is there is replaced, and a link never followed: others than
/// root may have put it there.
fn put(path: &Path, pem: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut draft = tempfile::Builder::new()
        .prefix(".hearthkey-")
        .suffix(".partial")
        .tempfile_in(directory)?;
    draft.write_all(pem)?;
    let readable = std::fs::Permissions::from_mode(0o644);
    draft.as_file().set_permissions(readable)?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    Ok(())
}

/// The NSS databases of this user: Chromium's one, and one for each profile of Firefox.
fn databases(home: &Path) -> Vec<PathBuf> {
    let mut found = vec![home.join(".pki/nssdb")];
    for profiles in [".mozilla/firefox", "snap/firefox/common/.mozilla/firefox"] {
        let entries = std::fs::read_dir(home.join(profiles)).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        found.extend(paths.filter(|path| path.join("cert9.db").exists()));
    }
    found
}

fn browser(database: &Path, name: &str, pem: &Path, remove: bool) -> Place {
    let named = format!("sql:{}", database.display());
    let pem = pem.display().to_string();
    let done = match remove {
        true => run("certutil", &["-d", &named, "-D", "-n", name]),
        false => make(database, &named).and_then(|()| {
            let args = ["-d", &named, "-A", "-t", "C,,", "-n", name, "-i", &pem];
            run("certutil", &args)
        }),
    };
    Place::of(
        database,
        done.map_err(|why| format!("{why}. certutil is in Debian's libnss3-tools")),
    )
}

fn make(database: &Path, named: &str) -> Result<(), String> {
    if database.join("cert9.db").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(database).map_err(|error| error.to_string())?;
    run("certutil", &["-d", named, "-N", "--empty-password"])
}

/// The fingerprint that is published of the root.
pub async fn fingerprint(context: &Context) -> Result<String, Failure> {
    let client = context.client()?;
    let bytes = client
        .get_bytes("/.well-known/hearthkey/fingerprint")
        .await?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A SHA-256 as browsers and this program show it: 64 hexadecimal digits, with colons or without.
pub fn sha256(text: &str) -> Result<String, String> {
    let digits = text.replace([':', ' '], "").to_ascii_lowercase();
    match digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err("a SHA-256 is 64 hexadecimal digits".to_owned()),
    }
}

fn same(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.replace([':', ' '], "").to_ascii_lowercase();
    plain(a) == plain(b)
}

/// For a root that is not what it is said to be.
fn odd_root(why: &str) -> Failure {
    Failure::local(
        code::NETWORK,
        "The gateway did not send its root certificate. Nothing was changed.",
        why.to_owned(),
        "Run this on the gateway's own machine, or compare `hearthkey trust fingerprint` there with the fingerprint you gave.",
    )
}

impl Install {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let found = fingerprint(context).await?;
        if let Some(compared) = &self.fingerprint
            && !same(compared, &found)
        {
            return Err(Failure::local(
                code::NETWORK,
                "The root certificate is a different one. Nothing was changed.",
                format!("Its fingerprint is {found}."),
                "Compare it with what `hearthkey trust fingerprint` prints on the gateway's own machine.",
            ));
        }
        let client = context.client()?;
        let pem = client.get_bytes("/.well-known/hearthkey/root.pem").await?;
        // What is put there is what was compared, and nothing that may have come with it.
        let root = CertificateDer::from_pem_slice(&pem);
        let root = root.map_err(|error| odd_root(&format!("It cannot be read: {error}.")))?;
        if !same(&Fingerprint::of(&root).to_string(), &found) {
            return Err(odd_root("Its fingerprint is not the expected one."));
        }
        let pem = pem::encode(&Pem::new("CERTIFICATE", root.as_ref())).into_bytes();
        let file = tempfile::NamedTempFile::new()
            .and_then(|mut file| file.write_all(&pem).map(|()| file))
            .map_err(|error| Failure::system("keep the root for a moment", &error))?;
        let name = format!("hearthkey-{}", found.get(..16).unwrap_or_default());
        let mut places = vec![system(&name, &pem, self.remove)];
        if let Some(home) = std::env::home_dir() {
            let databases = databases(&home);
            let each = databases.iter();
            places.extend(each.map(|one| browser(one, &name, file.path(), self.remove)));
        }
        let installed = Installed {
            fingerprint: found,
            places,
        };
        if !installed.places.iter().any(|place| place.done) {
            return Err(Failure::local(
                code::SYSTEM,
                "The root certificate was not installed.",
                installed.text(self.remove),
                "Run it with sudo, or install libnss3-tools for the browsers.",
            ));
        }
        let remove = self.remove;
        context.output.answer(&installed, || installed.text(remove))
    }
}

impl Installed {
    fn text(&self, removed: bool) -> String {
        let verb = if removed {
            "Removed from"
        } else {
            "Trusted in"
        };
        let lines = self.places.iter().map(|place| match &place.why {
            None => format!("{verb} {}.", place.place),
            Some(why) => format!("Not in {}: {why}.", place.place),
        });
        let first = format!("Root certificate {}", self.fingerprint);
        std::iter::once(first)
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Network;
    use crate::fake_gateway::FakeGateway;
    use crate::output::Output;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";

    #[tokio::test]
    async fn a_root_that_is_not_the_one_that_was_compared_is_put_nowhere() {
        let compared = "ab".repeat(32);
        let gateway = FakeGateway::answering(vec![
            ("/.well-known/hearthkey/fingerprint", compared.clone()),
            ("/.well-known/hearthkey/root.pem", CERTIFICATE.to_owned()),
        ]);
        let install = Install {
            fingerprint: Some(compared),
            remove: false,
        };
        let context = Context::new(
            Some(gateway.data_dir().to_owned()),
            Network::default(),
            Output::new(true),
        );
        let Err(Failure::Told { problem, .. }) = install.obey(&context).await else {
            panic!("it was installed");
        };
        assert!(
            problem.detail.contains("not the expected one"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn a_root_is_not_written_through_a_link_that_somebody_has_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, place) = (dir.path().join("victim"), dir.path().join("root.crt"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &place).unwrap();
        put(&place, b"root").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        let made = std::fs::symlink_metadata(&place).unwrap();
        assert!(made.is_file() && made.permissions().mode() & 0o777 == 0o644);
        assert_eq!(std::fs::read(&place).unwrap(), b"root");
    }

    #[test]
    fn a_fingerprint_is_compared_by_its_digits() {
        assert!(same("AB:cd", "abcd") && same("ab cd", "abcd"));
        assert!(!same("abcd", "abce"));
    }

    #[test]
    fn what_was_not_done_is_said_with_its_reason() {
        let installed = Installed {
            fingerprint: "ab".into(),
            places: vec![
                Place::of(Path::new("/a"), Ok(())),
                Place::of(Path::new("/b"), Err("certutil cannot be run".into())),
            ],
        };
        assert_eq!(
            installed.text(false),
            "Root certificate ab\nTrusted in /a.\nNot in /b: certutil cannot be run."
        );
    }
}
