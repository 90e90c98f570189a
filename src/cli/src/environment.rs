//! The environment: every name that the program reads, and the file `.env`.
//!
//! It is read once, here, and passed on as a value. The file may be anybody's, since one may only
//! be looking at the folder: it can give keys, models and the addresses of providers, and nothing
//! else. What it says is never exported to the process's own environment, so no child sees it.

mod dotenv;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The folder that holds everything.
pub(crate) const HOME: &str = "AGENTFACTORY_HOME";
/// The model of the Meta-Agent.
pub(crate) const MODEL: &str = "AGENTFACTORY_MODEL";
/// The model of the subagents.
pub(crate) const SUBAGENT_MODEL: &str = "AGENTFACTORY_SUBAGENT_MODEL";
/// A folder with skills and prompts that are used instead of the built-in ones.
pub(crate) const SKILLS: &str = "AGENTFACTORY_SKILLS";
/// A folder with image recipes that are used instead of the built-in ones.
pub(crate) const IMAGES: &str = "AGENTFACTORY_IMAGES";
/// The engine's runtime that sandboxes run under.
pub(crate) const RUNTIME: &str = "AGENTFACTORY_RUNTIME";
/// Which log lines are shown, as `tracing` filters are written.
pub(crate) const LOG: &str = "AGENTFACTORY_LOG";
/// The engine's address.
pub(crate) const DOCKER_HOST: &str = "DOCKER_HOST";
/// The name of a Docker context.
pub(crate) const DOCKER_CONTEXT: &str = "DOCKER_CONTEXT";
/// The folder of Docker's own configuration.
pub(crate) const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Whether the engine's address means TLS.
pub(crate) const DOCKER_TLS_VERIFY: &str = "DOCKER_TLS_VERIFY";
/// The folder of the engine's certificates.
pub(crate) const DOCKER_CERT_PATH: &str = "DOCKER_CERT_PATH";
/// The address of Anthropic's API.
pub(crate) const ANTHROPIC_BASE_URL: &str = "ANTHROPIC_BASE_URL";
/// The address of OpenAI's API.
pub(crate) const OPENAI_BASE_URL: &str = "OPENAI_BASE_URL";
/// The address of the package index. Source: pip.
pub(crate) const PIP_INDEX_URL: &str = "PIP_INDEX_URL";
/// A configuration file of pip that goes over the others; the null device turns all of them off.
/// Source: pip.
pub(crate) const PIP_CONFIG_FILE: &str = "PIP_CONFIG_FILE";
/// The user's file of passwords. Source: `netrc(5)`, as curl and Python find it.
pub(crate) const NETRC: &str = "NETRC";
/// The folder of the virtual environment that is active. Source: venv.
pub(crate) const VIRTUAL_ENV: &str = "VIRTUAL_ENV";
/// The user's home directory.
const USER_HOME: &str = "HOME";
/// The user's name. Source: POSIX, `LOGNAME`.
const LOGNAME: &str = "LOGNAME";
/// The same, as most systems set it.
const USER: &str = "USER";
/// Source: XDG base directory specification.
const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Source: XDG base directory specification.
const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Source: XDG base directory specification.
const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Source: XDG base directory specification.
const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// What programs of this machine need to reach the network, and to keep temporary files.
const FOR_PROGRAMS: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "TMPDIR",
];
/// What a credential helper of Docker needs, beside that, to be found and to reach the user's
/// keyring.
const FOR_CREDENTIAL_HELPERS: &[&str] = &[
    "PATH",
    USER_HOME,
    "USER",
    "LANG",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DBUS_SESSION_BUS_ADDRESS",
    XDG_RUNTIME_DIR,
    XDG_CONFIG_HOME,
    XDG_DATA_HOME,
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
];
/// What has a meaning for this program or its libraries but is not taken from `.env`: it says what
/// is executed, or where files and requests go.
const NOT_FROM_FILE: &[(&str, &str)] = &[
    (HOME, "in the environment, or is --home"),
    (SKILLS, IN_CONFIG),
    (IMAGES, IN_CONFIG),
    (LOG, IN_ENVIRONMENT),
    (RUNTIME, IN_CONFIG),
    (DOCKER_HOST, IN_CONFIG),
    (DOCKER_CONTEXT, IN_CONFIG),
    (DOCKER_CONFIG, IN_ENVIRONMENT),
    (DOCKER_TLS_VERIFY, IN_ENVIRONMENT),
    (DOCKER_CERT_PATH, IN_ENVIRONMENT),
    (USER_HOME, IN_ENVIRONMENT),
    (USER, IN_ENVIRONMENT),
    (LOGNAME, IN_ENVIRONMENT),
    (XDG_DATA_HOME, IN_ENVIRONMENT),
    (XDG_CONFIG_HOME, IN_ENVIRONMENT),
    (XDG_CACHE_HOME, IN_ENVIRONMENT),
    (XDG_RUNTIME_DIR, IN_ENVIRONMENT),
    (PIP_INDEX_URL, IN_CONFIG),
    (PIP_CONFIG_FILE, IN_ENVIRONMENT),
    // Any setting of pip can be a variable (`config::pip`); these two are used.
    ("PIP_PROXY", IN_ENVIRONMENT),
    ("PIP_CERT", IN_ENVIRONMENT),
    (NETRC, IN_ENVIRONMENT),
    (VIRTUAL_ENV, IN_ENVIRONMENT),
    ("SSL_CERT_FILE", IN_ENVIRONMENT),
    ("SSL_CERT_DIR", IN_ENVIRONMENT),
    ("ALL_PROXY", IN_ENVIRONMENT),
    ("all_proxy", IN_ENVIRONMENT),
    (NO_COLOR, IN_ENVIRONMENT),
    (TERM, IN_ENVIRONMENT),
];
/// Where most of it belongs.
const IN_ENVIRONMENT: &str = "in the environment";
/// Where some of it belongs.
const IN_CONFIG: &str = "in the environment or in config.toml";
/// Source: no-color.org.
const NO_COLOR: &str = "NO_COLOR";
/// The kind of terminal.
const TERM: &str = "TERM";

