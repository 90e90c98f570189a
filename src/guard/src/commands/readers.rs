//! Programs that are not known, and paths outside: what reads is told by its name.

use super::Line;
use crate::place::Place;
use crate::shell::Walk;
use crate::value::Value;

/// Programs that change nothing by what they are given, or only what their options name.
const READERS: &str = "\
    a2ps ab accelerate acpi addr2line ag age agrep aide alembic analyze ant apache2 aplay apropos \
    apt- apt-config apt-file arch arecord artisan aspell astro ausearch ava b2sum b3sum base32 \
    base64 basename basenc bash-language-server bat batcat bats bazel bc bcal biber bibtex binwalk \
    blkid bpftrace bsdcat btop buck buck2 bundle busctl bzcat bzgrep bzless bzr c++filt c8 cabal \
    cache caddy cal cargo cat ccze celery checkov checksec chkrootkit cksum clamscan clang-tidy \
    clj cloc cmp code code-server col colordiff column comm commitlint conftest consul-template \
    cookiecutter copier coredumpctl cowsay cppcheck crc32 crictl crystal cscope csplit csvcut \
    csvgrep csvjson csvlook csvsort csvstat ctags ctest ctop ctr curlie cut cvlc cvs cypress cz \
    date dbmate dc ddate ddd delta deno df diesel diff diff3 difft dig dirb dircolors dirname dive \
    django-admin dmd dmesg dmidecode dot dotnet doxygen drizzle-kit du dua duckdb duf dust dvc \
    echo egrep ember envsubst eog esbuild eslint espeak etags eu-readelf exa expand expr eza \
    factor falco false fastfetch fc-list fc-match feh ffplay ffprobe ffuf fgrep figlet file find \
    findmnt flake8 flamegraph flask flyway fmt fold fortune fossil free fzf gatsby gcov gem getcap \
    getconf getent getfacl getfattr getopt gettext ghc gitk gitleaks glances glow gnuplot go \
    gobuster golangci-lint goose gpg-connect-agent gpgconf gpgv gprof gradle grafana grep groups \
    grype gunicorn hadolint haproxy hashcat hd head hexdump hexyl hg host hostid htop http http- \
    server httpd https hub hugo hunspell husky hwinfo hydra hypercorn hyperfine icdiff iconv id \
    identify infracost inotifywait inotifywatch invoke inxi iostat iotop ipython ispell jar java \
    javac javap jdeps jekyll jest jj jless john join jps jq jshint json_pp jstack jupyter just k9s \
    karma kdiff3 knex kotlin kubeconform kubeval last lastb lastlog latex latexmk lazydocker \
    lazygit ldd lddtree lein lerna less lesspipe lint-staged liquibase live-server lnav locale \
    locate logname look ls lsattr lsb_release lsblk lscpu lsd lshw lsinitramfs lsipc lsmem lsmod \
    lsns lsof lspci lsusb lualatex lynis lynx lz4cat lzcat mage masscan md5sum mdcat mediainfo \
    meld memcached meson minio mix mkdocs mlflow mocha modinfo mongod mongodump more mosh mpstat \
    mpv msbuild msgfmt mtr multitail mvn mypy mysqld mysqldump namei nasm ncdu ncu ndisasm \
    neofetch netstat next ng nginx nikto nim ninja nkf nl nm nmap nmon node-gyp nodemon nox nproc \
    nslookup nsys nuget numfmt nuxt nvcc nx nyc objdump od onefetch opa open openssl osv-scanner \
    otool pandoc parcel pass paste pathchk pdfgrep pdfinfo pdfjam pdflatex peekfd perf pg_dump \
    pg_dumpall pg_isready pgrep php-cs-fixer pidof pidstat ping pinky pkg-config play playwright \
    plocate pm2 pmap postgres pr pre-commit prettier printenv printf prisma procs prometheus prove \
    ps pstree ptx pwd pwdx pydoc pydoc3 pyflakes pylint pyright pytest python-config qalc qemu-img \
    qemu-system-x86_64 qrencode r2 radare2 rails rake react-scripts readelf readlink realpath \
    rebar3 redis-server reptyr rev rg rga ripgrep-all rizin rkhunter rollup ropper rr ruff \
    runlevel rustc samhain sar sbt scala scc scons scrapy screenfetch sdiff semgrep seq sequelize \
    serve sha1sum sha224sum sha256sum sha384sum sha3sum sha512sum shasum shellcheck shuf size \
    slabtop sleep sloccount smartctl snyk socklist sort speaker-test speedtest sphinx-build \
    sqldiff sqlite3_analyzer sqlmap sqlx ss ssdeep ssh-add ssh-keyscan stack stat stern streamlit \
    strings stty stylelint sudoreplay sum svelte-kit svn swaplabel swift swiftc sxiv syft symfony \
    sysdig systemd- systemd-cgls systemd-cgtop systemd-detect-virt systemd-escape systemd-path tac \
    tail taplo task taskwarrior tcpdump tensorboard tesseract test tflint tfsec tig tldr tlp-stat \
    tokei top torchrun tox tput tr tracepath traceroute traefik tree tripwire trivy true \
    trufflehog ts-node tsc tshark tslint tsort tsx tty turbo typeorm ug ugrep uname unexpand uniq \
    units uptime users uuidgen uuidparse uvicorn vdir vercmp virt-what vite vitest vlc vmstat \
    volatility vue w wandb wc webpack wfuzz whatis whatweb whereis which whiptail who whoami whois \
    xclip xdg-mime xdg-open xdpyinfo xelatex xmllint xmlstarlet xprop xrandr xsel xset xsv \
    xwininfo xxd xxhsum xzcat xzgrep xzless yamllint yara yes zbarimg zcat zcmp zdiff zdump zegrep \
    zfgrep zgrep zig zipinfo zless zmore zstdcat zstdgrep zstdless zxpdf";

