//! Images put together from parts: a parent that the engine has, layers on it, a configuration.
//!
//! There is no build step and nothing that a clock or this machine decides: the configuration is
//! canonical JSON, its digest is the image's id, and a layer's digest is its diff id. So the same parent
//! and the same layers are the same image, whoever assembles it. The parent's layers stay on the engine:
//! only what is put on them is sent, unless the engine wants the whole image.

use std::path::Path;

use bollard::query_parameters::TagImageOptionsBuilder;
use spec::Digest;

use super::archive::{self, Archive, LayerFile};
use super::base;
use super::config::ImageConfig;
use super::{ImageError, Progress};
use crate::docker::calls::call;
use crate::{Engine, ImageId, RunnerError};

/// An image of the engine on which another one is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// How the engine calls it.
    pub image: ImageId,
    /// What it consists of.
    pub config: ImageConfig,
}

impl Parent {
    /// Looks at an image of the engine.
    ///
    /// # Errors
    /// [`RunnerError::ImageMissing`] when the engine has it not, and the engine's errors.
    pub async fn inspect(engine: &Engine, image: &ImageId) -> Result<Self, ImageError> {
        let name = image.0.to_string();
        let found = base::inspect(engine, &name).await?;
        let found = found.ok_or_else(|| RunnerError::ImageMissing(image.clone()))?;
        Ok(Self {
            image: image.clone(),
            config: ImageConfig::of(&found, &name)?,
        })
    }

    /// Puts layers on it, from the lowest on. Everything else is as in the parent, and may be changed
    /// before the image is loaded.
    pub fn with(&self, layers: Vec<(Digest, LayerFile)>) -> Assembly {
        let mut config = self.config.clone();
        let (digests, layers): (Vec<_>, _) = layers.into_iter().unzip();
        config.layers.extend(digests);
        Assembly {
            parent: Some(self.image.0.to_string()),
            layers,
            config,
        }
    }
}

/// An image before it is on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly {
    /// How the engine calls the image with the lowest layers; none when all layers are here.
    pub(super) parent: Option<String>,
    /// The upper layers, from the lowest on; as many as the configuration has beyond the parent's.
    pub(super) layers: Vec<LayerFile>,
    /// Its configuration. What it says of layers is right already.
    pub config: ImageConfig,
}

impl Assembly {
    /// How many layers are the parent's.
    pub(super) fn below(&self) -> usize {
        self.config.layers.len().saturating_sub(self.layers.len())
    }

    /// Makes the image one that the engine has, under these tags (`NAME:TAG`; at least one).
    ///
    /// An image that the engine has already is only tagged. Otherwise the engine gets the layers above the
    /// parent; one that refuses that gets all of them, which pass through a temporary file in `scratch`.
    ///
    /// # Errors
    /// [`ImageError::NotWhatWasSent`] when the engine has something else afterwards, and the errors of
    /// the engine and of files.
    pub async fn load(
        &self,
        engine: &Engine,
        tags: &[String],
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageId, ImageError> {
        let nothing = || ImageError::Reference(String::new());
        let first = tags.first().ok_or_else(nothing)?;
        if let Some(image) = self.present(engine, tags).await? {
            return Ok(image);
        }
        progress.phase("loading the image into the engine");
        let json = self.config.to_json();
        let files = |below: Option<Vec<LayerFile>>| -> Vec<_> {
            let below = match below {
                Some(files) => files.into_iter().map(Some).collect(),
                None => vec![None; self.below()],
            };
            let files = below
                .into_iter()
                .chain(self.layers.iter().cloned().map(Some));
            self.config.layers.iter().copied().zip(files).collect()
        };
        let send = async |layers: Vec<_>| {
            let archive = Archive {
                config: &json,
                tags,
                layers: &layers,
            };
            archive.load(engine).await
        };
        match send(files(None)).await {
            Ok(()) => {
                if let Some(image) = self.loaded(engine, first).await? {
                    return Ok(image);
                }
            }
            Err(error) if error.is_refusal() && self.parent.is_some() => {}
            Err(error) => return Err(error),
        }
        let Some(parent) = &self.parent else {
            return Err(ImageError::NotWhatWasSent(first.clone()));
        };
        // Engines that keep images in containerd want every layer.
        progress.note("this engine wants the whole image");
        let below = &self.config.layers[..self.below()];
        let (whole, below) = archive::export(engine, parent, below, scratch, progress).await?;
        send(files(Some(below))).await?;
        drop(whole);
        let image = self.loaded(engine, first).await?;
        image.ok_or_else(|| ImageError::NotWhatWasSent(first.clone()))
    }

    /// Tags the image, if the engine has it already.
    async fn present(
        &self,
        engine: &Engine,
        tags: &[String],
    ) -> Result<Option<ImageId>, ImageError> {
        let id = self.config.digest().to_string();
        let mut missing = Vec::new();
        let mut found = None;
        for tag in tags {
            match self.found(engine, tag).await? {
                Some(image) => found = Some((image, tag.clone())),
                None => missing.push(tag),
            }
        }
        if found.is_none() {
            found = self.found(engine, &id).await?.map(|image| (image, id));
        }
        let Some((image, name)) = found else {
            return Ok(None);
        };
        for tag in missing {
            let (repository, tag) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
            let options = TagImageOptionsBuilder::default()
                .repo(repository)
                .tag(tag)
                .build();
            call(
                "tag an image",
                engine.docker.tag_image(&name, Some(options)),
            )
            .await?;
        }
        Ok(Some(image))
    }

    /// The image with this name, if it is this one. Engines that keep images in containerd give it
    /// another id, so its configuration is what counts.
    async fn found(&self, engine: &Engine, name: &str) -> Result<Option<ImageId>, ImageError> {
        let Some(image) = base::inspect(engine, name).await? else {
            return Ok(None);
        };
        let same = ImageConfig::of(&image, name)? == self.config;
        let id = image.id.filter(|_| same);
        Ok(id.and_then(|id| id.parse().ok()).map(ImageId))
    }

    /// The id of the image with this name, if it consists of these layers.
    async fn loaded(&self, engine: &Engine, tag: &str) -> Result<Option<ImageId>, ImageError> {
        let Some(image) = base::inspect(engine, tag).await? else {
            return Ok(None);
        };
        if base::layers(&image, tag)? != self.config.layers {
            return Ok(None);
        }
        Ok(image.id.and_then(|id| id.parse().ok()).map(ImageId))
    }
}