/// The environment as it was at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    process: BTreeMap<OsString, OsString>,
    dotenv: BTreeMap<String, String>,
    /// What in `.env` was not understood, for people.
    pub(crate) warnings: Vec<String>,
}

impl Environment {
    /// Reads the process's environment, and `.env` in this folder.
    pub(crate) fn capture(folder: &Path) -> Self {
        let (dotenv, warnings) = dotenv::read(&folder.join(".env"));
        Self::merged(std::env::vars_os().collect(), dotenv, warnings)
    }

    fn merged(
        process: BTreeMap<OsString, OsString>,
        dotenv: BTreeMap<String, String>,
        mut warnings: Vec<String>,
    ) -> Self {
        let for_programs = FOR_PROGRAMS.iter().map(|name| (*name, IN_ENVIRONMENT));
        for (name, place) in NOT_FROM_FILE.iter().copied().chain(for_programs) {
            if dotenv.contains_key(name) && !process.contains_key(&OsString::from(name)) {
                warnings.push(format!("{name} in `.env` is ignored: it belongs {place}"));
            }
        }
        Self {
            process,
            dotenv,
            warnings,
        }
    }

    /// A variable of the process as a path or any other bytes. One that is set to nothing counts
    /// as not set.
    pub(crate) fn raw(&self, name: &str) -> Option<OsString> {
        let value = self.process.get(&OsString::from(name)).cloned();
        value.filter(|value| !value.is_empty())
    }

    /// A variable of the process as text.
    ///
    /// What is not UTF-8 has a replacement character for that, which no name, address, or key of ours
    /// has: so it is of no use to whoever uses it, who says so, and no matter to all others.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.raw(name)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// A key, a model or an address as text: the process's own, else that of `.env`. One that is
    /// set to nothing in the process hides that of `.env`.
    pub(crate) fn text_or_file(&self, name: &str) -> Option<String> {
        if !self.is_from_file(name) {
            return self.text(name);
        }
        self.dotenv.get(name).cloned()
    }

