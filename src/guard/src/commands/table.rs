//! Programs whose arguments name files or commands, by what each argument is.
//!
//! What needs more than this table to be understood has a function of its own beside it.

use super::{Line, Options, unknown};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

/// What a program turned out to be.
#[derive(Debug)]
pub(crate) enum Tabled {
    /// It is not in the table.
    Not,
    /// What it changes was looked at.
    Changes,
    /// It runs another one, whose output this is.
    Ran(Output),
}

/// What becomes of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Remove,
    Write,
    Create,
    /// A shell is given it.
    Script,
}

/// What the arguments that belong to no option are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operands {
    /// Nothing that is changed.
    Read,
    All(Does),
    /// The last of several.
    Last(Does),
    /// The one at this place.
    At(usize, Does),
    /// After so many of them comes a program with its arguments.
    Program(usize),
    /// After so many of them come words that are a shell's together.
    Words(usize),
    /// After this word comes a program with its arguments; with another word nothing is run.
    ProgramAfter(&'static [&'static str]),
}

/// One kind of programs.
struct Kind {
    names: &'static [&'static str],
    /// Letters of options that take a value.
    short: &'static str,
    /// Words of options that take a value.
    long: &'static [&'static str],
    /// Options whose value says what is changed or run.
    options: &'static [(&'static [&'static str], Does)],
    operands: Operands,
}

use Does::{Create, Remove, Script, Write};
use Operands::{All, At, Last, Program, ProgramAfter, Read, Words};

const fn kind(
    names: &'static [&'static str],
    short: &'static str,
    long: &'static [&'static str],
    options: &'static [(&'static [&'static str], Does)],
    operands: Operands,
) -> Kind {
    Kind {
        names,
        short,
        long,
        options,
        operands,
    }
}

