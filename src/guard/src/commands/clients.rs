//! The clients of what is elsewhere, and what they are known to read.

/// One kind of clients.
pub(super) struct Client {
    pub(super) names: &'static [&'static str],
    /// Options in front of the command that take a value: letters, and words.
    pub(super) short: &'static str,
    pub(super) long: &'static [&'static str],
    /// Commands that only read, or work in the workspace. Between commas; `*` ends a word that
    /// begins like this, `...` stands for any words before.
    reads: &'static str,
    /// Beginnings of options that only read.
    looks: &'static str,
    /// What everything else does.
    pub(super) does: &'static str,
}

impl Client {
    /// Whether these words only read, or work in the workspace.
    pub(super) fn reads(&self, words: &[String], all: &[String]) -> bool {
        let looks = |word: &String| {
            let mut beginnings = self.looks.split(", ").filter(|it| !it.is_empty());
            beginnings.any(|beginning| word.starts_with(beginning))
        };
        (words.is_empty() && !self.reads.is_empty())
            || all.iter().any(looks)
            || self.reads.split(", ").any(|pattern| fits(pattern, words))
    }
}

pub(super) const CLIENTS: &[Client] = &[
    Client {
        names: &["docker", "podman", "nerdctl"],
        short: "Hlcfpn",
        long: &[
            "host",
            "context",
            "config",
            "log-level",
            "file",
            "project-name",
            "profile",
            "env-file",
            "project-directory",
        ],
        reads: "ps, images, logs, inspect, version, info, stats, top, port, diff, history, \
                search, events, build, tag, pull, login, logout, wait, save, export, buildx b*, \
                buildx ls, buildx inspect, buildx version, builder build, scout, help, * ls, * \
                list, * inspect, * ps, * logs, * top, * stats, * history, * df, * info, * \
                events, * port, * diff, * show, * version, * images, * config, * build, * pull, \
                volume create, network create, compose up, compose create, compose convert, \
                manifest create",
        looks: "",
        does: "changes containers on the engine's machine",
    },
    Client {
        names: &["docker-compose", "podman-compose"],
        short: "fpH",
        long: &[
            "file",
            "project-name",
            "profile",
            "env-file",
            "project-directory",
        ],
        reads: "ps, logs, config, ls, images, top, port, version, build, pull, events, up, \
                create, convert, help",
        looks: "",
        does: "changes containers on the engine's machine",
    },
    Client {
        names: &["kubectl", "oc", "k3s kubectl"],
        short: "ns",
        long: &[
            "namespace",
            "context",
            "kubeconfig",
            "cluster",
            "user",
            "server",
            "as",
        ],
        reads: "get, describe, logs, top, explain, version, api-*, cluster-info, config view, \
                config get*, config current-context, diff, wait, auth, rollout status, rollout \
                history, port-forward, kustomize, completion, events, options, help, status, \
                projects, whoami",
        looks: "",
        does: "changes a cluster",
    },
    Client {
        names: &["helm"],
        short: "n",
        long: &["namespace", "kube-context", "kubeconfig"],
        reads: "list, ls, status, get, history, template, lint, show, inspect, search, repo, \
                dependency, dep, package, pull, fetch, version, env, create, plugin list, \
                completion, verify, help",
        looks: "",
        does: "changes a cluster",
    },
    Client {
        names: &[
            "argocd", "flux", "istioctl", "eksctl", "kops", "velero", "linkerd",
        ],
        short: "n",
        long: &["namespace", "context"],
        reads: "... get*, ... list, ... diff, ... describe, ... logs, version, check, analyze, \
                ... help, tree, stats, trace, events, export, validate",
        looks: "",
        does: "changes a cluster",
    },
    Client {
        names: &["terraform", "tofu", "terragrunt"],
        short: "",
        long: &["chdir"],
        reads: "plan, validate, fmt, init, show, output, version, providers, graph, console, \
                get, login, workspace list, workspace show, workspace select, workspace new, \
                state list, state show, state pull, test, help, metadata",
        looks: "",
        does: "changes something in a cloud",
    },
    Client {
        names: &["pulumi"],
        short: "sC",
        long: &["stack", "cwd"],
        reads: "preview, stack, stack ls, stack output, stack select, config, config get, \
                whoami, version, new, login, logs, about, help, plugin, convert",
        looks: "",
        does: "changes something in a cloud",
    },
    Client {
        names: &["aws"],
        short: "",
        long: &[
            "profile",
            "region",
            "endpoint-url",
            "output",
            "query",
            "cli-read-timeout",
        ],
        reads: "* describe*, * list*, * get*, * ls, * head*, * wait, * search*, * query, * scan, \
                * filter*, * lookup*, * batch-get*, * estimate*, * validate*, * simulate*, * \
                help, * tail, s3 cp, s3 sync, s3 presign, sso login, help, ecr-public get*",
        looks: "",
        does: "changes something in a cloud",
    },
    Client {
        names: &[
            "gcloud",
            "az",
            "doctl",
            "oci",
            "ibmcloud",
            "linode-cli",
            "hcloud",
            "scw",
            "bq",
        ],
        short: "n",
        long: &["project", "region", "zone", "format", "account", "context"],
        reads: "... list, ... list-*, ... describe, ... show, ... get, ... get-*, ... ls, ... \
                read, ... info, info, version, ... print-*, ... tail, ... help, ... status, auth \
                login, login, ... lint, query, head, init",
        looks: "",
        does: "changes something in a cloud",
    },
    Client {
        names: &["gsutil", "s3cmd", "mc", "b2", "rclone"],
        short: "",
        long: &["config"],
        reads: "ls, cat, du, stat, hash, version, cp, get, info, help, find, tree, diff, head, \
                copy, lsf, lsl, lsd, lsjson, size, check, sync, listremotes, alias list, mount",
        looks: "",
        does: "changes something in a cloud",
    },
    Client {
        names: &["gh", "glab", "hub"],
        short: "R",
        long: &["repo"],
        reads: "api, ... list, ... view, ... status, ... diff, ... checks, ... checkout, ... clone, \
                ... download, ... watch, search, browse, version, help, ... create, ... comment, \
                ... ls, ... show, ... merge, ... close, ... reopen, ... edit, ... review, \
                ... ready, ... rerun, workflow run, auth, completion, config, repo fork, \
                repo sync, release upload, ... lint, ... trace, ... get, ... approve",
        looks: "",
        does: "changes a repository elsewhere",
    },
    Client {
        names: &[
            "heroku",
            "flyctl",
            "fly",
            "vercel",
            "netlify",
            "firebase",
            "wrangler",
            "serverless",
            "sls",
            "cdk",
            "eb",
            "sam",
            "railway",
            "supabase",
            "render",
            "surge",
            "now",
            "cf",
        ],
        short: "a",
        long: &["app", "token", "cwd"],
        reads: "... list, ... ls, ... logs, ... status, ... info, ... show, ... get, ... \
                inspect, ... whoami, ... diff, ... help, apps, ps, config, releases, version, \
                ... build, ... dev, ... init, ... synth, package, validate, local, print, \
                emulators*, serve, ... tail, login, ... link, doctor, ... pull, ... open, ... \
                invoke, bootstrap --help",
        looks: "",
        does: "changes what runs elsewhere",
    },
    Client {
        names: &["ansible", "ansible-playbook", "ansible-pull"],
        short: "ietulfMT",
        long: &["inventory", "extra-vars", "tags", "limit", "user"],
        reads: "",
        looks: "",
        does: "changes other machines",
    },
    Client {
        names: &[
            "vagrant",
            "multipass",
            "virsh",
            "VBoxManage",
            "lxc",
            "incus",
            "limactl",
            "qm",
        ],
        short: "c",
        long: &["connect"],
        reads: "status, global-status, list, info, ... list, ... show, ... info, version, \
                validate, ssh-config, dominfo, domstate, find, help, port, init, dumpxml, config \
                show",
        looks: "",
        does: "changes virtual machines",
    },
    Client {
        names: &[
            "rabbitmqctl",
            "rabbitmqadmin",
            "nomad",
            "consul",
            "etcdctl",
            "vault",
        ],
        short: "nu",
        long: &["node", "endpoints", "address"],
        reads: "list*, ... list, status, ... status, get, ... get, read, ... read, members, \
                ping, version, environment, report, info, help, plan, validate, catalog, \
                monitor, lookup, token lookup, endpoint *, inspect, check*, cluster_status, \
                login, export, logs, alloc logs, watch",
        looks: "",
        does: "changes a service elsewhere",
    },
    Client {
        names: &["apt", "apt-get", "aptitude"],
        short: "oct",
        long: &["option", "target-release"],
        reads: "list, show, search, policy, depends, rdepends, download, source, changelog, \
                showsrc, help, madison, check, versions, why",
        looks: "-s, --simulate, --just-print, --print-uris",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["apt-mark"],
        short: "",
        long: &[],
        reads: "show*, help",
        looks: "",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["yum", "dnf", "microdnf", "tdnf", "zypper"],
        short: "c",
        long: &["enablerepo", "disablerepo", "releasever"],
        reads: "list, info, search, repoquery, provides, whatprovides, check-update, repolist, \
                history list, se, if, lr, lu, pa, deplist, help, module list, group list, \
                grouplist, repoinfo, updateinfo",
        looks: "--assumeno",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["apk"],
        short: "",
        long: &[],
        reads: "info, list, search, version, policy, stats, dot, fetch, help",
        looks: "-s, --simulate",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["snap", "flatpak"],
        short: "",
        long: &[],
        reads: "list, info, find, search, version, services, connections, changes, help, \
                remotes, history, logs, run, remote-ls",
        looks: "",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["brew", "port"],
        short: "",
        long: &[],
        reads: "list, ls, info, search, deps, outdated, config, doctor, leaves, home, uses, \
                desc, cat, help, env, formulae, casks, installed, contents, shellenv, tap- \
                info, log",
        looks: "--prefix, --cellar, --repo, --cache",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["emerge"],
        short: "",
        long: &[],
        reads: "",
        looks: "-p, -s, -S, --search, --pretend, --info",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["pacman", "yay", "paru"],
        short: "",
        long: &[],
        reads: "",
        looks: "-Q, -Ss, -Si, -Sl, -Sg, -Sp, -F, -T, --query, -h, -V",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["rpm"],
        short: "",
        long: &[],
        reads: "",
        looks: "-q, --query, -V, --verify, -K, --checksig, --eval, -E, --showrc, --querytags, \
                --test",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["dpkg"],
        short: "",
        long: &[],
        reads: "",
        looks: "-l, -L, -s, -S, -p, -I, -c, -x, -X, --list, --get-selections, --print, \
                --status, --search, --contents, --info, --verify, -V, --audit, -C, --compare, \
                --extract, --simulate, --dry-run, --no-act",
        does: "changes what is installed on the system",
    },
    Client {
        names: &["nix-env"],
        short: "",
        long: &[],
        reads: "",
        looks: "-q, --query",
        does: "changes what is installed on the system",
    },
    Client {
        names: &[
            "systemctl",
            "loginctl",
            "machinectl",
            "networkctl",
            "resolvectl",
            "hostnamectl",
            "timedatectl",
            "localectl",
            "bootctl",
        ],
        short: "ptnHM",
        long: &["type", "property", "state", "host", "machine", "lines"],
        reads: "status, list*, show*, cat, is-*, get-default, help, query, timesync-status, \
                *-status, statistics, dns, user-status, session-status",
        looks: "--status",
        does: "changes the services of the machine",
    },
    Client {
        names: &["service", "rc-service", "initctl"],
        short: "",
        long: &[],
        reads: "* status, list, status",
        looks: "--status-all, --list",
        does: "changes the services of the machine",
    },
    Client {
        names: &["chkconfig", "rc-update", "update-rc.d"],
        short: "",
        long: &[],
        reads: "show",
        looks: "--list, --show, -n",
        does: "changes the services of the machine",
    },
    Client {
        names: &["launchctl", "supervisorctl", "sv"],
        short: "cs",
        long: &[],
        reads: "list, print, blame, status, tail, avail, pid, version, check",
        looks: "",
        does: "changes the services of the machine",
    },
    Client {
        names: &["firewall-cmd"],
        short: "",
        long: &[],
        reads: "",
        looks: "--list, --get, --state, --query, --info, --check",
        does: "changes the network of the machine",
    },
    Client {
        names: &[
            "ufw",
            "tailscale",
            "rfkill",
            "ipmitool",
            "racadm",
            "wg",
            "zerotier-cli",
        ],
        short: "IHUP",
        long: &[],
        reads: "status, version, show, app list, ip, ping, netcheck, list, info, sensor, sdr, \
                sel list, chassis status, power status, mc info, getsysinfo, genkey, pubkey, \
                listnetworks, listpeers",
        looks: "",
        does: "changes the machine or its network",
    },
];

