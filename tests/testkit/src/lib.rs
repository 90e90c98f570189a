//! Fixtures that tests share.

mod env;
mod model_endpoint;
mod package_index;
mod registry;
mod relay;
mod site;
mod wheel_index;

pub use env::{Finished, TestEnv, containers, full_counts, program, repository};
pub use model_endpoint::{
    EndpointOptions, EndpointProtocol, EndpointReply, ModelEndpoint, Received, Said,
};
pub use package_index::package_index;
pub use registry::{RegistryServer, ScriptedServer, ServerReply, ServerRequest, Then};
pub use relay::Relay;
pub use site::Site;
pub use wheel_index::{TestWheel, WheelIndex};
