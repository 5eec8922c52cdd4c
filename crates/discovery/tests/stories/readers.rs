//! The parsers that other programs read with: python-dotenv and PyYAML in one Python that answers line by line. Skipped,
//! with the reason printed, where they cannot be installed; `HEARTHKEY_PYTHON_READERS=required` makes that a failure.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

const PROGRAM: &str = r#"
import io, json, logging, os, sys
logging.disable()
sys.path.insert(0, sys.prefix + "/before")
import dotenv as before
for name in [name for name in sys.modules if name.split(".")[0] == "dotenv"]:
    del sys.modules[name]
del sys.path[0]
import dotenv as now
import yaml
os.environ.clear()
class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    pass
Loader.add_multi_constructor("!", lambda loader, suffix, node: {"!": suffix})
def flat(value, path, out):
    if isinstance(value, dict) and value and "!" not in value:
        for key, inner in value.items():
            flat(inner, path + [str(key)], out)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            flat(inner, path + [str(number)], out)
    else:
        out[".".join(path)] = value if isinstance(value, str) else [repr(value)]
for line in sys.stdin:
    ask = json.loads(line)
    try:
        if ask["do"] == "dotenv":
            out = []
            for dotenv in [before, now]:
                stream = io.TextIOWrapper(io.BytesIO(ask["text"].encode()), encoding="utf-8")
                out.append(dict(dotenv.dotenv_values(stream=stream)))
        else:
            out = {}
            flat(yaml.load(ask["text"], Loader), [], out)
        print(json.dumps({"ok": out}), flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
"#;

/// A Python with both parsers.
pub struct Readers {
    _child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn python() -> Result<PathBuf, String> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut scripts = above.map(|directory| directory.join("scripts/python-readers.sh"));
    let script = scripts
        .find(|path| path.exists())
        .ok_or("scripts/python-readers.sh is gone")?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-readers");
    let output = Command::new(script).arg(directory).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Readers {
    /// None, with the reason printed, where they cannot be installed.
    pub fn start() -> Option<Self> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let python = match PYTHON.get_or_init(python) {
            Ok(python) => python,
            Err(why) => {
                let required =
                    std::env::var("HEARTHKEY_PYTHON_READERS").is_ok_and(|word| word == "required");
                assert!(!required, "{why}");
                println!("skipped: {why}");
                return None;
            }
        };
        let mut child = Command::new(python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Self {
            ask: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            _child: child,
        })
    }

    fn answer<T: serde::de::DeserializeOwned>(&mut self, what: &str, text: &str) -> Option<T> {
        writeln!(self.ask, "{}", json!({"do": what, "text": text})).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        serde_json::from_value(answer.get("ok")?.clone()).ok()
    }

    /// What the older and the newer python-dotenv have for each name; none for a line without `=`.
    pub fn dotenv(&mut self, text: &str) -> [BTreeMap<String, Option<String>>; 2] {
        self.answer("dotenv", text).unwrap()
    }

    /// What PyYAML has at each place: a text, or the words of another value; None if it is no YAML to it.
    pub fn yaml(&mut self, text: &str) -> Option<BTreeMap<String, Result<String, String>>> {
        let all: BTreeMap<String, Value> = self.answer("yaml", text)?;
        let each = all.into_iter().map(|(place, value)| {
            let value = match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(value[0].as_str().unwrap_or_default().to_owned()),
            };
            (place, value)
        });
        Some(each.collect())
    }
}

/// The ones that all stories share.
pub fn with(story: impl FnOnce(&mut Readers)) {
    static SHARED: OnceLock<Option<Mutex<Readers>>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Readers::start().map(Mutex::new));
    if let Some(readers) = shared {
        story(&mut readers.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
