//! Users of a Mosquitto broker, over its dynamic security plugin: commands as JSON on a topic, answers on another.
//!
//! The value is the password; `remote_id` is the user name. A broker has one password for each user, so a new value is
//! a new user with the roles and groups of the one it follows: both work until the old user is deleted, which also
//! drops its sessions. Seen against 2.0.11.

use hearthkey_core::id::hex;
use hearthkey_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::address::{MQTT, Site};
use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::limits::Patience;
use crate::line::{Line, within};
use crate::mqtt::{Entry, Session};
use crate::progress::Progress;
use crate::quote;

const ASK: &str = "$CONTROL/dynamic-security/v1";
const ANSWER: &str = "$CONTROL/dynamic-security/v1/response";
/// A client that may publish below this topic administers the broker.
const CONTROL: &str = "$CONTROL";
const ADMIN_ROLE: &str = "admin";
const USER_MAX_CHARS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: String,
    #[serde(default)]
    allow_plain: bool,
    root_pem: Option<String>,
    pin_sha256: Option<String>,
    /// The user whose password is the authority.
    #[serde(default = "admin")]
    admin: String,
    /// The roles of a new user that follows nobody.
    #[serde(default)]
    roles: Vec<String>,
}

fn admin() -> String {
    "admin".to_owned()
}

pub(crate) struct Mosquitto {
    line: Line,
    admin: String,
    roles: Vec<String>,
    authority: Option<Secret>,
    patience: Patience,
}

#[derive(Serialize)]
#[serde(tag = "command", rename_all = "camelCase")]
enum Say<'a> {
    CreateClient {
        username: &'a str,
        password: &'a str,
        textname: &'a str,
        roles: &'a [Role],
        groups: &'a [Group],
    },
    DeleteClient {
        username: &'a str,
    },
    GetClient {
        username: &'a str,
    },
    GetGroup {
        groupname: &'a str,
    },
    GetRole {
        rolename: &'a str,
    },
}

#[derive(Serialize)]
struct Commands<'a> {
    commands: [Command<'a>; 1],
}

#[derive(Serialize)]
struct Command<'a> {
    #[serde(flatten)]
    say: &'a Say<'a>,
    #[serde(rename = "correlationData")]
    correlation: &'a str,
}

#[derive(Deserialize)]
struct Responses {
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "correlationData")]
    correlation: Option<String>,
    error: Option<String>,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize, Default)]
struct Data {
    client: Option<Client>,
    group: Option<Members>,
    role: Option<Rules>,
}

#[derive(Deserialize)]
struct Client {
    textname: Option<String>,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    roles: Vec<Role>,
}

#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    acls: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    acltype: String,
    topic: String,
    #[serde(default)]
    allow: bool,
}

#[derive(Serialize, Deserialize)]
struct Role {
    rolename: String,
    #[serde(default = "no_priority")]
    priority: i32,
}

#[derive(Serialize, Deserialize)]
struct Group {
    groupname: String,
    #[serde(default = "no_priority")]
    priority: i32,
}

/// What the plugin itself writes when none was given.
fn no_priority() -> i32 {
    -1
}

/// What the plugin answers: data, or its objection.
type Answered = Result<Data, String>;

const NOT_FOUND: &str = "Client not found";
const EXISTS: &str = "Client already exists";

