//! A version as a container image: the same one from every home, and it runs without us.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use testkit::{RegistryServer, TestEnv};

/// What an operator gives a program that is not trusted.
const HARDENED: &[&str] = &[
    "--rm",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
];

const CODE: &str = "import os\nfrom helper import double\n\ndef main(query):\n    print('noise')\n    if query == 'boom':\n        raise ValueError('boom')\n    return {'answer': double(query), 'summary': f'as {os.getuid()}' if query == 'who' else 'doubled'}\n";
const HELPER: &str = "def double(text):\n    return text + text\n";

/// A name on the engine, which is gone at the end.
pub(crate) struct Tag(pub(crate) String);

impl Tag {
    pub(crate) fn new(env: &TestEnv) -> Self {
        let folder = env.home().file_name().unwrap().to_string_lossy();
        let unique: String = folder.chars().filter(char::is_ascii_alphanumeric).collect();
        Self(format!("agentfactory-test/{}:1", unique.to_lowercase()))
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let removal = Command::new("docker")
            .args(["rmi", "--no-prune", &self.0])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        drop(removal);
    }
}

/// Saves a subagent that has answered one query.
pub(crate) fn install(env: &TestEnv, name: &str, code: &str, skills: &[&str], query: &str) {
    let file = format!("{name}.py");
    let script = json!({
        "format": 1,
        "agent": [{"calls": [
            {"tool": "create_subagent", "arguments": {"name": name, "description": "Does: a \"thing\".",
                "files": [{"path": file, "code": code}, {"path": "helper.py", "code": HELPER}],
                "entry": file, "skills": skills}},
            {"tool": "run_subagent", "arguments": {"name": name, "query": query}},
            {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": name}]}},
        ]}],
    });
    let script = env.write("install.yaml", &script.to_string());
    let model = format!("scripted:{}", script.display());
    env.agentfactory(["solve", "Do it.", "--model", &model])
        .expect_status(0);
}

fn deploy(env: &TestEnv, tag: &str, more: &[&str]) -> Value {
    let image = ["deploy", "text_doubler", "--as", "image", "--json", "--tag"];
    let finished = env.agentfactory([&image, &[tag][..], more].concat());
    finished.expect_status(0).json()
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().unwrap()
}

fn run(image: &str, flags: &[&str], arguments: &[&str]) -> Output {
    docker(&[&["run"], flags, &[image], arguments].concat())
}

/// The files of a folder with what is in them.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = files(&path).into_iter();
            found.extend(below.map(|(below, content)| (format!("{name}/{below}"), content)));
        } else {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn two_homes_deploy_the_same_image() {
    let (Some(first), Some(second)) = (TestEnv::with_engine(), TestEnv::with_engine()) else {
        return;
    };
    let tags = [&first, &second].map(Tag::new);
    let mut said = Vec::new();
    for (env, tag) in [&first, &second].into_iter().zip(&tags) {
        install(env, "text_doubler", CODE, &[], "ab");
        let layout = format!("layout:{}", env.scratch().join("image").display());
        said.push(deploy(env, &tag.0, &["--output", &layout]));
    }
    for field in ["version", "image", "config", "manifest", "size_bytes"] {
        assert!(!said[0][field].is_null(), "{field}: {}", said[0]);
        assert_eq!(said[0][field], said[1][field], "{field}");
    }
    let layouts = [&first, &second].map(|env| files(&env.scratch().join("image")));
    assert!(layouts[0] == layouts[1], "the layouts differ");
    // What is named by a digest has it; an image's layers are named by what they are.
    let named = layouts[0]
        .iter()
        .filter_map(|(path, content)| Some((path.strip_prefix("blobs/sha256/")?, content)));
    assert_eq!(named.clone().count(), 2 + layers(&layouts[0], &said[0]));

    // Nothing is loaded again, and the image stays what it is.
    let again = deploy(&first, &tags[0].0, &[]);
    assert_eq!(again["image"], said[0]["image"]);
    let created = docker(&["inspect", "--format", "{{.Created}}", &tags[0].0]).stdout;
    assert_eq!(
        String::from_utf8_lossy(&created).trim(),
        "1970-01-01T00:00:00Z"
    );

    // A layout is never written over another.
    let layout = format!("layout:{}", first.scratch().join("image").display());
    let refused = first.agentfactory([
        "deploy",
        "text_doubler",
        "--as",
        "image",
        "--tag",
        &tags[0].0,
        "--output",
        &layout,
    ]);
    let refused = refused.expect_status(4);
    assert!(
        refused.stderr.contains("exists already"),
        "{}",
        refused.stderr
    );
    assert_eq!(files(&first.scratch().join("image")), layouts[0]);
    skopeo_of_layout(&first.scratch().join("image"), &said[0]);
}

/// How many layers the manifest has, each of which the configuration names too.
fn layers(layout: &[(String, Vec<u8>)], said: &Value) -> usize {
    let blob = |digest: &Value| -> Value {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = format!("blobs/sha256/{digest}");
        let (_, content) = layout.iter().find(|(name, _)| *name == path).unwrap();
        serde_json::from_slice(content).unwrap()
    };
    let manifest = blob(&said["manifest"]);
    assert_eq!(manifest["config"]["digest"], said["config"]);
    let config = blob(&said["config"]);
    let layers = manifest["layers"].as_array().unwrap();
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(digests));
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    digests.len()
}

