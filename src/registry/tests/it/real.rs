//! Debian's `docker-registry`.

use registry::{DockerConfig, RegistryError, Target};
use testkit::{HTPASSWD, RegistryServer};

use crate::support::{Memory, described, manifest, repository, with_login};

fn noise(len: usize) -> Vec<u8> {
    // A multiplicative generator: bytes that do not repeat soon.
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_comes_back_as_it_went() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let repository = repository(&server.host()).await;
    let here = Memory::default();
    let blobs = [
        here.put(b"{}"),
        here.put(b""),
        here.put(&noise(20 << 20)),
        here.put(&noise(8 << 20)),
        here.put(b"x"),
    ];
    let all: Vec<_> = blobs.iter().collect();
    let bytes = manifest(&all, None);
    let pushed = repository
        .push_artifact(&here, &bytes, Some("v1"), &())
        .await;
    let pushed = pushed.unwrap();
    assert_eq!((pushed.blobs, pushed.skipped), (5, 0));
    // What is there already is not sent again.
    let again = repository.push_artifact(&here, &bytes, None, &()).await;
    let again = again.unwrap();
    assert_eq!((again.blobs, again.bytes, again.skipped), (0, 0, 5));

    let tag = Target::Tag("v1".to_owned());
    let found = repository.manifest(&tag).await.unwrap();
    assert_eq!(found.bytes, bytes);
    assert!(repository.has_manifest(&found.digest).await.unwrap());
    let there = Memory::default();
    let pulled = repository.pull_blobs(&there, &all, &()).await.unwrap();
    assert_eq!(
        pulled.bytes,
        blobs.iter().map(|blob| blob.size).sum::<u64>()
    );
    for blob in &blobs {
        assert_eq!(there.get(&blob.digest), here.get(&blob.digest));
    }
    let again = repository.pull_blobs(&there, &all, &()).await.unwrap();
    assert_eq!((again.blobs, again.skipped), (0, 5));

    let missing = Target::Tag("v2".to_owned());
    assert!(repository.find_manifest(&missing).await.unwrap().is_none());
    let error = repository.manifest(&missing).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_a_manifest_is_listed_by_a_tag() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let repository = repository(&server.host()).await;
    let here = Memory::default();
    let config = here.put(b"{}");
    let subject = manifest(&[&config], None);
    repository
        .push_artifact(&here, &subject, Some("v1"), &())
        .await
        .unwrap();
    let subject = described(&subject);
    assert_eq!(
        repository.referrers(&subject.digest, None).await.unwrap(),
        []
    );
    let mut expected = Vec::new();
    for text in ["one", "two"] {
        let about = manifest(&[&config, &here.put(text.as_bytes())], Some(&subject));
        for _ in 0..2 {
            let pushed = repository.push_artifact(&here, &about, None, &()).await;
            pushed.unwrap();
        }
        expected.push(described(&about).digest);
    }
    let wanted = Some("application/vnd.example.v1");
    let listed = repository.referrers(&subject.digest, wanted).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|one| one.digest).collect();
    assert_eq!(listed, expected);
    let other = repository.referrers(&subject.digest, Some("other")).await;
    assert_eq!(other.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_taken_from_dockers_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    let extra = format!(
        "auth: {{htpasswd: {{realm: test, path: '{}'}}}}",
        file.display()
    );
    let Some(server) = RegistryServer::start(&extra) else {
        return;
    };
    let here = Memory::default();
    let bytes = manifest(&[&here.put(b"{}")], None);
    let refused = repository(&server.host()).await;
    let error = refused.push_artifact(&here, &bytes, None, &()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert!(error.hint().unwrap().contains("docker login"));

    let login = |auth: &str| {
        let config = format!(
            "{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}",
            server.host()
        );
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        DockerConfig {
            folder: Some(folder.path().to_owned()),
            environment: Vec::new(),
        }
    };
    // me:wrong
    let wrong = with_login(&server.host(), &login("bWU6d3Jvbmc=")).await;
    let error = wrong.push_artifact(&here, &bytes, None, &()).await;
    let error = error.unwrap_err();
    assert!(error.hint().unwrap().contains("may not"), "{error}");
    // me:secret
    let right = with_login(&server.host(), &login("bWU6c2VjcmV0")).await;
    right
        .push_artifact(&here, &bytes, Some("v1"), &())
        .await
        .unwrap();
}
