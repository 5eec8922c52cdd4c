//! A real Mosquitto with its dynamic security plugin. Skipped, with the reason printed, where there is none.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The administrator's password.
pub const ADMIN: &str = "canary-admin-password";

/// A broker that is stopped when it is dropped.
pub struct Broker {
    child: Child,
    pub port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plugin() -> Option<PathBuf> {
    let places = [
        "x86_64-linux-gnu",
        "aarch64-linux-gnu",
        "arm-linux-gnueabihf",
        "",
    ];
    let file = |place: &&str| {
        Path::new("/usr/lib")
            .join(place)
            .join("mosquitto_dynamic_security.so")
    };
    places.iter().map(file).find(|path| path.exists())
}

fn mosquitto() -> Option<PathBuf> {
    let places = [
        "/usr/sbin/mosquitto",
        "/usr/local/sbin/mosquitto",
        "/usr/bin/mosquitto",
    ];
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Broker {
    /// With `leaf.pem` and `key.pem` of a directory it speaks TLS. None, with the reason printed, where there is no mosquitto.
    pub fn start(tls: Option<&Path>, dynamic_security: bool) -> Option<Self> {
        let (Some(mosquitto), Some(plugin)) = (mosquitto(), plugin()) else {
            println!(
                "skipped: mosquitto and its dynamic security plugin are not installed (apt install mosquitto)"
            );
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        // As root it changes to a user of its own, who has to read and write here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let state = directory.path().join("dynsec.json");
        let init = Command::new("mosquitto_ctrl")
            .args(["dynsec", "init"])
            .arg(&state)
            .args(["admin", ADMIN])
            .stdout(Stdio::null())
            .status();
        assert!(init.unwrap().success());
        let port = free_port();
        let mut lines = format!("listener {port} 127.0.0.1\nallow_anonymous false\n");
        if dynamic_security {
            lines += &format!(
                "plugin {}\nplugin_opt_config_file {}\n",
                plugin.display(),
                state.display()
            );
        } else {
            lines = lines.replace("anonymous false", "anonymous true");
        }
        if let Some(certificates) = tls {
            for (word, name) in [("certfile", "leaf.pem"), ("keyfile", "key.pem")] {
                let copy = directory.path().join(name);
                fs::copy(certificates.join(name), &copy).unwrap();
                lines += &format!("{word} {}\n", copy.display());
            }
        }
        let config = directory.path().join("mosquitto.conf");
        fs::write(&config, lines).unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o666)).unwrap();
        }
        let child = Command::new(mosquitto)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut broker = Self {
            child,
            port,
            _directory: directory,
        };
        broker.wait_until_open();
        Some(broker)
    }

    fn wait_until_open(&mut self) {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "mosquitto has stopped"
            );
            std::thread::yield_now();
        }
    }

    /// One command of Mosquitto's own tool, by the administrator.
    pub fn administer(&self, words: &[&str]) {
        let port = self.port.to_string();
        let done = Command::new("mosquitto_ctrl")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-u",
                "admin",
                "-P",
                ADMIN,
                "dynsec",
            ])
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(done.unwrap().success(), "{words:?}");
    }

    /// What an operator prepares with Mosquitto's own tool.
    pub fn prepare(&self) {
        for words in [
            &["createRole", "lamps"][..],
            &[
                "addRoleACL",
                "lamps",
                "publishClientSend",
                "lamps/#",
                "allow",
            ],
            &["createRole", "sensors"],
            &[
                "addRoleACL",
                "sensors",
                "subscribePattern",
                "sensors/#",
                "allow",
            ],
            &["createGroup", "upstairs"],
            &["addGroupRole", "upstairs", "sensors", "5"],
        ] {
            self.administer(words);
        }
    }

    /// Whether a user may publish there.
    pub fn publish(&self, user: &str, password: &str, topic: &str) -> bool {
        let port = self.port.to_string();
        let mut publish = Command::new("mosquitto_pub");
        publish
            .args(["-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", &port])
            .args(["-u", user, "-P", password, "-t", topic, "-m", "on"]);
        let output = publish.output().unwrap();
        output.status.success()
            && !String::from_utf8_lossy(&output.stderr).contains("Not authorized")
    }
}