/// Somebody else's eyes, where they are installed; what they print.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn skopeo(arguments: &[&str]) -> Option<Vec<u8>> {
    let Ok(output) = Command::new("skopeo").args(arguments).output() else {
        eprintln!("SKIPPED: skopeo is not installed");
        return None;
    };
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Some(output.stdout)
}

/// Others read the layout.
fn skopeo_of_layout(layout: &Path, said: &Value) {
    let layout = format!("oci:{}", layout.display());
    if let Some(seen) = skopeo(&["inspect", &layout]) {
        check_seen(&seen, said);
    }
}

/// Others read the image in the registry, and take it away as it is.
fn skopeo_of_registry(env: &TestEnv, reference: &str, said: &Value) {
    let from = format!("docker://{reference}");
    let Some(seen) = skopeo(&["inspect", "--tls-verify=false", &from]) else {
        return;
    };
    check_seen(&seen, said);
    let to = env.scratch().join("copied");
    skopeo(&[
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--preserve-digests",
        "--dest-oci-accept-uncompressed-layers",
        &from,
        &format!("oci:{}:1", to.display()),
    ]);
    let index = std::fs::read(to.join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 1, "{index:#}");
    assert_eq!(manifests[0]["digest"], said["manifest"], "{index:#}");
    // Every blob is there, and as it is called.
    let copied = files(&to);
    assert!(layers(&copied, said) > 1);
    let blobs = copied.iter().filter(|(name, _)| name.starts_with("blobs/"));
    let bytes: usize = blobs.map(|(_, content)| content.len()).sum();
    assert_eq!(said["size_bytes"].as_u64(), Some(bytes as u64));
}

fn check_seen(seen: &[u8], said: &Value) {
    let seen: Value = serde_json::from_slice(seen).unwrap();
    assert_eq!(seen["Digest"], said["manifest"]);
    assert_eq!(seen["Labels"]["agentfactory.version"], said["version"]);
    assert_eq!(
        seen["Labels"]["org.opencontainers.image.title"],
        "text_doubler"
    );
    assert_eq!(seen["Created"], "1970-01-01T00:00:00Z");
}

