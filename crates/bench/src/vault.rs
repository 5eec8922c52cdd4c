//! The vault under measurement: reading values, each recorded before it is given, beside OpenBao;
//! and listing, searching and checking an inventory that is full.

use std::path::Path;
use std::sync::Arc;

use hearthkey_api::{ProofKey, SOCKET_FILE, TokenCreated, TokenRequest};
use hearthkey_gateway::measure::{Issuance, credential_name, has_expired};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Stopwatch;
use crate::failure::{Failure, failed};
use crate::found::{Found, Latency};
use crate::http::{Http, Way, drive, request};
use crate::openbao::OpenBao;
use crate::process::{Broker, Process};
use crate::program::{Program, make_directory};

/// Both sides take turns, so that neither has the better half of the time.
const ROUNDS: usize = 3;
/// The n-th read is of the credential so many steps on; prime, so that every one is read.
const STEP: usize = 7919;
const REVEAL: &str = "/api/v1/environments/home/reveal";

/// What reading found on one side.
#[derive(Default)]
struct Reading {
    seconds: f64,
    cpu_us: u64,
    us: Vec<u64>,
}

#[derive(Serialize)]
struct Told {
    rate_per_s: f64,
    cpu_us_per_op: f64,
    latency_us: Option<Latency>,
}

impl Reading {
    async fn go_on(
        &mut self,
        process: &Process,
        way: &Way,
        lists: Vec<Vec<Vec<u8>>>,
    ) -> Result<(), Failure> {
        let before = process.cpu_us();
        let (seconds, us) = drive(way, lists).await?;
        self.cpu_us += process.cpu_us() - before;
        self.seconds += seconds;
        self.us.extend(us);
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.us.len() as f64 / self.seconds
    }

    fn cpu_each(&self) -> f64 {
        self.cpu_us as f64 / self.us.len() as f64
    }

    fn told(&self) -> Told {
        Told {
            rate_per_s: self.rate(),
            cpu_us_per_op: self.cpu_each(),
            latency_us: Latency::of(self.us.clone()),
        }
    }
}

/// Shares `count` requests among `concurrency` connections.
fn shared_out(
    count: usize,
    concurrency: usize,
    mut make: impl FnMut(usize, usize) -> Vec<u8>,
) -> Vec<Vec<Vec<u8>>> {
    let each = count.div_ceil(concurrency).max(1);
    let mut list = |worker| {
        (0..each)
            .map(|n| make(worker, n * concurrency + worker))
            .collect()
    };
    (0..concurrency).map(&mut list).collect()
}

fn picked(n: usize, stored: usize) -> String {
    let n = n * STEP % stored;
    credential_name(n - usize::from(has_expired(n)))
}

fn reveal_body(name: &str) -> Vec<u8> {
    json!({"names": [name], "use": "run"})
        .to_string()
        .into_bytes()
}

fn local_reveal(name: &str) -> Vec<u8> {
    let head = "host: hearthkey\r\ncontent-type: application/json\r\n";
    request("POST", REVEAL, head, &reveal_body(name))
}

async fn filled(
    program: &Program,
    directory: &Path,
    stored: usize,
) -> Result<std::path::PathBuf, Failure> {
    let home = program.make_home(directory).await?;
    let issuance = Issuance::open(&home).await?;
    issuance.add_credentials(stored).await?;
    issuance.close().await;
    Ok(home)
}

/// Reads values, and the same of OpenBao if there is one, in turns.
pub async fn read(
    program: &Program,
    count: usize,
    concurrency: usize,
    stored: usize,
    openbao: Option<&Path>,
) -> Result<Found, Failure> {
    let directory = make_directory()?;
    let home = filled(program, directory.path(), stored).await?;
    let gateway = program.start(&home).await?;
    let way = Way::Unix(home.join(SOCKET_FILE));
    let peer = match openbao {
        Some(program) => Some(OpenBao::start(program, &directory.path().join("openbao")).await?),
        None => None,
    };
    if let Some(peer) = &peer {
        let values = (0..stored).map(|n| (credential_name(n), format!("{n:064x}")));
        peer.add(values).await?;
    }
    let ours = |_, n| local_reveal(&picked(n, stored));
    let theirs = |peer: &OpenBao, count| {
        shared_out(count, concurrency, |_, n| peer.read(&picked(n, stored)))
    };
    // Once through beforehand, so that neither side is measured cold.
    let warm = count / 4;
    drive(&way, shared_out(warm, concurrency, ours)).await?;
    if let Some(peer) = &peer {
        drive(&peer.way, theirs(peer, warm)).await?;
    }
    let (mut own, mut other) = (Reading::default(), Reading::default());
    for _ in 0..ROUNDS {
        let lists = shared_out(count / ROUNDS, concurrency, ours);
        own.go_on(&gateway.process, &way, lists).await?;
        if let Some(peer) = &peer {
            let lists = theirs(peer, count / ROUNDS);
            other.go_on(&peer.process, &peer.way, lists).await?;
        }
    }
    let mut details = json!({
        "stored": stored,
        "rss_kib": gateway.process.rss_kib(),
        "load_average": load_average(),
    });
    if let Some(peer) = &peer {
        details["openbao"] = json!(other.told());
        details["openbao_rss_kib"] = json!(peer.process.rss_kib());
        details["rate_against_openbao"] = json!(own.rate() / other.rate());
        details["cpu_against_openbao"] = json!(own.cpu_each() / other.cpu_each());
    }
    gateway.stop().await;
    Ok(found(own, details))
}

