//! A base from a registry, which is Debian's own `docker-registry` on loopback.

use std::path::Path;
use std::process::Stdio;

use runner::images::{self, BaseSource, BuiltImage, ImageError};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::env::{Env, Recorder};

/// A registry that ends with the test.
struct Registry {
    /// It is killed when it is dropped.
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts it and waits until it says that it listens.
    async fn start(folder: &Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '127.0.0.1:{port}', secret: test}}\n",
            folder.join("registry").display()
        );
        let file = folder.join("registry.yml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.expect("the registry says that it listens before it ends");
            if line.contains("listening on") {
                break;
            }
        }
        // What it says later must not fill the pipe.
        child.stderr = Some(lines.into_inner().into_inner());
        Self { child, port }
    }

    async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn build(env: &Env, base: &str, refresh: bool) -> Result<BuiltImage, ImageError> {
    let recorder = Recorder::default();
    let mut request = env.request("home", &recorder);
    request.base = Some(base.to_owned());
    request.refresh = refresh;
    let built = images::build(&env.engine, &request).await?;
    env.created(&built.tag);
    env.created(&built.base);
    Ok(built)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_locked_to_the_digest_that_it_had() {
    let Some(env) = Env::open(&["mmdebstrap", "docker-registry"]).await else {
        return;
    };
    env.run(scenario).await;
}

async fn scenario(env: &Env) {
    let registry = Registry::start(env.folder.path()).await;
    let name = format!("127.0.0.1:{}/library/python:3.13-slim", registry.port);
    env.created(&name);

    // Something with Python that the registry can serve; the packages are kept between runs.
    let mut request = env.request("own", &());
    request.cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let own = images::build(&env.engine, &request).await.unwrap();
    env.created(&own.tag);
    env.created(&own.base);
    env.tag(&own.base, &name).await;
    env.push(&name).await;
    env.untag(&name).await;

    let first = build(env, &name, false).await.unwrap();
    assert_eq!(first.source, BaseSource::Pulled);
    let digest = first.base.rsplit_once('@').expect("a base by digest").1;
    let lock = std::fs::read_to_string(env.folder.path().join("home/base.lock")).unwrap();
    assert!(lock.contains(digest), "{lock}");
    assert_ne!(first.image, own.image);

    // The tag moves to another image, and the engine has neither under this name.
    env.tag(&own.tag, &name).await;
    env.push(&name).await;
    env.untag(&name).await;
    env.untag(&first.base).await;
    let second = build(env, &name, false).await.unwrap();
    assert_eq!(second, first);

    // A name that a build was asked for is what is used from then on.
    let found = images::find(&env.engine, &env.request("home", &())).await;
    assert_eq!(found.unwrap(), Some(first.image.clone()));

    let refreshed = build(env, &name, true).await.unwrap();
    assert_ne!(refreshed.base, first.base);
    assert_ne!(refreshed.image, first.image);
    let again = build(env, &name, false).await.unwrap();
    assert_eq!(again.base, refreshed.base);

    // By its digest the first one can still be named, without a lock.
    let by_digest = build(env, &first.base, false).await.unwrap();
    assert_eq!(by_digest.image, first.image);

    registry.stop().await;
    env.untag(&refreshed.base).await;
    env.untag(&name).await;
    let error = build(env, &name, false).await.unwrap_err();
    assert!(matches!(error, ImageError::Locked(_)), "{error:?}");
    assert!(error.hint().unwrap().contains("--refresh"));
}