const KINDS: &[Kind] = &[
    // Files.
    kind(
        &[
            "rm",
            "srm",
            "rmdir",
            "unlink",
            "trash",
            "rimraf",
            "del-cli",
            "del",
            "trash-cli",
            "gio-trash",
            "trash-put",
            "wipe",
            "scrub",
        ],
        "",
        &["files0-from"],
        &[],
        All(Remove),
    ),
    kind(
        &["shred"],
        "ns",
        &["iterations", "size", "random-source"],
        &[],
        All(Remove),
    ),
    kind(
        &["touch", "mkdir"],
        "mdrtZ",
        &["mode", "date", "reference", "time"],
        &[],
        All(Create),
    ),
    kind(&["truncate"], "sr", &["size", "reference"], &[], All(Write)),
    kind(&["fallocate"], "lo", &["length", "offset"], &[], All(Write)),
    kind(&["uniq"], "fsw", &[], &[], At(1, Write)),
    kind(
        &["sort"],
        "okStT",
        &[
            "output",
            "key",
            "temporary-directory",
            "compress-program",
            "field-separator",
            "buffer-size",
            "parallel",
            "files0-from",
        ],
        &[
            (&["o", "output"], Write),
            (&["T", "temporary-directory"], Create),
            (&["compress-program"], Script),
        ],
        Read,
    ),
    kind(
        &["split"],
        "abCln",
        &[
            "bytes",
            "lines",
            "suffix-length",
            "filter",
            "number",
            "line-bytes",
            "additional-suffix",
        ],
        &[(&["filter"], Script)],
        At(1, Create),
    ),
    kind(
        &["csplit"],
        "bfn",
        &["prefix", "suffix-format", "digits"],
        &[(&["f", "prefix"], Create)],
        Read,
    ),
    kind(
        &["patch"],
        "pidorBzFDVY",
        &["strip", "input", "directory", "output", "reject-file"],
        &[(
            &["d", "o", "r", "directory", "output", "reject-file"],
            Write,
        )],
        At(0, Write),
    ),
    kind(
        &["zip"],
        "bnxiPt",
        &[
            "unzip-command",
            "temp-path",
            "exclude",
            "include",
            "password",
        ],
        &[(&["unzip-command"], Script)],
        At(0, Write),
    ),
    kind(
        &[
            "convert",
            "magick",
            "composite",
            "montage",
            "sox",
            "gm",
            "svgo",
            "optipng",
        ],
        "",
        &[],
        &[],
        Last(Write),
    ),
    kind(
        &["mogrify"],
        "",
        &["path"],
        &[(&["path"], Create)],
        All(Write),
    ),
    kind(
        &[
            "pdftotext",
            "pdftoppm",
            "pdftocairo",
            "pdfimages",
            "wkhtmltopdf",
            "tesseract",
            "ps2pdf",
        ],
        "flrxyWHl",
        &[],
        &[],
        At(1, Write),
    ),
    kind(
        &["soffice", "libreoffice"],
        "",
        &["outdir", "convert-to"],
        &[(&["outdir"], Create)],
        Read,
    ),
    kind(
        &[
            "cwebp",
            "dwebp",
            "rsvg-convert",
            "img2pdf",
            "youtube-dl",
            "yt-dlp",
            "aria2c",
            "http",
        ],
        "odq",
        &["output", "dir"],
        &[(&["o", "output", "dir"], Write)],
        Read,
    ),
    kind(
        &["cmake"],
        "SBGDUACTjLP",
        &[
            "prefix",
            "build",
            "install",
            "target",
            "parallel",
            "config",
            "component",
        ],
        &[(&["prefix"], Write)],
        Read,
    ),
    kind(
        &["iconv", "xsltproc", "envsubst", "xmllint", "csvformat"],
        "oft",
        &["output"],
        &[(&["o", "output"], Write)],
        Read,
    ),
    kind(
        &["composer"],
        "d",
        &["working-dir"],
        &[(&["d", "working-dir"], Write)],
        Read,
    ),
    kind(
        &["virtualenv"],
        "p",
        &["python", "prompt"],
        &[],
        All(Create),
    ),
    kind(
        &["pip", "pip3", "uv", "pipx"],
        "tred",
        &[
            "dest",
            "wheel-dir",
            "target",
            "root",
            "prefix",
            "src",
            "requirement",
            "cache-dir",
            "index-url",
        ],
        &[(
            &[
                "t",
                "d",
                "dest",
                "wheel-dir",
                "target",
                "root",
                "prefix",
                "src",
            ],
            Write,
        )],
        Read,
    ),
    kind(
        &["tree", "lsof", "nmap", "tcpdump"],
        "owLPI",
        &["output"],
        &[(&["o", "w", "oN", "oX"], Write)],
        Read,
    ),
    // Pages, editors' and other helpers that are given a command.
    kind(
        &["man"],
        "PHLMSCr",
        &["pager", "html", "locale", "manpath"],
        &[(&["P", "pager", "H", "html"], Script)],
        Read,
    ),
    // Programs that run the rest of their line.
    kind(
        &[
            "nohup",
            "setsid",
            "unbuffer",
            "command",
            "builtin",
            "busybox",
            "toybox",
            "torsocks",
            "proxychains",
            "proxychains4",
            "catchsegv",
            "valgrind",
            "eatmydata",
            "retry",
            "prlimit",
            "softlimit",
            "dbus-run-session",
            "rlwrap",
            "firejail",
            "chronic",
            "tini",
            "dumb-init",
            "catatonit",
            "choom",
            "ld.so",
            "setpriv",
        ],
        "",
        &["user"],
        &[],
        Program(0),
    ),
    kind(
        &["sudo"],
        "ugpCDhrtTU",
        &["user", "group", "prompt", "chdir", "host"],
        &[],
        Program(0),
    ),
    kind(&["doas"], "uC", &[], &[], Program(0)),
    kind(&["nice"], "n", &["adjustment"], &[], Program(0)),
    kind(
        &["ionice"],
        "cnpPu",
        &["class", "classdata"],
        &[],
        Program(0),
    ),
    kind(
        &["stdbuf"],
        "ioe",
        &["input", "output", "error"],
        &[],
        Program(0),
    ),
    kind(&["exec"], "a", &[], &[], Program(0)),
    kind(&["chpst"], "uUemofpcrtdnbl/", &[], &[], Program(0)),
    kind(
        &["watchexec"],
        "wefiosndEr",
        &["watch", "exts", "filter", "ignore", "shell", "signal"],
        &[],
        Program(0),
    ),
    kind(
        &["time"],
        "fo",
        &["format", "output"],
        &[(&["o", "output"], Write)],
        Program(0),
    ),
    kind(
        &["strace", "ltrace"],
        "eopsPuEIOSXabn",
        &["output"],
        &[(&["o", "output"], Write)],
        Program(0),
    ),
    kind(&["unshare"], "SGRw", &["root", "wd"], &[], Program(0)),
    kind(&["nsenter"], "tSG", &["target"], &[], Program(0)),
    kind(&["fakeroot"], "lsobi", &[], &[], Program(0)),
    kind(
        &["proot", "bwrap"],
        "rbw",
        &["bind", "ro-bind", "dev-bind"],
        &[],
        Program(0),
    ),
    kind(&["caffeinate"], "tw", &[], &[], Program(0)),
    kind(&["pkexec"], "", &["user"], &[], Program(0)),
    kind(
        &["xvfb-run"],
        "nsefpw",
        &["server-args", "server-num"],
        &[],
        Program(0),
    ),
    kind(
        &["systemd-run"],
        "pMuE",
        &["unit", "property"],
        &[],
        Program(0),
    ),
    kind(&["numactl"], "CNmip", &[], &[], Program(0)),
    kind(&["cgexec"], "g", &[], &[], Program(0)),
    kind(
        &["runcon"],
        "turl",
        &["type", "user", "role", "range"],
        &[],
        Program(0),
    ),
    kind(&["faketime"], "f", &[], &[], Program(1)),
    kind(
        &[
            "gosu",
            "su-exec",
            "setuidgid",
            "with-contenv",
            "envdir",
            "chpst",
        ],
        "uUbe",
        &[],
        &[],
        Program(1),
    ),
    kind(
        &["timeout"],
        "ks",
        &["kill-after", "signal"],
        &[],
        Program(1),
    ),
    kind(&["taskset"], "", &[], &[], Program(1)),
    kind(
        &["chrt"],
        "TPD",
        &["sched-runtime", "sched-period", "sched-deadline"],
        &[],
        Program(1),
    ),
    kind(&["setarch"], "", &[], &[], Program(1)),
    kind(
        &["linux64", "linux32", "i386", "x86_64"],
        "",
        &[],
        &[],
        Program(0),
    ),
    kind(&["watch"], "nq", &["interval", "equexit"], &[], Words(0)),
    kind(&["entr"], "", &[], &[], Program(0)),
    kind(&["sem"], "j", &["jobs", "id"], &[], Words(0)),
    kind(&["sg"], "", &[], &[], Words(1)),
    kind(
        &["hyperfine"],
        "wmMrpcsSNn",
        &[
            "warmup",
            "runs",
            "prepare",
            "cleanup",
            "setup",
            "shell",
            "export-json",
            "export-markdown",
            "export-csv",
        ],
        &[
            (&["p", "c", "s", "prepare", "cleanup", "setup"], Script),
            (&["export-json", "export-markdown", "export-csv"], Write),
        ],
        All(Script),
    ),
    kind(
        &[
            "cross-env",
            "env-cmd",
            "dotenv",
            "dotenvx",
            "shx",
            "op",
            "doppler",
            "chamber",
            "aws-vault",
        ],
        "fe",
        &["env-file", "file"],
        &[],
        Program(0),
    ),
    kind(
        &["concurrently", "npm-run-all", "wsrun"],
        "nc",
        &["names", "prefix-colors"],
        &[],
        All(Script),
    ),
    kind(
        &["nodemon", "watchexec", "entr-watch", "chokidar"],
        "xcew",
        &["exec", "command", "ext", "watch", "exts"],
        &[(&["x", "c", "exec", "command"], Script)],
        Read,
    ),
    kind(
        &["npx", "bunx", "pnpx"],
        "pc",
        &["package", "call"],
        &[(&["c", "call"], Script)],
        Program(0),
    ),
    kind(
        &["poetry", "pipenv", "hatch", "rye", "pdm", "pixi"],
        "CP",
        &["directory", "project"],
        &[],
        ProgramAfter(&["run"]),
    ),
    kind(
        &["uv"],
        "p",
        &["python", "with", "directory", "project", "extra"],
        &[],
        ProgramAfter(&["run"]),
    ),
    kind(
        &["conda", "mamba", "micromamba"],
        "np",
        &["name", "prefix"],
        &[],
        ProgramAfter(&["run"]),
    ),
    kind(
        &[
            "bundle", "rbenv", "pyenv", "nodenv", "asdf", "mise", "nvm", "npm", "pnpm", "yarn",
            "direnv", "opam",
        ],
        "Cc",
        &["prefix", "call"],
        &[(&["c", "call"], Script)],
        ProgramAfter(&["exec", "x", "dlx"]),
    ),
    kind(
        &["perf"],
        "eopCtr",
        &["event", "output"],
        &[(&["o", "output"], Write)],
        ProgramAfter(&["stat", "record", "trace"]),
    ),
    kind(
        &["tmux"],
        "LSfsnctxyeF",
        &[],
        &[],
        ProgramAfter(&[
            "new",
            "new-session",
            "new-window",
            "neww",
            "split-window",
            "splitw",
            "run",
            "run-shell",
            "respawn-pane",
            "popup",
        ]),
    ),
    kind(
        &["screen", "dtach", "abduco"],
        "SctTpXhe",
        &[],
        &[],
        Program(0),
    ),
];

