//! Commands with a secret among their words: `--token …`, `curl -u user:…`, `Authorization: Bearer …`.

use crate::placeholder;

use super::form::is_random;
use super::words::names_a_secret;

/// Short options that carry a password, by the program that has them.
const SHORT: [(&str, &[&str]); 7] = [
    ("curl", &["-u", "--user"]),
    ("sshpass", &["-p"]),
    ("mosquitto_pub", &["-P", "--pw"]),
    ("mosquitto_sub", &["-P", "--pw"]),
    ("mosquitto_rr", &["-P", "--pw"]),
    ("redis-cli", &["-a"]),
    ("ipmitool", &["-P"]),
];
/// Programs whose `-p` has the password behind it, without a blank.
const JOINED: [&str; 6] = [
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mariadb",
    "mariadb-dump",
    "mariadb-admin",
];

/// Whether a value is a command with a secret among its words.
pub(super) fn has_secret(value: &str) -> bool {
    let words: Vec<&str> = value.split_whitespace().map(unquoted).collect();
    (0..words.len()).any(|at| {
        is_long_option(&words[at..], value)
            || is_short_option(&words, at)
            || is_header(&words[at..])
    })
}

/// The name of what the last of some words is given to, if that is a secret: `--token …`, `curl -u …`.
pub(super) fn given_to<'a>(words: &[&'a str]) -> Option<&'a str> {
    let last = words.len().checked_sub(1)?;
    let before = last.checked_sub(1);
    let option = before.and_then(|before| words[before].strip_prefix("--"));
    let announced = option.is_some_and(|name| !name.contains('=') && names_a_secret(name));
    if announced && !words[last].starts_with("--") {
        return option;
    }
    let short = before.is_some_and(|before| is_short_option(words, before));
    (short || is_short_option(words, last)).then_some("password")
}

/// Whether a word can be a secret: no variable, no path, no place for one.
pub(super) fn is_word(text: &str) -> bool {
    text.len() >= 8
        && text.bytes().any(|b| b.is_ascii_digit())
        && is_literal(text)
        && !text.starts_with(['/', '.', '~'])
}

fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(['$', '{', '<', '%', '`'])
        && placeholder::reason(text).is_none()
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// `--token …`, `--password=…`, `Bearer …`.
fn is_long_option(words: &[&str], value: &str) -> bool {
    let (name, own) = match words[0].strip_prefix("--") {
        Some(option) => match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        },
        None if words[0] == "Bearer" && !value.starts_with("Bearer ") => ("token", None),
        None => return false,
    };
    let given = own.or_else(|| words.get(1).copied());
    names_a_secret(name) && given.is_some_and(|given| is_word(unquoted(given)))
}

/// `curl -u user:password`, `sshpass -p password`, `mysql -ppassword`.
fn is_short_option(words: &[&str], at: usize) -> bool {
    let program = |names: &[&str]| {
        words[..at].iter().rev().take(24).any(|word| {
            let name = word.rsplit('/').next().unwrap_or(word);
            names.contains(&name)
        })
    };
    let word = words[at];
    let joined = word
        .strip_prefix("-p")
        .filter(|rest| !rest.starts_with('-'));
    if joined.is_some_and(|rest| rest.len() >= 6 && is_literal(rest)) && program(&JOINED) {
        return true;
    }
    let fits = |(name, options): &(&str, &[&str])| options.contains(&word) && program(&[*name]);
    let Some((name, _)) = SHORT.iter().find(|known| fits(known)) else {
        return false;
    };
    let given = words.get(at + 1).copied().unwrap_or_default();
    match *name {
        "curl" => given
            .split_once(':')
            .is_some_and(|(_, password)| password.len() >= 4 && is_literal(password)),
        _ => given.len() >= 4 && is_literal(given),
    }
}

/// `X-Api-Key: …`, as an option of curl has it.
fn is_header(words: &[&str]) -> bool {
    let name = words[0].strip_suffix(':').map(unquoted);
    let named = name.is_some_and(|name| name.contains('-') && names_a_secret(name));
    let basic = name == Some("Authorization") && words.get(1) == Some(&"Basic");
    let value = words
        .get(1 + usize::from(basic))
        .copied()
        .unwrap_or_default();
    (named || basic) && is_literal(value) && (is_word(value) || is_random(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_password_among_its_words_is_known() {
        for command in [
            "redis-server --requirepass geheim12",
            "tunnel run --token=q8Zr2mT0vX4k",
            "curl -u anna:geheim http://nas/",
            "/usr/bin/curl -s --user 'anna:geheim12' http://nas/",
            "sshpass -p geheim ssh pi@lamp",
            "mosquitto_pub -u ha -P geheim12 -t a -m b",
            "mysqldump -u ha -pgeheim12 ha",
            "curl -H \"X-Api-Key: q8Zr2mT0vX4k\" http://x/",
            "curl -H 'Authorization: Basic YW5uYTpnZWhlaW0x' http://x/",
        ] {
            assert!(has_secret(command), "{command}");
        }
        for command in [
            "curl -u \"anna:$PW\" http://nas/",
            "curl -u anna http://nas/",
            "ssh -p 2222 pi@lamp",
            "mkdir -p /var/lib/mysql-data",
            "mysql -p ha",
            "mysql --protocol=tcp -P 3306 ha",
            "run --token-file /run/secrets/t1",
            "say Note: this is 12345678",
        ] {
            assert!(!has_secret(command), "{command}");
        }
    }

    #[test]
    fn a_word_of_a_list_is_known_by_the_words_before_it() {
        for (words, name) in [
            (
                &["redis-server", "--requirepass", "geheim"][..],
                Some("requirepass"),
            ),
            (&["curl", "-u", "anna:geheim"], Some("password")),
            (&["mysqladmin", "-pgeheim12"], Some("password")),
            (&["run", "--port", "8883"], None),
            (&["run", "--token", "--port"], None),
            (&["--token"], None),
        ] {
            assert_eq!(given_to(words), name, "{words:?}");
        }
    }
}
