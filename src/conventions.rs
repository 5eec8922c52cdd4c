//! What holds for every command: one name for one flag, one word for one kind of value.
//!
//! Commands are written in many files. What is the same on all of them is put on here, once, and held by a test.

use clap::{Arg, Command};

/// The other name under which a flag is known everywhere.
const ALIASES: [(&str, &str); 3] = [
    ("env", "environment"),
    ("lifetime", "ttl"),
    ("ttl", "lifetime"),
];

/// The placeholder for the value of a flag in help and manual pages.
const VALUES: [(&str, &str); 15] = [
    ("env", "NAME"),
    ("owner", "WHO"),
    ("purpose", "WHY"),
    ("reason", "WHY"),
    ("role", "ROLE"),
    ("kind", "KIND"),
    ("tier", "TIER"),
    ("profile", "NAME"),
    ("lifetime", "SPAN"),
    ("ttl", "SPAN"),
    ("ceiling", "SPAN"),
    ("overlap", "SPAN"),
    ("grace", "SPAN"),
    ("expires", "TIME"),
    ("until", "TIME"),
];

/// Gives a command and those below it the same flags.
pub fn apply(command: Command) -> Command {
    command.mut_args(conform).mut_subcommands(apply)
}

/// A whole number from the command line.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse()
        .map_err(|_| "write a whole number, like 20, that is not too large")
}

fn conform(arg: Arg) -> Arg {
    let arg = match arg.is_global_set() {
        true => arg.help_heading("Global options"),
        false => arg,
    };
    let Some(long) = arg.get_long().map(str::to_owned) else {
        return arg;
    };
    let known = arg.get_all_aliases().unwrap_or_default();
    let alias = ALIASES
        .iter()
        .find(|(name, alias)| *name == long && !known.contains(alias))
        .map(|(_, alias)| *alias);
    let value = VALUES
        .iter()
        .find(|(name, _)| *name == long)
        .map(|(_, value)| *value);
    let arg = match alias {
        Some(alias) => arg.visible_alias(alias),
        None => arg,
    };
    match value {
        Some(value) if arg.get_action().takes_values() => arg.value_name(value),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Command;

    use super::*;

    /// Every command with its name, the groups of commands left out.
    fn commands(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
        for below in command.get_subcommands() {
            let name = format!("{name} {}", below.get_name());
            match below.has_subcommands() {
                true => commands(below, &name, found),
                false => found.push((name, below.clone())),
            }
        }
    }

    fn all() -> Vec<(String, Command)> {
        let mut command = crate::command();
        command.build();
        let mut found = Vec::new();
        commands(&command, "hearthkey", &mut found);
        found.retain(|(name, _)| !name.contains(" help"));
        assert!(found.len() > 60, "{}", found.len());
        found
    }

    fn names(arg: &Arg) -> Vec<String> {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let long = arg.get_long().into_iter();
        long.chain(aliases).map(str::to_owned).collect()
    }

    #[test]
    fn every_command_takes_json_and_the_ways_to_a_gateway() {
        for (name, command) in all() {
            let longs: Vec<String> = command.get_arguments().flat_map(names).collect();
            for wanted in ["json", "data-dir", "gateway", "token-file", "verbose"] {
                assert!(longs.iter().any(|long| long == wanted), "{name} --{wanted}");
            }
        }
    }

    #[test]
    fn an_environment_is_named_by_env_and_environment_on_every_command() {
        let mut seen = 0;
        for (name, command) in all() {
            for arg in command.get_arguments() {
                let names = names(arg);
                let either = |long: &String| long == "env" || long == "environment";
                if names.iter().any(either) {
                    seen += 1;
                    assert_eq!(arg.get_long(), Some("env"), "{name}");
                    assert!(names.contains(&"environment".to_owned()), "{name}");
                }
            }
        }
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn a_flag_takes_the_same_kind_of_value_on_every_command() {
        let mut kinds: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (name, command) in all() {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                let values = arg.get_value_names().unwrap_or_default();
                let takes = match arg.get_action().takes_values() {
                    true => values.join(" "),
                    false => String::new(),
                };
                let known = kinds.entry(long.to_owned());
                let (value, first) = known.or_insert((takes.clone(), name.clone()));
                // A public key is a file where a token is made, and a text elsewhere; values have versions, too; manual pages
                // go to a directory; an import replaces everything, or what is named.
                let another = ["key", "version"].contains(&long)
                    || (name == "hearthkey man" && long == "out")
                    || (name == "hearthkey credential import" && long == "replace");
                if !another {
                    assert_eq!(*value, takes, "--{long} of {name} and of {first}");
                }
            }
        }
        for (long, value) in VALUES {
            assert!(
                kinds.get(long).is_some_and(|(known, _)| known == value),
                "{long}"
            );
        }
    }

    #[test]
    fn every_command_and_every_flag_says_what_it_is_for() {
        for (name, command) in all() {
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
            }
        }
    }

    #[test]
    fn an_unknown_flag_is_a_usage_error_of_every_command() {
        for (name, _) in all() {
            let mut line: Vec<&str> = name.split(' ').collect();
            line.push("--no-such-flag");
            let error = crate::command().try_get_matches_from(line).unwrap_err();
            assert_eq!(
                error.exit_code(),
                i32::from(crate::failure::EXIT_USAGE),
                "{name}"
            );
        }
    }
}
