//! A service made of stock tools: curl asks, openssl holds the key and signs each proof.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearthkey_api::TokenCreated;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::machine_time_s;
use crate::rig::{PATIENCE, Rig};
use crate::stock::{Bench, run, said};

pub const SELF: &str = "/api/v1/tokens/self";
const PORT: &str = "18443";

/// The HTTPS listener as the stock tools see it.
pub struct Front {
    pub bench: Bench,
    pub host: String,
    pub url: String,
}

/// An answer, as curl printed it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
    raw_head: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            head: head.to_ascii_lowercase(),
            raw_head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The problem's code; empty where all is well.
    pub fn code(&self) -> String {
        let code = || self.json()["code"].as_str().unwrap_or_default().to_owned();
        if self.status == 200 {
            String::new()
        } else {
            code()
        }
    }

    /// A header's value as it was sent.
    pub fn raw_header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .raw_head
            .lines()
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

/// A gateway with an HTTPS listener.
pub async fn home() -> (Rig, Front) {
    let mut rig = Rig::new().await;
    listen(&mut rig);
    rig.start().await;
    let front = Front::new(&rig).await;
    (rig, front)
}

/// Lets the gateway listen for services, from its next start on.
pub fn listen(rig: &mut Rig) {
    let address: &'static str = format!("{}:{PORT}", rig.host).leak();
    rig.args.extend(["--http", address]);
}

impl Front {
    pub async fn new(rig: &Rig) -> Self {
        let bench = Bench::new(rig, "service").await;
        let host = format!("{}:{PORT}", rig.host);
        let url = format!("https://{host}");
        Self { bench, host, url }
    }

