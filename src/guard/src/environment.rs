//! Variables that programs obey: what giving one a value would run, or where it would lead.

use crate::place::Directories;
use crate::shell::Walk;
use crate::value::{Output, Value};

/// What the value of a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A command line, which a program gives to a shell.
    Command,
    /// A file that a shell reads first.
    Script,
    /// A text whose substitutions are carried out when it is shown.
    Prompt,
    /// Options of a program, as on its command line.
    Options(&'static str),
    /// Libraries that are loaded into every program.
    Libraries,
}

const OBEYED: &[(Meaning, &[&str])] = &[
    (
        Meaning::Command,
        &[
            "PROMPT_COMMAND",
            "PAGER",
            "MANPAGER",
            "SYSTEMD_PAGER",
            "BAT_PAGER",
            "GIT_PAGER",
            "EDITOR",
            "VISUAL",
            "FCEDIT",
            "GIT_EDITOR",
            "GIT_SEQUENCE_EDITOR",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_PROXY_COMMAND",
            "GIT_EXTERNAL_DIFF",
            "GIT_ASKPASS",
            "SSH_ASKPASS",
            "SUDO_ASKPASS",
            "BROWSER",
            "RSYNC_RSH",
            "CVS_RSH",
            "SVN_EDITOR",
            "LESSOPEN",
            "LESSCLOSE",
            "MAKESHELL",
            "RUSTC_WRAPPER",
            "PERL5DB",
        ],
    ),
    (Meaning::Script, &["BASH_ENV", "ENV"]),
    (Meaning::Prompt, &["PS0", "PS1", "PS2", "PS3", "PS4"]),
    (Meaning::Options("tar"), &["TAR_OPTIONS"]),
    (Meaning::Options("make"), &["MAKEFLAGS", "GNUMAKEFLAGS"]),
    (Meaning::Options("perl"), &["PERL5OPT"]),
    (
        Meaning::Libraries,
        &["LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES"],
    ),
];

/// Whether a library is one that was installed.
fn is_of_system(file: &str) -> bool {
    let roots = ["/usr/", "/lib", "/opt/", "/nix/"];
    !file.contains('/') || (!file.contains("..") && roots.iter().any(|root| file.starts_with(root)))
}

impl Walk<'_> {
    /// A variable has got these values.
    pub(crate) fn obeyed(&mut self, name: &str, values: &[Value]) {
        if name == "OLDPWD" {
            self.state.cwd_before = values.iter().map(Value::exact).collect();
            return;
        }
        let Some((meaning, _)) = OBEYED.iter().find(|(_, names)| names.contains(&name)) else {
            return;
        };
        for text in values.iter().filter_map(Value::exact) {
            match meaning {
                Meaning::Prompt => self.prompt(&text),
                Meaning::Command => drop(self.apart(|walk| {
                    walk.state.stdin = Output::Nothing;
                    walk.script(&text)
                })),
                Meaning::Script => self.read_first(&text),
                Meaning::Libraries => {
                    let mut files = text.split([':', ' ']).filter(|file| !file.is_empty());
                    if !files.all(is_of_system) {
                        self.ask(
                            &format!("{name}={text}"),
                            "it loads code into every program that is started",
                        );
                    }
                }
                Meaning::Options(program) => {
                    drop(self.apart(|walk| walk.script(&format!("{program} {text}"))));
                }
            }
        }
    }

    /// Files that a shell which starts here reads first.
    pub(crate) fn shell_starts(&mut self) {
        for name in ["BASH_ENV", "ENV"] {
            let values = self.state.variables.get(name).map(|it| it.values.clone());
            for text in values.iter().flatten().filter_map(Value::exact) {
                self.read_first(&text);
            }
        }
    }

    /// A file that a shell reads before anything else. One that was there before is a program of
    /// the workspace, like any other.
    fn read_first(&mut self, file: &str) {
        // Shells expand the name once more.
        let files = self.document(file);
        for file in files {
            let known = self.path(&file);
            let known = known.and_then(|path| self.state.files.get(&path).cloned());
            match known {
                Some(Output::Text(text)) => drop(self.apart(|walk| walk.script(&text))),
                Some(Output::Items(_) | Output::Unknown(_)) => {
                    self.ask(&file.shown(), "it runs a text that is not known");
                }
                Some(Output::Nothing | Output::File) | None => {}
            }
        }
    }

    /// Goes to a directory that may lie below one of `CDPATH`.
    pub(crate) fn enter_directory(&mut self, value: &Value) {
        let text = value.prefix();
        let roots = self.state.variables.get("CDPATH");
        let roots = roots.map(|roots| roots.values.clone()).unwrap_or_default();
        let before = self.state.cwd.clone();
        let mut all: Directories = Vec::new();
        if !text.starts_with(['/', '.']) {
            for root in &roots {
                let Some(list) = root.exact() else {
                    all.push(None);
                    continue;
                };
                for root in list.split(':').filter(|root| !root.is_empty()) {
                    let mut path = Value::text(format!("{root}/"));
                    path.extend(value);
                    self.change_directory(&path);
                    all.append(&mut self.state.cwd);
                    self.state.cwd.clone_from(&before);
                }
            }
        }
        self.change_directory(value);
        for directory in all {
            if !self.state.cwd.contains(&directory) {
                self.state.cwd.push(directory);
            }
        }
        self.state.cwd_before = before;
    }

    /// `pushd` without a directory, or with a number.
    pub(crate) fn rotate_directories(&mut self, number: Option<&str>) {
        let before = self.state.cwd.clone();
        if number.is_none()
            && let Some(last) = self.state.directories.pop()
        {
            self.state.directories.push(before.clone());
            self.state.cwd = last;
        } else {
            // Which one comes to the top is not worked out: each of them is possible.
            for directory in self.state.directories.concat() {
                if !self.state.cwd.contains(&directory) {
                    self.state.cwd.push(directory);
                }
            }
            self.state.directories = vec![self.state.cwd.clone(); self.state.directories.len()];
        }
        self.state.cwd_before = before;
    }
}
