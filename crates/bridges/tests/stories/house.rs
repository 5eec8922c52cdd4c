//! A real Home Assistant, installed once by `scripts/home-assistant.sh`. Skipped, with the reason printed, where it cannot
//! be installed; `HEARTHKEY_HOME_ASSISTANT=required` makes that a failure.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const CLIENT: &str = "http://127.0.0.1/";
/// It starts in seconds; a machine that is busy with builds takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A house that is left when it is dropped.
pub struct House {
    child: Child,
    pub port: u16,
    hass: PathBuf,
    directory: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it is installed, or why not.
fn installed() -> Result<PathBuf, String> {
    // Included here, and in the stories of the whole program: the script is in the one tree that holds both.
    let script = "scripts/home-assistant.sh";
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut scripts = above.map(|directory| directory.join(script));
    let script = scripts.find(|path| path.exists());
    let script = script.ok_or("scripts/home-assistant.sh is gone")?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(script)
        .arg(target.join("home-assistant"))
        .output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(target.join("home-assistant/venv/bin/hass")),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Runs it on a directory of its own, without a word.
fn run(hass: &Path, directory: &Path) -> Child {
    Command::new(hass)
        .arg("--config")
        .arg(directory)
        .arg("--skip-pip")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl House {
    /// None, with the reason printed, where it cannot be installed.
    pub async fn start() -> Option<Self> {
        let hass = match installed() {
            Ok(hass) => hass,
            Err(why) => {
                let required =
                    std::env::var("HEARTHKEY_HOME_ASSISTANT").is_ok_and(|word| word == "required");
                assert!(!required, "{why}");
                println!("skipped: {why}");
                return None;
            }
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let directory = tempfile::tempdir().unwrap();
        let configuration = format!(
            "http:\n  server_host: 127.0.0.1\n  server_port: {port}\napi:\nauth:\nconfig:\nwebsocket_api:\nonboarding:\n"
        );
        fs::write(directory.path().join("configuration.yaml"), configuration).unwrap();
        let child = run(&hass, directory.path());
        let mut house = Self {
            child,
            port,
            hass,
            directory,
        };
        house.opened().await;
        Some(house)
    }

    async fn opened(&mut self) {
        let open = tokio::time::timeout(START_LIMIT, self.wait_until_open()).await;
        assert!(
            open.is_ok(),
            "Home Assistant did not start within {START_LIMIT:?}"
        );
    }

    /// Ends it in order, as a person does from its menu, and starts it again.
    pub async fn restart(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
        self.child = run(&self.hass, self.directory.path());
        self.opened().await;
    }

    /// Sets up its MQTT integration as a person does: the dialogue of its settings with the advanced options, in
    /// which the files are uploaded.
    pub async fn connect_mqtt(&self, token: &str, settings: &Value, files: [(&str, &str); 3]) {
        let json = "application/json";
        let start = json!({"handler": "mqtt", "show_advanced_options": true});
        let flows = "/api/config/config_entries/flow";
        let asked = self
            .ask("POST", flows, json, &start.to_string(), Some(token))
            .await;
        let (_, form) = asked.unwrap();
        let flow = format!("{flows}/{}", form["flow_id"].as_str().unwrap());
        let mut entered = json!({"broker": settings["broker"], "port": settings["port"], "advanced_options": true});
        let answer = async |entered: &Value| {
            let said = self
                .ask("POST", &flow, json, &entered.to_string(), Some(token))
                .await;
            said.unwrap().1
        };
        answer(&entered).await;
        entered = settings.clone();
        entered["set_ca_cert"] = json!("custom");
        entered["set_client_cert"] = json!(true);
        answer(&entered).await;
        for (field, text) in files {
            entered[field] = self.upload(token, text).await;
        }
        let made = answer(&entered).await;
        assert_eq!(made["type"], "create_entry", "{made}");
    }

    async fn upload(&self, token: &str, text: &str) -> Value {
        let body = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"file.pem\"\r\n\r\n{text}\r\n--edge--\r\n"
        );
        let kind = "multipart/form-data; boundary=edge";
        let uploaded = self
            .ask("POST", "/api/file_upload", kind, &body, Some(token))
            .await;
        uploaded.unwrap().1["file_id"].clone()
    }

    /// Every entity that it has, as its own interface is told.
    pub async fn states(&self, token: &str) -> Vec<Value> {
        let states = self.ask("GET", "/api/states", "", "", Some(token)).await;
        match states {
            Some((200, Value::Array(states))) => states,
            _ => Vec::new(),
        }
    }

    async fn wait_until_open(&mut self) {
        loop {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "Home Assistant has stopped"
            );
            if matches!(
                self.ask("GET", "/api/onboarding", "", "", None).await,
                Some((200, _))
            ) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
        token: Option<&str>,
    ) -> Option<(u16, Value)> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(tcp))
                .await
                .ok()?;
        let task = tokio::spawn(connection);
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        task.abort();
        Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// The first person, and an access token of their browser's.
    pub async fn move_in(&self) -> String {
        let person = json!({
            "name": "Ada", "username": "ada", "password": "a-password", "client_id": CLIENT, "language": "en"
        });
        let kind = "application/json";
        let made = self
            .ask(
                "POST",
                "/api/onboarding/users",
                kind,
                &person.to_string(),
                None,
            )
            .await;
        let (status, made) = made.unwrap();
        assert_eq!(status, 200, "{made}");
        let code = made["auth_code"].as_str().unwrap();
        self.exchange_code(code).await
    }

    async fn exchange_code(&self, code: &str) -> String {
        let form = format!(
            "grant_type=authorization_code&code={code}&client_id=http%3A%2F%2F127.0.0.1%2F"
        );
        let kind = "application/x-www-form-urlencoded";
        let (status, tokens) = self
            .ask("POST", "/auth/token", kind, &form, None)
            .await
            .unwrap();
        assert_eq!(status, 200, "{tokens}");
        tokens["access_token"].as_str().unwrap().to_owned()
    }

    /// One command over the websocket, as the browser sends it.
    async fn command(&self, token: &str, mut command: Value) -> Value {
        let url = format!("ws://127.0.0.1:{}/api/websocket", self.port);
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
        command["id"] = json!(1);
        let auth = json!({"type": "auth", "access_token": token});
        socket.send(Message::text(auth.to_string())).await.unwrap();
        socket
            .send(Message::text(command.to_string()))
            .await
            .unwrap();
        loop {
            let said = socket.next().await.unwrap().unwrap();
            let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap_or_default();
            if said["type"] == "result" {
                assert_eq!(said["success"], true, "{said}");
                return said["result"].clone();
            }
        }
    }

    /// A long-lived token of a user's, by an access token of their browser's.
    pub async fn long_lived(&self, browser: &str, name: &str, days: u32) -> String {
        let make =
            json!({"type": "auth/long_lived_access_token", "client_name": name, "lifespan": days});
        let token = self.command(browser, make).await;
        token.as_str().unwrap().to_owned()
    }

    /// A second user who is no administrator, and an access token of their browser's.
    pub async fn let_in(&self, administrator: &str, name: &str) -> String {
        let create =
            json!({"type": "config/auth/create", "name": name, "group_ids": ["system-users"]});
        let made = self.command(administrator, create).await;
        let credentials = json!({
            "type": "config/auth_provider/homeassistant/create", "user_id": made["user"]["id"],
            "username": name, "password": name
        });
        self.command(administrator, credentials).await;
        let flow = json!({"client_id": CLIENT, "handler": ["homeassistant", null], "redirect_uri": format!("{CLIENT}back")});
        let kind = "application/json";
        let (_, flow) = self
            .ask("POST", "/auth/login_flow", kind, &flow.to_string(), None)
            .await
            .unwrap();
        let step = json!({"client_id": CLIENT, "username": name, "password": name}).to_string();
        let path = format!("/auth/login_flow/{}", flow["flow_id"].as_str().unwrap());
        let (_, done) = self.ask("POST", &path, kind, &step, None).await.unwrap();
        self.exchange_code(done["result"].as_str().unwrap()).await
    }

    /// What it answers to a token: 200, or 401.
    pub async fn status(&self, token: &str) -> u16 {
        self.ask("GET", "/api/", "", "", Some(token))
            .await
            .unwrap()
            .0
    }
}
