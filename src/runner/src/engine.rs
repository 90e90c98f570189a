//! The connection to the engine.

/// Where the engine is.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// `DOCKER_HOST`: `unix://`, `tcp://` or `http(s)://`; `None` means the Docker context or the default socket.
    pub host: Option<String>,
}

/// A connection to an engine. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) docker: bollard::Docker,
    pub(crate) address: String,
}
