//! `hearthkey person …`.

use clap::{Args, Subcommand};
use hearthkey_api::{
    Ended, Invited, PersonChange, PersonChanged, PersonList, PersonRequest, PersonView,
    WebSessionList,
};

use crate::audience;
use crate::context::{Context, Nothing};
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::table::Table;
use crate::url_path::Name;

const PATH: &str = "/api/v1/people";

/// The commands about people.
#[derive(Debug, Subcommand)]
pub enum Person {
    /// List people, with their roles and login methods.
    List,
    /// Invite a person: prints a link that works once, for three days.
    Invite(Invite),
    /// Invite a person again who has not joined yet, or has lost every login method.
    InviteAgain {
        /// The person's name.
        name: Name,
    },
    /// Change a person's role, from their next request on.
    Change(Change),
    /// End a person's access: sessions, passkeys, password and codes.
    End {
        /// The person's name.
        name: Name,
    },
    /// Print a new link that invites the first owner; it replaces the earlier link.
    SetupLink,
    /// List live sessions in browsers.
    Sessions,
    /// End a session now.
    EndSession {
        /// The session's id.
        id: Name,
    },
}

/// What `person invite` is told.
#[derive(Debug, Args)]
pub struct Invite {
    /// The name of the new person: 1 to 63 of a-z, 0-9 and inner -.
    name: String,
    #[command(flatten)]
    mandate: Mandate,
    #[command(flatten)]
    showing: Showing,
}

/// What `person change` is told.
#[derive(Debug, Args)]
pub struct Change {
    /// The person's name.
    name: Name,
    #[command(flatten)]
    mandate: Mandate,
    #[command(flatten)]
    showing: Showing,
}

/// A role, and where it holds.
#[derive(Debug, Args)]
struct Mandate {
    /// owner, operator, developer or auditor.
    #[arg(long)]
    role: String,
    /// An environment that the role is limited to; repeatable. Without one, all; a developer needs one other than
    /// home.
    #[arg(
        long = "env",
        short,
        visible_alias = "environment",
        value_name = "NAME"
    )]
    environments: Vec<String>,
}

impl Person {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        match self {
            Self::List => show(context, &client.get(PATH).await?),
            Self::Invite(Invite {
                name,
                mandate,
                showing,
            }) => {
                audience::may_see("link")?;
                let request = PersonRequest {
                    name,
                    role: mandate.role,
                    environments: mandate.environments,
                    second_factor: showing.second_factor()?,
                };
                invited(context, &client.post(PATH, &request).await?)
            }
            Self::InviteAgain { name } => {
                audience::may_see("link")?;
                let path = format!("{PATH}/{}/invite", name.segment());
                invited(context, &client.post(&path, &Nothing {}).await?)
            }
            Self::Change(Change {
                name,
                mandate,
                showing,
            }) => {
                let path = format!("{PATH}/{}/change", name.segment());
                let change = PersonChange {
                    role: mandate.role,
                    environments: mandate.environments,
                    second_factor: showing.second_factor()?,
                };
                let changed: PersonChanged = client.post(&path, &change).await?;
                show(context, &changed.list)?;
                asides(context, changed.durable);
                Ok(())
            }
            Self::End { name } => {
                let path = format!("{PATH}/{}/end", name.segment());
                let ended: Ended = client.post(&path, &Nothing {}).await?;
                output.answer(&ended, || {
                    format!(
                        "The access of {} has ended, and so have their sessions.",
                        ended.ended
                    )
                })?;
                asides(context, ended.durable);
                Ok(())
            }
            Self::SetupLink => {
                audience::may_see("link")?;
                let path = format!("{PATH}/setup-link");
                invited(context, &client.post(&path, &Nothing {}).await?)
            }
            Self::Sessions => {
                let list: WebSessionList = client.get("/api/v1/sessions").await?;
                output.answer(&list.sessions, || sessions(&list))
            }
            Self::EndSession { id } => {
                let path = format!("/api/v1/sessions/{}/end", id.segment());
                let ended: Ended = client.post(&path, &Nothing {}).await?;
                output.answer(&ended, || format!("The session {} has ended.", ended.ended))?;
                asides(context, ended.durable);
                Ok(())
            }
        }
    }
}

/// Says that what was taken from somebody is not saved to disk yet.
fn asides(context: &Context, durable: bool) {
    if !durable {
        context.output.aside(NOT_DURABLE);
    }
}

const NOT_DURABLE: &str = "This is in effect, but not saved to disk yet. Saving is retried; it is lost if the gateway stops before that. Check the gateway's disk and `hearthkey status`.";

fn invited(context: &Context, invited: &Invited) -> Result<(), Failure> {
    context.output.answer(invited, || invited.url.clone())?;
    let who = invited.name.as_deref().unwrap_or("the first owner");
    context.output.aside(&format!(
        "Send this link to {who} over a channel you trust. It works once, until {}.",
        invited.expires_at
    ));
    Ok(())
}

fn show(context: &Context, list: &PersonList) -> Result<(), Failure> {
    context.output.answer(&list.people, || people(list))
}

fn ways(person: &PersonView) -> String {
    let mut ways = Vec::new();
    match person.passkeys {
        0 => {}
        1 => ways.push("1 passkey".to_owned()),
        n => ways.push(format!("{n} passkeys")),
    }
    if person.password {
        ways.push("password and code".to_owned());
    }
    if person.state == "active" {
        ways.push(format!("{} recovery codes", person.recovery_codes_left));
    }
    ways.join(", ")
}

const NO_OWNER: &str = "This home has no owner yet. `hearthkey person setup-link` prints the link for the first one; \
                        the gateway must run with --http.";

/// The state of a person: an invitation that was not accepted in time has ended.
fn state(person: &PersonView) -> String {
    match (person.state.as_str(), &person.invited_until) {
        ("invited", Some(until)) => format!("invited until {until}"),
        ("invited", None) => "invitation has ended".to_owned(),
        // Somebody who has lost every way in may join again.
        ("active", Some(until)) => format!("active, invited until {until}"),
        (state, _) => state.to_owned(),
    }
}

fn people(list: &PersonList) -> String {
    if list.people.is_empty() {
        return NO_OWNER.to_owned();
    }
    let mut table = Table::new(&[
        "NAME",
        "ROLE",
        "WHERE",
        "STATE",
        "LOGIN METHODS",
        "LAST SEEN",
    ]);
    for person in &list.people {
        let place = match person.environments.as_slice() {
            _ if person.state == "ended" => "nowhere".to_owned(),
            [] => "everywhere".to_owned(),
            named => named.join(", "),
        };
        table.row(&[
            &person.name,
            &person.role,
            &place,
            &state(person),
            &ways(person),
            person.last_seen_at.as_deref().unwrap_or_default(),
        ]);
    }
    match list.has_owner {
        true => table.render(),
        false => format!("{}\n{NO_OWNER}", table.render().trim_end()),
    }
}

fn sessions(list: &WebSessionList) -> String {
    if list.sessions.is_empty() {
        return "Nobody is logged in.".to_owned();
    }
    let mut table = Table::new(&[
        "ID",
        "PERSON",
        "ROLE",
        "FROM",
        "LAST USED",
        "ENDS",
        "BROWSER",
    ]);
    for session in &list.sessions {
        table.row(&[
            &session.id,
            &session.person,
            &session.role,
            &session.address,
            &session.last_used_at,
            &session.expires_at,
            &session.agent,
        ]);
    }
    table.render()
}
