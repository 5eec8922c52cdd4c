//! What `cargo build` makes to be shipped: the program and the agent, of all crates but the one that measures them.

use std::path::Path;
use std::process::Command;

#[test]
fn nothing_that_measures_is_shipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(["--edges", "normal,build,features"])
        .current_dir(root)
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let built = tree.contains(&format!("hearthkey-{name} v"));
        assert_eq!(built, name != "bench", "{name}");
    }
    // The feature of the gateway that only measurements turn on.
    assert!(!tree.contains("\"measure\""), "{tree}");
}