/// Words with which a program that is not known says itself that it takes something away.
const TAKING: &[&str] = &[
    "destroy",
    "delete",
    "del",
    "terminate",
    "purge",
    "wipe",
    "erase",
    "shutdown",
    "reboot",
    "poweroff",
    "unload",
    "deregister",
    "decommission",
    "powerdown",
    "powercycle",
];

/// Options whose value is read.
const READ: &[&str] = &[
    "-c",
    "-f",
    "-I",
    "-L",
    "-p",
    "-r",
    "-e",
    "--config",
    "--input",
    "--file",
    "--cert",
    "--key",
    "--cacert",
    "--python",
    "--include",
    "--exclude",
    "--schema",
    "--from",
    "--source",
    "--template",
    "--reference",
    "--ref",
    "--rcfile",
    "--env-file",
    "--path",
    "--data",
    "--model",
];

fn reads(name: &str) -> bool {
    READERS.split_ascii_whitespace().any(|known| known == name)
}

/// Whether a program that mostly reads is told to write what it was given, or to make something new.
fn writes_all_the_same(line: &Line<'_>) -> bool {
    let first = line.arguments.iter().find_map(Value::exact);
    let verb = matches!(
        (line.name, first.as_deref()),
        ("qemu-img", Some("convert" | "create" | "resize" | "commit"))
            | ("svn", Some("export" | "checkout" | "co"))
            | ("php-cs-fixer", Some("fix"))
            | ("taplo" | "deno", Some("fmt" | "format"))
    );
    verb || line.has_option(&["--write", "--fix", "-fix", "--in-place"])
}

impl Walk<'_> {
    /// A program that is not known: what it does with a path outside is not known either.
    pub(super) fn not_known(&mut self, line: &Line<'_>) {
        let is_alone = line.arguments.len() == 1;
        let asks_for_help = line.has_option(&["--help", "--version"])
            || (is_alone && line.has_option(&["-h", "-V"]));
        if asks_for_help || (reads(line.name) && !writes_all_the_same(line)) {
            return;
        }
        let mut before = "";
        let mut operands: Vec<String> = Vec::new();
        for word in line.arguments {
            let text = word.prefix();
            let is_option = text.starts_with('-') && text.len() > 1;
            if !is_option && !READ.contains(&before) {
                operands.extend(word.exact());
                if self.is_outside(word) {
                    self.ask(
                        &line.shown,
                        &format!(
                            "what `{}` does with {} is not known",
                            line.name,
                            word.shown()
                        ),
                    );
                    return;
                }
            }
            before = if is_option { text } else { "" };
        }
        let says = |word: &String| {
            let verb = word.split(['-', ':']).next().unwrap_or_default();
            TAKING.contains(&verb)
        };
        let options = [
            "--delete",
            "--purge",
            "--destroy",
            "--wipe",
            "--erase",
            "--delete-all",
        ];
        if operands.iter().take(3).any(says) || line.has(&options) {
            self.ask(&line.shown, "what it takes away is not known");
        }
    }

    fn is_outside(&self, word: &Value) -> bool {
        let text = word.prefix();
        text.starts_with(['/', '.'])
            && word
                .exact()
                .is_some_and(|text| !text.contains(char::is_whitespace))
            && self.places(word).iter().any(
                |place| matches!(place, Place::Outside(path) if !path.starts_with("/proc/self")),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_known_by_their_whole_name() {
        assert!(reads("less"));
        assert!(!reads("les"));
        assert!(!reads(""));
    }
}
