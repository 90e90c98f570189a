//! Subagents come from folders and other homes, and go there, with their digests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use orchestrator::{
    CopyRequest, ImportItem, ImportOutcome, ImportRequest, Locks, copy_version, export_version,
    import_skills,
};
use spec::{Digest, Skill, VersionRef};
use store::{Act, Store};
use tempfile::TempDir;

struct Home {
    store: Store,
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::ensure(&folder.path().join("store")).unwrap();
        Self { store, folder }
    }

    /// Writes files into a folder that is not the store's.
    fn write(&self, files: &[(&str, &str)]) -> PathBuf {
        let root = self.folder.path().join("skills");
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn import(&self, folder: &Path) -> Vec<ImportItem> {
        self.import_or_try(folder, false)
    }

    fn import_or_try(&self, folder: &Path, dry_run: bool) -> Vec<ImportItem> {
        let request = ImportRequest {
            store: &self.store,
            folder,
            locks: Locks::default(),
            dry_run,
            act: act(),
        };
        import_skills(request, &mut |_, _| {}).unwrap()
    }

    fn head(&self, name: &str) -> Option<Digest> {
        let reference: VersionRef = name.parse().unwrap();
        Some(self.store.resolve(&reference).ok()?.digest)
    }

    fn export(&self, name: &str) -> PathBuf {
        let to = self.folder.path().join("exported");
        export_version(&self.store, &name.parse().unwrap(), &to, true)
            .unwrap()
            .path
    }

    fn clean(&self) {
        let report = self.store.fsck(&mut |_| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}

fn act() -> Act {
    Act {
        by: Some("ada".to_owned()),
        ..Timestamp::UNIX_EPOCH.into()
    }
}

fn copy(from: &Home, to: &Home, name: &str) -> orchestrator::CopyReport {
    let request = CopyRequest {
        from: &from.store,
        to: &to.store,
        reference: &name.parse().unwrap(),
        with_cases: true,
        environments: None,
        act: act(),
    };
    copy_version(&request, &mut |_, _| {}).unwrap()
}

fn why(item: &ImportItem) -> String {
    match &item.outcome {
        ImportOutcome::Refused(error) => orchestrator::chain(error),
        other => panic!("{}: {other:?}", item.folder.display()),
    }
}

const MAIN: &str = "def main(query):\n    return {'answer': query}\n";

#[test]
fn a_folder_of_the_reference_is_imported_whatever_lies_in_it() {
    let home = Home::new();
    let matter = "---\nname: audio_transcriber\ndescription: **Problem**: audio: text\nentry_file: audio_transcriber.py\n---\n\n# x\n";
    let folder = home.write(&[
        ("skills/subagents/audio_transcriber/SKILL.md", matter),
        (
            "skills/subagents/audio_transcriber/audio_transcriber.py",
            "import os, helper\nfrom tools import execute_shell_command, search_serper\nfrom llm import call_llm\nfrom playwright.sync_api import sync_playwright\ndef main(query):\n    pass\n",
        ),
        ("skills/subagents/audio_transcriber/helper.py", ""),
        ("skills/subagents/audio_transcriber/qq_music_player.py", "unrelated"),
        ("skills/subagents/no_entry/SKILL.md", "---\nname: no_entry\ndescription: d\n---\n"),
        ("skills/subagents/no_entry/a.py", "def run(q): pass\n"),
        ("skills/subagents/lost/SKILL.md", "---\nname: lost\ndescription: d\nentry_file: ../../tools/x.py\n---\n"),
        ("skills/subagents/odd/SKILL.md", "---\nname: tools\n---\n"),
        ("skills/subagents/odd/a.py", MAIN),
        ("skills/subagents/wrong/SKILL.md", "---\nname: wrong\nskills: [fly]\n---\n"),
        ("skills/subagents/wrong/a.py", MAIN),
        ("skills/tools/not-one/SKILL.md", "---\nname: x\n---\n"),
    ]);
    let tried = home.import_or_try(&folder, true);
    assert!(
        home.store.heads().unwrap().is_empty(),
        "a trial saves nothing"
    );
    let items = home.import(&folder);
    let names: Vec<_> = items
        .iter()
        .map(|item| item.folder.file_name().unwrap())
        .collect();
    assert_eq!(
        names,
        ["audio_transcriber", "lost", "no_entry", "odd", "wrong"]
    );
    let ImportOutcome::Saved {
        version,
        parent: None,
        ..
    } = items[0].outcome
    else {
        panic!("{:?}", items[0]);
    };
    assert!(
        matches!(tried[0].outcome, ImportOutcome::Saved { version: same, .. } if same == version)
    );
    assert!(
        why(&items[1]).contains("is not a Python file in it"),
        "{}",
        why(&items[1])
    );
    assert!(
        why(&items[2]).contains("no Python file in it defines"),
        "{}",
        why(&items[2])
    );
    assert!(why(&items[3]).contains("reserved"), "{}", why(&items[3]));
    assert!(why(&items[4]).contains("line 3"), "{}", why(&items[4]));

    let content = home.store.version(&version).unwrap().content;
    let files: Vec<_> = content
        .files
        .iter()
        .map(|(path, _)| path.to_string())
        .collect();
    assert_eq!(files, ["SKILL.md", "audio_transcriber.py", "helper.py"]);
    assert_eq!(content.skills, [Skill::Llm, Skill::ShellCommand].into());
    assert_eq!(content.description, "**Problem**: audio: text");
    let notes = items[0].notes.join("\n");
    for told in ["read line by line", "`playwright`", "`search_serper`"] {
        assert!(notes.contains(told), "{notes}");
    }

    // The same again changes nothing.
    let operations = home.store.log(None).unwrap().len();
    let again = home.import(&folder);
    assert!(
        matches!(again[0].outcome, ImportOutcome::Unchanged { version: same } if same == version)
    );
    assert_eq!(home.store.log(None).unwrap().len(), operations);
    home.clean();
}

#[test]
fn an_agent_skill_with_a_program_is_imported() {
    let home = Home::new();
    let folder = home.write(&[
        ("pdf-count/SKILL.md", "---\nname: pdf-count\ndescription: Counts.\nlicense: MIT\nallowed-tools: Bash Read\n---\nText.\n"),
        ("pdf-count/scripts/main.py", "import beside\ndef main(query, more=1):\n    return {}\n"),
        ("pdf-count/scripts/beside.py", ""),
        ("pdf-count/scripts/other.py", "def main():\n    pass\n"),
        ("pdf-count/reference/data.txt", "kept"),
        ("pdf-count/.git/config", "obeyed"),
    ]);
    let items = home.import(&folder.join("pdf-count"));
    let ImportOutcome::Saved { version, .. } = items[0].outcome else {
        panic!("{:?}", items[0]);
    };
    let content = home.store.version(&version).unwrap().content;
    let files: Vec<_> = content
        .files
        .iter()
        .map(|(path, _)| path.to_string())
        .collect();
    assert_eq!(
        files,
        [
            "SKILL.md",
            "reference/data.txt",
            "scripts/beside.py",
            "scripts/main.py"
        ]
    );
    assert_eq!(content.entry.to_string(), "scripts/main.py");
    assert_eq!(content.skills, [].into());
}

#[test]
fn hostile_folders_are_refused() {
    let home = Home::new();
    let folder = home.write(&[("a/SKILL.md", "---\nname: a\n---\n"), ("a/a.py", MAIN)]);
    std::os::unix::fs::symlink("/etc/passwd", folder.join("a/link.txt")).unwrap();
    std::os::unix::fs::symlink(folder.join("a"), folder.join("b")).unwrap();
    let items = home.import(&folder);
    assert_eq!(items.len(), 1, "a link to a folder is none");
    assert!(
        items[0].notes.join("").contains("link.txt"),
        "{:?}",
        items[0].notes
    );
    let version = home.head("a").unwrap();
    let files = home.store.version(&version).unwrap().content.files;
    assert_eq!(files.len(), 2);

    std::fs::remove_file(folder.join("a/SKILL.md")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("a/SKILL.md")).unwrap();
    let request = ImportRequest {
        store: &home.store,
        folder: &folder.join("a"),
        locks: Locks::default(),
        dry_run: false,
        act: act(),
    };
    let error = import_skills(request, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("holds no subagent"), "{error}");
    std::fs::remove_file(folder.join("a/SKILL.md")).unwrap();
    let deep = folder.join("a").join("d/".repeat(20));
    std::fs::create_dir_all(deep).unwrap();
    std::fs::write(folder.join("a/SKILL.md"), "---\nname: a\n---\n").unwrap();
    assert!(why(&home.import(&folder.join("a"))[0]).contains("deep"));
    home.clean();
}

/// A home with `part`, and `whole` which depends on it.
fn composed() -> Home {
    let home = Home::new();
    let folder = home.write(&[
        ("part/SKILL.md", "---\nname: part\ndescription: P.\n---\n"),
        ("part/part.py", MAIN),
    ]);
    home.import(&folder);
    let part = home.head("part").unwrap();
    let matter = format!(
        "---\nname: whole\ndescription: W.\ndepends: [\"part@{part}\"]\nlimits: {{memory: 1G}}\negress: [a.example.org]\n---\n"
    );
    let folder = home.write(&[
        ("whole/SKILL.md", &matter),
        (
            "whole/whole.py",
            "import part\ndef main(query):\n    return part.main(query)\n",
        ),
    ]);
    let items = home.import(&folder);
    assert!(
        matches!(items[0].outcome, ImportOutcome::Unchanged { .. }),
        "{items:?}"
    );
    assert!(
        matches!(items[1].outcome, ImportOutcome::Saved { .. }),
        "{items:?}"
    );
    home
}

#[test]
fn what_is_exported_comes_back_with_its_digest_and_all_that_it_depends_on() {
    let home = composed();
    let folder = home.export("whole");
    let other = Home::new();
    let items = other.import(&folder);
    assert!(
        matches!(items[0].outcome, ImportOutcome::Saved { .. }),
        "{items:?}"
    );
    assert_eq!(other.head("whole"), home.head("whole"));
    other.clean();

    // A person changes it: what the front matter says counts, the rest stays.
    std::fs::write(
        folder.join("whole.py"),
        "import part\ndef main(query):\n    return {}\n",
    )
    .unwrap();
    let items = other.import(&folder);
    let ImportOutcome::Saved {
        version, parent, ..
    } = items[0].outcome
    else {
        panic!("{items:?}");
    };
    assert_eq!(parent, home.head("whole"));
    let content = other.store.version(&version).unwrap().content;
    assert_eq!(
        content.depends["part".parse::<spec::SubagentName>().as_ref().unwrap()],
        home.head("part").unwrap()
    );
    assert_eq!(
        content.limits,
        home.store
            .version(&home.head("whole").unwrap())
            .unwrap()
            .content
            .limits
    );

    // A blob that lies, a version that is not what it says, a newer format.
    let third = Home::new();
    let hex = home.head("part").unwrap().hex();
    let blob = folder.join(".agentfactory/blobs").join(&hex);
    let kept = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, b"something else").unwrap();
    assert!(why(&third.import(&folder)[0]).contains("damaged"));
    std::fs::remove_file(&blob).unwrap();
    assert!(why(&third.import(&folder)[0]).contains(&hex));
    std::fs::write(&blob, kept).unwrap();
    let about = folder.join(".agentfactory/version.json");
    let text = std::fs::read_to_string(&about).unwrap();
    std::fs::write(
        &about,
        text.replace("\"entry\": \"whole.py\"", "\"entry\": \"part.py\""),
    )
    .unwrap();
    let refused = why(&third.import(&folder)[0]);
    assert!(!refused.is_empty());
    std::fs::write(&about, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(why(&third.import(&folder)[0]).contains("format 2"));
    assert!(third.store.heads().unwrap().is_empty());
}

#[test]
fn a_copy_has_the_same_digest_and_never_takes_a_name_away() {
    let (home, other) = (composed(), Home::new());
    let copied = copy(&home, &other, "whole");
    assert_eq!((copied.versions, copied.is_head), (2, true));
    assert_eq!(other.head("whole"), home.head("whole"));
    let again = copy(&home, &other, "whole");
    assert_eq!((again.written_bytes, again.is_head), (0, true));
    other.clean();

    // The other home goes its own way: its head stays.
    let folder = other.write(&[
        ("whole/SKILL.md", "---\nname: whole\n---\n"),
        ("whole/whole.py", MAIN),
    ]);
    other.import(&folder);
    let theirs = other.head("whole");
    let copied = copy(&home, &other, "whole");
    assert_eq!(copied.tag.is_some(), !copied.is_head);
    assert!(!copied.is_head);
    assert_eq!(other.head("whole"), theirs);
    let tagged = format!("whole:{}", copied.tag.unwrap());
    assert_eq!(other.head(&tagged), home.head("whole"));
    // Here it is a forerunner: the copy back moves the head.
    let back = copy(&other, &home, "whole");
    assert!(back.is_head);
    assert_eq!(home.head("whole"), theirs);
    other.clean();
    home.clean();
}

#[test]
fn what_is_pinned_stays_and_stops_no_other() {
    let (home, other) = (Home::new(), Home::new());
    let folder = home.write(&[
        ("ant/SKILL.md", "---\nname: ant\n---\n"),
        ("ant/ant.py", MAIN),
        ("bee/SKILL.md", "---\nname: bee\n---\n"),
        ("bee/bee.py", MAIN),
    ]);
    home.import(&folder);
    copy(&home, &other, "ant");
    let ant = home.head("ant");
    for one in [&home, &other] {
        one.store.pin(&"ant".parse().unwrap(), act()).unwrap();
    }
    let changed = format!("{MAIN}# changed\n");
    home.write(&[("ant/ant.py", &changed), ("bee/bee.py", &changed)]);
    for dry_run in [true, false] {
        let items = home.import_or_try(&folder, dry_run);
        assert!(why(&items[0]).contains("is pinned"), "{}", why(&items[0]));
        assert!(matches!(
            items[1].outcome,
            ImportOutcome::Saved {
                parent: Some(_),
                ..
            }
        ));
    }
    assert_eq!(home.head("ant"), ant);

    home.store.unpin(&"ant".parse().unwrap(), act()).unwrap();
    home.import(&folder);
    assert_ne!(home.head("ant"), ant);
    let copied = copy(&home, &other, "ant");
    assert!(!copied.is_head);
    assert_eq!(other.head("ant"), ant);
    let tagged = format!("ant:{}", copied.tag.unwrap());
    assert_eq!(other.head(&tagged), home.head("ant"));
    for one in [&home, &other] {
        let log = one.store.log(None).unwrap();
        assert!(log.iter().all(|one| one.by.as_deref() == Some("ada")));
    }
}

#[test]
fn what_is_damaged_is_mended_by_bringing_it_again() {
    let (home, other) = (composed(), Home::new());
    let folder = home.export("whole");
    copy(&home, &other, "whole");
    let digests: Vec<Digest> = ["part", "whole"]
        .into_iter()
        .flat_map(|name| {
            let version = home.store.version(&home.head(name).unwrap()).unwrap();
            [version.digest, version.config, version.source]
        })
        .collect();
    for digest in digests {
        let path = other.store.root().join("blobs/sha256").join(digest.hex());
        let damage = || {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, b"damaged").unwrap();
        };
        damage();
        assert!(copy(&home, &other, "whole").written_bytes > 0);
        other.clean();
        damage();
        let items = other.import(&folder);
        assert!(
            matches!(items[0].outcome, ImportOutcome::Unchanged { .. }),
            "{items:?}"
        );
        other.clean();
    }
}

/// Files below a folder, each with its bytes.
fn files_below(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A home with `lib`, whose block names a distribution that is locked.
fn locked() -> Home {
    let home = Home::new();
    let source = format!("# /// script\n# dependencies = [\"six>=1.0\"]\n# ///\n{MAIN}");
    let path = |text: &str| spec::WorkspacePath::from_text(text).unwrap();
    let content = store::VersionContent {
        entry: path("lib.py"),
        description: "L.".to_owned(),
        files: vec![
            (path("lib.py"), source.into_bytes()),
            (
                path("SKILL.md"),
                b"---\nname: lib\ndescription: L.\n---\n".to_vec(),
            ),
        ],
        skills: [].into(),
        depends: [].into(),
        egress: [].into(),
        limits: None,
        python: "3.13".to_owned(),
        requirements: vec![store::Requirement {
            name: "six".to_owned(),
            version: "1.17.0".to_owned(),
            wheels: [Digest::of(b"a wheel")].into(),
        }],
    };
    let to = home.store.stage(&content).unwrap().digest();
    let publication = store::Publication {
        moves: vec![store::Move {
            name: "lib".parse().unwrap(),
            from: None,
            to,
        }],
        at: Timestamp::UNIX_EPOCH,
        task: None,
        evidence: Vec::new(),
        note: String::new(),
    };
    home.store.publish(publication).unwrap();
    home
}

#[test]
fn a_copy_brings_wheels_and_writes_nothing_where_it_comes_from() {
    let (home, other) = (locked(), Home::new());
    let cache = home.folder.path().join("cache");
    let wheel = Digest::of(b"a wheel");
    std::fs::create_dir_all(cache.join("wheels")).unwrap();
    std::fs::write(cache.join("wheels").join(wheel.hex()), b"a wheel").unwrap();
    let settings = orchestrator::EnvironmentSettings {
        index: Err(orchestrator::IndexError::NotNamed),
        cache,
        engine: runner::EngineConfig::default(),
    };
    home.store.resolve(&"lib".parse().unwrap()).unwrap();
    let before = files_below(home.store.root());
    let request = CopyRequest {
        from: &home.store,
        to: &other.store,
        reference: &"lib".parse().unwrap(),
        with_cases: false,
        environments: Some(&settings),
        act: act(),
    };
    let report = copy_version(&request, &mut |_, _| {}).unwrap();
    assert_eq!(report.without_environment, []);
    assert_eq!(report.attachments, 1);
    assert!(other.store.contains(&wheel).unwrap());
    let again = copy_version(&request, &mut |_, _| {}).unwrap();
    assert_eq!((again.attachments, again.written_bytes), (0, 0));
    assert_eq!(files_below(home.store.root()), before);
    other.clean();
}

#[test]
fn a_lock_is_kept_as_long_as_it_answers_what_is_asked() {
    let home = locked();
    let folder = home.export("lib");
    let source = std::fs::read_to_string(folder.join("lib.py")).unwrap();
    for (asked, is_kept) in [
        ("six>=1.5", true),
        ("six", true),
        ("six<1.17", false),
        ("six[extra]>=1.0", false),
        ("seven>=1.0", false),
    ] {
        std::fs::write(folder.join("lib.py"), source.replace("six>=1.0", asked)).unwrap();
        let found = home.import(&folder).remove(0);
        match found.outcome {
            ImportOutcome::Saved { version, .. } if is_kept => {
                let content = home.store.version(&version).unwrap().content;
                assert_eq!(content.requirements[0].version, "1.17.0", "{asked}");
            }
            ImportOutcome::Refused(_) if !is_kept => {
                let why = why(&found);
                assert!(why.contains("not locked") && why.contains(asked), "{why}");
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_locked_stops_no_other() {
    let home = Home::new();
    let wants = "---\nname: wants\nrequirements: [six]\n---\n";
    let folder = home.write(&[
        ("plain/SKILL.md", "---\nname: plain\n---\n"),
        ("plain/plain.py", MAIN),
        ("wants/SKILL.md", wants),
        ("wants/wants.py", MAIN),
    ]);
    let tried = home.import_or_try(&folder, true);
    assert!(matches!(tried[0].outcome, ImportOutcome::Saved { .. }));
    assert!(
        matches!(&tried[1].outcome, ImportOutcome::ToLock { wanted } if wanted == &["six"]),
        "{:?}",
        tried[1].outcome
    );
    let folders = orchestrator::unlocked(&home.store, &folder).unwrap();
    let request = ImportRequest {
        store: &home.store,
        folder: &folder,
        locks: Locks::failed(folders, "no engine answers", Some("start it")),
        dry_run: false,
        act: act(),
    };
    let items = import_skills(request, &mut |_, _| {}).unwrap();
    assert!(matches!(items[0].outcome, ImportOutcome::Saved { .. }));
    assert!(home.head("plain").is_some());
    assert!(why(&items[1]).contains("no engine answers"));
    home.clean();
}
