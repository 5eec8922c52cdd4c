//! The command lines in the documentation are command lines of this program.

use std::path::Path;

use clap::error::ErrorKind;

/// The pages that are read, from the root of the tree.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    let docs = std::fs::read_dir(root.join("docs")).unwrap().flatten();
    pages.extend(docs.map(|entry| entry.path()));
    pages.retain(|path| path.extension().is_some_and(|end| end == "md"));
    assert!(pages.len() > 5, "{pages:?}");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let named = |path: &Path| path.display().to_string();
    pages.iter().map(|path| (named(path), read(path))).collect()
}

/// The words of the first command of a line, as a shell takes them apart; nothing if it holds a gap for the reader.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (_, '…' | '⟨') => return None,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '>' | '&' | ';' | '#' | '<') => break,
            (None, '[') => return None,
            (None, ' ' | '\n') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// The arguments for this program in a line, if it is run there.
fn arguments(line: &str) -> Option<Vec<String>> {
    let mut words = words(line.trim_start_matches("$ "))?;
    let program = |word: &String| word == "hearthkey" || word.ends_with("/hearthkey");
    // `sudo`, variables and `ssh` may stand before it; `-u hearthkey` is a user.
    let at = words
        .iter()
        .enumerate()
        .position(|(at, word)| program(word) && (at == 0 || words[at - 1] != "-u"))?;
    let before = ["sudo", "-u", "hearthkey"];
    let leads = |word: &String| before.contains(&word.as_str()) || word.contains('=');
    words[..at].iter().all(leads).then(|| words.split_off(at))
}

/// Lines of code blocks that run the program; a line that ends with a backslash goes on.
fn typed(page: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut inside = false;
    let joined = page.replace("\\\n", " ");
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            let line = line
                .trim()
                .trim_start_matches("- ")
                .trim_start_matches("run: ");
            found.extend(arguments(line));
        }
    }
    found
}

/// Code within sentences and tables that begins with the program's name.
fn mentioned(page: &str) -> Vec<Vec<String>> {
    let mut inside = false;
    let prose = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    let codes = prose.split('`').skip(1).step_by(2);
    codes
        .filter(|code| code.starts_with("hearthkey "))
        .filter_map(arguments)
        .collect()
}

#[test]
fn every_command_line_of_the_documentation_is_understood() {
    let mut seen = 0;
    for (page, text) in pages() {
        for line in typed(&text) {
            seen += 1;
            if let Err(error) = crate::parsed(&line)
                && !matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                )
            {
                panic!("{page}: {}\n{error}", line.join(" "));
            }
        }
        for line in mentioned(&text) {
            seen += 1;
            // A mention may leave out what has to be said; it names no flag and no command that is not there.
            if let Err(error) = crate::parsed(&line)
                && matches!(
                    error.kind(),
                    ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
                )
            {
                panic!("{page}: {}\n{error}", line.join(" "));
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_line_is_taken_apart_as_a_shell_does() {
    let line = "sudo -u hearthkey hearthkey init --home 'My Attic' --slot \"keyfile\" > out";
    let words = [
        "hearthkey",
        "init",
        "--home",
        "My Attic",
        "--slot",
        "keyfile",
    ];
    assert_eq!(arguments(line).unwrap(), words);
    assert_eq!(arguments("curl https://hearthkey"), None);
    assert_eq!(arguments("hearthkey log prove N [--out FILE]"), None);
    assert_eq!(
        arguments("A='x y' hearthkey status | head").unwrap(),
        ["hearthkey", "status"]
    );
}
