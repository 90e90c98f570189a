//! Builds images on a real engine, from the distribution's packages and from a real registry.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod env;
mod registry;

use env::{Env, REQUIRED, Recorder, variable};
use runner::images::{self, BaseSource, ImageError};
use runner::{ImageId, RunnerError, doctor};

/// Builds from nothing, then from what is there. With `AGENTFACTORY_TEST_FULL=1` the first is done
/// twice and compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrapped_image_is_the_same_each_time() {
    let Some(env) = Env::open(&["mmdebstrap"]).await else {
        return;
    };
    let body = async |env: &Env| {
        let recorder = Recorder::default();
        let request = env.request("home", &recorder);
        let first = images::build(&env.engine, &request).await.unwrap();
        env.created(&first.tag);
        assert_eq!(first.source, BaseSource::Bootstrapped);
        env.created(&first.base);
        assert!(first.python.starts_with("3.13."), "{first:?}");
        assert!(first.size_bytes < 110_000_000, "{first:?}");
        let said = recorder.text();
        assert!(said.contains("could not be pulled"), "{said}");
        assert!(said.contains("making a base from the packages"), "{said}");

        // Nothing is done again.
        let recorder = Recorder::default();
        let request = env.request("home", &recorder);
        let again = images::build(&env.engine, &request).await.unwrap();
        assert_eq!(again, first);
        assert_eq!(
            recorder.text(),
            "using the bootstrapped base, which the engine has\n"
        );
        let request = env.request("home", &());
        let found = images::find(&env.engine, &request).await.unwrap();
        assert_eq!(found, Some(first.image.clone()));

        // A lost image is said to be lost, and comes back from the cache with the same id.
        env.untag(&first.image.0.to_string()).await;
        let lost = images::find(&env.engine, &request).await.unwrap_err();
        assert!(matches!(
            lost,
            ImageError::Engine(RunnerError::ImageMissing(ImageId(id))) if id == first.image.0
        ));
        assert!(lost.hint().unwrap().contains("images build"));
        let recorder = Recorder::default();
        let request = env.request("home", &recorder);
        let back = images::ensure(&env.engine, &request).await.unwrap();
        assert_eq!(back, first.image);
        assert_eq!(
            recorder.text(),
            "using the bootstrapped base, which the engine has\n\
             loading the image into the engine\n"
        );

        if variable("AGENTFACTORY_TEST_FULL").is_some() {
            let recorder = Recorder::default();
            let request = env.request("another home", &recorder);
            let second = images::build(&env.engine, &request).await.unwrap();
            assert_eq!(second, first);
            let said = recorder.text();
            assert!(said.contains("making a base from the packages"), "{said}");
            assert!(said.contains("compiling"), "{said}");
        }
    };
    env.run(body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_image_with_python_is_refused() {
    let Some(env) = Env::open(&[]).await else {
        return;
    };
    let body = async |env: &Env| {
        let build = async |base: &str| {
            let mut request = env.request("home", &());
            request.base = Some(base.to_owned());
            images::build(&env.engine, &request).await.unwrap_err()
        };
        let error = build("not a name").await;
        assert!(matches!(error, ImageError::Reference(_)), "{error:?}");
        // Nobody listens there: the engine says so at once, and a named base has no substitute.
        let error = build("127.0.0.1:1/python:3").await;
        assert!(matches!(error, ImageError::Pull { .. }), "{error:?}");
        let empty = env.import_empty().await;
        let error = build(&empty).await;
        assert!(matches!(error, ImageError::NoPython(_)), "{error:?}");
        let request = env.request("home", &());
        assert_eq!(images::find(&env.engine, &request).await.unwrap(), None);
    };
    env.run(body).await;
}

#[tokio::test]
async fn an_engine_says_what_it_is() {
    let Some(env) = Env::open(&[]).await else {
        return;
    };
    let body = async |env: &Env| {
        let facts = doctor::inspect(&env.engine, jiff::Timestamp::now)
            .await
            .unwrap();
        assert!(facts.cpus > 0 && facts.memory_bytes > 0, "{facts:?}");
        for text in [
            &facts.engine,
            &facts.api,
            &facts.kernel,
            &facts.default_runtime,
        ] {
            assert!(!text.is_empty(), "{facts:?}");
        }
        assert!(facts.runtimes.contains(&facts.default_runtime), "{facts:?}");
        assert!(facts.cgroup_version.is_some(), "{facts:?}");
        assert!(facts.limits.memory && facts.limits.pids, "{facts:?}");
        assert!(facts.security.contains(&"seccomp".to_owned()), "{facts:?}");
        assert!(facts.findings.len() > 8, "{facts:?}");
    };
    env.run(body).await;
}

#[tokio::test]
async fn tests_that_are_required_do_not_skip() {
    let required = variable(REQUIRED).is_some();
    let skipped = std::panic::AssertUnwindSafe(async {
        Env::open(&["a-program-that-nobody-has"]).await.is_none()
    });
    let skipped = futures::FutureExt::catch_unwind(skipped).await;
    assert_eq!(skipped.is_err(), required);
}
