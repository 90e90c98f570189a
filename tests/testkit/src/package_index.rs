//! The package index that pip of this machine uses.

use std::process::Command;
use std::sync::OnceLock;

/// Prints the address that pip is configured to use, or its own default, if it gives an answer.
const ASK: &str = r#"
import os, subprocess, sys, urllib.request
url = os.environ.get("PIP_INDEX_URL")
if not url:
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    url = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
if not url:
    from pip._internal.models.index import PyPI
    url = PyPI.simple_url
url = url.rstrip("/") + "/"
urllib.request.urlopen(url + "pip/", timeout=20).close()
print(url)
"#;

/// The address of the package index that pip of this machine uses, if it can be reached; asked once.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
pub fn package_index() -> Option<&'static str> {
    static ADDRESS: OnceLock<Option<String>> = OnceLock::new();
    let asked = ADDRESS.get_or_init(|| {
        let said = Command::new("python3").args(["-c", ASK]).output().ok()?;
        let said = said.status.success().then_some(said.stdout)?;
        Some(String::from_utf8(said).ok()?.trim().to_owned())
    });
    if asked.is_none() {
        eprintln!("SKIPPED: no package index can be reached");
    }
    asked.as_deref()
}
