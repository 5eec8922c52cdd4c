//! Tokens, as people read them.

use std::path::Path;

use hearthkey_api::{TokenSelf, TokenView};

use crate::table::{Table, count, facts};

/// What is said of a revocation that the disk did not take.
pub const NOT_DURABLE: &str = "The token is refused from now on, but this is not saved to disk yet. Saving is retried; it is lost if the gateway stops before that. Check the gateway's disk and `hearthkey status`.";
/// What is said of leases whose bridge did not answer.
pub fn leases_left(number: usize) -> String {
    format!(
        "{} of it could not be ended now, because the bridge did not respond. This is retried when the lease expires; or end it with `hearthkey credential end-lease`.",
        count(number as u64, "lease")
    )
}

/// What is said of a token that cannot be used anywhere.
pub const NO_LISTENER: &str =
    "This gateway has no HTTPS listener, so the token cannot be used yet. Run it with --http.";

/// Where a token is good.
fn places(environments: &[String]) -> String {
    match environments {
        [] => "all".to_owned(),
        named => named.join(" "),
    }
}

fn granted(allow: &[String]) -> Option<String> {
    (!allow.is_empty()).then(|| allow.join(" "))
}

/// What a token may do there.
fn power(role: Option<&str>, allow: &[String]) -> String {
    role.map_or_else(|| allow.join(" "), |role| format!("role {role}"))
}

/// The list of tokens.
pub fn list(tokens: &[TokenView]) -> String {
    let mut table = Table::new(&[
        "TOKEN",
        "STATE",
        "ENVIRONMENTS",
        "MAY",
        "OWNER",
        "EXPIRES",
        "LAST USED",
    ]);
    for token in tokens {
        table.row(&[
            &token.name,
            &token.state,
            &places(&token.environments),
            &power(token.role.as_deref(), &token.allow),
            &token.owner,
            &token.expires_at,
            token.last_used_at.as_deref().unwrap_or_default(),
        ]);
    }
    let held: Vec<&str> = tokens
        .iter()
        .filter(|token| token.state == "held")
        .map(|token| token.name.as_str())
        .collect();
    let mut text = table.render();
    if !held.is_empty() {
        text.push_str(&format!(
            "\n\nHeld until a person authorizes them again: {}. \
             `hearthkey token reauthorize NAME`, or `hearthkey token revoke NAME`.",
            held.join(", ")
        ));
    }
    text
}

/// One token in full.
pub fn token(token: &TokenView) -> String {
    facts(&[
        ("token", Some(token.name.clone())),
        ("id", Some(token.id.clone())),
        ("state", Some(token.state.clone())),
        ("role", token.role.clone()),
        ("environments", Some(places(&token.environments))),
        ("allow", granted(&token.allow)),
        ("owner", Some(token.owner.clone())),
        ("purpose", Some(token.purpose.clone())),
        (
            "made by",
            Some(token.made_by.clone()).filter(|by| !by.is_empty()),
        ),
        ("bound to", Some(token.binding.clone())),
        ("created", Some(token.created_at.clone())),
        ("authorized", Some(token.authorized_at.clone())),
        ("expires", Some(token.expires_at.clone())),
        ("renewable until", Some(token.renewable_until.clone())),
        ("revoked", token.revoked_at.clone()),
        ("uses", Some(token.uses.to_string())),
        (
            "last used",
            Some(token.last_used_at.clone().unwrap_or("never".into())),
        ),
        ("last address", token.last_address.clone()),
    ])
}

/// The token that asks.
pub fn own(token: &TokenSelf) -> String {
    facts(&[
        ("token", Some(token.name.clone())),
        ("role", token.role.clone()),
        ("environments", Some(places(&token.environments))),
        ("allow", granted(&token.allow)),
        ("expires", Some(token.expires_at.clone())),
        ("renewable until", Some(token.renewable_until.clone())),
    ])
}

/// A token that lives longer.
pub fn extended(token: &TokenView) -> String {
    format!(
        "{} is valid until {}, and can be renewed until {}.",
        token.name, token.expires_at, token.renewable_until
    )
}

/// A token that was made.
pub fn created(token: &TokenView, file: Option<&Path>, shown: Option<&str>) -> String {
    let mut lines = vec![
        extended(token),
        format!("It is bound to {}.", token.binding),
    ];
    if let Some(file) = file {
        lines.push(format!(
            "Give its service the file {}, and set HEARTHKEY_TOKEN_FILE={} there.",
            file.display(),
            file.display()
        ));
    }
    if let Some(shown) = shown {
        lines.push(format!("It is shown only once: {shown}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_named_with_what_to_do() {
        let token = TokenView {
            id: "t-1".into(),
            name: "ci".into(),
            state: "held".into(),
            role: None,
            environments: vec!["lab".into()],
            allow: vec!["hue/*:read".into(), "*:list".into()],
            owner: "anna".into(),
            purpose: "tests".into(),
            made_by: "uid:0".into(),
            binding: "device:lamp".into(),
            created_at: "C".into(),
            authorized_at: "A".into(),
            expires_at: "E".into(),
            renewable_until: "R".into(),
            revoked_at: None,
            uses: 0,
            last_used_at: None,
            last_address: None,
        };
        assert_eq!(
            list(std::slice::from_ref(&token)),
            "TOKEN  STATE  ENVIRONMENTS  MAY                OWNER  EXPIRES  LAST USED\n\
             ci     held   lab           hue/*:read *:list  anna   E        -\n\n\
             Held until a person authorizes them again: ci. \
             `hearthkey token reauthorize NAME`, or `hearthkey token revoke NAME`."
        );
        assert_eq!(
            created(&token, None, Some("hk1_x")),
            "ci is valid until E, and can be renewed until R.\n\
             It is bound to device:lamp.\nIt is shown only once: hk1_x"
        );
    }
}
