//! Clients of what is elsewhere: clusters, clouds, registries, databases, container engines. What
//! they are known to read is allowed; everything else that they are told changes something there.

use super::clients::{CHANGING, CLIENTS, DATABASES, PUBLISHERS};
use super::wrappers::only_reads;
use super::{Line, Options, unknown};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

impl Walk<'_> {
    /// Judges a client, if this is one. Of a container it may run a program.
    pub(super) fn elsewhere(&mut self, line: &Line<'_>) -> Option<Output> {
        let published = PUBLISHERS
            .iter()
            .find(|(names, _)| names.contains(&line.name));
        let is_dry = line.before_end().any(|value| {
            let text = value.prefix();
            (text.starts_with("--dry-run") && text != "--dry-run=none")
                || matches!(text, "--dryrun" | "--help" | "--what-if")
        }) || line
            .arguments
            .last()
            .is_some_and(|value| matches!(value.prefix(), "-h" | "--version"));
        if let Some((_, words)) = published
            && !is_dry
        {
            let mut operands = line.options("", &[]).operands.into_iter().take(2);
            if operands.any(|word| words.contains(&word.exact().unwrap_or_default().as_str())) {
                self.refuse(&line.shown, "publishes what others load");
                return Some(unknown(&line.shown));
            }
        }
        if DATABASES.contains(&line.name) {
            self.database(line);
            return Some(unknown(&line.shown));
        }
        if matches!(
            line.name,
            "dropdb" | "dropuser" | "mysqladmin" | "mongorestore"
        ) || (line.name == "pg_restore" && line.has(&["-c", "--clean"]))
        {
            let reads = ["status", "ping", "version", "processlist", "variables"];
            if !is_dry && !line.has(&reads) {
                self.refuse(&line.shown, "changes a database elsewhere");
            }
            return Some(unknown(&line.shown));
        }
        let client = CLIENTS.iter().find(|it| it.names.contains(&line.name))?;
        if line.name.starts_with("ansible") && only_looks_at_hosts(line) {
            return Some(unknown(&line.shown));
        }
        let operands = Options::parse(line.arguments, client.short, client.long, false).operands;
        let words: Vec<String> = operands.iter().map(Value::shown).collect();
        let is_container = ["docker", "podman", "nerdctl"]
            .iter()
            .any(|name| line.name.starts_with(name));
        let is_command = |word: &str| {
            let at = usize::from(matches!(
                words.first().map(String::as_str),
                Some("container" | "compose")
            ));
            is_container && words.get(at).is_some_and(|it| it == word)
        };
        if is_command("run") || is_command("create") {
            return Some(self.container(line));
        }
        if is_command("exec") {
            return Some(self.in_container(line));
        }
        let of_pod = words.first().is_some_and(|word| word == "exec") && !is_container;
        let at = line.arguments.iter().position(|it| it.prefix() == "--");
        let in_pod = at
            .filter(|_| of_pod)
            .map_or(&[][..], |at| &line.arguments[at + 1..]);
        let in_pod: Vec<String> = in_pod.iter().map(Value::shown).collect();
        let options: Vec<String> = line.before_end().map(Value::shown).collect();
        let reads = is_dry || client.reads(&words, &options) || only_reads(&in_pod.join(" "));
        let takes_out = is_command("cp") && words.get(1).is_some_and(|from| from.contains(':'));
        if !reads && !takes_out {
            self.refuse(&line.shown, client.does);
            return Some(unknown(&line.shown));
        }
        if line.name == "dpkg"
            && line.has(&["-x", "-X", "--extract"])
            && let Some(into) = operands.get(1)
        {
            self.act(Act::Write, into, &line.shown);
        }
        if line.name == "gh" && words.first().is_some_and(|word| word == "api") {
            self.asked_by_web(
                line,
                &["X", "method"],
                &["f", "F", "field", "raw-field", "input"],
            );
        }
        self.fetched(line, &operands, client.does, is_dry);
        Some(unknown(&line.shown))
    }

    /// A request to a server: what its method is, or what data it sends.
    fn asked_by_web(&mut self, line: &Line<'_>, method: &[&str], data: &[&str]) {
        let options = line.options("XFfHqRt", &["method", "field", "raw-field", "input"]);
        let methods = options.values(method);
        let reads = match methods.first().and_then(Value::exact) {
            Some(method) => matches!(method.to_uppercase().as_str(), "GET" | "HEAD"),
            None => !options.has(data) || line.has(&["graphql"]),
        };
        if !reads {
            self.refuse(&line.shown, "changes something elsewhere");
        }
    }

    /// A copy between here and elsewhere: the last word says where it goes.
    fn fetched(&mut self, line: &Line<'_>, operands: &[Value], does: &str, is_dry: bool) {
        let copies = ["cp", "sync", "copy", "get", "mv", "mount"];
        let is_copy = operands
            .iter()
            .take(2)
            .any(|word| copies.contains(&word.exact().unwrap_or_default().as_str()));
        let is_store = matches!(
            line.name,
            "aws" | "gsutil" | "s3cmd" | "mc" | "b2" | "rclone" | "docker" | "podman" | "nerdctl"
        );
        let Some(target) = operands.last().filter(|_| is_copy && is_store && !is_dry) else {
            return;
        };
        if target.prefix().contains(':') {
            self.refuse(&line.shown, does);
        } else if operands.len() > 2 && target.exact().as_deref() != Some("-") {
            self.act(Act::Write, target, &line.shown);
        }
    }

    /// A new container: what of this machine it is given, and what it runs there.
    fn container(&mut self, line: &Line<'_>) -> Output {
        let at = line
            .arguments
            .iter()
            .position(|word| matches!(word.prefix(), "run" | "create"));
        let rest = at.map_or(&[][..], |at| &line.arguments[at + 1..]);
        let long = [
            "volume",
            "mount",
            "env",
            "env-file",
            "workdir",
            "publish",
            "user",
            "name",
            "network",
            "net",
            "entrypoint",
            "memory",
            "cpus",
            "hostname",
            "label",
            "platform",
            "gpus",
            "add-host",
            "cap-add",
            "cap-drop",
            "device",
            "pid",
            "ipc",
            "userns",
            "security-opt",
            "restart",
            "shm-size",
            "tmpfs",
            "ulimit",
            "log-driver",
            "pull",
            "dns",
            "runtime",
            "cgroup-parent",
            "cidfile",
            "stop-timeout",
            "volumes-from",
            "cpuset-cpus",
            "ip",
        ];
        let options = Options::parse(rest, "vewpuhlmac", &long, true);
        let mut mounts = Vec::new();
        for volume in options.values(&["v", "volume"]) {
            let text = volume.shown();
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default().to_owned();
            let is_read = parts.any(|part| part.split(',').any(|it| it == "ro"));
            let is_path = volume.prefix().is_empty() || source.contains(['/', '.', '~']);
            if is_path && !is_read {
                mounts.push(up_to_colon(&volume));
            }
        }
        for mount in options.values(&["mount"]).iter().map(Value::shown) {
            let is_read = mount.split(',').any(|it| matches!(it, "ro" | "readonly"));
            let source = mount.split(',').find_map(|it| {
                it.strip_prefix("source=")
                    .or_else(|| it.strip_prefix("src="))
                    .filter(|source| source.contains('/'))
            });
            mounts.extend(source.filter(|_| !is_read).map(Value::text));
        }
        self.each(Act::Write, &mounts, line);
        let of_host = |names: &[&str]| {
            let values = options.values(names);
            values
                .iter()
                .any(|value| value.prefix().starts_with("host"))
        };
        if options.has(&["privileged", "cap-add", "device"])
            || of_host(&["pid", "ipc", "userns", "uts"])
        {
            self.refuse(&line.shown, "gives a container power over the machine");
        }
        let mut inner = options.operands.get(1..).unwrap_or_default().to_vec();
        if let Some(program) = options.values(&["entrypoint"]).first() {
            inner.insert(0, program.clone());
        }
        self.inner(&inner, line)
    }

    /// A command in a container that is there: what it changes is outside as well.
    fn in_container(&mut self, line: &Line<'_>) -> Output {
        let at = line
            .arguments
            .iter()
            .position(|word| word.prefix() == "exec");
        let rest = at.map_or(&[][..], |at| &line.arguments[at + 1..]);
        let long = ["env", "workdir", "user", "env-file", "index"];
        let inner = Options::parse(rest, "ewu", &long, true).operands;
        let inner = inner.get(1..).unwrap_or_default().to_vec();
        self.inner(&inner, line)
    }

    fn inner(&mut self, command: &[Value], line: &Line<'_>) -> Output {
        if !command.is_empty() && self.enter() {
            self.apart(|walk| walk.run(command));
            self.leave();
        }
        unknown(&line.shown)
    }

    /// A client of a database: its statements are words, or come in.
    fn database(&mut self, line: &Line<'_>) {
        let mut text = line.texts().join(" ");
        match &self.state.stdin {
            Output::Text(read) => text.extend([" ", read]),
            Output::Items(_) | Output::Unknown(_) if !line.has(&["-c", "-e", "--eval"]) => {
                self.ask(&line.shown, "which statements it is given is not known");
            }
            Output::Items(_) | Output::Unknown(_) | Output::Nothing | Output::File => {}
        }
        let text = text.to_lowercase();
        if ["\\!", "\\o |", "to program", "from program", "system("]
            .iter()
            .any(|word| text.contains(word))
        {
            self.ask(&line.shown, "its client can run any command");
        }
        let is_redis = matches!(line.name, "redis-cli" | "valkey-cli");
        let removes_keys = is_redis
            && text
                .split_whitespace()
                .any(|word| matches!(word, "del" | "unlink" | "flushall" | "flushdb"));
        if removes_keys || CHANGING.iter().any(|word| text.contains(word)) {
            self.refuse(&line.shown, "changes a database elsewhere");
        }
    }
}

/// Whether ansible is asked what it would do, or how the machines are.
fn only_looks_at_hosts(line: &Line<'_>) -> bool {
    let options = line.options(
        "imaubetlfMT",
        &["module-name", "inventory", "args", "limit"],
    );
    let modules = options.values(&["m", "module-name"]);
    let looks = ["check", "C", "syntax-check", "list-tasks", "list-hosts"];
    let reads = [
        "ping",
        "setup",
        "debug",
        "gather_facts",
        "stat",
        "command_facts",
    ];
    options.has(&looks)
        || modules
            .iter()
            .any(|module| reads.contains(&module.exact().unwrap_or_default().as_str()))
}

/// The part of a value in front of its first colon.
fn up_to_colon(value: &Value) -> Value {
    let mut source = Value::default();
    for part in &value.0 {
        match part {
            Part::Text(text) => {
                let (before, is_end) = text
                    .split_once(':')
                    .map_or((text.as_str(), false), |(before, _)| (before, true));
                source.push(Part::Text(before.to_owned()));
                if is_end {
                    break;
                }
            }
            part => source.push(part.clone()),
        }
    }
    source
}