impl Mosquitto {
    pub(crate) fn new(
        settings: &str,
        authority: Option<Secret>,
        patience: Patience,
    ) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        let site = Site::read("url", &settings.url, &MQTT, settings.allow_plain)?;
        let tls = crate::tls::config(settings.root_pem.as_deref(), settings.pin_sha256.as_deref())?;
        if !site.prefix.is_empty() {
            return Err(SettingsError::invalid(
                "url",
                "has a path: write host and port",
            ));
        }
        Ok(Self {
            line: Line { site, tls },
            admin: settings.admin,
            roles: settings.roles,
            authority,
            patience,
        })
    }

    fn at(&self) -> String {
        self.line.site.to_string()
    }

    fn no_authority(&self, why: &str) -> BridgeError {
        BridgeError::NoAuthority {
            at: self.at(),
            why: why.to_owned(),
        }
    }

    fn refused(&self, why: &str) -> BridgeError {
        BridgeError::Refused {
            at: self.at(),
            why: quote::peer(why),
        }
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, BridgeError>>,
    ) -> Result<T, BridgeError> {
        within(self.patience.exchange, &self.line.site, work).await
    }

    /// Whose password a value is.
    fn user(held: &Held) -> Result<&str, BridgeError> {
        let user = held.remote_id.as_deref();
        user.ok_or_else(|| BridgeError::Incomplete {
            why: "a value of this bridge has no user name: rotate it with its user name as --remote-id"
                .into(),
        })
    }

    async fn administer(&self) -> Result<Desk<'_>, BridgeError> {
        let password = self.authority.as_ref().ok_or_else(|| {
            self.no_authority("the password of its administrator is not recorded")
        })?;
        match Session::open(&self.line, &self.admin, password).await? {
            Entry::Refused(code) => {
                Err(self.no_authority(&format!("its administrator's password is refused ({code})")))
            }
            Entry::Open(mut session) => {
                session.subscribe(ANSWER).await?;
                Ok(Desk {
                    bridge: self,
                    session,
                })
            }
        }
    }

    async fn create(&self, order: &MintOrder) -> Result<Minted, BridgeError> {
        let mut desk = self.administer().await?;
        let (roles, groups) = desk.rights_for(order).await?;
        let username = user_of(&order.label);
        let password = crate::random::password()?;
        let create = Say::CreateClient {
            username: &username,
            password: password.expose_text().unwrap_or_default(),
            textname: &order.label,
            roles: &roles,
            groups: &groups,
        };
        let mut answered = desk.ask(&create).await?;
        if answered.as_ref().is_err_and(|error| error == EXISTS) {
            let left = desk.client(&username).await?;
            if left.and_then(|left| left.textname) != Some(order.label.clone()) {
                return Err(
                    self.refused("a user of that name exists and was not created by Hearthkey")
                );
            }
            // It is ours, from an attempt whose answer was lost.
            desk.delete(&username).await?;
            answered = desk.ask(&create).await?;
        }
        answered.map_err(|error| self.refused(&error))?;
        desk.session.leave().await;
        Ok(Minted {
            value: password,
            remote_id: Some(username),
            lifetime: None,
        })
    }

    async fn end(&self, held: &Held) -> Result<Revoked, BridgeError> {
        let user = Self::user(held)?;
        if user == self.admin {
            return Ok(Revoked::ByHand(format!(
                "{user:?} is the user by which Hearthkey administers the broker: give it a new password with \
                 mosquitto_ctrl dynsec setClientPassword {user}, and record it as the authority."
            )));
        }
        let mut desk = self.administer().await?;
        desk.delete(user).await?;
        desk.session.leave().await;
        Ok(Revoked::Gone)
    }

    async fn sign_in(&self, held: &Held) -> Result<Verified, BridgeError> {
        match Session::open(&self.line, Self::user(held)?, &held.value).await? {
            Entry::Open(session) => {
                session.leave().await;
                Ok(Verified::Works)
            }
            Entry::Refused(code) => Ok(Verified::Fails(format!("the broker refused it: {code}"))),
        }
    }

    async fn rights(&self, held: &Held) -> Result<Scopes, BridgeError> {
        let user = Self::user(held)?;
        let mut desk = self.administer().await?;
        let client = desk.client(user).await?;
        let client = client.ok_or_else(|| self.refused("it has no such user"))?;
        let mut roles: Vec<String> = client.roles.into_iter().map(|role| role.rolename).collect();
        for group in client.groups {
            let groupname = &group.groupname;
            let found = desk.ask(&Say::GetGroup { groupname }).await?;
            let members = found.map_err(|error| self.refused(&error))?.group;
            let members = members.map(|members| members.roles).unwrap_or_default();
            roles.extend(members.into_iter().map(|role| role.rolename));
        }
        roles.sort();
        roles.dedup();
        let mut scopes = Scopes::default();
        for role in roles {
            let found = desk.ask(&Say::GetRole { rolename: &role }).await?;
            let rules = found.map_err(|error| self.refused(&error))?.role;
            let rules = rules.map(|rules| rules.acls).unwrap_or_default();
            let named = quote::peer(&role);
            if role == ADMIN_ROLE || rules.iter().any(Rule::administers) {
                scopes.privileged = Some(format!(
                    "its role {named} may administer the broker: give it a role with the topics that it uses"
                ));
            }
            let allowed = rules.iter().filter(|rule| rule.allow);
            scopes.rights.extend(allowed.map(|rule| {
                let (what, topic) = (quote::peer(&rule.acltype), quote::topic(&rule.topic));
                format!("role {named}: {what} on {topic}")
            }));
        }
        desk.session.leave().await;
        Ok(scopes)
    }
}

