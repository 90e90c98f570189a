//! `git`: which repository it changes, and what it runs.

use super::{Line, Options, unknown};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

impl Walk<'_> {
    /// Judges a `git` command line. What it does inside the workspace is allowed, however much it
    /// throws away: the workspace's state before the run is kept.
    pub(crate) fn git(&mut self, line: &Line<'_>) -> Output {
        let options = Options::parse(
            line.arguments,
            "Cc",
            &[
                "git-dir",
                "work-tree",
                "namespace",
                "exec-path",
                "config-env",
            ],
            true,
        );
        self.apart(|walk| {
            for directory in options.values(&["C", "work-tree"]) {
                walk.change_directory(&directory);
            }
            for name in ["GIT_DIR", "GIT_WORK_TREE"] {
                let values = walk.state.variables.get(name).map(|it| it.values.clone());
                for directory in values.unwrap_or_default() {
                    walk.act_if_changing(&options, &directory, line);
                }
            }
            for directory in options.values(&["git-dir"]) {
                walk.act_if_changing(&options, &directory, line);
            }
            for setting in options.values(&["c"]) {
                walk.git_setting(&setting, line);
            }
            walk.git_command(&options, line);
        });
        let (command, arguments) = match options.operands.split_first() {
            Some((command, rest)) => (command.exact().unwrap_or_default(), rest),
            None => (String::new(), &[][..]),
        };
        match command.as_str() {
            "ls-files" | "ls-tree" | "diff" | "grep" | "status" if !line.shown.contains("-C") => {
                self.located(&[Value::text(".")], line)
            }
            "rev-parse"
                if arguments
                    .iter()
                    .any(|value| value.exact().as_deref() == Some("--show-toplevel")) =>
            {
                self.located(&[Value::text(".")], line)
            }
            "rev-parse" | "rev-list" | "describe" | "hash-object" => {
                Output::Items(vec![Value::name()])
            }
            _ => unknown(&line.shown),
        }
    }

    fn act_if_changing(&mut self, options: &Options, directory: &Value, line: &Line<'_>) {
        let command = options.operands.first().and_then(Value::exact);
        if !command.as_deref().is_some_and(reads) {
            self.act(Act::Write, directory, &line.shown);
        }
    }

    /// `-c NAME=VALUE`: some settings are programs.
    fn git_setting(&mut self, setting: &Value, line: &Line<'_>) {
        let text = setting.shown();
        let Some((name, value)) = text.split_once('=') else {
            return;
        };
        let name = name.to_lowercase();
        let is_program = name.starts_with("alias.")
            || name.ends_with("command")
            || name.ends_with("pager")
            || name.ends_with("editor")
            || name.ends_with("fsmonitor")
            || name.ends_with("hookspath")
            || name.ends_with(".helper")
            || name.ends_with("program")
            || name.starts_with("filter.")
            || name.starts_with("pager.")
            || name.ends_with("textconv")
            || name.rsplit('.').next() == Some("cmd");
        if !is_program {
            return;
        }
        let script = match (name.starts_with("alias."), value.strip_prefix('!')) {
            (true, Some(script)) => script.to_owned(),
            (true, None) => format!("git {value}"),
            (false, _) => value.to_owned(),
        };
        let script = match setting.mystery() {
            Some(why) => Value::unknown(why),
            None => Value::text(script),
        };
        self.text_as_script(&script, line);
    }

    /// Hooks that this command line wrote: what changes the repository may run each of them.
    fn git_hooks(&mut self, line: &Line<'_>) {
        let hooks: Vec<Output> = self
            .state
            .files
            .iter()
            .filter(|(path, _)| path.contains("/.git/hooks/"))
            .map(|(_, content)| content.clone())
            .collect();
        for hook in hooks {
            drop(self.apart(|walk| walk.written_script(&hook, line)));
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    fn git_command(&mut self, options: &Options, line: &Line<'_>) {
        let Some((command, arguments)) = options.operands.split_first() else {
            return;
        };
        let Some(command) = command.exact() else {
            self.ask(&line.shown, "which command of git it is, is not known");
            return;
        };
        if !reads(&command) {
            self.git_hooks(line);
        }
        let here = Value::text(".");
        let has = |words: &[&str]| {
            arguments.iter().any(|value| {
                let text = value.prefix();
                words
                    .iter()
                    .any(|word| text == *word || text.starts_with(&format!("{word}=")))
            })
        };
        match command.as_str() {
            "push" => {
                let forced = has(&[
                    "--force",
                    "-f",
                    "--force-with-lease",
                    "--mirror",
                    "--delete",
                    "-d",
                    "--prune",
                ]) || arguments
                    .iter()
                    .any(|value| value.prefix().starts_with(['+', ':']));
                if forced && !has(&["--dry-run", "-n"]) {
                    self.refuse(
                        &line.shown,
                        "overwrites or removes history in another repository",
                    );
                }
            }
            "clone" | "init" | "worktree" => {
                let inner = Options::parse(
                    arguments,
                    "bocuj",
                    &[
                        "branch",
                        "origin",
                        "depth",
                        "config",
                        "template",
                        "reference",
                        "separate-git-dir",
                    ],
                    false,
                );
                for setting in inner.values(&["c", "config"]) {
                    self.git_setting(&setting, line);
                }
                for program in inner.values(&["u", "upload-pack"]) {
                    self.text_as_script(&program, line);
                }
                let skip = usize::from(command != "init");
                match inner.operands.get(skip) {
                    Some(target) => {
                        let target = target.clone();
                        self.act(Act::Write, &target, &line.shown);
                    }
                    None => self.act(Act::Write, &here, &line.shown),
                }
            }
            "config" => {
                // What runs a command is judged where it is set.
                let names: Vec<Value> = arguments
                    .iter()
                    .filter(|value| !value.prefix().starts_with('-'))
                    .cloned()
                    .collect();
                let files = Options::parse(arguments, "f", &["file"], false);
                for file in files.values(&["f", "file"]) {
                    if files.operands.len() > 1 || has(&["--unset", "--unset-all", "--add"]) {
                        self.act(Act::Write, &file, &line.shown);
                    }
                }
                if let [name, value, ..] = names.as_slice() {
                    let mut setting = name.clone();
                    setting.push(Part::Text("=".to_owned()));
                    setting.extend(value);
                    self.git_setting(&setting, line);
                }
                for value in arguments {
                    if let Some(text) = value.shown().strip_prefix('!') {
                        let script = match value.mystery() {
                            Some(why) => Value::unknown(why),
                            None => Value::text(text),
                        };
                        self.text_as_script(&script, line);
                    }
                }
                if has(&["--system"]) {
                    self.refuse(&line.shown, "changes the configuration of the whole system");
                } else if !has(&[
                    "--global",
                    "--get",
                    "--list",
                    "-l",
                    "--get-all",
                    "--get-regexp",
                ]) {
                    self.act(Act::Write, &here, &line.shown);
                }
            }
            "submodule" | "filter-branch" | "bisect" | "rebase" | "for-each-repo" | "difftool"
            | "mergetool" => {
                self.act(Act::Write, &here, &line.shown);
                let mut rest = arguments.iter();
                while let Some(value) = rest.next() {
                    match value.exact().as_deref() {
                        Some("foreach") => {
                            let words: Vec<Value> = rest
                                .by_ref()
                                .filter(|value| value.prefix() != "--recursive")
                                .cloned()
                                .collect();
                            match words.as_slice() {
                                [one] => drop(self.text_as_script(one, line)),
                                words => drop(self.run(words)),
                            }
                        }
                        Some("run") if command == "bisect" => {
                            let words: Vec<Value> = rest.by_ref().cloned().collect();
                            self.run(&words);
                        }
                        Some(
                            "--tree-filter" | "--index-filter" | "--msg-filter" | "--env-filter"
                            | "--parent-filter" | "--commit-filter" | "--tag-name-filter"
                            | "--exec" | "-x" | "--extcmd",
                        ) => {
                            if let Some(script) = rest.next() {
                                self.text_as_script(script, line);
                            }
                        }
                        Some(text) if text.starts_with("--exec=") => {
                            let script = value.after(7);
                            self.text_as_script(&script, line);
                        }
                        _ => {}
                    }
                }
            }
            "rm" | "clean" | "mv" => {
                if let Some(path) = outside(arguments) {
                    self.act(Act::Remove, path, &line.shown);
                } else if command != "clean" && !has(&["--cached"]) {
                    for path in arguments.iter().filter(|value| is_plain_path(value)) {
                        self.act(Act::Remove, path, &line.shown);
                    }
                }
                self.act(Act::Write, &here, &line.shown);
            }
            "bundle" => {
                if let [command, file, ..] = arguments
                    && command.exact().as_deref() == Some("create")
                {
                    self.act(Act::Write, file, &line.shown);
                }
            }
            "archive" | "format-patch" | "diff" | "log" | "show" | "range-diff" => {
                let short = if matches!(command.as_str(), "archive" | "format-patch") {
                    "o"
                } else {
                    "SGU"
                };
                let inner =
                    Options::parse(arguments, short, &["output", "output-directory"], false);
                for into in inner.values(&["o", "output", "output-directory"]) {
                    self.act(Act::Write, &into, &line.shown);
                }
            }
            "apply" | "am" | "checkout-index" => {
                let inner = Options::parse(arguments, "pC", &["directory", "prefix"], false);
                for into in inner.values(&["directory", "prefix"]) {
                    self.act(Act::Write, &into, &line.shown);
                }
                self.act(Act::Write, &here, &line.shown);
            }
            "grep" => {
                let inner = Options::parse(arguments, "efmABCO", &["open-files-in-pager"], false);
                for program in inner.values(&["O", "open-files-in-pager"]) {
                    self.text_as_script(&program, line);
                }
            }
            "fetch" | "pull" | "ls-remote" => {
                let long = ["upload-pack", "exec"];
                let inner = Options::parse(arguments, "jo", &long, false);
                for program in inner.values(&long) {
                    self.text_as_script(&program, line);
                }
            }
            command if reads(command) => {}
            _ => self.act(Act::Write, &here, &line.shown),
        }
    }
}

/// The first argument that may be a path outside of the repository.
fn outside(arguments: &[Value]) -> Option<&Value> {
    arguments
        .iter()
        .find(|value| value.prefix().starts_with(['/', '~']) || value.prefix().starts_with(".."))
}

/// Whether an argument is a path whose name is known, and neither an option nor the directory itself.
fn is_plain_path(value: &Value) -> bool {
    value.exact().is_some_and(|text| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.split('/').all(|part| !part.starts_with('.'))
    })
}

fn reads(command: &str) -> bool {
    matches!(
        command,
        "status"
            | "log"
            | "diff"
            | "show"
            | "ls-files"
            | "ls-tree"
            | "ls-remote"
            | "grep"
            | "blame"
            | "rev-parse"
            | "rev-list"
            | "describe"
            | "cat-file"
            | "shortlog"
            | "help"
            | "version"
            | "reflog"
            | "for-each-ref"
            | "merge-base"
            | "name-rev"
            | "show-ref"
            | "var"
            | "check-ignore"
            | "count-objects"
            | "whatchanged"
    )
}
