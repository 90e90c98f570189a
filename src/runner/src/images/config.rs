//! The configuration of an image: its bytes are what the image is named by.

use std::collections::BTreeMap;

use bollard::models::ImageInspect;
use serde::Serialize;
use spec::{Digest, canonical_json};

use super::{ImageError, base};

/// On every image of ours; says which kind it is.
pub const LABEL_IMAGE: &str = "agentfactory.image";

/// Nothing in an image comes from a clock.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What an image runs on, in the words of its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `v8`, where the architecture has several.
    pub variant: Option<String>,
}

/// What an image runs, and on which layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// What it runs on.
    pub platform: Platform,
    /// `NAME=VALUE`, in this order.
    pub environment: Vec<String>,
    /// The program and its first arguments; the engine appends what it is given.
    pub entrypoint: Vec<String>,
    /// `UID:GID`, or empty for root.
    pub user: String,
    /// Where the program starts, or empty for the root.
    pub working_dir: String,
    /// What is said of the image.
    pub labels: BTreeMap<String, String>,
    /// The diff ids of the layers, from the lowest on.
    pub layers: Vec<Digest>,
}

impl ImageConfig {
    /// The configuration of an image of the engine, without what images of ours do not have.
    pub(super) fn of(image: &ImageInspect, name: &str) -> Result<Self, ImageError> {
        let config = image.config.clone().unwrap_or_default();
        Ok(Self {
            platform: Platform::of(image),
            environment: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            labels: config.labels.into_iter().flatten().collect(),
            layers: base::layers(image, name)?,
        })
    }

    /// The digest of the configuration, by which most engines name the image.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    /// The bytes; equal configurations have equal ones.
    ///
    /// Source: the OCI image specification, "Image Configuration".
    pub fn to_json(&self) -> Vec<u8> {
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

impl Platform {
    pub(super) fn of(image: &ImageInspect) -> Self {
        Self {
            os: image.os.clone().unwrap_or_default(),
            architecture: image.architecture.clone().unwrap_or_default(),
            variant: image.variant.clone().filter(|variant| !variant.is_empty()),
        }
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
            labels: [("b", "2"), ("a", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
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