/// Programs that publish what others load, and the words with which they do.
pub(super) const PUBLISHERS: &[(&[&str], &[&str])] = &[
    (
        &["npm", "pnpm", "yarn", "bun", "lerna"],
        &[
            "publish",
            "unpublish",
            "deprecate",
            "dist-tag",
            "owner",
            "access",
        ],
    ),
    (&["cargo"], &["publish", "yank", "owner"]),
    (&["gem"], &["push", "yank", "owner"]),
    (
        &["poetry", "uv", "hatch", "flit", "pdm", "rye", "maturin"],
        &["publish"],
    ),
    (&["twine"], &["upload"]),
    (&["mvn", "mvnw"], &["deploy"]),
    (&["gradle", "gradlew"], &["publish", "publishPlugins"]),
    (&["dotnet", "nuget"], &["push", "delete"]),
    (&["goreleaser"], &["release"]),
    (
        &["vsce", "ovsx", "semantic-release", "changeset"],
        &["publish", "unpublish"],
    ),
];

/// Clients of databases that are given statements, and the words that change something.
pub(super) const DATABASES: &[&str] = &[
    "psql",
    "mysql",
    "mariadb",
    "clickhouse-client",
    "clickhouse",
    "cqlsh",
    "mongo",
    "mongosh",
    "redis-cli",
    "valkey-cli",
    "sqlcmd",
    "bq",
    "snowsql",
    "cockroach",
    "influx",
    "usql",
];
pub(super) const CHANGING: &[&str] = &[
    "drop ",
    "delete ",
    "truncate ",
    "alter ",
    "update ",
    "grant ",
    "revoke ",
    "flushall",
    "flushdb",
    "shutdown",
    "config set",
    "config rewrite",
    "debug segfault",
    "script flush",
    ".drop",
    ".delete",
    ".remove",
    ".update",
    ".insert",
    ".shutdown",
    ".rename",
    ".replace",
];

/// Whether words begin as a pattern of [`Client::reads`] says.
fn fits(pattern: &str, words: &[String]) -> bool {
    let word_fits = |pattern: &str, word: &String| match pattern.strip_suffix('*') {
        Some(beginning) => word.starts_with(beginning),
        None => word == pattern,
    };
    if let Some(pattern) = pattern.strip_prefix("... ") {
        return words.iter().any(|word| word_fits(pattern, word));
    }
    let patterns: Vec<&str> = pattern.split(' ').collect();
    patterns.len() <= words.len()
        && patterns
            .iter()
            .zip(words)
            .all(|(it, word)| word_fits(it, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_words() {
        let check = |pattern: &str, words: &str, expected: bool| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(fits(pattern, &words), expected, "{pattern}: {words:?}");
        };
        check("get", "get pods", true);
        check("get", "delete get", false);
        check("* describe*", "ec2 describe-instances", true);
        check("* describe*", "describe-instances", false);
        check("... list", "compute instances list", true);
        check("... list", "compute instances listed", false);
    }
}