/// Reads values over HTTPS, each connection as a service with a token and a key of its own. The
/// proofs are signed beforehand: a service does that on a machine of its own.
pub async fn read_over_https(
    program: &Program,
    count: usize,
    concurrency: usize,
    stored: usize,
) -> Result<Found, Failure> {
    let directory = make_directory()?;
    let home = filled(program, directory.path(), stored).await?;
    let (gateway, https) = program.start_with_https(&home).await?;
    let client = hearthkey_api::Client::new(&home);
    let authority = format!("localhost:{}", https.port());
    let mut services = Vec::with_capacity(concurrency);
    for n in 0..concurrency {
        services.push(Service::new(&client, n, &authority).await?);
    }
    let Some(first) = services.first() else {
        return Err(failed("nobody asks", &"the concurrency is zero"));
    };
    let way = Way::Tls(https, trusting(&first.created.root)?);
    let nonce = first.nonce(&way).await?;
    let mut reading = Reading::default();
    for round in 0..=ROUNDS {
        let count = if round == 0 {
            count / 16
        } else {
            count / ROUNDS
        };
        let lists = shared_out(count, concurrency, |worker, n| {
            services[worker].reveal(&picked(n, stored), &nonce)
        });
        if round == 0 {
            drive(&way, lists).await?;
        } else {
            reading.go_on(&gateway.process, &way, lists).await?;
        }
    }
    let details = json!({"stored": stored, "over": "https", "load_average": load_average()});
    gateway.stop().await;
    Ok(found(reading, details))
}

fn found(reading: Reading, details: Value) -> Found {
    Found {
        operations: reading.us.len() as f64,
        seconds: reading.seconds,
        cpu_us: reading.cpu_us,
        latency: Latency::of(reading.us),
        details,
    }
}

/// A service with its token and key.
struct Service {
    created: TokenCreated,
    key: ProofKey,
    authority: String,
}

impl Service {
    async fn new(
        client: &hearthkey_api::Client,
        n: usize,
        authority: &str,
    ) -> Result<Self, Failure> {
        let key = ProofKey::generate().map_err(|error| failed("no key", &error))?;
        let asked = TokenRequest {
            name: format!("service-{n}"),
            environments: vec!["home".into()],
            allow: vec!["*:read".into()],
            role: None,
            owner: None,
            purpose: None,
            ttl: "1h".into(),
            ceiling: "1d".into(),
            public_key: Some(key.public_pem()),
            bind: None,
            second_factor: None,
        };
        Ok(Self {
            created: client.post("/api/v1/tokens", &asked).await?,
            key,
            authority: authority.to_owned(),
        })
    }

    fn ask(&self, name: &str, nonce: Option<&str>) -> Vec<u8> {
        let (token, authority) = (&self.created.token, &self.authority);
        let url = format!("https://{authority}{REVEAL}");
        // Without a proof the request is refused, and so is the measurement.
        let proof = self
            .key
            .prove("POST", &url, token, nonce)
            .unwrap_or_default();
        let head = format!(
            "host: {authority}\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\
             content-type: application/json\r\n"
        );
        request("POST", REVEAL, &head, &reveal_body(name))
    }

    fn reveal(&self, name: &str, nonce: &str) -> Vec<u8> {
        self.ask(name, Some(nonce))
    }

    /// What the gateway wants in proofs right after its start.
    async fn nonce(&self, way: &Way) -> Result<String, Failure> {
        let mut http = Http::connect(way).await?;
        let refused = http.exchange(&self.ask(&credential_name(0), None)).await;
        let nonce = refused?.header("dpop-nonce").map(str::to_owned);
        nonce.ok_or_else(|| failed("no nonce", &"the gateway gave none"))
    }
}

