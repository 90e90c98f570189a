//! A registry with TLS, a certificate of an authority that only this test knows, and a password.

use serde_json::{Value, json};
use testkit::{Authority, Finished, HTPASSWD, RegistryServer, TestEnv, Tunnel};

use crate::deploy_image::{Tag, install};

const CODE: &str =
    "def main(query):\n    return {'answer': query.upper(), 'summary': 'as it was'}\n";
/// Base64 of the user and the password of [`HTPASSWD`].
const LOGIN: &str = "bWU6c2VjcmV0";
/// What the registry is called where its proxy stands before it.
const NAME: &str = "registry.test";

/// A registry, and the way to it.
struct Registry {
    authority: Authority,
    server: RegistryServer,
    tunnel: Tunnel,
}

impl Registry {
    fn start(env: &TestEnv) -> Option<Self> {
        let authority = Authority::new();
        let file = env.write("htpasswd", HTPASSWD);
        let auth = format!("{{htpasswd: {{realm: test, path: '{}'}}}}", file.display());
        let server = RegistryServer::start_tls(&authority, &[NAME], &format!("auth: {auth}"))?;
        Some(Self {
            tunnel: Tunnel::start(&server.host()),
            authority,
            server,
        })
    }

    /// A home that is told of the authority, and nothing else.
    fn believed(&self, env: TestEnv) -> TestEnv {
        let file = env.write("authority.pem", self.authority.pem());
        env.set("SSL_CERT_FILE", file.to_str().unwrap())
    }

    /// A home whose user has logged in.
    fn logged_in(&self, env: TestEnv) -> TestEnv {
        let login = json!({"auth": LOGIN});
        let logins = json!({"auths": {NAME: login, self.server.host(): login}});
        let file = env.write("docker/config.json", &logins.to_string());
        env.set("DOCKER_CONFIG", file.parent().unwrap().to_str().unwrap())
    }
}

fn refused(finished: Finished, status: i32, says: &[&str]) {
    let finished = finished.expect_status(status);
    for says in says.iter().chain(&["hint: "]) {
        let said = &finished.stderr;
        assert!(said.contains(says), "no `{says}` in {said}");
    }
}

#[test]
fn an_authority_of_ones_own_and_a_login_open_a_registry() {
    let (Some(here), Some(there)) = (TestEnv::with_engine(), TestEnv::with_engine()) else {
        return;
    };
    let Some(registry) = Registry::start(&here) else {
        return;
    };
    let [here, there] = [here, there].map(|env| env.set("HTTPS_PROXY", &registry.tunnel.url()));
    install(&here, "shouter", CODE, &[], "this");
    let tag = Tag::new(&here);
    let (place, image) = (
        format!("{NAME}/team/shouter"),
        format!("{NAME}/team/image:1"),
    );
    let push = ["push", "shouter", &place, "--json"];
    let pull = ["pull", &place, "--json"];
    let deploy = [
        "deploy", "shouter", "--as", "image", "--json", "--tag", &tag.0, "--push", &image,
    ];

    // Nobody has told of the authority.
    let unknown = ["does not prove that it is itself", "SSL_CERT_FILE"];
    refused(here.agentfactory(push), 4, &unknown);
    refused(here.agentfactory(deploy), 4, &unknown);
    refused(there.agentfactory(pull), 4, &unknown);
    // It is told of, and has not made a certificate for this name.
    let [here, there] = [here, there].map(|env| registry.believed(env));
    let other = [&push[..2], &["other.test/team/shouter"]].concat();
    let says = ["does not prove that it is itself", "for this name"];
    refused(here.agentfactory(other), 4, &says);
    // It is not the certificate that the registry wants to see.
    let login = ["does not allow", "docker login"];
    refused(here.agentfactory(push), 4, &login);
    refused(here.agentfactory(deploy), 4, &login);
    refused(there.agentfactory(pull), 4, &login);

    let [here, there] = [here, there].map(|env| registry.logged_in(env));
    let pushed = here.agentfactory(push).expect_status(0).json();
    let deployed = here.agentfactory(deploy).expect_status(0).json();
    assert_eq!(deployed["pushed"], image, "{deployed:#}");
    assert_eq!(deployed["version"], pushed["version"]);
    there.agentfactory(["show", "shouter"]).expect_status(3);
    let pulled = there.agentfactory(pull).expect_status(0).json();
    assert_eq!(pulled["version"], pushed["version"]);
    let run = there.agentfactory(["run", "shouter", "hello"]);
    assert_eq!(run.expect_status(0).stdout.trim(), "HELLO");
    for env in [&here, &there] {
        env.agentfactory(["fsck"]).expect_status(0);
    }
    let asked = registry.tunnel.seen();
    assert!(!asked.is_empty());
    let places = [format!("{NAME}:443"), "other.test:443".to_owned()];
    assert!(asked.iter().all(|one| places.contains(one)), "{asked:?}");

    on_loopback(&registry, &there, &pushed);
}

/// The same registry by its address on this machine, which no proxy reaches.
fn on_loopback(registry: &Registry, env: &TestEnv, pushed: &Value) {
    let host = registry.server.host();
    let place = format!("{host}/team/shouter");
    let pull = ["pull", &place, "--as", "near", "--json"];
    let says = ["without TLS, with status 400", "`tls`"];
    refused(env.agentfactory(pull), 1, &says);
    let config = env.write("tls.toml", &format!("[registry]\ntls = ['{host}']\n"));
    let config = ["--config", config.to_str().unwrap()];
    let pulled = env.agentfactory([&pull[..], &config].concat());
    assert_eq!(pulled.expect_status(0).json()["version"], pushed["version"]);
}

#[test]
fn a_registry_without_tls_is_asked_as_the_configuration_says() {
    let (Some(env), Some(server)) = (TestEnv::with_engine(), RegistryServer::start("")) else {
        return;
    };
    let tunnel = Tunnel::start(&server.host());
    let env = env.set("HTTPS_PROXY", &tunnel.url());
    install(&env, "shouter", CODE, &[], "this");
    let place = format!("{NAME}/team/shouter");
    let says = ["cannot be reached", "plain_http"];
    refused(env.agentfactory(["push", "shouter", &place]), 5, &says);
    let config = env.write(
        "both.toml",
        &format!("[registry]\nplain_http = ['{NAME}']\ntls = ['{NAME}']\n"),
    );
    let config = config.to_str().unwrap();
    let both = env.agentfactory(["push", "shouter", &place, "--config", config]);
    refused(both, 2, &["in `plain_http` and in `tls`"]);
}
