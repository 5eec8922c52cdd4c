//! `hearthkey-agent completions`, `man` and `version`: made from the command line itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use serde::Serialize;

use super::{Explanation, FAILED, Failure, print_json, print_line};

const NAME: &str = "hearthkey-agent";

/// What `completions` is told.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// What `man` is told.
#[derive(Args)]
pub(crate) struct Manual {
    /// Write the pages of all commands into this directory instead.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// With --out: replace pages that are there already.
    #[arg(long, requires = "out")]
    replace: bool,
}

/// What `--json` answers.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Made {
    Script(String),
    Page(String),
    Directory(PathBuf),
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

impl Completions {
    pub(crate) fn obey(self, mut command: Command, json: bool) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, NAME, &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        tell(script, Made::Script, json);
        Ok(())
    }
}

impl Manual {
    pub(crate) fn obey(self, command: Command, json: bool) -> Result<(), Failure> {
        let Some(directory) = self.out else {
            let mut page = Vec::new();
            Man::new(command)
                .render(&mut page)
                .map_err(|error| failed(&error))?;
            let page = String::from_utf8_lossy(&page).into_owned();
            tell(page, Made::Page, json);
            return Ok(());
        };
        std::fs::create_dir_all(&directory)
            .and_then(|()| write_pages(command, &directory, self.replace))
            .map_err(|error| failed(&error))?;
        match json {
            true => print_json(&Made::Directory(directory)),
            false => print_line(&format!("The pages are in {}.", directory.display())),
        }
        Ok(())
    }
}

/// Writes the pages of a command and of all under it. What is there already and is no file, or is not to be replaced, stays.
fn write_pages(mut command: Command, directory: &Path, replace: bool) -> io::Result<()> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        commands.extend(shown.cloned());
        let page = Man::new(command);
        let path = directory.join(page.get_filename());
        match fs::symlink_metadata(&path) {
            Ok(known) if replace && known.is_file() => fs::remove_file(&path)?,
            Ok(_) => {
                let why = "already exists; --replace replaces it";
                return Err(io::Error::other(format!("{} {why}", path.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // A new file, even if another program puts one there meanwhile.
        page.render(&mut File::create_new(&path)?)?;
    }
    Ok(())
}

/// Prints the version.
pub(crate) fn version(json: bool) {
    let version = env!("CARGO_PKG_VERSION");
    match json {
        true => print_json(&Version {
            name: NAME,
            version,
        }),
        false => print_line(&format!("{NAME} {version}")),
    }
}

fn tell(text: String, made: impl FnOnce(String) -> Made, json: bool) {
    match json {
        true => print_json(&made(text)),
        false => print_line(text.trim_end()),
    }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure {
        told: Explanation {
            what: "The manual pages were not written".to_owned(),
            why: error.to_string(),
            remedy: "Name a directory that can be written with --out".to_owned(),
        },
        code: FAILED,
    }
}