fn trusting(root: &str) -> Result<Arc<ClientConfig>, Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed("the root cannot be used", error);
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots
            .add(root.map_err(|e| cannot(&e))?)
            .map_err(|e| cannot(&e))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| cannot(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// How busy the machine was, of itself and of this: the average of the last minute.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next();
    first.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Lists, searches, shows and checks an inventory that is full, over the socket.
pub async fn list(program: &Program, count: usize, stored: usize) -> Result<Found, Failure> {
    let directory = make_directory()?;
    let home = filled(program, directory.path(), stored).await?;
    let gateway = program.start(&home).await?;
    let mut inventory = Inventory::of(&home.join(SOCKET_FILE), gateway).await?;
    let (some, name) = (count.div_ceil(10), credential_name(stored / 2));
    let list = "/api/v1/credentials";
    let of_many = format!("{list}?limit=1000");
    let show = format!("/api/v1/environments/home/credentials/{name}");
    let mut details = json!({"stored": stored});
    let begun = Stopwatch::start();
    let before = inventory.cpu_us();
    let mut operations = 0;
    for (what, path, count) in [
        ("first_page_of_100", list.to_owned(), count),
        ("first_page_of_1000", of_many.clone(), some),
        ("search_one", format!("{list}?q={name}"), count),
        ("search_none", format!("{list}?q=no-such-thing"), count),
        ("search_a_page_of_100", format!("{list}?q=room%2017"), count),
        ("show", show, count),
        ("check", "/api/v1/findings".to_owned(), some),
    ] {
        details[what] = inventory.measure(&path, count).await?;
        operations += count;
    }
    let mut us = Vec::with_capacity(some);
    for _ in 0..some {
        let watch = Stopwatch::start();
        let listed = inventory.all(&of_many).await?;
        us.push(watch.elapsed_us());
        if listed < stored {
            return Err(failed("the list has an end too soon", &listed));
        }
    }
    operations += some;
    let all = Latency::of(us);
    details["all_pages"] = in_ms(all.as_ref(), 0);
    details["load_average"] = json!(load_average());
    let cpu_us = inventory.cpu_us() - before;
    inventory.stop().await;
    Ok(Found {
        operations: operations as f64,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_us,
        latency: all,
        details,
    })
}

fn in_ms(latency: Option<&Latency>, bytes: usize) -> Value {
    let ms = |us: u64| us as f64 / 1000.0;
    latency.map_or(
        Value::Null,
        |latency| json!({"ms_p50": ms(latency.p50), "ms_p99": ms(latency.p99), "bytes": bytes}),
    )
}

/// A gateway that is asked over its socket.
pub struct Inventory {
    http: Http,
    gateway: Broker,
}

impl Inventory {
    /// The gateway behind a socket.
    pub async fn of(socket: &Path, gateway: Broker) -> Result<Self, Failure> {
        let http = Http::connect(&Way::Unix(socket.to_owned())).await?;
        Ok(Self { http, gateway })
    }

    /// The CPU that it has used.
    pub fn cpu_us(&self) -> u64 {
        self.gateway.process.cpu_us()
    }

    /// Ends it.
    pub async fn stop(self) {
        self.gateway.stop().await;
    }

    async fn get(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        let asked = request("GET", path, "host: hearthkey\r\n", b"");
        Ok(self.http.exchange(&asked).await?.done()?)
    }

    /// How long a request takes that is made so often, and how much it answers.
    pub async fn measure(&mut self, path: &str, count: usize) -> Result<Value, Failure> {
        let mut us = Vec::with_capacity(count);
        let mut bytes = 0;
        for _ in 0..count {
            let watch = Stopwatch::start();
            bytes = self.get(path).await?.len();
            us.push(watch.elapsed_us());
        }
        Ok(in_ms(Latency::of(us).as_ref(), bytes))
    }

    /// Page after page; gives how many there were.
    async fn all(&mut self, path: &str) -> Result<usize, Failure> {
        /// As little of a page as is needed to go on.
        #[derive(serde::Deserialize)]
        struct Page {
            credentials: Vec<serde::de::IgnoredAny>,
            next: Option<String>,
        }
        let (mut listed, mut after) = (0, String::new());
        loop {
            let after_it = utf8_percent_encode(&after, NON_ALPHANUMERIC);
            let body = self.get(&format!("{path}&after={after_it}")).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| failed("a page cannot be read", &error))?;
            listed += page.credentials.len();
            match page.next {
                Some(next) => after = next,
                None => return Ok(listed),
            }
        }
    }
}