    /// A variable of the process as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// Whether a variable comes from `.env` and not from the process's environment.
    pub(crate) fn is_from_file(&self, name: &str) -> bool {
        let is_set = self.dotenv.get(name).is_some_and(|value| !value.is_empty());
        is_set && !self.process.contains_key(&OsString::from(name))
    }

    /// The user's home directory.
    pub(crate) fn user_home(&self) -> Option<PathBuf> {
        // Without the variable, the system's list of users knows it.
        self.path(USER_HOME).or_else(std::env::home_dir)
    }

    /// What the user is called, for the log of what was changed.
    pub(crate) fn user(&self) -> Option<String> {
        let names = [USER, LOGNAME]
            .into_iter()
            .filter_map(|name| self.raw(name));
        let mut names = names.filter_map(|name| name.into_string().ok());
        names.find(|name| !name.is_empty())
    }

    /// The directory for data. Source: XDG base directory specification.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        self.xdg(XDG_DATA_HOME, ".local/share")
    }

    /// The directory for configuration. Source: XDG base directory specification.
    pub(crate) fn config_dir(&self) -> Option<PathBuf> {
        self.xdg(XDG_CONFIG_HOME, ".config")
    }

    /// The directory for what can be made again. Source: XDG base directory specification.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        self.xdg(XDG_CACHE_HOME, ".cache")
    }

    /// The directory for sockets and locks, which is empty after a start of the machine: the same
    /// one for all processes of a user, whether or not they belong to a login session. It must be
    /// there and belong to the user: one that was inherited from another user is not used.
    /// Source: XDG base directory specification.
    pub(crate) fn run_dir(&self) -> Option<PathBuf> {
        let me = rustix::process::geteuid();
        let is_mine = |path: &PathBuf| {
            let found = std::fs::metadata(path);
            found.is_ok_and(|found| found.is_dir() && found.uid() == me.as_raw())
        };
        let set = self.path(XDG_RUNTIME_DIR).filter(|path| path.is_absolute());
        run_dir_of(me.as_raw(), set, is_mine)
    }

    /// The variables that programs of this machine get, such as one that makes an image.
    pub(crate) fn for_programs(&self) -> Vec<(OsString, OsString)> {
        let set = FOR_PROGRAMS
            .iter()
            .map(|name| (OsString::from(name), self.raw(name)));
        set.filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// The variables that a credential helper of Docker gets.
    pub(crate) fn for_credential_helpers(&self) -> Vec<(OsString, OsString)> {
        let set = FOR_CREDENTIAL_HELPERS
            .iter()
            .map(|name| (OsString::from(name), self.raw(name)));
        let set = set.filter_map(|(name, value)| Some((name, value?)));
        set.chain(self.for_programs()).collect()
    }

    fn xdg(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        // The specification says that a relative path is to be ignored.
        let set = self.path(name).filter(|path| path.is_absolute());
        set.or_else(|| self.user_home().map(|home| home.join(below_home)))
    }

    /// Whether a terminal can and may show colours.
    pub(crate) fn allows_colour(&self) -> bool {
        self.raw(NO_COLOR).is_none() && self.raw(TERM).is_none_or(|term| term != "dumb")
    }
}

/// The directory for sockets and locks of a user, of those that are the user's.
///
/// A session has `/run/user/ID` and says so; a service of the same user has often no variable. Root
/// has no such directory without a session, so for root it is `/run` in both cases.
/// Source: `pam_systemd(8)`.
fn run_dir_of(
    user: u32,
    set: Option<PathBuf>,
    is_mine: impl Fn(&PathBuf) -> bool,
) -> Option<PathBuf> {
    let of_session = PathBuf::from(format!("/run/user/{user}"));
    let usual = match user {
        0 => PathBuf::from("/run"),
        _ => of_session.clone(),
    };
    let chosen = set.filter(|set| *set != of_session);
    chosen
        .filter(&is_mine)
        .or_else(|| Some(usual).filter(&is_mine))
}