    /// Asks with curl.
    pub async fn curl(&self, path: &str, args: &[&str]) -> Answer {
        let url = format!("{}{path}", self.url);
        let common = ["-sS", "-i", "--cacert", "ca.pem", "--max-time", "25", &url];
        let output = run(&self.bench.dir, "curl", &[&common[..], args].concat()).await;
        assert!(
            output.status.success(),
            "{path} {args:?}: {} {}",
            output.status,
            said(&output)
        );
        Answer::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// A connection on which bytes are sent as they are.
    pub async fn connect(&self, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.bench.dir.join("ca.pem")).unwrap();
        for root in CertificateDer::pem_slice_iter(&pem) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let address: SocketAddr = self.host.parse().unwrap();
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    /// The first answer to some bytes.
    pub async fn raw(&self, bytes: &str) -> Answer {
        let mut tls = self.connect(&[]).await.unwrap();
        tls.write_all(bytes.as_bytes()).await.unwrap();
        read_answer(&mut tls).await
    }

    /// Makes a key with openssl.
    pub async fn key(&self, name: &str) -> Key {
        let make = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out";
        self.bench.openssl(&format!("{make} {name}.pem")).await;
        self.key_of(name).await
    }

    /// The key that lies in a file of this name.
    pub async fn key_of(&self, name: &str) -> Key {
        let public = format!("pkey -in {name}.pem -pubout -out {name}.pub");
        self.bench.openssl(&public).await;
        let der = format!("pkey -in {name}.pem -pubout -outform DER");
        let der = self.bench.openssl(&der).await.stdout;
        let (x, y) = der[der.len() - 64..].split_at(32);
        Key {
            name: name.to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        }
    }

    /// Makes a token that is bound to a key.
    pub async fn token(&self, rig: &Rig, name: &str, key: &Key) -> TokenCreated {
        let public = self.bench.dir.join(format!("{}.pub", key.name));
        self.token_with(rig, name, &["--key", public.to_str().unwrap()])
            .await
    }

    /// Makes a token for everything, with more arguments.
    pub async fn token_with(&self, rig: &Rig, name: &str, more: &[&str]) -> TokenCreated {
        let args = [
            &[
                "token",
                "create",
                name,
                "--owner",
                "anna",
                "--purpose",
                "test",
            ][..],
            &["--env", "home", "--allow", "*:list", "--allow", "*:read"],
            more,
            &["--json"],
        ]
        .concat();
        let made = crate::rig::json(&rig.cli(&args).await);
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        assert!(made["error"].is_null(), "{made}");
        let path = format!("/api/v1/tokens/{name}");
        TokenCreated {
            token: text("token"),
            key_id: made["key_id"].as_str().map(str::to_owned),
            expires_at: text("expires_at"),
            renewable_until: text("renewable_until"),
            details: rig.client().get(&path).await.unwrap(),
            gateway: made["gateway"].as_str().map(str::to_owned),
            root: text("root"),
        }
    }

    /// Signs with openssl, and gives the signature as JWS has it.
    async fn sign(&self, key: &Key, text: &str) -> String {
        let input = tempfile::NamedTempFile::new_in(&self.bench.dir).unwrap();
        std::fs::write(input.path(), text).unwrap();
        let line = format!(
            "dgst -sha256 -sign {}.pem {}",
            key.name,
            input.path().display()
        );
        let der = self.bench.openssl(&line).await.stdout;
        // SEQUENCE { INTEGER r, INTEGER s }, each without leading zeros (RFC 3279 §2.2.3).
        let mut at = 2;
        let mut raw = Vec::new();
        for _ in 0..2 {
            let length = usize::from(der[at + 1]);
            let number = &der[at + 2..at + 2 + length];
            let number = &number[number.len().saturating_sub(32)..];
            raw.extend(vec![0; 32 - number.len()]);
            raw.extend(number);
            at += 2 + length;
        }
        URL_SAFE_NO_PAD.encode(raw)
    }

    pub async fn prove(&self, key: &Key, claims: &Value) -> String {
        let header = json!({
            "typ": "dpop+jwt", "alg": "ES256",
            "jwk": {"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y},
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.sign(key, &signed).await;
        format!("{signed}.{signature}")
    }

    /// The claims of a proof for a request.
    pub fn claims(&self, method: &str, path: &str, token: &str) -> Value {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        json!({
            "jti": format!("test-{number}"),
            "htm": method,
            "htu": format!("{}{path}", self.url),
            "iat": machine_time_s(),
            "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(token)),
        })
    }

    /// Asks with a token and these claims; if the gateway wants a nonce, once more with it. Gives
    /// the proof that was sent last, too.
    pub async fn ask_with(
        &self,
        path: &str,
        token: &str,
        key: &Key,
        mut claims: Value,
        args: &[&str],
    ) -> (Answer, String) {
        let authorization = format!("Authorization: DPoP {token}");
        for _ in 0..2 {
            let proof = self.prove(key, &claims).await;
            let header = format!("DPoP: {proof}");
            let all = [&["-H", authorization.as_str(), "-H", header.as_str()], args].concat();
            let answer = self.curl(path, &all).await;
            match answer.header("dpop-nonce") {
                Some(nonce) => claims["nonce"] = nonce.into(),
                None => return (answer, proof),
            }
        }
        panic!("the nonce that was asked for is not taken");
    }

    /// The nonce that the gateway wants in a proof now (RFC 9449 §8).
    pub async fn nonce(&self, path: &str, token: &str, key: &Key) -> String {
        let proof = self.prove(key, &self.claims("GET", path, token)).await;
        let (authorization, proof) = (
            format!("Authorization: DPoP {token}"),
            format!("DPoP: {proof}"),
        );
        let answer = self.curl(path, &["-H", &authorization, "-H", &proof]).await;
        answer.header("dpop-nonce").unwrap().to_owned()
    }

    /// Asks with a token as it should be done.
    pub async fn get(&self, path: &str, token: &str, key: &Key) -> Answer {
        let claims = self.claims("GET", path, token);
        self.ask_with(path, token, key, claims, &[]).await.0
    }

    /// Has something done with a token.
    pub async fn post(&self, path: &str, token: &str, key: &Key, args: &[&str]) -> Answer {
        let claims = self.claims("POST", path, token);
        let args = [&["-X", "POST"], args].concat();
        self.ask_with(path, token, key, claims, &args).await.0
    }
}

/// A key in a file, which openssl alone reads.
pub struct Key {
    pub name: String,
    x: String,
    y: String,
}

/// One answer with its whole body.
pub async fn read_answer(tls: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let head_end = text.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(end) = head_end {
            let answer = Answer::parse(&String::from_utf8_lossy(&text));
            let length = answer
                .header("content-length")
                .map(|n| n.parse::<usize>().unwrap());
            if text.len() >= end + 4 + length.unwrap_or_default() {
                return answer;
            }
        }
        match timeout(PATIENCE, tls.read(&mut buffer)).await.unwrap() {
            Ok(n) if n > 0 => text.extend_from_slice(&buffer[..n]),
            _ => return Answer::parse(&String::from_utf8_lossy(&text)),
        }
    }
}