#[test]
fn a_deployed_image_answers_as_inside_and_ends_by_its_outcome() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    install(&env, "text_doubler", CODE, &[], "ab");
    let tag = Tag::new(&env);
    let said = deploy(&env, &tag.0, &[]);
    let inside = env.agentfactory(["run", "text_doubler", "a 'text'", "--json"]);
    let inside = inside.expect_status(0).json();

    let outside = run(&tag.0, HARDENED, &["a 'text'"]);
    assert_eq!(outside.status.code(), Some(0), "{outside:?}");
    let result: Value = serde_json::from_slice(&outside.stdout).unwrap();
    let expected = json!({"answer": inside["answer"], "summary": inside["summary"]});
    assert_eq!(result, expected);
    assert_eq!(String::from_utf8_lossy(&outside.stderr), "noise\n");

    let who = run(&tag.0, &["--rm"], &["who"]).stdout;
    assert!(
        String::from_utf8_lossy(&who).contains("as 65532"),
        "{who:?}"
    );
    let raised = run(&tag.0, HARDENED, &["boom"]);
    assert_eq!(raised.status.code(), Some(1), "{raised:?}");
    assert!(raised.stdout.is_empty(), "{raised:?}");
    assert!(String::from_utf8_lossy(&raised.stderr).contains("ValueError: boom"));
    assert_eq!(run(&tag.0, HARDENED, &[]).status.code(), Some(2));
    assert_eq!(
        run(&tag.0, HARDENED, &["two", "words"]).status.code(),
        Some(2)
    );

    let version = run(&tag.0, HARDENED, &["--version"]).stdout;
    let expected = format!("text_doubler@{}\n", said["version"].as_str().unwrap());
    assert_eq!(String::from_utf8_lossy(&version), expected);
    for (arguments, answer) in [
        (["--", "-"], "--"),
        (["--", "--version"], "--version--version"),
    ] {
        let output = run(&tag.0, HARDENED, &arguments).stdout;
        let result: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(result["answer"], answer);
    }

    let query = env.write("query", "from a file\n");
    let piped = Command::new("docker")
        .args(["run", "--interactive"])
        .args(HARDENED)
        .args([tag.0.as_str(), "-"])
        .stdin(std::fs::File::open(query).unwrap())
        .output()
        .unwrap();
    let result: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(result["answer"], "from a filefrom a file");
}

#[test]
fn what_cannot_be_deployed_is_refused() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let check = |arguments: &[&str], status: i32, said: &str| {
        let finished = env.agentfactory([&["deploy"], arguments].concat());
        assert_eq!(
            finished.status, status,
            "{arguments:?}: {}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(said),
            "{arguments:?}: {}",
            finished.stderr
        );
    };
    check(&["nobody", "--as", "image"], 3, "nobody");
    check(&["nobody", "--as", "image", "--to", "x"], 2, "--to");
    check(
        &["nobody", "--as", "skill", "--to", "x", "--tag", "y"],
        2,
        "--tag",
    );
    check(
        &["nobody", "--as", "image", "--output", "x"],
        2,
        "layout:DIR",
    );
    check(
        &["nobody", "--as", "image", "--tag", "agentfactory/base"],
        4,
        "sandboxes",
    );
    check(
        &["nobody", "--as", "image", "--tag", "not a name"],
        2,
        "not a name",
    );
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let Some(registry) = RegistryServer::start("") else {
        return;
    };
    install(&env, "text_doubler", CODE, &[], "ab");
    let tag = Tag::new(&env);
    let reference = format!("{}/team/doubler:1", registry.host());
    let first = deploy(&env, &tag.0, &["--push", &reference]);
    assert_eq!(first["pushed"], reference, "{first}");
    assert_eq!(first["transferred"]["skipped"], 0, "{first}");
    // All is there, and none of it is sent again.
    let again = deploy(&env, &tag.0, &["--push", &reference]);
    assert_eq!(again["manifest"], first["manifest"]);
    assert_eq!(again["transferred"]["blobs"], 0, "{again}");

    skopeo_of_registry(&env, &reference, &first);

    let pulled = Tag(reference.clone());
    let output = docker(&["pull", "--quiet", &pulled.0]);
    assert!(output.status.success(), "{output:?}");
    let output = docker(&["inspect", "--format", "{{.Id}} {{.RepoDigests}}", &pulled.0]).stdout;
    let output = String::from_utf8_lossy(&output).into_owned();
    for field in ["config", "manifest"] {
        assert!(
            output.contains(first[field].as_str().unwrap()),
            "{field}: {output}"
        );
    }
    let answer = run(&pulled.0, HARDENED, &["x"]).stdout;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["answer"], "xx");
}