#[cfg(test)]
impl Environment {
    /// The same with a variable whose bytes are no text.
    pub(crate) fn with_bytes(mut self, name: &str, value: &[u8]) -> Self {
        use std::os::unix::ffi::OsStringExt as _;
        let value = OsString::from_vec(value.to_vec());
        self.process.insert(name.into(), value);
        self
    }

    /// An environment of these variables and this `.env`.
    pub(crate) fn of(process: &[(&str, &str)], dotenv: &str) -> Self {
        let (dotenv, warnings) = dotenv::parse(dotenv);
        let process = process.iter();
        let process = process.map(|(name, value)| (name.into(), value.into()));
        Self::merged(process.collect(), dotenv, warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file() {
        let environment = Environment::of(
            &[("A", "process"), ("C", "")],
            "A=file\nB=file\nC=file\nD=\n",
        );
        let text = |name| environment.text_or_file(name);
        assert_eq!(text("A").as_deref(), Some("process"));
        assert_eq!(text("B").as_deref(), Some("file"));
        assert_eq!(text("C"), None);
        assert_eq!(text("D"), None);
        assert!(environment.is_from_file("B") && !environment.is_from_file("A"));
    }

    #[test]
    fn all_processes_of_a_user_share_a_directory_of_locks() {
        let check = |user: u32, set: Option<&str>, theirs: &[&str], expected: Option<&str>| {
            let is_mine = |path: &PathBuf| theirs.iter().any(|mine| path == Path::new(mine));
            let found = run_dir_of(user, set.map(PathBuf::from), is_mine);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{user} {set:?}");
        };
        // With a session and without one.
        let own = "/run/user/7";
        check(7, Some(own), &[own], Some(own));
        check(7, None, &[own], Some(own));
        check(7, None, &[], None);
        check(7, Some("/a"), &["/a", own], Some("/a"));
        check(7, Some("/run/user/0"), &[own], Some(own));
        let roots = &["/run", "/run/user/0", "/a"];
        check(0, Some("/run/user/0"), roots, Some("/run"));
        check(0, None, roots, Some("/run"));
        check(0, Some("/a"), roots, Some("/a"));
        check(0, Some("/run/user/7"), roots, Some("/run"));
    }

    #[test]
    fn the_file_neither_redirects_nor_executes() {
        for name in NOT_FROM_FILE
            .iter()
            .map(|(name, _)| name)
            .chain(FOR_PROGRAMS)
        {
            let environment = Environment::of(&[], &format!("{name}=/evil"));
            assert_eq!(environment.raw(name), None);
            assert_eq!(environment.text(name), None);
            assert_eq!(environment.path(name), None);
            assert_eq!(environment.for_programs(), []);
            let [warning] = environment.warnings.as_slice() else {
                panic!("{name}: {:?}", environment.warnings);
            };
            assert!(warning.contains(name) && warning.contains("belongs"));
            assert!(
                Environment::of(&[(name, "mine")], &format!("{name}=/evil"))
                    .warnings
                    .is_empty()
            );
        }
        let dotenv = "HTTPS_PROXY=http://evil\nTMPDIR=/evil";
        let environment = Environment::of(&[("NO_PROXY", "x")], dotenv);
        assert_eq!(
            environment.for_programs(),
            [("NO_PROXY".into(), "x".into())]
        );
    }

    #[test]
    fn folders_follow_the_xdg_rules() {
        let data = |process: &[(&str, &str)]| Environment::of(process, "").data_dir().unwrap();
        assert_eq!(data(&[("HOME", "/h")]), Path::new("/h/.local/share"));
        assert_eq!(
            data(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]),
            Path::new("/d")
        );
        assert_eq!(
            data(&[("HOME", "/h"), ("XDG_DATA_HOME", "d")]),
            Path::new("/h/.local/share")
        );
    }
}
