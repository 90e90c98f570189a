//! A package index on loopback with wheels of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::registry::{ScriptedServer, ServerReply, ServerRequest};

/// The pip that environments are installed with, from the index that pip of this machine uses.
const PIP: &str = "pip==26.3";

/// Writes a wheel, the same bytes each time. Source: the wheel format, version 1.0.
const WRITE: &str = r#"
import json, sys, zipfile
for one in json.loads(sys.argv[1]):
    name, version = one["name"], one["version"]
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {need}\n" for need in one["requires"])
    files = {
        f"{name}.py": one["code"],
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/top_level.txt": f"{name}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    if one["source"]:
        open(f"{sys.argv[2]}/{name}-{version}.tar.gz", "wb").close()
        continue
    with zipfile.ZipFile(f"{sys.argv[2]}/{name}-{version}-py3-none-any.whl", "w") as out:
        for path, text in sorted(files.items()):
            out.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
"#;

/// One distribution with one module of its name.
#[derive(Clone, Copy, Debug)]
pub struct TestWheel<'a> {
    /// Its name, which is a module's name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// What it requires.
    pub requires: &'a [&'a str],
    /// The module.
    pub code: &'a str,
    /// Whether there is only its source.
    pub is_source: bool,
}

impl<'a> TestWheel<'a> {
    /// One that requires nothing; its module says its version.
    pub fn new(name: &'a str, version: &'a str, code: &'a str) -> Self {
        Self {
            name,
            version,
            requires: &[],
            code,
            is_source: false,
        }
    }
}

/// A package index on loopback. It ends with the process.
#[derive(Debug)]
pub struct WheelIndex {
    server: ScriptedServer,
    _folder: TempDir,
}

impl WheelIndex {
    /// Starts one with these distributions; `None`, said aloud, where pip's own wheel cannot be had.
    /// `credentials` (as in `user:password`) are demanded of whoever asks, if there are some.
    ///
    /// # Panics
    /// When the wheels cannot be written.
    pub fn start(wheels: &[TestWheel<'_>], credentials: Option<&str>) -> Option<Self> {
        let pip = pip()?;
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::copy(&pip, folder.path().join(pip.file_name()?)).expect("a file");
        let described: Vec<_> = wheels
            .iter()
            .map(|one| {
                json!({"name": one.name, "version": one.version, "requires": one.requires,
                       "code": one.code, "source": one.is_source})
            })
            .collect();
        let written = Command::new("python3")
            .args(["-c", WRITE, &json!(described).to_string()])
            .arg(folder.path())
            .status()
            .expect("python3 is there");
        assert!(written.success(), "the wheels are not written");
        let root = Arc::new(folder.path().to_owned());
        let expected = credentials.map(|text| format!("Basic {}", base64(text.as_bytes())));
        let server =
            ScriptedServer::start(move |request| answer(request, &root, expected.as_deref()));
        Some(Self {
            server,
            _folder: folder,
        })
    }

    /// `127.0.0.1:PORT`. It also is a proxy, behind which every host is this index.
    pub fn address(&self) -> &str {
        self.server.host()
    }

    /// Its address under a name, where the configuration of [`Self::config`] holds.
    pub fn url(&self) -> String {
        format!("http://{}/simple", self.name())
    }

    /// Says where that name leads.
    pub fn config(&self) -> String {
        let (name, address) = (self.name(), self.address());
        format!("[egress.hosts]\n\"{name}\" = \"{address}\"\n")
    }

    fn name(&self) -> String {
        self.server.host().replace("127.0.0.1", "index.test")
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<ServerRequest> {
        self.server.seen()
    }
}

/// The wheel of pip, kept beside the tests' programs.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn pip() -> Option<PathBuf> {
    let folder = crate::program().parent()?.join("test-wheels");
    let find = || {
        let mut files = std::fs::read_dir(&folder).ok()?.flatten();
        files.find_map(|file| {
            let path = file.path();
            (path.extension()? == "whl").then_some(path)
        })
    };
    if let Some(found) = find() {
        return Some(found);
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    let scratch = TempDir::new_in(&folder).expect("a temporary folder");
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        PIP,
        "--dest",
    ];
    let got = Command::new("python3")
        .args(download)
        .arg(scratch.path())
        .output();
    if !got.is_ok_and(|got| got.status.success()) {
        eprintln!("SKIPPED: pip's own wheel cannot be had");
        return None;
    }
    for file in std::fs::read_dir(scratch.path())
        .expect("a folder")
        .flatten()
    {
        std::fs::rename(file.path(), folder.join(file.file_name())).expect("a file");
    }
    find()
}

fn answer(request: &ServerRequest, root: &Path, expected: Option<&str>) -> ServerReply {
    let said = request.headers.get("authorization").map(String::as_str);
    if expected.is_some() && said != expected {
        return ServerReply::status(401);
    }
    let target = request.target.as_str();
    let whole = target.strip_prefix("http://");
    let target = whole.map_or(target, |rest| {
        rest.split_once('/').map_or("", |(_, path)| path)
    });
    let path = target.trim_matches('/');
    if let Some(file) = path.strip_prefix("files/") {
        return match std::fs::read(root.join(file)) {
            Ok(bytes) if !file.contains('/') => ServerReply::body(bytes),
            _ => ServerReply::status(404),
        };
    }
    let Some(name) = path.strip_prefix("simple/") else {
        return ServerReply::status(404);
    };
    let files = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut links: Vec<String> = files
        .filter_map(|file| file.file_name().into_string().ok())
        .filter(|file| file.starts_with(&format!("{}-", name.replace('-', "_"))))
        .map(|file| {
            let hash = sha256(&root.join(&file));
            format!("<a href=\"/files/{file}#sha256={hash}\">{file}</a>")
        })
        .collect();
    links.sort();
    if links.is_empty() {
        return ServerReply::status(404);
    }
    let page = format!(
        "<!DOCTYPE html><html><body>{}</body></html>",
        links.join("\n")
    );
    ServerReply::body(page).header("Content-Type", "text/html")
}

fn sha256(file: &Path) -> String {
    let said = Command::new("sha256sum")
        .arg(file)
        .output()
        .expect("sha256sum is there");
    String::from_utf8_lossy(&said.stdout)[..64].to_owned()
}

/// Source: RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}
