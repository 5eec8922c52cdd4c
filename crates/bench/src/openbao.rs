//! OpenBao as a peer of the vault: raft storage, kv-v2, an audit file, asked over a Unix socket.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::clock::Stopwatch;
use crate::failure::{Failure, failed};
use crate::http::{Http, HttpError, Way, drive, request};
use crate::process::{Process, free_port};

/// A running OpenBao that has been initialized.
pub struct OpenBao {
    /// Its process.
    pub process: Process,
    /// How it is reached.
    pub way: Way,
    token: String,
}

impl OpenBao {
    /// Starts a server whose files lie in `directory`, and mounts kv-v2 at `secret`.
    pub async fn start(program: &Path, directory: &Path) -> Result<Self, Failure> {
        let cannot = |error: &dyn std::fmt::Display| failed("OpenBao did not start", error);
        std::fs::create_dir_all(directory.join("raft")).map_err(|e| cannot(&e))?;
        let (port, cluster) = (free_port(), free_port());
        let (port, cluster) = (
            port.map_err(|e| cannot(&e))?,
            cluster.map_err(|e| cannot(&e))?,
        );
        let at = directory.display();
        let config = format!(
            "storage \"raft\" {{ path = \"{at}/raft\" node_id = \"one\" }}\n\
             listener \"unix\" {{ address = \"{at}/bao.sock\" }}\n\
             listener \"tcp\" {{ address = \"127.0.0.1:{port}\" cluster_address = \"127.0.0.1:{cluster}\" tls_disable = true }}\n\
             api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n\
             audit \"file\" \"bench\" {{ options = {{ file_path = \"{at}/audit.log\" }} }}\n"
        );
        let file = directory.join("bao.hcl");
        std::fs::write(&file, config).map_err(|e| cannot(&e))?;
        let child = Command::new(program)
            .arg("server")
            .arg(format!("-config={}", file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| cannot(&e))?;
        let mut bao = Self {
            process: Process::of(child),
            way: Way::Unix(directory.join("bao.sock")),
            token: String::new(),
        };
        bao.prepare().await?;
        Ok(bao)
    }

    async fn prepare(&mut self) -> Result<(), Failure> {
        let one = json!({"secret_shares": 1, "secret_threshold": 1});
        let made = self.patiently("PUT", "sys/init", &one).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.token = text(&made["root_token"]);
        let key = json!({"key": text(&made["keys"][0])});
        self.patiently("PUT", "sys/unseal", &key).await?;
        let mount = json!({"type": "kv", "options": {"version": "2"}});
        self.patiently("POST", "sys/mounts/secret", &mount).await?;
        let first = json!({"data": {"value": "first"}});
        self.patiently("POST", "secret/data/first", &first).await?;
        Ok(())
    }

    /// Asks until it is done: right after its start, a server refuses until it leads.
    async fn patiently(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let watch = Stopwatch::start();
        loop {
            match self.call(method, path, body).await {
                Err(error) if watch.elapsed().as_secs() > 20 => {
                    return Err(failed("OpenBao refused the request", &error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, HttpError> {
        let mut http = Http::connect(&self.way).await?;
        let asked = self.request(method, path, body.to_string().as_bytes());
        let body = http.exchange(&asked).await?.done()?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("host: localhost\r\nx-vault-token: {}\r\n", self.token);
        request(method, &format!("/v1/{path}"), &head, body)
    }

    /// Stores secrets, sixteen at a time.
    pub async fn add(
        &self,
        secrets: impl Iterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        let mut lists = vec![Vec::new(); 16];
        for (n, (name, value)) in secrets.enumerate() {
            let body = json!({"data": {"value": value}}).to_string();
            lists[n % 16].push(self.request(
                "POST",
                &format!("secret/data/{name}"),
                body.as_bytes(),
            ));
        }
        drive(&self.way, lists).await?;
        Ok(())
    }

    /// The request that reads a secret.
    pub fn read(&self, name: &str) -> Vec<u8> {
        self.request("GET", &format!("secret/data/{name}"), b"")
    }
}