impl Rule {
    fn administers(&self) -> bool {
        self.allow && self.acltype == "publishClientSend" && self.topic.starts_with(CONTROL)
    }
}

/// A session of the administrator.
struct Desk<'a> {
    bridge: &'a Mosquitto,
    session: Box<Session>,
}

impl Desk<'_> {
    async fn ask(&mut self, say: &Say<'_>) -> Result<Answered, BridgeError> {
        // Every administrator receives every answer: this one is identified by a random mark.
        let correlation = hex(crate::random::bytes::<16>()?.as_ref());
        let commands = Commands {
            commands: [Command {
                say,
                correlation: &correlation,
            }],
        };
        let payload = serde_json::to_vec(&commands).map_err(|_| BridgeError::Incomplete {
            why: "the command cannot be written as JSON".into(),
        })?;
        let wanted = |bytes: &[u8]| {
            let heard: Responses = serde_json::from_slice(bytes).ok()?;
            heard
                .responses
                .into_iter()
                .find(|response| response.correlation.as_deref() == Some(correlation.as_str()))
        };
        let payload = Zeroizing::new(payload);
        let response = self.session.ask(ASK, payload, ANSWER, wanted).await?;
        Ok(match response.error {
            Some(error) => Err(error),
            None => Ok(response.data),
        })
    }

    async fn client(&mut self, username: &str) -> Result<Option<Client>, BridgeError> {
        match self.ask(&Say::GetClient { username }).await? {
            Ok(data) => Ok(data.client),
            Err(error) if error == NOT_FOUND => Ok(None),
            Err(error) => Err(self.bridge.refused(&error)),
        }
    }

    async fn delete(&mut self, username: &str) -> Result<(), BridgeError> {
        match self.ask(&Say::DeleteClient { username }).await? {
            Ok(_) => Ok(()),
            Err(error) if error == NOT_FOUND => Ok(()),
            Err(error) => Err(self.bridge.refused(&error)),
        }
    }

    /// The rights of a new user: those ordered, or those of the user it follows, or those of the settings.
    async fn rights_for(
        &mut self,
        order: &MintOrder,
    ) -> Result<(Vec<Role>, Vec<Group>), BridgeError> {
        let by_name = |names: &[String]| {
            let role = |name: &String| Role {
                rolename: name.clone(),
                priority: no_priority(),
            };
            names.iter().map(role).collect()
        };
        if !order.scopes.is_empty() {
            return Ok((by_name(&order.scopes), Vec::new()));
        }
        let followed = order
            .replaces
            .as_ref()
            .and_then(|old| old.remote_id.as_deref());
        if let Some(user) = followed
            && let Some(client) = self.client(user).await?
        {
            return Ok((client.roles, client.groups));
        }
        if self.bridge.roles.is_empty() {
            return Err(BridgeError::Incomplete {
                why: "a new user needs a role: order scopes, or write \"roles\" into the settings"
                    .into(),
            });
        }
        Ok((by_name(&self.bridge.roles), Vec::new()))
    }
}

/// A user name for a label: the broker's own tools take these characters anywhere.
fn user_of(label: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '-'
        }
    };
    label.chars().map(plain).take(USER_MAX_CHARS).collect()
}

impl Connector for Mosquitto {
    fn abilities(&self) -> Abilities {
        let administered = self.authority.is_some();
        let mut cannot = vec![
            "A user that is bound to one client id is not checked: signing in as it would cut its device off.".into(),
            "The broker ends no user by time: a lease is ended by deleting its user.".into(),
        ];
        if !administered {
            cannot.push(
                "Without the administrator's password nothing is made, ended or listed.".into(),
            );
        }
        Abilities {
            verify: true,
            mint: administered,
            revoke: administered,
            scopes: administered,
            notify: false,
            children: administered,
            shortest_child: None,
            two_live: true,
            ends_lost: true,
            needs_person: false,
            cost: Some("Each client needs a new user name with its new password.".into()),
            cannot,
        }
    }

    fn authority_id(&self) -> Option<&str> {
        Some(&self.admin)
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(self.bounded(self.sign_in(held)))
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async move {
            progress.tell("Asking the broker for a new user.");
            self.bounded(self.create(order)).await
        })
    }

    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(self.bounded(self.end(held)))
    }

    fn scopes<'a>(&'a self, held: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(self.bounded(self.rights(held)))
    }
}
