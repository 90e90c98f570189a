//! The seeds of the fuzzer for manifests and configs.

use std::path::Path;

use store::{Store, VersionContent};

use crate::fixtures::{Home, content};

#[test]
fn the_seeds_of_the_fuzzer_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/version");
    let (mut read, mut refused) = (0, 0);
    for seed in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        let manifest = Store::manifest_parts(&bytes).is_ok();
        let config = VersionContent::from_config(&bytes);
        if manifest || config.is_ok() {
            read += 1;
        } else {
            refused += 1;
        }
        if let Ok(content) = config {
            let written = content.to_config().unwrap();
            assert_eq!(VersionContent::from_config(&written).ok(), Some(content));
        }
    }
    assert!(read >= 2 && refused >= 2, "{read} read, {refused} refused");
}

#[test]
fn a_config_and_a_manifest_are_read_as_they_were_written() {
    let home = Home::new();
    let digest = home.stage("x = 1\n");
    let version = home.store.version(&digest).unwrap();
    let manifest = home.store.get(&digest).unwrap();
    let parts = Store::manifest_parts(&manifest).unwrap();
    assert_eq!(parts, [version.config, version.source]);
    let config = home.store.get(&version.config).unwrap();
    let read = VersionContent::from_config(&config).unwrap();
    assert_eq!(read.description, content("").description);
    assert_eq!(read.to_config().unwrap(), config);
    assert!(VersionContent::from_config(&manifest).is_err());
    assert!(Store::manifest_parts(&config).is_err());
}
