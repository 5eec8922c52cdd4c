//! `hearthkey completions`, `hearthkey man` and `hearthkey version`: made from the command line itself.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::out_file::OutFile;

/// The program's name.
const NAME: &str = "hearthkey";

/// What `completions` is told.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// What `man` is told.
#[derive(Debug, Args)]
pub struct Manual {
    /// Write the pages of all commands into this directory instead: hearthkey.1, hearthkey-device-claim.1 and so on.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// With --out: replace existing pages.
    #[arg(long, requires = "out")]
    replace: bool,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

#[derive(Serialize)]
struct Page {
    page: String,
}

#[derive(Serialize)]
struct Written<'a> {
    directory: &'a Path,
    pages: usize,
}

/// The program and its version.
#[derive(Serialize)]
pub struct Version {
    name: &'static str,
    version: &'static str,
}

impl Version {
    /// Of this program.
    pub const HERE: Self = Self {
        name: NAME,
        version: env!("CARGO_PKG_VERSION"),
    };
}

impl Completions {
    /// Prints the script for the shell.
    pub fn obey(self, context: &Context, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, NAME, &mut script);
        if context.output.is_json() {
            return context.output.json_line(&Script {
                shell: self.shell.to_string(),
                script: String::from_utf8_lossy(&script).into_owned(),
            });
        }
        context.output.bytes(&script)
    }
}

impl Manual {
    /// Prints the page of the program, or writes those of all commands.
    pub fn obey(self, context: &Context, command: Command) -> Result<(), Failure> {
        let output = context.output;
        if let Some(directory) = &self.out {
            let pages = write_pages(command, directory, self.replace)?;
            let written = Written { directory, pages };
            return output.answer(&written, || {
                format!(
                    "{pages} pages are in {}. Read one with `man {}`.",
                    directory.display(),
                    directory.join("hearthkey.1").display()
                )
            });
        }
        let mut page = Vec::new();
        Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure::system("make the manual page", &error))?;
        if output.is_json() {
            let page = String::from_utf8_lossy(&page).into_owned();
            return output.json_line(&Page { page });
        }
        output.bytes(&page)
    }
}

/// Writes the pages of a command and of all under it into a directory; gives how many. None is written if one cannot be.
fn write_pages(mut command: Command, directory: &Path, replace: bool) -> Result<usize, Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::file("write to", directory, &error))?;
    command = command.disable_help_subcommand(true);
    command.build();
    let (mut commands, mut files) = (vec![command], Vec::new());
    while let Some(command) = commands.pop() {
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        commands.extend(shown.cloned());
        let page = Man::new(command);
        let path = directory.join(page.get_filename());
        let mut file = OutFile::public(&path, replace)?;
        page.render(file.writer())
            .map_err(|error| Failure::file("write", &path, &error))?;
        files.push(file);
    }
    let pages = files.len();
    for file in files {
        file.finish()?;
    }
    Ok(pages)
}

/// Prints the version.
pub fn version(context: &Context) -> Result<(), Failure> {
    let here = Version::HERE;
    context
        .output
        .answer(&here, || format!("{} {}", here.name, here.version))
}
