//! The configuration of an image: its bytes are what the image is named by.

use std::collections::BTreeMap;

use spec::{Digest, canonical_json};

use super::base::Platform;

/// On every image of ours; says which kind it is.
pub(super) const LABEL_IMAGE: &str = "agentfactory.image";

/// Nothing in an image comes from a clock.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What an image runs, and on which layers.
#[derive(Clone, Debug)]
pub(super) struct ImageConfig {
    pub(super) platform: Platform,
    pub(super) environment: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) user: String,
    pub(super) working_dir: String,
    pub(super) labels: BTreeMap<&'static str, String>,
    pub(super) layers: Vec<Digest>,
}

impl ImageConfig {
    /// The bytes; equal configurations have equal ones.
    ///
    /// Source: the OCI image specification, "Image Configuration".
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut config = serde_json::json!({
            "os": self.platform.os,
            "architecture": self.platform.architecture,
            "created": CREATED,
            "config": {
                "Env": self.environment,
                "Entrypoint": self.entrypoint,
                "User": self.user,
                "WorkingDir": self.working_dir,
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": self.layers},
        });
        if let Some(variant) = &self.platform.variant {
            config["variant"] = variant.as_str().into();
        }
        canonical_json(&config).expect("texts have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configurations_have_equal_bytes() {
        let config = ImageConfig {
            platform: Platform {
                os: "linux".to_owned(),
                architecture: "arm".to_owned(),
                variant: Some("v7".to_owned()),
            },
            environment: vec!["LANG=C.UTF-8".to_owned()],
            entrypoint: vec!["/bin/true".to_owned()],
            user: "1".to_owned(),
            working_dir: "/".to_owned(),
            labels: [("b", "2".to_owned()), ("a", "1".to_owned())].into(),
            layers: vec![Digest::of(b"")],
        };
        let text = String::from_utf8(config.to_json()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"architecture":"arm","config":{"Entrypoint":["/bin/true"],"#,
                r#""Env":["LANG=C.UTF-8"],"Labels":{"a":"1","b":"2"},"User":"1","WorkingDir":"/"},"#,
                r#""created":"1970-01-01T00:00:00Z","os":"linux","rootfs":{"diff_ids":["#,
                r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"#,
                r#""type":"layers"},"variant":"v7"}"#
            )
        );
    }
}