impl Walk<'_> {
    /// Judges a program of the table, if this is one.
    pub(crate) fn tabled(&mut self, line: &Line<'_>) -> Tabled {
        let mut tabled = Tabled::Not;
        for kind in KINDS.iter().filter(|kind| kind.names.contains(&line.name)) {
            if matches!(tabled, Tabled::Not) {
                tabled = Tabled::Changes;
            }
            let stops = matches!(kind.operands, Program(_) | Words(_) | ProgramAfter(_));
            let options = Options::parse(line.arguments, kind.short, kind.long, stops);
            for (names, does) in kind.options {
                for value in options.values(names) {
                    if line.name == "split" {
                        // What its filter is told to write.
                        self.assign("FILE", vec![Value::name()], false);
                    }
                    self.done(*does, &value, line);
                }
            }
            if !stops && line.is_about_itself() {
                continue;
            }
            let operands = options.operands.as_slice();
            match kind.operands {
                Read => {}
                All(does) => {
                    for value in operands {
                        self.done(does, value, line);
                    }
                }
                Last(does) => {
                    if let Some(value) = operands.last().filter(|_| operands.len() > 1) {
                        self.done(does, value, line);
                    }
                }
                At(at, does) => {
                    if let Some(value) = operands.get(at) {
                        self.done(does, value, line);
                    }
                }
                Program(count) => {
                    let rest = operands.get(count..).unwrap_or_default();
                    tabled = Tabled::Ran(self.started(rest, line));
                }
                Words(count) => {
                    let rest = operands.get(count..).unwrap_or_default();
                    if rest.len() > 1 && options.has(&["x", "exec"]) {
                        tabled = Tabled::Ran(self.run(rest));
                    } else {
                        tabled = Tabled::Ran(self.words_as_script(rest, line));
                    }
                }
                ProgramAfter(words) => {
                    if let Some((word, rest)) = operands.split_first()
                        && words.contains(&word.exact().unwrap_or_default().as_str())
                    {
                        let inner = Options::parse(rest, kind.short, kind.long, true).operands;
                        tabled = Tabled::Ran(self.started(&inner, line));
                    }
                }
            }
        }
        tabled
    }

    fn done(&mut self, does: Does, value: &Value, line: &Line<'_>) {
        match does {
            Remove => self.act(Act::Remove, value, &line.shown),
            Write => self.act(Act::Write, value, &line.shown),
            Create => self.act(Act::Create, value, &line.shown),
            Script => drop(self.text_as_script(value, line)),
        }
    }

    /// The program that these words are, after assignments. One word with blanks is a shell's.
    fn started(&mut self, words: &[Value], line: &Line<'_>) -> Output {
        let words = super::wrappers::without_assignments(words);
        let is_of_root = matches!(line.name, "sudo" | "doas" | "pkexec");
        if is_of_root {
            self.as_root(words, line);
        }
        match words {
            [] => unknown(&line.shown),
            [one] if one.exact().is_some_and(|text| text.contains(' ')) => {
                self.text_as_script(one, line)
            }
            words if is_of_root => self.within_program(|walk| walk.run(words)),
            words => self.run(words),
        }
    }

    /// What another user's rights make of a command that is harmless without.
    fn as_root(&mut self, words: &[Value], line: &Line<'_>) {
        let is_one = |word: &Value, names: &[&str]| {
            let word = word.exact().unwrap_or_default();
            names.contains(&word.as_str())
        };
        match words {
            [] => {
                let shells = ["-s", "-i", "--shell", "--login"];
                if line.arguments.iter().any(|word| is_one(word, &shells)) {
                    self.ask(&line.shown, "another user's shell reads its commands");
                }
            }
            [program, rest @ ..] => {
                let makes = is_one(program, &["make", "gmake", "ninja"]);
                if makes
                    && rest
                        .iter()
                        .any(|word| is_one(word, &["install", "uninstall"]))
                {
                    self.refuse(&line.shown, "changes what is installed on the system");
                }
            }
        }
    }
}
