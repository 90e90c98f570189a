//! The workspace: what goes in, and what comes back.

use std::fmt::Write as _;
use std::time::Instant;

use runner::{Mount, RunnerError, Sandboxes as _};
use spec::{ByteSize, RunOutcome};

use crate::env::{Env, answer, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_through_a_map_comes_back() {
    let Some(env) = Env::open().await else { return };
    let env = ["read", "synced", "forked", "kept"]
        .iter()
        .fold(env, |env, path| env.file(path, b"old text"));
    let source = "\
import mmap, os
def main(q):
    for name in ('read', 'synced', 'forked', 'kept'):
        with open(name, 'r+b') as file, mmap.mmap(file.fileno(), 0) as pages:
            # A page that was read is written to without a fault.
            seen = pages[:3]
            if name == 'forked':
                if os.fork() == 0:
                    pages[:3] = b'new'
                    os._exit(0)
                os.wait()
            elif name != 'kept':
                pages[:3] = b'new'
            if name == 'synced':
                pages.flush()
                os.fsync(file.fileno())
    return {'answer': seen.decode()}
";
    let report = env.python(source).await;
    assert_eq!(answer(&report), "old");
    let changed = env.changed(&report);
    let names: Vec<_> = changed.keys().map(String::as_str).collect();
    assert_eq!(names, ["forked", "read", "synced"]);
    assert!(changed.values().all(|content| content == b"new text"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_comes_back() {
    let Some(env) = Env::open().await else { return };
    let env = [
        "keep",
        "edit",
        "touch",
        "drop",
        "dir/deep/file",
        "link",
        "swap/file",
        "turn",
        "stay",
    ]
    .iter()
    .fold(env, |env, path| env.file(path, b"old"));
    let report = env
        .python(
            "import os, pathlib, shutil\n\
             def main(q):\n    \
                 pathlib.Path('edit').write_text('new')\n    \
                 os.utime('touch')\n    \
                 os.remove('drop')\n    \
                 shutil.rmtree('dir')\n    \
                 pathlib.Path('dir').write_text('a file now')\n    \
                 os.link('link', 'second')\n    \
                 os.makedirs('a/b/empty')\n    \
                 pathlib.Path('a/b/tool').write_text('#!')\n    \
                 os.chmod('a/b/tool', 0o755)\n    \
                 shutil.rmtree('swap')\n    \
                 os.symlink('a', 'swap')\n    \
                 os.remove('turn')\n    \
                 os.mkdir('turn')\n    \
                 open('turn/in', 'w').close()\n    \
                 os.remove('stay')\n    \
                 os.symlink('keep', 'stay')\n    \
                 open(b'\\xff\\n', 'w').close()\n    \
                 left = open('unclosed', 'w')\n    \
                 left.write('flushed')\n    \
                 globals()['kept'] = left\n    \
                 return {'answer': pathlib.Path('keep').read_text()}\n",
        )
        .await;
    assert_eq!(answer(&report), "old");
    let changed: Vec<_> = env.changed(&report).into_iter().collect();
    let expected: Vec<(String, Vec<u8>)> = [
        ("%FF%0A", ""),
        ("a/b/tool", "#!"),
        ("dir", "a file now"),
        ("edit", "new"),
        ("second", "old"),
        ("turn/in", ""),
        ("unclosed", "flushed"),
    ]
    .map(|(path, text)| (path.to_owned(), text.into()))
    .into();
    assert_eq!(changed, expected);
    let executable: Vec<_> = report
        .changed
        .iter()
        .filter(|file| file.executable)
        .collect();
    assert_eq!(executable.len(), 1);
    let removed: Vec<_> = report.removed.iter().map(ToString::to_string).collect();
    assert_eq!(removed, ["dir/deep/file", "drop", "swap/file", "turn"]);
    let left: Vec<_> = report
        .left_behind
        .iter()
        .map(|l| (&*l.path, &*l.why))
        .collect();
    assert_eq!(left, [("stay", "symbolic link"), ("swap", "symbolic link")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_as_old_in_every_run_so_that_each_write_shows() {
    let Some(env) = Env::open().await else { return };
    let env = env.file("state", b"1");
    let program = "import os\n\
         def main(q):\n    \
             made = os.stat('state').st_mtime_ns\n    \
             with open('state', 'r+') as file:\n        \
                 file.write('2')\n    \
             return {'answer': f'{made} {os.stat(\"state\").st_mtime_ns > made}'}\n";
    let report = env.python(program).await;
    assert_eq!(answer(&report), "946684800000000000 True");
    let changed: Vec<_> = env.changed(&report).into_iter().collect();
    assert_eq!(changed, [("state".to_owned(), b"2".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_written_before_a_failure_come_back() {
    let Some(env) = Env::open().await else { return };
    let report = env
        .python("def main(q):\n    open('part', 'w').write('x')\n    raise ValueError")
        .await;
    assert!(matches!(report.outcome, RunOutcome::Raised { .. }));
    assert_eq!(env.changed(&report)["part"], b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_plain_file_is_left_and_named() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.workspace = ByteSize::mib(16);
    let report = env
        .python(
            "import os, socket\n\
             def main(q):\n    \
                 os.symlink('/etc/passwd', 'link')\n    \
                 os.symlink('/proc/1', 'proc')\n    \
                 os.mkfifo('fifo')\n    \
                 socket.socket(socket.AF_UNIX).bind('socket')\n    \
                 open('secret', 'w').write('mine')\n    \
                 os.chmod('secret', 0)\n    \
                 os.mkdir('closed')\n    \
                 open('closed/in', 'w').write('x')\n    \
                 os.chmod('closed', 0)\n    \
                 os.mkdir('names')\n    \
                 open('names/in', 'w').write('y')\n    \
                 os.chmod('names', 0o400)\n    \
                 open('sparse', 'w').truncate(1 << 23)\n    \
                 open('sparse2', 'w').truncate(1 << 24)\n    \
                 for _ in range(70):\n        \
                     os.mkdir('d')\n        \
                     os.chdir('d')\n    \
                 open('deep', 'w').close()\n    \
                 os.chmod('/workspace', 0)\n    \
                 return {}\n",
        )
        .await;
    assert_eq!(answer(&report), "", "{}", stderr(&report));
    let left: Vec<_> = report
        .left_behind
        .iter()
        .map(|l| (&*l.path, &*l.why))
        .collect();
    let deep = vec!["d"; 65].join("/");
    assert_eq!(
        left,
        [
            ("fifo", "named pipe"),
            ("link", "symbolic link"),
            ("proc", "symbolic link"),
            ("socket", "socket"),
            ("sparse2", "too large"),
            (&deep, "too deep"),
        ]
    );
    let changed = env.changed(&report);
    assert_eq!(changed["secret"], b"mine");
    assert_eq!(changed["closed/in"], b"x");
    assert_eq!(changed["names/in"], b"y");
    assert_eq!(changed["sparse"], vec![0; 1 << 23]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_files_go_in_and_come_back_quickly() {
    let Some(env) = Env::open().await else { return };
    let env = (0..1_000).fold(env, |env, n| env.file(&format!("in/{n}"), b"content"));
    let begun = Instant::now();
    let report = env
        .python(
            "import os\n\
             def main(q):\n    \
                 os.mkdir('out')\n    \
                 for n in range(1000): open(f'out/{n}', 'w').write(str(n))\n    \
                 return {'answer': len(os.listdir('in'))}\n",
        )
        .await;
    eprintln!(
        "1,000 files: {:?} in all, {:?}",
        begun.elapsed(),
        report.timings
    );
    assert_eq!(answer(&report), "1000");
    assert_eq!(report.changed.len(), 1_000);
    assert_eq!(env.changed(&report)["out/77"], b"77");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_go_in_and_come_back() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.memory = ByteSize::mib(768);
    env.limits.workspace = ByteSize::mib(256);
    let content: Vec<u8> = (0..100_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let env = env.file("big", &content);
    let begun = Instant::now();
    let report = env.shell("tail -c +2 big > shifted").await;
    eprintln!("100 MB: {:?} in all, {:?}", begun.elapsed(), report.timings);
    assert_eq!(report.outcome, RunOutcome::Exited { status: 0 });
    let changed = env.changed(&report);
    assert!(
        changed["shifted"] == content[1..],
        "the content is the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_files_are_left_and_counted() {
    let Some(env) = Env::open().await else { return };
    let report = env.shell("seq -f f%g 20000 | xargs touch").await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 0 });
    assert_eq!(report.changed.len(), spec::limits::FILES);
    let last = report.left_behind.last().unwrap();
    let unnamed = 20_000 - spec::limits::FILES - 1_000;
    assert_eq!(
        (last.path.as_str(), last.why.clone()),
        ("...", format!("and {unnamed} more"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_directory_is_read_only_unless_said() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data"), "text").unwrap();
    let owner = 1_234;
    std::os::unix::fs::chown(dir.path(), Some(owner), Some(owner)).unwrap();
    let mut look = async |writable| {
        env.mounts = vec![Mount {
            source: dir.path().to_owned(),
            name: "input".to_owned(),
            writable,
        }];
        let report = env
            .shell("id -u; cat /mnt/input/data; echo new > /mnt/input/new && truncate -s 300M /mnt/input/large")
            .await;
        let mut text = crate::env::stdout(&report);
        write!(text, " {:?}", report.outcome).unwrap();
        text
    };
    assert_eq!(look(false).await, "1234\ntext Exited { status: 1 }");
    assert_eq!(look(true).await, "1234\ntext Exited { status: 0 }");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("new")).unwrap(),
        "new\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_exactly_full_can_be_restored() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.workspace = ByteSize::kib(256);
    let env = (0..64).fold(env, |env, n| env.file(&format!("d{n}/f"), &[1; 4_096]));
    let report = env.shell("cat d*/f | wc -c").await;
    assert_eq!(crate::env::stdout(&report), "262144\n");
    let env = env.file("more", b"x");
    let program = runner::Program::Shell {
        command: String::new(),
    };
    let run = env
        .sandboxes
        .run(env.spec(program), env.host(), env.cancel.clone());
    let error = run.await.unwrap_err();
    assert!(
        matches!(
            error,
            RunnerError::TooLarge {
                what: "workspace",
                ..
            }
        ),
        "{error:?}"
    );
}
