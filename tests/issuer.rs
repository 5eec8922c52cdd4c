//! A third-party API behind the `http` connector: a server that makes and ends values, slowly, silently or not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::rig::{Rig, until};
use crate::vault::told;

/// How the API answers who asks for a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// With the value.
    Answers,
    /// With the value, a while after it was made.
    Slow(Duration),
    /// Once it is let go on, after the value was made.
    Holds,
    /// It makes the value and closes the connection.
    HangsUp,
    /// With no; nothing is made.
    Refuses,
    /// With the value; it ends none.
    Keeps,
}

struct Books {
    live: BTreeMap<String, String>,
    made: usize,
}

/// The API: its values by their ids.
pub struct Issuer {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
    mood: watch::Sender<Mood>,
}

impl Issuer {
    /// An API that is connected to the home as a bridge of `home`.
    pub async fn connected(rig: &Rig, name: &str) -> Self {
        let issuer = Self::started().await;
        issuer.connect(rig, name, "home", None).await;
        issuer
    }

    /// An API that no home supports.
    pub async fn started() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Mutex::new(Books {
            live: BTreeMap::new(),
            made: 0,
        }));
        let mood = watch::Sender::new(Mood::Answers);
        let (kept, moods) = (Arc::clone(&books), mood.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&kept), moods.subscribe()));
            }
        });
        Self {
            address,
            books,
            mood,
        }
    }

    /// Connects it to the home as a bridge of an environment, asked by a credential if one is named.
    pub async fn connect(&self, rig: &Rig, name: &str, environment: &str, authority: Option<&str>) {
        let headers = match authority {
            Some(_) => serde_json::json!({"Authorization": "Bearer {{authority}}"}),
            None => serde_json::json!({}),
        };
        let settings = serde_json::json!({
            "base_url": format!("http://{}", self.address),
            "two_live": true,
            "lifetime_s": 86400,
            "mint": {
                "method": "POST", "path": "/values", "works": [201], "value": "/value", "remote_id": "/id",
                "json": {"name": "{{label}}", "ttl": "{{lifetime_s}}"}, "headers": headers,
            },
            "revoke": {"method": "DELETE", "path": "/values/{{remote_id}}", "works": [204], "fails": [404]},
        });
        let file = rig.work.path().join(format!("{name}.json"));
        std::fs::write(&file, settings.to_string()).unwrap();
        let mut connect = vec![
            "bridge",
            "connect",
            "http",
            name,
            "--env",
            environment,
            "--owner",
            "anna",
            "--purpose",
            "test",
            "--settings",
            file.to_str().unwrap(),
        ];
        connect.extend(authority.iter().flat_map(|name| ["--authority", name]));
        told(rig, &connect).await;
    }

    pub fn is_in(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// The values that it takes.
    pub fn live(&self) -> Vec<String> {
        self.books.lock().unwrap().live.values().cloned().collect()
    }

    /// Waits until it has made so many values in all.
    pub async fn has_made(&self, count: usize) {
        until(
            &format!("{count} values made at {}", self.address),
            async || (self.made() == count).then_some(()),
        )
        .await;
    }

    pub fn made(&self) -> usize {
        self.books.lock().unwrap().made
    }
}

async fn answer(mut stream: TcpStream, books: Arc<Mutex<Books>>, mut mood: watch::Receiver<Mood>) {
    let mut read = Vec::new();
    let head = loop {
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(count) if count > 0 => read.extend_from_slice(&part[..count]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                break head.to_owned();
            }
        }
    };
    let now = *mood.borrow();
    let (status, body) = match head.strip_prefix("DELETE /values/") {
        Some(_) if now == Mood::Keeps => ("503 Service Unavailable", String::new()),
        Some(rest) => {
            let id = rest.split(' ').next().unwrap();
            match books.lock().unwrap().live.remove(id) {
                Some(_) => ("204 No Content", String::new()),
                None => ("404 Not Found", String::new()),
            }
        }
        None if now == Mood::Refuses => ("400 Bad Request", String::new()),
        None => {
            let (id, value) = {
                let mut books = books.lock().unwrap();
                books.made += 1;
                let (id, value) = (
                    format!("id-{}", books.made),
                    format!("issued-value-{}", books.made),
                );
                books.live.insert(id.clone(), value.clone());
                (id, value)
            };
            match now {
                Mood::HangsUp => return,
                // How slow the API is, is what it plays.
                Mood::Slow(how) => tokio::time::sleep(how).await,
                Mood::Holds => drop(mood.wait_for(|mood| *mood != Mood::Holds).await),
                Mood::Answers | Mood::Refuses | Mood::Keeps => {}
            }
            (
                "201 Created",
                format!("{{\"value\":{value:?},\"id\":{id:?}}}"),
            )
        }
    };
    let length = body.len();
    let said =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(said.as_bytes()).await;
}
